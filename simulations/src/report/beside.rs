//! The comparison of two runs as table, plot and page.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    Change, Plot, Row, Series, compare, draw,
    page::{made_by, number},
    save, table,
};
use crate::statistics::Estimate;

const HEAD: &str = "measure,before,low,high,after,low,high,better,verdict";
const PICTURE: &str = "changes";
/// Changes that a picture can hold.
const ROWS: usize = 40;

/// The measures of a run, or of several.
#[derive(Debug)]
pub struct Run {
    path: PathBuf,
    rows: BTreeMap<String, Row>,
    /// What made it, as far as its pages say.
    commands: Vec<String>,
}

/// Two runs beside each other.
#[derive(Debug)]
pub struct Comparison {
    before: Run,
    after: Run,
    changes: Vec<Change>,
}

impl Run {
    /// Reads a table, a folder with one, or a folder of such folders; then each measure is named by its
    /// folder as well.
    ///
    /// # Errors
    /// If there is no table, or one is none.
    pub fn read(path: &Path) -> Result<Self> {
        let mut run = Self { path: path.to_owned(), rows: BTreeMap::new(), commands: Vec::new() };
        if path.is_file() {
            run.rows = table::read(path)?;
            return Ok(run);
        }
        if path.join("table.csv").is_file() {
            run.add(path, "")?;
            return Ok(run);
        }
        let read = || format!("cannot read {}", path.display());
        for entry in fs::read_dir(path).with_context(read)? {
            let folder = entry.with_context(read)?.path();
            if folder.join("table.csv").is_file() {
                let name = folder.file_name().map(|name| name.to_string_lossy().into_owned());
                run.add(&folder, &format!("{}: ", name.unwrap_or_default()))?;
            }
        }
        if run.rows.is_empty() {
            bail!("{} holds no table.csv, nor do the folders in it", path.display());
        }
        run.commands.sort();
        Ok(run)
    }

    fn add(&mut self, folder: &Path, name: &str) -> Result<()> {
        let rows = table::read(&folder.join("table.csv"))?.into_iter();
        self.rows.extend(rows.map(|(key, row)| (format!("{name}{key}"), row)));
        let page = fs::read_to_string(folder.join("README.md")).unwrap_or_default();
        self.commands.extend(made_by(&page).map(str::to_owned));
        Ok(())
    }

    fn origin(&self) -> String {
        let path = self.path.display();
        if self.commands.is_empty() {
            return format!("`{path}` (no page says what made it)");
        }
        let commands: Vec<String> = self.commands.iter().map(|one| format!("`{one}`")).collect();
        format!("`{path}`, made by {}", commands.join(", "))
    }
}

/// What became of a measure.
fn verdict(change: Option<&Change>) -> &'static str {
    let Some(change) = change else { return "same" };
    match (&change.before, &change.after) {
        (None, _) => "new",
        (_, None) => "gone",
        _ if change.worse => "worse",
        _ => "better",
    }
}

/// A number with its interval.
fn shown(row: Option<&Row>) -> String {
    let Some(Row { found, .. }) = row else { return "nothing".to_owned() };
    if found.half_width() == 0.0 {
        return number(found.value);
    }
    format!("{} ({} to {})", number(found.value), number(found.low), number(found.high))
}

impl Comparison {
    /// Compares them.
    ///
    /// # Errors
    /// If they have no measure in common.
    pub fn of(before: Run, after: Run) -> Result<Self> {
        ensure!(
            before.rows.keys().any(|key| after.rows.contains_key(key)),
            "{} and {} have nothing in common: no measure is in both",
            before.path.display(),
            after.path.display()
        );
        let changes = compare(&before.rows, &after.rows);
        Ok(Self { before, after, changes })
    }

    /// What differs by more than the noise, or is in one of them only.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// How many of these are for the worse.
    pub fn worse(&self) -> usize {
        self.changes.iter().filter(|change| change.worse).count()
    }

    /// In one line.
    pub fn summary(&self) -> String {
        format!(
            "{} measures, {} differ by more than the noise, {} for the worse",
            self.before.rows.len(),
            self.changes.len(),
            self.worse()
        )
    }

    /// Makes sure that a folder is there, and that no other results are in it.
    ///
    /// # Errors
    /// If there can be no such folder, or something else lies in it.
    pub fn prepare(folder: &Path) -> Result<()> {
        super::make(folder)?;
        let there = fs::read_to_string(folder.join("table.csv")).unwrap_or_default();
        let ours = there.is_empty() || there.lines().next() == Some(HEAD);
        ensure!(ours, "{} holds results that are no comparison", folder.display());
        Ok(())
    }

    /// Writes table, plot and page into `folder`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        Self::prepare(folder)?;
        save(folder, "table.csv", self.table().as_bytes())?;
        let plot = self.plot();
        if let Some(plot) = &plot {
            draw(folder, plot)?;
        }
        save(folder, "README.md", self.page(plot.as_ref()).as_bytes())
    }

    fn table(&self) -> String {
        let mut text = format!("{HEAD}\n");
        let changes: BTreeMap<&str, &Change> =
            self.changes.iter().map(|change| (change.key.as_str(), change)).collect();
        let mut keys: Vec<&String> =
            self.before.rows.keys().chain(self.after.rows.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let (one, other) = (self.before.rows.get(key), self.after.rows.get(key));
            let cells = |row: Option<&Row>| match row {
                Some(Row { found: Estimate { value, low, high }, .. }) => {
                    [value, low, high].map(|one| table::number(*one)).join(",")
                }
                None => ",,".to_owned(),
            };
            let better = one.or(other).map_or("", |row| row.better.word());
            let verdict = verdict(changes.get(key.as_str()).copied());
            let _ = writeln!(text, "{key},{},{},{better},{verdict}", cells(one), cells(other));
        }
        text
    }

    fn page(&self, plot: Option<&Plot>) -> String {
        let (before, after) = (self.before.path.display(), self.after.path.display());
        let mut page = format!(
            "# compare {before} {after}\nWhat differs between two runs by more than their noise, and what became worse?\n\n\
             **{}.** Made by `bayan-sim compare {before} {after}`; numbers, also of what is the same: \
             [table.csv](table.csv).\n\n- Before: {}\n- After: {}\n\n\
             A change is more than the noise when it is larger than both runs' half-widths together (root of \
             squares), and worse when it goes in the direction that is bad for that measure. A measure that is \
             gone counts as worse.\n\n",
            self.summary(),
            self.before.origin(),
            self.after.origin()
        );
        let parts = [("Worse", "worse"), ("Gone", "gone"), ("Better", "better"), ("New", "new")];
        for (title, word) in parts {
            let of: Vec<&Change> =
                self.changes.iter().filter(|change| verdict(Some(change)) == word).collect();
            if of.is_empty() {
                continue;
            }
            let _ = writeln!(page, "## {title}\n| | before | after | change |\n|---|---|---|---|");
            for change in of {
                let (one, other) = (change.before.as_ref(), change.after.as_ref());
                let part = relative(change).map(|part| format!("{:+.1} %", 100.0 * part.value));
                let part = part.unwrap_or_default();
                let _ = writeln!(
                    page,
                    "| {} | {} | {} | {part} |",
                    change.key,
                    shown(one),
                    shown(other)
                );
            }
            page.push('\n');
        }
        if let Some(plot) = plot {
            let _ = writeln!(page, "## How much\n![{}]({}.svg)", plot.title, plot.name);
        }
        page.trim_end().to_owned() + "\n"
    }

    /// The largest changes as a part of what was before; none if there is none.
    fn plot(&self) -> Option<Plot> {
        let mut parts: Vec<(&Change, Estimate)> =
            self.changes.iter().filter_map(|one| Some((one, relative(one)?))).collect();
        parts.sort_by(|one, other| other.1.value.abs().total_cmp(&one.1.value.abs()));
        parts.truncate(ROWS);
        parts.sort_by_key(|one| !one.0.worse);
        let series = |name: &str, worse: bool| {
            let rows = parts.iter().enumerate().filter(|(_, one)| one.0.worse == worse);
            Series::found(name, rows.map(|(row, one)| (row as f64, one.1.scaled(100.0))))
        };
        (!parts.is_empty()).then(|| Plot {
            name: PICTURE.to_owned(),
            title: "What differs by more than the noise".to_owned(),
            y: "% of what was before".to_owned(),
            rows: parts.iter().map(|one| one.0.key.clone()).collect(),
            series: vec![series("better", false), series("worse", true)],
            ..Plot::default()
        })
    }
}

/// A change as a part of what was before, with the noise of both; none of nothing.
fn relative(change: &Change) -> Option<Estimate> {
    let (one, other) = (change.before.as_ref()?.found, change.after.as_ref()?.found);
    let of = one.value.abs();
    if of == 0.0 {
        return None;
    }
    let (by, noise) = (other.value - one.value, one.half_width().hypot(other.half_width()));
    Some(Estimate { value: by, low: by - noise, high: by + noise }.scaled(1.0 / of))
}
