//! The one engine of a process, and modules made ready to run on it.

use std::{io, num::NonZeroUsize, path::PathBuf, sync::Arc};

use bayan_protocol::id::Hash;
use wasmtime::{Config, InstancePre, Linker, ModuleExport, OptLevel};

use crate::{
    admission::{self, LoadError},
    attempt::State,
    bridge,
    cache::Cache,
    clock::Ticker,
    cost,
};

/// Native stack of a guest. Threads that run attempts need this much and some more for the host.
pub(crate) const GUEST_STACK: usize = 1 << 20;

/// The engine could not be set up on this machine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The engine refuses its configuration, for instance on an unsupported processor.
    #[error("the wasm engine does not run on this machine: {0}")]
    Unsupported(String),
    /// The cache directory cannot be created.
    #[error("cannot use {path} for compiled modules: {source}")]
    Cache {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No thread for the clock.
    #[error("cannot start the engine's clock: {0}")]
    Clock(io::Error),
}

/// Compiles modules and runs tasks. One per process; clones share it.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    engine: wasmtime::Engine,
    linker: Linker<State>,
    cache: Option<Cache>,
    ticker: Ticker,
}

/// A compiled guest. Cheap to clone.
#[derive(Clone)]
pub struct Module(Arc<Compiled>);

pub(crate) struct Compiled {
    pub(crate) hash: Hash,
    /// Bytes of memory that an instance starts with.
    pub(crate) memory_bytes: u64,
    pub(crate) memory: ModuleExport,
    pub(crate) instance: InstancePre<State>,
}

impl Module {
    /// Digest of the module's bytes.
    pub fn hash(&self) -> Hash {
        self.0.hash
    }

    pub(crate) fn compiled(&self) -> &Compiled {
        &self.0
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Module").field(&self.0.hash).finish()
    }
}

impl Engine {
    /// Starts the engine. Compiled code is kept in `cache_dir`, which must be writable by this
    /// peer's user alone: what lies there is executed.
    pub fn new(cache_dir: Option<PathBuf>) -> Result<Self, EngineError> {
        let unsupported = |error: wasmtime::Error| EngineError::Unsupported(format!("{error:#}"));
        let engine = wasmtime::Engine::new(&config()).map_err(unsupported)?;
        let linker = bridge::linker(&engine).map_err(unsupported)?;
        let cache = match cache_dir {
            None => None,
            Some(path) => {
                let cache = Cache::open(path.clone(), &engine);
                Some(cache.map_err(|source| EngineError::Cache { path, source })?)
            }
        };
        let ticker = Ticker::start(engine.clone()).map_err(EngineError::Clock)?;
        Ok(Self(Arc::new(Inner { engine, linker, cache, ticker })))
    }

    /// Makes `wasm` ready to run: from the cache if it was compiled before, else by compiling it,
    /// which takes from milliseconds to many seconds.
    pub fn load(&self, wasm: &[u8]) -> Result<Module, LoadError> {
        let report = admission::inspect(wasm)?;
        if let Some(problem) = report.problems.first() {
            return Err(problem.clone());
        }
        let failed = |error: wasmtime::Error| LoadError::Engine(format!("{error:#}"));
        let hash = Hash::of(wasm);
        let module = match &self.0.cache {
            Some(cache) => cache.get_or_compile(&self.0.engine, &hash, wasm),
            None => wasmtime::Module::new(&self.0.engine, wasm),
        };
        let module = module.map_err(failed)?;
        let memory = module.get_export_index("memory").ok_or(LoadError::NoMemory)?;
        let memory_bytes = report.memory_bytes();
        let instance = self.0.linker.instantiate_pre(&module).map_err(failed)?;
        Ok(Module(Arc::new(Compiled { hash, memory_bytes, memory, instance })))
    }

    pub(crate) fn inner(&self) -> &wasmtime::Engine {
        &self.0.engine
    }

    pub(crate) fn ticker(&self) -> &Ticker {
        &self.0.ticker
    }
}

/// The switches that make results reproducible. Those about memory matter too: they decide which
/// accesses are known to trap at compile time and whether data segments are copied by metered code,
/// so none is left to a default that may differ between platforms or versions.
fn config() -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .operator_cost(cost::table())
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        .cranelift_opt_level(OptLevel::Speed)
        .wasm_simd(true)
        .wasm_relaxed_simd(false)
        .relaxed_simd_deterministic(true)
        .wasm_bulk_memory(true)
        .wasm_multi_value(true)
        .wasm_extended_const(true)
        .wasm_tail_call(false)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        .max_wasm_stack(GUEST_STACK)
        .signals_based_traps(true)
        .memory_reservation(4 << 30)
        .memory_guard_size(32 << 20)
        .memory_reservation_for_growth(2 << 30)
        .memory_init_cow(false)
        .table_lazy_init(true)
        .generate_address_map(false)
        .wasm_backtrace_max_frames(None::<NonZeroUsize>);
    config
}
