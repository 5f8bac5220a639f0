//! One job of another peer's, as its worker keeps it: what is queued, what is done and unsent, what
//! is sent and unacknowledged.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    vec::Vec,
};
use core::time::Duration;

use crate::{
    crypto::Keypair,
    id::{Hash, JobId, LeaseId, PeerId, TaskId},
    limits::{BATCH_CLOSE, GATHER, MAX_BATCH, SLOW_ACK},
    path::{Hop, Trail},
    record::{Change, Key, Record},
    relay::{PATIENCE, patience},
    result::{Commit, Opened, Reveal},
    task::{Input, Program},
    time::Timestamp,
    wire::{Frame, Lease},
};

/// Inputs of one job that are given to others, also after their tasks are done: those who are later
/// with theirs still need them.
const MAX_SHARED: usize = 256;

/// A task held and not concluded.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) task: TaskId,
    pub(super) lease: LeaseId,
    pub(super) submitter: PeerId,
    pub(super) input: Input,
}

#[derive(Debug)]
pub(super) struct Foreign {
    pub(super) program: Option<Arc<Program>>,
    /// Whether its blobs may be given to anyone, and the inputs seen so far, the latest of them.
    shares: bool,
    inputs: VecDeque<Hash>,
    pub(super) queue: VecDeque<Held>,
    /// Tasks of each lease that are not yet in a stored batch; at none the lease is forgotten.
    open: BTreeMap<LeaseId, u32>,
    results: Vec<Opened>,
    since: Timestamp,
    /// The next batch's number. It starts at the clock, so that a worker that forgot its last
    /// number in a crash never uses one again.
    sequence: u64,
    pub(super) unacked: BTreeMap<u64, Unacked>,
    /// The ways of the leases that results are owed under.
    paths: BTreeMap<LeaseId, (Vec<Hop>, Vec<TaskId>)>,
    pub(super) submitter: Option<PeerId>,
    /// Whether the source says that it has no way to the submitter.
    pub(super) away: bool,
    /// When it last said that it has one.
    pub(super) way: Timestamp,
    /// Batches that had to be brought round the source.
    pub(super) dropped: u32,
    /// How long the last acknowledgement took.
    ack_took: Duration,
}

/// A batch that is not acknowledged.
#[derive(Debug)]
pub(super) struct Unacked {
    pub(super) commit: Commit,
    pub(super) opened: Vec<Opened>,
    pub(super) sent: Option<Timestamp>,
    /// When it was brought round the source.
    pub(super) detoured: Option<Timestamp>,
}

impl Unacked {
    /// When it is to go another way; `gone` is since when its source is not there, `way` since when it has
    /// had one to the submitter.
    pub(super) fn due(&self, gone: Option<Timestamp>, way: Timestamp) -> Option<Timestamp> {
        match self.detoured {
            Some(detoured) => Some(detoured + 3 * PATIENCE),
            None => match gone {
                Some(since) => Some(since + PATIENCE),
                // One that says time and again that it has a way is not waited for without end.
                None => self.sent.map(|sent| {
                    let patience = patience(&self.opened);
                    sent.max(way.min(sent + patience * 3)) + patience
                }),
            },
        }
    }
}

/// The frame that opens `commit`.
pub(super) fn reveal(commit: &Commit, opened: &[Opened]) -> Frame {
    Frame::Reveal(Reveal { root: commit.root, opened: opened.to_vec() })
}

impl Foreign {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            program: None,
            shares: false,
            inputs: VecDeque::new(),
            queue: VecDeque::new(),
            open: BTreeMap::new(),
            results: Vec::new(),
            since: now,
            sequence: now.0,
            unacked: BTreeMap::new(),
            paths: BTreeMap::new(),
            submitter: None,
            away: false,
            way: Timestamp(0),
            dropped: 0,
            ack_took: Duration::ZERO,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.results.is_empty()
    }

    pub(super) fn leases(&self) -> impl Iterator<Item = LeaseId> + '_ {
        self.open.keys().copied()
    }

    pub(super) fn has_lease(&self, lease: &LeaseId) -> bool {
        self.open.contains_key(lease)
    }

    /// Takes back a stored batch.
    pub(super) fn keep(&mut self, commit: Commit, opened: Vec<Opened>, trails: Vec<Trail>) {
        self.sequence = self.sequence.max(commit.sequence + 1);
        self.submitter = self.submitter.or(opened.first().map(|one| one.leaf.submitter));
        for trail in trails {
            if let Some(lease) = trail.lease() {
                self.paths.insert(lease, (trail.hops, Vec::new()));
            }
        }
        let batch = Unacked { commit, opened, sent: None, detoured: None };
        self.unacked.insert(batch.commit.sequence, batch);
    }

    /// A lease came this way.
    pub(super) fn came_by(&mut self, lease: &Lease) {
        self.submitter = Some(lease.submitter);
        if lease.path.len() > 1 {
            let tasks = lease.tasks.iter().map(|one| one.task).collect();
            self.paths.insert(lease.lease, (lease.path.clone(), tasks));
        }
    }

    /// The tasks that the last hops of these ways were signed for.
    pub(super) fn tasks_of(&self, trails: &[Trail]) -> Vec<Vec<TaskId>> {
        let leases = trails.iter().filter_map(Trail::lease);
        leases.filter_map(|lease| Some(self.paths.get(&lease)?.1.clone())).collect()
    }

    /// The ways of the leases of these results, as far as they lead through a relay.
    pub(super) fn trails(&self, opened: &[Opened]) -> Vec<Trail> {
        let leases: BTreeSet<LeaseId> = opened.iter().map(|one| one.leaf.lease).collect();
        let paths = leases.iter().filter_map(|lease| self.paths.get(lease));
        paths.map(|(hops, _)| Trail { parent: None, hops: hops.clone() }).collect()
    }

    /// Forgets the ways of leases that nothing is owed under any more.
    fn forget_paths(&mut self) {
        if self.paths.is_empty() {
            return;
        }
        let unacked = self.unacked.values().flat_map(|batch| &batch.opened);
        let owed: BTreeSet<LeaseId> =
            unacked.chain(&self.results).map(|one| one.leaf.lease).collect();
        let open = &self.open;
        self.paths.retain(|lease, _| open.contains_key(lease) || owed.contains(lease));
    }

    /// Whether nothing of the job is left to do or to say.
    pub(super) fn is_over(&self) -> bool {
        self.is_idle() && self.open.is_empty() && self.unacked.is_empty()
    }

    /// Tasks whose results are on the way: they are never computed again. What could not be
    /// concluded is no result: a new lease, which may come ahead of the acknowledgement, asks for
    /// another try.
    pub(super) fn delivered(&self) -> BTreeSet<TaskId> {
        let unacked = self.unacked.values().flat_map(|batch| &batch.opened);
        let all = self.results.iter().chain(unacked).map(|one| &one.leaf);
        all.filter(|leaf| leaf.status.is_conclusive()).map(|leaf| leaf.task).collect()
    }

    /// Whether `output` is that of a result which is not acknowledged.
    pub(super) fn owes(&self, output: &Hash) -> bool {
        self.owed().any(|hash| hash == *output)
    }

    /// The outputs of results that are not acknowledged, sent or not.
    pub(super) fn owed(&self) -> impl Iterator<Item = Hash> + '_ {
        let opened = self.unacked.values().flat_map(|batch| &batch.opened).chain(&self.results);
        opened.filter_map(|one| one.output.blob())
    }

    /// Tasks that wait to be computed.
    pub(super) fn queued(&self) -> BTreeSet<TaskId> {
        self.queue.iter().map(|held| held.task).collect()
    }

    /// Moves a queued task from the lease that it is held under to a newer one.
    pub(super) fn move_task(&mut self, held: Held, records: &mut Vec<Change>, source: PeerId) {
        if let Some(queued) = self.queue.iter_mut().find(|one| one.task == held.task) {
            let older = core::mem::replace(&mut queued.lease, held.lease);
            self.release(&older, records, source);
        }
    }

    /// Lets go of queued tasks beyond the first `keep`; says how many are left.
    pub(super) fn shed(&mut self, keep: usize, records: &mut Vec<Change>, source: PeerId) -> usize {
        while self.queue.len() > keep
            && let Some(held) = self.queue.pop_back()
        {
            self.release(&held.lease, records, source);
        }
        self.queue.len()
    }

    /// Notes whether a lease's blobs may be given to others. A job that says no once has said no.
    pub(super) fn note_share(&mut self, lease: &Lease) {
        self.shares = lease.share == 1 && (self.shares || self.program.is_none());
        for hash in lease.tasks.iter().filter_map(|task| task.input.blob()) {
            if !self.inputs.contains(&hash) {
                self.inputs.push_back(hash);
            }
        }
        self.inputs.drain(..self.inputs.len().saturating_sub(MAX_SHARED));
    }

    /// Whether the blob is one of the job's that may be given to anyone.
    pub(super) fn shares(&self, hash: &Hash) -> bool {
        let of_program =
            || self.program.iter().any(|program| program.blobs().any(|one| one == *hash));
        self.shares && (of_program() || self.inputs.contains(hash))
    }

    /// The blobs that the job's tasks need.
    pub(super) fn blobs(&self) -> impl Iterator<Item = Hash> + '_ {
        let program = self.program.iter().flat_map(|program| program.blobs());
        program.chain(self.queue.iter().filter_map(|held| held.input.blob()))
    }

    /// The length of a blob, if a queued task needs it.
    pub(super) fn needs(&self, hash: &Hash) -> Option<u64> {
        let program = self.program.as_ref().filter(|_| !self.queue.is_empty())?;
        let module = (program.module, program.module_len);
        let data = program.data.iter().map(|file| (file.hash, file.len));
        let inputs = self.queue.iter().filter_map(|held| match held.input {
            Input::Blob { hash, len } => Some((hash, len)),
            Input::Inline(_) => None,
        });
        core::iter::once(module)
            .chain(data)
            .chain(inputs)
            .find(|(of, _)| of == hash)
            .map(|(_, len)| len)
    }

    /// Notes how many tasks a lease has open.
    pub(super) fn hold(
        &mut self,
        lease: LeaseId,
        count: u32,
        records: &mut Vec<Change>,
        source: PeerId,
    ) {
        if count == 0 {
            records.push(Change::Delete(Key::held(&source, &lease)));
        } else {
            *self.open.entry(lease).or_default() += count;
        }
    }

    /// One task of the lease is no longer open.
    pub(super) fn release(&mut self, lease: &LeaseId, records: &mut Vec<Change>, source: PeerId) {
        let Some(open) = self.open.get_mut(lease) else { return };
        *open -= 1;
        if *open == 0 {
            self.open.remove(lease);
            records.push(Change::Delete(Key::held(&source, lease)));
        }
    }

    pub(super) fn drop_tasks(
        &mut self,
        tasks: &[TaskId],
        records: &mut Vec<Change>,
        source: PeerId,
    ) {
        let mut dropped = Vec::new();
        self.queue.retain(|held| {
            let hit = tasks.contains(&held.task);
            if hit {
                dropped.push(held.lease);
            }
            !hit
        });
        for lease in dropped {
            self.release(&lease, records, source);
        }
    }

    fn program_ready(&self, here: &BTreeSet<Hash>) -> bool {
        self.program.as_ref().is_some_and(|program| {
            here.contains(&program.module)
                && program.data.iter().all(|file| here.contains(&file.hash))
        })
    }

    fn is_ready(held: &Held, here: &BTreeSet<Hash>) -> bool {
        match &held.input {
            Input::Inline(_) => true,
            Input::Blob { hash, .. } => here.contains(hash),
        }
    }

    pub(super) fn has_ready(&self, here: &BTreeSet<Hash>) -> bool {
        self.program_ready(here) && self.queue.iter().any(|held| Self::is_ready(held, here))
    }

    pub(super) fn take_ready(&mut self, here: &BTreeSet<Hash>) -> Option<Held> {
        let at = self.queue.iter().position(|held| Self::is_ready(held, here))?;
        self.queue.remove(at)
    }

    /// Takes out the tasks that cannot be computed without `hash`.
    pub(super) fn take_needing(&mut self, hash: &Hash) -> Vec<Held> {
        let all = self.program.as_ref().is_some_and(|program| {
            program.module == *hash || program.data.iter().any(|file| file.hash == *hash)
        });
        let needs = |held: &Held| {
            all || matches!(&held.input, Input::Blob { hash: own, .. } if own == hash)
        };
        let (taken, kept): (Vec<Held>, Vec<Held>) =
            core::mem::take(&mut self.queue).into_iter().partition(needs);
        self.queue = kept.into();
        taken
    }

    pub(super) fn add(&mut self, now: Timestamp, opened: Opened) {
        if self.results.is_empty() {
            self.since = now;
        }
        self.results.push(opened);
    }

    /// A batch went to the source.
    pub(super) fn sent(&mut self, now: Timestamp, sequence: u64) {
        if let Some(batch) = self.unacked.get_mut(&sequence) {
            batch.sent = Some(now);
        }
    }

    pub(super) fn open_results(&self) -> usize {
        self.results.len()
    }

    pub(super) fn closes_at(&self) -> Option<Timestamp> {
        let under_way = || self.unacked.values().any(|batch| batch.sent.is_some());
        let age = if self.ack_took > SLOW_ACK && under_way() { GATHER } else { BATCH_CLOSE };
        (!self.results.is_empty()).then(|| self.since + age)
    }

    /// Signs the oldest results and stores them; their leases' last records go with the same change.
    pub(super) fn close(
        &mut self,
        now: Timestamp,
        key: &Keypair,
        job: JobId,
        records: &mut Vec<Change>,
        source: PeerId,
    ) -> (Commit, Frame) {
        let rest = self.results.split_off(self.results.len().min(MAX_BATCH));
        let opened = core::mem::replace(&mut self.results, rest);
        self.since = now;
        let commit = Commit::sign(key, job, self.sequence, &opened);
        self.sequence += 1;
        records.push(Change::Put(Record::Batch {
            source,
            commit: commit.clone(),
            opened: opened.clone(),
            trails: self.trails(&opened),
        }));
        for one in &opened {
            self.release(&one.leaf.lease, records, source);
        }
        let frame = reveal(&commit, &opened);
        let batch = Unacked { commit: commit.clone(), opened, sent: None, detoured: None };
        self.unacked.insert(commit.sequence, batch);
        (commit, frame)
    }

    /// Whether the batch with this root is owed.
    pub(super) fn has_batch(&self, root: &Hash) -> bool {
        self.unacked.values().any(|batch| batch.commit.root == *root)
    }

    /// The submitter has every batch up to `highest`.
    pub(super) fn acked(
        &mut self,
        now: Timestamp,
        highest: u64,
        records: &mut Vec<Change>,
        source: PeerId,
    ) {
        let kept = self.unacked.split_off(&highest.saturating_add(1));
        for (sequence, batch) in core::mem::replace(&mut self.unacked, kept) {
            self.ack_took = batch.sent.map_or(self.ack_took, |sent| now.since(sent));
            records.push(Change::Delete(Key::batch(&source, &batch.commit.job, sequence)));
        }
        self.forget_paths();
    }

    /// The submitter has the batch with this root, which came to it through relays: the numbers of
    /// others' batches mean nothing to it. Says whether the batch had gone another way.
    pub(super) fn acked_one(
        &mut self,
        now: Timestamp,
        root: &Hash,
        records: &mut Vec<Change>,
        source: PeerId,
    ) -> Option<bool> {
        let hit = |(_, batch): &(&u64, &Unacked)| batch.commit.root == *root;
        let sequence = self.unacked.iter().find(hit).map(|(sequence, _)| *sequence)?;
        let batch = self.unacked.remove(&sequence)?;
        self.ack_took = batch.sent.map_or(self.ack_took, |sent| now.since(sent));
        records.push(Change::Delete(Key::batch(&source, &batch.commit.job, sequence)));
        self.forget_paths();
        Some(batch.detoured.is_some())
    }

    /// Deletes every record of the job.
    pub(super) fn forget(self, records: &mut Vec<Change>, source: PeerId, job: JobId) {
        for lease in self.open.keys() {
            records.push(Change::Delete(Key::held(&source, lease)));
        }
        for sequence in self.unacked.keys() {
            records.push(Change::Delete(Key::batch(&source, &job, *sequence)));
        }
    }
}
