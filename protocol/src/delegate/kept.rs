//! One job that is kept for its submitter: what it takes, what is settled there, what became final here.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    vec::Vec,
};

use crate::{
    id::{Hash, JobId, PeerId, TaskId},
    job::{Audience, Inputs, Local, Manifest},
    limits::MAX_TEXT,
    pool::TaskIndex,
    task::Input,
    time::Timestamp,
};

/// Blobs of one job that are fetched at once.
const FETCHED: usize = 32;

/// How far the keeping of a job has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its manifest is on its way.
    Manifest,
    /// What the manifest names is.
    Blobs,
    /// All of it is here.
    Whole,
}

/// An own job that carries it on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Carry {
    pub(super) own: JobId,
    /// Whether it has ended.
    pub(super) over: bool,
    /// Whether it takes up nothing new.
    pub(super) wound: bool,
}

/// One job.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) manifest_hash: Hash,
    pub(super) len: u64,
    pub(super) stage: Stage,
    pub(super) manifest: Option<Manifest>,
    /// Its distinct tasks: id, and the first input place that asks for it.
    tasks: Vec<(TaskId, u64)>,
    by_id: BTreeMap<TaskId, TaskIndex>,
    missing: Vec<(Hash, u64)>,
    pub(super) asked: BTreeSet<Hash>,
    /// Settled at the submitter.
    pub(super) settled: BTreeSet<TaskIndex>,
    /// Up to which place of the submitter's that is known.
    pub(super) upto: u64,
    /// Records of what is settled there.
    pub(super) parts: u64,
    /// Whether the submitter has entrusted it on this stream.
    pub(super) present: bool,
    /// Since when the submitter is away.
    pub(super) away: Option<Timestamp>,
    pub(super) seen: Timestamp,
    pub(super) sought: Timestamp,
    /// A manifest of what is left, that is being stored.
    pub(super) keeping: Option<(Hash, Manifest)>,
    pub(super) carries: Vec<Carry>,
    pub(super) ended: bool,
    /// Tasks that the next own job begins with. What one could not settle is not tried again before
    /// the submitter has been back.
    open: BTreeSet<TaskIndex>,
    /// Final here and not settled there, by the own job that has the result.
    pub(super) done: BTreeMap<TaskIndex, JobId>,
    /// Of these, to be told.
    pub(super) ready: BTreeSet<TaskIndex>,
    /// Of these, being read from the store.
    pub(super) recalling: BTreeSet<TaskIndex>,
    /// Of these, told, and when.
    pub(super) told: BTreeMap<TaskIndex, Timestamp>,
    /// Outputs told of on this stream.
    pub(super) offered: BTreeSet<Hash>,
}

impl Kept {
    pub(super) fn new(now: Timestamp, manifest_hash: Hash, len: u64) -> Self {
        Self {
            manifest_hash,
            len,
            stage: Stage::Manifest,
            manifest: None,
            tasks: Vec::new(),
            by_id: BTreeMap::new(),
            missing: Vec::new(),
            asked: BTreeSet::new(),
            settled: BTreeSet::new(),
            upto: 0,
            parts: 0,
            present: false,
            away: Some(now),
            seen: now,
            sought: now,
            keeping: None,
            carries: Vec::new(),
            ended: false,
            open: BTreeSet::new(),
            done: BTreeMap::new(),
            ready: BTreeSet::new(),
            recalling: BTreeSet::new(),
            told: BTreeMap::new(),
            offered: BTreeSet::new(),
        }
    }

    /// Takes its manifest, whose bounds are checked.
    pub(super) fn set_manifest(&mut self, manifest: Manifest) {
        for place in 0..manifest.inputs.count() {
            let Some(input) = manifest.inputs.get(place) else { break };
            let id = manifest.program.task_id(&input.hash());
            let tasks = &mut self.tasks;
            self.by_id.entry(id).or_insert_with(|| {
                tasks.push((id, place));
                TaskIndex::try_from(tasks.len() - 1).unwrap_or(TaskIndex::MAX)
            });
        }
        self.reopen();
        self.missing = parts(&manifest);
        self.manifest = Some(manifest);
        self.stage = Stage::Blobs;
    }

    /// The blobs to ask for next.
    pub(super) fn next_blobs(&mut self) -> Vec<(Hash, u64)> {
        let room = FETCHED.saturating_sub(self.asked.len()).min(self.missing.len());
        let next = self.missing.split_off(self.missing.len() - room);
        self.asked.extend(next.iter().map(|(hash, _)| *hash));
        next
    }

    pub(super) fn index(&self, task: &TaskId) -> Option<TaskIndex> {
        self.by_id.get(task).copied()
    }

    pub(super) fn id(&self, task: TaskIndex) -> Option<TaskId> {
        self.tasks.get(task as usize).map(|(id, _)| *id)
    }

    pub(super) fn tasks(&self) -> usize {
        self.tasks.len()
    }

    /// Whatever nobody is known to have a result of may be carried on.
    pub(super) fn reopen(&mut self) {
        let count = TaskIndex::try_from(self.tasks.len()).unwrap_or(TaskIndex::MAX);
        let known = |task: &TaskIndex| self.settled.contains(task) || self.done.contains_key(task);
        self.open = (0..count).filter(|task| !known(task)).collect();
    }

    /// A task is settled at the submitter.
    pub(super) fn settle(&mut self, task: TaskIndex) {
        self.settled.insert(task);
        self.open.remove(&task);
        self.done.remove(&task);
        self.ready.remove(&task);
        self.recalling.remove(&task);
        self.told.remove(&task);
    }

    /// A task became final here.
    pub(super) fn finish(&mut self, task: TaskIndex, own: JobId) {
        if !self.settled.contains(&task) && !self.done.contains_key(&task) {
            self.done.insert(task, own);
            self.ready.insert(task);
            self.open.remove(&task);
        }
    }

    /// Whatever was told and not answered is to be told again.
    pub(super) fn take_back(&mut self) {
        self.ready = self.done.keys().copied().collect();
        self.recalling.clear();
        self.told.clear();
        self.offered.clear();
    }

    /// An own job and its results are gone.
    pub(super) fn lose(&mut self, own: &JobId) {
        self.carries.retain(|one| one.own != *own);
        let gone: Vec<TaskIndex> =
            self.done.iter().filter(|(_, of)| *of == own).map(|(task, _)| *task).collect();
        for task in gone {
            self.drop_result(task);
        }
    }

    pub(super) fn drop_result(&mut self, task: TaskIndex) {
        self.done.remove(&task);
        self.ready.remove(&task);
        self.recalling.remove(&task);
        self.told.remove(&task);
    }

    /// Results that are still to be told.
    pub(super) fn left(&self) -> u64 {
        (self.ready.len() + self.recalling.len()) as u64
    }

    /// Whether an own job may be begun with what is left.
    pub(super) fn may_begin(&self) -> bool {
        self.stage == Stage::Whole
            && !self.present
            && !self.ended
            && self.keeping.is_none()
            && self.carries.iter().all(|one| one.over)
            && !self.open.is_empty()
    }

    /// The job that carries on what is left: the same program, policy and audience.
    pub(super) fn rest(&mut self, me: &PeerId, submitter: &PeerId) -> Option<Manifest> {
        let remaining = core::mem::take(&mut self.open);
        let manifest = self.manifest.as_ref()?;
        let place = |task: &TaskIndex| self.tasks.get(*task as usize).map(|(_, place)| *place);
        let input = |task: &TaskIndex| manifest.inputs.get(place(task)?);
        let inputs: Vec<Input> = remaining.iter().filter_map(input).collect();
        // Own slots compute where they would have computed for the submitter.
        let local = match &manifest.audience {
            Audience::Named(peers) if !peers.contains(me) => Local::Never,
            _ => Local::Always,
        };
        let rest = Manifest {
            name: name(&manifest.name, submitter),
            program: manifest.program.clone(),
            inputs: Inputs::List(inputs),
            policy: manifest.policy,
            local,
            provisional: manifest.provisional,
            audience: manifest.audience.clone(),
            confidential: manifest.confidential,
            delegate: None,
        };
        Some(rest)
    }

    /// Every blob that it takes.
    pub(super) fn blobs(&self) -> impl Iterator<Item = Hash> + '_ {
        let named = self.manifest.iter().flat_map(Manifest::blobs);
        let keeping = self.keeping.iter().map(|(hash, _)| *hash);
        core::iter::once(self.manifest_hash).chain(named).chain(keeping)
    }
}

/// What a manifest names, with lengths, each once.
fn parts(manifest: &Manifest) -> Vec<(Hash, u64)> {
    let program = &manifest.program;
    let mut parts = Vec::from([(program.module, program.module_len)]);
    parts.extend(program.data.iter().map(|file| (file.hash, file.len)));
    if let Inputs::List(list) = &manifest.inputs {
        parts.extend(list.iter().filter_map(|input| match input {
            Input::Inline(_) => None,
            Input::Blob { hash, len } => Some((*hash, *len)),
        }));
    }
    parts.sort_unstable();
    parts.dedup_by_key(|(hash, _)| *hash);
    parts
}

/// The name of a job that is carried on.
fn name(of: &str, submitter: &PeerId) -> String {
    let whose = format!(" (for {})", submitter.short());
    let mut end = of.len().min(MAX_TEXT - whose.len());
    while !of.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{whose}", &of[..end])
}
