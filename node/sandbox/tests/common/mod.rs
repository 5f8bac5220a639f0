//! Guests and tasks for the engine's tests.

use std::sync::Arc;

use bayan_protocol::{id::TaskId, task::Limits};
use bayan_sandbox::{Engine, LoadError, Module, Task};

/// Bounds that no test reaches unless it means to.
pub(crate) const LIMITS: Limits =
    Limits { memory: 1 << 20, fuel: 1 << 50, output: 1 << 20, wall_ms: 600_000 };

/// A command with one page of memory, `imports` from WASI and `body` as its entry point.
pub(crate) fn command(imports: &str, body: &str) -> Vec<u8> {
    assemble(&format!(
        r#"(module {imports} (memory (export "memory") 1) (func (export "_start") {body}))"#
    ))
}

pub(crate) fn assemble(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("the text assembles")
}

pub(crate) fn load(engine: &Engine, wasm: &[u8]) -> Module {
    engine.load(wasm).unwrap_or_else(|error: LoadError| panic!("{error}"))
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

pub(crate) const ENDLESS: &str = "(loop $l (br $l))";

pub(crate) const RECURSIVE: &str = r#"(module (memory (export "memory") 1)
    (func $f (export "_start") (call $f) (call $f)))"#;
