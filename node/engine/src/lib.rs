//! Engine processes: the second wall around guests, and the parent that feeds and ends them.
//!
//! Guests run in processes of their own, one for each slot. A guest that broke out of the engine
//! would find itself in a process that can do nothing but compute and write to one socket, and
//! whose every byte the parent takes for a lie until checked.
//!
//! | module | subject |
//! |---|---|
//! | `engines` | [`Engines`], the doorway: submit, cancel, pause, prepare, probe |
//! | `queue` | what the slots share: attempts and where each of them is |
//! | `slot` | a thread that keeps one engine process fed and ends it when it must |
//! | `flight`, `kept` | what a process has been given, to do now and to keep |
//! | `process`, `launcher` | one engine process as its parent sees it; how it is started |
//! | `module`, `compile`, `cache` | modules made ready: packed here, compiled in a contained process, kept on disk |
//! | `probe` | how the walls stand, tried from inside |
//! | `wire`, `socket`, `sealed` | frames, descriptors, memory that can be handed over |
//! | `walls` | the walls, raised by the engine process itself |
//! | [`child`] | the inside of an engine process |
//!
//! # What is promised
//! - Every attempt is reported exactly once. A process that dies costs the attempt that it was
//!   running; a process that is ended for another reason costs none.
//! - A process is killed, and waited for, when its attempt is cancelled, out of wall time or over
//!   its memory, when the engines are paused or dropped, and when it says what it cannot know.
//!   When the parent ends in whatever way, the system ends its engine processes.
//! - One process serves attempts of many jobs in turn. So a guest that broke out could falsify
//!   later outcomes of its own process until that ends; redundancy between peers is what finds
//!   such results, as it finds those of a peer that lies.

mod cache;
pub mod child;
mod compile;
mod engines;
mod flight;
mod kept;
mod launcher;
mod module;
mod probe;
mod process;
mod queue;
mod sealed;
mod slot;
mod socket;
mod task;
mod walls;
mod wire;

pub use bayan_sandbox::Verdict;
pub use engines::{Engines, Health, Job, MAX_WAITING, Options, SubmitError};
pub use launcher::{ARGUMENT, Launcher};
pub use module::{LoadError, Module};
pub use probe::{Probe, ProbeError, Try};
pub use task::{Data, MAX_LOG, Outcome, Task};
pub use walls::Walls;

/// What the program does when it is started with [`ARGUMENT`]: nothing may come before it.
pub fn child_main() -> ! {
    child::main::<child::Guests>()
}
