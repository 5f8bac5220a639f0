//! The world: hosts join, connect, submit, crash and sleep. What then follows is in `act` and `advance`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bayan_cast::{Board, Passing, Rate, Role};
use bayan_protocol::{
    crypto::scheme::Scheme,
    delegate,
    entropy::Entropy,
    id::{Hash, JobId, PeerId},
    job::{Audience, Inputs, Local, Manifest},
    offer::{Accept, Lending, Prefix, Proximity},
    peer::{Config, Input, Peer},
    record::Record,
    result::Outcome,
    source,
    task::{Limits, PROFILE_V1, Program},
    time::Timestamp,
    verify::{Policy, State},
};

use crate::{
    SECOND,
    host::{Host, Plan, known},
    log::Log,
    model::Model,
    network::{Conditions, Links, Network, below},
    queue::{Event, Queue},
};

/// A state and outcome that were stored for a task.
pub type Stored = (State, Option<Outcome>);

/// A peer by its number.
pub type Number = usize;

/// When the world begins, in microseconds since the epoch.
pub const BEGINNING: Timestamp = Timestamp(1_000_000_000_000);
/// Silence after which a connection is given up by whoever is awake.
const KEEPALIVE: u64 = 45 * SECOND;
const MODULE: &[u8] = b"module";

/// What the world has carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events, of all kinds.
    pub events: u64,
    /// Ticks that machines wanted.
    pub ticks: u64,
    /// Frames sent.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of blobs that were fetched.
    pub blob_bytes: u64,
    /// Attempts that ended.
    pub attempts: u64,
    /// Microseconds of the attempts that ended, each as long as is usual for its host.
    pub busy: u64,
    /// Microseconds that they took.
    pub busy_micros: u64,
    /// Attempts that were stopped.
    pub killed: u64,
    /// Microseconds that these had taken.
    pub killed_micros: u64,
}

/// The world.
pub struct World {
    /// What signatures are made of.
    pub(crate) scheme: Scheme,
    pub(crate) queue: Queue,
    random: Entropy,
    pub(crate) hosts: Vec<Host>,
    numbers: BTreeMap<PeerId, Number>,
    pub(crate) links: Links,
    pub(crate) network: Network,
    /// What mates tell each other.
    pub(crate) board: Board,
    /// How often each settled task was stored, by host and key; the judge wants one of each.
    pub settled: BTreeMap<(Number, Vec<u8>), Vec<Record>>,
    /// Every state of a task that was stored after it was final, by host and key, with its outcome.
    pub after_final: BTreeMap<(Number, Vec<u8>), BTreeSet<Stored>>,
    /// Chance in 1000 that a host crashes between storing and acting.
    pub crash_per_mille: u64,
    /// Chance in 1000 that a host crashes while it stores: nothing of that step is there afterwards.
    pub torn_per_mille: u64,
    /// Whether nobody ever stops in this world, nothing is said twice and nobody judges it: then neither
    /// records nor batches are kept, nor what is in outputs, which is most of what a large world takes.
    pub lean: bool,
    /// What is kept of outputs then, by length.
    pub(crate) blanks: BTreeMap<usize, Arc<[u8]>>,
    /// What happened, for whoever wants to read it.
    pub log: Log,
    /// What is compared with the machines, if anything is.
    pub model: Option<Model>,
    /// What it took.
    pub counts: Counts,
    /// Frames and bytes by the sender's [`Plan::group`] and by kind.
    pub carried: BTreeMap<(u32, &'static str), (u64, u64)>,
}

impl World {
    /// An empty world, in which signatures are a keyed hash.
    pub fn new(seed: u64) -> Self {
        Self::signed(seed, Scheme::Keyed)
    }

    /// An empty world in which signatures are made of this. What happens is the same by either scheme.
    pub fn signed(seed: u64, scheme: Scheme) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self {
            scheme,
            queue: Queue::new(BEGINNING),
            random: Entropy::new(&bytes),
            hosts: Vec::new(),
            numbers: BTreeMap::new(),
            links: Links::default(),
            network: Network::new(&bytes),
            board: Board::default(),
            settled: BTreeMap::new(),
            after_final: BTreeMap::new(),
            crash_per_mille: 0,
            torn_per_mille: 0,
            lean: false,
            blanks: BTreeMap::new(),
            log: Log::default(),
            model: None,
            counts: Counts::default(),
            carried: BTreeMap::new(),
        }
    }

    /// What the network does to everyone from now on.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        self.network.conditions = conditions;
    }

    /// A number below `bound`.
    pub fn draw(&mut self, bound: u64) -> u64 {
        below(&mut self.random, bound)
    }

    pub(crate) fn draw_bytes(&mut self) -> [u8; 32] {
        self.random.draw()
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.queue.now
    }

    /// The time in `micros`.
    pub fn after(&self, micros: u64) -> Timestamp {
        Timestamp(self.now().0 + micros)
    }

    /// Adds a host and starts it; saboteurs added so are of one ring.
    pub fn add(&mut self, slots: u32, pace: u64, saboteur: bool) -> Number {
        let ring = Role::Ring { name: "world".to_owned(), rate: Rate::ONE };
        self.add_member(slots, pace, if saboteur { ring } else { Role::Honest })
    }

    /// Adds a host that is up to something and starts it.
    pub fn add_member(&mut self, slots: u32, pace: u64, role: Role) -> Number {
        self.join(Plan { slots, pace, role, ..Plan::default() })
    }

    /// Adds a host that hands work on, and starts it.
    pub fn add_relay(&mut self, slots: u32, pace: u64, passing: Passing) -> Number {
        self.join(Plan { slots, pace, relays: true, passing, ..Plan::default() })
    }

    /// Adds a host and starts it.
    pub fn join(&mut self, plan: Plan) -> Number {
        let secret = self.draw_bytes();
        let number = self.hosts.len();
        self.log.note(self.queue.now, format_args!("h{number} joins as {}", plan.role));
        let host = Host::new(plan, secret);
        self.board.enlist(&host.plan.role, host.key.peer_id());
        self.hosts.push(host);
        self.numbers.insert(self.id(number), number);
        self.start(number);
        number
    }

    /// Stops a host without anybody being told: its links stay, and nothing comes through.
    pub fn freeze(&mut self, number: Number) {
        self.log.note(self.queue.now, format_args!("h{number} freezes"));
        self.hosts[number].frozen = true;
    }

    /// How many hosts there are.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
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

    /// A job at its submitter, if that is up and knows it.
    pub fn job(&self, at: Number, job: &JobId) -> Option<&source::Source> {
        self.machine(at)?.job(job)
    }

    /// Whether a job has ended, well or not.
    pub fn is_over(&self, at: Number, job: &JobId) -> bool {
        self.job(at, job).is_some_and(|job| !job.is_running())
    }

    /// Who has this id now.
    pub fn number(&self, id: &PeerId) -> Option<Number> {
        self.numbers.get(id).copied()
    }

    /// Whether a host is up and awake.
    pub fn is_up(&self, number: Number) -> bool {
        let host = &self.hosts[number];
        host.machine.is_some() && host.asleep.is_none_or(|until| until <= self.now())
    }

    /// Starts a host on what its disk holds.
    pub fn start(&mut self, number: Number) {
        self.scheme.within(|| self.boot(number));
    }

    fn boot(&mut self, number: Number) {
        if self.hosts[number].machine.is_some() {
            return;
        }
        let now = self.now();
        self.log.note(now, format_args!("h{number} starts"));
        let seed = self.draw_bytes();
        let host = &mut self.hosts[number];
        host.life += 1;
        let lending = Lending {
            relays: host.plan.relays,
            slots: host.plan.slots,
            memory: 1 << 30,
            accept: Accept::Lan,
            profiles: vec![PROFILE_V1.to_owned()],
        };
        let config = Config {
            lending,
            agent: "world".to_owned(),
            source: source::Config::default(),
            delegate: delegate::Config {
                accept: host.plan.delegate_for.clone(),
                after: host.plan.carries_after,
            },
        };
        let mut machine = Peer::new(host.key.clone(), config, &seed, now);
        let blobs = &host.blobs;
        let manifest =
            |hash: &Hash| bayan_protocol::cbor::decode::<Manifest>(blobs.get(hash)?).ok();
        let batch = machine.restore(now, host.disk.read(), manifest);
        host.forgot += u32::from(known(&machine) != host.knew);
        if let Some(model) = &mut self.model {
            model.restarted(number, &machine);
        }
        host.machine = Some(machine);
        self.carry_out(number, batch);
        self.reschedule(number);
    }

    /// Ends a host as `kill -9` does: the disk stays.
    pub fn crash(&mut self, number: Number) {
        if self.hosts[number].machine.is_some() {
            self.log.note(self.queue.now, format_args!("h{number} crashes"));
        }
        self.hosts[number].stop();
        if let Some(model) = &mut self.model {
            model.stopped(number);
        }
        for other in self.links.neighbours(number) {
            self.disconnect(number, other);
        }
    }

    /// A host's power goes: what it had written last, and not forced to the disk, is lost in part.
    pub fn cut_power(&mut self, number: Number) {
        self.crash(number);
        let (now, chance) = (self.now(), self.draw(u64::MAX));
        let host = &mut self.hosts[number];
        let lost = host.disk.lose_tail(now, |entries| chance % (entries + 1));
        if lost == 0 {
            return;
        }
        self.log.note(now, format_args!("h{number} loses its last {lost} entries"));
        host.powerless += 1;
        host.know_what_is_stored();
        // What it has forgotten was never settled as far as anybody can tell.
        let finals: BTreeSet<Vec<u8>> = host
            .disk
            .records()
            .filter(|record| {
                matches!(record, Record::Decided { decision, .. } if decision.state == State::Final)
            })
            .map(|record| record.key().0)
            .collect();
        self.settled.retain(|(at, key), _| *at != number || finals.contains(key));
        self.after_final.retain(|(at, key), _| *at != number || finals.contains(key));
        if let Some(model) = &mut self.model {
            model.forget(number, &self.hosts[number].disk);
        }
    }

    /// Connects two hosts that are up, not connected, and within reach.
    pub fn connect(&mut self, one: Number, other: Number) {
        if one == other || !self.is_up(one) || !self.is_up(other) {
            return;
        }
        let way = |number: Number| (number, self.hosts[number].plan.line);
        if self.links.epoch(one, other).is_some() || !self.network.reaches(way(one), way(other)) {
            return;
        }
        self.links.connect(one, other);
        for (at, to) in [(one, other), (other, one)] {
            let peer = self.id(to);
            // Every host is in a network of its own.
            let prefix = Prefix::of([10 + (to >> 16) as u8, (to >> 8) as u8, to as u8, 1].into());
            self.step(at, Input::Up { peer, proximity: Proximity::Lan, prefix });
        }
    }

    /// Connects everyone with everyone.
    pub fn mesh(&mut self) {
        for one in 0..self.len() {
            for other in 0..one {
                self.connect(one, other);
            }
        }
    }

    /// Breaks a connection; what is under way on it is lost.
    pub fn disconnect(&mut self, one: Number, other: Number) {
        if self.links.disconnect(one, other) {
            for (at, gone) in [(one, other), (other, one)] {
                let peer = self.id(gone);
                if self.hosts[at].asleep.is_some_and(|until| until > self.now()) {
                    let life = self.hosts[at].life;
                    self.queue.after(0, Event::Down { at, life, peer });
                } else {
                    self.step(at, Input::Down { peer });
                }
            }
        }
    }

    /// A connection goes dark: nothing comes through, and both ends give it up after a while.
    pub fn stall(&mut self, one: Number, other: Number, micros: u64) {
        if let Some(epoch) = self.links.epoch(one, other) {
            self.log.note(self.queue.now, format_args!("h{one} and h{other} lose sight"));
            self.links.darken(epoch);
            let pair = crate::network::pair(one, other);
            self.queue.after(micros, Event::Lost { pair, epoch });
        }
    }

    /// Tears the network into sides that do not reach each other: what leads across goes dark.
    pub fn part(&mut self, sides: Vec<u8>) {
        self.log.note(self.queue.now, format_args!("the network falls apart: {sides:?}"));
        let side = |number: Number| sides.get(number).copied().unwrap_or(0);
        let across: Vec<_> = self.links.pairs().into_iter().map(|(pair, _)| pair).collect();
        for (one, other) in across {
            if side(one) != side(other) {
                let micros = 5 * SECOND + self.draw(40 * SECOND);
                self.stall(one, other, micros);
            }
        }
        self.network.part(Some(sides));
    }

    /// The network is one again.
    pub fn heal(&mut self) {
        self.network.part(None);
    }

    /// A host sleeps, as a laptop does: nothing of it runs, and whoever is connected with it gives the
    /// connection up after a while.
    pub fn sleep(&mut self, number: Number, micros: u64) {
        if !self.is_up(number) {
            return;
        }
        let until = self.after(micros);
        self.log.note(self.queue.now, format_args!("h{number} sleeps for {} ms", micros / 1000));
        self.hosts[number].asleep = Some(until);
        if micros > KEEPALIVE {
            for other in self.links.neighbours(number) {
                let Some(epoch) = self.links.epoch(number, other) else { continue };
                let pair = crate::network::pair(number, other);
                self.queue.after(KEEPALIVE, Event::Lost { pair, epoch });
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
        self.submit_with(at, tasks, policy, local, None)
    }

    /// Submits a job that names a delegate, if one is given.
    pub fn submit_with(
        &mut self,
        at: Number,
        tasks: i64,
        policy: Policy,
        local: Local,
        delegate: Option<PeerId>,
    ) -> Option<JobId> {
        self.submit_as(at, tasks, policy, local, (delegate, false))
    }

    /// Submits a job that names a delegate, if one is given, and is `provisional` or not.
    pub fn submit_as(
        &mut self,
        at: Number,
        tasks: i64,
        policy: Policy,
        local: Local,
        (delegate, provisional): (Option<PeerId>, bool),
    ) -> Option<JobId> {
        let salt = Hash(self.draw_bytes());
        let program = Program {
            module: Hash::of(MODULE),
            module_len: MODULE.len() as u64,
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
            provisional,
            audience: Audience::Anyone,
            confidential: false,
            delegate,
        };
        let bytes = bayan_protocol::cbor::encode(&manifest);
        let manifest_hash = Hash::of(&bytes);
        let host = &mut self.hosts[at];
        host.blobs.insert(manifest_hash, bytes.into());
        host.blobs.insert(Hash::of(MODULE), MODULE.into());
        let before: BTreeSet<JobId> = self.machine(at)?.jobs().map(|job| job.id()).collect();
        self.log.note(self.queue.now, format_args!("h{at} submits {tasks} tasks by {policy}"));
        self.step(at, Input::Submit { manifest_hash, manifest });
        self.machine(at)?.jobs().map(|job| job.id()).find(|job| !before.contains(job))
    }

    /// Gives a host one input, stores what it says, and acts.
    pub fn step(&mut self, number: Number, input: Input) {
        // Machines, and whoever forges what they say, sign and check in here and at the start only.
        self.scheme.within(|| self.take(number, input));
    }

    fn take(&mut self, number: Number, input: Input) {
        let now = self.now();
        if self.hosts[number].machine.is_none() {
            return;
        }
        self.note_input(number, &input);
        if let Some(model) = &mut self.model {
            model.sees(now, number, &input);
        }
        let Some(machine) = self.hosts[number].machine.as_mut() else { return };
        let batch = machine.step(now, input);
        self.carry_out(number, batch);
        self.reschedule(number);
    }

    pub(crate) fn reschedule(&mut self, number: Number) {
        let now = self.now();
        let host = &mut self.hosts[number];
        let Some((at, _)) = host.machine.as_ref().and_then(Peer::next_wake) else { return };
        let at = at.max(Timestamp(now.0 + crate::MS));
        if host.wake.is_none_or(|wake| wake > at || wake <= now) {
            host.wake = Some(at);
            let life = host.life;
            self.queue.at(at, Event::Wake { at: number, life });
        }
    }

    pub(crate) fn renumber(&mut self, number: Number, was: &PeerId) {
        self.numbers.remove(was);
        self.numbers.insert(self.id(number), number);
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

    /// Lets `micros` pass.
    pub fn pass(&mut self, micros: u64) {
        let until = self.after(micros);
        while self.advance(until) {}
    }

    /// Microseconds that attempts have been under way which have not ended, everywhere.
    pub fn running_micros(&self) -> u64 {
        let since = |host: &Host| -> u64 {
            host.running.values().map(|(since, _)| self.now().0 - since.0).sum()
        };
        self.hosts.iter().map(since).sum()
    }

    /// Whether a blob is on a host's disk.
    pub fn has_blob(&self, number: Number, hash: &Hash) -> bool {
        self.hosts[number].blobs.contains_key(hash)
    }

    /// A host's stored records.
    pub fn records(&self, number: Number) -> impl Iterator<Item = &Record> {
        self.hosts[number].disk.records()
    }
}
