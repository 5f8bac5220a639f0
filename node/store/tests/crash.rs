//! Real processes that are killed, or run out of room, in the middle of their work.
//!
//! The child is this very program, told by an environment variable to run one of the `child_*`
//! tests, which do nothing otherwise.

#![cfg(unix)]

use std::{
    collections::BTreeMap,
    env,
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use bayan_store::{BlobError, Change, Directory, Options, Recovery, Sync, WriteError};

const PLACE: &str = "BAYAN_STORE_TEST_PLACE";
const SYNC: &str = "BAYAN_STORE_TEST_SYNC";

fn place() -> Option<PathBuf> {
    env::var_os(PLACE).map(PathBuf::from)
}

fn options() -> Options {
    let sync = if env::var_os(SYNC).is_some() { Sync::Always } else { Sync::Interval };
    Options { sync, ..Options::default() }
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("the parent is listening");
}

fn child(test: &str, place: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(PLACE, place);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn batch(number: u64) -> [Change; 2] {
    let value = number.to_le_bytes().repeat(1 + number as usize % 40);
    // One key that every batch overwrites, one of its own: a batch applied by half, twice, or out of
    // order would show.
    [
        Change::Put { key: b"last".to_vec(), value: number.to_le_bytes().to_vec() },
        Change::Put { key: [b"n".as_slice(), &number.to_be_bytes()].concat(), value },
    ]
}

/// How many batches are in `directory`, which must hold exactly the first ones.
fn batches_in(directory: &Directory) -> u64 {
    let found: BTreeMap<Vec<u8>, Vec<u8>> =
        directory.records().load().unwrap().map(Result::unwrap).collect();
    let count = found.len().saturating_sub(1) as u64;
    let mut expected = BTreeMap::new();
    for change in (1..=count).flat_map(batch) {
        if let Change::Put { key, value } = change {
            expected.insert(key, value);
        }
    }
    assert!(found == expected, "not the first {count} batches");
    count
}

#[test]
fn child_appends_until_killed() {
    let Some(place) = place() else { return };
    let directory = Directory::open(place, options()).unwrap();
    let records = directory.records();
    // Rounds of the background work as close together as they can be, so that kills hit them.
    let flusher = records.clone();
    thread::spawn(move || {
        loop {
            flusher.flush().unwrap();
        }
    });
    let first = batches_in(&directory) + 1;
    for number in first.. {
        records.append(&batch(number)).unwrap();
        say(&format!("ack {number}"));
    }
}

/// The highest number acknowledged on a killed child's output.
fn last_acknowledged(lines: impl Iterator<Item = String>) -> Option<u64> {
    // The test harness writes the test's name, without an end of line, before the first one.
    lines.filter_map(|line| line.rsplit_once("ack ")?.1.parse().ok()).last()
}

fn kill_after(child: &mut Child, acknowledged: u64) -> u64 {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut last = 0;
    for _ in 0..acknowledged {
        last = last_acknowledged(lines.by_ref().take(1)).unwrap_or(last);
    }
    child.kill().unwrap();
    last = last_acknowledged(lines).unwrap_or(last);
    assert!(!child.wait().unwrap().success());
    last
}

fn kill_again_and_again(sync: bool, rounds: u64) {
    let directory = tempfile::tempdir().unwrap();
    let mut total = 0;
    for round in 0..rounds {
        let mut command = child("child_appends_until_killed", directory.path());
        if sync {
            command.env(SYNC, "1");
        }
        // A different number each round, so that different moments are hit.
        let acknowledged = kill_after(&mut command.spawn().unwrap(), 100 + 397 * round % 1500);
        assert!(acknowledged > total, "no progress in round {round}");
        let opened = Directory::open(directory.path(), Options::default()).unwrap();
        let found = batches_in(&opened);
        assert!(
            found >= acknowledged,
            "{acknowledged} batches were acknowledged, {found} are there"
        );
        // A kill cuts no write in two, so at most the one under way was not acknowledged.
        assert!(found <= acknowledged + 1, "{acknowledged} were acknowledged, {found} are there");
        assert_eq!(opened.recovery().damage, None);
        total = found;
        opened.close().unwrap();
    }
}

#[test]
fn every_acknowledged_change_survives_kill() {
    kill_again_and_again(false, 12);
}

#[test]
fn every_acknowledged_change_survives_kill_with_every_append_synced() {
    kill_again_and_again(true, 4);
}

#[test]
fn a_killed_holder_gives_the_directory_free() {
    let place = tempfile::tempdir().unwrap();
    let mut child = child("child_appends_until_killed", place.path()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while !lines.next().unwrap().unwrap().contains("ack ") {}
    let holder = Directory::peek_holder(place.path()).unwrap();
    assert_eq!(holder.pid, Some(child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(Directory::peek_holder(place.path()), None);
    Directory::open(place.path(), Options::default()).unwrap();
}

#[test]
fn child_runs_out_of_room() {
    let Some(place) = place() else { return };
    let directory = Directory::open(place, Options::default()).unwrap();
    let records = directory.records();
    records.append(&batch(1)).unwrap();
    let large = Change::Put { key: b"large".to_vec(), value: vec![1; 12 << 20] };
    for _ in 0..3 {
        let refused = records.append(std::slice::from_ref(&large));
        assert!(matches!(refused, Err(WriteError::Full { .. })), "{refused:?}");
    }
    records.append(&batch(2)).unwrap();
    let blob = directory.blobs().put(&vec![2; 12 << 20]);
    assert!(matches!(blob, Err(BlobError::Full { .. })), "{blob:?}");
    assert_eq!(directory.blobs().usage().partial, 0);
    assert_eq!(directory.blobs().list(), []);
    directory.blobs().put(b"small").unwrap();
    records.append(&batch(3)).unwrap();
    assert_eq!(batches_in(&directory), 3);
    records.append(&batch(4)).unwrap();
    say("done");
    // No orderly end: what is on disk has to do.
    std::process::abort();
}

/// The shell sets the limit on the size of files, and has its signal ignored, for what it becomes.
fn child_with_small_files(test: &str, place: &Path, blocks: u32) -> Command {
    let inner = child(test, place);
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("trap '' XFSZ; ulimit -c 0; ulimit -f {blocks}; exec \"$0\" \"$@\""));
    command.arg(inner.get_program()).args(inner.get_args());
    command.env(PLACE, place).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn a_full_disk_refuses_appends_and_leaves_nothing_half_written() {
    let place = tempfile::tempdir().unwrap();
    // Blocks are of 512 or 1024 bytes, as the shell likes: 4 or 8 MiB, less than the large batch.
    let mut child =
        child_with_small_files("child_runs_out_of_room", place.path(), 8192).spawn().unwrap();
    let mut said = String::new();
    let mut complained = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut complained).unwrap();
    child.wait().unwrap();
    assert!(said.contains("done"), "{said}\n{complained}");
    let directory = Directory::open(place.path(), Options::default()).unwrap();
    let Recovery { dropped_bytes, damage, .. } = directory.recovery();
    assert_eq!((*dropped_bytes, damage), (0, &None));
    assert_eq!(batches_in(&directory), 4);
    assert_eq!(directory.blobs().list().len(), 1);
}

#[test]
fn child_cannot_grow_its_database() {
    let Some(place) = place() else { return };
    let directory = Directory::open(place, Options::default()).unwrap();
    let records = directory.records();
    let mut acknowledged = 0;
    let refused = loop {
        match records.append(&[Change::Put {
            key: vec![acknowledged],
            value: vec![acknowledged; 600 << 10],
        }]) {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
        if let Err(error) = records.flush() {
            break error;
        }
        assert!(acknowledged < 100, "the limit is never reached");
    };
    assert!(matches!(refused, WriteError::Full { .. }), "{refused:?}");
    // The journal still takes what fits it.
    records.append(&[Change::Put { key: vec![200], value: vec![200] }]).unwrap();
    say(&format!("ack {acknowledged}"));
    std::process::abort();
}

#[test]
fn a_database_that_cannot_grow_loses_nothing_that_was_acknowledged() {
    let place = tempfile::tempdir().unwrap();
    let mut child = child_with_small_files("child_cannot_grow_its_database", place.path(), 8192)
        .spawn()
        .unwrap();
    let mut complained = String::new();
    let acknowledged = last_acknowledged(
        BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok),
    );
    child.stderr.take().unwrap().read_to_string(&mut complained).unwrap();
    child.wait().unwrap();
    let acknowledged = acknowledged.unwrap_or_else(|| panic!("{complained}"));
    assert!(acknowledged > 0);
    let directory = Directory::open(place.path(), Options::default()).unwrap();
    let found: BTreeMap<Vec<u8>, Vec<u8>> =
        directory.records().load().unwrap().map(Result::unwrap).collect();
    assert_eq!(found.len() as u64, acknowledged + 1);
    assert_eq!(found[&vec![200]], [200]);
}
