//! Whom a job's work is taken of, and what is done when that one does not pass results on.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{Effect, Worker, foreign::Foreign};
use crate::{
    id::{JobId, PeerId},
    relay::{HopOutcome, PATIENCE, way_round},
    result::Ack,
    time::Timestamp,
    wire::{Bundle, Frame, Offer, Reason, Relayed, Route},
};

impl Worker {
    /// Another source that the job is taken of and that is there.
    pub(super) fn rival(&self, peer: &PeerId, job: &JobId) -> Option<PeerId> {
        if *peer == self.me {
            return None; // own slots are served by the own relay, whoever else there is
        }
        let takes = |(other, n): &(&PeerId, &super::Neighbour)| {
            *other != peer && **other != self.me && n.connected && n.offers.contains(job)
        };
        self.neighbours.iter().find(takes).map(|(other, _)| *other)
    }

    /// Whether the job is better taken of `peer` than of `rival`: not of one that dropped results, then
    /// over the better link if that is much better, then of the submitter itself.
    pub(super) fn is_better(&self, peer: &PeerId, rival: &PeerId, offer: &Offer) -> bool {
        let dropped =
            |source: &PeerId| self.jobs.get(&(*source, offer.job)).map_or(0, |job| job.dropped);
        let (mine, its) = (dropped(peer), dropped(rival));
        if mine != its {
            return mine < its;
        }
        let (new, known) = (self.cost(peer), self.cost(rival));
        if new * 2 < known || known * 2 < new {
            return new < known;
        }
        *peer == offer.submitter
    }

    /// Takes no more of a job from a source: what it handed over and is not begun goes back to it.
    pub(super) fn part(&mut self, source: PeerId, job: JobId) {
        self.refuse(source, Some(job), Reason::Elsewhere);
        if let Some(neighbour) = self.neighbours.get_mut(&source) {
            neighbour.offers.remove(&job);
        }
        if let Some(foreign) = self.jobs.get_mut(&(source, job)) {
            foreign.shed(0, &mut self.out.records, source);
        }
    }

    /// Takes nothing more of a source for which it is only one on the way, and looks for another.
    pub(super) fn shun(&mut self, source: PeerId) {
        let Some(neighbour) = self.neighbours.get(&source) else { return };
        let relayed = |job: &&JobId| {
            let foreign = self.jobs.get(&(source, **job));
            foreign.and_then(|one| one.submitter).is_none_or(|submitter| submitter != source)
        };
        let jobs: Vec<JobId> = neighbour.offers.iter().filter(relayed).copied().collect();
        for job in jobs {
            self.part(source, job);
        }
        self.asked = Timestamp(0);
        self.ask_others(&source);
    }

    fn ask_others(&mut self, source: &PeerId) {
        let others = self.neighbours.iter().filter(|(peer, n)| {
            n.connected && **peer != self.me && *peer != source
        });
        let others: BTreeSet<PeerId> = others.map(|(peer, _)| *peer).collect();
        self.out.effects.extend(others.into_iter().map(|peer| Effect::Send(peer, Frame::Ask)));
    }

    pub(super) fn routed(&mut self, peer: PeerId, route: &Route) {
        if let Some(foreign) = self.jobs.get_mut(&(peer, route.job)) {
            foreign.away = route.away_ms.is_some();
        }
    }

    /// Whether work of the job is taken of `peer`.
    pub fn takes_from(&self, peer: &PeerId, job: &JobId) -> bool {
        self.neighbours.get(peer).is_some_and(|one| one.connected && one.offers.contains(job))
    }

    /// Whose the job is, as its leases say.
    pub fn submitter_of(&self, job: &JobId) -> Option<PeerId> {
        self.jobs.iter().find(|((_, of), _)| of == job).and_then(|(_, foreign)| foreign.submitter)
    }

    /// The submitter has stored results.
    pub(super) fn acked(&mut self, peer: PeerId, ack: &Ack) {
        let of_job = |(_, job): &(PeerId, JobId)| *job == ack.job;
        let keys: Vec<(PeerId, JobId)> = self.jobs.keys().filter(|key| of_job(key)).copied().collect();
        for (source, job) in keys {
            let Some(foreign) = self.jobs.get_mut(&(source, job)) else { continue };
            if foreign.submitter == Some(source) {
                if peer == source {
                    foreign.acked(ack.highest, &mut self.out.records, source);
                }
                continue;
            }
            let Some(detoured) = foreign.acked_one(&ack.root, &mut self.out.records, source) else {
                continue;
            };
            let dropped = detoured && peer != source;
            foreign.dropped += u32::from(dropped);
            let outcome = if dropped { HopOutcome::Dropped } else { HopOutcome::Delivered };
            self.out.effects.push(Effect::Hop { peer: source, outcome });
            if dropped {
                self.ask_others(&source);
            }
        }
    }

    pub(super) fn next_detour(&self) -> Option<(Timestamp, &'static str)> {
        let waits = |((source, _), foreign): (&(PeerId, JobId), &Foreign)| {
            let relayed = foreign.submitter != Some(*source) && *source != self.me && !foreign.away;
            let oldest = foreign.unacked.values().filter_map(|one| one.detoured.or(one.sent)).min();
            oldest.filter(|_| relayed)
        };
        let oldest = self.jobs.iter().filter_map(waits).min()?;
        Some((oldest + PATIENCE, "patience with a relay"))
    }

    /// Brings results round a relay that says it has a way to the submitter, and yet the submitter's
    /// word does not come (spec RELAY-9).
    pub(super) fn detour(&mut self, now: Timestamp) {
        let (me, neighbours) = (self.me, &self.neighbours);
        let is_here = |peer: &PeerId| neighbours.get(peer).is_some_and(|one| one.connected);
        for ((source, _), foreign) in &mut self.jobs {
            let Some(submitter) = foreign.submitter.filter(|one| one != source) else { continue };
            if *source == me || foreign.away || !is_here(source) {
                continue;
            }
            let late = |one: &super::foreign::Unacked| {
                one.detoured.or(one.sent).is_some_and(|sent| sent + PATIENCE <= now)
            };
            let due: Vec<u64> = foreign
                .unacked
                .iter()
                .filter(|(_, one)| late(one))
                .map(|(sequence, _)| *sequence)
                .collect();
            for sequence in due {
                let Some(batch) = foreign.unacked.get_mut(&sequence) else { continue };
                batch.detoured = Some(now);
                let (commit, opened) = (batch.commit.clone(), batch.opened.clone());
                let trails = foreign.trails(&opened);
                let Some(other) = way_round(&trails, source, is_here) else {
                    self.out.effects.push(Effect::Reach(submitter));
                    break;
                };
                let trails = trails.iter().map(|trail| trail.below(&other)).collect();
                let bundles = Vec::from([Bundle { worker: me, commit, opened }]);
                let relayed = Frame::Relayed(Relayed { bundles, trails });
                self.out.effects.push(Effect::Send(other, relayed));
            }
        }
    }

    /// Milliseconds that it takes to get a small lease over from a source, as far as is known.
    fn cost(&self, peer: &PeerId) -> u64 {
        let Some(neighbour) = self.neighbours.get(peer) else { return u64::MAX / 4 };
        neighbour.cost.max(1)
    }
}
