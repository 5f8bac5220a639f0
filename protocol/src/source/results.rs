//! What becomes of a worker's results: fetched if they are long, counted once, acknowledged in order.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{Effect, Source};
use crate::{
    id::{Hash, PeerId},
    limits::{MAX_INCONCLUSIVE, MAX_UNACKED_BATCHES},
    pool::{self, TaskIndex},
    record::{Change, JobState, Record},
    result::{Ack, Opened, Output, Proof, VerifiedBatch},
    standing::Standings,
    time::Timestamp,
    verify::{Taken, Vote},
    wire::Frame,
};

/// A result whose output is still to be fetched.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    task: TaskIndex,
    /// Root of the batch that it came in.
    root: Hash,
    proof: Proof,
    opened: Opened,
}

/// An output that has been asked for and not been answered, and the results that have it.
#[derive(Debug)]
pub(super) struct Fetching {
    /// Who was asked; none if that worker has left since, and is not to blame if it does not come.
    asked: Option<PeerId>,
    waiting: Vec<Pending>,
}

/// An acknowledgement that waits for outputs to be here.
#[derive(Debug)]
pub(super) struct Deferred {
    worker: PeerId,
    root: Hash,
    sequence: u64,
    missing: BTreeSet<Hash>,
}

impl Source {
    pub(super) fn results(
        &mut self,
        now: Timestamp,
        worker: PeerId,
        batch: &VerifiedBatch,
        standings: &mut Standings,
    ) {
        let indices = match self.admit(&worker, batch) {
            Ok(indices) => indices,
            Err(what) => return self.out.effects.push(Effect::Violation(worker, what)),
        };
        let commit = batch.commit();
        let mut missing = BTreeSet::new();
        for (at, (one, task)) in batch.opened().iter().zip(indices).enumerate() {
            let Some(proof) = batch.proof(at) else { continue };
            let pending = Pending { task, root: commit.root, proof, opened: one.clone() };
            if let Some(hash) = self.result(now, worker, pending, standings) {
                missing.insert(hash);
            }
        }
        let deferred = Deferred { worker, root: commit.root, sequence: commit.sequence, missing };
        let stats = self.workers.entry(worker).or_default();
        stats.heard = stats.heard.max(deferred.sequence);
        if deferred.missing.is_empty() {
            self.acknowledge(&deferred);
        } else {
            self.deferred.push(deferred);
        }
        if self.state != JobState::Running {
            self.out.effects.push(Effect::Send(worker, self.over()));
        }
    }

    /// The tasks of a batch that this worker may send.
    fn admit(
        &self,
        worker: &PeerId,
        batch: &VerifiedBatch,
    ) -> Result<Vec<TaskIndex>, &'static str> {
        let running = self.state == JobState::Running;
        let longest = self.manifest.program.limits.output;
        let mut indices = Vec::new();
        for one in batch.opened() {
            let index = self.by_id.get(&one.leaf.task).copied();
            let leased = |index: &TaskIndex| {
                !running || self.pool.was_leased(worker, &one.leaf.lease, *index)
            };
            let Some(index) = index.filter(leased) else {
                return Err("a result for a task that was not leased to it");
            };
            if matches!(one.output, Output::Blob { len, .. } if len > longest) {
                return Err("an output longer than the job allows");
            }
            indices.push(index);
        }
        let deferred = self.deferred.iter().filter(|one| one.worker == *worker).count();
        if deferred >= 2 * MAX_UNACKED_BATCHES {
            return Err("more batches than may be unacknowledged");
        }
        Ok(indices)
    }

    /// Takes one result in; says which output it waits for, if it waits.
    fn result(
        &mut self,
        now: Timestamp,
        worker: PeerId,
        pending: Pending,
        standings: &mut Standings,
    ) -> Option<Hash> {
        let running = self.state == JobState::Running;
        let (task, one) = (pending.task, &pending.opened);
        if !one.leaf.status.is_conclusive() {
            self.inconclusive(now, worker, task, one, standings);
            return None;
        }
        if self.has_voted(now, worker, &pending, standings)
            || (!running && !self.may_come_late(&worker, &pending))
        {
            return None;
        }
        match one.output {
            // The submitter's own outputs are stored already; what is settled is not fetched.
            Output::Blob { hash, .. } if worker != self.me && !self.verifier.is_settled(task) => {
                if self.awaited.insert((task, worker)) {
                    self.fetch(hash, Vec::from([pending]));
                }
                self.fetching.contains_key(&hash).then_some(hash)
            }
            _ => {
                self.vote(now, worker, pending, standings);
                None
            }
        }
    }

    /// Whether a result for a job that is over is still of use: as a copy that was handed out in time.
    fn may_come_late(&self, worker: &PeerId, pending: &Pending) -> bool {
        let lease = &pending.opened.leaf.lease;
        self.verifier.is_settled(pending.task) && self.pool.was_leased(worker, lease, pending.task)
    }

    /// Whether the worker's word on the task is known already: what it said first stands, here and in
    /// the store. Saying something else the second time is a proof against it.
    fn has_voted(
        &mut self,
        now: Timestamp,
        worker: PeerId,
        pending: &Pending,
        standings: &mut Standings,
    ) -> bool {
        let Some(known) = self.verifier.vote_of(pending.task, &worker) else { return false };
        if known != pending.proof.outcome() && self.state == JobState::Running {
            self.verifier.equivocated(now, worker, standings);
            self.verified(now, standings);
        }
        true
    }

    /// Lets results wait for their output, which the first of their workers is asked for unless the
    /// output is on its way already.
    fn fetch(&mut self, hash: Hash, mut waiting: Vec<Pending>) {
        if let Some(fetching) = self.fetching.get_mut(&hash) {
            return fetching.waiting.append(&mut waiting);
        }
        let Some(first) = waiting.first() else { return };
        let (from, len) = (first.proof.leaf.worker, first.opened.output.len());
        self.out.effects.push(Effect::Fetch { hash, len, from });
        self.fetching.insert(hash, Fetching { asked: Some(from), waiting });
    }

    /// A worker is gone: its results that wait are forgotten, for it sends them again when it is back;
    /// they were never acknowledged.
    pub(super) fn forget_awaited(&mut self, worker: &PeerId) {
        for fetching in self.fetching.values_mut() {
            fetching.waiting.retain(|one| one.proof.leaf.worker != *worker);
            fetching.asked = fetching.asked.filter(|asked| asked != worker);
        }
        self.awaited.retain(|(_, awaited)| awaited != worker);
        self.deferred.retain(|one| one.worker != *worker);
    }

    pub(super) fn blob(
        &mut self,
        now: Timestamp,
        hash: &Hash,
        here: bool,
        standings: &mut Standings,
    ) {
        let Some(Fetching { asked, waiting }) = self.fetching.remove(hash) else { return };
        let mut others = Vec::new();
        for one in waiting {
            let worker = one.proof.leaf.worker;
            let settled = self.verifier.is_settled(one.task);
            // Whoever else claims the output is asked next: who does not deliver spoils nobody's vote.
            if !here && !settled && asked != Some(worker) {
                others.push(one);
                continue;
            }
            self.awaited.remove(&(one.task, worker));
            if here || settled {
                self.vote(now, worker, one, standings);
            } else {
                self.inconclusive(now, worker, one.task, &one.opened, standings);
            }
        }
        self.fetch(*hash, others);
        self.flush(hash);
    }

    /// Acknowledges what waited for `hash` alone, unless its worker is still to be asked for it.
    fn flush(&mut self, hash: &Hash) {
        let wait: &[Pending] = self.fetching.get(hash).map_or(&[], |fetching| &fetching.waiting);
        let mut ready = Vec::new();
        self.deferred.retain_mut(|deferred| {
            let still = wait.iter().any(|one| one.proof.leaf.worker == deferred.worker);
            let hit = !still && deferred.missing.remove(hash);
            let done = deferred.missing.is_empty();
            if hit && done {
                ready.push(Deferred { missing: BTreeSet::new(), ..*deferred });
            }
            !done
        });
        for deferred in &ready {
            self.acknowledge(deferred);
        }
    }

    /// Says that everything up to the first batch with a missing output is stored.
    fn acknowledge(&mut self, what: &Deferred) {
        let heard = self.workers.get(&what.worker).map_or(0, |stats| stats.heard);
        let waiting =
            self.deferred.iter().filter(|one| one.worker == what.worker).map(|one| one.sequence);
        let highest = waiting.min().map_or(heard, |first| heard.min(first.saturating_sub(1)));
        let heard = Record::Heard { job: self.job, worker: what.worker, highest };
        self.out.records.push(Change::Put(heard));
        let ack = Ack::sign(&self.key, self.job, what.root, highest);
        self.out.effects.push(Effect::Send(what.worker, Frame::Ack(ack)));
    }

    /// Counts an attempt that says nothing, once for each lease of the task: the first time ends the
    /// worker's hold of it.
    fn inconclusive(
        &mut self,
        now: Timestamp,
        worker: PeerId,
        task: TaskIndex,
        one: &Opened,
        standings: &mut Standings,
    ) {
        if !self.pool.is_held(&worker, &one.leaf.lease, task) || self.state != JobState::Running {
            return;
        }
        let stats = self.workers.entry(worker).or_default();
        stats.inconclusive += 1;
        stats.micros = stats.micros.saturating_add(one.micros);
        let tries = self.inconclusive.entry(task).or_default();
        *tries += 1;
        let tries = *tries;
        self.pool(now, pool::Input::Inconclusive { worker, task });
        self.verifier.unable(now, task, &worker, standings);
        if tries >= MAX_INCONCLUSIVE {
            self.verifier.give_up(task);
        }
        self.verified(now, standings);
        self.out.effects.push(Effect::Changed);
    }

    fn vote(&mut self, now: Timestamp, worker: PeerId, result: Pending, standings: &mut Standings) {
        if self.has_voted(now, worker, &result, standings) {
            return;
        }
        let Pending { task, root, proof, opened } = result;
        let vote = Vote { worker, outcome: proof.outcome(), root, id: proof.leaf.task };
        let stats = self.workers.entry(worker).or_default();
        stats.returned += 1;
        stats.micros = stats.micros.saturating_add(opened.micros);
        let taken = self.verifier.vote(now, task, vote, standings);
        let wants = self.verdicts(now, standings);
        if let Taken::Late { agrees, .. } = taken {
            let stats = self.workers.entry(worker).or_default();
            stats.late += 1;
            stats.outvoted += u64::from(!agrees);
        }
        if matches!(taken, Taken::Counted | Taken::Late { checked: true, .. }) {
            self.outputs.extend(super::blob_of(&opened.output));
            self.out.records.push(Change::Put(Record::Vote {
                job: self.job,
                task,
                proof,
                output: opened.output,
                log: opened.log.into_vec(),
                micros: opened.micros,
            }));
        }
        self.pool(now, pool::Input::Returned { worker, task, wants });
        self.out.effects.push(Effect::Changed);
    }
}
