//! What running a task again says about a signed result.

use alloc::{string::String, vec::Vec};
use core::fmt;

use super::Part;
use crate::{result::Outcome, task::Status};

/// What became of an accusation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The signed result is wrong.
    Proven(Differs),
    /// The signed result is right.
    Refuted,
    /// This machine cannot tell. It convicts nobody, and whoever accused has done no wrong.
    Inconclusive(Doubt),
}

/// In what a claim differs from what came out; at least one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Differs {
    /// How the attempt ended.
    pub status: bool,
    /// What it wrote.
    pub output: bool,
    /// What it took.
    pub fuel: bool,
}

impl Differs {
    /// Their names.
    pub fn names(self) -> Vec<&'static str> {
        [(self.status, "status"), (self.output, "output"), (self.fuel, "fuel")]
            .into_iter()
            .filter_map(|(differs, name)| differs.then_some(name))
            .collect()
    }
}

/// Why nothing can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// The accused itself did not claim to have a result.
    Claim(Status),
    /// The task is of an engine profile that is not known here.
    Profile(String),
    /// The task may take more fuel than is to be spent on it.
    TooExpensive {
        /// Its fuel limit.
        limit: u64,
        /// What is to be spent at most.
        bound: u64,
    },
    /// Parts of the task are not here.
    Missing(Vec<Part>),
    /// The module cannot be made ready here, in words.
    Module(String),
    /// The task came to no result here.
    Rerun(Status),
    /// Two runs here did not agree, so this machine is not to be believed.
    Unsteady,
    /// The task was not run.
    NotRun,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim(_) => {
                f.write_str("the accused signed that it came to no result, which is no claim")
            }
            Self::Profile(profile) => {
                write!(f, "the task is of the engine profile {profile:?}, which is not known here")
            }
            Self::TooExpensive { limit, bound } => {
                write!(
                    f,
                    "the task may take {limit} units of fuel, more than the {bound} to be spent"
                )
            }
            Self::Missing(parts) => {
                f.write_str("missing: ")?;
                for (place, part) in parts.iter().enumerate() {
                    write!(f, "{}{part}", if place == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::Module(why) => write!(f, "the module cannot be run here: {why}"),
            Self::Rerun(status) => {
                let why = match status {
                    Status::WallTime => "out of time",
                    Status::StackOverflow => "out of stack",
                    Status::MemoryRefused => "out of memory",
                    _ => "failed by this machine",
                };
                write!(f, "the task came to no result here: {why}")
            }
            Self::Unsteady => f.write_str(
                "two runs here gave different results, so this machine cannot be believed",
            ),
            Self::NotRun => f.write_str("the task was not run"),
        }
    }
}

/// What `runs` of a task say about a worker's `claim`: they must have come to a result, all to the same
/// one, and then it is compared in status, output and fuel (spec EVID-10).
pub fn judge(claim: &Outcome, runs: &[Outcome]) -> Verdict {
    let doubt = |doubt| Verdict::Inconclusive(doubt);
    if !claim.status.is_conclusive() {
        return doubt(Doubt::Claim(claim.status));
    }
    if let Some(failed) = runs.iter().find(|run| !run.status.is_conclusive()) {
        return doubt(Doubt::Rerun(failed.status));
    }
    let Some((first, others)) = runs.split_first() else { return doubt(Doubt::NotRun) };
    if others.iter().any(|other| other != first) {
        return doubt(Doubt::Unsteady);
    }
    if first == claim {
        return Verdict::Refuted;
    }
    Verdict::Proven(Differs {
        status: first.status != claim.status,
        output: first.output != claim.output,
        fuel: first.fuel != claim.fuel,
    })
}

/// Whether a task is to be run (again) before [`judge`] may speak of what `runs` gave. One run is enough
/// to speak for the accused. Against it speak two that agree, because the fault may be this machine's;
/// one of them may be somebody else's, the `right` outcome of the file (spec EVID-10).
pub fn wants_run(claim: &Outcome, right: Option<&Outcome>, runs: &[Outcome]) -> bool {
    match runs {
        [] => claim.status.is_conclusive(),
        [one] => matches!(judge(claim, runs), Verdict::Proven(_)) && right != Some(one),
        _ => false,
    }
}
