//! Options that describe a job's program and rules.

use std::{path::PathBuf, str::FromStr};

use anyhow::Context as _;
use bayan_protocol::{job::Local, task::Limits, wire::is_data_name};
use clap::{Args, ValueEnum};

use super::trust_args::TrustArgs;

/// What the guest is given, and within which bounds.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Program")]
pub(super) struct ProgramArgs {
    /// Arguments of the app, in one string that is split as a shell would; or give them behind --
    #[arg(long, value_name = "STRING", allow_hyphen_values = true)]
    args: Vec<String>,
    /// Environment variable of the app
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// File that the app finds as /data/NAME
    #[arg(long, value_name = "NAME=FILE")]
    pub(super) data: Vec<DataSpec>,
    /// Units of work that a task may use [default: 10^12]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    fuel: Option<u64>,
    /// MiB of memory that a task may use [default: 256]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=4096))]
    memory: Option<u64>,
    /// Bytes that a task may write to its standard output [default: 16 MiB]
    #[arg(long, value_name = "BYTES")]
    output_limit: Option<u64>,
    /// Seconds that a task may take on one peer before it is tried elsewhere [default: 600]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    wall: Option<u64>,
    /// Arguments of the app, as they are
    #[arg(last = true, value_name = "ARGS", allow_hyphen_values = true)]
    rest: Vec<String>,
}

impl ProgramArgs {
    /// The guest's arguments.
    pub(super) fn args(&self) -> anyhow::Result<Vec<String>> {
        let mut all = Vec::new();
        for text in &self.args {
            all.extend(
                shlex::split(text)
                    .with_context(|| format!("--args {text}: a quote is not closed"))?,
            );
        }
        all.extend(self.rest.iter().cloned());
        Ok(all)
    }

    /// The guest's environment.
    pub(super) fn env(&self) -> Vec<(String, String)> {
        self.env.clone()
    }

    /// Bounds of a task.
    pub(super) fn limits(&self) -> Limits {
        let default = Limits::default();
        Limits {
            memory: self.memory.map_or(default.memory, |mib| mib << 20),
            fuel: self.fuel.unwrap_or(default.fuel),
            output: self.output_limit.unwrap_or(default.output),
            wall_ms: self.wall.map_or(default.wall_ms, |seconds| seconds * 1000),
        }
    }
}

/// How the job is run.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Job")]
pub(super) struct RuleArgs {
    /// What the own slots compute
    #[arg(long, value_enum, default_value_t = LocalArg::Always)]
    local: LocalArg,
    /// The same as --local never
    #[arg(long, conflicts_with = "local")]
    no_local: bool,
    /// A name for the job [default: the app's]
    #[arg(long)]
    pub(super) name: Option<String>,
    #[command(flatten)]
    pub(super) trust: TrustArgs,
}

impl RuleArgs {
    /// What the own slots do.
    pub(super) fn local(&self) -> Local {
        match self.local {
            _ if self.no_local => Local::Never,
            LocalArg::Always => Local::Always,
            LocalArg::Reserve => Local::Reserve,
            LocalArg::Never => Local::Never,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LocalArg {
    /// As much as they can, from the start
    Always,
    /// Only what too few other peers are there for
    Reserve,
    /// Nothing
    Never,
}

/// One `--data NAME=FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DataSpec {
    pub(super) name: String,
    pub(super) path: PathBuf,
}

impl FromStr for DataSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = text.split_once('=').ok_or("give it as NAME=FILE")?;
        if !is_data_name(name) {
            return Err(format!("{name:?} is not a plain file name"));
        }
        if path.is_empty() {
            return Err("the file is missing behind =".to_owned());
        }
        Ok(Self { name: name.to_owned(), path: PathBuf::from(path) })
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("give it as NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_file_has_a_plain_name_and_any_path() {
        let spec = DataSpec { name: "db".into(), path: "/x/y=z.fa".into() };
        assert_eq!("db=/x/y=z.fa".parse(), Ok(spec));
        for wrong in ["db", "=x", "a/b=x", "..=x", "db="] {
            assert!(wrong.parse::<DataSpec>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_variable_needs_a_name_only() {
        assert_eq!(variable("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(variable("A="), Ok(("A".into(), String::new())));
        assert!(variable("=b").is_err());
        assert!(variable("A").is_err());
    }
}
