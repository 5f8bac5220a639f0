//! `bayan-sim paper`: published tables and figures, computed again.

use std::{fs, path::PathBuf, process::ExitCode, time::Instant};

use anyhow::Result;

use super::all::All;
use crate::{
    paper::Name,
    report::{self, Answer},
    study::{Size, Study},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which paper; `all` for every one.
    #[arg(value_parser = names)]
    name: Selection<Name>,
    #[command(flatten)]
    common: Common,
}

/// What every kind of run is told.
#[derive(Debug, clap::Args)]
pub(super) struct Common {
    /// Decides everything that is drawn.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A size that takes seconds instead of minutes.
    #[arg(long)]
    small: bool,
    /// Where the results go, each in a folder of its own.
    #[arg(long, default_value = "simulations/results", value_name = "FOLDER")]
    out: PathBuf,
    /// Writes the numbers alone, without plots and page: for a baseline.
    #[arg(long)]
    table: bool,
}

/// One name, or all of them.
#[derive(Debug, Clone)]
pub(super) enum Selection<T> {
    One(T),
    All,
}

fn names(text: &str) -> Result<Selection<Name>, String> {
    select(text, &Name::ALL, Name::word)
}

/// Finds a name among all that there are.
pub(super) fn select<T: Copy>(
    text: &str,
    all: &[T],
    word: impl Fn(T) -> &'static str,
) -> Result<Selection<T>, String> {
    if text == "all" {
        return Ok(Selection::All);
    }
    all.iter().copied().find(|one| word(*one) == text).map(Selection::One).ok_or_else(|| {
        let known: Vec<&str> = all.iter().map(|one| word(*one)).collect();
        format!("there are: all, {}", known.join(", "))
    })
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    args.common.answers("paper", &args.name, (&Name::ALL, Name::word), None, Name::run)?;
    Ok(ExitCode::SUCCESS)
}

impl Common {
    /// Runs the studies that were chosen. Of all of them those that are done are left out if the same
    /// command was broken off. False if a deadline cut any short.
    pub(super) fn answers<T: Copy>(
        &self,
        kind: &str,
        chosen: &Selection<T>,
        (known, word): (&[T], fn(T) -> &'static str),
        deadline: Option<Instant>,
        run: impl Fn(T, &Study) -> Answer,
    ) -> Result<bool> {
        report::make(&self.out)?;
        if let Selection::One(name) = chosen {
            return self.answer(kind, word(*name), deadline, |study| run(*name, study));
        }
        let table = if self.table { " --table" } else { "" };
        let mut all = All::open(&self.out, kind, &(self.command(kind, "all") + table))?;
        let mut complete = true;
        for name in known {
            let (word, name) = (word(*name), *name);
            if all.has(word) && self.is_there(kind, word) {
                println!("{word}: done before this was broken off");
            } else if self.answer(kind, word, deadline, |study| run(name, study))? {
                all.add(word)?;
            } else {
                complete = false;
            }
        }
        if complete {
            all.finish()?;
        }
        Ok(complete)
    }

    /// Whether the results of a study lie in their folder, and nobody has put others there since.
    fn is_there(&self, kind: &str, name: &str) -> bool {
        let folder = self.out.join(name);
        if self.table {
            return folder.join("table.csv").is_file();
        }
        let page = fs::read_to_string(folder.join("README.md")).unwrap_or_default();
        report::made_by(&page) == Some(self.command(kind, name).as_str())
    }

    /// Runs one study to its end and writes what it found. False if a deadline cut it short; then
    /// nothing is written, and the same command goes on where it stopped.
    pub(super) fn answer(
        &self,
        kind: &str,
        name: &str,
        deadline: Option<Instant>,
        run: impl FnOnce(&Study) -> Answer,
    ) -> Result<bool> {
        let folder = self.out.join(name);
        let size = if self.small { Size::Small } else { Size::Full };
        let study = Study::new(self.seed, size).loud().until(deadline).keep_in(&folder)?;
        let begun = Instant::now();
        let answer = run(&study);
        if study.is_cut_short() {
            eprintln!("{name}: out of time; the same command goes on from here");
            return Ok(false);
        }
        if self.table {
            answer.write_table(&folder)?;
        } else {
            answer.write(&folder, &self.command(kind, name))?;
            report::write_index(&self.out)?;
        }
        study.finish()?;
        println!(
            "{name}: {} ({:.0} s; {})",
            answer.summary(),
            begun.elapsed().as_secs_f64(),
            folder.display()
        );
        Ok(true)
    }

    fn command(&self, kind: &str, name: &str) -> String {
        let small = if self.small { " --small" } else { "" };
        format!("bayan-sim {kind} {name} --seed {}{small}", self.seed)
    }
}
