//! Rewrites a guest module once, at admission, so that (status, output, fuel) is the same on every
//! engine, at native speed (spec PACK).
//!
//! The packed module is ordinary WebAssembly. It counts its own fuel, bounds its own stack and
//! memory, and takes canonical NaNs where their bits can be seen; an engine needs no switch of its
//! own. Packing is pure: the same bytes give the same packed bytes everywhere, so peers pack for
//! themselves and need not send packed modules to each other.
//!
//! | module | subject |
//! |---|---|
//! | [`mod@pack`] | a whole module: what goes through, what is added |
//! | [`admission`] | what guests may import and must export |
//! | `proposals` | which parts of WebAssembly are let in; naming those that are not |
//! | `scan` | one function, looked through: its list of edits |
//! | [`cost`] | fuel of each instruction |
//! | `meter` | where a function is charged, and what branches give back |
//! | `float` | which NaNs may be of an engine's making |
//! | `emit` | one function, written anew with its edits |
//! | `unroll` | tight loops, written several times over and metered once |
//! | `late` | NaNs that tight loops store, made canonical for several turns at once |
//! | `sight` | from where on the bits of locals may be seen |
//! | `start` | fuel of starting a module; segments that do not fit |
#![no_std]

extern crate alloc;

pub mod admission;
pub mod cost;
mod emit;
mod float;
mod late;
mod meter;
pub mod pack;
mod proposals;
mod refusal;
mod report;
mod scan;
mod sight;
mod start;
mod types;
mod unroll;

pub use pack::{
    Packed, Stop, inspect, pack, pack_library, pack_library_as_guest, pack_library_without_copies,
};
pub use refusal::Refusal;
pub use report::{Imported, Places, Report};

/// Names of what a packed module exports for its host.
pub mod names {
    /// A mutable i64: fuel left, but for the slice. Zero or less after a trap: the attempt ran out.
    pub const FUEL: &str = "bayan.fuel";
    /// A mutable i64: what is left of the slice of fuel that functions hand each other. It is up to
    /// date in host calls and when `_start` has returned, and means nothing after a trap.
    pub const SLICE: &str = "bayan.slice";
    /// A mutable i32: pages that the memory may grow to.
    pub const PAGES: &str = "bayan.pages";
    /// A mutable i32: why the module ended itself; see [`crate::Stop`].
    pub const STOP: &str = "bayan.stop";
    /// A mutable i32: bytes of stack left. Exported by libraries alone, so that an instance can be
    /// called again after a trap.
    pub const STACK: &str = "bayan.stack";
    /// What all of them begin with.
    pub(crate) const PREFIX: &str = "bayan.";
}

/// Bounds on modules, each part of the profile.
pub mod limits {
    /// Bytes of one module.
    pub const MAX_MODULE: usize = 64 << 20;
    /// Tables of one module.
    pub const MAX_TABLES: u32 = 16;
    /// Elements of one table, declared or grown to.
    pub const MAX_TABLE_ELEMENTS: u64 = 1 << 20;
    /// Bytes of a page of linear memory.
    pub const PAGE: u64 = 64 << 10;
    /// Pages that 32-bit addresses reach.
    pub const MAX_PAGES: u64 = 1 << 16;
    /// Parameters and locals of a function, a few short of what engines take: packing adds some.
    pub const MAX_LOCALS: u32 = 49_990;
    /// Bytes of a packed function, which is what engines take.
    pub const MAX_FUNCTION: usize = 7_654_321;
    /// Bytes of stack that frames may add up to, by the estimate that packing makes of a frame.
    pub const STACK: u64 = 512 << 10;
    /// A function that calls nothing is not counted up to this frame.
    pub const LEAF_FRAME: u64 = 4096;
}

#[cfg(test)]
mod tests;
