//! Whom a job's work is taken of, and what is done when that one does not pass results on.

use alloc::vec::Vec;
use core::time::Duration;

use super::{
    Effect, Worker,
    foreign::{Foreign, Unacked},
};
use crate::{
    id::{JobId, PeerId},
    relay::{HopOutcome, way_round},
    result::Ack,
    time::Timestamp,
    wire::{Bundle, Frame, Offer, Reason, Relayed, Route},
};

/// A source that has given no work of a job for so long is no reason to refuse another's.
const UNSERVED: Duration = Duration::from_secs(20);
/// Milliseconds from which on the way to the submitter is slow.
const SLOW: u64 = 1000;
/// Milliseconds that make no difference between two links.
const NEAR: u64 = 50;
/// A neighbour is asked at most this often because another does not pass results on, and for others.
const ASK_AGAIN: Duration = Duration::from_secs(1);
const ASK_FOR_OTHERS: Duration = Duration::from_secs(30);

impl Worker {
    /// Another source that the job is taken of, that is there and gives work.
    pub(super) fn rival(&self, now: Timestamp, peer: &PeerId, offer: &Offer) -> Option<PeerId> {
        if *peer == self.me {
            return None; // own slots are served by the own relay, whoever else there is
        }
        let takes = |(other, n): &(&PeerId, &super::Neighbour)| {
            // One that gives nothing may have nothing: relays could offer each other a job in a ring.
            let serves = n
                .offers
                .get(&offer.job)
                .is_some_and(|served| **other == offer.submitter || now < *served + UNSERVED);
            *other != peer && **other != self.me && n.connected && serves
        };
        self.neighbours.iter().find(takes).map(|(other, _)| *other)
    }

    /// Whether the submitter itself is connected, or was until just now, over a link that is not slow: it
    /// will offer the job to this peer, and what came through others would depend on them.
    pub(super) fn is_expected(&self, now: Timestamp, peer: &PeerId, offer: &Offer) -> bool {
        let direct = self.neighbours.get(&offer.submitter).filter(|_| *peer != self.me);
        *peer != offer.submitter
            && direct
                .is_some_and(|one| (one.connected || now < one.seen + UNSERVED) && one.cost <= SLOW)
    }

    /// Whether the job is better taken of `peer` than of `rival`: not of one that dropped results; of the
    /// submitter itself unless its link is slow, for whoever stands in between makes results depend on it;
    /// else over the better link, if it is much better.
    pub(super) fn is_better(&self, peer: &PeerId, rival: &PeerId, offer: &Offer) -> bool {
        let dropped =
            |source: &PeerId| self.jobs.get(&(*source, offer.job)).map_or(0, |job| job.dropped);
        let (mine, its) = (dropped(peer), dropped(rival));
        if mine != its {
            return mine < its;
        }
        let (new, known) = (self.cost(peer), self.cost(rival));
        if *peer == offer.submitter {
            return !is_worth_it(known, new);
        }
        if *rival == offer.submitter {
            return is_worth_it(new, known);
        }
        // What was not measured is no better and no worse.
        new > 0 && known > 0 && new.saturating_mul(2) + NEAR < known
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
        self.out.effects.push(Effect::Parted(source, job));
    }

    /// Takes nothing more of a source for which it is only one on the way, and looks for another.
    pub(super) fn shun(&mut self, now: Timestamp, source: PeerId) {
        let Some(neighbour) = self.neighbours.get(&source) else { return };
        let relayed = |job: &&JobId| {
            let foreign = self.jobs.get(&(source, **job));
            foreign.and_then(|one| one.submitter).is_none_or(|submitter| submitter != source)
        };
        let jobs: Vec<JobId> = neighbour.offers.keys().filter(relayed).copied().collect();
        for job in jobs {
            self.part(source, job);
        }
        self.ask_others(now, &source);
    }

    /// Asks others than `source` for work: it did not pass results on.
    fn ask_others(&mut self, now: Timestamp, source: &PeerId) {
        self.ask(now, source, ASK_AGAIN);
    }

    /// Asks for work that a peer below could do. Each neighbour is asked so rarely that questions which are
    /// answered with further ones come to an end.
    pub(super) fn ask_for(&mut self, now: Timestamp, peer: &PeerId) {
        self.ask(now, peer, ASK_FOR_OTHERS);
    }

    /// Asks neighbours that were not asked for `rest`, the longest unasked first.
    pub(super) fn ask(&mut self, now: Timestamp, but: &PeerId, rest: Duration) {
        let me = self.me;
        let mut due: Vec<(Timestamp, PeerId)> = self
            .neighbours
            .iter()
            .filter(|(peer, one)| one.connected && **peer != me && *peer != but)
            .filter(|(_, one)| one.asked + rest <= now)
            .map(|(peer, one)| (one.asked, *peer))
            .collect();
        due.sort_unstable();
        for (_, peer) in due.into_iter().take(super::ASKED) {
            if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                neighbour.asked = now;
            }
            self.out.effects.push(Effect::Send(peer, Frame::Ask));
        }
    }

    pub(super) fn routed(&mut self, now: Timestamp, peer: PeerId, route: &Route) {
        if let Some(foreign) = self.jobs.get_mut(&(peer, route.job)) {
            foreign.away = route.away_ms.is_some();
            if !foreign.away {
                foreign.way = now;
            }
        }
    }

    /// Whether work of the job is taken of `peer`.
    pub fn takes_from(&self, peer: &PeerId, job: &JobId) -> bool {
        self.neighbours.get(peer).is_some_and(|one| one.connected && one.offers.contains_key(job))
    }

    /// Whose word an acknowledgement is to be: of the batch that it is about, whoever brings it, or of the
    /// job that `peer` leases.
    pub fn submitter_of(&self, peer: &PeerId, ack: &Ack) -> Option<PeerId> {
        let direct = self.jobs.get(&(*peer, ack.job)).and_then(|foreign| foreign.submitter);
        let about = |((_, job), foreign): &(&(PeerId, JobId), &Foreign)| {
            *job == ack.job && foreign.has_batch(&ack.root)
        };
        let batch = self.jobs.iter().find(about).and_then(|(_, foreign)| foreign.submitter);
        batch.or(direct)
    }

    /// The submitter has stored results.
    pub(super) fn acked(&mut self, now: Timestamp, peer: PeerId, ack: &Ack) {
        let of_job = |(_, job): &(PeerId, JobId)| *job == ack.job;
        let keys: Vec<(PeerId, JobId)> =
            self.jobs.keys().filter(|key| of_job(key)).copied().collect();
        for (source, job) in keys {
            let Some(foreign) = self.jobs.get_mut(&(source, job)) else { continue };
            if foreign.submitter == Some(source) {
                if peer == source {
                    foreign.acked(now, ack.highest, &mut self.out.records, source);
                }
                continue;
            }
            let Some(detoured) = foreign.acked_one(now, &ack.root, &mut self.out.records, source)
            else {
                continue;
            };
            // Nothing can come through one that is gone or says that it has no way: that is no fault of its.
            let is_here = self.neighbours.get(&source).is_some_and(|one| one.connected);
            let dropped = detoured && peer != source && is_here && !foreign.away;
            foreign.dropped += u32::from(dropped);
            let outcome = if dropped { HopOutcome::Dropped } else { HopOutcome::Delivered };
            if dropped || peer == source {
                self.out.effects.push(Effect::Hop { peer: source, outcome });
            }
            if dropped {
                self.ask_others(now, &source);
            }
        }
    }

    pub(super) fn next_detour(&self) -> Option<(Timestamp, &'static str)> {
        let due = |((source, _), foreign): (&(PeerId, JobId), &Foreign)| {
            let relayed = foreign.submitter.is_some_and(|one| one != *source) && *source != self.me;
            let gone = self.gone_since(source);
            let at = foreign.unacked.values().filter_map(|one| one.due(gone, foreign.way)).min();
            let is_here = |peer| self.neighbours.get(&peer).is_some_and(|one| one.connected);
            let direct = || foreign.submitter.is_some_and(is_here);
            at.filter(|_| relayed && (gone.is_some() || !foreign.away || direct()))
        };
        let at = self.jobs.iter().filter_map(due).min()?;
        Some((at, "patience with a relay"))
    }

    fn gone_since(&self, source: &PeerId) -> Option<Timestamp> {
        self.neighbours.get(source).filter(|one| !one.connected).map(|one| one.seen)
    }

    /// Brings results round a relay that is gone, or that has a way to the submitter by its own word, or that
    /// has none although the submitter is connected here, while the
    /// submitter's word does not come (spec RELAY-9).
    pub(super) fn detour(&mut self, now: Timestamp) {
        let (me, neighbours) = (self.me, &self.neighbours);
        let is_here = |peer: &PeerId| neighbours.get(peer).is_some_and(|one| one.connected);
        for ((source, _), foreign) in &mut self.jobs {
            let Some(submitter) = foreign.submitter.filter(|one| one != source) else { continue };
            let gone = neighbours.get(source).filter(|one| !one.connected).map(|one| one.seen);
            if *source == me || (foreign.away && gone.is_none() && !is_here(&submitter)) {
                continue;
            }
            let way = foreign.way;
            let late = |one: &Unacked| one.due(gone, way).is_some_and(|at| at <= now);
            let due = foreign.unacked.iter().filter(|(_, one)| late(one));
            let due: Vec<u64> = due.map(|(sequence, _)| *sequence).collect();
            let mut no_way = false;
            for sequence in due {
                let Some(batch) = foreign.unacked.get_mut(&sequence) else { continue };
                batch.detoured = Some(now);
                let (commit, opened) = (batch.commit.clone(), batch.opened.clone());
                let trails = foreign.trails(&opened);
                let Some(other) = way_round(&trails, source, is_here) else {
                    // All that is due waits for the same connection, and is seen to by one tick.
                    no_way = true;
                    continue;
                };
                let tasks = foreign.tasks_of(&trails);
                let trails = trails.iter().map(|trail| trail.below(&other)).collect();
                let bundles = Vec::from([Bundle { worker: me, commit, opened }]);
                let relayed = Frame::Relayed(Relayed { bundles, trails, tasks });
                self.out.effects.push(Effect::Send(other, relayed));
            }
            if no_way {
                self.out.effects.push(Effect::Reach(submitter));
            }
        }
    }

    /// Milliseconds that it takes to get a small lease over from a source; 0 while unknown.
    fn cost(&self, peer: &PeerId) -> u64 {
        self.neighbours.get(peer).map_or(0, |neighbour| neighbour.cost)
    }
}

/// Whether a relay's link is so much better than the submitter's own that the job is taken through it.
fn is_worth_it(relay: u64, submitter: u64) -> bool {
    relay > 0 && submitter > SLOW && relay.saturating_mul(4) < submitter
}
