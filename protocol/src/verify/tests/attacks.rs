//! Each kind of saboteur against the policy that is to stop it; no honest worker is ever banned.

use super::*;

fn always(worker: u8, task: TaskIndex, _: u64, _: u64) -> Outcome {
    wrong(worker, task)
}

fn sometimes(worker: u8, task: TaskIndex, _: u64, random: u64) -> Outcome {
    if random.is_multiple_of(10) { wrong(worker, task) } else { truth(task) }
}

fn ring(_: u8, task: TaskIndex, _: u64, _: u64) -> Outcome {
    agreed(task)
}

fn sleeper(worker: u8, task: TaskIndex, returned: u64, _: u64) -> Outcome {
    if returned > 200 { wrong(worker, task) } else { truth(task) }
}

fn inflated(_: u8, task: TaskIndex, _: u64, _: u64) -> Outcome {
    Outcome { fuel: 1001, ..truth(task) }
}

/// Honest, on a machine on which the app gives something else.
fn other_machine(_: u8, task: TaskIndex, _: u64, _: u64) -> Outcome {
    wrong(200, task)
}

#[test]
fn strangers_of_whom_a_third_cheat_give_right_results() {
    for seed in 0..10 {
        let mut world = World::new(adaptive(), 400, true, seed);
        for number in 1..=8 {
            world.add(number, honest);
        }
        world.add(9, always);
        world.add(10, sometimes);
        world.add(11, inflated);
        world.add(12, always);
        world.run();
        assert_eq!(world.errors(), 0, "seed {seed}");
        assert!(world.banned().iter().all(|number| *number > 8), "{:?}", world.banned());
        assert!(world.banned().contains(&9), "an eager cheat is banned within the job");
    }
}

#[test]
fn two_who_agree_are_banned_together_when_one_is_looked_at() {
    let mut banned = 0;
    for seed in 0..10 {
        let mut world = World::new(adaptive(), 400, true, seed);
        for number in 1..=6 {
            world.add(number, honest);
        }
        world.add(7, ring);
        world.add(8, ring);
        world.run();
        assert!(world.banned().iter().all(|number| *number > 6));
        banned += world.banned().len();
        // What they agreed on before anyone looked is checked again when one is caught.
        assert_eq!(world.errors(), 0, "seed {seed}");
    }
    assert_eq!(banned, 20);
}

#[test]
fn a_sleeper_with_a_long_record_is_caught_and_its_results_are_taken_back() {
    for seed in 0..10 {
        let mut world = World::new(adaptive(), 3000, true, seed);
        for number in 1..=5 {
            world.known(number, 5000, honest);
        }
        let sleeper = world.known(6, 5000, sleeper);
        world.run();
        assert!(world.caught.contains(&sleeper), "seed {seed}");
        assert!(world.verifier.tally().taken_back > 0);
        assert_eq!(world.errors(), 0, "seed {seed}: everything wrong was not final yet");
        assert!(world.cost() < 1.45, "{}", world.cost());
        assert!(world.banned().iter().all(|number| *number == 6));
    }
}

#[test]
fn a_long_honest_record_is_cheap() {
    let mut world = World::new(adaptive(), 10_000, true, 1);
    for number in 1..=11 {
        world.known(number, 5000, honest);
    }
    world.run();
    assert!(world.cost() <= 1.15, "{} executions a result", world.cost());
    let share = world.verifier.tally().drawn as f64 / 10_000.0;
    assert!((0.08..=0.13).contains(&share), "{share}");
    assert!(world.verifier.tally().undrawn > 8000);
}

#[test]
fn a_burner_takes_its_confirmers_along() {
    fn burner(_: u8, task: TaskIndex, _: u64, _: u64) -> Outcome {
        agreed(task)
    }
    // Wrong only where the burner was.
    fn confirmer(_: u8, task: TaskIndex, _: u64, _: u64) -> Outcome {
        if task.is_multiple_of(7) { agreed(task) } else { truth(task) }
    }
    for seed in 0..5 {
        let mut world = World::new(adaptive(), 700, true, seed);
        for number in 1..=6 {
            world.add(number, honest);
        }
        world.add(7, burner);
        world.add(8, confirmer);
        world.add(9, confirmer);
        world.run();
        assert_eq!(world.errors(), 0, "seed {seed}");
        assert!(world.banned().iter().all(|number| *number > 6));
    }
}

#[test]
fn a_ring_of_three_cannot_make_its_lie_look_like_a_difference_of_machines() {
    let mut world = World::new(adaptive(), 600, true, 4);
    for number in 1..=8 {
        world.known(number, 1000, honest);
    }
    for number in 9..=11 {
        world.known(number, 1000, ring);
    }
    world.run();
    assert!(world.verifier.quarantined.is_none());
    assert_eq!(world.errors(), 0);
    assert_eq!(world.banned(), [9, 10, 11]);
}

#[test]
fn an_app_that_differs_by_machine_is_nobodys_fault() {
    for seed in 0..5 {
        let mut world = World::new(adaptive(), 300, true, seed);
        for number in 1..=4 {
            world.known(number, 1000, honest);
        }
        for number in 5..=9 {
            world.known(number, 1000, other_machine);
        }
        world.run();
        assert_eq!(world.verifier.quarantined, Some(Apart::Others), "seed {seed}");
        assert_eq!(world.banned(), [], "seed {seed}");
        assert_eq!(world.caught, [], "seed {seed}");
    }
}

#[test]
fn without_own_slots_referees_settle_and_nobody_is_convicted() {
    let mut world = World::new(adaptive(), 300, false, 5);
    for number in 1..=6 {
        world.known(number, 1000, honest);
    }
    let liar = world.add(7, always);
    world.run();
    assert_eq!((world.errors(), world.caught.len()), (0, 0));
    assert!(world.verifier.bases()[&Basis::Referees] > 0);
    assert!(world.excluded.contains(&liar), "it gets no more of this job");
    assert_eq!(world.banned(), []);
}

#[test]
fn two_different_signed_results_for_one_task_end_it() {
    let mut world = World::new(adaptive(), 10, true, 6);
    let peer = world.known(1, 5000, honest);
    world.known(2, 5000, honest);
    world.say(peer, 0, truth(0));
    world.verifier.equivocated(world.now, peer, &mut world.standings);
    world.settle();
    assert_eq!(world.banned(), [1]);
    world.workers.get_mut(&peer).expect("it exists").here = false;
    world.run();
    assert_eq!(world.errors(), 0);
}

#[test]
fn a_new_name_is_a_new_stranger() {
    // Each identity is caught at its first wrong result and replaced by the next.
    for seed in 0..5 {
        let mut world = World::new(adaptive(), 500, true, seed);
        for number in 1..=5 {
            world.known(number, 1000, honest);
        }
        let mut next = 10;
        world.add(next, sometimes);
        while !world.verifier.is_over() {
            if world.standings.k(&id(next)) == 0 && world.caught.contains(&id(next)) && next < 250 {
                world.leave(id(next));
                next += 1;
                world.add(next, sometimes);
            }
            assert!(world.advance() || world.verifier.is_over());
        }
        assert_eq!(world.errors(), 0, "seed {seed}");
        assert!(world.banned().iter().all(|number| *number >= 10));
        assert!(world.cost() < 1.9, "{}", world.cost());
    }
}

#[test]
fn spot_checks_blacklist_and_take_everything_back() {
    let mut all = 0;
    for seed in 0..10 {
        let mut world = World::new(Policy::Spot { checked: 100_000 }, 1000, true, seed);
        for number in 1..=6 {
            world.add(number, honest);
        }
        let (liar, late) = (world.add(7, sometimes), world.add(8, sleeper));
        world.run();
        for peer in [liar, late] {
            let caught = world.caught.contains(&peer);
            assert_eq!(world.excluded.contains(&peer), caught, "seed {seed}");
            all += u32::from(caught);
        }
        assert!(world.cost() < 1.6, "{}", world.cost());
    }
    assert!(all >= 5, "{all} of 20 were caught");
}

#[test]
fn credibility_accepts_by_odds_and_costs_about_two() {
    let policy = Policy::Credibility { error: 10_000, faulty: 200_000 };
    let (mut errors, mut executions) = (0, 0);
    for seed in 0..10 {
        let mut world = World::new(policy, 1000, true, seed);
        for number in 1..=16 {
            world.add(number, honest);
        }
        for number in 17..=20 {
            world.add(number, if number % 2 == 0 { sometimes } else { ring });
        }
        world.run();
        errors += world.errors();
        executions += world.executions;
        assert!(world.banned().iter().all(|number| *number > 16));
    }
    assert!(errors <= 100, "{errors} of 10,000 are wrong, 1 % is allowed");
    assert!(executions < 30_000, "{executions} executions of 10,000 tasks");
}

#[test]
fn boinc_stops_eager_cheats_and_not_sleepers() {
    let mut world = World::new(Policy::Boinc, 3000, false, 2);
    for number in 1..=7 {
        world.add(number, honest);
    }
    world.add(8, always);
    world.run();
    assert_eq!(world.errors(), 0);
    let mut world = World::new(Policy::Boinc, 3000, false, 2);
    for number in 1..=7 {
        world.add(number, honest);
    }
    world.add(8, |w, t, returned, _| if returned > 100 { wrong(w, t) } else { truth(t) });
    world.run();
    assert!(world.errors() > 5, "{}", world.errors());
    assert!(world.cost() < 1.5);
}

#[test]
fn a_worker_that_lies_only_as_a_replica_is_caught_as_well() {
    // It cannot tell, but suppose it could: it contradicts an established worker.
    let mut world = World::new(adaptive(), 300, true, 8);
    for number in 1..=5 {
        world.known(number, 1000, honest);
    }
    let liar = world.known(6, 1000, always);
    world.run();
    assert!(world.caught.contains(&liar));
    assert_eq!((world.errors(), world.banned()), (0, vec![6]));
}

fn late_fifth(worker: u8, task: TaskIndex, returned: u64, random: u64) -> Outcome {
    if returned > 300 && random.is_multiple_of(5) { wrong(worker, task) } else { truth(task) }
}

fn pair(_: u8, task: TaskIndex, _: u64, _: u64) -> Outcome {
    if task.wrapping_mul(2_654_435_761) >> 8 & 1023 < 102 { agreed(task) } else { truth(task) }
}

#[test]
fn nothing_of_whom_was_caught_stands_that_nobody_else_signed() {
    for seed in 0..12 {
        let mut world = World::new(adaptive(), 4000, true, seed);
        for number in 1..=7 {
            world.known(number, 5000, honest);
        }
        world.known(8, 5000, sleeper);
        world.known(9, 5000, late_fifth);
        world.known(10, 5000, pair);
        world.known(11, 5000, pair);
        world.run();
        for task in 0..4000 {
            let accepted = world.verifier.acceptance(task).expect("every task has an outcome");
            if accepted.outcome == truth(task) {
                continue;
            }
            let caught = accepted.agreed.iter().filter(|peer| world.caught.contains(peer));
            assert_eq!(caught.count(), 0, "seed {seed}, task {task}: {accepted:?}");
        }
    }
}
