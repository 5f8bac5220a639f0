//! What a job says to those that compute it: offers, leases, and what they need not do any more.

use alloc::vec::Vec;

use super::{Effect, Source};
use crate::{
    id::{LeaseId, PeerId},
    path::Errand,
    pool::{self, TaskIndex},
    record::{Change, JobState, Key, Record},
    time::Timestamp,
    wire::{Cancel, Exclude, Frame, Lease, LeasedTask, Offer},
};

impl Source {
    /// The offer that is made to peers.
    pub fn offer(&self) -> Offer {
        Offer {
            job: self.job,
            submitter: self.me,
            profile: self.manifest.program.profile.clone(),
            memory: self.manifest.program.limits.memory,
            hops: 0,
        }
    }

    pub(super) fn pool(&mut self, now: Timestamp, input: pool::Input) {
        if self.state != JobState::Running {
            return;
        }
        for effect in self.pool.step(now, input) {
            match effect {
                pool::Effect::Lease { worker, lease, tasks } => {
                    let frame = self.lease_frame(&worker, lease, &tasks);
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

    pub(super) fn lease_frame(&self, to: &PeerId, lease: LeaseId, tasks: &[TaskIndex]) -> Frame {
        let leased = |index: &TaskIndex| {
            let (task, place) = *self.tasks.get(*index as usize)?;
            Some(LeasedTask { task, input: self.manifest.inputs.get(place)? })
        };
        let mut leased: Vec<LeasedTask> = tasks.iter().filter_map(leased).collect();
        if self.manifest.policy.checks() {
            // Their places say nothing of which are checks.
            leased.sort_unstable_by_key(|one| one.task);
        }
        let ids = leased.iter().map(|one| one.task);
        let hop = self.errand().hand(&self.key, None, lease, to, ids);
        Frame::Lease(Lease {
            lease,
            job: self.job,
            submitter: self.me,
            program: self.manifest.program.clone(),
            lasts_ms: u64::try_from(self.config.pool.lease.as_millis()).unwrap_or(u64::MAX),
            path: Vec::from([hop]),
            tasks: leased,
            share: u8::from(self.manifest.is_open()),
        })
    }

    /// What the hops of this job's leases are signed for.
    pub(super) fn errand(&self) -> Errand {
        Errand { job: self.job, submitter: self.me }
    }

    pub(super) fn cancel_frame(&self, tasks: &[TaskIndex]) -> Frame {
        let tasks = tasks.iter().map(|index| self.tasks[*index as usize].0).collect();
        Frame::Cancel(Cancel { job: self.job, tasks })
    }

    /// Tells a relay who gets no more of the job.
    pub(super) fn exclusion(&self, worker: PeerId, hand: PeerId) -> Effect {
        let exclude = Exclude { job: self.job, workers: Vec::from([worker]) };
        Effect::Send(hand, Frame::Exclude(exclude))
    }

    /// Tells a worker to forget the job.
    pub(super) fn over(&self) -> Frame {
        Frame::Cancel(Cancel { job: self.job, tasks: Vec::new() })
    }
}
