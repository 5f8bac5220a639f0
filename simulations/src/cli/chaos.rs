//! `bayan-sim chaos`: seeds of the two acts, on all cores.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use bayan_world::{
    Scheme,
    chaos::{self, Report},
};
use indicatif::{ProgressBar, ProgressStyle};

use super::{FINE, FOUND};
use crate::parallel;

/// Seeds of the fixed set.
const SEEDS: u64 = 64;

/// What `chaos` is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// One seed
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Seeds from A up to but not including B; the fixed set is 0..64
    #[arg(long, value_name = "A..B")]
    seeds: Option<String>,
    /// What signatures are made of: `keyed`, a hash that takes no time, or `ed25519`, as between real peers
    #[arg(long, default_value_t = Scheme::Keyed)]
    signatures: Scheme,
    /// Tells of every seed, not only of those that failed
    #[arg(long, short)]
    verbose: bool,
}

/// The seeds of a text `A..B`.
fn range(text: &str) -> anyhow::Result<Vec<u64>> {
    let parts = text.split_once("..").context("seeds are given as A..B, such as 0..64")?;
    let number = |text: &str| {
        text.parse::<u64>().with_context(|| format!("'{text}' is no number of a seed"))
    };
    let (from, to) = (number(parts.0)?, number(parts.1)?);
    ensure!(from < to, "there is no seed in {text}");
    Ok((from..to).collect())
}

pub(super) fn run(args: &Args) -> anyhow::Result<u8> {
    let seeds = match (&args.seed, &args.seeds) {
        (Some(seed), _) => vec![*seed],
        (None, Some(text)) => range(text)?,
        (None, None) => (0..SEEDS).collect(),
    };
    let began = Instant::now();
    let bar = ProgressBar::new(seeds.len() as u64);
    bar.set_style(
        ProgressStyle::with_template("{wide_bar} {pos}/{len} seeds, {eta} left")
            .context("the progress bar's text")?,
    );
    let reports = parallel::map(
        &seeds,
        |seed| chaos::play(*seed, args.signatures, None),
        |report| {
            bar.inc(1);
            if args.verbose || !report.faults.is_empty() {
                bar.suspend(|| print!("{}", told(report)));
            }
        },
    );
    bar.finish_and_clear();
    let failed = reports.iter().filter(|report| !report.faults.is_empty()).count();
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    println!(
        "{} seeds, {failed} failed; {} hosts, {} tasks, {} of them by delegates, {} attempts, {} frames, {} events; {:.1} s",
        reports.len(),
        sum(|one| one.hosts as u64),
        sum(|one| one.tasks),
        sum(|one| one.delegated),
        sum(|one| one.counts.attempts),
        sum(|one| one.counts.frames),
        sum(|one| one.counts.events),
        began.elapsed().as_secs_f64()
    );
    Ok(if failed == 0 { FINE } else { FOUND })
}

/// A seed in words; one that failed with the command that plays it again.
fn told(report: &Report) -> String {
    let Report { seed, cast, hosts, tasks, delegated, counts, mended, faults } = report;
    let by_word =
        if *delegated > 0 { format!(" ({delegated} by delegates)") } else { String::new() };
    let mut text = format!(
        "seed {seed}: {cast}; {hosts} hosts, {tasks} tasks{by_word}, {} attempts, {} frames, mended in {} s\n",
        counts.attempts,
        counts.frames,
        mended / 1_000_000
    );
    for fault in faults {
        text.push_str(&format!("  {fault}\n"));
    }
    if !faults.is_empty() {
        text.push_str(&format!("  again: bayan-sim chaos --seed {seed}\n"));
    }
    text
}
