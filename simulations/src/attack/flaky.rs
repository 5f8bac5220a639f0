//! Honest hosts that err now and then: false bans, computed exactly, and what they cost.
//!
//! The chances of a ban come from the standings' own rule as a Markov chain: its states are found by
//! letting the machine itself count passes and failures.

use std::collections::BTreeMap;

use bayan_protocol::{
    id::PeerId,
    standing::{Standing, Standings},
    time::Timestamp,
};

use super::{hands, standard};
use crate::{
    field::{Conduct, Field, Plan},
    report::{Answer, Better, Measure, Plot, Rule, Section, Series},
    statistics::{self, Estimate},
    study::Study,
};

const FLAKY: f64 = 0.002;
const CHECKS: usize = 100_000;
/// Failures without a return to the beginning that are followed; more count as a ban.
const DEPTH: u32 = 20;

pub(super) fn run(study: &Study) -> Answer {
    Answer {
        name: "attack flaky-host".to_owned(),
        question: "Honest hosts err once in 500 results. How likely is one banned within 100,000 \
            checks, and what does a fifth of such hosts cost everybody?"
            .to_owned(),
        sources:
            "Errors of real hosts are widespread and infrequent (Kondo et al. 2007). Targets are \
            the project's own."
                .to_owned(),
        sections: vec![bans(study), cost(study)],
    }
}

const BANNED: usize = 0;

/// Where each state leads by a pass and by a failure.
fn chain() -> Vec<[usize; 2]> {
    let (me, at) = (PeerId([1; 32]), Timestamp(1));
    let after = |from: &Standing, pass: bool| {
        let mut standings = Standings::default();
        standings.restore(me, from.clone());
        if pass {
            standings.passed(at, me, None);
        } else {
            let _ = standings.failed(at, me);
        }
        let mut to = standings.get(&me).cloned().unwrap_or_default();
        // What is left is the test's statistic and the ban.
        (to.k, to.passed, to.failed, to.seen) = (0, 0, 0, Timestamp(0));
        to
    };
    let mut states = vec![(Standing::default(), 0)];
    let mut known = BTreeMap::from([(format!("{:?}", Standing::default()), 1)]);
    let mut to = vec![[BANNED; 2]];
    while let Some((state, failures)) = states.get(to.len() - 1).cloned() {
        let least = after(&after(&state, true), true) == after(&state, true);
        let next = [true, false].map(|pass| {
            let next = after(&state, pass);
            let failures = if pass && least { 0 } else { failures + u32::from(!pass) };
            if next.ban.is_some() || failures > DEPTH {
                return BANNED;
            }
            *known.entry(format!("{next:?}")).or_insert_with(|| {
                states.push((next, failures));
                states.len()
            })
        });
        to.push(next);
    }
    to
}

/// The chance of a ban within the first 0, 1, 2, … checks.
fn banned(chain: &[[usize; 2]], errors: f64, checks: usize) -> Vec<f64> {
    let mut now = vec![0.0; chain.len()];
    let mut all = vec![0.0];
    let mut gone = 0.0;
    now[1] = 1.0;
    for _ in 0..checks {
        let mut next = vec![0.0; now.len()];
        for (mass, [pass, fail]) in now.iter().zip(chain) {
            next[*pass] += mass * (1.0 - errors);
            next[*fail] += mass * errors;
        }
        gone += std::mem::take(&mut next[BANNED]);
        all.push(gone);
        now = next;
    }
    all
}

fn bans(study: &Study) -> Section {
    let chain = chain();
    let checks = study.size.pick(CHECKS / 10, CHECKS);
    let mut measures = Vec::new();
    let flaky = banned(&chain, FLAKY, checks);
    let at_end = flaky.last().copied().unwrap_or(0.0);
    measures.push(
        Measure::new(
            format!("chance of a ban in {checks} checks, errors 0.2 %"),
            Estimate::exact(at_end),
            Better::Less,
        )
        .beside(1e-4, Rule::Target),
    );
    let bad = banned(&chain, 0.05, 2000);
    let half = bad.iter().position(|share| *share >= 0.5).unwrap_or(bad.len());
    measures.push(
        Measure::new(
            "checks until half of those with 5 % errors are banned",
            Estimate::exact(half as f64),
            Better::Less,
        )
        .unit("checks"),
    );
    let points = |chances: &[f64]| {
        (1..=40)
            .map(|at| 10_f64.powf(f64::from(at) / 40.0 * (chances.len() as f64 - 1.0).log10()))
            .map(|at| (at, chances[(at as usize).min(chances.len() - 1)]))
            .collect()
    };
    Section {
        title: "False bans, exactly".to_owned(),
        text: format!(
            "{} states, found by the standings machine itself; paths with more than {DEPTH} failures \
             in a row of no return count as bans, so the chance is bounded from above.",
            chain.len()
        ),
        measures,
        plot: Some(Plot {
            name: "bans".to_owned(),
            title: "Chance of a ban".to_owned(),
            x: "checks".to_owned(),
            y: "banned".to_owned(),
            log: (true, true),
            series: vec![
                Series::line("errors 0.2 %", points(&flaky)),
                Series::line("errors 5 %", points(&bad)),
            ],
            ..Plot::default()
        }),
    }
}

fn cost(study: &Study) -> Section {
    let worlds = study.size.pick(2, 12);
    let jobs = study.size.pick(5, 150);
    let found = study.worlds("a fifth flaky", worlds, |seed| {
        let (without, _) = series(0, jobs, seed);
        let (with, banned) = series(4, jobs, seed);
        vec![with - without, without, banned]
    });
    let pairs: Vec<(f64, f64)> = found.iter().map(|one| (one[0], one[1])).collect();
    let extra = statistics::ratio(&pairs, study.seed_of("a fifth flaky", 0)).scaled(100.0);
    let bans = Estimate::exact(found.iter().map(|one| one[2]).sum());
    Section {
        title: "What they cost".to_owned(),
        text: format!(
            "20 workers of k = 5000, {jobs} jobs of 600 tasks one after the other with what the \
             observer has learned, {worlds} worlds; the same with no flaky host beside it."
        ),
        measures: vec![
            Measure::new("further executions with a fifth flaky", extra, Better::Less)
                .unit("%")
                .beside(15.0, Rule::Target),
            Measure::new("honest workers banned", bans, Better::Less).beside(1.0, Rule::Target),
        ],
        plot: None,
    }
}

/// Executions of many jobs one after the other, and honest workers banned at the end.
fn series(flaky: u32, jobs: u32, seed: u64) -> (f64, f64) {
    let (mut standings, mut now) = (Standings::default(), Timestamp(1_000_000_000));
    let (mut executions, mut banned) = (0.0, 0.0);
    for job in 0..jobs {
        let all = hands(flaky, Conduct::Flaky(FLAKY), 5000, 0).chain(hands(
            20 - flaky,
            Conduct::Honest,
            5000,
            100,
        ));
        let plan = Plan { policy: standard(), tasks: 600, own: 2, hands: all.collect() };
        let seed = seed.wrapping_add(u64::from(job).wrapping_mul(0x9e37_79b9));
        let (found, known, later) = Field::new(plan, standings, now, seed).run();
        (standings, now) = (known, later);
        executions += found.executions as f64;
        banned = found.banned.1 as f64;
    }
    (executions, banned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_the_one_that_the_protocols_own_test_has() {
        // There: 3.789194e-5 in 100,000 checks, found with the same depth.
        let all = banned(&chain(), FLAKY, 10_000);
        assert!((3.0e-6..4.5e-6).contains(&all[10_000]), "{:e}", all[10_000]);
        let certain = banned(&chain(), 1.0, 10);
        assert_eq!((certain[3], certain[4]), (0.0, 1.0));
    }
}
