//! Bringing the journal of the last run into the database, at start-up.
//!
//! What is loaded is always a prefix of what was appended: the first entry that is not whole, or not
//! the next in sequence, ends it, whatever follows.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    DATABASE_FILE, change,
    database::{Commit, Create, Database, Mark, io_error},
    journal::{self, End, MAX_JOURNAL, Scan},
};
use crate::{directory::OpenError, disk};

/// Damaged journals kept for somebody to look at; older ones go.
const MAX_SET_ASIDE: usize = 4;
const SET_ASIDE: &str = "damaged-";

/// What opening the records found and did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Batches that were only in the journal and are now in the database.
    pub replayed: u64,
    /// Bytes of journal that could not be used. Without [`Self::damage`] they are the torn tail that
    /// a loss of power leaves: appended in about the last second before it.
    pub dropped_bytes: u64,
    /// What was lost otherwise, if anything.
    pub damage: Option<Damage>,
}

/// Journal content that should have been readable: whole batches follow something unreadable or
/// missing. A disk that loses writes out of order can cause it when power fails; else the disk or
/// another program altered the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file, set aside as it was found.
    pub path: PathBuf,
    /// Where in it the good part ends.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
}

/// An open database that holds everything; its mark says which generation the next journal has.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) database: Database,
    pub(crate) mark: Mark,
    pub(crate) recovery: Recovery,
}

/// Opens the database in `directory` and applies the files in `journals` to it.
pub(crate) fn replay(directory: &Path, journals: &Path) -> Result<Replayed, OpenError> {
    let path = directory.join(DATABASE_FILE);
    let create = if journals.exists() { Create::No } else { Create::Yes };
    if create == Create::No && !path.exists() {
        return Err(OpenError::Corrupt { path, what: "is missing".to_owned() });
    }
    let failed = |error| open_error(&path, error);
    let database = Database::open(&path, create).map_err(failed)?;
    disk::create_private_dir(journals).map_err(|error| OpenError::from_io(journals, error))?;
    let mut mark = database.mark().map_err(failed)?;
    let files = files(journals)?;
    let mut recovery = Recovery::default();

    let mut commit = database.begin().map_err(failed)?;
    // From the first bad file on, none can be used.
    let mut unused: Vec<PathBuf> = Vec::new();
    let mut good = 0;
    let done_below = mark.generation;
    for (generation, file) in files.iter().filter(|(generation, _)| *generation >= done_below) {
        let (bytes, len) = disk::read_bounded(file, MAX_JOURNAL)
            .map_err(|error| OpenError::from_io(file, error))?;
        if let Some(first) = unused.first() {
            note_unreachable(
                &mut recovery,
                first,
                good,
                Scan::new(&bytes, *generation).next().is_some(),
            );
            recovery.dropped_bytes += len;
            unused.push(file.clone());
            continue;
        }
        let before = mark.sequence;
        let ended = apply(&mut commit, &bytes, *generation, &mut mark).map_err(failed)?;
        recovery.replayed += mark.sequence - before;
        if let Some(what) = ended.bad {
            good = ended.good as u64;
            recovery.dropped_bytes += len - good;
            recovery.damage = what.map(|what| Damage { path: file.clone(), offset: good, what });
            unused.push(file.clone());
        }
    }
    let highest = files.last().map_or(0, |(generation, _)| *generation).max(mark.generation);
    mark.generation = highest.checked_add(1).ok_or_else(|| OpenError::Corrupt {
        path: journals.to_path_buf(),
        what: "holds a file of an impossible generation".to_owned(),
    })?;
    if let Some(damage) = &mut recovery.damage {
        for file in &unused {
            let kept = set_aside(journals, file);
            if damage.path == *file {
                damage.path = kept;
            }
        }
    }
    commit.finish(mark).map_err(failed)?;

    for (_, file) in &files {
        disk::remove_if_there(file).map_err(|error| OpenError::from_io(file, error))?;
    }
    disk::sync_dir(journals).map_err(|error| OpenError::from_io(journals, error))?;
    Ok(Replayed { database, mark, recovery })
}

/// Where applying a file ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Bytes up to the end of the last entry applied.
    pub(crate) good: usize,
    /// `Some` if that is not the end of the file: what is wrong, or nothing for a torn tail.
    pub(crate) bad: Option<Option<String>>,
}

/// Applies the entries of one file that come next in sequence and moves `mark` along.
pub(crate) fn apply(
    commit: &mut Commit,
    bytes: &[u8],
    generation: u64,
    mark: &mut Mark,
) -> Result<Ended, redb::Error> {
    let mut scan = Scan::new(bytes, generation);
    for entry in scan.by_ref() {
        if entry.sequence <= mark.sequence {
            continue;
        }
        let stop = |what: String| Ok(Ended { good: entry.offset, bad: Some(Some(what)) });
        if entry.sequence - mark.sequence > 1 {
            return stop(format!(
                "batches {} to {} are missing",
                mark.sequence + 1,
                entry.sequence - 1
            ));
        }
        let Some(changes) = change::decode(entry.payload) else {
            return stop(format!("batch {} has a form this version does not know", entry.sequence));
        };
        commit.apply(&changes)?;
        mark.sequence = entry.sequence;
    }
    let bad = match scan.end() {
        End::Clean => None,
        End::Torn => Some(None),
        End::Damaged => Some(Some("an entry is unreadable although whole ones follow".to_owned())),
    };
    Ok(Ended { good: scan.offset(), bad })
}

/// A file after a bad one: that it has entries makes the bad one's end more than a torn tail.
fn note_unreachable(recovery: &mut Recovery, first_bad: &Path, good: u64, has_entries: bool) {
    if recovery.damage.is_none() && has_entries {
        recovery.damage = Some(Damage {
            path: first_bad.to_path_buf(),
            offset: good,
            what: "its end is missing although a later journal exists".to_owned(),
        });
    }
}

/// The journal files, oldest first.
fn files(journals: &Path) -> Result<Vec<(u64, PathBuf)>, OpenError> {
    let failed = |error| OpenError::from_io(journals, error);
    let mut files = Vec::new();
    for entry in fs::read_dir(journals).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(generation) = journal::generation_of(&name) {
            files.push((generation, path));
        }
    }
    files.sort();
    Ok(files)
}

/// Keeps a copy of a damaged file, best effort: recovery must not fail for want of a souvenir.
fn set_aside(journals: &Path, file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let kept = journals.join(format!("{SET_ASIDE}{name}"));
    // A start cut short may have left one, linked to the same file: copying over that would empty it.
    let copied = disk::remove_if_there(&kept)
        .and_then(|()| fs::hard_link(file, &kept).or_else(|_| fs::copy(file, &kept).map(|_| ())));
    if let Err(error) = copied {
        tracing::warn!(%error, path = %file.display(), "could not keep a copy of the damaged journal");
        return file.to_path_buf();
    }
    let mut kept_files: Vec<PathBuf> = fs::read_dir(journals)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name().unwrap_or_default().to_string_lossy().starts_with(SET_ASIDE)
        })
        .collect();
    kept_files.sort();
    for old in kept_files.iter().rev().skip(MAX_SET_ASIDE) {
        let _ = disk::remove_if_there(old);
    }
    kept
}

fn open_error(path: &Path, error: redb::Error) -> OpenError {
    match io_error(error) {
        // redb says so of a file that is none of its own.
        Ok(error) if error.kind() == std::io::ErrorKind::InvalidData => OpenError::Corrupt {
            path: path.to_path_buf(),
            what: format!("is not a database: {error}"),
        },
        Ok(error) => OpenError::from_io(path, error),
        Err(error) => OpenError::Corrupt {
            path: path.to_path_buf(),
            what: format!("cannot be used: {error}"),
        },
    }
}
