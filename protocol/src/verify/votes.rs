//! First-m voting: the first outcome that enough distinct peers agree on, and nothing else.

use super::{
    Basis, State, Verifier,
    task::{Ballot, Task},
};
use crate::{
    pool::{TaskIndex, Want},
    result::Outcome,
};

impl Verifier {
    /// Counts the votes of a task after one more.
    pub(super) fn count(&mut self, index: TaskIndex) {
        let quorum = self.policy().quorum();
        let Some(task) = self.tasks.get_mut(&index) else { return };
        let of = |outcome: &Outcome| agreeing(&task.ballots, outcome);
        let most = task.ballots.iter().map(|ballot| of(&ballot.outcome)).max().unwrap_or(0);
        let own = task.ballots.iter().find(|ballot| ballot.own).map(|ballot| ballot.outcome);
        let leading = task.ballots.iter().find(|ballot| of(&ballot.outcome) == most);
        let (outcome, basis) = match (own, leading.map(|ballot| ballot.outcome)) {
            (Some(outcome), _) => (outcome, Basis::Own),
            (None, Some(outcome)) if most >= quorum && quorum > 1 => (outcome, Basis::Quorum),
            (None, Some(outcome)) if most >= quorum => (outcome, Basis::Word),
            (None, _) => {
                let want = Want::anyone(index, quorum.saturating_sub(most).max(1));
                return self.effects.push(super::Effect::Want(want));
            }
        };
        task.believe(outcome, basis);
        self.effects.push(super::Effect::Want(Want::anyone(index, 0)));
        self.set_state(index, State::Final);
        self.effects.push(super::Effect::Settled(index));
    }
}

/// Votes for an outcome that nobody has had part in two of.
fn agreeing(ballots: &[Ballot], outcome: &Outcome) -> u32 {
    u32::try_from(Task::independent(ballots.iter(), outcome).len()).unwrap_or(u32::MAX)
}
