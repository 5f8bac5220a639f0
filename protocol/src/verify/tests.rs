//! The verifier beside a small world: workers of many kinds, tasks handed to whoever is wanted.

mod adopted;
mod attacks;
mod differs;
mod faults;
mod flaky;
mod reviewed;
mod rules;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec,
};

use super::*;
use crate::{entropy::Entropy, offer::Prefix, task::Status};

/// The submitter's own slots.
const ME: PeerId = PeerId([0; 32]);

/// What a worker claims for a task, given the truth and its earlier results.
type Claim = fn(worker: u8, task: TaskIndex, returned: u64, random: u64) -> Outcome;

struct Worker {
    claim: Claim,
    here: bool,
    returned: u64,
}

/// One job among these workers; results come one at a time, in a random order.
struct World {
    verifier: Verifier,
    standings: Standings,
    workers: BTreeMap<PeerId, Worker>,
    own: bool,
    tasks: u32,
    /// Further results that each task wants, and of whom.
    wants: BTreeMap<TaskIndex, Want>,
    random: Entropy,
    now: Timestamp,
    executions: u64,
    caught: Vec<PeerId>,
    excluded: BTreeSet<PeerId>,
    /// Every state that each task was in, in order.
    history: BTreeMap<TaskIndex, Vec<State>>,
}

fn id(number: u8) -> PeerId {
    PeerId([number; 32])
}

fn task_id(task: TaskIndex) -> TaskId {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&task.to_be_bytes());
    TaskId(bytes)
}

fn truth(task: TaskIndex) -> Outcome {
    let mut output = [1; 32];
    output[..4].copy_from_slice(&task.to_be_bytes());
    Outcome { status: Status::Exited(0), output: Hash(output), fuel: 1000 }
}

fn honest(_: u8, task: TaskIndex, _: u64, _: u64) -> Outcome {
    truth(task)
}

/// Wrong in a way of its own.
fn wrong(worker: u8, task: TaskIndex) -> Outcome {
    let mut outcome = truth(task);
    outcome.output.0[31] = worker;
    outcome
}

/// Wrong in a way that others of a ring share.
fn agreed(task: TaskIndex) -> Outcome {
    wrong(255, task)
}

fn config(policy: Policy, tasks: u32) -> Config {
    Config { policy, tasks, provisional: false, quarantined: None }
}

impl World {
    fn new(policy: Policy, tasks: u32, own: bool, seed: u8) -> Self {
        let mut world = Self {
            verifier: Verifier::new(config(policy, tasks), ME, [seed; 32]),
            standings: Standings::default(),
            workers: BTreeMap::new(),
            own,
            tasks,
            wants: (0..tasks).map(|task| (task, Want::anyone(task, policy.quorum()))).collect(),
            random: Entropy::new(&[seed; 32]),
            now: Timestamp(1_000_000_000),
            executions: 0,
            caught: Vec::new(),
            excluded: BTreeSet::new(),
            history: BTreeMap::new(),
        };
        if own {
            world.enter(
                ME,
                About { prefix: Prefix::default(), slots: 2, own: true, reserved: true },
            );
        }
        world
    }

    /// Adds a worker in a network of its own.
    fn add(&mut self, number: u8, claim: Claim) -> PeerId {
        self.add_in(number, number, claim)
    }

    fn add_in(&mut self, number: u8, prefix: u8, claim: Claim) -> PeerId {
        let worker = Worker { claim, here: true, returned: 0 };
        self.workers.insert(id(number), worker);
        self.enter(id(number), about(prefix));
        id(number)
    }

    /// A worker with this many passed checks.
    fn known(&mut self, number: u8, k: u32, claim: Claim) -> PeerId {
        for _ in 0..k {
            self.standings.passed(self.now, id(number), None);
        }
        self.add(number, claim)
    }

    fn enter(&mut self, peer: PeerId, about: About) {
        self.verifier.join(self.now, peer, about, &mut self.standings);
        self.settle();
    }

    fn leave(&mut self, peer: PeerId) {
        if let Some(worker) = self.workers.get_mut(&peer) {
            worker.here = false;
        }
        self.verifier.leave(self.now, &peer, &mut self.standings);
        self.settle();
    }

    fn draw(&mut self, bound: u64) -> u64 {
        let bytes = self.random.draw();
        u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) % bound.max(1)
    }

    fn settle(&mut self) {
        loop {
            let effects = self.verifier.take_effects();
            if effects.is_empty() {
                break;
            }
            for effect in effects {
                if let Effect::Want(Want { among: Some(among), .. }) = &effect {
                    assert!(among.is_sorted(), "who is asked is looked up by bisection");
                }
                match effect {
                    Effect::Want(want) if want.need == 0 => drop(self.wants.remove(&want.task)),
                    Effect::Want(want) => drop(self.wants.insert(want.task, want)),
                    Effect::Changed(task) => {
                        let state = self.verifier.state(task);
                        let history = self.history.entry(task).or_default();
                        if history.last() != Some(&state) {
                            history.push(state);
                        }
                    }
                    Effect::Caught { worker, right, task, .. } => {
                        assert_eq!(right, truth(task), "nobody is accused of the truth");
                        self.caught.push(worker);
                    }
                    Effect::Exclude(worker) => drop(self.excluded.insert(worker)),
                    Effect::Settled(_) | Effect::Quarantined(_) => {}
                }
            }
        }
    }

    /// Who could compute a task that is wanted.
    fn takers(&self, want: &Want) -> Vec<PeerId> {
        let voters = self.verifier.voters(want.task);
        let asked = |peer: &PeerId| want.among.as_ref().is_none_or(|among| among.contains(peer));
        let mut takers: Vec<PeerId> = self
            .workers
            .iter()
            .filter(|(peer, worker)| {
                worker.here
                    && !self.excluded.contains(peer)
                    && asked(peer)
                    && !voters.contains(peer)
            })
            .map(|(peer, _)| *peer)
            .collect();
        let named = want.among.as_ref().is_some_and(|among| among.contains(&ME));
        if self.own && named && !voters.contains(&ME) {
            takers.push(ME);
        }
        takers
    }

    /// One worker computes one wanted task; false if there is none that somebody could.
    fn advance(&mut self) -> bool {
        self.now = Timestamp(self.now.0 + 1000);
        let wants: Vec<Want> = self.wants.values().cloned().collect();
        let count = wants.len();
        let from = self.draw(count as u64) as usize;
        for at in 0..count {
            let want = &wants[(from + at) % count];
            let takers = self.takers(want);
            if takers.is_empty() {
                continue;
            }
            let taker = takers[self.draw(takers.len() as u64) as usize];
            self.compute(taker, want.task);
            return true;
        }
        false
    }

    fn compute(&mut self, peer: PeerId, task: TaskIndex) -> Taken {
        let random = self.draw(u64::MAX);
        let outcome = match self.workers.get_mut(&peer) {
            None => truth(task),
            Some(worker) => {
                worker.returned += 1;
                (worker.claim)(peer.0[0], task, worker.returned, random)
            }
        };
        self.executions += 1;
        self.say(peer, task, outcome)
    }

    fn say(&mut self, worker: PeerId, task: TaskIndex, outcome: Outcome) -> Taken {
        let root = Hash(self.random.draw());
        let vote = Vote { worker, via: Vec::new(), outcome, root, id: task_id(task) };
        let taken = self.verifier.vote(self.now, task, vote, &mut self.standings);
        self.settle();
        self.verifier.advance(self.now, &mut self.standings);
        self.settle();
        taken
    }

    /// Runs the job to its end.
    fn run(&mut self) {
        let mut steps = 0;
        while !self.verifier.is_over() {
            if !self.advance() {
                self.now = Timestamp(self.now.0 + 31_000_000);
                self.verifier.tick(self.now, &mut self.standings);
                self.settle();
                self.verifier.advance(self.now, &mut self.standings);
                self.settle();
            }
            steps += 1;
            assert!(steps < 100 * u64::from(self.tasks) + 1000, "the job does not end");
        }
    }

    /// Tasks whose final outcome is not the truth.
    fn errors(&self) -> usize {
        (0..self.tasks)
            .filter(|task| {
                self.verifier.acceptance(*task).is_some_and(|one| one.outcome != truth(*task))
            })
            .count()
    }

    fn banned(&self) -> Vec<u8> {
        self.workers
            .keys()
            .filter(|peer| self.standings.is_banned(self.now, peer))
            .map(|peer| peer.0[0])
            .collect()
    }

    fn cost(&self) -> f64 {
        self.executions as f64 / f64::from(self.tasks)
    }
}

fn about(prefix: u8) -> About {
    let prefix = Prefix::of([10, 0, prefix, 1].into());
    About { prefix, slots: 2, own: false, reserved: false }
}

fn adaptive() -> Policy {
    Policy::default()
}
