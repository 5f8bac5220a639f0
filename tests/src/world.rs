//! Whole peers in a made-up world: links with delay that break, disks that survive crashes, engines
//! that are a function of the task. Everything follows from one seed.
//!
//! The machines are `bayan-protocol`'s own. What the world adds is only what a node would: it stores
//! a step's records before it acts on its effects, and a crash may come between the two.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bayan_cast::{Board, Claim, Conduct, Forger, Need, Passing, Rate, Role, Turn};
use bayan_protocol::{
    crypto::Keypair,
    entropy::Entropy,
    id::{Hash, JobId, PeerId, TaskId},
    job::{Audience, Inputs, Local, Manifest},
    offer::{Accept, Lending, Prefix, Proximity},
    peer::{Config, Effect, Input, Peer},
    record::{Change, Record},
    result::{Commit, Ended, Outcome, Output},
    source,
    standing::Standing,
    task::{Limits, PROFILE_V1, Program, Status},
    time::Timestamp,
    verify::{Policy, State},
    wire::Frame,
};
use serde_bytes::ByteBuf;

/// A state and outcome that were stored for a task.
pub type Stored = (State, Option<Outcome>);

/// A peer by its number.
pub type Number = usize;

/// Virtual milliseconds.
pub const MS: u64 = 1000;

/// Outputs of every this many tasks are too long to travel inline.
const LONG_EVERY: u8 = 5;
const LONG: usize = 20 << 10;
/// Batches of a host that can be sent again.
const KEPT: usize = 32;

#[derive(Debug, Clone)]
enum Event {
    Frame { to: Number, from: Number, epoch: u64, bytes: Vec<u8> },
    Done { at: Number, life: u64, attempt: u64, task: TaskId, module: Hash },
    Blob { at: Number, life: u64, hash: Hash, from: PeerId },
    Wake { at: Number, life: u64 },
    Turn { at: Number, turn: Turn },
    Reach { at: Number, life: u64, peer: PeerId },
    Late { from: Number, to: PeerId, frame: Box<Frame> },
}

/// One peer with its disk.
pub struct Host {
    key: Keypair,
    machine: Option<Peer>,
    /// How often it has started: what belongs to an earlier life does not reach this one.
    life: u64,
    disk: BTreeMap<Vec<u8>, Record>,
    blobs: BTreeMap<Hash, Vec<u8>>,
    slots: u32,
    relays: bool,
    passing: Passing,
    /// Whether it still runs but nothing goes in or out.
    frozen: bool,
    /// Virtual microseconds a task.
    pace: u64,
    conduct: Conduct,
    forger: Forger,
    /// Attempts under way, with the answers of those that nothing is computed for.
    running: BTreeMap<u64, Option<Claim>>,
    /// Its latest commits, and its latest batches with whom they were sent to.
    commits: VecDeque<Commit>,
    batches: VecDeque<(PeerId, [Frame; 2])>,
    /// What it knew of others when it last crashed.
    knew: Vec<(PeerId, Standing)>,
    /// The tick that is scheduled.
    wake: Option<Timestamp>,
    /// Peers that it closed the connection with for breaking the protocol.
    pub closed: Vec<PeerId>,
    /// What they did.
    pub reasons: Vec<String>,
    /// Peers that it ever stored a ban of.
    pub banned: BTreeSet<PeerId>,
    /// How often it knew something else of others after a restart than before.
    pub forgot: u32,
}

/// The world.
pub struct World {
    now: Timestamp,
    random: Entropy,
    events: BTreeMap<(Timestamp, u64), Event>,
    next: u64,
    hosts: Vec<Host>,
    /// Connected pairs, smaller number first, with the epoch of the connection.
    links: BTreeMap<(Number, Number), u64>,
    epochs: u64,
    /// What mates tell each other.
    board: Board,
    /// When the last frame of each direction arrives: frames of one stream stay in order.
    arrival: BTreeMap<(Number, Number), Timestamp>,
    /// How often each settled task was stored, by host and key; the judge wants one of each.
    pub settled: BTreeMap<(Number, Vec<u8>), Vec<Record>>,
    /// Every state of a task that was stored after it was final, by host and key, with its outcome.
    pub after_final: BTreeMap<(Number, Vec<u8>), BTreeSet<Stored>>,
    /// Chance in 1000 that a host crashes between storing and acting.
    pub crash_per_mille: u64,
}

/// What every honest engine answers for a task.
pub fn truth(task: &TaskId) -> Vec<u8> {
    let len = if task.0[0].is_multiple_of(LONG_EVERY) { LONG } else { 40 };
    task.0.iter().copied().cycle().take(len).collect()
}

fn fuel(task: &TaskId) -> u64 {
    1000 + u64::from(task.0[1])
}

/// The outcome that every honest peer reports for a task.
pub fn outcome(task: &TaskId) -> Outcome {
    Outcome { status: Status::Exited(0), output: Hash::of(&truth(task)), fuel: fuel(task) }
}

/// What a machine knows of others.
fn known(machine: &Peer) -> Vec<(PeerId, Standing)> {
    machine.standings().iter().map(|(peer, standing)| (*peer, standing.clone())).collect()
}

impl Host {
    /// Remembers a batch, to be sent again.
    fn keep(&mut self, to: &PeerId, frame: &Frame) {
        match frame {
            Frame::Commit(commit) => self.commits.push_front(commit.clone()),
            Frame::Reveal(reveal) => {
                let commit = self.commits.iter().find(|commit| commit.root == reveal.root);
                if let Some(commit) = commit.cloned() {
                    self.batches.push_front((*to, [Frame::Commit(commit), frame.clone()]));
                }
            }
            _ => {}
        }
        self.commits.truncate(KEPT);
        self.batches.truncate(KEPT);
    }

    /// What it is up to.
    pub fn role(&self) -> &Role {
        self.conduct.role()
    }
}

impl World {
    /// An empty world.
    pub fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self {
            now: Timestamp(1_000_000_000_000),
            random: Entropy::new(&bytes),
            events: BTreeMap::new(),
            next: 0,
            hosts: Vec::new(),
            links: BTreeMap::new(),
            epochs: 0,
            board: Board::default(),
            arrival: BTreeMap::new(),
            settled: BTreeMap::new(),
            after_final: BTreeMap::new(),
            crash_per_mille: 0,
        }
    }

    /// A number below `bound`.
    pub fn draw(&mut self, bound: u64) -> u64 {
        let bytes = self.random.draw();
        u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) % bound.max(1)
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Adds a host and starts it; saboteurs added so are of one ring.
    pub fn add(&mut self, slots: u32, pace: u64, saboteur: bool) -> Number {
        let ring = Role::Ring { name: "world".to_owned(), rate: Rate::ONE };
        self.add_member(slots, pace, if saboteur { ring } else { Role::Honest })
    }

    /// Adds a host that is up to something and starts it.
    pub fn add_member(&mut self, slots: u32, pace: u64, role: Role) -> Number {
        let secret = self.random.draw();
        let key = Keypair::from_seed(&secret);
        let forger = Forger::new(&role, &secret);
        self.hosts.push(Host {
            key,
            machine: None,
            life: 0,
            disk: BTreeMap::new(),
            blobs: BTreeMap::new(),
            slots,
            relays: false,
            passing: Passing::Honest,
            frozen: false,
            pace,
            conduct: Conduct::new(role, secret),
            forger,
            running: BTreeMap::new(),
            commits: VecDeque::new(),
            batches: VecDeque::new(),
            knew: Vec::new(),
            wake: None,
            closed: Vec::new(),
            reasons: Vec::new(),
            banned: BTreeSet::new(),
            forgot: 0,
        });
        let number = self.hosts.len() - 1;
        self.start(number);
        number
    }

    /// Adds a host that hands work on, and starts it.
    pub fn add_relay(&mut self, slots: u32, pace: u64, passing: Passing) -> Number {
        let number = self.add_member(slots, pace, Role::Honest);
        self.crash(number);
        let host = &mut self.hosts[number];
        (host.relays, host.passing) = (true, passing);
        self.start(number);
        number
    }

    /// Stops a host without anybody being told: its links stay, and nothing comes through.
    pub fn freeze(&mut self, number: Number) {
        self.hosts[number].frozen = true;
    }

    /// A host.
    pub fn host(&self, number: Number) -> &Host {
        &self.hosts[number]
    }

    /// A host's id.
    pub fn id(&self, number: Number) -> PeerId {
        self.hosts[number].key.peer_id()
    }

    /// A host's machine, if it is up.
    pub fn machine(&self, number: Number) -> Option<&Peer> {
        self.hosts[number].machine.as_ref()
    }

    fn number(&self, id: &PeerId) -> Option<Number> {
        self.hosts.iter().position(|host| host.key.peer_id() == *id)
    }

    /// Starts a host on what its disk holds.
    pub fn start(&mut self, number: Number) {
        if self.hosts[number].machine.is_some() {
            return;
        }
        let seed = self.random.draw();
        let host = &mut self.hosts[number];
        host.life += 1;
        let lending = Lending {
            relays: host.relays,
            slots: host.slots,
            memory: 1 << 30,
            accept: Accept::Lan,
            profiles: vec![PROFILE_V1.to_owned()],
        };
        let config =
            Config { lending, agent: "world".to_owned(), source: source::Config::default() };
        let mut machine = Peer::new(host.key.clone(), config, &seed, self.now);
        let records = host.disk.values().cloned().collect();
        let blobs = &host.blobs;
        let manifest =
            |hash: &Hash| bayan_protocol::cbor::decode::<Manifest>(blobs.get(hash)?).ok();
        let batch = machine.restore(self.now, records, manifest);
        host.forgot += u32::from(known(&machine) != host.knew);
        host.machine = Some(machine);
        self.carry_out(number, batch);
        self.reschedule(number);
    }

    /// Ends a host as `kill -9` does: the disk stays.
    pub fn crash(&mut self, number: Number) {
        let host = &mut self.hosts[number];
        if let Some(machine) = host.machine.take() {
            host.knew = known(&machine);
        }
        host.running.clear();
        host.wake = None;
        for other in 0..self.hosts.len() {
            self.disconnect(number, other);
        }
    }

    /// Connects two hosts that are up and not connected.
    pub fn connect(&mut self, one: Number, other: Number) {
        let pair = (one.min(other), one.max(other));
        let up = |number: Number| self.hosts[number].machine.is_some();
        if one == other || !up(one) || !up(other) || self.links.contains_key(&pair) {
            return;
        }
        self.epochs += 1;
        self.links.insert(pair, self.epochs);
        for (at, to) in [(one, other), (other, one)] {
            let peer = self.id(to);
            // Every host is in a network of its own.
            let prefix = Prefix::of([10, 0, to as u8, 1].into());
            self.step(at, Input::Up { peer, proximity: Proximity::Lan, prefix });
        }
    }

    /// Breaks a connection; what is under way on it is lost.
    pub fn disconnect(&mut self, one: Number, other: Number) {
        if self.links.remove(&(one.min(other), one.max(other))).is_some() {
            for (at, gone) in [(one, other), (other, one)] {
                let peer = self.id(gone);
                self.step(at, Input::Down { peer });
            }
        }
    }

    /// Submits a job of `tasks` tasks at a host and gives its id.
    pub fn submit(
        &mut self,
        at: Number,
        tasks: i64,
        policy: Policy,
        local: Local,
    ) -> Option<JobId> {
        let salt = Hash(self.random.draw());
        let program = Program {
            module: Hash::of(b"module"),
            module_len: 6,
            args: Vec::new(),
            env: Vec::new(),
            data: Vec::new(),
            limits: Limits::default(),
            profile: PROFILE_V1.to_owned(),
            salt,
        };
        let inputs = Inputs::Range { from: 0, to: tasks };
        let manifest = Manifest {
            name: "world".to_owned(),
            program,
            inputs,
            policy,
            local,
            provisional: false,
            audience: Audience::Anyone,
            confidential: false,
        };
        let bytes = bayan_protocol::cbor::encode(&manifest);
        let manifest_hash = Hash::of(&bytes);
        let host = &mut self.hosts[at];
        host.blobs.insert(manifest_hash, bytes);
        host.blobs.insert(Hash::of(b"module"), b"module".to_vec());
        let before: BTreeSet<JobId> = self.machine(at)?.jobs().map(|job| job.id()).collect();
        self.step(at, Input::Submit { manifest_hash, manifest });
        self.machine(at)?.jobs().map(|job| job.id()).find(|job| !before.contains(job))
    }

    /// Gives a host one input, stores what it says, and acts.
    pub fn step(&mut self, number: Number, input: Input) {
        let now = self.now;
        let Some(machine) = self.hosts[number].machine.as_mut() else { return };
        let batch = machine.step(now, input);
        self.carry_out(number, batch);
        self.reschedule(number);
    }

    fn carry_out(&mut self, number: Number, batch: bayan_protocol::batch::Batch<Effect>) {
        for change in batch.records {
            match change {
                Change::Put(record) => {
                    let key = record.key().0;
                    self.watch(number, &record);
                    self.hosts[number].disk.insert(
                        key,
                        Record::decode(&record.encode()).expect("what is stored can be read"),
                    );
                }
                Change::Delete(key) => {
                    self.hosts[number].disk.remove(&key.0);
                }
            }
        }
        if self.crash_per_mille > 0 && self.draw(1000) < self.crash_per_mille {
            return self.crash(number);
        }
        for effect in batch.effects {
            if self.hosts[number].machine.is_none() {
                return;
            }
            self.act(number, effect);
        }
    }

    /// Notes what a judge wants to know of what is stored.
    fn watch(&mut self, number: Number, record: &Record) {
        match record {
            Record::Decided { decision, .. } => {
                let key = (number, record.key().0);
                let outcome = decision.acceptance.as_ref().map(|accepted| accepted.outcome);
                if let Some(states) = self.after_final.get_mut(&key) {
                    states.insert((decision.state, outcome));
                }
                if decision.state == State::Final {
                    self.after_final
                        .entry(key.clone())
                        .or_default()
                        .insert((State::Final, outcome));
                    self.settled.entry(key).or_default().push(record.clone());
                }
            }
            Record::Standing { peer, standing } if standing.ban.is_some() => {
                self.hosts[number].banned.insert(*peer);
            }
            _ => {}
        }
    }

    fn act(&mut self, number: Number, effect: Effect) {
        match effect {
            Effect::Send(peer, frame) => self.send(number, &peer, frame),
            Effect::Close(peer, why) => {
                self.hosts[number].closed.push(peer);
                self.hosts[number].reasons.push(why);
                if let Some(other) = self.number(&peer) {
                    self.disconnect(number, other);
                }
            }
            Effect::Fetch { hash, from, .. } => {
                let delay = self.delay();
                let life = self.hosts[number].life;
                self.schedule(delay, Event::Blob { at: number, life, hash, from });
            }
            Effect::Run { attempt, task, program, .. } => {
                let (host, module) = (&mut self.hosts[number], program.module);
                let answer = match host.conduct.take(&mut self.board, &task, &module) {
                    Need::Nothing => return,
                    Need::Answer(claim) => Some(claim),
                    // Engines here know no data: what is computed on other data is wrong somehow.
                    Need::Computed | Need::ComputedOn(_) => None,
                };
                host.running.insert(attempt, answer);
                let (pace, life) = (host.pace, host.life);
                let after = pace / 2 + self.draw(pace);
                self.schedule(after, Event::Done { at: number, life, attempt, task, module });
            }
            Effect::Kill(attempt) => {
                self.hosts[number].running.remove(&attempt);
            }
            Effect::Advertise(_)
            | Effect::Submitted(_)
            | Effect::Changed(_)
            | Effect::Caught { .. } => {}
            Effect::Reach(peer) => {
                let life = self.hosts[number].life;
                let delay = 10 * self.delay();
                self.schedule(delay, Event::Reach { at: number, life, peer });
            }
        }
    }

    fn delay(&mut self) -> u64 {
        MS + self.draw(40 * MS)
    }

    fn send(&mut self, from: Number, peer: &PeerId, frame: Frame) {
        let host = &mut self.hosts[from];
        if let Frame::Reveal(reveal) = &frame
            && let Some(turn) = host.conduct.sent(reveal.opened.len() as u64)
        {
            self.schedule(0, Event::Turn { at: from, turn });
        }
        for frame in self.hosts[from].forger.pass(frame) {
            self.hosts[from].keep(peer, &frame);
            self.pass_on(from, peer, frame);
        }
    }

    /// Sends a frame as the host's way of passing things on has it.
    fn pass_on(&mut self, from: Number, peer: &PeerId, frame: Frame) {
        let chance = self.draw(u64::MAX);
        let host = &self.hosts[from];
        match host.passing.pass(&host.key, peer, frame, chance) {
            None => {}
            Some((0, frame)) => self.deliver(from, peer, &frame),
            Some((after, frame)) => {
                let late = Event::Late { from, to: *peer, frame: Box::new(frame) };
                self.schedule(after, late);
            }
        }
    }

    /// Has a host send one of its latest batches again, to whom it has sent it before.
    pub fn repeat(&mut self, from: Number) {
        let at = self.draw(KEPT as u64) as usize;
        let Some((peer, frames)) = self.hosts[from].batches.get(at).cloned() else { return };
        for frame in &frames {
            self.deliver(from, &peer, frame);
        }
    }

    fn deliver(&mut self, from: Number, peer: &PeerId, frame: &Frame) {
        let Some(to) = self.number(peer) else { return };
        let Some(epoch) = self.links.get(&(from.min(to), from.max(to))).copied() else { return };
        if self.hosts[from].frozen || self.hosts[to].frozen {
            return;
        }
        if let Frame::Lease(lease) = frame {
            let givers: BTreeSet<PeerId> = lease.path.iter().map(|hop| hop.giver).collect();
            let loops = givers.len() < lease.path.len() || (from != to && givers.contains(peer));
            assert!(!loops, "host {from} hands a lease to {to} that came from there");
        }
        let at = Timestamp(self.now.0 + self.delay());
        let last = self.arrival.entry((from, to)).or_default();
        *last = (*last).max(at);
        let at = *last;
        self.events
            .insert((at, self.next), Event::Frame { to, from, epoch, bytes: frame.encode() });
        self.next += 1;
    }

    fn schedule(&mut self, after: u64, event: Event) {
        self.events.insert((Timestamp(self.now.0 + after), self.next), event);
        self.next += 1;
    }

    fn reschedule(&mut self, number: Number) {
        let host = &mut self.hosts[number];
        let Some((at, _)) = host.machine.as_ref().and_then(Peer::next_wake) else { return };
        let at = at.max(Timestamp(self.now.0 + MS));
        if host.wake.is_none_or(|wake| wake > at || wake <= self.now) {
            host.wake = Some(at);
            let life = host.life;
            self.events.insert((at, self.next), Event::Wake { at: number, life });
            self.next += 1;
        }
    }

    /// Lets the next thing happen; false if nothing is to come before `until`.
    pub fn advance(&mut self, until: Timestamp) -> bool {
        let Some(entry) = self.events.first_entry() else { return false };
        if entry.key().0 > until {
            self.now = self.now.max(until);
            return false;
        }
        let ((at, _), event) = entry.remove_entry();
        self.now = self.now.max(at);
        let lives = |world: &Self, at: Number, life: u64| {
            world.hosts[at].life == life && world.hosts[at].machine.is_some()
        };
        match event {
            Event::Frame { to, from, epoch, bytes } => {
                if self.links.get(&(to.min(from), to.max(from))) == Some(&epoch) {
                    let peer = self.id(from);
                    self.step(to, Input::Frame { peer, frame: Frame::decode(&bytes) });
                }
            }
            Event::Done { at, life, attempt, task, module } if lives(self, at, life) => {
                self.done(at, attempt, &task, &module)
            }
            Event::Blob { at, life, hash, from } if lives(self, at, life) => {
                self.fetched(at, hash, &from)
            }
            Event::Wake { at, life } if lives(self, at, life) => {
                self.hosts[at].wake = None;
                self.step(at, Input::Tick);
            }
            Event::Turn { at, turn } => self.turn(at, turn),
            Event::Reach { at, life, peer } if lives(self, at, life) => {
                if let Some(other) = self.number(&peer) {
                    self.connect(at, other);
                }
            }
            Event::Late { from, to, frame } => self.deliver(from, &to, &frame),
            Event::Reach { .. } | Event::Done { .. } | Event::Blob { .. } | Event::Wake { .. } => {}
        }
        true
    }

    /// A host goes for good, or comes back where it was as somebody else.
    fn turn(&mut self, at: Number, turn: Turn) {
        let linked = |pair: &(Number, Number)| match *pair {
            (one, other) if one == at => Some(other),
            (other, one) if one == at => Some(other),
            _ => None,
        };
        let neighbours: Vec<Number> = self.links.keys().filter_map(linked).collect();
        self.crash(at);
        if turn == Turn::Rejoin {
            let secret = self.random.draw();
            let host = &mut self.hosts[at];
            let role = host.conduct.role().clone();
            host.key = Keypair::from_seed(&secret);
            host.forger = Forger::new(&role, &secret);
            host.conduct = Conduct::new(role, secret);
            host.disk.clear();
            host.knew.clear();
            host.commits.clear();
            host.batches.clear();
            self.start(at);
            for other in neighbours {
                self.connect(at, other);
            }
        }
    }

    fn done(&mut self, at: Number, attempt: u64, task: &TaskId, module: &Hash) {
        let host = &mut self.hosts[at];
        let Some(answer) = host.running.remove(&attempt) else { return };
        let honest = Claim { status: Status::Exited(0), output: truth(task), fuel: fuel(task) };
        let claim =
            answer.unwrap_or_else(|| host.conduct.claim(&mut self.board, task, module, &honest));
        let (status, bytes, fuel) = (claim.status, claim.output, claim.fuel);
        let output = if bytes.len() > bayan_protocol::limits::MAX_INLINE {
            let (hash, len) = (Hash::of(&bytes), bytes.len() as u64);
            host.blobs.insert(hash, bytes);
            Output::Blob { hash, len }
        } else {
            Output::Inline(ByteBuf::from(bytes))
        };
        let micros = host.pace;
        let done =
            Input::Executed(Ended { attempt, status, output, fuel, log: Vec::new(), micros });
        self.step(at, done);
    }

    fn fetched(&mut self, at: Number, hash: Hash, from: &PeerId) {
        let connected =
            |other: Number| other == at || self.links.contains_key(&(at.min(other), at.max(other)));
        let provider = self.number(from).filter(|other| connected(*other));
        let found = provider.and_then(|other| self.hosts[other].blobs.get(&hash).cloned());
        if let Some(bytes) = &found {
            self.hosts[at].blobs.insert(hash, bytes.clone());
        }
        let here = self.hosts[at].blobs.contains_key(&hash);
        self.step(at, Input::Blob { hash, here });
    }

    /// Runs until `over` says so; false if virtual time passes `until` first.
    pub fn run_until(&mut self, until: Timestamp, mut over: impl FnMut(&Self) -> bool) -> bool {
        while !over(self) {
            if !self.advance(until) {
                return over(self);
            }
        }
        true
    }

    /// Whether a blob is on a host's disk.
    pub fn has_blob(&self, number: Number, hash: &Hash) -> bool {
        self.hosts[number].blobs.contains_key(hash)
    }

    /// A host's stored records.
    pub fn records(&self, number: Number) -> impl Iterator<Item = &Record> {
        self.hosts[number].disk.values()
    }
}
