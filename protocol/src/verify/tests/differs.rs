//! Apps that give different results on different machines, and those who make it look so.

use super::rules::stored;
use super::*;

/// Right on another kind of machine.
fn other(_: u8, task: TaskIndex, _: u64, _: u64) -> Outcome {
    agreed(task)
}

/// So many established workers whose results are the observer's, and so many others.
fn divided(tasks: u32, (alike, others): (u8, u8), seed: u8) -> World {
    let mut world = World::new(adaptive(), tasks, true, seed);
    for number in 1..=alike {
        world.known(number, 1000, honest);
    }
    for number in 101..=100 + others {
        world.known(number, 1000, other);
    }
    world
}

#[test]
fn results_are_those_of_machines_like_the_observers() {
    for seed in 0..5 {
        let mut world = divided(300, (4, 5), seed);
        world.run();
        assert_eq!(world.verifier.quarantined, Some(Apart::Others), "seed {seed}");
        assert_eq!(world.errors(), 0, "seed {seed}");
        assert!(world.excluded.iter().all(|peer| peer.0[0] > 100), "seed {seed}");
        assert_eq!((world.banned(), world.caught.len()), (vec![], 0), "seed {seed}");
        let kept = |number: u8| world.standings.k(&id(number)) >= 1000;
        assert!((101..=105).all(kept), "a record is not lost over it");
    }
}

#[test]
fn a_ring_that_makes_it_look_so_leaves_no_lie_behind() {
    let mut seen = 0;
    for seed in 0..20 {
        let mut world = divided(600, (9, 6), seed);
        world.run();
        assert_eq!(world.errors(), 0, "seed {seed}");
        assert!(world.excluded.iter().all(|peer| peer.0[0] > 100), "seed {seed}");
        assert!(world.banned().iter().all(|number| *number > 100), "seed {seed}");
        seen += u32::from(world.verifier.quarantined == Some(Apart::Others));
    }
    assert!(seen > 0, "it happens");
}

#[test]
fn an_observer_whose_machine_gives_what_no_other_gives_checks_nothing_itself_any_more() {
    for seed in 0..5 {
        let mut world = divided(300, (0, 9), seed);
        world.say(id(101), 0, agreed(0));
        world.say(ME, 0, truth(0));
        world.run();
        assert_eq!(world.verifier.quarantined, Some(Apart::Own), "seed {seed}");
        assert_eq!((world.banned(), world.caught.len()), (vec![], 0), "seed {seed}");
        assert_eq!(world.excluded, BTreeSet::new(), "seed {seed}");
        // What its own slots had computed before stands, and nothing else is like it.
        let own = |task: &TaskIndex| {
            world.verifier.acceptance(*task).is_some_and(|one| one.outcome == truth(*task))
        };
        assert_eq!((0..300).filter(own).collect::<Vec<TaskIndex>>(), [0], "seed {seed}");
    }
}

#[test]
fn one_error_of_the_observers_own_machine_sets_nobody_else_apart() {
    let mut world = divided(40, (9, 0), 3);
    world.say(id(1), 0, truth(0));
    world.say(ME, 0, wrong(0, 0));
    world.run();
    assert_eq!(world.verifier.quarantined, Some(Apart::Own));
    assert_eq!((world.excluded.len(), world.banned(), world.caught.len()), (0, vec![], 0));
    assert_eq!(world.errors(), 1, "its own result stands, and no other wrong one");
}

#[test]
fn what_own_slots_were_asked_for_before_they_were_set_apart_is_asked_of_others() {
    let mut world = divided(2, (0, 9), 4);
    world.say(id(101), 1, agreed(1));
    world.say(id(102), 1, wrong(102, 1));
    assert_eq!(world.wants[&1].among.as_deref(), Some(&[ME][..]));
    world.say(id(103), 0, agreed(0));
    world.say(ME, 0, truth(0));
    while let Some(want) = world.wants.get(&0).cloned() {
        let witness = world.takers(&want)[0];
        world.compute(witness, 0);
    }
    assert_eq!(world.verifier.quarantined, Some(Apart::Own));
    let asked = world.wants[&1].among.clone().expect("referees are asked by name");
    assert!(!asked.contains(&ME) && asked.len() >= 2, "{asked:?}");
    world.run();
    assert_eq!(world.verifier.acceptance(1).map(|one| one.outcome), Some(agreed(1)));
}

#[test]
fn who_differs_in_a_known_quarantine_is_set_apart_without_witnesses_over_restarts_too() {
    let mut world = divided(40, (4, 1), 5);
    world.verifier.quarantine(world.now, Apart::Others, &mut world.standings);
    world.settle();
    world.say(id(101), 0, agreed(0));
    world.say(id(101), 1, agreed(1));
    world.say(ME, 0, truth(0));
    assert_eq!(world.verifier.probing, 0);
    assert_eq!(world.excluded, [id(101)].into());
    assert_eq!(world.verifier.state(1), State::Open, "what rests on it alone is computed anew");
    let mut restored = stored(&world);
    restored.quarantined = Some(Apart::Others);
    restored.resume(world.now, true);
    restored.accuse_again(world.now, &BTreeSet::new(), &world.standings);
    assert!(restored.is_excluded(&id(101)));
    assert!(!restored.is_excluded(&id(1)));
}
