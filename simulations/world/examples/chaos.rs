//! Seeds of chaos without the rest of `bayan-sim`, for builds that want nothing else.
//!
//! `chaos A..B` plays seeds until one fails and says which.

use std::process::ExitCode;

use bayan_world::{Scheme, chaos::play};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match *words {
        [seeds] => match seeds.split_once("..").map(|(from, to)| (from.parse(), to.parse())) {
            Some((Ok(from), Ok(to))) => first_failing(from, to),
            _ => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: chaos A..B");
    ExitCode::from(2)
}

fn first_failing(from: u64, to: u64) -> ExitCode {
    for seed in from..to {
        let report = play(seed, Scheme::Keyed, None);
        if let Some(fault) = report.faults.first() {
            println!("seed {seed}: {fault}");
            return ExitCode::FAILURE;
        }
    }
    println!("seeds {from}..{to}: fine");
    ExitCode::SUCCESS
}
