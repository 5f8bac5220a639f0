//! This peer's own jobs: begun, offered to whoever may compute them, forgotten; and what they want done.

use alloc::vec::Vec;

use super::{Effect, Peer};
use crate::{
    batch::Batch,
    entropy::Entropy,
    id::{Hash, JobId, PeerId},
    job::Manifest,
    record::{Change, JobState, Key, Record},
    relay,
    source::{self, Source},
    time::Timestamp,
    wire::Frame,
    worker,
};

impl Peer {
    pub(super) fn job_ids(&self) -> Vec<JobId> {
        self.sources.keys().copied().collect()
    }

    pub(super) fn submit(&mut self, now: Timestamp, manifest_hash: Hash, manifest: Manifest) {
        let job = self.begin(now, manifest_hash, manifest);
        self.out.effects.push(Effect::Submitted(job));
        self.introduce(now, job);
    }

    /// Begins a job of this peer's own.
    pub(super) fn begin(
        &mut self,
        now: Timestamp,
        manifest_hash: Hash,
        manifest: Manifest,
    ) -> JobId {
        let job = JobId(self.entropy.draw());
        let entropy = Entropy::new(&self.entropy.draw());
        let config = self.source_config(now, &manifest);
        let (source, batch) =
            Source::new(self.key.clone(), job, manifest_hash, manifest, config, now, entropy);
        self.shelf.add(job, source.manifest());
        self.sources.insert(job, source);
        self.source_batch(now, job, batch);
        job
    }

    /// Tells a job which connected peers can compute it.
    pub(super) fn introduce(&mut self, now: Timestamp, job: JobId) {
        let peers: Vec<PeerId> = self.neighbours.keys().copied().collect();
        for peer in peers {
            self.join(now, job, peer);
        }
        self.introduce_delegate(now, job);
        self.share_credit(now);
    }

    pub(super) fn join(&mut self, now: Timestamp, job: JobId, peer: PeerId) {
        let Some(source) = self.sources.get(&job) else { return };
        if !source.is_running() && (peer == self.me || !source.knows(&peer)) {
            return;
        }
        if !self.may_compute(now, source.manifest(), &peer) {
            return;
        }
        let Some(neighbour) = self.neighbours.get(&peer) else { return };
        let prefix = neighbour.prefix;
        let Some(hello) = &neighbour.hello else { return };
        let works = hello.slots > 0 || hello.relays > 0;
        if hello.relays > 0 && self.hops.is_bad(now, &peer) {
            return; // for as long as that lasts
        }
        if hello.profiles.contains(&source.manifest().program.profile) && works {
            let slots = hello.slots;
            self.source(now, job, source::Input::Join { worker: peer, slots, prefix });
        }
    }

    pub(super) fn forget(&mut self, job: JobId) {
        let Some(source) = self.sources.get(&job).filter(|source| !source.is_running()) else {
            return;
        };
        for key in source.keys() {
            self.out.records.push(Change::Delete(key));
        }
        self.out.records.push(Change::Delete(Key::job(&job)));
        self.shelf.remove(job);
        self.sources.remove(&job);
    }

    pub(super) fn asked(&mut self, now: Timestamp, peer: PeerId) {
        // A job that the peer refused while it was busy is offered anew.
        for job in self.job_ids() {
            if self
                .sources
                .get(&job)
                .is_some_and(|source| source.is_running() && !source.works_with(&peer))
            {
                self.join(now, job, peer);
            }
        }
        let offers: Vec<Frame> = self
            .sources
            .values()
            .filter(|s| s.works_with(&peer))
            .map(|s| Frame::Offer(s.offer()))
            .collect();
        for offer in offers {
            self.send(peer, offer);
        }
        // Whom this peer has found out itself it trusts with nobody's work.
        if self.standings.is_banned(now, &peer) {
            return;
        }
        self.relay(now, relay::Input::Asked { peer });
        if peer != self.me && self.config.lending.relays && !self.relay.has_work() {
            self.worker(now, worker::Input::AskedBelow { peer });
        }
    }

    /// Divides each worker's window among the running jobs.
    pub(super) fn share_credit(&mut self, now: Timestamp) {
        let running: Vec<JobId> =
            self.sources.values().filter(|s| s.is_running()).map(Source::id).collect();
        let jobs = running.len() + self.relay.jobs().count();
        let count = u32::try_from(jobs).unwrap_or(u32::MAX).max(1);
        let windows: Vec<(PeerId, u32, u32)> =
            self.neighbours.iter().map(|(peer, n)| (*peer, n.window, n.below)).collect();
        for (peer, window, below) in &windows {
            let (worker, tasks, below) = (*peer, window.div_ceil(count), *below);
            for job in &running {
                let known = self.sources.get(job).and_then(|source| source.window_of(peer));
                if known.is_some_and(|known| known != (tasks, below)) {
                    self.source(now, *job, source::Input::Credit { worker, tasks, below });
                }
            }
            if self.relay.window_of(peer).is_some_and(|known| known != (tasks, below)) {
                self.relay(now, relay::Input::Credit { peer: worker, tasks, below });
            }
        }
    }

    pub(super) fn source(&mut self, now: Timestamp, job: JobId, input: source::Input) {
        let Some(source) = self.sources.get_mut(&job) else { return };
        let batch = source.step(now, input, &mut self.standings);
        self.source_batch(now, job, batch);
    }

    pub(super) fn source_batch(
        &mut self,
        now: Timestamp,
        job: JobId,
        batch: Batch<source::Effect>,
    ) {
        self.out.records.extend(batch.records);
        for effect in batch.effects {
            match effect {
                source::Effect::Send(peer, frame) => self.send(peer, frame),
                source::Effect::Fetch { hash, len, from } => {
                    self.fetching.entry(hash).or_default().insert(job);
                    self.out.effects.push(Effect::Fetch { hash, len, from });
                }
                source::Effect::Violation(peer, what) => self.violation(now, peer, what),
                source::Effect::Caught { worker, task, right, ban } => {
                    let caught = Record::Caught { job, task, worker, right, at: now };
                    self.out.records.push(Change::Put(caught));
                    self.out.effects.push(Effect::Caught { job, task, worker, right, ban });
                    self.caught(now, worker);
                }
                source::Effect::Excluded(worker) => self.caught(now, worker),
                source::Effect::Quarantined(apart) => self.quarantine(now, job, apart),
                source::Effect::Hop { peer, outcome } => self.hop(now, peer, outcome),
                source::Effect::Reach(peer) => self.out.effects.push(Effect::Reach(peer)),
                source::Effect::Changed => {
                    let changed = Effect::Changed(job);
                    if !self.out.effects.contains(&changed) {
                        self.out.effects.push(changed);
                    }
                }
            }
        }
    }

    /// One of this peer's own jobs.
    pub fn job(&self, job: &JobId) -> Option<&Source> {
        self.sources.get(job)
    }

    /// All of this peer's own jobs.
    pub fn jobs(&self) -> impl Iterator<Item = &Source> {
        self.sources.values()
    }

    /// Jobs that ended and are not forgotten.
    pub fn ended_jobs(&self) -> impl Iterator<Item = (JobId, JobState)> {
        self.sources
            .values()
            .map(|source| (source.id(), source.state()))
            .filter(|(_, s)| *s != JobState::Running)
    }
}
