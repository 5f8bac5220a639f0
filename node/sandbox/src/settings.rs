//! How wasmtime is set up: the same for the process that compiles and the process that runs, as far
//! as compiled code depends on it.

use std::{
    hash::{Hash, Hasher},
    num::NonZeroUsize,
    sync::Arc,
};

use bayan_packing::limits::{MAX_TABLE_ELEMENTS, MAX_TABLES};
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, Linker, OptLevel, PoolingAllocationConfig, Result,
    WasmFeatures,
};

use crate::{attempt::State, bridge};

/// Native stack that a thread needs to run attempts: the guest's, and ample room for the host.
pub const STACK: usize = 2 * GUEST_STACK;

/// Native stack of a guest. Packed modules end themselves at an estimate of 512 KiB, which is far
/// less in native frames than this.
const GUEST_STACK: usize = 8 << 20;
/// Address space of a memory, so that every 32-bit address is inside it.
const MEMORY_RESERVATION: u64 = 4 << 30;
/// Unmapped space behind it, which makes bounds checks of constant offsets below it needless.
const MEMORY_GUARD: u64 = 32 << 20;
/// Instances at a time are one; the other slot keeps the image of the module run before in place.
const SLOTS: u32 = 2;
/// Bytes of an instance's own bookkeeping, which grows with its functions and globals.
const MAX_INSTANCE: usize = 1 << 30;
/// Bytes of written pages that are cleared in place after an attempt, wherever they are, on systems
/// that tell which they are (Linux 6.7). Clearing is cheaper than giving back and faulting in again:
/// measured as 4 instead of 15 microseconds an attempt.
const KEEP_FOUND: usize = 1 << 20;
/// The same for the first bytes of a memory, written to or not, on other systems.
const KEEP_FIRST: usize = 128 << 10;
/// Bytes of tables that are cleared in place after an attempt; more are given back to the system.
const TABLE_KEEP: usize = 64 << 10;

/// What packed modules are made of: WebAssembly 2.0 without references to the host, and tail calls.
/// Wasmtime accepts more by default, some of which aborts the process where its support is not
/// compiled in.
const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::BULK_MEMORY_OPT)
    .union(WasmFeatures::CALL_INDIRECT_OVERLONG)
    .union(WasmFeatures::TAIL_CALL)
    .difference(WasmFeatures::GC_TYPES);

/// Domain of [`fingerprint`].
const FINGERPRINT_CONTEXT: &str = "bayan 2026-11-21 compiled module fingerprint v1";

/// The engine could not be set up on this machine.
#[derive(Debug, thiserror::Error)]
#[error("the wasm engine does not run on this machine: {0}")]
pub struct EngineError(pub(crate) String);

/// Loads compiled modules and runs tasks on them, one at a time. Clones share it.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    engine: wasmtime::Engine,
    linker: Linker<State>,
}

impl Engine {
    /// Starts the engine: reserves address space, installs handlers for the signals of traps, opens
    /// the list of this process's pages. A process that is about to lose the rights for that calls
    /// it before.
    pub fn new() -> Result<Self, EngineError> {
        let mut config = config();
        config
            .enable_compiler(false)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
        let engine = wasmtime::Engine::new(&config).map_err(EngineError::new)?;
        let linker = bridge::linker(&engine).map_err(EngineError::new)?;
        Ok(Self(Arc::new(Inner { engine, linker })))
    }

    pub(crate) fn inner(&self) -> &wasmtime::Engine {
        &self.0.engine
    }

    pub(crate) fn linker(&self) -> &Linker<State> {
        &self.0.linker
    }
}

impl EngineError {
    fn new(error: wasmtime::Error) -> Self {
        Self(format!("{error:#}"))
    }
}

/// Places for instances that are made ready once and cleared after each attempt.
fn pool() -> PoolingAllocationConfig {
    let scan = PoolingAllocationConfig::is_pagemap_scan_available();
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(SLOTS)
        .total_memories(SLOTS)
        .total_tables(SLOTS * MAX_TABLES)
        .max_unused_warm_slots(SLOTS)
        .max_memories_per_module(1)
        .max_memory_size(MEMORY_RESERVATION as usize)
        .max_tables_per_module(MAX_TABLES)
        .table_elements(MAX_TABLE_ELEMENTS as usize)
        .max_core_instance_size(MAX_INSTANCE)
        .linear_memory_keep_resident(if scan { KEEP_FOUND } else { KEEP_FIRST })
        .table_keep_resident(TABLE_KEEP)
        .pagemap_scan(if scan { Enabled::Yes } else { Enabled::No });
    pool
}

/// What compiled code depends on besides the module: version and settings of the engine, and this
/// machine's processor. Code compiled under one fingerprint runs under the same fingerprint only.
/// Where nothing can be compiled, it is a value under which nothing was.
pub fn fingerprint() -> [u8; 32] {
    let mut digest = Digest(blake3::Hasher::new_derive_key(FINGERPRINT_CONTEXT));
    if let Ok(engine) = compiler() {
        engine.precompile_compatibility_hash().hash(&mut digest);
    }
    *digest.0.finalize().as_bytes()
}

/// An engine that compiles and holds no instances.
pub(crate) fn compiler() -> Result<wasmtime::Engine> {
    wasmtime::Engine::new(&config())
}

/// Everything that compiled code depends on, so that none of it is left to a default that may
/// differ between platforms or versions. Packed modules bring their own meter, stack bound and
/// canonical NaNs.
fn config() -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(false)
        .epoch_interruption(false)
        .cranelift_nan_canonicalization(false)
        .cranelift_opt_level(OptLevel::Speed)
        .parallel_compilation(false)
        // Packing says which branches are rare; hints of the guest itself do not get here.
        .wasm_branch_hinting(true)
        .relaxed_simd_deterministic(true)
        .wasm_features(WasmFeatures::all(), false)
        .wasm_features(FEATURES, true)
        .async_stack_size(GUEST_STACK)
        .max_wasm_stack(GUEST_STACK)
        .signals_based_traps(true)
        .memory_reservation(MEMORY_RESERVATION)
        .memory_guard_size(MEMORY_GUARD)
        .memory_reservation_for_growth(0)
        .memory_may_move(false)
        .memory_init_cow(true)
        .table_lazy_init(true)
        .concurrency_support(false)
        .generate_address_map(false)
        .wasm_backtrace_max_frames(None::<NonZeroUsize>);
    if cfg!(unix) {
        config.native_unwind_info(false);
    }
    config
}

/// Feeds what implements [`std::hash::Hash`] into a cryptographic digest.
struct Digest(blake3::Hasher);

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        self.0.finalize().as_bytes().first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
    }
}
