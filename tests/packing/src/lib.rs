//! Packed modules compared with unpacked ones, and with themselves on several engines.
//!
//! - [`spec`]: the official test suite, run unpacked and packed.
//! - [`fuzz`]: generated modules, run unpacked and packed, on every engine.
//! - [`fuel`]: what packed modules must charge, counted by another engine.
//! - [`bundle`]: a module with a driver, so that it runs alike on any engine; [`trace`]: what it did.
//! - [`late`]: loops that store NaNs.
//! - [`nan`]: every float instruction on every kind of NaN.
//! - [`native`]: bundles on wasmtime, by [`engines`] of it; [`v8`]: bundles on V8.

pub mod bundle;
pub mod engines;
pub mod fuel;
pub mod fuzz;
pub mod late;
pub mod nan;
pub mod native;
pub mod spec;
pub mod trace;
pub mod v8;
