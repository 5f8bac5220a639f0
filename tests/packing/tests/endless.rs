//! Programs that never end: packed, each ends by its fuel or its stack, however it goes round.

use std::sync::mpsc::channel;
use std::time::Duration;

use bayan_packing::pack_library;
use bayan_packing_tests::bundle::Bundle;
use bayan_packing_tests::engines::{self, THREAD_STACK};
use bayan_packing_tests::native::Native;
use bayan_packing_tests::trace::End;

/// Each ends after microseconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// Each exports one function, which does not end.
const ENDLESS: &[&str] = &[
    r#"(func (export "f") (loop (br 0)))"#,
    r#"(func (export "f") (loop (br_if 0 (i32.const 1))))"#,
    r#"(func (export "f") (loop (br_table 0 0 (i32.const 7))))"#,
    // Found by fuzzing: the loop that the table leads back to begins with another, and costs nothing.
    r#"(func (export "f") (loop (loop) (br_table 0 0 (i32.const 7))))"#,
    r#"(func (export "f") (loop (loop (result i32) (i32.const 7)) (br_table 0 0)))"#,
    r#"(func (export "f") (loop (loop (loop)) (block (br_table 1 1 (i32.const 7)))))"#,
    r#"(func (export "f") (loop (loop) (if (i32.const 1) (then (br_table 1 (i32.const 0))))))"#,
    r#"(func (export "f") (loop (if (i32.const 1) (then (br 1)) (else (br 1)))))"#,
    r#"(func (export "f") (loop (block (br_if 0 (i32.const 1)) (unreachable)) (br 0)))"#,
    r#"(func (export "f") (loop (loop (br 1))))"#,
    r#"(func (export "f") (loop (loop (br_if 0 (i32.const 0))) (br 0)))"#,
    r#"(func (export "f") (drop (loop (result f64) (f64.const 1) (br 0))))"#,
    r#"(func (export "f") (i32.const 3) (loop (param i32) (br 0)))"#,
    r#"(func $g) (func (export "f") (loop (call $g) (br 0)))"#,
    r#"(func $g (loop)) (func (export "f") (loop (call $g) (br 0)))"#,
    r#"(func $f (export "f") (call $f))"#,
    r#"(func $f (export "f") (loop (call $f)))"#,
    r#"(func $f (export "f") (call $f) (call $f))"#,
    r#"(func $f (export "f") (call $g)) (func $g (call $f) (loop (br 0)))"#,
    r#"(func $f (export "f") (return_call $f))"#,
    r#"(func $f (export "f") (loop (return_call $f)))"#,
    r#"(func $f (export "f") (loop) (return_call $f))"#,
    r#"(func $f (export "f") (loop (br_if 0 (i32.const 0))) (return_call $f))"#,
    r#"(func $f (export "f") (block (loop (br 1))) (return_call $f))"#,
    r#"(func $f (export "f") (if (i32.const 1) (then (return_call $f))))"#,
    r#"(func $f (export "f") (loop (if (i32.const 1) (then (return_call $f)))))"#,
    r#"(func $f (export "f") (block (br_if 0 (i32.const 1))) (return_call $f))"#,
    r#"(func $f (export "f") (block (br_table 0 0 (i32.const 1))) (return_call $f))"#,
    r#"(func $f (export "f") (loop (return_call $g))) (func $g (loop (return_call $f)))"#,
    r#"(func $f (export "f") (return_call $g)) (func $g (loop) (return_call $f))"#,
    r#"(type $t (func)) (table funcref (elem $f))
       (func $f (export "f") (return_call_indirect (type $t) (i32.const 0)))"#,
    r#"(type $t (func)) (table funcref (elem $f))
       (func $f (export "f") (loop (return_call_indirect (type $t) (i32.const 0))))"#,
    r#"(type $t (func)) (table funcref (elem $f))
       (func $f (export "f") (loop (call_indirect (type $t) (i32.const 0))))"#,
    r#"(memory (export "memory") 1)
       (func (export "f") (loop (memory.fill (i32.const 0) (i32.const 0) (i32.const 0)) (br 0)))"#,
    r#"(memory (export "memory") 1) (func (export "f") (loop (drop (memory.grow (i32.const 0))) (br 0)))"#,
    r#"(table 1 funcref) (func (export "f") (loop (drop (table.grow (ref.null func) (i32.const 0))) (br 0)))"#,
];

/// How the function ends with each amount of fuel; none if it does not.
fn ends(body: &'static str) -> Option<Vec<End>> {
    let (done, ended) = channel();
    let run = move || {
        let native = Native::packed(engines::cranelift());
        let wasm = wat::parse_str(format!("(module {body})")).expect("the texts are valid");
        let end = |fuel| {
            let packed = pack_library(&wasm, fuel).expect("packing takes it").wasm;
            let bundle = Bundle::each(&wasm).expect("it is valid").with_guest(packed);
            native.run(&bundle).expect("it compiles").0.last().expect("it was instantiated").end
        };
        // The meter runs out at other places.
        let _ = done.send([0, 1, 7, 9_999, 10_000, 100_003].map(end).to_vec());
    };
    std::thread::Builder::new()
        .stack_size(THREAD_STACK)
        .spawn(run)
        .expect("threads can be started");
    ended.recv_timeout(PATIENCE).ok()
}

#[test]
fn what_never_ends_is_ended() {
    let mut wrong = Vec::new();
    for body in ENDLESS {
        match ends(body) {
            None => wrong.push(format!("does not end: {body}")),
            Some(ends) if ends.iter().all(|end| matches!(end, End::Fuel | End::Stack)) => {}
            Some(ends) => wrong.push(format!("{ends:?}: {body}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
