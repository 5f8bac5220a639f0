//! When to walk the Kademlia network for unknown peers: at once while there is news, then ever more
//! rarely. Pure: time and randomness are arguments.

use std::time::{Duration, Instant};

/// Known peers below which this peer keeps looking with some zeal.
const FEW: usize = 8;
/// From news to the walk, so that a burst of news makes one walk.
const SETTLE: Duration = Duration::from_millis(150);
/// Between walks: first, most while few peers are known, most.
const QUICK: Duration = Duration::from_secs(1);
const SLOW_WHEN_FEW: Duration = Duration::from_secs(15);
const SLOW: Duration = Duration::from_secs(300);

/// The schedule.
#[derive(Debug)]
pub(crate) struct Walks {
    next: Instant,
    interval: Duration,
    running: bool,
    count: u64,
}

impl Walks {
    pub(crate) fn new(now: Instant) -> Self {
        Self { next: now, interval: QUICK, running: false, count: 0 }
    }

    /// A peer became known or was lost.
    pub(crate) fn news(&mut self, now: Instant, known: usize) {
        if known < FEW {
            self.interval = QUICK;
            self.next = self.next.min(now + SETTLE);
        }
    }

    /// Whether to start a walk now. True makes it count as running until [`Self::done`].
    pub(crate) fn due(&mut self, now: Instant, known: usize) -> bool {
        let due = known > 0 && !self.running && self.next <= now;
        self.running |= due;
        self.count += u64::from(due);
        due
    }

    /// Whether the walk just started leads to this peer's own neighbourhood: every other one does,
    /// the first above all; the rest lead to random places.
    pub(crate) fn is_homeward(&self) -> bool {
        self.count % 2 == 1
    }

    /// A walk ended.
    pub(crate) fn done(&mut self, now: Instant, known: usize, found: bool, random: u32) {
        self.running = false;
        let most = if known < FEW { SLOW_WHEN_FEW } else { SLOW };
        self.interval = if found && known < FEW { QUICK } else { (self.interval * 2).min(most) };
        self.next =
            now + self.interval.mul_f64(0.75 + f64::from(random) / f64::from(u32::MAX) / 2.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_are_quick_at_first_and_slow_down() {
        let start = Instant::now();
        let (mut now, mut walks) = (start, Walks::new(start));
        assert!(!walks.due(now, 0), "nobody to ask");
        let mut within_five_seconds = 0;
        for _ in 0..10 {
            assert!(walks.due(now, 1));
            assert!(!walks.due(now, 1), "one at a time");
            within_five_seconds += u32::from(now - start < Duration::from_secs(5));
            walks.done(now, 1, false, u32::MAX / 2);
            now = walks.next;
        }
        assert!(within_five_seconds >= 2);
        assert!(walks.interval == SLOW_WHEN_FEW);
        walks.done(now, 100, false, 0);
        for _ in 0..10 {
            walks.done(now, 100, true, 0);
        }
        assert_eq!(walks.interval, SLOW);
        walks.news(now, 100);
        assert!(!walks.due(now + SETTLE, 100), "enough peers are known");
        walks.news(now, 2);
        assert!(walks.due(now + SETTLE, 2));
    }

    #[test]
    fn the_first_walk_leads_home() {
        let now = Instant::now();
        let mut walks = Walks::new(now);
        assert!(walks.due(now, 1) && walks.is_homeward());
        walks.done(now, 1, true, 0);
        assert!(walks.due(now + 2 * QUICK, 1) && !walks.is_homeward());
    }
}
