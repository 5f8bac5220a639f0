//! Whole peers under faults: whatever breaks in act one, in act two every job ends, exactly and once.

use bayan_protocol::{
    job::Local,
    peer::Input,
    record::Record,
    verify::Policy,
    wire::{Frame, WireError},
};
use bayan_world::{MS, World, judge::assert_done, seeds};

/// Seeds of the fixed set; `BAYAN_TEST_SEEDS` runs more.
const SEEDS: u64 = 120;
/// Virtual time that an undisturbed job may take.
const LIMIT: u64 = 1800 * 1000 * MS;

fn chaos(seed: u64) {
    let mut world = World::new(seed);
    let submitter = world.add(0, MS, false);
    let workers = 3 + world.draw(3) as usize;
    for number in 1..=workers {
        let (slots, pace) = (1 + world.draw(2) as u32, 5 * MS + world.draw(200 * MS));
        world.add(slots, pace, number == 2);
    }
    let hosts = workers + 1;
    world.mesh();
    let tasks = 20 + world.draw(60);
    let job = world
        .submit(submitter, tasks as i64, Policy::Vote(2), Local::Never)
        .expect("the submitter is up");
    // Act one: connections break, processes are killed, also between storing and acting.
    world.crash_per_mille = world.draw(4);
    let faults = 10 + world.draw(30);
    for _ in 0..faults {
        let pause = world.draw(400 * MS);
        let until = world.after(pause);
        while world.advance(until) {}
        let (one, other) = (world.draw(hosts as u64) as usize, world.draw(hosts as u64) as usize);
        match world.draw(5) {
            0 => world.crash(one),
            1 | 2 => world.start(one),
            3 => world.disconnect(one, other),
            _ => world.connect(one, other),
        }
    }
    // Act two: everything is mended, and the job must end.
    world.crash_per_mille = 0;
    for host in 0..hosts {
        world.start(host);
    }
    world.mesh();
    let until = world.after(LIMIT);
    let ended = world.run_until(until, |world| world.is_over(submitter, &job));
    let view = world.machine(submitter).and_then(|machine| machine.job(&job)).map(|job| job.view());
    assert!(ended, "seed {seed}: the job did not end: {view:?}");
    assert_done(&world, submitter, &job, seed);
    for host in 0..hosts {
        assert_eq!(
            world.host(host).closed,
            [],
            "seed {seed}: host {host} accuses an honest-speaking peer"
        );
    }
}

#[test]
fn whatever_breaks_every_task_is_settled_once_and_rightly() {
    for seed in 0..seeds(SEEDS) {
        chaos(seed);
    }
}

#[test]
fn one_seed_is_one_history() {
    let history = |seed| {
        let mut world = World::new(seed);
        let submitter = world.add(1, 20 * MS, false);
        world.add(2, 10 * MS, false);
        world.mesh();
        let job = world.submit(submitter, 30, Policy::None, Local::Always).expect("it is up");
        let until = world.after(LIMIT);
        assert!(world.run_until(until, |world| world.is_over(submitter, &job)));
        let records: Vec<Vec<u8>> = world.records(submitter).map(Record::encode).collect();
        (world.now(), records)
    };
    assert_eq!(history(7), history(7));
    assert_ne!(history(7).1, history(8).1);
}

#[test]
fn a_submitter_alone_computes_its_own_job() {
    let mut world = World::new(1);
    let alone = world.add(2, 10 * MS, false);
    let job = world.submit(alone, 20, Policy::Vote(2), Local::Always).expect("it is up");
    let until = world.after(LIMIT);
    assert!(world.run_until(until, |world| world.is_over(alone, &job)));
    assert_done(&world, alone, &job, 1);
}

#[test]
fn own_slots_in_reserve_step_in_after_the_patience_time_and_not_before() {
    let mut world = World::new(2);
    let submitter = world.add(1, 10 * MS, false);
    world.add(1, 10 * MS, false);
    world.mesh();
    let job = world.submit(submitter, 10, Policy::Vote(2), Local::Reserve).expect("it is up");
    let before = world.after(29_000 * MS);
    while world.advance(before) {}
    let settled = |world: &World| {
        world.machine(submitter).and_then(|m| m.job(&job)).map_or(0, |j| j.view().settled)
    };
    assert_eq!(settled(&world), 0, "one peer is no two");
    let until = world.after(60_000 * MS);
    assert!(world.run_until(until, |world| world.is_over(submitter, &job)));
    assert_done(&world, submitter, &job, 2);
}

#[test]
fn without_own_slots_the_job_waits_and_says_why_until_a_second_peer_comes() {
    let mut world = World::new(3);
    let submitter = world.add(1, 10 * MS, false);
    world.add(1, 10 * MS, false);
    world.mesh();
    let job = world.submit(submitter, 10, Policy::Vote(2), Local::Never).expect("it is up");
    let later = world.after(120_000 * MS);
    while world.advance(later) {}
    let view = world
        .machine(submitter)
        .and_then(|m| m.job(&job))
        .map(|j| j.view())
        .expect("the job is there");
    assert_eq!(view.settled, 0);
    assert!(view.waiting.is_some_and(|why| why.contains("2 different")));
    let second = world.add(1, 10 * MS, false);
    world.connect(submitter, second);
    let until = world.after(LIMIT);
    assert!(world.run_until(until, |world| world.is_over(submitter, &job)));
    assert_done(&world, submitter, &job, 3);
}

#[test]
fn a_worker_that_was_away_when_the_job_ended_is_told_to_stop() {
    let mut world = World::new(4);
    let submitter = world.add(0, 10 * MS, false);
    let slow = world.add(1, 60_000 * MS, false);
    let fast = world.add(1, 10 * MS, false);
    world.connect(submitter, slow);
    let job = world.submit(submitter, 8, Policy::None, Local::Never).expect("it is up");
    let soon = world.after(1000 * MS);
    while world.advance(soon) {}
    world.disconnect(submitter, slow);
    world.connect(submitter, fast);
    let until = world.after(LIMIT);
    assert!(world.run_until(until, |world| world.is_over(submitter, &job)));
    world.connect(submitter, slow);
    let until = world.after(1000 * MS);
    while world.advance(until) {}
    let held = world
        .records(slow)
        .filter(|record| matches!(record, Record::Held { .. } | Record::Batch { .. }))
        .count();
    assert_eq!(held, 0, "the slow worker still keeps work of a job that is over");
}

#[test]
fn a_restarted_worker_does_not_compute_again_what_it_returned() {
    // Somewhere among these moments the worker is in the middle of a long lease.
    for crash_at in (60..300).step_by(20) {
        let mut world = World::new(9);
        let submitter = world.add(0, 10 * MS, false);
        let worker = world.add(1, 10 * MS, false);
        world.mesh();
        let job =
            world.submit(submitter, 400, Policy::None, Local::Never).expect("the submitter is up");
        let settled = |world: &World| {
            world.machine(submitter).and_then(|m| m.job(&job)).map_or(0, |j| j.view().settled)
        };
        let until = world.after(LIMIT);
        assert!(world.run_until(until, |world| settled(world) >= crash_at));
        let before = settled(&world);
        world.crash(worker);
        world.start(worker);
        world.mesh();
        let until = world.after(LIMIT);
        assert!(world.run_until(until, |world| world.is_over(submitter, &job)));
        let attempts = world.machine(worker).map_or(0, |machine| machine.view().executed);
        let open = 400 - before;
        assert!(attempts <= open + 20, "{attempts} attempts for {open} open tasks");
    }
}

/// A machine without power forgets what it wrote last, leases that it gave among them: nobody is to blame
/// for what comes of these, and they hold nothing up.
#[test]
fn a_submitter_that_lost_power_accuses_nobody_and_its_job_ends() {
    for seed in 0..seeds(SEEDS) / 4 {
        let mut world = World::new(seed);
        let submitter = world.add(0, 10 * MS, false);
        for _ in 0..3 {
            world.add(1, 40 * MS, false);
        }
        world.mesh();
        let job = world.submit(submitter, 60, Policy::Vote(2), Local::Never).expect("it is up");
        world.pass(1500 * MS);
        let pause = world.draw(400 * MS);
        world.pass(pause);
        world.cut_power(submitter);
        world.start(submitter);
        world.mesh();
        let until = world.after(LIMIT);
        assert!(world.run_until(until, |world| world.is_over(submitter, &job)), "seed {seed}");
        assert_done(&world, submitter, &job, seed);
        assert_eq!(world.host(submitter).closed, [], "seed {seed}");
    }
}

#[test]
fn garbage_closes_the_connection_and_an_unknown_kind_does_not() {
    let mut world = World::new(5);
    let (one, other) = (world.add(1, 10 * MS, false), world.add(1, 10 * MS, false));
    world.mesh();
    let until = world.after(1000 * MS);
    while world.advance(until) {}
    let peer = world.id(other);
    world.step(one, Input::Frame { peer, frame: Err(WireError::UnknownKind) });
    assert_eq!(world.host(one).closed, []);
    world.step(one, Input::Frame { peer, frame: Frame::decode(b"garbage") });
    assert_eq!(world.host(one).closed, [peer]);
}

/// The judge's own test: two liars who agree outvote the truth, and the judge must say so.
#[test]
#[should_panic(expected = "has a wrong result")]
fn the_judge_notices_when_liars_agree() {
    let mut world = World::new(6);
    let submitter = world.add(0, 10 * MS, false);
    for _ in 0..2 {
        world.add(1, 10 * MS, true);
    }
    world.mesh();
    let job = world.submit(submitter, 5, Policy::Vote(2), Local::Never).expect("it is up");
    let until = world.after(LIMIT);
    assert!(world.run_until(until, |world| world.is_over(submitter, &job)));
    assert_done(&world, submitter, &job, 6);
}
