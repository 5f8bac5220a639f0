//! A job's inputs as the command line gives them: checked as a whole before anything is submitted.

use std::{
    fs::{self, File},
    io::{self, BufReader, IsTerminal as _, Read, Seek as _, Write as _},
    ops::Range,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use bayan_protocol::limits::{MAX_BLOB, MAX_JOB_TASKS};
use clap::Args;

use crate::{
    api::types::InputsRequest,
    client::{Client, ClientError},
};

/// One task per input; without any of these there is one task, whose input is standard input.
#[derive(Debug, Clone, Default, Args)]
#[group(multiple = false)]
pub(super) struct InputArgs {
    /// One task per integer from A up to, not including, B; with A..=B including it
    #[arg(long, value_name = "A..B", value_parser = range, allow_hyphen_values = true, help_heading = "Inputs")]
    range: Option<Range<i64>>,
    /// One task per line of the file; - is standard input
    #[arg(long, value_name = "FILE", help_heading = "Inputs")]
    lines: Option<PathBuf>,
    /// One task per file that matches
    #[arg(long, value_name = "GLOB", num_args = 1.., help_heading = "Inputs")]
    files: Vec<String>,
}

/// Inputs that are there and in order.
#[derive(Debug)]
pub(super) enum Inputs {
    /// Integers.
    Range(Range<i64>),
    /// Lines of a file.
    Lines(File),
    /// Whole files.
    Files(Vec<PathBuf>),
    /// One input.
    One(File),
}

impl InputArgs {
    /// Checks what was given.
    pub(super) fn prepare(&self) -> anyhow::Result<Inputs> {
        if let Some(range) = &self.range {
            return Ok(Inputs::Range(range.clone()));
        }
        if let Some(path) = &self.lines {
            return lines(path).map(Inputs::Lines);
        }
        if !self.files.is_empty() {
            return files(&self.files).map(Inputs::Files);
        }
        if io::stdin().is_terminal() {
            return Ok(Inputs::One(tempfile::tempfile().context("cannot make a temporary file")?));
        }
        Ok(Inputs::One(keep(io::stdin().lock(), "standard input")?))
    }
}

impl Inputs {
    /// The lines of standard input; none if it is empty.
    pub(super) fn lines_of_stdin() -> anyhow::Result<Option<Self>> {
        let name = "standard input";
        let file = keep(io::stdin().lock(), name)?;
        if file.metadata()?.len() == 0 {
            return Ok(None);
        }
        counted(file, name).map(|file| Some(Self::Lines(file)))
    }

    /// Whether there is one input that nobody counts.
    pub(super) fn is_single(&self) -> bool {
        matches!(self, Self::One(_))
    }

    /// How many there are.
    pub(super) fn count(&self) -> anyhow::Result<u64> {
        match self {
            Self::Range(range) => Ok(range.end.abs_diff(range.start)),
            Self::Files(paths) => Ok(paths.len() as u64),
            Self::One(_) => Ok(1),
            Self::Lines(file) => {
                let mut file = file;
                file.rewind()?;
                Ok(count_lines(BufReader::with_capacity(256 << 10, file))?)
            }
        }
    }

    /// Names of the outputs, where the inputs have names.
    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Self::Files(paths) => output_names(paths),
            Self::Range(_) | Self::Lines(_) | Self::One(_) => Vec::new(),
        }
    }

    /// Uploads what has to be.
    pub(super) fn upload(&self, client: &Client) -> anyhow::Result<InputsRequest> {
        match self {
            Self::Range(range) => Ok(InputsRequest::Range { from: range.start, to: range.end }),
            Self::Lines(file) => Ok(InputsRequest::Lines(upload(client, file)?)),
            Self::One(file) => Ok(InputsRequest::Blobs(vec![upload(client, file)?])),
            Self::Files(paths) => {
                let blob = |path: &PathBuf| upload_path(client, path);
                paths.iter().map(blob).collect::<anyhow::Result<_>>().map(InputsRequest::Blobs)
            }
        }
    }
}

/// Uploads the file at `path`.
pub(super) fn upload_path(
    client: &Client,
    path: &Path,
) -> anyhow::Result<bayan_protocol::id::Hash> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    upload(client, &file).with_context(|| format!("cannot upload {}", path.display()))
}

fn upload(client: &Client, mut file: &File) -> anyhow::Result<bayan_protocol::id::Hash> {
    file.rewind()?;
    let len = file.metadata()?.len();
    let uploaded = client.upload_reader(BufReader::new(file), len);
    match uploaded {
        Err(ClientError::Local(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
            bail!("it became shorter while it was read")
        }
        other => Ok(other?.hash),
    }
}

/// Reads `A..B` or `A..=B`.
fn range(text: &str) -> Result<Range<i64>, String> {
    let (from, to) = text.split_once("..").ok_or("give it as A..B, such as 0..100")?;
    let (to, including) = match to.strip_prefix('=') {
        Some(to) => (to, true),
        None => (to, false),
    };
    let number = |text: &str| {
        text.trim().parse::<i64>().map_err(|_| format!("{text:?} is not an integer of 64 bits"))
    };
    let (from, mut to) = (number(from)?, number(to)?);
    if including {
        to = to.checked_add(1).ok_or("the end is too large to be included")?;
    }
    let count = i128::from(to) - i128::from(from);
    if count < 0 {
        return Err(format!("the range runs backwards; did you mean {to}..{from}?"));
    }
    if count == 0 {
        return Err("the range is empty: B itself is not included".to_owned());
    }
    if count > i128::from(MAX_JOB_TASKS) {
        return Err(format!(
            "the range has {count} integers, and a job at most {MAX_JOB_TASKS} tasks; let each task do more"
        ));
    }
    Ok(from..to)
}

fn lines(path: &Path) -> anyhow::Result<File> {
    let is_stdin = path.as_os_str() == "-";
    let name = if is_stdin { "standard input".to_owned() } else { path.display().to_string() };
    let file = if is_stdin {
        keep(io::stdin().lock(), &name)?
    } else {
        let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
        // A pipe, as of `<(command)`, can be read only once.
        if file.metadata()?.is_file() { file } else { keep(file, &name)? }
    };
    ensure!(file.metadata()?.len() > 0, "{name} is empty: there is no line to work on");
    counted(file, &name)
}

/// A file of no more lines than a job may have tasks, from its beginning.
fn counted(mut file: File, name: &str) -> anyhow::Result<File> {
    let count = count_lines(BufReader::with_capacity(256 << 10, &file))
        .with_context(|| format!("cannot read {name}"))?;
    ensure!(
        count <= MAX_JOB_TASKS,
        "{name} has {count} lines, and a job at most {MAX_JOB_TASKS} tasks; split it"
    );
    file.rewind()?;
    Ok(file)
}

fn count_lines(mut reader: impl io::BufRead) -> io::Result<u64> {
    let (mut count, mut open) = (0, false);
    loop {
        let piece = reader.fill_buf()?;
        if piece.is_empty() {
            return Ok(count + u64::from(open));
        }
        count += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
        open = piece.last() != Some(&b'\n');
        let len = piece.len();
        reader.consume(len);
    }
}

/// A copy of what can be read only once.
fn keep(from: impl Read, name: &str) -> anyhow::Result<File> {
    let mut file = tempfile::tempfile().context("cannot make a temporary file")?;
    let read = io::copy(&mut from.take(MAX_BLOB + 1), &mut file)
        .with_context(|| format!("cannot read {name}"))?;
    ensure!(read <= MAX_BLOB, "{name} has more than {} GiB", MAX_BLOB >> 30);
    file.flush()?;
    file.rewind()?;
    Ok(file)
}

fn files(patterns: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for pattern in patterns {
        // A file may be called what looks like a pattern.
        if Path::new(pattern).is_file() {
            all.push(PathBuf::from(pattern));
            continue;
        }
        let matches =
            glob::glob(pattern).with_context(|| format!("--files {pattern} is not a pattern"))?;
        let before = all.len();
        for path in matches {
            let path = path.with_context(|| format!("--files {pattern}"))?;
            if path.is_file() {
                all.push(path);
            }
        }
        if all.len() == before {
            let is_directory = Path::new(pattern).is_dir();
            ensure!(
                !is_directory,
                "{pattern} is a directory; for the files in it: --files '{pattern}/*'"
            );
            bail!("no file matches {pattern}");
        }
        ensure!(
            all.len() as u64 <= MAX_JOB_TASKS,
            "more than {MAX_JOB_TASKS} files match, and a job has at most as many tasks"
        );
    }
    for path in &all {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let len = file.metadata().with_context(|| format!("cannot read {}", path.display()))?.len();
        ensure!(len <= MAX_BLOB, "{} has more than {} GiB", path.display(), MAX_BLOB >> 30);
    }
    Ok(all)
}

/// `NAME.out` for each; where two files have one name, their places make the difference.
fn output_names(paths: &[PathBuf]) -> Vec<String> {
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut uses = std::collections::HashMap::new();
    for path in paths {
        *uses.entry(name(path)).or_insert(0) += 1;
    }
    let fits = |name: &str| name.len() <= 200;
    paths
        .iter()
        .enumerate()
        .map(|(place, path)| {
            let name = name(path);
            match uses.get(&name) {
                Some(1) if fits(&name) => format!("{name}.out"),
                _ if fits(&name) => format!("{place:06}-{name}.out"),
                _ => format!("{place:06}.out"),
            }
        })
        .collect()
}

/// Whether there is a file or a non-empty directory at `path`.
pub(super) fn is_taken(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => path.exists(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_include_their_start_and_not_their_end() {
        assert_eq!(range("0..3"), Ok(0..3));
        assert_eq!(range("-5..5"), Ok(-5..5));
        assert_eq!(range("1..=3"), Ok(1..4));
        let (low, high) = (i64::MIN, i64::MAX);
        assert_eq!(range(&format!("{low}..{}", low + 1)), Ok(low..low + 1));
        assert_eq!(range(&format!("{}..{high}", high - 1)), Ok(high - 1..high));
    }

    #[test]
    fn wrong_ranges_are_told_apart() {
        for (text, word) in [
            ("5", "A..B"),
            ("3..3", "empty"),
            ("3..=2", "empty"),
            ("5..1", "backwards"),
            ("0..1000001", "at most 1000000"),
            ("-9223372036854775808..9223372036854775807", "at most"),
            ("0..9223372036854775808", "64 bits"),
            ("0..=9223372036854775807", "too large"),
            ("a..b", "not an integer"),
        ] {
            let error = range(text).expect_err(text);
            assert!(error.contains(word), "{text}: {error}");
        }
        assert_eq!(range("0..1000000"), Ok(0..1_000_000));
    }

    #[test]
    fn the_last_line_counts_without_a_newline() {
        for (text, count) in [("", 0), ("a", 1), ("a\n", 1), ("a\nb", 2), ("\n\n", 2)] {
            assert_eq!(count_lines(text.as_bytes()).unwrap(), count, "{text:?}");
        }
    }

    #[test]
    fn outputs_are_named_after_their_inputs() {
        let paths = ["a/x.fa", "b/x.fa", "b/y.fa"].map(PathBuf::from);
        assert_eq!(output_names(&paths), ["000000-x.fa.out", "000001-x.fa.out", "y.fa.out"]);
    }

    #[test]
    fn globs_without_a_match_and_empty_files_are_errors() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let pattern = |name: &str| vec![at(name).display().to_string()];
        fs::write(at("one.fa"), "x\n").unwrap();
        fs::write(at("[odd].fa"), "x\n").unwrap();
        fs::write(at("empty"), "").unwrap();
        assert_eq!(files(&pattern("o*.fa")).unwrap(), [at("one.fa")]);
        assert_eq!(files(&pattern("[odd].fa")).unwrap(), [at("[odd].fa")]);
        assert!(files(&pattern("*.txt")).unwrap_err().to_string().contains("no file matches"));
        assert!(files(&pattern("")).unwrap_err().to_string().contains("directory"));
        assert!(lines(&at("empty")).unwrap_err().to_string().contains("empty"));
        assert!(lines(&at("missing")).unwrap_err().to_string().contains("cannot read"));
        assert!(lines(&at("one.fa")).is_ok());
    }
}
