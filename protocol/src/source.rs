//! One job of this peer's own: hands its tasks out, takes results in, knows when it is over.
//!
//! The pool says who gets which task, the verifier when a result stands; this machine composes the
//! two for one job and speaks their decisions as frames and records.

mod results;
mod view;

#[cfg(test)]
mod tests;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};
use core::time::Duration;

use results::{Deferred, Fetching};
pub use view::{JobView, WorkerView};

use crate::{
    batch::Batch,
    crypto::Keypair,
    entropy::Entropy,
    id::{Hash, JobId, PeerId, TaskId},
    job::{Local, Manifest},
    limits::{MAX_LEASE_BYTES, MAX_LEASE_TASKS},
    pool::{self, Pool, TaskIndex},
    record::{Change, JobState, Key, Record},
    result::VerifiedBatch,
    time::Timestamp,
    verify::{Acceptance, Verdict, Verifier, Vote},
    wire::{Cancel, Frame, Lease, LeasedTask, Offer},
};

/// Own slots in reserve look this often whether they are needed.
const LOOK: Duration = Duration::from_secs(1);

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
    fetching: BTreeMap<Hash, Fetching>,
    /// Whose results for which tasks wait for their outputs.
    awaited: BTreeSet<(TaskIndex, PeerId)>,
    deferred: Vec<Deferred>,
    leased: Vec<Key>,
    /// Votes for tasks that were given up: no acceptance names them.
    loose: Vec<Key>,
    /// Settled tasks without success.
    failed: u64,
    starved_since: Option<Timestamp>,
    /// When it was last looked at whether tasks are starved.
    looked: Timestamp,
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
            fetching: BTreeMap::new(),
            awaited: BTreeSet::new(),
            deferred: Vec::new(),
            leased: Vec::new(),
            loose: Vec::new(),
            failed: 0,
            starved_since: None,
            looked: Timestamp(0),
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
        let mut given_up = BTreeSet::new();
        for (task, acceptance) in settled.into_values() {
            if acceptance.is_none() {
                given_up.insert(task);
            }
            source.settle(now, task, acceptance);
        }
        for (task, proof, micros) in votes {
            let worker = proof.leaf.worker;
            let own = worker == source.me;
            let stats = source.workers.entry(worker).or_default();
            stats.returned += 1;
            stats.micros = stats.micros.saturating_add(micros);
            if given_up.contains(&task) {
                source.loose.push(Key::vote(&job, task, &worker));
            }
            match source.verifier.vote(task, Vote { worker, outcome: proof.outcome(), own }) {
                Verdict::Wanted(need) => {
                    let _ = source.pool.step(now, pool::Input::Returned { worker, task, need });
                }
                // The crash came between the vote that settled the task and the record of that.
                Verdict::Accepted(acceptance) => source.settle(now, task, Some(acceptance)),
                Verdict::Late { .. } => {}
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
        if self.may_supply() {
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
        let supply = self.may_supply().then(|| {
            let since = self.starved_since.map(|since| since + self.config.patience);
            (since.unwrap_or(self.looked).max(self.looked + LOOK), "own slots supply")
        });
        self.pool.next_wake().into_iter().chain(supply).min()
    }

    /// Where the job stands.
    pub fn state(&self) -> JobState {
        self.state
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
        keys.extend(self.loose.iter().cloned());
        let open = self.verifier.open_votes();
        keys.extend(open.map(|(task, worker)| Key::vote(&self.job, task, &worker)));
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
            return self.out.effects.push(Effect::Send(worker, self.over()));
        }
        for tasks in self.pool.stale(&worker).chunks(MAX_LEASE_TASKS) {
            let frame = self.cancel_frame(tasks);
            self.out.effects.push(Effect::Send(worker, frame));
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
        self.forget_awaited(worker);
        self.pool(now, pool::Input::Left { worker: *worker });
    }

    fn credit(&mut self, now: Timestamp, worker: PeerId, tasks: u32) {
        if let Some(stats) = self.workers.get_mut(&worker).filter(|stats| stats.joined) {
            stats.window = tasks;
            self.pool(now, pool::Input::Credit { worker, tasks });
        }
    }

    /// The submitter's own slots step in when peers have been too few for the patience time. Looking
    /// for a starved task may take a look at all of them, so that is not done at every step.
    fn supply(&mut self, now: Timestamp) {
        if now < self.looked + LOOK {
            return;
        }
        self.looked = now;
        if self.pool.first_starved().is_none() {
            self.starved_since = None;
            return;
        }
        let since = *self.starved_since.get_or_insert(now);
        if now.since(since) >= self.config.patience {
            self.enter(now, self.me);
        }
    }

    fn may_supply(&self) -> bool {
        let own = self.workers.get(&self.me);
        self.manifest.local == Local::Reserve
            && self.state == JobState::Running
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
        self.fetching.clear();
        self.awaited.clear();
        self.deferred.clear();
        for (peer, stats) in &self.workers {
            if stats.joined {
                self.out.effects.push(Effect::Send(*peer, self.over()));
            }
        }
        self.out.effects.push(Effect::Changed);
    }

    /// Tells a worker to forget the job.
    fn over(&self) -> Frame {
        Frame::Cancel(Cancel { job: self.job, tasks: Vec::new() })
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
                    let frame = self.cancel_frame(&tasks);
                    self.out.effects.push(Effect::Send(worker, frame));
                }
            }
        }
    }

    fn cancel_frame(&self, tasks: &[TaskIndex]) -> Frame {
        let tasks = tasks.iter().map(|index| self.tasks[*index as usize].0).collect();
        Frame::Cancel(Cancel { job: self.job, tasks })
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
