//! The directory as a whole: finding, locking, checking and opening it.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    blobs::Blobs,
    disk::{self, Existing},
    lock::{self, Holder, Lock, LockError},
    records::{self, Records, Recovery, Terms, WriteError},
    secrets,
    unsynced::Unsynced,
};

/// The version of the layout that this build reads and writes.
pub const FORMAT: u32 = 2;

/// The one before, without an inventory of the records.
const UNLISTED_FORMAT: u32 = 1;

const FORMAT_FILE: &str = "format";
const BLOBS_DIR: &str = "blobs";

/// When an acknowledged change is forced to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sync {
    /// At most every second. A killed process loses nothing; a machine that loses power, about the
    /// last second.
    #[default]
    Interval,
    /// Before the change is acknowledged: nothing is ever lost, at the price of one disk sync each.
    Always,
}

/// How a directory is to be used.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// When changes reach the disk.
    pub sync: Sync,
    /// Bytes of disk that blobs, whole or partial, may take.
    pub blob_quota: u64,
    /// Prefixes of the keys of records that are kept twice, so that they survive the loss of either
    /// file: small and precious ones.
    pub copied: &'static [&'static [u8]],
}

impl Default for Options {
    /// A sync a second, and 10 GiB of blobs: what a laptop lends without its user noticing. No record
    /// is kept twice.
    fn default() -> Self {
        Self { sync: Sync::Interval, blob_quota: 10 << 30, copied: &[] }
    }
}

/// Why a directory was not opened, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The operating system refused.
    #[error("cannot use {}: {source}; check that it exists and that this user may read and write it", path.display())]
    Unreadable {
        /// What could not be used.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another process has it open.
    #[error("{} is in use{}; stop that peer, talk to it instead, or choose another directory", path.display(), describe(holder))]
    Held {
        /// The directory.
        path: PathBuf,
        /// What is known of the other process.
        holder: Holder,
    },
    /// A later version of this program wrote it.
    #[error("{} has format {found}, this program knows up to {supported}; install a newer version", path.display())]
    NewerVersion {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The latest format known here.
        supported: u32,
    },
    /// There is no room left.
    #[error("no room left to write {}; free some disk space and start again", path.display())]
    Full {
        /// What could not be written.
        path: PathBuf,
    },
    /// Something in it is not as this program left it.
    #[error("{} {what}; restore it from a backup, or move the directory away to start a new peer", path.display())]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// What is wrong with it, as the end of a sentence.
        what: String,
    },
    /// A secret that others can read is not a secret.
    #[error("{} may be read or written by other users (mode {mode:o}); if nobody has, run: chmod 600 {}", path.display(), path.display())]
    TooOpen {
        /// The secret file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It holds somebody else's files.
    #[error("{} is not empty and not a peer's directory; choose another one", path.display())]
    NotOurs {
        /// The directory.
        path: PathBuf,
    },
}

impl OpenError {
    /// The error for an operation on `path` that ended with `source`.
    pub(crate) fn from_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        if disk::is_full(&source) { Self::Full { path } } else { Self::Unreadable { path, source } }
    }
}

fn describe(holder: &Holder) -> String {
    match (holder.pid, &holder.api) {
        (Some(pid), Some(api)) => format!(" by process {pid}, whose API is at {api}"),
        (Some(pid), None) => format!(" by process {pid}"),
        (None, _) => String::new(),
    }
}

/// An open directory. Its lock is given back when this, and every [`Records`] and [`Blobs`] taken
/// from it, are gone.
pub struct Directory {
    path: PathBuf,
    identity: [u8; 32],
    api_token: String,
    lock: Arc<Lock>,
    records: Records,
    blobs: Blobs,
    recovery: Recovery,
}

impl fmt::Debug for Directory {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Directory {
    /// Opens `path`, or makes a new peer there if it does not exist or is empty.
    ///
    /// What a crash left half done is completed or undone here; [`Self::recovery`] tells.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let failed = |source| OpenError::from_io(path, source);
        disk::create_private_dir(path).map_err(failed)?;
        let path = fs::canonicalize(path).map_err(failed)?;
        // Twice: nothing is to be touched in a directory of other things, and only under the lock
        // is the answer final.
        format_of(&path)?;
        let lock = Lock::take(&path).map_err(|error| match error {
            LockError::Held(holder) => OpenError::Held { path: path.clone(), holder },
            LockError::Io(source) => OpenError::from_io(&path, source),
        })?;
        let lock = Arc::new(lock);
        let layout = format_of(&path)?;
        let fresh = layout == Layout::Fresh;
        disk::make_private(&path).map_err(|source| OpenError::from_io(&path, source))?;
        remove_temporaries(&path).map_err(|source| OpenError::from_io(&path, source))?;

        let identity = secrets::identity(&path, fresh)?;
        let api_token = secrets::api_token(&path, fresh)?;
        if fresh {
            // Last: from here on a missing identity is a loss, not a beginning.
            write_format(&path, Existing::Keep)?;
        }
        let unsynced = Arc::new(Unsynced::default());
        let blobs = Blobs::open(&path.join(BLOBS_DIR), options, unsynced.clone(), lock.clone())?;
        let terms = Terms::new(&identity, options.copied);
        // An older program keeps no inventory up to date.
        let listed = layout != Layout::Unlisted;
        let (records, recovery) =
            Records::open(&path, options.sync, &terms, listed, unsynced, lock.clone())?;
        if !listed {
            write_format(&path, Existing::Replace)?;
        }
        Ok(Self { path, identity, api_token, lock, records, blobs, recovery })
    }

    /// Who has `path` open at this moment, if anybody.
    pub fn peek_holder(path: impl AsRef<Path>) -> Option<Holder> {
        lock::peek(path.as_ref())
    }

    /// The damaged files that were set aside in `path`: databases, which nothing removes but their
    /// owner, oldest first, and the last few journals.
    pub fn set_aside(path: impl AsRef<Path>) -> Vec<PathBuf> {
        records::set_aside(path.as_ref())
    }

    /// Tells other processes where this one's local API listens; see [`Self::peek_holder`].
    pub fn set_holder(&self, api: &str) -> io::Result<()> {
        self.lock.note(Some(api))
    }

    /// Where the directory is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The Ed25519 secret seed of this peer.
    pub fn identity(&self) -> [u8; 32] {
        self.identity
    }

    /// The token that clients of the local API must show, 64 hexadecimal digits.
    pub fn api_token(&self) -> String {
        self.api_token.clone()
    }

    /// The records.
    pub fn records(&self) -> Records {
        self.records.clone()
    }

    /// The blobs.
    pub fn blobs(&self) -> Blobs {
        self.blobs.clone()
    }

    /// What opening found to repair.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Forces everything to disk and stops the background thread; appends fail from here on.
    /// Dropping every handle does the same but cannot report.
    pub fn close(self) -> Result<(), WriteError> {
        self.records.close()
    }
}

/// What `path` looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// Nothing that has to be kept as it is.
    Fresh,
    /// A directory of the version before this program's, which becomes one of its own.
    Unlisted,
    /// A directory of this program's version.
    Current,
}

fn format_of(path: &Path) -> Result<Layout, OpenError> {
    let file = path.join(FORMAT_FILE);
    match disk::read_bounded(&file, 64) {
        Ok((bytes, _)) => {
            let text = String::from_utf8_lossy(&bytes);
            match text.trim_end().parse::<u32>() {
                Ok(FORMAT) => Ok(Layout::Current),
                Ok(UNLISTED_FORMAT) => Ok(Layout::Unlisted),
                Ok(found) if found > FORMAT => Err(OpenError::NewerVersion {
                    path: path.to_path_buf(),
                    found,
                    supported: FORMAT,
                }),
                _ => Err(OpenError::Corrupt {
                    path: file,
                    what: "does not hold a format version".to_owned(),
                }),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => fresh_or_foreign(path),
        Err(source) => Err(OpenError::Unreadable { path: file, source }),
    }
}

fn write_format(path: &Path, existing: Existing) -> Result<(), OpenError> {
    disk::write_atomic(path, FORMAT_FILE, format!("{FORMAT}\n").as_bytes(), existing)
        .map_err(|source| OpenError::from_io(&path.join(FORMAT_FILE), source))
}

/// A directory without a format: nothing at all, or a first start that was cut short, or not ours.
fn fresh_or_foreign(path: &Path) -> Result<Layout, OpenError> {
    // What an operator may prepare before the first start, and `lost+found`, which an empty file
    // system mounted for the purpose has in it.
    let prepared = ["bayan.toml", "apps", "lost+found"];
    let expected = [secrets::IDENTITY_FILE, secrets::TOKEN_FILE, "lock", "holder"];
    for entry in fs::read_dir(path).map_err(|source| OpenError::from_io(path, source))? {
        let name = entry.map_err(|source| OpenError::from_io(path, source))?.file_name();
        let name = name.to_string_lossy();
        let of_records = [records::DATABASE_FILE, records::INVENTORY_FILE, records::JOURNAL_DIR];
        if of_records.contains(&&*name) {
            return Err(OpenError::Corrupt {
                path: path.join(FORMAT_FILE),
                what: "is missing".to_owned(),
            });
        }
        if !expected.contains(&&*name)
            && !prepared.contains(&&*name)
            && !name.starts_with(disk::TEMPORARY)
        {
            return Err(OpenError::NotOurs { path: path.to_path_buf() });
        }
    }
    Ok(Layout::Fresh)
}

fn remove_temporaries(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(disk::TEMPORARY) {
            disk::remove_if_there(&entry.path())?;
        }
    }
    Ok(())
}
