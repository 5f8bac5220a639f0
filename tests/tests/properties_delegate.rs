//! A submitter that goes away, and the delegate that carries its job on: whoever crashes when, and
//! whatever is lost, the submitter ends with the results that it would have had undisturbed, and
//! nothing that was final ever changes.

use bayan_cast::Passing;
use bayan_protocol::{
    id::JobId,
    job::Local,
    peer::Input,
    record::Record,
    verify::{Basis, Policy, State},
};
use bayan_world::{
    MS, Number, World, host::Plan, judge, judge::assert_done, network::Line, outcome, seeds,
};

/// Seeds of the fixed set; `BAYAN_TEST_SEEDS` runs more.
const SEEDS: u64 = 60;
/// Virtual time that mended peers may take.
const LIMIT: u64 = 3600 * 1000 * MS;
const SECOND: u64 = 1000 * MS;
/// The submitter, and its delegate.
const ME: Number = 0;
const DELEGATE: Number = 1;

/// Who is connected with whom when nothing is broken.
enum Shape {
    Mesh,
    /// These alone.
    Links(Vec<(Number, Number)>),
}

impl Shape {
    fn connect(&self, world: &mut World) {
        match self {
            Self::Mesh => world.mesh(),
            Self::Links(links) => links.iter().for_each(|(one, other)| world.connect(*one, *other)),
        }
    }
}

/// A submitter with `own` slots, a delegate with `slots` that has agreed, and `workers` others.
fn world(seed: u64, own: u32, slots: u32, workers: usize) -> World {
    let mut world = World::new(seed);
    world.add(own, 20 * MS, false);
    world.add(slots, 20 * MS, false);
    for _ in 0..workers {
        let (slots, pace) = (1 + world.draw(2) as u32, 20 * MS + world.draw(200 * MS));
        world.add(slots, pace, false);
    }
    let peer = world.id(ME);
    world.step(DELEGATE, Input::Trust { peer, trusted: true });
    world.mesh();
    world
}

/// Such a world with two relays that both know, and the workers behind these, some of them behind another
/// relay. In half of the seeds the two are on different sides of the relays, and find each other; in some of
/// these they cannot.
fn behind_relays(seed: u64, own: u32, slots: u32, workers: usize) -> (World, Shape) {
    let mut world = World::new(seed);
    let apart = seed % 2 == 1;
    let reachable = !(apart && seed % 8 == 7);
    for slots in [own, slots] {
        let line = Line { reachable, ..Line::default() };
        world.join(Plan { slots, pace: 20 * MS, line, ..Plan::default() });
    }
    let relays = [0, 1, 2].map(|_| world.add_relay(0, MS, Passing::Honest));
    let mut links = vec![(relays[2], relays[1])];
    for relay in &relays[..2] {
        links.extend([(*relay, ME), (*relay, DELEGATE)]);
    }
    if !apart {
        links.push((ME, DELEGATE));
    }
    for number in 0..workers {
        let (slots, pace) = (1 + world.draw(2) as u32, 20 * MS + world.draw(200 * MS));
        links.push((world.add(slots, pace, false), relays[number % 3]));
    }
    let peer = world.id(ME);
    world.step(DELEGATE, Input::Trust { peer, trusted: true });
    let shape = Shape::Links(links);
    shape.connect(&mut world);
    (world, shape)
}

fn submit(world: &mut World, tasks: i64, policy: Policy) -> JobId {
    let delegate = Some(world.id(DELEGATE));
    world.submit_with(ME, tasks, policy, Local::Always, delegate).expect("the submitter is up")
}

/// Results of the job that stand on the delegate's word.
fn delegated(world: &World, job: &JobId) -> u64 {
    let view = world.job(ME, job).map(|job| job.view());
    view.and_then(|view| view.bases.get(&Basis::Delegate).copied()).unwrap_or(0)
}

/// Results that are believed, final or not.
fn believed(world: &World, job: &JobId) -> u64 {
    world.job(ME, job).map_or(0, |job| job.view().bases.values().sum())
}

/// Whether the delegate has accepted, as the submitter knows.
fn is_accepted(world: &World, job: &JobId) -> bool {
    let view = world.job(ME, job).map(|job| job.view());
    view.and_then(|view| view.delegate).is_some_and(|delegate| delegate.accepted)
}

/// What the delegate keeps is as its submitter's: nothing once the job is over and it was told.
fn is_left(world: &World) -> bool {
    let kept = |record: &Record| {
        matches!(record, Record::Entrusted { .. } | Record::SettledThere { .. })
            || matches!(record, Record::Job { .. })
    };
    world.records(DELEGATE).any(kept)
}

fn run(world: &mut World, seconds: u64, over: impl FnMut(&World) -> bool) -> bool {
    let until = world.after(seconds * SECOND);
    world.run_until(until, over)
}

/// The submitter is killed midway and comes back when the delegate has done the rest.
/// How many results stand on the delegate's word then: fewer, the more workers had been handed before.
fn away_and_back(seed: u64, policy: Policy, (mut world, shape): (World, Shape)) -> u64 {
    let tasks = 800;
    let job = submit(&mut world, tasks, policy);
    assert!(run(&mut world, 60, |world| believed(world, &job) > 20 && is_accepted(world, &job)));
    world.crash(ME);
    let done = |world: &World| {
        world.machine(DELEGATE).is_some_and(|peer| {
            let mut jobs = peer.jobs().peekable();
            jobs.peek().is_some() && jobs.all(|job| !job.is_running())
        })
    };
    assert!(run(&mut world, 600, done), "seed {seed}: the delegate does not finish");
    // What was under way when the last result came is over soon.
    world.pass(5 * SECOND);
    let attempts = world.counts.attempts;
    world.start(ME);
    shape.connect(&mut world);
    assert!(
        run(&mut world, 600, |world| world.is_over(ME, &job)),
        "seed {seed}: {:?}",
        world.job(ME, &job).map(|job| job.view())
    );
    assert_done(&world, ME, &job, seed);
    assert_eq!(world.counts.attempts, attempts, "seed {seed}: something was computed again");
    assert!(run(&mut world, 60, |world| !is_left(world)), "seed {seed}: the delegate keeps it");
    for host in 0..world.len() {
        assert_eq!(world.host(host).reasons, [""; 0], "seed {seed}: host {host}");
    }
    delegated(&world, &job)
}

#[test]
fn what_the_delegate_finished_is_not_computed_again() {
    for policy in [Policy::Vote(2), Policy::default(), Policy::None] {
        let told = |seed| away_and_back(seed, policy, (world(seed, 0, 1, 3), Shape::Mesh));
        let told: u64 = (0..4).map(told).sum();
        assert!(told > 0, "{policy}: nothing came by the delegate");
    }
}

#[test]
fn what_the_delegate_finished_with_workers_behind_relays_is_not_computed_again() {
    for policy in [Policy::Vote(2), Policy::default(), Policy::None] {
        // Where the two can meet.
        let told = |seed| away_and_back(seed, policy, behind_relays(seed, 0, 1, 4));
        let told: u64 = (0..4).map(told).sum();
        assert!(told > 0, "{policy}: nothing came by the delegate");
    }
}

/// One of the two that a job is handed between.
fn world_end(number: Number) -> Number {
    if number.is_multiple_of(2) { ME } else { DELEGATE }
}

/// How many results stand on the delegate's word after faults of all kinds.
fn chaos(seed: u64, relays: bool) -> u64 {
    let (own, slots) = (seed as u32 % 3, seed as u32 / 3 % 2);
    let (mut world, shape) = match relays {
        true => behind_relays(seed, own, slots, 5),
        false => (world(seed, own, slots, 3), Shape::Mesh),
    };
    let policy = match world.draw(8) {
        0 | 1 => Policy::None,
        2 | 3 => Policy::Vote(2),
        4 => Policy::Boinc,
        5 => Policy::Spot { checked: 200_000 },
        _ => Policy::default(),
    };
    // Where results are compared, one who lies makes disputes, and nothing wrong.
    let compared = matches!(policy, Policy::Vote(_) | Policy::Adaptive(_));
    // Behind relays what one worker says may stand, where nobody else is there for a while (RELAY-8).
    if !relays && compared && world.draw(2) == 0 {
        world.add(1, 20 * MS, true);
        world.mesh();
    }
    let tasks = 40 + world.draw(200) as i64;
    let job = submit(&mut world, tasks, policy);
    let hosts = world.len();
    world.crash_per_mille = world.draw(3);
    world.torn_per_mille = world.draw(2);
    let faults = 4 + world.draw(10);
    for _ in 0..faults {
        let pause = match world.draw(3) {
            0 => world.draw(90 * SECOND),
            _ => world.draw(2 * SECOND),
        };
        world.pass(pause);
        let (one, other) = (world.draw(hosts as u64) as usize, world.draw(hosts as u64) as usize);
        match world.draw(9) {
            8 => world.cut_power(world_end(one)),
            0 | 1 => world.crash(ME),
            2 => world.crash(DELEGATE),
            3 => world.crash(one),
            4 => world.disconnect(one, other),
            5 => world.disconnect(ME, DELEGATE),
            _ => {
                world.start(ME);
                world.start(one);
                shape.connect(&mut world);
            }
        }
    }
    (world.crash_per_mille, world.torn_per_mille) = (0, 0);
    for host in 0..hosts {
        world.start(host);
    }
    shape.connect(&mut world);
    let until = world.after(LIMIT);
    let known = |world: &World| world.job(ME, &job).is_some();
    let ended = world.run_until(until, |world| !known(world) || world.is_over(ME, &job));
    let view = world.job(ME, &job).map(|job| job.view());
    // The power may have gone before it was forced to disk that there is a job.
    let lost = view.is_none() && world.host(ME).powerless > 0;
    assert!(ended || lost, "seed {seed}: the job did not end: {view:?}");
    if !lost {
        assert_done(&world, ME, &job, seed);
    }
    world.mesh();
    let gone = run(&mut world, 120, |world| !is_left(world));
    let kept = world.machine(DELEGATE).map(|peer| peer.view().kept);
    assert!(gone, "seed {seed}: the delegate keeps {kept:?}");
    let faults = judge::honour(&world);
    assert!(faults.is_empty(), "seed {seed}: {}", judge::in_lines(&faults));
    delegated(&world, &job)
}

#[test]
fn whoever_crashes_when_the_results_are_those_of_an_undisturbed_run() {
    let told: u64 = (0..seeds(SEEDS)).map(|seed| chaos(seed, false)).sum();
    assert!(told > 0, "nothing ever came by a delegate");
}

#[test]
fn so_they_are_with_workers_behind_relays() {
    let told: u64 = (0..seeds(SEEDS)).map(|seed| chaos(seed, true)).sum();
    assert!(told > 0, "nothing ever came by a delegate");
}

/// A delegate whose own slots lie, alone with the job: what it says is wrong, and is taken; what the
/// submitter had is not.
fn lie(seed: u64) -> u64 {
    let mut world = World::new(seed);
    world.add(0, 20 * MS, false);
    world.add(1, 20 * MS, true);
    let honest = world.add(1, 50 * MS, false);
    let peer = world.id(ME);
    world.step(DELEGATE, Input::Trust { peer, trusted: true });
    world.connect(ME, honest);
    let job = submit(&mut world, 400, Policy::None);
    assert!(run(&mut world, 60, |world| believed(world, &job) > 20));
    // Only now is it there, and it has computed nothing for the submitter.
    world.connect(ME, DELEGATE);
    assert!(run(&mut world, 60, |world| is_accepted(world, &job)));
    world.crash(honest);
    world.crash(ME);
    world.pass(180 * SECOND);
    let finals = |world: &World| -> Vec<_> {
        let finals = world.records(ME).filter_map(|record| match record {
            Record::Decided { task, decision, .. } if decision.state == State::Final => {
                Some((*task, decision.acceptance.clone()))
            }
            _ => None,
        });
        finals.collect()
    };
    let before = finals(&world);
    world.start(ME);
    world.connect(ME, DELEGATE);
    assert!(run(&mut world, 600, |world| world.is_over(ME, &job)), "seed {seed}");
    let after = finals(&world);
    assert!(before.iter().all(|one| after.contains(one)), "seed {seed}: what was final changed");
    let source = world.job(ME, &job).expect("its job");
    let wrong = |task: u32| {
        let accepted = source.acceptance(task)?;
        let right = outcome(&source.task_id(task)?);
        (accepted.outcome != right).then_some(accepted.basis)
    };
    let wrong: Vec<Basis> = (0..400).filter_map(wrong).collect();
    wrong.iter().filter(|basis| **basis == Basis::Delegate).count() as u64
}

#[test]
fn a_delegate_that_lies_makes_wrong_results_and_changes_none_that_were_final() {
    let wrong: u64 = (0..10).map(lie).sum();
    assert!(wrong > 0, "a lie that is never taken shows nothing");
}
