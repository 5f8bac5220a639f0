//! What a member does about a task. Pure and seeded: the same role, identity, task and surroundings
//! give the same claim, in a process on the wire as in a world in memory.
//!
//! [`Role::deed`] is the decision; [`Deed::apply`] and [`Lie::outcome`] carry it out on bytes and on
//! digests. [`Conduct`] is one identity from its first task on, [`Board`] what mates tell each other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bayan_protocol::{
    id::{Hash, PeerId, TaskId},
    result::Outcome,
    task::Status,
};

use crate::role::{Rate, Role};

/// Tasks that a board remembers, of all rings together.
const MAX_BOARD: usize = 100_000;
/// Modules that a lazy member remembers an answer to.
const MAX_GUESSES: usize = 64;
/// Bytes at the start of an output that a lie changes.
const MASK: usize = 8;

/// The secret key of a member: every generation of it is somebody else to all others.
pub fn identity(seed: u64, member: u32, generation: u32) -> [u8; 32] {
    let mut from = Vec::from(seed.to_le_bytes());
    from.extend(member.to_le_bytes());
    from.extend(generation.to_le_bytes());
    blake3::derive_key("bayan cast identity v1", &from)
}

/// What a member says that a task came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// How it ended.
    pub status: Status,
    /// Its standard output.
    pub output: Vec<u8>,
    /// Its work.
    pub fuel: u64,
}

impl Claim {
    /// What a vote for it is a vote for.
    pub fn outcome(&self) -> Outcome {
        Outcome { status: self.status, output: Hash::of(&self.output), fuel: self.fuel }
    }
}

/// One way of being wrong: whoever shares it claims the same wrong bytes for the same task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lie([u8; 32]);

impl Lie {
    fn of(kind: &str, whose: &[u8]) -> Self {
        let mut from = Vec::from(kind.as_bytes());
        from.push(0);
        from.extend(whose);
        Self(blake3::derive_key("bayan cast lie v1", &from))
    }

    /// The lie of a ring.
    pub fn ring(name: &str) -> Self {
        Self::of("ring", name.as_bytes())
    }

    /// A lie that nobody shares.
    pub fn own(identity: &[u8; 32]) -> Self {
        Self::of("own", identity)
    }

    /// What names it, for whoever keeps things by it.
    pub fn name(&self) -> [u8; 32] {
        self.0
    }

    /// Wrong bytes in place of right ones: as many, unless those are very few.
    pub fn bytes(&self, task: &TaskId, right: &[u8]) -> Vec<u8> {
        let drawn = blake3::keyed_hash(&self.0, &task.0);
        let mut wrong = right.to_vec();
        wrong.resize(right.len().max(MASK), 0);
        for (byte, mask) in wrong.iter_mut().zip(&drawn.as_bytes()[..MASK]) {
            *byte ^= mask;
        }
        // One mask in 2^64 changes nothing.
        wrong[0] ^= u8::from(wrong == right);
        wrong
    }

    /// A wrong outcome in place of a right one, where outputs are not carried along.
    pub fn outcome(&self, task: &TaskId, right: &Outcome) -> Outcome {
        let output = Hash::of(&self.bytes(task, &right.output.0));
        Outcome { status: Status::Exited(0), output, fuel: right.fuel }
    }
}

/// What a member knows when it decides about a task.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The task.
    pub task: &'a TaskId,
    /// Digest of its module.
    pub module: &'a Hash,
    /// Results that this identity has claimed before.
    pub before: u64,
    /// Whether a mate is known to have a part in this task: has burned it, or told its answer.
    pub mates: bool,
}

/// What a member does about a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Claims what it came to.
    Right,
    /// Claims something wrong.
    Lie(Lie),
    /// Computes on other data; where that cannot be done, claims something wrong.
    Data(Lie),
    /// Claims this many thousandths more fuel.
    Fuel(u32),
    /// Claims what an earlier task came to.
    Guess,
    /// Claims what a mate does.
    Copy,
    /// Claims nothing.
    Nothing,
}

impl Deed {
    /// What is claimed where the task came to `honest`. Guesses and copies need no task to be
    /// computed; if one was after all, they are right.
    pub fn apply(&self, task: &TaskId, honest: &Claim) -> Claim {
        match self {
            Self::Lie(lie) | Self::Data(lie) => Claim {
                status: Status::Exited(0),
                output: lie.bytes(task, &honest.output),
                fuel: honest.fuel,
            },
            Self::Fuel(permille) => {
                let more = honest.fuel.saturating_mul(u64::from(*permille)) / 1000;
                Claim { fuel: honest.fuel.saturating_add(more.max(1)), ..honest.clone() }
            }
            Self::Right | Self::Guess | Self::Copy | Self::Nothing => honest.clone(),
        }
    }
}

impl Role {
    /// What a member with this role and identity does about a task.
    pub fn deed(&self, identity: &[u8; 32], scene: &Scene<'_>) -> Deed {
        let own = |rate: Rate| lie_if(rate, identity, scene.task, Lie::own(identity));
        match self {
            Self::Honest
            | Self::CommitOnly
            | Self::OtherReveal
            | Self::Equivocate
            | Self::Relay(_) => Deed::Right,
            Self::Always => Deed::Lie(Lie::own(identity)),
            Self::Rate(rate) => own(*rate),
            Self::After { count, rate } if scene.before >= *count => own(*rate),
            Self::After { .. } => Deed::Right,
            Self::Whitewash { rate, .. } | Self::Vanish { rate, .. } => own(*rate),
            Self::Ring { name, rate } | Self::Burner { name, rate } => {
                let lie = Lie::ring(name);
                lie_if(*rate, &lie.0, scene.task, lie)
            }
            Self::Breaker { name } => Deed::Lie(Lie::ring(name)),
            Self::Confirmer { name } if scene.mates => Deed::Lie(Lie::ring(name)),
            Self::Confirmer { .. } => Deed::Right,
            Self::Lazy => Deed::Guess,
            Self::Copycat { .. } if scene.mates => Deed::Copy,
            Self::Copycat { .. } => Deed::Right,
            Self::Fuel { permille } => Deed::Fuel(*permille),
            Self::Data { name: Some(name) } => Deed::Data(Lie::of("data", name.as_bytes())),
            Self::Data { name: None } => Deed::Data(Lie::own(identity)),
            Self::Engine { kind, module } if scene.module.to_string().starts_with(module) => {
                Deed::Lie(Lie::of("engine", kind.as_bytes()))
            }
            Self::Engine { .. } => Deed::Right,
            Self::Silent => Deed::Nothing,
        }
    }

    /// Those that a member of this role plays together with.
    pub fn ring(&self) -> Option<&str> {
        match self {
            Self::Ring { name, .. }
            | Self::Burner { name, .. }
            | Self::Confirmer { name }
            | Self::Breaker { name }
            | Self::Copycat { name } => Some(name),
            _ => None,
        }
    }
}

/// Lies about a share of the tasks: the same ones for everybody with the same key.
fn lie_if(rate: Rate, key: &[u8; 32], task: &TaskId, lie: Lie) -> Deed {
    let mut drawn = [0; 8];
    blake3::Hasher::new_keyed(key).update(b"draw").update(&task.0).finalize_xof().fill(&mut drawn);
    if rate.hits(u64::from_le_bytes(drawn)) { Deed::Lie(lie) } else { Deed::Right }
}

/// What mates tell each other: who they are, which tasks are burned, and answers that leaked. Bounded; the
/// oldest are forgotten.
#[derive(Debug, Default)]
pub struct Board {
    mates: BTreeSet<(String, PeerId)>,
    burned: BTreeSet<(String, TaskId)>,
    leaked: BTreeMap<(String, TaskId), Claim>,
    order: VecDeque<(String, TaskId)>,
}

impl Board {
    fn burn(&mut self, ring: &str, task: &TaskId) {
        if self.burned.insert((ring.to_owned(), *task)) {
            self.remember(ring, task);
        }
    }

    /// An identity of this role takes part.
    pub fn enlist(&mut self, role: &Role, identity: PeerId) {
        if let Some(ring) = role.ring() {
            self.mates.insert((ring.to_owned(), identity));
        }
    }

    /// Whether somebody is of a ring.
    pub(crate) fn has_mate(&self, ring: &str, peer: &PeerId) -> bool {
        self.mates.contains(&(ring.to_owned(), *peer))
    }

    /// Tells mates an answer.
    pub(crate) fn leak(&mut self, ring: &str, task: &TaskId, claim: &Claim) {
        if self.leaked.insert((ring.to_owned(), *task), claim.clone()).is_none() {
            self.remember(ring, task);
        }
    }

    fn remember(&mut self, ring: &str, task: &TaskId) {
        self.order.push_back((ring.to_owned(), *task));
        if self.order.len() > MAX_BOARD
            && let Some(oldest) = self.order.pop_front()
        {
            self.burned.remove(&oldest);
            self.leaked.remove(&oldest);
        }
    }

    fn leaked(&self, ring: &str, task: &TaskId) -> Option<&Claim> {
        self.leaked.get(&(ring.to_owned(), *task))
    }

    /// Whether a mate of this role has a part in a task.
    fn knows(&self, role: &Role, task: &TaskId) -> bool {
        match role {
            Role::Confirmer { name } => self.burned.contains(&(name.clone(), *task)),
            Role::Copycat { name } => self.leaked(name, task).is_some(),
            _ => false,
        }
    }
}

/// What a member needs before it can make a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// What the task comes to.
    Computed,
    /// What it comes to on other data.
    ComputedOn(Lie),
    /// Nothing: this is claimed.
    Answer(Claim),
    /// No claim will be made.
    Nothing,
}

/// What an identity does next, apart from tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It comes back as somebody else.
    Rejoin,
    /// It leaves for good.
    Leave,
}

/// One identity from its first task on.
#[derive(Debug)]
pub struct Conduct {
    role: Role,
    identity: [u8; 32],
    claimed: u64,
    sent: u64,
    guesses: BTreeMap<Hash, Claim>,
}

impl Conduct {
    /// A role played by the identity with this secret.
    pub fn new(role: Role, identity: [u8; 32]) -> Self {
        Self { role, identity, claimed: 0, sent: 0, guesses: BTreeMap::new() }
    }

    /// The role.
    pub fn role(&self) -> &Role {
        &self.role
    }

    fn deed(&self, board: &Board, task: &TaskId, module: &Hash) -> Deed {
        let mates = board.knows(&self.role, task);
        self.role.deed(&self.identity, &Scene { task, module, before: self.claimed, mates })
    }

    /// A task is about to be computed.
    pub fn take(&mut self, board: &mut Board, task: &TaskId, module: &Hash) -> Need {
        let deed = self.deed(board, task, module);
        if let (Role::Burner { name, .. }, Deed::Lie(_)) = (&self.role, deed) {
            board.burn(name, task);
        }
        let answer = match (deed, self.role.ring()) {
            (Deed::Data(lie), _) => return Need::ComputedOn(lie),
            (Deed::Nothing, _) => return Need::Nothing,
            (Deed::Guess, _) => self.guesses.get(module),
            (Deed::Copy, Some(ring)) => board.leaked(ring, task),
            _ => None,
        };
        let Some(answer) = answer.cloned() else { return Need::Computed };
        self.claimed += 1;
        Need::Answer(answer)
    }

    /// What is claimed where a task came to `honest`.
    pub fn claim(
        &mut self,
        board: &mut Board,
        task: &TaskId,
        module: &Hash,
        honest: &Claim,
    ) -> Claim {
        if !honest.status.is_conclusive() {
            return honest.clone();
        }
        let claim = self.deed(board, task, module).apply(task, honest);
        self.claimed += 1;
        match &self.role {
            Role::Lazy if self.guesses.len() < MAX_GUESSES => {
                self.guesses.entry(*module).or_insert_with(|| claim.clone());
            }
            Role::Copycat { name } => board.leak(name, task, &claim),
            _ => {}
        }
        claim
    }

    /// A claim was made of a task computed on other data.
    pub fn claimed_as_computed(&mut self) {
        self.claimed += 1;
    }

    /// Results went out; what the identity does now.
    pub fn sent(&mut self, results: u64) -> Option<Turn> {
        self.sent += results;
        match self.role {
            Role::Whitewash { count, .. } if self.sent >= count => Some(Turn::Rejoin),
            Role::Vanish { count, .. } if self.sent >= count => Some(Turn::Leave),
            _ => None,
        }
    }

    /// Nobody gives it work any more; what the identity does now.
    pub fn unserved(&self) -> Option<Turn> {
        let served = self.claimed > 0;
        (served && matches!(self.role, Role::Whitewash { .. })).then_some(Turn::Rejoin)
    }
}

#[cfg(test)]
mod tests;
