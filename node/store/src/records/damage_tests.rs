//! Records out of directories whose files were cut short or altered.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use super::{Change, DATABASE_FILE, INVENTORY_FILE, Recovery, salvage::damaged};
use crate::directory::{Directory, OpenError, Options};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

const COPIED: &[&[u8]] = &[b"k"];
/// No case is to take long, whatever is damaged.
const LIMIT: Duration = Duration::from_secs(20);

/// SplitMix64: enough for choosing places, and the same everywhere.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}

fn open(path: &Path) -> Result<Directory, OpenError> {
    Directory::open(path, Options { copied: COPIED, ..Options::default() })
}

fn load(directory: &Directory) -> Map {
    directory.records().load().unwrap().map(Result::unwrap).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// A directory with a past: records of many sizes written, overwritten and deleted in many commits,
/// so that the file is full of pages that no longer count.
struct Past {
    place: tempfile::TempDir,
    expected: Map,
    database: Vec<u8>,
}

impl Past {
    /// Of a peer that was stopped, or killed with the last batches in the journal alone.
    fn new(seed: u64, killed: bool) -> Self {
        let place = tempfile::tempdir().unwrap();
        let mut chance = Chance(seed);
        let mut expected = Map::new();
        let directory = open(&place.path().join("live")).unwrap();
        let records = directory.records();
        let append = |chance: &mut Chance, expected: &mut Map, count: usize| {
            let changes: Vec<Change> = (0..count).map(|_| change(chance)).collect();
            for change in &changes {
                match change {
                    Change::Put { key, value } => drop(expected.insert(key.clone(), value.clone())),
                    Change::Delete { key } => drop(expected.remove(key)),
                }
            }
            records.append(&changes).unwrap();
        };
        for _ in 0..12 {
            append(&mut chance, &mut expected, 60);
            directory.records().flush().unwrap();
        }
        let still = place.path().join("still");
        if killed {
            append(&mut chance, &mut expected, 20);
            copy(&place.path().join("live"), &still);
        } else {
            directory.close().unwrap();
            copy(&place.path().join("live"), &still);
        }
        let database = fs::read(still.join(DATABASE_FILE)).unwrap();
        Self { place, expected, database }
    }

    fn path(&self) -> std::path::PathBuf {
        self.place.path().join("still")
    }

    /// A copy in which the database is `bytes`.
    fn with(&self, bytes: &[u8]) -> tempfile::TempDir {
        let place = tempfile::tempdir_in(self.place.path()).unwrap();
        copy(&self.path(), place.path());
        fs::write(place.path().join(DATABASE_FILE), bytes).unwrap();
        place
    }
}

fn change(chance: &mut Chance) -> Change {
    let kind = b"kkvvvvsj"[chance.below(8)];
    let number = chance.below(if kind == b'k' { 40 } else { 120 });
    let key = [&[kind][..], &(number as u64).to_be_bytes(), &[7; 24]].concat();
    if chance.below(8) == 0 {
        return Change::Delete { key };
    }
    let len = match (kind, chance.below(40)) {
        (b'k', _) => 80 + chance.below(100),
        (_, 0) => 0,
        (_, 1) => 20_000 + chance.below(40_000),
        (_, 2..5) => 4000 + chance.below(5000),
        _ => 100 + chance.below(900),
    };
    Change::Put { key, value: chance.bytes(len) }
}

/// How many of `expected` redb itself reads out of a file, front to back, back to front, and one by
/// one.
fn readable(path: &Path, expected: &Map) -> usize {
    const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");
    let mut found = Map::new();
    let mut read = || -> Result<(), redb::Error> {
        let table = redb::Database::open(path)?.begin_read()?.open_table(RECORDS)?;
        let mut keep = |(key, value): (redb::AccessGuard<&[u8]>, redb::AccessGuard<&[u8]>)| {
            found.insert(key.value().to_vec(), value.value().to_vec());
        };
        table.iter()?.map_while(Result::ok).for_each(&mut keep);
        table.iter()?.rev().map_while(Result::ok).for_each(&mut keep);
        for key in expected.keys() {
            if let Ok(Some(value)) = table.get(key.as_slice()) {
                found.insert(key.clone(), value.value().to_vec());
            }
        }
        Ok(())
    };
    // However far it came.
    let _ = read();
    found.iter().filter(|(key, value)| expected.get(*key) == Some(value)).count()
}

/// What became of a case.
#[derive(Debug, Default)]
struct Tally {
    cases: usize,
    salvaged: usize,
    lost: usize,
    most: usize,
    slowest: Duration,
}

impl Tally {
    /// Opens `past` with this database, and demands all that is promised of it.
    fn check(&mut self, past: &Past, bytes: &[u8], compare: bool, what: &str) {
        let place = past.with(bytes);
        let begun = Instant::now();
        let directory = open(place.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let took = begun.elapsed();
        assert!(took < LIMIT, "{what}: {took:?}");
        let found = load(&directory);
        for (key, value) in &found {
            assert!(past.expected.get(key) == Some(value), "{what}: {key:?} was not so");
        }
        let copied = |map: &Map| map.keys().filter(|key| key[0] == b'k').count();
        assert_eq!(copied(&found), copied(&past.expected), "{what}");
        let lost = past.expected.len() - found.len();
        let recovery = directory.recovery();
        match &recovery.salvage {
            Some(salvage) => {
                assert_eq!(
                    (salvage.lost_in_all(), salvage.complete),
                    (lost as u64, true),
                    "{what}"
                );
                assert!(fs::read(&salvage.path).unwrap() == bytes, "{what}: not as it was found");
                assert_eq!(
                    damaged(&place.path().join(DATABASE_FILE)),
                    std::slice::from_ref(&salvage.path)
                );
                self.salvaged += 1;
            }
            None => assert_eq!(lost, 0, "{what}: lost in silence"),
        }
        assert_eq!((recovery.dropped_bytes, &recovery.damage), (0, &None), "{what}");
        if compare {
            let aside = place.path().join("compared");
            fs::write(&aside, bytes).unwrap();
            let readable = readable(&aside, &past.expected);
            assert!(found.len() >= readable, "{what}: redb reads {readable}, {} kept", found.len());
        }
        directory.close().unwrap();
        // Opening waits for the disk several times: not in each case.
        if self.cases.is_multiple_of(3) {
            let again = open(place.path()).unwrap();
            assert_eq!(again.recovery(), &Recovery::default(), "{what}: a second time");
            assert!(load(&again) == found, "{what}: a second time");
        }
        self.cases += 1;
        self.lost += lost;
        self.most = self.most.max(lost);
        self.slowest = self.slowest.max(took);
    }
}

fn flip(bytes: &mut [u8], at: usize, chance: &mut Chance) {
    bytes[at] ^= 1 << chance.below(8);
}

/// The records' kinds of places: header, commit slots, edges of pages, anywhere.
fn cuts(len: usize, chance: &mut Chance) -> Vec<usize> {
    let mut cuts =
        vec![0, 1, 8, 9, 63, 64, 191, 192, 319, 320, 511, 512, 4095, 4096, 4097, len - 1];
    for _ in 0..3 {
        let page = chance.below(len / 4096) * 4096;
        cuts.extend([page, page + 1, page + 4095]);
        cuts.push(chance.below(len));
    }
    cuts
}

#[test]
fn a_database_cut_short_anywhere_costs_what_was_cut_off_at_most() {
    let mut tally = Tally::default();
    for (seed, killed) in [(1, false), (2, true)] {
        let past = Past::new(seed, killed);
        let mut chance = Chance(seed);
        for cut in cuts(past.database.len(), &mut chance) {
            tally.check(
                &past,
                &past.database[..cut],
                cut % 2 == 0,
                &format!("{seed}: cut at {cut}"),
            );
        }
    }
    println!("{tally:?}");
    assert!(tally.salvaged > tally.cases / 2);
}

#[test]
fn flipped_bits_in_a_database_cost_the_records_they_hit_at_most() {
    let mut tally = Tally::default();
    for (seed, killed) in [(3, false), (4, true)] {
        let past = Past::new(seed, killed);
        let mut chance = Chance(seed);
        // The byte that says, among other things, which of two states is the last one.
        for bit in 0..4 {
            let mut bytes = past.database.clone();
            bytes[9] ^= 1 << bit;
            tally.check(&past, &bytes, true, &format!("{seed}: bit {bit} of the ninth byte"));
        }
        for at in (0..320).step_by(29) {
            let mut bytes = past.database.clone();
            flip(&mut bytes, at, &mut chance);
            tally.check(&past, &bytes, true, &format!("{seed}: one at {at}"));
        }
        for case in 0..18 {
            let mut bytes = past.database.clone();
            let flips = [1, 1, 1, 2, 8, 64][case % 6];
            for _ in 0..flips {
                let at = chance.below(bytes.len());
                flip(&mut bytes, at, &mut chance);
            }
            tally.check(&past, &bytes, case % 2 == 0, &format!("{seed}: {flips} in case {case}"));
        }
        // Where the pages say what they are.
        for case in 0..8 {
            let mut bytes = past.database.clone();
            let page = chance.below(bytes.len() / 4096) * 4096;
            let at = page + chance.below(40);
            flip(&mut bytes, at, &mut chance);
            tally.check(&past, &bytes, false, &format!("{seed}: a head in case {case}"));
        }
    }
    println!("{tally:?}");
    assert!(tally.salvaged > 0);
}

#[test]
fn a_damaged_inventory_costs_nothing_while_the_database_is_whole() {
    for (seed, killed) in [(5, false), (6, true)] {
        let past = Past::new(seed, killed);
        let whole = fs::read(past.path().join(INVENTORY_FILE)).unwrap();
        let mut chance = Chance(seed);
        for case in 0..12 {
            let place = past.with(&past.database);
            let path = place.path().join(INVENTORY_FILE);
            let mut bytes = whole.clone();
            match case {
                0 => fs::remove_file(&path).unwrap(),
                1..8 => bytes.truncate(chance.below(whole.len()) * (case - 1) / 4),
                _ => {
                    let at = chance.below(bytes.len());
                    flip(&mut bytes, at, &mut chance);
                }
            }
            if case > 0 {
                fs::write(&path, &bytes).unwrap();
            }
            let directory = open(place.path()).unwrap();
            assert!(load(&directory) == past.expected, "{seed}: case {case}");
            assert_eq!(directory.recovery().salvage, None);
            assert_eq!(directory.recovery().relisted, case == 0 || bytes != whole, "case {case}");
            directory.close().unwrap();
            // It serves again.
            let database = fs::read(place.path().join(DATABASE_FILE)).unwrap();
            fs::write(place.path().join(DATABASE_FILE), &database[..5000]).unwrap();
            let directory = open(place.path()).unwrap();
            let found = load(&directory);
            let copied = past.expected.iter().filter(|(key, _)| key[0] == b'k');
            assert!(copied.into_iter().all(|(key, value)| found.get(key) == Some(value)));
            assert!(directory.recovery().salvage.as_ref().unwrap().complete);
        }
    }
}

/// With both files damaged, less can be promised: nothing is made up, and nothing stands in the way
/// of going on.
#[test]
fn with_both_files_damaged_the_peer_goes_on_with_what_can_be_proven() {
    let past = Past::new(7, false);
    let mut chance = Chance(7);
    for case in 0..12 {
        let mut database = past.database.clone();
        database[9] ^= 4;
        let at = chance.below(database.len());
        flip(&mut database, at, &mut chance);
        database.truncate(database.len() / (1 + case % 2));
        let place = past.with(&database);
        let path = place.path().join(INVENTORY_FILE);
        let mut bytes = fs::read(&path).unwrap();
        match case {
            0 => bytes.clear(),
            1..6 => bytes.truncate(chance.below(bytes.len())),
            _ => {
                let at = chance.below(bytes.len());
                flip(&mut bytes, at, &mut chance);
            }
        }
        fs::write(&path, &bytes).unwrap();
        let directory = open(place.path()).unwrap();
        let found = load(&directory);
        if case >= 6 {
            // One entry is lost, which is of one key.
            let same = |(key, value): &(&Vec<u8>, &Vec<u8>)| found.get(*key) == Some(*value);
            let copied = past.expected.iter().filter(|(key, _)| key[0] == b'k');
            let missing = copied.filter(|record| !same(record)).count();
            assert!(missing <= 1, "{missing} in case {case}");
        }
        directory.records().append(&[Change::Put { key: vec![1], value: vec![2] }]).unwrap();
        directory.close().unwrap();
        let again = open(place.path()).unwrap();
        assert_eq!(again.recovery(), &Recovery::default());
        assert_eq!(load(&again).len(), found.len() + 1);
    }
}

#[test]
fn damaged_files_are_set_aside_one_after_the_other() {
    let past = Past::new(8, false);
    let place = past.with(&past.database[..100]);
    let database = place.path().join(DATABASE_FILE);
    open(place.path()).unwrap().close().unwrap();
    for number in 2..4_u8 {
        fs::write(&database, [number; 50]).unwrap();
        let directory = open(place.path()).unwrap();
        let path = &directory.recovery().salvage.as_ref().unwrap().path;
        assert!(path.ends_with(format!("{DATABASE_FILE}.damaged-{number}")), "{path:?}");
        directory.close().unwrap();
    }
    let all = Directory::set_aside(place.path());
    let lens: Vec<u64> = all.iter().map(|path| fs::metadata(path).unwrap().len()).collect();
    assert_eq!(lens, [100, 50, 50]);
}

#[test]
fn a_directory_without_an_inventory_gets_one_or_is_left_alone() {
    let past = Past::new(10, true);
    let place = past.with(&past.database);
    let older = |place: &Path| {
        fs::write(place.join("format"), "1\n").unwrap();
        // Not to be relied on: an older program may have been here since.
        fs::write(place.join(INVENTORY_FILE), "of some time ago").unwrap();
    };
    older(place.path());
    let directory = open(place.path()).unwrap();
    assert!(load(&directory) == past.expected);
    assert!(!directory.recovery().relisted);
    directory.close().unwrap();
    assert_eq!(fs::read(place.path().join("format")).unwrap(), b"2\n");
    assert_eq!(open(place.path()).unwrap().recovery(), &Recovery::default());

    let bytes = &past.database[..past.database.len() / 2];
    let place = past.with(bytes);
    older(place.path());
    assert!(matches!(open(place.path()), Err(OpenError::Corrupt { .. })));
    assert!(fs::read(place.path().join(DATABASE_FILE)).unwrap() == bytes);
    assert_eq!(fs::read(place.path().join("format")).unwrap(), b"1\n");
}

#[test]
fn other_prefixes_are_copied_from_the_next_start_on() {
    let past = Past::new(11, false);
    let place = past.with(&past.database);
    let reopen = || {
        let options = Options { copied: &[b"j", b"s"], ..Options::default() };
        Directory::open(place.path(), options).unwrap()
    };
    let directory = reopen();
    assert_eq!(directory.recovery(), &Recovery::default());
    directory.close().unwrap();
    fs::write(place.path().join(DATABASE_FILE), "gone").unwrap();
    let found = load(&reopen());
    let of = |map: &Map, kind: u8| map.keys().filter(|key| key[0] == kind).count();
    assert_eq!(of(&found, b'k'), 0);
    assert!(of(&found, b'j') > 0);
    assert_eq!(of(&found, b'j'), of(&past.expected, b'j'));
}
