//! One job of this peer's own: hands its tasks out, takes results in, knows when it is over.
//!
//! The pool says who gets which task, the verifier when a result stands; this machine composes the
//! two for one job and speaks their decisions as frames and records.

mod view;

#[cfg(test)]
mod tests;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};
use core::time::Duration;

pub use view::{JobView, WorkerView};

use crate::{
    batch::Batch,
    crypto::Keypair,
    entropy::Entropy,
    id::{Hash, JobId, PeerId, TaskId},
    job::{Local, Manifest},
    limits::{MAX_INCONCLUSIVE, MAX_LEASE_BYTES, MAX_LEASE_TASKS},
    pool::{self, Pool, TaskIndex},
    record::{Change, JobState, Key, Record},
    result::{Ack, Opened, Output, Proof, VerifiedBatch},
    time::Timestamp,
    verify::{Acceptance, Verdict, Verifier, Vote},
    wire::{Cancel, Frame, Lease, LeasedTask, Offer},
};

/// What happens to a job.
#[derive(Debug, Clone)]
pub enum Input {
    /// A peer that can compute the job is connected.
    Join {
        /// Who.
        worker: PeerId,
        /// Tasks it computes at once.
        slots: u32,
    },
    /// A peer is gone or can no longer compute the job.
    Leave {
        /// Who.
        worker: PeerId,
    },
    /// A worker's window for this job.
    Credit {
        /// Who.
        worker: PeerId,
        /// Tasks.
        tasks: u32,
    },
    /// Results, checked as the worker's own.
    Results {
        /// Who.
        worker: PeerId,
        /// What.
        batch: VerifiedBatch,
    },
    /// A worker still works on these leases.
    Renew {
        /// Who.
        worker: PeerId,
        /// Which.
        leases: Vec<crate::id::LeaseId>,
    },
    /// An output that was to be fetched is here, or is not to be had.
    Blob {
        /// Which.
        hash: Hash,
        /// Whether it is here.
        here: bool,
    },
    /// The submitter ends the job.
    Cancel,
    /// Time passed.
    Tick,
}

/// What a job wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Say this to that peer.
    Send(PeerId, Frame),
    /// Get this blob from that peer.
    Fetch {
        /// Which.
        hash: Hash,
        /// Its length.
        len: u64,
        /// From whom.
        from: PeerId,
    },
    /// The peer broke the protocol in this way.
    Violation(PeerId, &'static str),
    /// The job's view has changed in a way that people wait for.
    Changed,
}

/// A job's settings that are not its submitter's to choose.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// How leases are sized.
    pub pool: pool::Config,
    /// How long to wait for eligible peers before the submitter's own slots supply what is missing.
    pub patience: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { pool: pool::Config::default(), patience: Duration::from_secs(30) }
    }
}

/// A result whose output is still to be fetched.
#[derive(Debug, Clone)]
struct Pending {
    task: TaskIndex,
    proof: Proof,
    opened: Opened,
}

/// An acknowledgement that waits for outputs to be here.
#[derive(Debug)]
struct Deferred {
    worker: PeerId,
    root: Hash,
    sequence: u64,
    missing: BTreeSet<Hash>,
}

#[derive(Debug, Default, Clone)]
struct WorkerStats {
    slots: u32,
    connected: bool,
    joined: bool,
    window: u32,
    returned: u64,
    agreed: u64,
    outvoted: u64,
    late: u64,
    inconclusive: u64,
    micros: u64,
    heard: u64,
}

/// The machine. See the module's head for what it decides.
pub struct Source {
    me: PeerId,
    key: Keypair,
    job: JobId,
    manifest_hash: Hash,
    manifest: Manifest,
    config: Config,
    submitted: Timestamp,
    ended: Option<Timestamp>,
    state: JobState,
    /// Distinct tasks: id and the first input place that asks for it.
    tasks: Vec<(TaskId, u64)>,
    by_id: BTreeMap<TaskId, TaskIndex>,
    /// The task of each input place; equal inputs share one. Empty when places and tasks coincide.
    order: Vec<TaskIndex>,
    /// The reverse of `order`.
    places: BTreeMap<TaskIndex, Vec<u64>>,
    pool: Pool,
    verifier: Verifier,
    /// In order of settlement; none for a task given up.
    settled: Vec<(TaskIndex, Option<Acceptance>)>,
    inconclusive: BTreeMap<TaskIndex, u32>,
    workers: BTreeMap<PeerId, WorkerStats>,
    pending: BTreeMap<Hash, Vec<Pending>>,
    deferred: Vec<Deferred>,
    leased: Vec<Key>,
    starved_since: Option<Timestamp>,
    out: Batch<Effect>,
}

impl Source {
    /// A job newly submitted; the manifest's bounds have been checked and its blobs are stored.
    pub fn new(
        key: Keypair,
        job: JobId,
        manifest_hash: Hash,
        manifest: Manifest,
        config: Config,
        now: Timestamp,
        mut entropy: Entropy,
    ) -> (Self, Batch<Effect>) {
        let mut source = Self::build(key, job, manifest_hash, manifest, config, now, &mut entropy);
        source.save_job();
        let out = core::mem::take(&mut source.out);
        (source, out)
    }

    fn build(
        key: Keypair,
        job: JobId,
        manifest_hash: Hash,
        manifest: Manifest,
        mut config: Config,
        now: Timestamp,
        entropy: &mut Entropy,
    ) -> Self {
        let (mut tasks, mut by_id, mut order) = (Vec::new(), BTreeMap::new(), Vec::new());
        let mut largest = 0;
        for place in 0..manifest.inputs.count() {
            let Some(input) = manifest.inputs.get(place) else { break };
            if let crate::task::Input::Inline(bytes) = &input {
                largest = largest.max(bytes.len());
            }
            let id = manifest.program.task_id(&input.hash());
            let index = *by_id.entry(id).or_insert_with(|| {
                tasks.push((id, place));
                TaskIndex::try_from(tasks.len() - 1).unwrap_or(TaskIndex::MAX)
            });
            order.push(index);
        }
        if order.len() == tasks.len() {
            order = Vec::new();
        }
        let mut places: BTreeMap<TaskIndex, Vec<u64>> = BTreeMap::new();
        for (place, task) in order.iter().enumerate() {
            places.entry(*task).or_default().push(place as u64);
        }
        let per_lease = (MAX_LEASE_BYTES / (largest + 64)).clamp(1, MAX_LEASE_TASKS);
        config.pool.most = u32::try_from(per_lease).unwrap_or(1);
        let count = u32::try_from(tasks.len()).unwrap_or(u32::MAX);
        let need = manifest.policy.quorum();
        Self {
            me: key.peer_id(),
            key,
            job,
            manifest_hash,
            config,
            submitted: now,
            ended: None,
            state: JobState::Running,
            tasks,
            by_id,
            order,
            places,
            pool: Pool::new(config.pool, count, need, Entropy::new(&entropy.draw())),
            verifier: Verifier::new(manifest.policy),
            manifest,
            settled: Vec::new(),
            inconclusive: BTreeMap::new(),
            workers: BTreeMap::new(),
            pending: BTreeMap::new(),
            deferred: Vec::new(),
            leased: Vec::new(),
            starved_since: None,
            out: Batch::default(),
        }
    }

    /// A job from before a restart, out of its stored records (in any order).
    #[expect(
        clippy::too_many_arguments,
        reason = "a restart has all of these at hand and nothing to group them by"
    )]
    pub fn restore(
        key: Keypair,
        job: JobId,
        manifest_hash: Hash,
        manifest: Manifest,
        config: Config,
        now: Timestamp,
        mut entropy: Entropy,
        records: Vec<Record>,
    ) -> Self {
        let mut source = Self::build(key, job, manifest_hash, manifest, config, now, &mut entropy);
        let mut settled = BTreeMap::new();
        let mut votes = Vec::new();
        for record in records {
            match record {
                Record::Job { submitted, ended, state, .. } => {
                    (source.submitted, source.ended, source.state) = (submitted, ended, state);
                }
                Record::Leased { lease, worker, tasks, .. } => {
                    source.leased.push(Key::leased(&job, &lease));
                    let _ = source.pool.step(now, pool::Input::Restored { worker, lease, tasks });
                }
                Record::Heard { worker, highest, .. } => {
                    source.workers.entry(worker).or_default().heard = highest;
                }
                Record::Settled { task, place, acceptance, .. } => {
                    settled.insert(place, (task, acceptance));
                }
                Record::Vote { task, proof, micros, .. } => votes.push((task, proof, micros)),
                Record::Held { .. } | Record::Batch { .. } => {}
            }
        }
        for (task, acceptance) in settled.into_values() {
            source.settle(now, task, acceptance);
        }
        for (task, proof, micros) in votes {
            let worker = proof.leaf.worker;
            let own = worker == source.me;
            let stats = source.workers.entry(worker).or_default();
            stats.returned += 1;
            stats.micros = stats.micros.saturating_add(micros);
            if let Verdict::Wanted(need) =
                source.verifier.vote(task, Vote { worker, outcome: proof.outcome(), own })
            {
                let _ = source.pool.step(now, pool::Input::Returned { worker, task, need });
            }
        }
        if source.state == JobState::Running && source.pool.is_finished() {
            source.end(now, JobState::Done);
        }
        source.out = Batch::default();
        source
    }

    /// Takes one input and says what is to be stored and done.
    pub fn step(&mut self, now: Timestamp, input: Input) -> Batch<Effect> {
        match input {
            Input::Join { worker, slots } => self.join(now, worker, slots),
            Input::Leave { worker } => self.leave(now, &worker),
            Input::Credit { worker, tasks } => self.credit(now, worker, tasks),
            Input::Results { worker, batch } => self.results(now, worker, &batch),
            Input::Renew { worker, leases } => {
                for lease in leases {
                    self.pool(now, pool::Input::Renewed { worker, lease });
                }
            }
            Input::Blob { hash, here } => self.blob(now, &hash, here),
            Input::Cancel => self.end(now, JobState::Cancelled),
            Input::Tick => self.pool(now, pool::Input::Tick),
        }
        if self.manifest.local == Local::Reserve {
            self.supply(now);
        }
        if self.state == JobState::Running && self.pool.is_finished() {
            self.end(now, JobState::Done);
        }
        core::mem::take(&mut self.out)
    }

    /// When the job next wants a tick, and what for.
    pub fn next_wake(&self) -> Option<(Timestamp, &'static str)> {
        if self.state != JobState::Running {
            return None;
        }
        let supply = self
            .starved_since
            .filter(|_| self.may_supply())
            .map(|since| (since + self.config.patience, "own slots supply"));
        self.pool.next_wake().into_iter().chain(supply).min()
    }

    /// Whether tasks are unfinished.
    pub fn is_running(&self) -> bool {
        self.state == JobState::Running
    }

    /// The job's id.
    pub fn id(&self) -> JobId {
        self.job
    }

    /// The job as submitted.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Whether `peer` may get tasks of this job.
    pub fn works_with(&self, peer: &PeerId) -> bool {
        self.is_running() && self.workers.get(peer).is_some_and(|stats| stats.joined)
    }

    /// Whether `peer` took part, and so may still hold tasks of the job from before it was away.
    pub fn knows(&self, peer: &PeerId) -> bool {
        self.workers.contains_key(peer)
    }

    /// The window that `peer` has for this job.
    pub fn window_of(&self, peer: &PeerId) -> Option<u32> {
        self.workers.get(peer).filter(|stats| stats.joined).map(|stats| stats.window)
    }

    /// The keys of every record that the job may have left, but its own.
    pub fn keys(&self) -> Vec<Key> {
        let mut keys = self.leased.clone();
        keys.extend(self.workers.keys().map(|worker| Key::heard(&self.job, worker)));
        for (task, acceptance) in &self.settled {
            keys.push(Key::settled(&self.job, *task));
            let voters = acceptance.iter().flat_map(|one| one.agreed.iter().chain(&one.outvoted));
            keys.extend(voters.map(|worker| Key::vote(&self.job, *task, worker)));
        }
        keys
    }

    /// The offer that is made to peers.
    pub fn offer(&self) -> Offer {
        Offer {
            job: self.job,
            submitter: self.me,
            profile: self.manifest.program.profile.clone(),
            memory: self.manifest.program.limits.memory,
        }
    }

    fn join(&mut self, now: Timestamp, worker: PeerId, slots: u32) {
        let own = worker == self.me;
        let stats = self.workers.entry(worker).or_default();
        stats.connected = true;
        stats.slots = slots;
        let waits = own && self.manifest.local != Local::Always;
        if self.state != JobState::Running {
            let over = Frame::Cancel(Cancel { job: self.job, tasks: Vec::new() });
            return self.out.effects.push(Effect::Send(worker, over));
        }
        if slots > 0 && !waits {
            self.enter(now, worker);
        }
    }

    /// Lets a connected worker into the pool and offers it the job.
    fn enter(&mut self, now: Timestamp, worker: PeerId) {
        let Some(stats) = self.workers.get_mut(&worker) else { return };
        stats.joined = true;
        let slots = stats.slots;
        self.pool(now, pool::Input::Joined { worker, slots, own: worker == self.me });
        let offer = self.offer();
        self.out.effects.push(Effect::Send(worker, Frame::Offer(offer)));
    }

    fn leave(&mut self, now: Timestamp, worker: &PeerId) {
        if let Some(stats) = self.workers.get_mut(worker) {
            (stats.connected, stats.joined, stats.window) = (false, false, 0);
        }
        // Outputs that only this worker was asked for are not coming: forget their results, which the
        // worker sends again when it is back, for they were never acknowledged.
        for waiting in self.pending.values_mut() {
            waiting.retain(|one| one.proof.leaf.worker != *worker);
        }
        self.pending.retain(|_, waiting| !waiting.is_empty());
        self.deferred.retain(|one| one.worker != *worker);
        self.pool(now, pool::Input::Left { worker: *worker });
    }

    fn credit(&mut self, now: Timestamp, worker: PeerId, tasks: u32) {
        if let Some(stats) = self.workers.get_mut(&worker).filter(|stats| stats.joined) {
            stats.window = tasks;
            self.pool(now, pool::Input::Credit { worker, tasks });
        }
    }

    fn results(&mut self, now: Timestamp, worker: PeerId, batch: &VerifiedBatch) {
        let commit = batch.commit();
        let mut indices = Vec::new();
        for one in batch.opened() {
            let index = self.by_id.get(&one.leaf.task).copied();
            let leased = |index: &TaskIndex| {
                self.state != JobState::Running
                    || self.pool.was_leased(&worker, &one.leaf.lease, *index)
            };
            let Some(index) = index.filter(leased) else {
                self.out.effects.push(Effect::Violation(
                    worker,
                    "a result for a task that was not leased to it",
                ));
                return;
            };
            indices.push(index);
        }
        let longest = self.manifest.program.limits.output;
        if batch
            .opened()
            .iter()
            .any(|one| matches!(one.output, Output::Blob { len, .. } if len > longest))
        {
            self.out
                .effects
                .push(Effect::Violation(worker, "an output longer than the job allows"));
            return;
        }
        let mut missing = BTreeSet::new();
        for (at, (one, task)) in batch.opened().iter().zip(indices).enumerate() {
            if !one.leaf.status.is_conclusive() {
                // Said twice, it counts once: the first time ends the worker's hold of the task.
                if self.pool.is_held(&worker, &one.leaf.lease, task) {
                    self.inconclusive(now, worker, task, one);
                }
                continue;
            }
            if self.verifier.has_voted(task, &worker) {
                continue;
            }
            let Some(proof) = batch.proof(at) else { continue };
            let pending = Pending { task, proof, opened: one.clone() };
            match one.output {
                // The submitter's own outputs are stored already; a finished job fetches nothing.
                Output::Blob { hash, len }
                    if worker != self.me && self.state == JobState::Running =>
                {
                    missing.insert(hash);
                    let waiting = self.pending.entry(hash).or_default();
                    waiting.push(pending);
                    self.out.effects.push(Effect::Fetch { hash, len, from: worker });
                }
                _ => self.vote(now, worker, pending),
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

    fn inconclusive(&mut self, now: Timestamp, worker: PeerId, task: TaskIndex, one: &Opened) {
        let stats = self.workers.entry(worker).or_default();
        stats.inconclusive += 1;
        stats.micros = stats.micros.saturating_add(one.micros);
        let tries = self.inconclusive.entry(task).or_default();
        *tries += 1;
        let tries = *tries;
        self.pool(now, pool::Input::Inconclusive { worker, task });
        if tries >= MAX_INCONCLUSIVE {
            self.settle(now, task, None);
        }
        self.out.effects.push(Effect::Changed);
    }

    fn blob(&mut self, now: Timestamp, hash: &Hash, here: bool) {
        let waiting = self.pending.remove(hash).unwrap_or_default();
        for one in waiting {
            let worker = one.proof.leaf.worker;
            if here {
                self.vote(now, worker, one);
            } else {
                self.inconclusive(now, worker, one.task, &one.opened);
            }
        }
        let mut ready = Vec::new();
        for deferred in &mut self.deferred {
            deferred.missing.remove(hash);
        }
        self.deferred.retain_mut(|deferred| {
            let done = deferred.missing.is_empty();
            if done {
                ready.push(Deferred { missing: BTreeSet::new(), ..*deferred });
            }
            !done
        });
        for deferred in &ready {
            self.acknowledge(deferred);
        }
    }

    fn vote(&mut self, now: Timestamp, worker: PeerId, result: Pending) {
        let Pending { task, proof, opened } = result;
        let vote = Vote { worker, outcome: proof.outcome(), own: worker == self.me };
        let stats = self.workers.entry(worker).or_default();
        stats.returned += 1;
        stats.micros = stats.micros.saturating_add(opened.micros);
        let verdict = self.verifier.vote(task, vote);
        if let Verdict::Late { agrees } = verdict {
            let stats = self.workers.entry(worker).or_default();
            stats.late += 1;
            stats.outvoted += u64::from(!agrees);
            return;
        }
        self.out.records.push(Change::Put(Record::Vote {
            job: self.job,
            task,
            proof,
            output: opened.output,
            log: opened.log.into_vec(),
            micros: opened.micros,
        }));
        match verdict {
            Verdict::Wanted(need) => self.pool(now, pool::Input::Returned { worker, task, need }),
            Verdict::Accepted(acceptance) => {
                self.pool(now, pool::Input::Returned { worker, task, need: 0 });
                self.settle(now, task, Some(acceptance));
            }
            Verdict::Late { .. } => {}
        }
        self.out.effects.push(Effect::Changed);
    }

    fn settle(&mut self, now: Timestamp, task: TaskIndex, acceptance: Option<Acceptance>) {
        let place = u32::try_from(self.settled.len()).unwrap_or(u32::MAX);
        if let Some(acceptance) = &acceptance {
            for peer in &acceptance.agreed {
                self.workers.entry(*peer).or_default().agreed += 1;
            }
            for peer in &acceptance.outvoted {
                self.workers.entry(*peer).or_default().outvoted += 1;
            }
            self.verifier.restore(task, acceptance.outcome);
        }
        self.inconclusive.remove(&task);
        self.settled.push((task, acceptance.clone()));
        self.out.records.push(Change::Put(Record::Settled {
            job: self.job,
            task,
            place,
            acceptance,
        }));
        self.pool(now, pool::Input::Demand { task, need: 0 });
    }

    /// The submitter's own slots step in when peers have been too few for the patience time.
    fn supply(&mut self, now: Timestamp) {
        let starved = self.state == JobState::Running && self.pool.first_starved().is_some();
        if !starved {
            self.starved_since = None;
            return;
        }
        let since = *self.starved_since.get_or_insert(now);
        if self.may_supply() && now.since(since) >= self.config.patience {
            self.enter(now, self.me);
        }
    }

    fn may_supply(&self) -> bool {
        let own = self.workers.get(&self.me);
        self.manifest.local == Local::Reserve
            && own.is_some_and(|own| own.connected && !own.joined && own.slots > 0)
    }

    fn end(&mut self, now: Timestamp, state: JobState) {
        if self.state != JobState::Running {
            return;
        }
        (self.state, self.ended) = (state, Some(now));
        self.save_job();
        for key in core::mem::take(&mut self.leased) {
            self.out.records.push(Change::Delete(key));
        }
        self.pending.clear();
        let over = |job| Frame::Cancel(Cancel { job, tasks: Vec::new() });
        for (peer, stats) in &self.workers {
            if stats.joined {
                self.out.effects.push(Effect::Send(*peer, over(self.job)));
            }
        }
        self.out.effects.push(Effect::Changed);
    }

    fn save_job(&mut self) {
        self.out.records.push(Change::Put(Record::Job {
            job: self.job,
            manifest: self.manifest_hash,
            submitted: self.submitted,
            ended: self.ended,
            state: self.state,
        }));
    }

    fn pool(&mut self, now: Timestamp, input: pool::Input) {
        if self.state != JobState::Running {
            return;
        }
        for effect in self.pool.step(now, input) {
            match effect {
                pool::Effect::Lease { worker, lease, tasks } => {
                    let frame = self.lease_frame(lease, &tasks);
                    self.leased.push(Key::leased(&self.job, &lease));
                    self.out.records.push(Change::Put(Record::Leased {
                        job: self.job,
                        lease,
                        worker,
                        tasks,
                    }));
                    self.out.effects.push(Effect::Send(worker, frame));
                }
                pool::Effect::Cancel { worker, tasks } => {
                    let tasks = tasks.iter().map(|index| self.tasks[*index as usize].0).collect();
                    let frame = Frame::Cancel(Cancel { job: self.job, tasks });
                    self.out.effects.push(Effect::Send(worker, frame));
                }
            }
        }
    }

    fn lease_frame(&self, lease: crate::id::LeaseId, tasks: &[TaskIndex]) -> Frame {
        let leased = |index: &TaskIndex| {
            let (task, place) = *self.tasks.get(*index as usize)?;
            Some(LeasedTask { task, input: self.manifest.inputs.get(place)? })
        };
        Frame::Lease(Lease {
            lease,
            job: self.job,
            submitter: self.me,
            program: self.manifest.program.clone(),
            lasts_ms: u64::try_from(self.config.pool.lease.as_millis()).unwrap_or(u64::MAX),
            path: Vec::from([self.me]),
            tasks: tasks.iter().filter_map(leased).collect(),
        })
    }

    /// The task that answers input `place`.
    pub fn task_at(&self, place: u64) -> Option<TaskIndex> {
        let place = usize::try_from(place).ok()?;
        if self.order.is_empty() {
            (place < self.tasks.len()).then(|| TaskIndex::try_from(place).unwrap_or(TaskIndex::MAX))
        } else {
            self.order.get(place).copied()
        }
    }

    /// The input places that `task` answers.
    pub fn places_of(&self, task: TaskIndex) -> Vec<u64> {
        if self.order.is_empty() {
            return Vec::from([u64::from(task)]);
        }
        self.places.get(&task).cloned().unwrap_or_default()
    }

    /// A task's id.
    pub fn task_id(&self, task: TaskIndex) -> Option<TaskId> {
        self.tasks.get(task as usize).map(|(id, _)| *id)
    }

    /// The settled tasks from `after` on, in the order of settlement.
    pub fn settled(&self, after: usize) -> &[(TaskIndex, Option<Acceptance>)] {
        self.settled.get(after..).unwrap_or(&[])
    }

    /// What the job waits for, if it waits.
    pub fn waiting(&self) -> Option<String> {
        let task = self.pool.first_starved().filter(|_| self.state == JobState::Running)?;
        let own = self.workers.get(&self.me).is_some_and(|own| own.joined);
        if own {
            return None;
        }
        let eligible = self.pool.eligible_for(task);
        let quorum = self.manifest.policy.quorum();
        Some(alloc::format!(
            "results must come from {quorum} different peer(s), and only {eligible} more can compute the next task"
        ))
    }
}
