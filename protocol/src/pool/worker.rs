//! What the pool knows of one worker: credit, what it holds, and how fast it has been seen to be.

use alloc::collections::{BTreeMap, BTreeSet};
use core::time::Duration;

use super::TaskIndex;
use crate::time::Timestamp;

/// Results after which what was measured counts half, if they are as many as its slots return in a few
/// turns: speed is that of the recent past.
const MEMORY: f64 = 64.0;
/// See [`MEMORY`].
const TURNS: f64 = 4.0;

/// Tasks for each slot below a worker that hands work on, on top of the one that is computed, however long
/// they take: one waits at each slot, and the rest at relays, so that none runs out of tasks while its
/// source waits for the time to refill it.
const AHEAD: u32 = 3;

/// Usual gaps between words of a worker that may pass in silence before it is thought slow.
const PATIENCE: f64 = 4.0;

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) connected: bool,
    pub(super) own: bool,
    /// Whether it takes only what is wanted of it by name.
    pub(super) reserved: bool,
    /// Whether it hands work on, and so takes it in bulk.
    pub(super) bulk: bool,
    /// Tasks that are wanted of certain workers, of which it is one; some perhaps no longer.
    pub(super) named: BTreeSet<TaskIndex>,
    pub(super) slots: u32,
    pub(super) window: u32,
    /// What it holds, and each task's place in `queue`.
    held: BTreeMap<TaskIndex, u64>,
    /// What it holds in the order it was leased, which is the order it is computed in.
    queue: BTreeMap<u64, TaskIndex>,
    next: u64,
    /// Since when it has had an empty slot, as far as that was looked at.
    pub(super) idle_since: Option<Timestamp>,
    /// All ring places below this were looked at.
    pub(super) cursor: u64,
    /// The pool's count of changes at which there was no further copy for this worker to make.
    pub(super) dry: Option<u64>,
    /// It is not considered for further copies ahead of need again before this.
    pub(super) rests: Timestamp,
    /// Results measured, and the busy microseconds they took: a peer's own judgement, so floats.
    results: f64,
    busy: f64,
    /// Moments at which results arrived: those of one batch arrive together.
    arrivals: f64,
    /// Start of the interval being measured: the last result, or the lease that ended idleness.
    mark: Timestamp,
}

impl Worker {
    pub(super) fn new(own: bool) -> Self {
        Self {
            connected: true,
            own,
            reserved: false,
            bulk: false,
            named: BTreeSet::new(),
            slots: 1,
            window: 0,
            held: BTreeMap::new(),
            queue: BTreeMap::new(),
            next: 0,
            cursor: 0,
            idle_since: None,
            dry: None,
            rests: Timestamp(0),
            results: 0.0,
            busy: 0.0,
            arrivals: 0.0,
            mark: Timestamp(0),
        }
    }

    /// Whether it may be handed tasks at all.
    pub(super) fn is_active(&self) -> bool {
        self.connected && self.window > 0
    }

    pub(super) fn held_count(&self) -> u32 {
        u32::try_from(self.held.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn room(&self) -> u32 {
        self.window.saturating_sub(self.held_count())
    }

    /// Slots that stand empty although there is credit to fill them.
    pub(super) fn idle(&self) -> u32 {
        self.slots.min(self.window).saturating_sub(self.held_count())
    }

    /// How full its slots are, in 1/1024: whoever is emptiest is served first.
    pub(super) fn fill(&self) -> u64 {
        u64::from(self.held_count()) * 1024 / u64::from(self.slots)
    }

    /// A task was leased to it.
    pub(super) fn hold(&mut self, now: Timestamp, index: TaskIndex) {
        if self.held.is_empty() {
            self.mark = now;
        }
        self.held.insert(index, self.next);
        if self.idle() == 0 {
            self.idle_since = None;
        }
        self.queue.insert(self.next, index);
        self.next += 1;
    }

    /// It no longer holds a task.
    pub(super) fn release(&mut self, index: TaskIndex) {
        if let Some(place) = self.held.remove(&index) {
            self.queue.remove(&place);
        }
    }

    /// The tasks it holds, in the order it is expected to compute them.
    pub(super) fn queue(&self) -> impl Iterator<Item = TaskIndex> + '_ {
        self.queue.values().copied()
    }

    /// A result arrived; those of one batch arrive together, and the first brings the time of all.
    pub(super) fn count_result(&mut self, now: Timestamp) {
        if now > self.mark || self.arrivals == 0.0 {
            self.busy += now.since(self.mark).as_micros() as f64 * self.used();
            self.arrivals += 1.0;
        }
        self.results += 1.0;
        self.mark = now;
        if self.results > MEMORY.max(TURNS * f64::from(self.slots)) {
            self.results /= 2.0;
            self.busy /= 2.0;
            self.arrivals /= 2.0;
        }
    }

    /// The part of its slots that has something to do: with all of them it would be so much faster.
    fn used(&self) -> f64 {
        let slots = f64::from(self.slots.max(1));
        f64::from(self.held_count().max(1)).min(slots) / slots
    }

    /// It was heard of, but with nothing that tells its speed.
    pub(super) fn heard(&mut self, now: Timestamp) {
        self.mark = now;
    }

    /// Measured microseconds between results.
    fn interval(&self) -> Option<f64> {
        (self.results > 0.0).then(|| self.busy / self.results)
    }

    /// Tasks that keep it busy for `target`, on top of one for each slot.
    pub(super) fn level(&self, target: Duration) -> u32 {
        let ahead = match self.interval() {
            None => self.slots,
            Some(interval) => {
                let tasks = target.as_micros() as f64 / interval.max(1.0);
                libm::ceil(tasks.min(1e6)) as u32
            }
        };
        let least = if self.bulk { self.slots.saturating_mul(AHEAD) } else { 1 };
        self.slots.saturating_add(ahead.max(least)).min(self.window)
    }

    /// Tasks that it can make use of whatever becomes of the job.
    pub(super) fn least(&self) -> u32 {
        self.slots.saturating_mul(if self.bulk { AHEAD } else { 2 })
    }

    /// Microseconds that it has held tasks without a word.
    fn silence(&self, now: Timestamp) -> f64 {
        if self.held.is_empty() { 0.0 } else { now.since(self.mark).as_micros() as f64 }
    }

    /// Tasks a microsecond that it has shown, if any.
    pub(super) fn shown(&self) -> Option<f64> {
        self.interval().map(|interval| 1.0 / interval.max(1.0))
    }

    /// How overdue its next word is: its silence as a multiple of what may pass. One that has shown no
    /// speed is overdue as soon as a slot elsewhere would have been done (`usual` is its speed).
    fn overdue(&self, now: Timestamp, usual: f64) -> f64 {
        let patience =
            if self.arrivals > 0.0 { PATIENCE * self.busy / self.arrivals } else { 1.0 / usual };
        // With slots empty words come more rarely.
        self.silence(now) * self.used() / patience.max(1.0)
    }

    /// Whether it has been silent for longer than is usual.
    pub(super) fn is_overdue(&self, now: Timestamp, usual: f64) -> bool {
        self.overdue(now, usual) > 1.0
    }

    /// Tasks a microsecond that are to be expected of it; `usual` is what a slot does elsewhere.
    pub(super) fn speed(&self, now: Timestamp, usual: f64) -> f64 {
        let speed = self.shown().unwrap_or(usual * f64::from(self.slots));
        speed / self.overdue(now, usual).max(1.0)
    }

    /// Microseconds from now until the task at `place` (from 0) of its queue is expected: at the
    /// speed it has shown, and never sooner than it has been silent already. A worker that has shown
    /// none is taken to need as long for each task as it has been silent.
    pub(super) fn due(&self, now: Timestamp, place: usize) -> u64 {
        let silence = self.silence(now);
        let tasks = (place as f64 + 1.0).max(f64::from(self.slots));
        match self.interval() {
            Some(interval) => (interval * tasks + (silence - interval).max(0.0)) as u64,
            None => (silence * tasks) as u64,
        }
    }

    /// How long to leave it alone after further copies were considered: a part of its task's time.
    pub(super) fn pause(&self) -> Duration {
        let task = self.interval().unwrap_or(0.0) * f64::from(self.slots);
        Duration::from_micros((task / 16.0) as u64)
    }

    /// Microseconds until it would return the task that it got as its `more`-th (from 0) on top of
    /// what it holds; none while its speed is unknown.
    pub(super) fn promise(&self, more: usize) -> Option<u64> {
        let tasks = (self.held.len() as f64 + more as f64 + 1.0).max(f64::from(self.slots));
        self.interval().map(|interval| (interval * tasks) as u64)
    }
}
