//! Results that are taken on a worker's word and checked by chance.
//!
//! A worker is bound to its results before anything is drawn (spec VERIFY-10), so it cannot know
//! which of them will be compared with a replica. What a passed check says of a worker covers what it
//! returned before that check's result; what a failed one says covers everything of it that is not
//! final.

use super::{
    Basis, Effect, Policy, State, Taken, Verifier, Vote,
    policy::{BOINC_TRUSTED, CREDIBILITY_CHECKS, MILLION},
};
use crate::{
    id::{Hash, PeerId, TaskId},
    pool::TaskIndex,
    standing::{Share, Standings},
    time::Timestamp,
};

/// Later confirmed results of its worker after which a confirmed result is final (spec VERIFY-15).
pub const HORIZON: usize = 1000;

const DRAW_CONTEXT: &str = "bayan 2026-11-25 verify draw v1";

/// The number that decides whether a result is checked: a keyed hash of what the worker was bound to
/// before the key could say anything to it (spec VERIFY-10).
pub fn draw(secret: &[u8; 32], root: &Hash, task: &TaskId) -> u64 {
    let mut hasher = blake3::Hasher::new_keyed(&blake3::derive_key(DRAW_CONTEXT, secret));
    hasher.update(&root.0);
    hasher.update(&task.0);
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

impl Verifier {
    /// Takes a vote under a policy that checks.
    pub(super) fn check(
        &mut self,
        now: Timestamp,
        index: TaskIndex,
        vote: &Vote,
        standings: &mut Standings,
    ) {
        let Some(task) = self.tasks.get(&index) else { return };
        let (state, own) = (task.state, vote.worker == self.me);
        self.members.entry(vote.worker).open.insert(index);
        self.members.note_undecided(task);
        if task.probe.is_some() {
            self.testify(now, index, standings);
        } else if own {
            self.settle_own(now, index, vote.outcome, standings);
        } else {
            match state {
                State::Open => self.begin(now, index, vote, standings),
                State::Checking | State::Provisional | State::Confirmed => {
                    self.compare(now, index, vote, standings);
                }
                State::Disputed => self.refer(now, index, standings),
                State::Final | State::GivenUp => {}
            }
        }
        self.effects.push(Effect::Changed(index));
    }

    /// How likely a result of `worker` is checked.
    pub(super) fn rate(&self, worker: &PeerId, standings: &Standings) -> Share {
        let member = self.members.get(worker);
        if member.is_some_and(|member| member.lost > 0) || self.members.is_suspected(worker) {
            return Share::ONE;
        }
        match self.policy() {
            Policy::None | Policy::Vote(_) => Share::ZERO,
            Policy::Spot { checked } => Share::of(checked.into(), MILLION.into()),
            Policy::Credibility { .. } => Share::of(CREDIBILITY_CHECKS.into(), MILLION.into()),
            Policy::Boinc => {
                let valid = member.map_or(0, |member| member.valid);
                if valid < BOINC_TRUSTED { Share::ONE } else { Share::of(1, valid.into()) }
            }
            Policy::Adaptive(adaptive) => {
                let standing = standings.get(worker);
                // What a job tolerates of strangers it does not tolerate of those who were caught.
                let caught = standing.is_some_and(|one| one.failed > 0 && one.k() < adaptive.k);
                if caught { Share::ONE } else { adaptive.rate(standings.k(worker)) }
            }
        }
    }

    pub(super) fn is_drawn(&mut self, vote: &Vote, standings: &Standings) -> bool {
        let share = self.rate(&vote.worker, standings);
        let drawn = share.is_drawn(draw(&self.secret, &vote.root, &vote.id));
        self.tally.drawn += u64::from(drawn);
        self.tally.undrawn += u64::from(!drawn);
        let member = self.members.entry(vote.worker);
        member.drawn += u64::from(drawn);
        member.undrawn += u64::from(!drawn);
        drawn
    }

    /// Takes the first outcome of a task: believed, and checked if that is drawn.
    fn begin(&mut self, now: Timestamp, index: TaskIndex, vote: &Vote, standings: &Standings) {
        let drawn = self.is_drawn(vote, standings);
        let Some(task) = self.tasks.get_mut(&index) else { return };
        task.believe(vote.outcome, Basis::Word);
        // One that was discredited together with others may have said the same before.
        let Some((first, number)) = task.primary().map(|one| (one.worker, one.vote)) else {
            return;
        };
        self.members.entry(first).provisional.insert(number, index);
        if drawn {
            self.want_check(now, index, standings);
        } else if self.policy() == Policy::Boinc {
            self.finish(index);
        } else {
            self.unwant(index);
            self.set_state(index, State::Provisional);
        }
    }

    /// Wants a replica of what is believed of a task.
    pub(super) fn want_check(&mut self, now: Timestamp, index: TaskIndex, standings: &Standings) {
        let Some(task) = self.tasks.get(&index) else { return };
        let Some(primary) = task.primary().map(|ballot| ballot.worker) else { return };
        let widened = task.wanted.as_ref().map_or(0, |wanted| wanted.widened);
        let from = match self.policy() {
            // Their answer is known to be right: that is what makes a spot-check.
            Policy::Spot { .. } | Policy::Credibility { .. } => self.members.own_slots(),
            _ => None,
        };
        let from = from.unwrap_or_else(|| {
            self.members.circle(&primary, task, self.config.tasks, widened, standings)
        });
        self.want(now, index, 1, from);
        self.set_state(index, State::Checking);
    }

    /// Compares one more outcome with what is believed.
    fn compare(
        &mut self,
        now: Timestamp,
        index: TaskIndex,
        vote: &Vote,
        standings: &mut Standings,
    ) {
        let Some(task) = self.tasks.get(&index) else { return };
        let agrees = task.acceptance.as_ref().is_some_and(|one| one.outcome == vote.outcome);
        if agrees {
            self.agree(now, index, vote.worker, standings);
        } else {
            self.dispute(now, index, standings);
        }
    }

    /// A replica agrees with what is believed: both workers have passed a check.
    fn agree(
        &mut self,
        now: Timestamp,
        index: TaskIndex,
        replica: PeerId,
        standings: &mut Standings,
    ) {
        let Some(task) = self.tasks.get(&index) else { return };
        let Some(cast) = task.ballot(&replica) else { return };
        let Some(primary) = task.supporters().find(|ballot| ballot.is_independent(cast)) else {
            // A relay that stands in front of both might have made up both.
            return self.look_elsewhere(now, index, standings);
        };
        let (worker, number) = (primary.worker, primary.vote);
        let worth = self.members.worth(&worker, &replica, standings);
        // One that was made before anything was drawn serves as well as the one that was asked for, if
        // it is worth as much.
        let adaptive = matches!(self.config.policy, Policy::Adaptive(_));
        let wanted = match (&task.wanted, task.state) {
            (Some(wanted), _) => Some(wanted.from.rung),
            (None, State::Provisional) if adaptive => {
                let tasks = self.config.tasks;
                Some(self.members.circle(&worker, task, tasks, 0, standings).rung)
            }
            (None, _) => None,
        };
        let serves = wanted.is_none_or(|wanted| worth <= wanted);
        let closing = task.closing;
        let other = self.members.worth(&replica, &worker, standings);
        // Under the credibility policy only spot-checks make anyone credible.
        let asked = serves && wanted.is_some();
        if asked || !matches!(self.config.policy, Policy::Credibility { .. }) {
            self.pass(now, index, worker, (worth, replica), standings);
            self.pass(now, index, replica, (other, worker), standings);
        }
        if !serves {
            return;
        }
        if let Some(task) = self.tasks.get_mut(&index) {
            let best = task.acceptance.as_ref().map_or(worth, |one| one.basis.min(worth));
            if let Some(outcome) = task.acceptance.as_ref().map(|one| one.outcome) {
                task.believe(outcome, best);
            }
        }
        self.confirm(index);
        self.vouch(worker, closing.unwrap_or(number));
    }

    /// Counts a passed check of `worker`, once for each of its results.
    pub(super) fn pass(
        &mut self,
        now: Timestamp,
        index: TaskIndex,
        worker: PeerId,
        (worth, by): (Basis, PeerId),
        standings: &mut Standings,
    ) {
        let Some(task) = self.tasks.get_mut(&index) else { return };
        let Some(ballot) = task.ballots.iter_mut().find(|ballot| ballot.worker == worker) else {
            return;
        };
        if ballot.passed || ballot.own {
            return;
        }
        ballot.passed = true;
        let member = self.members.entry(worker);
        member.valid = member.valid.saturating_add(1);
        member.checks = member.checks.saturating_add(1);
        if self.policy() == Policy::Boinc && worth != Basis::Own {
            return; // agreement by count proves nothing to other jobs
        }
        let established = standings.is_established(&worker);
        let firm = matches!(worth, Basis::Own | Basis::Established);
        standings.passed(now, worker, (!firm).then_some(by));
        if established != standings.is_established(&worker) {
            self.members.regroup();
        }
    }

    /// A check of a task has passed: it stands, unless one of its workers is caught.
    pub(super) fn confirm(&mut self, index: TaskIndex) {
        if self.policy() == Policy::Boinc {
            return self.finish(index);
        }
        self.unwant_if_wanted(index);
        let Some(task) = self.tasks.get_mut(&index) else { return };
        task.closing = None;
        let Some((worker, number)) = task.primary().map(|one| (one.worker, one.vote)) else {
            return;
        };
        let before = task.state;
        let bounded = matches!(self.policy(), Policy::Adaptive(_));
        self.set_state(index, State::Confirmed);
        let member = self.members.entry(worker);
        member.provisional.remove(&number);
        if before == State::Confirmed {
            return;
        }
        member.confirmed.push_back(index);
        let stands = member.confirmed.len() > HORIZON;
        if bounded
            && stands
            && !self.members.is_suspected(&worker)
            && let Some(oldest) = self.members.entry(worker).confirmed.pop_front()
        {
            self.finish(oldest);
        }
    }

    /// What `worker` returned before its vote `number` is confirmed by the check that it passed there, but
    /// nothing from its first vote on that is being checked or disputed: or a worker that is faster than
    /// its checkers could have results final before the check that would have caught it.
    pub(super) fn vouch(&mut self, worker: PeerId, number: u64) {
        let member = self.members.entry(worker);
        member.vouched = member.vouched.max(number);
        let first = member.undecided.first().copied().unwrap_or(u64::MAX);
        let number = member.vouched.min(first);
        if self.members.is_suspected(&worker) {
            return;
        }
        let Some(member) = self.members.get(&worker) else { return };
        let earlier: alloc::vec::Vec<(u64, TaskIndex)> =
            member.provisional.range(..number).map(|(vote, task)| (*vote, *task)).collect();
        for (_, index) in earlier {
            let Some(task) = self.tasks.get_mut(&index) else { continue };
            if task.state != State::Provisional {
                continue; // a check of its own is under way
            }
            if let Some(acceptance) = &mut task.acceptance {
                acceptance.basis = Basis::LaterCheck;
            }
            self.confirm(index);
        }
    }

    /// A task stands for good.
    pub(super) fn finish(&mut self, index: TaskIndex) {
        let Some(task) = self.tasks.get_mut(&index) else { return };
        if matches!(task.state, State::Final | State::GivenUp) {
            return;
        }
        let workers = task.workers();
        // Untouched tasks are wanted without having been asked for here.
        let wanted = task.state == State::Open;
        self.members.drop_task(index, workers);
        if wanted {
            self.unwant(index);
        } else {
            self.unwant_if_wanted(index);
        }
        self.set_state(index, State::Final);
        self.effects.push(Effect::Settled(index));
    }

    /// A vote for a task that stands for good: a copy that was under way when it came to stand. One that
    /// counts as a check is kept, so that it counts once however often it is said.
    pub(super) fn late(
        &mut self,
        now: Timestamp,
        index: TaskIndex,
        vote: &Vote,
        standings: &mut Standings,
    ) -> Taken {
        let counts = matches!(self.policy(), Policy::Adaptive(_)) && self.quarantined.is_none();
        let (me, place) = (self.me, self.next_vote);
        let Some(task) = self.tasks.get_mut(&index) else { return Taken::Ignored };
        let Some(acceptance) = &task.acceptance else {
            return Taken::Late { agrees: true, checked: false };
        };
        let agrees = acceptance.outcome == vote.outcome;
        // After the end nobody can be asked any more whether the accused's result is a wrong one.
        let checked = counts && acceptance.is_own() && (agrees || !self.over);
        if self.config.policy.checks() {
            // Whoever has computed the task is not asked for it again, as a witness for instance.
            task.push(place, vote, false);
            self.next_vote += 1;
        }
        if checked {
            self.tally.results += 1;
            if agrees {
                self.pass(now, index, vote.worker, (Basis::Own, me), standings);
            } else {
                self.accuse(now, index, [(vote.worker, vote.outcome)].into(), standings);
            }
            self.effects.push(Effect::Changed(index));
        }
        Taken::Late { agrees, checked }
    }
}
