//! One process a directory: the lock, and the note saying who holds it.
//!
//! The lock is the operating system's and ends with the process whatever its end; the note is only
//! for people and for local clients looking for the API.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use crate::disk::{self, Existing};

const LOCK_FILE: &str = "lock";
const HOLDER_FILE: &str = "holder";

/// Longest holder note read or written.
const MAX_NOTE: usize = 1024;

/// How often, and how far apart, a taken lock is tried again: somebody peeking holds it for an
/// instant, and a process just killed for a little longer.
const TRIES: u32 = 10;
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Who has a directory open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process id, if it could write that down.
    pub pid: Option<u32>,
    /// Address of its local API, once that is listening.
    pub api: Option<String>,
}

/// The lock of a directory, held for as long as this lives.
#[derive(Debug)]
pub(crate) struct Lock {
    directory: PathBuf,
    /// Closing the file gives the lock back.
    _file: File,
}

/// Why a lock was not taken.
#[derive(Debug)]
pub(crate) enum LockError {
    Held(Holder),
    Io(io::Error),
}

impl Lock {
    /// Takes the lock of `directory` and leaves a note with this process's id.
    pub(crate) fn take(directory: &Path) -> Result<Self, LockError> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(directory.join(LOCK_FILE))
            .map_err(LockError::Io)?;
        for left in (0..TRIES).rev() {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if left > 0 => thread::sleep(BETWEEN_TRIES),
                Err(TryLockError::WouldBlock) => return Err(LockError::Held(read_note(directory))),
                Err(TryLockError::Error(error)) => return Err(LockError::Io(error)),
            }
        }
        let lock = Self { directory: directory.to_path_buf(), _file: file };
        lock.note(None).map_err(LockError::Io)?;
        Ok(lock)
    }

    /// Writes down where this process can be reached.
    pub(crate) fn note(&self, api: Option<&str>) -> io::Result<()> {
        let mut note = format!("pid {}\n", std::process::id());
        if let Some(api) = api {
            if api.chars().any(char::is_control) || api.len() > MAX_NOTE / 2 {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "not an API address"));
            }
            note.push_str(&format!("api {api}\n"));
        }
        disk::write_atomic(&self.directory, HOLDER_FILE, note.as_bytes(), Existing::Replace)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Before the lock itself goes: the next holder's note must not be the one removed. A note
        // left behind is harmless, because readers ask the lock first.
        let _ = disk::remove_if_there(&self.directory.join(HOLDER_FILE));
    }
}

/// Who holds `directory` at this moment, if anybody does.
pub(crate) fn peek(directory: &Path) -> Option<Holder> {
    let file = File::open(directory.join(LOCK_FILE)).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(read_note(directory)),
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

fn read_note(directory: &Path) -> Holder {
    let bytes =
        disk::read_bounded(&directory.join(HOLDER_FILE), MAX_NOTE as u64).unwrap_or_default().0;
    let text = String::from_utf8_lossy(&bytes);
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    Holder {
        pid: field("pid ").and_then(|pid| pid.parse().ok()),
        api: field("api ").map(str::to_owned),
    }
}
