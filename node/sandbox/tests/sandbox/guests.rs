//! Guests and tasks for the engine's tests.

use std::{sync::Arc, thread};

use bayan_protocol::{id::TaskId, task::Limits};
use bayan_sandbox::{Engine, Module, Outcome, STACK, Task};

/// Bounds that no test reaches unless it means to.
pub(crate) const LIMITS: Limits =
    Limits { memory: 1 << 20, fuel: 1 << 50, output: 1 << 20, wall_ms: 600_000 };

/// What a packed module exports for its host, and a memory of one page.
pub(crate) const PACKED: &str = r#"(memory (export "memory") 1)
    (global $fuel (export "bayan.fuel") (mut i64) (i64.const 0))
    (global $slice (export "bayan.slice") (mut i64) (i64.const 0))
    (global $pages (export "bayan.pages") (mut i32) (i32.const 0))
    (global $stop (export "bayan.stop") (mut i32) (i32.const 0))"#;

/// A command as it is before packing: one page of memory, `imports` from WASI and `body` as its
/// entry point.
pub(crate) fn command(imports: &str, body: &str) -> Vec<u8> {
    assemble(&format!(
        r#"(module {imports} (memory (export "memory") 1) (func (export "_start") {body}))"#
    ))
}

/// A command packed by hand: `body` counts its own fuel.
pub(crate) fn by_hand(imports: &str, body: &str) -> Vec<u8> {
    assemble(&format!(r#"(module {imports} {PACKED} (func (export "_start") {body}))"#))
}

pub(crate) fn assemble(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the text assembles")
}

/// Packs a command and makes it ready.
pub(crate) fn load(engine: &Engine, wasm: &[u8]) -> Module {
    let packed = bayan_packing::pack(wasm).unwrap_or_else(|refusal| panic!("{refusal}"));
    engine.prepare(&packed.wasm).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs something on a thread with the stack that attempts need.
pub(crate) fn with_stack<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, run);
        match thread.expect("a thread starts").join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// One attempt on a thread of its own.
pub(crate) fn attempt(engine: &Engine, module: &Module, task: &Task) -> Outcome {
    with_stack(|| engine.run(module, task))
}

pub(crate) fn task(limits: Limits) -> Task {
    Task {
        id: TaskId([7; 32]),
        args: Vec::new(),
        env: Vec::new(),
        stdin: Arc::from([]),
        data: Vec::new(),
        limits,
    }
}
