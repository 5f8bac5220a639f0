//! One attempt: a fresh instance of a module on one task, run to its end, and what came of it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use bayan_protocol::{
    id::TaskId,
    task::{Limits, Status},
};
use bayan_wasi::{Host, Setup, Stop};
use wasmtime::{ModuleExport, ResourceLimiter, Result, Store, Trap, UpdateDeadline, bail};

use crate::{
    admission::{MAX_TABLE_ELEMENTS, PAGE},
    clock::Cancel,
    engine::{Compiled, Engine, Module},
};

/// Everything one attempt needs but its module.
#[derive(Debug, Clone)]
pub struct Task {
    /// Keys the guest's randomness.
    pub id: TaskId,
    /// Arguments after the program's own name.
    pub args: Vec<String>,
    /// Environment, in order.
    pub env: Vec<(String, String)>,
    /// Standard input.
    pub stdin: Arc<[u8]>,
    /// Files the guest sees under `/data`; names without slashes, distinct.
    pub data: Vec<(String, Arc<[u8]>)>,
    /// Bounds.
    pub limits: Limits,
}

/// How an attempt ended. For a conclusive status, `status`, `output` and `fuel` are the same on
/// every honest peer; `log` and `micros` are this peer's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended. A cancelled attempt counts as out of wall time.
    pub status: Status,
    /// Standard output if the guest exited, with whatever code; else empty.
    pub output: Vec<u8>,
    /// Fuel used; the limit if it ran out; zero if inconclusive.
    pub fuel: u64,
    /// The start of standard error, and the engine's own words if it failed.
    pub log: Vec<u8>,
    /// Wall time of the attempt in microseconds.
    pub micros: u64,
}

/// Whether a guest gives the same result twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Both runs agreed; the first one's outcome.
    Same(Outcome),
    /// Two conclusive runs differed: a fault of this engine, because a guest has no way to.
    Differs(Outcome, Outcome),
    /// A run ended without a result (wall time, stack, memory, a host fault).
    Inconclusive(Outcome),
}

/// What an instance carries with it.
pub(crate) struct State {
    pub(crate) host: Host,
    pub(crate) memory: ModuleExport,
    pub(crate) end: Option<End>,
    bounds: Bounds,
}

/// Why the guest was stopped, when it was the host that stopped it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Host(Stop),
    WallTime,
}

/// Growth within the task's limits, decided alike everywhere; what the machine then cannot give
/// ends the attempt.
struct Bounds {
    memory: u64,
    refused: bool,
}

impl ResourceLimiter for Bounds {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        Ok(desired as u64 <= self.memory && maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> Result<()> {
        self.refused = true;
        Err(error)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        Ok(desired as u64 <= MAX_TABLE_ELEMENTS && maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> Result<()> {
        self.refused = true;
        Err(error)
    }
}

impl Engine {
    /// Runs `module` on `task` in a fresh instance, on this thread, until it ends by itself, by a
    /// limit, or by `cancel`. The thread needs 1 MiB of free stack for the guest and some for the
    /// host. Never panics.
    pub fn run(&self, module: &Module, task: &Task, cancel: &Cancel) -> Outcome {
        let started = Instant::now();
        let attempt = AssertUnwindSafe(|| self.attempt(module.compiled(), task, cancel, started));
        let mut outcome = catch_unwind(attempt)
            .unwrap_or_else(|_| Outcome::inconclusive(Status::HostFault, "the engine panicked"));
        outcome.micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        outcome
    }

    /// Runs `module` twice on `task` and compares.
    pub fn check_determinism(&self, module: &Module, task: &Task) -> Verdict {
        let (first, second) =
            (self.run(module, task, &Cancel::new()), self.run(module, task, &Cancel::new()));
        if !first.status.is_conclusive() {
            Verdict::Inconclusive(first)
        } else if !second.status.is_conclusive() {
            Verdict::Inconclusive(second)
        } else if first.result() == second.result() {
            Verdict::Same(first)
        } else {
            Verdict::Differs(first, second)
        }
    }

    fn attempt(
        &self,
        module: &Compiled,
        task: &Task,
        cancel: &Cancel,
        started: Instant,
    ) -> Outcome {
        let limits = &task.limits;
        let memory = limits.memory / PAGE * PAGE;
        if module.memory_bytes > memory {
            return Outcome::failed(Status::Trapped, 0, Vec::new());
        }
        if limits.fuel == 0 {
            return Outcome::failed(Status::OutOfFuel, 0, Vec::new());
        }
        let setup = Setup {
            task: task.id.0,
            args: task.args.clone(),
            env: task.env.clone(),
            stdin: Arc::clone(&task.stdin),
            data: task.data.clone(),
            output_limit: limits.output,
        };
        let host = match Host::new(setup) {
            Ok(host) => host,
            Err(error) => return Outcome::inconclusive(Status::HostFault, &error.to_string()),
        };
        let bounds = Bounds { memory, refused: false };
        let state = State { host, memory: module.memory, end: None, bounds };
        let mut store = Store::new(self.inner(), state);
        store.limiter(|state| &mut state.bounds);
        watch(
            &mut store,
            cancel.clone(),
            started.checked_add(Duration::from_millis(limits.wall_ms)),
        );
        let running = self.ticker().running();
        let ended = if cancel.is_cancelled() {
            store.data_mut().end = Some(End::WallTime);
            Ok(())
        } else {
            execute(&mut store, module, limits.fuel)
        };
        drop(running);
        let left = store.get_fuel().unwrap_or(0);
        conclude(store.into_data(), ended, limits.fuel, left)
    }
}

/// Looks at the time and at `cancel` on every tick. A deadline beyond the clock's range is none.
fn watch(store: &mut Store<State>, cancel: Cancel, deadline: Option<Instant>) {
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(move |mut context| {
        if cancel.is_cancelled() || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            context.data_mut().end = Some(End::WallTime);
            bail!("out of wall time");
        }
        Ok(UpdateDeadline::Continue(1))
    });
}

/// Initialises the instance and calls its entry point; both are metered.
fn execute(store: &mut Store<State>, module: &Compiled, fuel: u64) -> Result<()> {
    store.set_fuel(fuel)?;
    let instance = module.instance.instantiate(&mut *store)?;
    let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
    start.call(store, ())
}

/// Turns the way the guest ended into an outcome. What says nothing about the guest goes first,
/// then fuel: whoever used it all is out of fuel, however the guest went on from there.
fn conclude(state: State, ended: Result<()>, limit: u64, left: u64) -> Outcome {
    let State { host, end, bounds, .. } = state;
    let trap = ended.as_ref().err().and_then(|error| error.downcast_ref::<Trap>()).copied();
    let (output, log) = host.into_parts();
    let inconclusive = |status| Outcome { log: log.clone(), ..Outcome::inconclusive(status, "") };
    match (end, trap) {
        (Some(End::WallTime), _) | (None, Some(Trap::Interrupt)) => {
            return inconclusive(Status::WallTime);
        }
        (Some(End::Host(Stop::HostMemory)), _) => return inconclusive(Status::HostFault),
        _ if bounds.refused => return inconclusive(Status::MemoryRefused),
        (None, Some(Trap::StackOverflow)) => return inconclusive(Status::StackOverflow),
        (None, Some(trap)) if !is_guests(trap) => return inconclusive(Status::HostFault),
        (None, None) if ended.is_err() => {
            let words = ended.err().map(|error| format!("{error:#}")).unwrap_or_default();
            return Outcome::inconclusive(Status::HostFault, &words);
        }
        _ => {}
    }
    let fuel = limit - left.min(limit);
    match end {
        _ if left == 0 => Outcome::failed(Status::OutOfFuel, limit, log),
        Some(End::Host(Stop::OutputLimit)) => Outcome::failed(Status::OutputLimit, fuel, log),
        Some(End::Host(Stop::Exit(code))) => Outcome::exited(code, output, fuel, log),
        _ if trap.is_some() => Outcome::failed(Status::Trapped, fuel, log),
        _ => Outcome::exited(0, output, fuel, log),
    }
}

/// Whether a trap is the guest's own doing and so happens everywhere.
fn is_guests(trap: Trap) -> bool {
    matches!(
        trap,
        Trap::OutOfFuel
            | Trap::MemoryOutOfBounds
            | Trap::TableOutOfBounds
            | Trap::IndirectCallToNull
            | Trap::BadSignature
            | Trap::IntegerOverflow
            | Trap::IntegerDivisionByZero
            | Trap::BadConversionToInteger
            | Trap::UnreachableCodeReached
    )
}

impl Outcome {
    fn exited(code: u32, output: Vec<u8>, fuel: u64, log: Vec<u8>) -> Self {
        Self { status: Status::Exited(code), output, fuel, log, micros: 0 }
    }

    fn failed(status: Status, fuel: u64, log: Vec<u8>) -> Self {
        Self { status, output: Vec::new(), fuel, log, micros: 0 }
    }

    fn inconclusive(status: Status, words: &str) -> Self {
        Self::failed(status, 0, words.as_bytes().to_vec())
    }

    /// What honest peers must agree on.
    pub fn result(&self) -> (Status, &[u8], u64) {
        (self.status, &self.output, self.fuel)
    }
}
