//! Tight loops: written several times over, so that several turns are metered at once.
//!
//! Nothing of this can be seen in a result. As long as the slice has fuel for all turns that are
//! metered at once, no look at the meter would have found it used up; a branch that leaves early
//! gives back the turns that were not taken. What is left of a slice is used up turn by turn, by one
//! more copy of the loop, which looks at the meter where the plain loop would:
//!
//! ```text
//! block $exit
//!   loop $again
//!     block $slow
//!       (br_if $slow (slice <= turns * most of a turn))
//!       loop $fast
//!         slice -= turns * a turn
//!         block $next  the loop's body; back to it: $next;  slice += what is left;  br $exit  end
//!         ...
//!         (br_if $fast (slice > turns * most of a turn))
//!       end
//!     end
//!     block $next  slice -= a turn;  the loop's body;  br $exit  end
//!     look at the meter
//!     br $again
//!   end
//! end
//! ```

use core::ops::Range;

use wasm_encoder::BlockType;
use wasmparser::{BinaryReader, Operator, OperatorsReader};

use crate::{
    cost::MAX_CHARGE,
    emit::Writer,
    late::Late,
    meter::LabelId,
    scan::{Edit, EditKind, Nest},
};

/// Bytes of a loop's body that is copied.
const MAX_BODY: usize = 160;
/// Bytes that the copies of one body come to if it stores. Engines compute what is only kept in
/// locals as late as they can, over all turns that are written together, and then lack registers;
/// stores hold them to the order of the code.
const MAX_COPIES_STORING: usize = 512;
/// The same if it does not store.
const MAX_COPIES: usize = 240;
/// Turns that are metered at once.
const MAX_TURNS: u32 = 4;
/// Fuel that they may take, a small part of a slice: what is left of one is used up slowly.
const MAX_FUEL: u32 = MAX_CHARGE / 2;
/// Labels around a copy besides the one that stands for the loop's own.
const AROUND_FAST: u32 = 4;
const AROUND_SLOW: u32 = 2;

/// Bytes that copies may add to a module of `size` bytes: a small one may grow by more of its size,
/// a large one by little.
pub(crate) fn spare(size: usize) -> usize {
    4096 + size / 8
}

/// A loop that is copied.
pub(crate) struct Tight {
    /// Its edits, from the first behind its charge to its end.
    edits: Range<usize>,
    /// Its body, without the `end`.
    body: Range<usize>,
    block: wasmparser::BlockType,
    /// Turns that are metered at once.
    turns: u32,
    /// Fuel that a turn is charged at its start.
    charge: u32,
    /// Fuel that a turn may be charged in all.
    most: u32,
    /// Whether the last instruction is a branch back, so that nothing comes out at the end.
    dead: bool,
    /// The edit of a conditional branch back that ends the loop: nothing but the way out is behind.
    last: Option<usize>,
    /// How its stores are made canonical late.
    late: Option<Late>,
}

/// Which copy of a loop is being written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copying {
    /// Blocks open inside the loop.
    inside: u32,
    /// Labels around the copy that the loop did not have.
    around: u32,
    /// Fuel of turns that were charged ahead of this one's end.
    ahead: u32,
}

impl Copying {
    pub(crate) fn nest(&mut self, nest: Nest) {
        match nest {
            Nest::Open => self.inside += 1,
            Nest::Else => {}
            Nest::Close => self.inside -= 1,
        }
    }
}

/// What a branch does besides leading somewhere.
pub(crate) struct Later {
    /// Fuel of turns charged ahead that it gives back.
    pub(crate) refund: u32,
    /// Whether it looks at the meter if it leads back to a loop.
    pub(crate) looks: bool,
    /// Whether it leaves a loop that is copied.
    pub(crate) leaves: bool,
}

impl Writer<'_, '_> {
    /// Where a branch `depth` labels out leads, counted in what is written.
    pub(crate) fn target(&self, depth: u32) -> (u32, Later) {
        match self.copying {
            Some(Copying { inside, around, ahead }) if depth > inside => {
                (depth + around, Later { refund: ahead, looks: true, leaves: true })
            }
            Some(Copying { inside, .. }) if depth == inside => {
                (depth, Later { refund: 0, looks: false, leaves: false })
            }
            _ => (depth, Later { refund: 0, looks: true, leaves: false }),
        }
    }

    /// Whether the loop of edit `index` is copied, and how.
    pub(crate) fn tight(
        &self,
        index: usize,
        label: LabelId,
        block: wasmparser::BlockType,
        outermost: usize,
    ) -> Option<Tight> {
        let meter = &self.scan.meter;
        // Parameters would have to be carried around the copies.
        if matches!(block, wasmparser::BlockType::FuncType(_))
            || meter.is_by_table(label)
            || !meter.is_branched_to(label)
        {
            return None;
        }
        let start = self.scan.edits[index].range.end;
        let (mut open, mut most) = (0_u32, 0);
        let mut charge = None;
        for (place, Edit { range, kind }) in self.scan.edits.iter().enumerate().skip(index + 1) {
            match kind {
                _ if range.start - start > MAX_BODY => return None,
                EditKind::Charge { stretch, .. } => {
                    let fuel = meter.charge(*stretch);
                    charge = charge.or(Some(fuel));
                    most += fuel;
                }
                EditKind::Nest(Nest::Open) => open += 1,
                EditKind::Nest(Nest::Close) if open > 1 => open -= 1,
                EditKind::Nest(Nest::Close) => {
                    // Before it stands the one byte of the loop's `end`.
                    let body = start..range.start - 1;
                    let tight = self.copies(index + 3..place, body, block, charge?, most)?;
                    return self.with_late(tight, outermost);
                }
                EditKind::Loop { .. }
                | EditKind::Table
                | EditKind::Save
                | EditKind::Load
                | EditKind::Leave
                | EditKind::Refund(_)
                | EditKind::Bulk { .. }
                | EditKind::MemoryGrow
                | EditKind::TableGrow { .. } => return None,
                _ => {}
            }
        }
        None
    }

    fn copies(
        &self,
        edits: Range<usize>,
        body: Range<usize>,
        block: wasmparser::BlockType,
        charge: u32,
        most: u32,
    ) -> Option<Tight> {
        // No look may be due inside: then none is in the plain loop but at its branches back.
        let fits = most > 0 && self.unseen + most <= MAX_CHARGE;
        let copies = if self.stores(&body) { MAX_COPIES_STORING } else { MAX_COPIES };
        let turns = (copies / body.len().max(1)) as u32;
        let turns = turns.min(MAX_TURNS).min(MAX_FUEL / most.max(1));
        if !fits || turns < 2 || self.grown(&body, turns, None) > *self.emitter.spare {
            return None;
        }
        let mut backwards = edits.clone().rev();
        let last = backwards.find(|place| !matches!(self.kind(*place), EditKind::Charge { .. }));
        let last = last.filter(|place| self.scan.edits[*place].range.end == body.end);
        let dead = last.is_some_and(|place| {
            matches!(
                self.kind(place),
                EditKind::Branch { .. } | EditKind::Return { .. } | EditKind::Dead
            )
        });
        let last = last.filter(|place| {
            matches!(block, wasmparser::BlockType::Empty)
                && matches!(
                    self.kind(*place),
                    EditKind::BranchIf { site, depth: 0, back: true, .. }
                        if self.scan.meter.refund(*site) == 0
                )
        });
        Some(Tight { edits, body, block, turns, charge, most, dead, last, late: None })
    }

    /// Makes stores canonical late if they may be and there is room for it.
    fn with_late(&self, tight: Tight, outermost: usize) -> Option<Tight> {
        let late = self.late(tight.edits.clone(), &tight.body, tight.last, outermost, tight.turns);
        let Some((late, turns)) = late else { return Some(tight) };
        if self.grown(&tight.body, turns, Some(&late)) > *self.emitter.spare {
            return Some(tight);
        }
        Some(Tight { turns, late: Some(late), ..tight })
    }

    fn kind(&self, place: usize) -> &EditKind {
        &self.scan.edits[place].kind
    }

    /// Whether the code at `offsets` writes to memory.
    fn stores(&self, offsets: &Range<usize>) -> bool {
        let code = self.emitter.wasm.get(offsets.clone()).unwrap_or_default();
        let operators = OperatorsReader::new(BinaryReader::new(code, 0));
        operators.into_iter().flatten().any(|operator| {
            use Operator as O;
            matches!(
                operator,
                O::I32Store { .. }
                    | O::I32Store8 { .. }
                    | O::I32Store16 { .. }
                    | O::I64Store { .. }
                    | O::I64Store8 { .. }
                    | O::I64Store16 { .. }
                    | O::I64Store32 { .. }
                    | O::F32Store { .. }
                    | O::F64Store { .. }
                    | O::V128Store { .. }
            )
        })
    }

    /// About how many bytes copying adds.
    fn grown(&self, body: &Range<usize>, turns: u32, late: Option<&Late>) -> usize {
        (body.len() + 24) * turns as usize + late.map_or(0, |late| late.grown(turns))
    }

    /// Writes a loop with its copies. The edit and the offset where to go on.
    pub(crate) fn unroll(&mut self, tight: &Tight) -> (usize, usize) {
        let begun = self.code.len();
        self.nest(Nest::Open);
        self.charged(tight.charge);
        let before = self.unseen;
        let block = match tight.block {
            wasmparser::BlockType::Type(ty) => self.emitter.types.results(&[ty]),
            _ => BlockType::Empty,
        };
        let (slice, low) = (self.slice(), i64::from(tight.turns * tight.most));
        self.sink().block(block).loop_(block).block(BlockType::Empty);
        self.sink().local_get(slice).i64_const(low).i64_le_s();
        self.hint(false);
        self.sink().br_if(0);
        if let Some(late) = &tight.late {
            self.unfit(late);
            self.hint(false);
            self.sink().br_if(0);
        }
        self.sink().loop_(BlockType::Empty);
        self.spend(tight.turns * tight.charge);
        self.sink().local_set(slice);
        if let Some(late) = &tight.late {
            self.begin_late(late, tight.turns);
        }
        for turn in 1..=tight.turns {
            self.unseen = before;
            let ahead = (tight.turns - turn) * tight.charge;
            self.turn(tight, Copying { inside: 0, around: AROUND_FAST, ahead });
        }
        self.end_late();
        self.sink().local_get(slice).i64_const(low).i64_gt_s();
        self.hint(true);
        self.sink().br_if(0).end().end();
        self.unseen = before;
        self.spend(tight.charge);
        self.sink().local_set(slice);
        self.turn(tight, Copying { inside: 0, around: AROUND_SLOW, ahead: 0 });
        self.sink().local_get(slice);
        self.look();
        self.sink().br(0).end().end();
        self.emitter.report.places.charges += 2;
        self.nest(Nest::Close);
        let grown = (self.code.len() - begun).saturating_sub(tight.body.len());
        *self.emitter.spare = self.emitter.spare.saturating_sub(grown);
        (tight.edits.end + 1, tight.body.end + 1)
    }

    /// Writes one turn, in a block that stands for the loop: behind it is the next turn.
    fn turn(&mut self, tight: &Tight, copying: Copying) {
        self.sink().block(BlockType::Empty);
        self.copying = Some(copying);
        match tight.last {
            Some(last) => self.last_branch(tight, last, copying),
            None => {
                self.span(tight.edits.clone(), tight.body.clone());
                if !tight.dead {
                    self.refund(copying.ahead);
                    self.sink().br(copying.around);
                }
            }
        }
        self.copying = None;
        self.sink().end();
    }

    /// Writes a turn that ends with the conditional branch of edit `last`: the usual way falls
    /// through to the next turn.
    fn last_branch(&mut self, tight: &Tight, last: usize, copying: Copying) {
        let branch = self.scan.edits[last].range.start;
        self.span(tight.edits.start..last, tight.body.start..branch);
        let behind: u32 = self.scan.edits[last..tight.edits.end]
            .iter()
            .map(|edit| match edit.kind {
                EditKind::Charge { stretch, .. } => self.scan.meter.charge(stretch),
                _ => 0,
            })
            .sum();
        self.charged(behind);
        self.hint(true);
        self.sink().if_(BlockType::Empty).else_();
        self.settle();
        if behind > copying.ahead {
            self.spend(behind - copying.ahead);
            let slice = self.slice();
            self.sink().local_set(slice);
        } else {
            self.refund(copying.ahead - behind);
        }
        self.sink().br(copying.around + 1).end();
    }
}
