//! What packing found and did.

use alloc::{string::String, vec::Vec};
use core::fmt;

/// One thing that a module imports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Module name.
    pub module: String,
    /// Name inside the module.
    pub name: String,
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.module, self.name)
    }
}

/// Places in packed functions where something was put in; those in a loop that is copied count once
/// for each copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Places {
    /// Places where fuel is charged.
    pub charges: u64,
    /// Of these, places where the meter is looked at.
    pub looks: u64,
    /// Places where fuel is given back.
    pub refunds: u64,
    /// Places where a NaN is made canonical.
    pub canonicalised: u64,
}

/// What packing found in a module, and did to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Bytes before packing.
    pub size: usize,
    /// Bytes after it.
    pub packed_size: usize,
    /// What the module imports, in order.
    pub imports: Vec<Imported>,
    /// Names of what it exports, in order.
    pub exports: Vec<String>,
    /// Pages its memory starts with.
    pub memory_min: u64,
    /// Pages its memory may grow to, if it says so.
    pub memory_max: Option<u64>,
    /// Functions with a body.
    pub functions: u32,
    /// Of these, those whose frame is counted; the others call nothing and need little.
    pub counted_functions: u32,
    /// Bytes that the largest frame is taken to need.
    pub largest_frame: u64,
    /// What was put into its functions.
    pub places: Places,
    /// Fuel of starting the module, before its first instruction.
    pub start_fuel: u64,
}

impl Report {
    /// Bytes its memory starts with.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_min.saturating_mul(crate::limits::PAGE)
    }
}
