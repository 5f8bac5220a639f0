//! Which task goes to whom next.
//!
//! The pool holds one job's tasks on a circular list and hands them to workers eagerly: fresh
//! demand first, in ring order, prefetched up to each worker's credit and sized by its measured
//! speed; when no fresh demand is left, idle workers get further copies of unfinished tasks, so that
//! a slow or silent worker never holds up the end (eager scheduling, after Bayanihan). How many
//! results a task needs is the verifier's decision; the pool only knows the number.
//!
//! The pool does not look into tasks, results or frames, and does not know how deep the tree below
//! a worker is: a relay is a worker.

mod assign;
mod ring;
mod worker;

#[cfg(test)]
mod tests;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};
use core::time::Duration;

use crate::{
    entropy::Entropy,
    id::{LeaseId, PeerId},
    limits::{LEASE, MAX_CREDIT, MAX_LEASE_TASKS, most_credit},
    time::Timestamp,
};
use ring::Ring;
use worker::Worker;

/// While more outputs than this are on their way, transfers are what the job waits for: a copy of anything
/// would only come behind them. A node fetches as many at once.
const UNDER_WAY: usize = crate::fetch::MAX_DOWNLOADS;
/// Where no output has come for so long, what they belong to is copied like anything else.
const HALT: Duration = Duration::from_secs(10);

/// A task by its place in the job.
pub type TaskIndex = u32;

/// Those that may compute a task, sorted: they are looked up by bisection.
pub type Among = Arc<[PeerId]>;

/// How many further results a task wants, and from whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// Which task.
    pub task: TaskIndex,
    /// Further results wanted, whatever was said before; 0 ends the task, more opens it again.
    pub need: u32,
    /// Who may compute it; none for anyone. Copies that others hold do not count.
    pub among: Option<Among>,
}

impl Want {
    /// `need` results of anyone.
    pub fn anyone(task: TaskIndex, need: u32) -> Self {
        Self { task, need, among: None }
    }
}

/// What happens to a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A worker that matches the job's profile is there (again).
    Joined {
        /// Who.
        worker: PeerId,
        /// Tasks that it computes at once.
        slots: u32,
        /// Whether these are the source's own slots, whose word alone settles a task.
        own: bool,
        /// Whether it takes only tasks that are wanted of it by name.
        reserved: bool,
    },
    /// A worker is gone; what it held is wanted from others.
    Left {
        /// Who.
        worker: PeerId,
    },
    /// How many tasks a worker may hold at once.
    Credit {
        /// Who.
        worker: PeerId,
        /// The window.
        tasks: u32,
        /// Tasks computed at once by a worker that hands work on, and by those below it: it takes work in
        /// bulk. 0 for a worker that does not.
        below: u32,
    },
    /// Further tasks, each of which wants one result, at the end of the job.
    Added(u32),
    /// A worker's conclusive result for a task arrived, and this is what is wanted in consequence.
    Returned {
        /// Who.
        worker: PeerId,
        /// Which task.
        task: TaskIndex,
        /// Of this task and of others.
        wants: Vec<Want>,
    },
    /// A worker's result for a task is here but for its output, which is being fetched: its slot is free, and
    /// a copy would be fetched behind it. Answered by [`Input::Returned`] or [`Input::Inconclusive`].
    Coming {
        /// Who.
        worker: PeerId,
        /// Which task.
        task: TaskIndex,
    },
    /// A worker's attempt ended without a result that counts.
    Inconclusive {
        /// Who.
        worker: PeerId,
        /// Which task.
        task: TaskIndex,
    },
    /// These are wanted.
    Wanted(Vec<Want>),
    /// A worker still works on a lease.
    Renewed {
        /// Who.
        worker: PeerId,
        /// Which lease.
        lease: LeaseId,
    },
    /// A lease known from before a restart.
    Restored {
        /// Who held it.
        worker: PeerId,
        /// Its name.
        lease: LeaseId,
        /// Its tasks.
        tasks: Vec<TaskIndex>,
    },
    /// Time passed.
    Tick,
}

/// What a pool wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Hand these tasks to this worker; the lease is to be stored before it is sent.
    Lease {
        /// To whom.
        worker: PeerId,
        /// The lease's name.
        lease: LeaseId,
        /// In the order to be computed.
        tasks: Vec<TaskIndex>,
    },
    /// Tell this worker that these tasks are no longer wanted.
    Cancel {
        /// Whom.
        worker: PeerId,
        /// Which.
        tasks: Vec<TaskIndex>,
    },
}

/// How a pool sizes its leases.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Work that a worker should hold, as time at its measured speed.
    pub target: Duration,
    /// The same for one that hands work on.
    pub bulk: Duration,
    /// How long a worker's slot stands empty before it gets a copy of what others have. Zero for whoever has
    /// all tasks of a job; who gets them bit by bit cannot tell by an empty ring that the job ends, and would
    /// have tasks computed twice while the next ones are on their way.
    pub grace: Duration,
    /// Silence after which a lease lapses.
    pub lease: Duration,
    /// Tasks of one lease at most.
    pub most: u32,
    /// Whether it is remembered who returned a finished task, for tasks that may be opened again.
    pub reopens: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            target: Duration::from_millis(1500),
            bulk: Duration::from_secs(20),
            grace: Duration::ZERO,
            lease: LEASE,
            most: MAX_LEASE_TASKS as u32,
            reopens: false,
        }
    }
}

/// What one worker did with one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copy {
    /// Leased and wanted.
    Held(LeaseId),
    /// Returned a result: never asked again for this task.
    Returned,
    /// Tried and could not say: not asked again while others can.
    Failed,
}

#[derive(Debug, Default)]
struct Task {
    /// Further results wanted; 0 is finished.
    need: u32,
    /// Who may compute it; none for anyone.
    among: Option<Among>,
    /// Place on the ring while fresh copies of anyone are wanted.
    place: Option<u64>,
    /// Who has or had a copy.
    copies: Vec<(PeerId, Copy)>,
    /// Copies held by the source's own slots.
    own: u32,
    /// Results that it has.
    returned: u32,
}

impl Task {
    fn held(&self) -> u32 {
        u32::try_from(self.copies.iter().filter(|(_, copy)| matches!(copy, Copy::Held(_))).count())
            .unwrap_or(u32::MAX)
    }

    fn copy_of(&self, worker: &PeerId) -> Option<Copy> {
        self.copies.iter().find(|(peer, _)| peer == worker).map(|(_, copy)| *copy)
    }

    fn set_copy(&mut self, worker: PeerId, copy: Option<Copy>) {
        self.copies.retain(|(peer, _)| *peer != worker);
        if let Some(copy) = copy {
            self.copies.push((worker, copy));
        }
    }

    /// Workers that must exist for the task to be finished, as far as is known; 0 if it is, or if it
    /// is wanted of certain workers only.
    fn voters(&self) -> u32 {
        if self.need == 0 || self.among.is_some() {
            return 0;
        }
        self.need.saturating_add(self.returned)
    }

    /// Whether `worker` is one of those that it is wanted of.
    fn is_wanted_of(&self, worker: &PeerId) -> bool {
        self.among.as_ref().is_none_or(|among| among.binary_search(worker).is_ok())
    }

    /// Whether `worker` may be handed a copy.
    fn may_take(&self, worker: &PeerId) -> bool {
        self.is_wanted_of(worker) && self.copy_of(worker).is_none()
    }

    /// Whether more copies are to be handed out before any are merely speculative.
    fn wants_fresh(&self) -> bool {
        let counts = |(peer, copy): &&(PeerId, Copy)| {
            matches!(copy, Copy::Held(_)) && self.is_wanted_of(peer)
        };
        let held = self.copies.iter().filter(counts).count();
        self.need > 0 && self.own == 0 && held < self.need as usize
    }
}

#[derive(Debug)]
struct LeaseState {
    worker: PeerId,
    tasks: Vec<TaskIndex>,
    deadline: Timestamp,
    /// Tasks of the lease that the worker still holds.
    open: u32,
}

/// The machine. See the module's head for what it decides.
pub struct Pool {
    config: Config,
    entropy: Entropy,
    tasks: Vec<Task>,
    unfinished: usize,
    ring: Ring,
    /// Unfinished tasks that are wanted of certain workers; they are not on the ring but in these
    /// workers' own lists.
    restricted: BTreeSet<TaskIndex>,
    /// Of these, the ones that want fresh copies.
    named: BTreeSet<TaskIndex>,
    workers: BTreeMap<PeerId, Worker>,
    leases: BTreeMap<LeaseId, LeaseState>,
    /// The leases with tasks that are still held, by deadline.
    deadlines: BTreeSet<(Timestamp, LeaseId)>,
    /// Unfinished tasks with a copy out.
    out: usize,
    /// How many unfinished tasks take how many voters: tells without a search that none is starved.
    voters: BTreeMap<u32, usize>,
    /// Counts whatever may give an idle worker a further copy to make.
    stirred: u64,
    /// When a worker may get further copies that it may not get yet.
    copies_at: Option<Timestamp>,
    /// Results that are here but for their outputs.
    coming: BTreeSet<(TaskIndex, PeerId)>,
    /// When the latest of them came, or an output.
    came: Timestamp,
    /// Whether outputs have come to a halt, so that copies are made of what they belong to.
    halted: bool,
    effects: Vec<Effect>,
}

impl Pool {
    /// A pool of `count` tasks, each of which wants `need` >= 1 results.
    pub fn new(config: Config, count: u32, need: u32, entropy: Entropy) -> Self {
        let mut ring = Ring::default();
        let tasks = (0..count)
            .map(|index| Task { need, place: Some(ring.push(index)), ..Task::default() })
            .collect::<Vec<_>>();
        Self {
            config,
            entropy,
            unfinished: tasks.len(),
            tasks,
            ring,
            restricted: BTreeSet::new(),
            named: BTreeSet::new(),
            workers: BTreeMap::new(),
            leases: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            out: 0,
            voters: (count > 0).then_some((need, count as usize)).into_iter().collect(),
            stirred: 0,
            copies_at: None,
            coming: BTreeSet::new(),
            came: Timestamp(0),
            halted: false,
            effects: Vec::new(),
        }
    }

    /// Takes one input and says what is to be done.
    #[must_use]
    pub fn step(&mut self, now: Timestamp, input: Input) -> Vec<Effect> {
        match input {
            Input::Joined { worker, slots, own, reserved } => {
                self.joined(worker, slots, own, reserved);
            }
            Input::Left { worker } => self.left(&worker),
            Input::Credit { worker, tasks, below } => self.credit(&worker, tasks, below),
            Input::Added(count) => self.added(count),
            Input::Returned { worker, task, wants } => {
                self.returned(now, worker, task);
                self.wanted(wants);
            }
            Input::Coming { worker, task } => self.coming(now, worker, task),
            Input::Inconclusive { worker, task } => self.inconclusive(now, worker, task),
            Input::Wanted(wants) => self.wanted(wants),
            Input::Renewed { worker, lease } => {
                self.renew(now, &worker, &lease);
                return Vec::new(); // nothing that could be handed out has changed
            }
            Input::Restored { worker, lease, tasks } => self.restored(now, worker, lease, tasks),
            Input::Tick => self.lapse(now),
        }
        self.assign_all(now);
        core::mem::take(&mut self.effects)
    }

    /// When the pool next wants a tick.
    pub fn next_wake(&self) -> Option<(Timestamp, &'static str)> {
        let lapse = self.deadlines.first().map(|(at, _)| (*at, "lease expiry"));
        let copies = self.copies_at.map(|at| (at, "further copies"));
        let patience = if self.halted { self.config.lease } else { HALT };
        let coming = (!self.coming.is_empty()).then_some((self.came + patience, "outputs"));
        lapse.into_iter().chain(copies).chain(coming).min()
    }

    /// Whether every task is finished.
    pub fn is_finished(&self) -> bool {
        self.unfinished == 0
    }

    /// Tasks not finished.
    pub fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// Tasks with a copy out.
    pub fn in_flight(&self) -> usize {
        self.out
    }

    /// Tasks that `worker` may still compute under its latest leases although nobody wants them from
    /// it any more: finished meanwhile, or returned by it already. For a worker that comes back.
    pub fn stale(&self, worker: &PeerId) -> Vec<TaskIndex> {
        let mut leases: Vec<&LeaseState> =
            self.leases.values().filter(|lease| lease.worker == *worker).collect();
        leases.sort_unstable_by_key(|lease| core::cmp::Reverse(lease.deadline));
        let unwanted = |index: &TaskIndex| {
            let task = &self.tasks[*index as usize];
            task.need == 0 || task.copy_of(worker) == Some(Copy::Returned)
        };
        let recent = leases
            .iter()
            .flat_map(|lease| lease.tasks.iter().copied())
            .take(2 * MAX_CREDIT as usize);
        recent.filter(unwanted).collect()
    }

    /// Whether `worker` holds `task` under `lease` now.
    pub fn is_held(&self, worker: &PeerId, lease: &LeaseId, task: TaskIndex) -> bool {
        let copy = self.tasks.get(task as usize).and_then(|task| task.copy_of(worker));
        copy == Some(Copy::Held(*lease))
    }

    /// Whether `lease` was given to `worker` and holds `task`, current or not.
    pub fn was_leased(&self, worker: &PeerId, lease: &LeaseId, task: TaskIndex) -> bool {
        self.leases.get(lease).is_some_and(|l| l.worker == *worker && l.tasks.contains(&task))
    }

    /// Whether `lease` was given to anyone.
    pub fn has_lease(&self, lease: &LeaseId) -> bool {
        self.leases.contains_key(lease)
    }

    /// Whether `lease` was given to `worker`.
    pub fn knows_lease(&self, worker: &PeerId, lease: &LeaseId) -> bool {
        self.leases.get(lease).is_some_and(|one| one.worker == *worker)
    }

    /// Workers that could get a copy of `task` now or once they have room: connected, with a window,
    /// and without a result of it. The source's own slots count only where a task is wanted of them.
    pub fn eligible_for(&self, task: TaskIndex) -> usize {
        let Some(task) = self.tasks.get(task as usize) else { return 0 };
        let can = |(peer, worker): &(&PeerId, &Worker)| {
            worker.is_active()
                && (!worker.own || task.among.is_some())
                && task.is_wanted_of(peer)
                && task.copy_of(peer) != Some(Copy::Returned)
        };
        self.workers.iter().filter(can).count()
    }

    /// The first unfinished task for which fewer workers are eligible than results are wanted.
    pub fn first_starved(&self) -> Option<TaskIndex> {
        let few = |index: &TaskIndex| {
            self.eligible_for(*index) < self.tasks[*index as usize].need as usize
        };
        if let Some(index) = self.restricted.iter().copied().find(few) {
            return Some(index);
        }
        let eligible = self.workers.values().filter(|w| w.is_active() && !w.own).count();
        let eligible = u32::try_from(eligible).unwrap_or(u32::MAX);
        if self.voters.last_key_value().is_none_or(|(most, _)| *most <= eligible) {
            return None;
        }
        let starved = |(index, task): &(TaskIndex, &Task)| {
            task.voters() > eligible && self.eligible_for(*index) < task.need as usize
        };
        (0..).zip(&self.tasks).find(starved).map(|(index, _)| index)
    }

    /// Tasks held by `worker`.
    pub fn held_by(&self, worker: &PeerId) -> usize {
        self.workers.get(worker).map_or(0, |w| w.held_count() as usize)
    }

    fn joined(&mut self, peer: PeerId, slots: u32, own: bool, reserved: bool) {
        let worker = self.workers.entry(peer).or_insert_with(|| Worker::new(own));
        worker.connected = true;
        worker.reserved = reserved;
        worker.slots = slots.max(1);
        worker.cursor = 0;
        let tasks = &self.tasks;
        let named = self.named.iter().filter(|index| tasks[**index as usize].is_wanted_of(&peer));
        worker.named = named.copied().collect();
        self.stirred += 1;
    }

    fn left(&mut self, peer: &PeerId) {
        let Some(worker) = self.workers.get_mut(peer) else { return };
        worker.connected = false;
        worker.window = 0;
        self.stirred += 1;
        let held: Vec<TaskIndex> = worker.queue().collect();
        let coming = self.coming.iter().filter(|(_, worker)| worker == peer);
        let coming: Vec<TaskIndex> = coming.map(|(task, _)| *task).collect();
        for task in held.into_iter().chain(coming) {
            self.drop_copy(*peer, task, None);
        }
    }

    fn added(&mut self, count: u32) {
        for _ in 0..count {
            let index = TaskIndex::try_from(self.tasks.len()).unwrap_or(TaskIndex::MAX);
            let place = Some(self.ring.push(index));
            self.tasks.push(Task { need: 1, place, ..Task::default() });
            self.unfinished += 1;
            self.recount(0, 1);
        }
        self.stirred += 1;
    }

    fn credit(&mut self, peer: &PeerId, tasks: u32, below: u32) {
        let Some(worker) = self.workers.get_mut(peer).filter(|worker| worker.connected) else {
            return;
        };
        worker.window = tasks.min(most_credit(below));
        worker.bulk = below > 0;
        if below > 0 {
            worker.slots = below;
        }
        self.stirred += 1;
    }

    fn returned(&mut self, now: Timestamp, peer: PeerId, index: TaskIndex) {
        if self.tasks.get(index as usize).is_none() {
            return;
        }
        if self.coming.contains(&(index, peer)) {
            (self.came, self.halted) = (now, false); // outputs do come, one after the other
        } else if let Some(worker) = self.workers.get_mut(&peer) {
            worker.count_result(now);
        }
        self.drop_copy(peer, index, Some(Copy::Returned));
    }

    fn coming(&mut self, now: Timestamp, peer: PeerId, index: TaskIndex) {
        let Some(Copy::Held(lease)) =
            self.tasks.get(index as usize).and_then(|one| one.copy_of(&peer))
        else {
            return;
        };
        if !self.coming.insert((index, peer)) {
            return;
        }
        (self.came, self.halted) = (now, false);
        if let Some(worker) = self.workers.get_mut(&peer) {
            worker.count_result(now);
            worker.release(index);
        }
        self.close_one(&lease);
        self.stirred += 1;
    }

    fn inconclusive(&mut self, now: Timestamp, peer: PeerId, index: TaskIndex) {
        let Some(task) = self.tasks.get(index as usize) else { return };
        if task.copy_of(&peer) == Some(Copy::Returned) {
            return; // what it returned stands
        }
        if let Some(worker) = self.workers.get_mut(&peer) {
            worker.heard(now);
        }
        self.drop_copy(peer, index, Some(Copy::Failed));
        self.forgive(index);
    }

    /// Where everyone that a task is wanted of has failed to conclude it, all may try again: how often
    /// is bounded by who counts the failures.
    fn forgive(&mut self, index: TaskIndex) {
        let Some(among) = self.tasks[index as usize].among.clone() else { return };
        let task = &mut self.tasks[index as usize];
        let fresh = |peer: &PeerId| {
            !matches!(task.copy_of(peer), Some(Copy::Failed | Copy::Returned))
                && self.workers.get(peer).is_some_and(Worker::is_active)
        };
        if !among.iter().any(fresh) {
            task.copies.retain(|(_, copy)| *copy != Copy::Failed);
            self.place(index);
        }
    }

    /// Ends a worker's hold of a task and puts the task back on the ring where it is now wanted.
    fn drop_copy(&mut self, peer: PeerId, index: TaskIndex, becomes: Option<Copy>) {
        let task = &mut self.tasks[index as usize];
        if task.need == 0 {
            if self.config.reopens && becomes == Some(Copy::Returned) {
                task.returned += u32::from(task.copy_of(&peer) != becomes);
                task.set_copy(peer, becomes);
            }
            return; // a finished task has no copies that are held
        }
        let before = task.copy_of(&peer);
        task.set_copy(peer, becomes);
        if let Some(Copy::Held(lease)) = before {
            self.out -= usize::from(task.held() == 0);
            if let Some(worker) = self.workers.get_mut(&peer) {
                worker.release(index);
                task.own -= u32::from(worker.own);
            }
            if !self.coming.remove(&(index, peer)) {
                self.close_one(&lease);
            }
        }
        let task = &mut self.tasks[index as usize];
        if becomes == Some(Copy::Returned) && before != Some(Copy::Returned) {
            let known = task.voters();
            task.returned += 1;
            let now = task.voters();
            self.recount(known, now);
        }
        // A worker that may take the task again has perhaps looked past its place already.
        let task = &mut self.tasks[index as usize];
        if becomes.is_none()
            && let Some(place) = task.place.take()
        {
            self.ring.remove(place);
        }
        self.stirred += 1;
        self.place(index);
    }

    /// One task of a lease is no longer held; a lease without held tasks has no deadline.
    fn close_one(&mut self, id: &LeaseId) {
        let Some(lease) = self.leases.get_mut(id) else { return };
        lease.open = lease.open.saturating_sub(1);
        if lease.open == 0 {
            self.deadlines.remove(&(lease.deadline, *id));
        }
    }

    /// One task takes `now` voters instead of `known`; 0 is one that does not count.
    fn recount(&mut self, known: u32, now: u32) {
        if known == now {
            return;
        }
        if let Some(count) = self.voters.get_mut(&known) {
            *count -= 1;
            if *count == 0 {
                self.voters.remove(&known);
            }
        }
        if now > 0 {
            *self.voters.entry(now).or_default() += 1;
        }
    }

    fn wanted(&mut self, wants: Vec<Want>) {
        for Want { task, need, among } in wants {
            self.want(task, need, among);
        }
    }

    fn want(&mut self, index: TaskIndex, need: u32, among: Option<Among>) {
        let Some(task) = self.tasks.get_mut(index as usize) else { return };
        if task.need == 0 && (need == 0 || !self.config.reopens) {
            return; // finished stays finished
        }
        let known = task.voters();
        let (reopened, elsewhere) = (task.need == 0, task.among != among);
        (task.need, task.among) = (need, among);
        let now = task.voters();
        self.recount(known, now);
        self.unfinished += usize::from(reopened);
        if need == 0 {
            return self.finish(index);
        }
        if elsewhere {
            // Workers that may take it now have perhaps looked past its place already.
            self.displace(index);
            self.stirred += 1;
        }
        self.place(index);
    }

    /// Takes a task off the ring and off the list of those wanted by name.
    fn displace(&mut self, index: TaskIndex) {
        if let Some(place) = self.tasks[index as usize].place.take() {
            self.ring.remove(place);
        }
        self.named.remove(&index);
        self.restricted.remove(&index);
    }

    /// Puts a task where those look that it is wanted of, if fresh copies are wanted; takes it away if
    /// not.
    fn place(&mut self, index: TaskIndex) {
        let task = &mut self.tasks[index as usize];
        let wants = task.wants_fresh();
        if let Some(among) = task.among.clone() {
            self.restricted.insert(index);
            if !wants {
                self.named.remove(&index);
                return;
            }
            self.named.insert(index);
            for peer in among.iter() {
                if let Some(worker) = self.workers.get_mut(peer) {
                    worker.named.insert(index);
                }
            }
            return;
        }
        match (wants, task.place) {
            (true, None) => task.place = Some(self.ring.push(index)),
            (false, Some(place)) => {
                self.ring.remove(place);
                task.place = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    fn finish(&mut self, index: TaskIndex) {
        self.unfinished -= 1;
        self.stirred += 1; // whoever held it has a slot empty
        let task = &mut self.tasks[index as usize];
        self.out -= usize::from(task.held() > 0);
        task.own = 0;
        task.among = None;
        let copies = core::mem::take(&mut task.copies);
        if self.config.reopens {
            let returned = copies.iter().filter(|(_, copy)| *copy == Copy::Returned);
            task.copies = returned.copied().collect();
        }
        self.displace(index);
        for (peer, copy) in copies {
            let Copy::Held(lease) = copy else { continue };
            if self.coming.remove(&(index, peer)) {
                continue; // it has computed it
            }
            self.close_one(&lease);
            if let Some(worker) = self.workers.get_mut(&peer) {
                worker.release(index);
            }
            self.cancel(peer, index);
        }
    }

    fn cancel(&mut self, peer: PeerId, index: TaskIndex) {
        for effect in &mut self.effects {
            if let Effect::Cancel { worker, tasks } = effect
                && *worker == peer
                && tasks.len() < MAX_LEASE_TASKS
            {
                tasks.push(index);
                return;
            }
        }
        self.effects.push(Effect::Cancel { worker: peer, tasks: Vec::from([index]) });
    }

    fn renew(&mut self, now: Timestamp, peer: &PeerId, id: &LeaseId) {
        let until = now + self.config.lease;
        if let Some(lease) = self.leases.get_mut(id).filter(|l| l.worker == *peer && l.open > 0) {
            self.deadlines.remove(&(lease.deadline, *id));
            lease.deadline = until;
            self.deadlines.insert((until, *id));
        }
    }

    fn restored(&mut self, now: Timestamp, peer: PeerId, lease: LeaseId, tasks: Vec<TaskIndex>) {
        let count = self.tasks.len();
        let tasks: Vec<TaskIndex> =
            tasks.into_iter().filter(|index| (*index as usize) < count).collect();
        // Known, so that its results are taken; not held, so that nobody waits for a worker that may
        // never come back.
        self.leases.insert(lease, LeaseState { worker: peer, tasks, deadline: now, open: 0 });
    }

    fn lapse(&mut self, now: Timestamp) {
        while let Some((at, id)) = self.deadlines.first().copied()
            && at <= now
        {
            self.deadlines.remove(&(at, id));
            let Some(lease) = self.leases.get(&id) else { continue };
            let (peer, tasks) = (lease.worker, lease.tasks.clone());
            for index in tasks {
                let held = self.tasks[index as usize].copy_of(&peer) == Some(Copy::Held(id));
                if held && !self.coming.contains(&(index, peer)) {
                    self.drop_copy(peer, index, None);
                }
            }
        }
        if self.coming.is_empty() || now < self.came + HALT {
            return;
        }
        self.halted = true;
        self.stirred += 1;
        if self.came + self.config.lease <= now {
            for (index, peer) in self.coming.clone() {
                self.drop_copy(peer, index, None);
            }
            self.coming.clear();
        }
    }
}
