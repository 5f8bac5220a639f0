//! Adaptive policies: BOINC's, and ours with several settings.

use bayan_protocol::verify::{Adaptive, Policy};

use crate::{
    attack::{Crowd, QUARANTINE, WAYS, honest, worst},
    report::{Answer, Better, Measure, Plot, Rule, Section, Series},
    statistics::Estimate,
    study::Study,
};

/// A policy, its honest workers known from before in parts of a hundred, and by results of each worker
/// the published error and executions a result.
struct Row {
    name: &'static str,
    policy: Policy,
    seeds: u32,
    published: &'static [(u32, f64, f64)],
}

fn rows() -> [Row; 4] {
    let adaptive = |k| Policy::Adaptive(Adaptive { k, ..Adaptive::default() });
    [
        Row {
            name: "BOINC",
            policy: Policy::Boinc,
            seeds: 0,
            published: &[
                (100, 7.9e-3, 1.39),
                (1000, 7.1e-3, 1.10),
                (5000, 3.4e-3, 1.05),
                (20_000, 1.2e-3, 1.02),
            ],
        },
        Row {
            name: "K=158",
            policy: adaptive(158),
            seeds: 0,
            published: &[
                (100, 1.8e-4, 1.98),
                (1000, 3.3e-4, 1.43),
                (5000, 2.1e-4, 1.20),
                (20_000, 8.0e-5, 1.13),
            ],
        },
        Row {
            name: "K=1577",
            policy: adaptive(1577),
            seeds: 0,
            published: &[
                (100, 1.8e-4, 2.00),
                (1000, 1.9e-5, 1.98),
                (5000, 3.9e-5, 1.58),
                (20_000, 1.7e-5, 1.30),
            ],
        },
        Row {
            name: "K=500 with seeds",
            policy: adaptive(500),
            seeds: 5,
            published: &[(1000, 7.5e-5, 1.70), (5000, 9.8e-5, 1.34)],
        },
    ]
}

pub(super) fn run(study: &Study) -> Answer {
    let mut measures = Vec::new();
    let (mut lines, mut marks, mut ways) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows() {
        let mut points = Vec::new();
        for (results, error, executions) in row.published.iter().copied() {
            if results > study.size.pick(100, u32::MAX) {
                continue;
            }
            let label = format!("{} n={results}", row.name);
            // A crowd of twenty where each returns so much.
            let workers = if results > 5000 { 20 } else { 40 };
            let crowd = Crowd {
                workers,
                faulty: 0.3,
                seeds: workers * row.seeds / 100,
                returns: false,
                results,
                worlds: study.size.pick(2, worlds(results)),
            };
            let found = worst(study, &label, row.policy, crowd);
            measures.push(
                Measure::new(format!("{label} error"), found.error, Better::Less)
                    .beside(error, Rule::Anchor),
            );
            measures.push(
                Measure::new(format!("{label} executions"), found.executions, Better::Less)
                    .beside(executions, Rule::Within(0.05)),
            );
            let nobody = honest(study, &label, row.policy, crowd);
            measures.push(
                Measure::new(format!("{label} executions, nobody lies"), nobody, Better::Less)
                    .beside(executions, Rule::Within(0.05)),
            );
            if matches!(row.policy, Policy::Adaptive(_)) {
                measures.push(Measure::new(
                    format!("{label} worlds with the app in quarantine"),
                    Estimate::exact(found.quarantined),
                    Better::Less,
                ));
            }
            ways.push(format!("{label}: {}", found.way));
            points.push((f64::from(results), found.error.value));
            marks.push((f64::from(results), error));
        }
        if !points.is_empty() {
            lines.push(Series::line(row.name, points));
        }
    }
    lines.push(Series::marks("published", marks));
    Answer {
        name: "paper adaptive".to_owned(),
        question: "Three in ten workers cheat, half of them in one ring. What error and what cost do \
            policies come to that check less of workers with a good record, in the worst of several \
            ways to lie?"
            .to_owned(),
        sources: "BOINC's rule: Anderson 2020 (consecutive valid results v: below ten all are \
            replicated, then 1 / v). The numbers beside it are a Monte Carlo of an abstract model of \
            these rules, made when the policy was designed."
            .to_owned(),
        sections: vec![Section {
            title: "The worst of the ways to lie".to_owned(),
            text: format!(
                "Ways tried, as (part that is lies, part of the time honest before): {WAYS:?}. Error \
                 and cost are each the largest over the ways; the worst for the error: {}. Why \
                 the published numbers are not met. Costs: here everything counts, also disputes, \
                 witnesses, and what is computed anew after a roll-back, in the dearest of the ways; \
                 theirs are what the rule alone asks for among workers of whom nobody lies, and beside \
                 that row they are to be read. Errors: what the abstract model left out lowers them \
                 here: own slots settle disputes and are a rung of the ladder of replicas, witnesses \
                 are asked, a check confirms nothing past an undecided result, who is proven wrong \
                 four times is out, and there is a closing check of each worker. BOINC's rule has none \
                 of that, and its errors are larger here, because the ways tried are not theirs, which \
                 are not recorded: of workers that lie in everything after nine tenths of their time \
                 three hundredths of all results are wrong by arithmetic (0.3 of them, a tenth of the \
                 time), less what checks of one in 90 find within ten results. {QUARANTINE}",
                ways.join("; ")
            ),
            measures,
            plot: Some(Plot {
                name: "adaptive".to_owned(),
                title: "Worst error of policies that check by record".to_owned(),
                x: "results of each worker n".to_owned(),
                y: "wrong results".to_owned(),
                log: (true, true),
                series: lines,
..Plot::default()
}),
        }],
    }
}

fn worlds(results: u32) -> usize {
    match results {
        0..=100 => 60,
        101..=1000 => 12,
        1001..=5000 => 4,
        _ => 2,
    }
}
