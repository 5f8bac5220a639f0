//! Results on their way up: taken in from below, brought upstream in batches, kept until the submitter
//! has acknowledged them, and brought round a hop that does not pass them on.

use alloc::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    vec::Vec,
};
use core::time::Duration;

use super::{Effect, HopOutcome, Relay, job::Job};
use crate::{
    id::{Hash, JobId, LeaseId, PeerId, TaskId},
    limits::{GATHER, MAX_BATCH, MAX_UNACKED_BATCHES, RETENTION, SLOW_ACK},
    path::Trail,
    pool::{self, TaskIndex, Want},
    record::{Change, Key, Record},
    result::{Ack, Opened, Output, VerifiedBatch},
    time::Timestamp,
    wire::{Bundle, Frame, Relayed},
};

/// Results wait this long for others to go upstream with, longer while earlier ones are on their way.
const CLOSE: Duration = Duration::from_millis(100);
/// Without an acknowledgement for this long, while there is said to be a way, results go another way.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Without a word of the submitter itself for this long its line is not slow but dead.
const DEAD: Duration = Duration::from_secs(15);
/// Times the patience with a result after which the line's slowness does not explain that it is not there.
const LOST: u32 = 12;

/// Batches that a source has been sent and that are not acknowledged: what its queue surely holds.
const WINDOW: usize = 256;
/// Batches of one neighbour that are kept until they are acknowledged; it keeps what is beyond.
const MOST_OF_ONE: usize = 2 * MAX_UNACKED_BATCHES;

/// How long to wait for the submitter's word on these results: it comes when their outputs are there.
pub fn patience(opened: &[Opened]) -> Duration {
    let long = opened.iter().any(|one| one.output.blob().is_some());
    if long { 12 * PATIENCE } else { PATIENCE }
}

/// A worker's batch on its way.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) bundle: Bundle,
    /// The way of each of its leases, from the submitter on.
    pub(super) trails: Vec<Trail>,
    /// Whom it is brought to: the source of its leases.
    pub(super) source: PeerId,
    /// Who sent it here, and is told when it has arrived.
    from: PeerId,
    since: Timestamp,
    sent: Option<Timestamp>,
    /// When it was brought round the source.
    detoured: Option<Timestamp>,
}

/// A batch that waits for outputs.
#[derive(Debug)]
struct Waiting {
    parcel: Parcel,
    /// The tasks that it answers, and who has had them of this peer.
    hands: Vec<(TaskIndex, PeerId)>,
    missing: BTreeSet<Hash>,
}

/// All of a job's results on their way.
#[derive(Debug, Default)]
pub(super) struct Bundles {
    parcels: BTreeMap<Hash, Parcel>,
    /// Those that are to be sent, in order.
    queue: Vec<Hash>,
    waiting: Vec<Waiting>,
    tasks: BTreeMap<TaskId, u32>,
    /// When it was last looked what is due.
    looked: Timestamp,
    /// How long the last acknowledgement took, and when it came.
    ack_took: Duration,
    acked: Timestamp,
}

impl Parcel {
    pub(super) fn new(
        bundle: Bundle,
        trails: Vec<Trail>,
        source: PeerId,
        from: PeerId,
        now: Timestamp,
    ) -> Self {
        Self { bundle, trails, source, from, since: now, sent: None, detoured: None }
    }

    /// Whether it came from `peer` or through it, on the way up to `me`: that is no way to the submitter.
    fn came_through(&self, me: &PeerId, peer: &PeerId) -> bool {
        let is_below =
            |trail: &Trail| trail.givers().skip_while(|giver| giver != me).any(|one| one == *peer);
        let from_it = [self.from, self.bundle.worker].contains(peer);
        from_it || peer == me || self.trails.iter().any(is_below)
    }

    /// From when on those below are to be told that it has not arrived yet: before their patience ends. Once
    /// they are, they are told the contrary when all that is left is younger than half of that.
    fn slow_from(&self, told: bool) -> Timestamp {
        self.since + patience(&self.bundle.opened) / if told { 4 } else { 2 }
    }

    /// When it is to go another way.
    fn due(&self) -> Timestamp {
        match self.detoured {
            Some(detoured) => detoured + 3 * PATIENCE,
            None => self.sent.unwrap_or(self.since) + patience(&self.bundle.opened),
        }
    }
}

impl Bundles {
    /// Whether a result of the task is on the way.
    pub(super) fn has(&self, task: &TaskId) -> bool {
        self.tasks.contains_key(task)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parcels.is_empty() && self.waiting.is_empty()
    }

    pub(super) fn owes(&self, output: &Hash) -> bool {
        self.outputs().any(|hash| hash == *output)
    }

    /// The outputs of results on their way.
    pub(super) fn outputs(&self) -> impl Iterator<Item = Hash> + '_ {
        let waiting = self.waiting.iter().map(|waiting| &waiting.parcel);
        let parcels = self.parcels.values().chain(waiting);
        parcels.flat_map(|one| &one.bundle.opened).filter_map(|one| one.output.blob())
    }

    pub(super) fn next_wake(&self) -> Option<(Timestamp, &'static str)> {
        let first = self.queue.first().and_then(|root| self.parcels.get(root));
        let send =
            first.map(|parcel| (parcel.since + self.age(&parcel.source), "results to go upstream"));
        let due = self.parcels.values().map(Parcel::due).min();
        let patience = due.map(|at| (at, "patience with a hop"));
        let slow = self.parcels.values().map(|one| one.slow_from(false));
        let slow = slow.filter(|at| *at > self.looked).min().map(|at| (at, "a slow way up"));
        let soonest = self.looked + CLOSE * 2;
        send.into_iter().chain(patience).chain(slow).min().map(|(at, why)| (at.max(soonest), why))
    }

    /// Whether the way to the submitter, which is there itself, is slow: results that came here have not
    /// been acknowledged for long, although acknowledgements come. `told` is what those below know. What is
    /// much too old says nothing: it may be lost.
    pub(super) fn is_slow(&self, now: Timestamp, submitter: &PeerId, told: bool) -> bool {
        let waits = |one: &Parcel| {
            let lost = one.since + patience(&one.bundle.opened) * LOST;
            one.source == *submitter && one.slow_from(told) <= now && now < lost
        };
        now < self.acked + DEAD && self.parcels.values().any(waits)
    }

    /// Whether results are owed to another source than `peer`.
    pub(super) fn has_other(&self, peer: &PeerId) -> bool {
        let waiting = self.waiting.iter().map(|waiting| &waiting.parcel);
        self.parcels.values().chain(waiting).any(|parcel| parcel.source != *peer)
    }

    /// Whether results are owed to `peer`.
    pub(super) fn owes_to(&self, peer: &PeerId) -> bool {
        let waiting = self.waiting.iter().map(|waiting| &waiting.parcel);
        self.parcels.values().chain(waiting).any(|parcel| parcel.source == *peer)
    }

    /// Forgets what nobody has asked for in a long time.
    pub(super) fn expire(&mut self, now: Timestamp, job: JobId, records: &mut Vec<Change>) {
        let old = |(_, parcel): &(&Hash, &Parcel)| parcel.since + RETENTION <= now;
        let roots: Vec<Hash> = self.parcels.iter().filter(old).map(|(root, _)| *root).collect();
        for root in roots {
            self.remove(&root);
            records.push(Change::Delete(Key::parcel(&job, &root)));
        }
    }

    /// Whether the batch with this root is here already, or so many of `from` that it keeps the rest.
    fn is_full(&self, from: &PeerId, root: &Hash) -> bool {
        let waiting = || self.waiting.iter().map(|waiting| &waiting.parcel);
        let of_one = self.parcels.values().chain(waiting()).filter(|one| one.from == *from);
        waiting().any(|one| one.bundle.commit.root == *root) || of_one.count() >= MOST_OF_ONE
    }

    pub(super) fn add(&mut self, root: Hash, parcel: Parcel) {
        for one in &parcel.bundle.opened {
            *self.tasks.entry(one.leaf.task).or_default() += 1;
        }
        self.queue.push(root);
        self.parcels.insert(root, parcel);
    }

    fn remove(&mut self, root: &Hash) -> Option<Parcel> {
        let parcel = self.parcels.remove(root)?;
        self.queue.retain(|one| one != root);
        for one in &parcel.bundle.opened {
            if let Some(count) = self.tasks.get_mut(&one.leaf.task) {
                *count -= 1;
                if *count == 0 {
                    self.tasks.remove(&one.leaf.task);
                }
            }
        }
        Some(parcel)
    }

    /// Somebody is there: who waits for a way round need not wait longer.
    pub(super) fn hurry(&mut self) {
        for parcel in self.parcels.values_mut().filter(|parcel| parcel.detoured.is_some()) {
            parcel.detoured = Some(Timestamp(0));
        }
    }

    /// A task whose result is on its way to somebody who is gone was leased anew by `to`: who leases it can
    /// bring the result on.
    pub(super) fn redirect(
        &mut self,
        task: &TaskId,
        (me, to): (&PeerId, PeerId),
        is_here: impl Fn(&PeerId) -> bool,
    ) {
        for (root, parcel) in &mut self.parcels {
            let about = parcel.bundle.opened.iter().any(|one| one.leaf.task == *task);
            if about
                && !parcel.came_through(me, &to)
                && parcel.source != to
                && !is_here(&parcel.source)
            {
                (parcel.source, parcel.sent, parcel.detoured) = (to, None, None);
                self.queue.retain(|one| one != root);
                self.queue.push(*root);
            }
        }
    }

    /// What `source` never acknowledged is sent again: it is back.
    pub(super) fn again(&mut self, source: &PeerId) {
        let unsent = |(_, parcel): &(&Hash, &mut Parcel)| parcel.source == *source;
        let mut again: Vec<(Timestamp, Hash)> = self
            .parcels
            .iter_mut()
            .filter(unsent)
            .map(|(root, parcel)| {
                (parcel.sent, parcel.detoured) = (None, None);
                (parcel.since, *root)
            })
            .collect();
        again.sort_unstable();
        let back: BTreeSet<Hash> = again.iter().map(|(_, root)| *root).collect();
        self.queue.retain(|root| !back.contains(root));
        self.queue.extend(again.into_iter().map(|(_, root)| root));
    }

    pub(super) fn forget(self, job: JobId, records: &mut Vec<Change>) {
        let roots = self.parcels.into_keys();
        records.extend(roots.map(|root| Change::Delete(Key::parcel(&job, &root))));
    }

    /// How long results for `source` wait for others.
    fn age(&self, source: &PeerId) -> Duration {
        let sent = |one: &Parcel| one.source == *source && one.sent.is_some();
        let under_way = || self.parcels.values().any(sent);
        if self.ack_took > SLOW_ACK && under_way() { GATHER } else { CLOSE }
    }

    /// The next frame for `source` of what is due, whole batches, as many as fit.
    fn frame(&mut self, now: Timestamp, source: &PeerId) -> Option<Relayed> {
        let of_source =
            |root: &&Hash| self.parcels.get(*root).is_some_and(|one| one.source == *source);
        let queued: Vec<Hash> = self.queue.iter().filter(of_source).copied().collect();
        let results = |root: &Hash| self.parcels[root].bundle.opened.len();
        let all: usize = queued.iter().map(results).sum();
        let age = self.age(source);
        let old = queued.first().is_some_and(|root| self.parcels[root].since + age <= now);
        if queued.is_empty() || (all < MAX_BATCH && !old) {
            return None;
        }
        let sent = self.parcels.values().filter(|one| one.source == *source && one.sent.is_some());
        if sent.count() >= WINDOW {
            return None;
        }
        let mut chosen = Vec::new();
        let mut count = 0;
        for root in queued {
            count += results(&root);
            if count > MAX_BATCH && !chosen.is_empty() {
                break;
            }
            chosen.push(root);
        }
        self.queue.retain(|root| !chosen.contains(root));
        for root in &chosen {
            if let Some(parcel) = self.parcels.get_mut(root) {
                parcel.sent = Some(now);
            }
        }
        Some(frame(chosen.iter().map(|root| &self.parcels[root]), source))
    }

    /// The batches that have been on the way for too long without a word.
    fn overdue(&self, now: Timestamp) -> Vec<Hash> {
        let late = |(_, parcel): &(&Hash, &Parcel)| parcel.due() <= now;
        self.parcels.iter().filter(late).map(|(root, _)| *root).collect()
    }
}

/// Results as they are sent to `to`.
fn frame<'a>(parcels: impl Iterator<Item = &'a Parcel>, to: &PeerId) -> Relayed {
    let (mut bundles, mut trails) = (Vec::new(), Vec::new());
    for parcel in parcels {
        bundles.push(parcel.bundle.clone());
        for trail in &parcel.trails {
            let cut = trail.below(to);
            if !trails.contains(&cut) {
                trails.push(cut);
            }
        }
    }
    Relayed { bundles, trails, tasks: Vec::new() }
}

/// The ways of a batch's leases, the source that they came from, and the tasks that it answers with who
/// had each of this peer.
type Routes = (Vec<Trail>, PeerId, Vec<(TaskIndex, PeerId)>);

/// Finds out how each result of a batch belongs to what was handed on here. None if that is not known any
/// more: it may be true all the same, and whoever has it may bring it elsewhere.
fn routes(
    job: &Job,
    me: &PeerId,
    from: &PeerId,
    batch: &VerifiedBatch,
    trails: &[Trail],
) -> Result<Option<Routes>, &'static str> {
    let worker = batch.worker();
    let mut known: BTreeMap<LeaseId, Way> = BTreeMap::new();
    let mut hands = Vec::new();
    for one in batch.opened() {
        let (lease, task) = (one.leaf.lease, one.leaf.task);
        if one.output.len() > job.longest() {
            return Err("an output longer than the job allows");
        }
        let way = match known.entry(lease) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => match way(job, me, (from, &worker), &lease, trails)? {
                Some(way) => place.insert(way),
                None => return Ok(None),
            },
        };
        let Some((hand, given)) = way.through else { continue };
        let Some(sub) = job.sub(&given) else { return Ok(None) };
        let index = job.task_of(sub, &task).filter(|_| sub.worker() == hand);
        hands.push((index.ok_or("a result for a task that was not leased to it")?, hand));
    }
    let source = known.values().next().map(|way| way.source);
    let trails = known.into_values().map(|way| way.trail).collect();
    Ok(source.map(|source| (trails, source, hands)))
}

/// How one lease leads from the submitter to a worker.
struct Way {
    source: PeerId,
    trail: Trail,
    /// To whom this peer handed it, and as what; none if it does not lead through here.
    through: Option<(PeerId, LeaseId)>,
}

/// Finds the way of a lease. None if it is not known any more what was handed on.
fn way(
    job: &Job,
    me: &PeerId,
    (from, worker): (&PeerId, &PeerId),
    lease: &LeaseId,
    trails: &[Trail],
) -> Result<Option<Way>, &'static str> {
    const NONE: &str = "a result whose lease has no way from here";
    let fits = |trail: &&Trail| trail.lease() == Some(*lease);
    let mut cut = trails.iter().filter(fits).map(|trail| trail.below(me));
    // Givers below may call different leases alike: the way of this one is signed for its worker.
    let below = match cut.find(|trail| job.errand.check_trail(trail, worker).is_ok()) {
        Some(below) => below,
        None if worker == from => Trail { parent: Some(*lease), hops: Vec::new() },
        None => return Err(NONE),
    };
    let hand = below.hops.first().map_or(*worker, |hop| hop.giver);
    let Some(given) = below.parent else {
        return Ok(Some(Way { source: hand, trail: below, through: None }));
    };
    let Some(sub) = job.sub(&given) else { return Ok(None) };
    if sub.worker() != hand {
        return Err("a result for a task that was not leased to it");
    }
    let (source, trail) = sub.way(below.hops);
    // Each part may be in order and the whole be too long, or lead in a ring.
    job.errand.check_trail(&trail, worker).map_err(|_| NONE)?;
    Ok(Some(Way { source, trail, through: Some((hand, given)) }))
}

impl Relay {
    /// Takes a batch in from below.
    pub(super) fn results(
        &mut self,
        now: Timestamp,
        from: PeerId,
        batch: &VerifiedBatch,
        trails: &[Trail],
    ) {
        let (id, root) = (batch.commit().job, batch.commit().root);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if let Some(parcel) = job.bundles.parcels.get_mut(&root) {
            parcel.from = from; // said again: it is not there yet
            return;
        }
        if job.bundles.is_full(&from, &root) {
            return;
        }
        let (trails, source, hands) = match routes(job, &self.me, &from, batch, trails) {
            Ok(Some(routes)) => routes,
            Ok(None) => return,
            Err(what) => return self.out.effects.push(Effect::Violation(from, what)),
        };
        // What does not lead through here is brought to the submitter, or to who may bring it there.
        let is_here = |peer: &PeerId| self.below.contains_key(peer);
        let source = if hands.is_empty() && !is_here(&source) {
            let may_bring = |peer: &PeerId| is_here(peer) && ![from, batch.worker()].contains(peer);
            match job.other_source(&source, may_bring) {
                Some(other) => other,
                None => return,
            }
        } else {
            source
        };
        let bundle = Bundle {
            worker: batch.worker(),
            commit: batch.commit().clone(),
            opened: batch.opened().to_vec(),
        };
        let mut missing = BTreeSet::new();
        for Opened { output, .. } in bundle.opened.iter().filter(|_| bundle.worker != self.me) {
            if let Output::Blob { hash, len } = output
                && missing.insert(*hash)
            {
                self.out.effects.push(Effect::Fetch { hash: *hash, len: *len, from });
            }
        }
        let parcel = Parcel::new(bundle, trails, source, from, now);
        let waiting = Waiting { parcel, hands, missing };
        if waiting.missing.is_empty() {
            self.complete(now, &id, waiting);
        } else {
            job.bundles.waiting.push(waiting);
        }
    }

    pub(super) fn blob(&mut self, now: Timestamp, hash: &Hash, here: bool) {
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in ids {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            let waits = |one: &Waiting| one.missing.contains(hash);
            if !job.bundles.waiting.iter().any(waits) {
                continue;
            }
            let all = core::mem::take(&mut job.bundles.waiting);
            let (hit, rest): (Vec<Waiting>, Vec<Waiting>) = all.into_iter().partition(waits);
            job.bundles.waiting = rest;
            for mut waiting in hit {
                waiting.missing.remove(hash);
                if !here {
                    // Who does not deliver has not answered: others are asked.
                    for (task, worker) in waiting.hands {
                        self.in_pool(now, &id, pool::Input::Inconclusive { worker, task });
                    }
                } else if waiting.missing.is_empty() {
                    self.complete(now, &id, waiting);
                } else if let Some(job) = self.jobs.get_mut(&id) {
                    job.bundles.waiting.push(waiting);
                }
            }
        }
    }

    /// A batch is here with all its outputs: stored, and its tasks are done with.
    fn complete(&mut self, now: Timestamp, id: &JobId, Waiting { parcel, hands, .. }: Waiting) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let root = parcel.bundle.commit.root;
        let opened = parcel.bundle.opened.iter();
        let unable: BTreeSet<TaskId> = opened
            .filter(|one| !one.leaf.status.is_conclusive())
            .map(|one| one.leaf.task)
            .collect();
        self.out.records.push(Change::Put(Record::Parcel {
            source: parcel.source,
            from: parcel.from,
            bundle: parcel.bundle.clone(),
            trails: parcel.trails.clone(),
        }));
        job.bundles.add(root, parcel);
        for (task, worker) in hands {
            let Some(job) = self.jobs.get_mut(id) else { return };
            job.done(task, &mut self.out.records);
            let wants = Vec::from([Want::anyone(task, 0)]);
            // Who could not say may be asked again, should the source want that.
            if job.task_id(task).is_some_and(|id| unable.contains(&id)) {
                self.in_pool(now, id, pool::Input::Wanted(wants));
            } else {
                self.in_pool(now, id, pool::Input::Returned { worker, task, wants });
            }
        }
    }

    /// The submitter has a batch.
    pub(super) fn acked(&mut self, now: Timestamp, by: &PeerId, ack: &Ack) {
        let Some(job) = self.jobs.get_mut(&ack.job) else { return };
        let Some(parcel) = job.bundles.remove(&ack.root) else { return };
        self.out.records.push(Change::Delete(Key::parcel(&ack.job, &ack.root)));
        if let Some(sent) = parcel.sent {
            job.bundles.ack_took = now.since(sent);
        }
        if *by == job.errand.submitter {
            job.bundles.acked = now;
        }
        let Parcel { source, from, detoured, .. } = parcel;
        if source != job.errand.submitter {
            // Nothing can come through one that is gone or says that it has no way: that is no fault of its.
            let said_so = job.is_away(&source);
            let is_here = self.below.contains_key(&source);
            let dropped = detoured.is_some() && *by != source && is_here && !said_so;
            let outcome = if dropped { HopOutcome::Dropped } else { HopOutcome::Delivered };
            if dropped || *by == source {
                self.out.effects.push(Effect::Hop { peer: source, outcome });
            }
        }
        self.out.effects.push(Effect::Send(from, Frame::Ack(ack.clone())));
    }

    /// Brings upstream what is due, and round a hop what that does not pass on.
    pub(super) fn deliver(&mut self, now: Timestamp) {
        for job in self.jobs.values_mut() {
            job.bundles.looked = now;
            let sources: BTreeSet<PeerId> = job
                .bundles
                .queue
                .iter()
                .filter_map(|root| Some(job.bundles.parcels.get(root)?.source))
                .collect();
            for source in sources.iter().filter(|source| self.below.contains_key(source)) {
                while let Some(frame) = job.bundles.frame(now, source) {
                    self.out.effects.push(Effect::Send(*source, Frame::Relayed(frame)));
                }
            }
            job.tell_route(now, None, &mut self.out.effects);
        }
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in ids {
            self.detour(now, &id);
        }
    }

    fn detour(&mut self, now: Timestamp, id: &JobId) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        for root in job.bundles.overdue(now) {
            let Some(parcel) = job.bundles.parcels.get(&root) else { continue };
            let (source, submitter) = (parcel.source, job.errand.submitter);
            let is_above = |peer: &PeerId| !parcel.came_through(&self.me, peer);
            let is_here = |peer: &PeerId| self.below.contains_key(peer);
            let direct = is_here(&submitter);
            if (source == submitter && direct) || !(direct || job.may_go_round(now, &source)) {
                continue; // there is nobody in between, or it says itself that it cannot
            }
            let may_bring = |peer: &PeerId| is_here(peer) && is_above(peer);
            let other = way_round(&parcel.trails, &source, may_bring);
            let other = other.or_else(|| job.other_source(&source, may_bring));
            let Some(parcel) = job.bundles.parcels.get_mut(&root) else { continue };
            parcel.detoured = Some(now);
            match other {
                Some(other) => {
                    let relayed = frame(core::iter::once(&*parcel), &other);
                    self.out.effects.push(Effect::Send(other, Frame::Relayed(relayed)));
                }
                None => return self.out.effects.push(Effect::Reach(submitter)),
            }
        }
    }
}

/// Who else stands on the way of these leases and is there: the nearest to the submitter.
pub fn way_round(
    trails: &[Trail],
    source: &PeerId,
    is_here: impl Fn(&PeerId) -> bool,
) -> Option<PeerId> {
    let mut above = trails.first()?.givers();
    above.find(|giver| giver != source && is_here(giver))
}
