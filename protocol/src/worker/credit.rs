//! How much of each source's work this peer is willing to hold, for itself and for those below it.

use alloc::collections::BTreeMap;
use core::time::Duration;

use super::{Effect, Worker};
use crate::{
    batch::Batch,
    id::PeerId,
    limits::{MAX_CREDIT, most_credit},
    relay::Demand,
    wire::{Credit, Frame},
};

/// Work that a worker would like to hold, as time at its measured speed.
const AHEAD: Duration = Duration::from_secs(3);

impl Worker {
    /// Tells each source how much it may hand over, when that has changed by a quarter or to or from 0, or how
    /// many slots are below by a sixteenth; with `exact`, if that has changed at all. What is not told is
    /// missing at every relay further up.
    pub(super) fn tell_credit(&mut self, exact: bool) {
        let sources =
            self.neighbours.values().filter(|n| n.connected && !n.offers.is_empty()).count().max(1);
        let total = self.window();
        let each = (total / u32::try_from(sources).unwrap_or(1))
            .max(u32::from(total > 0) * self.lending.slots);
        // What those below say of themselves may be any number.
        let much = |new: u32, old: u32, part: u64| {
            let change = u64::from(new.abs_diff(old));
            (new == 0) != (old == 0) || change * part > u64::from(old.max(new))
        };
        for (peer, neighbour) in &mut self.neighbours {
            if !neighbour.connected {
                continue;
            }
            let demand = self.demands.get(peer).copied().unwrap_or_default();
            let offers = !neighbour.offers.is_empty();
            let slots = self.lending.slots.saturating_add(demand.slots);
            let below = slots * u32::from(offers && demand.slots > 0);
            let tasks = each.saturating_add(demand.tasks).min(most_credit(below));
            let tasks = tasks * u32::from(offers);
            let stale = exact && below != neighbour.told_below;
            if stale || much(tasks, neighbour.told, 4) || much(below, neighbour.told_below, 16) {
                (neighbour.told, neighbour.told_below) = (tasks, below);
                let credit = Frame::Credit(Credit { tasks, below });
                self.out.effects.push(Effect::Send(*peer, credit));
            }
        }
    }

    /// What is to be taken of each source for those below has changed.
    pub fn set_demands(&mut self, demands: BTreeMap<PeerId, Demand>) -> Batch<Effect> {
        if self.demands != demands {
            self.demands = demands;
            self.tell_credit(false);
        }
        core::mem::take(&mut self.out)
    }

    pub(super) fn window(&self) -> u32 {
        if self.paused || self.lending.slots == 0 {
            return 0;
        }
        let slots = self.lending.slots;
        let ahead = if self.micros > 0.0 {
            let tasks = AHEAD.as_micros() as f64 * f64::from(slots) / self.micros;
            libm::ceil(tasks.min(f64::from(MAX_CREDIT))) as u32
        } else {
            0
        };
        slots.saturating_add(ahead.max(slots.saturating_mul(3))).min(MAX_CREDIT)
    }
}
