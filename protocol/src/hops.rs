//! How well other peers pass on what they are given to: this observer's own judgement, told to nobody.
//!
//! A hop that drops or delays can never be proven to, so nothing of this is evidence: it only decides
//! whom this peer takes work from, and gives it to (spec RELAY-9).

use alloc::{collections::BTreeMap, vec::Vec};
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{id::PeerId, limits::MAX_STANDINGS, relay::HopOutcome, time::Timestamp};

/// What a hop did counts half after this long.
const HALF_LIFE: Duration = Duration::from_secs(3600);
/// Parts of one delivery that records count in.
const UNIT: u64 = 1 << 16;
/// A hop that dropped at least this many, and more than a share of what it delivered, is bad.
const FEW: u64 = 3 * UNIT;
/// One dropped for so many delivered is too much.
const SHARE: u64 = 8;

/// One hop's record, in parts of a batch (65,536 each), decayed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HopRecord {
    /// Batches that it brought to the submitter.
    pub delivered: u64,
    /// Batches that had to be brought round it.
    pub dropped: u64,
    /// When it was last looked at.
    pub at: Timestamp,
}

impl HopRecord {
    fn decay(&mut self, now: Timestamp) {
        let halves = now.since(self.at).as_secs() / HALF_LIFE.as_secs();
        if halves > 0 {
            let halves = u32::try_from(halves.min(63)).unwrap_or(63);
            (self.delivered, self.dropped) = (self.delivered >> halves, self.dropped >> halves);
            self.at = now;
        }
    }

    /// Batches that it brought, and that it did not.
    pub fn counts(&self) -> (u64, u64) {
        (self.delivered / UNIT, self.dropped / UNIT)
    }

    fn is_bad(&self) -> bool {
        self.dropped >= FEW && self.dropped * SHARE > self.delivered
    }
}

/// All hops' records.
#[derive(Debug, Default)]
pub struct Hops {
    known: BTreeMap<PeerId, HopRecord>,
    changed: Vec<PeerId>,
}

impl Hops {
    /// Takes back a stored record.
    pub fn restore(&mut self, peer: PeerId, record: HopRecord) {
        self.known.insert(peer, record);
    }

    /// Counts what became of something that was given to `peer` to pass on. True if it is bad from now on.
    pub fn count(&mut self, now: Timestamp, peer: PeerId, outcome: HopOutcome) -> bool {
        if self.known.len() >= MAX_STANDINGS && !self.known.contains_key(&peer) {
            return false;
        }
        let record =
            self.known.entry(peer).or_insert(HopRecord { at: now, ..HopRecord::default() });
        let before = record.is_bad();
        record.decay(now);
        match outcome {
            HopOutcome::Delivered => record.delivered = record.delivered.saturating_add(UNIT),
            HopOutcome::Dropped => record.dropped = record.dropped.saturating_add(UNIT),
        }
        let changed = record.is_bad() != before;
        if changed || outcome == HopOutcome::Dropped {
            self.changed.push(peer);
        }
        changed && !before
    }

    /// Whether nothing is given to `peer` to pass on, nor taken of it.
    pub fn is_bad(&self, now: Timestamp, peer: &PeerId) -> bool {
        self.known.get(peer).is_some_and(|record| {
            let mut record = *record;
            record.decay(now);
            record.is_bad()
        })
    }

    /// Everyone of whom anything is known.
    pub fn iter(&self) -> impl Iterator<Item = (&PeerId, &HopRecord)> {
        self.known.iter()
    }

    /// What is known of `peer`.
    pub fn get(&self, peer: &PeerId) -> Option<&HopRecord> {
        self.known.get(peer)
    }

    /// The records to be stored.
    pub fn take_changed(&mut self) -> Vec<(PeerId, HopRecord)> {
        let changed = core::mem::take(&mut self.changed);
        changed.into_iter().filter_map(|peer| Some((peer, *self.known.get(&peer)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_that_drops_is_bad_until_that_is_long_ago() {
        let (mut hops, peer) = (Hops::default(), PeerId([1; 32]));
        let now = Timestamp(1_000_000_000);
        for _ in 0..20 {
            assert!(!hops.count(now, peer, HopOutcome::Delivered));
        }
        assert!(!hops.count(now, peer, HopOutcome::Dropped), "once may be chance");
        assert!(!hops.count(now, peer, HopOutcome::Dropped));
        assert!(hops.count(now, peer, HopOutcome::Dropped), "said once, when it turns");
        assert!(!hops.count(now, peer, HopOutcome::Dropped));
        assert!(hops.is_bad(now, &peer));
        assert!(!hops.is_bad(now + 3 * HALF_LIFE, &peer));
    }

    #[test]
    fn a_few_drops_among_many_deliveries_are_borne() {
        let (mut hops, peer) = (Hops::default(), PeerId([1; 32]));
        for number in 0..1000 {
            let outcome =
                if number % 50 == 0 { HopOutcome::Dropped } else { HopOutcome::Delivered };
            hops.count(Timestamp(1), peer, outcome);
        }
        assert!(hops.get(&peer).is_some_and(|record| record.counts() == (980, 20)));
        assert!(!hops.is_bad(Timestamp(1), &peer));
    }
}
