//! The whole peer: one doorway in front of all machines.
//!
//! Every decision of a peer passes through [`Peer::step`]. This file has what goes in and out, who comes and
//! goes, and the way to the machines of what is computed here and handed on.
//!
//! | file | subject |
//! |---|---|
//! | `hello` | what a peer says of itself first |
//! | `frames` | frames in, to the machine that they concern, and out |
//! | `jobs` | own jobs: begun, offered, forgotten, and what they want done |
//! | `relaying` | what passes through on its way elsewhere |
//! | `delegating` | jobs kept for others, and own ones that others keep |
//! | `trust` | who may compute what, and what follows from a proof |
//! | `restore` | what is taken back from the store |
//! | `shelf` | which own job needs which blob |
//! | `forecast`, `view` | what a job will cost, and how things stand, for people |

mod delegating;
mod forecast;
mod frames;
mod hello;
mod jobs;
mod relaying;
mod restore;
mod shelf;
mod trust;
mod view;

#[cfg(test)]
mod tests;

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    string::String,
    sync::Arc,
    vec::Vec,
};

pub use forecast::{Forecast, Intent};
use shelf::Shelf;
pub use trust::Accusation;
pub use view::{NeighbourView, PassedView, PeerView};

use crate::{
    batch::Batch,
    crypto::Keypair,
    delegate::{self, Keeper},
    entropy::Entropy,
    hops::Hops,
    id::{Hash, JobId, PeerId, TaskId},
    job::Manifest,
    limits::MAX_NEIGHBOURS,
    offer::{Lending, Prefix, Proximity},
    overlay::{self, Overlay},
    pool::TaskIndex,
    record::{Key, Record},
    relay::{self, Relay},
    result::{Commit, Ended, Outcome},
    source::{self, Source},
    standing::{Ban, Standings},
    task::{self, Program},
    time::Timestamp,
    verify::Apart,
    wire::{Advert, Frame, Hello, Reason, WireError},
    worker::{self, Worker},
};

/// What happens to a peer.
#[derive(Debug, Clone)]
pub enum Input {
    /// A work stream with this peer is open.
    Up {
        /// Who, as the connection proves.
        peer: PeerId,
        /// How near.
        proximity: Proximity,
        /// The network that the connection comes from.
        prefix: Prefix,
    },
    /// A work stream is gone.
    Down {
        /// Whose.
        peer: PeerId,
    },
    /// Bytes of one frame.
    Frame {
        /// From whom.
        peer: PeerId,
        /// What they decode to.
        frame: Result<Frame, WireError>,
    },
    /// A gossiped advert.
    Advert(Vec<u8>),
    /// The operator submits a job; its manifest and blobs are stored.
    Submit {
        /// Digest of the manifest's bytes.
        manifest_hash: Hash,
        /// The manifest, within its bounds.
        manifest: Manifest,
    },
    /// The operator ends a job.
    Cancel(JobId),
    /// The operator forgets a job that is over.
    Forget(JobId),
    /// A blob that was asked for is here, or is not to be had.
    Blob {
        /// Which.
        hash: Hash,
        /// Whether it is here.
        here: bool,
    },
    /// The bytes that [`Effect::Read`] asked for.
    Content {
        /// Of which blob.
        hash: Hash,
        /// What is in it; none if it cannot be read.
        bytes: Option<Vec<u8>>,
    },
    /// The records that [`Effect::Recall`] asked for, as far as they are there.
    Recalled {
        /// Of which job.
        job: JobId,
        /// The records.
        records: Vec<Record>,
    },
    /// An attempt ended.
    Executed(Ended),
    /// The operator vouches for this peer, or no longer does.
    Trust {
        /// Whom.
        peer: PeerId,
        /// Whether.
        trusted: bool,
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

/// What a peer wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send this frame.
    Send(PeerId, Frame),
    /// Close the stream and connection: the peer broke the protocol.
    Close(PeerId, String),
    /// Get a blob unless it is here; answered by [`Input::Blob`].
    Fetch {
        /// Which.
        hash: Hash,
        /// Its length.
        len: u64,
        /// From whom.
        from: PeerId,
    },
    /// Read a blob that is here; answered by [`Input::Content`].
    Read(Hash),
    /// Store these bytes as a blob; answered by [`Input::Blob`].
    Keep {
        /// Their digest.
        hash: Hash,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Read these records of a job; answered by [`Input::Recalled`].
    Recall {
        /// Which job.
        job: JobId,
        /// Where they are.
        keys: Vec<Key>,
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
    /// Stop an attempt.
    Kill(u64),
    /// Connect to this peer, wherever it is.
    Reach(PeerId),
    /// Gossip these bytes.
    Advertise(Vec<u8>),
    /// A submitted job has this id.
    Submitted(JobId),
    /// A job's view changed.
    Changed(JobId),
    /// A worker's result was proven wrong: what proves it is to be kept for others.
    Caught {
        /// The job.
        job: JobId,
        /// The task.
        task: TaskIndex,
        /// Who.
        worker: PeerId,
        /// What is right.
        right: Outcome,
        /// The ban that it is under.
        ban: Option<Ban>,
    },
}

/// A peer's settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// What it lends.
    pub lending: Lending,
    /// What it calls itself.
    pub agent: String,
    /// How its jobs are run.
    pub source: source::Config,
    /// Whose delegate it is, and when it carries their jobs on.
    pub delegate: delegate::Config,
}

#[derive(Debug)]
struct Neighbour {
    proximity: Proximity,
    prefix: Prefix,
    hello: Option<Hello>,
    window: u32,
    below: u32,
    commits: VecDeque<Commit>,
    unknown: u32,
    /// Why it does not work for us, as it said last.
    refused: Option<Reason>,
}

/// The machine. See the module's head for what it decides.
pub struct Peer {
    key: Keypair,
    me: PeerId,
    config: Config,
    entropy: Entropy,
    neighbours: BTreeMap<PeerId, Neighbour>,
    sources: BTreeMap<JobId, Source>,
    /// What is known first-hand of workers, by all jobs together.
    standings: Standings,
    /// Apps that differ by machine, by module and profile, until when.
    quarantines: BTreeMap<(Hash, String), (Timestamp, Apart)>,
    worker: Worker,
    relay: Relay,
    /// Jobs kept for others.
    keeper: Keeper,
    /// Up to which change the keeper knows of own jobs that carry on others'.
    carried: BTreeMap<JobId, u64>,
    /// How well others pass on what they are given to.
    hops: Hops,
    /// Which own jobs need which blobs.
    shelf: Shelf,
    overlay: Overlay,
    advertised: Timestamp,
    checked: Timestamp,
    advert: Option<(u32, bool)>,
    /// Who waits for a blob: jobs of one's own.
    fetching: BTreeMap<Hash, BTreeSet<JobId>>,
    /// Frames to oneself.
    loopback: VecDeque<Frame>,
    out: Batch<Effect>,
}

impl Peer {
    /// A peer without a past.
    pub fn new(key: Keypair, config: Config, seed: &[u8; 32], now: Timestamp) -> Self {
        let mut entropy = Entropy::new(seed);
        let worker =
            Worker::new(key.clone(), config.lending.clone(), Entropy::new(&entropy.draw()));
        let relays = config.lending.relays;
        let relay = Relay::new(key.clone(), relays, Entropy::new(&entropy.draw()));
        let keeper = Keeper::new(key.clone(), config.delegate.clone());
        let mut peer = Self {
            me: key.peer_id(),
            key,
            keeper,
            carried: BTreeMap::new(),
            config,
            entropy,
            neighbours: BTreeMap::new(),
            sources: BTreeMap::new(),
            standings: Standings::default(),
            quarantines: BTreeMap::new(),
            worker,
            relay,
            hops: Hops::default(),
            shelf: Shelf::default(),
            overlay: Overlay::default(),
            advertised: Timestamp(0),
            checked: Timestamp(0),
            advert: None,
            fetching: BTreeMap::new(),
            loopback: VecDeque::new(),
            out: Batch::default(),
        };
        peer.meet_oneself(now);
        peer
    }

    /// Takes one input and says what is to be stored and done.
    pub fn step(&mut self, now: Timestamp, input: Input) -> Batch<Effect> {
        match input {
            Input::Up { peer, proximity, prefix } => self.up(now, peer, proximity, prefix),
            Input::Down { peer } => self.down(now, peer),
            Input::Frame { peer, frame } => self.frame(now, peer, frame),
            Input::Advert(bytes) => {
                if let Ok(advert) = overlay::open(&bytes)
                    && advert.peer != self.me
                {
                    self.overlay.hear(now, advert);
                }
            }
            Input::Submit { manifest_hash, manifest } => self.submit(now, manifest_hash, manifest),
            Input::Cancel(job) => {
                self.source(now, job, source::Input::Cancel);
                self.share_credit(now);
            }
            Input::Forget(job) => self.forget(job),
            Input::Blob { hash, here } => self.blob(now, hash, here),
            Input::Content { hash, bytes } => {
                self.keeper(now, delegate::Input::Content { hash, bytes });
            }
            Input::Recalled { job, records } => self.recalled(now, job, records),
            Input::Executed(ended) => self.worker(now, worker::Input::Executed(ended)),
            Input::Trust { peer, trusted } => self.trust(now, peer, trusted),
            Input::Link { peer, micros, rate } => {
                self.worker(now, worker::Input::Link { peer, micros, rate });
            }
            Input::Pause => self.worker(now, worker::Input::Pause),
            Input::Resume => self.worker(now, worker::Input::Resume),
            Input::Tick => self.tick(now),
        }
        self.settle_loopback(now);
        self.follow_carried(now);
        self.save_standings();
        self.save_hops();
        core::mem::take(&mut self.out)
    }

    /// When the peer next wants a tick, and what for.
    pub fn next_wake(&self) -> Option<(Timestamp, &'static str)> {
        let advert = (self.checked + overlay::MIN_PERIOD, "capacity advert");
        let jobs = self.sources.values().filter_map(Source::next_wake);
        let machines = self.worker.next_wake().into_iter().chain(self.relay.next_wake());
        jobs.chain(machines).chain(self.keeper.next_wake()).chain([advert]).min()
    }

    fn tick(&mut self, now: Timestamp) {
        self.worker(now, worker::Input::Tick);
        self.relay(now, relay::Input::Tick);
        self.keeper(now, delegate::Input::Tick);
        let running: Vec<JobId> =
            self.sources.values().filter(|s| s.is_running()).map(Source::id).collect();
        for job in running {
            self.source(now, job, source::Input::Tick);
        }
        self.share_credit(now); // own slots may have stepped in
        self.overlay.expire(now);
        self.advertise(now);
    }

    fn advertise(&mut self, now: Timestamp) {
        if self.checked + overlay::MIN_PERIOD > now {
            return;
        }
        self.checked = now;
        let load = self.worker.load();
        let state = (load.free, load.paused);
        let changed = self.advert != Some(state);
        let period = if changed { overlay::MIN_PERIOD } else { overlay::PERIOD };
        let idle = self.config.lending.slots == 0 && self.relay.slots_below() == 0;
        if idle || self.advertised + period > now {
            return;
        }
        let below = self.relay.slots_below();
        (self.advertised, self.advert) = (now, Some(state));
        let advert = Advert {
            peer: self.me,
            at: now.0,
            slots: load.slots.saturating_add(below),
            free: load.free,
            speed: load.speed,
            memory: self.config.lending.memory,
            profiles: self.config.lending.profiles.clone(),
        };
        self.out.effects.extend(overlay::seal(&self.key, &advert).map(Effect::Advertise));
    }

    fn up(&mut self, now: Timestamp, peer: PeerId, proximity: Proximity, prefix: Prefix) {
        if peer == self.me {
            return; // nobody else can prove to be this peer, and a peer needs no stream to itself
        }
        // A stream that replaces another has lost whatever was under way on that one.
        self.down(now, peer);
        if self.neighbours.len() >= MAX_NEIGHBOURS {
            return self.close(now, peer, "too many peers are connected");
        }
        self.neighbours.insert(peer, Neighbour::new(proximity, prefix));
        let hello = self.hello();
        self.out.effects.push(Effect::Send(peer, Frame::Hello(hello)));
    }

    fn down(&mut self, now: Timestamp, peer: PeerId) {
        if peer == self.me {
            return;
        }
        let Some(neighbour) = self.neighbours.remove(&peer) else { return };
        if neighbour.hello.is_some() {
            for job in self.job_ids() {
                self.source(now, job, source::Input::Leave { worker: peer });
            }
            self.worker(now, worker::Input::Down { peer });
            self.relay(now, relay::Input::Down { peer });
            self.delegate_gone(now, peer);
        }
    }

    fn blob(&mut self, now: Timestamp, hash: Hash, here: bool) {
        for job in self.fetching.remove(&hash).unwrap_or_default() {
            self.source(now, job, source::Input::Blob { hash, here });
        }
        self.worker(now, worker::Input::Blob { hash, here });
        self.relay(now, relay::Input::Blob { hash, here });
        self.keeper(now, delegate::Input::Blob { hash, here });
    }

    fn worker(&mut self, now: Timestamp, input: worker::Input) {
        let batch = self.worker.step(now, input);
        self.worker_batch(now, batch);
    }

    fn relay(&mut self, now: Timestamp, input: relay::Input) {
        let batch = self.relay.step(now, input);
        self.relay_batch(now, batch);
    }

    fn worker_batch(&mut self, now: Timestamp, batch: Batch<worker::Effect>) {
        self.out.records.extend(batch.records);
        for effect in batch.effects {
            match effect {
                worker::Effect::Send(peer, frame) => self.send(peer, frame),
                worker::Effect::Fetch { hash, len, from } => {
                    self.out.effects.push(Effect::Fetch { hash, len, from })
                }
                worker::Effect::Run { attempt, program, task, input } => {
                    self.out.effects.push(Effect::Run { attempt, program, task, input });
                }
                worker::Effect::Kill(attempt) => self.out.effects.push(Effect::Kill(attempt)),
                worker::Effect::Violation(peer, what) => self.violation(now, peer, what),
                worker::Effect::HandOn(peer, lease) => {
                    self.relay(now, relay::Input::Lease { peer, lease });
                }
                worker::Effect::Parted(peer, job) => {
                    self.relay(now, relay::Input::Parted { peer, job });
                }
                worker::Effect::Reach(peer) => self.out.effects.push(Effect::Reach(peer)),
                worker::Effect::Hop { peer, outcome } => self.hop(now, peer, outcome),
            }
        }
    }

    /// What this peer knows first-hand of others.
    pub fn standings(&self) -> &Standings {
        &self.standings
    }
}
