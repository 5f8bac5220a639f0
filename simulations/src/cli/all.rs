//! Which papers, or attacks, of `all` are done: kept in the folder of results until all are, so that the same
//! command goes on with the first that is not.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::report;

/// What is done of one `all`.
#[derive(Debug)]
pub(super) struct All {
    path: PathBuf,
    command: String,
    done: Vec<String>,
}

impl All {
    /// Takes up what the same command has left in a folder; anything else that was broken off there is
    /// begun anew.
    pub(super) fn open(out: &Path, kind: &str, command: &str) -> Result<Self> {
        report::make(out)?;
        let path = out.join(format!("unfinished-{kind}.txt"));
        let text = fs::read_to_string(&path).unwrap_or_default();
        // A line that was cut short is none.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut lines = whole.lines();
        let is_same = lines.next() == Some(command);
        let done = if is_same { lines.map(str::to_owned).collect() } else { Vec::new() };
        let all = Self { path, command: command.to_owned(), done };
        all.keep()?;
        Ok(all)
    }

    /// Whether this one is done.
    pub(super) fn has(&self, name: &str) -> bool {
        self.done.iter().any(|one| one == name)
    }

    /// This one is done.
    pub(super) fn add(&mut self, name: &str) -> Result<()> {
        self.done.push(name.to_owned());
        self.keep()
    }

    /// All are done.
    pub(super) fn finish(self) -> Result<()> {
        let shown = self.path.display();
        fs::remove_file(&self.path).with_context(|| format!("cannot remove {shown}"))
    }

    fn keep(&self) -> Result<()> {
        let lines = [&self.command].into_iter().chain(&self.done);
        let text: String = lines.flat_map(|line| [line.as_str(), "\n"]).collect();
        fs::write(&self.path, text).with_context(|| format!("cannot write {}", self.path.display()))
    }
}
