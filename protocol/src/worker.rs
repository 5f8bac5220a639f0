//! What this peer computes for others (and, through the same door, for itself).
//!
//! Takes offers and leases, says how much it is willing to hold, feeds the slots fairly among
//! sources, and turns finished attempts into signed batches that it keeps until they are
//! acknowledged. It does not execute anything and does not know what an engine is.

mod blobs;
mod credit;
mod foreign;
mod leases;
mod slots;
mod upstream;

#[cfg(test)]
mod tests;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};
use core::{ops::RangeInclusive, time::Duration};

use crate::{
    batch::Batch,
    crypto::Keypair,
    entropy::Entropy,
    id::{Hash, JobId, PeerId, TaskId},
    limits::{MAX_BATCH, MAX_CREDIT, RENEW},
    offer::{self, Lending},
    record::Record,
    relay::{Demand, HopOutcome},
    result::{Ack, Ended},
    task::{self, Program},
    time::Timestamp,
    wire::{Cancel, Frame, Lease, Offer, Route},
};
use foreign::{Foreign, Held};
pub use slots::Load;
use slots::Running;

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
    Executed(Ended),
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
            Input::Route { peer, route } => self.routed(now, peer, &route),
            Input::AskedBelow { peer } => self.ask_for(now, &peer),
            Input::Shun { peer } => self.shun(now, peer),
            Input::Cancel { peer, cancel } => self.cancelled(peer, &cancel),
            Input::Ack { peer, ack } => self.acked(now, peer, &ack),
            Input::Blob { hash, here } => self.blob(now, &hash, here),
            Input::Executed(ended) => self.executed(now, ended),
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
        self.tell_credit(self.renewed == now);
        core::mem::take(&mut self.out)
    }

    /// When the worker next wants a tick, and what for.
    pub fn next_wake(&self) -> Option<(Timestamp, &'static str)> {
        let close =
            self.jobs.values().filter_map(Foreign::closes_at).min().map(|at| (at, "batch close"));
        let renew = (!self.jobs.is_empty()).then(|| (self.renewed + RENEW, "lease renewal"));
        let ask = self.is_idle().then(|| (self.asks_at(), "ask for work"));
        close.into_iter().chain(renew).chain(ask).chain(self.next_detour()).min()
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
