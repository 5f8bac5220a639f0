//! One job that passes through a relay: what is leased from upstream and handed on.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};
use core::time::Duration;

use super::{
    Demand, Effect,
    arrivals::Arriving,
    bundles::{Bundles, PATIENCE},
};
use crate::{
    batch::Batch,
    crypto::Keypair,
    entropy::Entropy,
    id::{Hash, JobId, LeaseId, PeerId, TaskId},
    limits::{
        LEASE, MAX_CREDIT, MAX_EXCLUDED, MAX_EXCLUDED_AT_ONCE, MAX_JOB_TASKS, MAX_LEASE_TASKS,
        MAX_PATH, most_credit,
    },
    path::{Errand, Hop, Trail},
    pool::{self, Pool, TaskIndex, Want},
    record::{Change, Key, Record},
    task::{Input, Program},
    time::Timestamp,
    wire::{Exclude, Frame, Lease, LeasedTask, Offer, Route},
};

/// Tasks of one source that are held, in windows: several, for it may have forgotten what it gave before its
/// stream was lost.
const MOST_WINDOWS: usize = 8;
/// A slot below stands empty for so long before it gets a copy of what others have: more from upstream is on
/// its way, if there is more.
const GRACE: Duration = Duration::from_millis(500);

/// Times that the tasks of the largest job may be wanted again, on average.
const AGAIN: usize = 4;

/// A task that passes through.
#[derive(Debug)]
struct Task {
    id: TaskId,
    input: Input,
    /// The lease that it is held under; none once it is done with.
    parent: Option<LeaseId>,
}

/// A lease from upstream.
#[derive(Debug)]
pub(super) struct Parent {
    pub(super) source: PeerId,
    path: Vec<Hop>,
    /// Tasks that are not done with.
    open: u32,
}

/// A lease that was given below.
#[derive(Debug)]
pub(super) struct Sub {
    /// What the pool calls it: tasks of several parents are handed over together.
    in_pool: LeaseId,
    /// Whose lease the tasks were held under.
    source: PeerId,
    /// The whole way, this peer's own hop at its end.
    path: Vec<Hop>,
    worker: PeerId,
    tasks: Vec<TaskIndex>,
}

/// How a source is connected towards the submitter.
#[derive(Debug, Clone, Copy)]
struct Upstream {
    connected: bool,
    /// Since when the way to the submitter is interrupted, here or further up.
    away: Option<Timestamp>,
}

pub(super) struct Job {
    pub(super) errand: Errand,
    program: Option<Arc<Program>>,
    tasks: Vec<Task>,
    by_id: BTreeMap<TaskId, TaskIndex>,
    pub(super) pool: Pool,
    pub(super) parents: BTreeMap<LeaseId, Parent>,
    pub(super) subs: BTreeMap<LeaseId, Sub>,
    sources: BTreeMap<PeerId, Upstream>,
    /// Who was offered the job.
    pub(super) offered: BTreeSet<PeerId>,
    /// Who gets nothing of it, because the submitter takes no results from them.
    pub(super) excluded: BTreeSet<PeerId>,
    /// Who takes work of it, and how much.
    pub(super) takers: BTreeMap<PeerId, Demand>,
    /// The largest window that a source was told on their account; those who have left since are no fault of
    /// the source's.
    most: u32,
    /// Since when nobody takes any.
    alone: Option<Timestamp>,
    /// Whether those below were told that the way up is interrupted.
    told_away: bool,
    /// Since when nobody offers the job, and nothing of it is held or owed.
    forsaken: Option<Timestamp>,
    pub(super) bundles: Bundles,
    /// Leases whose blobs are still on the way.
    pub(super) arriving: Vec<Arriving>,
}

impl Sub {
    /// Who has it, of those below.
    pub(super) fn worker(&self) -> PeerId {
        self.worker
    }

    /// Whom results go to, and the whole way with what came of the lease further below.
    pub(super) fn way(&self, below: Vec<Hop>) -> (PeerId, Trail) {
        let mut hops = self.path.clone();
        hops.extend(below);
        (self.source, Trail { parent: None, hops })
    }
}

impl Job {
    pub(super) fn new(offer: &Offer, entropy: Entropy) -> Self {
        let config = pool::Config { grace: GRACE, ..pool::Config::default() };
        Self {
            errand: Errand { job: offer.job, submitter: offer.submitter },
            program: None,
            tasks: Vec::new(),
            by_id: BTreeMap::new(),
            pool: Pool::new(config, 0, 1, entropy),
            parents: BTreeMap::new(),
            subs: BTreeMap::new(),
            sources: BTreeMap::new(),
            offered: BTreeSet::new(),
            excluded: BTreeSet::new(),
            takers: BTreeMap::new(),
            most: MAX_CREDIT,
            alone: None,
            told_away: false,
            forsaken: None,
            bundles: Bundles::default(),
            arriving: Vec::new(),
        }
    }

    pub(super) fn next_wake(&self) -> Option<(Timestamp, &'static str)> {
        self.pool.next_wake().into_iter().chain(self.bundles.next_wake()).min()
    }

    /// Whether anyone below, but the own slots, takes work.
    pub(super) fn has_takers(&self) -> bool {
        self.takers.values().any(|demand| demand.tasks > 0)
    }

    pub(super) fn takers(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.takers.iter().filter(|(_, demand)| demand.tasks > 0).map(|(peer, _)| *peer)
    }

    /// What is taken below, without the own slots: these tell for themselves.
    pub(super) fn demand(&self, me: &PeerId) -> Demand {
        let others = self.takers.iter().filter(|(peer, _)| *peer != me);
        others.fold(Demand::default(), |sum, (_, one)| Demand {
            tasks: sum.tasks.saturating_add(one.tasks),
            slots: sum.slots.saturating_add(one.slots),
        })
    }

    pub(super) fn credit(&mut self, now: Timestamp, peer: PeerId, tasks: u32, slots: u32) {
        let slots = if tasks == 0 { 0 } else { slots };
        self.takers.insert(peer, Demand { tasks, slots });
        let all = self.takers.values().fold(0, |sum: u32, one| sum.saturating_add(one.slots));
        self.most = self.most.max(most_credit(all));
        self.note_alone(now);
    }

    pub(super) fn left(&mut self, now: Timestamp, peer: &PeerId) {
        self.takers.remove(peer);
        self.offered.remove(peer);
        self.note_alone(now);
    }

    /// Keeps workers from the job; says which of them it did not know as such.
    pub(super) fn exclude(&mut self, workers: Vec<PeerId>) -> Vec<PeerId> {
        let mut fresh = Vec::new();
        for worker in workers {
            if self.excluded.len() < MAX_EXCLUDED && self.excluded.insert(worker) {
                fresh.push(worker);
            }
        }
        fresh
    }

    /// Who is kept from the job, for a relay that has just come.
    pub(super) fn exclusions(&self, job: JobId, to: &PeerId) -> Vec<Effect> {
        let all: Vec<PeerId> = self.excluded.iter().copied().collect();
        let tell = |some: &[PeerId]| {
            let exclude = Exclude { job, workers: some.to_vec() };
            Effect::Send(*to, Frame::Exclude(exclude))
        };
        all.chunks(MAX_EXCLUDED_AT_ONCE).map(tell).collect()
    }

    fn note_alone(&mut self, now: Timestamp) {
        self.alone = if self.has_takers() { None } else { self.alone.or(Some(now)) };
    }

    /// Whether a lease that is held came through `peer`.
    pub(super) fn is_above(&self, peer: &PeerId) -> bool {
        *peer == self.errand.submitter
            || self.parents.values().any(|one| one.path.iter().any(|hop| hop.giver == *peer))
            || self.arriving.iter().any(|one| one.lease.path.iter().any(|hop| hop.giver == *peer))
    }

    /// Takes a lease from upstream; says what that means to the pool.
    pub(super) fn take(
        &mut self,
        (me, source): (&PeerId, PeerId),
        lease: Lease,
        records: &mut Vec<Change>,
    ) -> Result<pool::Input, &'static str> {
        let open = self.parents.values().filter(|one| one.source == source);
        let held: usize = open.map(|one| one.open as usize).sum();
        if held + lease.tasks.len() > MOST_WINDOWS * self.most as usize {
            return Err("more tasks than credit was given for");
        }
        // One that is wanted again after it was done with is counted once as a task of the job.
        let distinct = self.by_id.len() + lease.tasks.len();
        if distinct.max(self.tasks.len() / AGAIN) > MAX_JOB_TASKS as usize {
            return Err("more tasks than a job may have");
        }
        if self.program.as_ref().is_some_and(|program| **program != lease.program) {
            return Err("a lease whose program is not its job's");
        }
        if self.parents.contains_key(&lease.lease) {
            return Err("a lease that is given twice");
        }
        self.program.get_or_insert_with(|| Arc::new(lease.program));
        self.sources.entry(source).or_insert(Upstream { connected: true, away: None });
        self.parents.insert(lease.lease, Parent { source, path: lease.path, open: 0 });
        let mut fresh = 0;
        for task in lease.tasks {
            fresh += u32::from(self.take_task(me, lease.lease, task, records));
        }
        self.close_if_done(&lease.lease, records);
        Ok(pool::Input::Added(fresh))
    }

    /// Holds one task under `lease`. True if it is new to the pool.
    fn take_task(
        &mut self,
        me: &PeerId,
        lease: LeaseId,
        LeasedTask { task, input }: LeasedTask,
        records: &mut Vec<Change>,
    ) -> bool {
        if self.bundles.has(&task) {
            let source = self.parents.get(&lease).map(|parent| parent.source);
            let sources = &self.sources;
            let is_here = |peer: &PeerId| sources.get(peer).is_some_and(|one| one.connected);
            if let Some(source) = source {
                self.bundles.redirect(&task, (me, source), is_here);
            }
            return false; // its result is on the way
        }
        if let Some(parent) = self.parents.get_mut(&lease) {
            parent.open += 1;
        }
        let held = self.by_id.get(&task).copied();
        let held = held.filter(|index| self.tasks[*index as usize].parent.is_some());
        let Some(index) = held else {
            // One that was done with and is wanted again is a new one: anybody may be asked for it, those
            // too who have answered it once.
            let index = TaskIndex::try_from(self.tasks.len()).unwrap_or(TaskIndex::MAX);
            self.by_id.insert(task, index);
            self.tasks.push(Task { id: task, input, parent: Some(lease) });
            return true;
        };
        let known = &mut self.tasks[index as usize];
        known.input = input;
        if let Some(older) = known.parent.replace(lease) {
            self.release(&older, records);
        }
        false
    }

    /// Hands tasks on: a lease for each of the leases that they are held under.
    pub(super) fn hand(
        &mut self,
        key: &Keypair,
        entropy: &mut Entropy,
        worker: PeerId,
        in_pool: LeaseId,
        tasks: &[TaskIndex],
        out: &mut Batch<Effect>,
    ) -> Vec<Lease> {
        let mut groups: BTreeMap<LeaseId, Vec<TaskIndex>> = BTreeMap::new();
        for index in tasks {
            if let Some(parent) = self.tasks[*index as usize].parent {
                groups.entry(parent).or_default().push(*index);
            }
        }
        let mut leases = Vec::new();
        for (at, (parent, tasks)) in groups.into_iter().enumerate() {
            let lease = if at == 0 { in_pool } else { LeaseId(entropy.draw()) };
            let (Some(above), Some(program)) = (self.parents.get(&parent), &self.program) else {
                continue;
            };
            let ids = tasks.iter().map(|index| self.tasks[*index as usize].id);
            let hop = self.errand.hand(key, Some(parent), lease, &worker, ids);
            let mut path = above.path.clone();
            path.push(hop);
            debug_assert!(path.len() <= MAX_PATH, "such leases are not taken");
            let leased = |index: &TaskIndex| {
                let task = &self.tasks[*index as usize];
                LeasedTask { task: task.id, input: task.input.clone() }
            };
            leases.push(Lease {
                lease,
                job: self.errand.job,
                submitter: self.errand.submitter,
                program: (**program).clone(),
                lasts_ms: u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX),
                path: path.clone(),
                tasks: tasks.iter().map(leased).collect(),
                // What may not be given on was not taken to be handed on.
                share: 1,
            });
            out.records.push(Change::Put(Record::Handed {
                job: self.errand.job,
                lease,
                source: above.source,
                path: path.clone(),
                worker,
                tasks: tasks.iter().map(|index| self.tasks[*index as usize].id).collect(),
            }));
            let source = above.source;
            self.subs.insert(lease, Sub { in_pool, source, path, worker, tasks });
        }
        leases
    }

    /// What the pool calls a lease that was given below.
    pub(super) fn in_pool(&self, lease: &LeaseId) -> Option<LeaseId> {
        self.subs.get(lease).map(|sub| sub.in_pool)
    }

    pub(super) fn task_id(&self, index: TaskIndex) -> Option<TaskId> {
        self.tasks.get(index as usize).map(|task| task.id)
    }

    /// What was given below under `lease`; none of leases that are not known any more.
    pub(super) fn sub(&self, lease: &LeaseId) -> Option<&Sub> {
        self.subs.get(lease)
    }

    /// The task of that id, if `sub` has it.
    pub(super) fn task_of(&self, sub: &Sub, task: &TaskId) -> Option<TaskIndex> {
        let mut tasks = sub.tasks.iter().copied();
        tasks.find(|index| self.tasks.get(*index as usize).is_some_and(|one| one.id == *task))
    }

    /// A task has a result, or is wanted no more: nothing of it is held.
    pub(super) fn done(&mut self, index: TaskIndex, records: &mut Vec<Change>) {
        let Some(task) = self.tasks.get_mut(index as usize) else { return };
        task.input = Input::Inline(serde_bytes::ByteBuf::new());
        if let Some(parent) = task.parent.take() {
            self.release(&parent, records);
        }
    }

    fn release(&mut self, lease: &LeaseId, records: &mut Vec<Change>) {
        if let Some(parent) = self.parents.get_mut(lease) {
            parent.open = parent.open.saturating_sub(1);
        }
        self.close_if_done(lease, records);
    }

    /// A lease without open tasks is not renewed, nor taken back after a restart. It is still known,
    /// for what is computed under it.
    fn close_if_done(&mut self, lease: &LeaseId, records: &mut Vec<Change>) {
        if let Some(parent) = self.parents.get(lease).filter(|parent| parent.open == 0) {
            records.push(Change::Delete(Key::held(&parent.source, lease)));
        }
    }

    /// Leases that have open tasks.
    pub(super) fn held(&self) -> impl Iterator<Item = (PeerId, LeaseId)> + '_ {
        let open = self.parents.iter().filter(|(_, parent)| parent.open > 0);
        let arriving = self.arriving.iter().map(|one| (one.source, one.lease.lease));
        open.map(|(lease, parent)| (parent.source, *lease)).chain(arriving)
    }

    /// `source` no longer wants these tasks.
    pub(super) fn drop_tasks(
        &mut self,
        source: &PeerId,
        tasks: &[TaskId],
        records: &mut Vec<Change>,
    ) -> Option<pool::Input> {
        let mut wants = Vec::new();
        for id in tasks {
            let Some(index) = self.by_id.get(id).copied() else { continue };
            let parent = self.tasks[index as usize].parent.and_then(|one| self.parents.get(&one));
            if parent.is_some_and(|parent| parent.source == *source) {
                self.done(index, records);
                wants.push(Want::anyone(index, 0));
            }
        }
        (!wants.is_empty()).then_some(pool::Input::Wanted(wants))
    }

    pub(super) fn is_source(&self, peer: &PeerId) -> bool {
        self.sources.contains_key(peer)
    }

    /// Whether work has come, so that it is known whose the job is.
    pub(super) fn is_proven(&self) -> bool {
        !self.parents.is_empty()
            || !self.subs.is_empty()
            || !self.arriving.is_empty()
            || !self.bundles.is_empty()
    }

    /// Whether work is held, or results are owed, of `peer`.
    pub(super) fn is_busy_for(&self, peer: &PeerId) -> bool {
        self.held().any(|(source, _)| source == *peer) || self.bundles.owes_to(peer)
    }

    /// Whether work is held, or results are owed, of another source than `peer`.
    pub(super) fn has_other_source(&self, peer: &PeerId) -> bool {
        self.held().any(|(source, _)| source != *peer) || self.bundles.has_other(peer)
    }

    /// Whether tasks are held that nobody below has taken for `long`.
    pub(super) fn is_stranded(&self, now: Timestamp, long: Duration) -> bool {
        self.alone.is_some_and(|since| since + long <= now) && self.held().next().is_some()
    }

    /// Lets go of what is held, of `of` alone if given; says of whom it was, and what that means to the
    /// pool.
    pub(super) fn surrender(
        &mut self,
        of: Option<&PeerId>,
        records: &mut Vec<Change>,
    ) -> (BTreeSet<PeerId>, Vec<Want>) {
        let hit = |source: &PeerId| of.is_none_or(|of| of == source);
        let sources = self.held().map(|(source, _)| source).filter(hit).collect();
        let is_held = |task: &Task| {
            let parent = task.parent.and_then(|parent| self.parents.get(&parent));
            parent.is_some_and(|parent| hit(&parent.source))
        };
        let held = (0..).zip(&self.tasks).filter(|(_, task)| is_held(task));
        let open: Vec<TaskIndex> = held.map(|(index, _)| index).collect();
        for index in &open {
            self.done(*index, records);
        }
        let (gone, kept) = core::mem::take(&mut self.arriving)
            .into_iter()
            .partition::<Vec<Arriving>, _>(|one| hit(&one.source));
        self.arriving = kept;
        for Arriving { source, lease, .. } in gone {
            records.push(Change::Delete(Key::held(&source, &lease.lease)));
        }
        (sources, open.into_iter().map(|index| Want::anyone(index, 0)).collect())
    }

    /// Whether there is nothing left to do or to bring.
    pub(super) fn is_idle(&self) -> bool {
        self.offered.is_empty() && self.has_nothing()
    }

    /// Whether nobody has offered the job, and nothing of it been held or owed, for `long`.
    pub(super) fn is_forsaken(&mut self, now: Timestamp, offered: bool, long: Duration) -> bool {
        self.forsaken = match self.forsaken {
            _ if offered || !self.has_nothing() => None,
            since => since.or(Some(now)),
        };
        self.forsaken.is_some_and(|since| since + long <= now)
    }

    /// Whether nothing is held and no result is owed.
    pub(super) fn has_nothing(&self) -> bool {
        self.bundles.is_empty() && self.held().next().is_none()
    }

    /// Bytes of an output at most; of a job whose program is not known any more, anything goes.
    pub(super) fn longest(&self) -> u64 {
        self.program.as_ref().map_or(u64::MAX, |program| program.limits.output)
    }

    /// What a newcomer is to know of the way up, if there is none.
    pub(super) fn route_for(&self, now: Timestamp, peer: &PeerId) -> Option<Effect> {
        let since = self.sources.values().filter_map(|one| one.away).max().unwrap_or(now);
        let away_ms = Some(u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX));
        let route = Frame::Route(Route { job: self.errand.job, away_ms });
        self.told_away.then_some(Effect::Send(*peer, route))
    }

    pub(super) fn owes(&self, output: &Hash) -> bool {
        self.bundles.owes(output)
    }

    /// The blobs of its program and of the tasks that are held, on their way here too.
    pub(super) fn blobs(&self) -> impl Iterator<Item = Hash> + '_ {
        let program = self.program.iter().flat_map(|program| program.blobs());
        let inputs = self.tasks.iter().filter_map(|task| task.input.blob());
        let arriving = self.arriving.iter().flat_map(|one| {
            let inputs = one.lease.tasks.iter().filter_map(|task| task.input.blob());
            one.lease.program.blobs().chain(inputs)
        });
        program.chain(inputs).chain(arriving)
    }

    pub(super) fn upstream_up(&mut self, peer: &PeerId) {
        if let Some(source) = self.sources.get_mut(peer) {
            *source = Upstream { connected: true, away: None };
            self.bundles.again(peer);
        }
        if *peer == self.errand.submitter {
            self.bundles.hurry();
        }
    }

    pub(super) fn upstream_down(&mut self, now: Timestamp, peer: &PeerId) {
        if let Some(source) = self.sources.get_mut(peer) {
            *source = Upstream { connected: false, away: Some(now) };
        }
    }

    /// Another source of the job that is there.
    pub(super) fn other_source(
        &self,
        source: &PeerId,
        is_here: impl Fn(&PeerId) -> bool,
    ) -> Option<PeerId> {
        self.sources.keys().find(|other| *other != source && is_here(other)).copied()
    }

    /// Whether `source` says that it has no way to the submitter.
    pub(super) fn is_away(&self, source: &PeerId) -> bool {
        self.sources.get(source).is_some_and(|one| one.away.is_some())
    }

    /// Whether results may be brought round `source`: it says that it has a way up and yet the submitter's
    /// word does not come, or it is gone for so long that it may not come back.
    pub(super) fn may_go_round(&self, now: Timestamp, source: &PeerId) -> bool {
        self.sources.get(source).is_none_or(|one| match one.away {
            None => true,
            Some(since) => !one.connected && since + PATIENCE <= now,
        })
    }

    /// Tells those below whether there is a way to the submitter, when that has changed.
    pub(super) fn tell_route(
        &mut self,
        now: Timestamp,
        heard: Option<(PeerId, Option<u64>)>,
        effects: &mut Vec<Effect>,
    ) {
        if let Some((peer, away_ms)) = heard
            && let Some(source) = self.sources.get_mut(&peer)
        {
            source.away = away_ms.map(|ms| now - Duration::from_millis(ms.min(86_400_000)));
        }
        // Over a slow line results are late, and are not on their way for the second time: those below wait.
        let is_slow = |peer: &PeerId| {
            *peer == self.errand.submitter && self.bundles.is_slow(now, peer, self.told_away)
        };
        let is_away = |(peer, one): (&PeerId, &Upstream)| {
            !one.connected || one.away.is_some() || is_slow(peer)
        };
        let away = !self.sources.is_empty() && self.sources.iter().all(is_away);
        if away == self.told_away {
            return;
        }
        self.told_away = away;
        let since = self.sources.values().filter_map(|one| one.away).max().unwrap_or(now);
        let ms = u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX);
        let route = Route { job: self.errand.job, away_ms: away.then_some(ms) };
        let send = |peer: &PeerId| Effect::Send(*peer, Frame::Route(route));
        effects.extend(self.takers.keys().map(send));
    }

    /// A worker that is back is told what it need not compute any more, as far as it may hold it.
    pub(super) fn reconnected(&mut self, peer: &PeerId, effects: &mut Vec<Effect>) {
        let stale = self.pool.stale(peer);
        for tasks in stale.chunks(MAX_LEASE_TASKS) {
            let tasks = tasks.iter().filter_map(|index| self.task_id(*index)).collect();
            let cancel = crate::wire::Cancel { job: self.errand.job, tasks };
            effects.push(Effect::Send(*peer, Frame::Cancel(cancel)));
        }
    }

    /// Everything is taken back: nobody is connected yet.
    pub(super) fn restored(&mut self, now: Timestamp) {
        for source in self.sources.values_mut() {
            *source = Upstream { connected: false, away: Some(now) };
        }
        self.note_alone(now);
    }

    /// Takes back a lease that was given below before a restart. Of tasks that are not held any more it is
    /// known that they were.
    pub(super) fn restore_sub(
        &mut self,
        now: Timestamp,
        lease: LeaseId,
        (source, path, worker): (PeerId, Vec<Hop>, PeerId),
        tasks: &[TaskId],
    ) {
        let mut indices = Vec::new();
        for task in tasks {
            let index = self.by_id.get(task).copied().unwrap_or_else(|| {
                let index = TaskIndex::try_from(self.tasks.len()).unwrap_or(TaskIndex::MAX);
                let input = Input::Inline(serde_bytes::ByteBuf::new());
                self.by_id.insert(*task, index);
                self.tasks.push(Task { id: *task, input, parent: None });
                let _ = self.pool.step(now, pool::Input::Added(1));
                let done = Vec::from([Want::anyone(index, 0)]);
                let _ = self.pool.step(now, pool::Input::Wanted(done));
                index
            });
            indices.push(index);
        }
        let restored = pool::Input::Restored { worker, lease, tasks: indices.clone() };
        let _ = self.pool.step(now, restored);
        self.sources.entry(source).or_insert(Upstream { connected: false, away: Some(now) });
        self.subs.insert(lease, Sub { in_pool: lease, source, path, worker, tasks: indices });
    }

    /// Everyone below that leases were given to, with one of these.
    pub(super) fn workers(&self) -> BTreeMap<PeerId, LeaseId> {
        self.subs.iter().map(|(lease, sub)| (sub.worker, *lease)).collect()
    }

    /// Deletes every record of the job but those of leases to be kept.
    pub(super) fn forget(
        self,
        id: JobId,
        keeps: impl Fn(&LeaseId) -> bool,
        records: &mut Vec<Change>,
    ) {
        for (lease, parent) in &self.parents {
            records.push(Change::Delete(Key::held(&parent.source, lease)));
        }
        for Arriving { source, lease, .. } in &self.arriving {
            records.push(Change::Delete(Key::held(source, &lease.lease)));
        }
        for lease in self.subs.keys().filter(|lease| !keeps(lease)) {
            records.push(Change::Delete(Key::handed(&id, lease)));
        }
        self.bundles.forget(id, records);
    }
}
