//! Tight loops over arrays of floats that lie over each other.

use wasm_encoder::{BlockType, Ieee32, Ieee64, Instruction as I, MemArg, ValType};

use super::Chance;
use super::operators::{BINARY, UNARY};

/// A loop that does little but load, compute and store floats.
pub(super) struct Floats {
    /// Whether they take 8 bytes.
    pub(super) wide: bool,
    /// Locals that addresses are made of.
    pub(super) bases: [u32; 3],
    /// The first of three locals of the floats' type.
    pub(super) floats: u32,
    /// The local that counts turns down.
    pub(super) counter: u32,
    /// Whether there may be thousands of turns.
    pub(super) many: bool,
}

impl Floats {
    /// Writes the loop, and what comes before and behind.
    pub(super) fn put(&self, chance: &mut Chance, code: &mut Vec<I<'static>>) {
        for base in self.bases {
            let mask = if chance.percent(90) { 0x1f8 } else { 0x1ff };
            code.extend([I::LocalGet(base), I::I32Const(mask), I::I32And, I::LocalSet(base)]);
        }
        code.extend([I::Block(BlockType::Empty), I::Loop(BlockType::Empty)]);
        for _ in 0..1 + chance.below(3) {
            self.statement(chance, code);
        }
        if chance.percent(80) {
            self.address(chance, code);
            self.value(chance, code, 2);
            code.push(self.store(chance));
        }
        for base in self.bases {
            let far = [8, 8, 16, 24, self.width(), 0, 1, -8];
            let step = chance.of(if self.many { &far[..6] } else { &far });
            if step != 0 && chance.percent(60) {
                code.extend([I::LocalGet(base), I::I32Const(step), I::I32Add, I::LocalSet(base)]);
            }
        }
        let count = [I::LocalGet(self.counter), I::I32Const(1), I::I32Sub];
        code.extend(count);
        code.extend([I::LocalTee(self.counter), I::BrIf(0), I::End, I::End]);
        if chance.percent(30) {
            code.push(I::I32Const(8 * chance.below(64) as i32));
            code.push(I::LocalGet(self.floats + chance.below(3) as u32));
            code.push(self.store(chance));
        }
    }

    fn width(&self) -> i32 {
        if self.wide { 8 } else { 4 }
    }

    fn ty(&self) -> ValType {
        if self.wide { ValType::F64 } else { ValType::F32 }
    }

    fn statement(&self, chance: &mut Chance, code: &mut Vec<I<'static>>) {
        let local = self.floats + chance.below(3) as u32;
        match chance.below(10) {
            0..=4 => {
                self.address(chance, code);
                self.value(chance, code, 2);
                code.push(self.store(chance));
            }
            5 | 6 => {
                self.value(chance, code, 1);
                code.push(I::LocalSet(local));
            }
            7 => {
                self.load(chance, code);
                code.push(I::LocalSet(local));
            }
            8 => {
                self.value(chance, code, 1);
                self.value(chance, code, 0);
                code.push(if self.wide { I::F64Lt } else { I::F32Gt });
                code.push(I::BrIf(1));
            }
            _ => {
                code.extend([I::LocalGet(self.counter), I::I32Const(chance.below(7) as i32)]);
                code.extend([I::I32Eq, I::BrIf(1)]);
            }
        }
    }

    /// Leaves an address: mostly a multiple of the width.
    fn address(&self, chance: &mut Chance, code: &mut Vec<I<'static>>) {
        code.push(I::LocalGet(chance.of(&self.bases)));
        match chance.below(6) {
            0 => code.extend([I::LocalGet(chance.of(&self.bases)), I::I32Add]),
            1 | 2 => {
                let behind = self.width() * chance.below(6) as i32;
                code.extend([I::I32Const(behind), I::I32Add]);
            }
            3 => code.extend([I::I32Const(chance.below(4) as i32), I::I32Shl]),
            _ => {}
        }
    }

    fn memarg(&self, chance: &mut Chance) -> MemArg {
        let odd = if chance.percent(3) { chance.below(8) as u64 } else { 0 };
        let offset = 8 * chance.of(&[0, 0, 1, 2, 3, 10]) + odd;
        MemArg { offset, align: 0, memory_index: 0 }
    }

    fn store(&self, chance: &mut Chance) -> I<'static> {
        let memarg = self.memarg(chance);
        match (self.wide, chance.percent(3)) {
            (true, false) => I::F64Store(memarg),
            (false, false) => I::F32Store(memarg),
            // Outside of what is mostly the memory.
            (true, true) => I::F64Store(MemArg { offset: 0x1_0000, ..memarg }),
            (false, true) => I::F32Store(MemArg { offset: 0x1_0000, ..memarg }),
        }
    }

    fn load(&self, chance: &mut Chance, code: &mut Vec<I<'static>>) {
        self.address(chance, code);
        let memarg = self.memarg(chance);
        match (self.wide, chance.percent(3)) {
            (true, false) => code.push(I::F64Load(memarg)),
            (false, false) => code.push(I::F32Load(memarg)),
            (true, true) => code.extend([I::F32Load(memarg), I::F64PromoteF32]),
            (false, true) => code.extend([I::F64Load(memarg), I::F32DemoteF64]),
        }
    }

    /// Leaves a float.
    fn value(&self, chance: &mut Chance, code: &mut Vec<I<'static>>, depth: usize) {
        let ty = usize::from(self.wide) + 2;
        match chance.below(if depth == 0 { 5 } else { 12 }) {
            0 | 1 => self.load(chance, code),
            2 => code.push(I::LocalGet(self.floats + chance.below(3) as u32)),
            3 => {
                let bits = super::interesting(chance);
                code.push(match self.ty() {
                    ValType::F64 => I::F64Const(Ieee64::new(bits)),
                    _ => I::F32Const(Ieee32::new(bits as u32)),
                });
            }
            4 => {
                code.push(I::LocalGet(self.counter));
                code.push(if self.wide { I::F64ConvertI32S } else { I::F32ConvertI32S });
            }
            5..=9 => {
                // The last of them looks at signs.
                let all = BINARY[ty];
                let plain = if chance.percent(95) { &all[..all.len() - 1] } else { all };
                let (operator, _) = chance.of_slice(plain).clone();
                self.value(chance, code, depth - 1);
                self.value(chance, code, depth - 1);
                code.push(operator);
            }
            _ => {
                let same: Vec<_> =
                    UNARY[ty].iter().filter(|(_, operand)| *operand == self.ty()).collect();
                let (operator, _) = (*chance.of_slice(&same)).clone();
                self.value(chance, code, depth - 1);
                code.push(operator);
            }
        }
    }
}
