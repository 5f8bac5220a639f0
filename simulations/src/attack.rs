//! What each kind of cheat comes to against the default policy.
//!
//! Each attack has a target at a stated size. The rows whose machines do not exist yet (slander, forks,
//! Sybils against standing that others vouch for) are not here.

mod breaker;
mod flaky;
mod ring;
mod saboteurs;
mod sleeper;

use bayan_protocol::verify::Policy;
pub(crate) use saboteurs::{Crowd, QUARANTINE, WAYS, honest, worst};

use crate::{
    field::{Conduct, Hand, Lie},
    report::Answer,
    study::Study,
};

/// An attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// Three in ten lie, half of them together.
    Saboteurs,
    /// Honest for long, then not.
    Sleeper,
    /// Some lie, others confirm it.
    BurnerConfirmer,
    /// Whoever is caught comes back under a new name.
    Whitewashing,
    /// Honest hosts that err now and then.
    FlakyHost,
    /// Three agree on lies so that an app looks as if it differed by machine.
    BreakerRing,
}

impl Name {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Saboteurs,
        Self::Sleeper,
        Self::BurnerConfirmer,
        Self::Whitewashing,
        Self::FlakyHost,
        Self::BreakerRing,
    ];

    /// As on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Saboteurs => "saboteurs",
            Self::Sleeper => "sleeper",
            Self::BurnerConfirmer => "burner-confirmer",
            Self::Whitewashing => "whitewashing",
            Self::FlakyHost => "flaky-host",
            Self::BreakerRing => "breaker-ring",
        }
    }

    /// Runs it.
    pub fn run(self, study: &Study) -> Answer {
        match self {
            Self::Saboteurs => saboteurs::run(study),
            Self::Sleeper => sleeper::run(study),
            Self::BurnerConfirmer => ring::run(study),
            Self::Whitewashing => saboteurs::whitewashing(study),
            Self::FlakyHost => flaky::run(study),
            Self::BreakerRing => breaker::run(study),
        }
    }
}

/// The policy that jobs have if nothing else is said.
fn standard() -> Policy {
    Policy::default()
}

/// So many of one kind, each in a network of its own from `network` on.
fn hands(count: u32, conduct: Conduct, k: u32, network: u32) -> impl Iterator<Item = Hand> {
    (0..count).map(move |at| Hand { k, ..Hand::stranger(conduct, network + at) })
}

/// Lies in this part of the results, from the beginning on.
fn share(share: f64) -> Lie {
    Lie { share, after: 0 }
}
