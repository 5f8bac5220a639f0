//! First-m voting: the error that m agreeing votes leave, and what they cost.

use bayan_protocol::{limits::MAX_REDUNDANCY, plan::classic, verify::Policy};

use crate::{
    field::{self, Conduct, Hand, Lie, Plan},
    report::{Answer, Better, Measure, Plot, Rule, Section, Series},
    statistics::{self, Estimate},
    study::Study,
};

/// Votes and executions a result for errors of 1e-2, 1e-3 and 1e-4, by faulty part.
const TABLE: [(f64, [(u32, f64); 3]); 5] = [
    (0.05, [(2, 2.1), (4, 4.2), (5, 5.3)]),
    (0.1, [(3, 3.3), (5, 5.6), (7, 7.8)]),
    (0.2, [(7, 8.8), (11, 13.8), (16, 20.0)]),
    (0.3, [(16, 23.0), (28, 40.0), (40, 57.0)]),
    (0.35, [(29, 45.0), (51, 78.0), (74, 114.0)]),
];
const ERRORS: [f64; 3] = [1e-2, 1e-3, 1e-4];
/// Workers of one world: many, so that a task's voters are as good as drawn independently.
const WORKERS: u32 = 5000;

pub(super) fn run(study: &Study) -> Answer {
    Answer {
        name: "paper voting".to_owned(),
        question:
            "How many agreeing votes make the error small enough when a part f of the workers \
            is faulty and all faulty ones give the same wrong answer, and how many executions does \
            that take? Every vote goes through the real `verify` machine under `vote:M`."
                .to_owned(),
        sources: "Formula: Sarmenta 2002, the error of m-first voting as the chance of m or more \
            wrong among 2m - 1. Watanabe and Fukushi print M = 15, 29 and more than 50 for \
            f = 0.35."
            .to_owned(),
        sections: vec![simulated(study), computed()],
    }
}

/// One world: wrong results, results, executions.
fn world(votes: u32, faulty: f64, tasks: u32, seed: u64) -> Vec<f64> {
    let hands = (0..WORKERS).map(|at| {
        let bad = f64::from(at) < faulty * f64::from(WORKERS);
        let conduct = if bad { Conduct::Alike(Lie::ALWAYS) } else { Conduct::Honest };
        Hand::stranger(conduct, at)
    });
    let plan = Plan { policy: Policy::Vote(votes), tasks, own: 0, hands: hands.collect() };
    let found = field::run(plan, seed);
    vec![found.wrong as f64, found.finals as f64, found.executions as f64]
}

fn simulated(study: &Study) -> Section {
    let mut measures = Vec::new();
    let (mut lines, mut marks) = (Vec::new(), Vec::new());
    for (faulty, row) in TABLE {
        let mut points = Vec::new();
        for ((votes, executions), error) in row.into_iter().zip(ERRORS) {
            if votes > MAX_REDUNDANCY {
                continue;
            }
            let label = format!("f={faulty} m={votes}");
            // The rarer the error, the more results are needed to see it.
            let worlds = study.size.pick(8, 40);
            let tasks = study.size.pick(500, ((400.0 / error).max(1e6) / f64::from(worlds)) as u32);
            let tasks = tasks.clamp(500, 100_000);
            let found =
                study.worlds(&label, worlds as usize, |seed| world(votes, faulty, tasks, seed));
            let rate = |at: usize| {
                let pairs: Vec<(f64, f64)> = found.iter().map(|one| (one[at], one[1])).collect();
                statistics::ratio(&pairs, study.seed_of(&label, at))
            };
            let expected = classic::vote_error(votes, faulty);
            measures.push(
                Measure::new(format!("{label} error"), rate(0), Better::Less)
                    .beside(expected, Rule::Anchor),
            );
            measures.push(
                Measure::new(format!("{label} executions"), rate(2), Better::Less)
                    .beside(executions, Rule::Within(0.03)),
            );
            points.push((f64::from(votes), rate(0).value));
            marks.push((f64::from(votes), expected));
        }
        if points.len() > 1 {
            lines.push(Series::line(format!("f = {faulty}"), points));
        }
    }
    lines.push(Series::marks("formula", marks));
    Section {
        title: "Through the machine".to_owned(),
        text: format!(
            "{WORKERS} workers a world, each with one vote a task; the error beside the formula's \
             at that m, executions a result beside m / (1 - f) as printed. Voters of one task are \
             drawn without repetition, so a world of few workers would show fewer errors than the \
             formula. Where so many numbers stand beside theirs, one in twenty is expected to lie just \
             outside its interval."
        ),
        measures,
        plot: Some(Plot {
            name: "voting".to_owned(),
            title: "Error left by first-m voting, all faulty agreeing".to_owned(),
            x: "agreeing votes m".to_owned(),
            y: "wrong results".to_owned(),
            log: (false, true),
            series: lines,
            ..Plot::default()
        }),
    }
}

fn computed() -> Section {
    let mut measures = Vec::new();
    let needed = |faulty: f64, error: f64| {
        (1..200).find(|votes| classic::vote_error(*votes, faulty) <= error).unwrap_or(200)
    };
    for (faulty, row) in TABLE {
        for ((votes, _), error) in row.into_iter().zip(ERRORS) {
            measures.push(
                Measure::new(
                    format!("f={faulty} m for {error:e}"),
                    Estimate::exact(f64::from(needed(faulty, error))),
                    Better::Same,
                )
                .beside(f64::from(votes), Rule::Within(0.0)),
            );
        }
    }
    for (error, votes) in [(0.05, 15.0), (0.01, 29.0)] {
        measures.push(
            Measure::new(
                format!("Watanabe & Fukushi: f=0.35 m for {error}"),
                Estimate::exact(f64::from(needed(0.35, error))),
                Better::Same,
            )
            .beside(votes, Rule::Within(0.0)),
        );
    }
    measures.push(
        Measure::new(
            "Watanabe & Fukushi: f=0.35 m for 0.001",
            Estimate::exact(f64::from(needed(0.35, 0.001))),
            Better::Same,
        )
        .beside(50.0, Rule::AtLeast),
    );
    for (faulty, percent) in [(0.125, 4.3), (0.25, 15.6), (0.375, 31.6), (0.5, 50.0)] {
        measures.push(
            Measure::new(
                format!("Bayanihan: m=2 f={faulty} error"),
                Estimate::exact(100.0 * classic::vote_error(2, faulty)),
                Better::Same,
            )
            .unit("%")
            .beside(percent, Rule::Within(0.01)),
        );
    }
    Section {
        title: "By the formula that plans use".to_owned(),
        text: format!(
            "`vote:M` refuses more than {MAX_REDUNDANCY} votes, so the rows of the table beyond that \
             are computed only, with the function that `bayan run --plan` promises by. More votes \
             than that cost more than any other policy does for the same error."
        ),
        measures,
        plot: None,
    }
}
