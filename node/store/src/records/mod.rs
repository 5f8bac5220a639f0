//! Key-value records: appended to a journal at once, in the database within a second.
//!
//! An append is one write to the journal and so survives the process from the moment it returns. A
//! background thread, at most once a second, starts a new journal, forces the old one to disk,
//! applies it to the database in one durable transaction, and deletes it. Whatever instant the
//! process dies at, start-up finds each change once: the database knows the sequence number of the
//! last batch in it.
//!
//! What the keys and values mean is decided by the machines whose records they are.

mod backend;
mod change;
#[cfg(test)]
mod damage_tests;
mod database;
mod inventory;
mod journal;
mod replay;
mod salvage;
#[cfg(test)]
mod tests;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

pub(crate) use self::inventory::Terms;
pub use self::{
    change::{Change, MAX_BATCH, MAX_KEY},
    replay::{Damage, Recovery},
    salvage::Salvage,
};
use self::{
    database::{Create, Database, Mark, Refused, io_error},
    inventory::Inventory,
    journal::{FRAME, MAX_JOURNAL, Writer},
    replay::{Place, Replayed, Taker},
};
use crate::{
    directory::{OpenError, Sync},
    disk::{self, guard},
    lock::Lock,
    secrets,
    unsynced::Unsynced,
};

pub(crate) const DATABASE_FILE: &str = "records.redb";
pub(crate) const INVENTORY_FILE: &str = "records.inventory";
pub(crate) const JOURNAL_DIR: &str = "journal";

/// How far apart the background thread's rounds are at least: what a loss of power may cost.
const INTERVAL: Duration = Duration::from_secs(1);

/// A journal this long is worked off without waiting for the interval to end.
const URGENT: u64 = 16 << 20;

/// Why a change was not taken, or not forced to disk. After a failed append, none of its changes
/// are there, and later appends may succeed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// No room left on the disk.
    #[error("no room left to write {}; free some disk space", path.display())]
    Full {
        /// What could not be written.
        path: PathBuf,
    },
    /// The batch is longer than [`MAX_BATCH`]; split it.
    #[error("a batch of changes is longer than {MAX_BATCH} bytes")]
    TooLarge,
    /// A key is longer than [`MAX_KEY`].
    #[error("a key is {len} bytes long, {MAX_KEY} are allowed")]
    KeyTooLong {
        /// Its length.
        len: usize,
    },
    /// The operating system refused.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// What could not be written.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The database, or a journal read back, is not in order.
    #[error("{} cannot be used: {what}; restart this peer, which checks and repairs it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The records have been closed.
    #[error("the records are closed")]
    Closed,
}

impl WriteError {
    fn from_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        if disk::is_full(&source) { Self::Full { path } } else { Self::Io { path, source } }
    }

    fn from_redb(path: &Path, error: redb::Error) -> Self {
        match io_error(error) {
            Ok(error) => Self::from_io(path, error),
            Err(error) => Self::Damaged { path: path.to_path_buf(), what: error.to_string() },
        }
    }
}

/// Why records could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// What was appended last could not be brought into the database first.
    #[error(transparent)]
    Flush(#[from] WriteError),
    /// The database gave an error.
    #[error("cannot read {}: {what}; restart this peer, which checks and repairs it", path.display())]
    Database {
        /// The database file.
        path: PathBuf,
        /// What it said.
        what: String,
    },
}

/// A key and its value.
pub type Record = (Vec<u8>, Vec<u8>);

/// The records of one peer. Clones are handles of the same.
#[derive(Debug, Clone)]
pub struct Records {
    handle: Arc<Handle>,
}

impl Records {
    pub(crate) fn open(
        directory: &Path,
        sync: Sync,
        terms: &Terms,
        listed: bool,
        unsynced: Arc<Unsynced>,
        lock: Arc<Lock>,
    ) -> Result<(Self, Recovery), OpenError> {
        let journals = directory.join(JOURNAL_DIR);
        let place = Place { directory, journals: &journals, terms, listed };
        let Replayed { database, inventory, mark, recovery } = replay::replay(place)?;
        report(&recovery);
        let writer = Writer::create(&journals, mark.generation, secrets::random()?)
            .map_err(|error| OpenError::from_io(&journals, error))?;
        let shared = Arc::new(Shared {
            path: directory.join(DATABASE_FILE),
            journals,
            sync,
            appender: Mutex::new(Appender { writer, sequence: mark.sequence, closed: false }),
            flusher: Mutex::new(Flusher {
                database: Some(database),
                inventory,
                mark,
                sealed: None,
            }),
            signal: Signal::default(),
            unsynced,
            _lock: lock,
        });
        let worker = shared.clone();
        let thread = thread::Builder::new()
            .name("bayan-records".to_owned())
            .spawn(move || worker.run())
            .map_err(|error| OpenError::from_io(directory, error))?;
        let handle = Arc::new(Handle { shared, thread: Mutex::new(Some(thread)) });
        Ok((Self { handle }, recovery))
    }

    /// Appends a batch: all of it or, on error, none. When this returns, the batch survives the end
    /// of the process; with [`Sync::Always`] also that of power.
    ///
    /// Batches of all handles have one order, that in which they are appended.
    pub fn append(&self, changes: &[Change]) -> Result<(), WriteError> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut entry = vec![0; FRAME];
        change::encode(changes, &mut entry)?;
        self.handle.shared.append(&mut entry)
    }

    /// Every live record, in key order, as of now: later changes do not show.
    pub fn load(&self) -> Result<RecordsIter, ReadError> {
        let range = self.read(|table| Ok(table.range::<&[u8]>(..)?))?;
        Ok(RecordsIter { range, shared: self.handle.shared.clone() })
    }

    /// The value of `key` as of now.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.read(|table| Ok(table.get(key)?.map(|value| value.value().to_vec())))
    }

    /// Reads the database once everything appended so far is in it.
    fn read<T>(
        &self,
        read: impl FnOnce(redb::ReadOnlyTable<&'static [u8], &'static [u8]>) -> Result<T, redb::Error>,
    ) -> Result<T, ReadError> {
        let shared = &self.handle.shared;
        shared.flush()?;
        let mut flusher = guard(&shared.flusher);
        let found = shared
            .reopen(&mut flusher)
            .and_then(|()| {
                flusher
                    .database
                    .as_ref()
                    .map_or(Err(redb::Error::DatabaseClosed), Database::records)
            })
            .and_then(read);
        found.map_err(|error| ReadError::Database {
            path: shared.path.clone(),
            what: error.to_string(),
        })
    }

    /// Forces every change appended so far into the database and to disk.
    pub fn flush(&self) -> Result<(), WriteError> {
        self.handle.shared.flush()
    }

    /// Like [`Self::flush`], and then stops the background thread; appends through any handle fail
    /// from here on.
    pub fn close(&self) -> Result<(), WriteError> {
        guard(&self.handle.shared.appender).closed = true;
        self.handle.stop();
        self.handle.shared.flush()
    }
}

/// The damaged files kept in `directory`.
pub(crate) fn set_aside(directory: &Path) -> Vec<PathBuf> {
    let mut files = salvage::damaged(&directory.join(DATABASE_FILE));
    files.extend(replay::damaged(&directory.join(JOURNAL_DIR)));
    files
}

/// Tells the operator what was found, in the log.
fn report(recovery: &Recovery) {
    if let Some(damage) = &recovery.damage {
        tracing::error!(path = %damage.path.display(), offset = damage.offset, what = damage.what,
            bytes = recovery.dropped_bytes, "journal damaged; the peer goes on from the part before");
    } else if recovery.dropped_bytes > 0 {
        tracing::warn!(bytes = recovery.dropped_bytes, "dropped the torn end of the journal");
    }
    if let Some(salvage) = &recovery.salvage {
        let Salvage { path, what, kept, complete, .. } = salvage;
        let (path, lost) = (path.display(), salvage.lost_in_all());
        if lost > 0 || !complete {
            tracing::error!(%path, what, kept, lost, complete,
                "database damaged and set aside; the peer goes on with the records that could be read");
        } else {
            tracing::warn!(%path, what, kept, "database damaged and set aside; no record is lost");
        }
    }
    if recovery.relisted {
        tracing::warn!(
            "the list of records was missing or damaged and has been made anew; nothing is lost"
        );
    }
}

/// The records that [`Records::load`] found.
pub struct RecordsIter {
    range: redb::Range<'static, &'static [u8], &'static [u8]>,
    /// The directory stays locked while its database is being read.
    shared: Arc<Shared>,
}

impl Iterator for RecordsIter {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(match self.range.next()? {
            Ok((key, value)) => Ok((key.value().to_vec(), value.value().to_vec())),
            Err(error) => {
                Err(ReadError::Database { path: self.shared.path.clone(), what: error.to_string() })
            }
        })
    }
}

/// Stops the background thread when the last handle goes.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Handle {
    fn stop(&self) {
        self.shared.signal.raise(|state| {
            state.stop = true;
            true
        });
        if let Some(thread) = guard(&self.thread).take()
            && thread.join().is_err()
        {
            tracing::error!("the records' background thread panicked");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Debug)]
struct Appender {
    writer: Writer,
    /// That of the last batch appended.
    sequence: u64,
    closed: bool,
}

#[derive(Debug)]
struct Flusher {
    /// `None` after a failure: redb refuses to go on with a file it failed to write.
    database: Option<Database>,
    inventory: Inventory,
    mark: Mark,
    /// A journal no longer appended to and not yet in the database, with its last sequence number.
    sealed: Option<(Writer, u64)>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    journals: PathBuf,
    sync: Sync,
    appender: Mutex<Appender>,
    /// Locked before `appender` where both are.
    flusher: Mutex<Flusher>,
    signal: Signal,
    unsynced: Arc<Unsynced>,
    /// Last: given back when the files above are closed.
    _lock: Arc<Lock>,
}

impl Shared {
    fn append(&self, entry: &mut [u8]) -> Result<(), WriteError> {
        let mut appender = guard(&self.appender);
        while !appender.closed && !appender.writer.has_room_for(entry.len() - FRAME) {
            // The journal is bounded: whoever fills it faster than the disk takes it, waits.
            drop(appender);
            self.flush()?;
            appender = guard(&self.appender);
        }
        if appender.closed {
            return Err(WriteError::Closed);
        }
        let sequence = appender.sequence + 1;
        let written = appender.writer.append(sequence, entry, self.sync == Sync::Always);
        if let Err(error) = written {
            return Err(WriteError::from_io(appender.writer.path(), error));
        }
        appender.sequence = sequence;
        let urgent = appender.writer.len() >= URGENT;
        drop(appender);
        self.signal.raise(|state| {
            let news = !state.dirty || (urgent && !state.urgent);
            state.dirty = true;
            state.urgent |= urgent;
            news
        });
        Ok(())
    }

    /// Brings everything appended before the call into the database.
    fn flush(&self) -> Result<(), WriteError> {
        let mut flusher = guard(&self.flusher);
        // Left by a round that failed; what was appended since is in the current journal.
        self.finish_sealed(&mut flusher)?;
        self.seal(&mut flusher)?;
        self.finish_sealed(&mut flusher)
    }

    /// Starts a new journal, unless there is nothing in the current one.
    fn seal(&self, flusher: &mut Flusher) -> Result<(), WriteError> {
        let generation = {
            let appender = guard(&self.appender);
            if appender.writer.is_empty() {
                return Ok(());
            }
            appender.writer.generation() + 1
        };
        // Created and synced before it is needed, so that appends wait for a swap only.
        let failed = |error| WriteError::from_io(&self.journals, error);
        let key = secrets::random().map_err(|error| failed(io::Error::other(error.to_string())))?;
        let new = Writer::create(&self.journals, generation, key).map_err(failed)?;
        let mut appender = guard(&self.appender);
        let old = std::mem::replace(&mut appender.writer, new);
        flusher.sealed = Some((old, appender.sequence));
        Ok(())
    }

    /// Brings the sealed journal, if there is one, into the database and deletes it.
    fn finish_sealed(&self, flusher: &mut Flusher) -> Result<(), WriteError> {
        let Some((journal, last)) = flusher.sealed.take() else { return Ok(()) };
        let applied = self.apply(flusher, &journal, last);
        if let Err(error) = applied {
            flusher.database = None;
            flusher.sealed = Some((journal, last));
            return Err(error);
        }
        // The database's mark says it is done with; a leftover would be deleted at start-up.
        disk::remove_if_there(journal.path())
            .map_err(|error| WriteError::from_io(journal.path(), error))
    }

    fn apply(&self, flusher: &mut Flusher, journal: &Writer, last: u64) -> Result<(), WriteError> {
        let path = journal.path();
        let failed = |error| WriteError::from_io(path, error);
        let (bytes, _) = disk::read_bounded(path, MAX_JOURNAL).map_err(failed)?;
        // Blobs first: a record on disk must not speak of a blob that is not.
        self.unsynced.sync().map_err(failed)?;
        journal.sync().map_err(failed)?;

        self.reopen(flusher).map_err(|error| WriteError::from_redb(&self.path, error))?;
        let Flusher { database: Some(database), inventory, mark: done, .. } = flusher else {
            return Err(WriteError::Closed);
        };
        let listing = inventory.path().to_path_buf();
        let unlisted = |error| WriteError::from_io(&listing, error);
        let broken = |error| WriteError::from_redb(&self.path, error);
        let mut mark = *done;
        inventory.begin().map_err(unlisted)?;
        let mut commit = database.begin().map_err(broken)?;
        let mut taker = Taker { commit: &mut commit, inventory, missing: None };
        let ended = replay::apply(&mut taker, &bytes, journal.generation(), &mut mark);
        let ended = ended.map_err(broken)?;
        if mark.sequence != last {
            let what = format!("batch {} is unreadable at byte {}", mark.sequence + 1, ended.good);
            return Err(WriteError::Damaged { path: path.to_path_buf(), what });
        }
        // Before the database has them: what it has is always listed.
        inventory.mark(last).map_err(unlisted)?;
        mark.generation = journal.generation() + 1;
        commit.finish(mark).map_err(broken)?;
        *done = mark;
        if let Err(error) = inventory.tidy() {
            tracing::warn!(%error, path = %listing.display(), "the list of records grows on");
        }
        Ok(())
    }

    /// Opens the database again if a failure closed it.
    fn reopen(&self, flusher: &mut Flusher) -> Result<(), redb::Error> {
        if flusher.database.is_none() {
            let opened =
                Database::open(&self.path, Create::No).map_err(|refused| match refused {
                    Refused::Io(error) => redb::Error::Io(error),
                    Refused::Damaged(what) => redb::Error::Corrupted(what),
                })?;
            // A commit that failed may still have reached the disk.
            flusher.mark = opened.mark;
            flusher.database = Some(opened.accept()?);
        }
        Ok(())
    }

    /// The background thread.
    fn run(&self) {
        let mut due = Instant::now();
        let mut failing = false;
        loop {
            // A full disk is not to be tried again with each append.
            let stop = self.signal.wait(due, !failing);
            match self.flush() {
                Ok(()) => failing = false,
                Err(error) => {
                    if !failing {
                        tracing::error!(%error, "changes stay in the journal; trying again every second");
                    }
                    failing = true;
                    self.signal.raise(|state| {
                        state.dirty = true;
                        false
                    });
                }
            }
            if stop {
                return;
            }
            due = Instant::now() + INTERVAL;
        }
    }
}

/// What the background thread waits for.
#[derive(Debug, Default)]
struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Something is in the journal.
    dirty: bool,
    /// It is much.
    urgent: bool,
    stop: bool,
}

impl Signal {
    /// Changes the state, and wakes the thread if `change` says that this is news to it.
    fn raise(&self, change: impl FnOnce(&mut State) -> bool) {
        if change(&mut guard(&self.state)) {
            self.changed.notify_one();
        }
    }

    /// Waits until there is work and it is `due`, or urgent where that counts; `true` if it is the
    /// last.
    fn wait(&self, due: Instant, hurry: bool) -> bool {
        let mut state = guard(&self.state);
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if state.stop || (hurry && state.urgent) || (state.dirty && left.is_zero()) {
                state.dirty = false;
                state.urgent = false;
                return state.stop;
            }
            let timeout = if state.dirty { left } else { Duration::MAX };
            state = match self.changed.wait_timeout(state, timeout) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}
