//! Bringing the journal of the last run into the database, at start-up, and making a damaged database
//! good before that.
//!
//! What is loaded is always a prefix of what was appended: the first entry that is not whole, or not
//! the next in sequence, ends it, whatever follows. Damage of the database leaves holes in that.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    DATABASE_FILE, INVENTORY_FILE,
    change::{self, ChangeRef},
    database::{Commit, Create, Database, Mark, Opened, Refused, io_error},
    inventory::{Inventory, Survey, Terms},
    journal::{self, End, MAX_JOURNAL, Scan},
    salvage::{self, Missing, Salvage, Sources},
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
    /// What was lost of the journal otherwise, if anything.
    pub damage: Option<Damage>,
    /// What was done about a damaged database, if it was.
    pub salvage: Option<Salvage>,
    /// The inventory was missing or damaged and has been made anew. Nothing is lost by that.
    pub relisted: bool,
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

/// What there is to replay from and into.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) journals: &'a Path,
    pub(crate) terms: &'a Terms,
    /// Whether an inventory that is there has kept up with the database.
    pub(crate) listed: bool,
}

/// An open database that holds everything; its mark says which generation the next journal has.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) database: Database,
    pub(crate) inventory: Inventory,
    pub(crate) mark: Mark,
    pub(crate) recovery: Recovery,
}

/// Opens the database in a directory and applies the journal files to it.
pub(crate) fn replay(place: Place<'_>) -> Result<Replayed, OpenError> {
    let Place { directory, journals, .. } = place;
    let path = directory.join(DATABASE_FILE);
    let create = if journals.exists() { Create::No } else { Create::Yes };
    if create == Create::No && !path.exists() {
        return Err(OpenError::Corrupt { path, what: "is missing".to_owned() });
    }
    let failed = |error| open_error(&path, error);
    let files = if create == Create::No { files(journals)? } else { Vec::new() };
    let mut recovery = Recovery::default();
    let Whole { database, mut mark, mut inventory, mut missing } =
        whole(place, &path, create, &files, &mut recovery)?;
    disk::create_private_dir(journals).map_err(|error| OpenError::from_io(journals, error))?;

    let mut commit = database.begin().map_err(failed)?;
    let missing = &mut missing;
    let mut taker =
        Taker { commit: &mut commit, inventory: &mut inventory, missing: Some(&mut *missing) };
    let unused = walk(&files, &mut taker, &mut mark, &mut recovery, &path)?;
    if let Some(salvage) = &mut recovery.salvage {
        salvage.lost = missing.by_kind();
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
    inventory.mark(mark.sequence).map_err(|error| OpenError::from_io(inventory.path(), error))?;
    commit.finish(mark).map_err(failed)?;

    for (_, file) in &files {
        disk::remove_if_there(file).map_err(|error| OpenError::from_io(file, error))?;
    }
    disk::sync_dir(journals).map_err(|error| OpenError::from_io(journals, error))?;
    Ok(Replayed { database, inventory, mark, recovery })
}

/// A whole database, and an inventory that agrees with it.
struct Whole {
    database: Database,
    mark: Mark,
    inventory: Inventory,
    missing: Missing,
}

/// Opens the database, salvaged if need be, and its inventory, made anew if need be.
fn whole(
    place: Place<'_>,
    path: &Path,
    create: Create,
    journals: &[(u64, PathBuf)],
    recovery: &mut Recovery,
) -> Result<Whole, OpenError> {
    let listing = place.directory.join(INVENTORY_FILE);
    let unlisted = |error| OpenError::from_io(&listing, error);
    let survey = if place.listed { Survey::of(&listing, place.terms) } else { Ok(None) };
    let survey = survey.map_err(unlisted)?;
    let opened = match (Database::open(path, create), &survey) {
        (Ok(opened), Some(survey)) if is_older(&opened, survey, journals)? => {
            Err(Refused::Damaged("has gone back to an earlier state".to_owned()))
        }
        (opened, _) => opened,
    };
    let mut missing = Missing::default();
    let opened = match (opened, &survey) {
        (Err(Refused::Damaged(what)), Some(survey)) => {
            let sources =
                Sources { database: path, inventory: &listing, terms: place.terms, journals };
            let (salvage, lost) =
                salvage::salvage(sources, survey, what).map_err(|error| open_error(path, error))?;
            (recovery.salvage, missing) = (Some(salvage), lost);
            Database::open(path, Create::No)
        }
        // Without an inventory, the records in a damaged file cannot be told from what else is in it.
        (opened, _) => opened,
    };
    let opened = opened.map_err(|refused| match refused {
        Refused::Io(error) => OpenError::from_io(path, error),
        Refused::Damaged(what) => OpenError::Corrupt { path: path.to_path_buf(), what },
    })?;
    let mark = opened.mark;
    let database = opened.accept().map_err(|error| OpenError::from_io(path, error))?;
    let serving =
        survey.as_ref().filter(|survey| recovery.salvage.is_none() && survey.serves(mark.sequence));
    let inventory = if let Some(survey) = serving {
        Inventory::open(&listing, *place.terms, survey).map_err(unlisted)?
    } else {
        recovery.relisted = place.listed
            && create == Create::No
            && recovery.salvage.is_none()
            && survey.is_none_or(|survey| survey.is_damaged() || survey.floor < mark.sequence);
        list(&database, &listing, place.terms, mark.sequence)
            .map_err(|error| open_error(path, error))?
    };
    Ok(Whole { database, mark, inventory, missing })
}

/// Makes an inventory of what is in a database.
fn list(
    database: &Database,
    path: &Path,
    terms: &Terms,
    sequence: u64,
) -> Result<Inventory, redb::Error> {
    Inventory::create(path, *terms, sequence, |inventory| {
        for record in database.records()?.range::<&[u8]>(..)? {
            let (key, value) = record?;
            inventory.list(sequence, key.value(), value.value())?;
        }
        Ok(())
    })
}

/// Whether the database is older than the inventory has seen it, and the journals do not make up for
/// that: some damage makes redb take the state before the last commit for the last one. A journal
/// that cannot be read explains it otherwise.
fn is_older(
    opened: &Opened,
    survey: &Survey,
    journals: &[(u64, PathBuf)],
) -> Result<bool, OpenError> {
    let Mark { mut sequence, generation: done_below } = opened.mark;
    if sequence >= survey.floor {
        return Ok(false);
    }
    for (generation, file) in journals.iter().filter(|(generation, _)| *generation >= done_below) {
        let (bytes, _) = disk::read_bounded(file, MAX_JOURNAL)
            .map_err(|error| OpenError::from_io(file, error))?;
        let mut scan = Scan::new(&bytes, *generation);
        for entry in scan.by_ref() {
            if entry.sequence > sequence + 1 {
                return Ok(true);
            }
            sequence = sequence.max(entry.sequence);
        }
        if sequence >= survey.floor || scan.end() != End::Clean {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Where the batches of a journal go.
pub(crate) struct Taker<'a> {
    pub(crate) commit: &'a mut Commit,
    pub(crate) inventory: &'a mut Inventory,
    /// Records that a damaged database has lost. What a batch says of one is as good as having it.
    pub(crate) missing: Option<&'a mut Missing>,
}

impl Taker<'_> {
    fn take(&mut self, sequence: u64, changes: &[ChangeRef<'_>]) -> Result<(), redb::Error> {
        self.inventory.note(sequence, changes)?;
        if let Some(missing) = &mut self.missing {
            missing.forget(changes);
        }
        self.commit.apply(changes)
    }
}

/// Takes the batches of all files in order, as far as they can be read. The files that cannot be used,
/// from the first bad one on.
fn walk(
    files: &[(u64, PathBuf)],
    taker: &mut Taker<'_>,
    mark: &mut Mark,
    recovery: &mut Recovery,
    path: &Path,
) -> Result<Vec<PathBuf>, OpenError> {
    let mut unused: Vec<PathBuf> = Vec::new();
    let mut good = 0;
    let done_below = mark.generation;
    for (generation, file) in files.iter().filter(|(generation, _)| *generation >= done_below) {
        let (bytes, len) = disk::read_bounded(file, MAX_JOURNAL)
            .map_err(|error| OpenError::from_io(file, error))?;
        if let Some(first) = unused.first() {
            let has_entries = Scan::new(&bytes, *generation).next().is_some();
            note_unreachable(recovery, first, good, has_entries);
            recovery.dropped_bytes += len;
            unused.push(file.clone());
            continue;
        }
        let before = mark.sequence;
        let ended =
            apply(taker, &bytes, *generation, mark).map_err(|error| open_error(path, error))?;
        recovery.replayed += mark.sequence - before;
        if let Some(what) = ended.bad {
            good = ended.good as u64;
            recovery.dropped_bytes += len - good;
            recovery.damage = what.map(|what| Damage { path: file.clone(), offset: good, what });
            unused.push(file.clone());
        }
    }
    Ok(unused)
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
    taker: &mut Taker<'_>,
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
        taker.take(entry.sequence, &changes)?;
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
    for old in damaged(journals).iter().rev().skip(MAX_SET_ASIDE) {
        let _ = disk::remove_if_there(old);
    }
    kept
}

/// The damaged journals that are kept, oldest first.
pub(crate) fn damaged(journals: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(journals).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name().unwrap_or_default().to_string_lossy().starts_with(SET_ASIDE)
        })
        .collect();
    files.sort();
    files
}

fn open_error(path: &Path, error: redb::Error) -> OpenError {
    match io_error(error) {
        // redb says so of a file that is none of its own.
        Ok(error) if error.kind() == io::ErrorKind::InvalidData => OpenError::Corrupt {
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
