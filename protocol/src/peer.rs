//! The whole peer: one doorway in front of all machines.
//!
//! Every decision of a peer passes through [`Peer::step`]. This file routes: frames to the job or the
//! worker they concern, checked signatures in front of the machines that rely on them, and each
//! machine's effects outwards. A frame that a peer sends to itself (its own slots working for its
//! own jobs) takes the same road as any other, only without a wire.

mod delegating;
mod forecast;
mod hello;
mod relaying;
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
    limits::{MAX_NEIGHBOURS, MAX_TEXT},
    offer::{Lending, Prefix, Proximity},
    overlay::{self, Overlay},
    pool::TaskIndex,
    record::{Change, JobState, Key, Record},
    relay::{self, Relay},
    result::{Commit, Ended, Outcome, VerifiedBatch},
    source::{self, Source},
    standing::{Ban, Standings},
    task::{self, Program},
    time::Timestamp,
    wire::{Advert, Frame, Hello, Reason, Refuse, WireError},
    worker::{self, Worker},
};

/// Frames of unknown kinds that are tolerated on one stream.
const MAX_UNKNOWN: u32 = 100;
/// Commits that may wait for their reveal on one stream.
const MAX_COMMITS: usize = 16;

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
    quarantines: BTreeMap<(Hash, String), Timestamp>,
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

    /// Takes back what was stored before a restart. `manifest` finds a job's manifest by its digest.
    pub fn restore(
        &mut self,
        now: Timestamp,
        records: Vec<Record>,
        manifest: impl Fn(&Hash) -> Option<Manifest>,
    ) -> Batch<Effect> {
        let mut jobs: BTreeMap<JobId, Vec<Record>> = BTreeMap::new();
        let (mut worker, mut handed, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        for record in records {
            match record {
                Record::Job { job, .. }
                | Record::Leased { job, .. }
                | Record::Vote { job, .. }
                | Record::Decided { job, .. }
                | Record::Handover { job, .. }
                | Record::Vouched { job, .. }
                | Record::Heard { job, .. } => jobs.entry(job).or_default().push(record),
                Record::Held { .. } | Record::Batch { .. } => worker.push(record),
                Record::Handed { .. } | Record::Parcel { .. } => handed.push(record),
                Record::Entrusted { .. } | Record::SettledThere { .. } => kept.push(record),
                Record::Hops { peer, record } => self.hops.restore(peer, record),
                // Of whoever fetches blobs.
                Record::Poisoner { .. } => {}
                Record::Standing { peer, standing } => self.standings.restore(peer, standing),
                Record::Quarantine { module, profile, until } => {
                    self.quarantines.insert((module, profile), until);
                }
                Record::Caught { job, task, worker, right, .. } => {
                    let ban = None;
                    self.out.effects.push(Effect::Caught { job, task, worker, right, ban });
                    jobs.entry(job).or_default().push(record);
                }
            }
        }
        for (job, records) in jobs {
            let hash = records.iter().find_map(|record| match record {
                Record::Job { manifest, .. } => Some(*manifest),
                _ => None,
            });
            let Some((hash, found)) = hash.and_then(|hash| Some((hash, manifest(&hash)?))) else {
                continue;
            };
            let entropy = Entropy::new(&self.entropy.draw());
            let config = self.source_config(now, &found);
            let source = Source::restore(
                self.key.clone(),
                job,
                hash,
                found,
                config,
                now,
                entropy,
                records,
                &mut self.standings,
            );
            self.shelf.add(job, source.manifest());
            self.sources.insert(job, source);
        }
        self.keeper.restore(now, kept, manifest);
        let worker = self.restore_relay(now, worker, handed);
        let batch = self.worker.restore(now, worker);
        self.worker_batch(now, batch);
        // What the own worker has not delivered is said again, as to any source that is back.
        self.worker(now, worker::Input::Up { peer: self.me, proximity: Proximity::Own });
        let running: Vec<JobId> =
            self.sources.values().filter(|s| s.is_running()).map(Source::id).collect();
        for job in running {
            self.introduce(now, job);
        }
        self.settle_loopback(now);
        self.follow_carried(now);
        core::mem::take(&mut self.out)
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

    fn job_ids(&self) -> Vec<JobId> {
        self.sources.keys().copied().collect()
    }

    fn submit(&mut self, now: Timestamp, manifest_hash: Hash, manifest: Manifest) {
        let job = self.begin(now, manifest_hash, manifest);
        self.out.effects.push(Effect::Submitted(job));
        self.introduce(now, job);
    }

    /// Begins a job of this peer's own.
    fn begin(&mut self, now: Timestamp, manifest_hash: Hash, manifest: Manifest) -> JobId {
        let job = JobId(self.entropy.draw());
        let entropy = Entropy::new(&self.entropy.draw());
        let config = self.source_config(now, &manifest);
        let (source, batch) =
            Source::new(self.key.clone(), job, manifest_hash, manifest, config, now, entropy);
        self.shelf.add(job, source.manifest());
        self.sources.insert(job, source);
        self.source_batch(now, job, batch);
        job
    }

    /// Tells a job which connected peers can compute it.
    fn introduce(&mut self, now: Timestamp, job: JobId) {
        let peers: Vec<PeerId> = self.neighbours.keys().copied().collect();
        for peer in peers {
            self.join(now, job, peer);
        }
        self.introduce_delegate(now, job);
        self.share_credit(now);
    }

    fn join(&mut self, now: Timestamp, job: JobId, peer: PeerId) {
        let Some(source) = self.sources.get(&job) else { return };
        if !source.is_running() && (peer == self.me || !source.knows(&peer)) {
            return;
        }
        if !self.may_compute(now, source.manifest(), &peer) {
            return;
        }
        let Some(neighbour) = self.neighbours.get(&peer) else { return };
        let prefix = neighbour.prefix;
        let Some(hello) = &neighbour.hello else { return };
        let works = hello.slots > 0 || hello.relays > 0;
        if hello.relays > 0 && self.hops.is_bad(now, &peer) {
            return; // for as long as that lasts
        }
        if hello.profiles.contains(&source.manifest().program.profile) && works {
            let slots = hello.slots;
            self.source(now, job, source::Input::Join { worker: peer, slots, prefix });
        }
    }

    fn forget(&mut self, job: JobId) {
        let Some(source) = self.sources.get(&job).filter(|source| !source.is_running()) else {
            return;
        };
        for key in source.keys() {
            self.out.records.push(Change::Delete(key));
        }
        self.out.records.push(Change::Delete(Key::job(&job)));
        self.shelf.remove(job);
        self.sources.remove(&job);
    }

    fn blob(&mut self, now: Timestamp, hash: Hash, here: bool) {
        for job in self.fetching.remove(&hash).unwrap_or_default() {
            self.source(now, job, source::Input::Blob { hash, here });
        }
        self.worker(now, worker::Input::Blob { hash, here });
        self.relay(now, relay::Input::Blob { hash, here });
        self.keeper(now, delegate::Input::Blob { hash, here });
    }

    fn frame(&mut self, now: Timestamp, peer: PeerId, frame: Result<Frame, WireError>) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let frame = match frame {
            Ok(frame) => frame,
            Err(WireError::UnknownKind) if neighbour.unknown < MAX_UNKNOWN => {
                neighbour.unknown += 1;
                let refuse =
                    Refuse { job: None, reason: Reason::UnknownFrame, text: String::new() };
                return self.out.effects.push(Effect::Send(peer, Frame::Refuse(refuse)));
            }
            Err(error) => return self.violation(now, peer, &alloc::format!("{error}")),
        };
        match (neighbour.hello.is_some(), frame) {
            (false, Frame::Hello(hello)) => self.greet(now, peer, hello),
            (false, Frame::Refuse(refuse)) => neighbour.refused = Some(refuse.reason),
            (false, _) => self.violation(now, peer, "the first frame must be a hello"),
            (true, Frame::Hello(_)) => self.violation(now, peer, "a second hello"),
            (true, frame) => self.work_frame(now, peer, frame),
        }
    }

    fn work_frame(&mut self, now: Timestamp, peer: PeerId, frame: Frame) {
        match frame {
            Frame::Hello(_) => {}
            Frame::Offer(offer) => self.offered(now, peer, offer),
            Frame::Lease(lease) => self.leased(now, peer, lease),
            Frame::Cancel(cancel) => self.cancelled(now, peer, cancel),
            Frame::Ack(ack) => self.acked(now, peer, ack),
            Frame::Relayed(relayed) => self.relayed(now, peer, relayed),
            Frame::Route(route) => {
                self.worker(now, worker::Input::Route { peer, route });
                self.relay(now, relay::Input::Route { peer, route });
            }
            Frame::Entrust(entrust) => self.entrust(now, peer, entrust),
            Frame::Entrusted(said) => self.entrusted(now, peer, &said),
            Frame::Settled(settled) => {
                self.keeper(now, delegate::Input::Settled { peer, settled });
            }
            Frame::Vouch(vouch) => self.vouched(now, peer, vouch),
            Frame::Exclude(exclude) => self.relay(now, relay::Input::Exclude { peer, exclude }),
            Frame::Ask => self.asked(now, peer),
            Frame::Credit(credit) => {
                if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                    (neighbour.window, neighbour.below) = (credit.tasks, credit.below);
                    neighbour.refused = None;
                }
                self.share_credit(now);
            }
            Frame::Refuse(refuse) => self.refused(now, peer, &refuse),
            Frame::Renew(renew) => {
                for job in self.job_ids() {
                    self.source(
                        now,
                        job,
                        source::Input::Renew { worker: peer, leases: renew.leases.clone() },
                    );
                }
                self.relay(now, relay::Input::Renew { peer, leases: renew.leases });
            }
            Frame::Commit(commit) => {
                if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                    if neighbour.commits.len() >= MAX_COMMITS {
                        return self.violation(now, peer, "commits that are never revealed");
                    }
                    neighbour.commits.push_back(commit);
                }
            }
            Frame::Reveal(reveal) => self.revealed(now, peer, reveal),
        }
    }

    fn revealed(&mut self, now: Timestamp, peer: PeerId, reveal: crate::result::Reveal) {
        let Some(neighbour) = self.neighbours.get_mut(&peer) else { return };
        let Some(at) = neighbour.commits.iter().position(|commit| commit.root == reveal.root)
        else {
            return self.violation(now, peer, "a reveal without a commit");
        };
        let Some(commit) = neighbour.commits.remove(at) else { return };
        let job = commit.job;
        let Some(submitter) = self.submitter_of(&job, &reveal.opened) else {
            return self.unknown_job(now, peer, &peer, (commit, reveal));
        };
        match VerifiedBatch::check(commit, reveal, &peer, &submitter) {
            Ok(batch) if submitter != self.me => {
                let trails = Vec::new();
                self.relay(now, relay::Input::Results { from: peer, batch, trails });
            }
            Ok(batch) => {
                self.source(now, job, source::Input::Results { worker: peer, batch });
                self.share_credit(now);
            }
            Err(error) => self.violation(now, peer, &alloc::format!("{error}")),
        }
    }

    fn asked(&mut self, now: Timestamp, peer: PeerId) {
        // A job that the peer refused while it was busy is offered anew.
        for job in self.job_ids() {
            if self
                .sources
                .get(&job)
                .is_some_and(|source| source.is_running() && !source.works_with(&peer))
            {
                self.join(now, job, peer);
            }
        }
        let offers: Vec<Frame> = self
            .sources
            .values()
            .filter(|s| s.works_with(&peer))
            .map(|s| Frame::Offer(s.offer()))
            .collect();
        for offer in offers {
            self.send(peer, offer);
        }
        // Whom this peer has found out itself it trusts with nobody's work.
        if self.standings.is_banned(now, &peer) {
            return;
        }
        self.relay(now, relay::Input::Asked { peer });
        if peer != self.me && self.config.lending.relays && !self.relay.has_work() {
            self.worker(now, worker::Input::AskedBelow { peer });
        }
    }

    fn refused(&mut self, now: Timestamp, peer: PeerId, refuse: &Refuse) {
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.refused = Some(refuse.reason);
        }
        if let Some(job) = refuse.job {
            self.source(now, job, source::Input::Leave { worker: peer });
            self.relay(now, relay::Input::Refused { peer, job });
        }
    }

    /// Divides each worker's window among the running jobs.
    fn share_credit(&mut self, now: Timestamp) {
        let running: Vec<JobId> =
            self.sources.values().filter(|s| s.is_running()).map(Source::id).collect();
        let jobs = running.len() + self.relay.jobs().count();
        let count = u32::try_from(jobs).unwrap_or(u32::MAX).max(1);
        let windows: Vec<(PeerId, u32, u32)> =
            self.neighbours.iter().map(|(peer, n)| (*peer, n.window, n.below)).collect();
        for (peer, window, below) in &windows {
            let (worker, tasks, below) = (*peer, window.div_ceil(count), *below);
            for job in &running {
                let known = self.sources.get(job).and_then(|source| source.window_of(peer));
                if known.is_some_and(|known| known != (tasks, below)) {
                    self.source(now, *job, source::Input::Credit { worker, tasks, below });
                }
            }
            if self.relay.window_of(peer).is_some_and(|known| known != (tasks, below)) {
                self.relay(now, relay::Input::Credit { peer: worker, tasks, below });
            }
        }
    }

    fn violation(&mut self, now: Timestamp, peer: PeerId, what: &str) {
        let text: String = what.chars().take(MAX_TEXT / 4).collect();
        let refuse = Refuse { job: None, reason: Reason::Protocol, text };
        self.send(peer, Frame::Refuse(refuse));
        self.close(now, peer, what);
    }

    /// Has nothing to do with a peer any more: frames of it that are still under way are ignored.
    fn close(&mut self, now: Timestamp, peer: PeerId, why: &str) {
        if peer == self.me {
            return;
        }
        self.out.effects.push(Effect::Close(peer, String::from(why)));
        self.down(now, peer);
    }

    fn send(&mut self, peer: PeerId, frame: Frame) {
        if peer == self.me {
            self.loopback.push_back(frame);
        } else if self.neighbours.contains_key(&peer) {
            self.out.effects.push(Effect::Send(peer, frame));
        }
    }

    /// Delivers frames to oneself until none is left; each is caused by progress, so this ends.
    fn settle_loopback(&mut self, now: Timestamp) {
        while let Some(frame) = self.loopback.pop_front() {
            self.work_frame(now, self.me, frame);
        }
    }

    fn source(&mut self, now: Timestamp, job: JobId, input: source::Input) {
        let Some(source) = self.sources.get_mut(&job) else { return };
        let batch = source.step(now, input, &mut self.standings);
        self.source_batch(now, job, batch);
    }

    fn source_batch(&mut self, now: Timestamp, job: JobId, batch: Batch<source::Effect>) {
        self.out.records.extend(batch.records);
        for effect in batch.effects {
            match effect {
                source::Effect::Send(peer, frame) => self.send(peer, frame),
                source::Effect::Fetch { hash, len, from } => {
                    self.fetching.entry(hash).or_default().insert(job);
                    self.out.effects.push(Effect::Fetch { hash, len, from });
                }
                source::Effect::Violation(peer, what) => self.violation(now, peer, what),
                source::Effect::Caught { worker, task, right, ban } => {
                    let caught = Record::Caught { job, task, worker, right, at: now };
                    self.out.records.push(Change::Put(caught));
                    self.out.effects.push(Effect::Caught { job, task, worker, right, ban });
                    self.caught(now, worker);
                }
                source::Effect::Excluded(worker) => self.caught(now, worker),
                source::Effect::Quarantined => self.quarantine(now, job),
                source::Effect::Hop { peer, outcome } => self.hop(now, peer, outcome),
                source::Effect::Reach(peer) => self.out.effects.push(Effect::Reach(peer)),
                source::Effect::Changed => {
                    let changed = Effect::Changed(job);
                    if !self.out.effects.contains(&changed) {
                        self.out.effects.push(changed);
                    }
                }
            }
        }
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

    /// One of this peer's own jobs.
    pub fn job(&self, job: &JobId) -> Option<&Source> {
        self.sources.get(job)
    }

    /// All of this peer's own jobs.
    pub fn jobs(&self) -> impl Iterator<Item = &Source> {
        self.sources.values()
    }

    /// Jobs that ended and are not forgotten.
    pub fn ended_jobs(&self) -> impl Iterator<Item = (JobId, JobState)> {
        self.sources
            .values()
            .map(|source| (source.id(), source.state()))
            .filter(|(_, s)| *s != JobState::Running)
    }
}
