//! What the engine makes of what a packed module says: with modules packed by hand, so that each
//! case is exactly the one it is named after.

use std::{fs::File, io::Write as _};

use crate::guests::{LIMITS, PACKED, assemble, attempt, by_hand, task};
use bayan_protocol::task::{Limits, Status};
use bayan_sandbox::{Engine, LoadError, Outcome, Task, compile, fingerprint};

const EXIT: &str = r#"(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))"#;
const YIELD: &str = r#"(import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))"#;

const FUEL: u64 = 10_000;

fn run_within(packed: &[u8], limits: Limits) -> Outcome {
    let engine = Engine::new().unwrap();
    let module = engine.prepare(packed).unwrap_or_else(|error| panic!("{error}"));
    attempt(&engine, &module, &task(limits))
}

fn run(imports: &str, body: &str) -> Outcome {
    run_within(&by_hand(imports, body), Limits { fuel: FUEL, ..LIMITS })
}

/// Uses up `units` of fuel.
fn burn(units: i64) -> String {
    format!("(global.set $fuel (i64.sub (global.get $fuel) (i64.const {units})))")
}

const STOP_AT_STACK: &str = "(global.set $stop (i32.const 1))";
const STOP_AT_MEMORY: &str = "(global.set $stop (i32.const 2))";
const NO_OUTPUT: &[u8] = &[];

#[test]
fn returning_is_success_and_costs_what_is_gone() {
    assert_eq!(run("", "").result(), (Status::Exited(0), NO_OUTPUT, 0));
    assert_eq!(run("", &burn(77)).result(), (Status::Exited(0), NO_OUTPUT, 77));
    assert_eq!(run("", &burn(9_999)).result(), (Status::Exited(0), NO_OUTPUT, 9_999));
}

#[test]
fn no_fuel_left_is_out_of_fuel_however_the_guest_ends() {
    let spent = (Status::OutOfFuel, NO_OUTPUT, FUEL);
    for ending in [
        "",
        "(unreachable)",
        STOP_AT_STACK,
        STOP_AT_MEMORY,
        "(drop (call $yield))",
        "(call $exit (i32.const 3))",
    ] {
        for units in [10_000, 10_001, i64::MAX] {
            let body = format!("{} {ending}", burn(units));
            assert_eq!(run(&format!("{YIELD} {EXIT}"), &body).result(), spent, "{ending} {units}");
        }
    }
    // But a host that refused memory says nothing about the guest, whatever fuel was left.
    let stopped = format!("{} {STOP_AT_MEMORY} (unreachable)", burn(10_000));
    assert_eq!(run("", &stopped).result(), (Status::MemoryRefused, NO_OUTPUT, 0));
}

#[test]
fn the_modules_own_stack_bound_is_a_trap_with_its_fuel() {
    let body = format!("{} {STOP_AT_STACK} (unreachable)", burn(123));
    assert_eq!(run("", &body).result(), (Status::Trapped, NO_OUTPUT, 123));
}

#[test]
fn a_growth_that_the_host_refused_is_no_result() {
    let body = format!("{} {STOP_AT_MEMORY} (unreachable)", burn(123));
    assert_eq!(run("", &body).result(), (Status::MemoryRefused, NO_OUTPUT, 0));
}

#[test]
fn the_native_stack_is_no_result() {
    let text = format!(r#"(module {PACKED} (func $f (export "_start") (call $f) (call $f)))"#);
    let outcome = run_within(&assemble(&text), LIMITS);
    assert_eq!(outcome.result(), (Status::StackOverflow, NO_OUTPUT, 0));
    assert!(!outcome.status.is_conclusive());
}

#[test]
fn every_other_trap_is_a_result_with_its_fuel() {
    for body in [
        "(unreachable)",
        "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
        "(drop (i32.rem_s (i32.const 1) (i32.const 0)))",
        "(drop (i32.div_s (i32.const 0x80000000) (i32.const -1)))",
        "(drop (i32.trunc_f32_s (f32.const nan)))",
        "(drop (i64.trunc_f64_u (f64.const 1e30)))",
        "(drop (i64.load (i32.const 65529)))",
        "(drop (i64.load offset=0xffffffff (i32.const 0xffffffff)))",
        "(v128.store (i32.const -1) (v128.const i64x2 0 0))",
        "(memory.copy (i32.const 0) (i32.const 65000) (i32.const 1000))",
        "(memory.fill (i32.const 65536) (i32.const 0) (i32.const 1))",
    ] {
        let outcome = run("", &format!("{} {body}", burn(5)));
        assert_eq!(outcome.result(), (Status::Trapped, NO_OUTPUT, 5), "{body}");
    }
    for index in [0, 1, 9] {
        let text = format!(
            r#"(module {PACKED} (table 3 funcref) (elem (i32.const 1) $f)
               (func $f (param i32))
               (func (export "_start") (call_indirect (i32.const {index}))))"#
        );
        let outcome = run_within(&assemble(&text), LIMITS);
        assert_eq!(outcome.result(), (Status::Trapped, NO_OUTPUT, 0), "{index}");
    }
}

#[test]
fn host_calls_take_their_cost_from_the_modules_fuel() {
    let call = "(drop (call $yield))";
    assert_eq!(run(YIELD, call).result(), (Status::Exited(0), NO_OUTPUT, 256));
    let body = format!("{} {call} {}", burn(100), burn(10));
    assert_eq!(run(YIELD, &body).result(), (Status::Exited(0), NO_OUTPUT, 366));
    // The call leaves nothing: it ends the attempt, and what follows it is not reached.
    let body = format!("{} {call} (call $exit (i32.const 1))", burn(10_000 - 256));
    assert_eq!(run(&format!("{YIELD} {EXIT}"), &body).status, Status::OutOfFuel);
    let body = format!("{} {call} (unreachable)", burn(10_000 - 257));
    assert_eq!(run(YIELD, &body).result(), (Status::Trapped, NO_OUTPUT, 9_999));
}

/// Moves `units` of fuel into the slice.
fn hold(units: i64) -> String {
    format!(
        "(global.set $fuel (i64.sub (global.get $fuel) (i64.const {units})))
         (global.set $slice (i64.add (global.get $slice) (i64.const {units})))"
    )
}

#[test]
fn the_slice_is_fuel_left_but_after_a_trap() {
    let imports = format!("{YIELD} {EXIT}");
    let call = "(drop (call $yield))";
    for (ending, status, used) in [
        ("", Status::Exited(0), 0),
        ("(call $exit (i32.const 3))", Status::Exited(3), 256),
        ("(unreachable)", Status::Trapped, 4_000),
    ] {
        let outcome = run(&imports, &format!("{} {ending}", hold(4_000)));
        assert_eq!(outcome.result(), (status, NO_OUTPUT, used), "{ending}");
        // A host call takes back what is held.
        let outcome = run(&imports, &format!("{} {call} {ending}", hold(4_000)));
        let used = if status == Status::Trapped { 256 } else { used + 256 };
        assert_eq!(outcome.result(), (status, NO_OUTPUT, used), "after a call: {ending}");
    }
    // Nothing but the slice is left, and it is more than the debt, or is not.
    let body =
        |rest: i64, ending: &str| format!("{} {} {ending}", hold(12_000), burn(-2_000 - rest));
    let spent = (Status::OutOfFuel, NO_OUTPUT, FUEL);
    assert_eq!(run("", &body(-11_999, "")).result(), (Status::Exited(0), NO_OUTPUT, 9_999));
    assert_eq!(run("", &body(-12_000, "")).result(), spent);
    assert_eq!(run("", &body(-2_000, "(unreachable)")).result(), spent);
    assert_eq!(run("", &body(1, "(unreachable)")).result(), (Status::Trapped, NO_OUTPUT, 9_999));
}

#[test]
fn the_guest_is_given_its_limits() {
    let show = "(call $exit (i32.add (i32.mul (global.get $pages) (i32.const 1000))
            (i32.wrap_i64 (global.get $fuel))))";
    let limits = Limits { memory: 7 * 65_536 + 65_535, fuel: 512, ..LIMITS };
    assert_eq!(run_within(&by_hand(EXIT, show), limits).status, Status::Exited(7512));
    let most = Limits { memory: u64::MAX, fuel: u64::MAX, output: u64::MAX, wall_ms: u64::MAX };
    let outcome = run_within(&by_hand(EXIT, "(call $exit (global.get $pages))"), most);
    assert_eq!(outcome.result(), (Status::Exited(65_536), NO_OUTPUT, 256));
}

#[test]
fn limits_that_leave_nothing_to_run_are_answered_before_it() {
    let module = by_hand("", "");
    let less = Limits { memory: 65_535, ..LIMITS };
    assert_eq!(run_within(&module, less).result(), (Status::Trapped, NO_OUTPUT, 0));
    let none = Limits { fuel: 0, ..LIMITS };
    assert_eq!(run_within(&module, none).result(), (Status::OutOfFuel, NO_OUTPUT, 0));
}

#[test]
fn growth_stops_at_the_limits_even_if_the_module_does_not() {
    let body = "(local $pages i32)
        (loop $l (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then (br $l))))
        (call $exit (memory.size))";
    let outcome = run_within(&by_hand(EXIT, body), Limits { memory: 10 << 16, ..LIMITS });
    assert_eq!(outcome.status, Status::Exited(10));
    let tables = r#"(table $t 0 funcref)"#;
    let body = "(call $exit (i32.add
        (table.grow $t (ref.null func) (i32.const 1048576))
        (table.grow $t (ref.null func) (i32.const 1))))";
    assert_eq!(run(&format!("{EXIT} {tables}"), body).status, Status::Exited(u32::MAX));
}

#[test]
fn the_largest_memory_can_be_used_to_its_end() {
    let body = "(drop (memory.grow (i32.const 65535)))
        (i32.store (i32.const 0xfffffffc) (i32.const 9))
        (call $exit (i32.add (memory.size) (i32.load (i32.const 0xfffffffc))))";
    let outcome = run_within(&by_hand(EXIT, body), Limits { memory: 4 << 30, ..LIMITS });
    assert_eq!(outcome.status, Status::Exited(65_545));
}

/// Counts what is not as it was at the start, then changes all of it.
fn changer(pages: u32, data_at: u32, data: &str) -> Vec<u8> {
    let last = pages * 65_536 - 4;
    assemble(&format!(
        r#"(module {EXIT}
            (memory (export "memory") {pages})
            (global $fuel (export "bayan.fuel") (mut i64) (i64.const 0))
            (global $slice (export "bayan.slice") (mut i64) (i64.const 0))
            (global (export "bayan.pages") (mut i32) (i32.const 0))
            (global (export "bayan.stop") (mut i32) (i32.const 0))
            (global $mine (mut i32) (i32.const 5))
            (table $t 4 funcref) (elem (table $t) (i32.const 1) func $f)
            (data (i32.const {data_at}) "{data}")
            (data $passive "abcd")
            (func $f)
            (func (export "_start") (local $wrong i32) (local $i i32)
              (local.set $wrong (i32.sub (memory.size) (i32.const {pages})))
              (loop $l
                (if (i32.and
                      (i32.ne (i32.load8_u (local.get $i)) (i32.const 0))
                      (i32.ne (i32.load8_u (local.get $i)) (i32.const 120)))
                  (then (local.set $wrong (i32.add (local.get $wrong) (i32.const 1)))))
                (i32.store8 (local.get $i) (i32.const 255))
                (local.set $i (i32.add (local.get $i) (i32.const 97)))
                (br_if $l (i32.lt_u (local.get $i) (i32.const {last}))))
              (local.set $wrong (i32.add (local.get $wrong)
                (i32.ne (global.get $mine) (i32.const 5))))
              (global.set $mine (i32.const 6))
              (local.set $wrong (i32.add (local.get $wrong) (ref.is_null (table.get $t (i32.const 1)))))
              (local.set $wrong (i32.add (local.get $wrong)
                (i32.eqz (ref.is_null (table.get $t (i32.const 2))))))
              (table.set $t (i32.const 1) (ref.null func))
              (table.set $t (i32.const 2) (ref.func $f))
              (drop (table.grow $t (ref.func $f) (i32.const 5000)))
              (memory.init $passive (i32.const {last}) (i32.const 0) (i32.const 4))
              (data.drop $passive)
              (drop (memory.grow (i32.const 3)))
              (i32.store offset=65536 (i32.const {last}) (i32.const -1))
              (call $exit (local.get $wrong))))"#
    ))
}

#[test]
fn nothing_of_an_attempt_is_seen_by_the_next() {
    let engine = Engine::new().unwrap();
    let modules = [
        changer(1, 0, ""),
        changer(2, 70_000, "xxxxxxxx"),
        changer(17, 1 << 20, &"x".repeat(20_000)),
        changer(33, 1024, &"x".repeat(2 << 20)),
    ];
    let modules = modules.map(|packed| engine.prepare(&packed).unwrap());
    let task = task(Limits { memory: 8 << 20, ..LIMITS });
    // Each after itself, then each after every other.
    let order = [0, 0, 1, 1, 2, 2, 3, 3, 0, 2, 1, 3, 2, 0, 3, 1, 0];
    for (turn, kind) in order.into_iter().enumerate() {
        let outcome = attempt(&engine, &modules[kind], &task);
        assert_eq!(outcome.status, Status::Exited(0), "turn {turn}, module {kind}");
    }
}

#[test]
fn attempts_do_not_use_the_engine_up() {
    let engine = Engine::new().unwrap();
    let [good, trap, endless] = ["", "(unreachable)", "(call $exit (i32.const 1))"]
        .map(|body| engine.prepare(&by_hand(EXIT, body)).unwrap());
    for _ in 0..100 {
        assert_eq!(attempt(&engine, &trap, &task(LIMITS)).status, Status::Trapped);
        assert_eq!(attempt(&engine, &endless, &task(LIMITS)).status, Status::Exited(1));
        assert_eq!(attempt(&engine, &good, &task(LIMITS)).status, Status::Exited(0));
    }
}

#[test]
fn compiled_files_give_what_compiling_in_place_gives() {
    let engine = Engine::new().unwrap();
    let packed = changer(17, 1 << 20, "xyz");
    let artefact = compile(&packed).unwrap();
    assert_eq!(artefact, compile(&packed).unwrap(), "compiling repeats to the byte");
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&artefact).unwrap();
    let task = task(Limits { memory: 8 << 20, ..LIMITS });
    let loaded = attempt(&engine, &engine.load(file).unwrap(), &task);
    let prepared = attempt(&engine, &engine.prepare(&packed).unwrap(), &task);
    assert_eq!(loaded.result(), prepared.result());
    assert_eq!(fingerprint(), fingerprint());
}

#[test]
fn what_is_not_compiled_code_is_not_loaded() {
    let engine = Engine::new().unwrap();
    let load = |bytes: &[u8]| {
        let mut file: File = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        engine.load(file)
    };
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    for bytes in [&[][..], b"hello", &[0; 5000], &by_hand("", ""), &program] {
        assert!(matches!(load(bytes), Err(LoadError::Engine(_))));
    }
}

#[test]
fn what_is_not_packed_is_not_loaded() {
    let engine = Engine::new().unwrap();
    let whole = String::from_utf8(PACKED.into()).unwrap();
    for (from, to, name) in [
        (r#"(export "bayan.fuel")"#, "", "bayan.fuel"),
        (r#""bayan.fuel") (mut i64)"#, r#""bayan.fuel") i64"#, "bayan.fuel"),
        (r#"(export "bayan.slice")"#, "", "bayan.slice"),
        (r#"(export "bayan.pages")"#, "", "bayan.pages"),
        (r#"(export "bayan.stop")"#, r#"(export "stop")"#, "bayan.stop"),
        (r#"(export "memory")"#, "", "memory"),
    ] {
        let text = format!(r#"(module {} (func (export "_start")))"#, whole.replace(from, to));
        let error = engine.prepare(&assemble(&text)).unwrap_err();
        assert_eq!(error, LoadError::NotPacked(name), "{from}");
    }
    for start in ["(func)", r#"(func (export "_start") (param i32))"#] {
        let text = format!("(module {whole} {start})");
        assert_eq!(engine.prepare(&assemble(&text)).unwrap_err(), LoadError::NotPacked("_start"));
    }
    let foreign = by_hand(r#"(import "env" "f" (func))"#, "");
    assert!(matches!(engine.prepare(&foreign), Err(LoadError::Engine(_))));
}

#[test]
fn no_bytes_make_the_compiler_panic() {
    // Some prefixes and changes leave a module behind, and none a panic.
    let check = |bytes: &[u8], index| {
        if let Err(error) = compile(bytes) {
            assert!(!error.to_string().contains("panicked"), "{index}: {error}");
        }
    };
    let wasm = changer(1, 0, "xx");
    let mut changed = wasm.clone();
    for index in 0..wasm.len() {
        check(&wasm[..index], index);
        changed[index] ^= 0xff;
        check(&changed, index);
        changed[index] = wasm[index];
    }
    assert!(compile(&[]).is_err() && compile(&wasm[..wasm.len() - 1]).is_err());
}

#[test]
fn what_packing_never_makes_is_not_compiled() {
    for body in [
        "(type (sub (func)))",
        "(global i32 (i32.add (i32.const 1) (i32.const 2)))",
        "(type (struct))",
        "(func (param externref))",
        "(memory i64 1)",
        "(memory 1 1 shared)",
        "(memory 1) (memory 1)",
        "(tag)",
        "(func (drop (i64.add128 (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0))) drop)",
        "(func (result v128) (f32x4.relaxed_madd (v128.const i64x2 0 0) (v128.const i64x2 0 0)
            (v128.const i64x2 0 0)))",
    ] {
        let wasm = assemble(&format!("(module {body})"));
        assert!(compile(&wasm).is_err(), "{body}");
    }
    for body in [
        "(func $f (result i32) (return_call $f))",
        "(func (param i32) (result i32 i32) (local.get 0) (i32.extend8_s (local.get 0)))",
        "(table 1 funcref) (table 1 funcref)",
    ] {
        assert!(compile(&assemble(&format!("(module {body})"))).is_ok(), "{body}");
    }
}

#[test]
fn a_start_section_that_calls_the_host_is_the_hosts_fault() {
    let text = format!(
        r#"(module {YIELD} {PACKED} (func $early (drop (call $yield))) (start $early)
           (func (export "_start")))"#
    );
    let outcome = run_within(&assemble(&text), LIMITS);
    assert_eq!(outcome.result(), (Status::HostFault, NO_OUTPUT, 0));
    assert!(String::from_utf8_lossy(&outcome.log).contains("before it is started"));
}

#[test]
fn a_task_is_the_callers_to_keep() {
    let engine = Engine::new().unwrap();
    let module = engine.prepare(&by_hand("", "")).unwrap();
    let task = Task { args: vec!["a".into()], env: vec![("B".into(), "c".into())], ..task(LIMITS) };
    let (first, second) =
        (attempt(&engine, &module, &task), attempt(&engine, &module.clone(), &task));
    assert_eq!(first.result(), second.result());
}
