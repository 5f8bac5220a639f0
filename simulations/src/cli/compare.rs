//! `bayan-sim compare`: two runs beside each other.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};

use crate::report::{self, Change, Row};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The earlier run: a table, a folder with one, or a folder of such folders.
    before: PathBuf,
    /// The later run, of the same kind.
    after: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let (before, after) = (tables(&args.before)?, tables(&args.after)?);
    let changes = report::compare(&before, &after);
    for change in &changes {
        println!("{}", line(change));
    }
    let worse = changes.iter().filter(|change| change.worse).count();
    println!(
        "{} measures, {} differ by more than the noise, {worse} for the worse",
        before.len(),
        changes.len()
    );
    Ok(if worse == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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

/// All measures of a run, each named by its folder as well where there are several.
fn tables(path: &Path) -> Result<BTreeMap<String, Row>> {
    if path.is_file() {
        return report::read(path);
    }
    let table = path.join("table.csv");
    if table.is_file() {
        return report::read(&table);
    }
    let mut all = BTreeMap::new();
    let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    for entry in entries {
        let folder = entry?.path();
        let table = folder.join("table.csv");
        if table.is_file() {
            let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
            let name = name.unwrap_or_default();
            let rows = report::read(&table)?.into_iter();
            all.extend(rows.map(|(key, row)| (format!("{name}: {key}"), row)));
        }
    }
    if all.is_empty() {
        bail!("{} holds no table.csv, nor do the folders in it", path.display());
    }
    Ok(all)
}
