//! What passes through this peer on its way elsewhere: checked here, routed to the machines it concerns.

use alloc::{string::String, vec::Vec};

use super::{Effect, Peer};
use crate::{
    batch::Batch,
    delegate,
    id::{JobId, PeerId},
    limits::MAX_PATH,
    path::root_of,
    record::{Change, Record},
    relay::{self, HopOutcome},
    result::{Ack, Commit, Opened, Reveal, VerifiedBatch},
    source,
    time::Timestamp,
    wire::{Bundle, Cancel, Frame, Lease, Offer, Reason, Refuse, Relayed},
    worker,
};

impl Peer {
    pub(super) fn offered(&mut self, now: Timestamp, peer: PeerId, offer: Offer) {
        // This peer's own job, or one that is known to be somebody else's: whoever says so lies.
        let owned = peer != self.me && self.sources.contains_key(&offer.job);
        let known = self.relay.proven_submitter(&offer.job);
        if owned || known.is_some_and(|known| known != offer.submitter) {
            return;
        }
        // Nothing is taken through a hop that does not pass results on. What is its own, it may offer.
        if offer.submitter != peer && peer != self.me && self.hops.is_bad(now, &peer) {
            let (job, reason) = (Some(offer.job), Reason::Elsewhere);
            if !self.neighbours.contains_key(&offer.submitter) {
                // The job may be had of nobody else around here.
                self.out.effects.push(Effect::Reach(offer.submitter));
            }
            return self.send(peer, Frame::Refuse(Refuse { job, reason, text: String::new() }));
        }
        self.worker(now, worker::Input::Offer { peer, offer: offer.clone() });
        if peer != self.me && self.worker.takes_from(&peer, &offer.job) {
            self.relay(now, relay::Input::Offered { peer, offer });
        }
    }

    pub(super) fn leased(&mut self, now: Timestamp, peer: PeerId, lease: Lease) {
        let root = root_of(lease.tasks.iter().map(|one| one.task));
        let bound = lease.path.last().is_some_and(|hop| hop.root == root);
        let owned = peer != self.me && self.sources.contains_key(&lease.job);
        if !bound || owned || lease.errand().check_path(&lease.path, &self.me).is_err() {
            return self.violation(now, peer, "a lease with an impossible path");
        }
        // The last hop of a full path ends here, and what is not for everybody goes no further.
        let known = self.relay.proven_submitter(&lease.job);
        let may = peer != self.me
            && self.config.lending.relays
            && lease.share == 1
            && lease.path.len() < MAX_PATH
            && known.is_none_or(|known| known == lease.submitter);
        let computes = self.config.lending.slots > 0;
        if !may && !computes {
            let job = Some(lease.job);
            let refuse = Refuse { job, reason: Reason::Busy, text: String::new() };
            return self.send(peer, Frame::Refuse(refuse));
        }
        let hand_on = may && (!computes || self.relay.hands_on(&lease.job));
        self.worker(now, worker::Input::Lease { peer, lease, hand_on });
    }

    pub(super) fn cancelled(&mut self, now: Timestamp, peer: PeerId, cancel: Cancel) {
        if peer != self.me {
            if cancel.tasks.is_empty() {
                self.keeper(now, delegate::Input::Released { peer, job: cancel.job });
            }
            self.relay(now, relay::Input::Cancel { peer, cancel: cancel.clone() });
        }
        self.worker(now, worker::Input::Cancel { peer, cancel });
    }

    /// A submitter's word, from itself or through others; whoever brings a false one breaks the protocol.
    pub(super) fn acked(&mut self, now: Timestamp, peer: PeerId, ack: Ack) {
        let relayed = self.relay.errand(&ack.job).map(|errand| errand.submitter);
        let known = self.worker.submitter_of(&peer, &ack).or(relayed);
        let Some(submitter) = known else { return }; // of a job that is forgotten here
        if ack.check(&submitter).is_err() {
            return self.violation(now, peer, "an acknowledgement that its submitter did not sign");
        }
        if peer != self.me && relayed == Some(submitter) {
            self.relay(now, relay::Input::Ack { from: peer, ack: ack.clone() });
        }
        self.worker(now, worker::Input::Ack { peer, ack });
    }

    pub(super) fn relayed(&mut self, now: Timestamp, peer: PeerId, relayed: Relayed) {
        let Relayed { bundles, trails, tasks } = relayed;
        for Bundle { worker, commit, opened } in bundles {
            let job = commit.job;
            let known = self.submitter_of(&job, &opened);
            let reveal = Reveal { root: commit.root, opened };
            let Some(submitter) = known else {
                self.unknown_job(now, peer, &worker, (commit, reveal));
                continue;
            };
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

    /// Whose a job is that results are taken of here: an own one, or one that passes through and is that
    /// submitter's.
    pub(super) fn submitter_of(&self, job: &JobId, opened: &[Opened]) -> Option<PeerId> {
        if self.sources.contains_key(job) {
            return Some(self.me);
        }
        let submitter = self.relay.errand(job)?.submitter;
        opened.iter().all(|one| one.leaf.submitter == submitter).then_some(submitter)
    }

    /// Results of a job that is forgotten here. If it was this peer's own, or is known to be over, whoever has
    /// them may forget them too; if it only passed through, they may still be wanted elsewhere.
    pub(super) fn unknown_job(
        &mut self,
        now: Timestamp,
        peer: PeerId,
        worker: &PeerId,
        (commit, reveal): (Commit, Reveal),
    ) {
        let job = commit.job;
        let mut submitters = reveal.opened.iter().map(|one| &one.leaf.submitter);
        let is_over = submitters.all(|submitter| self.relay.has_ended(&job, submitter));
        // Own slots have no other way up than through here.
        if is_over || peer == self.me {
            return self.send(peer, Frame::Cancel(Cancel { job, tasks: Vec::new() }));
        }
        if reveal.opened.iter().any(|one| one.leaf.submitter != self.me) {
            return;
        }
        match VerifiedBatch::check(commit, reveal, worker, &self.me) {
            Ok(_) => self.send(peer, Frame::Cancel(Cancel { job, tasks: Vec::new() })),
            Err(error) => self.violation(now, peer, &alloc::format!("{error}")),
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
