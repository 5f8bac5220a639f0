//! When a result is accepted, checked, taken back and final: the policies behind one interface.
//!
//! The verifier of a job sees votes (who claims what outcome for which task) and says what further
//! results it wants, of whom, and what it believes. It does not schedule and never sees the outputs
//! themselves. What it learns of workers goes into the observer's [`Standings`], which all its jobs
//! share.
//!
//! | file | subject |
//! |---|---|
//! | `policy` | which rules there are |
//! | `task` | what is known of one task |
//! | `members` | who takes part, and which of them may check whose results |
//! | `votes` | first-m voting, by counting alone |
//! | `checks` | results taken on a worker's word and checked by chance |
//! | `disputes` | two outcomes for one task: referees, and what follows for the loser |
//! | `credibility` | acceptance by the odds of those who agree |
//! | `closing` | membership, patience, and what is still to be checked at the end |

mod checks;
mod closing;
mod credibility;
mod disputes;
mod members;
mod policy;
mod task;
mod votes;

#[cfg(test)]
mod tests;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use serde::{Deserialize, Serialize};

pub use checks::{HORIZON, draw};
pub use members::About;
use members::Members;
pub use policy::{
    ASSUMED_FAULTY, Adaptive, BOINC_TRUSTED, BadPolicy, CREDIBILITY_CHECKS, MILLION, Policy,
    parse_share,
};
use task::Task;
pub use task::{Acceptance, Basis, Decision, Note, State};

use crate::{
    id::{Hash, PeerId, TaskId},
    pool::{TaskIndex, Want},
    result::Outcome,
    standing::{Ban, Standings},
    time::Timestamp,
};

/// One peer's claim about one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vote {
    /// Whose.
    pub worker: PeerId,
    /// The relays that it came through, nearest first; none of a neighbour.
    pub via: Vec<PeerId>,
    /// What it claims.
    pub outcome: Outcome,
    /// Root of the batch that it is bound to the claim by: drawn over after it is known.
    pub root: Hash,
    /// The task's id.
    pub id: TaskId,
}

impl Vote {
    /// The neighbour that the task was handed to.
    pub fn hand(&self) -> &PeerId {
        self.via.first().unwrap_or(&self.worker)
    }
}

/// What became of a vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It counts, and is to be stored.
    Counted,
    /// The task was over before; whether the vote agrees with what was accepted (nothing disagrees
    /// where nothing was accepted).
    Late {
        /// Agreement.
        agrees: bool,
        /// Whether it counts as a check of its worker, and so is to be stored.
        checked: bool,
    },
    /// Of a worker that is banned, or a second vote of one worker.
    Ignored,
}

/// What became of a delegate's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adopted {
    /// The outcome stands on it.
    Taken,
    /// The task was settled or confirmed before, and stays so.
    Known {
        /// Whether the delegate says the same.
        agrees: bool,
    },
    /// The observer's own execution says something else, and that is being looked into.
    Disputed,
}

/// What the verifier wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Further results of a task.
    Want(Want),
    /// What is believed of a task has changed.
    Changed(TaskIndex),
    /// A task has come to stand for good, or was given up; said once.
    Settled(TaskIndex),
    /// The observer's own execution proved this worker's result for this task wrong.
    Caught {
        /// Who.
        worker: PeerId,
        /// With which task.
        task: TaskIndex,
        /// What is right.
        right: Outcome,
        /// The ban that this begins.
        ban: Option<Ban>,
    },
    /// Nothing more is to be leased to this worker for this job.
    Exclude(PeerId),
    /// The app gives different results on different honest machines: nobody is punished over it.
    Quarantined(Apart),
}

/// Whose results count for nothing where an app differs by machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Apart {
    /// Of those whom the observer's own execution contradicts.
    Others,
    /// Of the observer's own slots: no witness reproduced what they gave.
    Own,
}

impl Apart {
    /// From what is stored.
    pub fn of(quarantined: bool, own_apart: bool) -> Option<Self> {
        quarantined.then_some(if own_apart { Self::Own } else { Self::Others })
    }
}

/// What happened in a job, for its summary.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Results that counted as votes, all copies of all tasks.
    pub results: u64,
    /// First results of which a check was drawn.
    pub drawn: u64,
    /// First results that were taken on the worker's word.
    pub undrawn: u64,
    /// Accepted results that were taken back.
    pub taken_back: u64,
    /// Tasks on which two results differed.
    pub disputes: u64,
    /// Checks at the end, of workers with results that no later check had confirmed.
    pub closing: u64,
}

/// Settings of one job's verifier.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// The rule.
    pub policy: Policy,
    /// Tasks of the job.
    pub tasks: u32,
    /// Whether the job is over as soon as every task has a result, however little it was checked.
    pub provisional: bool,
    /// Whether the app is known to give different results on honest machines, and who is set apart.
    pub quarantined: Option<Apart>,
}

/// The machine: the votes of one job under one policy.
#[derive(Debug)]
pub struct Verifier {
    config: Config,
    /// Draws are keyed by it; never told to anyone.
    secret: [u8; 32],
    me: PeerId,
    tasks: BTreeMap<TaskIndex, Task>,
    members: Members,
    /// The tasks' latest changes, in order.
    feed: BTreeMap<u64, TaskIndex>,
    next_place: u64,
    next_vote: u64,
    /// Tasks whose believed result is not there yet or being checked.
    busy: BTreeSet<TaskIndex>,
    /// Tasks that want results of certain workers.
    wanting: BTreeSet<TaskIndex>,
    /// Tasks on which established workers are being asked about somebody.
    probing: u32,
    /// Accusations that wait for the answers.
    suspended: Vec<(TaskIndex, Vec<(PeerId, Outcome)>)>,
    /// When silence was last looked for.
    looked: Timestamp,
    /// When it was taken back from the store: whoever is to be asked needs time to come back.
    resumed: Timestamp,
    quarantined: Option<Apart>,
    over: bool,
    tally: Tally,
    effects: Vec<Effect>,
}

impl Verifier {
    /// No votes yet.
    pub fn new(config: Config, me: PeerId, secret: [u8; 32]) -> Self {
        Self {
            secret,
            me,
            tasks: BTreeMap::new(),
            members: Members::new(config.quarantined == Some(Apart::Own)),
            feed: BTreeMap::new(),
            next_place: 0,
            next_vote: 0,
            busy: BTreeSet::new(),
            wanting: BTreeSet::new(),
            probing: 0,
            suspended: Vec::new(),
            looked: Timestamp(0),
            resumed: Timestamp(0),
            quarantined: config.quarantined,
            over: false,
            tally: Tally::default(),
            effects: Vec::new(),
            config,
        }
    }

    /// The rule in force.
    pub fn policy(&self) -> Policy {
        self.config.policy
    }

    /// Whether `worker` has voted on `task` and the vote is still remembered.
    pub fn vote_of(&self, task: TaskIndex, worker: &PeerId) -> Option<Outcome> {
        self.tasks.get(&task)?.ballot(worker).map(|ballot| ballot.outcome)
    }

    /// Counts a vote. A second vote of one peer for one task replaces nothing and changes nothing.
    pub fn vote(
        &mut self,
        now: Timestamp,
        index: TaskIndex,
        vote: Vote,
        standings: &mut Standings,
    ) -> Taken {
        let own = vote.worker == self.me;
        // A vote that does not count leaves no trace: the job would take its task for begun.
        let known = self.tasks.get(&index);
        if known.is_some_and(|task| task.state == State::GivenUp) {
            return Taken::Late { agrees: true, checked: false };
        }
        if known.is_some_and(|task| task.ballot(&vote.worker).is_some())
            || self.members.is_excluded(&vote.worker)
            || standings.is_banned(now, &vote.worker)
        {
            return Taken::Ignored;
        }
        if known.is_some_and(|task| task.state == State::Final && task.probe.is_none()) {
            return self.late(now, index, &vote, standings);
        }
        let task = self.tasks.entry(index).or_default();
        self.members.heard(vote.hand(), now);
        self.members.behind(&vote);
        task.push(self.next_vote, &vote, own);
        if task.state == State::Open {
            self.busy.insert(index);
        }
        self.next_vote += 1;
        self.tally.results += 1;
        match self.config.policy {
            Policy::None | Policy::Vote(_) => self.count(index),
            Policy::Credibility { .. } => self.weigh(now, index, &vote, standings),
            Policy::Spot { .. } | Policy::Boinc | Policy::Adaptive(_) => {
                self.check(now, index, &vote, standings);
            }
        }
        Taken::Counted
    }

    /// Settles a task without an outcome.
    pub fn give_up(&mut self, index: TaskIndex) {
        let task = self.tasks.entry(index).or_default();
        if matches!(task.state, State::Final | State::GivenUp) {
            return;
        }
        (task.acceptance, task.probe) = (None, None);
        self.members.drop_task(index, self.tasks[&index].workers());
        self.unwant(index);
        self.set_state(index, State::GivenUp);
        self.effects.push(Effect::Settled(index));
    }

    /// Takes an outcome on the word of the job's delegate, which is named because its word is taken.
    /// What is settled stays as it is; so does what a check here has confirmed otherwise, and what the
    /// observer is about to prove.
    pub fn adopt(&mut self, index: TaskIndex, outcome: Outcome) -> Adopted {
        let task = self.tasks.entry(index).or_default();
        match task.state {
            State::GivenUp => return Adopted::Known { agrees: true },
            State::Final => {
                let known = task.acceptance.as_ref().map(|one| one.outcome);
                return Adopted::Known { agrees: known == Some(outcome) };
            }
            _ if task.probe.is_some() => return Adopted::Disputed,
            State::Confirmed
                if task.acceptance.as_ref().is_some_and(|one| one.outcome != outcome) =>
            {
                return Adopted::Known { agrees: false };
            }
            _ => {}
        }
        task.believe(outcome, Basis::Delegate);
        self.finish(index);
        Adopted::Taken
    }

    /// Takes up nothing new: the job is over once every task with a vote is settled. The others.
    pub fn wind_down(&mut self) -> Vec<TaskIndex> {
        let untouched: Vec<TaskIndex> =
            (0..self.config.tasks).filter(|index| !self.tasks.contains_key(index)).collect();
        self.config.tasks = u32::try_from(self.tasks.len()).unwrap_or(u32::MAX);
        untouched
    }

    /// Whether a task has an outcome that stands for good, or none for good.
    pub fn is_settled(&self, index: TaskIndex) -> bool {
        self.tasks
            .get(&index)
            .is_some_and(|task| matches!(task.state, State::Final | State::GivenUp))
    }

    /// Whether nothing is left to be computed or checked.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Where a task stands.
    pub fn state(&self, index: TaskIndex) -> State {
        self.tasks.get(&index).map_or(State::Open, |task| task.state)
    }

    /// What is believed of a task.
    pub fn decision(&self, index: TaskIndex) -> Option<Decision> {
        self.tasks.get(&index).map(Task::decision)
    }

    /// What is accepted of a task, if anything is.
    pub fn acceptance(&self, index: TaskIndex) -> Option<&Acceptance> {
        self.tasks.get(&index)?.acceptance.as_ref()
    }

    /// Tasks in the order of their latest change, from place `after` on: a change that is followed by
    /// another of the same task no longer has a place.
    pub fn feed(&self, after: u64) -> impl Iterator<Item = (u64, TaskIndex)> + '_ {
        self.feed.range(after..).map(|(place, task)| (*place, *task))
    }

    /// The place that the next change gets.
    pub fn next_place(&self) -> u64 {
        self.next_place
    }

    /// Tasks in each state, in the order of [`State::ALL`]. Untouched ones are open.
    pub fn counts(&self) -> [u64; State::ALL.len()] {
        let mut counts = [0; State::ALL.len()];
        for task in self.tasks.values() {
            counts[task.state as usize] += 1;
        }
        let untouched = (self.config.tasks as usize).saturating_sub(self.tasks.len());
        counts[State::Open as usize] += untouched as u64;
        counts
    }

    /// Tasks with an outcome, by what the belief in it rests on.
    pub fn bases(&self) -> BTreeMap<Basis, u64> {
        let mut bases = BTreeMap::new();
        for acceptance in self.tasks.values().filter_map(|task| task.acceptance.as_ref()) {
            *bases.entry(acceptance.basis).or_default() += 1;
        }
        bases
    }

    /// Tasks whose believed outcome more than one worker has computed, or that they differed on.
    pub fn replicated(&self) -> u64 {
        let votes = |one: &Acceptance| one.agreed.len() + one.outvoted.len();
        let accepted = self.tasks.values().filter_map(|task| task.acceptance.as_ref());
        accepted.filter(|one| votes(one) > 1).count() as u64
    }

    /// Whether nothing more is to be leased to `worker` for this job.
    pub fn is_excluded(&self, worker: &PeerId) -> bool {
        self.members.is_excluded(worker)
    }

    /// First results of `worker` of which a check was drawn, and of which none was.
    pub fn draws_of(&self, worker: &PeerId) -> (u64, u64) {
        self.members.get(worker).map_or((0, 0), |member| (member.drawn, member.undrawn))
    }

    /// What happened so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Every worker that voted on `index`.
    pub fn voters(&self, index: TaskIndex) -> Vec<PeerId> {
        self.tasks.get(&index).map(Task::workers).unwrap_or_default()
    }

    /// Every vote that is remembered.
    pub fn votes(&self) -> impl Iterator<Item = (TaskIndex, PeerId)> + '_ {
        self.tasks
            .iter()
            .flat_map(|(index, task)| task.workers().into_iter().map(|worker| (*index, worker)))
    }

    /// What is to be done, in order.
    #[must_use]
    pub fn take_effects(&mut self) -> Vec<Effect> {
        core::mem::take(&mut self.effects)
    }

    /// Bytes that the verifier holds for tasks that are not over, and how many of these there are.
    pub fn footprint(&self) -> (usize, usize) {
        let open = self.tasks.values().filter(|task| task.state != State::Final);
        open.fold((0, 0), |(bytes, tasks), task| (bytes + task.footprint(), tasks + 1))
    }

    /// Takes back what was stored before a restart: a decision, and the votes that it rests on. The
    /// votes are in the order in which they were counted.
    pub fn restore(&mut self, index: TaskIndex, decision: Option<Decision>, votes: &[Vote]) {
        let mut task = Task::default();
        for vote in votes {
            task.push(0, vote, vote.worker == self.me);
        }
        if let Some(decision) = decision {
            task.restore(decision);
        }
        if let Some(place) = task.place {
            self.feed.insert(place, index);
            self.next_place = self.next_place.max(place + 1);
        }
        self.next_vote = self.next_vote.max(task.latest_vote() + 1);
        self.members.restore(index, &task);
        if task.state.is_busy() {
            self.busy.insert(index);
        }
        self.tally.results += task.ballots.len() as u64;
        self.tasks.insert(index, task);
        self.restore_losses(index);
    }

    /// Says of what was restored what is wanted, and what is settled. Nobody has joined yet.
    pub fn resume(&mut self, now: Timestamp, running: bool) {
        let all: Vec<TaskIndex> = self.tasks.keys().copied().collect();
        self.over = !running;
        for index in all {
            let task = &self.tasks[&index];
            match task.state {
                State::Final | State::GivenUp => {
                    self.effects.push(Effect::Want(Want::anyone(index, 0)));
                    self.effects.push(Effect::Settled(index));
                }
                _ if !running => {}
                State::Open if !self.config.policy.checks() => self.count(index),
                State::Provisional | State::Confirmed => {
                    self.effects.push(Effect::Want(Want::anyone(index, 0)));
                }
                State::Open if task.ballots.is_empty() => {}
                // Whoever joins is asked; two referees, or one check, or a first result.
                state => {
                    let from = self.members.everyone();
                    let need = if state == State::Disputed { 2 } else { 1 };
                    self.want(now, index, need, from);
                }
            }
        }
    }

    /// Ends what is under way: the job was over, or is cancelled.
    pub fn end(&mut self) {
        self.over = true;
    }

    fn set_state(&mut self, index: TaskIndex, state: State) {
        let Some(task) = self.tasks.get_mut(&index) else { return };
        // What is settled is settled once, whatever witnesses say of it later (spec RES-17).
        let again = task.state == State::Final && state == State::Final;
        task.state = state;
        self.members.note_undecided(task);
        if !again {
            if let Some(place) = task.place.replace(self.next_place) {
                self.feed.remove(&place);
            }
            self.feed.insert(self.next_place, index);
            self.next_place += 1;
        }
        if state.is_busy() || task.probe.is_some() {
            self.busy.insert(index);
        } else {
            self.busy.remove(&index);
        }
        self.effects.push(Effect::Changed(index));
    }

    /// Asks for `need` further results of those that `among` names.
    fn want(&mut self, now: Timestamp, index: TaskIndex, need: u32, from: members::From) {
        let Some(task) = self.tasks.get_mut(&index) else { return };
        let (among, rung) = (from.among.clone(), from.rung);
        self.members.charge_own(task.wanted.as_ref(), Some(&from));
        task.wanted = Some(task::Wanted { need, from, since: now, widened: 0 });
        self.wanting.insert(index);
        // What is wanted by name goes first. A further vote is to wait behind the first ones instead:
        // checks that pass meanwhile may make it needless (spec VERIFY-30).
        let waits = matches!(self.config.policy, Policy::Credibility { .. });
        let named = !(waits && rung == Basis::Word);
        self.effects.push(Effect::Want(Want { task: index, need, among: named.then_some(among) }));
    }

    fn unwant_if_wanted(&mut self, index: TaskIndex) {
        if self.tasks.get(&index).is_some_and(|task| task.wanted.is_some()) {
            self.unwant(index);
        }
    }

    /// Wants nothing more of a task.
    fn unwant(&mut self, index: TaskIndex) {
        let Some(task) = self.tasks.get_mut(&index) else { return };
        let wanted = task.wanted.take();
        self.members.charge_own(wanted.as_ref(), None);
        self.wanting.remove(&index);
        self.effects.push(Effect::Want(Want::anyone(index, 0)));
    }
}
