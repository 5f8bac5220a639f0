//! What the pool knows of one worker: credit, what it holds, and how fast it has been seen to be.

use alloc::collections::BTreeMap;
use core::time::Duration;

use super::TaskIndex;
use crate::time::Timestamp;

/// Results after which what was measured counts half: speed is that of the recent past.
const MEMORY: f64 = 64.0;

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) connected: bool,
    pub(super) own: bool,
    pub(super) slots: u32,
    pub(super) window: u32,
    /// What it holds and since when.
    pub(super) held: BTreeMap<TaskIndex, Timestamp>,
    /// All ring places below this were looked at.
    pub(super) cursor: u64,
    /// Results measured, and the busy microseconds they took: a peer's own judgement, so floats.
    results: f64,
    busy: f64,
    /// Start of the interval being measured: the last result, or the lease that ended idleness.
    mark: Timestamp,
}

impl Worker {
    pub(super) fn new(own: bool) -> Self {
        Self {
            connected: true,
            own,
            slots: 1,
            window: 0,
            held: BTreeMap::new(),
            cursor: 0,
            results: 0.0,
            busy: 0.0,
            mark: Timestamp(0),
        }
    }

    pub(super) fn held_count(&self) -> u32 {
        u32::try_from(self.held.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn room(&self) -> u32 {
        self.window.saturating_sub(self.held_count())
    }

    /// A lease begins.
    pub(super) fn start(&mut self, now: Timestamp) {
        if self.held.is_empty() {
            self.mark = now;
        }
    }

    /// A result arrived; those of one batch arrive together, and the first brings the time of all.
    pub(super) fn count_result(&mut self, now: Timestamp) {
        self.busy += now.since(self.mark).as_micros() as f64;
        self.results += 1.0;
        self.mark = now;
        if self.results > MEMORY {
            self.results /= 2.0;
            self.busy /= 2.0;
        }
    }

    /// Measured microseconds between results.
    fn interval(&self) -> Option<f64> {
        (self.results > 0.0).then(|| self.busy / self.results)
    }

    /// How many tasks the worker should hold: a slot's worth each, and prefetched work for `target`,
    /// but near the end no more than its share of the `fresh` tasks among `active` workers.
    pub(super) fn level(&self, target: Duration, fresh: u32, active: u32) -> u32 {
        let ahead = match self.interval() {
            None => self.slots,
            Some(interval) => {
                let tasks = target.as_micros() as f64 / interval.max(1.0);
                libm::ceil(tasks.min(1e6)) as u32
            }
        };
        let share = (fresh / active.saturating_mul(2).max(1)).max(1);
        self.slots.saturating_add(ahead.max(1).min(share)).min(self.window)
    }

    /// Microseconds from now until the held task `index` is expected, by this worker's speed and
    /// never less than it has already taken.
    pub(super) fn expected(&self, now: Timestamp, index: TaskIndex) -> u64 {
        let waited = self.held.get(&index).map_or(0, |since| now.since(*since).as_micros() as u64);
        let ahead = self.held.range(..=index).count() as f64;
        let silence = now.since(self.mark).as_micros() as f64;
        let interval = self.interval().unwrap_or(0.0).max(silence);
        ((interval * ahead) as u64).max(waited)
    }
}
