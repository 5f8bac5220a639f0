//! Generated modules run unpacked and packed, and packed ones on several engines.

mod case;
mod chance;
mod compare;
mod mutate;
mod operators;
mod program;

pub use case::Case;
pub use chance::Chance;
pub use chance::interesting;
pub use compare::{Finding, Fuzzer, Pack, Tally};
pub use mutate::mutate;
