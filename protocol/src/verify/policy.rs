//! The rules that a submitter can choose from, and how they are written (spec VERIFY-1).

use alloc::{
    format,
    string::{String, ToString as _},
};
use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    limits::MAX_REDUNDANCY,
    standing::{self, Share},
};

/// Parts of a million: how shares stand in policies, so that they are exact.
pub const MILLION: u32 = 1_000_000;
/// Faulty workers that are assumed where nothing else is said: one in five.
pub const ASSUMED_FAULTY: u32 = 200_000;
/// Share of results that the credibility policy checks (Sarmenta 2002 uses 10 %).
pub const CREDIBILITY_CHECKS: u32 = 100_000;
/// Consecutive valid results below which BOINC's adaptive replication checks everything.
pub const BOINC_TRUSTED: u32 = 10;

/// Which rule a job's results are accepted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The first result of anyone: for peers one trusts entirely.
    None,
    /// The first outcome that this many distinct peers agree on (first-m voting).
    Vote(u32),
    /// A fixed share of results is checked; whoever is caught loses all its results and its place in
    /// the job (Sarmenta's spot-checking with backtracking and blacklisting).
    Spot {
        /// Share checked, parts of a million.
        checked: u32,
    },
    /// Results are accepted when the credibility of those who agree is high enough (Sarmenta 2002).
    Credibility {
        /// Accepted chance that a result is wrong, parts of a million.
        error: u32,
        /// Assumed share of faulty workers, parts of a million.
        faulty: u32,
    },
    /// BOINC's adaptive replication: everything is checked until ten results in a row were valid,
    /// then one in as many as that.
    Boinc,
    /// Checks by the worker's record, with a ladder of replicas, referees, roll-back and bans.
    Adaptive(Adaptive),
}

/// What can be set of the adaptive policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adaptive {
    /// Share checked of workers without a record, parts of a million.
    pub first: u32,
    /// Share that is always checked, parts of a million: what an identity can get away with is about
    /// (1 - share) / share wrong results.
    pub floor: u32,
    /// Passed checks from which on fewer results are checked.
    pub k: u32,
}

impl Default for Adaptive {
    fn default() -> Self {
        Self { first: MILLION, floor: MILLION / 10, k: standing::K }
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::Adaptive(Adaptive::default())
    }
}

impl Adaptive {
    /// The share of results that are checked of a worker with `k` passed checks (spec VERIFY-11).
    pub fn rate(&self, k: u32) -> Share {
        let of_million = |parts: u32| Share::of(parts.into(), MILLION.into());
        of_million(self.first).min(standing::rate(k, self.k, of_million(self.floor)))
    }
}

impl Policy {
    /// `Vote(m)`, or `None` for m = 1; no other m than 1 to [`MAX_REDUNDANCY`] is a policy.
    pub fn redundancy(m: u32) -> Option<Self> {
        match m {
            1 => Some(Self::None),
            2..=MAX_REDUNDANCY => Some(Self::Vote(m)),
            _ => None,
        }
    }

    /// Agreeing results of others that an untouched task wants at first.
    pub fn quorum(self) -> u32 {
        match self {
            Self::Vote(m) => m.clamp(1, MAX_REDUNDANCY),
            _ => 1,
        }
    }

    /// Whether results are accepted on a worker's word and checked by chance, so that a task may be
    /// opened again after it was accepted.
    pub fn checks(self) -> bool {
        !matches!(self, Self::None | Self::Vote(_))
    }

    /// Whether every value is within its bounds.
    pub fn is_sound(self) -> bool {
        match self {
            Self::None | Self::Boinc => true,
            Self::Vote(m) => (2..=MAX_REDUNDANCY).contains(&m),
            Self::Spot { checked } => (1..=MILLION).contains(&checked),
            Self::Credibility { error, faulty } => {
                (1..MILLION).contains(&error) && (1..MILLION).contains(&faulty)
            }
            Self::Adaptive(Adaptive { first, floor, k }) => {
                (1..=MILLION).contains(&first) && (1..=MILLION).contains(&floor) && k > 0
            }
        }
    }
}

/// Text that is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}; a policy is none, vote:M (2 to {MAX_REDUNDANCY} peers), spot:Q, credibility:E (shares between 0 and 1), boinc or adaptive"
)]
pub struct BadPolicy(String);

impl FromStr for Policy {
    type Err = BadPolicy;

    fn from_str(text: &str) -> Result<Self, BadPolicy> {
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let bad = |what: &str| BadPolicy(format!("'{text}': {what}"));
        let share = |value: Option<&str>| {
            let value = value.ok_or_else(|| bad("a share is missing"))?;
            parse_share(value).ok_or_else(|| bad("not a share between 0 and 1"))
        };
        let policy = match (name, value) {
            ("none", None) => Self::None,
            ("boinc", None) => Self::Boinc,
            ("adaptive", None) => Self::default(),
            ("vote", Some(m)) => {
                // Digits alone: the standard library takes a sign as well.
                let m = m.bytes().all(|byte| byte.is_ascii_digit()).then(|| m.parse().ok());
                let m = m.flatten().ok_or_else(|| bad("not a number of peers"))?;
                Self::redundancy(m).ok_or_else(|| bad("not that many peers"))?
            }
            ("vote", None) => return Err(bad("how many peers must agree is missing")),
            ("spot", value) => Self::Spot { checked: share(value)? },
            ("credibility", value) => {
                Self::Credibility { error: share(value)?, faulty: ASSUMED_FAULTY }
            }
            ("none" | "boinc" | "adaptive", Some(_)) => return Err(bad("it takes no value")),
            _ => return Err(bad("no such policy")),
        };
        if policy.is_sound() { Ok(policy) } else { Err(bad("out of range")) }
    }
}

/// A share in decimal, as parts of a million: digits and a point, neither signs nor exponents.
pub fn parse_share(text: &str) -> Option<u32> {
    if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    let parts = libm::round(value * f64::from(MILLION));
    (parts >= 1.0 && parts <= f64::from(MILLION)).then_some(parts as u32)
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |parts: u32| (f64::from(parts) / f64::from(MILLION)).to_string();
        match self {
            Self::None => f.write_str("none"),
            Self::Vote(m) => write!(f, "vote:{m}"),
            Self::Spot { checked } => write!(f, "spot:{}", share(*checked)),
            Self::Credibility { error, .. } => write!(f, "credibility:{}", share(*error)),
            Self::Boinc => f.write_str("boinc"),
            Self::Adaptive(_) => f.write_str("adaptive"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for text in
            ["none", "vote:2", "vote:15", "spot:0.1", "credibility:0.001", "boinc", "adaptive"]
        {
            let policy: Policy = text.parse().expect(text);
            assert_eq!(policy.to_string(), text);
        }
        for bad in [
            "",
            "vote",
            "vote:0",
            "vote:16",
            "vote:x",
            "spot",
            "spot:0",
            "spot:1.5",
            "spot:nan",
            "spot:1e-1",
            "spot:+0.1",
            "vote:+2",
            "credibility:1",
            "credibility:-1",
            "none:1",
            "adaptive:2",
            "trust",
            "boinc:",
        ] {
            assert!(bad.parse::<Policy>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_rate_falls_with_the_record_and_stays_above_the_floor() {
        let policy = Adaptive::default();
        assert_eq!(policy.rate(0), Share::of(1, 1));
        assert_eq!(policy.rate(499), Share::of(1, 1));
        assert_eq!(policy.rate(1000), Share::of(1, 2));
        assert_eq!(policy.rate(5000), Share::of(1, 10));
        assert_eq!(policy.rate(u32::MAX), Share::of(1, 10));
        let lenient = Adaptive { first: 300_000, ..policy };
        assert_eq!(lenient.rate(0), Share::of(3, 10));
        assert_eq!(lenient.rate(600), Share::of(3, 10));
        assert_eq!(lenient.rate(5000), Share::of(1, 10));
    }
}
