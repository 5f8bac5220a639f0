//! NaNs: packed modules show the same bits on every engine, and the bits of the rule.

use bayan_packing_tests::bundle::Bundle;
use bayan_packing_tests::engines::{self, THREAD_STACK};
use bayan_packing_tests::nan::{self, Bits, Lanes, OPERANDS, Op, RESULTS, SLOT, WAY, WAYS};
use bayan_packing_tests::native::Native;
use bayan_packing_tests::v8::V8;
use wasmtime::{Engine, Instance, Module, Store};

/// More than the module burns.
const FUEL: i64 = 1 << 50;

fn packed(wasm: &[u8]) -> Vec<u8> {
    let packed =
        bayan_packing::pack_library(wasm, FUEL).expect("the module is within what packing takes");
    engines::validate(&packed.wasm).expect("packed modules are valid");
    packed.wasm
}

/// What each export leaves in memory.
fn results(engine: &Engine, wasm: &[u8], ops: &[Op]) -> Vec<Vec<u8>> {
    let module = Module::from_binary(engine, wasm).expect("the module compiles");
    let mut store = Store::new(engine, ());
    let instance = Instance::new(&mut store, &module, &[]).expect("the module imports nothing");
    let memory = instance.get_memory(&mut store, "memory").expect("it is exported");
    ops.iter()
        .map(|op| {
            let func = instance
                .get_typed_func::<(), ()>(&mut store, &op.name)
                .expect("each expression is exported");
            func.call(&mut store, ()).expect("nothing traps");
            memory.data(&store)[RESULTS..RESULTS + WAYS.len() * WAY].to_vec()
        })
        .collect()
}

/// Every result: expression, way, operands and its place.
fn each(
    ops: &[Op],
) -> impl Iterator<Item = (usize, &Op, usize, usize, usize, std::ops::Range<usize>)> {
    ops.iter().enumerate().flat_map(|(index, op)| {
        (0..WAYS.len() * OPERANDS * OPERANDS).map(move |n| {
            let (way, pair) = (n / (OPERANDS * OPERANDS), n % (OPERANDS * OPERANDS));
            (index, op, way, pair / OPERANDS, pair % OPERANDS, n * SLOT..(n + 1) * SLOT)
        })
    })
}

#[test]
fn packed_modules_show_the_nans_of_the_rule() {
    let (wasm, ops) = (nan::module(), nan::ops());
    let mut plain = engines::plain();
    let unpacked = results(&plain, &wasm, &ops);
    plain = engines::reference();
    let reference = results(&plain, &wasm, &ops);
    let packed = results(&engines::cranelift(), &packed(&wasm), &ops);
    let mut nans = 0;
    let mut wrong = Vec::new();
    for (index, op, way, i, j, slot) in each(&ops) {
        let got = nan::lanes(op.lanes, &packed[index][slot.clone()]);
        let raw = nan::lanes(op.lanes, &unpacked[index][slot.clone()]);
        let sure = nan::lanes(op.lanes, &reference[index][slot]);
        let expected: Vec<u64> = match op.bits {
            Bits::Computed => raw
                .iter()
                .map(|(bits, nan, canonical)| if *nan { *canonical } else { *bits })
                .collect(),
            Bits::Kept => raw.iter().map(|(bits, ..)| *bits).collect(),
            Bits::Mixed => sure.iter().map(|(bits, ..)| *bits).collect(),
        };
        let got: Vec<u64> = got
            .iter()
            .map(|(bits, nan, _)| {
                nans += usize::from(*nan);
                *bits
            })
            .collect();
        let sure: Vec<u64> = sure.iter().map(|(bits, ..)| *bits).collect();
        if got != expected || got != sure {
            let operands = [i, j].map(|n| nan::operand(op.lanes, n));
            wrong.push(format!(
                "{} ({}) of {operands:x?}: {got:x?}, by the rule {expected:x?}, on the reference {sure:x?}",
                op.name, WAYS[way]
            ));
        }
        // What is only loaded and moved is the operand itself.
        if matches!(op.name.split_once(' '), Some((_, "SA" | "VA")))
            && got[0] != nan::operand(op.lanes, i)
        {
            wrong.push(format!(
                "{:x} changed into {:x} ({})",
                nan::operand(op.lanes, i),
                got[0],
                WAYS[way]
            ));
        }
    }
    println!("{} expressions in {} ways, {nans} NaNs", ops.len(), WAYS.len());
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(40)].join("\n")
    );
    assert!(nans > 500_000, "only {nans} NaNs were seen");
}

#[test]
fn engines_make_nans_of_their_own() {
    // Otherwise the tests here could not fail.
    let (wasm, ops) = (nan::module(), nan::ops());
    let unpacked = results(&engines::plain(), &wasm, &ops);
    let own = each(&ops)
        .filter(|(index, op, .., slot)| {
            op.bits == Bits::Computed
                && op.lanes != Lanes::Int
                && nan::lanes(op.lanes, &unpacked[*index][slot.clone()])
                    .iter()
                    .any(|(bits, nan, canonical)| *nan && bits != canonical)
        })
        .count();
    assert!(own > 100_000, "only {own} results have NaNs that are not canonical");
}

#[test]
fn engines_agree_on_nans() {
    let run = || {
        let wasm = packed(&nan::module());
        let bundle = Bundle::each(&wasm).expect("the module is valid");
        let native = Native::packed(engines::cranelift())
            .run(&bundle)
            .expect("Cranelift runs it")
            .to_string();
        let pulley =
            Native::packed(engines::pulley()).run(&bundle).expect("Pulley runs it").to_string();
        assert_eq!(native.split("; ").count(), 1 + nan::ops().len());
        assert!(
            native == pulley,
            "Cranelift and Pulley disagree:\n{}",
            differing(&native, &pulley)
        );
        for flags in [&[][..], &["--liftoff-only"], &["--no-liftoff"]] {
            let v8 = V8::start(flags)
                .unwrap_or_else(|why| panic!("{why}"))
                .run(&bundle)
                .expect("V8 runs it");
            assert!(
                native == v8,
                "Cranelift and V8 ({flags:?}) disagree:\n{}",
                differing(&native, &v8)
            );
        }
    };
    std::thread::Builder::new()
        .stack_size(THREAD_STACK)
        .spawn(run)
        .expect("threads can be started")
        .join()
        .unwrap();
}

fn differing(a: &str, b: &str) -> String {
    let ops = nan::ops();
    let steps = a.split("; ").zip(b.split("; ")).enumerate();
    let lines = steps.filter(|(_, (a, b))| a != b).map(|(n, (a, b))| {
        let op = n.checked_sub(1).map_or("instantiation", |n| ops[n].name.as_str());
        format!("{op}: {a} | {b}")
    });
    lines.take(20).collect::<Vec<_>>().join("\n")
}
