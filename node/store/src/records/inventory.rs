//! The inventory: what should be in the database, kept beside it in a file of its own.
//!
//! ```text
//! file  = entry ...
//! entry = check 8 | kind u8 | key length u16 | value length u32 | sequence u64 | digest 16 | key | copy
//! ```
//!
//! Integers are little-endian. An entry lists a record with the digest of its value, or with a copy of
//! it if the key has a prefix that the caller named, or says that a key is gone; a mark ends the
//! entries of the batches up to a sequence number. Of a key the last entry counts. There is no header
//! and each entry is checked by itself, over its place as well as its bytes, so that damage costs the
//! entries it hits and no other.
//!
//! With it, the records of a damaged database can be told from whatever else a damaged file holds:
//! older values, records since deleted, bytes that a peer chose. And what is missing can be counted.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::change::{ChangeRef, MAX_KEY};
use crate::disk;

/// Longest value that is copied; longer ones are listed.
pub(crate) const MAX_COPY: usize = 64 << 10;

const CHECK: usize = 8;
const HEAD: usize = CHECK + 1 + 2 + 4 + 8 + DIGEST;
const DIGEST: usize = 16;
const MAX_ENTRY: usize = HEAD + MAX_KEY + MAX_COPY;

const LISTED: u8 = 1;
const COPIED: u8 = 2;
const GONE: u8 = 3;
const MARK: u8 = 4;

/// Entries are collected up to this many bytes before they are written.
const BUFFER: usize = 1 << 20;
/// The file may grow to twice its size after it was last written anew, and by this.
const SLACK: u64 = 4 << 20;

/// What entries are made and judged with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    /// Secret, so that no bytes a peer had us store can pass for an entry.
    key: [u8; 32],
    /// Prefixes of the keys whose values are copied.
    copied: &'static [&'static [u8]],
}

impl Terms {
    pub(crate) fn new(identity: &[u8; 32], copied: &'static [&'static [u8]]) -> Self {
        Self { key: blake3::derive_key("bayan-store inventory v1", identity), copied }
    }

    fn hash(&self, part: u8, pieces: &[&[u8]]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&[part]);
        for piece in pieces {
            hasher.update(&(piece.len() as u64).to_le_bytes());
            hasher.update(piece);
        }
        *hasher.finalize().as_bytes()
    }

    /// Stands for a key, in memory.
    pub(crate) fn id(&self, key: &[u8]) -> Id {
        *self.hash(0, &[key]).first_chunk().expect("a digest is longer")
    }

    /// Of a key and its value.
    pub(crate) fn digest(&self, key: &[u8], value: &[u8]) -> [u8; DIGEST] {
        *self.hash(1, &[key, value]).first_chunk().expect("a digest is longer")
    }

    fn check(&self, place: u64, rest: &[u8]) -> [u8; CHECK] {
        *self.hash(2, &[&place.to_le_bytes(), rest]).first_chunk().expect("a digest is longer")
    }

    /// Of the prefixes: a file made with others lacks copies.
    fn fingerprint(&self) -> [u8; 8] {
        *self.hash(3, self.copied).first_chunk().expect("a digest is longer")
    }

    fn is_copied(&self, key: &[u8], value: &[u8]) -> bool {
        value.len() <= MAX_COPY && self.copied.iter().any(|prefix| key.starts_with(prefix))
    }
}

pub(crate) type Id = [u8; DIGEST];

/// An entry as it stands in the file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    kind: u8,
    sequence: u64,
    pub(crate) key: &'a [u8],
    len: u32,
    digest: [u8; DIGEST],
    copy: &'a [u8],
}

impl<'a> Entry<'a> {
    /// The value, if it is there.
    pub(crate) fn copy(&self) -> Option<&'a [u8]> {
        (self.kind == COPIED).then_some(self.copy)
    }

    fn write(&self, terms: &Terms, place: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; CHECK]);
        out.push(self.kind);
        let key_len = u16::try_from(self.key.len()).expect("keys are shorter than 64 KiB");
        out.extend_from_slice(&key_len.to_le_bytes());
        out.extend_from_slice(&self.len.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.digest);
        out.extend_from_slice(self.key);
        out.extend_from_slice(self.copy);
        let check = terms.check(place, &out[start + CHECK..]);
        out[start..start + CHECK].copy_from_slice(&check);
    }

    /// The entry that `bytes`, which stand at `place`, begin with, and its length.
    fn read(terms: &Terms, place: u64, bytes: &'a [u8]) -> Option<(Self, usize)> {
        let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
        let kind = head[8];
        let key_len = usize::from(u16::from_le_bytes(*head[9..].first_chunk()?));
        let len = u32::from_le_bytes(*head[11..].first_chunk()?);
        let copy_len = if kind == COPIED { len as usize } else { 0 };
        if !(LISTED..=MARK).contains(&kind) || key_len > MAX_KEY || copy_len > MAX_COPY {
            return None;
        }
        let (key, rest) = rest.split_at_checked(key_len)?;
        let copy = rest.get(..copy_len)?;
        let whole = HEAD + key_len + copy_len;
        if bytes[..CHECK] != terms.check(place, &bytes[CHECK..whole]) {
            return None;
        }
        let sequence = u64::from_le_bytes(*head[15..].first_chunk()?);
        let digest = *head[23..].first_chunk()?;
        Some((Self { kind, sequence, key, len, digest, copy }, whole))
    }
}

/// How the entries of a file were found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Shape {
    /// Where the last whole entry ends.
    end: u64,
    /// Whether whole entries follow something unreadable, or the disk gave up on a part.
    damaged: bool,
    /// Whether something unreadable stands at the end.
    torn: bool,
}

/// Shows every whole entry and its place.
fn scan(
    path: &Path,
    terms: &Terms,
    mut each: impl FnMut(u64, Entry<'_>) -> io::Result<()>,
) -> io::Result<Shape> {
    let mut file = File::open(path)?;
    let mut shape = Shape::default();
    let (mut buffer, mut start, mut place, mut more) = (Vec::new(), 0, 0_u64, true);
    loop {
        if more && buffer.len() - start < MAX_ENTRY {
            buffer.drain(..start);
            start = 0;
            match (&mut file).take(BUFFER as u64).read_to_end(&mut buffer) {
                Ok(read) => more = read > 0,
                // A bad sector: what was read before it counts.
                Err(_) => (more, shape.damaged) = (false, true),
            }
            continue;
        }
        if start == buffer.len() {
            return Ok(shape);
        }
        match Entry::read(terms, place, &buffer[start..]) {
            Some((entry, len)) => {
                shape.damaged |= shape.torn;
                shape.torn = false;
                each(place, entry)?;
                start += len;
                place += len as u64;
                shape.end = place;
            }
            None => {
                shape.torn = true;
                start += 1;
                place += 1;
            }
        }
    }
}

/// What a file says as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Survey {
    shape: Shape,
    /// The last mark: every batch up to it is in the entries.
    pub(crate) floor: u64,
    /// The highest sequence number of any entry.
    pub(crate) ceiling: u64,
    /// Where the last mark ends.
    marked: u64,
    /// Its size when it was last written anew.
    base: u64,
    same_copies: bool,
}

impl Survey {
    /// Reads the whole file; `None` if there is none.
    pub(crate) fn of(path: &Path, terms: &Terms) -> io::Result<Option<Self>> {
        let mut survey = Self {
            shape: Shape::default(),
            floor: 0,
            ceiling: 0,
            marked: 0,
            base: 0,
            same_copies: false,
        };
        let scanned = scan(path, terms, |place, entry| {
            survey.ceiling = survey.ceiling.max(entry.sequence);
            if entry.kind == MARK {
                survey.floor = entry.sequence;
                survey.marked = place + HEAD as u64;
                survey.same_copies = entry.digest[..8] == terms.fingerprint();
                let base = entry.digest[8..].try_into().expect("eight bytes are left");
                survey.base = u64::from_le_bytes(base);
            }
            Ok(())
        });
        match scanned {
            Ok(shape) => Ok(Some(Self { shape, ..survey })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether entries are missing that were there.
    pub(crate) fn is_damaged(&self) -> bool {
        self.shape.damaged
    }

    /// Whether it can be gone on from beside a whole database that holds the batches up to
    /// `sequence`.
    pub(crate) fn serves(&self, sequence: u64) -> bool {
        !self.shape.damaged && self.same_copies && self.floor >= sequence
    }
}

/// A record that should be there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listed {
    place: u64,
    len: u32,
    digest: [u8; DIGEST],
    /// First byte of the key.
    pub(crate) kind: u8,
    pub(crate) found: bool,
}

/// What should be there, by key. A few tens of bytes for each live record, for as long as a damaged
/// database is searched or the file is written anew.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) listed: HashMap<Id, Listed>,
}

impl Index {
    pub(crate) fn of(path: &Path, terms: &Terms) -> io::Result<(Self, Shape)> {
        let mut listed = HashMap::new();
        let shape = scan(path, terms, |place, entry| {
            match entry.kind {
                LISTED | COPIED => {
                    let kind = entry.key.first().copied().unwrap_or_default();
                    let (len, digest) = (entry.len, entry.digest);
                    let one = Listed { place, len, digest, kind, found: false };
                    listed.insert(terms.id(entry.key), one);
                }
                GONE => {
                    listed.remove(&terms.id(entry.key));
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok((Self { listed }, shape))
    }

    /// The record of `key` if it is missing and a value of `len` bytes could be its.
    pub(crate) fn wants(&mut self, terms: &Terms, key: &[u8], len: usize) -> Option<&mut Listed> {
        let listed = self.listed.get_mut(&terms.id(key))?;
        (!listed.found && listed.len as usize == len).then_some(listed)
    }
}

impl Listed {
    /// Whether `value` is the value; if so, the record is found.
    pub(crate) fn is(&mut self, terms: &Terms, key: &[u8], value: &[u8]) -> bool {
        self.found = self.digest == terms.digest(key, value);
        self.found
    }
}

/// Shows the records that there are current copies of.
pub(crate) fn copies(
    path: &Path,
    terms: &Terms,
    index: &mut Index,
    mut each: impl FnMut(&[u8], &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    scan(path, terms, |place, entry| {
        let Some(value) = entry.copy() else { return Ok(()) };
        match index.listed.get_mut(&terms.id(entry.key)) {
            Some(listed) if listed.place == place => {
                listed.found = true;
                each(entry.key, value)
            }
            _ => Ok(()),
        }
    })?;
    Ok(())
}

/// The file, being appended to.
#[derive(Debug)]
pub(crate) struct Inventory {
    terms: Terms,
    file: File,
    path: PathBuf,
    /// The last mark.
    sequence: u64,
    /// Where it ends; what stands behind is written again.
    marked: u64,
    /// Bytes in the file.
    written: u64,
    pending: Vec<u8>,
    base: u64,
    /// Written anew when it is longer.
    bound: u64,
}

impl Inventory {
    /// Goes on with the file that `survey` was made of.
    pub(crate) fn open(path: &Path, terms: Terms, survey: &Survey) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let written = file.metadata()?.len();
        let mut inventory = Self {
            terms,
            file,
            path: path.to_path_buf(),
            sequence: survey.floor,
            marked: survey.marked,
            written,
            pending: Vec::new(),
            base: survey.base,
            bound: bound(survey.base),
        };
        inventory.begin()?;
        Ok(inventory)
    }

    /// Writes the file anew, in one step: `fill` lists what there is, which is all up to `sequence`.
    pub(crate) fn create<E: From<io::Error>>(
        path: &Path,
        terms: Terms,
        sequence: u64,
        fill: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<Self, E> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let unfinished = path.with_file_name(format!("{}{name}", disk::TEMPORARY));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&unfinished)?;
        let mut inventory = Self {
            terms,
            file,
            path: unfinished.clone(),
            sequence: 0,
            marked: 0,
            written: 0,
            pending: Vec::new(),
            base: 0,
            bound: 0,
        };
        fill(&mut inventory)?;
        inventory.base = inventory.place() + HEAD as u64;
        inventory.bound = bound(inventory.base);
        inventory.write_mark(sequence)?;
        fs::rename(&unfinished, path)?;
        disk::sync_dir(path.parent().unwrap_or(path))?;
        inventory.path = path.to_path_buf();
        Ok(inventory)
    }

    /// Forgets what was noted and not marked.
    pub(crate) fn begin(&mut self) -> io::Result<()> {
        self.pending.clear();
        if self.written > self.marked {
            self.file.set_len(self.marked)?;
            self.written = self.marked;
        }
        self.file.seek(SeekFrom::Start(self.written))?;
        Ok(())
    }

    /// Notes the changes of a batch, unless a mark has it already.
    pub(crate) fn note(&mut self, sequence: u64, changes: &[ChangeRef<'_>]) -> io::Result<()> {
        if sequence <= self.sequence {
            return Ok(());
        }
        changes.iter().try_for_each(|change| match change.value {
            Some(value) => self.list(sequence, change.key, value),
            None => self.push(&Entry {
                kind: GONE,
                sequence,
                key: change.key,
                len: 0,
                digest: [0; DIGEST],
                copy: &[],
            }),
        })
    }

    /// Notes one record.
    pub(crate) fn list(&mut self, sequence: u64, key: &[u8], value: &[u8]) -> io::Result<()> {
        let copied = self.terms.is_copied(key, value);
        self.push(&Entry {
            kind: if copied { COPIED } else { LISTED },
            sequence,
            key,
            len: u32::try_from(value.len()).expect("values are shorter than 4 GiB"),
            digest: self.terms.digest(key, value),
            copy: if copied { value } else { &[] },
        })
    }

    /// Forces what was noted to disk: it is all of the batches up to `sequence`.
    pub(crate) fn mark(&mut self, sequence: u64) -> io::Result<()> {
        if sequence <= self.sequence {
            return Ok(());
        }
        self.write_mark(sequence)
    }

    fn write_mark(&mut self, sequence: u64) -> io::Result<()> {
        let mut digest = [0; DIGEST];
        digest[..8].copy_from_slice(&self.terms.fingerprint());
        digest[8..].copy_from_slice(&self.base.to_le_bytes());
        self.push(&Entry { kind: MARK, sequence, key: &[], len: 0, digest, copy: &[] })?;
        self.write_out()?;
        self.file.sync_data()?;
        (self.sequence, self.marked) = (sequence, self.written);
        Ok(())
    }

    /// Where the next entry goes.
    fn place(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    fn push(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        entry.write(&self.terms, self.place(), &mut self.pending);
        if self.pending.len() >= BUFFER { self.write_out() } else { Ok(()) }
    }

    fn write_out(&mut self) -> io::Result<()> {
        let len = self.pending.len() as u64;
        let written = self.file.write_all(&self.pending);
        // Even of a write that failed, a part may be there, for [`Self::begin`] to cut off.
        self.written += len;
        self.pending.clear();
        written
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the file anew without what later entries have made of no use, if that is worth it.
    pub(crate) fn tidy(&mut self) -> io::Result<()> {
        if self.marked <= self.bound {
            return Ok(());
        }
        // Until it succeeds, not at every turn.
        self.bound = self.marked + SLACK;
        let (index, shape) = Index::of(&self.path, &self.terms)?;
        if shape.damaged || shape.torn {
            return Err(io::Error::other(
                "its entries have been damaged; the next start renews it",
            ));
        }
        let (path, terms, sequence) = (self.path.clone(), self.terms, self.sequence);
        *self = Self::create(&path, terms, sequence, |new| {
            scan(&path, &terms, |place, entry| {
                let current = index.listed.get(&terms.id(entry.key));
                if current.is_some_and(|listed| listed.place == place) {
                    new.push(&entry)?;
                }
                Ok(())
            })
            .map(|_| ())
        })?;
        Ok(())
    }
}

fn bound(base: u64) -> u64 {
    base.saturating_mul(2).saturating_add(SLACK)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn terms() -> Terms {
        Terms::new(&[5; 32], &[b"k"])
    }

    fn put<'a>(key: &'a [u8], value: &'a [u8]) -> ChangeRef<'a> {
        ChangeRef { key, value: Some(value) }
    }

    fn create(path: &Path) -> Inventory {
        Inventory::create::<io::Error>(path, terms(), 0, |_| Ok(())).unwrap()
    }

    /// What the file lists: of each key the digest, and the copies.
    fn content(path: &Path) -> (Vec<Id>, Vec<crate::Record>) {
        let (mut index, shape) = Index::of(path, &terms()).unwrap();
        assert!(!shape.damaged && !shape.torn);
        let mut digests: Vec<_> = index.listed.values().map(|listed| listed.digest).collect();
        digests.sort_unstable();
        let mut found = Vec::new();
        let mut each = |key: &[u8], value: &[u8]| {
            found.push((key.to_vec(), value.to_vec()));
            Ok(())
        };
        copies(path, &terms(), &mut index, &mut each).unwrap();
        found.sort();
        (digests, found)
    }

    #[test]
    fn of_each_key_the_last_entry_counts() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("inventory");
        let mut inventory = create(&path);
        inventory.note(1, &[put(b"k1", b"a"), put(b"v1", b"b"), put(b"k2", b"c")]).unwrap();
        let gone = ChangeRef { key: b"k2", value: None };
        inventory.note(2, &[put(b"k1", b"d"), gone]).unwrap();
        inventory.mark(2).unwrap();
        // Seen before, and given up.
        inventory.note(2, &[put(b"k1", b"z")]).unwrap();
        inventory.note(3, &[put(b"k1", b"y")]).unwrap();
        inventory.write_out().unwrap();
        inventory.begin().unwrap();
        let mut digests = vec![terms().digest(b"k1", b"d"), terms().digest(b"v1", b"b")];
        digests.sort_unstable();
        assert_eq!(content(&path), (digests, vec![(b"k1".to_vec(), b"d".to_vec())]));
        let survey = Survey::of(&path, &terms()).unwrap().unwrap();
        assert_eq!((survey.floor, survey.ceiling), (2, 2));
        assert!(survey.serves(2) && !survey.serves(3) && !survey.is_damaged());
        let other = Survey::of(&path, &Terms::new(&[5; 32], &[b"j"])).unwrap().unwrap();
        assert!(!other.serves(2), "other keys are to be copied");
        let foreign = Survey::of(&path, &Terms::new(&[6; 32], &[b"k"])).unwrap().unwrap();
        assert_eq!(foreign.ceiling, 0, "another peer's entries are none");
    }

    #[test]
    fn what_is_of_no_use_any_more_is_tidied_away() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("inventory");
        let mut inventory = create(&path);
        let value = vec![3; 50_000];
        let mut longest = 0;
        for sequence in 1..300 {
            inventory.begin().unwrap();
            inventory
                .note(sequence, &[put(b"k", &value), put(b"", b"e"), put(b"v", b"x")])
                .unwrap();
            inventory.mark(sequence).unwrap();
            let before = content(&path);
            inventory.tidy().unwrap();
            if sequence % 40 == 0 {
                assert_eq!(content(&path), before);
            }
            longest = longest.max(fs::metadata(&path).unwrap().len());
        }
        assert!(longest < 2 * SLACK, "{longest}");
        let survey = Survey::of(&path, &terms()).unwrap().unwrap();
        assert_eq!(survey.floor, 299);
        let reopened = Inventory::open(&path, terms(), &survey).unwrap();
        assert_eq!((reopened.base, reopened.marked), (inventory.base, inventory.marked));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn damage_costs_the_entries_it_hits_and_no_other(at: prop::sample::Index, bit in 0..8_u32, cut: bool) {
            let place = tempfile::tempdir().unwrap();
            let path = place.path().join("inventory");
            let mut inventory = create(&path);
            let values: Vec<[u8; 2]> = (0..20_u8).map(|n| [b'k' + n % 2, n]).collect();
            let puts: Vec<_> = values.iter().map(|value| put(value, value)).collect();
            inventory.note(1, &puts).unwrap();
            inventory.mark(1).unwrap();
            let mut bytes = fs::read(&path).unwrap();
            let at = at.index(bytes.len());
            if cut { bytes.truncate(at) } else { bytes[at] ^= 1_u8 << bit }
            fs::write(&path, &bytes).unwrap();
            let (index, shape) = Index::of(&path, &terms()).unwrap();
            let lost = values.len() - index.listed.len();
            prop_assert!(cut || lost <= 1);
            let survey = Survey::of(&path, &terms()).unwrap().unwrap();
            prop_assert!(!survey.serves(1) || (lost == 0 && !shape.damaged));
        }

        #[test]
        fn no_bytes_make_a_scan_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let place = tempfile::tempdir().unwrap();
            let path = place.path().join("inventory");
            fs::write(&path, &bytes).unwrap();
            prop_assert!(Index::of(&path, &terms()).unwrap().0.listed.is_empty());
        }
    }
}
