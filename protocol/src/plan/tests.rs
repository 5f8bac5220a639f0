use alloc::{string::String, vec::Vec};
use core::net::IpAddr;

use super::*;
use crate::entropy::Entropy;

fn known(k: u32, network: u8) -> Known {
    Known { k, prefix: Prefix::of(IpAddr::from([10, 0, network, 1])), trusted: false }
}

fn strangers(tasks: u64, count: u8) -> Situation {
    Situation {
        tasks,
        workers: (0..count).map(|network| known(0, network)).collect(),
        own: None,
        assumed: Assumed::default(),
    }
}

fn adaptive(situation: &Situation) -> Plan {
    plan(Policy::default(), situation)
}

fn near(found: f64, expected: f64, tolerance: f64) {
    assert!((found / expected - 1.0).abs() <= tolerance, "{found:e}, not {expected:e}");
}

#[test]
fn fifty_tasks_among_strangers_are_all_replicated_and_nothing_is_promised() {
    let plan = adaptive(&strangers(50, 10));
    assert_eq!(plan.bound, Err(NoBound::Strangers));
    assert_eq!((plan.available.elsewhere, plan.available.established), (true, false));
    let words = plan.words();
    assert!(words[0].starts_with("all replicated, about 2x"), "{words:?}");
    assert!(words[1].starts_with("no bound on wrong results"), "{words:?}");
    assert!(words.iter().any(|line| line.contains("several networks")), "{words:?}");
    assert!(words.iter().all(|line| !line.contains("1 in")), "{words:?}");
}

#[test]
fn what_is_said_of_a_large_job() {
    let plan = adaptive(&strangers(100_000, 20));
    let expected = [
        "31% replicated, about 1.3x; up to 1.5x if 20% of workers cheat",
        "at most 1 in 3,600 final results wrong on average, if 20% of workers are faulty, 50% of these \
         acting together, whatever they do except to come back under other names",
        "replicas: 97% by established workers in other networks, 3% by strangers in other networks",
        "strangers who check each other stop faults and lone cheats, not one person with machines in \
         several networks",
    ];
    assert_eq!(plan.words(), expected.map(String::from));
}

#[test]
fn a_bound_needs_results_enough_for_being_caught_to_matter() {
    let mut few = strangers(200, 20);
    few.workers.iter_mut().for_each(|worker| worker.k = 5000);
    assert_eq!(adaptive(&few).bound, Err(NoBound::FewResults));
    few.tasks = 4000;
    let bound = adaptive(&few).bound.unwrap();
    assert!(bound > 1e-3 && bound < 0.02, "{bound}");
    // Twice as many workers of the same network check each other all the same.
    few.workers.iter_mut().for_each(|worker| worker.prefix = Prefix::default());
    let plan = adaptive(&few);
    assert_eq!((plan.rungs.anyone, plan.bound), (1.0, Err(NoBound::Strangers)));
}

#[test]
fn who_is_vouched_for_adds_nothing_to_the_bound() {
    let mut situation = strangers(20_000, 20);
    let all = adaptive(&situation).bound.unwrap();
    situation.workers[..10].iter_mut().for_each(|worker| worker.trusted = true);
    let half = adaptive(&situation);
    assert!(half.bound.unwrap() < all * 0.6);
    assert!(half.rungs.established > 0.999);
    situation.workers.iter_mut().for_each(|worker| worker.trusted = true);
    assert_eq!(adaptive(&situation).bound, Ok(0.0));
}

#[test]
fn own_slots_check_first_and_no_more_than_they_may() {
    let situation = Situation { own: Some(OWN), ..strangers(400, 20) };
    let plan = adaptive(&situation);
    near(plan.rungs.own, 0.25, 1e-6);
    near(plan.rungs.elsewhere, 0.75, 1e-6);
    // Among few strangers they are enough until some are established.
    let plan = adaptive(&Situation { own: Some(OWN), ..strangers(20_000, 20) });
    assert!(plan.rungs.elsewhere == 0.0 && plan.rungs.established > 0.8);
}

#[test]
fn a_single_worker_is_checked_by_own_slots_or_not_at_all() {
    let alone = strangers(1000, 1);
    assert_eq!(adaptive(&alone).bound, Err(NoBound::Nobody));
    assert_eq!(adaptive(&strangers(1000, 0)).bound, Err(NoBound::Nobody));
    let own = Situation { own: Some(Share::ONE), ..alone.clone() };
    assert!(adaptive(&own).bound.is_ok());
    assert_eq!(adaptive(&Situation { own: Some(OWN), ..alone }).bound, Err(NoBound::Nobody));
}

#[test]
fn classic_policies_are_planned_by_their_formulas() {
    let situation = strangers(20_000, 20);
    let vote = plan(Policy::Vote(7), &situation);
    assert_eq!((vote.executions, vote.replicated), (7.0, 1.0));
    near(vote.executions_attacked, 8.75, 1e-9);
    assert!(vote.bound.unwrap() < 1e-2);
    assert_eq!(plan(Policy::Vote(7), &strangers(100, 6)).bound, Err(NoBound::FewWorkers));
    let spot = plan(Policy::Spot { checked: 100_000 }, &situation);
    near(spot.bound.unwrap(), 8.5e-4, 0.01);
    near(spot.executions, 1.111, 1e-3);
    let spot = plan(Policy::Spot { checked: 100_000 }, &strangers(200, 20));
    assert_eq!(spot.bound, Err(NoBound::FewResults));
    let credible = Policy::Credibility { error: 1000, faulty: 200_000 };
    assert_eq!(plan(credible, &situation).bound, Ok(1e-3));
    let boinc = plan(Policy::Boinc, &situation);
    assert_eq!(boinc.bound, Err(NoBound::Sleepers));
    assert!(boinc.executions < 1.05);
    let none = plan(Policy::None, &situation);
    assert_eq!((none.executions, none.bound), (1.0, Err(NoBound::Unchecked)));
    for policy in [Policy::Vote(7), credible, Policy::Boinc, Policy::None] {
        assert!(plan(policy, &situation).words().len() >= 2);
    }
}

/// Results a worker, wrong among final ones, executions.
type Row = [(u64, f64, f64); 4];

/// Simulated by k, with three in ten workers faulty and half of these in one ring; the worst over rates
/// of cheating and over starts after a time of good behaviour.
const SIMULATED: [(u32, Row); 2] = [
    (158, [(100, 1.8e-4, 1.98), (1000, 3.3e-4, 1.43), (5000, 2.1e-4, 1.2), (20_000, 8.0e-5, 1.13)]),
    (1577, [(100, 1.8e-4, 2.0), (1000, 1.9e-5, 1.98), (5000, 3.9e-5, 1.58), (20_000, 1.7e-5, 1.3)]),
];

#[test]
fn costs_and_bounds_hold_in_simulations_of_cheats() {
    for (k, row) in SIMULATED {
        for (results, wrong, executions) in row {
            let situation = Situation {
                assumed: Assumed { faulty: 0.3, colluding: 0.5 },
                ..strangers(results * 100, 100)
            };
            let policy = Policy::Adaptive(Adaptive { k, ..Adaptive::default() });
            let plan = plan(policy, &situation);
            assert!(plan.executions <= executions + 0.01, "{k} {results}: {}", plan.executions);
            assert!(plan.executions >= executions * 0.96, "{k} {results}: {}", plan.executions);
            assert!(plan.executions_attacked >= executions - 0.01);
            if let Ok(bound) = plan.bound {
                assert!(bound > wrong && bound < wrong * 20.0, "{k} {results}: {bound:e}");
            }
        }
    }
}

#[test]
fn tolerance_of_errors_lowers_the_first_rate_and_keeps_its_bound() {
    let situation = strangers(10_000, 20);
    let mut last = 0;
    for error in [0.05, 0.01, 1e-3, 3e-4] {
        let first = first_rate_for_tolerance(error, Adaptive::default(), &situation).unwrap();
        assert!(first >= last && first >= 100_000, "{error}: {first}");
        let policy = Policy::Adaptive(Adaptive { first, ..Adaptive::default() });
        assert!(plan(policy, &situation).bound.unwrap_or(0.0) <= error);
        last = first;
    }
    assert!(last > 500_000);
    assert_eq!(first_rate_for_tolerance(1e-6, Adaptive::default(), &situation), None);
    assert_eq!(
        first_rate_for_tolerance(0.5, Adaptive::default(), &situation),
        Some(100_000),
        "never below the floor"
    );
}

/// Uniform numbers in [0, 1).
pub(super) struct Dice {
    entropy: Entropy,
    left: Vec<f64>,
}

impl Dice {
    pub(super) fn new(seed: u8) -> Self {
        Self { entropy: Entropy::new(&[seed; 32]), left: Vec::new() }
    }

    pub(super) fn roll(&mut self) -> f64 {
        if self.left.is_empty() {
            let bytes = self.entropy.draw();
            let numbers = bytes.chunks_exact(4).map(|four| {
                f64::from(u32::from_le_bytes(four.try_into().unwrap()))
                    / (f64::from(u32::MAX) + 1.0)
            });
            self.left.extend(numbers);
        }
        self.left.pop().unwrap()
    }
}

#[test]
fn the_course_of_a_job_is_that_of_a_simulated_one() {
    let situation = strangers(30_000, 20);
    let mut dice = Dice::new(1);
    let mut k = [0_u32; 20];
    let mut replicas = 0;
    for task in 0..30_000 {
        let first = task % 20;
        let rate = Adaptive::default().rate(k[first]).as_f64();
        if dice.roll() < rate {
            let established: Vec<usize> =
                (0..20).filter(|other| *other != first && k[*other] >= ESTABLISHED).collect();
            let others = if established.is_empty() {
                (0..20).filter(|other| *other != first).collect()
            } else {
                established
            };
            k[first] += 1;
            k[others[(dice.roll() * others.len() as f64) as usize]] += 1;
            replicas += 1;
        }
    }
    near(adaptive(&situation).replicated, f64::from(replicas) / 30_000.0, 0.02);
}
