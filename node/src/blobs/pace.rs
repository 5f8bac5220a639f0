//! The upload limit: so many bytes a second, shared by all that are served, a block at a time.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Bytes sent at once.
const BLOCK: u64 = 64 << 10;
/// What was not used is not saved up beyond this time's worth.
const BURST: Duration = Duration::from_millis(250);

/// A bucket of bytes. Each block is given the moment at which it may be sent, one after the other, so
/// those who are served take turns.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: Option<u64>,
    next: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(per_second: Option<u64>) -> Self {
        Self { per_second: per_second.map(|rate| rate.max(1)), next: Mutex::new(Instant::now()) }
    }

    /// Bytes of a block: small enough that nobody waits long for a turn.
    pub(super) fn block(&self) -> usize {
        let block = self.per_second.map_or(BLOCK, |rate| (rate / 8).clamp(1 << 10, BLOCK));
        usize::try_from(block).unwrap_or(1 << 10)
    }

    /// When the next `bytes` may be sent.
    fn reserve(&self, bytes: usize, now: Instant) -> Instant {
        let Some(rate) = self.per_second else { return now };
        let takes = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let at = now.checked_sub(BURST).map_or(*next, |earliest| earliest.max(*next));
        *next = at + takes;
        at.max(now)
    }

    /// Waits for the turn of the next `bytes`.
    pub(super) async fn take(&self, bytes: usize) {
        let now = Instant::now();
        let at = self.reserve(bytes, now);
        if at > now {
            tokio::time::sleep_until(at.into()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_follow_each_other_at_the_rate_and_little_is_saved_up() {
        let pace = Pace::new(Some(1000));
        let start = Instant::now() + Duration::from_secs(100);
        let gap = |bytes| pace.reserve(bytes, start).duration_since(start);
        assert_eq!(gap(250), Duration::ZERO, "a burst of a quarter of a second");
        assert_eq!(gap(500), Duration::ZERO);
        assert_eq!(gap(1000), Duration::from_millis(500));
        assert_eq!(gap(1), Duration::from_millis(1500));
        let later = start + Duration::from_secs(60);
        assert_eq!(pace.reserve(1, later), later);
    }

    #[test]
    fn without_a_limit_nobody_waits_and_blocks_fit_the_rate() {
        let now = Instant::now();
        assert_eq!(Pace::new(None).reserve(1 << 30, now), now);
        assert_eq!(Pace::new(None).block(), 64 << 10);
        assert_eq!(Pace::new(Some(80 << 10)).block(), 10 << 10);
        assert_eq!(Pace::new(Some(0)).block(), 1 << 10);
    }
}
