//! What is known of one provider of one blob.

use core::time::Duration;

use super::pieces::Pieces;
use crate::{
    limits::{GROUP, MAX_RANGE, PIECE},
    time::Timestamp,
};

/// A range is as long as about this much time, at the speed that was measured.
const RANGE_TAKES: Duration = Duration::from_millis(700);
/// Failures in a row after which a provider is left alone.
const MAX_FAILURES: u32 = 4;
/// The first pause after a failure; each further one doubles it.
const PAUSE: Duration = Duration::from_millis(400);
/// How often a provider is asked what it has.
const POLL: Duration = Duration::from_millis(250);
/// What is known of its pieces is this old at most when something is asked of it.
const STALE: Duration = Duration::from_secs(1);

/// What a provider has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Has {
    /// Not known yet.
    Unknown,
    /// These pieces, as it said last.
    Some(Pieces),
    /// Everything.
    All,
}

#[derive(Debug)]
pub(super) struct Provider {
    /// Whether the blob's digest came from it: it has no reason to lie about it, and is spared.
    pub(super) origin: bool,
    pub(super) has: Has,
    /// The request that it works on.
    pub(super) busy: Option<u64>,
    /// Nothing is asked of it before.
    pub(super) not_before: Timestamp,
    polled: Timestamp,
    /// Whether it has ever sent a right group.
    pub(super) proven: bool,
    /// Bytes a second, smoothed; 0 while unknown.
    pub(super) rate: u64,
    failures: u32,
}

impl Provider {
    pub(super) fn new(origin: bool) -> Self {
        Self {
            origin,
            has: if origin { Has::All } else { Has::Unknown },
            busy: None,
            not_before: Timestamp(0),
            polled: Timestamp(0),
            proven: origin,
            rate: 0,
            failures: 0,
        }
    }

    pub(super) fn has(&self, piece: usize) -> bool {
        match &self.has {
            Has::Unknown => false,
            Has::Some(pieces) => pieces.contains(piece),
            Has::All => true,
        }
    }

    pub(super) fn is_idle(&self, now: Timestamp) -> bool {
        self.busy.is_none() && self.not_before <= now
    }

    /// Whether it must say what it has before anything can be asked of it.
    pub(super) fn is_unknown(&self) -> bool {
        self.has == Has::Unknown
    }

    /// Whether what it said of its pieces is too old to choose by.
    pub(super) fn is_stale(&self, now: Timestamp) -> bool {
        matches!(self.has, Has::Some(_)) && now.since(self.polled) >= STALE
    }

    /// Whether it may be asked once more what it has.
    pub(super) fn may_poll(&self, now: Timestamp) -> bool {
        self.has != Has::All && now.since(self.polled) >= POLL
    }

    pub(super) fn asked_what_it_has(&mut self, now: Timestamp) {
        self.polled = now;
    }

    pub(super) fn said(&mut self, pieces: Pieces) {
        self.has = if pieces.is_full() { Has::All } else { Has::Some(pieces) };
        self.failures = 0;
    }

    /// Bytes of the next range: a single group while it has proven nothing, so that a liar costs no
    /// more than that.
    pub(super) fn step(&self, longest: u64) -> u64 {
        if !self.proven {
            return GROUP;
        }
        let by_speed = self.rate.saturating_mul(RANGE_TAKES.as_millis() as u64) / 1000;
        by_speed.clamp(PIECE, MAX_RANGE.min(longest.max(PIECE)))
    }

    pub(super) fn delivered(&mut self, bytes: u64, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let now = bytes.saturating_mul(1_000_000) / micros;
        self.rate = if self.rate == 0 { now } else { (self.rate / 4).saturating_mul(3) + now / 4 };
        self.proven = true;
        self.failures = 0;
    }

    /// It gave something before it failed.
    pub(super) fn is_alive(&mut self) {
        self.failures = 0;
    }

    /// Counts a failure; tells whether it was one too many.
    pub(super) fn failed(&mut self, now: Timestamp) -> bool {
        self.not_before = now + PAUSE.saturating_mul(1 << self.failures.min(MAX_FAILURES));
        self.failures = self.failures.saturating_add(1);
        self.is_failing()
    }

    /// Whether it has failed too often in a row.
    pub(super) fn is_failing(&self) -> bool {
        self.failures >= MAX_FAILURES
    }
}
