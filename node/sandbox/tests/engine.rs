//! The engine's promises: every bound holds, every end is named, and results repeat.

mod common;

use std::{fs, sync::Arc, thread};

use bayan_protocol::task::{Limits, Status};
use bayan_sandbox::{Cancel, Engine, LoadError, Outcome, Task, Verdict, inspect};
use common::{ENDLESS, LIMITS, RECURSIVE, assemble, command, load, task};

const FD_WRITE: &str = r#"(import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))"#;

const YIELD: &str = r#"(import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))"#;

fn run(wasm: &[u8], limits: Limits) -> Outcome {
    let engine = Engine::new(None).unwrap();
    engine.run(&load(&engine, wasm), &task(limits), &Cancel::new())
}

/// Writes one page of zeroes to standard output for ever.
fn chatter() -> Vec<u8> {
    let body = "(i32.store (i32.const 4) (i32.const 65536))
        (loop $l (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (br $l))";
    command(FD_WRITE, body)
}

#[test]
fn fuel_ends_a_loop_and_is_then_the_limit() {
    let outcome = run(&command("", ENDLESS), Limits { fuel: 123_457, ..LIMITS });
    assert_eq!(outcome.result(), (Status::OutOfFuel, &[][..], 123_457));
}

#[test]
fn the_largest_fuel_limit_is_no_overflow() {
    let limits = Limits { fuel: u64::MAX, memory: u64::MAX, output: u64::MAX, wall_ms: u64::MAX };
    assert_eq!(
        run(&command("", "(drop (i32.const 1))"), limits).result(),
        (Status::Exited(0), &[][..], 2)
    );
}

#[test]
fn host_calls_cannot_be_made_for_free() {
    let storm = command(YIELD, "(loop $l (drop (call $yield)) (br $l))");
    let outcome = run(&storm, Limits { fuel: 1_000_000, ..LIMITS });
    assert_eq!(outcome.result(), (Status::OutOfFuel, &[][..], 1_000_000));
}

#[test]
fn bulk_instructions_cannot_be_made_for_free() {
    let body = "(loop $l (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536)) (br $l))";
    assert_eq!(
        run(&command("", body), Limits { fuel: 1 << 30, ..LIMITS }).status,
        Status::OutOfFuel
    );
    let oversized = "(memory.fill (i32.const 0) (i32.const 0) (i32.const -1))";
    assert_eq!(
        run(&command("", oversized), Limits { fuel: 1 << 30, ..LIMITS }).status,
        Status::OutOfFuel
    );
}

#[test]
fn wall_time_ends_a_loop_without_a_result() {
    let outcome = run(&command("", ENDLESS), Limits { wall_ms: 30, ..LIMITS });
    assert_eq!((outcome.status, outcome.fuel), (Status::WallTime, 0));
    assert!(!outcome.status.is_conclusive());
    assert!(outcome.micros >= 30_000);
}

#[test]
fn cancelling_ends_a_running_attempt() {
    let engine = Engine::new(None).unwrap();
    let module = load(&engine, &command("", ENDLESS));
    let cancel = Cancel::new();
    let outcome = thread::scope(|scope| {
        let running = scope.spawn(|| engine.run(&module, &task(LIMITS), &cancel));
        cancel.cancel();
        running.join().unwrap()
    });
    assert_eq!(outcome.status, Status::WallTime);
    assert_eq!(engine.run(&module, &task(LIMITS), &cancel).status, Status::WallTime);
}

#[test]
fn memory_grows_to_the_limit_and_no_further() {
    let body = "(local $pages i32)
        (loop $l (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then (br $l))))
        (call $exit (memory.size))";
    let exit = r#"(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))"#;
    let bomb = command(exit, body);
    assert_eq!(
        run(&bomb, Limits { memory: 10 * 65_536 + 65_535, ..LIMITS }).status,
        Status::Exited(10)
    );
    assert_eq!(run(&bomb, Limits { memory: 65_536, ..LIMITS }).status, Status::Exited(1));
    assert_eq!(
        run(&bomb, Limits { memory: 65_535, ..LIMITS }).result(),
        (Status::Trapped, &[][..], 0)
    );
}

#[test]
fn output_over_the_limit_ends_the_attempt() {
    let outcome = run(&chatter(), Limits { output: 65_536 * 3, ..LIMITS });
    assert_eq!((outcome.status, outcome.output.len()), (Status::OutputLimit, 0));
}

#[test]
fn every_kind_of_trap_is_a_result() {
    for body in [
        "(unreachable)",
        "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
        "(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))",
        "(drop (i32.trunc_f32_s (f32.const nan)))",
        "(drop (i64.load (i32.const 65529)))",
        "(drop (i64.load offset=0xffffffff (i32.const 0xffffffff)))",
        "(memory.copy (i32.const 0) (i32.const 65000) (i32.const 1000))",
    ] {
        let outcome = run(&command("", body), LIMITS);
        assert_eq!((outcome.status, outcome.output.len()), (Status::Trapped, 0), "{body}");
    }
    for call in ["(i32.const 0)", "(i32.const 1)", "(i32.const 9)"] {
        let text = format!(
            r#"(module (memory (export "memory") 1) (table 3 funcref) (elem (i32.const 1) $f)
               (func $f (param i32)) (func (export "_start") (call_indirect {call})))"#
        );
        assert_eq!(run(&assemble(&text), LIMITS).status, Status::Trapped, "{call}");
    }
}

#[test]
fn running_out_of_stack_is_no_result() {
    let outcome = run(&assemble(RECURSIVE), LIMITS);
    assert_eq!((outcome.status, outcome.fuel), (Status::StackOverflow, 0));
}

#[test]
fn standard_error_is_kept_whatever_the_end() {
    let body = r#"(i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 3))
        (i32.store (i32.const 16) (i32.const 0x21796c))
        (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8))) (unreachable)"#;
    let outcome = run(&command(FD_WRITE, body), LIMITS);
    assert_eq!((outcome.status, outcome.log.as_slice()), (Status::Trapped, &b"ly!"[..]));
}

#[test]
fn data_files_with_impossible_names_are_the_hosts_fault() {
    let engine = Engine::new(None).unwrap();
    let module = load(&engine, &command("", ""));
    let data = vec![("a/b".to_owned(), Arc::from([]))];
    let outcome = engine.run(&module, &Task { data, ..task(LIMITS) }, &Cancel::new());
    assert_eq!(outcome.status, Status::HostFault);
    assert!(String::from_utf8_lossy(&outcome.log).contains("a/b"));
}

/// Something of everything: floats, randomness, tables, memory, output.
fn mixture() -> Vec<u8> {
    let random = r#"(import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))"#;
    let body = "(local $i i32)
        (loop $l
          (drop (call $random (i32.const 64) (i32.const 100)))
          (f64.store (i32.const 64) (f64.sqrt (f64.load (i32.const 80))))
          (v128.store (i32.const 96) (f32x4.div (v128.load (i32.const 96)) (v128.load (i32.const 112))))
          (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 100))
          (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
          (drop (memory.grow (i32.const 1)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br_if $l (i32.lt_u (local.get $i) (i32.const 50))))";
    command(&format!("{FD_WRITE} {random}"), body)
}

#[test]
fn results_repeat_in_one_engine_in_another_and_from_the_cache() {
    let cache = tempfile::tempdir().unwrap();
    let wasm = mixture();
    let plain = Engine::new(None).unwrap();
    let module = load(&plain, &wasm);
    let Verdict::Same(expected) = plain.check_determinism(&module, &task(LIMITS)) else {
        panic!("runs differ")
    };
    assert_eq!((expected.status, expected.output.len()), (Status::Exited(0), 5000));
    for _ in 0..2 {
        let engine = Engine::new(Some(cache.path().join("code"))).unwrap();
        let outcome = engine.run(&load(&engine, &wasm), &task(LIMITS), &Cancel::new());
        assert_eq!(outcome.result(), expected.result());
    }
    let mut other = task(LIMITS);
    other.id.0[0] ^= 1;
    assert_ne!(
        plain.run(&module, &other, &Cancel::new()).output,
        expected.output,
        "another task, other randomness"
    );
}

#[test]
fn damaged_cache_files_are_compiled_again() {
    let cache = tempfile::tempdir().unwrap();
    let engine = Engine::new(Some(cache.path().to_owned())).unwrap();
    let wasm = mixture();
    let expected = engine.run(&load(&engine, &wasm), &task(LIMITS), &Cancel::new());
    let files = || {
        fs::read_dir(cache.path()).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    let [file] = files().try_into().expect("one finished file and no temporary one");
    let good = fs::read(&file).unwrap();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for damaged in [&flipped[..], &good[..good.len() / 2], &good[..10], &[]] {
        fs::write(&file, damaged).unwrap();
        let outcome = engine.run(&load(&engine, &wasm), &task(LIMITS), &Cancel::new());
        assert_eq!(outcome.result(), expected.result());
        assert_eq!(fs::read(&file).unwrap().len(), good.len(), "the file is whole again");
        assert_eq!(files().len(), 1);
    }
}

#[test]
fn a_cache_that_cannot_be_made_is_reported() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Engine::new(Some(file.path().join("below"))).err().expect("a file is no directory");
    assert!(error.to_string().contains("below"));
}

#[test]
fn inspection_describes_a_module_and_names_every_problem() {
    let report = inspect(&mixture()).unwrap();
    assert_eq!(
        report.imports.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["wasi_snapshot_preview1.fd_write", "wasi_snapshot_preview1.random_get"]
    );
    assert_eq!(
        (report.exports.as_slice(), report.memory_min, report.memory_max),
        (&["memory".to_owned(), "_start".to_owned()][..], 1, None)
    );
    assert!(report.problems.is_empty());
    let bad =
        assemble(r#"(module (import "a" "b" (func)) (import "c" "d" (global i32)) (memory 2 3))"#);
    let report = inspect(&bad).unwrap();
    assert_eq!((report.memory_bytes(), report.memory_max), (131_072, Some(3)));
    assert!(matches!(
        &report.problems[..],
        [
            LoadError::Import { .. },
            LoadError::Import { .. },
            LoadError::NoStart,
            LoadError::NoMemory
        ]
    ));
}

#[test]
fn no_prefix_of_a_module_is_accepted_or_panics() {
    let wasm = assemble(
        r#"(module (memory (export "memory") 1) (func (export "_start") (drop (i32.const 1))))"#,
    );
    assert!(inspect(&wasm).unwrap().problems.is_empty());
    for len in 0..wasm.len() {
        assert!(inspect(&wasm[..len]).map_or(true, |report| !report.problems.is_empty()), "{len}");
    }
}
