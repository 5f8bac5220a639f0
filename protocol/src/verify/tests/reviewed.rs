//! Ways round the rules that were open once.

use super::*;

fn liar(worker: u8, task: TaskIndex, _: u64, _: u64) -> Outcome {
    wrong(worker, task)
}

#[test]
fn who_was_not_asked_is_no_referee() {
    let mut world = World::new(adaptive(), 1, false, 1);
    for number in 1..=6 {
        world.known(number, 1000, honest);
    }
    // Three mates in one network, with leases from before there was anything to dispute.
    let mates: Vec<PeerId> = (10..=12).map(|number| world.add_in(number, 10, liar)).collect();
    world.say(mates[0], 0, agreed(0));
    world.say(id(1), 0, truth(0));
    assert_eq!(world.verifier.state(0), State::Disputed);
    world.say(mates[1], 0, agreed(0));
    world.say(mates[2], 0, agreed(0));
    assert_eq!(world.verifier.state(0), State::Disputed, "two mates are no two referees");
    world.run();
    assert_eq!((world.errors(), world.excluded.len()), (0, 0));
}

#[test]
fn witnesses_that_agree_against_the_observer_are_believed_whatever_the_accused_says() {
    let mut world = World::new(adaptive(), 3, true, 2);
    let other: Claim = |_, task, _, _| wrong(200, task);
    for number in 1..=4 {
        world.known(number, 1000, other);
    }
    let accused = world.add(9, liar);
    world.say(accused, 0, wrong(9, 0));
    world.say(ME, 0, truth(0));
    while world.wants.contains_key(&0) {
        assert!(world.advance());
    }
    assert_eq!(world.verifier.quarantined, Some(Apart::Others));
    assert_eq!((world.banned(), world.caught.len()), (vec![], 0));
}

#[test]
fn a_checker_that_never_comes_to_a_result_is_not_the_last_word() {
    let mut world = World::new(adaptive(), 1, false, 3);
    world.add(1, honest);
    world.add(2, honest);
    let only = world.known(3, 1000, honest);
    world.say(id(1), 0, truth(0));
    assert_eq!(world.wants[&0].among.as_deref(), Some(&[only][..]));
    world.verifier.unable(world.now, 0, &only, &mut world.standings);
    world.settle();
    let asked = world.wants[&0].among.clone().expect("a check is asked for by name");
    assert!(asked.contains(&id(2)), "others are asked as well");
}

#[test]
fn a_copy_that_nobody_asked_for_confirms_no_more_than_a_check_would() {
    let mut world = World::new(adaptive(), 400, false, 4);
    let worker = world.known(1, 20_000, honest);
    world.known(2, 20_000, honest);
    let mate = world.add_in(3, 1, honest);
    let unchecked = (0..400).find(|task| {
        world.say(worker, *task, truth(*task));
        world.verifier.state(*task) == State::Provisional && *task > 3
    });
    let unchecked = unchecked.expect("nine in ten are not checked");
    world.say(mate, unchecked, truth(unchecked));
    assert_eq!(world.verifier.state(unchecked), State::Provisional, "it may be the same person's");
    world.say(id(2), unchecked, truth(unchecked));
    assert_eq!(world.verifier.state(unchecked), State::Confirmed);
}

#[test]
fn who_is_at_work_is_waited_for_and_not_without_end() {
    let mut world = World::new(adaptive(), 1, false, 5);
    world.add(1, honest);
    world.add(2, honest);
    let only = world.known(3, 1000, honest);
    world.say(id(1), 0, truth(0));
    let asks = |world: &World, peer: u8| {
        world.wants[&0].among.as_deref().is_some_and(|among| among.contains(&id(peer)))
    };
    for _ in 0..18 {
        world.now = Timestamp(world.now.0 + 31_000_000);
        world.verifier.renewed(world.now, &only);
        world.verifier.tick(world.now, &mut world.standings);
        world.settle();
        assert!(!asks(&world, 2), "a long task is no silence");
    }
    for _ in 0..6 {
        world.now = Timestamp(world.now.0 + 31_000_000);
        world.verifier.renewed(world.now, &only);
        world.verifier.tick(world.now, &mut world.standings);
        world.settle();
    }
    assert!(asks(&world, 2) && asks(&world, 3));
}

#[test]
fn a_ban_by_another_job_takes_everything_back_here() {
    let mut world = World::new(adaptive(), 100, false, 6);
    let worker = world.known(1, 20_000, honest);
    for number in 2..=4 {
        world.known(number, 20_000, honest);
    }
    for task in 0..50 {
        world.say(worker, task, wrong(1, task));
    }
    world.verifier.banned(world.now, worker, &mut world.standings);
    world.settle();
    let counts = world.verifier.counts();
    assert_eq!(counts[State::Provisional as usize] + counts[State::Confirmed as usize], 0);
    world.run();
    assert_eq!(world.errors(), 0);
    world.verifier.banned(world.now, worker, &mut world.standings);
    assert_eq!(world.verifier.take_effects(), [], "it is said once");
}

#[test]
fn a_check_vouches_for_nothing_behind_one_that_is_not_answered_yet() {
    let mut world = World::new(adaptive(), 3000, true, 8);
    let worker = world.known(1, 20_000, honest);
    for number in 2..=4 {
        world.known(number, 20_000, honest);
    }
    let mut checked = Vec::new();
    for task in 0..2000 {
        world.say(worker, task, wrong(1, task));
        if world.verifier.state(task) == State::Checking {
            checked.push(task);
        }
    }
    // All are wrong, and of the checks only the last one is answered, by a mate as it were.
    let (first, last) = (checked[0], checked[checked.len() - 1]);
    world.say(id(2), last, wrong(1, last));
    assert_eq!(world.verifier.state(last), State::Confirmed);
    let counts = world.verifier.counts();
    assert_eq!(counts[State::Final as usize], 0, "{counts:?}");
    assert!(counts[State::Confirmed as usize] <= u64::from(first) + 1, "{counts:?}");
    // The first one is answered rightly: everything of the worker's is taken back.
    world.say(id(3), first, truth(first));
    world.run();
    assert_eq!(world.errors(), 0);
}

#[test]
fn agreement_makes_nobody_credible() {
    let policy = Policy::Credibility { error: 10_000, faulty: 200_000 };
    let mut world = World::new(policy, 200, true, 7);
    let (one, other) = (world.add(1, honest), world.add(2, honest));
    for task in 0..60 {
        world.say(one, task, truth(task));
        world.say(other, task, truth(task));
    }
    // Two strangers are right with 16 in 17: nothing is accepted at 99 in 100, whatever they repeat.
    let counts = world.verifier.counts();
    assert_eq!(counts[State::Confirmed as usize], 0, "{counts:?}");
}
