//! Outcomes that are taken on the word of a job's delegate, and a job that takes up nothing new.

use super::*;

#[test]
fn a_delegates_word_settles_what_is_open_and_changes_nothing_that_stands() {
    for policy in [Policy::None, Policy::Vote(3), Policy::Boinc, adaptive()] {
        let mut world = World::new(policy, 4, false, 1);
        world.add(1, honest);
        assert_eq!(world.verifier.adopt(0, truth(0)), Adopted::Taken);
        world.settle();
        assert_eq!(world.verifier.adopt(0, wrong(9, 0)), Adopted::Known { agrees: false });
        assert_eq!(world.verifier.adopt(0, truth(0)), Adopted::Known { agrees: true });
        let accepted = world.verifier.acceptance(0).expect("it is taken");
        assert_eq!((accepted.outcome, accepted.basis), (truth(0), Basis::Delegate));
        assert!(!world.wants.contains_key(&0), "nobody is to compute it");
        let late = world.say(id(1), 0, wrong(8, 0));
        assert_eq!(late, Taken::Late { agrees: false, checked: false });
        world.verifier.give_up(1);
        assert_eq!(world.verifier.adopt(1, truth(1)), Adopted::Known { agrees: true });
        assert_eq!(world.verifier.state(1), State::GivenUp);
    }
}

#[test]
fn what_a_check_has_confirmed_stands_against_the_delegate_and_what_nobody_checked_does_not() {
    let mut world = World::new(adaptive(), 4, false, 1);
    let (a, b) = (world.add(1, honest), world.add(2, honest));
    world.say(a, 0, truth(0));
    assert_eq!(world.verifier.state(0), State::Checking);
    world.say(b, 0, truth(0));
    assert_eq!(world.verifier.state(0), State::Confirmed);
    assert_eq!(world.verifier.adopt(0, wrong(9, 0)), Adopted::Known { agrees: false });
    assert_eq!(world.verifier.state(0), State::Confirmed);
    assert_eq!(world.verifier.adopt(0, truth(0)), Adopted::Taken);
    assert_eq!(world.verifier.state(0), State::Final);
    world.say(a, 1, wrong(8, 1));
    assert_eq!(world.verifier.adopt(1, truth(1)), Adopted::Taken);
    world.settle();
    let accepted = world.verifier.acceptance(1).expect("it is taken");
    assert_eq!((accepted.outcome, &accepted.outvoted), (truth(1), &vec![a]));
    assert!(world.banned().is_empty() && world.caught.is_empty());
    for task in 2..4 {
        assert_eq!(world.verifier.adopt(task, truth(task)), Adopted::Taken);
    }
    world.verifier.advance(world.now, &mut world.standings);
    assert!(world.verifier.is_over());
}

#[test]
fn a_job_that_takes_up_nothing_new_ends_with_what_it_has_begun() {
    let mut world = World::new(Policy::Vote(2), 5, false, 1);
    let (a, b) = (world.add(1, honest), world.add(2, honest));
    world.say(a, 0, truth(0));
    world.say(a, 3, truth(3));
    assert_eq!(world.verifier.wind_down(), [1, 2, 4]);
    world.verifier.advance(world.now, &mut world.standings);
    assert!(!world.verifier.is_over());
    world.say(b, 0, truth(0));
    assert!(!world.verifier.is_over());
    world.say(b, 3, truth(3));
    assert!(world.verifier.is_over());
    let mut untouched = World::new(adaptive(), 5, false, 1);
    assert_eq!(untouched.verifier.wind_down().len(), 5);
    untouched.verifier.advance(untouched.now, &mut untouched.standings);
    assert!(untouched.verifier.is_over(), "nothing was begun");
}
