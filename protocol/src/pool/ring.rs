//! The circular list: tasks that want fresh copies, in the order they came to want them.
//!
//! Places only grow, so a worker that has looked at all places below its cursor never needs to look
//! at them again: whatever makes a task wanted anew gives it a new place at the end.

use alloc::collections::BTreeMap;

use super::TaskIndex;

#[derive(Debug, Default)]
pub(super) struct Ring {
    next: u64,
    places: BTreeMap<u64, TaskIndex>,
}

impl Ring {
    pub(super) fn push(&mut self, index: TaskIndex) -> u64 {
        let place = self.next;
        self.next += 1;
        self.places.insert(place, index);
        place
    }

    pub(super) fn remove(&mut self, place: u64) {
        self.places.remove(&place);
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn from(&self, place: u64) -> impl Iterator<Item = (u64, TaskIndex)> + '_ {
        self.places.range(place..).map(|(place, index)| (*place, *index))
    }

    pub(super) fn backwards(&self) -> impl Iterator<Item = (u64, TaskIndex)> + '_ {
        self.places.iter().rev().map(|(place, index)| (*place, *index))
    }
}
