//! Making a new database of what a damaged one still holds.
//!
//! The damaged file is searched by its pages, not asked: a page of records can be read without those
//! that lead to it, and each record in it is judged by the inventory. So it does not matter which
//! pages the damage hit, nor whether a page is of the last state or an older one.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::{
    change::{self, ChangeRef},
    database::{Commit, Database, Mark},
    inventory::{self, Id, Index, Survey, Terms},
    journal::{MAX_JOURNAL, Scan},
};
use crate::disk;

/// Every page of redb begins at a multiple of this.
const PAGE: usize = 4096;
/// First byte of a page that holds records.
const LEAF: u8 = 1;
/// Pages are read up to this length: a record is shorter than a batch, which is shorter than this.
const MAX_PAGE: usize = 64 << 20;
/// How often the file's bytes may be looked at, and a few more: what looks like pages may overlap.
const ROUNDS: u64 = 16;
/// Records are put into the new database in portions of this many bytes.
const PORTION: usize = 4 << 20;

const SET_ASIDE: &str = ".damaged-";

/// A database that was damaged, and what became of its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salvage {
    /// The damaged file, as it was found, under another name.
    pub path: PathBuf,
    /// What was wrong with it.
    pub what: String,
    /// Records that are in the new database as they were in the old one.
    pub kept: u64,
    /// Records that are known to be lost, by the first byte of their keys.
    pub lost: BTreeMap<u8, u64>,
    /// Whether these are all. If not, what there should be was damaged as well.
    pub complete: bool,
}

impl Salvage {
    /// How many records are known to be lost.
    pub fn lost_in_all(&self) -> u64 {
        self.lost.values().sum()
    }
}

/// Records that are known to be lost: the first byte of their keys.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    records: HashMap<Id, u8>,
    terms: Option<Terms>,
}

impl Missing {
    /// Something newer is known of these keys.
    pub(crate) fn forget(&mut self, changes: &[ChangeRef<'_>]) {
        if let Some(terms) = self.terms.filter(|_| !self.records.is_empty()) {
            for change in changes {
                self.records.remove(&terms.id(change.key));
            }
        }
    }

    pub(crate) fn by_kind(&self) -> BTreeMap<u8, u64> {
        let mut counts = BTreeMap::new();
        for kind in self.records.values() {
            *counts.entry(*kind).or_insert(0) += 1;
        }
        counts
    }
}

/// Where things are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sources<'a> {
    pub(crate) database: &'a Path,
    pub(crate) inventory: &'a Path,
    pub(crate) terms: &'a Terms,
    /// Journals not yet removed, oldest first.
    pub(crate) journals: &'a [(u64, PathBuf)],
}

/// Puts a new database in the place of the damaged one, which gets another name. Journals are still to
/// be replayed into it.
pub(crate) fn salvage(
    sources: Sources<'_>,
    survey: &Survey,
    what: String,
) -> Result<(Salvage, Missing), redb::Error> {
    let Sources { database: path, terms, .. } = sources;
    let (mut index, _) = Index::of(sources.inventory, terms)?;
    let directory = path.parent().unwrap_or(path);
    let unfinished = directory.join(format!("{}salvage", disk::TEMPORARY));
    let database = Database::create(&unfinished)?;
    let mut new = New { commit: database.begin()?, portion: Vec::new(), bytes: 0, kept: 0 };

    inventory::copies(sources.inventory, terms, &mut index, |key, value| new.take(key, value))?;
    let mut search = Search { terms, index: &mut index, new: &mut new, budget: 0 };
    search.pages(path)?;
    let first = search.journals(sources.journals)?;

    new.put()?;
    let kept = new.kept;
    // Batches up to the last mark are in the inventory for certain; those of which it has entries
    // only if no journal has them.
    let sequence = first.map_or(survey.ceiling, |first| first.saturating_sub(1));
    let sequence = sequence.clamp(survey.floor, survey.ceiling);
    new.commit.finish(Mark { sequence, generation: 0 })?;
    drop(database);

    let missing = index.listed.into_iter().filter(|(_, listed)| !listed.found);
    let records = missing.map(|(id, listed)| (id, listed.kind)).collect();
    let missing = Missing { records, terms: Some(*terms) };
    let aside = set_aside(path)?;
    fs::rename(&unfinished, path)?;
    disk::sync_dir(directory)?;
    let complete = !survey.is_damaged();
    Ok((Salvage { path: aside, what, kept, lost: missing.by_kind(), complete }, missing))
}

/// Gives the file a second name, which nothing has had before. The first one stays until the new
/// database takes it, so that there is always one.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let taken = damaged(path).iter().filter_map(|path| number(path)).max().unwrap_or(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = path.with_file_name(format!("{name}{SET_ASIDE}{}", taken + 1));
    match fs::hard_link(path, &aside) {
        Ok(()) => Ok(aside),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // A file system without links.
        Err(_) => {
            fs::copy(path, &aside)?;
            File::open(&aside)?.sync_all()?;
            Ok(aside)
        }
    }
}

fn number(path: &Path) -> Option<u64> {
    path.to_string_lossy().rsplit_once(SET_ASIDE)?.1.parse().ok()
}

/// The databases that were set aside beside the one at `path`, oldest first.
pub(crate) fn damaged(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let prefix = format!("{name}{SET_ASIDE}");
    let entries = fs::read_dir(path.parent().unwrap_or(path)).into_iter().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().unwrap_or_default().to_string_lossy().starts_with(&prefix))
        .collect();
    found.sort_by_key(|path| number(path));
    found
}

/// The new database being filled.
struct New {
    commit: Commit,
    portion: Vec<(Vec<u8>, Vec<u8>)>,
    bytes: usize,
    kept: u64,
}

impl New {
    fn take(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.portion.push((key.to_vec(), value.to_vec()));
        self.bytes += key.len() + value.len();
        self.kept += 1;
        if self.bytes >= PORTION { self.put().map_err(io::Error::other) } else { Ok(()) }
    }

    fn put(&mut self) -> Result<(), redb::Error> {
        let puts = self.portion.iter().map(|(key, value)| ChangeRef { key, value: Some(value) });
        self.commit.apply(&puts.collect::<Vec<_>>())?;
        self.portion.clear();
        self.bytes = 0;
        Ok(())
    }
}

/// Looks for what the index says is missing.
struct Search<'a> {
    terms: &'a Terms,
    index: &'a mut Index,
    new: &'a mut New,
    /// Bytes that may still be looked at.
    budget: u64,
}

impl Search<'_> {
    fn offer(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let Some(listed) = self.index.wants(self.terms, key, value.len()) else { return Ok(()) };
        self.budget = self.budget.saturating_sub(value.len() as u64);
        if listed.is(self.terms, key, value) { self.new.take(key, value) } else { Ok(()) }
    }

    fn pages(&mut self, path: &Path) -> io::Result<()> {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        self.budget = len.saturating_mul(ROUNDS).saturating_add(MAX_PAGE as u64);
        let mut offset = 0;
        while offset < len && self.budget > 0 {
            let mut page = Vec::new();
            read(&mut file, offset, PAGE, &mut page);
            if let Some(ends) = Leaf::ends_of(&page) {
                read(&mut file, offset, ends, &mut page);
                let whole = Leaf::len_of(&page);
                read(&mut file, offset, whole, &mut page);
                self.budget = self.budget.saturating_sub(page.len() as u64);
                self.leaf(&page)?;
            }
            offset += PAGE as u64;
        }
        Ok(())
    }

    fn leaf(&mut self, page: &[u8]) -> io::Result<()> {
        for (key, value) in Leaf(page).records() {
            if self.budget == 0 {
                break;
            }
            self.offer(key, value)?;
        }
        Ok(())
    }

    /// Values that are still in a journal; the sequence number that the journals begin with.
    fn journals(&mut self, journals: &[(u64, PathBuf)]) -> io::Result<Option<u64>> {
        let mut first = None;
        for (generation, path) in journals {
            let (bytes, _) = disk::read_bounded(path, MAX_JOURNAL)?;
            self.budget = bytes.len() as u64 + MAX_PAGE as u64;
            for entry in Scan::new(&bytes, *generation) {
                first = first.or(Some(entry.sequence));
                for put in change::decode(entry.payload).unwrap_or_default() {
                    if let Some(value) = put.value {
                        self.offer(put.key, value)?;
                    }
                }
            }
        }
        Ok(first)
    }
}

/// Makes `page` up to `len` bytes long, as far as the file goes and the disk gives them.
fn read(file: &mut File, offset: u64, len: usize, page: &mut Vec<u8>) {
    if len > page.len() {
        let from = offset + page.len() as u64;
        let more = (len - page.len()) as u64;
        let _ = file.seek(SeekFrom::Start(from)).and_then(|_| file.take(more).read_to_end(page));
    }
}

/// A page of records, as redb lays it out: type u8, padding u8, number of pairs u16, the ends of all
/// keys, the ends of all values, the keys, the values. Any part of it may be damaged.
struct Leaf<'a>(&'a [u8]);

impl<'a> Leaf<'a> {
    fn pairs(&self) -> usize {
        self.0.get(2..4).map_or(0, |two| usize::from(u16::from_le_bytes([two[0], two[1]])))
    }

    fn end(&self, index: usize) -> Option<usize> {
        let four = self.0.get(4 + 4 * index..)?.first_chunk()?;
        Some(u32::from_le_bytes(*four) as usize).filter(|end| *end <= MAX_PAGE)
    }

    /// Where the list of ends itself ends, if this may be such a page.
    fn ends_of(page: &[u8]) -> Option<usize> {
        let pairs = Leaf(page).pairs();
        (page.first() == Some(&LEAF) && pairs > 0).then_some(4 + 8 * pairs)
    }

    fn len_of(page: &[u8]) -> usize {
        let leaf = Leaf(page);
        (0..2 * leaf.pairs()).filter_map(|index| leaf.end(index)).max().unwrap_or(0)
    }

    fn records(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let (page, pairs) = (self.0, self.pairs());
        let ends = move |index: usize| Leaf(page).end(index);
        (0..pairs).filter_map(move |index| {
            let start = if index == 0 { 4 + 8 * pairs } else { ends(index - 1)? };
            let key = page.get(start..ends(index)?)?;
            let value = page.get(ends(pairs + index - 1)?..ends(pairs + index)?)?;
            (key.len() <= change::MAX_KEY).then_some((key, value))
        })
    }
}
