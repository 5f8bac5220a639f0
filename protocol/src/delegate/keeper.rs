//! The delegate's side: jobs kept for others, carried on while those are away, and handed back.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Vouched,
    kept::{Carry, Kept, Stage},
};
use crate::{
    batch::Batch,
    cbor,
    crypto::Keypair,
    id::{Hash, JobId, PeerId, TaskId},
    job::Manifest,
    limits::{DELEGATE_AFTER, MAX_ENTRUSTED, MAX_ENTRUSTED_ALL, RETENTION},
    pool::TaskIndex,
    record::{Change, Key, Record},
    time::Timestamp,
    wire::{Entrust, Entrusted, Frame, Reason, Settled},
};

/// Results that were told and not answered for this long are not waited for.
const ANSWER: Duration = Duration::from_secs(60);
/// A submitter that is away is looked for this often while there is something to tell it.
const SEEK: Duration = Duration::from_secs(60);
/// Own jobs that carry on one kept job, at once.
const MAX_CARRIES: usize = 8;

/// Whose delegate a peer is willing to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accept {
    /// That of peers on the operator's own trust list.
    pub trusted: bool,
    /// That of these.
    pub peers: Vec<PeerId>,
}

impl Default for Accept {
    fn default() -> Self {
        Self { trusted: true, peers: Vec::new() }
    }
}

/// A delegate's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Whose delegate it is.
    pub accept: Accept,
    /// How long a submitter is away before its jobs are carried on.
    pub after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { accept: Accept::default(), after: DELEGATE_AFTER }
    }
}

/// What happens to what is kept.
#[derive(Debug, Clone)]
pub enum Input {
    /// This peer is connected and has said hello.
    Up {
        /// Who.
        peer: PeerId,
    },
    /// It is gone.
    Down {
        /// Who.
        peer: PeerId,
    },
    /// A submitter hands a job over.
    Entrust {
        /// Who.
        peer: PeerId,
        /// What.
        entrust: Entrust,
        /// Whether the operator has agreed to be this peer's delegate.
        allowed: bool,
    },
    /// A submitter says what is settled.
    Settled {
        /// Who.
        peer: PeerId,
        /// What.
        settled: Settled,
    },
    /// A submitter's job is over.
    Released {
        /// Who.
        peer: PeerId,
        /// Which job.
        job: JobId,
    },
    /// The bytes that were to be read; none if they cannot be.
    Content {
        /// Of which blob.
        hash: Hash,
        /// What is in it.
        bytes: Option<Vec<u8>>,
    },
    /// A blob that was to be fetched or stored is here, or will not be.
    Blob {
        /// Which.
        hash: Hash,
        /// Whether it is here.
        here: bool,
    },
    /// What was to be carried on is, as this own job.
    Carried {
        /// Whose the kept job is.
        submitter: PeerId,
        /// The kept job.
        job: JobId,
        /// The own job.
        own: JobId,
    },
    /// Tasks of an own job became final.
    Final {
        /// Which own job.
        own: JobId,
        /// Which tasks.
        tasks: Vec<TaskId>,
        /// Whether the own job is over.
        over: bool,
        /// Whether that is because this peer's operator ended it.
        ended: bool,
    },
    /// An own job is not known any more.
    Gone {
        /// Which.
        own: JobId,
    },
    /// Results that were to be read, as far as they could be.
    Recalled {
        /// Of which own job.
        own: JobId,
        /// The results.
        results: Vec<Vouched>,
    },
    /// Time passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Say this to that peer.
    Send(PeerId, Frame),
    /// The peer broke the protocol in this way.
    Violation(PeerId, &'static str),
    /// Get this blob; answered by [`Input::Blob`].
    Fetch {
        /// Which.
        hash: Hash,
        /// Its length.
        len: u64,
        /// From whom.
        from: PeerId,
    },
    /// Read this blob; answered by [`Input::Content`].
    Read(Hash),
    /// Store these bytes as a blob; answered by [`Input::Blob`].
    Keep {
        /// Their digest.
        hash: Hash,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Submit this job as one's own; answered by [`Input::Carried`].
    Carry {
        /// Whose the kept job is.
        submitter: PeerId,
        /// The kept job.
        job: JobId,
        /// The blob that holds the manifest.
        hash: Hash,
        /// The manifest.
        manifest: Box<Manifest>,
    },
    /// Let an own job take up nothing new.
    WindDown(JobId),
    /// End an own job, if it is running, and forget it.
    Forget(JobId),
    /// Read results of an own job from the store; answered by [`Input::Recalled`].
    Recall {
        /// Which own job.
        own: JobId,
        /// Which tasks.
        tasks: Vec<TaskId>,
    },
    /// Connect to this peer, wherever it is.
    Reach(PeerId),
}

/// A kept job as people and programs see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptView {
    /// Whose it is.
    pub submitter: PeerId,
    /// The job.
    pub job: JobId,
    /// Its name; none before its manifest is here.
    pub name: Option<String>,
    /// Its tasks.
    pub tasks: u64,
    /// Of these, settled or confirmed at the submitter as far as it has told.
    pub settled: u64,
    /// Of these, final here and not settled there as far as it has told.
    pub done: u64,
    /// Whether all that it takes is here.
    pub whole: bool,
    /// Since when the submitter is away, microseconds since the epoch.
    pub away: Option<Timestamp>,
    /// This peer's own jobs that carry it on.
    pub carried: Vec<JobId>,
}

/// A kept job: whose, and which.
pub(super) type Name = (PeerId, JobId);

/// The machine. See the module's head for what it decides.
pub struct Keeper {
    pub(super) key: Keypair,
    pub(super) me: PeerId,
    config: Config,
    pub(super) jobs: BTreeMap<Name, Kept>,
    pub(super) out: Batch<Effect>,
}

impl Keeper {
    /// Keeps nothing yet.
    pub fn new(key: Keypair, config: Config) -> Self {
        let (me, jobs, out) = (key.peer_id(), BTreeMap::new(), Batch::default());
        Self { key, me, config, jobs, out }
    }

    /// Whose delegate it is.
    pub fn accept(&self) -> &Accept {
        &self.config.accept
    }

    /// Takes back what was stored before a restart.
    pub fn restore(
        &mut self,
        now: Timestamp,
        records: Vec<Record>,
        manifest: impl Fn(&Hash) -> Option<Manifest>,
    ) {
        let mut settled = Vec::new();
        for record in records {
            match record {
                Record::Entrusted {
                    submitter,
                    job,
                    manifest: hash,
                    len,
                    seen,
                    upto,
                    carried,
                    ended,
                } => {
                    let mut kept = Kept::new(now, hash, len);
                    // While this peer was off, nobody could be seen.
                    (kept.seen, kept.upto, kept.ended) = (seen.max(now), upto, ended);
                    let carry = |own| Carry { own, over: false, wound: false };
                    kept.carries = carried.into_iter().map(carry).collect();
                    // Without its manifest it is fetched again when the submitter is back.
                    if let Some(manifest) = manifest(&hash) {
                        kept.set_manifest(manifest);
                        kept.stage = Stage::Whole;
                    }
                    self.jobs.insert((submitter, job), kept);
                }
                Record::SettledThere { submitter, job, part, tasks } => {
                    settled.push((submitter, job, part, tasks));
                }
                _ => {}
            }
        }
        for (submitter, job, part, tasks) in settled {
            let Some(kept) = self.jobs.get_mut(&(submitter, job)) else { continue };
            kept.parts = kept.parts.max(part + 1);
            tasks.into_iter().for_each(|task| kept.settle(task));
        }
    }

    /// Takes one input and says what is to be stored and done.
    pub fn step(&mut self, now: Timestamp, input: Input) -> Batch<Effect> {
        match input {
            Input::Up { peer } => self.up(now, peer),
            Input::Down { peer } => self.down(now, &peer),
            Input::Entrust { peer, entrust, allowed } => {
                self.entrust(now, (peer, entrust.job), entrust, allowed);
            }
            Input::Settled { peer, settled } => self.settled((peer, settled.job), &settled),
            Input::Released { peer, job } => self.release((peer, job)),
            Input::Content { hash, bytes } => self.content(hash, bytes.as_deref()),
            Input::Blob { hash, here } => self.blob(hash, here),
            Input::Carried { submitter, job, own } => {
                if let Some(kept) = self.jobs.get_mut(&(submitter, job)) {
                    kept.carries.push(Carry { own, over: false, wound: false });
                    self.save((submitter, job));
                }
            }
            Input::Final { own, tasks, over, ended } => self.finals(own, &tasks, over, ended),
            Input::Gone { own } => {
                if let Some(name) = self.name_of(&own) {
                    self.at(name, |kept| kept.lose(&own));
                    self.save(name);
                }
            }
            Input::Recalled { own, results } => self.recalled(now, own, results),
            Input::Tick => self.tick(now),
        }
        for name in self.names() {
            self.tell(name);
            self.tidy(name);
        }
        core::mem::take(&mut self.out)
    }

    /// When it next wants a tick, and what for.
    pub fn next_wake(&self) -> Option<(Timestamp, &'static str)> {
        let wakes = self.jobs.values().flat_map(|kept| {
            let begin = kept.away.filter(|_| kept.may_begin() && kept.carries.len() < MAX_CARRIES);
            let begin = begin.map(|since| (since + self.config.after, "carrying a job on"));
            let told = kept.told.values().min().map(|at| (*at + ANSWER, "answers about results"));
            let seek = (!kept.present && !kept.done.is_empty())
                .then(|| (kept.sought + SEEK, "looking for a submitter"));
            let keep = kept.away.map(|_| (kept.seen + RETENTION, "jobs kept for others"));
            [begin, told, seek, keep].into_iter().flatten()
        });
        wakes.min()
    }

    /// The own jobs that carry on others', which are not known to be over.
    pub fn carried(&self) -> impl Iterator<Item = JobId> + '_ {
        self.jobs.values().flat_map(|kept| kept.carries.iter().map(|one| one.own))
    }

    /// Whether an output is owed to `peer`, who was told of it.
    pub fn owes(&self, peer: &PeerId, hash: &Hash) -> bool {
        self.jobs
            .iter()
            .any(|((submitter, _), kept)| submitter == peer && kept.offered.contains(hash))
    }

    /// Every blob that what is kept takes.
    pub fn needed(&self) -> BTreeSet<Hash> {
        self.jobs.values().flat_map(Kept::blobs).collect()
    }

    /// What is kept, for people.
    pub fn view(&self) -> Vec<KeptView> {
        let view = |((submitter, job), kept): (&Name, &Kept)| KeptView {
            submitter: *submitter,
            job: *job,
            name: kept.manifest.as_ref().map(|one| one.name.clone()),
            tasks: kept.tasks() as u64,
            settled: kept.settled.len() as u64,
            done: kept.done.len() as u64,
            whole: kept.stage == Stage::Whole,
            away: kept.away,
            carried: kept.carries.iter().map(|one| one.own).collect(),
        };
        self.jobs.iter().map(view).collect()
    }

    fn names(&self) -> Vec<Name> {
        self.jobs.keys().copied().collect()
    }

    fn names_of(&self, peer: &PeerId) -> Vec<Name> {
        let all = (*peer, JobId([0; 32]))..=(*peer, JobId([255; 32]));
        self.jobs.range(all).map(|(name, _)| *name).collect()
    }

    pub(super) fn name_of(&self, own: &JobId) -> Option<Name> {
        let carries = |kept: &Kept| kept.carries.iter().any(|one| one.own == *own);
        self.jobs.iter().find(|(_, kept)| carries(kept)).map(|(name, _)| *name)
    }

    fn at<T>(&mut self, name: Name, how: impl FnOnce(&mut Kept) -> T) -> Option<T> {
        self.jobs.get_mut(&name).map(how)
    }

    pub(super) fn send(&mut self, to: PeerId, frame: Frame) {
        self.out.effects.push(Effect::Send(to, frame));
    }

    fn up(&mut self, now: Timestamp, peer: PeerId) {
        for name in self.names_of(&peer) {
            self.at(name, |kept| (kept.away, kept.seen) = (None, now));
            self.answer(name, None);
            self.save(name);
        }
    }

    fn down(&mut self, now: Timestamp, peer: &PeerId) {
        for name in self.names_of(peer) {
            let unfinished = self.at(name, |kept| {
                kept.present = false;
                (kept.away, kept.seen) = (Some(now), now);
                kept.take_back();
                kept.asked.clear();
                kept.stage != Stage::Whole
            });
            if unfinished == Some(true) {
                // Nothing was promised, and nothing is lost: it is entrusted anew.
                self.drop_job(name);
            } else {
                self.save(name);
            }
        }
    }

    fn entrust(&mut self, now: Timestamp, name: Name, entrust: Entrust, allowed: bool) {
        let (peer, _) = name;
        if let Some(kept) = self.jobs.get_mut(&name) {
            if (kept.manifest_hash, kept.len) != (entrust.manifest, entrust.len) {
                let what = "a job that is entrusted with two manifests";
                return self.out.effects.push(Effect::Violation(peer, what));
            }
            kept.present = true;
            (kept.away, kept.seen) = (None, now);
            kept.take_back();
            kept.reopen();
            for carry in kept.carries.iter_mut().filter(|one| !one.over && !one.wound) {
                carry.wound = true;
                self.out.effects.push(Effect::WindDown(carry.own));
            }
            match kept.stage {
                Stage::Whole => self.answer(name, None),
                _ => self.fetch_manifest(name),
            }
            return;
        }
        let of_peer = self.names_of(&peer).len();
        let refused = if !allowed {
            Some(Reason::NotAccepted)
        } else if of_peer >= MAX_ENTRUSTED || self.jobs.len() >= MAX_ENTRUSTED_ALL {
            Some(Reason::Busy)
        } else {
            None
        };
        if refused.is_some() {
            return self.answer(name, refused);
        }
        let mut kept = Kept::new(now, entrust.manifest, entrust.len);
        (kept.present, kept.away) = (true, None);
        self.jobs.insert(name, kept);
        self.fetch_manifest(name);
    }

    fn fetch_manifest(&mut self, name: Name) {
        let Some(kept) = self.jobs.get_mut(&name) else { return };
        let (hash, len) = (kept.manifest_hash, kept.len);
        kept.stage = Stage::Manifest;
        kept.asked.insert(hash);
        self.out.effects.push(Effect::Fetch { hash, len, from: name.0 });
    }

    /// Says how it stands with a job.
    fn answer(&mut self, name: Name, reason: Option<Reason>) {
        let (to, job) = name;
        let known = self.jobs.get(&name).filter(|kept| kept.stage == Stage::Whole);
        if known.is_none() && reason.is_none() {
            return; // not yet
        }
        let (upto, left) = known.map_or((0, 0), |kept| (kept.upto, kept.left()));
        self.send(to, Frame::Entrusted(Entrusted { job, reason, upto, left }));
    }

    fn settled(&mut self, name: Name, settled: &Settled) {
        let (submitter, job) = name;
        let Some(kept) = self.jobs.get_mut(&name).filter(|kept| kept.stage == Stage::Whole) else {
            return; // forgotten here
        };
        let tasks: Option<Vec<TaskIndex>> =
            settled.tasks.iter().map(|task| kept.index(task)).collect();
        let Some(tasks) = tasks else {
            let what = "a settled task that its job does not have";
            return self.out.effects.push(Effect::Violation(submitter, what));
        };
        let news: Vec<TaskIndex> =
            tasks.into_iter().filter(|task| !kept.settled.contains(task)).collect();
        let moved = core::mem::replace(&mut kept.upto, settled.upto) != settled.upto;
        if !news.is_empty() {
            let part = kept.parts;
            kept.parts += 1;
            news.iter().for_each(|task| kept.settle(*task));
            let record = Record::SettledThere { submitter, job, part, tasks: news };
            self.out.records.push(Change::Put(record));
        }
        if moved {
            self.save(name);
        }
        self.answer(name, None);
    }

    fn release(&mut self, name: Name) {
        if self.jobs.contains_key(&name) {
            self.drop_job(name);
        }
    }

    /// Forgets a kept job and all that was done for it.
    fn drop_job(&mut self, name: Name) {
        let Some(kept) = self.jobs.remove(&name) else { return };
        let (submitter, job) = name;
        for carry in &kept.carries {
            self.out.effects.push(Effect::Forget(carry.own));
        }
        for part in 0..kept.parts {
            let key = Key::settled_there(&submitter, &job, part);
            self.out.records.push(Change::Delete(key));
        }
        self.out.records.push(Change::Delete(Key::entrusted(&submitter, &job)));
    }

    fn content(&mut self, hash: Hash, bytes: Option<&[u8]>) {
        let waits = |kept: &Kept| kept.manifest_hash == hash && kept.stage == Stage::Manifest;
        let names: Vec<Name> =
            self.jobs.iter().filter(|(_, kept)| waits(kept)).map(|(name, _)| *name).collect();
        for name in names {
            let Some(bytes) = bytes else {
                self.fail(name);
                continue;
            };
            let manifest = cbor::decode::<Manifest>(bytes).ok();
            let sound =
                |one: &Manifest| one.check_bounds().is_ok() && one.delegate == Some(self.me);
            let Some(manifest) = manifest.filter(sound) else {
                let what = "a job that does not name this peer as its delegate is entrusted to it";
                self.out.effects.push(Effect::Violation(name.0, what));
                self.drop_job(name);
                continue;
            };
            self.at(name, |kept| kept.set_manifest(manifest));
            self.fetch_parts(name);
        }
    }

    /// Asks for what a job still takes; accepts it once that is all here.
    fn fetch_parts(&mut self, name: Name) {
        let Some(kept) = self.jobs.get_mut(&name).filter(|kept| kept.present) else { return };
        for (hash, len) in kept.next_blobs() {
            self.out.effects.push(Effect::Fetch { hash, len, from: name.0 });
        }
        if kept.asked.is_empty() {
            kept.stage = Stage::Whole;
            self.save(name);
            self.answer(name, None);
        }
    }

    /// Something that a job takes is not to be had.
    fn fail(&mut self, name: Name) {
        self.answer(name, Some(Reason::Blob));
        self.drop_job(name);
    }

    fn blob(&mut self, hash: Hash, here: bool) {
        for name in self.names() {
            let Some(kept) = self.jobs.get_mut(&name) else { continue };
            if kept.keeping.as_ref().is_some_and(|(kept, _)| *kept == hash) {
                self.kept_rest(name, here);
                continue;
            }
            if !kept.asked.remove(&hash) {
                continue;
            }
            match (here, kept.stage) {
                (false, _) => self.fail(name),
                (true, Stage::Manifest) if hash == kept.manifest_hash => {
                    self.out.effects.push(Effect::Read(hash));
                }
                (true, Stage::Manifest) => {}
                (true, _) => self.fetch_parts(name),
            }
        }
    }

    /// The manifest of what is left is stored, or could not be.
    fn kept_rest(&mut self, name: Name, here: bool) {
        let Some(kept) = self.jobs.get_mut(&name) else { return };
        let Some((hash, manifest)) = kept.keeping.take() else { return };
        let (submitter, job) = name;
        if here && kept.away.is_some() {
            let manifest = Box::new(manifest);
            self.out.effects.push(Effect::Carry { submitter, job, hash, manifest });
        } else {
            kept.reopen();
            // It is tried again after as long as the first time.
            kept.away = kept.away.map(|since| since + self.config.after);
        }
    }

    fn tick(&mut self, now: Timestamp) {
        for name in self.names() {
            let after = self.config.after;
            let me = self.me;
            let Some(kept) = self.jobs.get_mut(&name) else { continue };
            if kept.away.is_some() && now >= kept.seen + RETENTION {
                self.drop_job(name);
                continue;
            }
            kept.told.retain(|_, at| now < *at + ANSWER);
            if !kept.present && !kept.done.is_empty() && now >= kept.sought + SEEK {
                kept.sought = now;
                self.out.effects.push(Effect::Reach(name.0));
            }
            let due = kept.away.is_some_and(|since| now >= since + after);
            if due && kept.may_begin() && kept.carries.len() < MAX_CARRIES {
                let Some(rest) = kept.rest(&me, &name.0) else { continue };
                let bytes = cbor::encode(&rest);
                let hash = Hash::of(&bytes);
                kept.keeping = Some((hash, rest));
                self.out.effects.push(Effect::Keep { hash, bytes });
            }
        }
    }

    pub(super) fn save(&mut self, (submitter, job): Name) {
        let Some(kept) = self.jobs.get(&(submitter, job)) else { return };
        if kept.stage != Stage::Whole {
            return;
        }
        self.out.records.push(Change::Put(Record::Entrusted {
            submitter,
            job,
            manifest: kept.manifest_hash,
            len: kept.len,
            seen: kept.seen,
            upto: kept.upto,
            carried: kept.carries.iter().map(|one| one.own).collect(),
            ended: kept.ended,
        }));
    }
}
