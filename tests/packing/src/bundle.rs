//! A module with all that is needed to run it alike on any engine.
//!
//! JavaScript cannot pass vectors and does not keep the bits of NaNs. So each module is driven by a
//! second one, generated here, that calls its exports with constants and hands results, and the
//! values of exported globals, to the host as i64 only.

use wasm_encoder::{
    CodeSection, ElementSection, Elements, EntityType, ExportKind, ExportSection, Function,
    FunctionSection, GlobalType, ImportSection, MemoryType, Module, RefType, TypeSection, ValType,
};
use wasmparser::{CompositeInnerType, ExternalKind, Parser, Payload, TypeRef};

use crate::fuzz::{Chance, interesting};

/// The module name under which the driver imports the driven one.
pub const GUEST: &str = "guest";
/// The module name of what generated modules may import.
pub const SUPPORT: &str = "env";
/// The driver's export of the guest's memory.
pub const MEMORY: &str = "memory";
/// The driver's function that returns the guest's globals.
pub const LOOK: &str = "look";

const CALLS: usize = 10;

/// A module and its driver.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The module itself, packed or not.
    pub guest: Vec<u8>,
    /// The module that calls it: exports `call0`, `call1`, … and `look`.
    pub driver: Vec<u8>,
    /// Which calls to make, in this order.
    pub calls: Vec<u32>,
    /// Whether the guest imports from the support module.
    pub support: bool,
}

/// What generated modules may import: a little of everything, and deterministic.
pub fn support() -> Vec<u8> {
    wat::parse_str(
        r#"(module
            (global $calls (export "calls") (mut i64) (i64.const 0))
            (global (export "f32") f32 (f32.const -nan:0x200001))
            (global (export "i32") i32 (i32.const 8))
            (memory (export "memory") 1 8)
            (table (export "table") 10 20 funcref)
            (elem (i32.const 2) $tick $mix)
            (data (i32.const 64) "\01\00\a0\7f\01\00\00\00\00\00\f4\ff")
            (func $tick (export "tick")
                (global.set $calls (i64.add (global.get $calls) (i64.const 1))))
            (func $mix (export "mix") (param i32 f32) (result f32 i64)
                (call $tick)
                (local.get 1)
                (i64.extend_i32_s (i32.xor (i32.reinterpret_f32 (local.get 1)) (local.get 0))))
            (func (export "vector") (param v128) (result v128)
                (call $tick)
                (v128.not (local.get 0)))
            (func (export "half") (param f64) (result f64)
                (f64.reinterpret_i64 (i64.xor (i64.reinterpret_f64 (local.get 0)) (i64.const 1)))))"#,
    )
    .expect("the text is fixed")
}

#[derive(Debug, Default)]
struct Exports {
    functions: Vec<(String, Vec<ValType>, Vec<ValType>)>,
    globals: Vec<(String, GlobalType)>,
    memory: Option<(String, MemoryType)>,
    imports: bool,
}

impl Bundle {
    /// Makes the driver of a valid module, which calls some of its exports with constants chosen by
    /// the seed. Both the module and what packing makes of it can stand in it: packing keeps exports.
    pub fn new(wasm: &[u8], seed: u64) -> Result<Bundle, String> {
        let mut chance = Chance::new(seed ^ 0x5eed_0fca_1100);
        Bundle::planned(wasm, &mut chance, |exported, chance| {
            let start = chance.below(exported.max(1));
            (0..exported.clamp(CALLS / 2, CALLS))
                .filter_map(|i| (start + i).checked_rem(exported))
                .collect()
        })
    }

    /// Makes the driver that calls every export once.
    pub fn each(wasm: &[u8]) -> Result<Bundle, String> {
        Bundle::planned(wasm, &mut Chance::new(0), |exported, _| (0..exported).collect())
    }

    fn planned(
        wasm: &[u8],
        chance: &mut Chance,
        plan: impl Fn(usize, &mut Chance) -> Vec<usize>,
    ) -> Result<Bundle, String> {
        let exports = exports(wasm).map_err(|e| e.to_string())?;
        let plan = plan(exports.functions.len(), chance);
        let driver = driver(&exports, &plan, chance);
        let calls = (0..u32::try_from(plan.len()).map_err(|e| e.to_string())?).collect();
        Ok(Bundle { guest: wasm.to_vec(), driver, calls, support: exports.imports })
    }

    /// Makes the call at `place` the last one.
    pub fn postpone(&mut self, place: usize) {
        let call = self.calls.remove(place);
        self.calls.push(call);
    }

    /// The same driver for another form of the module.
    pub fn with_guest(&self, guest: Vec<u8>) -> Bundle {
        Bundle { guest, ..self.clone() }
    }
}

fn exports(wasm: &[u8]) -> Result<Exports, wasmparser::BinaryReaderError> {
    let mut types = Vec::new();
    let mut functions = Vec::new();
    let mut globals = Vec::new();
    let mut memories = Vec::new();
    let mut exports = Exports::default();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::TypeSection(section) => {
                for group in section {
                    for ty in group?.into_types() {
                        let CompositeInnerType::Func(ty) = ty.composite_type.inner else {
                            continue;
                        };
                        types.push((values(ty.params()), values(ty.results())));
                    }
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    exports.imports = true;
                    match import?.ty {
                        TypeRef::Func(ty) => functions.push(ty),
                        TypeRef::Global(ty) => globals.push(global(ty)),
                        TypeRef::Memory(ty) => memories.push(MemoryType::from(ty)),
                        _ => {}
                    }
                }
            }
            Payload::FunctionSection(section) => {
                for ty in section {
                    functions.push(ty?);
                }
            }
            Payload::MemorySection(section) => {
                for ty in section {
                    memories.push(MemoryType::from(ty?));
                }
            }
            Payload::GlobalSection(section) => {
                for ty in section {
                    globals.push(global(ty?.ty));
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    let (name, index) = (export.name.to_owned(), export.index as usize);
                    match export.kind {
                        ExternalKind::Func => {
                            let (params, results) = types[functions[index] as usize].clone();
                            exports.functions.push((name, params, results));
                        }
                        ExternalKind::Global => exports.globals.push((name, globals[index])),
                        ExternalKind::Memory => exports.memory = Some((name, memories[index])),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(exports)
}

fn values(types: &[wasmparser::ValType]) -> Vec<ValType> {
    types.iter().map(|ty| ValType::try_from(*ty).expect("a type of WebAssembly 2.0")).collect()
}

fn global(ty: wasmparser::GlobalType) -> GlobalType {
    GlobalType::try_from(ty).expect("a type of WebAssembly 2.0")
}

fn driver(exports: &Exports, plan: &[usize], chance: &mut Chance) -> Vec<u8> {
    let mut types = TypeSection::new();
    let mut imports = ImportSection::new();
    let mut functions = FunctionSection::new();
    let mut exported = ExportSection::new();
    let mut code = CodeSection::new();
    for (name, params, results) in &exports.functions {
        imports.import(GUEST, name, EntityType::Function(types.len()));
        types.ty().function(params.iter().copied(), results.iter().copied());
    }
    for (name, ty) in &exports.globals {
        imports.import(GUEST, name, EntityType::Global(*ty));
    }
    if let Some((name, ty)) = &exports.memory {
        imports.import(GUEST, name, EntityType::Memory(*ty));
        exported.export(MEMORY, ExportKind::Memory, 0);
    }
    let imported = types.len();
    let mut add = |name: &str, words: usize, body: Function| {
        let index = imported + functions.len();
        functions.function(types.len());
        types.ty().function([], std::iter::repeat_n(ValType::I64, words));
        exported.export(name, ExportKind::Func, index);
        code.function(&body);
    };
    for (number, index) in plan.iter().enumerate() {
        let (_, params, results) = &exports.functions[*index];
        let (words, body) = call(*index as u32, params, results, imported, chance);
        add(&format!("call{number}"), words, body);
    }
    let mut look = Function::new([(1, ValType::V128)]);
    let words = exports.globals.iter().enumerate().map(|(index, (_, ty))| {
        look.instructions().global_get(index as u32);
        hand_over(&mut look, ty.val_type, 0)
    });
    let words = words.sum();
    look.instructions().end();
    add(LOOK, words, look);

    let mut elements = ElementSection::new();
    if imported > 0 {
        // What `ref.func` names must be declared.
        let all: Vec<u32> = (0..imported).collect();
        elements.declared(Elements::Functions(all.into()));
    }
    let mut module = Module::new();
    module
        .section(&types)
        .section(&imports)
        .section(&functions)
        .section(&exported)
        .section(&elements)
        .section(&code);
    module.finish()
}

/// Calls function `index` with constants and leaves its results as i64 words.
fn call(
    index: u32,
    params: &[ValType],
    results: &[ValType],
    functions: u32,
    chance: &mut Chance,
) -> (usize, Function) {
    // One local per result, and one to take vectors apart.
    let mut locals: Vec<(u32, ValType)> = results.iter().map(|ty| (1, *ty)).collect();
    locals.push((1, ValType::V128));
    let mut body = Function::new(locals);
    for ty in params {
        argument(&mut body, *ty, functions, chance);
    }
    body.instructions().call(index);
    for local in (0..results.len()).rev() {
        body.instructions().local_set(local as u32);
    }
    let mut words = 0;
    for (local, ty) in results.iter().enumerate() {
        body.instructions().local_get(local as u32);
        words += hand_over(&mut body, *ty, results.len() as u32);
    }
    body.instructions().end();
    (words, body)
}

/// Turns the value on the stack into i64 words. `scratch` is a local for a vector.
fn hand_over(body: &mut Function, ty: ValType, scratch: u32) -> usize {
    let mut code = body.instructions();
    match ty {
        ValType::I32 => code.i64_extend_i32_u(),
        ValType::I64 => &mut code,
        ValType::F32 => code.i32_reinterpret_f32().i64_extend_i32_u(),
        ValType::F64 => code.i64_reinterpret_f64(),
        ValType::V128 => {
            code.local_tee(scratch).i64x2_extract_lane(0).local_get(scratch).i64x2_extract_lane(1);
            return 2;
        }
        ValType::Ref(_) => code.ref_is_null().i64_extend_i32_u(),
    };
    1
}

fn argument(body: &mut Function, ty: ValType, functions: u32, chance: &mut Chance) {
    let bits = interesting(chance);
    let mut code = body.instructions();
    match ty {
        ValType::I32 => code.i32_const(bits as i32),
        ValType::I64 => code.i64_const(bits.cast_signed()),
        ValType::F32 => code.f32_const(wasm_encoder::Ieee32::new(bits as u32)),
        ValType::F64 => code.f64_const(wasm_encoder::Ieee64::new(bits)),
        ValType::V128 => code
            .v128_const((u128::from(interesting(chance)) << 64 | u128::from(bits)).cast_signed()),
        ValType::Ref(RefType::FUNCREF) if functions > 0 && chance.percent(60) => {
            code.ref_func(chance.below(functions as usize) as u32)
        }
        ValType::Ref(RefType { heap_type, .. }) => code.ref_null(heap_type),
    };
}
