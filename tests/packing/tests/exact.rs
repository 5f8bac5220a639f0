//! Whether a packed module is charged for exactly what it executes: beside it runs a module in which
//! every instruction pays for itself, one by one.

use std::collections::BTreeSet;

use arbitrary::Unstructured;
use bayan_packing::{Stop, cost, names, pack_library};
use wasm_encoder::{ConstExpr, Encode, GlobalType, InstructionSink, Module, RawSection, ValType};
use wasmparser::{Operator, Parser, Payload};
use wasmtime::{Engine, Instance, Store, Val};

/// Fuel that a run starts with; most end before.
const FUEL: i64 = 25_000;
const METER: &str = "meter";

/// A module in which each instruction is charged right before it. None if it has instructions that
/// are charged by size, which this simple meter cannot.
fn naive(wasm: &[u8]) -> Option<Vec<u8>> {
    let mut globals = 0;
    let mut bodies = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.unwrap() {
            Payload::ImportSection(_) => return None,
            Payload::GlobalSection(section) => globals = section.count(),
            Payload::CodeSectionEntry(body) => bodies.push(metered(wasm, &body, globals)?),
            _ => {}
        }
    }
    let mut module = Module::new();
    let mut placed = (false, false);
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload.unwrap();
        if let Payload::CodeSectionStart { .. } = payload {
            let mut data = Vec::new();
            (bodies.len() as u32).encode(&mut data);
            for body in &bodies {
                (body.len() as u32).encode(&mut data);
                data.extend_from_slice(body);
            }
            module.section(&RawSection { id: 10, data: &data });
            continue;
        }
        let Some((id, range)) = payload.as_section() else { continue };
        if id > 5 && !placed.0 {
            placed.0 = true;
            add(&mut module, 6, if id == 6 { &wasm[range.clone()] } else { &[0] }, |out| {
                GlobalType { val_type: ValType::I64, mutable: true, shared: false }.encode(out);
                ConstExpr::i64_const(FUEL).encode(out);
            });
            if id == 6 {
                continue;
            }
        }
        if id > 6 && id != 13 && !placed.1 {
            placed.1 = true;
            add(&mut module, 7, if id == 7 { &wasm[range.clone()] } else { &[0] }, |out| {
                METER.encode(out);
                out.push(3);
                globals.encode(out);
            });
            if id == 7 {
                continue;
            }
        }
        if id != 0 && id != 10 {
            module.section(&RawSection { id, data: &wasm[range] });
        }
    }
    Some(module.finish())
}

/// A section with one item more.
fn add(module: &mut Module, id: u8, own: &[u8], item: impl FnOnce(&mut Vec<u8>)) {
    let mut reader = wasmparser::BinaryReader::new(own, 0);
    let mut data = Vec::new();
    (reader.read_var_u32().unwrap() + 1).encode(&mut data);
    data.extend_from_slice(reader.read_bytes(reader.bytes_remaining()).unwrap());
    item(&mut data);
    module.section(&RawSection { id, data: &data });
}

fn metered(wasm: &[u8], body: &wasmparser::FunctionBody<'_>, meter: u32) -> Option<Vec<u8>> {
    let mut reader = body.get_operators_reader().unwrap();
    let mut out = wasm[body.range().start..reader.original_position()].to_vec();
    while !reader.eof() {
        let start = reader.original_position();
        let operator = reader.read().unwrap();
        if matches!(
            operator,
            Operator::MemoryGrow { .. }
                | Operator::TableGrow { .. }
                | Operator::MemoryCopy { .. }
                | Operator::MemoryFill { .. }
                | Operator::MemoryInit { .. }
                | Operator::TableCopy { .. }
                | Operator::TableFill { .. }
                | Operator::TableInit { .. }
        ) {
            return None;
        }
        let fuel = cost::of(&operator);
        if fuel > 0 {
            InstructionSink::new(&mut out)
                .global_get(meter)
                .i64_const(i64::from(fuel))
                .i64_sub()
                .global_set(meter)
                .global_get(meter)
                .i64_const(-FUEL)
                .i64_le_s()
                .if_(wasm_encoder::BlockType::Empty)
                .unreachable()
                .end();
        }
        out.extend_from_slice(&wasm[start..reader.original_position()]);
    }
    Some(out)
}

/// What a call gave, and the fuel left behind it.
type Answer = (Result<Vec<u128>, ()>, i64);

/// Calls every function that is exported, in a fresh instance each.
fn run(engine: &Engine, wasm: &[u8], meters: &[&str]) -> Vec<Answer> {
    let module = wasmtime::Module::new(engine, wasm).unwrap();
    let functions: Vec<_> = module
        .exports()
        .filter_map(|export| Some((export.name(), export.ty().func()?.clone())))
        .collect();
    functions
        .into_iter()
        .map(|(name, ty)| {
            let mut store = Store::new(engine, ());
            let Ok(instance) = Instance::new(&mut store, &module, &[]) else {
                return (Err(()), i64::MIN);
            };
            let function = instance.get_func(&mut store, name).unwrap();
            let params: Vec<Val> =
                ty.params().map(|ty| Val::default_for_ty(&ty).unwrap()).collect();
            let mut results = vec![Val::I32(0); ty.results().len()];
            let ended = function.call(&mut store, &params, &mut results);
            let mut read = |name: &str| {
                instance.get_global(&mut store, name).map(|global| global.get(&mut store))
            };
            let stopped =
                matches!(read(names::STOP), Some(Val::I32(stop)) if stop != Stop::None as i32);
            let counted = if ended.is_ok() { meters } else { &meters[..1] };
            let left = counted.iter().map(|meter| read(meter).unwrap().unwrap_i64()).sum();
            let results = ended.map(|()| results.iter().map(bits).collect()).map_err(|_| ());
            (results, if stopped { 0 } else { left })
        })
        .collect()
}

/// A result's bits; NaNs are alike, because only one of the two modules canonicalises them.
fn bits(value: &Val) -> u128 {
    match value {
        Val::I32(value) => u128::from(value.cast_unsigned()),
        Val::I64(value) => u128::from(value.cast_unsigned()),
        Val::F32(bits) if f32::from_bits(*bits).is_nan() => u128::MAX,
        Val::F64(bits) if f64::from_bits(*bits).is_nan() => u128::MAX,
        Val::F32(bits) => u128::from(*bits),
        Val::F64(bits) => u128::from(*bits),
        _ => 0,
    }
}

fn module(seed: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for _ in 0..1024 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    let config = wasm_smith::Config {
        max_imports: 0,
        min_funcs: 1,
        max_funcs: 6,
        max_memories: 1,
        max_instructions: 30 + (seed as usize % 8) * 40,
        export_everything: true,
        bulk_memory_enabled: false,
        reference_types_enabled: false,
        simd_enabled: false,
        relaxed_simd_enabled: false,
        exceptions_enabled: false,
        gc_enabled: false,
        threads_enabled: false,
        memory64_enabled: false,
        tail_call_enabled: true,
        multi_value_enabled: true,
        disallow_traps: true,
        allow_start_export: false,
        extended_const_enabled: false,
        ..wasm_smith::Config::default()
    };
    wasm_smith::Module::new(config, &mut Unstructured::new(&bytes)).unwrap().to_bytes()
}

#[test]
fn a_call_that_returns_has_paid_for_each_instruction() {
    let engine = Engine::default();
    let (mut returned, mut ran_out, mut loops) = (0, 0, BTreeSet::new());
    for seed in 0..5000 {
        let wasm = module(seed);
        let Some(naive) = naive(&wasm) else { continue };
        let packed = pack_library(&wasm, FUEL).unwrap().wasm;
        let (plain, packed) =
            (run(&engine, &naive, &[METER]), run(&engine, &packed, &[names::FUEL, names::SLICE]));
        for ((one, exact), (other, charged)) in plain.iter().zip(&packed) {
            if *charged <= 0 {
                ran_out += 1;
                continue;
            }
            assert_eq!(one, other, "results, seed {seed}");
            if one.is_ok() {
                assert_eq!(exact, charged, "fuel, seed {seed}");
                returned += 1;
                loops.insert(FUEL - exact);
            } else {
                // What is charged and not done stays within a few stretches.
                let over = exact - charged;
                assert!(
                    (0..=cost::SLICE + 4 * i64::from(cost::MAX_CHARGE)).contains(&over),
                    "seed {seed}: {over}"
                );
            }
        }
    }
    assert!(
        returned > 800 && loops.len() > 200,
        "{returned} returned, {ran_out} ran out, {}",
        loops.len()
    );
}
