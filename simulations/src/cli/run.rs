//! `bayan-sim run`: a scenario file, all its combinations and seeds, on all cores; a folder of results.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};

use super::FINE;
use crate::{
    parallel, report,
    scenario::{Point, Scenario, Table, answer, play, summary},
};

/// What `run` is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A scenario file
    scenario: PathBuf,
    /// Where the results go, in a folder that is called as the scenario: a page, table.csv, plots, and every
    /// run in runs.csv; the same command goes on where it was broken off
    #[arg(long, default_value = "simulations/results", value_name = "FOLDER")]
    out: PathBuf,
    /// Checks the file and says what would be run
    #[arg(long)]
    check: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<u8> {
    let scenario = Scenario::read(&args.scenario)?;
    let runs = scenario.points.len() as u64 * (scenario.seeds.end - scenario.seeds.start);
    println!("{}: {}", scenario.name, scenario.question);
    if args.check {
        println!("{} combinations, {runs} runs", scenario.points.len());
        return Ok(FINE);
    }
    report::make(&args.out)?;
    let folder = args.out.join(&scenario.name);
    let table = Table::open(&scenario, &folder)?;
    let open: Vec<(&Point, u64)> = scenario
        .points
        .iter()
        .flat_map(|point| scenario.seeds.clone().map(move |seed| (point, seed)))
        .filter(|(point, seed)| !table.knows(point, *seed))
        .collect();
    let bar = ProgressBar::new(runs);
    bar.set_style(
        ProgressStyle::with_template("{wide_bar} {pos}/{len} runs, {eta} left")
            .context("the progress bar's text")?,
    );
    bar.inc(runs - open.len() as u64);
    let table = Mutex::new(table);
    let added = parallel::map(
        &open,
        |(point, seed)| {
            let row = play(point, *seed);
            let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
            table.add(point, *seed, &row)
        },
        |_| bar.inc(1),
    );
    added.into_iter().collect::<anyhow::Result<Vec<()>>>()?;
    bar.finish_and_clear();
    let table = table.into_inner().unwrap_or_else(PoisonError::into_inner);
    print!("{}", summary(&scenario, &table));
    let command = format!("bayan-sim run {}", args.scenario.display());
    answer(&scenario, &table).write(&folder, &command)?;
    table.finish(&scenario)?;
    report::write_index(&args.out)?;
    println!("{}: {runs} runs; {}", scenario.name, folder.display());
    Ok(FINE)
}
