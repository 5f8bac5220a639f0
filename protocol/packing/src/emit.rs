//! Writes a function anew, with its edits.

use alloc::vec::Vec;
use core::ops::Range;

use wasm_encoder::{BlockType, BranchHint, Encode, InstructionSink, ValType};
use wasmparser::FunctionBody;

use crate::{
    cost::{self, MAX_CHARGE},
    float::{Lanes, nan32, nan64},
    late::{KEPT, Pending},
    limits::{LEAF_FRAME, MAX_FUNCTION, MAX_LOCALS, MAX_TABLE_ELEMENTS},
    meter::{Site, StretchId},
    pack::{Shape, Stop},
    refusal::Refusal,
    report::Report,
    scan::{Edit, EditKind, Look, Nest, Scan},
    types::TypeList,
    unroll::Copying,
};

/// Locals that packing adds, each only where it is used. Their order is that of their declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scratch {
    /// What is left of the slice.
    Slice,
    /// A size on its way into a bulk instruction.
    Size,
    F32,
    F64,
    V128,
    /// A function reference on its way into a table.
    Funcref,
}

const SCRATCHES: [(Scratch, ValType); 6] = [
    (Scratch::Slice, ValType::I64),
    (Scratch::Size, ValType::I32),
    (Scratch::F32, ValType::F32),
    (Scratch::F64, ValType::F64),
    (Scratch::V128, ValType::V128),
    (Scratch::Funcref, ValType::FUNCREF),
];

/// Writes functions of one module.
pub(crate) struct Emitter<'a> {
    pub(crate) wasm: &'a [u8],
    pub(crate) shape: &'a Shape,
    pub(crate) types: &'a mut TypeList,
    pub(crate) report: &'a mut Report,
    /// Bytes that copies of loops may still add to the module.
    pub(crate) spare: &'a mut usize,
    /// Whether stores may be made canonical late, because memory is not looked at after a trap.
    pub(crate) late: bool,
}

/// A function written anew.
pub(crate) struct Written {
    /// Its body, without its length.
    pub(crate) body: Vec<u8>,
    /// Which of its branches are usual and which are rare.
    pub(crate) hints: Vec<BranchHint>,
}

impl Emitter<'_> {
    /// Writes function `index`.
    pub(crate) fn function(
        &mut self,
        index: u32,
        body: &FunctionBody<'_>,
        scan: &Scan,
    ) -> Result<Written, Refusal> {
        if scan.locals > MAX_LOCALS {
            return Err(Refusal::Locals(index));
        }
        let (spare, places) = (*self.spare, self.report.places);
        let mut written = self.written(body, scan)?;
        if written.body.len() > MAX_FUNCTION && *self.spare < spare {
            // What is let in may not depend on copies of loops.
            self.report.places = places;
            *self.spare = 0;
            written = self.written(body, scan)?;
            *self.spare = spare;
        }
        if written.body.len() > MAX_FUNCTION {
            return Err(Refusal::Function(index));
        }
        self.report.functions += 1;
        self.report.counted_functions += u32::from(counted(scan));
        self.report.largest_frame = self.report.largest_frame.max(scan.frame);
        Ok(written)
    }

    fn written(&mut self, body: &FunctionBody<'_>, scan: &Scan) -> Result<Written, Refusal> {
        let metered = scan.edits.iter().any(|edit| match edit.kind {
            EditKind::Charge { stretch, .. } => scan.meter.charge(stretch) > 0,
            EditKind::Branch { back, .. } | EditKind::BranchIf { back, .. } => back,
            _ => false,
        });
        let mut writer = Writer {
            emitter: self,
            scan,
            counted: counted(scan),
            metered,
            code: Vec::new(),
            used: [None; 6],
            next: scan.locals,
            hints: Vec::new(),
            unseen: 0,
            peaks: Vec::new(),
            copying: None,
            pending: Pending::default(),
        };
        writer.body();
        let Writer { code, used, mut hints, pending, .. } = writer;
        let locals = self.wasm.get(body.range().start..scan.start).unwrap_or_default();
        let scratches = SCRATCHES.iter().zip(used);
        let mut added: Vec<(u32, ValType)> =
            scratches.filter_map(|((_, ty), index)| index.map(|index| (index, *ty))).collect();
        for (locals, ty) in pending.locals.into_iter().zip(KEPT) {
            added.extend(locals.into_iter().map(|index| (index, ty)));
        }
        let body = with_locals(locals, added, &code)?;
        let before = (body.len() - code.len()) as u32;
        hints.iter_mut().for_each(|hint| hint.branch_func_offset += before);
        Ok(Written { body, hints })
    }
}

/// Whether a function's frame is counted.
fn counted(scan: &Scan) -> bool {
    scan.calls || scan.frame > LEAF_FRAME
}

/// Declarations of locals with those added, then the code.
fn with_locals(
    declared: &[u8],
    mut added: Vec<(u32, ValType)>,
    code: &[u8],
) -> Result<Vec<u8>, Refusal> {
    let mut reader = wasmparser::BinaryReader::new(declared, 0);
    let groups = reader.read_var_u32()?;
    let kept = reader.read_bytes(reader.bytes_remaining())?;
    added.sort_unstable_by_key(|(index, _)| *index);
    let mut out = Vec::with_capacity(declared.len() + code.len() + 16);
    (groups + added.len() as u32).encode(&mut out);
    out.extend_from_slice(kept);
    for (_, ty) in added {
        1u32.encode(&mut out);
        ty.encode(&mut out);
    }
    out.extend_from_slice(code);
    Ok(out)
}

pub(crate) struct Writer<'w, 'e> {
    pub(crate) emitter: &'w mut Emitter<'e>,
    pub(crate) scan: &'w Scan,
    /// Whether the function's frame is counted.
    counted: bool,
    /// Whether it charges anything, and so holds the slice.
    metered: bool,
    pub(crate) code: Vec<u8>,
    /// Hints to engines, with offsets into the code. They say nothing of what code does.
    hints: Vec<BranchHint>,
    /// The index of each scratch local that is used.
    used: [Option<u32>; 6],
    next: u32,
    /// What may have been charged here since the meter was last looked at.
    pub(crate) unseen: u32,
    /// The most that this was, in each open block.
    peaks: Vec<u32>,
    /// Of a loop that is being copied: which copy this is.
    pub(crate) copying: Option<Copying>,
    pub(crate) pending: Pending,
}

impl Writer<'_, '_> {
    fn body(&mut self) {
        if self.metered {
            self.load();
        }
        if self.counted {
            self.enter();
        }
        if self.wrapped() {
            let block = self.emitter.types.results(&self.scan.results);
            self.sink().block(block);
        }
        self.span(0..self.scan.edits.len(), self.scan.start..self.scan.end);
        if self.wrapped() {
            self.sink().end();
            self.leave();
        }
        self.sink().end();
    }

    /// Writes the code at `offsets` with the edits that are made there.
    pub(crate) fn span(&mut self, edits: Range<usize>, offsets: Range<usize>) {
        let scan = self.scan;
        let (mut next, mut at) = (edits.start, offsets.start);
        while next < edits.end {
            let Edit { range, kind } = &scan.edits[next];
            self.copy(at, range.start);
            (next, at) = match *kind {
                EditKind::Loop { stretch, label, block, outermost } => {
                    self.before_loop(stretch);
                    match self.tight(next, label, block, outermost) {
                        Some(tight) => self.unroll(&tight),
                        None => (next + 1, range.start),
                    }
                }
                _ => {
                    self.edit(kind, range.start, range.end);
                    (next + 1, range.end)
                }
            };
        }
        self.copy(at, offsets.end);
    }

    /// Whether every way out but a tail call leads through a block around the body, behind which the
    /// function gives back what it holds.
    fn wrapped(&self) -> bool {
        self.counted || self.metered
    }

    /// Takes the slice into a local, where a loop can count it down in a register.
    fn load(&mut self) {
        let (slice, local) = (self.emitter.shape.slice, self.slice());
        self.sink().global_get(slice).local_set(local);
    }

    fn save(&mut self) {
        let (slice, local) = (self.emitter.shape.slice, self.slice());
        self.sink().local_get(local).global_set(slice);
    }

    pub(crate) fn copy(&mut self, from: usize, to: usize) {
        self.code.extend_from_slice(self.emitter.wasm.get(from..to).unwrap_or_default());
    }

    pub(crate) fn sink(&mut self) -> InstructionSink<'_> {
        InstructionSink::new(&mut self.code)
    }

    /// Tells engines whether the condition of the branch that follows usually holds.
    pub(crate) fn hint(&mut self, usual: bool) {
        let branch_func_offset = self.code.len() as u32;
        self.hints.push(BranchHint { branch_func_offset, branch_hint_value: u32::from(usual) });
    }

    /// The local that holds the slice.
    pub(crate) fn slice(&mut self) -> u32 {
        self.scratch(Scratch::Slice)
    }

    pub(crate) fn scratch(&mut self, which: Scratch) -> u32 {
        if let Some(local) = self.used[which as usize] {
            return local;
        }
        let local = self.added();
        self.used[which as usize] = Some(local);
        local
    }

    /// One more local.
    pub(crate) fn added(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }

    fn edit(&mut self, kind: &EditKind, from: usize, to: usize) {
        match *kind {
            EditKind::Charge { stretch, look } => {
                let fuel = self.scan.meter.charge(stretch);
                if fuel > 0 {
                    self.emitter.report.places.charges += 1;
                    self.charge(fuel, look);
                } else if self.looks(look) && self.metered {
                    // Functions may call each other without end, each from inside a loop, and a
                    // table may lead back to a loop that begins with another.
                    let slice = self.slice();
                    self.sink().local_get(slice);
                    self.look();
                    self.unseen = 0;
                }
            }
            EditKind::Nest(nest) => self.nest(nest),
            EditKind::Refund(site) => self.refund(self.scan.meter.refund(site)),
            EditKind::Branch { site, depth, back } => {
                let (depth, later) = self.target(depth);
                self.refund(self.scan.meter.refund(site) + later.refund);
                if back && later.looks && !self.scan.meter.is_by_table(site.label()) {
                    self.back(depth);
                } else {
                    self.sink().br(depth);
                }
            }
            EditKind::BranchIf { site, depth, block, back } => {
                self.branch_if(site, depth, block, back);
            }
            EditKind::Return { site, depth } => {
                let (depth, later) = self.target(depth);
                self.refund(self.scan.meter.refund(site) + later.refund);
                if self.wrapped() {
                    self.sink().br(depth);
                } else {
                    self.sink().return_();
                }
            }
            EditKind::Leave => self.leave(),
            EditKind::Save => self.save(),
            EditKind::Load => self.load(),
            EditKind::Canonical { lanes, negative, wanted, stored }
                if wanted || stored && !self.is_late() =>
            {
                self.emitter.report.places.canonicalised += 1;
                self.canonicalise(lanes, negative);
            }
            EditKind::Bulk { shift } => {
                let size = self.scratch(Scratch::Size);
                self.sink().local_tee(size);
                self.charge_by(size, 1, shift);
            }
            EditKind::MemoryGrow => self.memory_grow(from, to),
            EditKind::TableGrow { table } => self.table_grow(table, from, to),
            EditKind::Fetch { .. } => self.fetch(from..to),
            EditKind::Put(_) => self.put(from..to),
            EditKind::Canonical { .. }
            | EditKind::Dead
            | EditKind::Table
            | EditKind::Loop { .. } => {}
        }
    }

    fn branch_if(&mut self, site: Site, depth: u32, block: wasmparser::BlockType, back: bool) {
        let (depth, later) = self.target(depth);
        let fuel = self.scan.meter.refund(site) + later.refund;
        let looks = back && later.looks && !self.scan.meter.is_by_table(site.label());
        let owes = later.leaves && self.owes();
        if fuel == 0 && !looks && !owes {
            self.sink().br_if(depth);
            return;
        }
        let block = self.emitter.types.label(block, back);
        if later.leaves {
            self.hint(false);
        }
        self.sink().if_(block);
        if owes {
            self.settle();
        }
        self.refund(fuel);
        if looks {
            self.back(depth + 1);
        } else {
            self.sink().br(depth + 1);
        }
        self.sink().end();
    }

    /// Looks at the meter before a loop if that is due.
    fn before_loop(&mut self, stretch: StretchId) {
        if self.unseen + self.scan.meter.charge(stretch) > MAX_CHARGE {
            let slice = self.slice();
            self.sink().local_get(slice);
            self.look();
            self.unseen = 0;
        }
    }

    /// Follows what may have been charged without a look: behind a block it is the most that it was
    /// anywhere inside, because a branch may come from there.
    pub(crate) fn nest(&mut self, nest: Nest) {
        if let Some(copying) = &mut self.copying {
            copying.nest(nest);
        }
        let peak = match nest {
            Nest::Open => return self.peaks.push(self.unseen),
            Nest::Else => self.peaks.last().copied(),
            Nest::Close => self.peaks.pop(),
        };
        self.unseen = self.unseen.max(peak.unwrap_or(0));
        if let Some(outer) = self.peaks.last_mut() {
            *outer = (*outer).max(self.unseen);
        }
    }

    /// Takes `fuel` from the slice, and looks whether it is used up if that is due.
    fn charge(&mut self, fuel: u32, look: Look) {
        self.spend(fuel);
        let due = matches!(look, Look::Due) && self.unseen + fuel > MAX_CHARGE;
        let local = self.slice();
        if due || self.looks(look) {
            self.sink().local_tee(local);
            self.look();
            self.unseen = 0;
        } else {
            self.sink().local_set(local);
            self.charged(fuel);
        }
    }

    /// Whether the meter is looked at whatever has been charged.
    fn looks(&self, look: Look) -> bool {
        match look {
            Look::Always => true,
            Look::Loop(label) => self.scan.meter.is_by_table(label),
            Look::Due => false,
        }
    }

    /// The slice less `fuel`, on top of the stack. Adding a negative constant gives an engine one
    /// instruction that leaves the old value alone.
    pub(crate) fn spend(&mut self, fuel: u32) {
        let local = self.slice();
        self.sink().local_get(local).i64_const(-i64::from(fuel)).i64_add();
    }

    /// Notes what has been charged without a look.
    pub(crate) fn charged(&mut self, fuel: u32) {
        self.unseen += fuel;
        if let Some(peak) = self.peaks.last_mut() {
            *peak = (*peak).max(self.unseen);
        }
    }

    /// A branch to a loop `depth` labels out, with a look on the way. What is usual goes first.
    fn back(&mut self, depth: u32) {
        let local = self.slice();
        self.emitter.report.places.looks += 1;
        self.sink().local_get(local).i64_const(0).i64_gt_s();
        self.hint(true);
        self.sink().br_if(depth);
        self.refill();
        self.sink().br(depth);
    }

    /// Takes the next slice if this one, on top of the stack, is used up.
    pub(crate) fn look(&mut self) {
        self.emitter.report.places.looks += 1;
        self.sink().i64_const(0).i64_le_s();
        self.hint(false);
        self.sink().if_(BlockType::Empty);
        self.refill();
        self.sink().end();
    }

    /// Takes the next slice, or ends the attempt if there is no fuel left. The new slice is a
    /// constant: an engine need not keep the old one alive for it. Whether there was fuel is asked
    /// last, so that nothing of this is on the usual way, whichever branches an engine takes for
    /// usual.
    fn refill(&mut self) {
        let (meter, local) = (self.emitter.shape.fuel, self.slice());
        self.sink()
            .global_get(meter)
            .local_get(local)
            .i64_add()
            .i64_const(-cost::SLICE)
            .i64_add()
            .global_set(meter)
            .i64_const(cost::SLICE)
            .local_set(local)
            .global_get(meter);
        self.end_at(-cost::SLICE);
    }

    /// Takes `unit` fuel for each `2^shift` of the size in local `size`.
    fn charge_by(&mut self, size: u32, unit: u32, shift: u32) {
        let meter = self.emitter.shape.fuel;
        self.sink().global_get(meter).local_get(size).i64_extend_i32_u();
        if shift > 0 {
            self.sink().i64_const(i64::from(shift)).i64_shr_u();
        }
        if unit > 1 {
            self.sink().i64_const(i64::from(unit)).i64_mul();
        }
        let local = self.slice();
        self.sink().i64_sub().global_set(meter).global_get(meter).local_get(local).i64_add();
        self.end_at(0);
    }

    /// Ends the attempt if what is on top of the stack is `least` or less.
    fn end_at(&mut self, least: i64) {
        let meter = self.emitter.shape.fuel;
        self.sink().i64_const(least).i64_le_s();
        self.hint(false);
        self.sink().if_(BlockType::Empty).i64_const(0).global_set(meter).unreachable().end();
    }

    pub(crate) fn refund(&mut self, fuel: u32) {
        if fuel > 0 {
            let local = self.slice();
            self.emitter.report.places.refunds += 1;
            self.sink().local_get(local).i64_const(i64::from(fuel)).i64_add().local_set(local);
        }
    }

    /// Takes this function's frame from the stack that is left.
    fn enter(&mut self) {
        let shape = self.emitter.shape;
        let frame = self.frame();
        self.sink()
            .global_get(shape.stack)
            .i32_const(frame)
            .i32_sub()
            .global_set(shape.stack)
            .global_get(shape.stack)
            .i32_const(0)
            .i32_lt_s();
        self.hint(false);
        self.sink()
            .if_(BlockType::Empty)
            .i32_const(Stop::Stack as i32)
            .global_set(shape.stop)
            .unreachable()
            .end();
    }

    /// Gives back what the function holds: its frame and the rest of the slice.
    fn leave(&mut self) {
        if self.counted {
            let (stack, frame) = (self.emitter.shape.stack, self.frame());
            self.sink().global_get(stack).i32_const(frame).i32_add().global_set(stack);
        }
        if self.metered {
            self.save();
        }
    }

    fn frame(&self) -> i32 {
        i32::try_from(self.scan.frame).unwrap_or(i32::MAX)
    }

    /// Replaces the value on top of the stack by the canonical NaN if it is one. A number is at least
    /// itself; engines make one predictable branch of that question, and two of equality.
    fn canonicalise(&mut self, lanes: Lanes, negative: bool) {
        match lanes {
            Lanes::F32 => {
                let local = self.scratch(Scratch::F32);
                self.sink().local_tee(local).local_get(local).f32_ge();
                self.hint(true);
                self.sink().if_(BlockType::Result(ValType::F32)).local_get(local);
                self.sink().else_().f32_const(nan32(negative)).end();
            }
            Lanes::F64 => {
                let local = self.scratch(Scratch::F64);
                self.sink().local_tee(local).local_get(local).f64_ge();
                self.hint(true);
                self.sink().if_(BlockType::Result(ValType::F64)).local_get(local);
                self.sink().else_().f64_const(nan64(negative)).end();
            }
            Lanes::F32x4 => {
                let local = self.scratch(Scratch::V128);
                let nan = i128::from_le_bytes(
                    0x7fc0_0000_7fc0_0000_7fc0_0000_7fc0_0000_u128.to_le_bytes(),
                );
                self.sink()
                    .local_tee(local)
                    .v128_const(nan)
                    .local_get(local)
                    .local_get(local)
                    .f32x4_eq()
                    .v128_bitselect();
            }
            Lanes::F64x2 => {
                let local = self.scratch(Scratch::V128);
                let nan = i128::from_le_bytes(
                    0x7ff8_0000_0000_0000_7ff8_0000_0000_0000_u128.to_le_bytes(),
                );
                self.sink()
                    .local_tee(local)
                    .v128_const(nan)
                    .local_get(local)
                    .local_get(local)
                    .f64x2_eq()
                    .v128_bitselect();
            }
        }
    }

    /// Growth within the bounds is the host's to give; beyond them the answer is -1.
    fn memory_grow(&mut self, from: usize, to: usize) {
        let size = self.scratch(Scratch::Size);
        self.sink().local_set(size);
        self.charge_by(size, cost::PAGE, 0);
        let Some(maximum) = self.emitter.shape.memory_maximum else {
            self.sink().local_get(size);
            return self.copy(from, to);
        };
        let pages = self.emitter.shape.pages;
        let grown = |sink: &mut InstructionSink<'_>| {
            sink.local_get(size).i64_extend_i32_u().memory_size(0).i64_extend_i32_u().i64_add();
        };
        grown(&mut self.sink());
        self.sink().global_get(pages).i64_extend_i32_u().i64_le_u();
        grown(&mut self.sink());
        self.sink()
            .i64_const(i64::try_from(maximum).unwrap_or(i64::MAX))
            .i64_le_u()
            .i32_and()
            .if_(BlockType::Result(ValType::I32))
            .local_get(size);
        self.copy(from, to);
        self.granted(size);
    }

    fn table_grow(&mut self, table: u32, from: usize, to: usize) {
        let size = self.scratch(Scratch::Size);
        self.sink().local_set(size);
        self.charge_by(size, 1, 0);
        let Some(Some(maximum)) = self.emitter.shape.table_maxima.get(table as usize) else {
            self.sink().local_get(size);
            return self.copy(from, to);
        };
        let maximum = i64::try_from((*maximum).min(MAX_TABLE_ELEMENTS)).unwrap_or(i64::MAX);
        let reference = self.scratch(Scratch::Funcref);
        self.sink()
            .local_set(reference)
            .local_get(size)
            .i64_extend_i32_u()
            .table_size(table)
            .i64_extend_i32_u()
            .i64_add()
            .i64_const(maximum)
            .i64_le_u()
            .if_(BlockType::Result(ValType::I32))
            .local_get(reference)
            .local_get(size);
        self.copy(from, to);
        self.granted(size);
    }

    /// Ends the attempt if the growth just asked for was refused; closes the block of the asking.
    fn granted(&mut self, size: u32) {
        let stop = self.emitter.shape.stop;
        self.sink()
            .local_tee(size)
            .i32_const(-1)
            .i32_eq()
            .if_(BlockType::Empty)
            .i32_const(Stop::Refused as i32)
            .global_set(stop)
            .unreachable()
            .end()
            .local_get(size)
            .else_()
            .i32_const(-1)
            .end();
    }
}
