//! `bayan-sim compare`: two runs beside each other.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, ensure};

use crate::report::{Change, Comparison, Row, Run};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The earlier run: a table, a folder with one, or a folder of such folders.
    before: PathBuf,
    /// The later run, of the same kind.
    after: PathBuf,
    /// A folder for the comparison: a page, table.csv and a plot; nowhere by default.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let comparison = Comparison::of(Run::read(&args.before)?, Run::read(&args.after)?)?;
    if let Some(out) = &args.out {
        Comparison::prepare(out)?;
        let runs = [&args.before, &args.after].map(|path| path.canonicalize().ok());
        ensure!(
            !runs.contains(&out.canonicalize().ok()),
            "{} is one of the runs: a comparison wants a folder of its own",
            out.display()
        );
    }
    for change in comparison.changes() {
        println!("{}", line(change));
    }
    println!("{}", comparison.summary());
    if let Some(out) = &args.out {
        comparison.write(out)?;
    }
    Ok(if comparison.worse() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn line(change: &Change) -> String {
    let shown = |row: &Option<Row>| match row {
        None => "nothing".to_owned(),
        Some(row) => {
            format!("{:.4e} ({:.2e} to {:.2e})", row.found.value, row.found.low, row.found.high)
        }
    };
    let word = if change.worse { "WORSE" } else { "differs" };
    format!("{word}: {}: {} -> {}", change.key, shown(&change.before), shown(&change.after))
}
