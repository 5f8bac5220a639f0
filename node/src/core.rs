//! The core: one thread that owns the peer's machines and carries out what they decide.
//!
//! Everything that happens reaches it as a [`Message`]; each round takes what is there, steps the
//! machines, appends their records in one write, and only then acts. It decides nothing itself.

use std::{
    collections::HashSet,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bayan_net::{Event, Handle};
use bayan_protocol::{
    evict,
    id::{Hash, JobId, PeerId},
    job::Manifest,
    offer::{Prefix, Proximity},
    peer::{Effect, Forecast, Input, Intent, Peer, PeerView},
    record::{self, Record},
    result::Ended,
    source::JobView,
    standing::Standing,
    time::Timestamp,
    verify::{Acceptance, State},
    wire::Frame,
};
use bayan_store::{Change, ReadError, Records, WriteError};
use tokio::sync::{broadcast, mpsc, oneshot};

use crate::{
    archive::Archive,
    blobs::{BlobService, room},
    engine::Engines,
};

/// Messages that may wait for the core.
pub const QUEUE: usize = 8192;
/// Messages taken in one round, so that one write serves many.
const ROUND: usize = 512;
/// Timer ticks are at least this far apart, whatever the machines ask for.
const MIN_TICK: Duration = Duration::from_millis(5);
/// Bytes of records in one append.
const MAX_APPEND: usize = 8 << 20;

/// Something for the core.
#[derive(Debug)]
pub enum Message {
    /// From the network.
    Net(Event),
    /// An attempt ended.
    Executed(Ended),
    /// A fetch ended.
    Blob {
        /// What was fetched.
        hash: Hash,
        /// Whether it is here.
        here: bool,
    },
    /// A peer asks for a blob: whether it is given to it.
    MayFetch {
        /// Who.
        peer: PeerId,
        /// Which.
        hash: Hash,
        /// Whether it is given to it, and whether it is no secret.
        reply: oneshot::Sender<(bool, bool)>,
    },
    /// Whether a blob is no secret.
    MayShare {
        /// Which.
        hash: Hash,
        /// The answer.
        reply: oneshot::Sender<bool>,
    },
    /// A peer sent wrong bytes for a blob.
    Poisoner {
        /// Who.
        peer: PeerId,
        /// Until when it is asked for nothing; none if that is over.
        until: Option<Timestamp>,
    },
    /// Disk space is needed.
    MakeRoom {
        /// Bytes.
        bytes: u64,
        /// Done, as far as there was something that nothing needs.
        reply: oneshot::Sender<()>,
    },
    /// From the operator.
    Command(Command),
}

/// What is known of one of a job's tasks: one entry of [`Command::Results`].
#[derive(Debug, Clone)]
pub struct Known {
    /// Its place in the order of the tasks' latest changes.
    pub place: u64,
    /// Places of the inputs that the task answers.
    pub places: Vec<u64>,
    /// Its index.
    pub index: u32,
    /// Its id.
    pub task: bayan_protocol::id::TaskId,
    /// Where it stands.
    pub state: State,
    /// What is believed; none if it was given up or taken back.
    pub acceptance: Option<Acceptance>,
}

/// What is known of some of a job's tasks, and the job's standing.
pub type KnownTasks = Option<(Vec<Known>, JobView)>;

/// What the operator asks for; each is answered once.
#[derive(Debug)]
pub enum Command {
    /// Run this job; its manifest and blobs are stored.
    Submit {
        /// Digest of the manifest's bytes.
        manifest_hash: Hash,
        /// The manifest.
        manifest: Box<Manifest>,
        /// The job's id.
        reply: oneshot::Sender<JobId>,
    },
    /// End a job.
    Cancel(JobId, oneshot::Sender<bool>),
    /// Forget a job that is over.
    Forget(JobId, oneshot::Sender<bool>),
    /// Every job.
    Jobs(oneshot::Sender<Vec<JobView>>),
    /// One job.
    Job(JobId, oneshot::Sender<Option<JobView>>),
    /// Tasks of a job that changed at place `after` or later, at most `limit`.
    Results {
        /// Which job.
        job: JobId,
        /// One past the last place that the caller has seen.
        after: u64,
        /// At most this many.
        limit: usize,
        /// The tasks, and the job's standing.
        reply: oneshot::Sender<KnownTasks>,
    },
    /// Vouch for a peer, or no longer.
    Trust {
        /// Whom.
        peer: PeerId,
        /// Whether.
        trusted: bool,
        /// Done.
        reply: oneshot::Sender<()>,
    },
    /// What a job would cost and promise.
    Plan(Box<Intent>, oneshot::Sender<Forecast>),
    /// What is known first-hand of others.
    Standings(oneshot::Sender<Vec<(PeerId, Standing)>>),
    /// The peer's standing.
    Peer(oneshot::Sender<PeerView>),
    /// Take the machine back.
    Pause(oneshot::Sender<()>),
    /// Lend it again.
    Resume(oneshot::Sender<()>),
    /// End.
    Stop(oneshot::Sender<()>),
}

/// A job that changed; clients ask for its view.
pub type Changes = broadcast::Sender<JobId>;

/// The stored past.
pub(crate) struct Past {
    pub(crate) records: Records,
    /// Whether some of it is known to be lost.
    pub(crate) has_holes: bool,
    /// How many records are there and cannot be read; set once the past is taken back.
    pub(crate) unreadable: Arc<OnceLock<u64>>,
}

/// What the core works with.
pub(crate) struct Core {
    pub(crate) peer: Peer,
    pub(crate) records: Records,
    pub(crate) net: Handle,
    pub(crate) engines: Engines,
    /// Commands that wait until what came before them is stored.
    commands: Vec<Command>,
    pub(crate) blobs: BlobService,
    pub(crate) archive: Archive,
    pub(crate) changes: Changes,
    pub(crate) inbox: mpsc::Receiver<Message>,
    submitting: Vec<oneshot::Sender<JobId>>,
    up: HashSet<bayan_protocol::id::PeerId>,
    storing: Vec<Change>,
    acting: Vec<Effect>,
    last: Timestamp,
    stop: Option<oneshot::Sender<()>>,
    has_holes: bool,
    unreadable: Arc<OnceLock<u64>>,
}

/// Why the core ended.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// Records could not be written; nothing was acknowledged that is not stored.
    #[error("cannot go on: {0}")]
    Write(#[from] WriteError),
    /// What was stored could not be read.
    #[error("cannot take back what was stored: {0}")]
    Read(#[from] ReadError),
}

/// The time as the machines count it.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

impl Core {
    pub(crate) fn new(
        peer: Peer,
        past: Past,
        net: Handle,
        engines: Engines,
        (blobs, archive): (BlobService, Archive),
        changes: Changes,
        inbox: mpsc::Receiver<Message>,
    ) -> Self {
        let Past { records, has_holes, unreadable } = past;
        Self {
            peer,
            records,
            net,
            engines,
            commands: Vec::new(),
            blobs,
            archive,
            changes,
            inbox,
            submitting: Vec::new(),
            up: HashSet::new(),
            storing: Vec::new(),
            acting: Vec::new(),
            last: Timestamp(0),
            stop: None,
            has_holes,
            unreadable,
        }
    }

    /// Takes back the stored past, then serves until told to stop.
    pub(crate) async fn run(mut self) -> Result<(), CoreError> {
        self.restore()?;
        loop {
            let wake = self.peer.next_wake().map(|(at, _)| at);
            let wait =
                wake.map_or(Duration::from_secs(60), |at| at.since(self.clock())).max(MIN_TICK);
            tokio::select! {
                biased;
                message = self.inbox.recv() => match message {
                    Some(message) => self.take(message),
                    None => break,
                },
                () = tokio::time::sleep(wait) => {}
            }
            for _ in 1..ROUND {
                match self.inbox.try_recv() {
                    Ok(message) => self.take(message),
                    Err(_) => break,
                }
            }
            let now = self.clock();
            if self.peer.next_wake().is_some_and(|(at, _)| at <= now) {
                self.step(Input::Tick);
            }
            self.commit()?;
            // An answer may speak of what was just decided: its records are stored by now.
            for command in std::mem::take(&mut self.commands) {
                self.command(command);
            }
            self.commit()?;
            if let Some(stopped) = self.stop.take() {
                let _ = self.records.flush();
                let _ = stopped.send(());
                break;
            }
        }
        Ok(())
    }

    /// The clock, which never runs backwards here.
    fn clock(&mut self) -> Timestamp {
        self.last = self.last.max(now());
        self.last
    }

    fn restore(&mut self) -> Result<(), CoreError> {
        let (mut records, mut unreadable) = (Vec::new(), 0);
        for stored in self.records.load()? {
            let (key, value) = stored?;
            match Record::decode(&value) {
                Ok(record) => records.push(record),
                Err(error) => {
                    // It stays where it is: another version may know what to do with it.
                    tracing::debug!(key = hex::encode(key), %error, "a record is unreadable");
                    unreadable += 1;
                }
            }
        }
        if unreadable > 0 {
            tracing::warn!(unreadable, "stored records of an unknown form are kept and not used");
        }
        let _ = self.unreadable.set(unreadable);
        let now = self.clock();
        let blobs = self.blobs.store().clone();
        let manifest = |hash: &Hash| {
            let bytes = blobs.get(hash).ok()?;
            bayan_protocol::cbor::decode::<Manifest>(&bytes).ok()
        };
        self.recall_poisoners(now, &records);
        // What is missing from the records may need any of the blobs.
        self.has_holes |= unreadable > 0;
        let batch = self.peer.restore(now, records, manifest);
        self.queue(batch);
        self.commit()?;
        // Less disk may be lent than before.
        self.make_room(0);
        Ok(())
    }

    /// Hands on who sent wrong bytes, and forgets it of those for whom the time is over.
    fn recall_poisoners(&mut self, now: Timestamp, records: &[Record]) {
        let mut poisoners = Vec::new();
        for record in records {
            if let Record::Poisoner { peer, until } = record {
                if *until > now {
                    poisoners.push((*peer, *until));
                } else {
                    self.storing.push(Change::Delete { key: record.key().0 });
                }
            }
        }
        self.blobs.remember(poisoners);
    }

    /// Removes blobs that nothing needs until `bytes` more fit.
    fn make_room(&mut self, bytes: u64) {
        let blobs = self.blobs.store().clone();
        let missing = room::missing(&blobs, bytes);
        if missing == 0 || self.has_holes {
            return;
        }
        let now = self.clock();
        for hash in evict::choose(now, blobs.stored(), &self.peer.needed(), missing) {
            tracing::debug!(blob = %hash.short(), "gives way");
            self.blobs.withdraw(&hash);
            if let Err(error) = blobs.give_up(&hash) {
                tracing::warn!(blob = %hash.short(), %error, "an unused blob could not be removed");
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Net(event) => self.net_event(event),
            Message::Executed(ended) => self.step(Input::Executed(ended)),
            Message::Blob { hash, here } => {
                self.step(Input::Blob { hash, here });
            }
            Message::MayFetch { peer, hash, reply } => {
                let now = self.clock();
                let given = self.peer.may_fetch(now, &peer, &hash);
                let _ = reply.send((given, self.peer.shares(&hash)));
            }
            Message::MayShare { hash, reply } => {
                let _ = reply.send(self.peer.shares(&hash));
            }
            Message::Poisoner { peer, until } => {
                let key = record::Key::poisoner(&peer).0;
                self.storing.push(match until {
                    Some(until) => {
                        Change::Put { key, value: Record::Poisoner { peer, until }.encode() }
                    }
                    None => Change::Delete { key },
                });
            }
            Message::MakeRoom { bytes, reply } => {
                self.make_room(bytes);
                let _ = reply.send(());
            }
            Message::Command(command) => self.commands.push(command),
        }
    }

    fn net_event(&mut self, event: Event) {
        match event {
            Event::Listening { address } => tracing::info!(%address, "listening"),
            Event::Up { peer, address, inbound } => {
                tracing::info!(peer = %peer.short(), %address, inbound, "peer connected");
                self.up.insert(peer);
                let (proximity, prefix) = origin(&address);
                self.step(Input::Up { peer, proximity, prefix });
            }
            Event::Frame { peer, bytes } => {
                if self.up.contains(&peer) {
                    let frame = Frame::decode(&bytes);
                    if let Ok(frame) = &frame {
                        tracing::debug!(from = %peer.short(), bytes = bytes.len(), "{frame}");
                    }
                    self.step(Input::Frame { peer, frame });
                }
            }
            Event::Down { peer, reason } => {
                tracing::info!(peer = %peer.short(), %reason, "peer gone");
                if self.up.remove(&peer) {
                    self.step(Input::Down { peer });
                }
            }
            Event::Link { peer, rtt, rate } => {
                let micros = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX);
                self.step(Input::Link { peer, micros, rate: rate.map_or(0, |rate| rate.0) });
            }
            Event::Advert { bytes, .. } => self.step(Input::Advert(bytes)),
            Event::Providers { hash, peers } => self.blobs.heard(hash, peers),
            Event::BlobRequest { peer, stream } => self.blobs.serve(peer, stream),
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Submit { manifest_hash, manifest, reply } => {
                self.submitting.push(reply);
                self.step(Input::Submit { manifest_hash, manifest: *manifest });
            }
            Command::Cancel(job, reply) => {
                let known = self.peer.job(&job).is_some();
                self.step(Input::Cancel(job));
                let _ = reply.send(known);
            }
            Command::Forget(job, reply) => {
                let over = self.peer.job(&job).is_some_and(|job| !job.is_running());
                self.step(Input::Forget(job));
                let _ = reply.send(over);
            }
            Command::Jobs(reply) => {
                let _ = reply.send(self.peer.jobs().map(|job| job.view()).collect());
            }
            Command::Job(job, reply) => {
                let _ = reply.send(self.peer.job(&job).map(|job| job.view()));
            }
            Command::Results { job, after, limit, reply } => {
                let _ = reply.send(self.results(&job, after, limit));
            }
            Command::Trust { peer, trusted, reply } => {
                self.step(Input::Trust { peer, trusted });
                let _ = reply.send(());
            }
            Command::Plan(intent, reply) => {
                let now = self.clock();
                let _ = reply.send(self.peer.forecast(now, *intent));
            }
            Command::Standings(reply) => {
                let known = self.peer.standings().iter();
                let _ = reply.send(known.map(|(peer, one)| (*peer, one.clone())).collect());
            }
            Command::Peer(reply) => {
                let _ = reply.send(self.peer.view());
            }
            Command::Pause(reply) => {
                self.step(Input::Pause);
                let _ = reply.send(());
            }
            Command::Resume(reply) => {
                self.step(Input::Resume);
                let _ = reply.send(());
            }
            Command::Stop(reply) => self.stop = Some(reply),
        }
    }

    fn results(&self, job: &JobId, after: u64, limit: usize) -> KnownTasks {
        let source = self.peer.job(job)?;
        let entry = |(place, index): (u64, u32)| {
            Some(Known {
                place,
                places: source.places_of(index),
                index,
                task: source.task_id(index)?,
                state: source.task_state(index),
                acceptance: source.acceptance(index).cloned(),
            })
        };
        let known = source.feed(after).take(limit).filter_map(entry).collect();
        Some((known, source.view()))
    }

    fn step(&mut self, input: Input) {
        let now = self.clock();
        let batch = self.peer.step(now, input);
        self.queue(batch);
    }

    fn queue(&mut self, batch: bayan_protocol::batch::Batch<Effect>) {
        self.storing.extend(batch.records.into_iter().map(|change| match change {
            record::Change::Put(record) => {
                Change::Put { key: record.key().0, value: record.encode() }
            }
            record::Change::Delete(key) => Change::Delete { key: key.0 },
        }));
        self.acting.extend(batch.effects);
    }

    /// Stores first, then acts.
    fn commit(&mut self) -> Result<(), CoreError> {
        // What is answered at once has consequences of its own.
        loop {
            let storing = std::mem::take(&mut self.storing);
            for part in parts(&storing) {
                self.records.append(part)?;
            }
            let acting = std::mem::take(&mut self.acting);
            if acting.is_empty() {
                return Ok(());
            }
            for effect in acting {
                self.act(effect);
            }
        }
    }

    fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Send(peer, frame) => {
                tracing::debug!(to = %peer.short(), "{frame}");
                if let Err(error) = self.net.send(peer, frame.encode()) {
                    tracing::debug!(peer = %peer.short(), %error, "frame not sent");
                }
            }
            Effect::Close(peer, why) => {
                tracing::warn!(peer = %peer.short(), %why, "closing the connection");
                let _ = self.net.disconnect(peer, &why);
            }
            Effect::Fetch { hash, len, from } => {
                // Whoever is named later is one more to get it from.
                self.blobs.fetch(hash, len, from);
            }
            Effect::Read(hash) => {
                let bytes = self.blobs.store().get(&hash).ok();
                self.step(Input::Content { hash, bytes });
            }
            Effect::Keep { hash, bytes } => {
                self.make_room(bytes.len() as u64);
                let stored = self.blobs.store().put(&bytes);
                if let Err(error) = &stored {
                    tracing::warn!(blob = %hash.short(), %error, "a job to carry on is not stored");
                }
                self.step(Input::Blob { hash, here: stored.is_ok() });
            }
            Effect::Recall { job, keys } => {
                let read = |key: &record::Key| self.records.get(&key.0).ok().flatten();
                let records = keys.iter().filter_map(read);
                let records = records.filter_map(|bytes| Record::decode(&bytes).ok()).collect();
                self.step(Input::Recalled { job, records });
            }
            Effect::Run { attempt, program, task, input } => {
                self.engines.run(attempt, program, task, input)
            }
            Effect::Kill(attempt) => self.engines.kill(attempt),
            Effect::Reach(peer) => {
                if let Err(error) = self.net.reach(peer) {
                    tracing::debug!(peer = %peer.short(), %error, "not looked for");
                }
            }
            Effect::Advertise(bytes) => {
                let _ = self.net.publish_advert(bytes);
            }
            Effect::Submitted(job) => {
                if !self.submitting.is_empty() {
                    let _ = self.submitting.remove(0).send(job);
                }
            }
            Effect::Changed(job) => {
                let _ = self.changes.send(job);
            }
            Effect::Caught { job, task, worker, right, ban } => {
                tracing::warn!(job = %job.short(), task, peer = %worker.short(), ?ban, "a result was proven wrong");
                if let Some(accusation) = self.peer.accusation(&job, task, &worker) {
                    self.archive.keep(accusation, right);
                }
            }
        }
    }
}

/// Splits changes so that each part fits in one append.
fn parts(changes: &[Change]) -> impl Iterator<Item = &[Change]> {
    let mut rest = changes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (mut bytes, mut count) = (0, 0);
        for change in rest {
            bytes += match change {
                Change::Put { key, value } => key.len() + value.len() + 16,
                Change::Delete { key } => key.len() + 16,
            };
            if count > 0 && bytes > MAX_APPEND {
                break;
            }
            count += 1;
        }
        let (part, after) = rest.split_at(count);
        rest = after;
        Some(part)
    })
}

/// How near a multiaddress is, and its network.
fn origin(address: &str) -> (Proximity, Prefix) {
    let mut parts = address.split('/').skip(1);
    match (parts.next(), parts.next().and_then(|ip| ip.parse().ok())) {
        (Some("ip4" | "ip6"), Some(ip)) => (Proximity::of(ip), Prefix::of(ip)),
        _ => (Proximity::Wide, Prefix::default()),
    }
}
