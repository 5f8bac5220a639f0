//! Programs that end: nested loops with counters, branches out of them, calls, floats.
//!
//! Random instructions seldom make a loop that ends, and so say little about how loops are charged
//! and what becomes of NaNs that go around in them. These programs are made of little else.

use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataSection, ElementSection, Elements, ExportKind,
    ExportSection, Function, FunctionSection, GlobalSection, GlobalType, Instruction as I, MemArg,
    MemorySection, MemoryType, Module, RefType, TableSection, TableType, TypeSection, ValType,
};

use super::Chance;
use super::operators::{BINARY, UNARY};

const TYPES: [ValType; 5] = [ValType::I32, ValType::I64, ValType::F32, ValType::F64, ValType::V128];
/// Locals of each type that statements may use.
const LOCALS: u32 = 3;
/// Locals that count loops.
const COUNTERS: u32 = 6;
/// Statements and operands of one function.
const BUDGET: i32 = 150;

/// Makes a program.
pub(super) fn program(chance: &mut Chance) -> Vec<u8> {
    let functions = 2 + chance.below(5);
    let bulk = chance.percent(25);
    let mut of_types = |most: usize| -> Vec<ValType> {
        (0..chance.below(most + 1)).map(|_| chance.of(&TYPES)).collect()
    };
    let signatures: Vec<Signature> =
        (0..functions).map(|_| Signature { params: of_types(3), results: of_types(2) }).collect();
    let (mut types, mut declared, mut exports, mut code) =
        (TypeSection::new(), FunctionSection::new(), ExportSection::new(), CodeSection::new());
    for (index, signature) in signatures.iter().enumerate() {
        types.ty().function(signature.params.iter().copied(), signature.results.iter().copied());
        declared.function(index as u32);
        exports.export(&format!("f{index}"), ExportKind::Func, index as u32);
        code.function(&Body::new(index, &signatures, bulk, chance).function());
    }
    let mut globals = GlobalSection::new();
    for (index, ty) in TYPES.into_iter().enumerate() {
        globals.global(GlobalType { val_type: ty, mutable: true, shared: false }, &zero(ty));
        exports.export(&format!("g{index}"), ExportKind::Global, index as u32);
    }
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: 1,
        maximum: Some(3),
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    exports.export("memory", ExportKind::Memory, 0);
    let mut tables = TableSection::new();
    let elements = functions as u64 + 1;
    tables.table(TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: elements,
        maximum: None,
        shared: false,
    });
    let mut segments = ElementSection::new();
    let all: Vec<u32> = (0..functions as u32).collect();
    segments.active(None, &ConstExpr::i32_const(0), Elements::Functions(all.into()));
    let mut data = DataSection::new();
    data.active(
        0,
        &ConstExpr::i32_const(0),
        (0..64).flat_map(|_| super::interesting(chance).to_le_bytes()).collect::<Vec<u8>>(),
    );
    let mut module = Module::new();
    module.section(&types).section(&declared).section(&tables).section(&memories).section(&globals);
    module.section(&exports).section(&segments).section(&code).section(&data);
    module.finish()
}

fn zero(ty: ValType) -> ConstExpr {
    match ty {
        ValType::I32 => ConstExpr::i32_const(0),
        ValType::I64 => ConstExpr::i64_const(0),
        ValType::F32 => ConstExpr::f32_const(0.0.into()),
        ValType::F64 => ConstExpr::f64_const(0.0.into()),
        _ => ConstExpr::v128_const(0),
    }
}

#[derive(Debug, Clone)]
struct Signature {
    params: Vec<ValType>,
    results: Vec<ValType>,
}

/// A label that may be branched to, with what a branch to it carries.
#[derive(Debug, Clone)]
struct Label {
    carries: Vec<ValType>,
    /// A loop that counts at its end cannot be continued without counting.
    open: bool,
}

struct Body<'a> {
    index: usize,
    signatures: &'a [Signature],
    chance: &'a mut Chance,
    code: Vec<I<'static>>,
    labels: Vec<Label>,
    params: u32,
    counters: u32,
    budget: i32,
    /// Whether there are instructions that are charged by size.
    bulk: bool,
}

impl<'a> Body<'a> {
    fn new(
        index: usize,
        signatures: &'a [Signature],
        bulk: bool,
        chance: &'a mut Chance,
    ) -> Body<'a> {
        let own = &signatures[index];
        let labels = vec![Label { carries: own.results.clone(), open: true }];
        let params = own.params.len() as u32;
        Body {
            index,
            signatures,
            chance,
            code: Vec::new(),
            labels,
            params,
            counters: 0,
            budget: BUDGET,
            bulk,
        }
    }

    fn function(mut self) -> Function {
        let results = self.signatures[self.index].results.clone();
        self.statements(0);
        self.values(&results, 0);
        let mut function = Function::new(
            TYPES
                .map(|ty| (LOCALS, ty))
                .into_iter()
                .chain([(COUNTERS + 1, ValType::I32)])
                .collect::<Vec<_>>(),
        );
        for instruction in &self.code {
            function.instruction(instruction);
        }
        function.instruction(&I::End);
        function
    }

    fn put(&mut self, instruction: I<'static>) {
        self.code.push(instruction);
    }

    fn local(&mut self, ty: ValType) -> u32 {
        let own = &self.signatures[self.index].params;
        let fitting: Vec<u32> = (0..self.params).filter(|i| own[*i as usize] == ty).collect();
        if !fitting.is_empty() && self.chance.percent(40) {
            return self.chance.of(&fitting);
        }
        self.params + LOCALS * place(ty) + self.chance.below(LOCALS as usize) as u32
    }

    fn statements(&mut self, depth: usize) {
        for _ in 0..1 + self.chance.below(5) {
            self.statement(depth);
        }
    }

    fn statement(&mut self, depth: usize) {
        self.budget -= 1;
        let ty = self.chance.of(&TYPES);
        let nested = depth < 5 && self.budget > 0;
        match self.chance.below(if nested { 20 } else { 5 }) {
            0 | 1 => {
                self.value(ty, depth);
                let local = self.local(ty);
                self.put(I::LocalSet(local));
            }
            2 => {
                self.value(ty, depth);
                self.put(I::GlobalSet(place(ty)));
            }
            3 => {
                self.address(depth);
                self.value(ty, depth);
                let store = match ty {
                    ValType::I32 => I::I32Store(MEM),
                    ValType::I64 => I::I64Store(MEM),
                    ValType::F32 => I::F32Store(MEM),
                    ValType::F64 => I::F64Store(MEM),
                    _ => I::V128Store(MEM),
                };
                self.put(store);
            }
            4 => {
                self.value(ty, depth);
                self.put(I::Drop);
            }
            5..=8 => self.counted_loop(depth),
            9 | 10 => {
                self.value(ValType::I32, depth);
                self.put(I::If(BlockType::Empty));
                self.scope(Vec::new(), true, |body| body.statements(depth + 1));
                if self.chance.percent(60) {
                    self.put(I::Else);
                    self.scope(Vec::new(), true, |body| body.statements(depth + 1));
                }
                self.put(I::End);
            }
            11 | 12 => {
                self.put(I::Block(BlockType::Empty));
                self.scope(Vec::new(), true, |body| {
                    body.statements(depth + 1);
                    body.branch(depth);
                    body.statements(depth + 1);
                });
                self.put(I::End);
            }
            13..=15 => self.branch(depth),
            16 => self.leave(depth),
            17 | 18 => {
                self.call(None, depth);
            }
            _ if self.bulk => self.bulk(depth),
            _ => self.branch(depth),
        }
    }

    fn scope(&mut self, carries: Vec<ValType>, open: bool, inside: impl FnOnce(&mut Self)) {
        self.labels.push(Label { carries, open });
        inside(self);
        self.labels.pop();
    }

    /// A loop that ends after some turns, however it is left or continued.
    fn counted_loop(&mut self, depth: usize) {
        if self.counters == COUNTERS {
            return;
        }
        let counter = self.params + LOCALS * TYPES.len() as u32 + self.counters;
        self.counters += 1;
        let tight = self.chance.percent(50);
        let many = tight && self.chance.percent(20);
        let turns = 2 + self.chance.below(if many { 3000 } else { 8 }) as i32;
        self.put(I::I32Const(turns));
        self.put(I::LocalSet(counter));
        let count = [I::LocalGet(counter), I::I32Const(1), I::I32Sub, I::LocalTee(counter)];
        if self.chance.percent(50) {
            self.put(I::Block(BlockType::Empty));
            self.scope(Vec::new(), true, |body| {
                body.put(I::Loop(BlockType::Empty));
                body.scope(Vec::new(), true, |body| {
                    body.code.extend(count);
                    body.code.extend([I::I32Eqz, I::BrIf(1)]);
                    body.turn(depth + 1, tight);
                    body.put(I::Br(0));
                });
                body.put(I::End);
            });
        } else if tight && self.chance.percent(50) {
            self.floats(counter, many);
            self.counters -= 1;
            return;
        } else {
            self.put(I::Loop(BlockType::Empty));
            self.scope(Vec::new(), false, |body| {
                body.turn(depth + 1, tight);
                body.code.extend(count);
                body.put(I::BrIf(0));
            });
        }
        self.put(I::End);
        self.counters -= 1;
    }

    fn floats(&mut self, counter: u32, many: bool) {
        let zero = self.params + LOCALS * TYPES.len() as u32;
        let locals = TYPES.map(|ty| self.params + LOCALS * place(ty));
        let bases = [locals[0], locals[0] + 1, zero + COUNTERS];
        let wide = self.chance.percent(60);
        super::floats::Floats {
            wide,
            bases,
            floats: locals[if wide { 3 } else { 2 }],
            counter,
            many,
        }
        .put(self.chance, &mut self.code);
    }

    /// What a loop does in a turn; little if it is tight.
    fn turn(&mut self, depth: usize, tight: bool) {
        if !tight {
            return self.statements(depth);
        }
        self.statement(5);
        match self.chance.below(5) {
            0 => {
                self.value(ValType::I32, 5);
                self.put(I::If(BlockType::Empty));
                self.scope(Vec::new(), true, |body| {
                    body.statement(5);
                    if body.chance.percent(50) {
                        body.branch(5);
                    }
                });
                if self.chance.percent(50) {
                    self.put(I::Else);
                    self.scope(Vec::new(), true, |body| body.statement(5));
                }
                self.put(I::End);
            }
            1 => self.branch(5),
            2 => {
                self.put(I::Block(BlockType::Empty));
                self.scope(Vec::new(), true, |body| {
                    body.branch(5);
                    body.statement(5);
                });
                self.put(I::End);
            }
            3 => self.statement(5),
            _ => {}
        }
    }

    /// A branch that may be taken.
    fn branch(&mut self, depth: usize) {
        let Some((label, carries)) = self.target() else { return };
        self.values(&carries, depth);
        if self.chance.percent(70) {
            self.value(ValType::I32, depth);
            self.put(I::BrIf(label));
            for ty in carries.iter().rev() {
                let local = self.local(*ty);
                self.put(I::LocalSet(local));
            }
            return;
        }
        // Some number of targets that carry the same, then code that is not reached from here.
        let top = self.labels.len() - 1;
        let alike: Vec<u32> = (0..self.labels.len())
            .filter(|i| self.labels[*i].open && self.labels[*i].carries == carries)
            .map(|i| (top - i) as u32)
            .collect();
        let targets: Vec<u32> = (0..self.chance.below(4)).map(|_| self.chance.of(&alike)).collect();
        // Inside an `if`, so that what follows is reached at times.
        for ty in carries.iter().rev() {
            let local = self.local(*ty);
            self.put(I::LocalSet(local));
        }
        self.value(ValType::I32, depth);
        self.put(I::If(BlockType::Empty));
        let deeper = |label: &u32| label + 1;
        self.scope(Vec::new(), false, |body| {
            body.values(&carries, depth);
            body.value(ValType::I32, depth);
            body.put(I::BrTable(
                targets.iter().map(deeper).collect::<Vec<u32>>().into(),
                deeper(&label),
            ));
        });
        self.put(I::End);
    }

    fn target(&mut self) -> Option<(u32, Vec<ValType>)> {
        let open: Vec<usize> = (0..self.labels.len()).filter(|i| self.labels[*i].open).collect();
        // The innermost are of most use.
        let nearest = &open[open.len().saturating_sub(4)..];
        let chosen = *nearest.get(self.chance.below(nearest.len().max(1)))?;
        Some(((self.labels.len() - 1 - chosen) as u32, self.labels[chosen].carries.clone()))
    }

    /// Leaves the function, or ends the program, on some condition.
    fn leave(&mut self, depth: usize) {
        let results = self.signatures[self.index].results.clone();
        self.value(ValType::I32, depth);
        self.code.extend([I::I32Const(7), I::I32And, I::I32Eqz, I::If(BlockType::Empty)]);
        self.scope(Vec::new(), false, |body| match body.chance.below(10) {
            0 => body.put(I::Unreachable),
            _ => {
                body.values(&results, depth);
                body.put(I::Return);
            }
        });
        self.put(I::End);
    }

    /// Calls a later function, so that calls end; keeps its results in locals, or leaves one of `wanted`.
    fn call(&mut self, wanted: Option<ValType>, depth: usize) -> bool {
        let later: Vec<usize> = (self.index + 1..self.signatures.len())
            .filter(|i| wanted.is_none_or(|ty| self.signatures[*i].results == [ty]))
            .collect();
        if later.is_empty() {
            return false;
        }
        let callee = self.chance.of(&later);
        let Signature { params, results } = self.signatures[callee].clone();
        self.values(&params, depth);
        if self.chance.percent(60) {
            self.put(I::Call(callee as u32));
        } else {
            // Now and then another function of perhaps another type, or none.
            let other = if self.chance.percent(97) {
                callee
            } else {
                self.chance.below(self.signatures.len() + 2)
            };
            self.put(I::I32Const(other as i32));
            self.put(I::CallIndirect { type_index: callee as u32, table_index: 0 });
        }
        if wanted.is_none() {
            for ty in results.iter().rev() {
                let local = self.local(*ty);
                self.put(I::LocalSet(local));
            }
        }
        true
    }

    fn bulk(&mut self, depth: usize) {
        let length = I::I32Const(self.chance.below(200) as i32);
        match self.chance.below(8) {
            0 => self.code.extend([I::I32Const(1), I::MemoryGrow(0), I::Drop]),
            1..=3 => {
                self.address(depth);
                self.value(ValType::I32, depth);
                self.put(length);
                self.put(I::MemoryFill(0));
            }
            _ => {
                self.address(depth);
                self.address(depth);
                self.put(length);
                self.put(I::MemoryCopy { src_mem: 0, dst_mem: 0 });
            }
        }
    }

    fn address(&mut self, depth: usize) {
        self.value(ValType::I32, depth + 2);
        // Rarely out of bounds.
        let mask = if self.chance.percent(2) { 0x1_ffff } else { 0x1f8 };
        self.code.extend([I::I32Const(mask), I::I32And]);
    }

    fn values(&mut self, types: &[ValType], depth: usize) {
        for ty in types {
            self.value(*ty, depth + 1);
        }
    }

    /// Leaves a value of this type.
    fn value(&mut self, ty: ValType, depth: usize) {
        self.budget -= 1;
        if depth >= 6 || self.budget <= 0 {
            return self.leaf(ty);
        }
        match self.chance.below(12) {
            0..=2 => self.leaf(ty),
            3..=5 => {
                let (operator, operands) = self.chance.of_slice(BINARY[place(ty) as usize]).clone();
                self.values(&[operands, operands], depth);
                self.put(operator);
            }
            6 | 7 => {
                let (operator, operand) = self.chance.of_slice(UNARY[place(ty) as usize]).clone();
                self.value(operand, depth + 1);
                self.put(operator);
            }
            8 => {
                self.values(&[ty, ty, ValType::I32], depth);
                self.put(if ty == ValType::V128 { I::TypedSelect(ty) } else { I::Select });
            }
            9 => {
                self.put(I::Block(BlockType::Result(ty)));
                self.scope(vec![ty], true, |body| {
                    body.statement(depth + 1);
                    body.value(ty, depth + 1);
                    if body.chance.percent(50) {
                        body.value(ValType::I32, depth + 1);
                        body.put(I::BrIf(0));
                    }
                });
                self.put(I::End);
            }
            10 => {
                self.value(ValType::I32, depth + 1);
                self.put(I::If(BlockType::Result(ty)));
                self.scope(vec![ty], true, |body| {
                    body.value(ty, depth + 1);
                    body.put(I::Else);
                    body.statement(depth + 1);
                    body.value(ty, depth + 1);
                });
                self.put(I::End);
            }
            _ => {
                if !self.call(Some(ty), depth + 1) {
                    self.value(ty, depth + 1);
                    let local = self.local(ty);
                    self.put(I::LocalTee(local));
                }
            }
        }
    }

    fn leaf(&mut self, ty: ValType) {
        match self.chance.below(8) {
            0..=3 => {
                let local = self.local(ty);
                self.put(I::LocalGet(local));
            }
            4 => self.put(I::GlobalGet(place(ty))),
            5 => {
                let local = self.local(ValType::I32);
                self.code.extend([I::LocalGet(local), I::I32Const(0x1f8), I::I32And]);
                self.put(match ty {
                    ValType::I32 => I::I32Load(MEM),
                    ValType::I64 => I::I64Load(MEM),
                    ValType::F32 => I::F32Load(MEM),
                    ValType::F64 => I::F64Load(MEM),
                    _ => I::V128Load(MEM),
                });
            }
            _ => {
                let bits = super::interesting(self.chance);
                let high = super::interesting(self.chance);
                self.put(match ty {
                    ValType::I32 => I::I32Const(bits as i32),
                    ValType::I64 => I::I64Const(bits.cast_signed()),
                    ValType::F32 => I::F32Const(wasm_encoder::Ieee32::new(bits as u32)),
                    ValType::F64 => I::F64Const(wasm_encoder::Ieee64::new(bits)),
                    _ => I::V128Const((u128::from(high) << 64 | u128::from(bits)).cast_signed()),
                });
            }
        }
    }
}

pub(super) const MEM: MemArg = MemArg { offset: 0, align: 0, memory_index: 0 };

fn place(ty: ValType) -> u32 {
    TYPES.iter().position(|other| *other == ty).expect("one of the five") as u32
}
