//! What this peer computes for others (and, through the same door, for itself).
//!
//! Takes offers and leases, says how much it is willing to hold, feeds the slots fairly among
//! sources, and turns finished attempts into signed batches that it keeps until they are
//! acknowledged. It does not execute anything and does not know what an engine is.

mod blobs;
mod foreign;
mod upstream;

#[cfg(test)]
mod tests;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    sync::Arc,
    vec::Vec,
};
use core::{ops::RangeInclusive, time::Duration};

use serde_bytes::ByteBuf;

use crate::{
    batch::Batch,
    crypto::Keypair,
    entropy::Entropy,
    id::{Hash, JobId, LeaseId, PeerId, TaskId},
    limits::{
        MAX_BATCH, MAX_CREDIT, MAX_FOREIGN_JOBS, MAX_LOG, MAX_UNACKED_BATCHES, RENEW, RETENTION,
    },
    offer::{self, Lending},
    record::{Change, Record},
    relay::{Demand, HopOutcome},
    result::{Ack, Leaf, Opened, Output, output_commit},
    task::{self, Program, Status},
    time::Timestamp,
    wire::{Cancel, Credit, Frame, Lease, Offer, Reason, Refuse, Renew, Route},
};
use foreign::{Foreign, Held};

/// Work that a worker would like to hold, as time at its measured speed.
const AHEAD: Duration = Duration::from_secs(3);
/// An idle worker asks around this often, and twice as rarely each time that nobody offers anything: a
/// job that begins is offered unasked, and on a slow link every frame counts.
const ASK: Duration = Duration::from_secs(15);
const MAX_IN_VAIN: u32 = 3;
/// Bytes that links are compared by.
const SMALL_LEASE: u64 = 16 << 10;
/// Peers asked at a time.
const ASKED: usize = 8;
/// Work of a source that has been away for this long is not begun any more.
const STALE: Duration = Duration::from_secs(3600);

/// What happens to the worker.
#[derive(Debug, Clone)]
pub enum Input {
    /// A peer is connected.
    Up {
        /// Who.
        peer: PeerId,
        /// How near it is.
        proximity: offer::Proximity,
    },
    /// A peer is gone.
    Down {
        /// Who.
        peer: PeerId,
    },
    /// A source has work.
    Offer {
        /// Who.
        peer: PeerId,
        /// What.
        offer: Offer,
    },
    /// A source hands over tasks.
    Lease {
        /// Who.
        peer: PeerId,
        /// What.
        lease: Lease,
        /// Whether it is to be handed on.
        hand_on: bool,
    },
    /// A source tells how it is connected towards the submitter.
    Route {
        /// Who.
        peer: PeerId,
        /// What.
        route: Route,
    },
    /// A peer below asks for work, and there is none here to hand on.
    AskedBelow {
        /// Who.
        peer: PeerId,
    },
    /// A source turned out not to pass on what it is given: nothing more is taken of it.
    Shun {
        /// Who.
        peer: PeerId,
    },
    /// A source no longer wants work.
    Cancel {
        /// Who.
        peer: PeerId,
        /// What.
        cancel: Cancel,
    },
    /// A submitter has stored batches; its signature has been checked.
    Ack {
        /// Who brought its word.
        peer: PeerId,
        /// Its word.
        ack: Ack,
    },
    /// A blob that was asked for is here, or is not to be had.
    Blob {
        /// Which.
        hash: Hash,
        /// Whether it is here.
        here: bool,
    },
    /// An attempt ended.
    Executed {
        /// Which.
        attempt: u64,
        /// How.
        status: Status,
        /// Its standard output.
        output: Output,
        /// Its work.
        fuel: u64,
        /// Its standard error.
        log: Vec<u8>,
        /// Its duration.
        micros: u64,
    },
    /// What was measured of the link to a peer.
    Link {
        /// Whom.
        peer: PeerId,
        /// Microseconds there and back.
        micros: u64,
        /// Bytes a second that go through it; 0 while unknown.
        rate: u64,
    },
    /// The operator wants the machine back.
    Pause,
    /// The operator lends it again.
    Resume,
    /// Time passed.
    Tick,
}

/// What the worker wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Say this to that peer.
    Send(PeerId, Frame),
    /// Get this blob from that peer, unless it is here already; answered by [`Input::Blob`].
    Fetch {
        /// Which.
        hash: Hash,
        /// Its length.
        len: u64,
        /// From whom.
        from: PeerId,
    },
    /// Execute; answered by [`Input::Executed`].
    Run {
        /// Names the attempt.
        attempt: u64,
        /// The program.
        program: Arc<Program>,
        /// The task.
        task: TaskId,
        /// Its input.
        input: task::Input,
    },
    /// Stop an attempt; no answer is expected, one that comes is ignored.
    Kill(u64),
    /// The peer broke the protocol in this way.
    Violation(PeerId, &'static str),
    /// Work of this job is taken of that source no more.
    Parted(PeerId, JobId),
    /// A lease that is to be handed on: its record is stored.
    HandOn(PeerId, Lease),
    /// This peer is to be reached, to bring results to it.
    Reach(PeerId),
    /// A source brought results to the submitter and its word back, or did not.
    Hop {
        /// Who.
        peer: PeerId,
        /// How.
        outcome: HopOutcome,
    },
}

#[derive(Debug, Clone)]
struct Neighbour {
    connected: bool,
    proximity: offer::Proximity,
    /// Jobs it has offered and not ended, and when it last did so or gave work of them.
    offers: BTreeMap<JobId, Timestamp>,
    /// The window it was last told.
    told: u32,
    /// The slots of this peer and those below it that it was last told.
    told_below: u32,
    /// Milliseconds that a small lease takes over its link, as measured; 0 while unknown.
    cost: u64,
    /// When it was last asked for work.
    asked: Timestamp,
    /// Its job that was served last.
    turn: JobId,
    seen: Timestamp,
}

#[derive(Debug, Clone)]
struct Running {
    source: PeerId,
    job: JobId,
    held: Held,
}

/// The worker's own figures, for adverts and people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Tasks computed at once.
    pub slots: u32,
    /// Of these, free now.
    pub free: u32,
    /// Fuel units a second and slot, 0 while unknown.
    pub speed: u64,
    /// Tasks held and not begun.
    pub queued: u64,
    /// Whether the operator paused the worker.
    pub paused: bool,
    /// Attempts that ended since the start.
    pub executed: u64,
    /// Microseconds that slots held a task since the start, all slots together, up to the last step.
    pub busy_micros: u64,
}

/// The machine. See the module's head for what it decides.
pub struct Worker {
    key: Keypair,
    me: PeerId,
    lending: Lending,
    entropy: Entropy,
    paused: bool,
    neighbours: BTreeMap<PeerId, Neighbour>,
    jobs: BTreeMap<(PeerId, JobId), Foreign>,
    running: BTreeMap<u64, Running>,
    next_attempt: u64,
    /// Blobs asked for and not here, and who was asked.
    wanted: BTreeMap<Hash, PeerId>,
    /// Blobs known to be here, while a job needs them.
    here: BTreeSet<Hash>,
    /// The source served last.
    turn: PeerId,
    /// What is taken of each source for those below.
    demands: BTreeMap<PeerId, Demand>,
    renewed: Timestamp,
    asked: Timestamp,
    /// Times that it has asked since the last offer.
    in_vain: u32,
    executed: u64,
    busy_micros: u64,
    counted: Timestamp,
    /// Smoothed microseconds an attempt and microseconds a million fuel units: own judgement.
    micros: f64,
    speed: f64,
    out: Batch<Effect>,
}

impl Worker {
    /// A worker that lends what `lending` says.
    pub fn new(key: Keypair, lending: Lending, entropy: Entropy) -> Self {
        Self {
            me: key.peer_id(),
            key,
            lending,
            entropy,
            paused: false,
            neighbours: BTreeMap::new(),
            jobs: BTreeMap::new(),
            running: BTreeMap::new(),
            next_attempt: 1,
            wanted: BTreeMap::new(),
            here: BTreeSet::new(),
            turn: PeerId([0; 32]),
            demands: BTreeMap::new(),
            renewed: Timestamp(0),
            asked: Timestamp(0),
            in_vain: 0,
            executed: 0,
            busy_micros: 0,
            counted: Timestamp(0),
            micros: 0.0,
            speed: 0.0,
            out: Batch::default(),
        }
    }

    /// Takes back what a stopped worker had: leases to work on and batches to deliver.
    pub fn restore(&mut self, now: Timestamp, records: Vec<Record>) -> Batch<Effect> {
        let mut leases = Vec::new();
        for record in records {
            match record {
                Record::Held { source, lease } => leases.push((source, lease)),
                Record::Batch { source, commit, opened, trails } => {
                    let job =
                        self.jobs.entry((source, commit.job)).or_insert_with(|| Foreign::new(now));
                    job.keep(commit, opened, trails);
                    self.neighbours.entry(source).or_insert_with(|| Neighbour::away(now));
                }
                _ => {}
            }
        }
        for (source, lease) in leases {
            self.neighbours.entry(source).or_insert_with(|| Neighbour::away(now));
            self.take(now, source, lease);
        }
        self.out.effects.retain(|effect| matches!(effect, Effect::Fetch { .. }));
        self.counted = now;
        self.fill();
        core::mem::take(&mut self.out)
    }

    /// Takes one input and says what is to be stored and done.
    pub fn step(&mut self, now: Timestamp, input: Input) -> Batch<Effect> {
        self.count(now);
        match input {
            Input::Up { peer, proximity } => self.up(now, peer, proximity),
            Input::Down { peer } => self.down(now, &peer),
            Input::Offer { peer, offer } => self.offered(now, peer, &offer),
            Input::Lease { peer, lease, hand_on } => self.leased(now, peer, lease, hand_on),
            Input::Route { peer, route } => self.routed(peer, &route),
            Input::AskedBelow { peer } => self.ask_for(now, &peer),
            Input::Shun { peer } => self.shun(now, peer),
            Input::Cancel { peer, cancel } => self.cancelled(peer, &cancel),
            Input::Ack { peer, ack } => self.acked(now, peer, &ack),
            Input::Blob { hash, here } => self.blob(now, &hash, here),
            Input::Executed { attempt, status, output, fuel, log, micros } => {
                self.executed(now, attempt, status, output, fuel, log, micros);
            }
            Input::Link { peer, micros, rate } => {
                if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                    let bytes = (SMALL_LEASE * 1000).checked_div(rate).unwrap_or(0);
                    neighbour.cost = (micros / 1000 + bytes).max(1);
                }
            }
            Input::Pause => self.pause(),
            Input::Resume => (self.paused, self.in_vain) = (false, 0),
            Input::Tick => self.tick(now),
        }
        self.fill();
        self.close_batches(now);
        self.tell_credit();
        core::mem::take(&mut self.out)
    }

    /// Adds the time since the last step to that of the slots that held a task.
    fn count(&mut self, now: Timestamp) {
        let passed = now.since(self.counted).as_micros();
        let busy = passed.saturating_mul(self.running.len() as u128);
        self.busy_micros = self.busy_micros.saturating_add(u64::try_from(busy).unwrap_or(0));
        self.counted = now;
    }

    /// When the worker next wants a tick, and what for.
    pub fn next_wake(&self) -> Option<(Timestamp, &'static str)> {
        let close =
            self.jobs.values().filter_map(Foreign::closes_at).min().map(|at| (at, "batch close"));
        let renew = (!self.jobs.is_empty()).then(|| (self.renewed + RENEW, "lease renewal"));
        let ask = self.is_idle().then(|| (self.asks_at(), "ask for work"));
        close.into_iter().chain(renew).chain(ask).chain(self.next_detour()).min()
    }

    /// The worker's figures now.
    pub fn load(&self) -> Load {
        let busy = u32::try_from(self.running.len()).unwrap_or(u32::MAX);
        Load {
            slots: self.lending.slots,
            free: if self.paused { 0 } else { self.lending.slots.saturating_sub(busy) },
            speed: self.speed as u64,
            queued: self.jobs.values().map(|job| job.queue.len() as u64).sum(),
            paused: self.paused,
            executed: self.executed,
            busy_micros: self.busy_micros,
        }
    }

    /// Whether `output` belongs to a result for `source` that it has not acknowledged.
    pub fn owes(&self, source: &PeerId, output: &Hash) -> bool {
        self.jobs.range(of(*source)).any(|(_, foreign)| foreign.owes(output))
    }

    /// Whether the blob is part of a job held whose content may be given to anyone.
    pub fn shares(&self, hash: &Hash) -> bool {
        self.jobs.values().any(|foreign| foreign.shares(hash))
    }

    /// The blobs that held tasks need and results owed are made of.
    pub fn needed(&self) -> impl Iterator<Item = Hash> + '_ {
        let running = self.running.values().flat_map(|one| {
            let program =
                self.jobs.get(&(one.source, one.job)).and_then(|job| job.program.as_ref());
            one.held.input.blob().into_iter().chain(program.into_iter().flat_map(|p| p.blobs()))
        });
        let jobs = self.jobs.values().flat_map(|job| job.blobs().chain(job.owed()));
        self.wanted.keys().copied().chain(jobs).chain(running)
    }

    fn asks_at(&self) -> Timestamp {
        self.asked + ASK * (1 << self.in_vain)
    }

    fn is_idle(&self) -> bool {
        !self.paused
            && self.lending.slots > 0
            && self.running.is_empty()
            && self.jobs.values().all(Foreign::is_idle)
    }

    fn up(&mut self, now: Timestamp, peer: PeerId, proximity: offer::Proximity) {
        let neighbour = self.neighbours.entry(peer).or_insert_with(|| Neighbour::away(now));
        (neighbour.connected, neighbour.proximity, neighbour.told, neighbour.seen) =
            (true, proximity, 0, now);
        (neighbour.told_below, neighbour.asked) = (0, Timestamp(0));
        self.asked = Timestamp(0); // whoever comes may have work
        // What was never acknowledged is said again, in order. The source has given its tasks to others
        // meanwhile and knows nothing of the queue: what would crowd out new credit is let go.
        let (mut again, mut keep) = (Vec::new(), MAX_CREDIT as usize / 2);
        for (_, job) in self.jobs.range_mut(of(peer)) {
            keep -= job.shed(keep, &mut self.out.records, peer);
            job.away = false;
            for batch in job.unacked.values_mut() {
                batch.detoured = None;
                batch.sent = Some(now);
                again.push(Frame::Commit(batch.commit.clone()));
                again.push(foreign::reveal(&batch.commit, &batch.opened));
            }
        }
        self.out.effects.extend(again.into_iter().map(|frame| Effect::Send(peer, frame)));
        for foreign in self.jobs.values_mut().filter(|one| one.submitter == Some(peer)) {
            // Who waits for a way round need not wait longer.
            for batch in foreign.unacked.values_mut().filter(|one| one.detoured.is_some()) {
                batch.detoured = Some(Timestamp(0));
            }
        }
        self.renewed = Timestamp(0);
    }

    fn down(&mut self, now: Timestamp, peer: &PeerId) {
        if let Some(neighbour) = self.neighbours.get_mut(peer) {
            (neighbour.connected, neighbour.told, neighbour.seen) = (false, 0, now);
            neighbour.offers.clear();
        }
        self.jobs.retain(|(source, _), job| source != peer || !job.is_over());
        let keep = self.jobs.keys().any(|(source, _)| source == peer);
        if !keep {
            self.neighbours.remove(peer);
        }
    }

    fn offered(&mut self, now: Timestamp, peer: PeerId, offer: &Offer) {
        let Some(neighbour) = self.neighbours.get(&peer) else { return };
        if let Err(reason) = self.lending.takes(neighbour.proximity, &offer.profile, offer.memory) {
            return self.refuse(peer, Some(offer.job), reason);
        }
        if neighbour.offers.len() >= MAX_FOREIGN_JOBS && !neighbour.offers.contains_key(&offer.job)
        {
            return;
        }
        if self.is_expected(now, &peer, offer) {
            return self.refuse(peer, Some(offer.job), Reason::Elsewhere);
        }
        // A job is taken of one source at a time, whichever serves it better.
        if let Some(rival) = self.rival(now, &peer, offer) {
            if !self.is_better(&peer, &rival, offer) {
                return self.refuse(peer, Some(offer.job), Reason::Elsewhere);
            }
            self.part(rival, offer.job);
        }
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.offers.entry(offer.job).or_insert(now);
            self.in_vain = 0;
        }
    }

    fn refuse(&mut self, peer: PeerId, job: Option<JobId>, reason: Reason) {
        let frame = Frame::Refuse(Refuse { job, reason, text: String::new() });
        self.out.effects.push(Effect::Send(peer, frame));
    }

    fn leased(&mut self, now: Timestamp, peer: PeerId, lease: Lease, hand_on: bool) {
        let Some(neighbour) = self.neighbours.get(&peer) else { return };
        if let Err(reason) = self.lending.takes(
            neighbour.proximity,
            &lease.program.profile,
            lease.program.limits.memory,
        ) {
            return self.refuse(peer, Some(lease.job), reason);
        }
        if let Some(neighbour) = self.neighbours.get_mut(&peer)
            && let Some(served) = neighbour.offers.get_mut(&lease.job)
        {
            *served = now;
        }
        let loops = peer != self.me && lease.path.iter().any(|hop| hop.giver == self.me);
        let (first, last) = (lease.path.first(), lease.path.last());
        if loops
            || first.is_none_or(|hop| hop.giver != lease.submitter)
            || last.is_none_or(|hop| hop.giver != peer || hop.lease != lease.lease)
        {
            return self
                .out
                .effects
                .push(Effect::Violation(peer, "a lease with an impossible path"));
        }
        let named =
            |task: &crate::wire::LeasedTask| lease.program.task_id(&task.input.hash()) == task.task;
        if !lease.tasks.iter().all(named) {
            return self
                .out
                .effects
                .push(Effect::Violation(peer, "a lease whose task ids are not its tasks'"));
        }
        let of_peer = self.jobs.range(of(peer));
        let held: usize = of_peer.map(|(_, job)| job.queue.len()).sum();
        if held + lease.tasks.len() > 2 * MAX_CREDIT as usize {
            return self
                .out
                .effects
                .push(Effect::Violation(peer, "more tasks than credit was given for"));
        }
        let known = self.jobs.get(&(peer, lease.job));
        if known.and_then(|job| job.submitter).is_some_and(|known| known != lease.submitter) {
            return self
                .out
                .effects
                .push(Effect::Violation(peer, "a lease of a job that was another submitter's"));
        }
        if known.is_some_and(|job| {
            job.program.as_deref().is_some_and(|program| *program != lease.program)
        }) {
            return self
                .out
                .effects
                .push(Effect::Violation(peer, "a lease whose program is not its job's"));
        }
        let distinct: BTreeSet<TaskId> = lease.tasks.iter().map(|task| task.task).collect();
        if distinct.len() < lease.tasks.len()
            || known.is_some_and(|job| job.has_lease(&lease.lease))
        {
            return self
                .out
                .effects
                .push(Effect::Violation(peer, "a lease or task that is given twice"));
        }
        if known.is_none() && self.jobs.len() >= MAX_FOREIGN_JOBS {
            self.make_room(now);
        }
        if self.jobs.len() >= MAX_FOREIGN_JOBS && !self.jobs.contains_key(&(peer, lease.job)) {
            return self.refuse(peer, Some(lease.job), Reason::Busy);
        }
        self.out.records.push(Change::Put(Record::Held { source: peer, lease: lease.clone() }));
        if hand_on {
            return self.out.effects.push(Effect::HandOn(peer, lease));
        }
        self.take(now, peer, lease);
    }

    /// Queues a lease's tasks and asks for the blobs they need.
    fn take(&mut self, now: Timestamp, peer: PeerId, lease: Lease) {
        let job = self.jobs.entry((peer, lease.job)).or_insert_with(|| Foreign::new(now));
        job.note_share(&lease);
        job.came_by(&lease);
        let program = job.program.get_or_insert_with(|| Arc::new(lease.program.clone())).clone();
        let mut needs = Vec::from([(program.module, program.module_len)]);
        needs.extend(program.data.iter().map(|file| (file.hash, file.len)));
        let (delivered, queued) = (job.delivered(), job.queued());
        let mut count = 0;
        for task in lease.tasks {
            if let task::Input::Blob { hash, len } = task.input {
                needs.push((hash, len));
            }
            let held = Held {
                task: task.task,
                lease: lease.lease,
                submitter: lease.submitter,
                input: task.input,
            };
            let runs = self.running.values_mut().find(|one| {
                one.source == peer && one.job == lease.job && one.held.task == held.task
            });
            if let Some(running) = runs {
                job.release(&running.held.lease, &mut self.out.records, peer);
                running.held.lease = lease.lease;
                count += 1;
            } else if !delivered.contains(&held.task) {
                if queued.contains(&held.task) {
                    job.move_task(held, &mut self.out.records, peer);
                } else {
                    job.queue.push_back(held);
                }
                count += 1;
            }
        }
        job.hold(lease.lease, count, &mut self.out.records, peer);
        for (hash, len) in needs {
            self.want(hash, len, peer);
        }
    }

    fn cancelled(&mut self, peer: PeerId, cancel: &Cancel) {
        let key = (peer, cancel.job);
        let over = cancel.tasks.is_empty();
        let hit: Vec<u64> = self
            .running
            .iter()
            .filter(|(_, one)| one.source == peer && one.job == cancel.job)
            .filter(|(_, one)| over || cancel.tasks.contains(&one.held.task))
            .map(|(attempt, _)| *attempt)
            .collect();
        for attempt in hit {
            if let Some(running) = self.running.remove(&attempt)
                && let Some(job) = self.jobs.get_mut(&key)
            {
                job.release(&running.held.lease, &mut self.out.records, peer);
            }
            self.out.effects.push(Effect::Kill(attempt));
        }
        if over {
            if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                neighbour.offers.remove(&cancel.job);
            }
            if let Some(job) = self.jobs.remove(&key) {
                job.forget(&mut self.out.records, peer, cancel.job);
            }
            self.forget_blobs();
        } else if let Some(job) = self.jobs.get_mut(&key) {
            job.drop_tasks(&cancel.tasks, &mut self.out.records, peer);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one input")]
    fn executed(
        &mut self,
        now: Timestamp,
        attempt: u64,
        status: Status,
        output: Output,
        fuel: u64,
        log: Vec<u8>,
        micros: u64,
    ) {
        let Some(Running { source, job, held }) = self.running.remove(&attempt) else { return };
        self.executed += 1;
        self.micros = smooth(self.micros, micros as f64);
        if fuel > 0 && micros > 0 {
            self.speed = smooth(self.speed, fuel as f64 * 1e6 / micros as f64);
        }
        self.result(now, source, job, held, (status, output, fuel, log, micros));
    }

    fn result(
        &mut self,
        now: Timestamp,
        source: PeerId,
        job: JobId,
        held: Held,
        (status, output, fuel, mut log, micros): (Status, Output, u64, Vec<u8>, u64),
    ) {
        let Some(foreign) = self.jobs.get_mut(&(source, job)) else { return };
        log.drain(..log.len().saturating_sub(MAX_LOG));
        let nonce = Hash(self.entropy.draw());
        let leaf = Leaf {
            task: held.task,
            job,
            submitter: held.submitter,
            lease: held.lease,
            worker: self.me,
            status,
            output_commit: output_commit(&output.hash(), &nonce.0),
            fuel,
        };
        foreign.add(now, Opened { leaf, nonce, output, log: ByteBuf::from(log), micros });
    }

    fn pause(&mut self) {
        self.paused = true;
        for (attempt, running) in core::mem::take(&mut self.running).into_iter().rev() {
            self.out.effects.push(Effect::Kill(attempt));
            if let Some(job) = self.jobs.get_mut(&(running.source, running.job)) {
                job.queue.push_front(running.held);
            }
        }
    }

    fn tick(&mut self, now: Timestamp) {
        if self.renewed + RENEW <= now {
            self.renewed = now;
            self.renew();
            self.expire(now);
        }
        self.detour(now);
        if self.asks_at() <= now && self.is_idle() {
            self.asked = now;
            self.in_vain = (self.in_vain + 1).min(MAX_IN_VAIN);
            let me = self.me;
            self.ask(now, &me, Duration::ZERO);
        }
    }

    fn renew(&mut self) {
        for (peer, _) in self.neighbours.iter().filter(|(_, n)| n.connected) {
            let of_peer = self.jobs.range(of(*peer));
            let leases: Vec<LeaseId> = of_peer.flat_map(|(_, job)| job.leases()).collect();
            for some in leases.chunks(crate::limits::MAX_LEASE_TASKS) {
                let frame = Frame::Renew(Renew { leases: some.to_vec() });
                self.out.effects.push(Effect::Send(*peer, frame));
            }
        }
    }

    /// Lets go of unbegun work of sources that have been away for long, and of results of those that
    /// have been away for very long.
    fn expire(&mut self, now: Timestamp) {
        for ((source, _), job) in &mut self.jobs {
            let away = |n: &Neighbour| !n.connected && n.seen + STALE <= now;
            if self.neighbours.get(source).is_some_and(away) {
                job.shed(0, &mut self.out.records, *source);
            }
        }
        let gone: Vec<PeerId> = self
            .neighbours
            .iter()
            .filter(|(_, n)| !n.connected && n.seen + RETENTION <= now)
            .map(|(peer, _)| *peer)
            .collect();
        for peer in gone {
            self.drop_source(peer);
        }
    }

    /// Forgets a source that is away, with its work and results.
    fn drop_source(&mut self, peer: PeerId) {
        let jobs: Vec<JobId> = self.jobs.range(of(peer)).map(|((_, job), _)| *job).collect();
        for job in jobs {
            self.cancelled(peer, &Cancel { job, tasks: Vec::new() });
        }
        self.neighbours.remove(&peer);
    }

    /// Makes room for one more job: results of whoever has been away the longest give way to work of
    /// somebody who is there. Otherwise a few sources that come and go could take all the room.
    fn make_room(&mut self, now: Timestamp) {
        self.jobs.retain(|_, job| !job.is_over());
        if self.jobs.len() < MAX_FOREIGN_JOBS {
            return;
        }
        let away = |(_, n): &(&PeerId, &Neighbour)| !n.connected && n.seen + STALE <= now;
        let longest = self.neighbours.iter().filter(away).min_by_key(|(_, n)| n.seen);
        if let Some(peer) = longest.map(|(peer, _)| *peer) {
            self.drop_source(peer);
        }
    }

    /// Starts tasks while slots are free, the sources taking turns.
    fn fill(&mut self) {
        if self.paused {
            return;
        }
        while self.running.len() < self.lending.slots as usize {
            let Some(key) = self.next_job() else { return };
            self.turn = key.0;
            if let Some(neighbour) = self.neighbours.get_mut(&key.0) {
                neighbour.turn = key.1;
            }
            let here = &self.here;
            let Some((foreign, held)) = self
                .jobs
                .get_mut(&key)
                .and_then(|job| job.take_ready(here).map(|held| (&*job, held)))
            else {
                return;
            };
            let Some(program) = foreign.program.clone() else { return };
            let attempt = self.next_attempt;
            self.next_attempt += 1;
            let (task, input) = (held.task, held.input.clone());
            self.running.insert(attempt, Running { source: key.0, job: key.1, held });
            self.out.effects.push(Effect::Run { attempt, program, task, input });
        }
    }

    /// The next job with a task to start: sources take turns, and so do the jobs of one source.
    fn next_job(&self) -> Option<(PeerId, JobId)> {
        let ready = |(_, job): &(&(PeerId, JobId), &Foreign)| {
            job.unacked.len() < MAX_UNACKED_BATCHES && job.has_ready(&self.here)
        };
        let after = self.jobs.range((self.turn, JobId([255; 32]))..);
        let before = self.jobs.range(..(self.turn, JobId([255; 32])));
        let first = after.chain(before).find(ready).map(|(key, _)| *key)?;
        let last = self.neighbours.get(&first.0).map_or(JobId([0; 32]), |neighbour| neighbour.turn);
        let later = self.jobs.range(of(first.0)).filter(|(key, _)| key.1 > last).find(ready);
        Some(later.map_or(first, |(key, _)| *key))
    }

    /// Signs and sends batches that are full, old enough, or the last that an idle slot has.
    fn close_batches(&mut self, now: Timestamp) {
        let idle = self.running.len() < self.lending.slots as usize;
        for ((source, job), foreign) in &mut self.jobs {
            let due = foreign.closes_at().is_some_and(|at| at <= now);
            while foreign.open_results() >= MAX_BATCH
                || ((due || idle) && foreign.open_results() > 0)
            {
                let connected = self.neighbours.get(source).is_some_and(|n| n.connected);
                let (commit, reveal) =
                    foreign.close(now, &self.key, *job, &mut self.out.records, *source);
                if connected {
                    foreign.sent(now, commit.sequence);
                    self.out.effects.push(Effect::Send(*source, Frame::Commit(commit)));
                    self.out.effects.push(Effect::Send(*source, reveal));
                }
            }
        }
    }

    /// Tells each source how much it may hand over, when that has changed by a quarter or to or from 0.
    fn tell_credit(&mut self) {
        let sources =
            self.neighbours.values().filter(|n| n.connected && !n.offers.is_empty()).count().max(1);
        let total = self.window();
        let each = (total / u32::try_from(sources).unwrap_or(1))
            .max(u32::from(total > 0) * self.lending.slots);
        let much =
            |new: u32, old: u32| (new == 0) != (old == 0) || new.abs_diff(old) * 4 > old.max(new);
        for (peer, neighbour) in &mut self.neighbours {
            if !neighbour.connected {
                continue;
            }
            let demand = self.demands.get(peer).copied().unwrap_or_default();
            let offers = !neighbour.offers.is_empty();
            let tasks = each.saturating_add(demand.tasks).min(MAX_CREDIT) * u32::from(offers);
            let slots = self.lending.slots.saturating_add(demand.slots);
            let below = slots * u32::from(offers && demand.slots > 0);
            if much(tasks, neighbour.told) || much(below, neighbour.told_below) {
                (neighbour.told, neighbour.told_below) = (tasks, below);
                let credit = Frame::Credit(Credit { tasks, below });
                self.out.effects.push(Effect::Send(*peer, credit));
            }
        }
    }

    /// What is to be taken of each source for those below has changed.
    pub fn set_demands(&mut self, demands: BTreeMap<PeerId, Demand>) -> Batch<Effect> {
        if self.demands != demands {
            self.demands = demands;
            self.tell_credit();
        }
        core::mem::take(&mut self.out)
    }

    fn window(&self) -> u32 {
        if self.paused || self.lending.slots == 0 {
            return 0;
        }
        let slots = self.lending.slots;
        let ahead = if self.micros > 0.0 {
            let tasks = AHEAD.as_micros() as f64 * f64::from(slots) / self.micros;
            libm::ceil(tasks.min(f64::from(MAX_CREDIT))) as u32
        } else {
            0
        };
        slots.saturating_add(ahead.max(slots.saturating_mul(3))).min(MAX_CREDIT)
    }
}

impl Neighbour {
    fn away(now: Timestamp) -> Self {
        let proximity = offer::Proximity::Wide;
        Self {
            connected: false,
            proximity,
            offers: BTreeMap::new(),
            told: 0,
            told_below: 0,
            cost: 0,
            asked: Timestamp(0),
            turn: JobId([0; 32]),
            seen: now,
        }
    }
}

/// The places of a source's jobs.
fn of(source: PeerId) -> RangeInclusive<(PeerId, JobId)> {
    (source, JobId([0; 32]))..=(source, JobId([255; 32]))
}

fn smooth(old: f64, new: f64) -> f64 {
    if old == 0.0 { new } else { old + 0.2 * (new - old) }
}
