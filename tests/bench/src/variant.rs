//! Ways to run a kernel.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, ensure};
use bayan_packing::{names, pack_library_as_guest};
use wasmtime::{Config, Engine, Instance, Module, OptLevel, Store, TypedFunc, Val};

use crate::processor;
use crate::said;

/// Fuel that does not run out.
const FUEL: i64 = 1 << 62;

/// One way to run a kernel.
pub enum Variant {
    /// A program of this machine.
    Native(Native),
    /// A module, run by wasmtime in this process.
    Wasm(Box<Wasm>),
}

/// How a module is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As it is, without meter and with whatever NaNs come.
    Unpacked,
    /// Packed; the engine adds nothing.
    Packed,
    /// With the engine's own fuel and canonical NaNs.
    Switches,
}

/// What a run gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The kernel's checksum.
    pub sum: u64,
    /// Processor time.
    pub nanos: u64,
}

/// A program that is told on standard input what to do.
pub struct Native {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// An instance.
pub struct Wasm {
    store: Store<()>,
    instance: Instance,
    run: TypedFunc<u32, u64>,
}

impl Variant {
    /// Starts a program.
    pub fn native(program: &Path) -> anyhow::Result<Self> {
        let mut child =
            Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().context("no pipe")?;
        let output = BufReader::new(child.stdout.take().context("no pipe")?);
        Ok(Self::Native(Native { child, input, output }))
    }

    /// Compiles and instantiates a module. The module as it is run and its machine code are left in
    /// `dir` under `name`.
    pub fn wasm(wasm: &[u8], mode: Mode, dir: &Path, name: &str) -> anyhow::Result<Self> {
        let mut config = Config::new();
        config.cranelift_opt_level(OptLevel::Speed).wasm_branch_hinting(true);
        let bytes = match mode {
            Mode::Packed => {
                let packed = pack_library_as_guest(wasm, FUEL).context("packing")?.wasm;
                ensure!(packed != wasm, "packing left the module as it was");
                packed
            }
            Mode::Switches => {
                config.consume_fuel(true).cranelift_nan_canonicalization(true);
                wasm.to_vec()
            }
            Mode::Unpacked => wasm.to_vec(),
        };
        let engine = Engine::new(&config).map_err(said)?;
        let module = Module::new(&engine, &bytes).map_err(said)?;
        fs::write(dir.join(format!("{name}.wasm")), &bytes)?;
        fs::write(dir.join(format!("{name}.cwasm")), module.serialize().map_err(said)?)?;
        let mut store = Store::new(&engine, ());
        if mode == Mode::Switches {
            store.set_fuel(FUEL.unsigned_abs()).map_err(said)?;
        }
        let instance = Instance::new(&mut store, &module, &[]).map_err(said)?;
        if let Ok(initialize) = instance.get_typed_func::<(), ()>(&mut store, "_initialize") {
            initialize.call(&mut store, ()).map_err(said)?;
        }
        let run = instance.get_typed_func(&mut store, "run").map_err(said)?;
        Ok(Self::Wasm(Box::new(Wasm { store, instance, run })))
    }

    /// Does `n` units of work.
    pub fn run(&mut self, n: u32) -> anyhow::Result<Run> {
        match self {
            Self::Native(native) => native.run(n),
            Self::Wasm(wasm) => {
                let start = processor::thread_nanos();
                let sum = wasm.run.call(&mut wasm.store, n).map_err(said)?;
                Ok(Run { sum, nanos: processor::thread_nanos() - start })
            }
        }
    }

    /// Fuel that has been used so far, if this counts it as packed modules do.
    pub fn fuel(&mut self) -> Option<i64> {
        let Self::Wasm(wasm) = self else { return None };
        let mut left = |name| {
            let global = wasm.instance.get_global(&mut wasm.store, name)?;
            match global.get(&mut wasm.store) {
                Val::I64(left) => Some(left),
                _ => None,
            }
        };
        let fuel = left(names::FUEL)?;
        Some(FUEL - fuel - left(names::SLICE).unwrap_or(0))
    }
}

impl Native {
    fn run(&mut self, n: u32) -> anyhow::Result<Run> {
        writeln!(self.input, "{n}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let mut numbers = line.split_ascii_whitespace().map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(sum)), Some(Ok(nanos))) => Ok(Run { sum, nanos }),
            _ => anyhow::bail!("a native kernel said {line:?}"),
        }
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
