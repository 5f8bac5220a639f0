//! What is known of one task: votes, what is believed, and what is wanted.

use alloc::vec::Vec;
use core::mem::size_of;

use serde::{Deserialize, Serialize};

use super::{Vote, members::From};
use crate::{id::PeerId, result::Outcome, time::Timestamp};

/// Where a task stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum State {
    /// No outcome is believed.
    #[default]
    Open,
    /// A first outcome is believed, and a check of it is under way.
    Checking,
    /// An outcome is believed on its worker's word.
    Provisional,
    /// Two outcomes differ, and a referee is to say.
    Disputed,
    /// A check of the outcome, or a later one of its worker, has passed.
    Confirmed,
    /// It stands for good.
    Final,
    /// There will be no outcome.
    GivenUp,
}

impl State {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::Open,
        Self::Checking,
        Self::Provisional,
        Self::Disputed,
        Self::Confirmed,
        Self::Final,
        Self::GivenUp,
    ];

    /// Whether something is under way that the job has to wait for.
    pub(super) fn is_busy(self) -> bool {
        matches!(self, Self::Open | Self::Checking | Self::Disputed)
    }

    /// Whether there is an outcome that can be shown.
    pub fn has_outcome(self) -> bool {
        matches!(self, Self::Checking | Self::Provisional | Self::Confirmed | Self::Final)
    }
}

/// What the belief in an outcome rests on, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The submitter's own execution.
    Own,
    /// A replica by an established worker of another network, or by one that the operator trusts.
    Established,
    /// Referees that are not related to those who differed.
    Referees,
    /// As many agreeing workers as the policy asks for.
    Quorum,
    /// A replica by a worker of another network that is not established.
    Elsewhere,
    /// A replica by any other identity: it may be the same person's.
    Anyone,
    /// Nobody could be asked whom no relay stands in front of that had part in it already.
    SinglePath,
    /// A later check of the same worker.
    LaterCheck,
    /// The worker's word alone.
    Word,
    /// The word of the delegate that the job names.
    Delegate,
}

/// Why an outcome is believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptance {
    /// What was accepted.
    pub outcome: Outcome,
    /// Who claimed it, in order of arrival.
    pub agreed: Vec<PeerId>,
    /// Who claimed something else.
    pub outvoted: Vec<PeerId>,
    /// What the belief rests on.
    pub basis: Basis,
}

impl Acceptance {
    /// Whether the submitter's own execution settled it.
    pub fn is_own(&self) -> bool {
        self.basis == Basis::Own
    }
}

/// What is stored of a vote besides its proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Whose.
    pub worker: PeerId,
    /// Its place among all votes of the job.
    pub vote: u64,
    /// It no longer counts: its worker was caught.
    pub discredited: bool,
    /// It has been counted as a passed check.
    pub passed: bool,
    /// It was cast while the task was disputed, or by a witness that was asked.
    pub referee: bool,
}

/// What is stored of a task besides its votes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Where it stands.
    pub state: State,
    /// The place of its latest change among all of the job.
    pub place: u64,
    /// What is believed.
    pub acceptance: Option<Acceptance>,
    /// About its votes, in order.
    pub notes: Vec<Note>,
}

#[derive(Debug, Clone)]
pub(super) struct Ballot {
    pub(super) worker: PeerId,
    /// The relays that it came through.
    pub(super) via: Vec<PeerId>,
    pub(super) outcome: Outcome,
    pub(super) vote: u64,
    pub(super) own: bool,
    pub(super) discredited: bool,
    pub(super) passed: bool,
    pub(super) referee: bool,
}

/// Results that are wanted of certain workers.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) need: u32,
    pub(super) from: From,
    pub(super) since: Timestamp,
    /// How often the circle of those asked was widened because none of them answered.
    pub(super) widened: u8,
}

/// Established workers are asked whether they reproduce what the observer found wrong, before anyone
/// is punished for it.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    /// The wrong outcomes and who claimed them.
    pub(super) accused: Vec<(PeerId, Outcome)>,
    /// Ballots from this one on are answers.
    pub(super) since: u64,
    /// Answers that are wanted if none reproduces what the accused claim.
    pub(super) ask: u32,
    /// Further answers that are waited for.
    pub(super) left: u32,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Task {
    pub(super) state: State,
    pub(super) place: Option<u64>,
    pub(super) acceptance: Option<Acceptance>,
    pub(super) ballots: Vec<Ballot>,
    pub(super) wanted: Option<Wanted>,
    pub(super) probe: Option<Probe>,
    /// Passing this check confirms everything that its worker had returned before this vote.
    pub(super) closing: Option<u64>,
    /// The submitter's own slots have tried it and could not come to a result.
    pub(super) own_unable: bool,
}

impl Ballot {
    /// Whether `peer` has had part in it: computed it, or passed it on.
    fn has(&self, peer: &PeerId) -> bool {
        self.worker == *peer || self.via.contains(peer)
    }

    /// Whether nobody has had part in both (spec RELAY-8).
    pub(super) fn is_independent(&self, other: &Self) -> bool {
        !other.has(&self.worker) && !self.via.iter().any(|peer| other.has(peer))
    }
}

impl Task {
    /// Whether `peer` has had part in any vote: nothing that comes of it is independent of that.
    pub(super) fn has(&self, peer: &PeerId) -> bool {
        self.ballots.iter().any(|ballot| ballot.has(peer))
    }

    /// Of the votes for `outcome`, as many as nobody has had part in two of, in order.
    pub(super) fn independent<'a>(
        votes: impl Iterator<Item = &'a Ballot>,
        outcome: &Outcome,
    ) -> Vec<&'a Ballot> {
        let mut chosen: Vec<&Ballot> = Vec::new();
        for ballot in votes.filter(|ballot| ballot.outcome == *outcome) {
            if chosen.iter().all(|one| one.is_independent(ballot)) {
                chosen.push(ballot);
            }
        }
        chosen
    }

    pub(super) fn ballot(&self, worker: &PeerId) -> Option<&Ballot> {
        self.ballots.iter().find(|ballot| ballot.worker == *worker)
    }

    pub(super) fn push(&mut self, vote: u64, cast: &Vote, own: bool) {
        self.ballots.push(Ballot {
            worker: cast.worker,
            via: cast.via.clone(),
            outcome: cast.outcome,
            vote,
            own,
            discredited: false,
            passed: false,
            // Who was not asked may be anyone's mate.
            referee: (self.probe.is_some() || self.state == State::Disputed)
                && self.wanted.as_ref().is_some_and(|one| one.from.among.contains(cast.hand())),
        });
    }

    pub(super) fn workers(&self) -> Vec<PeerId> {
        self.ballots.iter().map(|ballot| ballot.worker).collect()
    }

    /// The votes that count, in order.
    pub(super) fn valid(&self) -> impl Iterator<Item = &Ballot> {
        self.ballots.iter().filter(|ballot| !ballot.discredited)
    }

    /// The votes that count and agree with what is believed.
    pub(super) fn supporters(&self) -> impl Iterator<Item = &Ballot> {
        let believed = self.acceptance.as_ref().map(|acceptance| acceptance.outcome);
        self.valid().filter(move |ballot| Some(ballot.outcome) == believed)
    }

    /// The believed outcome's first worker.
    pub(super) fn primary(&self) -> Option<&Ballot> {
        self.supporters().next()
    }

    /// Believes `outcome` on `basis`; who agrees and who does not follows from the votes.
    pub(super) fn believe(&mut self, outcome: Outcome, basis: Basis) {
        let agrees = |ballot: &&Ballot| ballot.outcome == outcome;
        let agreed = self.ballots.iter().filter(agrees).map(|ballot| ballot.worker).collect();
        let outvoted =
            self.ballots.iter().filter(|one| !agrees(one)).map(|ballot| ballot.worker).collect();
        self.acceptance = Some(Acceptance { outcome, agreed, outvoted, basis });
    }

    pub(super) fn latest_vote(&self) -> u64 {
        self.ballots.iter().map(|ballot| ballot.vote).max().unwrap_or(0)
    }

    pub(super) fn decision(&self) -> Decision {
        let notes = self.ballots.iter().map(|ballot| Note {
            worker: ballot.worker,
            vote: ballot.vote,
            discredited: ballot.discredited,
            passed: ballot.passed,
            referee: ballot.referee,
        });
        Decision {
            state: self.state,
            place: self.place.unwrap_or(0),
            acceptance: self.acceptance.clone(),
            notes: notes.collect(),
        }
    }

    pub(super) fn restore(&mut self, decision: Decision) {
        self.state = decision.state;
        self.place = Some(decision.place);
        self.acceptance = decision.acceptance;
        for note in decision.notes {
            if let Some(ballot) = self.ballots.iter_mut().find(|one| one.worker == note.worker) {
                ballot.vote = note.vote;
                ballot.discredited = note.discredited;
                ballot.passed = note.passed;
                ballot.referee = note.referee;
            }
        }
        self.ballots.sort_by_key(|ballot| ballot.vote);
    }

    /// Bytes it takes, without what the map that holds it adds.
    pub(super) fn footprint(&self) -> usize {
        let lists = self.acceptance.as_ref().map_or(0, |one| {
            (one.agreed.capacity() + one.outvoted.capacity()) * size_of::<PeerId>()
        });
        let via: usize = self.ballots.iter().map(|one| one.via.capacity()).sum();
        let ballots = self.ballots.capacity() * size_of::<Ballot>();
        size_of::<Self>() + lists + ballots + via * size_of::<PeerId>()
    }
}
