//! What a submitter asks for: a program, its inputs, and the job's own rules.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::{
    id::{Hash, PeerId},
    limits::{MAX_BLOB, MAX_INLINE, MAX_JOB_TASKS, MAX_NAMED, MAX_TEXT},
    task::{Input, Program},
    verify::Policy,
    wire::WireError,
};

/// The inputs of a job's tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inputs {
    /// One task per integer, whose input is the integer in decimal and a newline.
    Range {
        /// First.
        from: i64,
        /// One past the last.
        to: i64,
    },
    /// One task per entry.
    List(Vec<Input>),
}

impl Inputs {
    /// How many tasks were asked for.
    pub fn count(&self) -> u64 {
        match self {
            Self::Range { from, to } => {
                u64::try_from(i128::from(*to) - i128::from(*from)).unwrap_or(0)
            }
            Self::List(list) => list.len() as u64,
        }
    }

    /// The input at `place`.
    pub fn get(&self, place: u64) -> Option<Input> {
        match self {
            Self::Range { from, .. } if place < self.count() => {
                let value = i128::from(*from) + i128::from(place);
                Some(Input::Inline(ByteBuf::from(alloc::format!("{value}\n").into_bytes())))
            }
            Self::Range { .. } => None,
            Self::List(list) => list.get(usize::try_from(place).ok()?).cloned(),
        }
    }
}

/// Part of a job that the submitter's own slots take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Local {
    /// Like any worker's, from the start.
    Always,
    /// Only what too few eligible peers were there for during the patience time.
    Reserve,
    /// None: the job waits for peers.
    Never,
}

/// Who may compute a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// Anyone.
    Anyone,
    /// Those that the submitter's operator vouches for.
    Trusted,
    /// These.
    Named(Vec<PeerId>),
}

/// A job as it was submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// A name for people.
    pub name: String,
    /// What all tasks share.
    pub program: Program,
    /// The inputs, in the order of the outputs.
    pub inputs: Inputs,
    /// How results are accepted.
    pub policy: Policy,
    /// What the submitter's own slots do.
    pub local: Local,
    /// Whether the job is over as soon as every task has a result, however little it was checked.
    pub provisional: bool,
    /// Who may compute it.
    pub audience: Audience,
    /// Whether its module and inputs are given to nobody but those who may compute it.
    pub confidential: bool,
    /// Who carries it on while its submitter is away; left out of the encoding when nobody is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegate: Option<PeerId>,
}

impl Manifest {
    /// Every blob that the job needs: module, data files, inputs.
    pub fn blobs(&self) -> Vec<Hash> {
        let inputs = match &self.inputs {
            Inputs::Range { .. } => &[][..],
            Inputs::List(list) => list.as_slice(),
        };
        self.program.blobs().chain(inputs.iter().filter_map(Input::blob)).collect()
    }

    /// Whether its tasks may be handed on, and their blobs given on, by whom they are leased to.
    pub fn is_open(&self) -> bool {
        !self.confidential && self.audience == Audience::Anyone
    }

    /// Checks every bound that a job must keep.
    pub fn check_bounds(&self) -> Result<(), WireError> {
        self.program.check_bounds()?;
        let count = self.inputs.count();
        if count == 0 || count > MAX_JOB_TASKS {
            return Err(WireError::Bounds("the number of tasks"));
        }
        if self.name.len() > MAX_TEXT {
            return Err(WireError::Bounds("the name"));
        }
        if !self.policy.is_sound() {
            return Err(WireError::Bounds("the policy"));
        }
        match &self.audience {
            Audience::Named(peers) if peers.is_empty() || peers.len() > MAX_NAMED => {
                return Err(WireError::Bounds("the number of named peers"));
            }
            Audience::Anyone if self.confidential => {
                return Err(WireError::Bounds("a confidential job's audience"));
            }
            _ => {}
        }
        // Whoever carries a confidential job on gives its inputs to others, so it must know to whom.
        let names =
            |one: &PeerId| matches!(&self.audience, Audience::Named(all) if all.contains(one));
        if self.confidential && !self.delegate.as_ref().is_none_or(names) {
            return Err(WireError::Bounds("a confidential job's delegate"));
        }
        if let Inputs::List(list) = &self.inputs {
            let fits = list.iter().all(|input| match input {
                Input::Inline(bytes) => bytes.len() <= MAX_INLINE,
                Input::Blob { len, .. } => *len <= MAX_BLOB,
            });
            if !fits {
                return Err(WireError::Bounds("an input"));
            }
        }
        Ok(())
    }
}
