//! What passes through this peer on its way elsewhere: checked here, routed to the machines it concerns.

use alloc::vec::Vec;

use super::{Effect, Peer};
use crate::{
    batch::Batch,
    id::{JobId, PeerId},
    limits::MAX_PATH,
    record::{Change, Record},
    relay::{self, HopOutcome},
    result::{Ack, Opened, Reveal, VerifiedBatch},
    source,
    time::Timestamp,
    wire::{Bundle, Cancel, Frame, Lease, Offer, Relayed},
    worker,
};

impl Peer {
    pub(super) fn offered(&mut self, now: Timestamp, peer: PeerId, offer: Offer) {
        // Nothing is taken through a hop that does not pass results on. What is its own, it may offer.
        if offer.submitter != peer && peer != self.me && self.hops.is_bad(now, &peer) {
            return;
        }
        self.worker(now, worker::Input::Offer { peer, offer: offer.clone() });
        if peer != self.me && self.worker.takes_from(&peer, &offer.job) {
            self.relay(now, relay::Input::Offered { peer, offer });
        }
    }

    pub(super) fn leased(&mut self, now: Timestamp, peer: PeerId, lease: Lease) {
        if lease.errand().check_path(&lease.path, &self.me).is_err() {
            return self.violation(now, peer, "a lease with an impossible path");
        }
        // The last hop of a full path ends here, and what is not for everybody goes no further.
        let may = lease.share == 1 && lease.path.len() < MAX_PATH;
        let hand_on = peer != self.me && may && self.relay.hands_on(&lease.job);
        self.worker(now, worker::Input::Lease { peer, lease, hand_on });
    }

    pub(super) fn cancelled(&mut self, now: Timestamp, peer: PeerId, cancel: Cancel) {
        if peer != self.me {
            self.relay(now, relay::Input::Cancel { peer, cancel: cancel.clone() });
        }
        self.worker(now, worker::Input::Cancel { peer, cancel });
    }

    /// A submitter's word, from itself or through others; whoever brings a false one breaks the protocol.
    pub(super) fn acked(&mut self, now: Timestamp, peer: PeerId, ack: Ack) {
        let relayed = self.relay.errand(&ack.job).map(|errand| errand.submitter);
        let known = relayed.or_else(|| self.worker.submitter_of(&ack.job));
        let Some(submitter) = known.or_else(|| ack.check(&peer).is_ok().then_some(peer)) else {
            return; // of a job that is forgotten here, by whomever
        };
        if ack.check(&submitter).is_err() {
            return self.violation(now, peer, "an acknowledgement that its submitter did not sign");
        }
        if peer != self.me && relayed.is_some() {
            self.relay(now, relay::Input::Ack { from: peer, ack: ack.clone() });
        }
        self.worker(now, worker::Input::Ack { peer, ack });
    }

    pub(super) fn relayed(&mut self, now: Timestamp, peer: PeerId, relayed: Relayed) {
        let Relayed { bundles, trails, tasks } = relayed;
        for Bundle { worker, commit, opened } in bundles {
            let job = commit.job;
            if !self.sources.contains_key(&job) && !self.relay.knows(&job) {
                self.unknown_job(peer, job, &opened);
                continue;
            }
            let submitter = self.relay.errand(&job).map_or(self.me, |errand| errand.submitter);
            let reveal = Reveal { root: commit.root, opened };
            let batch = match VerifiedBatch::check(commit, reveal, &worker, &submitter) {
                Ok(batch) => batch,
                Err(error) => return self.violation(now, peer, &alloc::format!("{error}")),
            };
            let trails = trails.clone();
            if self.sources.contains_key(&job) {
                let tasks = tasks.clone();
                self.source(now, job, source::Input::Relayed { from: peer, batch, trails, tasks });
            } else {
                self.relay(now, relay::Input::Results { from: peer, batch, trails });
            }
        }
        self.share_credit(now);
    }

    /// Results of a job that is forgotten here. If it was this peer's own, whoever has them may forget them too;
    /// if it only passed through, they may still be wanted elsewhere.
    pub(super) fn unknown_job(&mut self, peer: PeerId, job: JobId, opened: &[Opened]) {
        if opened.iter().all(|one| one.leaf.submitter == self.me) {
            self.send(peer, Frame::Cancel(Cancel { job, tasks: Vec::new() }));
        }
    }

    pub(super) fn relay_batch(&mut self, now: Timestamp, batch: Batch<relay::Effect>) {
        self.out.records.extend(batch.records);
        for effect in batch.effects {
            match effect {
                relay::Effect::Send(peer, frame) => self.send(peer, frame),
                relay::Effect::Fetch { hash, len, from } => {
                    self.out.effects.push(Effect::Fetch { hash, len, from });
                }
                relay::Effect::Violation(peer, what) => self.violation(now, peer, what),
                relay::Effect::Reach(peer) => self.out.effects.push(Effect::Reach(peer)),
                relay::Effect::Hop { peer, outcome } => self.hop(now, peer, outcome),
            }
        }
        let batch = self.worker.set_demands(self.relay.demands());
        self.worker_batch(now, batch);
    }

    /// What became of something that was given to a hop.
    pub(super) fn hop(&mut self, now: Timestamp, peer: PeerId, outcome: HopOutcome) {
        if !self.hops.count(now, peer, outcome) {
            return;
        }
        self.worker(now, worker::Input::Shun { peer });
        for job in self.job_ids() {
            if self.sources.get(&job).is_some_and(|source| source.works_with(&peer)) {
                self.source(now, job, source::Input::Leave { worker: peer });
            }
        }
    }

    /// Whether nothing is given to `peer` to pass on, for what it did with what it was given.
    pub fn shuns(&self, peer: &PeerId) -> bool {
        self.hops.get(peer).is_some_and(|record| record.counts().1 > 0)
    }

    pub(super) fn save_hops(&mut self) {
        for (peer, record) in self.hops.take_changed() {
            self.out.records.push(Change::Put(Record::Hops { peer, record }));
        }
    }

    /// Takes back what was being handed on; the records of what was not are returned.
    pub(super) fn restore_relay(
        &mut self,
        now: Timestamp,
        records: Vec<Record>,
        handed: Vec<Record>,
    ) -> Vec<Record> {
        let only = self.config.lending.relays && self.config.lending.slots == 0;
        let was_handed =
            |lease: &Lease| handed.iter().any(|one| relay::is_part_of(one, &lease.lease));
        let (mut held, mut rest) = (Vec::new(), Vec::new());
        for record in records {
            match record {
                Record::Held { source, lease } if only || was_handed(&lease) => {
                    held.push((source, lease));
                }
                other => rest.push(other),
            }
        }
        let batch = self.relay.restore(now, held, handed);
        self.relay_batch(now, batch);
        rest
    }
}
