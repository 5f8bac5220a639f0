//! Acceptance by the odds of those who agree (Sarmenta 2002, "Sabotage-tolerance mechanisms for
//! volunteer computing systems").
//!
//! A worker is credible by the share of workers assumed faulty and by the checks it has passed in this
//! job; an outcome by all who claim it, against all who claim another; it is accepted when that
//! reaches the wanted certainty. A judgement of one's own, so floats.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::{Basis, Policy, State, Verifier, Vote, policy::MILLION, task::Task};
use crate::{
    id::PeerId, plan::classic, pool::TaskIndex, result::Outcome, standing::Standings,
    time::Timestamp,
};

/// How credible a worker is after `checks` passed spot-checks, with caught workers blacklisted.
fn of_worker(faulty: f64, checks: u32) -> f64 {
    classic::credibility(faulty, f64::from(checks), true)
}

/// How credible the best outcome is, and which it is, given the credibility of each that claims it.
fn of_groups(votes: impl Iterator<Item = (Outcome, f64)>) -> Option<(Outcome, f64)> {
    let mut groups: BTreeMap<Outcome, Vec<f64>> = BTreeMap::new();
    for (outcome, credibility) in votes {
        groups.entry(outcome).or_default().push(credibility);
    }
    let right = classic::group_credibility(groups.values().map(Vec::as_slice));
    let rated = groups.keys().copied().zip(right);
    rated.max_by(|one, other| one.1.total_cmp(&other.1))
}

impl Verifier {
    /// Takes a vote under the credibility policy.
    pub(super) fn weigh(
        &mut self,
        now: Timestamp,
        index: TaskIndex,
        vote: &Vote,
        standings: &mut Standings,
    ) {
        if vote.worker == self.me || self.state(index) != State::Open {
            self.check(now, index, vote, standings);
        } else {
            self.members.entry(vote.worker).open.insert(index);
            if self.is_drawn(vote, standings) {
                if let Some(task) = self.tasks.get_mut(&index) {
                    task.believe(vote.outcome, Basis::Word);
                }
                self.want_check(now, index, standings);
            } else {
                self.weigh_again(now, index, true);
            }
            self.effects.push(super::Effect::Changed(index));
        }
        // A check that passed makes its workers' other results more credible.
        let passed: Vec<PeerId> = self
            .tasks
            .get(&index)
            .map(|task| {
                task.ballots.iter().filter(|one| one.passed).map(|one| one.worker).collect()
            })
            .unwrap_or_default();
        for worker in passed {
            let open = self.members.get(&worker).map(|member| member.open.clone());
            for index in open.unwrap_or_default() {
                if self.state(index) == State::Open {
                    self.weigh_again(now, index, false);
                }
            }
        }
    }

    /// Accepts the best outcome of an open task if it is credible enough, or wants one more; `afresh` if
    /// that was perhaps not said since its last vote.
    pub(super) fn weigh_again(&mut self, now: Timestamp, index: TaskIndex, afresh: bool) {
        let Policy::Credibility { error, faulty } = self.policy() else { return };
        let share = |parts: u32| f64::from(parts) / f64::from(MILLION);
        let Some(task) = self.tasks.get_mut(&index) else { return };
        let outcomes: BTreeSet<Outcome> = task.valid().map(|ballot| ballot.outcome).collect();
        let votes = outcomes.iter().flat_map(|one| Task::independent(task.valid(), one));
        let votes = votes.map(|ballot| {
            let checks = self.members.get(&ballot.worker).map_or(0, |member| member.checks);
            (ballot.outcome, of_worker(share(faulty), checks))
        });
        let best = of_groups(votes);
        if let Some((outcome, certainty)) = best
            && certainty >= 1.0 - share(error)
        {
            task.believe(outcome, Basis::Quorum);
            return self.confirm(index);
        }
        if task.wanted.is_none() || task.state != State::Open {
            self.set_state(index, State::Open);
        }
        if afresh || self.tasks.get(&index).is_some_and(|task| task.wanted.is_none()) {
            let everyone = self.members.everyone();
            self.want(now, index, 1, everyone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::Hash, task::Status};

    fn outcome(output: u8) -> Outcome {
        Outcome { status: Status::Exited(0), output: Hash([output; 32]), fuel: 1 }
    }

    #[test]
    fn two_strangers_at_a_fifth_faulty_are_sixteen_to_one() {
        // Odds 4 each: together 16 to 1 against both being wrong alike.
        let (best, certainty) =
            of_groups([(outcome(1), 0.8), (outcome(1), 0.8)].into_iter()).expect("votes");
        assert_eq!(best, outcome(1));
        assert!((certainty - 16.0 / 17.0).abs() < 1e-12);
        // One against one: 4 / (1 + 4 + 4).
        let (_, certainty) =
            of_groups([(outcome(1), 0.8), (outcome(2), 0.8)].into_iter()).expect("votes");
        assert!((certainty - 4.0 / 9.0).abs() < 1e-12);
    }

    #[test]
    fn passed_checks_make_a_worker_credible_and_never_less_than_a_stranger() {
        assert_eq!(of_worker(0.2, 0), 0.8);
        assert!((of_worker(0.2, 1) - (1.0 - 0.25 / core::f64::consts::E)).abs() < 1e-12);
        assert!(of_worker(0.9, 1) >= 1.0 - 0.9);
        assert!(of_worker(0.2, 1000) > 0.9999);
    }
}
