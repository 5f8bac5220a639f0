//! Records as a whole, over directories in every state that a crash can leave.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::directory::{Directory, Options};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

fn put(key: &str, value: &str) -> Change {
    Change::Put { key: key.into(), value: value.into() }
}

fn open(path: &Path) -> Directory {
    Directory::open(path, Options::default()).unwrap()
}

fn load(directory: &Directory) -> Map {
    directory.records().load().unwrap().map(Result::unwrap).collect()
}

fn apply_to(map: &mut Map, batch: &[Change]) {
    for change in batch {
        match change {
            Change::Put { key, value } => map.insert(key.clone(), value.clone()),
            Change::Delete { key } => map.remove(key),
        };
    }
}

/// The state after each number of batches, from none on.
fn history(batches: &[Vec<Change>]) -> Vec<Map> {
    let mut map = Map::new();
    let mut states = vec![map.clone()];
    for batch in batches {
        apply_to(&mut map, batch);
        states.push(map.clone());
    }
    states
}

/// Journal files as a run leaves them that appended `batches`, split over files where `splits` says,
/// and was killed before any of it was in the database.
fn write_journals(directory: &Path, batches: &[Vec<Change>], splits: &[usize]) -> Vec<PathBuf> {
    let journals = directory.join(JOURNAL_DIR);
    let mut generation = std::fs::read_dir(&journals)
        .unwrap()
        .filter_map(|entry| journal::generation_of(&entry.unwrap().file_name().to_string_lossy()))
        .max()
        .unwrap();
    let mut writer = Writer::create(&journals, generation, [3; 32]).unwrap();
    let mut paths = vec![writer.path().to_path_buf()];
    for (index, batch) in batches.iter().enumerate() {
        if splits.contains(&index) {
            generation += 1;
            writer = Writer::create(&journals, generation, [4; 32]).unwrap();
            paths.push(writer.path().to_path_buf());
        }
        let mut entry = vec![0; FRAME];
        change::encode(batch, &mut entry).unwrap();
        writer.append(index as u64 + 1, &mut entry, false).unwrap();
    }
    paths
}

fn batches() -> impl Strategy<Value = Vec<Vec<Change>>> {
    let key =
        || prop::sample::select(vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec(), Vec::new()]);
    let change = prop_oneof![
        3 => (key(), prop::collection::vec(any::<u8>(), 0..30)).prop_map(|(key, value)| Change::Put { key, value }),
        1 => key().prop_map(|key| Change::Delete { key }),
    ];
    prop::collection::vec(prop::collection::vec(change, 1..4), 1..10)
}

#[derive(Debug, Clone)]
enum Harm {
    Truncate,
    Flip(u32),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever happens to one journal file, what is loaded is the state after some first batches,
    /// a damaged run can be gone on from, and opening once more finds nothing left to repair.
    #[test]
    fn what_is_loaded_is_a_prefix_of_what_was_appended(
        batches in batches(),
        splits in prop::collection::vec(1_usize..10, 0..2),
        file: prop::sample::Index,
        at: prop::sample::Index,
        harm in prop_oneof![Just(Harm::Truncate), (0..8_u32).prop_map(Harm::Flip)],
    ) {
        let place = tempfile::tempdir().unwrap();
        open(place.path()).close().unwrap();
        let files = write_journals(place.path(), &batches, &splits);
        let harmed = file.get(&files);
        let mut bytes = std::fs::read(harmed).unwrap();
        let at = at.index(bytes.len());
        match harm {
            Harm::Truncate => bytes.truncate(at),
            Harm::Flip(bit) => bytes[at] ^= 1_u8 << bit,
        }
        std::fs::write(harmed, bytes).unwrap();

        let directory = open(place.path());
        let states = history(&batches);
        let replayed = directory.recovery().replayed as usize;
        let found = load(&directory);
        prop_assert_eq!(&found, &states[replayed]);
        let last_file = files.last() == Some(harmed);
        if replayed < batches.len() {
            let recovery = directory.recovery();
            let cut_at_an_entry = matches!(harm, Harm::Truncate) && last_file;
            prop_assert!(recovery.dropped_bytes > 0 || recovery.damage.is_some() || cut_at_an_entry);
        }
        if let Some(damage) = &directory.recovery().damage {
            prop_assert!(damage.path.exists(), "what was damaged is kept");
        }

        let mut expected = found;
        let more = [put("more", "after")];
        directory.records().append(&more).unwrap();
        apply_to(&mut expected, &more);
        prop_assert_eq!(&load(&directory), &expected);
        directory.close().unwrap();
        let directory = open(place.path());
        prop_assert_eq!(directory.recovery(), &Recovery::default());
        prop_assert_eq!(load(&directory), expected);
    }
}

#[test]
fn appended_records_are_loaded_in_key_order_and_survive_reopening() {
    let place = tempfile::tempdir().unwrap();
    let directory = open(place.path());
    let records = directory.records();
    records.append(&[put("b", "1"), put("a", "2"), put("c", "3")]).unwrap();
    records.append(&[put("a", "4"), Change::Delete { key: b"b".to_vec() }]).unwrap();
    records.append(&[]).unwrap();
    let expected = [(b"a".to_vec(), b"4".to_vec()), (b"c".to_vec(), b"3".to_vec())];
    let found: Vec<_> = records.load().unwrap().map(Result::unwrap).collect();
    assert_eq!(found, expected);
    drop((directory, records));
    assert_eq!(Vec::from_iter(load(&open(place.path()))), expected);
}

#[test]
fn a_journal_already_in_the_database_is_not_applied_again() {
    let place = tempfile::tempdir().unwrap();
    let directory = open(place.path());
    let records = directory.records();
    records.append(&[put("key", "old")]).unwrap();
    // As if the process died between the commit and the removal of the journal, after which a later
    // journal had been begun.
    let journal = guard(&records.handle.shared.appender).writer.path().to_path_buf();
    let bytes = std::fs::read(&journal).unwrap();
    records.append(&[Change::Delete { key: b"key".to_vec() }]).unwrap();
    directory.close().unwrap();
    drop(records);
    std::fs::write(&journal, bytes).unwrap();
    let directory = open(place.path());
    assert_eq!(load(&directory), Map::new());
    assert_eq!(directory.recovery(), &Recovery::default());
    assert!(!journal.exists());
}

#[test]
fn a_torn_journal_before_a_later_one_ends_the_history_and_both_are_kept() {
    let place = tempfile::tempdir().unwrap();
    open(place.path()).close().unwrap();
    let batches: Vec<_> = (0..4).map(|n| vec![put("n", &n.to_string())]).collect();
    let files = write_journals(place.path(), &batches, &[2]);
    let bytes = std::fs::read(&files[0]).unwrap();
    std::fs::write(&files[0], &bytes[..bytes.len() - 1]).unwrap();
    let later = std::fs::metadata(&files[1]).unwrap().len();

    let directory = open(place.path());
    assert_eq!(load(&directory), history(&batches)[1]);
    let recovery = directory.recovery();
    assert_eq!(recovery.replayed, 1);
    assert!(recovery.dropped_bytes > later);
    let damage = recovery.damage.as_ref().unwrap();
    assert_eq!(std::fs::read(&damage.path).unwrap(), bytes[..bytes.len() - 1]);
    let kept = std::fs::read_dir(place.path().join(JOURNAL_DIR)).unwrap();
    let kept = kept.filter(|entry| {
        entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("damaged-")
    });
    assert_eq!(kept.count(), 2);
}

#[test]
fn a_journal_cut_between_entries_is_missed_by_the_sequence_of_the_later_one() {
    let place = tempfile::tempdir().unwrap();
    open(place.path()).close().unwrap();
    let batches: Vec<_> = (0..4).map(|n| vec![put(&n.to_string(), "x")]).collect();
    let files = write_journals(place.path(), &batches, &[2]);
    let bytes = std::fs::read(&files[0]).unwrap();
    let generation =
        journal::generation_of(&files[0].file_name().unwrap().to_string_lossy()).unwrap();
    let second = journal::Scan::new(&bytes, generation).nth(1).unwrap().offset;
    std::fs::write(&files[0], &bytes[..second]).unwrap();

    let directory = open(place.path());
    assert_eq!(load(&directory), history(&batches)[1]);
    let damage = directory.recovery().damage.as_ref().unwrap();
    assert_eq!(damage.what, "batches 2 to 2 are missing");
}

#[test]
fn a_journal_whose_creation_was_cut_short_is_nothing() {
    let place = tempfile::tempdir().unwrap();
    open(place.path()).close().unwrap();
    let batches = vec![vec![put("a", "1")], vec![put("b", "2")]];
    let files = write_journals(place.path(), &batches, &[]);
    let generation =
        journal::generation_of(&files[0].file_name().unwrap().to_string_lossy()).unwrap();
    let journals = place.path().join(JOURNAL_DIR);
    std::fs::write(journals.join(journal::file_name(generation + 1)), b"bayanjn").unwrap();
    let directory = open(place.path());
    assert_eq!(load(&directory), history(&batches)[2]);
    assert_eq!(directory.recovery().damage, None);
}

#[test]
fn concurrent_appends_and_flushes_lose_nothing() {
    let place = tempfile::tempdir().unwrap();
    let directory = open(place.path());
    let records = directory.records();
    thread::scope(|scope| {
        for writer in 0..3 {
            let records = records.clone();
            scope.spawn(move || {
                for number in 0..100 {
                    records.append(&[put(&format!("{writer}/{number}"), "x")]).unwrap();
                    if number % 20 == 0 {
                        records.flush().unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(load(&directory).len(), 300);
    let journals = std::fs::read_dir(place.path().join(JOURNAL_DIR)).unwrap().count();
    assert_eq!(journals, 1, "journals that are in the database are gone");
}

#[test]
fn the_background_thread_brings_changes_into_the_database_by_itself() {
    let place = tempfile::tempdir().unwrap();
    let directory = open(place.path());
    let records = directory.records();
    records.append(&[put("a", "1")]).unwrap();
    let shared = &records.handle.shared;
    let applied = || guard(&shared.flusher).mark.sequence;
    let begun = Instant::now();
    while applied() < 1 {
        assert!(begun.elapsed() < Duration::from_secs(60), "never flushed");
        thread::yield_now();
    }
}

#[test]
fn a_full_journal_makes_its_writer_wait_and_not_fail() {
    let place = tempfile::tempdir().unwrap();
    let directory = open(place.path());
    let records = directory.records();
    let value = vec![7; MAX_BATCH - 100];
    for number in 0..6_u8 {
        records.append(&[Change::Put { key: vec![number], value: value.clone() }]).unwrap();
    }
    assert_eq!(load(&directory).len(), 6);
}

#[test]
fn closed_records_take_nothing_through_any_handle() {
    let place = tempfile::tempdir().unwrap();
    let directory = open(place.path());
    let records = directory.records();
    records.append(&[put("a", "1")]).unwrap();
    directory.close().unwrap();
    assert!(matches!(records.append(&[put("b", "2")]), Err(WriteError::Closed)));
    drop(records);
    assert_eq!(load(&open(place.path())).len(), 1);
}

#[test]
fn every_synced_append_is_on_its_own() {
    let place = tempfile::tempdir().unwrap();
    let options = Options { sync: Sync::Always, ..Options::default() };
    let directory = Directory::open(place.path(), options).unwrap();
    for number in 0..5 {
        directory.records().append(&[put(&number.to_string(), "x")]).unwrap();
    }
    assert_eq!(load(&directory).len(), 5);
}
