//! The program `bayan-sim`: what it can be asked for, and with which code it ends. One file a subcommand.

mod all;
mod attack;
mod chaos;
mod compare;
mod log;
mod paper;
mod run;
mod scale;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Everything went as it should.
const FINE: u8 = 0;
/// Something was found wrong.
const FOUND: u8 = 1;
/// What was asked for makes no sense.
const REFUSED: u8 = 2;

/// The machines of bayan's protocol in made-up worlds. One seed decides everything.
#[derive(Debug, Parser)]
#[command(name = "bayan-sim", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a scenario file
    Run(run::Args),
    /// Breaks everything for a while, then nothing any more: all jobs must end, exactly and once
    Chaos(chaos::Args),
    /// Spreads a job over a tree of many peers and says what it takes of each
    Scale(scale::Args),
    /// Writes every event of one seed of `chaos` as a line
    Log(log::LogArgs),
    /// Plays one seed of `chaos` again, stops where a condition says so, and goes on step by step
    Replay(log::ReplayArgs),
    /// Computes published tables and figures again, and says which are reproduced
    Paper(paper::Args),
    /// Measures what kinds of cheats come to against the default policy
    Attack(attack::Args),
    /// Shows what differs between two runs by more than their noise; fails if anything is worse
    Compare(compare::Args),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Run(args) => run::run(&args).map(ExitCode::from),
        Command::Chaos(args) => chaos::run(&args).map(ExitCode::from),
        Command::Scale(args) => scale::run(&args).map(ExitCode::from),
        Command::Log(args) => log::log(&args).map(ExitCode::from),
        Command::Replay(args) => log::replay(&args).map(ExitCode::from),
        Command::Paper(args) => paper::run(&args),
        Command::Attack(args) => attack::run(&args),
        Command::Compare(args) => compare::run(&args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("bayan-sim: {error:#}");
        ExitCode::from(REFUSED)
    })
}
