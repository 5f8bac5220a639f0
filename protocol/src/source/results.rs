//! What becomes of a worker's results: fetched if they are long, counted once, acknowledged in order.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::{Effect, Source};
use crate::{
    id::{Hash, LeaseId, PeerId, TaskId},
    limits::{MAX_INCONCLUSIVE, MAX_UNACKED_BATCHES},
    path::Trail,
    pool::{self, TaskIndex},
    record::{Change, JobState, Record},
    result::{Ack, Opened, Output, Proof, VerifiedBatch},
    standing::Standings,
    time::Timestamp,
    verify::{Taken, Vote},
    wire::Frame,
};

/// How a result came.
#[derive(Debug, Clone)]
pub(super) struct Route {
    /// Who sent it here.
    pub(super) from: PeerId,
    /// The neighbour that the task was handed to.
    pub(super) hand: PeerId,
    /// The lease that it was handed under.
    lease: LeaseId,
    /// The relays that the lease went through, nearest first.
    pub(super) via: Vec<PeerId>,
}

/// A result of a batch that this job asked for.
#[derive(Debug)]
pub(super) struct Admitted {
    /// Its place in the batch.
    at: usize,
    task: TaskIndex,
    pub(super) route: Route,
}

/// A result whose output is still to be fetched.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    task: TaskIndex,
    /// Root of the batch that it came in.
    root: Hash,
    route: Route,
    proof: Proof,
    opened: Opened,
}

/// An output that has been asked for and not been answered, and the results that have it.
#[derive(Debug)]
pub(super) struct Fetching {
    /// Who was asked; none if that peer has left since, and is not to blame if it does not come.
    asked: Option<PeerId>,
    waiting: Vec<Pending>,
}

/// An acknowledgement that waits for outputs to be here.
#[derive(Debug)]
pub(super) struct Deferred {
    /// Who sent the batch.
    from: PeerId,
    worker: PeerId,
    root: Hash,
    sequence: u64,
    missing: BTreeSet<Hash>,
}

impl Source {
    /// Results of a neighbour's own.
    pub(super) fn results(
        &mut self,
        now: Timestamp,
        worker: PeerId,
        batch: &VerifiedBatch,
        standings: &mut Standings,
    ) {
        match self.admit(&worker, batch) {
            Ok(routes) => self.take_batch(now, worker, batch, routes, standings),
            Err(what) => self.out.effects.push(Effect::Violation(worker, what)),
        }
    }

    /// Results that came through relays, or round them: `trails` say how their leases went.
    pub(super) fn relayed(
        &mut self,
        now: Timestamp,
        from: PeerId,
        batch: &VerifiedBatch,
        (trails, tasks): (&[Trail], &[Vec<TaskId>]),
        standings: &mut Standings,
    ) {
        match self.admit_relayed(&from, batch, trails) {
            Ok(routes) => {
                self.note_routes(now, batch, &routes);
                self.take_batch(now, from, batch, routes, standings);
            }
            // A worker cannot know that it was given what this job does not have, nor can a relay that brings
            // results round the one that gave it.
            Err(_) if from == batch.worker() || self.goes_round(&from, batch, trails) => {
                if let Some(giver) = self.altered(batch, trails, tasks) {
                    let what = "a lease of tasks that its job does not have";
                    self.out.effects.push(Effect::Violation(giver, what));
                }
                if !self.is_running() {
                    self.out.effects.push(Effect::Send(from, self.over()));
                }
            }
            Err(what) => self.out.effects.push(Effect::Violation(from, what)),
        }
    }

    /// Whether the ways of a batch are signed and begin with another relay than who brought it.
    fn goes_round(&self, from: &PeerId, batch: &VerifiedBatch, trails: &[Trail]) -> bool {
        let leases: BTreeSet<LeaseId> = batch.opened().iter().map(|one| one.leaf.lease).collect();
        let of_batch = |trail: &&Trail| trail.lease().is_some_and(|one| leases.contains(&one));
        let mut ways = trails.iter().filter(of_batch).map(|trail| trail.below(&self.me)).peekable();
        let elsewhere = |way: Trail| {
            way.hops.first().is_some_and(|hop| hop.giver != *from)
                && self.errand().check_trail(&way, &batch.worker()).is_ok()
        };
        ways.peek().is_some() && ways.all(elsewhere)
    }

    fn take_batch(
        &mut self,
        now: Timestamp,
        from: PeerId,
        batch: &VerifiedBatch,
        routes: Vec<Admitted>,
        standings: &mut Standings,
    ) {
        let commit = batch.commit();
        let worker = batch.worker();
        let own = |one: &Admitted| one.route.via.is_empty() && one.route.from == worker;
        let direct = from == worker && routes.iter().all(own);
        let mut missing = BTreeSet::new();
        for Admitted { at, task, route } in routes {
            let Some((proof, opened)) = batch.proof(at).zip(batch.opened().get(at).cloned()) else {
                continue;
            };
            let pending = Pending { task, root: commit.root, route, proof, opened };
            if let Some(hash) = self.result(now, worker, pending, standings) {
                missing.insert(hash);
            }
        }
        let (root, sequence) = (commit.root, commit.sequence);
        let deferred = Deferred { from, worker, root, sequence, missing };
        if direct {
            let stats = self.workers.entry(worker).or_default();
            stats.heard = stats.heard.max(sequence);
        }
        if deferred.missing.is_empty() {
            self.acknowledge(&deferred);
        } else if !self
            .deferred
            .iter()
            .any(|one| (one.from, one.root, one.sequence) == (from, root, sequence))
        {
            self.deferred.push(deferred);
        }
        if self.state != JobState::Running {
            self.out.effects.push(Effect::Send(from, self.over()));
        }
    }

    /// The tasks of a batch that this worker may send.
    fn admit(&self, worker: &PeerId, batch: &VerifiedBatch) -> Result<Vec<Admitted>, &'static str> {
        let route = |one: &Opened| {
            let (from, hand, lease) = (*worker, *worker, one.leaf.lease);
            let route = Route { from, hand, lease, via: Vec::new() };
            Ok(Some(route).filter(|_| !self.has_forgotten(&lease)))
        };
        self.admit_by(batch, route)
    }

    /// The tasks of a batch that came by `trails`: each begins with a hop of a neighbour that the task was
    /// leased to, and ends with the worker and the lease that it names.
    fn admit_relayed(
        &self,
        from: &PeerId,
        batch: &VerifiedBatch,
        trails: &[Trail],
    ) -> Result<Vec<Admitted>, &'static str> {
        let mut known: BTreeMap<LeaseId, Option<Route>> = BTreeMap::new();
        for trail in trails {
            let trail = trail.below(&self.me);
            let (Some(lease), Some(parent)) = (trail.lease(), trail.parent) else { continue };
            let wanted = batch.opened().iter().any(|one| one.leaf.lease == lease);
            let ours = trail.hops.first().is_some_and(|hop| {
                self.state != JobState::Running || self.pool.knows_lease(&hop.giver, &parent)
            });
            let forgotten = self.has_forgotten(&parent);
            let wanted = wanted && (ours || forgotten) && !known.contains_key(&lease);
            if !wanted || self.errand().check_trail(&trail, &batch.worker()).is_err() {
                continue;
            }
            let via: Vec<PeerId> = trail.givers().collect();
            let Some(hand) = via.first().copied() else { continue };
            let route = Route { from: *from, hand, lease: parent, via };
            known.insert(lease, Some(route).filter(|_| ours));
        }
        let route = |one: &Opened| {
            known.get(&one.leaf.lease).cloned().ok_or("a result whose lease has no way from here")
        };
        self.admit_by(batch, route)
    }

    /// Whether a lease may be one that this job gave before a restart and has lost, as a machine without
    /// power loses what it wrote last: what comes of it is nobody's fault, and does not count (spec WORK-13).
    fn has_forgotten(&self, lease: &LeaseId) -> bool {
        self.restored && self.state == JobState::Running && !self.pool.has_lease(lease)
    }

    fn admit_by(
        &self,
        batch: &VerifiedBatch,
        route: impl Fn(&Opened) -> Result<Option<Route>, &'static str>,
    ) -> Result<Vec<Admitted>, &'static str> {
        let running = self.state == JobState::Running;
        let longest = self.manifest.program.limits.output;
        let mut routes = Vec::new();
        for (at, one) in batch.opened().iter().enumerate() {
            let Some(route) = route(one)? else { continue };
            let index = self.by_id.get(&one.leaf.task).copied();
            let leased = |index: &TaskIndex| {
                !running || self.pool.was_leased(&route.hand, &route.lease, *index)
            };
            let Some(index) = index.filter(leased) else {
                return Err("a result for a task that was not leased to it");
            };
            if matches!(one.output, Output::Blob { len, .. } if len > longest) {
                return Err("an output longer than the job allows");
            }
            routes.push(Admitted { at, task: index, route });
        }
        let worker = batch.worker();
        let deferred = self.deferred.iter().filter(|one| one.worker == worker).count();
        if deferred >= 2 * MAX_UNACKED_BATCHES {
            return Err("more batches than may be unacknowledged");
        }
        Ok(routes)
    }

    /// Takes one result in; says which output it waits for, if it waits.
    fn result(
        &mut self,
        now: Timestamp,
        worker: PeerId,
        pending: Pending,
        standings: &mut Standings,
    ) -> Option<Hash> {
        let running = self.state == JobState::Running;
        let (task, one) = (pending.task, &pending.opened);
        if !one.leaf.status.is_conclusive() {
            self.inconclusive(now, worker, &pending, standings);
            return None;
        }
        if self.has_voted(now, worker, &pending, standings) {
            // It may have come by another hand than the first time: that one is done with it, too.
            let (worker, wants) = (pending.route.hand, Vec::new());
            if self.pool.is_held(&worker, &pending.route.lease, task) {
                self.pool(now, pool::Input::Returned { worker, task, wants });
            }
            return None;
        }
        if !running && !self.may_come_late(&pending) {
            return None;
        }
        match one.output {
            // The submitter's own outputs are stored already; what is settled is not fetched.
            Output::Blob { hash, .. } if worker != self.me && !self.verifier.is_settled(task) => {
                if self.awaited.insert((task, worker)) {
                    let (hand, lease) = (pending.route.hand, pending.route.lease);
                    self.fetch(hash, Vec::from([pending]));
                    // Where results are checked, copies that are made ahead are checks.
                    let checks = self.manifest.policy.checks();
                    if !checks && self.pool.is_held(&hand, &lease, task) {
                        self.pool(now, pool::Input::Coming { worker: hand, task });
                    }
                }
                self.fetching.contains_key(&hash).then_some(hash)
            }
            _ => {
                self.vote(now, worker, pending, standings);
                None
            }
        }
    }

    /// Whether a result for a job that is over is still of use: as a copy that was handed out in time.
    fn may_come_late(&self, Pending { task, route, .. }: &Pending) -> bool {
        self.verifier.is_settled(*task) && self.pool.was_leased(&route.hand, &route.lease, *task)
    }

    /// Whether the worker's word on the task is known already: what it said first stands, here and in
    /// the store. Saying something else the second time is a proof against it.
    fn has_voted(
        &mut self,
        now: Timestamp,
        worker: PeerId,
        pending: &Pending,
        standings: &mut Standings,
    ) -> bool {
        let Some(known) = self.verifier.vote_of(pending.task, &worker) else { return false };
        if known != pending.proof.outcome() && self.state == JobState::Running {
            self.verifier.equivocated(now, worker, standings);
            self.verified(now, standings);
        }
        true
    }

    /// Lets results wait for their output, which the first of their workers is asked for unless the
    /// output is on its way already.
    fn fetch(&mut self, hash: Hash, mut waiting: Vec<Pending>) {
        if let Some(fetching) = self.fetching.get_mut(&hash) {
            return fetching.waiting.append(&mut waiting);
        }
        let Some(first) = waiting.first() else { return };
        let (from, len) = (first.route.from, first.opened.output.len());
        self.out.effects.push(Effect::Fetch { hash, len, from });
        self.fetching.insert(hash, Fetching { asked: Some(from), waiting });
    }

    /// A peer is gone: results that it sent and that wait are forgotten, for it sends them again when it
    /// is back; they were never acknowledged.
    pub(super) fn forget_awaited(&mut self, peer: &PeerId) {
        let mut dropped = Vec::new();
        for fetching in self.fetching.values_mut() {
            fetching.waiting.retain(|one| {
                let hit = one.route.from == *peer;
                if hit {
                    dropped.push((one.task, one.proof.leaf.worker));
                }
                !hit
            });
            fetching.asked = fetching.asked.filter(|asked| asked != peer);
        }
        for one in &dropped {
            self.awaited.remove(one);
        }
        self.deferred.retain(|one| one.from != *peer);
    }

    pub(super) fn blob(
        &mut self,
        now: Timestamp,
        hash: &Hash,
        here: bool,
        standings: &mut Standings,
    ) {
        self.promised_blob(now, hash, here, standings);
        let Some(Fetching { asked, waiting }) = self.fetching.remove(hash) else { return };
        let mut others = Vec::new();
        for one in waiting {
            let worker = one.proof.leaf.worker;
            let settled = self.verifier.is_settled(one.task);
            // Whoever else claims the output is asked next: who does not deliver spoils nobody's vote.
            if !here && !settled && asked != Some(one.route.from) {
                others.push(one);
                continue;
            }
            self.awaited.remove(&(one.task, worker));
            if here || settled {
                self.vote(now, worker, one, standings);
            } else {
                self.inconclusive(now, worker, &one, standings);
            }
        }
        self.fetch(*hash, others);
        self.flush(hash);
    }

    /// Acknowledges what waited for `hash` alone, unless its worker is still to be asked for it.
    fn flush(&mut self, hash: &Hash) {
        let wait: &[Pending] = self.fetching.get(hash).map_or(&[], |fetching| &fetching.waiting);
        let mut ready = Vec::new();
        self.deferred.retain_mut(|deferred| {
            let still = wait.iter().any(|one| one.root == deferred.root);
            let hit = !still && deferred.missing.remove(hash);
            let done = deferred.missing.is_empty();
            if hit && done {
                ready.push(Deferred { missing: BTreeSet::new(), ..*deferred });
            }
            !done
        });
        for deferred in &ready {
            self.acknowledge(deferred);
        }
    }

    /// Says that a batch is stored, or, to a neighbour of its own, everything up to the first batch with a
    /// missing output.
    fn acknowledge(&mut self, what: &Deferred) {
        let mut highest = what.sequence;
        if what.from == what.worker {
            let heard = self.workers.get(&what.worker).map_or(0, |stats| stats.heard);
            let own = |one: &&Deferred| one.from == what.worker && one.worker == what.worker;
            let waiting = self.deferred.iter().filter(own).map(|one| one.sequence);
            highest = waiting.min().map_or(heard, |first| heard.min(first.saturating_sub(1)));
            let heard = Record::Heard { job: self.job, worker: what.worker, highest };
            self.out.records.push(Change::Put(heard));
        }
        let ack = Ack::sign(&self.key, self.job, what.root, highest);
        self.out.effects.push(Effect::Send(what.from, Frame::Ack(ack)));
    }

    /// Counts an attempt that says nothing, once for each lease of the task: the first time ends the
    /// worker's hold of it.
    fn inconclusive(
        &mut self,
        now: Timestamp,
        worker: PeerId,
        Pending { task, route, opened, .. }: &Pending,
        standings: &mut Standings,
    ) {
        let (task, hand) = (*task, route.hand);
        if !self.pool.is_held(&hand, &route.lease, task) || self.state != JobState::Running {
            return;
        }
        let stats = self.workers.entry(worker).or_default();
        stats.inconclusive += 1;
        stats.micros = stats.micros.saturating_add(opened.micros);
        let tries = self.inconclusive.entry(task).or_default();
        *tries += 1;
        let tries = *tries;
        self.pool(now, pool::Input::Inconclusive { worker: hand, task });
        self.verifier.unable(now, task, &hand, standings);
        if tries >= MAX_INCONCLUSIVE {
            self.verifier.give_up(task);
        }
        self.verified(now, standings);
        self.out.effects.push(Effect::Changed);
    }

    /// A worker that counts for nothing any more has had a task of a relay: that one is to give it none,
    /// and was no help with this one.
    fn keep_from(
        &mut self,
        now: Timestamp,
        worker: PeerId,
        hand: PeerId,
        task: TaskIndex,
        standings: &mut Standings,
    ) {
        self.out.effects.push(self.exclusion(worker, hand));
        self.pool(now, pool::Input::Inconclusive { worker: hand, task });
        self.verifier.unable(now, task, &hand, standings);
        self.verified(now, standings);
    }

    fn vote(&mut self, now: Timestamp, worker: PeerId, result: Pending, standings: &mut Standings) {
        if self.has_voted(now, worker, &result, standings) {
            return;
        }
        let Pending { task, root, route: Route { hand, via, .. }, proof, opened } = result;
        let outcome = proof.outcome();
        let vote = Vote { worker, via: via.clone(), outcome, root, id: proof.leaf.task };
        let stats = self.workers.entry(worker).or_default();
        stats.returned += 1;
        stats.micros = stats.micros.saturating_add(opened.micros);
        let taken = self.verifier.vote(now, task, vote, standings);
        let wants = self.verdicts(now, standings);
        if matches!(taken, Taken::Ignored) && hand != worker {
            self.pool(now, pool::Input::Wanted(wants));
            return self.keep_from(now, worker, hand, task, standings);
        }
        if let Taken::Late { agrees, .. } = taken {
            let stats = self.workers.entry(worker).or_default();
            stats.late += 1;
            stats.outvoted += u64::from(!agrees);
        }
        if matches!(taken, Taken::Counted | Taken::Late { checked: true, .. }) {
            self.outputs.extend(super::blob_of(&opened.output));
            self.out.records.push(Change::Put(Record::Vote {
                job: self.job,
                task,
                proof,
                output: opened.output,
                log: opened.log.into_vec(),
                micros: opened.micros,
                via,
            }));
        }
        self.pool(now, pool::Input::Returned { worker: hand, task, wants });
        self.out.effects.push(Effect::Changed);
    }
}
