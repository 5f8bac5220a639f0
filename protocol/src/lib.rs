//! Every decision a bayan peer takes, as sans-IO machines.
#![no_std]

extern crate alloc;

pub mod batch;
pub mod cbor;
pub mod crypto;
pub mod entropy;
pub mod id;
pub mod job;
pub mod limits;
pub mod merkle;
pub mod offer;
pub mod overlay;
pub mod peer;
pub mod pool;
pub mod record;
pub mod result;
pub mod source;
pub mod task;
pub mod time;
pub mod verify;
pub mod wire;
pub mod worker;
