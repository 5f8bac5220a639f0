//! The slots: which task runs next, and what an attempt that ended leaves behind.

use serde_bytes::ByteBuf;

use super::{Effect, Foreign, Held, Worker, of};
use crate::{
    id::{Hash, JobId, PeerId},
    limits::{MAX_LOG, MAX_UNACKED_BATCHES},
    result::{Ended, Leaf, Opened, output_commit},
    time::Timestamp,
};

/// An attempt under way.
#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) source: PeerId,
    pub(super) job: JobId,
    pub(super) held: Held,
}

/// The worker's own figures, for adverts and people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Tasks computed at once.
    pub slots: u32,
    /// Of these, free now.
    pub free: u32,
    /// Fuel units a second and slot, 0 while unknown.
    pub speed: u64,
    /// Tasks held and not begun.
    pub queued: u64,
    /// Whether the operator paused the worker.
    pub paused: bool,
    /// Attempts that ended since the start.
    pub executed: u64,
    /// Microseconds that slots held a task since the start, all slots together, up to the last step.
    pub busy_micros: u64,
}

impl Worker {
    /// The worker's figures now.
    pub fn load(&self) -> Load {
        let busy = u32::try_from(self.running.len()).unwrap_or(u32::MAX);
        Load {
            slots: self.lending.slots,
            free: if self.paused { 0 } else { self.lending.slots.saturating_sub(busy) },
            speed: self.speed as u64,
            queued: self.jobs.values().map(|job| job.queue.len() as u64).sum(),
            paused: self.paused,
            executed: self.executed,
            busy_micros: self.busy_micros,
        }
    }

    /// Starts tasks while slots are free, the sources taking turns.
    pub(super) fn fill(&mut self) {
        if self.paused {
            return;
        }
        while self.running.len() < self.lending.slots as usize {
            let Some(key) = self.next_job() else { return };
            self.turn = key.0;
            if let Some(neighbour) = self.neighbours.get_mut(&key.0) {
                neighbour.turn = key.1;
            }
            let here = &self.here;
            let Some((foreign, held)) = self
                .jobs
                .get_mut(&key)
                .and_then(|job| job.take_ready(here).map(|held| (&*job, held)))
            else {
                return;
            };
            let Some(program) = foreign.program.clone() else { return };
            let attempt = self.next_attempt;
            self.next_attempt += 1;
            let (task, input) = (held.task, held.input.clone());
            self.running.insert(attempt, Running { source: key.0, job: key.1, held });
            self.out.effects.push(Effect::Run { attempt, program, task, input });
        }
    }

    /// The next job with a task to start: sources take turns, and so do the jobs of one source.
    pub(super) fn next_job(&self) -> Option<(PeerId, JobId)> {
        let ready = |(_, job): &(&(PeerId, JobId), &Foreign)| {
            job.unacked.len() < MAX_UNACKED_BATCHES && job.has_ready(&self.here)
        };
        let after = self.jobs.range((self.turn, JobId([255; 32]))..);
        let before = self.jobs.range(..(self.turn, JobId([255; 32])));
        let first = after.chain(before).find(ready).map(|(key, _)| *key)?;
        let last = self.neighbours.get(&first.0).map_or(JobId([0; 32]), |neighbour| neighbour.turn);
        let later = self.jobs.range(of(first.0)).filter(|(key, _)| key.1 > last).find(ready);
        Some(later.map_or(first, |(key, _)| *key))
    }

    pub(super) fn pause(&mut self) {
        self.paused = true;
        for (attempt, running) in core::mem::take(&mut self.running).into_iter().rev() {
            self.out.effects.push(Effect::Kill(attempt));
            if let Some(job) = self.jobs.get_mut(&(running.source, running.job)) {
                job.queue.push_front(running.held);
            }
        }
    }

    pub(super) fn executed(&mut self, now: Timestamp, ended: Ended) {
        let Some(Running { source, job, held }) = self.running.remove(&ended.attempt) else {
            return;
        };
        self.executed += 1;
        let (fuel, micros) = (ended.fuel as f64, ended.micros as f64);
        self.micros = smooth(self.micros, micros);
        if fuel > 0.0 && micros > 0.0 {
            self.speed = smooth(self.speed, fuel * 1e6 / micros);
        }
        self.result(now, source, job, held, ended);
    }

    pub(super) fn result(
        &mut self,
        now: Timestamp,
        source: PeerId,
        job: JobId,
        held: Held,
        ended: Ended,
    ) {
        let Ended { status, output, fuel, mut log, micros, .. } = ended;
        let Some(foreign) = self.jobs.get_mut(&(source, job)) else { return };
        log.drain(..log.len().saturating_sub(MAX_LOG));
        let nonce = Hash(self.entropy.draw());
        let leaf = Leaf {
            task: held.task,
            job,
            submitter: held.submitter,
            lease: held.lease,
            worker: self.me,
            status,
            output_commit: output_commit(&output.hash(), &nonce.0),
            fuel,
        };
        foreign.add(now, Opened { leaf, nonce, output, log: ByteBuf::from(log), micros });
    }

    /// Adds the time since the last step to that of the slots that held a task.
    pub(super) fn count(&mut self, now: Timestamp) {
        let passed = now.since(self.counted).as_micros();
        let busy = passed.saturating_mul(self.running.len() as u128);
        self.busy_micros = self.busy_micros.saturating_add(u64::try_from(busy).unwrap_or(0));
        self.counted = now;
    }
}

fn smooth(old: f64, new: f64) -> f64 {
    if old == 0.0 { new } else { old + 0.2 * (new - old) }
}
