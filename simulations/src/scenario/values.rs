//! Values of scenario files: each is read only if it is possible.

use std::{fmt, str::FromStr};

use bayan_protocol::job::Local;
use serde::{Deserialize, Deserializer, de};

/// A whole number from LEAST to MOST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count<const LEAST: u64, const MOST: u64>(pub(super) u64);

impl<const LEAST: u64, const MOST: u64> Default for Count<LEAST, MOST> {
    fn default() -> Self {
        Self(LEAST)
    }
}

impl<'de, const LEAST: u64, const MOST: u64> Deserialize<'de> for Count<LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let reason =
            || de::Error::custom(format!("a whole number from {LEAST} to {MOST} is wanted"));
        let number = i64::deserialize(from).map_err(|_| reason())?;
        let number = u64::try_from(number).map_err(|_| reason())?;
        if (LEAST..=MOST).contains(&number) { Ok(Self(number)) } else { Err(reason()) }
    }
}

impl<const LEAST: u64, const MOST: u64> fmt::Display for Count<LEAST, MOST> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A share from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Share(pub(super) f64);

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let share = f64::deserialize(from)?;
        if (0.0..=1.0).contains(&share) {
            Ok(Self(share))
        } else {
            Err(de::Error::custom("a number from 0 to 1 is wanted"))
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A number above 0, up to a million.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Positive(pub(super) f64);

impl Positive {
    pub(super) fn day() -> Self {
        Self(24.0)
    }
}

impl<'de> Deserialize<'de> for Positive {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(from)?;
        if number > 0.0 && number <= 1e6 {
            Ok(Self(number))
        } else {
            Err(de::Error::custom("a number above 0 and up to a million is wanted"))
        }
    }
}

impl fmt::Display for Positive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Anything that is written as a word: a policy, a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named<T>(pub(super) T);

impl Default for Named<bayan_world::Role> {
    fn default() -> Self {
        Self(bayan_world::Role::Honest)
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map(Self).map_err(de::Error::custom)
    }
}

impl<T: fmt::Display> fmt::Display for Named<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// When the submitter's own slots compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Locals(pub(super) Local);

impl Default for Locals {
    fn default() -> Self {
        Self(Local::Never)
    }
}

impl<'de> Deserialize<'de> for Locals {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Local::deserialize(from).map(Self)
    }
}

impl fmt::Display for Locals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Local::Always => "always",
            Local::Reserve => "reserve",
            Local::Never => "never",
        })
    }
}
