//! `bayan-sim attack`: what kinds of cheats come to against the default policy.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::paper::{Common, Selection, select};
use crate::attack::Name;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which attack; `all` for every one.
    #[arg(value_parser = names)]
    name: Selection<Name>,
    /// Minutes after which no further world is begun; the same command goes on from there.
    #[arg(long, default_value_t = 180, value_name = "MINUTES")]
    budget: u64,
    #[command(flatten)]
    common: Common,
}

fn names(text: &str) -> Result<Selection<Name>, String> {
    select(text, &Name::ALL, Name::word)
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let deadline = Instant::now() + Duration::from_secs(60 * args.budget);
    let known = (&Name::ALL[..], Name::word as fn(Name) -> &'static str);
    let complete = args.common.answers("attack", &args.name, known, Some(deadline), Name::run)?;
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::from(3) })
}
