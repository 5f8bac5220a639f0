//! The wasm engine: runs one guest module on one task, under bounds on fuel, memory, output and
//! wall time, and reports a result that every honest peer reproduces (spec GUEST).
//!
//! | module | subject |
//! |---|---|
//! | [`admission`] | which modules may run: what `bayan app check` shows and [`Engine::load`] demands |
//! | `engine` | the one engine of a process: configuration, loading |
//! | `cost` | fuel of each instruction |
//! | `cache` | compiled code on disk |
//! | `attempt` | one execution, from a fresh instance to its [`Outcome`] |
//! | `bridge` | the guest's imports, answered by `bayan-wasi` |
//! | `clock` | wall time and cancellation |
//! | `slots` | a pool of low-priority threads that run attempts |
//!
//! Nothing of the engine underneath shows in this interface, so that metering can move into the
//! module itself without a change to callers.

pub mod admission;
mod attempt;
mod bridge;
mod cache;
mod clock;
mod cost;
mod engine;
mod slots;

pub use admission::{LoadError, Report, inspect};
pub use attempt::{Outcome, Task, Verdict};
pub use clock::Cancel;
pub use engine::{Engine, EngineError, Module};
pub use slots::{Job, Slots, SubmitError};
