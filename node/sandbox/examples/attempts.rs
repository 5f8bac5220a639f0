//! What a fresh, isolated attempt costs around the guest's own work, in microseconds.
//!
//! `cargo run --release -p bayan-sandbox --example attempts [ROUNDS]`: the kinds of guests take
//! turns, so that whatever else the machine does falls on all of them. They are packed by hand and
//! count no fuel.

use std::{io::Write, sync::Arc, thread, time::Instant};

use bayan_protocol::{
    id::TaskId,
    task::{Limits, Status},
};
use bayan_sandbox::{Engine, Module, STACK, Task, compile};

/// Attempts of one kind before the next has its turn.
const TURN: u32 = 500;

/// A kind of guest: name, pages, bytes of data at an address, pages it writes to.
const KINDS: [(&str, u32, u32, u32, &[u32]); 4] = [
    ("nothing", 1, 0, 0, &[]),
    ("small (2 pages)", 2, 100, 1024, &[0, 30]),
    ("usual (17 pages, 16 KiB data)", 17, 16 << 10, 1 << 20, &[253, 254, 255, 257]),
    ("large (2 MiB data)", 33, 2 << 20, 1 << 10, &[0, 60, 61, 200, 201, 202, 400, 511]),
];

fn main() {
    let rounds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(20);
    let attempts = move || measure(rounds);
    thread::Builder::new().stack_size(STACK).spawn(attempts).expect("a thread").join().expect("ok");
}

fn measure(rounds: u32) {
    let started = Instant::now();
    let engine = Engine::new().expect("an engine");
    println!("engine: {:.0} us", started.elapsed().as_secs_f64() * 1e6);
    let modules = KINDS.map(|(_, pages, data, at, written)| {
        load(&engine, &wat::parse_str(guest(pages, data, at, written)).expect("text assembles"))
    });
    let task = Task {
        id: TaskId([7; 32]),
        args: Vec::new(),
        env: Vec::new(),
        stdin: Arc::from([]),
        data: Vec::new(),
        limits: Limits { memory: 64 << 20, fuel: 1 << 40, output: 1 << 20, wall_ms: 60_000 },
    };
    let mut best = [f64::INFINITY; KINDS.len()];
    let mut total = [0.0; KINDS.len()];
    for _ in 0..rounds {
        for (kind, module) in modules.iter().enumerate() {
            let started = Instant::now();
            for _ in 0..TURN {
                let outcome = engine.run(module, &task);
                assert_eq!(outcome.status, Status::Exited(0));
            }
            let each = started.elapsed().as_secs_f64() * 1e6 / f64::from(TURN);
            best[kind] = f64::min(best[kind], each);
            total[kind] += each;
        }
    }
    for (kind, (name, ..)) in KINDS.iter().enumerate() {
        let mean = total[kind] / f64::from(rounds);
        println!("{name:30} mean {mean:6.2} us, best turn {:6.2} us", best[kind]);
    }
    let calls = wat::parse_str(CALLS).expect("text assembles");
    let module = load(&engine, &calls);
    let started = Instant::now();
    assert_eq!(engine.run(&module, &task).status, Status::Exited(0));
    println!("a host call: {:.0} ns", started.elapsed().as_secs_f64() * 1e9 / 1e6);
}

fn load(engine: &Engine, packed: &[u8]) -> Module {
    let started = Instant::now();
    let code = compile(packed).expect("it compiles");
    let compiled = started.elapsed();
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(&code).expect("it is written");
    let started = Instant::now();
    let module = engine.load(file).expect("it loads");
    let us = |time: std::time::Duration| time.as_secs_f64() * 1e6;
    println!("compile {:.0} us, load {:.0} us", us(compiled), us(started.elapsed()));
    module
}

const GLOBALS: &str = r#"
    (global (export "bayan.fuel") (mut i64) (i64.const 0))
    (global (export "bayan.slice") (mut i64) (i64.const 0))
    (global (export "bayan.pages") (mut i32) (i32.const 0))
    (global (export "bayan.stop") (mut i32) (i32.const 0))"#;

fn guest(pages: u32, data: u32, at: u32, written: &[u32]) -> String {
    let writes: String = written
        .iter()
        .map(|page| format!("(i32.store offset=4 (i32.const {}) (i32.const 1))", page << 12))
        .collect();
    let data = if data == 0 {
        String::new()
    } else {
        format!(r#"(data (i32.const {at}) "{}")"#, "abcdefgh".repeat(data as usize / 8))
    };
    format!(
        r#"(module (memory (export "memory") {pages}) {GLOBALS} {data} (func (export "_start") {writes}))"#
    )
}

/// A million calls of the cheapest import.
const CALLS: &str = r#"(module
    (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
    (memory (export "memory") 1)
    (global (export "bayan.fuel") (mut i64) (i64.const 0))
    (global (export "bayan.slice") (mut i64) (i64.const 0))
    (global (export "bayan.pages") (mut i32) (i32.const 0))
    (global (export "bayan.stop") (mut i32) (i32.const 0))
    (func (export "_start") (local $left i32)
      (local.set $left (i32.const 1000000))
      (loop $l
        (drop (call $yield))
        (br_if $l (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))))"#;
