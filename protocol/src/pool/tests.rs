//! The pool beside a small reference model, under every order of loss, duplication, delay and crash.

mod bulk;
mod size;
mod speeds;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    format,
    string::String,
    vec,
    vec::Vec,
};

use proptest::{prelude::*, test_runner::RngSeed};

use super::*;

const WORKERS: u8 = 6;
/// The one that is the source's own slots.
const OWN: u8 = 5;
const LEASE: Duration = Duration::from_secs(30);

fn peer(worker: u8) -> PeerId {
    PeerId([worker; 32])
}

fn want(task: TaskIndex, need: u32) -> Vec<Want> {
    vec![Want::anyone(task, need)]
}

fn pool(count: u32, need: u32, most: u32, seed: u8) -> Pool {
    pool_that(false, count, need, most, seed)
}

fn pool_that(reopens: bool, count: u32, need: u32, most: u32, seed: u8) -> Pool {
    let target = Duration::from_millis(500);
    let config =
        Config { target, bulk: target * 10, lease: LEASE, most, reopens, ..Config::default() };
    Pool::new(config, count, need, Entropy::new(&[seed; 32]))
}

/// One thing that happens; numbers pick among what is possible then.
#[derive(Debug, Clone)]
enum Op {
    Join {
        worker: u8,
        slots: u32,
        /// The source's own slots only: they take what is wanted of them by name.
        reserved: bool,
    },
    Leave {
        worker: u8,
    },
    Credit {
        worker: u8,
        tasks: u32,
    },
    /// A result that some worker owes arrives, and is owed still if `again`.
    Result {
        pick: usize,
        agrees: bool,
        again: bool,
    },
    Inconclusive {
        pick: usize,
    },
    /// What some worker owes is lost.
    Lose {
        pick: usize,
    },
    Renew {
        worker: u8,
    },
    /// The verifier wants something else of a task, perhaps of some workers only.
    Want {
        pick: usize,
        need: u32,
        among: Option<u8>,
    },
    Pass {
        millis: u64,
    },
    /// The source restarts with the leases and results it has stored.
    Crash,
}

fn op() -> impl Strategy<Value = Op> {
    let worker = 0..WORKERS;
    prop_oneof![
        3 => (worker.clone(), 1..4_u32, any::<bool>())
            .prop_map(|(worker, slots, reserved)| Op::Join { worker, slots, reserved }),
        1 => worker.clone().prop_map(|worker| Op::Leave { worker }),
        4 => (worker.clone(), 0..12_u32).prop_map(|(worker, tasks)| Op::Credit { worker, tasks }),
        8 => (any::<usize>(), prop::bool::weighted(0.8), prop::bool::weighted(0.2))
            .prop_map(|(pick, agrees, again)| Op::Result { pick, agrees, again }),
        1 => any::<usize>().prop_map(|pick| Op::Inconclusive { pick }),
        1 => any::<usize>().prop_map(|pick| Op::Lose { pick }),
        1 => worker.prop_map(|worker| Op::Renew { worker }),
        3 => (any::<usize>(), 0..3_u32, prop::option::weighted(0.8, 0..1_u8 << WORKERS))
            .prop_map(|(pick, need, among)| Op::Want { pick, need, among }),
        2 => (1..20_000_u64).prop_map(|millis| Op::Pass { millis }),
        1 => Just(Op::Crash),
    ]
}

#[derive(Debug, Default, Clone)]
struct Node {
    connected: bool,
    reserved: bool,
    slots: u32,
    window: u32,
}

impl Node {
    fn is_active(&self) -> bool {
        self.connected && self.window > 0
    }
}

#[derive(Debug, Default, Clone)]
struct Unit {
    need: u32,
    /// Of whom, if not of anyone: a bit for each worker.
    among: Option<u8>,
    finished: u32,
    returned: BTreeSet<u8>,
    failed: BTreeSet<u8>,
    held: BTreeMap<u8, LeaseId>,
}

impl Unit {
    fn is_wanted_of(&self, worker: u8) -> bool {
        self.among.is_none_or(|among| among >> worker & 1 == 1)
    }

    fn want(&self, task: TaskIndex) -> Want {
        let named = |worker: &u8| self.is_wanted_of(*worker);
        let among = || (0..WORKERS).filter(named).map(peer).collect();
        Want { task, need: self.need, among: self.among.map(|_| among()) }
    }
}

/// The pool, the world around it, and what the world knows must be so.
struct World {
    pool: Pool,
    now: Timestamp,
    reopens: bool,
    need: u32,
    most: u32,
    nodes: Vec<Node>,
    units: Vec<Unit>,
    leases: BTreeMap<LeaseId, (u8, Vec<TaskIndex>, Timestamp)>,
    /// Tasks that workers have got and will yet speak of.
    owed: Vec<(u8, TaskIndex)>,
    crashes: u8,
}

impl World {
    fn new(reopens: bool, count: u32, need: u32, most: u32) -> Self {
        Self {
            pool: pool_that(reopens, count, need, most, 0),
            now: Timestamp(1_000_000),
            reopens,
            need,
            most,
            nodes: vec![Node::default(); WORKERS.into()],
            units: vec![Unit { need, ..Unit::default() }; count as usize],
            leases: BTreeMap::new(),
            owed: Vec::new(),
            crashes: 0,
        }
    }

    fn step(&mut self, input: Input) {
        let effects = self.pool.step(self.now, input);
        for effect in effects {
            match effect {
                Effect::Lease { worker, lease, tasks } => self.leased(worker.0[0], lease, tasks),
                Effect::Cancel { worker, tasks } => {
                    let worker = worker.0[0];
                    assert!(!tasks.is_empty() && tasks.len() <= MAX_LEASE_TASKS);
                    for task in tasks {
                        let unit = &mut self.units[task as usize];
                        assert!(
                            unit.need == 0 && unit.held.remove(&worker).is_some(),
                            "a cancel of what is wanted"
                        );
                    }
                }
            }
        }
        self.check();
    }

    fn leased(&mut self, worker: u8, lease: LeaseId, tasks: Vec<TaskIndex>) {
        let node = &self.nodes[usize::from(worker)];
        assert!(node.connected, "a lease to a worker that is away");
        assert!(
            !tasks.is_empty() && tasks.len() <= self.most as usize,
            "a lease of {} tasks",
            tasks.len()
        );
        for task in &tasks {
            let unit = &mut self.units[*task as usize];
            assert!(unit.need > 0, "task {task} was finished");
            assert!(unit.is_wanted_of(worker), "task {task} is not wanted of {worker}");
            assert!(!node.reserved || unit.among.is_some(), "{worker} is kept for other things");
            assert!(
                !unit.returned.contains(&worker),
                "task {task} was returned by {worker} already"
            );
            assert_eq!(
                unit.held.insert(worker, lease),
                None,
                "task {task} is held by {worker} already"
            );
            unit.failed.remove(&worker); // it tries again
            self.owed.push((worker, *task));
        }
        assert!(self.held_by(worker) <= node.window, "{worker} holds more than its window");
        let until = self.now + LEASE;
        assert!(
            self.leases.insert(lease, (worker, tasks, until)).is_none(),
            "a lease id was used twice"
        );
    }

    fn held_by(&self, worker: u8) -> u32 {
        u32::try_from(self.units.iter().filter(|unit| unit.held.contains_key(&worker)).count())
            .unwrap()
    }

    /// What must be so after every step.
    fn check(&self) {
        for worker in 0..WORKERS {
            let node = &self.nodes[usize::from(worker)];
            let held = self.held_by(worker);
            assert_eq!(self.pool.held_by(&peer(worker)), held as usize, "tasks held by {worker}");
            if !node.connected || held >= node.slots.min(node.window) {
                continue;
            }
            for (task, unit) in self.units.iter().enumerate().filter(|(_, unit)| unit.need > 0) {
                let none = |set: &BTreeSet<u8>| !set.contains(&worker);
                let eligible = self.may_take(worker, unit)
                    && !unit.held.contains_key(&worker)
                    && none(&unit.returned)
                    && none(&unit.failed);
                assert!(!eligible, "task {task} waits although {worker} is idle");
                assert!(
                    !self.only_hope(worker, unit),
                    "task {task} waits although nobody but {worker} is left"
                );
            }
        }
        let open: Vec<&Unit> = self.units.iter().filter(|unit| unit.need > 0).collect();
        assert_eq!(self.pool.unfinished(), open.len());
        assert_eq!(self.pool.is_finished(), open.is_empty());
        assert_eq!(self.pool.in_flight(), open.iter().filter(|unit| !unit.held.is_empty()).count());
        let wake = self
            .leases
            .iter()
            .filter(|(id, lease)| self.is_open(id, lease))
            .map(|(_, lease)| lease.2)
            .min();
        assert_eq!(self.pool.next_wake().map(|(at, _)| at), wake);
        let starved = |named: bool| {
            self.units.iter().position(|unit| {
                let few = unit.need > 0 && self.eligible(unit) < unit.need as usize;
                few && unit.among.is_some() == named
            })
        };
        let starved = starved(true).or_else(|| starved(false));
        assert_eq!(self.pool.first_starved().map(|task| task as usize), starved);
    }

    /// Whether a worker is one of those that a task is wanted of.
    fn may_take(&self, worker: u8, unit: &Unit) -> bool {
        let kept = self.nodes[usize::from(worker)].reserved && unit.among.is_none();
        unit.is_wanted_of(worker) && !kept
    }

    /// Whether `worker` failed at the task, nobody holds it, and nobody else could take it.
    fn only_hope(&self, worker: u8, unit: &Unit) -> bool {
        let could = |other: u8| {
            other != worker
                && self.nodes[usize::from(other)].is_active()
                && self.may_take(other, unit)
                && !unit.returned.contains(&other)
                && !unit.failed.contains(&other)
        };
        unit.held.is_empty()
            && unit.failed.contains(&worker)
            && self.may_take(worker, unit)
            && !(0..WORKERS).any(could)
    }

    fn eligible(&self, unit: &Unit) -> usize {
        let can = |worker: &u8| {
            self.nodes[usize::from(*worker)].is_active()
                && !unit.returned.contains(worker)
                && unit.is_wanted_of(*worker)
                && (*worker != OWN || unit.among.is_some())
        };
        (0..WORKERS).filter(can).count()
    }

    fn is_open(&self, id: &LeaseId, (worker, tasks, _): &(u8, Vec<TaskIndex>, Timestamp)) -> bool {
        tasks.iter().any(|task| self.units[*task as usize].held.get(worker) == Some(id))
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Join { worker, slots, reserved } => {
                self.join(worker, slots, reserved && worker == OWN);
            }
            Op::Leave { worker } => {
                self.nodes[usize::from(worker)] = Node::default();
                for unit in &mut self.units {
                    unit.held.remove(&worker);
                }
                self.step(Input::Left { worker: peer(worker) });
            }
            Op::Credit { worker, tasks } => {
                let node = &mut self.nodes[usize::from(worker)];
                if node.connected {
                    node.window = tasks;
                }
                self.step(Input::Credit { worker: peer(worker), tasks, below: 0 });
            }
            Op::Result { pick, agrees, again } => {
                if let Some((worker, task)) = self.pick(pick, again) {
                    self.result(worker, task, agrees);
                }
            }
            Op::Inconclusive { pick } => {
                if let Some((worker, task)) = self.pick(pick, false) {
                    let unit = &mut self.units[task as usize];
                    if unit.need > 0 && !unit.returned.contains(&worker) {
                        unit.held.remove(&worker);
                        unit.failed.insert(worker);
                    }
                    self.forgive(task);
                    self.step(Input::Inconclusive { worker: peer(worker), task });
                }
            }
            Op::Lose { pick } => drop(self.pick(pick, false)),
            Op::Renew { worker } => self.renew(worker),
            Op::Want { pick, need, among } if self.reopens => self.want(pick, need, among),
            Op::Want { .. } => {}
            Op::Pass { millis } => self.pass(millis),
            Op::Crash => self.crash(),
        }
    }

    fn join(&mut self, worker: u8, slots: u32, reserved: bool) {
        let node = &mut self.nodes[usize::from(worker)];
        (node.connected, node.slots, node.reserved) = (true, slots, reserved);
        let own = worker == OWN;
        self.step(Input::Joined { worker: peer(worker), slots, own, reserved });
    }

    /// The verifier changes its mind about a task, or opens it again.
    fn want(&mut self, pick: usize, need: u32, among: Option<u8>) {
        let task = pick % self.units.len();
        let unit = &mut self.units[task];
        if unit.need > 0 || need > 0 {
            unit.finished += u32::from(need == 0);
            (unit.need, unit.among) = (need, among.filter(|_| need > 0));
            if need == 0 {
                unit.failed.clear();
            }
        }
        let task = TaskIndex::try_from(task).unwrap();
        let among = unit.want(task).among;
        self.step(Input::Wanted(vec![Want { task, need, among }]));
    }

    /// Where all that a task is wanted of have failed, all may try again.
    fn forgive(&mut self, task: TaskIndex) {
        let unit = &self.units[task as usize];
        let fresh = |worker: u8| {
            unit.is_wanted_of(worker)
                && self.nodes[usize::from(worker)].is_active()
                && !unit.failed.contains(&worker)
                && !unit.returned.contains(&worker)
        };
        if unit.among.is_some() && !(0..WORKERS).any(fresh) {
            self.units[task as usize].failed.clear();
        }
    }

    fn pick(&mut self, pick: usize, again: bool) -> Option<(u8, TaskIndex)> {
        let at = pick.checked_rem(self.owed.len())?;
        Some(if again { self.owed[at] } else { self.owed.swap_remove(at) })
    }

    /// Plays the verifier: distinct results count once, one that disagrees leaves the need as it is, and
    /// the source's own settles the task.
    fn result(&mut self, worker: u8, task: TaskIndex, agrees: bool) {
        let unit = &mut self.units[task as usize];
        if unit.need == 0 {
            if self.reopens {
                unit.returned.insert(worker);
            }
            return self.step(Input::Returned { worker: peer(worker), task, wants: want(task, 0) });
        }
        unit.held.remove(&worker);
        unit.failed.remove(&worker);
        let enough_left = unit.returned.len() as u32 + 1 + unit.need < u32::from(WORKERS);
        if unit.returned.insert(worker) && (agrees || worker == OWN || !enough_left) {
            unit.need = if worker == OWN { 0 } else { unit.need - 1 };
            unit.finished += u32::from(unit.need == 0);
        }
        if unit.need == 0 {
            unit.among = None;
            unit.failed.clear();
        }
        let wants = vec![unit.want(task)];
        self.step(Input::Returned { worker: peer(worker), task, wants });
    }

    fn renew(&mut self, worker: u8) {
        let ids: Vec<LeaseId> =
            self.leases.iter().filter(|(_, lease)| lease.0 == worker).map(|(id, _)| *id).collect();
        for id in ids {
            if self.is_open(&id, &self.leases[&id]) {
                self.leases.get_mut(&id).unwrap().2 = self.now + LEASE;
            }
            self.step(Input::Renewed { worker: peer(worker), lease: id });
            // Nobody renews what is another's.
            self.step(Input::Renewed { worker: peer(worker + 1), lease: id });
        }
    }

    fn pass(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
        for (id, (worker, tasks, until)) in &self.leases {
            for task in tasks.iter().filter(|_| *until <= self.now) {
                let unit = &mut self.units[*task as usize];
                if unit.held.get(worker) == Some(id) {
                    unit.held.remove(worker);
                }
            }
        }
        self.step(Input::Tick);
    }

    fn crash(&mut self) {
        self.crashes += 1;
        let count = u32::try_from(self.units.len()).unwrap();
        self.pool = pool_that(self.reopens, count, self.need, self.most, self.crashes);
        self.nodes.fill(Node::default());
        for unit in &mut self.units {
            unit.held.clear();
            unit.failed.clear();
        }
        let restored = |(id, (worker, tasks, _)): (&LeaseId, &(u8, Vec<TaskIndex>, Timestamp))| {
            Input::Restored { worker: peer(*worker), lease: *id, tasks: tasks.clone() }
        };
        let mut inputs: Vec<Input> = self.leases.iter().map(restored).collect();
        for (task, unit) in (0..).zip(&self.units) {
            for worker in &unit.returned {
                let wants = vec![unit.want(task)];
                inputs.push(Input::Returned { worker: peer(*worker), task, wants });
            }
            inputs.push(Input::Wanted(vec![unit.want(task)]));
        }
        for input in inputs {
            assert_eq!(self.pool.step(self.now, input), [], "nobody is there");
        }
        self.check();
        for (id, (worker, tasks, _)) in &self.leases {
            assert!(tasks.iter().all(|task| self.pool.was_leased(&peer(*worker), id, *task)));
        }
    }

    /// No faults any more: everyone is there and answers; the job must end.
    fn finish(&mut self) {
        for task in 0..self.units.len() {
            // Whoever may have been wanted: now it is anyone, as many as there can be.
            let unit = &self.units[task];
            let most = u32::from(WORKERS) - u32::try_from(unit.returned.len()).unwrap();
            self.want(task, unit.need.min(most), None);
        }
        for worker in 0..WORKERS {
            self.join(worker, 2, false);
            self.nodes[usize::from(worker)].window = 4;
            self.step(Input::Credit { worker: peer(worker), tasks: 4, below: 0 });
        }
        // Leases from before whose results were lost lapse.
        self.pass(30_000);
        let mut steps = 0;
        while !self.pool.is_finished() {
            let held =
                |(task, unit): (u32, &Unit)| unit.held.keys().next().map(|worker| (*worker, task));
            let (worker, task) =
                (0..).zip(&self.units).find_map(held).expect("unfinished and held by nobody");
            self.result(worker, task, true);
            steps += 1;
            assert!(steps <= self.units.len() * usize::from(WORKERS), "no end in sight");
        }
        for (task, unit) in self.units.iter().enumerate() {
            let once = unit.finished == 1 || (self.reopens && unit.finished > 1);
            assert!(once, "task {task} was finished {} times", unit.finished);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(20_261_120),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_task_is_finished_once_whatever_happens(
        count in 1..25_u32,
        need in 1..4_u32,
        most in 1..9_u32,
        ops in prop::collection::vec(op(), 0..150),
    ) {
        let mut world = World::new(false, count, need, most);
        for op in &ops {
            world.apply(op);
        }
        world.finish();
    }

    /// Tasks that are wanted of certain workers only, and opened again.
    #[test]
    fn what_is_wanted_by_name_reaches_those_named_and_nobody_else(
        count in 1..12_u32,
        need in 1..3_u32,
        most in 1..9_u32,
        ops in prop::collection::vec(op(), 0..150),
    ) {
        let mut world = World::new(true, count, need, most);
        for op in &ops {
            world.apply(op);
        }
        world.finish();
    }
}

fn leased(effects: &[Effect]) -> Vec<(u8, Vec<TaskIndex>)> {
    let lease = |effect: &Effect| match effect {
        Effect::Lease { worker, tasks, .. } => Some((worker.0[0], tasks.clone())),
        Effect::Cancel { .. } => None,
    };
    effects.iter().filter_map(lease).collect()
}

/// Joins a worker with a window and says what it is handed.
fn enter(
    pool: &mut Pool,
    now: Timestamp,
    worker: u8,
    slots: u32,
    window: u32,
    own: bool,
) -> Vec<(u8, Vec<TaskIndex>)> {
    let worker = peer(worker);
    assert_eq!(
        pool.step(now, Input::Joined { worker, slots, own, reserved: false }),
        [],
        "no credit yet"
    );
    leased(&pool.step(now, Input::Credit { worker, tasks: window, below: 0 }))
}

#[test]
fn the_sources_own_slots_begin_where_no_worker_is() {
    let now = Timestamp(0);
    let mut pool = pool(10, 2, 512, 0);
    assert_eq!(enter(&mut pool, now, 1, 1, 1, false), [(1, vec![0])]);
    assert_eq!(enter(&mut pool, now, 9, 1, 1, true), [(9, vec![9])]);
    // An own copy settles its task alone: no other worker is handed it while others are wanted.
    assert_eq!(enter(&mut pool, now, 2, 1, 9, false), [(2, vec![0, 1])]);
    let more = pool.step(now, Input::Returned { worker: peer(9), task: 9, wants: want(9, 0) });
    assert_eq!(leased(&more), [(9, vec![8])]);
}

#[test]
fn a_worker_that_failed_is_asked_again_only_when_nobody_else_is_left() {
    let now = Timestamp(0);
    let mut pool = pool(1, 1, 512, 0);
    assert_eq!(enter(&mut pool, now, 1, 1, 1, false), [(1, vec![0])]);
    assert_eq!(enter(&mut pool, now, 2, 1, 1, false), [(2, vec![0])]);
    assert_eq!(
        pool.step(now, Input::Inconclusive { worker: peer(1), task: 0 }),
        [],
        "the other has it still"
    );
    let again = pool.step(now, Input::Inconclusive { worker: peer(2), task: 0 });
    assert_eq!(leased(&again).len(), 1, "both failed, so one of them tries again: {again:?}");
}

#[test]
fn a_slot_that_a_finished_task_leaves_empty_is_filled_with_what_had_failed() {
    let now = Timestamp(0);
    let mut pool = pool_that(true, 3, 1, 512, 0);
    assert_eq!(enter(&mut pool, now, 1, 1, 2, false), [(1, vec![0, 1])]);
    // A further task takes the place of the one that failed: no slot is idle.
    let more = pool.step(now, Input::Inconclusive { worker: peer(1), task: 0 });
    assert_eq!(leased(&more), [(1, vec![2])]);
    assert_eq!(pool.step(now, Input::Returned { worker: peer(1), task: 1, wants: want(1, 0) }), []);
    let again = pool.step(now, Input::Wanted(want(2, 0)));
    assert_eq!(leased(&again), [(1, vec![0])]);
}

#[test]
fn tasks_held_by_paused_workers_alone_are_starved() {
    let now = Timestamp(0);
    let mut pool = pool(1, 1, 512, 0);
    assert_eq!(pool.first_starved(), Some(0));
    assert_eq!(enter(&mut pool, now, 1, 1, 4, false), [(1, vec![0])]);
    assert_eq!(pool.first_starved(), None);
    assert_eq!(pool.step(now, Input::Credit { worker: peer(1), tasks: 0, below: 0 }), []);
    assert_eq!(pool.first_starved(), Some(0));
}

#[test]
fn more_slots_than_a_lease_may_hold_are_filled_by_several_leases() {
    let mut pool = pool(10, 1, 3, 0);
    let leases = enter(&mut pool, Timestamp(0), 1, 8, 8, false);
    assert_eq!(leases.iter().map(|(_, tasks)| tasks.len()).collect::<Vec<_>>(), [3, 3, 2]);
}

#[test]
fn hostile_indices_and_names_change_nothing() {
    let mut pool = pool(3, 1, 512, 0);
    let (now, worker) = (Timestamp(5), peer(1));
    let inputs = [
        Input::Returned { worker, task: 3, wants: want(3, 0) },
        Input::Inconclusive { worker, task: u32::MAX },
        Input::Wanted(want(77, 0)),
        Input::Left { worker },
        Input::Credit { worker, tasks: u32::MAX, below: 0 },
        Input::Renewed { worker, lease: LeaseId([0; 32]) },
        Input::Restored { worker, lease: LeaseId([1; 32]), tasks: vec![9, 1] },
    ];
    for input in inputs {
        let said: String = format!("{input:?}");
        assert_eq!(pool.step(now, input), [], "{said}");
    }
    assert!(!pool.was_leased(&worker, &LeaseId([1; 32]), 9));
    assert!(pool.was_leased(&worker, &LeaseId([1; 32]), 1));
    assert_eq!(pool.unfinished(), 3);
}
