//! Ways to run a small task: a guest that gives back its standard input.

use std::{
    fmt::Write as _,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use bayan_engine::{Engines, Job, Options};
use bayan_protocol::{
    id::TaskId,
    task::{Limits, Status},
};
use wasmtime::{
    Caller, Config, Enabled, Engine, InstanceAllocationStrategy, InstancePre, Linker, Module,
    OptLevel, PoolingAllocationConfig, Store,
};

use crate::processor;
use crate::said;

/// Tasks given to the engine process before the first has come back.
const WINDOW: u64 = 512;
/// Bytes of a memory that a pool clears in place instead of giving them back to the system.
const KEEP_RESIDENT: usize = 256 << 10;

/// An echo.
pub struct Guest {
    /// What sets it apart.
    pub name: &'static str,
    /// The module.
    pub wasm: Vec<u8>,
}

/// Two echoes: one with a page of memory, one with 2 MiB that data segments fill.
pub fn guests() -> anyhow::Result<[Guest; 2]> {
    Ok([
        Guest { name: "small", wasm: echo(1, 0)? },
        Guest { name: "2 MiB of data", wasm: echo(33, 2 << 20)? },
    ])
}

fn echo(pages: u32, data: usize) -> anyhow::Result<Vec<u8>> {
    let mut text = format!(
        r#"(module
            (type $io (func (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_read" (func $read (type $io)))
            (import "wasi_snapshot_preview1" "fd_write" (func $write (type $io)))
            (memory (export "memory") {pages})
            (func (export "_start")
              (i32.store (i32.const 0) (i32.const 64))
              (i32.store (i32.const 4) (i32.const 256))
              (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
              (i32.store (i32.const 4) (i32.load (i32.const 8)))
              (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))"#
    );
    if data > 0 {
        let filling: String = ('a'..='z').cycle().take(data).collect();
        write!(text, "(data (i32.const 1024) \"{filling}\")")?;
    }
    text.push(')');
    Ok(wat::parse_str(text)?)
}

/// What tasks took, in microseconds each.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Processor time of all processes.
    pub processor: f64,
    /// Processor time of the engine process, if there is one.
    pub engine: Option<f64>,
    /// Time on the clock.
    pub wall: f64,
}

/// A way to run tasks of one guest.
pub enum Way {
    /// In an engine process.
    Process(Box<Process>),
    /// By the sandbox, in this process.
    Sandbox(Box<Sandbox>),
    /// By wasmtime and a host that knows two functions.
    Bare(Bare),
}

/// An engine process and what comes back from it.
pub struct Process {
    engines: Engines,
    module: bayan_engine::Module,
    outcomes: mpsc::Receiver<(u64, bayan_engine::Outcome)>,
}

/// The sandbox.
pub struct Sandbox {
    engine: bayan_sandbox::Engine,
    module: bayan_sandbox::Module,
}

/// Where an instance's memory comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Mapped for each instance.
    OnDemand,
    /// Out of a pool, as a copy-on-write image.
    Pooled,
    /// The same, with its first bytes cleared in place.
    Resident,
}

/// Wasmtime.
pub struct Bare {
    instance: InstancePre<Streams>,
    name: &'static str,
}

#[derive(Default)]
struct Streams {
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Way {
    /// Starts an engine process.
    pub fn process(guest: &Guest) -> anyhow::Result<Self> {
        let (sender, outcomes) = mpsc::channel();
        let engines = Engines::start(Options::new(1), move |attempt, outcome| {
            // Whoever no longer listens does not want to know.
            let _ = sender.send((attempt, outcome));
        })?;
        let module = engines.prepare(&guest.wasm)?;
        Ok(Self::Process(Box::new(Process { engines, module, outcomes })))
    }

    /// Packs and compiles here.
    pub fn sandbox(guest: &Guest) -> anyhow::Result<Self> {
        let packed = bayan_packing::pack(&guest.wasm)?.wasm;
        let engine = bayan_sandbox::Engine::new()?;
        let module = engine.prepare(&packed)?;
        Ok(Self::Sandbox(Box::new(Sandbox { engine, module })))
    }

    /// Compiles the module as it is.
    pub fn bare(guest: &Guest, memory: Memory) -> anyhow::Result<Self> {
        let mut config = Config::new();
        config.cranelift_opt_level(OptLevel::Speed);
        if memory != Memory::OnDemand {
            let mut pool = PoolingAllocationConfig::new();
            pool.total_core_instances(1)
                .total_memories(1)
                .total_tables(1)
                .max_memory_size(64 << 20);
            pool.pagemap_scan(Enabled::No);
            if memory == Memory::Resident {
                pool.linear_memory_keep_resident(KEEP_RESIDENT);
            }
            config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        }
        let engine = Engine::new(&config).map_err(said)?;
        let mut linker = Linker::new(&engine);
        linker.func_wrap("wasi_snapshot_preview1", "fd_read", read).map_err(said)?;
        linker.func_wrap("wasi_snapshot_preview1", "fd_write", write).map_err(said)?;
        let instance = Module::new(&engine, &guest.wasm)
            .and_then(|module| linker.instantiate_pre(&module))
            .map_err(said)?;
        let name = match memory {
            Memory::OnDemand => "bare wasmtime, on demand",
            Memory::Pooled => "bare wasmtime, pool",
            Memory::Resident => "bare wasmtime, pool, 256 KiB resident",
        };
        Ok(Self::Bare(Bare { instance, name }))
    }

    /// What sets it apart.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Process(_) => "engine process",
            Self::Sandbox(_) => "sandbox in this process",
            Self::Bare(bare) => bare.name,
        }
    }

    /// Runs tasks number `first` and up, each in a fresh instance, and checks what each gives back.
    pub fn run(&mut self, first: u64, count: u64) -> anyhow::Result<Cost> {
        let engine = self.engine_process()?;
        let before = (Instant::now(), processor::process(), taken(engine)?);
        match self {
            Self::Process(process) => process.run(first, count)?,
            Self::Sandbox(sandbox) => sandbox.run(first, count)?,
            Self::Bare(bare) => bare.run(first, count)?,
        }
        let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
        let wall = each(before.0.elapsed());
        let own = each(processor::process() - before.1);
        // A process that ended meanwhile would have taken its figures with it.
        ensure!(engine == self.engine_process()?, "the engine process was replaced");
        let engine = taken(engine)?.zip(before.2).map(|(after, before)| each(after - before));
        Ok(Cost { processor: own + engine.unwrap_or(0.0), engine, wall })
    }

    /// The engine process, started if need be.
    fn engine_process(&mut self) -> anyhow::Result<Option<u32>> {
        let Self::Process(process) = self else { return Ok(None) };
        if process.engines.health().processes.is_empty() {
            process.run(0, 1)?;
        }
        match process.engines.health().processes[..] {
            [one] => Ok(Some(one)),
            ref other => anyhow::bail!("{} engine processes instead of one", other.len()),
        }
    }
}

fn taken(process: Option<u32>) -> anyhow::Result<Option<Duration>> {
    process.map(processor::of).transpose()
}

fn input(number: u64) -> Vec<u8> {
    format!("task {number}").into_bytes()
}

fn id(number: u64) -> TaskId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&number.to_le_bytes());
    TaskId(id)
}

fn limits() -> Limits {
    Limits { memory: 64 << 20, fuel: 1_000_000_000, output: 1 << 20, wall_ms: 60_000 }
}

fn check(number: u64, status: Status, output: &[u8]) -> anyhow::Result<()> {
    ensure!(status == Status::Exited(0), "task {number} ended as {status:?}");
    ensure!(output == input(number), "task {number} gave back something else");
    Ok(())
}

impl Process {
    fn run(&mut self, first: u64, count: u64) -> anyhow::Result<()> {
        let (mut next, mut back) = (first, 0);
        while back < count {
            while next < first + count && next - first - back < WINDOW {
                let task = bayan_engine::Task {
                    id: id(next),
                    args: Vec::new(),
                    env: Vec::new(),
                    stdin: input(next).into(),
                    data: Vec::new(),
                    limits: limits(),
                };
                self.engines.submit(Job { attempt: next, module: self.module.clone(), task })?;
                next += 1;
            }
            let outcome = self.outcomes.recv_timeout(Duration::from_secs(60));
            let (number, outcome) = outcome.context("the engine process gives nothing back")?;
            check(number, outcome.status, &outcome.output)?;
            back += 1;
        }
        Ok(())
    }
}

impl Sandbox {
    fn run(&mut self, first: u64, count: u64) -> anyhow::Result<()> {
        for number in first..first + count {
            let task = bayan_sandbox::Task {
                id: id(number),
                args: Vec::new(),
                env: Vec::new(),
                stdin: Arc::from(input(number)),
                data: Vec::new(),
                limits: limits(),
            };
            let outcome = self.engine.run(&self.module, &task);
            check(number, outcome.status, &outcome.output)?;
        }
        Ok(())
    }
}

impl Bare {
    fn run(&self, first: u64, count: u64) -> anyhow::Result<()> {
        for number in first..first + count {
            let streams = Streams { input: input(number), output: Vec::new() };
            let mut store = Store::new(self.instance.module().engine(), streams);
            let instance = self.instance.instantiate(&mut store).map_err(said)?;
            let start = instance.get_typed_func::<(), ()>(&mut store, "_start").map_err(said)?;
            start.call(&mut store, ()).map_err(said)?;
            check(number, Status::Exited(0), &store.data().output)?;
        }
        Ok(())
    }
}

/// The one buffer that a call names, and the streams.
fn buffer<'a>(
    caller: &'a mut Caller<'_, Streams>,
    vector: i32,
) -> wasmtime::Result<(&'a mut [u8], usize, usize, &'a mut Streams)> {
    let memory = caller.get_export("memory").and_then(wasmtime::Extern::into_memory);
    let memory = memory.ok_or_else(|| wasmtime::format_err!("no memory"))?;
    let (bytes, streams) = memory.data_and_store_mut(caller);
    let word = |at: usize| {
        let word = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
        word.map_or(0, |word| u32::from_le_bytes(*word) as usize)
    };
    let (address, len) = (word(vector as usize), word(vector as usize + 4));
    Ok((bytes, address, len, streams))
}

fn read(
    mut caller: Caller<'_, Streams>,
    _stream: i32,
    vector: i32,
    _count: i32,
    result: i32,
) -> wasmtime::Result<i32> {
    let (bytes, address, len, streams) = buffer(&mut caller, vector)?;
    let input = std::mem::take(&mut streams.input);
    let len = len.min(input.len());
    bytes[address..address + len].copy_from_slice(&input[..len]);
    bytes[result as usize..result as usize + 4].copy_from_slice(&(len as u32).to_le_bytes());
    Ok(0)
}

fn write(
    mut caller: Caller<'_, Streams>,
    _stream: i32,
    vector: i32,
    _count: i32,
    result: i32,
) -> wasmtime::Result<i32> {
    let (bytes, address, len, streams) = buffer(&mut caller, vector)?;
    streams.output.extend_from_slice(&bytes[address..address + len]);
    bytes[result as usize..result as usize + 4].copy_from_slice(&(len as u32).to_le_bytes());
    Ok(0)
}
