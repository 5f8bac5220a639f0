//! A run's rows: one for each combination and seed, kept as they come so that a run can be continued.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};

use super::{Point, Row, Scenario};
use crate::{
    report,
    statistics::{Estimate, ratio},
};

/// What a row is about: the values that differ, and the seed.
type Key = (Vec<String>, u64);

/// Rows in a folder: in `unfinished.csv` as they come, in `runs.csv` once all are there.
#[derive(Debug)]
pub struct Table {
    folder: PathBuf,
    file: File,
    known: BTreeMap<Key, Vec<f64>>,
}

const KEPT: &str = "unfinished.csv";
const ALL: &str = "runs.csv";

fn key(point: &Point, seed: u64) -> Key {
    (point.labels.iter().map(|(_, value)| value.clone()).collect(), seed)
}

fn header(scenario: &Scenario) -> String {
    let labels = scenario.points.first().map(|point| &point.labels);
    let labels = labels.into_iter().flatten().map(|(key, _)| *key);
    let columns: Vec<&str> = labels.chain(["seed"]).chain(Row::COLUMNS).collect();
    format!("# {} {}\n{}\n", scenario.name, scenario.digest, columns.join(","))
}

impl Table {
    /// Opens a table; rows of a run that was broken off are known.
    ///
    /// # Errors
    /// If the folder cannot be used, or what was broken off there is another scenario's.
    pub fn open(scenario: &Scenario, folder: &Path) -> anyhow::Result<Self> {
        report::make(folder)?;
        let path = &folder.join(KEPT);
        let shown = path.display();
        let head = header(scenario);
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("{shown}: cannot be read")),
        };
        ensure!(
            text.is_empty() || text.starts_with(&head),
            "{shown}: another scenario, or another version of this one, was broken off here; \
             remove the file, or choose another folder with --out"
        );
        // A line that was cut short when a run was stopped is run again.
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let rows = whole.strip_prefix(&head).unwrap_or("");
        let known = rows.lines().filter_map(read_row).collect();
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(path);
        let mut file = file.with_context(|| format!("{shown}: cannot be written"))?;
        let kept = if whole.is_empty() { head } else { whole.to_owned() };
        file.write_all(kept.as_bytes()).with_context(|| format!("{shown}: cannot be written"))?;
        Ok(Self { folder: folder.to_owned(), file, known })
    }

    /// Whether a row is there already.
    pub fn knows(&self, point: &Point, seed: u64) -> bool {
        self.known.contains_key(&key(point, seed))
    }

    /// Adds a row.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&mut self, point: &Point, seed: u64, row: &Row) -> anyhow::Result<()> {
        let (key, numbers) = (key(point, seed), row.numbers().to_vec());
        self.file
            .write_all(line(&key, &numbers).as_bytes())
            .context("the rows cannot be written")?;
        self.known.insert(key, numbers);
        Ok(())
    }

    /// A combination's rows, by seed.
    pub(super) fn rows<'a>(
        &'a self,
        scenario: &Scenario,
        point: &'a Point,
    ) -> impl Iterator<Item = &'a Vec<f64>> {
        scenario.seeds.clone().filter_map(|seed| self.known.get(&key(point, seed)))
    }

    /// All rows are there: writes them in order, and forgets what was kept.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn finish(self, scenario: &Scenario) -> anyhow::Result<()> {
        let mut text = header(scenario);
        for point in &scenario.points {
            for seed in scenario.seeds.clone() {
                let key = key(point, seed);
                let Some(numbers) = self.known.get(&key) else { continue };
                text.push_str(&line(&key, numbers));
            }
        }
        let path = self.folder.join(ALL);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        let kept = self.folder.join(KEPT);
        fs::remove_file(&kept).with_context(|| format!("cannot remove {}", kept.display()))
    }
}

fn line((labels, seed): &Key, numbers: &[f64]) -> String {
    let numbers = numbers.iter().map(ToString::to_string);
    let cells: Vec<String> =
        labels.iter().cloned().chain([seed.to_string()]).chain(numbers).collect();
    cells.join(",") + "\n"
}

fn read_row(line: &str) -> Option<(Key, Vec<f64>)> {
    let cells: Vec<&str> = line.split(',').collect();
    let at = cells.len().checked_sub(Row::COLUMNS.len() + 1)?;
    let labels = cells[..at].iter().map(|cell| (*cell).to_owned()).collect();
    let numbers: Option<Vec<f64>> = cells[at + 1..].iter().map(|cell| cell.parse().ok()).collect();
    Some(((labels, cells[at].parse().ok()?), numbers?))
}

/// Each combination in one line a number: its mean over the seeds with the 95% interval, by bootstrap over
/// seeds, and between what the seeds lie.
pub fn summary(scenario: &Scenario, table: &Table) -> String {
    let mut text = String::new();
    for point in &scenario.points {
        let rows: Vec<&Vec<f64>> = table.rows(scenario, point).collect();
        text.push_str(&format!("{} ({} seeds)\n", point.words(), rows.len()));
        for (at, column) in Row::COLUMNS.iter().enumerate() {
            let values: Vec<(f64, f64)> = rows.iter().map(|row| (row[at], 1.0)).collect();
            if values.is_empty() {
                continue;
            }
            let least = values.iter().map(|one| one.0).fold(f64::INFINITY, f64::min);
            let most = values.iter().map(|one| one.0).fold(f64::NEG_INFINITY, f64::max);
            let Estimate { value, low, high } = ratio(&values, at as u64);
            text.push_str(&format!(
                "  {column:<9} {value:>12.3}  [{low:.3}, {high:.3}]  seeds from {least:.3} to {most:.3}\n"
            ));
        }
    }
    text
}
