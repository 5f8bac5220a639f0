//! Membership, patience, and the end: what is still to be checked when every task has a result.

use alloc::vec::Vec;
use core::time::Duration;

use super::{
    About, Basis, Policy, State, Verifier,
    checks::draw,
    members::{self, Members},
    task::{Task, Wanted},
};
use crate::{
    id::{Hash, PeerId, TaskId},
    pool::{TaskIndex, Want},
    standing::Standings,
    time::Timestamp,
};

/// Silence of all that were asked for a check after which others are asked as well.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Silence is looked for this often.
const LOOK: Duration = Duration::from_secs(1);
/// Times the patience until a result is taken whose relay stands in front of everyone who could check it.
const PATIENT: u8 = 2;
/// Rungs of the ladder.
pub(super) const RUNGS: u8 = 4;

impl Verifier {
    /// A worker takes part (again).
    pub fn join(&mut self, now: Timestamp, peer: PeerId, about: About, standings: &mut Standings) {
        self.members.join(now, peer, about);
        self.restaff(now, standings);
    }

    /// A worker is gone.
    pub fn leave(&mut self, now: Timestamp, peer: &PeerId, standings: &mut Standings) {
        self.members.leave(peer);
        self.restaff(now, standings);
    }

    /// A worker tried a task and could not come to a result.
    pub fn unable(
        &mut self,
        now: Timestamp,
        index: TaskIndex,
        worker: &PeerId,
        standings: &mut Standings,
    ) {
        let own = *worker == self.me;
        let Some(task) = self.tasks.get_mut(&index) else { return };
        task.own_unable |= own;
        if let Some(wanted) = &mut task.wanted
            && wanted.from.among.contains(worker)
        {
            // Whoever cannot is no reason not to ask others.
            wanted.widened = (wanted.widened + 1).min(RUNGS - 1);
            self.staff(now, index, standings);
        }
    }

    /// A worker says that it still works on what it holds.
    pub fn renewed(&mut self, now: Timestamp, worker: &PeerId) {
        self.members.renewed(worker, now);
    }

    /// Time passed: where everyone that was asked is silent, others are asked too.
    pub fn tick(&mut self, now: Timestamp, standings: &mut Standings) {
        // Ticks come for many reasons, and there may be thousands of tasks to look at.
        if now < self.looked + LOOK {
            return;
        }
        self.looked = now;
        for index in self.wanting.clone() {
            let Some(task) = self.tasks.get_mut(&index) else { continue };
            let Some(wanted) = &mut task.wanted else { continue };
            let due = wanted.since + PATIENCE * (u32::from(wanted.widened) + 1);
            if now < due || wanted.widened >= RUNGS || !self.members.are_silent(wanted, now) {
                continue;
            }
            wanted.widened += 1;
            if task.probe.is_some() {
                self.conclude(now, index, standings);
            } else {
                self.staff(now, index, standings);
                self.settle_by_votes(index);
                self.settle_single_path(index);
            }
        }
    }

    /// When a tick may make a difference, if anything is waited for.
    pub fn next_wake(&self, now: Timestamp) -> Option<(Timestamp, &'static str)> {
        let waits = !self.wanting.is_empty() || !self.suspended.is_empty();
        waits.then(|| (now + PATIENCE, "patience with silent replicas"))
    }

    /// Looks for others where nobody of those asked can answer.
    pub(super) fn restaff(&mut self, now: Timestamp, standings: &mut Standings) {
        for index in self.wanting.clone() {
            let Some(task) = self.tasks.get(&index) else { continue };
            let Some(wanted) = &task.wanted else { continue };
            // Where somebody was silent, whoever comes may be the one that is not.
            let open = task.state == State::Open || wanted.widened > 0;
            // Own slots that check nothing any more may have been asked before.
            let open = open || (wanted.from.rung == Basis::Own && self.members.own().is_none());
            if open || !self.members.can_answer(wanted, task) {
                self.staff(now, index, standings);
            }
        }
    }

    /// Nobody can be asked, after all patience, whom no relay stands in front of that had part in the
    /// result already: it stands, and is shown as what it is (spec RELAY-8).
    fn settle_single_path(&mut self, index: TaskIndex) {
        let Some(task) = self.tasks.get_mut(&index) else { return };
        let patient = |one: &Wanted| one.widened < PATIENT || self.members.can_answer(one, task);
        let asked = task.wanted.as_ref().is_none_or(patient);
        let relayed = task.primary().is_some_and(|ballot| !ballot.via.is_empty());
        if task.state != State::Checking || asked || !relayed {
            return;
        }
        if let Some(outcome) = task.acceptance.as_ref().map(|one| one.outcome) {
            task.believe(outcome, Basis::SinglePath);
            self.confirm(index);
        }
    }

    /// Nobody can be asked for a further vote on a task, after all patience, whom no relay stands in front
    /// of that had part in one already: the most votes decide, and are shown as what they are
    /// (spec RELAY-8). False if there is none, or none that came through a relay.
    pub fn take_single_path(&mut self, index: TaskIndex) -> bool {
        let Some(task) = self.tasks.get_mut(&index).filter(|task| task.state == State::Open) else {
            return false;
        };
        let votes = |outcome| task.valid().filter(|one| one.outcome == outcome).count();
        let best = task.valid().map(|one| (votes(one.outcome), one.outcome)).max();
        let relayed = task.valid().any(|ballot| !ballot.via.is_empty());
        let Some((_, outcome)) = best.filter(|_| relayed && !self.config.policy.checks()) else {
            return false;
        };
        task.believe(outcome, Basis::SinglePath);
        self.effects.push(super::Effect::Want(Want::anyone(index, 0)));
        self.set_state(index, State::Final);
        self.effects.push(super::Effect::Settled(index));
        true
    }

    /// What came does not serve: others are asked if nobody else is left of those who were.
    pub(super) fn look_elsewhere(
        &mut self,
        now: Timestamp,
        index: TaskIndex,
        standings: &mut Standings,
    ) {
        let Some(task) = self.tasks.get(&index) else { return };
        if task.wanted.as_ref().is_some_and(|wanted| !self.members.can_answer(wanted, task)) {
            self.staff(now, index, standings);
        }
    }

    /// Decides anew of whom a task's wanted results are wanted.
    fn staff(&mut self, now: Timestamp, index: TaskIndex, standings: &mut Standings) {
        let Some(task) = self.tasks.get(&index) else { return };
        let Some(wanted) = task.wanted.clone() else { return };
        let tasks = self.config.tasks;
        let from = if let Some(probe) = &task.probe {
            // A network that has had its say is not asked again.
            let heard = task.ballots.iter().filter(|one| one.vote >= probe.since && one.referee);
            let accused = probe.accused.iter().map(|(peer, _)| *peer);
            let known: Vec<PeerId> = accused.chain(heard.map(|one| one.worker)).collect();
            let witnesses = self.members.witnesses(&known, task, standings);
            if witnesses.is_empty() {
                return self.conclude(now, index, standings);
            }
            members::From { rung: Basis::Referees, among: witnesses.into() }
        } else {
            match task.state {
                State::Open => self.members.everyone(),
                State::Disputed => disputed(&self.members, task, wanted.widened, standings),
                _ => {
                    let Some(primary) = task.primary().map(|ballot| ballot.worker) else { return };
                    self.members.circle(&primary, task, tasks, wanted.widened, standings)
                }
            }
        };
        if from.among == wanted.from.among {
            return;
        }
        // A dispute that passes from the submitter's own slots to referees needs two of them.
        let own = |from: &members::From| from.rung == Basis::Own;
        let need = if own(&wanted.from) && from.rung == Basis::Referees {
            2
        } else if own(&from) {
            1
        } else {
            wanted.need
        };
        self.want(now, index, need, from);
        if let Some(one) = self.tasks.get_mut(&index).and_then(|task| task.wanted.as_mut()) {
            // Patience goes on, or one that comes and goes would have everybody wait without end.
            (one.widened, one.since) = (wanted.widened, wanted.since);
        }
    }

    /// Brings the job to its end once every task has a result: one more check of each worker with
    /// results that no check has confirmed, everything of a worker that is gone (spec VERIFY-16).
    pub fn advance(&mut self, now: Timestamp, standings: &mut Standings) {
        if self.over {
            return;
        }
        self.take_up(now, standings);
        let complete = self.tasks.len() >= self.config.tasks as usize;
        if !complete || !self.suspended.is_empty() {
            return;
        }
        let busy = |index: &TaskIndex| {
            self.tasks.get(index).is_some_and(|task| {
                !self.config.provisional || !(task.state.has_outcome() || task.probe.is_some())
            })
        };
        if self.busy.iter().any(busy) {
            return;
        }
        if matches!(self.policy(), Policy::Adaptive(_)) && !self.config.provisional {
            let closing = self.closing_checks();
            if !closing.is_empty() {
                self.tally.closing += closing.len() as u64;
                for index in closing {
                    self.want_check(now, index, standings);
                }
                return;
            }
        }
        self.over = true;
        if self.config.provisional {
            return;
        }
        let left: Vec<TaskIndex> = self
            .tasks
            .iter()
            .filter(|(_, task)| matches!(task.state, State::Provisional | State::Confirmed))
            .map(|(index, _)| *index)
            .collect();
        self.members.forget_tasks();
        for index in left {
            self.finish(index);
        }
    }

    /// The tasks whose check ends the job.
    fn closing_checks(&mut self) -> Vec<TaskIndex> {
        let before = self.next_vote;
        let mut closing = Vec::new();
        for (peer, member) in self.members.iter() {
            let Some(count) = core::num::NonZeroU64::new(member.provisional.len() as u64) else {
                continue;
            };
            if !self.members.is_reachable(peer) {
                closing.extend(member.provisional.values());
                continue;
            }
            // Unpredictable to the worker: it could not know which results will be the last.
            let drawn = draw(&self.secret, &Hash(peer.0), &TaskId([0; 32])) % count;
            let at = usize::try_from(drawn).unwrap_or(0);
            if let Some(index) = member.provisional.values().nth(at) {
                closing.push(*index);
            }
        }
        for index in &closing {
            if let Some(task) = self.tasks.get_mut(index) {
                task.closing = Some(before);
            }
        }
        closing
    }
}

/// Of whom the settling of a dispute is wanted.
fn disputed(members: &Members, task: &Task, widened: u8, standings: &Standings) -> members::From {
    let own = members.own_slots().filter(|own| !task.own_unable && !has_voted(task, own));
    match (own, widened) {
        (Some(own), 0) => own,
        (None, _) => members.referees(task, widened, standings),
        // Own slots that are slow are asked on, beside the others.
        (Some(own), _) => {
            let referees = members.referees(task, widened - 1, standings);
            let mut among: Vec<PeerId> =
                referees.among.iter().chain(own.among.iter()).copied().collect();
            among.sort_unstable();
            among.dedup();
            members::From { rung: Basis::Referees, among: among.into() }
        }
    }
}

fn has_voted(task: &Task, from: &members::From) -> bool {
    from.among.iter().any(|peer| task.has(peer))
}
