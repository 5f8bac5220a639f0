//! Where a function is charged, and how much (spec PACK-21 to PACK-23).
//!
//! A *stretch* is straight-line code that is charged at its start as a whole: from there along the
//! way that falls through every conditional branch, past the arms of an `if`, to its end at a loop,
//! behind a back edge, or where paths meet that were not charged together. A branch that leaves a
//! stretch early gives back what is left of it. So every path pays for exactly what it enters, and
//! the usual loop is charged once a turn.
//!
//! An arm of an `if` is a stretch of its own, inside the one around it, which goes on behind the
//! `if`. How deep this nests is bounded, and with it what a trap leaves charged but not done.

use alloc::vec::Vec;

use crate::cost::MAX_CHARGE;

/// Arms of `if` that may be open inside stretches that go on behind them.
const MAX_LEVEL: u8 = 3;

/// A stretch, named by its place in [`Meter::stretches`].
pub(crate) type StretchId = u32;
/// A label, named by its place in [`Meter::labels`].
pub(crate) type LabelId = u32;

#[derive(Debug, Clone, Copy)]
struct Stretch {
    /// Fuel of all of it, once it has ended.
    cost: u32,
    /// Where in which stretch it is an arm.
    around: Option<(StretchId, u32)>,
    level: u8,
}

/// Where branches to a label come from, at the label's level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    None,
    One(StretchId),
    Several,
}

#[derive(Debug, Clone, Copy)]
struct Label {
    level: u8,
    origin: Origin,
    /// The stretch that goes on at the label, and how far it is there. None for a loop, and where a
    /// new stretch begins.
    meets: Option<(StretchId, u32)>,
    /// Whether a table branches to it.
    by_table: bool,
}

/// Where a branch leaves from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site {
    stretch: StretchId,
    at: u32,
    label: LabelId,
}

impl Site {
    /// Where it leads.
    pub(crate) fn label(self) -> LabelId {
        self.label
    }
}

/// What an open `if` has to remember.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arms {
    /// The stretch around; none if it ended at the `if`.
    around: Option<StretchId>,
    /// What its arms, or the stretch behind it, are arms of.
    outer: Option<(StretchId, u32)>,
    level: u8,
    /// Whether the stretch around ends behind the `if`.
    ends: bool,
}

impl Arms {
    /// Whether the stretch around goes on behind the `if`.
    pub(crate) fn goes_on(&self) -> bool {
        self.around.is_some()
    }

    /// Makes the stretch around end behind the `if`, so that inside nothing of it is left to charge.
    pub(crate) fn end_behind(&mut self) {
        self.ends = true;
    }
}

/// The stretches of one function, found in one pass over its instructions.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    stretches: Vec<Stretch>,
    labels: Vec<Label>,
    current: StretchId,
}

impl Meter {
    /// Begins a function: its first stretch, and the label at its end.
    pub(crate) fn new() -> (Self, LabelId) {
        let mut meter = Self::default();
        meter.begin(None, 0);
        let label = meter.label();
        (meter, label)
    }

    /// The stretch that the next instruction belongs to.
    pub(crate) fn current(&self) -> StretchId {
        self.current
    }

    fn stretch(&self, id: StretchId) -> Stretch {
        self.stretches[id as usize]
    }

    fn begin(&mut self, around: Option<(StretchId, u32)>, level: u8) -> StretchId {
        self.current = self.stretches.len() as StretchId;
        self.stretches.push(Stretch { cost: 0, around, level });
        self.current
    }

    /// Ends the current stretch; the next one is where it was.
    pub(crate) fn cut(&mut self) -> StretchId {
        let Stretch { around, level, .. } = self.stretch(self.current);
        self.begin(around, level)
    }

    /// Adds an instruction. True if a new stretch began before it.
    pub(crate) fn add(&mut self, cost: u32) -> bool {
        let full = self.stretch(self.current).cost + cost > MAX_CHARGE;
        if full {
            self.cut();
        }
        self.stretches[self.current as usize].cost += cost;
        full
    }

    /// Opens a label where the current stretch stands.
    pub(crate) fn label(&mut self) -> LabelId {
        let level = self.stretch(self.current).level;
        self.labels.push(Label { level, origin: Origin::None, meets: None, by_table: false });
        (self.labels.len() - 1) as LabelId
    }

    /// A branch from here to `label`.
    pub(crate) fn branch(&mut self, label: LabelId) -> Site {
        let site = Site { stretch: self.current, at: self.stretch(self.current).cost, label };
        let target = self.labels[label as usize].level;
        let mut from = self.current;
        while self.stretch(from).level > target {
            from = self.stretch(from).around.map_or(from, |(around, _)| around);
        }
        let origin = &mut self.labels[label as usize].origin;
        *origin = match *origin {
            Origin::None => Origin::One(from),
            Origin::One(other) if other == from => Origin::One(from),
            _ => Origin::Several,
        };
        site
    }

    /// Notes that a table branches to `label`.
    pub(crate) fn by_table(&mut self, label: LabelId) {
        self.labels[label as usize].by_table = true;
    }

    /// Whether a table branches to `label`. Valid when the function has been passed.
    pub(crate) fn is_by_table(&self, label: LabelId) -> bool {
        self.labels[label as usize].by_table
    }

    /// Whether anything but a table branches to `label`. Valid when the function has been passed.
    pub(crate) fn is_branched_to(&self, label: LabelId) -> bool {
        self.labels[label as usize].origin != Origin::None
    }

    /// The end of a block. True if a new stretch begins behind it.
    pub(crate) fn end_block(&mut self, label: LabelId, dead: bool) -> bool {
        let origin = self.labels[label as usize].origin;
        let together = origin == Origin::None || origin == Origin::One(self.current);
        if dead || !together {
            self.cut();
            return true;
        }
        self.labels[label as usize].meets = Some((self.current, self.stretch(self.current).cost));
        false
    }

    /// The start of an `if`, already charged; begins its first arm.
    pub(crate) fn open_if(&mut self) -> Arms {
        let Stretch { cost, around, level } = self.stretch(self.current);
        let arms = if level < MAX_LEVEL {
            Arms { around: Some(self.current), outer: around, level, ends: false }
        } else {
            Arms { around: None, outer: around, level, ends: true }
        };
        self.begin_arm(&arms, cost);
        arms
    }

    /// The `else` of an `if`: begins its second arm.
    pub(crate) fn second_arm(&mut self, arms: &Arms) {
        let cost = arms.around.map_or(0, |around| self.stretch(around).cost);
        self.begin_arm(arms, cost);
    }

    fn begin_arm(&mut self, arms: &Arms, cost: u32) {
        match arms.around {
            Some(around) => self.begin(Some((around, cost)), arms.level + 1),
            None => self.begin(arms.outer, arms.level),
        };
    }

    /// The end of an `if`. True if a new stretch begins behind it.
    pub(crate) fn end_if(&mut self, arms: &Arms, label: LabelId) -> bool {
        match arms.around {
            None => {
                self.begin(arms.outer, arms.level);
                true
            }
            Some(around) => {
                self.current = around;
                self.end_block(label, arms.ends)
            }
        }
    }

    /// Fuel charged at the start of a stretch. Valid when the function has been passed.
    pub(crate) fn charge(&self, stretch: StretchId) -> u32 {
        self.stretch(stretch).cost
    }

    /// Fuel that a branch gives back. Valid when the function has been passed.
    pub(crate) fn refund(&self, site: Site) -> u32 {
        let label = self.labels[site.label as usize];
        let (mut stretch, mut at) = (site.stretch, site.at);
        let mut refund = 0;
        while let Some(around) =
            self.stretch(stretch).around.filter(|_| self.stretch(stretch).level > label.level)
        {
            refund += self.stretch(stretch).cost - at;
            (stretch, at) = around;
        }
        match label.meets {
            Some((meets, there)) if meets == stretch => refund + (there - at),
            _ => refund + (self.stretch(stretch).cost - at),
        }
    }
}
