//! The program `bayan-sim`: what it can be asked for, and with which code it ends.

mod chaos;
mod log;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Everything went as it should.
const FINE: u8 = 0;
/// Something was found wrong.
const FOUND: u8 = 1;
/// What was asked for makes no sense.
const REFUSED: u8 = 2;

#[derive(Debug, Parser)]
#[command(name = "bayan-sim", version, about = "Whole peers of bayan in made-up worlds")]
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
    /// Writes every event of one seed of `chaos` as a line
    Log(log::LogArgs),
    /// Plays one seed of `chaos` again, stops where a condition says so, and goes on step by step
    Replay(log::ReplayArgs),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Chaos(args) => chaos::run(&args),
        Command::Log(args) => log::log(&args),
        Command::Replay(args) => log::replay(&args),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("bayan-sim: {error:#}");
            ExitCode::from(REFUSED)
        }
    }
}
