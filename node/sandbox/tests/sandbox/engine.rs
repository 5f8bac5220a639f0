//! The engine's promises to who packs a guest and runs it: every bound holds, every end is named,
//! and results repeat.

use std::sync::Arc;

use crate::guests::{LIMITS, assemble, attempt, command, load, task, with_stack};
use bayan_protocol::task::{Limits, Status};
use bayan_sandbox::{Engine, Outcome, Task, Verdict};

const FD_WRITE: &str = r#"(import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))"#;

const ENDLESS: &str = "(loop $l (br $l))";

const YIELD: &str = r#"(import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))"#;

fn run(wasm: &[u8], limits: Limits) -> Outcome {
    let engine = Engine::new().unwrap();
    attempt(&engine, &load(&engine, wasm), &task(limits))
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
    let wasm = command("", "(drop (i32.const 1))");
    let outcome = run(&wasm, limits);
    assert_eq!(outcome.status, Status::Exited(0));
    assert_eq!(outcome.result(), run(&wasm, LIMITS).result());
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
        run(&command("", oversized), Limits { fuel: 1 << 20, ..LIMITS }).status,
        Status::OutOfFuel
    );
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
fn endless_recursion_ends_at_the_modules_own_bound_everywhere_alike() {
    for locals in ["", "(local i64 i64 i64 i64 v128 v128 v128 v128)"] {
        let text = format!(
            r#"(module (memory (export "memory") 1)
               (func $f (export "_start") {locals} (call $f) (call $f)))"#
        );
        let (first, second) = (run(&assemble(&text), LIMITS), run(&assemble(&text), LIMITS));
        assert_eq!(first.status, Status::Trapped, "{locals}");
        assert!(first.fuel > 0);
        assert_eq!(first.result(), second.result());
    }
}

/// Endless recursion through frames that are much larger in native code than they look.
fn deep(of: &str) -> Outcome {
    let text = format!(r#"(module (memory (export "memory") 1) {of})"#);
    run(&assemble(&text), Limits { fuel: 1 << 40, ..LIMITS })
}

fn repeat(count: usize, text: impl Fn(usize) -> String) -> String {
    (0..count).map(text).collect()
}

#[test]
fn what_lives_across_a_call_is_covered_by_the_estimate() {
    let locals = "i64 ".repeat(400);
    let load = repeat(400, |n| format!("(local.set {n} (i64.load (i32.const {})))", n * 8));
    let store = repeat(400, |n| format!("(i64.store (i32.const {}) (local.get {n}))", n * 8));
    let of = format!(r#"(func $f (export "_start") (local {locals}) {load} (call $f) {store})"#);
    assert_eq!(deep(&of).status, Status::Trapped, "locals");

    let push = repeat(500, |n| format!("(v128.load (i32.const {}))", n * 16));
    let pop = repeat(500, |n| format!("(local.set 0) (v128.store (i32.const {n}) (local.get 0))"));
    let of = format!(r#"(func $f (export "_start") (local v128) {push} (call $f) {pop})"#);
    assert_eq!(deep(&of).status, Status::Trapped, "operands");
}

#[test]
fn parameters_and_results_are_covered_by_the_estimate() {
    let types = "f64 ".repeat(900);
    let push = repeat(900, |n| format!("(local.get {n})"));
    let of = format!(
        r#"(func $f (param {types}) {push} (call $f) (call $f {push}))
           (func (export "_start") {} (call $f))"#,
        "(f64.const 1)".repeat(900)
    );
    assert_eq!(deep(&of).status, Status::Trapped, "parameters");

    let of = format!(
        r#"(type $t (func (result {types}))) (table 1 funcref) (elem (i32.const 0) $f)
           (func $f (type $t) (call_indirect (type $t) (i32.const 0)) (call_indirect (type $t) (i32.const 0)) {})
           (func (export "_start") (call $f) {})"#,
        "(drop)".repeat(900),
        "(drop)".repeat(900)
    );
    assert_eq!(deep(&of).status, Status::Trapped, "results");
}

/// The compiler computes an expression that comes up again only once and keeps what came out across
/// the call between, beyond what packing can know. That may end without a result, but it ends.
#[test]
fn shared_expressions_end_at_one_bound_or_the_other() {
    let shared = repeat(3_000, |n| {
        format!(
            "(v128.store (i32.const 0) (f64x2.mul
               (f64x2.splat (f64.convert_i64_s (local.get 0))) (v128.const i64x2 {n} 5)))"
        )
    });
    let of = format!(
        r#"(func $f (param i64) {shared} (call $f (i64.add (local.get 0) (i64.const 1))) {shared})
           (func (export "_start") (call $f (i64.const 1)))"#
    );
    let outcome = deep(&of);
    assert!(matches!(outcome.status, Status::Trapped | Status::StackOverflow), "{outcome:?}");
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
    let engine = Engine::new().unwrap();
    let module = load(&engine, &command("", ""));
    let data = vec![("a/b".to_owned(), Arc::from([]))];
    let outcome = attempt(&engine, &module, &Task { data, ..task(LIMITS) });
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
fn results_repeat_in_one_engine_and_in_another() {
    let wasm = mixture();
    let engine = Engine::new().unwrap();
    let module = load(&engine, &wasm);
    let verdict = with_stack(|| engine.check_determinism(&module, &task(LIMITS)));
    let Verdict::Same(expected) = verdict else { panic!("runs differ: {verdict:?}") };
    assert_eq!((expected.status, expected.output.len()), (Status::Exited(0), 5000));
    assert_eq!(run(&wasm, LIMITS).result(), expected.result());
    let mut other = task(LIMITS);
    other.id.0[0] ^= 1;
    let output = attempt(&engine, &module, &other).output;
    assert_ne!(output, expected.output, "another task, other randomness");
}
