//! Evidence that is kept: a file for each result that was proven wrong, in the data directory.
//!
//! Files are written by a thread of their own, each once and whole. What was not written before a stop
//! is made up for at the next start, when the core says again who was caught.

use std::{
    collections::BTreeMap,
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
    time::Duration,
};

use anyhow::Context as _;
use bayan_protocol::{
    evidence::{BadResult, EvidenceError},
    id::{Hash, JobId, PeerId, TaskId},
    limits::{MAX_ARCHIVE, MAX_ARCHIVED, MAX_EVIDENCE},
    peer::Accusation,
    record::Record,
    result::Outcome,
};
use bayan_store::{Blobs, Records};

use crate::evidence;

/// The directory's name in a data directory.
const DIRECTORY: &str = "evidence";
/// How a file of evidence is named behind its id.
const ENDING: &str = "bayan";
/// How the name of a file begins that is being written.
const BEGUN: &str = ".begun-";
/// Accusations that may wait to be written; more are made up for at the next start.
const QUEUE: usize = 4096;
/// How long whoever looks waits for what is being written.
const PATIENCE: Duration = Duration::from_secs(5);

/// One file of evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its id (spec EVID-3).
    pub id: Hash,
    /// Who is accused.
    pub accused: PeerId,
    /// In which job.
    pub job: JobId,
    /// With which task.
    pub task: TaskId,
    /// The file.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Parts of the task that are not in it, in words.
    pub missing: Vec<String>,
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
enum KeepError {
    #[error("the worker's signed result is not stored any more")]
    NoVote,
    #[error("{MAX_ARCHIVED} files of evidence are kept already")]
    Full,
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    #[error("the stored results cannot be read: {0}")]
    Read(#[from] bayan_store::ReadError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

#[derive(Default)]
struct State {
    /// Accusations on their way to a file.
    pending: usize,
    /// Files looked into before.
    known: BTreeMap<Hash, Kept>,
}

/// The files of evidence of one data directory. Clones share it.
#[derive(Clone)]
pub struct Archive {
    directory: PathBuf,
    orders: SyncSender<(Accusation, Outcome)>,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Archive {
    /// Opens the archive of `data_dir`; what it writes is made of `blobs` and `records`.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn open(data_dir: &Path, blobs: Blobs, records: Records) -> anyhow::Result<Self> {
        let directory = data_dir.join(DIRECTORY);
        fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make the directory {}", directory.display()))?;
        remove_unfinished(&directory);
        let (orders, inbox) = mpsc::sync_channel(QUEUE);
        let archive = Self { directory, orders, state: Arc::default() };
        let writer = Writer {
            directory: archive.directory.clone(),
            blobs,
            records,
            state: Arc::clone(&archive.state),
        };
        thread::Builder::new()
            .name("bayan-evidence".to_owned())
            .spawn(move || writer.serve(&inbox))
            .context("cannot start the thread that writes evidence")?;
        Ok(archive)
    }

    /// Has a file written, unless it is there. Does not block.
    pub fn keep(&self, accusation: Accusation, right: Outcome) {
        self.count(1);
        if self.orders.try_send((accusation, right)).is_err() {
            self.count(-1);
            tracing::warn!("evidence waits for the next start: too much of it comes at once");
        }
    }

    fn count(&self, by: isize) {
        let (state, changed) = &*self.state;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pending = state.pending.saturating_add_signed(by);
        changed.notify_all();
    }

    /// Every file, by id, after waiting a little for those that are being written. Blocks.
    ///
    /// # Errors
    /// If the directory cannot be read. A file that is no evidence is left out.
    pub fn list(&self) -> io::Result<Vec<Kept>> {
        let (state, changed) = &*self.state;
        let guard = state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(guard, PATIENCE, |state| state.pending > 0);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let mut found = BTreeMap::new();
        for path in files(&self.directory)? {
            let Some(id) = id_of(&path) else { continue };
            if let Some(kept) = state.known.get(&id).cloned().or_else(|| look(&path, id)) {
                found.insert(id, kept);
            }
        }
        state.known.clone_from(&found);
        Ok(found.into_values().collect())
    }

    /// The file with this id, whole. Blocks.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub fn read(&self, id: &Hash) -> io::Result<Vec<u8>> {
        let path = file(&self.directory, id);
        if fs::metadata(&path)?.len() > MAX_EVIDENCE as u64 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        fs::read(path)
    }
}

fn file(directory: &Path, id: &Hash) -> PathBuf {
    directory.join(format!("{id}.{ENDING}"))
}

fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let paths = fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path()));
    paths.filter(|path| path.as_ref().map_or(true, |path| id_of(path).is_some())).collect()
}

/// Removes what a process that was killed had begun to write.
fn remove_unfinished(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(BEGUN) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn id_of(path: &Path) -> Option<Hash> {
    let ours = path.extension().is_some_and(|ending| ending == ENDING);
    path.file_stem().filter(|_| ours)?.to_str()?.parse().ok()
}

fn look(path: &Path, id: Hash) -> Option<Kept> {
    let length = fs::metadata(path).ok()?.len();
    let bytes = fs::read(path).ok().filter(|_| length <= MAX_EVIDENCE as u64)?;
    let evidence = BadResult::decode(&bytes)
        .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "not evidence"))
        .ok()?;
    Some(Kept {
        id,
        accused: evidence.accused(),
        job: evidence.job(),
        task: evidence.proof.leaf.task,
        path: path.to_path_buf(),
        bytes: length,
        missing: evidence.missing(|_| false).iter().map(ToString::to_string).collect(),
    })
}

/// The thread's side.
struct Writer {
    directory: PathBuf,
    blobs: Blobs,
    records: Records,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Writer {
    fn serve(&self, orders: &Receiver<(Accusation, Outcome)>) {
        for (accusation, right) in orders {
            match self.write(&accusation, right) {
                Ok(Some(path)) => {
                    tracing::info!(file = %path.display(), "evidence of a wrong result is kept");
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "evidence of a wrong result is not kept"),
            }
            let (state, changed) = &*self.state;
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.pending = state.pending.saturating_sub(1);
            changed.notify_all();
        }
    }

    /// The new file; none if it was there.
    fn write(&self, accusation: &Accusation, right: Outcome) -> Result<Option<PathBuf>, KeepError> {
        let stored = self.records.get(&accusation.vote.0)?;
        let Some(Ok(Record::Vote { proof, .. })) = stored.map(|bytes| Record::decode(&bytes))
        else {
            return Err(KeepError::NoVote);
        };
        let path = file(&self.directory, &proof.leaf.digest());
        if path.exists() {
            return Ok(None);
        }
        let mut used = 0;
        let files = files(&self.directory)?;
        if files.len() >= MAX_ARCHIVED {
            return Err(KeepError::Full);
        }
        for one in &files {
            used += fs::metadata(one).map_or(0, |about| about.len());
        }
        // With too much of it, what can be had elsewhere is left out.
        let carries = accusation.carries && used < MAX_ARCHIVE;
        let Accusation { program, input, .. } = accusation;
        let blobs = carries.then_some(&self.blobs);
        let bytes = evidence::write(blobs, proof, program, input, Some(right))?;
        let mut temporary = tempfile::Builder::new().prefix(BEGUN).tempfile_in(&self.directory)?;
        temporary.write_all(&bytes)?;
        temporary.as_file().sync_all()?;
        temporary.persist(&path).map_err(|error| error.error)?;
        Ok(Some(path))
    }
}

#[cfg(test)]
mod tests {
    use bayan_protocol::{
        crypto::Keypair,
        id::LeaseId,
        record::Key,
        result::{Commit, Leaf, Opened, Output, Reveal, VerifiedBatch, output_commit},
        task::{Input, Limits, PROFILE_V1, Program, Status},
    };
    use bayan_store::{Change, Directory, Options};
    use serde_bytes::ByteBuf;

    use super::*;

    const JOB: JobId = JobId([2; 32]);

    struct Fixture {
        store: Directory,
        archive: Archive,
        program: Program,
        dir: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let store = Directory::open(dir.path().join("peer"), Options::default()).unwrap();
            let module = store.blobs().put(b"module").unwrap();
            let program = Program {
                module,
                module_len: 6,
                args: Vec::new(),
                env: Vec::new(),
                data: Vec::new(),
                limits: Limits::default(),
                profile: PROFILE_V1.to_owned(),
                salt: Hash([6; 32]),
            };
            let archive = Archive::open(store.path(), store.blobs(), store.records()).unwrap();
            Self { store, archive, program, dir }
        }

        /// Stores a lie about a task, and what accuses its teller.
        fn lie(&self, number: u8, carries: bool) -> Accusation {
            let key = Keypair::from_seed(&[number; 32]);
            let submitter = Keypair::from_seed(&[99; 32]).peer_id();
            let input = Input::Inline(ByteBuf::from([number]));
            let (output, nonce) = (Output::Inline(ByteBuf::from(b"wrong")), Hash([4; 32]));
            let leaf = Leaf {
                task: self.program.task_id(&input.hash()),
                job: JOB,
                submitter,
                lease: LeaseId([5; 32]),
                worker: key.peer_id(),
                status: Status::Exited(0),
                output_commit: output_commit(&output.hash(), &nonce.0),
                fuel: 1,
            };
            let opened = vec![Opened {
                leaf,
                nonce,
                output: output.clone(),
                log: ByteBuf::new(),
                micros: 0,
            }];
            let commit = Commit::sign(&key, JOB, 1, &opened);
            let reveal = Reveal { root: commit.root, opened };
            let batch = VerifiedBatch::check(commit, reveal, &key.peer_id(), &submitter).unwrap();
            let proof = batch.proof(0).unwrap();
            let vote = Record::Vote {
                job: JOB,
                task: 0,
                proof,
                output,
                log: Vec::new(),
                micros: 0,
                via: Vec::new(),
            };
            let key = vote.key();
            let change = Change::Put { key: key.0.clone(), value: vote.encode() };
            self.store.records().append(&[change]).unwrap();
            Accusation { vote: key, program: self.program.clone(), input, carries }
        }
    }

    fn right() -> Outcome {
        Outcome { status: Status::Exited(0), output: Hash::of(b"right"), fuel: 1 }
    }

    #[test]
    fn each_lie_has_one_whole_file_that_names_its_teller() {
        let fixture = Fixture::new();
        let accusation = fixture.lie(1, true);
        fixture.archive.keep(accusation.clone(), right());
        fixture.archive.keep(accusation, right());
        let kept = fixture.archive.list().unwrap();
        assert_eq!(kept.len(), 1);
        let one = &kept[0];
        assert_eq!((one.job, one.missing.len()), (JOB, 0));
        assert_eq!(one.accused, Keypair::from_seed(&[1; 32]).peer_id());
        let bytes = fixture.archive.read(&one.id).unwrap();
        assert_eq!(bytes.len() as u64, one.bytes);
        let evidence = BadResult::decode(&bytes).unwrap().checked().unwrap();
        assert_eq!((evidence.evidence().id(), evidence.evidence().right), (one.id, Some(right())));
        assert!(fixture.archive.read(&Hash([0; 32])).is_err());
    }

    #[test]
    fn nothing_of_a_confidential_job_is_in_a_file() {
        let fixture = Fixture::new();
        let mut accusation = fixture.lie(1, false);
        accusation.input = Input::Blob { hash: accusation.input.hash(), len: 1 };
        fixture.archive.keep(accusation, right());
        let kept = fixture.archive.list().unwrap();
        assert_eq!(kept[0].missing.len(), 2, "{kept:?}");
        let evidence = BadResult::decode(&fixture.archive.read(&kept[0].id).unwrap()).unwrap();
        assert_eq!(evidence.carried(), 0);
    }

    #[test]
    fn what_is_lost_or_begun_or_foreign_is_no_evidence() {
        let fixture = Fixture::new();
        let mut accusation = fixture.lie(1, true);
        accusation.vote = Key::vote(&JOB, 7, &PeerId([1; 32]));
        fixture.archive.keep(accusation, right());
        assert_eq!(fixture.archive.list().unwrap(), []);
        let directory = fixture.dir.path().join("peer").join(DIRECTORY);
        fs::write(directory.join("notes.txt"), "x").unwrap();
        fs::write(directory.join(format!("{}.{ENDING}", Hash([3; 32]))), "x").unwrap();
        fs::write(directory.join(format!("{BEGUN}x")), "x").unwrap();
        assert_eq!(fixture.archive.list().unwrap(), []);
        let again =
            Archive::open(fixture.store.path(), fixture.store.blobs(), fixture.store.records());
        assert_eq!(again.unwrap().list().unwrap(), []);
        assert!(!directory.join(format!("{BEGUN}x")).exists());
    }
}
