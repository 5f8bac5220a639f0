//! Whole peers in a made-up world: links with delay that break, disks that tear, machines that sleep,
//! engines that are a function of the task, and peers that cheat. Everything follows from one seed.
//!
//! The machines are `bayan-protocol`'s own. What the world adds is only what a node would: it stores
//! a step's records before it acts on its effects, and whatever may go wrong may go wrong between the two.
//!
//! | module | subject |
//! |---|---|
//! | [`world`] | the world: hosts join, connect, submit; the clock; one event after the other |
//! | [`host`] | one peer with its disk and what it is up to |
//! | [`disk`] | records that survive a crash, tear, or lose what was not forced |
//! | [`network`] | how long things are under way, and what becomes of them |
//! | [`habits`] | how fast hosts are, when they sleep, how often they fail |
//! | [`truth`] | what every honest engine answers |
//! | [`log`] | every event as one line; breaking where a line says so |
//! | [`model`] | a reference beside the real machines: what a submitter may believe and wait for |
//! | [`judge`] | whether a job went as it should |
//! | [`chaos`] | two acts: everything breaks, and then everything must end |

mod act;
mod advance;
#[cfg(test)]
mod canaries;
pub mod chaos;
pub mod disk;
pub mod habits;
pub mod host;
pub mod judge;
pub mod log;
pub mod model;
pub mod network;
mod queue;
pub mod truth;
pub mod world;

pub use bayan_cast::Role;
pub use bayan_protocol::crypto::scheme::Scheme;
pub use truth::outcome;
pub use world::{Number, World};

/// Virtual milliseconds, in the microseconds that everything here is counted in.
pub const MS: u64 = 1000;
/// Virtual seconds.
pub const SECOND: u64 = 1000 * MS;

/// How many seeds a test runs: `usual`, unless `BAYAN_TEST_SEEDS` says otherwise.
pub fn seeds(usual: u64) -> u64 {
    std::env::var("BAYAN_TEST_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}
