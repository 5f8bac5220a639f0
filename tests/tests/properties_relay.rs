//! Work that is handed on, in worlds of whole peers: any tree, any order of crashes, hops that cheat.

use bayan_cast::Passing;
use bayan_protocol::{
    id::JobId,
    job::Local,
    limits::LEASE,
    record::Record,
    verify::{Adaptive, Basis, Policy},
};
use bayan_world::{
    MS, Number, World,
    host::Plan,
    judge::{assert_done, left},
    network::Line,
    outcome, seeds,
};

/// Seeds of the fixed set; `BAYAN_TEST_SEEDS` runs more.
const SEEDS: u64 = 60;
/// Virtual time that a job may take once everything is mended.
const LIMIT: u64 = 1800 * 1000 * MS;

/// A tree with the submitter, number 0, at its root; every host but the leaves hands work on. Gives each
/// host's parent.
fn tree(world: &mut World, hosts: usize) -> Vec<Number> {
    world.add(0, MS, false);
    let mut parents = vec![0];
    for number in 1..hosts {
        let parent = world.draw(number as u64) as usize;
        let (slots, pace) = (world.draw(3) as u32, 5 * MS + world.draw(100 * MS));
        // Somebody has to compute.
        let slots = if number == hosts - 1 { slots.max(1) } else { slots };
        world.add_relay(slots, pace, Passing::Honest);
        parents.push(parent);
    }
    plant(world, &parents);
    parents
}

fn plant(world: &mut World, parents: &[Number]) {
    for (number, parent) in parents.iter().enumerate().skip(1) {
        world.connect(number, *parent);
    }
}

fn crashes(seed: u64) {
    let mut world = World::new(seed);
    let hosts = 4 + world.draw(9) as usize;
    let parents = tree(&mut world, hosts);
    let tasks = 20 + world.draw(80);
    let job = world.submit(0, tasks as i64, Policy::None, Local::Never).expect("it is up");
    world.crash_per_mille = world.draw(4);
    let faults = 10 + world.draw(30);
    for _ in 0..faults {
        let pause = world.draw(600 * MS);
        let until = world.after(pause);
        while world.advance(until) {}
        let (one, other) = (world.draw(hosts as u64) as usize, world.draw(hosts as u64) as usize);
        match world.draw(6) {
            0 => world.crash(one),
            1 | 2 => world.start(one),
            3 => world.disconnect(one, parents[one]),
            4 => world.connect(one, parents[one]),
            // A connection that no tree has.
            _ => world.connect(one, other),
        }
    }
    world.crash_per_mille = 0;
    for host in 0..hosts {
        world.start(host);
    }
    plant(&mut world, &parents);
    let until = world.after(LIMIT);
    let ended = world.run_until(until, |world| world.is_over(0, &job));
    let view = world.machine(0).and_then(|machine| machine.job(&job)).map(|job| job.view());
    assert!(ended, "seed {seed}: the job did not end: {view:?}");
    assert_done(&world, 0, &job, seed);
    for host in 0..hosts {
        let reasons = &world.host(host).reasons;
        assert!(reasons.is_empty(), "seed {seed}: host {host} accuses an honest peer: {reasons:?}");
    }
}

#[test]
fn any_tree_under_any_crashes_settles_every_task_once() {
    for seed in 0..seeds(SEEDS) {
        crashes(seed);
    }
}

/// Tasks that every host has computed since it was started.
fn executed(world: &World) -> Vec<u64> {
    let of = |host| world.machine(host).map_or(0, |machine| machine.view().executed);
    (0..world.len()).map(of).collect()
}

/// One at the top, two mere relays below it, three below these, ten workers: many jobs, one after the other,
/// and in each of them one of the relays dies and comes back only when that job is over. What it forgot must
/// not keep later jobs from those below it.
#[test]
fn relays_that_die_in_every_job_leave_nothing_behind_that_hinders_the_next() {
    for seed in 0..seeds(SEEDS) / 6 {
        let mut world = World::new(seed);
        let mut parents = vec![0];
        // Those at the top and in the lower row cannot be reached from outside: there is no other way up.
        let line = |reachable| Line { reachable, ..Line::default() };
        world.join(Plan { slots: 0, line: line(false), ..Plan::default() });
        for number in 1..16 {
            let (slots, parent) = match number {
                1 | 2 => (0, 0),
                3..=5 => (0, 1 + (number - 3) % 2),
                _ => (1, 3 + (number - 6) % 3),
            };
            let pace = 20 * MS + world.draw(20 * MS);
            let line = line(!(3..=5).contains(&number));
            world.join(Plan { slots, pace, relays: true, line, ..Plan::default() });
            parents.push(parent);
        }
        plant(&mut world, &parents);
        world.pass(2000 * MS);
        for turn in 0..6 {
            let ends = |world: &mut World, job: JobId, how: &str| {
                let until = world.after(40_000 * MS);
                let ended = world.run_until(until, |world| world.is_over(0, &job));
                assert!(ended, "seed {seed}, turn {turn}: the job {how} did not end");
                assert_done(world, 0, &job, seed);
            };
            let job = world.submit(0, 64, Policy::None, Local::Never).expect("it is up");
            let moment = 50 * MS + world.draw(150 * MS);
            world.pass(moment);
            let dies = if turn % 2 == 0 { 1 + world.draw(2) } else { 3 + world.draw(3) } as Number;
            world.crash(dies);
            ends(&mut world, job, "with a death in it");
            world.start(dies);
            // It meets those above it at once, those below it when these look for it again.
            world.connect(dies, parents[dies]);
            let pause = world.draw(3000 * MS);
            world.pass(pause);
            plant(&mut world, &parents);
            let pause = world.draw(10_000 * MS);
            world.pass(pause);
            // What comes right after another finds nothing changed in what everybody takes.
            let before = executed(&world);
            for _ in 0..2 {
                let job = world.submit(0, 192, Policy::None, Local::Never).expect("it is up");
                ends(&mut world, job, "after one with a death in it");
            }
            let after = executed(&world);
            let idle = (6..16).find(|leaf| before[*leaf] == after[*leaf]);
            assert_eq!(idle, None, "seed {seed}, turn {turn}: a worker had nothing to do");
        }
        world.pass(60_000 * MS);
        assert_eq!(left(&world), [], "seed {seed}");
    }
}

/// Two branches; the relay of one is frozen for good with what was handed to it.
#[test]
fn nothing_is_stranded_below_a_dead_relay_for_longer_than_its_lease() {
    for seed in 0..seeds(SEEDS) / 4 {
        let mut world = World::new(seed);
        world.add(0, MS, false);
        let relays = [0, 1].map(|_| world.add_relay(0, MS, Passing::Honest));
        for relay in relays {
            world.connect(0, relay);
            for _ in 0..2 {
                let worker = world.add(1, 40 * MS, false);
                world.connect(relay, worker);
            }
        }
        let job = world.submit(0, 120, Policy::None, Local::Never).expect("it is up");
        let until = world.after(400 * MS + seed * 50 * MS);
        while world.advance(until) {}
        world.freeze(relays[0]);
        // All that is left, computed by the other branch alone, and the lease.
        let all =
            120 * 60 * MS + u64::try_from(LEASE.as_micros()).expect("it is short") + 2000 * MS;
        let until = world.after(all);
        assert!(world.run_until(until, |world| world.is_over(0, &job)), "seed {seed}");
        assert_done(&world, 0, &job, seed);
    }
}

/// A submitter, a relay that passes on in its way, and two workers behind it, which know nobody else.
fn cheated(seed: u64, passing: Passing) -> (World, JobId) {
    let mut world = World::new(seed);
    world.add(0, MS, false);
    let relay = world.add_relay(0, MS, passing);
    world.connect(0, relay);
    for _ in 0..2 {
        let worker = world.add(1, 300 * MS, false);
        world.connect(relay, worker);
    }
    let job = world.submit(0, 60, Policy::None, Local::Never).expect("it is up");
    (world, job)
}

#[test]
fn a_relay_that_drops_or_delays_is_gone_round_within_ten_seconds() {
    for passing in [Passing::Drops, Passing::Delays(20_000 * MS)] {
        for seed in 0..seeds(SEEDS) / 10 {
            let (mut world, job) = cheated(seed, passing.clone());
            let settled = |world: &World| {
                world.machine(0).and_then(|one| one.job(&job)).map_or(0, |job| job.view().settled)
            };
            let soon = world.after(1500 * MS);
            while world.advance(soon) {}
            assert_eq!(settled(&world), 0, "{passing:?}, seed {seed}: nothing comes through");
            let until = world.after(8500 * MS);
            assert!(
                world.run_until(until, |world| settled(world) > 0),
                "{passing:?}, seed {seed}: the workers have not found another way"
            );
            let until = world.after(LIMIT);
            assert!(world.run_until(until, |world| world.is_over(0, &job)), "{passing:?} {seed}");
            assert_done(&world, 0, &job, seed);
            let relay = world.id(1);
            let knows = |host: Number| world.machine(host).is_some_and(|one| one.shuns(&relay));
            assert!(knows(0) || knows(2) || knows(3), "{passing:?}, seed {seed}: not found out");
            for worker in [2, 3] {
                let id = world.id(worker);
                let blames = |host: Number| world.machine(host).is_some_and(|one| one.shuns(&id));
                assert!(!blames(0) && !blames(1), "{passing:?}, seed {seed}");
                assert!(!world.host(0).closed.contains(&id), "{passing:?}, seed {seed}");
            }
        }
    }
}

#[test]
fn a_line_that_is_slow_is_waited_for_and_neither_gone_round_nor_filled_with_copies() {
    const TASKS: u64 = 400;
    for seed in 0..seeds(SEEDS) / 10 {
        let mut world = World::new(seed);
        // One output in five is 20 KiB long: 1.6 MB, which take 26 seconds.
        let line = Line { up: 62_500, down: 62_500, ..Line::default() };
        let me = world.join(Plan { slots: 0, line, ..Plan::default() });
        let workers: Vec<Number> = (0..2)
            .flat_map(|_| {
                let relay = world.add_relay(0, MS, Passing::Honest);
                world.connect(me, relay);
                let below: Vec<Number> = (0..20)
                    .map(|_| {
                        let worker = world.add(1, 1000 * MS, false);
                        world.connect(relay, worker);
                        worker
                    })
                    .collect();
                below
            })
            .collect();
        let job = world.submit(me, TASKS as i64, Policy::None, Local::Never).expect("it is up");
        let began = world.now();
        let until = world.after(LIMIT);
        assert!(world.run_until(until, |world| world.is_over(me, &job)), "seed {seed}");
        let took = world.now().since(began).as_secs_f64();
        let fetched = world.counts.blob_bytes as f64 / 2.0;
        let bound = fetched / line.down as f64;
        assert!(took < 1.35 * bound + 2.0, "seed {seed}: {took} s, and outputs take {bound} s");
        let attempts = world.counts.attempts;
        assert!(attempts <= TASKS * 13 / 10, "seed {seed}: {attempts} attempts of {TASKS} tasks");
        let near = world.machine(me).expect("it is up").view().neighbours;
        let direct = workers.iter().filter(|one| near.iter().any(|by| by.peer == world.id(**one)));
        assert_eq!(direct.count(), 0, "seed {seed}: workers go round their relays");
    }
}

#[test]
fn a_relay_that_reorders_does_no_harm() {
    for seed in 0..seeds(SEEDS) / 10 {
        let (mut world, job) = cheated(seed, Passing::Reorders);
        let until = world.after(LIMIT);
        assert!(world.run_until(until, |world| world.is_over(0, &job)), "seed {seed}");
        assert_done(&world, 0, &job, seed);
        for host in 0..4 {
            assert_eq!(world.host(host).closed, [], "seed {seed}: host {host}");
        }
    }
}

#[test]
fn a_relay_that_forges_or_alters_is_thrown_out_and_the_workers_go_round_it() {
    for passing in [Passing::Forges, Passing::Alters] {
        for seed in 0..seeds(SEEDS) / 10 {
            let (mut world, job) = cheated(seed, passing.clone());
            // Somebody honest, so that the job can end.
            let honest = world.add(1, 200 * MS, false);
            world.connect(0, honest);
            let until = world.after(LIMIT);
            assert!(world.run_until(until, |world| world.is_over(0, &job)), "{passing:?} {seed}");
            assert_done(&world, 0, &job, seed);
            let relay = world.id(1);
            let closed = &world.host(0).closed;
            assert!(closed.contains(&relay), "{passing:?}, seed {seed}: not found out");
            for worker in [2, 3, honest] {
                assert!(!closed.contains(&world.id(worker)), "{passing:?}, seed {seed}");
            }
        }
    }
}

/// Two workers behind one relay agree: that is no check of each other.
#[test]
fn what_has_a_single_path_is_computed_again_here_or_shown_as_that() {
    let mut world = World::new(1);
    world.add(0, MS, false);
    let relay = world.add_relay(0, MS, Passing::Honest);
    world.connect(0, relay);
    for _ in 0..2 {
        let worker = world.add(1, 20 * MS, false);
        world.connect(relay, worker);
    }
    let job = world.submit(0, 10, Policy::default(), Local::Never).expect("it is up");
    let until = world.after(LIMIT);
    assert!(world.run_until(until, |world| world.is_over(0, &job)));
    assert_done(&world, 0, &job, 1);
    let bases = world.machine(0).and_then(|one| one.job(&job)).map(|job| job.view().bases);
    assert_eq!(bases.and_then(|bases| bases.get(&Basis::SinglePath).copied()), Some(10));

    let mut world = World::new(2);
    world.add(1, 5 * MS, false);
    let relay = world.add_relay(0, MS, Passing::Honest);
    world.connect(0, relay);
    let worker = world.add(1, 20 * MS, false);
    world.connect(relay, worker);
    let job = world.submit(0, 10, Policy::default(), Local::Reserve).expect("it is up");
    let until = world.after(LIMIT);
    assert!(world.run_until(until, |world| world.is_over(0, &job)));
    assert_done(&world, 0, &job, 2);
    let bases = world.machine(0).and_then(|one| one.job(&job)).map(|job| job.view().bases);
    assert_eq!(bases.and_then(|bases| bases.get(&Basis::Own).copied()), Some(10));
}

/// A relay with nobody below it cannot check anything: after all patience the submitter's own slots do, and
/// be it the whole job.
#[test]
fn a_relay_with_nobody_below_it_holds_no_check_up() {
    let mut world = World::new(4);
    world.add(1, 5 * MS, false);
    let relays = [0, 1].map(|_| world.add_relay(0, MS, Passing::Honest));
    for relay in relays {
        world.connect(0, relay);
    }
    let worker = world.add(1, 20 * MS, false);
    world.connect(relays[0], worker);
    let job = world.submit(0, 40, Policy::default(), Local::Reserve).expect("it is up");
    let until = world.after(LIMIT);
    assert!(world.run_until(until, |world| world.is_over(0, &job)));
    assert_done(&world, 0, &job, 4);
}

/// A vote of two needs two ways that nobody stands on both of.
#[test]
fn votes_are_of_different_ways() {
    let mut world = World::new(3);
    world.add(0, MS, false);
    let relays = [0, 1].map(|_| world.add_relay(0, MS, Passing::Honest));
    for relay in relays {
        world.connect(0, relay);
        for _ in 0..2 {
            let worker = world.add(1, 20 * MS, false);
            world.connect(relay, worker);
        }
    }
    let job = world.submit(0, 40, Policy::Vote(2), Local::Never).expect("it is up");
    let until = world.after(LIMIT);
    assert!(world.run_until(until, |world| world.is_over(0, &job)));
    assert_done(&world, 0, &job, 3);
    let vias = |task: u32| {
        world.records(0).filter_map(move |record| match record {
            Record::Vote { task: of, via, .. } if *of == task => via.first().copied(),
            _ => None,
        })
    };
    for task in 0..40 {
        let ways: std::collections::BTreeSet<_> = vias(task).collect();
        assert_eq!(ways.len(), 2, "task {task} has votes by one way only");
    }
}

/// Who lies behind a relay is found out, by name; neither the relay nor who works beside it is blamed, and
/// the job does not go round in circles between the relay and the liar.
#[test]
fn a_liar_behind_a_relay_is_banned_alone() {
    for seed in 0..seeds(SEEDS) / 10 {
        let mut world = World::new(seed);
        world.add(1, 20 * MS, false);
        let mut relay = world.add_relay(0, MS, Passing::Honest);
        world.connect(0, relay);
        if seed % 2 == 1 {
            let second = world.add_relay(0, MS, Passing::Honest);
            world.connect(relay, second);
            relay = second;
        }
        let (honest, liar) = (world.add(1, 20 * MS, false), world.add(1, 10 * MS, true));
        let direct = world.add(1, 20 * MS, false);
        for (one, other) in [(honest, relay), (liar, relay), (direct, 0)] {
            world.connect(one, other);
        }
        let policy = Policy::Adaptive(Adaptive::default());
        let job = world.submit(0, 200, policy, Local::Reserve).expect("it is up");
        let until = world.after(LIMIT);
        let ended = world.run_until(until, |world| world.is_over(0, &job));
        let view = world.machine(0).and_then(|machine| machine.job(&job)).map(|job| job.view());
        assert!(ended, "seed {seed}: {view:?}");
        // A late copy is noted with a task that is final already, so only the outcomes are looked at.
        let source = world.machine(0).and_then(|machine| machine.job(&job)).expect("it is up");
        for task in 0..200 {
            let id = source.task_id(task).expect("it is one of the job's");
            let accepted = source.acceptance(task).map(|one| one.outcome);
            assert_eq!(accepted, Some(outcome(&id)), "seed {seed}: task {task}");
        }
        let wrong = |host: Number| {
            let workers = &view.as_ref().expect("it is up").workers;
            workers.iter().find(|one| one.peer == world.id(host)).map_or(0, |one| one.wrong)
        };
        assert!(wrong(liar) > 0, "seed {seed}: {view:?}");
        assert!([relay, honest, direct].into_iter().all(|host| wrong(host) == 0), "seed {seed}");
        let executed = world.machine(liar).map_or(0, |machine| machine.view().executed);
        assert!(executed < 100, "seed {seed}: the liar was given {executed} tasks");
    }
}

/// Two branches of relays that compute nothing themselves, with a worker each at their ends.
#[test]
fn every_branch_of_a_tree_of_mere_relays_gets_work() {
    for seed in 0..seeds(SEEDS) / 4 {
        let mut world = World::new(seed);
        world.add_relay(0, MS, Passing::Honest);
        let ends = [0, 1].map(|_| {
            (0..3).fold(0, |above, _| {
                let relay = world.add_relay(0, MS, Passing::Honest);
                world.connect(relay, above);
                relay
            })
        });
        // What the first one asks comes down the other branch before anybody there has asked.
        let mut leaves = Vec::new();
        for above in ends {
            let leaf = world.add_relay(1, 50 * MS, Passing::Honest);
            world.connect(leaf, above);
            leaves.push(leaf);
            let soon = world.after(500 * MS);
            while world.advance(soon) {}
        }
        let job = world.submit(0, 60, Policy::None, Local::Never).expect("it is up");
        let until = world.after(60_000 * MS);
        assert!(world.run_until(until, |world| world.is_over(0, &job)), "seed {seed}");
        for leaf in leaves {
            let done = world.machine(leaf).map_or(0, |machine| machine.view().executed);
            assert!(done > 5, "seed {seed}: a worker had {done} tasks");
        }
    }
}
