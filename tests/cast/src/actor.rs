//! One member on the real wire: the network side of a peer, the protocol's own machines, and a role
//! between the machines and everything else. What the role does not touch is exactly honest.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use bayan::{blobs::BlobService, core};
use bayan_net::{Event, Handle};
use bayan_protocol::{
    crypto::Keypair,
    delegate,
    id::{Hash, PeerId, TaskId},
    limits::MAX_INLINE,
    offer::{Accept, Lending, Prefix, Proximity},
    peer::{Config, Effect, Input, Peer},
    result::{Ended, Outcome, Output, Reveal},
    source,
    task::{self, PROFILE_V1, Program},
    time::Timestamp,
    wire::Frame,
};
use serde_bytes::ByteBuf;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    behaviour::{Claim, Conduct, Need, Turn, identity},
    forge::Forger,
    ledger::Ledger,
    role::Role,
    stage::Stage,
    truth::{Order, Truth},
};

/// Guest memory that a member says it lends.
const MEMORY: u64 = 1 << 30;
/// Blobs that may wait to be told of.
const BLOBS: usize = 64;
/// Timer ticks are at least this far apart, as in an honest peer.
const MIN_TICK: Duration = Duration::from_millis(5);
/// A member that was given work and none for this long takes itself for shunned.
const SHUNNED: Duration = Duration::from_secs(30);

/// What a member is.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its number in the process.
    pub number: u32,
    /// What it is up to.
    pub role: Role,
    /// Seed of its identities.
    pub seed: u64,
    /// Tasks that it computes at once.
    pub slots: u32,
    /// Whether what is known already takes as long as it took to compute: members of one process
    /// then work as fast as machines of their own would.
    pub paced: bool,
    /// Its own address.
    pub listen: IpAddr,
    /// The port that it listens at; 0 for any.
    pub port: u16,
    /// Whom it joins.
    pub bootstrap: Vec<String>,
    /// Whether it knows nobody else.
    pub only_bootstrap: bool,
}

/// How an identity ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Stopped,
    Turned(Turn),
}

/// Plays a member until it leaves or is stopped, through all its identities; says what it claimed.
///
/// # Errors
/// If it cannot listen.
pub async fn play(
    stage: Arc<Stage>,
    settings: Settings,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (mut ledger, mut identities) = (Ledger::default(), Vec::new());
    for generation in 0.. {
        let secret = identity(settings.seed, settings.number, generation);
        identities.push(Keypair::from_seed(&secret).peer_id().to_string());
        let (mut life, channels) = Life::start(&stage, &settings, secret, ledger).await?;
        let end = life.live(channels, &stop).await;
        ledger = life.end().await;
        ledger.next_identity();
        match end {
            End::Turned(Turn::Rejoin) => say(&stage, &settings, "rejoins", json!({})),
            End::Turned(Turn::Leave) => {
                say(&stage, &settings, "left", json!({}));
                stop.cancelled().await;
                break;
            }
            End::Stopped => break,
        }
    }
    ledger.resolve(|task| stage.executor.known(task));
    let tasks = |right| ledger.tasks(right).iter().map(TaskId::to_string).collect::<Vec<_>>();
    let mut summary = counts(&ledger);
    summary["identities"] = identities.into();
    summary["wrong_tasks"] = tasks(Some(false)).into();
    summary["unknown_tasks"] = tasks(None).into();
    say(&stage, &settings, "summary", summary);
    Ok(())
}

fn say(stage: &Stage, settings: &Settings, event: &str, mut more: Value) {
    more["event"] = event.into();
    more["member"] = settings.number.into();
    more["role"] = settings.role.to_string().into();
    stage.say(more);
}

fn counts(ledger: &Ledger) -> Value {
    let count = ledger.count();
    json!({
        "results": count.right + count.wrong + count.unknown,
        "right": count.right,
        "wrong": count.wrong,
        "unknown": count.unknown,
        "withheld": count.withheld,
    })
}

/// What reaches a member from outside.
struct Channels {
    events: mpsc::Receiver<Event>,
    truths: mpsc::Receiver<(u64, Truth)>,
    blobs: mpsc::Receiver<(Hash, bool)>,
}

struct Attempt {
    started: Timestamp,
    task: TaskId,
    module: Hash,
    /// Computed on other data, so that it is claimed as it is.
    other: bool,
}

/// One identity.
struct Life {
    stage: Arc<Stage>,
    settings: Settings,
    number: u64,
    me: PeerId,
    key: Keypair,
    /// Grows with every frame that a relay passes on: what chance there is in that is drawn from it.
    sent: u64,
    peer: Peer,
    conduct: Conduct,
    forger: Forger,
    ledger: Ledger,
    net: Handle,
    blobs: BlobService,
    answers: mpsc::Sender<(u64, Truth)>,
    attempts: BTreeMap<u64, Attempt>,
    /// Truths that are known before their time.
    early: BTreeMap<(Timestamp, u64), Truth>,
    /// Answers that needed no computing.
    ready: VecDeque<Input>,
    fetching: BTreeSet<Hash>,
    up: BTreeSet<PeerId>,
    /// When it was last given something to compute.
    served: Timestamp,
    /// What an attempt took last: what a guess is said to have taken.
    micros: u64,
    clock: Timestamp,
    turn: Option<Turn>,
}

impl Life {
    async fn start(
        stage: &Arc<Stage>,
        settings: &Settings,
        secret: [u8; 32],
        ledger: Ledger,
    ) -> anyhow::Result<(Self, Channels)> {
        let mut config = bayan_net::Config::new(secret);
        config.listen = vec![multiaddr(settings.listen, settings.port)];
        config.only_bootstrap = settings.only_bootstrap;
        config.bootstrap.clone_from(&settings.bootstrap);
        config.quic = false;
        let agent = config.agent.clone();
        let (net, events) = bayan_net::start(config)
            .await
            .with_context(|| format!("member {} cannot join", settings.number))?;
        let (outbox, fetched) = mpsc::channel(BLOBS);
        let (tell, blobs) = mpsc::channel(BLOBS);
        let runtime = tokio::runtime::Handle::current();
        let service = BlobService::new(stage.blobs.clone(), net.clone(), outbox, runtime, None);
        tokio::spawn(Arc::clone(stage).pass_on(fetched, tell));
        // At most one answer a slot is under way, besides those of attempts killed meanwhile.
        let (answers, truths) = mpsc::channel(2 * settings.slots as usize + 64);
        let key = Keypair::from_seed(&secret);
        stage.board().enlist(&settings.role, key.peer_id());
        let clock = core::now();
        let life = Self {
            stage: Arc::clone(stage),
            settings: settings.clone(),
            number: stage.life(),
            me: key.peer_id(),
            key: key.clone(),
            sent: settings.seed,
            peer: Peer::new(key, machines(settings, agent), &secret, clock),
            conduct: Conduct::new(settings.role.clone(), secret),
            forger: Forger::new(&settings.role, &secret),
            ledger,
            net,
            blobs: service,
            answers,
            attempts: BTreeMap::new(),
            early: BTreeMap::new(),
            ready: VecDeque::new(),
            fetching: BTreeSet::new(),
            up: BTreeSet::new(),
            served: clock,
            micros: 1000,
            clock,
            turn: None,
        };
        Ok((life, Channels { events, truths, blobs }))
    }

    /// Ends the identity; what is queued for its neighbours is sent first.
    async fn end(self) -> Ledger {
        for attempt in self.attempts.keys() {
            self.stage.executor.cancel((self.number, *attempt));
        }
        self.net.shutdown().await;
        self.ledger
    }

    async fn live(&mut self, mut from: Channels, stop: &CancellationToken) -> End {
        loop {
            let wake = self.peer.next_wake().map(|(at, _)| at);
            let due = self.early.keys().map(|(at, _)| *at).next();
            let wait = wake.into_iter().chain(due).min().map(|at| at.since(self.now()));
            let wait = wait.unwrap_or(SHUNNED).clamp(MIN_TICK, SHUNNED);
            tokio::select! {
                () = stop.cancelled() => return End::Stopped,
                event = from.events.recv() => match event {
                    Some(event) => self.event(event),
                    None => return End::Stopped,
                },
                Some((attempt, truth)) = from.truths.recv() => self.learns(attempt, truth),
                Some((hash, here)) = from.blobs.recv() => {
                    self.fetching.remove(&hash);
                    self.step(Input::Blob { hash, here });
                }
                () = tokio::time::sleep(wait) => {}
            }
            while let Some(input) = self.ready.pop_front() {
                self.step(input);
            }
            let now = self.now();
            while let Some(entry) = self.early.first_entry().filter(|entry| entry.key().0 <= now) {
                let ((_, attempt), truth) = entry.remove_entry();
                self.executed(attempt, truth);
            }
            if self.peer.next_wake().is_some_and(|(at, _)| at <= now) {
                self.step(Input::Tick);
            }
            if self.attempts.is_empty() && now.since(self.served) > SHUNNED {
                self.turn = self.turn.or(self.conduct.unserved());
            }
            if let Some(turn) = self.turn {
                return End::Turned(turn);
            }
        }
    }

    /// The clock, which never runs backwards here.
    fn now(&mut self) -> Timestamp {
        self.clock = self.clock.max(core::now());
        self.clock
    }

    fn say(&self, event: &str, mut more: Value) {
        more["peer"] = self.me.to_string().into();
        say(&self.stage, &self.settings, event, more);
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Listening { address } => self.say("ready", json!({ "listening": address })),
            Event::Up { peer, .. } => {
                self.up.insert(peer);
                self.say("meets", json!({ "other": peer.to_string() }));
                // Its own jobs, if it had any, would trust nobody's network.
                let prefix = Prefix::default();
                self.step(Input::Up { peer, proximity: Proximity::Lan, prefix });
            }
            Event::Frame { peer, bytes } => {
                if self.up.contains(&peer) {
                    self.step(Input::Frame { peer, frame: Frame::decode(&bytes) });
                }
            }
            Event::Down { peer, reason } => {
                if self.up.remove(&peer) {
                    let why = reason.to_string();
                    self.say("loses", json!({ "other": peer.to_string(), "why": why }));
                    self.step(Input::Down { peer });
                }
                if self.up.is_empty() {
                    self.turn = self.turn.or(self.conduct.unserved());
                }
            }
            Event::Link { .. } => {}
            Event::Advert { bytes, .. } => self.step(Input::Advert(bytes)),
            Event::Providers { hash, peers } => self.blobs.heard(hash, peers),
            Event::BlobRequest { peer, stream } => self.blobs.serve(peer, stream),
        }
    }

    /// Steps the machines and acts. Nothing is stored: a member that goes is gone.
    fn step(&mut self, input: Input) {
        let now = self.now();
        for effect in self.peer.step(now, input).effects {
            self.act(effect);
        }
    }

    fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Send(peer, frame) => self.send(peer, frame),
            Effect::Close(peer, why) => {
                tracing::info!(member = self.settings.number, peer = %peer.short(), %why, "closing");
                let _ = self.net.disconnect(peer, &why);
            }
            Effect::Fetch { hash, len, from } => {
                if self.fetching.insert(hash) {
                    self.stage.fetch(&self.blobs, hash, len, from);
                }
            }
            Effect::Run { attempt, program, task, input } => {
                self.run(attempt, program, task, input);
            }
            Effect::Kill(attempt) => {
                if self.attempts.remove(&attempt).is_some() {
                    self.stage.executor.cancel((self.number, attempt));
                }
            }
            Effect::Advertise(bytes) => {
                let _ = self.net.publish_advert(bytes);
            }
            Effect::Reach(peer) => {
                let _ = self.net.reach(peer);
            }
            // It is nobody's delegate.
            Effect::Read(_) | Effect::Keep { .. } | Effect::Recall { .. } => {}
            Effect::Submitted(_) | Effect::Changed(_) | Effect::Caught { .. } => {}
        }
    }

    fn send(&mut self, peer: PeerId, frame: Frame) {
        if let Frame::Reveal(reveal) = &frame {
            self.account(reveal);
        }
        for frame in self.forger.pass(frame) {
            let Some(frame) = self.passed(peer, frame) else { continue };
            if let Err(error) = self.net.send(peer, frame.encode()) {
                tracing::debug!(peer = %peer.short(), %error, "frame not sent");
            }
        }
    }

    /// What goes out at once in place of a frame; what goes out later is seen to.
    fn passed(&mut self, peer: PeerId, frame: Frame) -> Option<Frame> {
        let Role::Relay(passing) = &self.settings.role else { return Some(frame) };
        self.sent = self.sent.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let mut board = self.stage.board();
        let (after, frame) =
            passing.pass(&self.key, &peer, frame, (&mut board, self.sent >> 11))?;
        drop(board);
        if after == 0 {
            return Some(frame);
        }
        let net = self.net.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_micros(after)).await;
            let _ = net.send(peer, frame.encode());
        });
        None
    }

    /// Counts what goes out.
    fn account(&mut self, reveal: &Reveal) {
        if self.settings.role == Role::CommitOnly {
            self.ledger.withhold(&reveal.opened);
        } else {
            let forged = matches!(self.settings.role, Role::OtherReveal | Role::Equivocate);
            let new = self.ledger.send(&reveal.opened, forged);
            self.turn = self.turn.or(self.conduct.sent(new));
        }
        self.say("sent", counts(&self.ledger));
    }

    fn run(&mut self, attempt: u64, program: Arc<Program>, task: TaskId, input: task::Input) {
        self.served = self.now();
        let need = self.conduct.take(&mut self.stage.board(), &task, &program.module);
        let other = match need {
            Need::Nothing => return,
            Need::Answer(claim) => {
                self.ledger.claim(task, claim.outcome(), None);
                let output = self.store(claim.output.clone());
                let input = executed(attempt, &claim, output, Vec::new(), self.micros);
                return self.ready.push_back(input);
            }
            Need::Computed => None,
            Need::ComputedOn(lie) => (!program.data.is_empty()).then_some(lie),
        };
        let module = program.module;
        let (started, other_data) = (self.served, other.is_some());
        self.attempts.insert(attempt, Attempt { started, task, module, other: other_data });
        let order = Order { ticket: (self.number, attempt), program, task, input, other };
        let answers = self.answers.clone();
        let answer = Box::new(move |truth| {
            if answers.try_send((attempt, truth)).is_err() {
                tracing::debug!(attempt, "nobody waits for this answer");
            }
        });
        self.stage.executor.run(order, answer);
    }

    /// A truth is known; the member may have to wait until it could have computed it.
    fn learns(&mut self, attempt: u64, truth: Truth) {
        let Some(started) = self.attempts.get(&attempt).map(|attempt| attempt.started) else {
            return;
        };
        let due = started + Duration::from_micros(truth.micros);
        if self.settings.paced && due > self.now() {
            self.early.insert((due, attempt), truth);
        } else {
            self.executed(attempt, truth);
        }
    }

    fn executed(&mut self, attempt: u64, truth: Truth) {
        let Some(Attempt { task, module, other, .. }) = self.attempts.remove(&attempt) else {
            return;
        };
        self.micros = truth.micros.max(1);
        let claimed = match self.bytes(&truth.output) {
            Some(_) if !truth.status.is_conclusive() => (truth.outcome(), truth.output),
            Some(_) if other => {
                self.conduct.claimed_as_computed();
                self.ledger.claim(task, truth.outcome(), None);
                (truth.outcome(), truth.output)
            }
            Some(output) => {
                let honest = Claim { status: truth.status, output, fuel: truth.fuel };
                let claim = self.conduct.claim(&mut self.stage.board(), &task, &module, &honest);
                self.ledger.claim(task, claim.outcome(), Some(claim == honest));
                (claim.outcome(), self.store(claim.output))
            }
            None => return tracing::error!(%task, "the output of a task is gone"),
        };
        let (Outcome { status, fuel, .. }, output) = claimed;
        let micros = self.micros;
        self.step(Input::Executed(Ended { attempt, status, output, fuel, log: truth.log, micros }));
    }

    fn bytes(&self, output: &Output) -> Option<Vec<u8>> {
        match output {
            Output::Inline(bytes) => Some(bytes.to_vec()),
            Output::Blob { hash, .. } => self.stage.blobs.get(hash).ok(),
        }
    }

    /// An output as it travels. One that the disk does not take is claimed as if it were there.
    fn store(&self, bytes: Vec<u8>) -> Output {
        if bytes.len() <= MAX_INLINE {
            return Output::Inline(ByteBuf::from(bytes));
        }
        if let Err(error) = self.stage.blobs.put(&bytes) {
            tracing::error!(%error, "an output could not be stored");
        }
        Output::Blob { hash: Hash::of(&bytes), len: bytes.len() as u64 }
    }
}

fn executed(attempt: u64, claim: &Claim, output: Output, log: Vec<u8>, micros: u64) -> Input {
    Input::Executed(Ended { attempt, status: claim.status, output, fuel: claim.fuel, log, micros })
}

/// Where somebody listens, as others dial it.
pub fn multiaddr(address: IpAddr, port: u16) -> String {
    match address {
        IpAddr::V4(v4) => format!("/ip4/{v4}/tcp/{port}"),
        IpAddr::V6(v6) => format!("/ip6/{v6}/tcp/{port}"),
    }
}

fn machines(settings: &Settings, agent: String) -> Config {
    let lending = Lending {
        relays: matches!(settings.role, Role::Relay(_)),
        slots: if matches!(settings.role, Role::Relay(_)) { 0 } else { settings.slots },
        memory: MEMORY,
        accept: Accept::All,
        profiles: vec![PROFILE_V1.to_owned()],
    };
    Config {
        lending,
        agent,
        source: source::Config::default(),
        delegate: delegate::Config::default(),
    }
}
