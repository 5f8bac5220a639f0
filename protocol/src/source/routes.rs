//! The ways that a job's results come: the tree that it runs on, and relays that are gone round.

use alloc::{collections::BTreeMap, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{Effect, Source, results::Admitted};
use crate::{
    id::{PeerId, TaskId},
    path::{Trail, root_of},
    relay::HopOutcome,
    result::VerifiedBatch,
    time::Timestamp,
};

/// What is known of one hop of the tree, from the results that came over it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Edge {
    results: u64,
    dropped: u64,
    first: Timestamp,
    last: Timestamp,
}

/// One hop of the tree that a job runs on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HopView {
    /// Who hands tasks over.
    pub from: PeerId,
    /// To whom.
    pub to: PeerId,
    /// Results that came back over it, the copies too.
    pub results: u64,
    /// Results that should have come over it and were brought round it.
    pub dropped: u64,
    /// Microseconds between its first result and its last.
    pub micros: u64,
}

/// Batches that were brought round a relay and are counted, of one job.
const MAX_BYPASSED: usize = 4096;
/// Edges that are remembered for one job.
const MAX_EDGES: usize = 1 << 16;

#[derive(Debug, Default)]
pub(super) struct Tree(BTreeMap<(PeerId, PeerId), Edge>);

impl Tree {
    fn count(&mut self, now: Timestamp, from: PeerId, to: PeerId, dropped: bool) {
        if self.0.len() >= MAX_EDGES && !self.0.contains_key(&(from, to)) {
            return;
        }
        let edge = self.0.entry((from, to)).or_insert(Edge { first: now, ..Edge::default() });
        edge.results += u64::from(!dropped);
        edge.dropped += u64::from(dropped);
        edge.last = now;
    }

    pub(super) fn view(&self) -> Vec<HopView> {
        let hop = |((from, to), edge): (&(PeerId, PeerId), &Edge)| HopView {
            from: *from,
            to: *to,
            results: edge.results,
            dropped: edge.dropped,
            micros: u64::try_from(edge.last.since(edge.first).as_micros()).unwrap_or(u64::MAX),
        };
        self.0.iter().map(hop).collect()
    }
}

impl Source {
    /// Takes into account by which way results came, and who was gone round for it.
    pub(super) fn note_routes(
        &mut self,
        now: Timestamp,
        batch: &VerifiedBatch,
        routes: &[Admitted],
    ) {
        let worker = batch.worker();
        let mut blamed = None;
        for Admitted { route, .. } in routes {
            let mut from = self.me;
            // Whoever brings it here does not trust the hop above it any more.
            let straight = route.via.first().is_none_or(|first| *first == route.from);
            let place = route.via.iter().position(|peer| *peer == route.from);
            let bad = place.unwrap_or(route.via.len()).checked_sub(1);
            for (at, to) in route.via.iter().chain([&worker]).enumerate() {
                let dropped = !straight && Some(at) == bad;
                self.tree.count(now, from, *to, dropped);
                from = *to;
            }
            if !straight && let Some(peer) = bad.and_then(|at| route.via.get(at)) {
                blamed = Some(*peer);
            }
            if let Some(stats) = self.workers.get_mut(&worker) {
                stats.via = route.via.first().copied();
            }
        }
        // A batch that is brought again says nothing new of anybody.
        let root = batch.commit().root;
        if blamed.is_some() && (self.bypassed.len() >= MAX_BYPASSED || !self.bypassed.insert(root))
        {
            return;
        }
        // After a restart a neighbour that has not come back is known by the leases that it was given alone.
        let neighbour = |peer: &PeerId| {
            self.knows_directly(peer) || routes.iter().any(|one| one.route.hand == *peer)
        };
        match blamed {
            Some(peer) if self.works_with(&peer) || !neighbour(&peer) => {
                let outcome = HopOutcome::Dropped;
                self.out.effects.push(Effect::Hop { peer, outcome });
            }
            Some(_) => {} // it is gone: of course nothing comes through it
            None => {
                let hand = routes.first().and_then(|one| one.route.via.first());
                let outcome = HopOutcome::Delivered;
                self.out.effects.extend(hand.map(|peer| Effect::Hop { peer: *peer, outcome }));
            }
        }
    }

    /// Who handed on tasks that this job does not have, if it is proven: its own signature binds the lease to
    /// them (spec RELAY-10).
    pub(super) fn altered(
        &self,
        batch: &VerifiedBatch,
        trails: &[Trail],
        tasks: &[Vec<TaskId>],
    ) -> Option<PeerId> {
        let worker = batch.worker();
        let foreign = |task: &TaskId| !self.by_id.contains_key(task);
        trails.iter().zip(tasks).find_map(|(trail, tasks)| {
            let trail = trail.below(&self.me);
            let last = trail.hops.last()?;
            let signed = root_of(tasks.iter().copied()) == last.root
                && self.errand().check_trail(&trail, &worker).is_ok();
            let parent = trail.parent?;
            // The first hop has its lease from here, so what it handed on came from here or is made up.
            let ours = self.pool.knows_lease(&trail.hops.first()?.giver, &parent);
            // One that stands behind another may only hand on what that one made up.
            let alone = trail.hops.len() == 1;
            (alone && signed && ours && tasks.iter().any(foreign)).then_some(last.giver)
        })
    }

    fn knows_directly(&self, peer: &PeerId) -> bool {
        self.workers.get(peer).is_some_and(|stats| stats.slots > 0 || stats.connected)
    }
}
