//! What is still to come, in the order in which it will.

use std::collections::BTreeMap;

use bayan_cast::Turn;
use bayan_protocol::{
    id::{Hash, PeerId, TaskId},
    time::Timestamp,
    wire::Frame,
};

use crate::world::Number;

/// One thing that is to come. What belongs to an earlier life of a host does not reach it.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// Bytes of a frame arrive.
    Frame { to: Number, from: Number, epoch: u64, bytes: Vec<u8> },
    /// An attempt has run its time.
    Done { at: Number, life: u64, attempt: u64, task: TaskId, module: Hash },
    /// A blob was asked for.
    Blob { at: Number, life: u64, hash: Hash, from: PeerId },
    /// A machine wants to be told the time.
    Wake { at: Number, life: u64 },
    /// A member of the cast goes, or comes back as somebody else.
    Turn { at: Number, turn: Turn },
    /// A connection is tried.
    Reach { at: Number, life: u64, peer: PeerId },
    /// A relay sends what it has held back.
    Late { from: Number, to: PeerId, frame: Box<Frame> },
    /// A batch of results is sent again.
    Again { from: Number, to: PeerId, frames: Box<[Frame; 2]> },
    /// A gossiped advert arrives.
    Advert { at: Number, bytes: Vec<u8> },
    /// A connection that went dark is given up by both ends.
    Lost { pair: (Number, Number), epoch: u64 },
    /// A host that was asleep finds a connection gone.
    Down { at: Number, life: u64, peer: PeerId },
}

impl Event {
    /// The host that it happens to, if that has to be awake for it.
    pub(crate) fn at(&self) -> Option<Number> {
        match *self {
            Self::Frame { to: at, .. }
            | Self::Late { from: at, .. }
            | Self::Again { from: at, .. }
            | Self::Done { at, .. }
            | Self::Blob { at, .. }
            | Self::Wake { at, .. }
            | Self::Turn { at, .. }
            | Self::Reach { at, .. }
            | Self::Advert { at, .. }
            | Self::Down { at, .. } => Some(at),
            Self::Lost { .. } => None,
        }
    }
}

/// The clock and what is to come.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) now: Timestamp,
    events: BTreeMap<(Timestamp, u64), Event>,
    next: u64,
}

impl Queue {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { now, events: BTreeMap::new(), next: 0 }
    }

    /// Lets something happen at `at`, after whatever was to happen then already.
    pub(crate) fn at(&mut self, at: Timestamp, event: Event) {
        self.events.insert((at, self.next), event);
        self.next += 1;
    }

    /// Lets something happen in `micros`.
    pub(crate) fn after(&mut self, micros: u64, event: Event) {
        self.at(Timestamp(self.now.0 + micros), event);
    }

    /// Puts something off; among what is put off to the same time the order stays.
    pub(crate) fn put_off(&mut self, at: Timestamp, place: u64, event: Event) {
        self.events.insert((at, place), event);
    }

    /// What comes next, with its place, unless that is after `until`; the clock moves there.
    pub(crate) fn next(&mut self, until: Timestamp) -> Option<(u64, Event)> {
        let entry = self.events.first_entry()?;
        if entry.key().0 > until {
            self.now = self.now.max(until);
            return None;
        }
        let ((at, place), event) = entry.remove_entry();
        self.now = self.now.max(at);
        Some((place, event))
    }
}
