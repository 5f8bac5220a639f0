//! What a worker claims about a task.

use bayan_protocol::{id::Hash, pool::TaskIndex, result::Outcome, task::Status};

/// When somebody lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lie {
    /// Part of its results that are wrong, once it has begun.
    pub share: f64,
    /// Right results before it begins.
    pub after: u64,
}

impl Lie {
    /// Not at all.
    pub const NEVER: Self = Self { share: 0.0, after: 0 };
    /// Always.
    pub const ALWAYS: Self = Self { share: 1.0, after: 0 };
}

/// What a worker claims.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Conduct {
    /// The truth.
    Honest,
    /// Wrong in a way of its own.
    Alone(Lie),
    /// Wrong about the same tasks and in the same way as others of its ring.
    Ring(Lie),
    /// Honest but for the tasks about which a ring has lied: these it confirms.
    Confirmer,
    /// Independently of others wrong in the same way as they: all faults are alike.
    Alike(Lie),
    /// Honest, on a machine that errs now and then.
    Flaky(f64),
    /// Honest, on a machine on which the app gives something else.
    OtherMachine,
}

/// What a task comes to.
pub fn truth(task: TaskIndex) -> Outcome {
    let mut output = [1; 32];
    output[..4].copy_from_slice(&task.to_be_bytes());
    Outcome { status: Status::Exited(0), output: Hash(output), fuel: 1000 }
}

fn wrong(task: TaskIndex, way: u32) -> Outcome {
    let mut outcome = truth(task);
    outcome.output.0[28..].copy_from_slice(&way.to_be_bytes());
    outcome
}

/// The way of a ring, and of a machine: no worker has that number.
const RING: u32 = u32::MAX;
const MACHINE: u32 = u32::MAX - 1;

/// A number between 0 and 1 that everyone finds for a task.
fn common(task: TaskIndex) -> f64 {
    let mixed = (u64::from(task) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((mixed ^ (mixed >> 32)) >> 11) as f64 / (1_u64 << 53) as f64
}

impl Conduct {
    /// Whether it means to be wrong.
    pub fn cheats(self) -> bool {
        matches!(self, Self::Alone(_) | Self::Ring(_) | Self::Alike(_) | Self::Confirmer)
    }

    /// What the `worker` says of a task as its `returned`-th result. `draw` is between 0 and 1; `lied` is
    /// whether a ring has lied about the task.
    pub(super) fn claim(
        self,
        worker: usize,
        task: TaskIndex,
        returned: u64,
        (draw, lied): (f64, bool),
    ) -> Outcome {
        let lies = |lie: Lie, draw: f64| returned > lie.after && draw < lie.share;
        // Ways begin at 2: the truth ends in ones, which are no way.
        let own_way = worker as u32 + 2;
        match self {
            Self::Alone(lie) if lies(lie, draw) => wrong(task, own_way),
            Self::Ring(lie) if lies(lie, common(task)) => wrong(task, RING),
            Self::Alike(lie) if lies(lie, draw) => wrong(task, RING),
            Self::Confirmer if lied => wrong(task, RING),
            Self::Flaky(share) if draw < share => wrong(task, own_way),
            Self::OtherMachine => wrong(task, MACHINE),
            _ => truth(task),
        }
    }
}
