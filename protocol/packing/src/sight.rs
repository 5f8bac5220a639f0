//! From where on the bits of what locals hold may be seen.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec,
    vec::Vec,
};

/// Of the float locals of one function: the last place where the bits of one are seen, be it after
/// they were moved to others. Control goes on, or back to the start of a loop around; so bits that a
/// local got at some place are never seen if that was before the outermost loop around that place.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    last: BTreeMap<u32, u32>,
    /// What is moved to a local, from which: read backwards.
    moves: BTreeSet<(u32, u32)>,
}

impl Sight {
    /// The bits of what is read from `local` at `at` are seen.
    pub(crate) fn seen(&mut self, local: u32, at: u32) {
        let last = self.last.entry(local).or_default();
        *last = at.max(*last);
    }

    pub(crate) fn moved(&mut self, from: u32, to: u32) {
        if from != to {
            self.moves.insert((to, from));
        }
    }

    /// What is seen of a local is seen of those that it was taken from. Latest first, so that each
    /// local is passed once.
    pub(crate) fn settle(&mut self) {
        let mut latest: Vec<(u32, u32)> =
            self.last.iter().map(|(&local, &at)| (at, local)).collect();
        latest.sort_unstable_by(|a, b| b.cmp(a));
        let mut passed = BTreeSet::new();
        for (at, first) in latest {
            let mut open = vec![first];
            while let Some(local) = open.pop() {
                if passed.insert(local) {
                    self.last.insert(local, at);
                    open.extend(
                        self.moves.range((local, 0)..=(local, u32::MAX)).map(|(_, from)| from),
                    );
                }
            }
        }
    }

    /// Whether bits that `local` got can be seen at `start` or behind. Valid when settled.
    pub(crate) fn seen_from(&self, local: u32, start: usize) -> bool {
        self.last.get(&local).is_some_and(|last| *last as usize >= start)
    }
}
