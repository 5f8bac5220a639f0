//! Two outcomes for one task: who says which is right, and what follows for whom it is not.
//!
//! Only the observer's own execution proves anything (spec VERIFY-14): what referees say settles the
//! result and makes the loser suspect within the job, but takes nothing from its record. And before
//! the observer believes its own machine against a worker's, it asks established workers of other
//! networks, for an app may give different results on different honest machines (spec VERIFY-18).

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::{
    Apart, Basis, Effect, Policy, State, Verifier,
    closing::{PATIENCE, RUNGS},
    task::{Ballot, Probe, Task, Wanted},
};
use crate::{
    id::PeerId,
    limits::MAX_REDUNDANCY,
    pool::{Among, TaskIndex},
    result::Outcome,
    standing::{BanReason, COLLUSION_BAN, Standings},
    time::Timestamp,
};

/// Agreeing referees that settle a dispute.
const REFEREES: u32 = 2;
/// Disputes lost to referees after which a worker gets no more of the job.
const LOSSES: u32 = 3;
/// Results of a worker proven wrong in one job after which it gets no more of it, if it errs too seldom for a
/// ban: it is always checked, and what it had returned is computed yet again after each error, so that it
/// costs a job more than it brings.
const PROVEN: u32 = 4;
/// Established workers in networks of their own that must reproduce an outcome which the observer
/// finds wrong, before the app is taken to differ by machine.
const WITNESSES: u32 = 3;
/// Witnesses that are asked at most, once one gives another outcome than the observer.
const MAX_WITNESSES: u32 = 31;
/// Witnesses that must have answered, none of them as the observer, before its own slots are set apart.
const ALL_AGAINST: u32 = 5;

/// What an accused has to lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stake {
    /// Nothing: nobody knows it.
    Nothing,
    /// Its record.
    Record,
    /// Its place with this observer: it would be banned.
    Place,
}

impl Stake {
    /// Witnesses that are asked as long as none gives another outcome than the observer.
    const fn asked(self) -> u32 {
        match self {
            Self::Nothing => 3,
            Self::Record | Self::Place => 15,
        }
    }

    fn of(accused: &[(PeerId, Outcome)], standings: &Standings) -> Self {
        let mates = |(at, one): (usize, &(PeerId, Outcome))| {
            accused.iter().skip(at + 1).any(|other| other.1 == one.1)
        };
        if accused.iter().enumerate().any(mates)
            || accused.iter().any(|(name, _)| standings.is_last_failure(name))
        {
            Self::Place
        } else if accused.iter().any(|(name, _)| standings.is_established(name)) {
            Self::Record
        } else {
            Self::Nothing
        }
    }
}

impl Verifier {
    /// Two outcomes differ: what was believed is taken back until a referee has said which is right.
    pub(super) fn dispute(&mut self, now: Timestamp, index: TaskIndex, standings: &Standings) {
        self.tally.disputes += 1;
        self.take_back(index);
        let own = self.members.own_slots();
        let Some(task) = self.tasks.get_mut(&index) else { return };
        let (need, from) = match (self.config.policy, own) {
            (Policy::Boinc, _) => (1, self.members.everyone()),
            (_, Some(own)) => (1, own),
            (_, None) => (REFEREES, self.members.referees(task, 0, standings)),
        };
        self.want(now, index, need, from);
        self.set_state(index, State::Disputed);
    }

    /// What was believed of a task no longer is.
    fn take_back(&mut self, index: TaskIndex) {
        let Some(task) = self.tasks.get_mut(&index) else { return };
        let workers = task.workers();
        task.closing = None;
        if task.acceptance.take().is_some() {
            self.tally.taken_back += 1;
        }
        for worker in workers {
            let member = self.members.entry(worker);
            member.provisional.retain(|_, task| *task != index);
            member.confirmed.retain(|task| *task != index);
        }
    }

    /// One more outcome of a disputed task, by somebody else than the submitter.
    pub(super) fn refer(&mut self, now: Timestamp, index: TaskIndex, standings: &mut Standings) {
        let by_count = self.policy() == Policy::Boinc;
        let Some(task) = self.tasks.get(&index) else { return };
        let heard = |ballot: &&Ballot| ballot.referee || by_count;
        let votes = count(&task.valid().filter(heard).collect::<Vec<&Ballot>>());
        let best = votes.into_iter().max_by_key(|(_, count)| *count);
        let asked_own = task.wanted.as_ref().is_some_and(|one| one.from.rung == Basis::Own);
        match best {
            _ if asked_own => {}
            Some((outcome, count)) if count >= REFEREES => {
                self.settle_by_referees(now, index, outcome, standings);
            }
            _ if task.ballots.len() >= MAX_REDUNDANCY as usize => {
                self.settle_by_votes(index);
                if self.state(index) == State::Disputed {
                    self.give_up(index);
                }
            }
            best => {
                let need = REFEREES - best.map_or(0, |(_, count)| count.min(REFEREES - 1));
                let from = if by_count {
                    self.members.everyone()
                } else {
                    let widened = task.wanted.as_ref().map_or(0, |wanted| wanted.widened);
                    self.members.referees(task, widened, standings)
                };
                self.want(now, index, need, from);
            }
        }
    }

    fn settle_by_referees(
        &mut self,
        now: Timestamp,
        index: TaskIndex,
        outcome: Outcome,
        standings: &mut Standings,
    ) {
        let by_count = self.policy() == Policy::Boinc;
        let Some(task) = self.tasks.get_mut(&index) else { return };
        task.believe(outcome, if by_count { Basis::Quorum } else { Basis::Referees });
        let (mut right, mut wrong) = (Vec::new(), Vec::new());
        for ballot in &mut task.ballots {
            let side = if ballot.outcome == outcome { &mut right } else { &mut wrong };
            side.push(ballot.worker);
            // What referees found right counts again, whoever said it.
            ballot.discredited &= ballot.outcome != outcome;
        }
        if by_count {
            for worker in &right {
                let by = *right.iter().find(|other| *other != worker).unwrap_or(worker);
                self.pass(now, index, *worker, (Basis::Anyone, by), standings);
            }
        }
        self.confirm(index);
        for worker in wrong {
            let member = self.members.entry(worker);
            (member.valid, member.checks) = (0, 0);
            member.open.remove(&index);
            if by_count {
                continue;
            }
            member.lost += 1;
            if member.lost == LOSSES {
                self.exclude(now, worker, standings);
            }
        }
    }

    /// Nobody is left to referee a dispute or to look again at a result, or only who never says
    /// anything: the most votes decide, if there is a most. That is no more than what agreement with
    /// anyone is worth, so nobody loses anything by it.
    pub(super) fn settle_by_votes(&mut self, index: TaskIndex) {
        let Some(task) = self.tasks.get_mut(&index) else { return };
        let full = task.ballots.len() >= MAX_REDUNDANCY as usize;
        let waits = |one: &Wanted| one.widened < RUNGS && self.members.can_answer(one, task);
        let asked = task.wanted.as_ref().is_some_and(waits);
        let open = matches!(task.state, State::Disputed | State::Checking);
        if !open || self.config.policy == Policy::Boinc || (asked && !full) {
            return;
        }
        let votes = count(&task.valid().collect::<Vec<&Ballot>>());
        let mut counts: Vec<(u32, Outcome)> =
            votes.into_iter().map(|(outcome, count)| (count, outcome)).collect();
        counts.sort_unstable();
        let (best, next) = (counts.pop(), counts.pop());
        if let Some((count, outcome)) = best
            && count >= REFEREES
            && next.is_none_or(|(other, _)| other < count)
        {
            task.believe(outcome, Basis::Anyone);
            self.confirm(index);
        }
    }

    /// Takes the disputes that a task's voters lost to referees into account again.
    pub(super) fn restore_losses(&mut self, index: TaskIndex) {
        let Some(accepted) = self.acceptance(index) else { return };
        if accepted.basis != Basis::Referees || self.policy() == Policy::Boinc {
            return;
        }
        for worker in accepted.outvoted.clone() {
            let member = self.members.entry(worker);
            member.lost += 1;
            if member.lost >= LOSSES {
                self.members.exclude(worker);
            }
        }
    }

    /// A worker was banned by another job of the observer's.
    pub fn banned(&mut self, now: Timestamp, worker: PeerId, standings: &mut Standings) {
        if self.policy().checks() && !self.members.is_excluded(&worker) && worker != self.me {
            self.exclude(now, worker, standings);
        }
    }

    /// Gives a worker nothing more of this job and believes nothing of it that is not final.
    fn exclude(&mut self, now: Timestamp, worker: PeerId, standings: &mut Standings) {
        self.members.exclude(worker);
        self.effects.push(Effect::Exclude(worker));
        self.roll_back(now, worker, standings);
        self.restaff(now, standings);
    }

    /// The submitter's own execution: that is what the task's outcome is.
    pub(super) fn settle_own(
        &mut self,
        now: Timestamp,
        index: TaskIndex,
        truth: Outcome,
        standings: &mut Standings,
    ) {
        let Some(task) = self.tasks.get_mut(&index) else { return };
        let known = task.acceptance.as_ref().map(|acceptance| acceptance.outcome);
        if known.is_some_and(|known| known != truth) {
            self.tally.taken_back += 1;
        }
        self.tally.disputes += u64::from(known.is_some_and(|known| known != truth));
        let closing = task.closing;
        let first = task.primary().filter(|ballot| ballot.outcome == truth && !ballot.own);
        let first = first.map(|ballot| (ballot.worker, ballot.vote));
        let others = || task.ballots.iter().filter(|ballot| !ballot.own);
        let right: Vec<PeerId> =
            others().filter(|one| one.outcome == truth).map(|one| one.worker).collect();
        let wrong: Vec<(PeerId, Outcome)> = others()
            .filter(|one| one.outcome != truth)
            .map(|one| (one.worker, one.outcome))
            .collect();
        task.believe(truth, Basis::Own);
        let me = self.me;
        for worker in right {
            self.pass(now, index, worker, (Basis::Own, me), standings);
        }
        self.finish(index);
        if let Some((worker, number)) = first {
            self.vouch(worker, closing.unwrap_or(number));
        }
        if !wrong.is_empty() {
            self.accuse(now, index, wrong, standings);
        }
    }

    /// Own execution contradicts these workers. Established ones of other networks are asked first, once
    /// for each accused and once more before a ban, if there are enough to tell a cheat from an app that
    /// differs by machine. What else comes up meanwhile waits for their answer.
    pub(super) fn accuse(
        &mut self,
        now: Timestamp,
        index: TaskIndex,
        accused: Vec<(PeerId, Outcome)>,
        standings: &mut Standings,
    ) {
        if self.quarantined.is_some() {
            let contradicted = accused.into_iter().map(|(worker, _)| worker);
            return self.set_apart(now, contradicted, standings);
        }
        if self.probing > 0 {
            accused.iter().for_each(|(worker, _)| self.members.suspect(*worker));
            return self.suspended.push((index, accused));
        }
        let names: Vec<PeerId> = accused.iter().map(|(worker, _)| *worker).collect();
        let Some(task) = self.tasks.get(&index) else { return };
        let witnesses = self.members.witnesses(&names, task, standings);
        let stake = Stake::of(&accused, standings);
        // A record is lost with the first failure that counts, and asked about once.
        let least = if stake == Stake::Place { Some(stake) } else { Some(Stake::Nothing) };
        let asked = |name| self.members.get(name).is_some_and(|member| member.probed >= least);
        let known = names.iter().all(asked);
        if known || witnesses.len() < WITNESSES as usize {
            return self.punish(now, index, &accused, standings);
        }
        for name in names {
            let member = self.members.entry(name);
            member.probed = member.probed.max(Some(stake));
            self.members.suspect(name);
        }
        let (since, ask) = (self.next_vote, stake.asked());
        let Some(task) = self.tasks.get_mut(&index) else { return };
        task.probe = Some(Probe { accused, since, ask, left: ask });
        self.probing += 1;
        self.ask_witnesses(now, index, witnesses);
    }

    /// Accusations from before a restart that nothing has come of: own execution contradicts a vote whose
    /// worker was not caught with it. They are taken up as soon as witnesses have had time to come. Where
    /// the app differs by machine, those contradicted are set apart again.
    pub fn accuse_again(
        &mut self,
        now: Timestamp,
        caught: &BTreeSet<(TaskIndex, PeerId)>,
        standings: &Standings,
    ) {
        self.resumed = now;
        if matches!(self.policy(), Policy::Spot { .. } | Policy::Credibility { .. }) {
            caught.iter().for_each(|(_, worker)| self.members.exclude(*worker));
        }
        for (_, worker) in caught {
            if self.count_proven(*worker, standings) {
                self.members.exclude(*worker);
            }
        }
        if !self.policy().checks() || self.quarantined == Some(Apart::Own) {
            return;
        }
        for (index, task) in &self.tasks {
            let Some(accepted) = task.acceptance.as_ref().filter(|one| one.is_own()) else {
                continue;
            };
            let accused: Vec<(PeerId, Outcome)> = task
                .ballots
                .iter()
                .filter(|one| !one.own && one.outcome != accepted.outcome)
                .filter(|one| !caught.contains(&(*index, one.worker)))
                .map(|one| (one.worker, one.outcome))
                .collect();
            if self.quarantined.is_some() {
                accused.iter().for_each(|(worker, _)| self.members.exclude(*worker));
            } else if !accused.is_empty() {
                accused.iter().for_each(|(worker, _)| self.members.suspect(*worker));
                self.suspended.push((*index, accused));
            }
        }
    }

    /// Takes up accusations that wait for nobody any more.
    pub(super) fn take_up(&mut self, now: Timestamp, standings: &mut Standings) {
        if self.probing > 0 || now < self.resumed + PATIENCE {
            return;
        }
        for (index, accused) in core::mem::take(&mut self.suspended) {
            self.accuse(now, index, accused, standings);
        }
    }

    fn ask_witnesses(&mut self, now: Timestamp, index: TaskIndex, witnesses: Vec<PeerId>) {
        let need =
            self.tasks.get(&index).and_then(|task| task.probe.as_ref()).map_or(1, |p| p.left);
        let need = need.min(u32::try_from(witnesses.len()).unwrap_or(1));
        self.busy.insert(index);
        let from = super::members::From { rung: Basis::Referees, among: Among::from(witnesses) };
        self.want(now, index, need, from);
    }

    /// A witness has answered.
    pub(super) fn testify(&mut self, now: Timestamp, index: TaskIndex, standings: &mut Standings) {
        let Some(task) = self.tasks.get_mut(&index) else { return };
        let Some(probe) = &mut task.probe else { return };
        let right = task.acceptance.as_ref().map(|acceptance| acceptance.outcome);
        let answers = Answers::of(&task.ballots, probe.since, right);
        // Nobody gives another outcome than the observer: that settles it. Somebody does: more are asked,
        // as long as there are any, until it is certain that both outcomes are honest machines'.
        let enough = match answers.verdict() {
            Verdict::Wrong if answers.against == 0 => probe.ask,
            Verdict::Differs(Apart::Others) if answers.alike > 0 => answers.given(),
            _ => MAX_WITNESSES,
        };
        probe.left = enough.saturating_sub(answers.given());
        let left = probe.left;
        // A network has one say, however many established workers it has.
        let known: Vec<PeerId> =
            probe.accused.iter().map(|(worker, _)| *worker).chain(answers.heard).collect();
        let more = self.members.witnesses(&known, &self.tasks[&index], standings);
        if left > 0 && !more.is_empty() {
            return self.ask_witnesses(now, index, more);
        }
        self.conclude(now, index, standings);
    }

    /// Nobody is left to be asked, or enough have answered.
    pub(super) fn conclude(&mut self, now: Timestamp, index: TaskIndex, standings: &mut Standings) {
        let Some(task) = self.tasks.get_mut(&index) else { return };
        let Some(Probe { mut accused, since, .. }) = task.probe.take() else { return };
        let right = task.acceptance.as_ref().map(|acceptance| acceptance.outcome);
        let verdict = Answers::of(&task.ballots, since, right).verdict();
        let mut passed = Vec::new();
        for ballot in task.ballots.iter().filter(|one| one.vote >= since && !one.own) {
            if Some(ballot.outcome) == right {
                passed.push(ballot.worker);
            } else {
                accused.push((ballot.worker, ballot.outcome));
            }
        }
        self.close_probe(index);
        if verdict == Verdict::Differs(Apart::Own) {
            return self.quarantine(now, Apart::Own, standings);
        }
        let me = self.me;
        for worker in passed {
            self.pass(now, index, worker, (Basis::Own, me), standings);
        }
        if verdict == Verdict::Differs(Apart::Others) {
            self.suspended.push((index, accused));
            return self.quarantine(now, Apart::Others, standings);
        }
        self.punish(now, index, &accused, standings);
        for (index, accused) in core::mem::take(&mut self.suspended) {
            self.accuse(now, index, accused, standings);
        }
    }

    /// Nobody is asked about a task's accused any more.
    fn close_probe(&mut self, index: TaskIndex) {
        self.unwant(index);
        let workers = self.tasks[&index].workers();
        self.members.drop_task(index, workers);
        self.set_state(index, State::Final);
        self.probing = self.probing.saturating_sub(1);
    }

    /// The app differs by machine: from now on nobody is punished over it here. Results have to be those
    /// of one kind of machine, so whoever is set apart gets nothing more of the job.
    pub fn quarantine(&mut self, now: Timestamp, apart: Apart, standings: &mut Standings) {
        if self.quarantined.is_some() {
            return;
        }
        self.quarantined = Some(apart);
        let mut contradicted = core::mem::take(&mut self.suspended);
        let probing = self.tasks.iter().filter(|(_, task)| task.probe.is_some());
        for index in probing.map(|(index, _)| *index).collect::<Vec<TaskIndex>>() {
            let probe = self.tasks.get_mut(&index).and_then(|task| task.probe.take());
            contradicted.extend(probe.map(|probe| (index, probe.accused)));
            self.close_probe(index);
        }
        self.probing = 0;
        self.members.clear_all();
        self.effects.push(Effect::Quarantined(apart));
        if apart == Apart::Own {
            self.members.set_own_apart();
            return self.restaff(now, standings);
        }
        let contradicted: BTreeSet<PeerId> =
            contradicted.into_iter().flat_map(|(_, accused)| accused).map(|one| one.0).collect();
        self.set_apart(now, contradicted, standings);
    }

    /// The observer's own execution contradicts these, and the app is known to differ by machine: they get
    /// nothing more of the job, and nothing that rests on them alone is believed.
    fn set_apart(
        &mut self,
        now: Timestamp,
        workers: impl IntoIterator<Item = PeerId>,
        standings: &mut Standings,
    ) {
        if self.quarantined != Some(Apart::Others) {
            return;
        }
        for worker in workers {
            if !self.members.is_excluded(&worker) {
                self.exclude(now, worker, standings);
            }
        }
    }

    fn punish(
        &mut self,
        now: Timestamp,
        index: TaskIndex,
        accused: &[(PeerId, Outcome)],
        standings: &mut Standings,
    ) {
        let Some(right) = self.acceptance(index).map(|acceptance| acceptance.outcome) else {
            return;
        };
        accused.iter().for_each(|(worker, _)| self.members.clear(worker));
        for (worker, outcome) in accused {
            let same = accused.iter().filter(|(_, other)| other == outcome).count();
            if same > 1 {
                standings.ban(now, *worker, COLLUSION_BAN, BanReason::Collusion);
            }
            self.convict(now, index, *worker, right, standings);
        }
        self.restaff(now, standings);
    }

    /// A worker's result was proven wrong.
    pub(super) fn convict(
        &mut self,
        now: Timestamp,
        index: TaskIndex,
        worker: PeerId,
        right: Outcome,
        standings: &mut Standings,
    ) {
        standings.failed(now, worker);
        let ban = standings.get(&worker).and_then(|standing| standing.ban);
        self.effects.push(Effect::Caught { worker, task: index, right, ban });
        let member = self.members.entry(worker);
        (member.valid, member.checks) = (0, 0);
        let often = self.count_proven(worker, standings);
        let leaves = match self.policy() {
            Policy::Spot { .. } | Policy::Credibility { .. } => true,
            _ => often || standings.is_banned(now, &worker),
        };
        if leaves && !self.members.is_excluded(&worker) {
            self.members.exclude(worker);
            self.effects.push(Effect::Exclude(worker));
        }
        self.members.regroup();
        self.roll_back(now, worker, standings);
    }

    /// One more result of `worker` was proven wrong; whether that is the last one of this job.
    fn count_proven(&mut self, worker: PeerId, standings: &Standings) -> bool {
        let member = self.members.entry(worker);
        member.proven += 1;
        member.proven >= PROVEN
            && matches!(self.config.policy, Policy::Adaptive(_))
            && !standings.is_near_ban(&worker)
    }

    /// One worker signed two different results for one task.
    pub fn equivocated(&mut self, now: Timestamp, worker: PeerId, standings: &mut Standings) {
        if !self.policy().checks() || standings.is_banned(now, &worker) || worker == self.me {
            return;
        }
        standings.ban(now, worker, COLLUSION_BAN, BanReason::Equivocation);
        self.exclude(now, worker, standings);
    }

    /// Believes nothing more on the word of a worker that was caught: what rests on it alone is computed
    /// anew, what others co-signed is checked again.
    fn roll_back(&mut self, now: Timestamp, worker: PeerId, standings: &Standings) {
        if self.policy() == Policy::Boinc {
            return; // it has no memory of what a host returned
        }
        let member = self.members.entry(worker);
        let open = core::mem::take(&mut member.open);
        member.provisional.clear();
        member.confirmed.clear();
        member.undecided.clear();
        member.vouched = 0;
        for index in open {
            let Some(task) = self.tasks.get_mut(&index) else { continue };
            if task.state == State::Final {
                continue; // it answered as a witness there
            }
            let believed = task.acceptance.as_ref().map(|acceptance| acceptance.outcome);
            let Some(ballot) = task.ballots.iter_mut().find(|one| one.worker == worker) else {
                continue;
            };
            ballot.discredited = true;
            if Some(ballot.outcome) != believed {
                self.effects.push(Effect::Changed(index));
                continue;
            }
            let outcome = ballot.outcome;
            if let Policy::Credibility { .. } = self.policy() {
                self.take_back(index);
                self.weigh_again(now, index, true);
                continue;
            }
            self.take_back(index);
            let Some(task) = self.tasks.get_mut(&index) else { continue };
            let co_signer = task.valid().find(|ballot| ballot.outcome == outcome);
            let co_signer = co_signer.map(|ballot| (ballot.worker, ballot.vote));
            if let Some((co_signer, vote)) = co_signer {
                task.believe(outcome, Basis::Word);
                self.members.entry(co_signer).provisional.insert(vote, index);
                self.want_check(now, index, standings);
            } else {
                let everyone = self.members.everyone();
                self.want(now, index, 1, everyone);
                self.set_state(index, State::Open);
            }
        }
    }
}

/// What follows from witnesses' answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// The accused are wrong.
    Wrong,
    /// The app differs by machine.
    Differs(Apart),
}

/// What the witnesses that were asked have said.
struct Answers {
    heard: Vec<PeerId>,
    /// How many say the same as the observer.
    alike: u32,
    /// How many say something else.
    against: u32,
    /// The most of these that agree with each other, whatever the accused says.
    together: u32,
}

impl Answers {
    fn of(ballots: &[Ballot], since: u64, right: Option<Outcome>) -> Self {
        let asked = || ballots.iter().filter(|one| one.vote >= since && one.referee);
        let mut counts: BTreeMap<Outcome, u32> = BTreeMap::new();
        asked().for_each(|one| *counts.entry(one.outcome).or_default() += 1);
        let alike = right.and_then(|right| counts.remove(&right)).unwrap_or(0);
        Self {
            heard: asked().map(|one| one.worker).collect(),
            alike,
            against: counts.values().sum(),
            together: counts.into_values().max().unwrap_or(0),
        }
    }

    fn given(&self) -> u32 {
        self.alike + self.against
    }

    fn verdict(&self) -> Verdict {
        if self.together < WITNESSES {
            Verdict::Wrong
        } else if self.alike == 0 && self.given() >= ALL_AGAINST {
            Verdict::Differs(Apart::Own)
        } else {
            Verdict::Differs(Apart::Others)
        }
    }
}

/// Independent votes for each outcome.
fn count(ballots: &[&Ballot]) -> BTreeMap<Outcome, u32> {
    let outcomes: BTreeSet<Outcome> = ballots.iter().map(|ballot| ballot.outcome).collect();
    let votes = |one: &Outcome| Task::independent(ballots.iter().copied(), one).len();
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    outcomes.into_iter().map(|one| (one, number(votes(&one)))).collect()
}
