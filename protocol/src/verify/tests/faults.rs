//! Silence, crowds and restarts: what must not stop a job, and what must not be forgotten.

use super::rules::{stored, witnessed};
use super::*;

/// Wrong as all of a ring are.
fn lies(world: &mut World, worker: PeerId, task: TaskIndex) -> Taken {
    world.say(worker, task, agreed(task))
}

#[test]
fn copies_that_nobody_asked_for_are_no_witnesses() {
    let mut world = witnessed(2);
    let ring: Vec<PeerId> = (11..=14).map(|number| world.add(number, honest)).collect();
    lies(&mut world, ring[0], 0);
    world.say(ME, 0, truth(0));
    for mate in &ring[1..] {
        lies(&mut world, *mate, 0);
    }
    assert!(
        world.verifier.quarantined.is_none(),
        "only established workers of other networks count"
    );
    world.run();
    assert_eq!(world.banned(), [11, 12, 13, 14]);
}

#[test]
fn one_network_is_one_witness_however_many_established_workers_it_has() {
    let mut world = witnessed(2);
    // A ring of a long record, in one network.
    for number in 21..=23 {
        for _ in 0..900 {
            world.standings.passed(world.now, id(number), None);
        }
        world.add_in(number, 77, |_, task, _, _| agreed(task));
    }
    let liar = world.add(11, honest);
    lies(&mut world, liar, 0);
    world.say(ME, 0, truth(0));
    world.run();
    assert!(world.verifier.quarantined.is_none());
    assert!(world.caught.contains(&liar), "{:?}", world.caught);
}

#[test]
fn whoever_is_late_with_another_result_is_not_caught_before_others_were_asked() {
    let mut world = World::new(adaptive(), 8, true, 3);
    for number in 1..=4 {
        // On the same kind of machine as the accused: the app differs there.
        world.known(number, 200, |_, task, _, _| agreed(task));
    }
    let other = world.add(9, honest);
    for task in 0..8 {
        world.say(ME, task, truth(task));
        lies(&mut world, other, task);
    }
    world.run();
    assert_eq!(world.verifier.quarantined, Some(Apart::Others));
    assert_eq!((world.caught.len(), world.banned()), (0, vec![]));
}

#[test]
fn what_is_final_stays_so_when_a_witness_is_caught() {
    let mut world = witnessed(4);
    let liar = world.add(11, honest);
    world.say(ME, 1, truth(1));
    lies(&mut world, liar, 0);
    world.say(ME, 0, truth(0));
    world.say(id(1), 0, truth(0));
    world.verifier.convict(world.now, 1, id(1), truth(1), &mut world.standings);
    world.settle();
    assert_eq!(world.verifier.state(0), State::Final);
    world.run();
    assert_eq!(world.history[&0].last(), Some(&State::Final));
}

#[test]
fn what_is_final_keeps_its_place_when_its_witnesses_have_answered() {
    let mut world = witnessed(2);
    let liar = world.add(11, honest);
    lies(&mut world, liar, 0);
    world.say(ME, 0, truth(0));
    world.say(ME, 1, truth(1));
    let order: Vec<(u64, TaskIndex)> = world.verifier.feed(0).collect();
    while world.caught.is_empty() {
        assert!(world.advance());
    }
    assert_eq!(world.verifier.feed(0).collect::<Vec<_>>(), order, "it is settled once (RES-17)");
}

#[test]
fn witnesses_that_say_nothing_do_not_stop_the_job() {
    let mut world = World::new(adaptive(), 3, true, 5);
    for number in 1..=3 {
        for _ in 0..200 {
            world.standings.passed(world.now, id(number), None);
        }
        // It is there, and never computes anything.
        world.enter(id(number), about(number));
    }
    let liar = world.add(11, honest);
    lies(&mut world, liar, 0);
    world.say(ME, 0, truth(0));
    world.say(ME, 1, truth(1));
    world.say(ME, 2, truth(2));
    world.run();
    assert_eq!(world.caught, [liar]);
}

#[test]
fn referees_that_say_nothing_are_joined_by_others() {
    let mut world = World::new(adaptive(), 1, false, 6);
    for number in 1..=2 {
        for _ in 0..200 {
            world.standings.passed(world.now, id(number), None);
        }
        world.enter(id(number), about(number));
    }
    for number in 11..=14 {
        world.add(number, honest);
    }
    world.say(id(11), 0, wrong(11, 0));
    world.say(id(12), 0, truth(0));
    world.run();
    assert_eq!((world.errors(), world.verifier.state(0)), (0, State::Final));
}

#[test]
fn where_everybody_has_a_vote_the_most_decide_after_a_while_and_a_tie_waits() {
    let mut world = World::new(adaptive(), 2, false, 7);
    for number in 1..=3 {
        world.add(number, honest);
    }
    world.say(id(1), 0, truth(0));
    world.say(id(2), 0, truth(0));
    world.say(id(3), 0, wrong(3, 0));
    assert_eq!(world.verifier.state(0), State::Disputed);
    world.run();
    let accepted = world.verifier.acceptance(0).expect("two agree");
    assert_eq!((accepted.outcome, accepted.basis), (truth(0), Basis::Anyone));

    let mut world = World::new(adaptive(), 1, false, 7);
    world.add(1, honest);
    world.add(2, honest);
    world.say(id(1), 0, truth(0));
    world.say(id(2), 0, wrong(2, 0));
    for _ in 0..10 {
        world.now = Timestamp(world.now.0 + 31_000_000);
        world.verifier.tick(world.now, &mut world.standings);
        world.settle();
    }
    assert_eq!(world.verifier.state(0), State::Disputed);
    world.add(3, honest);
    world.add(4, honest);
    world.run();
    assert_eq!(world.errors(), 0);
}

#[test]
fn who_lost_too_many_disputes_is_out_after_a_restart_too() {
    let mut world = World::new(adaptive(), 40, false, 8);
    for number in 1..=6 {
        world.known(number, 1000, honest);
    }
    let liar = world.add(7, |w, t, _, _| wrong(w, t));
    while !world.excluded.contains(&liar) {
        assert!(world.advance());
    }
    let restored = stored(&world);
    assert!(restored.is_excluded(&liar));
    assert!(!restored.is_excluded(&id(1)));
}

#[test]
fn a_vote_that_does_not_count_begins_no_task() {
    let mut world = World::new(Policy::Spot { checked: 1_000_000 }, 2, true, 9);
    world.add(1, honest);
    let liar = world.add(2, honest);
    world.say(liar, 0, wrong(2, 0));
    world.say(ME, 0, truth(0));
    assert!(world.excluded.contains(&liar));
    assert_eq!(world.say(liar, 1, wrong(2, 1)), Taken::Ignored);
    assert!(!world.verifier.is_over(), "nobody has computed the other task");
    world.run();
    assert_eq!(world.verifier.counts()[State::Final as usize], 2);
}

#[test]
fn a_tie_is_broken_by_whoever_comes_although_somebody_is_silent() {
    for votes in [1, 2] {
        let mut world = World::new(adaptive(), 2, false, 10);
        for number in 1..=3 {
            world.add(number, honest);
        }
        // It could answer, and does not.
        world.enter(id(9), about(9));
        world.say(id(1), 0, truth(0));
        if votes == 2 {
            world.say(id(2), 0, truth(0));
        } else {
            world.workers.remove(&id(2));
        }
        world.say(id(3), 0, wrong(3, 0));
        world.workers.remove(&id(1));
        for _ in 0..10 {
            world.now = Timestamp(world.now.0 + 31_000_000);
            world.verifier.tick(world.now, &mut world.standings);
            world.settle();
        }
        let state = world.verifier.state(0);
        assert_eq!(state, if votes == 2 { State::Confirmed } else { State::Disputed });
        world.add(4, honest);
        world.add(5, honest);
        world.run();
        assert_eq!(world.errors(), 0);
    }
}

#[test]
fn a_result_that_all_others_signed_too_is_believed_when_one_of_them_is_out() {
    let mut world = World::new(adaptive(), 2, false, 11);
    for number in 1..=3 {
        world.add(number, honest);
    }
    for number in 1..=3 {
        world.say(id(number), 0, truth(0));
    }
    world.verifier.equivocated(world.now, id(3), &mut world.standings);
    world.settle();
    assert_eq!(world.verifier.state(0), State::Checking, "it is looked at again");
    world.run();
    assert_eq!(world.verifier.acceptance(0).map(|one| one.basis), Some(Basis::Anyone));
}

#[test]
fn an_accusation_survives_a_restart() {
    let mut world = witnessed(3);
    let (liar, mate) = (world.add(11, honest), world.add(12, honest));
    lies(&mut world, liar, 1);
    lies(&mut world, liar, 0);
    lies(&mut world, mate, 0);
    world.say(ME, 0, truth(0));
    assert_eq!((world.caught.len(), world.verifier.probing), (0, 1), "witnesses are asked first");
    let mut restored = stored(&world);
    restored.resume(world.now, true);
    restored.accuse_again(world.now, &BTreeSet::new(), &world.standings);
    world.verifier = restored;
    world.wants.retain(|task, _| !world.verifier.tasks.contains_key(task));
    world.settle();
    world.enter(ME, About { prefix: Prefix::default(), slots: 2, own: true, reserved: true });
    for number in 1..=3 {
        world.enter(id(number), about(9 - number));
    }
    world.run();
    assert_eq!((world.errors(), world.banned()), (0, vec![11, 12]));
    // What had come of it already is not counted again.
    let mut again = stored(&world);
    again.resume(world.now, true);
    again.accuse_again(world.now, &[(0, liar), (0, mate), (1, liar)].into(), &world.standings);
    assert_eq!(again.suspended, []);
}

#[test]
fn names_that_come_and_go_do_not_have_a_task_given_up() {
    let mut world = World::new(adaptive(), 2, false, 12);
    for number in 1..=20 {
        world.add(number, honest);
    }
    world.say(id(1), 0, truth(0));
    for number in 3..=15 {
        world.say(id(number), 0, wrong(number, 0));
    }
    assert_eq!(world.verifier.state(0), State::Disputed);
    world.say(id(2), 0, truth(0));
    assert_eq!(world.verifier.state(0), State::Confirmed, "two have said one thing, and no others");
}

#[test]
fn one_that_comes_and_goes_does_not_have_a_check_waited_for_without_end() {
    let mut world = World::new(adaptive(), 1, false, 13);
    world.add(4, honest);
    let neighbour = world.add_in(7, 4, honest);
    world.say(id(4), 0, truth(0));
    let rash = world.known(5, 1000, honest);
    world.add(6, honest); // who is asked as well, and silent
    for _ in 0..60 {
        world.now = Timestamp(world.now.0 + 15_000_000);
        world.leave(rash);
        world.enter(rash, about(5));
        world.verifier.tick(world.now, &mut world.standings);
        world.settle();
    }
    let asked = world.wants[&0].among.clone().expect("a check is asked for by name");
    assert!(
        asked.contains(&neighbour),
        "after a quarter of an hour others are asked too: {asked:?}"
    );
}
