//! Whom a job may be given to, what follows from the operator's own list, and what is kept of those
//! who were caught.

use core::time::Duration;

use super::Peer;
use crate::{
    id::{Hash, JobId, PeerId},
    job::{Audience, Manifest},
    pool::TaskIndex,
    record::{Change, Key, Record},
    relay, source,
    task::{Input, Program},
    time::Timestamp,
    verify::Apart,
};

/// How long nobody is punished over an app that was found to differ by machine.
const QUARANTINE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What goes into the file that accuses a caught worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accusation {
    /// Where the [`Record::Vote`] with the worker's signed word is stored.
    pub vote: Key,
    /// The program of its task.
    pub program: Program,
    /// The task's input; by its digest alone if the job is confidential.
    pub input: Input,
    /// Whether the file may carry module, input and data: not those of a confidential job
    /// (spec EVID-12).
    pub carries: bool,
}

impl Peer {
    /// Whether a job may be offered to `peer`.
    pub(super) fn may_compute(&self, now: Timestamp, manifest: &Manifest, peer: &PeerId) -> bool {
        *peer == self.me
            || self.is_invited(&manifest.audience, peer) && !self.standings.is_banned(now, peer)
    }

    /// Whether `audience` has `peer` in it.
    pub(super) fn is_invited(&self, audience: &Audience, peer: &PeerId) -> bool {
        match audience {
            Audience::Anyone => true,
            Audience::Trusted => self.standings.is_trusted(peer),
            Audience::Named(peers) => peers.contains(peer),
        }
    }

    pub(super) fn source_config(&self, now: Timestamp, manifest: &Manifest) -> source::Config {
        let app = (manifest.program.module, manifest.program.profile.clone());
        let quarantine = self.quarantines.get(&app).filter(|(until, _)| now < *until);
        let quarantined = quarantine.map(|(_, apart)| *apart);
        source::Config { quarantined, ..self.config.source }
    }

    /// The operator's own list: who is on it may compute what is for trusted peers, and starts with a
    /// record.
    pub(super) fn trust(&mut self, now: Timestamp, peer: PeerId, trusted: bool) {
        if trusted {
            self.standings.trust(peer);
        } else {
            self.standings.distrust(peer);
        }
        for job in self.job_ids() {
            let Some(source) = self.sources.get(&job) else { continue };
            let may = self.may_compute(now, source.manifest(), &peer);
            if may && !source.works_with(&peer) {
                self.join(now, job, peer);
            } else if !may && source.works_with(&peer) {
                self.source(now, job, source::Input::Leave { worker: peer });
            }
        }
        self.share_credit(now);
    }

    pub(super) fn save_standings(&mut self) {
        for (peer, standing) in self.standings.take_changed() {
            self.out.records.push(Change::Put(Record::Standing { peer, standing }));
        }
        for peer in self.standings.take_forgotten() {
            self.out.records.push(Change::Delete(Key::standing(&peer)));
        }
    }

    /// An app was found to differ by machine.
    pub(super) fn quarantine(&mut self, now: Timestamp, job: JobId, apart: Apart) {
        let Some(program) = self.sources.get(&job).map(|source| &source.manifest().program) else {
            return;
        };
        let (module, profile, until) = (program.module, program.profile.clone(), now + QUARANTINE);
        self.quarantines.insert((module, profile.clone()), (until, apart));
        let same = |source: &&source::Source| {
            let program = &source.manifest().program;
            source.is_running() && program.module == module && program.profile == profile
        };
        let jobs: alloc::vec::Vec<JobId> =
            self.sources.values().filter(same).map(|one| one.id()).collect();
        for other in jobs.into_iter().filter(|other| *other != job) {
            self.source(now, other, source::Input::Quarantine(apart));
        }
        let own_apart = apart == Apart::Own;
        let record = Record::Quarantine { module, profile, until, own_apart };
        self.out.records.push(Change::Put(record));
    }

    /// A worker was caught by one job: a ban ends its part in all of them.
    pub(super) fn caught(&mut self, now: Timestamp, worker: PeerId) {
        if !self.standings.is_banned(now, &worker) {
            return;
        }
        self.relay(now, relay::Input::Banned { worker });
        for job in self.job_ids() {
            let concerned = |one: &source::Source| one.is_running() && one.knows(&worker);
            if self.sources.get(&job).is_some_and(concerned) {
                self.source(now, job, source::Input::Banned { worker });
            }
        }
    }

    /// What is needed to accuse `worker` of its result for `task`, which was proven wrong. None if the
    /// job is forgotten.
    pub fn accusation(&self, job: &JobId, task: TaskIndex, worker: &PeerId) -> Option<Accusation> {
        let source = self.sources.get(job)?;
        let manifest = source.manifest();
        let input = manifest.inputs.get(*source.places_of(task).first()?)?;
        let carries = !manifest.confidential;
        let input = match input {
            Input::Inline(bytes) if !carries => {
                Input::Blob { hash: Hash::of(&bytes), len: bytes.len() as u64 }
            }
            input => input,
        };
        let vote = Key::vote(job, task, worker);
        Some(Accusation { vote, program: manifest.program.clone(), input, carries })
    }
}
