//! What one observer knows first-hand of each worker: checks passed, doubts, bans.
//!
//! Nothing here is anybody's word but the observer's own: a pass or a failure is counted only after
//! the observer saw two results of one task, or computed the task itself. What others say of a worker,
//! and what is done with a worker's standing, are decided elsewhere.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    id::PeerId,
    limits::{MAX_PARTNERS, MAX_STANDINGS},
    time::Timestamp,
};

#[cfg(test)]
mod chain;
#[cfg(test)]
mod tests;

/// Checks passed up to which every result of a worker is replicated. More makes newcomers dearer for
/// longer, less lets more of their wrong results through before they are known.
pub const K: u32 = 500;
/// Checks passed from which on a worker may replicate the results of newcomers.
pub const ESTABLISHED: u32 = 100;
/// How long a host that errs too often is left alone.
pub const BAN: Duration = Duration::from_secs(90 * 24 * 3600);
/// How long two identities that signed one wrong outcome are left alone.
pub const COLLUSION_BAN: Duration = Duration::from_secs(365 * 24 * 3600);

/// A failure's weight in the sequential test, in micro-nats: ln(5% / 0.5%).
const FAILURE: i64 = 2_303_000;
/// A pass's weight in the sequential test, in micro-nats: ln(95% / 99.5%).
const PASS: i64 = -46_300;
/// Passes that make up for one failure in the sequential test.
pub const FORGIVEN: u32 = (FAILURE / -PASS) as u32;
/// The test's statistic never falls below this, so that no record outweighs new failures.
const LEAST: i64 = -2_303_000;
/// The test's statistic at which the host counts as one that errs too often.
const CONVICTION: i64 = 9_200_000;

/// A part of a whole, as a fraction of 2^32: between machines of different make it is equal or not,
/// never nearly so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Share(u64);

impl Share {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The whole.
    pub const ONE: Self = Self(1 << 32);

    /// `numer / denom` to the next 1/2^32 upwards, at most the whole; the whole for a zero `denom`.
    pub const fn of(numer: u64, denom: u64) -> Self {
        if numer >= denom {
            return Self::ONE;
        }
        // Rounding up: a rate of replication never falls below the one that was asked for. The
        // quotient is at most 2^32 because numer < denom.
        Self((((numer as u128) << 32).div_ceil(denom as u128)) as u64)
    }

    /// Whether a uniform `draw`, such as the first eight bytes of a keyed hash, falls into this part.
    /// Only the draw's upper half is looked at, so the chance is this share exactly.
    pub const fn is_drawn(&self, draw: u64) -> bool {
        (draw >> 32) < self.0
    }

    /// For judging and showing; never for drawing.
    pub fn as_f64(&self) -> f64 {
        self.0 as f64 / Self::ONE.0 as f64
    }
}

/// The part of a worker's results to replicate after `k` passed checks: all while `k < full`, then
/// `full / k`, never less than `floor`. So the chance that a worker which starts to cheat at any `k`
/// is caught within its next `k` results does not depend on when it starts.
pub fn rate(k: u32, full: u32, floor: Share) -> Share {
    Share::of(full.into(), k.into()).max(floor)
}

/// Why a worker is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BanReason {
    /// Its results are wrong too often.
    Failures,
    /// It signed two outcomes for one task, or two histories.
    Equivocation,
    /// It signed a wrong outcome that another identity signed too.
    Collusion,
    /// The operator said so.
    Operator,
}

/// A time during which nothing is leased to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// When it ends.
    pub until: Timestamp,
    /// Why it began.
    pub reason: BanReason,
}

/// What is known of one worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Checks passed since the last failure or ban. See [`Standing::k`] for the number to judge by.
    pub k: u32,
    /// Checks passed ever.
    pub passed: u64,
    /// Checks failed ever.
    pub failed: u64,
    /// The sequential test's statistic, in micro-nats.
    llr: i64,
    /// The ban in force, or one that has run out and was not yet lifted by a further check.
    pub ban: Option<Ban>,
    /// Whether the operator vouches for it.
    pub trusted: bool,
    /// Checks within `k` that passed by agreement with a partner who was no better known than this
    /// worker itself: they count until the partner is caught.
    soft: BTreeMap<PeerId, u32>,
    /// The last check.
    pub seen: Timestamp,
}

impl Standing {
    /// Checks passed that count: at least [`K`] for whom the operator vouches, none after a ban.
    pub fn k(&self) -> u32 {
        match (self.ban, self.trusted) {
            (Some(_), _) => 0,
            (None, true) => self.k.max(K),
            (None, false) => self.k,
        }
    }

    /// Whether it may replicate the results of newcomers. A replica by another newcomer would prove
    /// little where identities are free.
    pub fn is_established(&self) -> bool {
        self.k() >= ESTABLISHED
    }

    /// Whether nothing is to be leased to it.
    pub fn is_banned(&self, now: Timestamp) -> bool {
        self.ban.is_some_and(|ban| now < ban.until)
    }

    /// Lets it back in as a newcomer once its ban has run out.
    fn lift(&mut self, now: Timestamp) {
        if self.ban.is_some() && !self.is_banned(now) {
            self.ban = None;
            self.start_over();
        }
    }

    fn start_over(&mut self) {
        self.k = 0;
        self.llr = 0;
        self.soft.clear();
    }

    /// Loses what it earned by agreeing with `partner`; whether that was anything.
    fn lose(&mut self, partner: &PeerId) -> bool {
        let earned = self.soft.remove(partner);
        self.k = self.k.saturating_sub(earned.unwrap_or(0));
        earned.is_some()
    }

    /// How well it deserves a place when there are too many: the least goes first.
    fn weight(&self, now: Timestamp) -> (bool, bool, u32, Timestamp) {
        (self.trusted, self.is_banned(now), self.k, self.seen)
    }
}

/// The sequential probability ratio test (Wald 1945) of a host that errs in 5% of its results against
/// one that errs in 0.5%: the statistic after one more check. Hosts' errors are widespread and
/// infrequent (Kondo et al. 2007), so a single one says little about a host.
fn weigh(llr: i64, passed: bool) -> i64 {
    llr.saturating_add(if passed { PASS } else { FAILURE }).max(LEAST)
}

/// What is known of everyone.
#[derive(Clone, Debug, Default)]
pub struct Standings {
    known: BTreeMap<PeerId, Standing>,
    changed: BTreeSet<PeerId>,
    forgotten: BTreeSet<PeerId>,
}

impl Standings {
    /// What is known of `peer`.
    pub fn get(&self, peer: &PeerId) -> Option<&Standing> {
        self.known.get(peer)
    }

    /// Everyone known, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&PeerId, &Standing)> {
        self.known.iter()
    }

    /// See [`Standing::k`].
    pub fn k(&self, peer: &PeerId) -> u32 {
        self.get(peer).map_or(0, Standing::k)
    }

    /// See [`Standing::is_established`].
    pub fn is_established(&self, peer: &PeerId) -> bool {
        self.get(peer).is_some_and(Standing::is_established)
    }

    /// See [`Standing::is_banned`].
    pub fn is_banned(&self, now: Timestamp, peer: &PeerId) -> bool {
        self.get(peer).is_some_and(|standing| standing.is_banned(now))
    }

    /// Whether the operator vouches for `peer`.
    pub fn is_trusted(&self, peer: &PeerId) -> bool {
        self.get(peer).is_some_and(|standing| standing.trusted)
    }

    /// Counts a check that `peer` passed. `with` is whom it agreed with if that partner was neither
    /// established nor the observer itself; such a pass is lost again when the partner is caught, and
    /// does not count at all with more than [`MAX_PARTNERS`] partners. While it is banned, what it had
    /// computed before changes nothing but its totals.
    pub fn passed(&mut self, now: Timestamp, peer: PeerId, with: Option<PeerId>) {
        let standing = self.entry(now, peer);
        if let Some(partner) = with {
            let room = standing.soft.len() < MAX_PARTNERS || standing.soft.contains_key(&partner);
            if !room {
                return;
            }
        }
        standing.passed = standing.passed.saturating_add(1);
        if standing.ban.is_some() {
            return;
        }
        // At the largest k a pass adds nothing, so nothing of it could be lost again either.
        if standing.k < u32::MAX {
            standing.k += 1;
            if let Some(partner) = with {
                *standing.soft.entry(partner).or_default() += 1;
            }
        }
        standing.llr = weigh(standing.llr, true);
    }

    /// Counts a result of `peer` that the observer's own execution proved wrong: its record starts
    /// over, who agreed with it on little ground loses what that earned them, and if it errs too often
    /// a ban begins, which is returned. Failures during a ban do not prolong it.
    pub fn failed(&mut self, now: Timestamp, peer: PeerId) -> Option<Ban> {
        self.revoke(peer);
        let standing = self.entry(now, peer);
        standing.failed = standing.failed.saturating_add(1);
        standing.k = 0;
        if standing.ban.is_some() {
            return None;
        }
        standing.llr = weigh(standing.llr, false);
        if standing.llr < CONVICTION {
            return None;
        }
        let ban = Ban { until: now + BAN, reason: BanReason::Failures };
        standing.start_over();
        standing.ban = Some(ban);
        Some(ban)
    }

    /// Whether one more failure would begin a ban.
    pub fn is_last_failure(&self, peer: &PeerId) -> bool {
        let llr = self.known.get(peer).map_or(0, |standing| standing.llr);
        weigh(llr, false) >= CONVICTION
    }

    /// Whether it errs so often that a ban is near: it is half-way there or further.
    pub fn is_near_ban(&self, peer: &PeerId) -> bool {
        self.known.get(peer).is_some_and(|standing| standing.llr * 2 >= CONVICTION)
    }

    /// Takes from everyone what they earned by agreeing with `peer` on little ground.
    pub fn revoke(&mut self, peer: PeerId) {
        // Everyone is looked at, not only those whom the peer's own map names: a map that was full or
        // had started over names fewer than have it in theirs.
        for (id, standing) in &mut self.known {
            if standing.lose(&peer) {
                self.changed.insert(*id);
            }
        }
        if let Some(standing) = self.known.get_mut(&peer)
            && !standing.soft.is_empty()
        {
            standing.soft.clear();
            self.changed.insert(peer);
        }
    }

    /// Leaves `peer` alone for `duration` from now on, or until a ban that it is under ends if that is
    /// later. Its record starts over, and who agreed with it on little ground loses what that earned.
    pub fn ban(&mut self, now: Timestamp, peer: PeerId, duration: Duration, reason: BanReason) {
        self.revoke(peer);
        let standing = self.entry(now, peer);
        let until = standing.ban.map_or(Timestamp(0), |ban| ban.until).max(now + duration);
        standing.start_over();
        standing.ban = Some(Ban { until, reason });
    }

    /// Ends the ban of `peer` and the doubts that led to it; its record still starts from nothing.
    pub fn pardon(&mut self, peer: PeerId) {
        if let Some(standing) = self.known.get_mut(&peer) {
            standing.ban = None;
            standing.llr = 0;
            self.changed.insert(peer);
        }
    }

    /// The operator vouches for `peer`. A ban it is under stands until it ends or is pardoned.
    pub fn trust(&mut self, peer: PeerId) {
        self.entry(Timestamp(0), peer).trusted = true;
    }

    /// The operator no longer vouches for `peer`; what it earned itself remains.
    pub fn distrust(&mut self, peer: PeerId) {
        if let Some(standing) = self.known.get_mut(&peer)
            && standing.trusted
        {
            standing.trusted = false;
            self.changed.insert(peer);
        }
    }

    /// Takes in what was stored before a restart.
    pub fn restore(&mut self, peer: PeerId, standing: Standing) {
        self.make_room(standing.seen, &peer);
        self.known.insert(peer, standing);
    }

    /// What is to be stored: everyone who changed since the last call, by id.
    pub fn take_changed(&mut self) -> Vec<(PeerId, Standing)> {
        let changed = core::mem::take(&mut self.changed);
        changed
            .into_iter()
            .filter_map(|peer| self.known.get(&peer).map(|standing| (peer, standing.clone())))
            .collect()
    }

    /// Whose stored standing is to be deleted: everyone who had to make room since the last call.
    pub fn take_forgotten(&mut self) -> Vec<PeerId> {
        core::mem::take(&mut self.forgotten).into_iter().collect()
    }

    /// The standing of `peer`, to be changed: made if need be, free of a ban that has run out.
    fn entry(&mut self, now: Timestamp, peer: PeerId) -> &mut Standing {
        self.make_room(now, &peer);
        self.changed.insert(peer);
        self.forgotten.remove(&peer);
        let standing = self.known.entry(peer).or_default();
        standing.lift(now);
        standing.seen = standing.seen.max(now);
        standing
    }

    /// Forgets whoever is missed least if `peer` would be one too many.
    fn make_room(&mut self, now: Timestamp, peer: &PeerId) {
        if self.known.len() < MAX_STANDINGS || self.known.contains_key(peer) {
            return;
        }
        let least = self.known.iter().min_by_key(|(_, standing)| standing.weight(now));
        if let Some(least) = least.map(|(id, _)| *id) {
            self.known.remove(&least);
            self.changed.remove(&least);
            self.forgotten.insert(least);
        }
    }
}
