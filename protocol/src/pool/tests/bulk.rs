//! Workers that hand work on, and pools that get their own tasks bit by bit.

use super::*;
use crate::limits::most_credit;

/// A pool, what its workers hold, and the time.
struct Bench {
    pool: Pool,
    now: Timestamp,
    held: BTreeMap<u8, Vec<TaskIndex>>,
    leases: usize,
}

impl Bench {
    fn new(grace: Duration, tasks: u32) -> Self {
        let config = Config { grace, ..Config::default() };
        let pool = Pool::new(config, tasks, 1, Entropy::new(&[3; 32]));
        Self { pool, now: Timestamp(1_000_000_000), held: BTreeMap::new(), leases: 0 }
    }

    /// A worker comes; with `below` slots it hands work on.
    fn joins(&mut self, worker: u8, window: u32, below: u32) {
        let slots = below.max(1);
        self.step(Input::Joined { worker: peer(worker), slots, own: false, reserved: false });
        self.step(Input::Credit { worker: peer(worker), tasks: window, below });
    }

    fn step(&mut self, input: Input) {
        for effect in self.pool.step(self.now, input) {
            match effect {
                Effect::Lease { worker, tasks, .. } => {
                    self.leases += 1;
                    self.held.entry(worker.0[0]).or_default().extend(tasks);
                }
                Effect::Cancel { worker, tasks } => {
                    self.held.entry(worker.0[0]).or_default().retain(|one| !tasks.contains(one));
                }
            }
        }
    }

    fn held(&self, worker: u8) -> usize {
        self.held.get(&worker).map_or(0, Vec::len)
    }

    /// A worker returns the task that it has had for the longest.
    fn returns(&mut self, worker: u8) {
        let task = self.held.get_mut(&worker).expect("it holds something").remove(0);
        self.step(Input::Returned { worker: peer(worker), task, wants: want(task, 0) });
    }

    fn pass(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
    }
}

#[test]
fn a_window_grows_with_the_slots_below_and_ends_somewhere() {
    assert_eq!(most_credit(0), MAX_CREDIT);
    assert_eq!(most_credit(100), MAX_CREDIT);
    assert_eq!(most_credit(10_000), 80_000);
    assert_eq!(u64::from(most_credit(u32::MAX)), crate::limits::MAX_JOB_TASKS);
}

#[test]
fn who_has_thousands_below_gets_work_for_all_of_them() {
    let mut bench = Bench::new(Duration::ZERO, 100_000);
    bench.joins(1, 40_000, 5_000);
    assert!(bench.held(1) >= 15_000, "{} tasks for 5000 slots", bench.held(1));
    bench.joins(2, 40_000, 0);
    assert!(bench.held(2) <= 4, "one that does not hand work on needs no more");
}

#[test]
fn what_nobody_has_proven_gets_a_part_of_the_job_at_most() {
    let mut bench = Bench::new(Duration::ZERO, 20_000);
    bench.joins(1, 1_000_000, 100_000);
    assert_eq!(bench.held(1), 5_000);
    bench.pass(1000);
    for _ in 0..64 {
        bench.returns(1);
    }
    assert!(bench.held(1) > 15_000, "{}: it has shown what it does", bench.held(1));
}

#[test]
fn long_tasks_are_held_in_store_too_by_who_hands_them_on() {
    let mut bench = Bench::new(Duration::ZERO, 10_000);
    bench.joins(1, 1024, 16);
    for _ in 0..64 {
        bench.pass(60_000 / 16);
        bench.returns(1);
    }
    // A minute each: the twenty seconds that a relay holds work for are no whole task of any slot.
    assert!(bench.held(1) >= 3 * 16, "{} tasks for 16 slots", bench.held(1));
}

#[test]
fn an_empty_ring_is_not_the_end_for_who_is_given_tasks_bit_by_bit() {
    let grace = Duration::from_millis(500);
    for (grace, copied) in [(Duration::ZERO, true), (grace, false)] {
        let mut bench = Bench::new(grace, 2);
        bench.joins(1, 4, 0);
        bench.joins(2, 4, 0);
        assert_eq!((bench.held(1), bench.held(2)), (2, usize::from(copied)));
        let (at, why) = bench.pool.next_wake().expect("leases lapse");
        assert_eq!(why == "further copies", !copied);
        bench.pass(499);
        bench.step(Input::Tick);
        assert_eq!(bench.held(2), usize::from(copied), "more may be on its way");
        bench.pass(1);
        assert!(copied || at == bench.now);
        bench.step(Input::Tick);
        assert_eq!(bench.held(2), 1, "nothing came");
    }
}

#[test]
fn results_come_more_rarely_of_who_has_little_left() {
    let mut bench = Bench::new(Duration::ZERO, 160);
    bench.joins(1, 1024, 16);
    bench.joins(2, 1024, 16);
    let both = |bench: &Bench| bench.held(1) + bench.held(2);
    while both(&bench) > 4 && bench.pool.unfinished() > 4 {
        for worker in [1, 2] {
            if bench.held(worker) > 2 {
                bench.returns(worker);
            }
        }
        bench.pass(625);
    }
    // Each returned a result every 625 ms with 16 slots. With two tasks it is silent for longer than four
    // times that without being slow.
    bench.pass(4000);
    let speed = |bench: &Bench| bench.pool.workers[&peer(1)].speed(bench.now, 0.0) * 1e6;
    assert!((1.2..2.0).contains(&speed(&bench)), "{} tasks a second", speed(&bench));
    bench.pass(60_000);
    assert!(speed(&bench) < 1.0, "{} tasks a second", speed(&bench));
}

#[test]
fn who_hands_work_on_is_given_copies_many_at_a_time() {
    let mut bench = Bench::new(Duration::ZERO, 2_000);
    bench.joins(1, 1024, 100);
    bench.joins(2, 1024, 100);
    let mut fast = 0;
    while bench.pool.unfinished() > 150 {
        bench.pass(50);
        for worker in [1, 2, 2] {
            if bench.held(worker) > 0 {
                bench.returns(worker);
            }
        }
        fast += 1;
    }
    assert!(fast > 100);
    let (before, mut rounds) = (bench.leases, 0);
    while bench.held(2) > 0 && !bench.pool.is_finished() {
        bench.pass(10);
        bench.returns(2);
        rounds += 1;
    }
    assert!(rounds > 40, "{rounds}");
    let leases = bench.leases - before;
    assert!(leases * 4 < rounds, "{leases} leases in {rounds} rounds: one for nearly every result");
}

#[test]
fn what_is_here_but_for_its_output_frees_its_slot_and_is_not_copied_while_outputs_come() {
    let mut bench = Bench::new(Duration::ZERO, 24);
    let mut come = Vec::new();
    for worker in 1..=12 {
        bench.joins(worker, 1, 0);
    }
    // Twelve results whose outputs are to be fetched: each slot gets another task.
    for worker in 1..=12 {
        let task = bench.held[&worker][0];
        bench.step(Input::Coming { worker: peer(worker), task });
        come.push((worker, task));
    }
    let all = |bench: &Bench| bench.leases;
    assert_eq!(all(&bench), 24, "nobody waits for the outputs");
    // Those are done with: now twelve slots are empty, and all that is left is on its way here.
    for worker in 1..=12 {
        bench.held.get_mut(&worker).expect("it has").remove(0);
        bench.returns(worker);
    }
    assert_eq!(all(&bench), 24, "a copy would come behind what is on its way already");
    for _ in 0..3 {
        bench.pass(8_000);
        let (worker, task) = come.remove(0);
        bench.step(Input::Returned { worker: peer(worker), task, wants: want(task, 0) });
        bench.step(Input::Tick);
        assert_eq!(all(&bench), 24, "outputs do come");
    }
    bench.pass(10_000);
    assert_eq!(bench.pool.next_wake().map(|(at, _)| at), Some(bench.now));
    bench.step(Input::Tick);
    assert_eq!(all(&bench), 36, "no output comes: all slots try");
}

#[test]
fn an_output_that_never_comes_is_waited_for_as_long_as_a_silent_worker() {
    let mut bench = Bench::new(Duration::ZERO, 1);
    bench.joins(1, 4, 0);
    bench.step(Input::Coming { worker: peer(1), task: 0 });
    bench.pass(10_000);
    bench.step(Input::Tick);
    assert_eq!(bench.leases, 1);
    bench.pass(20_000);
    bench.step(Input::Tick);
    assert_eq!(bench.leases, 2, "it is computed again, be it by the same one");
    bench.step(Input::Inconclusive { worker: peer(1), task: 0 });
    assert_eq!(bench.pool.unfinished(), 1);
}
