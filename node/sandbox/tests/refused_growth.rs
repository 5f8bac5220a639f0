//! A machine that does not give a guest the memory that its limits allow. Alone in its process,
//! because it takes memory from all of it.
#![cfg(target_os = "linux")]

use std::{fs, sync::Arc, thread};

use bayan_packing::cost;
use bayan_protocol::{
    id::TaskId,
    task::{Limits, Status},
};
use bayan_sandbox::{Engine, Module, STACK, Task};
use rustix::process::{Resource, getrlimit, setrlimit};

/// The same with a meter: packed as guests are.
fn metered(engine: &Engine, pages: u32) -> Module {
    let text = format!(
        r#"(module (memory (export "memory") 1)
            (func (export "_start") (drop (memory.grow (i32.const {pages})))))"#
    );
    let wasm = wat::parse_str(text).expect("the text assembles");
    let packed = bayan_packing::pack(&wasm).expect("it may run");
    engine.prepare(&packed.wasm).expect("it is packed")
}

/// Grows by `pages`, and ends as packed modules do if that is refused.
fn grower(engine: &Engine, at_first: u32, pages: u32) -> Module {
    let text = format!(
        r#"(module (memory (export "memory") {at_first})
            (global (export "bayan.fuel") (mut i64) (i64.const 0))
            (global (export "bayan.slice") (mut i64) (i64.const 0))
            (global (export "bayan.pages") (mut i32) (i32.const 0))
            (global $stop (export "bayan.stop") (mut i32) (i32.const 0))
            (func (export "_start")
              (if (i32.eq (memory.grow (i32.const {pages})) (i32.const -1))
                (then (global.set $stop (i32.const 2)) (unreachable)))
              (i32.store (i32.sub (i32.shl (memory.size) (i32.const 16)) (i32.const 4))
                (i32.const 1))))"#
    );
    engine.prepare(&wat::parse_str(text).expect("the text assembles")).expect("it is packed")
}

#[test]
fn memory_that_the_machine_refuses_is_no_result_and_no_abort() {
    let runs = || {
        let engine = Engine::new().unwrap();
        assert_eq!(run(&engine, &grower(&engine, 1, 16_384)), Status::Exited(0));
        assert_eq!(run(&engine, &grower(&engine, 16_384, 0)), Status::Exited(0));
        drop(engine);
        let engine = Engine::new().unwrap();
        let (little, much) = (grower(&engine, 1, 16), grower(&engine, 1, 16_384));
        let (at_once, metered) = (grower(&engine, 16_384, 0), metered(&engine, 16_384));
        // Pays for the growth, with less left than what functions set aside: the global that a trap
        // leaves behind is below zero, though fuel is left.
        let just_enough = u64::from(cost::PAGE) * 16_385 + u64::from(cost::GROW) + 5_000;
        let mut limit = getrlimit(Resource::Data);
        limit.current = Some(private_memory() + (256 << 20));
        setrlimit(Resource::Data, limit).unwrap();
        for _ in 0..3 {
            assert_eq!(run(&engine, &much), Status::MemoryRefused);
            assert_eq!(run_with(&engine, &metered, just_enough), Status::MemoryRefused);
            assert_eq!(run(&engine, &at_once), Status::HostFault);
            assert_eq!(run(&engine, &little), Status::Exited(0));
        }
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, runs);
        thread.expect("a thread starts").join().expect("the checks hold");
    });
}

fn run(engine: &Engine, module: &Module) -> Status {
    run_with(engine, module, 1000)
}

fn run_with(engine: &Engine, module: &Module, fuel: u64) -> Status {
    let limits = Limits { memory: 2 << 30, fuel, output: 0, wall_ms: 60_000 };
    let task = Task {
        id: TaskId([7; 32]),
        args: Vec::new(),
        env: Vec::new(),
        stdin: Arc::from([]),
        data: Vec::new(),
        limits,
    };
    engine.run(module, &task).status
}

/// Bytes of this process that count against the limit.
fn private_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
