//! The engine processes of a peer, as their user sees them.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, atomic::Ordering, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{
    compile::Compiler,
    launcher::Launcher,
    module::{LoadError, Module},
    probe::{Probe, ProbeError, probe},
    queue::{Done, Entry, Name, Place, Shared},
    slot::Slot,
    task::{self, Outcome, Task},
    walls::Bounds,
};

/// Attempts that may wait for an engine process.
pub const MAX_WAITING: usize = 4096;

/// How engine processes are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Attempts that run at once, each in a process of its own.
    pub slots: usize,
    /// What the processes are started from.
    pub launcher: Launcher,
    /// Where compiled modules are kept; none keeps them in memory only. What lies there is
    /// executed inside engine processes, so it must be writable by this peer's user alone.
    pub cache_dir: Option<PathBuf>,
    /// Bytes of private memory that one process may have, whatever its task's limits say.
    pub memory: u64,
    /// A process without work ends after this.
    pub idle: Duration,
    /// Processor time for compiling one module; whole seconds. Five times as much may pass on the
    /// clock, since compiling gives way to everything else.
    pub compile_time: Duration,
    /// Bytes of memory for compiling one module.
    pub compile_memory: u64,
}

impl Options {
    /// The defaults with `slots` slots: this program, no cache on disk.
    pub fn new(slots: usize) -> Self {
        Self {
            slots,
            launcher: Launcher::this_program(),
            cache_dir: None,
            memory: 6 << 30,
            idle: Duration::from_secs(60),
            compile_time: Duration::from_secs(60),
            compile_memory: 2 << 30,
        }
    }
}

/// One attempt to run.
#[derive(Debug, Clone)]
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
    #[error("too many attempts are waiting for an engine")]
    Full,
    /// An attempt of this name is waiting or running.
    #[error("attempt {0} is already submitted")]
    Repeated(u64),
}

/// How the engine processes are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Processes there are.
    pub processes: Vec<u32>,
    /// Attempts that wait or run.
    pub attempts: usize,
    /// Starts that failed in a row.
    pub failed_starts: u32,
    /// What was wrong with the last one of them.
    pub trouble: Option<String>,
}

/// A pool of engine processes. It decides nothing: who submits chooses the order, and every
/// attempt is reported exactly once.
///
/// A process is started when there is an attempt for it, and ends after a while without.
pub struct Engines {
    shared: Arc<Shared>,
    compiler: Compiler,
    threads: Vec<JoinHandle<()>>,
}

impl Engines {
    /// Starts a thread for each slot. `done` is called on one of them when an attempt has ended;
    /// it should hand the outcome on and return.
    pub fn start(
        options: Options,
        done: impl Fn(u64, Outcome) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let compiler = Compiler::new(&options)?;
        let (shared, wakes) = Shared::new(options, Box::new(done))?;
        let mut engines = Self { shared: Arc::new(shared), compiler, threads: Vec::new() };
        for (index, wake) in wakes.into_iter().enumerate() {
            let slot = Slot::new(Arc::clone(&engines.shared), index, wake);
            let thread = thread::Builder::new().name(format!("bayan-slot-{index}"));
            engines.threads.push(thread.spawn(move || slot.work())?);
        }
        Ok(engines)
    }

    /// The number of slots.
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// Makes `wasm` ready to run: packs it here, and takes its compiled form from the cache or has
    /// it made in a contained process, which takes from milliseconds to a minute.
    pub fn prepare(&self, wasm: &[u8]) -> Result<Module, LoadError> {
        self.compiler.prepare(wasm)
    }

    /// Queues an attempt.
    pub fn submit(&self, job: Job) -> Result<(), SubmitError> {
        let Job { attempt, module, task } = job;
        self.queue(Name::Given(attempt), module, task, Done::Callback).map_err(
            |error| match error {
                SubmitError::Repeated(_) => SubmitError::Repeated(attempt),
                full => full,
            },
        )
    }

    /// Runs one task and waits for its outcome.
    pub fn run(&self, module: &Module, task: Task) -> Outcome {
        let (sender, outcome) = mpsc::sync_channel(1);
        let name = Name::Own(self.shared.next_own.fetch_add(1, Ordering::Relaxed));
        if let Err(error) = self.queue(name, module.clone(), task, Done::Channel(sender)) {
            return task::fault(&error.to_string());
        }
        outcome.recv().unwrap_or_else(|_| task::fault("the engines were shut down"))
    }

    fn queue(&self, name: Name, module: Module, task: Task, done: Done) -> Result<(), SubmitError> {
        let mut state = self.shared.state();
        if state.waiting.len() >= MAX_WAITING {
            return Err(SubmitError::Full);
        }
        if state.entries.contains_key(&name) {
            return Err(SubmitError::Repeated(0));
        }
        let entry = Entry::new(module, task, done);
        state.entries.insert(name, entry);
        state.waiting.push_back(name);
        state.wake_hungry();
        Ok(())
    }

    /// Ends an attempt: at once if it runs. It is reported like any other, as out of wall time,
    /// unless it ends by itself in this moment. False if there is no such attempt (any more).
    pub fn cancel(&self, attempt: u64) -> bool {
        let name = Name::Given(attempt);
        let mut state = self.shared.state();
        let state = &mut *state;
        let Some(entry) = state.entries.get_mut(&name) else { return false };
        entry.cancelled = true;
        match entry.place {
            Place::Slot(index) => {
                let slot = &mut state.slots[index];
                slot.cancels.push(name);
                slot.wake();
            }
            Place::Waiting => {
                entry.place = Place::Ended;
                state.waiting.retain(|waiting| *waiting != name);
                state.ended.push((name, task::cancelled()));
                state.slots[0].wake();
            }
            Place::Ended => {}
        }
        true
    }

    /// Ends every engine process at once and starts none until [`Self::resume`]. Attempts stay.
    pub fn pause(&self) {
        self.shared.state().set_paused(true);
    }

    /// Goes on after [`Self::pause`]: attempts that were interrupted start anew.
    pub fn resume(&self) {
        self.shared.state().set_paused(false);
    }

    /// How the engine processes are.
    pub fn health(&self) -> Health {
        let state = self.shared.state();
        Health {
            processes: state.slots.iter().filter_map(|slot| slot.process).collect(),
            attempts: state.entries.len(),
            failed_starts: state.trouble.as_ref().map_or(0, |trouble| trouble.failures),
            trouble: state.trouble.as_ref().map(|trouble| trouble.words.clone()),
        }
    }

    /// Starts an engine process that tries its walls from inside, also at opening `secret`: a file
    /// that this program's user may read.
    pub fn probe(&self, secret: Option<&std::path::Path>) -> Result<Probe, ProbeError> {
        let bounds = Bounds { data: self.shared.options.memory, cpu_seconds: 0 };
        probe(&self.shared.options.launcher, &bounds, secret)
    }

    /// Cancels everything, reports it, ends the processes and waits for it, as dropping does.
    pub fn shutdown(self) {}
}

impl Drop for Engines {
    fn drop(&mut self) {
        self.shared.state().close();
        for thread in self.threads.drain(..) {
            // A slot catches what callbacks throw; nothing is left to report.
            let _ = thread.join();
        }
    }
}
