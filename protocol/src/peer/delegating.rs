//! Between own jobs and their delegates, and between what is kept for others and the own jobs that
//! carry it on.

use alloc::vec::Vec;

use super::{Effect, Peer};
use crate::{
    batch::Batch,
    delegate::{self, Accept, Statement, Vouched},
    id::{JobId, PeerId, TaskId},
    pool::TaskIndex,
    record::{JobState, Key, Record},
    source::{self, Source},
    time::Timestamp,
    verify::State,
    wire::{Cancel, Entrust, Entrusted, Frame, Vouch},
};

impl Peer {
    pub(super) fn keeper(&mut self, now: Timestamp, input: delegate::Input) {
        let batch = self.keeper.step(now, input);
        self.keeper_batch(now, batch);
    }

    fn keeper_batch(&mut self, now: Timestamp, batch: Batch<delegate::Effect>) {
        self.out.records.extend(batch.records);
        for effect in batch.effects {
            match effect {
                delegate::Effect::Send(peer, frame) => self.send(peer, frame),
                delegate::Effect::Violation(peer, what) => self.violation(now, peer, what),
                delegate::Effect::Fetch { hash, len, from } => {
                    self.out.effects.push(Effect::Fetch { hash, len, from });
                }
                delegate::Effect::Read(hash) => self.out.effects.push(Effect::Read(hash)),
                delegate::Effect::Keep { hash, bytes } => {
                    self.out.effects.push(Effect::Keep { hash, bytes });
                }
                delegate::Effect::Carry { submitter, job, hash, manifest } => {
                    let own = self.begin(now, hash, *manifest);
                    self.keeper(now, delegate::Input::Carried { submitter, job, own });
                    self.introduce(now, own);
                }
                delegate::Effect::WindDown(own) => {
                    self.source(now, own, source::Input::WindDown);
                    self.share_credit(now);
                }
                delegate::Effect::Forget(own) => {
                    self.source(now, own, source::Input::Cancel);
                    self.forget(own);
                    self.share_credit(now);
                }
                delegate::Effect::Recall { own, tasks } => self.recall(own, &tasks),
                delegate::Effect::Reach(peer) => self.out.effects.push(Effect::Reach(peer)),
            }
        }
    }

    /// A peer has said hello.
    pub(super) fn delegate_met(&mut self, now: Timestamp, peer: PeerId) {
        self.keeper(now, delegate::Input::Up { peer });
        self.tell_jobs_of(now, peer, true);
    }

    /// A peer is gone.
    pub(super) fn delegate_gone(&mut self, now: Timestamp, peer: PeerId) {
        self.keeper(now, delegate::Input::Down { peer });
        self.tell_jobs_of(now, peer, false);
    }

    fn tell_jobs_of(&mut self, now: Timestamp, peer: PeerId, here: bool) {
        let of_peer = |source: &&Source| source.delegate() == Some(peer);
        let jobs: Vec<JobId> = self.sources.values().filter(of_peer).map(Source::id).collect();
        for job in jobs {
            self.source(now, job, source::Input::Delegate { here });
        }
    }

    /// Tells a job that begins, or begins again, whether its delegate is there.
    pub(super) fn introduce_delegate(&mut self, now: Timestamp, job: JobId) {
        let Some(delegate) = self.sources.get(&job).and_then(Source::delegate) else { return };
        let here = self.neighbours.get(&delegate).is_some_and(|one| one.hello.is_some());
        self.source(now, job, source::Input::Delegate { here });
    }

    /// Somebody wants a job of its own kept.
    pub(super) fn entrust(&mut self, now: Timestamp, peer: PeerId, entrust: Entrust) {
        let Accept { trusted, peers } = self.keeper.accept();
        let allowed = *trusted && self.standings.is_trusted(&peer) || peers.contains(&peer);
        self.keeper(now, delegate::Input::Entrust { peer, entrust, allowed });
    }

    /// A delegate says how it stands with one of this peer's jobs.
    pub(super) fn entrusted(&mut self, now: Timestamp, peer: PeerId, said: &Entrusted) {
        match self.sources.get(&said.job) {
            None => self.never_mind(peer, said.job),
            Some(source) if source.delegate() != Some(peer) => {
                self.violation(now, peer, "an answer about a job that does not name it");
            }
            Some(_) => {
                self.source(now, said.job, source::Input::Entrusted(*said));
                self.share_credit(now);
            }
        }
    }

    /// A delegate vouches for results.
    pub(super) fn vouched(&mut self, now: Timestamp, peer: PeerId, vouch: Vouch) {
        let Vouch { job, signature, results, left } = vouch;
        let Some(source) = self.sources.get(&job) else { return self.never_mind(peer, job) };
        let Some(terms) = source.terms().filter(|terms| terms.delegate == peer) else {
            return self.violation(now, peer, "a statement about a job that does not name it");
        };
        match Statement::check(terms, results, signature) {
            Ok(statement) => {
                self.source(now, job, source::Input::Vouched { statement, left });
                self.share_credit(now);
            }
            Err(error) => self.violation(now, peer, &alloc::format!("{error}")),
        }
    }

    /// A job that is forgotten here may be forgotten there.
    fn never_mind(&mut self, peer: PeerId, job: JobId) {
        self.send(peer, Frame::Cancel(Cancel { job, tasks: Vec::new() }));
    }

    /// Tells the keeper what became final in the own jobs that carry on others'.
    pub(super) fn follow_carried(&mut self, now: Timestamp) {
        let own: Vec<JobId> = self.keeper.carried().collect();
        self.carried.retain(|job, _| own.contains(job));
        for own in own {
            let Some(source) = self.sources.get(&own) else {
                self.keeper(now, delegate::Input::Gone { own });
                continue;
            };
            let known = self.carried.get(&own).copied().unwrap_or(0);
            if known == u64::MAX {
                continue; // it was over when it was looked at last
            }
            let over = !source.is_running();
            // What an ended job has a result of stands as it is.
            let from = if over { 0 } else { known };
            let stands = |task: TaskIndex| match source.task_state(task) {
                State::Final => true,
                state => source.state() == JobState::Done && state.has_outcome(),
            };
            let mut next = known;
            let mut tasks = Vec::new();
            for (place, task) in source.feed(from) {
                next = place + 1;
                if stands(task) && source.acceptance(task).is_some() {
                    tasks.extend(source.task_id(task));
                }
            }
            let ended = source.state() == JobState::Cancelled;
            self.carried.insert(own, if over { u64::MAX } else { next });
            if over || !tasks.is_empty() {
                self.keeper(now, delegate::Input::Final { own, tasks, over, ended });
            }
        }
    }

    /// Has the results of an own job read that its submitter is to be told.
    fn recall(&mut self, own: JobId, tasks: &[TaskId]) {
        let Some(source) = self.sources.get(&own) else { return };
        let key = |task: &TaskId| {
            let index = source.index_of(task)?;
            let worker = source.acceptance(index)?.agreed.first()?;
            Some(Key::vote(&own, index, worker))
        };
        let keys = tasks.iter().filter_map(key).collect();
        self.out.effects.push(Effect::Recall { job: own, keys });
    }

    /// Records of results came from the store.
    pub(super) fn recalled(&mut self, now: Timestamp, own: JobId, records: Vec<Record>) {
        let Some(source) = self.sources.get(&own) else { return };
        let result = |record: Record| match record {
            Record::Vote { job, task: index, proof, output, .. } if job == own => {
                let outcome = proof.outcome();
                let stands = source.acceptance(index).is_some_and(|one| one.outcome == outcome);
                let task = source.task_id(index).filter(|_| stands)?;
                Some(Vouched { task, status: outcome.status, fuel: outcome.fuel, output })
            }
            _ => None,
        };
        let results = records.into_iter().filter_map(result).collect();
        self.keeper(now, delegate::Input::Recalled { own, results });
    }
}
