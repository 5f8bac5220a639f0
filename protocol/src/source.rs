//! One job of this peer's own: hands its tasks out, takes results in, knows when it is over.
//!
//! The pool says who gets which task, the verifier when a result stands; this machine composes the
//! two for one job and speaks their decisions as frames and records. What the verifier learns of
//! workers goes into standings that all jobs of the peer share, and that are lent to each step.

mod handover;
mod leases;
mod members;
mod restore;
mod results;
mod routes;
mod verdicts;
mod view;

#[cfg(test)]
mod tests;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::time::Duration;

use handover::Promised;
use results::{Deferred, Fetching};
pub use routes::HopView;
use routes::Tree;
pub use view::{JobView, WorkerView};

use crate::{
    batch::Batch,
    cbor,
    crypto::Keypair,
    delegate::{Handover, Statement},
    entropy::Entropy,
    id::{Hash, JobId, PeerId, TaskId},
    job::Manifest,
    limits::{MAX_LEASE_BYTES, MAX_LEASE_TASKS},
    offer::Prefix,
    path::Trail,
    pool::{self, Pool, TaskIndex},
    record::{Change, JobState, Key, Record},
    relay::HopOutcome,
    result::{Outcome, Output, VerifiedBatch},
    standing::{Ban, Standings},
    time::Timestamp,
    verify::{self, Acceptance, Apart, State, Verifier},
    wire::{Entrusted, Frame},
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
        /// The network that its connection comes from.
        prefix: Prefix,
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
        /// Tasks computed at once by it and those below it; 0 if it hands nothing on.
        below: u32,
    },
    /// Results, checked as the worker's own.
    Results {
        /// Who.
        worker: PeerId,
        /// What.
        batch: VerifiedBatch,
    },
    /// Results of others, or by another way than their leases went; their signatures are checked, the
    /// trails are not.
    Relayed {
        /// Who sent them.
        from: PeerId,
        /// What.
        batch: VerifiedBatch,
        /// The way of each lease.
        trails: Vec<Trail>,
        /// The tasks of each lease, from a worker that goes round a relay.
        tasks: Vec<Vec<TaskId>>,
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
    /// A worker was banned, by this job or by another.
    Banned {
        /// Who.
        worker: PeerId,
    },
    /// The job's app was found to differ by machine, by another job.
    Quarantine(Apart),
    /// The job's delegate is connected now, or no longer.
    Delegate {
        /// Whether it is.
        here: bool,
    },
    /// The delegate says how it stands with the job.
    Entrusted(Entrusted),
    /// The delegate vouches for results, and its signature is checked.
    Vouched {
        /// For which.
        statement: Statement,
        /// Results that are still to come.
        left: u64,
    },
    /// Nothing new is to be begun: the job is over once what it has begun is settled.
    WindDown,
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
    /// A worker's result was proven wrong by this peer's own execution.
    Caught {
        /// Who.
        worker: PeerId,
        /// With which task.
        task: TaskIndex,
        /// What is right.
        right: Outcome,
        /// The ban that it is under.
        ban: Option<Ban>,
    },
    /// Nothing more is leased to this worker for this job.
    Excluded(PeerId),
    /// The job's app gives different results on different honest machines.
    Quarantined(Apart),
    /// A hop brought results here, or was gone round.
    Hop {
        /// Who.
        peer: PeerId,
        /// How.
        outcome: HopOutcome,
    },
    /// Connect to this peer, wherever it is.
    Reach(PeerId),
}

/// A job's settings that are not its submitter's to choose.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// How leases are sized.
    pub pool: pool::Config,
    /// How long to wait for eligible peers before the submitter's own slots supply what is missing.
    pub patience: Duration,
    /// Whether the job's app is known to differ by machine, and who is set apart.
    pub quarantined: Option<Apart>,
}

impl Default for Config {
    fn default() -> Self {
        Self { pool: pool::Config::default(), patience: Duration::from_secs(30), quarantined: None }
    }
}

#[derive(Debug, Default, Clone)]
struct WorkerStats {
    slots: u32,
    prefix: Prefix,
    connected: bool,
    joined: bool,
    /// It computes only what is wanted of it by name.
    reserved: bool,
    window: u32,
    /// Tasks computed at once by it and those below it; 0 if it hands nothing on.
    below: u32,
    returned: u64,
    agreed: u64,
    outvoted: u64,
    late: u64,
    inconclusive: u64,
    /// Results that were proven wrong.
    wrong: u64,
    micros: u64,
    heard: u64,
    /// The relay that its results come through.
    via: Option<PeerId>,
}

/// The machine. See the module's head for what it decides.
pub struct Source {
    me: PeerId,
    key: Keypair,
    job: JobId,
    manifest_hash: Hash,
    /// Bytes of the manifest, if it is to be handed over.
    manifest_len: u64,
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
    inconclusive: BTreeMap<TaskIndex, u32>,
    workers: BTreeMap<PeerId, WorkerStats>,
    fetching: BTreeMap<Hash, Fetching>,
    /// Whose results for which tasks wait for their outputs.
    awaited: BTreeSet<(TaskIndex, PeerId)>,
    deferred: Vec<Deferred>,
    /// Outputs of stored votes that are blobs.
    outputs: BTreeSet<Hash>,
    leased: Vec<Key>,
    /// Tasks that stand for good or were given up.
    settled: u64,
    /// Of these, the ones without success.
    failed: u64,
    starved_since: Option<Timestamp>,
    /// When it was last looked at whether tasks are starved.
    looked: Timestamp,
    /// The last tick.
    ticked: Timestamp,
    quarantined: Option<Apart>,
    /// Whether it was taken back from the store, which may have lost what was written last.
    restored: bool,
    tree: Tree,
    /// Batches that were brought round a relay.
    bypassed: BTreeSet<Hash>,
    /// Who carries the job on while this peer is away, if anyone.
    handover: Option<Handover>,
    /// Results that the delegate vouches for, by their outputs, which are on their way.
    promised: BTreeMap<Hash, Vec<Promised>>,
    /// Tasks that stand on the delegate's word and whose record is stored.
    vouched: BTreeSet<TaskIndex>,
    out: Batch<Effect>,
}

/// The blob that holds an output, if it does not travel inline.
fn blob_of(output: &Output) -> Option<Hash> {
    match output {
        Output::Inline(_) => None,
        Output::Blob { hash, .. } => Some(*hash),
    }
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
        let quarantined = config.quarantined;
        let mut source = Self::build(key, job, manifest_hash, manifest, config, now, &mut entropy);
        source.quarantined = quarantined;
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
        if manifest.policy.checks() {
            shuffle(&manifest_hash, &mut tasks, &mut by_id, &mut order);
        } else if order.len() == tasks.len() {
            order = Vec::new();
        }
        let mut places: BTreeMap<TaskIndex, Vec<u64>> = BTreeMap::new();
        for (place, task) in order.iter().enumerate() {
            places.entry(*task).or_default().push(place as u64);
        }
        let per_lease = (MAX_LEASE_BYTES / (largest + 64)).clamp(1, MAX_LEASE_TASKS);
        config.pool.most = u32::try_from(per_lease).unwrap_or(1);
        config.pool.reopens = manifest.policy.checks();
        let count = u32::try_from(tasks.len()).unwrap_or(u32::MAX);
        let need = manifest.policy.quorum();
        let me = key.peer_id();
        let handover = manifest.delegate.filter(|one| *one != me).map(Handover::new);
        let manifest_len = handover.as_ref().map_or(0, |_| cbor::encode(&manifest).len() as u64);
        let verifying = verify::Config {
            policy: manifest.policy,
            tasks: count,
            provisional: manifest.provisional,
            quarantined: config.quarantined,
        };
        Self {
            me,
            key,
            job,
            manifest_hash,
            manifest_len,
            config,
            submitted: now,
            ended: None,
            state: JobState::Running,
            tasks,
            by_id,
            order,
            places,
            pool: Pool::new(config.pool, count, need, Entropy::new(&entropy.draw())),
            verifier: Verifier::new(verifying, me, entropy.draw()),
            manifest,
            inconclusive: BTreeMap::new(),
            workers: BTreeMap::new(),
            fetching: BTreeMap::new(),
            awaited: BTreeSet::new(),
            deferred: Vec::new(),
            outputs: BTreeSet::new(),
            leased: Vec::new(),
            settled: 0,
            failed: 0,
            starved_since: None,
            looked: Timestamp(0),
            ticked: now,
            quarantined: config.quarantined,
            restored: false,
            tree: Tree::default(),
            bypassed: BTreeSet::new(),
            handover,
            promised: BTreeMap::new(),
            vouched: BTreeSet::new(),
            out: Batch::default(),
        }
    }

    /// Takes one input and says what is to be stored and done.
    pub fn step(
        &mut self,
        now: Timestamp,
        input: Input,
        standings: &mut Standings,
    ) -> Batch<Effect> {
        match input {
            Input::Join { worker, slots, prefix } => {
                self.join(now, worker, slots, prefix, standings);
            }
            Input::Leave { worker } => self.leave(now, &worker, standings),
            Input::Credit { worker, tasks, below } => self.credit(now, worker, tasks, below),
            Input::Results { worker, batch } => self.results(now, worker, &batch, standings),
            Input::Relayed { from, batch, trails, tasks } => {
                self.relayed(now, from, &batch, (&trails, &tasks), standings);
            }
            Input::Renew { worker, leases } => {
                self.verifier.renewed(now, &worker);
                for lease in leases {
                    self.pool(now, pool::Input::Renewed { worker, lease });
                }
            }
            Input::Blob { hash, here } => self.blob(now, &hash, here, standings),
            Input::Cancel => self.end(now, JobState::Cancelled),
            Input::Banned { worker } => self.banned(now, worker, standings),
            Input::Quarantine(apart) => {
                self.verifier.quarantine(now, apart, standings);
                self.verified(now, standings);
            }
            Input::Delegate { here } => self.delegate_here(here),
            Input::Entrusted(said) => self.entrusted(&said),
            Input::Vouched { statement, left } => self.vouched(now, &statement, left, standings),
            Input::WindDown => self.wind_down(now),
            Input::Tick => self.tick(now, standings),
        }
        self.resume_leasing(now, standings);
        if self.may_supply() {
            self.supply(now, standings);
        } else if self.state == JobState::Running && !self.is_held() {
            self.take_single_paths(now, standings);
        }
        if self.state == JobState::Running {
            self.verifier.advance(now, standings);
            self.verified(now, standings);
            if self.verifier.is_over() {
                self.end(now, JobState::Done);
            }
        }
        self.tell_delegate(now);
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
        let single = self.starved_since.filter(|_| !self.may_supply());
        let single = single.map(|_| (self.looked + LOOK, "votes with a single path"));
        let patience = self.verifier.next_wake(self.ticked);
        let delegate =
            self.handover.as_ref().and_then(|one| one.next_wake(self.verifier.next_place()));
        let pool = self.pool.next_wake();
        pool.into_iter().chain(delegate).chain(supply).chain(single).chain(patience).min()
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

    /// The window that `peer` has for this job, and the slots below it.
    pub fn window_of(&self, peer: &PeerId) -> Option<(u32, u32)> {
        let joined = self.workers.get(peer).filter(|stats| stats.joined);
        joined.map(|stats| (stats.window, stats.below))
    }

    /// The keys of every record that the job may have left, but its own.
    pub fn keys(&self) -> Vec<Key> {
        let mut keys = self.leased.clone();
        keys.extend(self.workers.keys().map(|worker| Key::heard(&self.job, worker)));
        let votes = self.verifier.votes();
        keys.extend(votes.map(|(task, worker)| Key::vote(&self.job, task, &worker)));
        keys.push(Key::handover(&self.job));
        keys.extend(self.vouched.iter().map(|task| Key::vouched(&self.job, *task)));
        let decided = self.verifier.feed(0);
        keys.extend(decided.map(|(_, task)| Key::decided(&self.job, task)));
        keys
    }

    fn tick(&mut self, now: Timestamp, standings: &mut Standings) {
        self.ticked = now;
        self.pool(now, pool::Input::Tick);
        if self.is_running() {
            self.verifier.tick(now, standings);
            self.verified(now, standings);
        }
    }

    fn end(&mut self, now: Timestamp, state: JobState) {
        if self.state != JobState::Running {
            return;
        }
        (self.state, self.ended) = (state, Some(now));
        self.verifier.end();
        self.save_job();
        for key in core::mem::take(&mut self.leased) {
            self.out.records.push(Change::Delete(key));
        }
        self.fetching.clear();
        self.awaited.clear();
        self.deferred.clear();
        self.promised.clear();
        // Those as well that have refused it meanwhile: they may have offered it to others.
        let over = self.over();
        let tell = |peer: &PeerId| Effect::Send(*peer, over.clone());
        self.out.effects.extend(self.workers.keys().map(tell));
        self.release_delegate();
        self.out.effects.push(Effect::Changed);
    }

    fn save_job(&mut self) {
        self.out.records.push(Change::Put(Record::Job {
            job: self.job,
            manifest: self.manifest_hash,
            submitted: self.submitted,
            ended: self.ended,
            state: self.state,
            quarantined: self.quarantined.is_some(),
            own_apart: self.quarantined == Some(Apart::Own),
        }));
    }

    /// The blobs that the job keeps besides those of its manifest: the manifest itself, and outputs.
    pub fn blobs(&self) -> impl Iterator<Item = Hash> + '_ {
        core::iter::once(self.manifest_hash).chain(self.outputs.iter().copied())
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

    /// A task by its id.
    pub fn index_of(&self, task: &TaskId) -> Option<TaskIndex> {
        self.by_id.get(task).copied()
    }

    /// A task's id.
    pub fn task_id(&self, task: TaskIndex) -> Option<TaskId> {
        self.tasks.get(task as usize).map(|(id, _)| *id)
    }

    /// What is known of tasks, in the order of the latest change of each, from place `after` on: with
    /// each its place. Who goes on from one past the last place seen misses nothing.
    pub fn feed(&self, after: u64) -> impl Iterator<Item = (u64, TaskIndex)> + '_ {
        self.verifier.feed(after)
    }

    /// Where a task stands.
    pub fn task_state(&self, task: TaskIndex) -> State {
        self.verifier.state(task)
    }

    /// What is believed of a task.
    pub fn acceptance(&self, task: TaskIndex) -> Option<&Acceptance> {
        self.verifier.acceptance(task)
    }

    /// Bytes that verification holds for tasks that are not final, and their number.
    pub fn footprint(&self) -> (usize, usize) {
        self.verifier.footprint()
    }
}

/// Puts tasks in an order that follows from what no worker knows, the digest of the manifest. A task
/// that is computed again to check its first result is then not told apart by coming out of turn.
fn shuffle(
    key: &Hash,
    tasks: &mut [(TaskId, u64)],
    by_id: &mut BTreeMap<TaskId, TaskIndex>,
    order: &mut [TaskIndex],
) {
    let rank = |id: &TaskId| *blake3::keyed_hash(&key.0, &id.0).as_bytes();
    let mut ranked: Vec<([u8; 32], TaskIndex)> =
        by_id.iter().map(|(id, from)| (rank(id), *from)).collect();
    ranked.sort_unstable();
    let mut moved = alloc::vec![0; tasks.len()];
    for (to, (_, from)) in ranked.into_iter().enumerate() {
        moved[from as usize] = TaskIndex::try_from(to).unwrap_or(TaskIndex::MAX);
    }
    by_id.values_mut().for_each(|index| *index = moved[*index as usize]);
    tasks.sort_by_cached_key(|(id, _)| rank(id));
    order.iter_mut().for_each(|index| *index = moved[*index as usize]);
}
