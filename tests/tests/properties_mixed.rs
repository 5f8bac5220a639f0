//! Several submitters that are workers too, with jobs of every kind, under faults and pauses: every
//! job ends, every task is settled once, and when all is over nobody holds anything for anybody.

use bayan_protocol::{id::JobId, job::Local, peer::Input, record::Record, verify::Policy};
use bayan_world::{MS, Number, World, judge::assert_done, seeds};

/// Seeds of the fixed set; `BAYAN_TEST_SEEDS` runs more.
const SEEDS: u64 = 80;
/// Virtual time that mended peers may take.
const LIMIT: u64 = 3600 * 1000 * MS;

fn mend(world: &mut World, hosts: usize) {
    for host in 0..hosts {
        world.start(host);
        world.step(host, Input::Resume);
    }
    world.mesh();
}

fn submit(world: &mut World, at: Number) -> Option<JobId> {
    let policies = [Policy::None, Policy::Vote(2), Policy::Vote(3)];
    let locals = [Local::Always, Local::Reserve, Local::Never];
    let policy = policies[world.draw(3) as usize];
    let local = locals[world.draw(3) as usize];
    let tasks = 1 + world.draw(50) as i64;
    world.submit(at, tasks, policy, local)
}

fn fault(world: &mut World, hosts: usize) {
    let (one, other) = (world.draw(hosts as u64) as usize, world.draw(hosts as u64) as usize);
    match world.draw(8) {
        0 => world.crash(one),
        1 | 2 => world.start(one),
        3 => world.disconnect(one, other),
        4 => world.step(one, Input::Pause),
        5 => world.step(one, Input::Resume),
        _ => world.connect(one, other),
    }
}

fn chaos(seed: u64) {
    let mut world = World::new(seed);
    let hosts = 4 + world.draw(3) as usize;
    for _ in 0..hosts {
        let (slots, pace) = (1 + world.draw(3) as u32, MS + world.draw(300 * MS));
        world.add(slots, pace, false);
    }
    mend(&mut world, hosts);
    // Act one: jobs come in while things break.
    world.crash_per_mille = world.draw(3);
    let mut jobs = Vec::new();
    for _ in 0..20 + world.draw(40) {
        if world.draw(8) == 0 && jobs.len() < 6 {
            let at = world.draw(hosts as u64) as usize;
            jobs.extend(submit(&mut world, at).map(|job| (at, job)));
        }
        fault(&mut world, hosts);
        let pause = world.draw(2000 * MS);
        world.pass(pause);
    }
    // Act two: all is mended. A job whose submission was cut short by a crash may not exist.
    world.crash_per_mille = 0;
    mend(&mut world, hosts);
    jobs.retain(|(at, job)| world.machine(*at).is_some_and(|machine| machine.job(job).is_some()));
    let until = world.after(LIMIT);
    let over = |world: &World| jobs.iter().all(|(at, job)| world.is_over(*at, job));
    let ended = world.run_until(until, over);
    let views = || {
        jobs.iter()
            .filter_map(|(at, job)| Some(world.machine(*at)?.job(job)?.view()))
            .collect::<Vec<_>>()
    };
    assert!(ended, "seed {seed}: a job did not end: {:?}", views());
    for (at, job) in &jobs {
        assert_done(&world, *at, job, seed);
    }
    // Whoever was told that a job is over keeps nothing of it; who was away is told by now.
    world.pass(60_000 * MS);
    for host in 0..hosts {
        let left: Vec<&Record> = world
            .records(host)
            .filter(|record| {
                matches!(record, Record::Held { .. } | Record::Batch { .. } | Record::Leased { .. })
            })
            .collect();
        assert!(left.is_empty(), "seed {seed}: host {host} keeps {left:?}");
        assert_eq!(world.host(host).closed, [], "seed {seed}: host {host} accuses an honest peer");
        let view = world.machine(host).expect("all are up").view();
        assert_eq!(
            (view.queued, view.free),
            (0, view.slots),
            "seed {seed}: host {host} still computes"
        );
    }
}

#[test]
fn whatever_breaks_every_job_ends_and_nothing_is_left_behind() {
    for seed in 0..seeds(SEEDS) {
        chaos(seed);
    }
}
