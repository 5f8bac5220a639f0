//! One pass over a function's instructions: validates them and lists every edit that packing makes.

use alloc::{vec, vec::Vec};
use core::ops::Range;

use wasmparser::{
    BlockType, FuncToValidate, FuncValidator, FuncValidatorAllocations, FunctionBody, ModuleArity,
    Operator, ValType, ValidatorResources,
};

use crate::{
    cost,
    float::{Class, Lanes, Locals, Role, Tag, may_be_nan},
    meter::{Arms, LabelId, Meter, Site, StretchId},
    refusal::Refusal,
    sight::Sight,
};

/// Passes over one function in search of what its locals hold, before nothing is relied on.
const MAX_PASSES: usize = 4;
/// Bytes of a frame besides its values.
const FRAME: u64 = 64;

/// A change to a function's bytes. Edits do not overlap and are in order; those at one offset are
/// made in the order of the list.
#[derive(Debug, Clone)]
pub(crate) struct Edit {
    /// What is replaced, as offsets into the module; empty for an insertion.
    pub(crate) range: Range<usize>,
    pub(crate) kind: EditKind,
}

#[derive(Debug, Clone)]
pub(crate) enum EditKind {
    /// Charge a stretch; look at the meter then if `look` says so, or if it is due.
    Charge {
        stretch: StretchId,
        look: Look,
    },
    /// The start of a loop of type `block`, which begins stretch `stretch`. Behind it stand its
    /// [`EditKind::Nest`] and its [`EditKind::Charge`]. The outermost loop around starts at
    /// `outermost`.
    Loop {
        stretch: StretchId,
        label: LabelId,
        block: BlockType,
        outermost: usize,
    },
    /// A branch through a table.
    Table,
    /// A block is entered or left; see [`Nest`].
    Nest(Nest),
    /// A tail call, whose stretch gives back what is left of it.
    Refund(Site),
    /// A branch `depth` labels out (`back`: to a loop).
    Branch {
        site: Site,
        depth: u32,
        back: bool,
    },
    /// A conditional branch `depth` labels out, to a label of type `block` (`back`: of a loop).
    BranchIf {
        site: Site,
        depth: u32,
        block: BlockType,
        back: bool,
    },
    /// Make a NaN canonical, if `wanted`, or for a store, which may do so later.
    Canonical {
        lanes: Lanes,
        negative: bool,
        wanted: bool,
        stored: bool,
    },
    /// A load of a scalar float: whether its bits may be seen without going through a local, and
    /// the local that they are put into.
    Fetch {
        seen: bool,
        local: Option<u32>,
    },
    /// A store of a scalar float.
    Put(Stored),
    /// Charge a bulk instruction by the size on top of the stack.
    Bulk {
        shift: u32,
    },
    MemoryGrow,
    TableGrow {
        table: u32,
    },
    /// `return`, or a branch `depth` labels out to the end of the body.
    Return {
        site: Site,
        depth: u32,
    },
    /// Give back what a function holds before it is left by a tail call.
    Leave,
    /// Put the slice back where a callee finds it.
    Save,
    /// Take what a callee left of the slice.
    Load,
    /// Code that cannot be reached.
    Dead,
}

/// What is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    /// Bits that must stay as they are.
    Exact,
    /// What is no NaN, or becomes the canonical one.
    Clean,
}

/// Whether the meter is looked at where a stretch is charged.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Look {
    /// If enough has been charged since the last look.
    Due,
    /// Always.
    Always,
    /// At the head of the loop with this label: only if a table branches to it. All other branches
    /// to a loop look themselves, which is cheaper.
    Loop(LabelId),
}

/// How blocks nest, for the bound on what is charged between two looks at the meter.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Nest {
    Open,
    Else,
    Close,
}

/// A function, looked through.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) edits: Vec<Edit>,
    pub(crate) meter: Meter,
    /// Offset of the first instruction.
    pub(crate) start: usize,
    /// Offset of the `end` that closes the function.
    pub(crate) end: usize,
    /// Parameters and locals.
    pub(crate) locals: u32,
    /// Bytes that a frame is taken to need.
    pub(crate) frame: u64,
    /// Whether it calls anything.
    pub(crate) calls: bool,
    pub(crate) results: Vec<ValType>,
    pub(crate) sight: Sight,
}

/// Looks through a function until what is known of its locals is settled.
pub(crate) fn scan(
    function: &FuncToValidate<ValidatorResources>,
    body: &FunctionBody<'_>,
    allocations: &mut FuncValidatorAllocations,
) -> Result<Scan, Refusal> {
    let mut locals = None;
    for pass in 0.. {
        let again = FuncToValidate {
            resources: function.resources.clone(),
            index: function.index,
            ty: function.ty,
            features: function.features,
        };
        let validator = again.into_validator(core::mem::take(allocations));
        let mut scanner = Scanner::new(validator, function.ty, body, locals.take())?;
        scanner.pass(body)?;
        let Scanner { validator, scan, locals: mut found, .. } = scanner;
        *allocations = validator.into_allocations();
        if found.settle() || pass > MAX_PASSES {
            return Ok(scan);
        }
        if pass == MAX_PASSES {
            found.give_up();
        }
        locals = Some(found);
    }
    unreachable!("the loop returns after a bounded number of passes")
}

struct Scanner {
    validator: FuncValidator<ValidatorResources>,
    scan: Scan,
    locals: Locals,
    tags: Vec<Tag>,
    control: Vec<Frame>,
    /// Places in `control` of `if`s around which a stretch goes on.
    arms: Vec<usize>,
    /// Where code stopped being reachable, and blocks opened since.
    dead: Option<(usize, u32)>,
    /// The outermost open loop: its place in `control` and its offset.
    outermost: Option<(usize, usize)>,
    height: u32,
    vectors: bool,
}

struct Frame {
    kind: FrameKind,
    block: BlockType,
    /// Operands below its parameters.
    height: usize,
    label: LabelId,
}

enum FrameKind {
    Block,
    Loop,
    If(Arms),
}

impl Scanner {
    fn new(
        mut validator: FuncValidator<ValidatorResources>,
        ty: u32,
        body: &FunctionBody<'_>,
        locals: Option<Locals>,
    ) -> Result<Self, Refusal> {
        let mut reader = body.get_binary_reader();
        let params = validator.len_locals();
        validator.read_locals(&mut reader)?;
        let count = validator.len_locals();
        let results = validator
            .sub_type_at(ty)
            .map(|ty| ty.unwrap_func().results().to_vec())
            .unwrap_or_default();
        let start = reader.original_position();
        let (meter, label) = Meter::new();
        let edits = vec![Edit {
            range: start..start,
            kind: EditKind::Charge { stretch: meter.current(), look: Look::Always },
        }];
        let vectors =
            (0..count).any(|index| validator.get_local_type(index) == Some(ValType::V128));
        let scan = Scan {
            edits,
            meter,
            start,
            end: start,
            locals: count,
            frame: 0,
            calls: false,
            results,
            sight: Sight::default(),
        };
        let frame =
            Frame { kind: FrameKind::Block, block: BlockType::FuncType(ty), height: 0, label };
        let locals = locals.unwrap_or_else(|| Locals::new(params as usize, count as usize));
        Ok(Self {
            validator,
            scan,
            locals,
            tags: Vec::new(),
            control: vec![frame],
            arms: Vec::new(),
            dead: None,
            outermost: None,
            height: 0,
            vectors,
        })
    }

    fn pass(&mut self, body: &FunctionBody<'_>) -> Result<(), Refusal> {
        let mut reader = body.get_operators_reader()?;
        while !reader.eof() {
            let start = reader.original_position();
            let operator = reader.read()?;
            let range = start..reader.original_position();
            let arity = operator.operator_arity(&self.validator);
            self.validator.op(start, &operator)?;
            let (pops, pushes) = arity.unwrap_or_default();
            self.height = self.height.max(self.validator.operand_stack_height());
            self.scan.end = start;
            match self.dead {
                None => self.live(&operator, range, pops as usize, pushes as usize),
                Some((since, depth)) => self.unreached(&operator, range, since, depth),
            }
        }
        reader.finish()?;
        self.scan.sight.settle();
        let slot = if self.vectors { 16 } else { 8 };
        self.scan.frame = FRAME + slot * (u64::from(self.scan.locals) + u64::from(self.height));
        Ok(())
    }

    /// An instruction behind one that never falls through: only the structure counts.
    fn unreached(
        &mut self,
        operator: &Operator<'_>,
        range: Range<usize>,
        since: usize,
        depth: u32,
    ) {
        match operator {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                self.dead = Some((since, depth + 1));
            }
            Operator::End if depth > 0 => self.dead = Some((since, depth - 1)),
            Operator::End | Operator::Else if depth == 0 => {
                self.dead = None;
                if since < range.start {
                    self.edit(since..range.start, EditKind::Dead);
                }
                match operator {
                    Operator::Else => self.second_arm(range.end),
                    _ => self.end(range.end, true),
                }
            }
            _ => {}
        }
    }

    fn live(&mut self, operator: &Operator<'_>, range: Range<usize>, pops: usize, pushes: usize) {
        let cost = cost::of(operator);
        if cost > 0 && self.scan.meter.add(cost) {
            self.charge(range.start);
        }
        match *operator {
            Operator::Block { blockty } => {
                let label = self.scan.meter.label();
                self.edit(range.end..range.end, EditKind::Nest(Nest::Open));
                self.open(FrameKind::Block, blockty, pops, label);
            }
            Operator::Loop { blockty } => {
                self.scan.meter.cut();
                let stretch = self.scan.meter.current();
                let label = self.scan.meter.label();
                let end = range.end;
                let (_, outermost) =
                    *self.outermost.get_or_insert((self.control.len(), range.start));
                self.edit(range, EditKind::Loop { stretch, label, block: blockty, outermost });
                self.edit(end..end, EditKind::Nest(Nest::Open));
                self.edit(end..end, EditKind::Charge { stretch, look: Look::Loop(label) });
                self.open(FrameKind::Loop, blockty, pops, label);
            }
            Operator::If { blockty } => {
                self.tags.pop();
                let label = self.scan.meter.label();
                let arms = self.scan.meter.open_if();
                self.edit(range.end..range.end, EditKind::Nest(Nest::Open));
                self.charge(range.end);
                if arms.goes_on() {
                    self.arms.push(self.control.len());
                }
                self.open(FrameKind::If(arms), blockty, pops - 1, label);
            }
            Operator::Else => {
                self.demand_top(pops);
                self.second_arm(range.end);
            }
            Operator::End => {
                self.demand_top(pops);
                self.end(range.end, false);
            }
            Operator::Br { relative_depth } => {
                self.demand_top(pops);
                let site = self.branch(relative_depth);
                let back = matches!(self.target(relative_depth).kind, FrameKind::Loop);
                let end = range.end;
                self.edit(range, EditKind::Branch { site, depth: relative_depth, back });
                self.dead = Some((end, 0));
            }
            Operator::BrIf { relative_depth } => {
                self.tags.pop();
                self.demand_top(pushes);
                let site = self.branch(relative_depth);
                let target = self.target(relative_depth);
                let (block, back) = (target.block, matches!(target.kind, FrameKind::Loop));
                let end = range.end;
                let kind = EditKind::BranchIf { site, depth: relative_depth, block, back };
                self.edit(range, kind);
                if back {
                    self.scan.meter.cut();
                    self.charge(end);
                }
            }
            Operator::BrTable { ref targets } => {
                self.tags.pop();
                self.demand_top(pops - 1);
                for place in &self.arms {
                    if let FrameKind::If(arms) = &mut self.control[*place].kind {
                        arms.end_behind();
                    }
                }
                for depth in targets.targets().flatten().chain([targets.default()]) {
                    let label = self.target(depth).label;
                    self.scan.meter.branch(label);
                    self.scan.meter.by_table(label);
                }
                self.edit(range.start..range.start, EditKind::Table);
                self.dead = Some((range.end, 0));
            }
            Operator::Return => {
                self.demand_top(pops);
                let depth = self.control.len() as u32 - 1;
                let site = self.branch(depth);
                let end = range.end;
                self.edit(range, EditKind::Return { site, depth });
                self.dead = Some((end, 0));
            }
            Operator::ReturnCall { .. } | Operator::ReturnCallIndirect { .. } => {
                self.scan.calls = true;
                self.demand_top(pops);
                let site = self.branch(self.control.len() as u32 - 1);
                self.edit(range.start..range.start, EditKind::Refund(site));
                self.edit(range.start..range.start, EditKind::Leave);
                self.dead = Some((range.end, 0));
            }
            Operator::Unreachable => self.dead = Some((range.end, 0)),
            _ => self.plain(operator, range, pops, pushes),
        }
    }

    /// An instruction that is not about control.
    fn plain(&mut self, operator: &Operator<'_>, range: Range<usize>, pops: usize, pushes: usize) {
        let here = range.start..range.start;
        match *operator {
            Operator::Drop => {
                self.tags.pop();
            }
            Operator::Select | Operator::TypedSelect { .. } => {
                self.tags.pop();
                let (second, first) = (self.pop(), self.pop());
                let tag = self.either(first, second, range.end);
                self.tags.push(tag);
            }
            Operator::LocalGet { local_index } => {
                let tag = match self.locals.read(local_index) {
                    Class::Number => Tag::Number,
                    Class::Exact | Class::Mixed if self.scalar(local_index) => {
                        Tag::Read { local: local_index, at: range.start as u32 }
                    }
                    Class::Exact | Class::Mixed => Tag::Exact,
                    Class::Dirty(lanes) => self.dirty(lanes, false, range.end),
                };
                self.tags.push(tag);
            }
            Operator::LocalSet { local_index } => {
                let tag = self.pop();
                self.assign(local_index, tag);
            }
            Operator::LocalTee { local_index } => {
                let tag = self.pop();
                self.assign(local_index, tag);
                self.tags.push(tag);
            }
            _ => {
                match *operator {
                    Operator::Call { .. } | Operator::CallIndirect { .. } => {
                        self.scan.calls = true;
                        self.edit(here, EditKind::Save);
                        self.edit(range.end..range.end, EditKind::Load);
                    }
                    Operator::MemoryCopy { .. }
                    | Operator::MemoryFill { .. }
                    | Operator::MemoryInit { .. } => {
                        self.edit(here, EditKind::Bulk { shift: cost::BULK_BYTES_SHIFT });
                    }
                    Operator::TableCopy { .. }
                    | Operator::TableFill { .. }
                    | Operator::TableInit { .. } => self.edit(here, EditKind::Bulk { shift: 0 }),
                    Operator::MemoryGrow { .. } => self.edit(range.clone(), EditKind::MemoryGrow),
                    Operator::TableGrow { table } => {
                        self.edit(range.clone(), EditKind::TableGrow { table });
                    }
                    _ => {}
                }
                match *operator {
                    Operator::F32Load { .. } | Operator::F64Load { .. } => self.fetch(range),
                    Operator::F32Store { .. } | Operator::F64Store { .. } => self.put(range),
                    _ => self.compute(Role::of(operator), range.end, pops, pushes),
                }
            }
        }
    }

    /// Follows the tags through an instruction that ends at `end`.
    fn compute(&mut self, role: Role, end: usize, pops: usize, pushes: usize) {
        let tag = match role {
            Role::Exact => {
                self.demand_top(pops);
                Tag::Exact
            }
            Role::Number => Tag::Number,
            Role::Opaque(lanes) => {
                self.demand_unless(lanes, pops);
                Tag::Exact
            }
            Role::Arithmetic(lanes, result) => {
                self.demand_unless(lanes, pops);
                self.dirty(result, false, end)
            }
            Role::Abs(lanes) => match (self.demand_unless(lanes, 1), lanes) {
                (Tag::Dirty { .. }, _) => self.dirty(lanes, false, end),
                (Tag::Number, Lanes::F32 | Lanes::F64) => Tag::Number,
                (tag @ (Tag::Loaded { .. } | Tag::Read { .. }), _) => tag,
                _ => Tag::Exact,
            },
            Role::Neg(lanes @ (Lanes::F32 | Lanes::F64)) => match self.demand_unless(lanes, 1) {
                Tag::Dirty { negative, .. } => self.dirty(lanes, !negative, end),
                tag => tag,
            },
            Role::Neg(Lanes::F32x4 | Lanes::F64x2) => {
                self.demand_top(1);
                Tag::Exact
            }
            Role::Move(lanes, result) => match (self.demand_unless(lanes, 1), result) {
                (Tag::Dirty { .. }, _) => self.dirty(result, false, end),
                (Tag::Number, Lanes::F32 | Lanes::F64) => Tag::Number,
                (tag, _) => {
                    self.demand(tag);
                    Tag::Exact
                }
            },
        };
        self.tags.truncate(self.tags.len().saturating_sub(pops));
        self.tags.extend(core::iter::repeat_n(tag, pushes));
    }

    fn open(&mut self, kind: FrameKind, block: BlockType, params: usize, label: LabelId) {
        self.demand_top(params);
        let height = self.tags.len() - params;
        self.tags.truncate(height);
        self.tags.extend(core::iter::repeat_n(Tag::Exact, params));
        self.control.push(Frame { kind, block, height, label });
    }

    fn second_arm(&mut self, offset: usize) {
        let Some(frame) = self.control.last() else { return };
        let (height, block) = (frame.height, frame.block);
        if let FrameKind::If(arms) = frame.kind {
            self.scan.meter.second_arm(&arms);
        }
        self.edit(offset..offset, EditKind::Nest(Nest::Else));
        self.charge(offset);
        let (params, _) = self.block_arity(block);
        self.tags.truncate(height);
        self.tags.extend(core::iter::repeat_n(Tag::Exact, params));
    }

    fn end(&mut self, offset: usize, dead: bool) {
        let Some(frame) = self.control.pop() else { return };
        self.outermost = self.outermost.filter(|(place, _)| *place < self.control.len());
        let begins = match &frame.kind {
            FrameKind::Block => self.scan.meter.end_block(frame.label, dead),
            FrameKind::Loop if dead => {
                self.scan.meter.cut();
                true
            }
            FrameKind::Loop => false,
            FrameKind::If(arms) => {
                if arms.goes_on() {
                    self.arms.pop();
                }
                self.scan.meter.end_if(arms, frame.label)
            }
        };
        if !self.control.is_empty() {
            self.edit(offset..offset, EditKind::Nest(Nest::Close));
            if begins {
                self.charge(offset);
            }
        }
        let (_, results) = self.block_arity(frame.block);
        self.tags.truncate(frame.height);
        self.tags.extend(core::iter::repeat_n(Tag::Exact, results));
    }

    fn block_arity(&self, block: BlockType) -> (usize, usize) {
        let (params, results) = self.validator.block_type_arity(block).unwrap_or_default();
        (params as usize, results as usize)
    }

    fn target(&self, depth: u32) -> &Frame {
        &self.control[self.control.len() - 1 - depth as usize]
    }

    fn branch(&mut self, depth: u32) -> Site {
        let label = self.target(depth).label;
        self.scan.meter.branch(label)
    }

    fn edit(&mut self, range: Range<usize>, kind: EditKind) {
        self.scan.edits.push(Edit { range, kind });
    }

    /// The current stretch begins at `offset`.
    fn charge(&mut self, offset: usize) {
        let stretch = self.scan.meter.current();
        self.edit(offset..offset, EditKind::Charge { stretch, look: Look::Due });
    }

    fn pop(&mut self) -> Tag {
        self.tags.pop().unwrap_or(Tag::Exact)
    }

    /// A dirty value made by the instruction that ends at `end`.
    fn dirty(&mut self, lanes: Lanes, negative: bool, end: usize) -> Tag {
        if matches!(lanes, Lanes::F32x4 | Lanes::F64x2) {
            self.vectors = true;
        }
        let edit = self.scan.edits.len() as u32;
        let kind = EditKind::Canonical { lanes, negative, wanted: false, stored: false };
        self.edit(end..end, kind);
        Tag::Dirty { lanes, negative, edit }
    }

    /// The bits of a value are seen.
    fn demand(&mut self, tag: Tag) {
        match tag {
            Tag::Number | Tag::Exact => {}
            Tag::Read { local, at } => self.scan.sight.seen(local, at),
            Tag::Dirty { edit, .. } | Tag::Loaded { edit } => {
                match &mut self.scan.edits[edit as usize].kind {
                    EditKind::Canonical { wanted: seen, .. } | EditKind::Fetch { seen, .. } => {
                        *seen = true;
                    }
                    _ => {}
                }
            }
        }
    }

    fn scalar(&self, local: u32) -> bool {
        matches!(self.validator.get_local_type(local), Some(ValType::F32 | ValType::F64))
    }

    /// A load of a scalar float.
    fn fetch(&mut self, range: Range<usize>) {
        self.pop();
        let edit = self.scan.edits.len() as u32;
        self.edit(range, EditKind::Fetch { seen: false, local: None });
        self.tags.push(Tag::Loaded { edit });
    }

    /// A store of a scalar float.
    fn put(&mut self, range: Range<usize>) {
        let tag = self.pop();
        self.pop();
        let stored = match tag {
            Tag::Number => Stored::Clean,
            Tag::Dirty { edit, .. } => {
                let edit = &mut self.scan.edits[edit as usize].kind;
                if let EditKind::Canonical { stored, .. } = edit {
                    *stored = true;
                }
                Stored::Clean
            }
            Tag::Exact | Tag::Loaded { .. } | Tag::Read { .. } => {
                self.demand(tag);
                Stored::Exact
            }
        };
        self.edit(range, EditKind::Put(stored));
    }

    /// Demands the topmost values clean.
    fn demand_top(&mut self, count: usize) {
        for place in self.tags.len().saturating_sub(count)..self.tags.len() {
            self.demand(self.tags[place]);
        }
    }

    /// Demands the topmost values clean unless they are laid out as the instruction takes them.
    /// What the topmost is then.
    fn demand_unless(&mut self, expected: Lanes, count: usize) -> Tag {
        let mut top = Tag::Exact;
        for place in self.tags.len().saturating_sub(count)..self.tags.len() {
            top = self.tags[place];
            if matches!(top, Tag::Dirty { lanes, .. } if lanes != expected) {
                self.demand(top);
                top = Tag::Exact;
            }
        }
        top
    }

    /// One of two values, chosen at run time by the instruction that ends at `end`.
    fn either(&mut self, first: Tag, second: Tag, end: usize) -> Tag {
        match (first, second) {
            (Tag::Number, Tag::Number) => Tag::Number,
            (Tag::Dirty { lanes, negative: false, .. }, Tag::Number)
            | (Tag::Number, Tag::Dirty { lanes, negative: false, .. }) => {
                self.dirty(lanes, false, end)
            }
            (
                Tag::Dirty { lanes: one, negative: false, .. },
                Tag::Dirty { lanes: other, negative: false, .. },
            ) if one == other => self.dirty(one, false, end),
            _ => {
                self.demand(first);
                self.demand(second);
                Tag::Exact
            }
        }
    }

    fn assign(&mut self, local: u32, tag: Tag) {
        if !self.validator.get_local_type(local).is_some_and(may_be_nan) {
            return;
        }
        let clean = self.locals.assign(local, tag);
        match tag {
            Tag::Read { local: from, .. } => self.scan.sight.moved(from, local),
            Tag::Loaded { edit } => {
                if let EditKind::Fetch { seen, local: to } =
                    &mut self.scan.edits[edit as usize].kind
                {
                    // Of one local it is followed; of more, taken as seen.
                    *seen |= to.is_some_and(|to| to != local);
                    *to = Some(local);
                }
            }
            _ if clean => self.demand(tag),
            _ => {}
        }
    }
}
