//! Two acts. In the first everything breaks, each fault as often as the seed has drawn; in the second
//! nothing breaks any more, and every job must end, exactly and once.

mod away;

use std::panic::{AssertUnwindSafe, catch_unwind};

use bayan_cast::{Passing, Role};
use bayan_protocol::{
    crypto::scheme::Scheme,
    id::JobId,
    job::Local,
    peer::Input,
    record::JobState,
    time::Timestamp,
    verify::{Adaptive, Basis, Policy},
};

use away::Away;

use crate::{
    MS, SECOND,
    habits::{FAILS, Speeds},
    host::Plan,
    judge::{self, Bill, Fault, Kind},
    log::Reader,
    model::Model,
    network::{Conditions, Line, Region},
    world::{Counts, Number, World},
};

/// Virtual time that mended peers may take.
const LIMIT: u64 = 4 * 3600 * SECOND;
/// Peers look this often whom they should be connected with.
const REDIAL: u64 = 5 * SECOND;
/// Frames in flight, sleepers and lost connections are over after this.
const SETTLE: u64 = 900 * SECOND;
/// So long a mended world is without other connections than its own.
const FORLORN: u64 = 600 * SECOND;
/// Events after which nobody waits any longer; usual are some ten thousand.
const EVENTS: u64 = 2_000_000;

/// Roles that are up to something, but never in the same way as another.
pub const LONERS: [&str; 10] = [
    "always",
    "rate:0.3",
    "after:10:0.5",
    "whitewash:5",
    "vanish:5",
    "data",
    "commit-only",
    "other-reveal",
    "equivocate",
    "silent",
];
/// Pairs of roles that back each other up.
pub const PAIRS: [[&str; 2]; 6] = [
    ["ring:a", "ring:a"],
    ["ring:a:0.5", "ring:a"],
    ["burner:a", "confirmer:a"],
    ["breaker:a", "breaker:a"],
    ["fuel:100", "fuel:100"],
    ["data:old", "data:old"],
];

/// What came of one seed.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Who took part, in words.
    pub cast: String,
    /// Hosts.
    pub hosts: usize,
    /// Tasks of all jobs together.
    pub tasks: u64,
    /// Results that stand on a delegate's word.
    pub delegated: u64,
    /// What both acts took.
    pub counts: Counts,
    /// Virtual microseconds of the second act, until the last job was over.
    pub mended: u64,
    /// What went wrong.
    pub faults: Vec<Fault>,
}

/// How often what breaks, as weights; drawn once.
#[derive(Debug, Default)]
struct Weather {
    weights: [u64; KINDS.len()],
    /// Microseconds between two faults at most.
    pause: u64,
    rounds: u64,
}

/// What breaks.
#[derive(Debug, Clone, Copy)]
enum Break {
    Crash,
    Start,
    Power,
    Disconnect,
    Connect,
    Stall,
    Part,
    Heal,
    Sleep,
    Pause,
    Resume,
    Repeat,
    Cancel,
    Wait,
}

const KINDS: [Break; 14] = [
    Break::Crash,
    Break::Start,
    Break::Power,
    Break::Disconnect,
    Break::Connect,
    Break::Stall,
    Break::Part,
    Break::Heal,
    Break::Sleep,
    Break::Pause,
    Break::Resume,
    Break::Repeat,
    Break::Cancel,
    Break::Wait,
];

#[derive(Debug)]
struct Job {
    at: Number,
    id: JobId,
    policy: Policy,
    tasks: u64,
    delegate: Option<Number>,
}

/// Who is there, and how they hang together.
struct Play {
    world: World,
    weather: Weather,
    /// Each host's parent; none where everyone is connected with everyone.
    parents: Option<Vec<Number>>,
    submitters: Vec<Number>,
    policies: Vec<Policy>,
    /// How many times as long tasks take as usual: where that is much, leases come to their ends.
    slowness: u64,
    jobs: Vec<Job>,
    faults: Vec<Fault>,
    away: Away,
}

/// Plays one seed by this scheme; `reader` is given the log.
pub fn play(seed: u64, scheme: Scheme, reader: Option<Reader>) -> Report {
    let played = caught(|| {
        let mut play = Play::new(seed, scheme, reader);
        play.break_things();
        let mended = play.mend();
        play.report(seed, mended)
    });
    played.unwrap_or_else(|fault| Report { seed, faults: vec![fault], ..Report::default() })
}

/// A panic of a machine is a fault like any other.
pub(crate) fn caught<T>(what: impl FnOnce() -> T) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(what)).map_err(|cause| {
        let text = cause.downcast_ref::<String>().cloned();
        let text = text.or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let text = text.unwrap_or_else(|| "for a reason that is no text".to_owned());
        Fault { kind: Kind::Panicked, text }
    })
}

impl Play {
    /// Everyone is there; all of it follows from the seed.
    fn new(seed: u64, scheme: Scheme, reader: Option<Reader>) -> Self {
        let mut world = World::signed(seed, scheme);
        world.model = Some(Model::default());
        world.log.reader(reader);
        let conditions = Conditions {
            regions: world.draw(2) == 0,
            loss: sometimes(&mut world, 50_000),
            doubled: sometimes(&mut world, 200),
            gossip: true,
            gossip_loss: world.draw(500),
        };
        world.set_conditions(conditions);
        let mut play = Self {
            world,
            weather: Weather::default(),
            parents: None,
            submitters: Vec::new(),
            policies: Vec::new(),
            slowness: 1,
            jobs: Vec::new(),
            faults: Vec::new(),
            away: Away::new(seed),
        };
        if play.world.network.draw(3) == 0 {
            play.slowness = 20;
        }
        play.slowness = play.slowness.max(play.away.slowness());
        match play.world.draw(3) {
            0 => play.mixed(),
            1 => play.cheated(),
            _ => play.tree(),
        }
        play.draw_weather();
        play.name_delegates();
        play.connect();
        play.submit();
        play
    }

    fn plan(&mut self, slots: u64) -> Plan {
        let median = (5 * MS + self.world.draw(200 * MS)) * self.slowness;
        let pace = Speeds { median, sigma: 0.5 }.draw(&mut self.world);
        let rate = |world: &mut World| match world.draw(3) {
            0 => 0,
            _ => 20_000 + world.draw(2_000_000),
        };
        let (up, down) = (rate(&mut self.world), rate(&mut self.world));
        let region = Region::ALL[self.world.draw(Region::ALL.len() as u64) as usize];
        let fails = if self.world.draw(4) == 0 { self.world.draw(FAILS) } else { 0 };
        let line = Line { region, up, down, reachable: true };
        Plan { slots: slots as u32, pace, line, fails, ..Plan::default() }
    }

    /// Several submitters that are workers too.
    fn mixed(&mut self) {
        let hosts = 4 + self.world.draw(4);
        for _ in 0..hosts {
            let slots = 1 + self.world.draw(3);
            let plan = self.plan(slots);
            self.world.join(plan);
        }
        self.submitters = (0..self.world.len()).collect();
        self.policies = vec![Policy::None, Policy::Vote(2), Policy::Vote(3), Policy::default()];
    }

    /// One submitter, and up to a third of the others cheat.
    fn cheated(&mut self) {
        let own = self.world.draw(2);
        let mut plan = self.plan(2 * own);
        plan.fails = 0;
        self.world.join(plan);
        let honest = 4 + self.world.draw(3);
        for _ in 0..honest {
            let slots = 1 + self.world.draw(2);
            let mut plan = self.plan(slots);
            plan.line.reachable = self.world.network.draw(3) > 0;
            self.world.join(plan);
        }
        let mut roles = Vec::new();
        let pairs = own > 0 && self.world.draw(2) == 0;
        if pairs {
            roles.extend(PAIRS[self.world.draw(PAIRS.len() as u64) as usize]);
        }
        while (roles.len() as u64) < honest / 2 {
            roles.push(LONERS[self.world.draw(LONERS.len() as u64) as usize]);
        }
        for role in roles {
            let role = role.parse().expect("the roles of the cast are roles");
            let plan = Plan { role, fails: 0, ..self.plan(1) };
            self.world.join(plan);
        }
        self.submitters = vec![0];
        let adaptive = Policy::Adaptive(Adaptive::default());
        self.policies = match (own > 0, pairs) {
            (true, true) => vec![adaptive],
            (true, false) => vec![adaptive, Policy::Vote(2), Policy::Vote(3)],
            (false, _) => vec![Policy::Vote(2), Policy::Vote(3)],
        };
    }

    /// A tree of peers that hand work on, with the submitter at its root.
    fn tree(&mut self) {
        let own = self.world.draw(2);
        let plan = self.plan(2 * own);
        self.world.join(plan);
        let hosts = 4 + self.world.draw(8) as usize;
        let mut parents = vec![0];
        for number in 1..hosts {
            parents.push(self.world.draw(number as u64) as usize);
            let slots = self.world.draw(3);
            // Somebody has to compute.
            let slots = if number == hosts - 1 { slots.max(1) } else { slots };
            let passing = match number {
                1 => self.passing(),
                _ => Passing::Honest,
            };
            // As in the cast, one that does not pass things on computes nothing: what it kept back of its own
            // nobody else would be given, where it is the submitter's only neighbour.
            let slots = if passing == Passing::Honest { slots } else { 0 };
            let plan = Plan { relays: true, passing, ..self.plan(slots) };
            self.world.join(plan);
        }
        self.parents = Some(parents);
        self.submitters = vec![0];
        // A single worker checks nobody, and without own slots a job waits for a second one.
        self.policies = match own {
            0 => vec![Policy::None],
            _ => vec![Policy::None, Policy::Vote(2), Policy::default()],
        };
    }

    /// How the first relay passes things on: in a quarter of the trees in no honest way.
    fn passing(&mut self) -> Passing {
        if self.world.network.draw(4) > 0 {
            return Passing::Honest;
        }
        match self.world.network.draw(5) {
            0 => Passing::Drops,
            1 => Passing::Delays(20 * SECOND),
            2 => Passing::Reorders,
            3 => Passing::Forges,
            _ => Passing::Alters,
        }
    }

    fn draw_weather(&mut self) {
        let world = &mut self.world;
        world.crash_per_mille = sometimes(world, 4);
        world.torn_per_mille = sometimes(world, 4);
        for weight in &mut self.weather.weights {
            *weight = sometimes(world, 8);
        }
        // Some of what ends faults is always there.
        for kind in [Break::Start, Break::Connect, Break::Heal, Break::Resume] {
            self.weather.weights[kind as usize] += 2;
        }
        self.weather.weights[Break::Cancel as usize] /= 6;
        self.weather.pause = 100 * MS + world.draw(3 * SECOND);
        self.weather.rounds = 20 + world.draw(40);
    }

    /// Everyone who is up connects with whom it should be connected with.
    fn connect(&mut self) {
        match &self.parents {
            None => self.world.mesh(),
            Some(parents) => {
                for (number, parent) in parents.iter().enumerate().skip(1) {
                    self.world.connect(number, *parent);
                }
            }
        }
    }

    fn submit(&mut self) {
        let at = self.submitters[self.world.draw(self.submitters.len() as u64) as usize];
        let policy = self.policies[self.world.draw(self.policies.len() as u64) as usize];
        let slots = self.world.host(at).plan().slots;
        let local = match self.world.draw(3) {
            _ if slots == 0 => Local::Never,
            0 if self.submitters.len() > 3 => Local::Never,
            1 => Local::Reserve,
            _ => Local::Always,
        };
        let (delegate, more) = self.entrusts(at);
        let tasks = 10 + self.world.draw(60) + more;
        let named = delegate.map(|delegate| self.world.id(delegate));
        let how = (named, named.is_some() && self.is_provisional());
        if let Some(id) = self.world.submit_as(at, tasks as i64, policy, local, how) {
            self.jobs.push(Job { at, id, policy, tasks, delegate });
        }
    }

    fn anyone(&mut self) -> Number {
        self.world.draw(self.world.len() as u64) as usize
    }

    /// Act one.
    fn break_things(&mut self) {
        for round in 0..self.weather.rounds {
            let pause = self.world.draw(self.weather.pause);
            self.world.pass(pause);
            let before = self.jobs.len();
            if self.world.draw(10) == 0 && before < 4 {
                self.submit();
            }
            self.break_one();
            self.perhaps_away(round == 0 || self.jobs.len() > before);
        }
    }

    fn break_one(&mut self) {
        let all: u64 = self.weather.weights.iter().sum();
        let mut drawn = self.world.draw(all);
        let mut kind = Break::Wait;
        for (one, weight) in KINDS.into_iter().zip(self.weather.weights) {
            if drawn < weight {
                kind = one;
                break;
            }
            drawn -= weight;
        }
        let (one, other) = (self.anyone(), self.anyone());
        let world = &mut self.world;
        match kind {
            Break::Crash => world.crash(one),
            Break::Start => world.start(one),
            Break::Power => world.cut_power(one),
            Break::Disconnect => world.disconnect(one, other),
            Break::Connect => self.connect(),
            Break::Stall => {
                // Some for longer than a lease lasts.
                let micros = SECOND + world.draw(150 * SECOND);
                world.stall(one, other, micros);
            }
            Break::Part => {
                let sides = (0..world.len()).map(|_| world.draw(2) as u8).collect();
                world.part(sides);
            }
            Break::Heal => world.heal(),
            Break::Sleep => {
                let micros = SECOND + world.draw(90 * SECOND);
                world.sleep(one, micros);
            }
            Break::Pause => world.step(one, Input::Pause),
            Break::Resume => world.step(one, Input::Resume),
            Break::Repeat => world.repeat(one),
            Break::Cancel => {
                if let Some(job) = self.jobs.get(other % self.jobs.len().max(1)) {
                    world.step(job.at, Input::Cancel(job.id));
                }
            }
            Break::Wait => {
                let micros = world.draw(40 * SECOND);
                world.pass(micros);
            }
        }
    }

    /// Act two: nothing breaks any more. Gives the time until the last job was over.
    fn mend(&mut self) -> u64 {
        let world = &mut self.world;
        (world.crash_per_mille, world.torn_per_mille) = (0, 0);
        let still = Conditions { loss: 0, doubled: 0, ..world.network.conditions };
        world.set_conditions(still);
        world.heal();
        let (began, before) = (world.now(), world.counts);
        let until = world.after(LIMIT);
        while self.world.now() < until && self.world.counts.events < EVENTS && !self.is_halted() {
            self.tend();
            self.find_others(began);
            let pause = self.world.after(REDIAL);
            let jobs = &self.jobs;
            if self.world.run_until(pause, |world| jobs.iter().all(|job| is_over(world, job))) {
                break;
            }
        }
        let mended = self.world.now().since(began).as_micros() as u64;
        self.judge_cost(before, mended);
        mended
    }

    /// What operators do: everyone is up, lends its slots and is connected.
    fn tend(&mut self) {
        for number in 0..self.world.len() {
            self.world.start(number);
            let paused = |one: &bayan_protocol::peer::Peer| one.view().paused;
            if self.world.is_up(number) && self.world.machine(number).is_some_and(paused) {
                self.world.step(number, Input::Resume);
            }
        }
        self.connect();
    }

    /// A relay that forges what it brings is thrown out for it whenever it comes. Where it is the only way up,
    /// those below it who have nothing to bring round it (RELAY-9) have no way either; a node finds others.
    fn find_others(&mut self, began: Timestamp) {
        let forges = |number: Number| self.world.host(number).plan().passing == Passing::Forges;
        let late = self.world.now().since(began).as_micros() as u64 > FORLORN;
        if late && self.away.is_on() && (0..self.world.len()).any(forges) {
            self.world.mesh();
        }
    }

    fn is_halted(&self) -> bool {
        self.world.log.is_halted()
    }

    /// What the second act may take.
    fn judge_cost(&mut self, before: Counts, mended: u64) {
        let counts = self.world.counts;
        let allowed = |job: &Job| judge::attempts_allowed(job.policy, job.tasks);
        let bill = Bill {
            attempts: counts.attempts - before.attempts,
            allowed: self.jobs.iter().map(allowed).sum(),
            ticks: counts.ticks - before.ticks,
            hosts: self.world.len() as u64,
            seconds: mended / SECOND,
        };
        self.faults.extend(judge::cost(&bill));
    }

    fn report(mut self, seed: u64, mended: u64) -> Report {
        let mut faults = std::mem::take(&mut self.faults);
        let over = self.jobs.iter().all(|job| is_over(&self.world, job));
        if over {
            // What was under way when the last job ended arrives, some of it again.
            for number in 0..self.world.len() {
                self.world.repeat(number);
            }
            let until = self.world.after(SETTLE);
            while self.world.now() < until && !self.is_halted() {
                self.tend();
                // Whoever still has something for somebody meets them again, in a tree as well.
                self.world.mesh();
                self.world.pass(REDIAL);
            }
        }
        for job in &self.jobs {
            if self.world.job(job.at, &job.id).is_none() {
                continue; // its submission was cut short
            }
            match judge::ended(&self.world, job.at, &job.id) {
                Some(fault) => faults.push(fault),
                None => faults.extend(judge::job(&self.world, job.at, &job.id, true)),
            }
        }
        faults.extend(judge::once(&self.world));
        faults.extend(judge::honour(&self.world));
        if over {
            faults.extend(judge::left(&self.world));
            faults.extend(judge::kept(&self.world));
        }
        if let Some(model) = &self.world.model {
            faults.extend(model.faults().iter().cloned());
        }
        Report {
            seed,
            cast: self.cast(),
            hosts: self.world.len(),
            tasks: self.jobs.iter().map(|job| job.tasks).sum(),
            delegated: self.jobs.iter().map(|job| delegated(&self.world, job)).sum(),
            counts: self.world.counts,
            mended,
            faults: if self.world.log.is_halted() { Vec::new() } else { faults },
        }
    }

    fn cast(&self) -> String {
        let cheats = (0..self.world.len()).map(|number| self.world.host(number).role());
        let mut cheats: Vec<String> =
            cheats.filter(|role| **role != Role::Honest).map(ToString::to_string).collect();
        let passing =
            (0..self.world.len()).map(|number| self.world.host(number).plan().passing.clone());
        let bad = passing.filter(|one| *one != Passing::Honest);
        cheats.extend(bad.map(|one| Role::Relay(one).to_string()));
        let policies: Vec<String> = self.jobs.iter().map(|job| job.policy.to_string()).collect();
        let shape = if self.parents.is_some() { "tree" } else { "mesh" };
        let delegates = self.away.cast(&self.world);
        format!("{shape}; {}; cheats: {}{delegates}", policies.join(" "), cheats.join(" "))
    }
}

/// Results of a job that stand on its delegate's word.
fn delegated(world: &World, job: &Job) -> u64 {
    let view = world.job(job.at, &job.id).map(|source| source.view());
    view.and_then(|view| view.bases.get(&Basis::Delegate).copied()).unwrap_or(0)
}

/// A rate that is nothing in half of the worlds, and else below `bound`.
fn sometimes(world: &mut World, bound: u64) -> u64 {
    if world.draw(2) == 0 { 0 } else { world.draw(bound) }
}

/// Whether a job is over, or was never there: a submission that was cut short by a crash.
fn is_over(world: &World, job: &Job) -> bool {
    let known = world.machine(job.at).map(|machine| machine.job(&job.id));
    known.is_some_and(|source| source.is_none_or(|source| source.state() != JobState::Running))
}
