//! One journal file: its bytes, writing them, and telling what is whole after a crash.
//!
//! ```text
//! file  = magic 8 | version u32 | generation u64 | key 32 | check 16          entry ...
//! entry = length u32 | sequence u64 | head check 4 | body check 16 | payload
//! ```
//!
//! Integers are little-endian. Checks are BLAKE3 under the file's own random key, over the entry's
//! place as well as its bytes: neither an entry at another place, nor one of a file that used the
//! same disk blocks before, nor bytes that a remote peer had us store can pass for an entry. The
//! sequence number counts batches over all files, so that a lost one shows.
//!
//! What the payload means is none of this module's business.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::change::MAX_BATCH;
use crate::disk;

const MAGIC: &[u8; 8] = b"bayanjnl";
const VERSION: u32 = 1;
const KEY: usize = 32;
const CHECK: usize = 16;
const HEAD_CHECK: usize = 4;
const HEADER: usize = MAGIC.len() + 4 + 8 + KEY + CHECK;
/// Bytes of an entry before its payload.
pub(crate) const FRAME: usize = 4 + 8 + HEAD_CHECK + CHECK;

/// Longest journal file. At most two exist at a time, so this bounds what start-up has to replay.
pub(crate) const MAX_JOURNAL: u64 = 64 << 20;

const _: () =
    assert!((HEADER + FRAME + MAX_BATCH) as u64 <= MAX_JOURNAL, "any batch fits an empty journal");

/// The file name of generation `generation`; sorts as the number does.
pub(crate) fn file_name(generation: u64) -> String {
    format!("{generation:016x}.log")
}

/// The generation that a file name stands for.
pub(crate) fn generation_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    let generation = u64::from_str_radix(digits, 16).ok()?;
    (file_name(generation) == name).then_some(generation)
}

/// The journal file that is being appended to.
#[derive(Debug)]
pub(crate) struct Writer {
    file: File,
    path: PathBuf,
    generation: u64,
    key: [u8; KEY],
    /// Where the last whole entry ends.
    end: u64,
    /// Whether there may be bytes beyond `end`, from a write that failed.
    dirty_tail: bool,
}

impl Writer {
    /// Creates the file of `generation` in `directory`, durably, before any entry is in it.
    pub(crate) fn create(directory: &Path, generation: u64, key: [u8; KEY]) -> io::Result<Self> {
        let path = directory.join(file_name(generation));
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        let written = file
            .write_all(&header(generation, &key))
            .and_then(|()| file.sync_data())
            .and_then(|()| disk::sync_dir(directory));
        if let Err(error) = written {
            let _ = disk::remove_if_there(&path);
            return Err(error);
        }
        Ok(Self { file, path, generation, key, end: HEADER as u64, dirty_tail: false })
    }

    /// Appends one entry with a single write, where `entry` is [`FRAME`] bytes of room and then the
    /// payload. On failure the file is as before.
    pub(crate) fn append(&mut self, sequence: u64, entry: &mut [u8], sync: bool) -> io::Result<()> {
        self.cut_tail()?;
        fill_frame(&self.key, self.end, sequence, entry);
        let written = self
            .file
            .write_all(entry)
            .and_then(|()| if sync { self.file.sync_data() } else { Ok(()) });
        if let Err(error) = written {
            self.dirty_tail = true;
            // If the tail cannot be cut now, the next append tries again before it writes; until
            // then, and after a crash, it is a torn tail like any other.
            let _ = self.cut_tail();
            return Err(error);
        }
        self.end += entry.len() as u64;
        Ok(())
    }

    fn cut_tail(&mut self) -> io::Result<()> {
        if self.dirty_tail {
            self.file.set_len(self.end)?;
            self.file.seek(SeekFrom::Start(self.end))?;
            self.dirty_tail = false;
        }
        Ok(())
    }

    /// Forces the entries to disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Whether an entry with `payload` bytes still fits.
    pub(crate) fn has_room_for(&self, payload: usize) -> bool {
        self.end + (FRAME + payload) as u64 <= MAX_JOURNAL
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.end == HEADER as u64
    }

    /// Bytes in the file.
    pub(crate) fn len(&self) -> u64 {
        self.end
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn header(generation: u64, key: &[u8; KEY]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&generation.to_le_bytes());
    bytes.extend_from_slice(key);
    let check = *blake3::hash(&bytes).as_bytes();
    bytes.extend_from_slice(&check[..CHECK]);
    bytes
}

fn fill_frame(key: &[u8; KEY], offset: u64, sequence: u64, entry: &mut [u8]) {
    let (frame, payload) = entry.split_at_mut(FRAME);
    let len = u32::try_from(payload.len()).expect("a batch is shorter than 4 GiB");
    frame[..4].copy_from_slice(&len.to_le_bytes());
    frame[4..12].copy_from_slice(&sequence.to_le_bytes());
    frame[12..16].copy_from_slice(&head_check(key, offset, len, sequence));
    frame[16..].copy_from_slice(&body_check(key, offset, len, sequence, payload));
}

fn head_check(key: &[u8; KEY], offset: u64, len: u32, sequence: u64) -> [u8; HEAD_CHECK] {
    *check(key, 0, offset, len, sequence, &[]).first_chunk().expect("a digest is longer")
}

fn body_check(
    key: &[u8; KEY],
    offset: u64,
    len: u32,
    sequence: u64,
    payload: &[u8],
) -> [u8; CHECK] {
    *check(key, 1, offset, len, sequence, payload).first_chunk().expect("a digest is longer")
}

fn check(
    key: &[u8; KEY],
    part: u8,
    offset: u64,
    len: u32,
    sequence: u64,
    payload: &[u8],
) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&[part]);
    hasher.update(&offset.to_le_bytes());
    hasher.update(&len.to_le_bytes());
    hasher.update(&sequence.to_le_bytes());
    hasher.update(payload);
    *hasher.finalize().as_bytes()
}

/// A whole entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) sequence: u64,
    pub(crate) payload: &'a [u8],
    /// Where it starts in the file.
    pub(crate) offset: usize,
}

/// How the whole entries of a file end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With the file.
    Clean,
    /// Before bytes that are no entry, and no whole entry comes after them: a write cut short.
    Torn,
    /// Before bytes that are no entry although whole entries follow.
    Damaged,
}

/// Reads the entries of a file front to back.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    bytes: &'a [u8],
    /// `None` if the header is bad.
    key: Option<[u8; KEY]>,
    offset: usize,
}

impl<'a> Scan<'a> {
    /// Over `bytes`, all of the file of `generation`.
    pub(crate) fn new(bytes: &'a [u8], generation: u64) -> Self {
        let key = bytes.get(..HEADER).and_then(|found| {
            let key = *found[20..].first_chunk::<KEY>()?;
            (found == header(generation, &key)).then_some(key)
        });
        Self { bytes, key, offset: if key.is_some() { HEADER } else { 0 } }
    }

    /// Where the next entry would start.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// How the file goes on after the last entry that [`Iterator::next`] gave.
    pub(crate) fn end(&self) -> End {
        let Some(key) = &self.key else {
            // Headers are on disk before the first entry is written: a lone bad one is a file that
            // was being created.
            return if self.bytes.len() <= HEADER { End::Torn } else { End::Damaged };
        };
        if self.offset == self.bytes.len() {
            return End::Clean;
        }
        let from = self.offset + 1;
        let follows =
            (from..self.bytes.len()).any(|offset| entry_at(self.bytes, key, offset).is_some());
        if follows { End::Damaged } else { End::Torn }
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let entry = entry_at(self.bytes, self.key.as_ref()?, self.offset)?;
        self.offset += FRAME + entry.payload.len();
        Some(entry)
    }
}

/// The entry that starts at `offset`, if one does. Cheap where none does, because the head check
/// stands between a wild length and hashing that much.
fn entry_at<'a>(bytes: &'a [u8], key: &[u8; KEY], offset: usize) -> Option<Entry<'a>> {
    let (frame, rest) = bytes.get(offset..)?.split_first_chunk::<FRAME>()?;
    let len = u32::from_le_bytes(*frame.first_chunk()?);
    let payload = rest.get(..len as usize)?;
    if len == 0 || len as usize > MAX_BATCH {
        return None;
    }
    let sequence = u64::from_le_bytes(*frame[4..].first_chunk()?);
    let place = offset as u64;
    let whole = frame[12..16] == head_check(key, place, len, sequence)
        && frame[16..] == body_check(key, place, len, sequence, payload);
    whole.then_some(Entry { sequence, payload, offset })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(payloads: &[Vec<u8>]) -> Vec<u8> {
        let key = [7; KEY];
        let mut bytes = header(3, &key);
        for (sequence, payload) in (1..).zip(payloads) {
            let mut entry = vec![0; FRAME];
            entry.extend_from_slice(payload);
            fill_frame(&key, bytes.len() as u64, sequence, &mut entry);
            bytes.extend_from_slice(&entry);
        }
        bytes
    }

    fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 1..60), 0..12)
    }

    /// The payloads read back, which must be the first ones, and how they end.
    fn read(bytes: &[u8], written: &[Vec<u8>]) -> (usize, End) {
        let mut scan = Scan::new(bytes, 3);
        let mut count = 0;
        for entry in scan.by_ref() {
            assert_eq!(entry.payload, written[count], "entry {count} is not what was written");
            count += 1;
            assert_eq!(entry.sequence, count as u64);
        }
        (count, scan.end())
    }

    proptest! {
        #[test]
        fn a_whole_file_is_read_whole(written in payloads()) {
            prop_assert_eq!(read(&file(&written), &written), (written.len(), End::Clean));
        }

        #[test]
        fn a_truncated_file_keeps_every_entry_before_the_cut(written in payloads(), cut: prop::sample::Index) {
            let bytes = file(&written);
            let cut = cut.index(bytes.len());
            let mut end = HEADER;
            let whole = written.iter().take_while(|payload| { end += FRAME + payload.len(); end <= cut }).count();
            let (count, how) = read(&bytes[..cut], &written);
            prop_assert_eq!(count, whole);
            prop_assert_ne!(how, End::Damaged);
        }

        #[test]
        fn a_flipped_bit_costs_its_entry_and_is_told_from_a_torn_tail(written in payloads(), at: prop::sample::Index, bit in 0..8_u32) {
            let mut bytes = file(&written);
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            let mut end = HEADER;
            let hit = written.iter().take_while(|payload| { end += FRAME + payload.len(); end <= at }).count();
            let (count, how) = read(&bytes, &written);
            if at < HEADER {
                prop_assert_eq!((count, how), (0, if written.is_empty() { End::Torn } else { End::Damaged }));
            } else {
                let expected = if hit + 1 == written.len() { End::Torn } else { End::Damaged };
                prop_assert_eq!((count, how), (hit, expected));
            }
        }

        #[test]
        fn no_bytes_make_a_scan_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(Scan::new(&bytes, 3).count(), 0);
        }
    }

    #[test]
    fn an_entry_at_another_place_or_of_another_file_is_none() {
        let written = vec![vec![1; 20], vec![2; 20]];
        let bytes = file(&written);
        assert_eq!(Scan::new(&bytes, 4).count(), 0, "another generation");
        let mut swapped = bytes[..HEADER].to_vec();
        let second = HEADER + FRAME + 20;
        swapped.extend_from_slice(&bytes[second..]);
        swapped.extend_from_slice(&bytes[HEADER..second]);
        assert_eq!(Scan::new(&swapped, 3).count(), 0, "swapped entries");
    }

    #[test]
    fn file_names_sort_as_their_generations_and_others_are_none() {
        assert!(file_name(9) < file_name(10));
        assert_eq!(generation_of(&file_name(u64::MAX)), Some(u64::MAX));
        for other in
            ["1.log", "000000000000000g.log", "0000000000000001.tmp", "+000000000000001.log"]
        {
            assert_eq!(generation_of(other), None, "{other}");
        }
    }

    #[test]
    fn a_failed_append_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(directory.path(), 1, [1; KEY]).unwrap();
        let entry = |byte: u8| [vec![0; FRAME], vec![byte; 10]].concat();
        writer.append(1, &mut entry(1), false).unwrap();
        // What a write cut short by a full disk leaves.
        writer.file.write_all(&[9; 100]).unwrap();
        writer.dirty_tail = true;
        writer.append(2, &mut entry(2), false).unwrap();
        let bytes = std::fs::read(writer.path()).unwrap();
        let mut scan = Scan::new(&bytes, 1);
        assert_eq!(scan.by_ref().map(|entry| entry.payload[0]).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(scan.end(), End::Clean);
    }
}
