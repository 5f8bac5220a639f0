//! A pool of threads that run attempts at the lowest priority, so that lent cores are idle ones.
//!
//! The pool decides nothing: who submits chooses the order, and every submitted attempt is reported
//! exactly once.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use crate::{
    attempt::{Outcome, Task},
    clock::Cancel,
    engine::{Engine, GUEST_STACK, Module},
};

/// Attempts that may wait for a slot.
const MAX_WAITING: usize = 1024;
/// Stack of a slot: the guest's, and ample room for the host.
const STACK: usize = GUEST_STACK + (3 << 20);

/// One attempt to run.
#[derive(Debug)]
pub struct Job {
    /// The caller's name for it; distinct among those waiting and running.
    pub attempt: u64,
    /// What to run.
    pub module: Module,
    /// What to run it on.
    pub task: Task,
}

/// Why an attempt was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// Too many are waiting already.
    #[error("too many attempts are waiting for a slot")]
    Full,
    /// An attempt of this name is waiting or running.
    #[error("attempt {0} is already submitted")]
    Repeated(u64),
}

/// A pool of threads that run attempts.
pub struct Slots {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    engine: Engine,
    done: Box<dyn Fn(u64, Outcome) + Send + Sync>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    /// Every attempt that waits or runs.
    cancels: BTreeMap<u64, Cancel>,
    closed: bool,
}

impl Slots {
    /// Starts `count` threads. `done` is called on one of them when an attempt has ended; it should
    /// hand the outcome on and return.
    pub fn start(
        engine: Engine,
        count: usize,
        done: impl Fn(u64, Outcome) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let shared = Shared {
            engine,
            done: Box::new(done),
            state: Mutex::default(),
            changed: Condvar::new(),
        };
        let mut slots = Self { shared: Arc::new(shared), threads: Vec::new() };
        for index in 0..count {
            let shared = Arc::clone(&slots.shared);
            let thread =
                thread::Builder::new().name(format!("bayan-slot-{index}")).stack_size(STACK);
            slots.threads.push(thread.spawn(move || work(&shared))?);
        }
        Ok(slots)
    }

    /// The number of threads.
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// Queues an attempt.
    pub fn submit(&self, job: Job) -> Result<(), SubmitError> {
        let mut state = self.shared.state();
        if state.waiting.len() >= MAX_WAITING {
            return Err(SubmitError::Full);
        }
        if state.cancels.contains_key(&job.attempt) {
            return Err(SubmitError::Repeated(job.attempt));
        }
        state.cancels.insert(job.attempt, Cancel::new());
        state.waiting.push_back(job);
        drop(state);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Ends an attempt soon if it runs, at once when its turn comes if it waits. It is reported
    /// like any other, as out of wall time. False if there is no such attempt (any more).
    pub fn cancel(&self, attempt: u64) -> bool {
        let state = self.shared.state();
        state.cancels.get(&attempt).inspect(|cancel| cancel.cancel()).is_some()
    }

    /// Cancels everything, reports it and waits for the threads to end, as dropping the pool does.
    pub fn shutdown(self) {}
}

impl Drop for Slots {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.closed = true;
        state.cancels.values().for_each(Cancel::cancel);
        drop(state);
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A slot catches what attempts and callbacks throw; nothing is left to report.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next attempt; none when the pool is closed and everything has been reported.
    fn next(&self) -> Option<(Job, Cancel)> {
        let mut state = self.state();
        loop {
            if let Some(job) = state.waiting.pop_front() {
                let cancel = state.cancels.get(&job.attempt).cloned().unwrap_or_default();
                return Some((job, cancel));
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn work(shared: &Shared) {
    lower_priority();
    while let Some((job, cancel)) = shared.next() {
        let outcome = shared.engine.run(&job.module, &job.task, &cancel);
        shared.state().cancels.remove(&job.attempt);
        let attempt = job.attempt;
        // The job's input and files may be large: free them before the report asks for more work.
        drop(job);
        if catch_unwind(AssertUnwindSafe(|| (shared.done)(attempt, outcome))).is_err() {
            tracing::error!(attempt, "the report of an attempt panicked");
        }
    }
}

/// Gives way to everything else on the machine. Only Linux has priorities by thread; elsewhere the
/// whole process may be started with a lower one.
#[cfg(target_os = "linux")]
fn lower_priority() {
    const LOWEST: libc::c_int = 19;
    #[expect(unsafe_code, reason = "a system call without a safe wrapper among our dependencies")]
    // SAFETY: takes three integers and touches no memory of ours; 0 names the calling thread.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, LOWEST) };
    if result != 0 {
        tracing::warn!(error = %io::Error::last_os_error(), "cannot lower the priority of a slot");
    }
}

#[cfg(not(target_os = "linux"))]
fn lower_priority() {}
