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
    limits::{LEASE, MAX_CREDIT, MAX_LEASE_TASKS, MAX_REDUNDANCY},
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
    /// Unfinished tasks with a copy out: the candidates for further copies at the tail.
    out: BTreeSet<TaskIndex>,
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
            out: BTreeSet::new(),
            effects: Vec::new(),
        }
    }

    /// Takes one input and says what is to be done.
    #[must_use]
    pub fn step(&mut self, now: Timestamp, input: Input) -> Vec<Effect> {
        match input {
            Input::Joined { worker, slots, own } => self.joined(worker, slots, own),
            Input::Left { worker } => self.left(&worker),
            Input::Credit { worker, tasks } => {
                if let Some(worker) = self.workers.get_mut(&worker) {
                    worker.window = tasks.min(MAX_CREDIT);
                }
            }
            Input::Returned { worker, task, need } => self.returned(now, worker, task, need),
            Input::Inconclusive { worker, task } => self.inconclusive(worker, task),
            Input::Demand { task, need } => self.demand(task, need),
            Input::Renewed { worker, lease } => self.renew(now, &worker, &lease),
            Input::Restored { worker, lease, tasks } => self.restored(now, worker, lease, tasks),
            Input::Tick => self.lapse(now),
        }
        self.assign_all(now);
        core::mem::take(&mut self.effects)
    }

    /// When the pool next wants a tick.
    pub fn next_wake(&self) -> Option<(Timestamp, &'static str)> {
        self.leases.values().filter(|l| l.open > 0).map(|l| l.deadline).min().map(|at| (at, "lease expiry"))
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
        self.out.len()
    }

    /// Whether `lease` was given to `worker` and holds `task`, current or not.
    pub fn was_leased(&self, worker: &PeerId, lease: &LeaseId, task: TaskIndex) -> bool {
        self.leases.get(lease).is_some_and(|l| l.worker == *worker && l.tasks.contains(&task))
    }

    /// Workers that could get a copy of `task` now or once they have credit: connected, with a
    /// window, and without a result of it.
    pub fn eligible_for(&self, task: TaskIndex) -> usize {
        let Some(task) = self.tasks.get(task as usize) else { return 0 };
        let can = |(peer, worker): &(&PeerId, &Worker)| {
            worker.connected && worker.window > 0 && !worker.own && task.copy_of(peer) != Some(Copy::Returned)
        };
        self.workers.iter().filter(can).count()
    }

    /// Unfinished tasks for which fewer workers are eligible than results are wanted; stops at the first.
    pub fn first_starved(&self) -> Option<TaskIndex> {
        let eligible = self.workers.values().filter(|w| w.connected && w.window > 0 && !w.own).count();
        if eligible > 2 * MAX_REDUNDANCY as usize {
            return None; // nobody waits for a voter in a crowd
        }
        let starved = |index: &TaskIndex| {
            let task = &self.tasks[*index as usize];
            eligible < task.need as usize + task.copies.len() && self.eligible_for(*index) < task.need as usize
        };
        self.ring.from(0).map(|(_, index)| index).find(starved)
    }

    /// Tasks held by `worker`.
    pub fn held_by(&self, worker: &PeerId) -> usize {
        self.workers.get(worker).map_or(0, |w| w.held.len())
    }

    fn joined(&mut self, peer: PeerId, slots: u32, own: bool) {
        let worker = self.workers.entry(peer).or_insert_with(|| Worker::new(own));
        worker.connected = true;
        worker.slots = slots.max(1);
        worker.cursor = 0;
    }

    fn left(&mut self, peer: &PeerId) {
        let Some(worker) = self.workers.get_mut(peer) else { return };
        worker.connected = false;
        worker.window = 0;
        let held: Vec<TaskIndex> = worker.held.keys().copied().collect();
        for task in held {
            self.drop_copy(*peer, task, None);
        }
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

    fn inconclusive(&mut self, peer: PeerId, index: TaskIndex) {
        if self.tasks.get(index as usize).is_some() {
            self.drop_copy(peer, index, Some(Copy::Failed));
        }
    }

    /// Ends a worker's hold of a task and puts the task back on the ring where it is now wanted.
    fn drop_copy(&mut self, peer: PeerId, index: TaskIndex, becomes: Option<Copy>) {
        let task = &mut self.tasks[index as usize];
        if let Some(Copy::Held(lease)) = task.copy_of(&peer) {
            if let Some(lease) = self.leases.get_mut(&lease) {
                lease.open = lease.open.saturating_sub(1);
            }
            if let Some(worker) = self.workers.get_mut(&peer) {
                worker.held.remove(&index);
                task.own -= u32::from(worker.own);
            }
        }
        task.set_copy(peer, becomes);
        if task.held() == 0 {
            self.out.remove(&index);
        }
        // A worker that may take the task again has perhaps looked past its place already.
        if becomes.is_none()
            && let Some(place) = task.place.take()
        {
            self.ring.remove(place);
        }
        self.place(index);
    }

    fn demand(&mut self, index: TaskIndex, need: u32) {
        let Some(task) = self.tasks.get_mut(index as usize) else { return };
        if task.need == 0 {
            return; // finished stays finished
        }
        task.need = need;
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
        self.out.remove(&index);
        let task = &mut self.tasks[index as usize];
        task.own = 0;
        if let Some(place) = task.place.take() {
            self.ring.remove(place);
        }
        for (peer, copy) in core::mem::take(&mut task.copies) {
            let Copy::Held(lease) = copy else { continue };
            if let Some(lease) = self.leases.get_mut(&lease) {
                lease.open = lease.open.saturating_sub(1);
            }
            if let Some(worker) = self.workers.get_mut(&peer) {
                worker.held.remove(&index);
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

    fn renew(&mut self, now: Timestamp, peer: &PeerId, lease: &LeaseId) {
        let until = now + self.config.lease;
        if let Some(lease) = self.leases.get_mut(lease).filter(|l| l.worker == *peer) {
            lease.deadline = until;
        }
    }

    fn restored(&mut self, now: Timestamp, peer: PeerId, lease: LeaseId, tasks: Vec<TaskIndex>) {
        let count = self.tasks.len();
        let tasks: Vec<TaskIndex> = tasks.into_iter().filter(|index| (*index as usize) < count).collect();
        // Known, so that its results are taken; not held, so that nobody waits for a worker that may
        // never come back.
        self.leases.insert(lease, LeaseState { worker: peer, tasks, deadline: now + self.config.lease, open: 0 });
    }

    fn lapse(&mut self, now: Timestamp) {
        let lapsed: Vec<LeaseId> =
            self.leases.iter().filter(|(_, l)| l.open > 0 && l.deadline <= now).map(|(id, _)| *id).collect();
        for id in lapsed {
            let Some(lease) = self.leases.get_mut(&id) else { continue };
            lease.deadline = Timestamp(u64::MAX);
            let (peer, tasks) = (lease.worker, lease.tasks.clone());
            for index in tasks {
                if self.tasks[index as usize].copy_of(&peer) == Some(Copy::Held(id)) {
                    self.drop_copy(peer, index, None);
                }
            }
        }
    }

    fn assign_all(&mut self, now: Timestamp) {
        if self.unfinished == 0 {
            return;
        }
        // Emptier workers first, so that near the end nobody prefetches what another could start.
        let mut order: Vec<(u32, PeerId)> = self
            .workers
            .iter()
            .filter(|(_, w)| w.connected && w.room() > 0)
            .map(|(peer, w)| (w.held_count().saturating_sub(w.slots.min(w.held_count())), *peer))
            .collect();
        order.sort_unstable();
        let active = u32::try_from(order.len().max(1)).unwrap_or(u32::MAX);
        for (_, peer) in order {
            self.assign(now, peer, active);
        }
    }

    fn assign(&mut self, now: Timestamp, peer: PeerId, active: u32) {
        let Some(worker) = self.workers.get(&peer) else { return };
        let held = worker.held_count();
        let level = worker.level(self.config.target, u32::try_from(self.ring.len()).unwrap_or(u32::MAX), active);
        if held >= worker.slots && held > level / 2 {
            return;
        }
        let want = level.max(worker.slots).saturating_sub(held).min(worker.room()) as usize;
        let most = self.config.most.clamp(1, MAX_LEASE_TASKS as u32) as usize;
        let idle = worker.slots.min(worker.window).saturating_sub(held) as usize;
        let mut batch = self.fresh(&peer, want.min(most));
        if batch.len() < idle {
            let more = idle.min(most).saturating_sub(batch.len());
            batch.extend(self.second_copies(now, &peer, more, &batch));
        }
        if !batch.is_empty() {
            self.lease(now, peer, batch);
        }
    }

    /// Up to `count` tasks of fresh demand that `peer` may take, in ring order; the source's own
    /// slots begin at the ring's far end, where no worker is yet.
    fn fresh(&mut self, peer: &PeerId, count: usize) -> Vec<TaskIndex> {
        let Some(worker) = self.workers.get(peer) else { return Vec::new() };
        let tasks = &self.tasks;
        let may = |index: TaskIndex| tasks[index as usize].copy_of(peer).is_none();
        if worker.own {
            let untouched = |index: &TaskIndex| tasks[*index as usize].copies.is_empty();
            let back: Vec<TaskIndex> =
                self.ring.from_back().map(|(_, index)| index).take(count * 4 + 16).filter(untouched).take(count).collect();
            if back.len() == count {
                return back;
            }
            return self.ring.from_back().map(|(_, index)| index).filter(|index| may(*index)).take(count).collect();
        }
        let mut batch = Vec::new();
        let mut cursor = worker.cursor;
        for (place, index) in self.ring.from(worker.cursor) {
            if batch.len() == count {
                break;
            }
            if may(index) {
                batch.push(index);
            }
            cursor = place + 1;
        }
        if let Some(worker) = self.workers.get_mut(peer) {
            worker.cursor = cursor;
        }
        batch
    }

    /// Up to `count` unfinished tasks out with others, of which `peer` shall compute a further copy:
    /// those with the fewest copies first, among these the one expected last. A worker that tried
    /// a task in vain is asked again only when no other worker could be.
    fn second_copies(&self, now: Timestamp, peer: &PeerId, count: usize, but: &[TaskIndex]) -> Vec<TaskIndex> {
        let mut candidates: Vec<(u32, core::cmp::Reverse<u64>, TaskIndex)> = Vec::new();
        for index in &self.out {
            let task = &self.tasks[*index as usize];
            if task.copy_of(peer).is_some() || but.contains(index) {
                continue;
            }
            let due = task
                .copies
                .iter()
                .filter_map(|(holder, copy)| match copy {
                    Copy::Held(_) => self.workers.get(holder).map(|w| w.expected(now, *index)),
                    _ => None,
                })
                .min()
                .unwrap_or(0);
            candidates.push((task.held(), core::cmp::Reverse(due), *index));
        }
        if candidates.len() < count {
            candidates.extend(self.retries(peer, but).map(|index| (u32::MAX, core::cmp::Reverse(0), index)));
        }
        candidates.sort_unstable();
        candidates.into_iter().take(count).map(|(_, _, index)| index).collect()
    }

    /// Tasks on the ring that `peer` failed to conclude and that no other connected worker can take.
    fn retries<'a>(&'a self, peer: &'a PeerId, but: &'a [TaskIndex]) -> impl Iterator<Item = TaskIndex> + 'a {
        let others = move |task: &Task| {
            self.workers
                .iter()
                .any(|(id, w)| id != peer && w.connected && w.window > 0 && task.copy_of(id).is_none())
        };
        let stuck = move |index: &TaskIndex| {
            let task = &self.tasks[*index as usize];
            task.copy_of(peer) == Some(Copy::Failed) && task.held() == 0 && !others(task) && !but.contains(index)
        };
        self.ring.from(0).map(|(_, index)| index).take(MAX_LEASE_TASKS).filter(stuck)
    }

    fn lease(&mut self, now: Timestamp, peer: PeerId, batch: Vec<TaskIndex>) {
        let id = LeaseId(self.entropy.draw());
        let Some(worker) = self.workers.get_mut(&peer) else { return };
        worker.start(now);
        for index in &batch {
            worker.held.insert(*index, now);
            let task = &mut self.tasks[*index as usize];
            task.own += u32::from(worker.own);
            task.set_copy(peer, Some(Copy::Held(id)));
            self.out.insert(*index);
            if !task.wants_fresh()
                && let Some(place) = task.place.take()
            {
                self.ring.remove(place);
            }
        }
        let open = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        let state = LeaseState { worker: peer, tasks: batch.clone(), deadline: now + self.config.lease, open };
        self.leases.insert(id, state);
        self.effects.push(Effect::Lease { worker: peer, lease: id, tasks: batch });
    }
}
