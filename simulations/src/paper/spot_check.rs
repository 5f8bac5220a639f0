//! Spot-checks with blacklist and backtracking: the worst that gets through.

use bayan_protocol::{plan::classic, verify::Policy};

use crate::{
    field::{self, Conduct, Hand, Lie, Plan},
    report::{Answer, Better, Measure, Plot, Rule, Section, Series},
    statistics,
    study::Study,
};

const CHECKED: f64 = 0.1;
const RESULTS: [u32; 3] = [100, 1000, 5000];
const TABLE: [(f64, [f64; 3]); 3] = [
    (0.1, [3.9e-3, 3.9e-4, 7.9e-5]),
    (0.2, [8.4e-3, 8.5e-4, 1.7e-4]),
    (0.3, [1.4e-2, 1.4e-3, 2.7e-4]),
];
const WORKERS: u32 = 40;

pub(super) fn run(study: &Study) -> Answer {
    let mut measures = Vec::new();
    let (mut lines, mut marks) = (Vec::new(), Vec::new());
    for (faulty, row) in TABLE {
        let mut points = Vec::new();
        for (results, published) in RESULTS.into_iter().zip(row) {
            if results > study.size.pick(1000, u32::MAX) {
                continue;
            }
            let label = format!("f={faulty} n={results}");
            let worlds = worlds(study, faulty, results);
            let found = study.worlds(&label, worlds, |seed| world(faulty, results, seed));
            let rate = |at: usize, of: usize| {
                let pairs: Vec<(f64, f64)> = found.iter().map(|one| (one[at], one[of])).collect();
                statistics::ratio(&pairs, study.seed_of(&label, at))
            };
            measures.push(
                Measure::new(format!("{label} error"), rate(0, 1), Better::Less)
                    .beside(published, Rule::Anchor),
            );
            let expected = classic::spot_worst(CHECKED, f64::from(results), faulty);
            measures.push(
                Measure::new(
                    format!("{label} error, beside 0.9 of the formula"),
                    rate(0, 1),
                    Better::Less,
                )
                .beside((1.0 - CHECKED) * expected, Rule::Anchor),
            );
            measures.push(Measure::new(format!("{label} executions"), rate(2, 1), Better::Less));
            measures.push(Measure::new(format!("{label} cheats caught"), rate(3, 4), Better::More));
            points.push((f64::from(results), rate(0, 1).value));
            marks.push((f64::from(results), expected));
        }
        lines.push(Series::line(format!("f = {faulty}"), points));
    }
    lines.push(Series::marks("formula", marks));
    Answer {
        name: "paper spot-check".to_owned(),
        question: "A tenth of all results is compared with the truth, whoever is caught loses \
            everything it returned and its place. What is the worst error that cheats can reach, if \
            each of them chooses to be wrong in the part s = 1 / (q (n + 1)) of its n results?"
            .to_owned(),
        sources: "Formula: Sarmenta 2002, eps = s f (1 - q s)^n / ((1 - f) + f (1 - q s)^n).".to_owned(),
        sections: vec![Section {
            title: "The worst case through the machine".to_owned(),
            text: format!(
                "Policy `spot:0.1` with own slots, {WORKERS} workers a world, tasks so many that \
                 whoever stays returns about n. In the formula a check is a job of its own; in the \
                 machine a checked result is also settled by the check, so what survives is wrong a \
                 tenth less often: the machine's expected error is 0.9 of the formula's."
            ),
            measures,
            plot: Some(Plot {
                name: "spot-check".to_owned(),
                title: "Worst error left by spot-checks of a tenth".to_owned(),
                x: "results of each worker n".to_owned(),
                y: "wrong results".to_owned(),
                log: (true, true),
                series: lines,
..Plot::default()
}),
        }],
    }
}

/// As many as make the interval narrow: what a cheat gets away with varies a lot between cheats.
fn worlds(study: &Study, faulty: f64, results: u32) -> usize {
    let cheats = study.size.pick(24.0, if results > 1000 { 240.0 } else { 640.0 });
    ((cheats / (faulty * f64::from(WORKERS))).ceil() as usize).max(2)
}

fn world(faulty: f64, results: u32, seed: u64) -> Vec<f64> {
    let share = (1.0 / (CHECKED * (f64::from(results) + 1.0))).min(1.0);
    let unseen = (1.0 - CHECKED * share).powf(f64::from(results));
    let stay = (1.0 - faulty) + faulty * unseen;
    let hands = (0..WORKERS).map(|at| {
        let bad = f64::from(at) < faulty * f64::from(WORKERS);
        let lie = Lie { share, after: 0 };
        Hand::stranger(if bad { Conduct::Alone(lie) } else { Conduct::Honest }, at)
    });
    let policy = Policy::Spot { checked: (CHECKED * 1e6) as u32 };
    let tasks = (f64::from(results * WORKERS) * stay) as u32;
    let found = field::run(Plan { policy, tasks, own: 2, hands: hands.collect() }, seed);
    vec![
        found.wrong as f64,
        found.finals as f64,
        found.executions as f64,
        found.caught.0 as f64,
        faulty * f64::from(WORKERS),
    ]
}
