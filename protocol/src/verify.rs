//! When a result is accepted: the policies behind one interface.
//!
//! A policy sees votes (who claims what outcome for which task) and says how many more it wants or
//! what it accepts. It does not schedule, and it never sees the outputs themselves.

use alloc::{collections::BTreeMap, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{id::PeerId, limits::MAX_REDUNDANCY, pool::TaskIndex, result::Outcome};

/// Which rule a job's results are accepted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The first result of anyone: for peers one trusts entirely.
    None,
    /// The first outcome that this many distinct peers agree on (first-m voting).
    Vote(u32),
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

    /// Agreeing results of others that a task needs.
    pub fn quorum(self) -> u32 {
        match self {
            Self::None => 1,
            Self::Vote(m) => m.clamp(1, MAX_REDUNDANCY),
        }
    }
}

/// One peer's claim about one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// Whose.
    pub worker: PeerId,
    /// What it claims.
    pub outcome: Outcome,
    /// Whether the submitter computed it itself, which settles the task.
    pub own: bool,
}

/// What a policy says after a vote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// At least this many further votes are wanted.
    Wanted(u32),
    /// The outcome stands.
    Accepted(Acceptance),
    /// The task was settled before; whether this vote agrees with what was accepted.
    Late {
        /// Agreement; nothing disagrees where nothing was accepted.
        agrees: bool,
    },
}

/// Why an outcome stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptance {
    /// What was accepted.
    pub outcome: Outcome,
    /// Who claimed it, in order of arrival.
    pub agreed: Vec<PeerId>,
    /// Who claimed something else.
    pub outvoted: Vec<PeerId>,
    /// Whether the submitter's own execution settled it.
    pub own: bool,
}

/// The votes of one job under one policy.
#[derive(Debug)]
pub struct Verifier {
    policy: Policy,
    open: BTreeMap<TaskIndex, Vec<Vote>>,
    /// What was accepted; none for a task that was given up.
    settled: BTreeMap<TaskIndex, Option<Outcome>>,
}

impl Verifier {
    /// No votes yet.
    pub fn new(policy: Policy) -> Self {
        Self { policy, open: BTreeMap::new(), settled: BTreeMap::new() }
    }

    /// The rule in force.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// Whether `worker` has voted on an unsettled `task`.
    pub fn has_voted(&self, task: TaskIndex, worker: &PeerId) -> bool {
        self.open.get(&task).is_some_and(|votes| votes.iter().any(|vote| vote.worker == *worker))
    }

    /// Counts a vote. A second vote of one peer for one task replaces nothing and changes nothing.
    pub fn vote(&mut self, task: TaskIndex, vote: Vote) -> Verdict {
        if let Some(accepted) = self.settled.get(&task) {
            return Verdict::Late {
                agrees: accepted.is_none_or(|outcome| outcome == vote.outcome),
            };
        }
        let votes = self.open.entry(task).or_default();
        if !votes.iter().any(|known| known.worker == vote.worker) {
            votes.push(vote);
        }
        let most = votes.iter().map(|one| count(votes, &one.outcome)).max().unwrap_or(0);
        let own = votes.iter().find(|one| one.own).map(|one| one.outcome);
        let quorum = self.policy.quorum();
        let outcome = match own {
            Some(outcome) => outcome,
            None if most >= quorum => votes
                .iter()
                .find(|one| count(votes, &one.outcome) == most)
                .map_or(vote.outcome, |one| one.outcome),
            None => return Verdict::Wanted(quorum - most),
        };
        let votes = self.open.remove(&task).unwrap_or_default();
        self.settled.insert(task, Some(outcome));
        let (agreed, outvoted): (Vec<&Vote>, Vec<&Vote>) =
            votes.iter().partition(|one| one.outcome == outcome);
        Verdict::Accepted(Acceptance {
            outcome,
            agreed: agreed.iter().map(|one| one.worker).collect(),
            outvoted: outvoted.iter().map(|one| one.worker).collect(),
            own: own.is_some(),
        })
    }

    /// Settles a task without an outcome; says who had voted.
    pub fn give_up(&mut self, task: TaskIndex) -> Vec<PeerId> {
        self.settled.entry(task).or_insert(None);
        self.open.remove(&task).unwrap_or_default().iter().map(|vote| vote.worker).collect()
    }

    /// Whether a task has been accepted or given up.
    pub fn is_settled(&self, task: TaskIndex) -> bool {
        self.settled.contains_key(&task)
    }

    /// Who voted for what is not settled.
    pub fn open_votes(&self) -> impl Iterator<Item = (TaskIndex, PeerId)> + '_ {
        self.open.iter().flat_map(|(task, votes)| votes.iter().map(|vote| (*task, vote.worker)))
    }

    /// Takes a task as settled before a restart.
    pub fn restore(&mut self, task: TaskIndex, outcome: Outcome) {
        self.open.remove(&task);
        self.settled.insert(task, Some(outcome));
    }
}

fn count(votes: &[Vote], outcome: &Outcome) -> u32 {
    u32::try_from(votes.iter().filter(|one| one.outcome == *outcome).count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::{id::Hash, task::Status};

    fn outcome(output: u8) -> Outcome {
        Outcome { status: Status::Exited(0), output: Hash([output; 32]), fuel: 1 }
    }

    fn vote(peer: u8, output: u8) -> Vote {
        Vote { worker: PeerId([peer; 32]), outcome: outcome(output), own: false }
    }

    #[test]
    fn two_agreeing_peers_settle_and_the_third_is_late() {
        let mut verifier = Verifier::new(Policy::Vote(2));
        assert_eq!(verifier.vote(0, vote(1, 7)), Verdict::Wanted(1));
        assert_eq!(verifier.vote(0, vote(2, 8)), Verdict::Wanted(1));
        let verdict = verifier.vote(0, vote(3, 7));
        let expected = Acceptance {
            outcome: outcome(7),
            agreed: vec![PeerId([1; 32]), PeerId([3; 32])],
            outvoted: vec![PeerId([2; 32])],
            own: false,
        };
        assert_eq!(verdict, Verdict::Accepted(expected));
        assert_eq!(verifier.vote(0, vote(4, 7)), Verdict::Late { agrees: true });
        assert_eq!(verifier.vote(0, vote(5, 9)), Verdict::Late { agrees: false });
    }

    #[test]
    fn one_peer_has_one_vote_however_often_it_speaks() {
        let mut verifier = Verifier::new(Policy::Vote(2));
        assert_eq!(verifier.vote(0, vote(1, 7)), Verdict::Wanted(1));
        assert_eq!(verifier.vote(0, vote(1, 7)), Verdict::Wanted(1));
        assert_eq!(verifier.vote(0, vote(1, 8)), Verdict::Wanted(1));
    }

    #[test]
    fn a_difference_in_fuel_or_status_is_a_difference() {
        let mut verifier = Verifier::new(Policy::Vote(2));
        let base = vote(1, 7);
        let mut dear = vote(2, 7);
        dear.outcome.fuel = 2;
        let mut failed = vote(3, 7);
        failed.outcome.status = Status::Trapped;
        assert_eq!(verifier.vote(0, base), Verdict::Wanted(1));
        assert_eq!(verifier.vote(0, dear), Verdict::Wanted(1));
        assert_eq!(verifier.vote(0, failed), Verdict::Wanted(1));
    }

    #[test]
    fn the_submitters_own_result_settles_alone_against_any_votes() {
        let mut verifier = Verifier::new(Policy::Vote(3));
        assert_eq!(verifier.vote(0, vote(1, 7)), Verdict::Wanted(2));
        assert_eq!(verifier.vote(0, vote(2, 7)), Verdict::Wanted(1));
        let own = Vote { own: true, ..vote(9, 8) };
        let Verdict::Accepted(accepted) = verifier.vote(0, own) else {
            panic!("own result must settle")
        };
        assert_eq!(accepted.outcome, outcome(8));
        assert_eq!(accepted.outvoted, vec![PeerId([1; 32]), PeerId([2; 32])]);
        assert!(accepted.own);
    }

    #[test]
    fn a_task_that_was_given_up_is_never_settled_by_later_votes() {
        let mut verifier = Verifier::new(Policy::Vote(2));
        assert_eq!(verifier.vote(0, vote(1, 7)), Verdict::Wanted(1));
        assert_eq!(verifier.open_votes().collect::<Vec<_>>(), [(0, PeerId([1; 32]))]);
        assert_eq!(verifier.give_up(0), [PeerId([1; 32])]);
        assert!(verifier.is_settled(0));
        assert_eq!(verifier.vote(0, vote(2, 7)), Verdict::Late { agrees: true });
        assert_eq!(verifier.open_votes().count(), 0);
    }
}
