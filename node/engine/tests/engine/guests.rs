//! Real guests in real engine processes.

use bayan_engine::{Data, Engines, Launcher, Module, Options, Task};
use bayan_protocol::task::{Limits, Status};

use crate::common::{Reports, job, task};

fn engines(reports: &Reports, slots: usize) -> Engines {
    let launcher = Launcher::at(env!("CARGO_BIN_EXE_bayan-engine-process"), []);
    reports.engines(Options { launcher, ..Options::new(slots) })
}

/// A command of this body, with room at 1024 and functions to read, write and add 1 to a cell.
fn command(engines: &Engines, body: &str) -> Module {
    let text = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_read"
                (func $fd_read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write"
                (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 2)
            (data (i32.const 512) "\2a")
            (func $write (param $at i32) (param $len i32)
                (i32.store (i32.const 0) (local.get $at))
                (i32.store (i32.const 4) (local.get $len))
                (drop (call $fd_write
                    (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
            (func $read (result i32)
                (i32.store (i32.const 0) (i32.const 1024))
                (i32.store (i32.const 4) (i32.const 65536))
                (drop (call $fd_read
                    (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
                (i32.load (i32.const 8)))
            {body})"#
    );
    engines.prepare(&wat::parse_str(text).unwrap()).unwrap()
}

const ECHO: &str = r#"(func (export "_start") (call $write (i32.const 1024) (call $read)))"#;

#[test]
fn guests_read_and_write() {
    let reports = Reports::default();
    let engines = engines(&reports, 2);
    let echo = command(&engines, ECHO);
    let begun = std::time::Instant::now();
    for attempt in 0..4000_u64 {
        engines.submit(job(attempt, &echo, &[], &attempt.to_le_bytes())).unwrap();
    }
    for (attempt, outcomes) in reports.wait(4000) {
        assert_eq!(outcomes.len(), 1);
        let outcome = &outcomes[0];
        let log = String::from_utf8_lossy(&outcome.log);
        assert_eq!(outcome.status, Status::Exited(0), "{log}");
        assert_eq!(outcome.output, attempt.to_le_bytes());
    }
    println!("{:?} an attempt", begun.elapsed() / 4000);
}

#[test]
fn each_attempt_starts_afresh() {
    let engines = engines(&Reports::default(), 1);
    let other = command(&engines, ECHO);
    let count = command(
        &engines,
        r#"(func (export "_start")
            (i32.store8 (i32.const 512) (i32.add (i32.load8_u (i32.const 512)) (i32.const 1)))
            (i32.store8 (i32.const 70000) (i32.add (i32.load8_u (i32.const 70000)) (i32.const 1)))
            (i32.store8 (i32.const 513) (i32.load8_u (i32.const 70000)))
            (call $write (i32.const 512) (i32.const 2)))"#,
    );
    for _ in 0..50 {
        assert_eq!(engines.run(&count, task(&[], b"")).output, [0x2b, 1]);
        assert_eq!(engines.run(&other, task(&[], b"x")).output, b"x");
    }
}

#[test]
fn fuel_memory_and_stack_end_guests_in_order() {
    let engines = engines(&Reports::default(), 1);
    let limited = |module: &Module, limits| engines.run(module, Task { limits, ..task(&[], b"") });
    let spin = command(&engines, r#"(func (export "_start") (loop (br 0)))"#);
    let limits = Limits { fuel: 1_000_000, ..Limits::default() };
    let outcome = limited(&spin, limits);
    assert_eq!(outcome.result(), (Status::OutOfFuel, &[][..], 1_000_000), "{outcome:?}");
    let trap = command(&engines, r#"(func (export "_start") unreachable)"#);
    assert_eq!(limited(&trap, Limits::default()).status, Status::Trapped);
    let wild = command(&engines, r#"(func (export "_start") (drop (i32.load (i32.const -8))))"#);
    assert_eq!(limited(&wild, Limits::default()).status, Status::Trapped);
    let deep = command(
        &engines,
        r#"(func $deep (param i64) (result i64)
            (i64.add (local.get 0) (call $deep (i64.add (local.get 0) (i64.const 1)))))
          (func (export "_start") (drop (call $deep (i64.const 0))))"#,
    );
    assert_eq!(limited(&deep, Limits::default()).status, Status::Trapped);
    // Grows until it may no more, touching every page, and says how far it came.
    let grow = command(
        &engines,
        r#"(func (export "_start")
            (loop $more
                (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then
                    (i32.store
                        (i32.mul (i32.sub (memory.size) (i32.const 1)) (i32.const 65536))
                        (i32.const 1))
                    (br $more))))
            (i32.store (i32.const 1024) (memory.size))
            (call $write (i32.const 1024) (i32.const 4)))"#,
    );
    for pages in [2_u32, 100, 16384] {
        let limits = Limits { memory: u64::from(pages) << 16, ..Limits::default() };
        let outcome = limited(&grow, limits);
        let log = String::from_utf8_lossy(&outcome.log);
        assert_eq!(outcome.output, pages.to_le_bytes(), "{:?}: {log}", outcome.status);
    }
}

#[test]
fn data_files_are_seen() {
    let engines = engines(&Reports::default(), 1);
    let wasm = wat::parse_str(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_prestat_get"
                (func $prestat (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "path_open"
                (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_read"
                (func $read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (data (i32.const 100) "words")
            (func (export "_start")
                (if (call $prestat (i32.const 3) (i32.const 0)) (then (call $exit (i32.const 1))))
                (if (call $open (i32.const 3) (i32.const 0) (i32.const 100) (i32.const 5)
                    (i32.const 0) (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 200))
                    (then (call $exit (i32.const 2))))
                (i32.store (i32.const 0) (i32.const 1024))
                (i32.store (i32.const 4) (i32.const 4096))
                (if (call $read (i32.load (i32.const 200)) (i32.const 0) (i32.const 1)
                    (i32.const 8)) (then (call $exit (i32.const 3))))
                (i32.store (i32.const 4) (i32.load (i32.const 8)))
                (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))
                    (then (call $exit (i32.const 4))))))"#,
    );
    let module = engines.prepare(&wasm.unwrap()).unwrap();
    let data = vec![("words".to_owned(), Data::new(b"one two three").unwrap())];
    for _ in 0..3 {
        let outcome = engines.run(&module, Task { data: data.clone(), ..task(&[], b"") });
        assert_eq!(outcome.status, Status::Exited(0), "{outcome:?}");
        assert_eq!(outcome.output, b"one two three");
    }
}

#[test]
fn walls_stand_around_the_real_engine() {
    let engines = engines(&Reports::default(), 1);
    let probe = engines.probe(None).unwrap();
    assert!(!cfg!(target_os = "linux") || probe.is_tight(), "{probe:?}");
}

/// A small module whose code cannot be compiled in little: each of many loops around each other
/// carries each of many locals.
fn bomb() -> Vec<u8> {
    let (loops, locals) = (1_500, 30_000);
    let changes: String = (0..locals)
        .map(|local| format!("(local.set {local} (i64.add (local.get {local}) (i64.const 1)))"))
        .collect();
    let open = "(loop ".repeat(loops);
    let close = "(br_if 0 (i64.eqz (local.get 0))))".repeat(loops);
    wat::parse_str(format!(
        r#"(module (memory (export "memory") 1)
            (func (export "_start") (local {}) {open}{changes}{close}))"#,
        "i64 ".repeat(locals)
    ))
    .unwrap()
}

#[test]
fn a_compile_bomb_ends_alone() {
    let launcher = Launcher::at(env!("CARGO_BIN_EXE_bayan-engine-process"), []);
    let options = Options {
        launcher,
        compile_time: std::time::Duration::from_secs(4),
        compile_memory: 1 << 30,
        ..Options::new(1)
    };
    let engines = Reports::default().engines(options);
    let echo = command(&engines, ECHO);
    let bomb = bomb();
    assert!(bomb.len() < 1 << 20, "{} bytes", bomb.len());
    let (error, meanwhile) = std::thread::scope(|scope| {
        let compiling = scope.spawn(|| engines.prepare(&bomb).map(drop).unwrap_err());
        let mut meanwhile = 0;
        while !compiling.is_finished() {
            assert_eq!(engines.run(&echo, task(&[], b"x")).output, b"x");
            meanwhile += 1;
        }
        (compiling.join().unwrap(), meanwhile)
    });
    println!("{meanwhile} attempts meanwhile; {error}");
    assert!(error.to_string().starts_with("compiling took more than"), "{error}");
    assert!(meanwhile > 10, "only {meanwhile} attempts went on meanwhile");
    assert_eq!(engines.run(&echo, task(&[], b"y")).output, b"y");
}
