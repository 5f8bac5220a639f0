//! What the slots share: the attempts, where each of them is, and who is to be woken for more.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64, mpsc::SyncSender},
    time::{Duration, Instant},
};

use crate::{
    engines::Options,
    module::Module,
    task::{self, Outcome, Task},
};

/// Failed starts in a row after which attempts that wait are given up.
const PATIENCE: u32 = 3;
const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// Who calls an attempt what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    Given(u64),
    Own(u64),
}

/// Where an outcome goes.
pub(crate) enum Done {
    Callback,
    Channel(SyncSender<Outcome>),
}

/// Where an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Waiting,
    Slot(usize),
    /// Its outcome is on its way.
    Ended,
}

/// What there is to run.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) module: Module,
    pub(crate) task: Task,
}

/// An attempt from its submission to its report.
pub(crate) struct Entry {
    pub(crate) order: Arc<Order>,
    pub(crate) place: Place,
    pub(crate) cancelled: bool,
    /// Runs with nothing beside it in the process, because it may have ended one.
    pub(crate) alone: bool,
    done: Done,
}

impl Entry {
    pub(crate) fn new(module: Module, task: Task, done: Done) -> Self {
        let order = Arc::new(Order { module, task });
        Self { order, place: Place::Waiting, cancelled: false, alone: false, done }
    }
}

/// The slots' common ground.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) next_own: AtomicU64,
    callback: Box<dyn Fn(u64, Outcome) + Send + Sync>,
    state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) entries: BTreeMap<Name, Entry>,
    pub(crate) waiting: VecDeque<Name>,
    /// Outcomes of attempts that were in no slot, for any slot to report.
    pub(crate) ended: Vec<(Name, Outcome)>,
    pub(crate) slots: Vec<SlotState>,
    pub(crate) trouble: Option<Trouble>,
    pub(crate) paused: bool,
    pub(crate) closed: bool,
}

pub(crate) struct SlotState {
    /// Would take an attempt if there were one. Cleared by waking it.
    pub(crate) hungry: bool,
    /// Runs no attempt.
    pub(crate) idle: bool,
    pub(crate) process: Option<u32>,
    /// Attempts given to it that have been cancelled since.
    pub(crate) cancels: Vec<Name>,
    waker: UnixStream,
}

impl SlotState {
    pub(crate) fn wake(&mut self) {
        self.hungry = false;
        // Full means that it will wake anyway.
        let _ = (&self.waker).write(&[1]);
    }
}

/// Engine processes cannot be started.
pub(crate) struct Trouble {
    pub(crate) failures: u32,
    pub(crate) words: String,
    since: Instant,
    until: Instant,
}

impl Shared {
    /// With the end of each slot that wakes it.
    pub(crate) fn new(
        options: Options,
        callback: Box<dyn Fn(u64, Outcome) + Send + Sync>,
    ) -> io::Result<(Self, Vec<UnixStream>)> {
        let (mut slots, mut wakes) = (Vec::new(), Vec::new());
        for _ in 0..options.slots.max(1) {
            let (waker, wake) = UnixStream::pair()?;
            waker.set_nonblocking(true)?;
            wake.set_nonblocking(true)?;
            slots.push(SlotState {
                hungry: true,
                idle: true,
                process: None,
                cancels: Vec::new(),
                waker,
            });
            wakes.push(wake);
        }
        let state = State {
            entries: BTreeMap::new(),
            waiting: VecDeque::new(),
            ended: Vec::new(),
            slots,
            trouble: None,
            paused: false,
            closed: false,
        };
        let next_own = AtomicU64::new(0);
        Ok((Self { options, next_own, callback, state: Mutex::new(state) }, wakes))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports outcomes to whoever submitted the attempts; once for each attempt.
    pub(crate) fn report(&self, outcomes: impl IntoIterator<Item = (Name, Outcome)>) {
        let entry = |state: &mut State, (name, outcome)| {
            state.entries.remove(&name).map(|entry| (name, entry, outcome))
        };
        let reports: Vec<_> = {
            let mut state = self.state();
            outcomes.into_iter().filter_map(|ended| entry(&mut state, ended)).collect()
        };
        for (name, entry, outcome) in reports {
            self.report_one(name, entry, outcome);
        }
    }

    fn report_one(&self, name: Name, entry: Entry, outcome: Outcome) {
        // Its input and files may be large: they go before the report asks for more work.
        drop(entry.order);
        let reported = catch_unwind(AssertUnwindSafe(|| match (entry.done, name) {
            (Done::Callback, Name::Given(attempt)) => (self.callback)(attempt, outcome),
            // Nobody is left to be told when the receiver is gone.
            (Done::Channel(sender), _) => drop(sender.try_send(outcome)),
            (Done::Callback, Name::Own(_)) => {}
        }));
        if reported.is_err() {
            tracing::error!(?name, "the report of an attempt panicked");
        }
    }
}

impl State {
    /// Wakes one slot for an attempt that waits: one that is doing nothing if there is one, best
    /// with a process.
    pub(crate) fn wake_hungry(&mut self) {
        let hungry = self.slots.iter_mut().filter(|slot| slot.hungry);
        let best = hungry.min_by_key(|slot| (!slot.idle, slot.process.is_none()));
        if let Some(slot) = best {
            slot.wake();
        }
    }

    /// Puts attempts that a slot gives back to the front of the queue, in their order.
    pub(crate) fn give_back(&mut self, names: &[Name], alone: bool) {
        for name in names.iter().rev() {
            let Some(entry) = self.entries.get_mut(name) else { continue };
            if entry.cancelled || self.closed {
                entry.place = Place::Ended;
                self.ended.push((*name, task::cancelled()));
            } else {
                entry.place = Place::Waiting;
                entry.alone |= alone;
                self.waiting.push_front(*name);
            }
        }
        for _ in names {
            self.wake_hungry();
        }
    }

    pub(crate) fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
        self.slots.iter_mut().for_each(SlotState::wake);
    }

    /// Ends everything: what waits is reported by the slots before they end.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        let waiting: Vec<Name> = self.waiting.drain(..).collect();
        self.give_back(&waiting, false);
        self.slots.iter_mut().for_each(SlotState::wake);
    }

    /// When a process may be started again; none if at once.
    pub(crate) fn start_after(&self, now: Instant) -> Option<Instant> {
        self.trouble.as_ref().map(|trouble| trouble.until).filter(|until| *until > now)
    }

    /// A process that was begun at `begun` never served. Starts that overlap count once. When it
    /// has happened too often, what waits is given up.
    pub(crate) fn start_failed(&mut self, begun: Instant, words: String) {
        let now = Instant::now();
        let before = self.trouble.take();
        let failures = match &before {
            None => 1,
            Some(before) if begun >= before.since => before.failures.saturating_add(1),
            Some(before) => before.failures,
        };
        let delay = FIRST_DELAY.saturating_mul(1 << failures.min(16)).min(LONGEST_DELAY);
        tracing::warn!(failures, words, "an engine process does not start");
        if failures >= PATIENCE {
            for name in std::mem::take(&mut self.waiting) {
                if let Some(entry) = self.entries.get_mut(&name) {
                    entry.place = Place::Ended;
                    let words = format!("no engine process can be started: {words}");
                    self.ended.push((name, task::fault(&words)));
                }
            }
        }
        self.trouble = Some(Trouble { failures, words, since: now, until: now + delay });
    }
}

/// Takes all wakes that have come.
pub(crate) fn drain(mut wake: &UnixStream) {
    let mut bytes = [0; 64];
    while wake.read(&mut bytes).is_ok_and(|read| read == bytes.len()) {}
}
