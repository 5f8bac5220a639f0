//! One attempt: a fresh instance of a module on one task, run to its end, and what came of it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use bayan_packing::{
    self as packing,
    limits::{MAX_PAGES, MAX_TABLE_ELEMENTS, PAGE},
};
use bayan_protocol::{
    id::TaskId,
    task::{Limits, Status},
};
use bayan_wasi::{Host, Setup, Stop};
use wasmtime::{
    AsContextMut, Extern, Global, Instance, Memory, ModuleExport, ResourceLimiter, Result, Store,
    Trap, Val, format_err,
};

use crate::{
    module::{Loaded, Module},
    settings::Engine,
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
    /// How it ended. A guest is never out of wall time by itself.
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
    /// Set before the guest is entered.
    pub(crate) guest: Option<Guest>,
    /// Why the guest was stopped, when it was the host that stopped it.
    pub(crate) end: Option<Stop>,
    bounds: Bounds,
}

/// Those parts of an instance that the host needs, looked up once.
#[derive(Clone, Copy)]
pub(crate) struct Guest {
    pub(crate) memory: Memory,
    fuel: Global,
    slice: Global,
    stop: Global,
}

impl Guest {
    /// Fuel left, where the slice that functions hold is up to date: in host calls, and when the
    /// guest has returned.
    pub(crate) fn fuel(&self, mut store: impl AsContextMut) -> u64 {
        let fuel = self.fuel.get(&mut store).i64().unwrap_or(0);
        let slice = self.slice.get(&mut store).i64().unwrap_or(0);
        u64::try_from(fuel.saturating_add(slice)).unwrap_or(0)
    }

    /// Fuel left after a trap, where the slice means nothing and counts as used.
    fn fuel_after_trap(&self, store: impl AsContextMut) -> u64 {
        u64::try_from(self.fuel.get(store).i64().unwrap_or(0)).unwrap_or(0)
    }

    /// Sets what is left; no slice is held.
    pub(crate) fn set_fuel(&self, mut store: impl AsContextMut, fuel: u64) -> Result<()> {
        let fuel = i64::try_from(fuel).unwrap_or(i64::MAX);
        self.fuel.set(&mut store, Val::I64(fuel))?;
        self.slice.set(&mut store, Val::I64(0))
    }
}

/// The last line of defence: packed modules keep these bounds themselves. What the machine cannot
/// give is -1 to the module, which then ends itself.
struct Bounds {
    memory: u64,
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

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        Ok(desired as u64 <= MAX_TABLE_ELEMENTS && maximum.is_none_or(|maximum| desired <= maximum))
    }
}

impl Engine {
    /// Runs `module` on `task` in a fresh instance, on this thread, until it ends by itself or by a
    /// limit. `limits.wall_ms` is the caller's to keep. The thread needs [`STACK`](crate::STACK).
    /// Never panics.
    pub fn run(&self, module: &Module, task: &Task) -> Outcome {
        let started = Instant::now();
        let attempt = AssertUnwindSafe(|| attempt(module.loaded(), task));
        let mut outcome = catch_unwind(attempt)
            .unwrap_or_else(|_| Outcome::inconclusive(Status::HostFault, "the engine panicked"));
        outcome.micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        outcome
    }

    /// Runs `module` twice on `task` and compares.
    pub fn check_determinism(&self, module: &Module, task: &Task) -> Verdict {
        Verdict::of(self.run(module, task), self.run(module, task))
    }
}

impl Verdict {
    /// Compares two runs of one task.
    pub fn of(first: Outcome, second: Outcome) -> Self {
        if !first.status.is_conclusive() {
            Self::Inconclusive(first)
        } else if !second.status.is_conclusive() {
            Self::Inconclusive(second)
        } else if first.result() == second.result() {
            Self::Same(first)
        } else {
            Self::Differs(first, second)
        }
    }
}

fn attempt(module: &Loaded, task: &Task) -> Outcome {
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
    let state = State { host, guest: None, end: None, bounds: Bounds { memory } };
    let mut store = Store::new(module.instance.module().engine(), state);
    store.limiter(|state| &mut state.bounds);
    let fuel = limits.fuel.min(i64::MAX.cast_unsigned());
    let ended = execute(&mut store, module, fuel, memory);
    conclude(store, ended, limits.fuel, fuel)
}

/// Makes an instance, hands it its limits and calls its entry point.
fn execute(store: &mut Store<State>, module: &Loaded, fuel: u64, memory: u64) -> Result<()> {
    let instance = module.instance.instantiate(&mut *store)?;
    let exports = &module.exports;
    let guest = Guest {
        memory: find(store, &instance, &exports.memory, Extern::into_memory)?,
        fuel: find(store, &instance, &exports.fuel, Extern::into_global)?,
        slice: find(store, &instance, &exports.slice, Extern::into_global)?,
        stop: find(store, &instance, &exports.stop, Extern::into_global)?,
    };
    let pages = find(store, &instance, &exports.pages, Extern::into_global)?;
    let most = i32::try_from((memory / PAGE).min(MAX_PAGES))?;
    let start = find(store, &instance, &exports.start, Extern::into_func)?;
    let start = start.typed::<(), ()>(&*store)?;
    guest.set_fuel(&mut *store, fuel)?;
    pages.set(&mut *store, Val::I32(most))?;
    store.data_mut().guest = Some(guest);
    start.call(store, ())
}

fn find<T>(
    store: &mut Store<State>,
    instance: &Instance,
    export: &ModuleExport,
    of_kind: impl Fn(Extern) -> Option<T>,
) -> Result<T> {
    let found = instance.get_module_export(store.as_context_mut(), export).and_then(of_kind);
    found.ok_or_else(|| format_err!("an export of the module is gone"))
}

/// Turns the way the guest ended into an outcome. `limit` is the task's, `given` what the guest
/// was given of it. What says nothing about the guest goes first, then fuel: whoever used it all is
/// out of fuel, however the guest went on from there (spec GUEST-1).
fn conclude(mut store: Store<State>, ended: Result<()>, limit: u64, given: u64) -> Outcome {
    let Some(guest) = store.data().guest else {
        let words = ended.err().map(|error| format!("{error:#}")).unwrap_or_default();
        return Outcome::inconclusive(Status::HostFault, &words);
    };
    let returned = ended.is_ok() || store.data().end.is_some();
    let left = if returned { guest.fuel(&mut store) } else { guest.fuel_after_trap(&mut store) };
    let stop = guest.stop.get(&mut store).i32().unwrap_or(0);
    let State { host, end, .. } = store.into_data();
    let (output, log) = host.into_parts();
    let used = given.saturating_sub(left);
    let trap = ended.as_ref().err().and_then(|error| error.downcast_ref::<Trap>()).copied();
    match (end, trap) {
        (Some(Stop::HostMemory), _) => Outcome::failed(Status::HostFault, 0, log),
        (None, Some(_)) if stop == packing::Stop::Refused as i32 => {
            Outcome::failed(Status::MemoryRefused, 0, log)
        }
        (None, Some(Trap::StackOverflow)) => Outcome::failed(Status::StackOverflow, 0, log),
        (None, Some(trap)) if !is_guests(trap) => {
            Outcome::inconclusive(Status::HostFault, &trap.to_string())
        }
        _ if left == 0 => Outcome::failed(Status::OutOfFuel, limit, log),
        (Some(Stop::OutOfFuel), _) => Outcome::failed(Status::OutOfFuel, limit, log),
        (Some(Stop::OutputLimit), _) => Outcome::failed(Status::OutputLimit, used, log),
        (Some(Stop::Exit(code)), _) => Outcome::exited(code, output, used, log),
        _ if ended.is_ok() => Outcome::exited(0, output, used, log),
        (None, Some(_)) => Outcome::failed(Status::Trapped, used, log),
        (None, None) => {
            let words = ended.err().map(|error| format!("{error:#}")).unwrap_or_default();
            Outcome::inconclusive(Status::HostFault, &words)
        }
    }
}

/// Whether a trap is the guest's own doing and so happens everywhere.
fn is_guests(trap: Trap) -> bool {
    matches!(
        trap,
        Trap::MemoryOutOfBounds
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
