//! The deterministic WASI preview 1 host of bayan guests (spec GUEST-10 to GUEST-43).
//!
//! Everything a guest can ask of its surroundings is answered here, from a [`Setup`] alone: no
//! clock, no file system, no entropy and no engine. An engine lends the guest's memory and its fuel
//! for the length of one call ([`Host::call`]); two engines that count the same fuel for
//! instructions therefore give the same result for the same task.
//!
//! Not here: how instructions are metered, memory and table growth, wall time. Those belong to the
//! engine.
#![no_std]

extern crate alloc;

mod abi;
mod calls;
mod data;
mod descriptor;
mod host;
mod memory;

pub use abi::{Errno, Import, MODULE, ValueType};
pub use data::NameError;
pub use host::{Host, PROGRAM_NAME, Setup, Stop};
pub use memory::GuestMemory;

/// The bounds and costs of the guest ABI, each part of the engine profile.
pub mod limits {
    pub use crate::{
        data::MAX_NAME,
        descriptor::MAX_DESCRIPTORS,
        host::{CALL_COST, MAX_LOG, MAX_PATH, MAX_VECTOR},
    };
}

#[cfg(test)]
mod tests;
