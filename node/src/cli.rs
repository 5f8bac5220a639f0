//! The program `bayan`: what its command line means, in words and exit codes.
//!
//! | module | subject |
//! |---|---|
//! | `node` | `bayan node` |
//! | `run`, `map` | `bayan run`, `bayan map`: from inputs to outputs |
//! | `jobs`, `fetch` | `bayan jobs`, `status`, `cancel`, `fetch` |
//! | `peers` | `bayan peers`, `pause`, `resume`, `stop` |
//! | `app`, `apps` | `bayan app`; finding apps |
//! | `doctor` | `bayan doctor` |
//! | `trust` | `bayan trust` |
//! | `evidence` | `bayan evidence` |
//! | `demo` | `bayan demo` |
//! | `session`, `detach` | the peer a command works with: another process, or this one |
//! | `follow`, `screen`, `sink`, `notes` | a job under way: progress, outputs, where they go |
//! | `forecast`, `account` | what a job will cost, what became of it: in words |
//! | `inputs`, `job_args`, `trust_args`, `peer_args` | options |
//! | `exit`, `signals`, `text` | exit codes, interruption, words |
//!
//! Commands talk to a peer through its local API only, even to one inside the same process.

mod account;
mod app;
mod apps;
mod demo;
mod detach;
mod doctor;
mod evidence;
mod exit;
mod fetch;
mod follow;
mod forecast;
mod inputs;
mod job_args;
mod jobs;
mod map;
mod node;
mod notes;
mod peer_args;
mod peers;
mod run;
mod screen;
mod session;
mod signals;
mod sink;
mod text;
mod tree;
mod trust;
mod trust_args;

use std::{
    env,
    io::{self, IsTerminal as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use serde_json::json;
use tracing_subscriber::EnvFilter;

use self::exit::Code;
pub(crate) use self::signals::on_interrupt;
use crate::config;

/// What every command knows.
struct Context {
    /// Absolute.
    data_dir: PathBuf,
    /// Whether to speak JSON.
    json: bool,
}

/// A peer-to-peer network that computes: run your jobs on it, lend it your idle cores.
#[derive(Debug, Parser)]
#[command(name = "bayan", version, after_help = exit::HELP)]
struct Cli {
    /// The peer's data directory [default: this user's own]
    #[arg(long, global = true, value_name = "DIR", env = "BAYAN_DATA_DIR", hide_env = true)]
    data_dir: Option<PathBuf>,
    /// Speak JSON: one value a line on standard output
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Node(Box<node::NodeArgs>),
    Run(Box<run::RunArgs>),
    Map(Box<map::MapArgs>),
    /// List the jobs of this peer
    Jobs,
    Status(jobs::StatusArgs),
    Fetch(fetch::FetchArgs),
    Cancel(jobs::CancelArgs),
    Peers(peers::PeersArgs),
    /// Take this machine back: the running peer computes nothing until `bayan resume`
    Pause,
    /// Let the running peer compute again
    Resume,
    /// Stop the running peer; jobs under way go on at its next start
    Stop,
    #[command(subcommand)]
    App(app::AppCommand),
    #[command(subcommand)]
    Trust(trust::TrustCommand),
    #[command(subcommand)]
    Evidence(evidence::EvidenceCommand),
    Doctor(doctor::DoctorArgs),
    /// Write a completion script for a shell to standard output
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Runs the program.
pub fn main() -> ExitCode {
    if env::args_os().nth(1).is_some_and(|argument| argument == bayan_engine::ARGUMENT) {
        bayan_engine::child_main();
    }
    let cli = Cli::parse();
    start_log(matches!(cli.command, Command::Node(_)));
    let json = cli.json;
    match dispatch(cli) {
        Ok(code) => code.into(),
        Err(error) => match exit::code_of(&error) {
            None => Code::Done.into(),
            Some(code) => {
                if json {
                    // It may be standard output that failed.
                    let _ = text::json(&json!({ "event": "error", "error": text::error(&error) }));
                }
                eprintln!("bayan: {}", text::error(&error));
                code.into()
            }
        },
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<Code> {
    let data_dir = match cli.data_dir {
        Some(path) => path,
        None => config::default_data_dir()?,
    };
    let data_dir = std::path::absolute(&data_dir)
        .with_context(|| format!("cannot use the directory {}", data_dir.display()))?;
    let context = Context { data_dir, json: cli.json };
    match &cli.command {
        Command::Demo(args) => demo::run(&context, args),
        Command::Node(args) => node::run(&context, args),
        Command::Run(args) => run::run(&context, args),
        Command::Map(args) => map::run(&context, args),
        Command::Jobs => jobs::list(&context),
        Command::Status(args) => jobs::status(&context, args),
        Command::Fetch(args) => fetch::run(&context, args),
        Command::Cancel(args) => jobs::cancel(&context, args),
        Command::Peers(args) => peers::list(&context, args),
        Command::Pause => peers::pause(&context),
        Command::Resume => peers::resume(&context),
        Command::Stop => peers::stop(&context),
        Command::App(command) => app::run(&context, command),
        Command::Trust(command) => trust::run(&context, command),
        Command::Evidence(command) => evidence::run(&context, command),
        Command::Doctor(args) => doctor::run(&context, args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "bayan", &mut script);
            text::put(&script)?;
            Ok(Code::Done)
        }
    }
}

/// Logs to standard error: a node what its operator wants to know, other commands what they must.
fn start_log(is_node: bool) {
    let default = if is_node { "bayan=info,bayan_net=info,bayan_store=info,warn" } else { "error" };
    let filter = EnvFilter::try_from_env("BAYAN_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(!no_color && io::stderr().is_terminal());
    // Fails only if there is one already, and then that one serves.
    let _ = log.try_init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn ways_to_say_what_to_run() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        for line in [
            "bayan run app.wasm --range -5..5 --args --x",
            "bayan run app --files a b c --out d -- --width 3",
            "bayan run --resume 12ab",
            "bayan run app --lines - --concat x --no-local --redundancy 15",
            "bayan map app",
            "bayan --json node --listen /ip4/127.0.0.1/tcp/0 --accept own --sync always --slots 0",
            "bayan jobs --json --data-dir /x",
            "bayan app check m.wasm --stdin - -- -k 3",
            "bayan app pack m.wasm --out packed.wasm",
            "bayan --json doctor",
            "bayan evidence list --json",
            "bayan evidence export 12ab --out x.bayan",
            "bayan trust list --all --json",
            "bayan trust add 0101010101010101010101010101010101010101010101010101010101010101",
            "bayan run app --assume-faulty 0.1 --tolerate 0.01 --plan --json",
            "bayan run app --peers 01,@x --confidential --accept provisional",
            "bayan run app --only-trusted --confidential",
            "bayan evidence show x.evidence --json",
            "bayan evidence verify - --blob a.wasm --blob b --max-fuel 5 --wall 3",
        ] {
            assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
        }
        for line in [
            "bayan run",
            "bayan run app --range 3..3",
            "bayan run app --range 0..1 --lines x",
            "bayan run app --out a --concat b",
            "bayan run app --redundancy 0",
            "bayan run app --redundancy 16",
            "bayan run app --local never --no-local",
            "bayan run app --resume x",
            "bayan run app --confidential",
            "bayan run app --peers 01 --only-trusted",
            "bayan run app --accept soon",
            "bayan run app --redundancy 2 --tolerate 0.1",
            "bayan run --plan",
            "bayan run app --plan --detach",
            "bayan trust add",
            "bayan trust add xyz",
            "bayan evidence export 12ab",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
