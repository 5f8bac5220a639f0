//! A small allowance that refills with time, for what other peers may ask of this one.

use std::time::{Duration, Instant};

/// A token bucket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    tokens: u32,
    burst: u32,
    every: Duration,
    filled: Instant,
}

impl Budget {
    /// A full bucket of `burst` tokens that gains one `every` so often.
    pub(crate) fn new(burst: u32, every: Duration, now: Instant) -> Self {
        Self { tokens: burst, burst, every, filled: now }
    }

    /// Takes a token if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let taken = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        taken
    }

    /// Whether nothing was taken lately: forgetting the bucket would change nothing.
    pub(crate) fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.tokens == self.burst
    }

    fn fill(&mut self, now: Instant) {
        while self.tokens < self.burst && self.filled + self.every <= now {
            self.tokens += 1;
            self.filled += self.every;
        }
        if self.tokens == self.burst {
            self.filled = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_at_a_time() {
        let (mut now, every) = (Instant::now(), Duration::from_secs(1));
        let mut budget = Budget::new(3, every, now);
        assert!((0..3).all(|_| budget.take(now)));
        assert!(!budget.take(now) && !budget.is_full(now));
        now += every;
        assert!(budget.take(now) && !budget.take(now));
        now += 100 * every;
        assert!(budget.is_full(now));
        assert!((0..3).all(|_| budget.take(now)) && !budget.take(now));
    }
}
