//! Stores of tight loops, whose NaNs are made canonical once for several turns.
//!
//! Of a loop that is copied (see `unroll`), the copies that are metered at once may store what
//! arithmetic gave as it is. Behind the last store, the sum of all that was stored tells whether a NaN
//! is among it; only if so, which is rare, each place that was written is read and made canonical. A
//! branch that leaves early does that for what was written so far. The sum may be a NaN without one
//! among the values (of infinities): then making them canonical changes nothing.
//!
//! Until then memory holds bits of the engine's making. They are not seen, and what is made canonical
//! is what would have been, because of such a loop all this holds:
//!
//! - It is straight: branches only leave it, but for the one at its end. So it is known at each place
//!   what was stored.
//! - It calls nothing and moves no memory. Its own loads and stores are all that is between a store
//!   and the end. All of them are scalar floats of one width: an integer would be seen, or taken for
//!   a NaN.
//! - All their addresses are multiples of that width. So those that overlap are equal. A load finds a
//!   NaN whole: half of one may be a number that depends on its bits. And at the end each place holds
//!   all of what was stored there last. Addresses are sums of multiples of locals that a turn leaves
//!   as they are, modulo the width: what holds in one turn holds in all, and is asked before the
//!   first ([`Address`]). If it does not hold, turns are taken one by one.
//! - What is loaded goes into arithmetic, comparisons and conversions only, for which a NaN is a NaN;
//!   also if it is kept in a local, anywhere from the outermost loop around on (`sight`).
//! - What is stored is what arithmetic gave, or no NaN, and the canonical NaNs are all of one sign.
//!   So no bits are changed that must be kept.
//! - If it traps, nobody looks at memory: an attempt that traps has no output (GUEST). Where memory
//!   can be looked at after a trap, in libraries, all this is not done.
//!
//! Since addresses are known to be sums, most are a number behind an earlier one, and then taken as
//! that one and an offset (see [`places`]): a turn has fewer instructions. That makes up for loads
//! that an engine does not fold into arithmetic once the result is used twice.

use alloc::{collections::BTreeMap, vec::Vec};
use core::ops::Range;

use wasm_encoder::{BlockType, MemArg, ValType};
use wasmparser::{
    BinaryReader, ContType, FrameKind, FuncType, ModuleArity, Operator, OperatorsReader, RefType,
    SubType,
};

use crate::{
    emit::{Scratch, Writer},
    float::{Lanes, Role, nan32, nan64},
    scan::{EditKind, Stored},
};

/// What the body of a loop may be made of besides what is followed: instructions of one byte that
/// neither touch memory nor branch.
const NOP: u8 = 0x01;
const DROP: u8 = 0x1a;
const SELECT: u8 = 0x1b;
const GLOBAL_GET: u8 = 0x23;
const NUMERIC_FIRST: u8 = 0x41;
const NUMERIC_LAST: u8 = 0xc4;

/// Stores of all turns that are taken at once: their values take up registers until the sum is made.
const MAX_STORES: usize = 8;
/// Locals of a function, so that those added are within what engines take.
const MAX_LOCALS: u32 = 49_900;
/// Addresses that are kept.
const MAX_KEPT: usize = 8;
/// How far behind one that is kept others may be: less than a page.
const MAX_BEHIND: u32 = 32 << 10;
/// Offset of an access: none beyond would be inside a memory that is not full.
const MAX_OFFSET: u64 = (1 << 32) - (64 << 10);
/// Pages of a memory that ends where addresses do.
const FULL: i32 = 1 << 16;
/// Bytes that make one place canonical, about.
const REPETITION: usize = 36;

/// How the stores of a loop are made canonical late.
pub(crate) struct Late {
    wide: bool,
    /// The canonical NaN is the negative one.
    negative: bool,
    /// Stores of one turn.
    stores: usize,
    /// What must be multiples of the width.
    asked: Vec<Address>,
    /// Where the addresses of all turns come from, in order.
    places: Vec<Place>,
}

/// A sum of locals, each times a factor, and a number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Address {
    factors: BTreeMap<u32, u32>,
    number: u32,
}

/// Where an address comes from: so that an engine computes few of them.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Which of the addresses kept in locals.
    kept: usize,
    /// How far behind it; none if it is kept here.
    behind: Option<u32>,
}

/// What was stored and is not yet known to be canonical, while copies of a loop are written.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// Whether stores are made canonical late.
    active: bool,
    wide: bool,
    negative: bool,
    /// How many make up all turns.
    all: usize,
    /// Addresses to come, the next one last.
    places: Vec<Place>,
    /// The stores so far: the kept address of each, and the offset from it.
    puts: Vec<(usize, u64)>,
    /// Locals for values of either width, and for addresses.
    pub(crate) locals: [Vec<u32>; 3],
}

/// Types of [`Pending::locals`].
pub(crate) const KEPT: [ValType; 3] = [ValType::F32, ValType::F64, ValType::I32];
const ADDRESS: usize = 2;

impl Pending {
    fn scratch(&self) -> Scratch {
        if self.wide { Scratch::F64 } else { Scratch::F32 }
    }
}

impl Late {
    /// About how many bytes this adds if each turn can be left in one place.
    pub(crate) fn grown(&self, turns: u32) -> usize {
        let left = turns as usize * (turns as usize + 1) / 2;
        left * self.stores * REPETITION + self.asked.len() * 16 + self.places.len() * 6
    }
}

impl Address {
    fn number(number: u32) -> Self {
        Self { factors: BTreeMap::new(), number }
    }

    fn local(local: u32) -> Self {
        Self { factors: BTreeMap::from([(local, 1)]), number: 0 }
    }

    fn known(&self) -> Option<u32> {
        self.factors.is_empty().then_some(self.number)
    }

    /// This, and `factor` times another.
    fn plus(mut self, other: &Self, factor: u32) -> Self {
        for (local, times) in &other.factors {
            let sum = self.factors.entry(*local).or_default();
            *sum = sum.wrapping_add(times.wrapping_mul(factor));
        }
        self.factors.retain(|_, times| *times > 0);
        self.number = self.number.wrapping_add(other.number.wrapping_mul(factor));
        self
    }

    /// The same modulo a power of two.
    fn modulo(&self, width: u32) -> Self {
        let factors = self.factors.iter().map(|(local, times)| (*local, times % width));
        let factors = factors.filter(|(_, times)| *times > 0).collect();
        Self { factors, number: self.number % width }
    }
}

/// What a value is, if that is known.
type Value = Option<Address>;

/// Turns of a loop: which addresses it uses, in terms of what locals hold at the start.
#[derive(Default)]
struct Turns {
    wide: bool,
    values: Vec<Value>,
    /// Locals that were assigned.
    locals: BTreeMap<u32, Value>,
    /// Addresses of accesses, and their own offsets.
    addresses: Vec<(Address, u64)>,
    loads: usize,
    stores: usize,
    /// What the last instruction pushed, if it was a constant.
    constant: Option<u32>,
}

impl Turns {
    fn local(&self, local: u32) -> Value {
        match self.locals.get(&local) {
            Some(value) => value.clone(),
            None => Some(Address::local(local)),
        }
    }

    /// An access at `offset` from the topmost value.
    fn access(&mut self, offset: u64) -> Option<()> {
        // So that what lies behind is within what an offset can be.
        let within = offset <= MAX_OFFSET;
        let address = self.values.pop()?.filter(|_| within)?;
        self.addresses.push((address, offset));
        Some(())
    }

    /// Follows one instruction. None if the loop is not what is asked for.
    fn step(&mut self, operator: &Operator<'_>, opcode: u8) -> Option<()> {
        use Operator as O;
        let constant = self.constant.take();
        match *operator {
            O::I32Const { value } => {
                let value = value.cast_unsigned();
                self.constant = Some(value);
                self.values.push(Some(Address::number(value)));
            }
            O::LocalGet { local_index } => self.values.push(self.local(local_index)),
            O::LocalSet { local_index } => {
                let value = self.values.pop()?;
                self.locals.insert(local_index, value);
            }
            O::LocalTee { local_index } => {
                self.locals.insert(local_index, self.values.last()?.clone());
            }
            O::I32Add | O::I32Sub | O::I32Mul | O::I32Shl => {
                let (b, a) = (self.values.pop()?, self.values.pop()?);
                self.values.push(computed(operator, a, b, constant));
            }
            O::F32Load { memarg } if !self.wide => self.load(memarg.offset)?,
            O::F64Load { memarg } if self.wide => self.load(memarg.offset)?,
            O::F32Store { memarg } if !self.wide => self.store(memarg.offset)?,
            O::F64Store { memarg } if self.wide => self.store(memarg.offset)?,
            O::BrIf { .. } => {
                self.values.pop()?;
            }
            _ => {
                let numeric =
                    matches!(
                        opcode,
                        NOP | DROP | SELECT | GLOBAL_GET | NUMERIC_FIRST..=NUMERIC_LAST
                    ) || matches!(Role::of(operator), Role::Opaque(Lanes::F32 | Lanes::F64));
                if !numeric {
                    return None;
                }
                let (pops, pushes) = operator.operator_arity(&Plain)?;
                let below = self.values.len().checked_sub(pops as usize)?;
                self.values.truncate(below);
                self.values.extend(core::iter::repeat_n(None, pushes as usize));
            }
        }
        Some(())
    }

    fn load(&mut self, offset: u64) -> Option<()> {
        self.loads += 1;
        self.access(offset)?;
        self.values.push(None);
        Some(())
    }

    fn store(&mut self, offset: u64) -> Option<()> {
        self.stores += 1;
        self.values.pop()?;
        self.access(offset)
    }
}

/// What an instruction makes of two values, the second being `constant` if that is known.
fn computed(operator: &Operator<'_>, a: Value, b: Value, constant: Option<u32>) -> Value {
    let nothing = Address::number(0);
    match operator {
        Operator::I32Add => Some(a?.plus(&b?, 1)),
        Operator::I32Sub => Some(a?.plus(&b?, u32::MAX)),
        Operator::I32Mul => match (a?, b?) {
            (a, b) if b.known().is_some() => Some(nothing.plus(&a, b.number)),
            (a, b) if a.known().is_some() => Some(nothing.plus(&b, a.number)),
            _ => None,
        },
        _ => Some(nothing.plus(&a?, 1 << (constant? % 32))),
    }
}

/// What must be multiples of the width in the first turn, so that in all turns all addresses are.
/// None if that is not known.
fn asked(turn: &Turns, width: u32) -> Option<Vec<Address>> {
    let mut asked: Vec<Address> = Vec::new();
    for (address, offset) in &turn.addresses {
        let offset = (offset % u64::from(width)) as u32;
        let address = address.clone().plus(&Address::number(offset), 1).modulo(width);
        // What a turn does to the locals that the next one's addresses are made of.
        for local in address.factors.keys() {
            if turn.local(*local)?.modulo(width) != Address::local(*local) {
                return None;
            }
        }
        if address.known().is_some_and(|number| number > 0) {
            return None;
        }
        if address.known().is_none() && !asked.contains(&address) {
            asked.push(address);
        }
    }
    Some(asked)
}

/// Finds addresses that are a little behind others. Those were used before: they are inside the
/// memory, which ends a page before addresses do, so that what is behind them is just as far behind
/// as an offset.
fn places(addresses: &[(Address, u64)]) -> Option<Vec<Place>> {
    let mut all: Vec<&Address> = Vec::new();
    let mut places = Vec::new();
    for (address, _) in addresses {
        let near = all.iter().enumerate().find_map(|(kept, other)| {
            let behind = address.number.wrapping_sub(other.number);
            let near = other.factors == address.factors && behind < MAX_BEHIND;
            near.then_some(Place { kept, behind: Some(behind) })
        });
        places.push(near.unwrap_or_else(|| {
            all.push(address);
            Place { kept: all.len() - 1, behind: None }
        }));
    }
    (all.len() <= MAX_KEPT).then_some(places)
}

/// Numeric instructions take and give what their name says, whatever the module.
struct Plain;

impl ModuleArity for Plain {
    fn sub_type_at(&self, _: u32) -> Option<&SubType> {
        None
    }

    fn tag_type_arity(&self, _: u32) -> Option<(u32, u32)> {
        None
    }

    fn type_index_of_function(&self, _: u32) -> Option<u32> {
        None
    }

    fn func_type_of_cont_type(&self, _: &ContType) -> Option<&FuncType> {
        None
    }

    fn sub_type_of_ref_type(&self, _: &RefType) -> Option<&SubType> {
        None
    }

    fn control_stack_height(&self) -> u32 {
        0
    }

    fn label_block(&self, _: u32) -> Option<(wasmparser::BlockType, FrameKind)> {
        None
    }
}

impl Writer<'_, '_> {
    /// Whether and how the stores of a loop with this body are made canonical late. `last` is the
    /// conditional branch back that ends it.
    pub(crate) fn late(
        &self,
        edits: Range<usize>,
        body: &Range<usize>,
        last: Option<usize>,
        outermost: usize,
        turns: u32,
    ) -> Option<(Late, u32)> {
        let last = last.filter(|_| self.emitter.late && self.scan.locals <= MAX_LOCALS)?;
        let (mut loads, mut stores, mut form) = (0, 0, None);
        for (place, edit) in self.scan.edits[edits.clone()].iter().enumerate() {
            match edit.kind {
                EditKind::Charge { .. } | EditKind::Canonical { stored: false, .. } => {}
                EditKind::Canonical { lanes, negative, .. }
                    if form.is_none_or(|form| form == (lanes, negative)) =>
                {
                    form = Some((lanes, negative));
                }
                EditKind::BranchIf { depth, .. } if depth > 0 || edits.start + place == last => {}
                EditKind::Fetch { seen: false, local }
                    if local.is_none_or(|local| !self.scan.sight.seen_from(local, outermost)) =>
                {
                    loads += 1;
                }
                EditKind::Put(Stored::Clean) => stores += 1,
                _ => return None,
            }
        }
        let (lanes, negative) = form?;
        let wide = lanes == Lanes::F64;
        let mut all = Turns { wide, ..Turns::default() };
        self.follow(&mut all, body)?;
        // The same loads and stores, and no other.
        let turns = turns.min((MAX_STORES / stores) as u32);
        if all.loads != loads || all.stores != stores || turns < 2 {
            return None;
        }
        let asked = asked(&all, if wide { 8 } else { 4 })?;
        for _ in 1..turns {
            self.follow(&mut all, body)?;
        }
        let places = places(&all.addresses)?;
        Some((Late { wide, negative, stores, asked, places }, turns))
    }

    /// Follows a turn from where `turns` ends.
    fn follow(&self, turns: &mut Turns, body: &Range<usize>) -> Option<()> {
        let code = self.emitter.wasm.get(body.clone())?;
        let mut reader = OperatorsReader::new(BinaryReader::new(code, 0));
        while !reader.eof() {
            let opcode = *code.get(reader.original_position())?;
            turns.step(&reader.read().ok()?, opcode)?;
        }
        turns.values.is_empty().then_some(())
    }

    /// Pushes whether turns must be taken one by one: an address is no multiple of the width, or memory
    /// reaches as far as addresses do.
    pub(crate) fn unfit(&mut self, late: &Late) {
        self.sink().memory_size(0).i32_const(FULL).i32_ge_u();
        for (place, address) in late.asked.iter().enumerate() {
            self.sink().i32_const(address.number.cast_signed());
            for (local, factor) in &address.factors {
                self.sink().local_get(*local);
                if *factor > 1 {
                    self.sink().i32_const(factor.cast_signed()).i32_mul();
                }
                self.sink().i32_add();
            }
            if place > 0 {
                self.sink().i32_or();
            }
        }
        if !late.asked.is_empty() {
            self.sink().i32_const(if late.wide { 7 } else { 3 }).i32_and().i32_or();
        }
    }

    /// Begins copies whose stores are made canonical late.
    pub(crate) fn begin_late(&mut self, late: &Late, turns: u32) {
        self.pending.active = true;
        (self.pending.wide, self.pending.negative) = (late.wide, late.negative);
        self.pending.all = late.stores * turns as usize;
        self.pending.places = late.places.iter().rev().copied().collect();
        self.pending.puts.clear();
    }

    pub(crate) fn end_late(&mut self) {
        self.pending.active = false;
        self.pending.puts.clear();
    }

    /// Whether stores are made canonical late here.
    pub(crate) fn is_late(&self) -> bool {
        self.pending.active
    }

    /// Whether a way out has to make something canonical.
    pub(crate) fn owes(&self) -> bool {
        !self.pending.puts.is_empty()
    }

    /// Replaces the address on top of the stack by the local that it is kept in. Which address that
    /// is, and how far behind it.
    fn address(&mut self) -> (usize, u32) {
        let Some(Place { kept, behind }) = self.pending.places.pop() else { return (0, 0) };
        let local = self.kept(ADDRESS, kept);
        match behind {
            Some(behind) => {
                self.sink().drop().local_get(local);
                (kept, behind)
            }
            None => {
                self.sink().local_tee(local);
                (kept, 0)
            }
        }
    }

    /// Writes a load of a scalar float.
    pub(crate) fn fetch(&mut self, code: Range<usize>) {
        if !self.pending.active {
            return self.copy(code.start, code.end);
        }
        let (_, behind) = self.address();
        let offset = self.offset(&code) + u64::from(behind);
        self.access(false, offset);
    }

    /// Writes a store of a scalar float.
    pub(crate) fn put(&mut self, code: Range<usize>) {
        if !self.pending.active {
            return self.copy(code.start, code.end);
        }
        let value = self.kept(usize::from(self.pending.wide), self.pending.puts.len());
        self.sink().local_set(value);
        let (kept, behind) = self.address();
        let offset = self.offset(&code) + u64::from(behind);
        self.sink().local_get(value);
        self.access(true, offset);
        self.pending.puts.push((kept, offset));
        if self.pending.puts.len() == self.pending.all {
            self.ask();
            self.pending.puts.clear();
        }
    }

    /// The offset of a load or store.
    fn offset(&self, code: &Range<usize>) -> u64 {
        let code = self.emitter.wasm.get(code.clone()).unwrap_or_default();
        let mut reader = OperatorsReader::new(BinaryReader::new(code, 0));
        match reader.read() {
            Ok(
                Operator::F32Load { memarg }
                | Operator::F64Load { memarg }
                | Operator::F32Store { memarg }
                | Operator::F64Store { memarg },
            ) => memarg.offset,
            _ => 0,
        }
    }

    fn access(&mut self, store: bool, offset: u64) {
        let wide = self.pending.wide;
        let memarg = MemArg { offset, align: if wide { 3 } else { 2 }, memory_index: 0 };
        let mut sink = self.sink();
        match (store, wide) {
            (false, false) => sink.f32_load(memarg),
            (false, true) => sink.f64_load(memarg),
            (true, false) => sink.f32_store(memarg),
            (true, true) => sink.f64_store(memarg),
        };
    }

    /// A local that is kept: for the value of a store, or for an address.
    fn kept(&mut self, kind: usize, place: usize) -> u32 {
        while self.pending.locals[kind].len() <= place {
            let local = self.added();
            self.pending.locals[kind].push(local);
        }
        self.pending.locals[kind][place]
    }

    /// Makes canonical what was stored, if any of it is a NaN.
    fn ask(&mut self) {
        self.sum(0..self.pending.puts.len());
        let sum = self.scratch(self.pending.scratch());
        self.sink().local_tee(sum).local_get(sum);
        if self.pending.wide {
            self.sink().f64_ge();
        } else {
            self.sink().f32_ge();
        }
        self.hint(true);
        self.sink().if_(BlockType::Empty).else_();
        self.settle();
        self.sink().end();
    }

    /// Makes canonical what was stored. No branch is in it, not even one that asks whether there is
    /// a NaN at all: what follows a branch, an engine does not take for rare.
    pub(crate) fn settle(&mut self) {
        let Pending { wide, negative, .. } = self.pending;
        for (kept, offset) in self.pending.puts.clone() {
            self.emitter.report.places.canonicalised += 1;
            let address = self.kept(ADDRESS, kept);
            let value = self.scratch(self.pending.scratch());
            self.sink().local_get(address).local_get(address);
            self.access(false, offset);
            let mut sink = self.sink();
            sink.local_tee(value);
            if wide {
                sink.f64_const(nan64(negative)).local_get(value).local_get(value).f64_eq();
            } else {
                sink.f32_const(nan32(negative)).local_get(value).local_get(value).f32_eq();
            }
            sink.select();
            self.access(true, offset);
        }
    }

    /// Pushes the sum of what was stored, by halves: so that one addition need not wait for all
    /// others.
    fn sum(&mut self, places: Range<usize>) {
        if places.len() <= 1 {
            let value = self.kept(usize::from(self.pending.wide), places.start);
            self.sink().local_get(value);
            return;
        }
        let middle = usize::midpoint(places.start, places.end);
        self.sum(places.start..middle);
        self.sum(middle..places.end);
        if self.pending.wide {
            self.sink().f64_add();
        } else {
            self.sink().f32_add();
        }
    }
}
