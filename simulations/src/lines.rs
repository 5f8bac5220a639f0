//! The `pool` machine among workers behind network links.
//!
//! A site has a pool, a computer that deals with one message after the other, and a line to those
//! that it hands work to, over which one message goes after the other. A hand computes one task after
//! the other, or is itself a site that hands on what it gets: then its pool grows with every lease.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use bayan_protocol::{
    entropy::Entropy,
    id::PeerId,
    limits::MAX_CREDIT,
    pool::{Config, Effect, Input, Pool, TaskIndex, Want},
    time::Timestamp,
};

/// A line.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// Bits a second.
    pub bits: f64,
    /// One way, in microseconds.
    pub latency: u64,
    /// Bytes of a message besides tasks or results.
    pub overhead: u64,
    /// Microseconds that the site's computer needs for a message.
    pub serve: u64,
}

/// How work is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    /// One task is asked for after the other, and each result sent at once.
    Fixed,
    /// As the pool decides by measured speed, results in batches.
    Adaptive,
}

/// What is to be computed.
#[derive(Debug, Clone)]
pub struct Work {
    /// Microseconds of each task.
    pub times: Vec<u64>,
    /// Bytes of an input.
    pub input: u64,
    /// Bytes of an output.
    pub output: u64,
}

/// A run to be made.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What is computed.
    pub work: Work,
    /// Computers at the end of the line.
    pub workers: u8,
    /// How work is cut.
    pub grain: Grain,
    /// The submitter's line.
    pub line: Line,
    /// A volunteer server at the end of that line, with a line of its own to the workers.
    pub relay: Option<Line>,
    /// Work that the volunteer server should hold, as time at its measured speed; the pool's usual if
    /// nothing is said.
    pub bulk: Option<Duration>,
    /// Bytes that a watcher at the end of the submitter's line is sent for each result.
    pub watcher: Option<u64>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Run {
    /// Seconds until the last result reached the site next to the workers.
    pub near: f64,
    /// Seconds until the submitter had all results.
    pub end: f64,
    /// Messages with work or results.
    pub messages: u64,
}

/// Results that are sent together at most, and how long the first of them waits.
const BATCH: usize = 64;
const CLOSE: u64 = 50_000;
/// No lease lapses here: nobody dies.
const LEASE: Duration = Duration::from_secs(1_000_000_000);

#[derive(Debug)]
enum Event {
    /// A hand hears of work.
    Leased(usize, u8, Vec<TaskIndex>),
    /// A hand hears that work is no longer wanted.
    Cancelled(usize, u8, Vec<TaskIndex>),
    /// A computation ends.
    Done(usize, u8, TaskIndex, u64),
    /// A hand's batch is full of age.
    Close(usize, u8, u64),
    /// A site's computer has dealt with a message of results.
    Returned(usize, u8, Vec<TaskIndex>),
}

#[derive(Debug, Default)]
struct Hand {
    queue: VecDeque<TaskIndex>,
    running: Option<(TaskIndex, u64)>,
    outbox: Vec<TaskIndex>,
    batch: u64,
}

struct Site {
    pool: Pool,
    line: Line,
    line_free: u64,
    computer_free: u64,
    hands: Vec<Hand>,
    /// Of a relay: what its tasks are called upstream.
    names: Vec<TaskIndex>,
    returned: BTreeSet<TaskIndex>,
}

struct World {
    setup: Setup,
    sites: Vec<Site>,
    now: u64,
    events: BTreeMap<(u64, u64), Event>,
    count: u64,
    messages: u64,
    near: u64,
}

fn peer(hand: u8) -> PeerId {
    PeerId([hand + 1; 32])
}

/// Runs a job to its end.
pub fn run(setup: &Setup) -> Run {
    let mut world = World::new(setup.clone());
    world.join();
    while !world.sites[0].pool.is_finished() {
        let Some(((at, _), event)) = world.events.pop_first() else { break };
        world.now = at;
        world.happen(event);
    }
    Run { near: world.near as f64 / 1e6, end: world.now as f64 / 1e6, messages: world.messages }
}

impl World {
    fn new(setup: Setup) -> Self {
        let most = if setup.grain == Grain::Fixed { 1 } else { Config::default().most };
        let bulk = setup.bulk.unwrap_or(Config::default().bulk);
        let config = Config { lease: LEASE, most, bulk, ..Config::default() };
        let tasks = setup.work.times.len() as u32;
        let site = |line: Line, tasks: u32, hands: u8| Site {
            pool: Pool::new(config, tasks, 1, Entropy::new(&[7; 32])),
            line,
            line_free: 0,
            computer_free: 0,
            hands: (0..hands).map(|_| Hand::default()).collect(),
            names: Vec::new(),
            returned: BTreeSet::new(),
        };
        let sites = match setup.relay {
            None => vec![site(setup.line, tasks, setup.workers)],
            Some(line) => vec![site(setup.line, tasks, 1), site(line, 0, setup.workers)],
        };
        let events = BTreeMap::new();
        Self { setup, sites, now: 0, events, count: 0, messages: 0, near: 0 }
    }

    fn join(&mut self) {
        let last = self.sites.len() - 1;
        let window = if self.setup.grain == Grain::Fixed { 1 } else { MAX_CREDIT };
        for site in (0..=last).rev() {
            for hand in 0..self.sites[site].hands.len() as u8 {
                let worker = peer(hand);
                let below = if site < last { u32::from(self.setup.workers) } else { 0 };
                let tasks = if site < last { MAX_CREDIT } else { window };
                self.step(site, Input::Joined { worker, slots: 1, own: false, reserved: false });
                self.step(site, Input::Credit { worker, tasks, below });
            }
        }
    }

    fn is_relay(&self, site: usize) -> bool {
        site + 1 < self.sites.len()
    }

    fn later(&mut self, at: u64, event: Event) {
        self.count += 1;
        self.events.insert((at.max(self.now), self.count), event);
    }

    /// A message of so many bytes leaves the computer of `site` when that comes to it; when it arrives.
    fn down(&mut self, site: usize, bytes: u64) -> u64 {
        self.messages += 1;
        let now = self.now;
        let site = &mut self.sites[site];
        site.computer_free = site.computer_free.max(now) + site.line.serve;
        let from = site.computer_free;
        pass(site, from, bytes)
    }

    /// A message of so many bytes goes up to `site`; when its computer has dealt with it.
    fn up(&mut self, site: usize, bytes: u64) -> u64 {
        self.messages += 1;
        let now = self.now;
        let site = &mut self.sites[site];
        let there = pass(site, now, bytes);
        site.computer_free = site.computer_free.max(there) + site.line.serve;
        site.computer_free
    }

    fn step(&mut self, site: usize, input: Input) {
        let now = Timestamp(self.now);
        for effect in self.sites[site].pool.step(now, input) {
            match effect {
                Effect::Lease { worker, tasks, .. } => {
                    let bytes = tasks.len() as u64 * self.setup.work.input;
                    let at = self.down(site, bytes + self.sites[site].line.overhead);
                    self.later(at, Event::Leased(site, worker.0[0] - 1, tasks));
                }
                Effect::Cancel { worker, tasks } => {
                    let at = self.now + self.sites[site].line.latency;
                    self.later(at, Event::Cancelled(site, worker.0[0] - 1, tasks));
                }
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Leased(site, _, tasks) if self.is_relay(site) => {
                let below = &mut self.sites[site + 1];
                below.names.extend(&tasks);
                self.step(site + 1, Input::Added(tasks.len() as u32));
            }
            Event::Leased(site, hand, tasks) => {
                self.sites[site].hands[usize::from(hand)].queue.extend(tasks);
                self.start(site, hand);
            }
            Event::Cancelled(site, ..) if self.is_relay(site) => {}
            Event::Cancelled(site, hand, tasks) => {
                let one = &mut self.sites[site].hands[usize::from(hand)];
                one.queue.retain(|task| !tasks.contains(task));
                if one.running.is_some_and(|(task, _)| tasks.contains(&task)) {
                    one.running = None;
                }
                self.start(site, hand);
            }
            Event::Done(site, hand, task, attempt) => {
                let one = &mut self.sites[site].hands[usize::from(hand)];
                if one.running == Some((task, attempt)) {
                    one.running = None;
                    self.give(site, hand, task);
                    self.start(site, hand);
                }
            }
            Event::Close(site, hand, batch) => {
                if self.sites[site].hands[usize::from(hand)].batch == batch {
                    self.flush(site, hand);
                }
            }
            Event::Returned(site, hand, tasks) => self.returned(site, hand, tasks),
        }
    }

    fn start(&mut self, site: usize, hand: u8) {
        let at = self.now;
        let attempt = self.count;
        let relayed = site > 0;
        let one = &mut self.sites[site].hands[usize::from(hand)];
        if one.running.is_some() {
            return;
        }
        let Some(task) = one.queue.pop_front() else {
            return self.flush(site, hand);
        };
        one.running = Some((task, attempt));
        let name = if relayed { self.sites[site].names[task as usize] } else { task };
        let time = self.setup.work.times[name as usize];
        self.later(at + time, Event::Done(site, hand, task, attempt));
    }

    /// A hand of `site` has a result to bring.
    fn give(&mut self, site: usize, hand: u8, task: TaskIndex) {
        let now = self.now;
        let one = &mut self.sites[site].hands[usize::from(hand)];
        one.outbox.push(task);
        let (first, full) = (one.outbox.len() == 1, one.outbox.len() >= BATCH);
        let batch = one.batch;
        if full || self.setup.grain == Grain::Fixed {
            self.flush(site, hand);
        } else if first {
            self.later(now + CLOSE, Event::Close(site, hand, batch));
        }
    }

    fn flush(&mut self, site: usize, hand: u8) {
        let one = &mut self.sites[site].hands[usize::from(hand)];
        let tasks = std::mem::take(&mut one.outbox);
        if tasks.is_empty() {
            return;
        }
        one.batch += 1;
        let bytes = tasks.len() as u64 * self.setup.work.output + self.sites[site].line.overhead;
        let at = self.up(site, bytes);
        self.later(at, Event::Returned(site, hand, tasks));
    }

    fn returned(&mut self, site: usize, hand: u8, tasks: Vec<TaskIndex>) {
        for task in tasks {
            let wants = vec![Want::anyone(task, 0)];
            self.step(site, Input::Returned { worker: peer(hand), task, wants });
            if !self.sites[site].returned.insert(task) {
                continue;
            }
            if !self.is_relay(site) {
                self.near = self.now;
            }
            if site > 0 {
                let name = self.sites[site].names[task as usize];
                self.give(site - 1, 0, name);
            } else if let Some(bytes) = self.setup.watcher {
                let _ = self.down(0, bytes);
            }
        }
    }
}

/// A message takes the line when it comes free; when it is at the other end.
fn pass(site: &mut Site, from: u64, bytes: u64) -> u64 {
    let time = bytes as f64 * 8e6 / site.line.bits;
    site.line_free = site.line_free.max(from) + time as u64;
    site.line_free + site.line.latency
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bits: f64) -> Line {
        Line { bits, latency: 100, overhead: 100, serve: 10 }
    }

    fn setup(workers: u8, grain: Grain, bits: f64) -> Setup {
        let work = Work { times: vec![100_000; 160], input: 40, output: 1000 };
        Setup { work, workers, grain, line: line(bits), relay: None, bulk: None, watcher: None }
    }

    #[test]
    fn on_a_fast_line_many_are_as_much_faster_as_they_are_many() {
        for grain in [Grain::Fixed, Grain::Adaptive] {
            let one = run(&setup(1, grain, 1e9)).end;
            let ten = run(&setup(10, grain, 1e9)).end;
            assert!((one - 16.0).abs() < 0.2, "{grain:?}: {one}");
            assert!(one / ten > 9.0, "{grain:?}: {}", one / ten);
        }
    }

    #[test]
    fn a_slow_line_is_what_a_job_waits_for() {
        let slow = run(&setup(10, Grain::Fixed, 28_800.0));
        // 160 results and their leases, 1,240 bytes in all, one after the other.
        assert!((slow.end - 160.0 * 1240.0 * 8.0 / 28_800.0).abs() < 3.0, "{slow:?}");
        let relay = Setup {
            relay: Some(line(1e7)),
            bulk: Some(LEASE),
            ..setup(10, Grain::Adaptive, 28_800.0)
        };
        let relayed = run(&relay);
        assert!(relayed.near < slow.end / 2.0, "{relayed:?}");
        assert_eq!(relayed, run(&relay));
    }
}
