//! Generated modules run unpacked and packed, and packed ones on several engines.

mod case;
mod chance;
mod compare;
mod floats;
mod mutate;
mod operators;
mod program;
mod watchdog;

pub use case::Case;
pub use chance::Chance;
pub use chance::interesting;
pub use compare::{Finding, Fuzzer, Pack, Tally};
pub use mutate::mutate;

/// The command that runs a written module again.
pub fn replay(path: &std::path::Path, seed: u64) -> String {
    let path = path.display();
    format!("cargo run -p bayan-packing-tests --bin fuzz -- --seed {seed} --replay {path}")
}
