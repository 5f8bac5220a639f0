//! Where a job's outputs go: a directory, one file in the order of the inputs, or standard output.
//!
//! Results come in any order and may come again from the beginning in a later process. What is
//! visible under its final name is always whole. A directory has the outputs of results that may still
//! be taken back; files in order and standard output have those that stand alone.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use bayan_protocol::id::{Hash, TaskId};
use serde_json::json;
use tempfile::NamedTempFile;

use super::{inputs::is_taken, text};
use crate::{api::types::TaskResult, client::Client};

/// The file of a directory of outputs that says how each came about.
const RESULTS: &str = "results.jsonl";

/// Takes results. On an error of any of these, a result has not been taken and may be given again.
pub(super) trait Sink {
    /// Takes a result that may still be taken back.
    fn show(&mut self, _: &TaskResult, _: &Client) -> anyhow::Result<()> {
        Ok(())
    }
    /// Undoes it: the task has no result at the moment.
    fn take_back(&mut self, _: &TaskResult) -> anyhow::Result<()> {
        Ok(())
    }
    /// Whether outputs go to this sink, so that events need not have them.
    fn is_bare(&self) -> bool {
        true
    }
    /// Takes the last word on a task.
    fn put(&mut self, result: &TaskResult, client: &Client) -> anyhow::Result<()>;
    /// Makes what was taken visible to others.
    fn flush(&mut self) -> anyhow::Result<()>;
    /// Completes everything, after the last result.
    fn finish(&mut self) -> anyhow::Result<()>;
    /// Where the outputs are, for people.
    fn place(&self) -> Option<PathBuf>;
}

/// Where outputs are to go.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Destination {
    /// A file for each input in this directory.
    Directory(PathBuf),
    /// All in this file.
    File(PathBuf),
    /// Standard output, in order.
    Stdout,
    /// As events on standard output.
    Events,
}

impl Destination {
    /// Refuses to write over anything.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let path = match self {
            Self::Stdout | Self::Events => return Ok(()),
            Self::Directory(path) if is_taken(path) => path,
            Self::File(path) if path.exists() => path,
            Self::Directory(_) => return Ok(()),
            Self::File(path) => {
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let parent = parent.unwrap_or(Path::new("."));
                ensure!(
                    parent.is_dir(),
                    "there is no directory {} for the outputs",
                    parent.display()
                );
                return Ok(());
            }
        };
        bail!(
            "{} exists already; choose another place for the outputs, or write over it with --force",
            path.display()
        )
    }

    /// Opens it. `names` are those of the outputs, if they have any.
    pub(super) fn open(&self, names: Vec<String>) -> anyhow::Result<Box<dyn Sink>> {
        Ok(match self {
            Self::Directory(path) => Box::new(Directory::open(path.clone(), names)?),
            Self::File(path) => Box::new(OneFile::open(path.clone())?),
            Self::Stdout => Box::new(Stdout { ordered: Ordered::new(text::closed)? }),
            Self::Events => Box::new(Events),
        })
    }
}

/// Bytes of outputs copied at once.
const PIECE: usize = 256 << 10;

fn unwritten(error: io::Error) -> anyhow::Error {
    anyhow::Error::from(error).context("cannot write the outputs")
}

/// Whether the output is the user's: a failing guest's is not.
fn counts(result: &TaskResult) -> bool {
    result.status.is_some_and(|status| status.is_success())
}

/// Writes the result's output, from the result itself or from the peer.
fn content(result: &TaskResult, client: &Client, to: &mut dyn Write) -> anyhow::Result<u64> {
    match (&result.inline, &result.output) {
        (Some(text), _) => {
            let bytes = hex::decode(text).context("the peer's answer is not in order")?;
            to.write_all(&bytes).context("cannot write an output")?;
            Ok(bytes.len() as u64)
        }
        (None, Some(hash)) => Ok(client.open_blob(hash)?.copy_to(to)?),
        (None, None) => Ok(0),
    }
}

/// The line of a result in `results.jsonl`.
fn record(result: &TaskResult, files: &[String]) -> serde_json::Value {
    json!({
        "places": result.places,
        "files": files,
        "task": result.task,
        "state": result.state,
        "basis": result.basis,
        "status": result.status,
        "output": result.output,
        "output_len": result.output_len,
        "fuel": result.fuel,
        "verified": result.verified,
        "by": result.by,
    })
}

fn write_record(to: &mut impl Write, result: &TaskResult, files: &[String]) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(&record(result, files))?;
    line.push(b'\n');
    to.write_all(&line).context("cannot write the list of results")
}

/// A file for each input.
struct Directory {
    path: PathBuf,
    names: Vec<String>,
    results: BufWriter<File>,
    /// Outputs in files that may still be taken back.
    shown: HashMap<TaskId, Hash>,
}

impl Directory {
    fn open(path: PathBuf, names: Vec<String>) -> anyhow::Result<Self> {
        fs::create_dir_all(&path)
            .with_context(|| format!("cannot make the directory {}", path.display()))?;
        let list = path.join(RESULTS);
        let results =
            File::create(&list).with_context(|| format!("cannot write {}", list.display()))?;
        Ok(Self { path, names, results: BufWriter::new(results), shown: HashMap::new() })
    }

    fn name(&self, place: u64) -> String {
        let given = usize::try_from(place).ok().and_then(|place| self.names.get(place));
        given.cloned().unwrap_or_else(|| format!("{place:06}.out"))
    }

    fn names(&self, result: &TaskResult) -> Vec<String> {
        result.places.iter().map(|place| self.name(*place)).collect()
    }

    /// Sees to it that the files of a task have the output of `result`, or are not there if it has none
    /// that counts; their names.
    fn bring(&mut self, result: &TaskResult, client: &Client) -> anyhow::Result<Vec<String>> {
        let before = self.shown.get(&result.task).copied();
        if !counts(result) {
            if before.is_some() {
                self.remove(result)?;
            }
            return Ok(Vec::new());
        }
        if before.is_some() && before == result.output {
            return Ok(self.names(result));
        }
        self.write(result, client)
            .with_context(|| format!("cannot write into {}", self.path.display()))
    }

    fn remove(&mut self, result: &TaskResult) -> anyhow::Result<()> {
        for name in self.names(result) {
            let path = self.path.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(anyhow::Error::from(error)
                        .context(format!("cannot remove {}", path.display())));
                }
                _ => {}
            }
        }
        self.shown.remove(&result.task);
        Ok(())
    }

    fn write(&self, result: &TaskResult, client: &Client) -> anyhow::Result<Vec<String>> {
        let names = self.names(result);
        let Some((first, others)) = names.split_first() else { return Ok(names) };
        let mut temporary = NamedTempFile::new_in(&self.path)?;
        content(result, client, temporary.as_file_mut())?;
        readable(temporary.as_file())?;
        let target = self.path.join(first);
        temporary.persist(&target).map_err(|error| error.error)?;
        for other in others {
            fs::copy(&target, self.path.join(other))?;
        }
        Ok(names)
    }
}

impl Sink for Directory {
    fn show(&mut self, result: &TaskResult, client: &Client) -> anyhow::Result<()> {
        self.bring(result, client)?;
        if let Some(output) = result.output.filter(|_| counts(result)) {
            self.shown.insert(result.task, output);
        }
        Ok(())
    }

    fn take_back(&mut self, result: &TaskResult) -> anyhow::Result<()> {
        // Perhaps of an earlier process that was told to put its outputs here.
        self.remove(result)
    }

    fn put(&mut self, result: &TaskResult, client: &Client) -> anyhow::Result<()> {
        let files = self.bring(result, client)?;
        self.shown.remove(&result.task);
        write_record(&mut self.results, result, &files)
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.results.flush().context("cannot write the list of results")
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        self.flush()
    }

    fn place(&self) -> Option<PathBuf> {
        Some(self.path.clone())
    }
}

/// Temporary files are private; outputs are files like any other of the user's.
#[cfg(unix)]
fn readable(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable(_: &File) -> io::Result<()> {
    Ok(())
}

/// All outputs in one file, and the list of results beside it.
struct OneFile {
    path: PathBuf,
    temporary: Option<BufWriter<NamedTempFile>>,
    results: Option<BufWriter<NamedTempFile>>,
    ordered: Ordered,
}

impl OneFile {
    fn open(path: PathBuf) -> anyhow::Result<Self> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let temporary = || {
            NamedTempFile::new_in(parent)
                .map(|file| Some(BufWriter::new(file)))
                .with_context(|| format!("cannot write in {}", parent.display()))
        };
        Ok(Self {
            temporary: temporary()?,
            results: temporary()?,
            path,
            ordered: Ordered::new(unwritten)?,
        })
    }

    fn results_path(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".");
        path.push(RESULTS);
        path.into()
    }
}

impl Sink for OneFile {
    fn put(&mut self, result: &TaskResult, client: &Client) -> anyhow::Result<()> {
        let (Some(out), Some(results)) = (&mut self.temporary, &mut self.results) else {
            bail!("the outputs are complete already");
        };
        self.ordered.put(result, client, out)?;
        write_record(results, result, &[])
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        let list = self.results_path();
        let files = [(self.temporary.take(), self.path.clone()), (self.results.take(), list)];
        for (writer, target) in files {
            let Some(writer) = writer else { continue };
            let persist = || -> io::Result<()> {
                let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
                readable(file.as_file())?;
                file.as_file().sync_all()?;
                file.persist(&target).map_err(|error| error.error)?;
                Ok(())
            };
            persist().with_context(|| format!("cannot write {}", target.display()))?;
        }
        Ok(())
    }

    fn place(&self) -> Option<PathBuf> {
        Some(self.path.clone())
    }
}

/// Standard output.
struct Stdout {
    ordered: Ordered,
}

impl Sink for Stdout {
    fn put(&mut self, result: &TaskResult, client: &Client) -> anyhow::Result<()> {
        self.ordered.put(result, client, &mut ToStdout)
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        io::stdout().flush().map_err(text::closed)
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        self.flush()
    }

    fn place(&self) -> Option<PathBuf> {
        None
    }
}

/// Standard output as a writer that is never locked for long.
struct ToStdout;

impl Write for ToStdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

/// Results as events, which whoever follows the job writes.
struct Events;

impl Sink for Events {
    fn is_bare(&self) -> bool {
        false
    }

    fn put(&mut self, _: &TaskResult, _: &Client) -> anyhow::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    fn place(&self) -> Option<PathBuf> {
        None
    }
}

/// Puts outputs into the order of the inputs. What comes too early waits in a temporary file, so
/// that memory holds two numbers for it.
struct Ordered {
    next: u64,
    spool: File,
    end: u64,
    waiting: BTreeMap<u64, (u64, u64)>,
    /// What it means that the outputs cannot be written.
    closed: fn(io::Error) -> anyhow::Error,
}

impl Ordered {
    fn new(closed: fn(io::Error) -> anyhow::Error) -> anyhow::Result<Self> {
        let spool = tempfile::tempfile().context("cannot make a temporary file")?;
        Ok(Self { next: 0, spool, end: 0, waiting: BTreeMap::new(), closed })
    }

    fn put(
        &mut self,
        result: &TaskResult,
        client: &Client,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let mut len = 0;
        if counts(result) {
            self.spool.seek(SeekFrom::Start(self.end))?;
            len = content(result, client, &mut self.spool)?;
        }
        for place in &result.places {
            self.waiting.insert(*place, (self.end, len));
        }
        self.end += len;
        self.drain(out)
    }

    /// Writes what is next for as long as it is there.
    fn drain(&mut self, out: &mut dyn Write) -> anyhow::Result<()> {
        let spooled = "cannot read back an output that waited for its turn";
        while let Some((start, mut left)) = self.waiting.remove(&self.next) {
            self.spool.seek(SeekFrom::Start(start)).context(spooled)?;
            let mut buffer = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(PIECE)];
            while left > 0 {
                let most = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE);
                self.spool.read_exact(&mut buffer[..most]).context(spooled)?;
                out.write_all(&buffer[..most]).map_err(self.closed)?;
                left -= most as u64;
            }
            self.next += 1;
        }
        if self.waiting.is_empty() {
            self.end = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bayan_protocol::{
        task::Status,
        verify::{Basis, State},
    };

    use super::*;

    /// No test here may ask a peer for anything.
    fn nobody() -> Client {
        Client::new(([127, 0, 0, 1], 1).into(), "")
    }

    fn result(places: &[u64], output: &str) -> TaskResult {
        TaskResult {
            state: State::Final,
            basis: Some(Basis::Word),
            places: places.to_vec(),
            task: TaskId([7; 32]),
            status: Some(Status::Exited(0)),
            fuel: 1,
            output: Some(Hash::of(output.as_bytes())),
            output_len: output.len() as u64,
            inline: Some(hex::encode(output)),
            verified: "2 peers agree".to_owned(),
            by: Vec::new(),
            delegate: None,
        }
    }

    #[test]
    fn outputs_come_in_the_order_of_inputs_whatever_the_order_of_results() {
        let mut ordered = Ordered::new(text::closed).unwrap();
        let mut out = Vec::new();
        let mut failed = result(&[1], "not the user's");
        failed.status = Some(Status::Exited(3));
        for (one, seen) in [
            (result(&[2, 4], "c"), ""),
            (result(&[0], "a"), "a"),
            (failed, "ac"),
            (result(&[3], "ddd"), "acdddc"),
            (result(&[5], "e"), "acdddce"),
        ] {
            ordered.put(&one, &nobody(), &mut out).unwrap();
            assert_eq!(String::from_utf8_lossy(&out), seen);
        }
        assert_eq!(ordered.end, 0, "the spool is used again");
    }

    #[test]
    fn a_directory_gets_a_file_for_every_place_and_a_list() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        let destination = Destination::Directory(path.clone());
        destination.check().unwrap();
        let mut sink = destination.open(vec!["x.out".to_owned()]).unwrap();
        sink.put(&result(&[0, 2], "a"), &nobody()).unwrap();
        sink.put(&TaskResult { status: None, ..result(&[1], "b") }, &nobody()).unwrap();
        sink.finish().unwrap();
        assert_eq!(fs::read_to_string(path.join("x.out")).unwrap(), "a");
        assert_eq!(fs::read_to_string(path.join("000002.out")).unwrap(), "a");
        assert!(!path.join("000001.out").exists());
        let list = fs::read_to_string(path.join(RESULTS)).unwrap();
        let lines: Vec<serde_json::Value> =
            list.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["files"], json!(["x.out", "000002.out"]));
        assert_eq!(lines[1]["status"], json!(null));
        assert!(destination.check().unwrap_err().to_string().contains("--force"));
        assert_eq!(fs::read_dir(&path).unwrap().count(), 3, "no temporary file stays");
    }

    #[test]
    fn a_file_is_replaced_or_removed_when_its_result_is_taken_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        let mut sink = Destination::Directory(path.clone()).open(Vec::new()).unwrap();
        let with = |state, output: &str| TaskResult { state, ..result(&[0, 1], output) };
        let read = |name: &str| fs::read_to_string(path.join(name)).ok();

        sink.show(&with(State::Provisional, "lie"), &nobody()).unwrap();
        assert_eq!(read("000001.out").as_deref(), Some("lie"));
        sink.take_back(&TaskResult { status: None, output: None, ..with(State::Open, "") })
            .unwrap();
        assert_eq!((read("000000.out"), read("000001.out")), (None, None));
        sink.show(&with(State::Checking, "other"), &nobody()).unwrap();
        sink.show(&with(State::Confirmed, "right"), &nobody()).unwrap();
        assert_eq!(read("000000.out").as_deref(), Some("right"));
        sink.flush().unwrap();
        assert_eq!(read(RESULTS).as_deref(), Some(""), "nothing stands yet");
        sink.put(&with(State::Final, "right"), &nobody()).unwrap();
        sink.finish().unwrap();
        assert_eq!(read("000001.out").as_deref(), Some("right"));
        let list = read(RESULTS).unwrap();
        assert_eq!(list.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(list.trim()).unwrap();
        assert_eq!((&line["state"], &line["basis"]), (&json!("final"), &json!("word")));
    }

    #[test]
    fn what_turns_out_to_have_failed_leaves_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        let mut sink = Destination::Directory(path.clone()).open(Vec::new()).unwrap();
        let shown = TaskResult { state: State::Provisional, ..result(&[0], "lie") };
        sink.show(&shown, &nobody()).unwrap();
        let failed = TaskResult { status: Some(Status::Exited(1)), ..result(&[0], "") };
        sink.put(&failed, &nobody()).unwrap();
        sink.finish().unwrap();
        assert!(!path.join("000000.out").exists());
    }

    #[test]
    fn in_order_only_what_stands_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("all.txt");
        let mut sink = Destination::File(path.clone()).open(Vec::new()).unwrap();
        let shown = TaskResult { state: State::Provisional, ..result(&[0], "lie") };
        sink.show(&shown, &nobody()).unwrap();
        sink.take_back(&shown).unwrap();
        sink.put(&result(&[0], "right"), &nobody()).unwrap();
        sink.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "right");
    }

    #[test]
    fn one_file_appears_when_it_is_complete() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("all.txt");
        let mut sink = Destination::File(path.clone()).open(Vec::new()).unwrap();
        sink.put(&result(&[1], "b\n"), &nobody()).unwrap();
        sink.put(&result(&[0], "a\n"), &nobody()).unwrap();
        assert!(!path.exists());
        sink.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a\nb\n");
        let list = fs::read_to_string(directory.path().join("all.txt.results.jsonl")).unwrap();
        assert_eq!(list.lines().count(), 2);
        assert!(Destination::File(path).check().is_err());
        assert!(Destination::File(directory.path().join("no/where")).check().is_err());
    }
}
