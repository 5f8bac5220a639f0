//! The engines of wasmtime that modules run on here, each configured for one purpose.

use wasmparser::{Validator, WasmFeatures};
use wasmtime::{Config, Engine};

/// What a packed module may ask of the native stack: far more than its own bound.
pub const PACKED_STACK: usize = 8 << 20;

/// What threads that run guests need: the guest's stack and the engine's own below it.
pub const THREAD_STACK: usize = 64 << 20;

/// The features that packing gives: WebAssembly 2.0 with tail calls, without references of the
/// host. The other two are no features of engines but names that later editions gave to parts of it.
pub fn features() -> WasmFeatures {
    WasmFeatures::WASM2
        .union(WasmFeatures::TAIL_CALL)
        .union(WasmFeatures::BULK_MEMORY_OPT)
        .union(WasmFeatures::CALL_INDIRECT_OVERLONG)
        .difference(WasmFeatures::GC_TYPES)
}

/// Checks what packing made: an accepted module that is invalid would be a fault of the pass.
pub fn validate(wasm: &[u8]) -> Result<(), String> {
    Validator::new_with_features(features()).validate_all(wasm).map(drop).map_err(|e| e.to_string())
}

fn base() -> Config {
    let mut config = Config::new();
    config
        .wasm_tail_call(true)
        .wasm_simd(true)
        .wasm_bulk_memory(true)
        .wasm_multi_value(true)
        .wasm_relaxed_simd(false)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .wasm_extended_const(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        // As nodes have it; packing says which branches are rare.
        .wasm_branch_hinting(true)
        .parallel_compilation(false)
        .cranelift_nan_canonicalization(false)
        .consume_fuel(false);
    config
}

/// Runs unpacked modules with the NaNs of this machine.
pub fn plain() -> Engine {
    Engine::new(&base()).expect("the configuration is valid")
}

/// Runs unpacked modules as the reference: the engine itself writes canonical NaNs, so that a
/// packed module must agree to the bit.
pub fn reference() -> Engine {
    let mut config = base();
    config.cranelift_nan_canonicalization(true);
    Engine::new(&config).expect("the configuration is valid")
}

/// The reference with the engine's own fuel and the stack of packed modules: for modules that may
/// never end.
pub fn bounded_reference() -> Engine {
    let mut config = base();
    config.operator_cost(crate::fuel::prices());
    config
        .cranelift_nan_canonicalization(true)
        .consume_fuel(true)
        .async_stack_size(2 * PACKED_STACK)
        .max_wasm_stack(PACKED_STACK);
    Engine::new(&config).expect("the configuration is valid")
}

/// Runs packed modules as nodes do: native code, nothing metered, no NaN switch.
pub fn cranelift() -> Engine {
    let mut config = base();
    config.async_stack_size(2 * PACKED_STACK).max_wasm_stack(PACKED_STACK);
    Engine::new(&config).expect("the configuration is valid")
}

/// Runs packed modules in wasmtime's portable interpreter.
pub fn pulley() -> Engine {
    let mut config = base();
    config
        .async_stack_size(2 * PACKED_STACK)
        .max_wasm_stack(PACKED_STACK)
        .target("pulley64")
        .expect("the pulley feature is on");
    Engine::new(&config).expect("the configuration is valid")
}
