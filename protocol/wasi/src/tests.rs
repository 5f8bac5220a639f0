//! The host as a guest sees it: one memory, one tank of fuel, calls by name.

use alloc::{string::ToString, sync::Arc, vec, vec::Vec};

use super::*;
use crate::limits::{CALL_COST, MAX_DESCRIPTORS, MAX_LOG};

const FUEL: u64 = 1 << 40;
const TASK: [u8; 32] = [7; 32];

struct Bench {
    host: Host,
    memory: Vec<u8>,
    fuel: u64,
}

impl Bench {
    fn new() -> Self {
        let data = [("b.txt", "second"), ("a.txt", "first file")];
        let setup = Setup {
            task: TASK,
            args: vec!["x".to_string(), "yz".to_string()],
            env: vec![("K".to_string(), "v".to_string())],
            stdin: Arc::from(&b"0123456789"[..]),
            data: data
                .iter()
                .map(|(name, text)| (name.to_string(), Arc::from(text.as_bytes())))
                .collect(),
            output_limit: 8,
        };
        Self { host: Host::new(setup).unwrap(), memory: vec![0; 65_536], fuel: FUEL }
    }

    fn raw(&mut self, import: Import, args: &[u64]) -> Result<u32, Stop> {
        self.host.call(import, args, self.memory.as_mut_slice(), &mut self.fuel)
    }

    fn call(&mut self, import: Import, args: &[u64]) -> u32 {
        self.raw(import, args).unwrap()
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.memory[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Writes buffer descriptions to address 0.
    fn vector(&mut self, parts: &[(u32, u32)]) {
        for (index, (at, len)) in parts.iter().enumerate() {
            self.put(index * 8, &at.to_le_bytes());
            self.put(index * 8 + 4, &len.to_le_bytes());
        }
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes(*self.memory[at..].first_chunk().unwrap())
    }

    fn long(&self, at: usize) -> u64 {
        u64::from_le_bytes(*self.memory[at..].first_chunk().unwrap())
    }

    /// Opens `path` with these `oflags` and rights; the descriptor is at address 900.
    fn open(&mut self, path: &str, flags: u64, rights: u64) -> u32 {
        self.put(1000, path.as_bytes());
        self.call(Import::PathOpen, &[3, 0, 1000, path.len() as u64, flags, rights, 0, 0, 900])
    }
}

const READ: u64 = 2;
const WRITE: u64 = 64;

#[test]
fn arguments_and_environment_are_laid_out_for_c() {
    let mut bench = Bench::new();
    assert_eq!(bench.call(Import::ArgsSizesGet, &[16, 20]), 0);
    assert_eq!((bench.word(16), bench.word(20)), (3, 9));
    assert_eq!(bench.call(Import::ArgsGet, &[100, 200]), 0);
    assert_eq!([bench.word(100), bench.word(104), bench.word(108)], [200, 204, 206]);
    assert_eq!(&bench.memory[200..209], b"app\0x\0yz\0");
    assert_eq!(bench.call(Import::EnvironGet, &[100, 200]), 0);
    assert_eq!(&bench.memory[200..204], b"K=v\0");
    assert_eq!(bench.call(Import::ArgsGet, &[65_533, 0]), Errno::Fault as u32);
    assert_eq!(bench.call(Import::ArgsGet, &[0, 65_528]), Errno::Fault as u32);
}

#[test]
fn reads_are_scattered_and_short_only_at_the_end() {
    let mut bench = Bench::new();
    bench.vector(&[(100, 3), (65_536, 0), (200, 4)]);
    assert_eq!(bench.call(Import::FdRead, &[0, 0, 3, 50]), 0);
    assert_eq!(bench.word(50), 7);
    assert_eq!((&bench.memory[100..103], &bench.memory[200..204]), (&b"012"[..], &b"3456"[..]));
    assert_eq!(bench.call(Import::FdRead, &[0, 0, 3, 50]), 0);
    assert_eq!((bench.word(50), &bench.memory[100..103]), (3, &b"789"[..]));
    assert_eq!(bench.call(Import::FdRead, &[0, 0, 3, 50]), 0);
    assert_eq!(bench.word(50), 0);
}

#[test]
fn positions_move_as_in_posix() {
    let mut bench = Bench::new();
    let end = |offset: i64| offset as u64;
    assert_eq!(bench.call(Import::FdSeek, &[0, end(-4), 2, 64]), 0);
    assert_eq!(bench.long(64), 6);
    assert_eq!(bench.call(Import::FdSeek, &[0, 100, 1, 64]), 0);
    assert_eq!(bench.call(Import::FdTell, &[0, 72]), 0);
    assert_eq!(bench.long(72), 106);
    bench.vector(&[(100, 3)]);
    assert_eq!(bench.call(Import::FdRead, &[0, 0, 1, 50]), 0);
    assert_eq!(bench.word(50), 0);
    assert_eq!(bench.call(Import::FdPread, &[0, 0, 1, 8, 50]), 0);
    assert_eq!((bench.word(50), &bench.memory[100..102]), (2, &b"89"[..]));
    for (args, errno) in [
        ([0, end(-1), 0, 64], Errno::Inval),
        ([0, i64::MAX as u64, 1, 64], Errno::Inval),
        ([0, 0, 3, 64], Errno::Inval),
        ([0, 0, 0, 65_529], Errno::Fault),
        ([1, 0, 0, 64], Errno::Spipe),
        ([3, 0, 0, 64], Errno::Isdir),
        ([9, 0, 0, 64], Errno::Badf),
    ] {
        assert_eq!(bench.call(Import::FdSeek, &args), errno as u32, "{args:?}");
    }
    assert_eq!(bench.call(Import::FdTell, &[0, 72]), 0);
    assert_eq!(bench.long(72), 106, "a failed seek does not move");
}

#[test]
fn output_is_whole_writes_up_to_the_limit() {
    let mut bench = Bench::new();
    bench.put(100, b"abcdef");
    bench.vector(&[(100, 2), (104, 2)]);
    assert_eq!(bench.call(Import::FdWrite, &[1, 0, 2, 50]), 0);
    assert_eq!(bench.word(50), 4);
    bench.vector(&[(100, 4)]);
    assert_eq!(bench.call(Import::FdWrite, &[1, 0, 1, 50]), 0);
    assert_eq!(bench.host.output(), b"abefabcd", "exactly the limit is allowed");
    bench.vector(&[(100, 1)]);
    assert_eq!(bench.raw(Import::FdWrite, &[1, 0, 1, 50]), Err(Stop::OutputLimit));
    assert_eq!(bench.host.output().len(), 8);
}

#[test]
fn the_log_keeps_its_start() {
    let mut bench = Bench::new();
    bench.memory.fill(b'x');
    bench.vector(&[(100, 60_000)]);
    for _ in 0..3 {
        assert_eq!(bench.call(Import::FdWrite, &[2, 0, 1, 50]), 0);
        assert_eq!(bench.word(50), 60_000, "dropped bytes count as written");
        bench.vector(&[(100, 60_000)]);
    }
    assert_eq!(bench.host.log().len(), MAX_LOG);
    assert!(bench.host.output().is_empty());
}

#[test]
fn bad_buffers_fail_before_anything_moves() {
    let mut bench = Bench::new();
    bench.vector(&[(100, 3), (65_535, 2)]);
    assert_eq!(bench.call(Import::FdRead, &[0, 0, 2, 50]), Errno::Fault as u32);
    assert_eq!(bench.memory[100], 0);
    assert_eq!(bench.call(Import::FdRead, &[0, 0, 1, 65_533]), Errno::Fault as u32);
    assert_eq!(bench.call(Import::FdRead, &[0, 65_530, 1, 50]), Errno::Fault as u32);
    assert_eq!(bench.call(Import::FdRead, &[0, 0, 1025, 50]), Errno::Inval as u32);
    assert_eq!(bench.call(Import::FdRead, &[1, 0, 1, 50]), Errno::Badf as u32);
    assert_eq!(bench.call(Import::FdWrite, &[0, 0, 1, 50]), Errno::Badf as u32);
    assert_eq!(bench.call(Import::FdRead, &[0, 0, 1, 50]), 0);
    assert_eq!(bench.word(50), 3, "the position had not moved");
}

#[test]
fn calls_cost_their_base_and_every_byte_moved() {
    let mut bench = Bench::new();
    bench.vector(&[(100, 3), (200, 4)]);
    for (import, args, moved) in [
        (Import::SchedYield, &[][..], 0),
        (Import::FdRead, &[0, 0, 2, 50], 2 * 8 + 7 + 4),
        (Import::FdRead, &[0, 0, 2, 50], 2 * 8 + 3 + 4),
        (Import::FdRead, &[0, 0, 2, 65_535], 2 * 8),
        (Import::FdRead, &[7, 0, 2, 50], 0),
        (Import::FdWrite, &[2, 0, 2, 50], 2 * 8 + 7 + 4),
        (Import::RandomGet, &[100, 1000], 1000),
        (Import::RandomGet, &[65_000, 1000], 0),
        (Import::ArgsGet, &[100, 200], 12 + 9),
        (Import::ClockTimeGet, &[0, 0, 100], 8),
        (Import::FdFilestatGet, &[0, 100], 64),
        (Import::PathOpen, &[3, 0, 1000, 5, 0, 2, 0, 0, 900], 5),
        (Import::PathUnlinkFile, &[3, 1000, 5], 0),
    ] {
        let before = bench.fuel;
        bench.call(import, args);
        assert_eq!(before - bench.fuel, CALL_COST + moved, "{import:?}");
    }
}

#[test]
fn fuel_ends_the_attempt_before_the_work() {
    let mut bench = Bench::new();
    bench.fuel = CALL_COST + 10;
    assert_eq!(bench.raw(Import::RandomGet, &[100, 10]), Err(Stop::OutOfFuel));
    assert_eq!((bench.fuel, bench.memory[100..110].iter().all(|byte| *byte == 0)), (0, true));
    bench.fuel = CALL_COST;
    assert_eq!(bench.raw(Import::ProcExit, &[3]), Err(Stop::OutOfFuel));
    bench.fuel = CALL_COST + 1;
    assert_eq!(bench.raw(Import::ProcExit, &[3]), Err(Stop::Exit(3)));
}

#[test]
fn randomness_is_one_stream_of_the_task() {
    let mut expected = [0; 3000];
    let mut hasher = blake3::Hasher::new_keyed(&TASK);
    hasher.update(b"bayan 2026-11-21 guest randomness v1").finalize_xof().fill(&mut expected);
    let mut bench = Bench::new();
    let mut at = 0;
    for len in [1, 63, 64, 1025, 0, 1847] {
        assert_eq!(bench.call(Import::RandomGet, &[at, len]), 0);
        assert_eq!(bench.call(Import::RandomGet, &[65_000, 1000]), Errno::Fault as u32);
        at += len;
    }
    assert_eq!(bench.memory[..3000], expected);
}

#[test]
fn clocks_stand_still() {
    let mut bench = Bench::new();
    for clock in 0..4 {
        assert_eq!(bench.call(Import::ClockTimeGet, &[clock, 0, 64]), 0);
        assert_eq!(bench.long(64), 946_684_800_000_000_000);
        assert_eq!(bench.call(Import::ClockResGet, &[clock, 64]), 0);
        assert_eq!(bench.long(64), 1);
    }
    assert_eq!(bench.call(Import::ClockTimeGet, &[4, 0, 64]), Errno::Inval as u32);
}

#[test]
fn opening_is_reading_only() {
    let mut bench = Bench::new();
    assert_eq!(bench.open("a.txt", 0, READ), 0);
    assert_eq!(bench.word(900), 4);
    bench.vector(&[(100, 5)]);
    assert_eq!(bench.call(Import::FdRead, &[4, 0, 1, 50]), 0);
    assert_eq!(&bench.memory[100..105], b"first");
    assert_eq!(bench.open(".", 2, READ), 0);
    assert_eq!(bench.word(900), 5);
    assert_eq!(bench.call(Import::FdClose, &[4]), 0);
    assert_eq!(bench.call(Import::FdClose, &[4]), Errno::Badf as u32);
    assert_eq!(bench.open("b.txt", 0, READ), 0);
    assert_eq!(bench.word(900), 4, "the lowest free number");
    for (path, flags, rights, errno) in [
        ("none", 0, READ, Errno::Noent),
        ("none", 1, READ, Errno::Rofs),
        ("a.txt", 1, READ, Errno::Success),
        ("a.txt", 1 | 4, READ, Errno::Exist),
        ("a.txt", 8, READ, Errno::Rofs),
        ("a.txt", 2, READ, Errno::Notdir),
        ("a.txt", 0, WRITE, Errno::Rofs),
        (".", 0, WRITE, Errno::Isdir),
        ("a.txt", 16, READ, Errno::Inval),
        ("../a.txt", 0, READ, Errno::Notcapable),
    ] {
        assert_eq!(bench.open(path, flags, rights), errno as u32, "{path} {flags} {rights}");
    }
    assert_eq!(
        bench.call(Import::PathOpen, &[0, 0, 1000, 1, 0, 0, 0, 0, 900]),
        Errno::Notdir as u32
    );
    assert_eq!(
        bench.call(Import::PathOpen, &[3, 0, 0, 4097, 0, 0, 0, 0, 900]),
        Errno::Nametoolong as u32
    );
}

#[test]
fn descriptors_run_out_at_a_fixed_number() {
    let mut bench = Bench::new();
    for number in 4..MAX_DESCRIPTORS as u32 {
        assert_eq!(bench.open("a.txt", 0, READ), 0);
        assert_eq!(bench.word(900), number);
    }
    assert_eq!(bench.open("a.txt", 0, READ), Errno::Mfile as u32);
}

#[test]
fn the_directory_lists_itself_in_byte_order() {
    let mut bench = Bench::new();
    assert_eq!(bench.call(Import::FdReaddir, &[3, 1000, 500, 0, 50]), 0);
    assert_eq!(bench.word(50), 4 * 24 + 1 + 2 + 5 + 5);
    assert_eq!(
        (bench.long(1000), bench.word(1016), bench.memory[1020], bench.memory[1024]),
        (1, 1, 3, b'.')
    );
    let third = 1000 + 25 + 26;
    assert_eq!((bench.long(third), bench.memory[third + 20]), (3, 4));
    assert_eq!(&bench.memory[third + 24..third + 29], b"a.txt");
    assert_eq!(bench.call(Import::FdReaddir, &[3, 1000, 26, 3, 50]), 0);
    assert_eq!(
        (bench.word(50), &bench.memory[1024..1026]),
        (26, &b"b."[..]),
        "the last entry is cut"
    );
    for cookie in [4, 5, u64::MAX] {
        assert_eq!(bench.call(Import::FdReaddir, &[3, 1000, 500, cookie, 50]), 0);
        assert_eq!(bench.word(50), 0);
    }
    assert_eq!(bench.call(Import::FdReaddir, &[0, 1000, 500, 0, 50]), Errno::Notdir as u32);
}

#[test]
fn descriptors_describe_themselves() {
    let mut bench = Bench::new();
    for (fd, kind, size) in [(0, 4, 10), (1, 0, 0), (2, 0, 0), (3, 3, 0)] {
        assert_eq!(bench.call(Import::FdFdstatGet, &[fd, 100]), 0);
        assert_eq!((bench.memory[100], bench.memory[102]), (kind, 0));
        assert_eq!(bench.call(Import::FdFilestatGet, &[fd, 200]), 0);
        assert_eq!((bench.memory[216], bench.long(224), bench.long(232)), (kind, 1, size));
        assert_eq!((bench.long(200), bench.long(208), bench.long(240)), (0, 0, 0));
    }
    assert_eq!(bench.call(Import::FdPrestatGet, &[3, 100]), 0);
    assert_eq!((bench.word(100), bench.word(104)), (0, 5));
    assert_eq!(bench.call(Import::FdPrestatDirName, &[3, 100, 5]), 0);
    assert_eq!(&bench.memory[100..105], b"/data");
    assert_eq!(bench.call(Import::FdPrestatDirName, &[3, 100, 4]), Errno::Nametoolong as u32);
    assert_eq!(bench.open(".", 2, READ), 0);
    for fd in [0, 1, 2, 4, 5] {
        assert_eq!(bench.call(Import::FdPrestatGet, &[fd, 100]), Errno::Badf as u32);
    }
    bench.put(1000, b"b.txt");
    assert_eq!(bench.call(Import::PathFilestatGet, &[3, 0, 1000, 5, 200]), 0);
    assert_eq!((bench.memory[216], bench.long(232)), (4, 6));
    assert_eq!(bench.call(Import::PathReadlink, &[3, 1000, 5, 200, 10, 50]), Errno::Inval as u32);
}

#[test]
fn polling_never_waits() {
    let mut bench = Bench::new();
    let subscribe = |bench: &mut Bench, index: usize, userdata: u64, tag: u8, word: u32| {
        let at = 1000 + index * 48;
        bench.memory[at..at + 48].fill(0);
        bench.put(at, &userdata.to_le_bytes());
        bench.put(at + 8, &[tag]);
        bench.put(at + 16, &word.to_le_bytes());
    };
    subscribe(&mut bench, 0, 11, 0, 1);
    subscribe(&mut bench, 1, 12, 0, 9);
    assert_eq!(bench.call(Import::PollOneoff, &[1000, 2000, 2, 50]), 0);
    assert_eq!((bench.word(50), bench.long(2000), bench.long(2032)), (2, 11, 12));
    assert_eq!((bench.memory[2008], bench.memory[2040]), (0, Errno::Inval as u8));
    subscribe(&mut bench, 1, 12, 1, 0);
    subscribe(&mut bench, 2, 13, 2, 0);
    assert_eq!(bench.call(Import::PollOneoff, &[1000, 2000, 3, 50]), 0);
    assert_eq!((bench.word(50), bench.long(2000), bench.long(2032)), (2, 12, 13));
    assert_eq!((bench.memory[2010], bench.long(2016)), (1, 10));
    assert_eq!((bench.memory[2042], bench.memory[2040]), (2, Errno::Badf as u8));
    subscribe(&mut bench, 0, 11, 3, 0);
    assert_eq!(bench.call(Import::PollOneoff, &[1000, 2000, 1, 50]), Errno::Inval as u32);
    assert_eq!(bench.call(Import::PollOneoff, &[1000, 2000, 0, 50]), Errno::Inval as u32);
}

#[test]
fn calls_that_change_things_have_fixed_answers() {
    let mut bench = Bench::new();
    for import in [
        Import::FdAllocate,
        Import::FdFilestatSetSize,
        Import::FdFilestatSetTimes,
        Import::PathCreateDirectory,
        Import::PathFilestatSetTimes,
        Import::PathLink,
        Import::PathRemoveDirectory,
        Import::PathRename,
        Import::PathSymlink,
        Import::PathUnlinkFile,
    ] {
        assert_eq!(bench.call(import, &[3]), Errno::Rofs as u32, "{import:?}");
    }
    for import in [Import::FdFdstatSetRights, Import::FdRenumber, Import::ProcRaise] {
        assert_eq!(bench.call(import, &[3]), Errno::Notsup as u32, "{import:?}");
    }
    for import in [Import::FdAdvise, Import::FdSync, Import::FdDatasync, Import::FdFdstatSetFlags] {
        assert_eq!(bench.call(import, &[1]), 0, "{import:?}");
        assert_eq!(bench.call(import, &[9]), Errno::Badf as u32, "{import:?}");
    }
    assert_eq!(bench.call(Import::FdPwrite, &[1]), Errno::Spipe as u32);
    assert_eq!(bench.call(Import::FdPwrite, &[0]), Errno::Badf as u32);
}

/// No argument may panic, and none may write outside the memory or for free.
#[test]
fn hostile_arguments_are_answered() {
    let edges = [0, 1, 3, 1024, 65_535, 65_536, u64::from(u32::MAX), 1 << 63, u64::MAX];
    let mut seed = 1_u64;
    for import in Import::ALL {
        let mut bench = Bench::new();
        for byte in bench.memory.iter_mut().step_by(3) {
            *byte = 0xff;
        }
        for _ in 0..2000 {
            let args = core::array::from_fn::<u64, 9, _>(|_| {
                seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                edges[(seed >> 33) as usize % edges.len()]
            });
            let before = bench.fuel;
            match bench.raw(*import, &args) {
                Ok(errno) => assert!(errno <= Errno::Notcapable as u32),
                Err(stop) => assert!(
                    matches!(stop, Stop::Exit(_) | Stop::OutputLimit),
                    "{import:?} {stop:?}"
                ),
            }
            assert!(before - bench.fuel >= CALL_COST);
        }
    }
}
