//! What a guest needs of its surroundings: its input, its arguments and a place for its output.
//!
//! A guest is an ordinary command: standard input is the task's input, standard output its output,
//! the arguments are the job's. This crate only makes that short to write and its errors clear;
//! nothing in it is special to WebAssembly, so an app runs and is tested natively as it stands.
//!
//! ```no_run
//! use std::{io::Write, process::ExitCode};
//!
//! fn main() -> ExitCode {
//!     bayan_guest::run(|task| {
//!         let power: u32 = task.args.take_or("power", 2)?;
//!         task.args.finish()?;
//!         let number: u64 = task.integer()?;
//!         let result = number
//!             .checked_pow(power)
//!             .ok_or_else(|| bayan_guest::Failure::usage("the result has more than 64 bits"))?;
//!         writeln!(task, "{result}")?;
//!         Ok(())
//!     })
//! }
//! ```
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | success |
//! | 1 | the task failed: input or output broke |
//! | 2 | the arguments or the input are not what the app takes |

mod args;
mod failure;
mod task;

pub use args::Args;
pub use failure::Failure;
pub use task::{Task, call, run};
