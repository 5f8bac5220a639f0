//! Units of work over seeds: both cores, progress, and resumption.
//!
//! A paper asks for cells: a label, and how many worlds of it. Each world is a function of its seed,
//! which is a function of the study's seed, the label and the world's number, so what a world gives
//! depends on no other. Worlds that are done are kept in a file beside the results until the whole
//! paper is, so a run that was broken off goes on where it stopped.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{parallel, report};

/// How large a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// A minute for everything: what the continuous integration runs.
    Small,
    /// As the published numbers are.
    Full,
}

impl Size {
    /// One of two numbers.
    pub fn pick<T>(self, small: T, full: T) -> T {
        match self {
            Self::Small => small,
            Self::Full => full,
        }
    }
}

/// One run of one paper: what decides it, and where its finished worlds are kept.
#[derive(Debug)]
pub struct Study {
    /// Decides everything.
    pub seed: u64,
    /// How large.
    pub size: Size,
    /// No world is begun after this.
    deadline: Option<Instant>,
    quiet: bool,
    kept: Option<PathBuf>,
    done: Mutex<BTreeMap<(String, usize), Vec<f64>>>,
    file: Option<Mutex<File>>,
    skipped: AtomicUsize,
}

impl Study {
    /// A study that keeps nothing.
    pub fn new(seed: u64, size: Size) -> Self {
        Self {
            seed,
            size,
            deadline: None,
            quiet: true,
            kept: None,
            done: Mutex::default(),
            file: None,
            skipped: AtomicUsize::new(0),
        }
    }

    /// Shows progress on standard error.
    #[must_use]
    pub fn loud(mut self) -> Self {
        self.quiet = false;
        self
    }

    /// Begins no world after `deadline`.
    #[must_use]
    pub fn until(mut self, deadline: Option<Instant>) -> Self {
        self.deadline = deadline;
        self
    }

    /// Keeps finished worlds in a file of `folder`, and takes back those that an earlier run of the
    /// same seed and size kept there.
    pub fn keep_in(mut self, folder: &Path) -> Result<Self> {
        report::make(folder)?;
        let path = folder.join("unfinished.csv");
        let head = format!("seed {} {:?}", self.seed, self.size);
        let text = fs::read_to_string(&path).unwrap_or_default();
        let mut known = BTreeMap::new();
        if text.lines().next() == Some(head.as_str()) {
            known.extend(text.lines().skip(1).filter_map(parse));
        }
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        writeln!(file, "{head}")?;
        for ((label, world), values) in &known {
            write_world(&mut file, label, *world, values)?;
        }
        self.done = Mutex::new(known);
        self.file = Some(Mutex::new(file));
        self.kept = Some(path);
        Ok(self)
    }

    /// Forgets what was kept for resumption: everything is done.
    pub fn finish(self) -> Result<()> {
        if self.is_cut_short() {
            return Ok(());
        }
        match self.kept {
            Some(path) => {
                fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
            }
            None => Ok(()),
        }
    }

    /// Whether the deadline kept some world from being begun.
    pub fn is_cut_short(&self) -> bool {
        self.skipped.load(Ordering::Relaxed) > 0
    }

    /// Says something on standard error, if progress is shown.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// The seed of one world.
    pub fn seed_of(&self, label: &str, world: usize) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_le_bytes());
        hasher.update(&(world as u64).to_le_bytes());
        hasher.update(label.as_bytes());
        let mut bytes = [0; 8];
        hasher.finalize_xof().fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Runs `count` worlds of `label`; what each gave, in order. Worlds that the deadline kept from
    /// being begun are left out.
    pub fn worlds(
        &self,
        label: &str,
        count: usize,
        run: impl Fn(u64) -> Vec<f64> + Sync,
    ) -> Vec<Vec<f64>> {
        let bar = self.bar(label, count);
        let worlds: Vec<usize> = (0..count).collect();
        let found = parallel::map(&worlds, |at| self.world(label, *at, &run), |_| bar.inc(1));
        bar.finish_and_clear();
        found.into_iter().flatten().collect()
    }

    fn world(
        &self,
        label: &str,
        world: usize,
        run: &(impl Fn(u64) -> Vec<f64> + Sync),
    ) -> Option<Vec<f64>> {
        let key = (label.to_owned(), world);
        if let Some(values) = lock(&self.done).get(&key) {
            return Some(values.clone());
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            self.skipped.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let values = run(self.seed_of(label, world));
        if let Some(file) = &self.file {
            // A world that cannot be kept is computed again; nothing else is lost by that.
            let _ = write_world(&mut lock(file), label, world, &values);
        }
        Some(values)
    }

    fn bar(&self, label: &str, count: usize) -> ProgressBar {
        if self.quiet {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(count as u64);
        if let Ok(style) = ProgressStyle::with_template("{msg:40!} {bar:30} {pos}/{len} {eta}") {
            bar.set_style(style);
        }
        bar.set_message(label.to_owned());
        bar.enable_steady_tick(Duration::from_millis(500));
        bar
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// One line a world: label, number, values, and a point that says the line is whole. Rust prints the
/// shortest decimal that reads back the same.
fn write_world(file: &mut File, label: &str, world: usize, values: &[f64]) -> std::io::Result<()> {
    let mut line = format!("{label};{world}");
    for value in values {
        line.push_str(&format!(";{value}"));
    }
    line.push_str(";.\n");
    file.write_all(line.as_bytes())
}

fn parse(line: &str) -> Option<((String, usize), Vec<f64>)> {
    let mut parts = line.strip_suffix(";.")?.split(';');
    let key = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
    let values: Result<Vec<f64>, _> = parts.map(str::parse).collect();
    Some((key, values.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roll(seed: u64) -> Vec<f64> {
        vec![fastrand::Rng::with_seed(seed).f64()]
    }

    #[test]
    fn what_a_world_gives_depends_on_its_seed_alone() {
        let study = Study::new(7, Size::Small);
        let eight = study.worlds("one", 8, roll);
        assert_eq!(eight[..3], study.worlds("one", 3, roll));
        assert_ne!(eight, study.worlds("two", 8, roll));
        assert_ne!(eight, Study::new(8, Size::Small).worlds("one", 8, roll));
    }

    #[test]
    fn a_run_that_was_broken_off_goes_on_where_it_stopped() {
        let folder = tempfile::tempdir().expect("a folder");
        let study = || Study::new(7, Size::Small).keep_in(folder.path()).expect("kept");
        let whole = study().worlds("one", 5, roll);
        let file = folder.path().join("unfinished.csv");
        // As if it had been killed while it wrote.
        let text = fs::read_to_string(&file).expect("text");
        fs::write(&file, &text[..text.len() - 3]).expect("cut");
        let computed = AtomicUsize::new(0);
        let again = study().worlds("one", 5, |seed| {
            computed.fetch_add(1, Ordering::Relaxed);
            roll(seed)
        });
        assert_eq!((again, computed.into_inner()), (whole, 1));
        // Another seed's worlds are no use.
        let other = Study::new(8, Size::Small).keep_in(folder.path()).expect("kept");
        assert!(lock(&other.done).is_empty());
        other.finish().expect("finished");
        assert!(!file.exists());
    }

    #[test]
    fn nothing_is_begun_after_the_deadline() {
        let study = Study::new(1, Size::Small).until(Some(Instant::now()));
        assert!(study.worlds("one", 3, roll).is_empty() && study.is_cut_short());
    }
}
