//! Who gets what: every step ends with handing out all that may be handed out.

use alloc::{collections::BTreeMap, vec::Vec};
use core::cmp::Reverse;

use super::{Copy, Effect, LeaseState, Pool, Task, TaskIndex, UNDER_WAY, worker::Worker};
use crate::{
    id::{LeaseId, PeerId},
    limits::{MAX_CREDIT, MAX_LEASE_TASKS},
    time::Timestamp,
};

/// Tasks a microsecond and slot, while nobody has shown any speed.
const USUAL: f64 = 1e-6;

/// The part of what is unfinished that a worker gets at most that has not returned anything yet, as a
/// divisor, if that is more than [`MAX_CREDIT`].
const UNPROVEN: u32 = 4;

/// Added to when an overdue worker's tasks are expected: later than any other's, in the same order.
const NOT_SOON: u64 = 1 << 60;

/// What is known of a task that is out, as a candidate for a further copy.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    /// Workers that hold it.
    copies: u32,
    /// Microseconds until the first of them is expected to return it.
    due: Reverse<u64>,
    index: TaskIndex,
}

/// All workers taken together, at one moment.
#[derive(Debug, Default)]
struct Crowd {
    /// Tasks a microsecond and slot, where that is known.
    usual: f64,
    /// Tasks a microsecond that are expected of all.
    speed: f64,
    /// Copies held.
    held: f64,
}

impl Pool {
    pub(super) fn assign_all(&mut self, now: Timestamp) {
        self.copies_at = None;
        if self.unfinished == 0 {
            return;
        }
        let crowd = self.crowd(now);
        // Emptier workers first, so that near the end nobody prefetches what another could start.
        let with_room =
            self.workers.iter().filter(|(_, worker)| worker.is_active() && worker.room() > 0);
        let mut order: Vec<(u64, PeerId)> =
            with_room.map(|(peer, worker)| (worker.fill(), *peer)).collect();
        order.sort_unstable();
        for (_, peer) in order {
            self.assign(now, peer, &crowd);
        }
    }

    fn crowd(&self, now: Timestamp) -> Crowd {
        let active = || self.workers.values().filter(|worker| worker.is_active());
        let (mut shown, mut slots) = (0.0, 0.0);
        for worker in active() {
            if let Some(speed) = worker.shown() {
                shown += speed;
                slots += f64::from(worker.slots);
            }
        }
        let usual = if slots > 0.0 { shown / slots } else { USUAL };
        let mut crowd = Crowd { usual, ..Crowd::default() };
        for worker in active() {
            crowd.speed += worker.speed(now, usual);
            crowd.held += f64::from(worker.held_count());
        }
        crowd
    }

    /// Hands `peer` what it should hold, in as many leases as that takes.
    fn assign(&mut self, now: Timestamp, peer: PeerId, crowd: &Crowd) {
        let most = self.config.most.clamp(1, MAX_LEASE_TASKS as u32) as usize;
        loop {
            let Some(worker) = self.workers.get(&peer) else { return };
            let (held, bound) = (worker.held_count(), self.bound(worker));
            let idle = worker.idle().min(bound.saturating_sub(held));
            let level = self.level(now, worker, crowd).min(bound);
            if idle == 0 && held > level - level / 4 {
                return; // a lease for every single result would be a frame for every task
            }
            let want = (level.saturating_sub(held).max(idle) as usize).min(most);
            let mut batch = self.named(&peer, want);
            let named = !batch.is_empty();
            let more = self.fresh(&peer, want - batch.len());
            batch.extend(more);
            if batch.len() < want {
                self.further_copies(now, &peer, &mut batch, (idle as usize).min(most), want, crowd);
            }
            let full = batch.len() >= most;
            if named {
                batch.sort_unstable(); // what is wanted by name is not told apart by its place
            }
            if !batch.is_empty() {
                self.lease(now, peer, batch);
            }
            if !full {
                return;
            }
        }
    }

    /// What a worker should hold: work for the target time, but no more than its share, by speed, of all that
    /// is unfinished, so that all end together.
    fn level(&self, now: Timestamp, worker: &Worker, crowd: &Crowd) -> u32 {
        let target = if worker.bulk { self.config.bulk } else { self.config.target };
        let level = worker.level(target);
        let share = worker.speed(now, crowd.usual) / crowd.speed;
        let wanted = self.ring.len() + self.named.len();
        let fair = libm::ceil((wanted as f64 + crowd.held) * share) as u32;
        if self.config.grace.is_zero() {
            level.min(fair)
        } else {
            level.min(fair.max(worker.least()))
        }
    }

    /// What a worker holds at most: how many slots are below it nobody but itself says.
    fn bound(&self, worker: &Worker) -> u32 {
        if worker.shown().is_some() {
            return u32::MAX;
        }
        let unfinished = u32::try_from(self.unfinished).unwrap_or(u32::MAX);
        MAX_CREDIT.max(unfinished / UNPROVEN)
    }

    /// Up to `count` tasks that are wanted of certain workers, of which `peer` is one.
    fn named(&mut self, peer: &PeerId, count: usize) -> Vec<TaskIndex> {
        let Some(worker) = self.workers.get_mut(peer) else { return Vec::new() };
        let tasks = &self.tasks;
        let mut batch = Vec::new();
        while batch.len() < count
            && let Some(index) = worker.named.pop_first()
        {
            let task = &tasks[index as usize];
            if task.among.is_some() && task.wants_fresh() && task.may_take(peer) {
                batch.push(index);
            }
        }
        batch
    }

    /// Up to `count` tasks of fresh demand that `peer` may take, in ring order; the source's own
    /// slots begin at the ring's far end, where no worker is yet.
    fn fresh(&mut self, peer: &PeerId, count: usize) -> Vec<TaskIndex> {
        let Some(worker) = self.workers.get(peer).filter(|worker| !worker.reserved) else {
            return Vec::new();
        };
        let tasks = &self.tasks;
        let may = |index: TaskIndex| tasks[index as usize].copy_of(peer).is_none();
        if worker.own {
            let untouched = |index: &TaskIndex| tasks[*index as usize].copies.is_empty();
            let back: Vec<TaskIndex> = self
                .ring
                .backwards()
                .map(|(_, index)| index)
                .take(count * 4 + 16)
                .filter(untouched)
                .take(count)
                .collect();
            if back.len() == count {
                return back;
            }
            return self
                .ring
                .backwards()
                .map(|(_, index)| index)
                .filter(|index| may(*index))
                .take(count)
                .collect();
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

    /// Fills `batch` with further copies of tasks that are out with others: one for each of `idle`
    /// slots whatever it helps (those with the fewest copies first, among these the one expected
    /// last), and, of the rest, up to the worker's `share` of those that it promises to return before
    /// anyone who has them, the one expected last first. So what a slow worker has prefetched goes
    /// to the others as fresh work would, and a late-comer takes over part of what is queued.
    fn further_copies(
        &mut self,
        now: Timestamp,
        peer: &PeerId,
        batch: &mut Vec<TaskIndex>,
        idle: usize,
        most: usize,
        crowd: &Crowd,
    ) {
        let Some(worker) = self.workers.get(peer) else { return };
        let forced = idle.saturating_sub(batch.len());
        let waits_for_outputs = self.coming.len() > UNDER_WAY && !self.halted;
        if worker.dry == Some(self.stirred)
            || waits_for_outputs
            || !self.may_copy(now, peer, forced)
        {
            return;
        }
        let Some(worker) = self.workers.get(peer) else { return };
        let mut candidates = self.candidates(now, peer, batch, crowd.usual);
        let share = worker.speed(now, crowd.usual) / crowd.speed;
        let none = candidates.is_empty();
        candidates.sort_unstable();
        let mut rest = candidates.split_off(forced.min(candidates.len()));
        batch.extend(candidates.into_iter().map(|one| one.index));
        if batch.len() < idle {
            let retries: Vec<TaskIndex> =
                self.retries(peer, batch).take(idle - batch.len()).collect();
            batch.extend(retries);
        }
        let most = most.min(batch.len() + libm::ceil(rest.len() as f64 * share) as usize);
        rest.sort_unstable_by_key(|one| (one.due, one.index));
        for one in rest {
            let sooner = worker.promise(batch.len()).is_some_and(|promise| promise < one.due.0);
            if batch.len() >= most || !sooner {
                break;
            }
            batch.push(one.index);
        }
        let dry = (none && batch.is_empty()).then_some(self.stirred);
        let rests = if batch.is_empty() || worker.bulk { now + worker.pause() } else { now };
        if let Some(worker) = self.workers.get_mut(peer) {
            (worker.dry, worker.rests) = (dry, rests);
        }
    }

    /// Whether a worker with `forced` empty slots may be given further copies now.
    fn may_copy(&mut self, now: Timestamp, peer: &PeerId, forced: usize) -> bool {
        let grace = self.config.grace;
        let Some(worker) = self.workers.get_mut(peer) else { return false };
        if forced == 0 && (!grace.is_zero() || now < worker.rests) {
            return false;
        }
        // One that hands them on has slots empty all the time near the end: it gets many at a time.
        let mut at = if worker.bulk { worker.rests } else { now };
        if !grace.is_zero() {
            at = at.max(*worker.idle_since.get_or_insert(now) + grace);
        }
        if now < at {
            self.copies_at = Some(self.copies_at.map_or(at, |known| known.min(at)));
        }
        at <= now
    }

    /// The tasks out with others of which `peer` has no copy and had none. What only overdue workers
    /// hold counts as held by nobody, and as expected last.
    fn candidates(
        &self,
        now: Timestamp,
        peer: &PeerId,
        but: &[TaskIndex],
        usual: f64,
    ) -> Vec<Candidate> {
        let mut candidates: BTreeMap<TaskIndex, Candidate> = BTreeMap::new();
        let reserved = self.workers.get(peer).is_some_and(|worker| worker.reserved);
        for (_, holder) in self.workers.iter().filter(|(holder, _)| *holder != peer) {
            let overdue = holder.is_overdue(now, usual);
            for (place, index) in holder.queue().enumerate() {
                let task = &self.tasks[index as usize];
                if !task.may_take(peer) || (reserved && task.among.is_none()) {
                    continue;
                }
                let due = holder.due(now, place);
                let due = Reverse(if overdue { NOT_SOON.saturating_add(due) } else { due });
                let candidate =
                    candidates.entry(index).or_insert(Candidate { copies: 0, due, index });
                candidate.due = candidate.due.max(due);
                candidate.copies += u32::from(!overdue);
            }
        }
        for (index, holder) in self.coming.iter().filter(|_| self.halted) {
            let task = &self.tasks[*index as usize];
            if holder != peer && task.may_take(peer) && !(reserved && task.among.is_none()) {
                let (copies, due) = (0, Reverse(NOT_SOON));
                candidates.entry(*index).or_insert(Candidate { copies, due, index: *index });
            }
        }
        for index in but {
            candidates.remove(index);
        }
        candidates.into_values().collect()
    }

    /// Tasks that `peer` failed to conclude and that no other worker could take: from the ring, and
    /// those that are wanted of it by name.
    fn retries<'a>(
        &'a self,
        peer: &'a PeerId,
        but: &'a [TaskIndex],
    ) -> impl Iterator<Item = TaskIndex> + 'a {
        let others = move |task: &Task| {
            self.workers.iter().any(|(id, worker)| {
                let kept = worker.reserved && task.among.is_none();
                id != peer && worker.is_active() && !kept && task.may_take(id)
            })
        };
        let reserved = self.workers.get(peer).is_some_and(|worker| worker.reserved);
        let stuck = move |index: &TaskIndex| {
            let task = &self.tasks[*index as usize];
            task.copy_of(peer) == Some(Copy::Failed)
                && task.is_wanted_of(peer)
                && !(reserved && task.among.is_none())
                && task.held() == 0
                && !others(task)
                && !but.contains(index)
        };
        let ring = self.ring.from(0).map(|(_, index)| index).take(MAX_LEASE_TASKS);
        let named = self.named.iter().copied().take(MAX_LEASE_TASKS);
        ring.chain(named).filter(stuck)
    }

    fn lease(&mut self, now: Timestamp, peer: PeerId, batch: Vec<TaskIndex>) {
        let id = LeaseId(self.entropy.draw());
        let Some(worker) = self.workers.get_mut(&peer) else { return };
        for index in &batch {
            worker.hold(now, *index);
            let task = &mut self.tasks[*index as usize];
            self.out += usize::from(task.held() == 0);
            task.own += u32::from(worker.own);
            task.set_copy(peer, Some(Copy::Held(id)));
            if !task.wants_fresh() {
                if let Some(place) = task.place.take() {
                    self.ring.remove(place);
                }
                self.named.remove(index);
            }
        }
        self.stirred += 1;
        let open = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        let deadline = now + self.config.lease;
        self.deadlines.insert((deadline, id));
        self.leases.insert(id, LeaseState { worker: peer, tasks: batch.clone(), deadline, open });
        self.effects.push(Effect::Lease { worker: peer, lease: id, tasks: batch });
    }
}
