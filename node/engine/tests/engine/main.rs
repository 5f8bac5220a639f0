//! Engine processes as their parent uses them, most of them with the test double.

mod common;
mod compile;
mod ends;
mod guests;
mod lies;
mod start;
#[cfg(target_os = "linux")]
mod walls;
