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
    vec::Vec,
};
use core::time::Duration;

use crate::{
    entropy::Entropy,
    id::{LeaseId, PeerId},
    limits::{LEASE, MAX_CREDIT, MAX_LEASE_TASKS},
    time::Timestamp,
};
use ring::Ring;
use worker::Worker;

/// A task by its place in the job.
pub type TaskIndex = u32;

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
    },
    /// A worker's conclusive result for a task arrived, and the task still wants `need` results.
    Returned {
        /// Who.
        worker: PeerId,
        /// Which task.
        task: TaskIndex,
        /// Further results wanted; 0 ends the task.
        need: u32,
    },
    /// A worker's attempt ended without a result that counts.
    Inconclusive {
        /// Who.
        worker: PeerId,
        /// Which task.
        task: TaskIndex,
    },
    /// The task wants this many further results, whatever was said before; 0 ends it.
    Demand {
        /// Which task.
        task: TaskIndex,
        /// Further results wanted.
        need: u32,
    },
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
    /// Silence after which a lease lapses.
    pub lease: Duration,
    /// Tasks of one lease at most.
    pub most: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { target: Duration::from_millis(1500), lease: LEASE, most: MAX_LEASE_TASKS as u32 }
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
    /// Place on the ring while fresh copies are wanted.
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

    /// Workers that must exist for the task to be finished, as far as is known.
    fn voters(&self) -> u32 {
        self.need.saturating_add(self.returned)
    }

    /// Whether more copies are to be handed out before any are merely speculative.
    fn wants_fresh(&self) -> bool {
        self.need > 0 && self.own == 0 && self.held() < self.need
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
            workers: BTreeMap::new(),
            leases: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            out: 0,
            voters: (count > 0).then_some((need, count as usize)).into_iter().collect(),
            stirred: 0,
            effects: Vec::new(),
        }
    }

    /// Takes one input and says what is to be done.
    #[must_use]
    pub fn step(&mut self, now: Timestamp, input: Input) -> Vec<Effect> {
        match input {
            Input::Joined { worker, slots, own } => self.joined(worker, slots, own),
            Input::Left { worker } => self.left(&worker),
            Input::Credit { worker, tasks } => self.credit(&worker, tasks),
            Input::Returned { worker, task, need } => self.returned(now, worker, task, need),
            Input::Inconclusive { worker, task } => self.inconclusive(now, worker, task),
            Input::Demand { task, need } => self.demand(task, need),
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
        self.deadlines.first().map(|(at, _)| (*at, "lease expiry"))
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

    /// Workers other than the source's own slots that could get a copy of `task` now or once they
    /// have room: connected, with a window, and without a result of it.
    pub fn eligible_for(&self, task: TaskIndex) -> usize {
        let Some(task) = self.tasks.get(task as usize) else { return 0 };
        let can = |(peer, worker): &(&PeerId, &Worker)| {
            worker.is_active() && !worker.own && task.copy_of(peer) != Some(Copy::Returned)
        };
        self.workers.iter().filter(can).count()
    }

    /// The first unfinished task for which fewer workers are eligible than results are wanted.
    pub fn first_starved(&self) -> Option<TaskIndex> {
        let eligible = self.workers.values().filter(|w| w.is_active() && !w.own).count();
        let eligible = u32::try_from(eligible).unwrap_or(u32::MAX);
        if self.voters.last_key_value().is_none_or(|(most, _)| *most <= eligible) {
            return None;
        }
        let starved = |(index, task): &(TaskIndex, &Task)| {
            task.need > 0
                && task.voters() > eligible
                && self.eligible_for(*index) < task.need as usize
        };
        (0..).zip(&self.tasks).find(starved).map(|(index, _)| index)
    }

    /// Tasks held by `worker`.
    pub fn held_by(&self, worker: &PeerId) -> usize {
        self.workers.get(worker).map_or(0, |w| w.held_count() as usize)
    }

    fn joined(&mut self, peer: PeerId, slots: u32, own: bool) {
        let worker = self.workers.entry(peer).or_insert_with(|| Worker::new(own));
        worker.connected = true;
        worker.slots = slots.max(1);
        worker.cursor = 0;
        self.stirred += 1;
    }

    fn left(&mut self, peer: &PeerId) {
        let Some(worker) = self.workers.get_mut(peer) else { return };
        worker.connected = false;
        worker.window = 0;
        self.stirred += 1;
        let held: Vec<TaskIndex> = worker.queue().collect();
        for task in held {
            self.drop_copy(*peer, task, None);
        }
    }

    fn credit(&mut self, peer: &PeerId, tasks: u32) {
        let Some(worker) = self.workers.get_mut(peer).filter(|worker| worker.connected) else {
            return;
        };
        worker.window = tasks.min(MAX_CREDIT);
        self.stirred += 1;
    }

    fn returned(&mut self, now: Timestamp, peer: PeerId, index: TaskIndex, need: u32) {
        if self.tasks.get(index as usize).is_none() {
            return;
        }
        if let Some(worker) = self.workers.get_mut(&peer) {
            worker.count_result(now);
        }
        self.drop_copy(peer, index, Some(Copy::Returned));
        self.demand(index, need);
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
    }

    /// Ends a worker's hold of a task and puts the task back on the ring where it is now wanted.
    fn drop_copy(&mut self, peer: PeerId, index: TaskIndex, becomes: Option<Copy>) {
        let task = &mut self.tasks[index as usize];
        if task.need == 0 {
            return; // a finished task has forgotten its copies
        }
        let before = task.copy_of(&peer);
        task.set_copy(peer, becomes);
        if let Some(Copy::Held(lease)) = before {
            self.out -= usize::from(task.held() == 0);
            if let Some(worker) = self.workers.get_mut(&peer) {
                worker.release(index);
                task.own -= u32::from(worker.own);
            }
            self.close_one(&lease);
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

    /// One unfinished task takes `now` voters instead of `known`; 0 is a finished task.
    fn recount(&mut self, known: u32, now: u32) {
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

    fn demand(&mut self, index: TaskIndex, need: u32) {
        let Some(task) = self.tasks.get_mut(index as usize) else { return };
        if task.need == 0 {
            return; // finished stays finished
        }
        let known = task.voters();
        task.need = need;
        let now = if need == 0 { 0 } else { task.voters() };
        self.recount(known, now);
        if need == 0 {
            self.finish(index);
        } else {
            self.place(index);
        }
    }

    /// Puts the task on the ring if fresh copies are wanted, takes it off if not.
    fn place(&mut self, index: TaskIndex) {
        let task = &mut self.tasks[index as usize];
        match (task.wants_fresh(), task.place) {
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
        let task = &mut self.tasks[index as usize];
        self.out -= usize::from(task.held() > 0);
        task.own = 0;
        if let Some(place) = task.place.take() {
            self.ring.remove(place);
        }
        for (peer, copy) in core::mem::take(&mut task.copies) {
            let Copy::Held(lease) = copy else { continue };
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
                if self.tasks[index as usize].copy_of(&peer) == Some(Copy::Held(id)) {
                    self.drop_copy(peer, index, None);
                }
            }
        }
    }
}
