//! Acceptance by credibility: executions a result for a wanted error.

use bayan_protocol::verify::Policy;

use crate::{
    field::{self, Conduct, Hand, Lie, Plan},
    report::{Answer, Better, Measure, Plot, Rule, Section, Series},
    statistics,
    study::Study,
};

const ERRORS: [f64; 3] = [1e-2, 1e-3, 1e-4];
/// Executions a result, from and to, by faulty part and wanted error.
const TABLE: [(f64, [(f64, f64); 3]); 4] = [
    (0.05, [(1.13, 1.15), (2.23, 2.26), (2.23, 2.26)]),
    (0.1, [(1.37, 1.41), (2.24, 2.30), (2.24, 2.30)]),
    (0.2, [(1.80, 1.97), (2.26, 2.39), (2.32, 2.50)]),
    (0.3, [(2.13, 2.40), (2.29, 2.52), (2.67, 3.22)]),
];
const WORKERS: u32 = 200;
/// How often the faulty lie: the dearest and the most dangerous lie somewhere between.
const SHARES: &[f64] = &[0.02, 0.1, 1.0];

pub(super) fn run(study: &Study) -> Answer {
    let tasks = 10_000;
    let shares = study.size.pick(&SHARES[1..2], SHARES);
    let mut measures = Vec::new();
    let mut lines = Vec::new();
    for (faulty, row) in TABLE {
        let mut points = Vec::new();
        for ((low, high), error) in row.into_iter().zip(ERRORS) {
            let label = format!("f={faulty} eps={error:e}");
            let worlds = study.size.pick(2, if error < 1e-3 { 34 } else { 10 });
            let mut all = Vec::new();
            for share in shares.iter().copied() {
                let label = format!("{label} s={share}");
                all.push(
                    study.worlds(&label, worlds, |seed| world(faulty, error, share, tasks, seed)),
                );
            }
            let rate = |found: &[Vec<f64>], at: usize| {
                let pairs: Vec<(f64, f64)> = found.iter().map(|one| (one[at], one[1])).collect();
                statistics::ratio(&pairs, study.seed_of(&label, at))
            };
            let of = |at: usize| all.iter().map(move |found| rate(found, at));
            let worst = of(0).max_by(|one, two| one.value.total_cmp(&two.value));
            let dearest = of(2).max_by(|one, two| one.value.total_cmp(&two.value));
            let (Some(worst), Some(dearest)) = (worst, dearest) else { continue };
            measures.push(
                Measure::new(format!("{label} error"), worst, Better::Less)
                    .beside(error, Rule::Target),
            );
            let (rule, beside) = (Rule::Range(high), low);
            measures.push(
                Measure::new(format!("{label} executions"), dearest, Better::Less)
                    .beside(beside, rule),
            );
            points.push((error, dearest.value));
        }
        lines.push(Series::line(format!("f = {faulty}"), points));
    }
    Answer {
        name: "paper credibility".to_owned(),
        question: "What does it cost to accept results as soon as the odds of those who agree are \
            good enough, and does the error stay below the wanted one?"
            .to_owned(),
        sources: "Published beside it: a Monte Carlo of credibility-based fault tolerance with \
            blacklisting (Sarmenta 2002), 10,000 jobs, 200 workers, a tenth of work spot-checked."
            .to_owned(),
        sections: vec![Section {
            title: "Through the machine".to_owned(),
            text: format!(
                "Policy `credibility:E` with own slots and the true f, {WORKERS} workers, {tasks} \
                 tasks a world, all faulty giving the same wrong answer with chance s = {shares:?}; \
                 the largest error and cost over s are shown. Where two votes \
                 are needed anyway, the machine is a few percent cheaper than published: a spot-check \
                 here settles the task that it is made on, there it is a job of its own, so 2.1 \
                 instead of 2 / (1 - q) = 2.22 is the least. Further votes wait \
                 until all tasks have a first one; meanwhile checks make their workers credible."
            ),
            measures,
            plot: Some(Plot {
                name: "credibility".to_owned(),
                title: "What credibility costs".to_owned(),
                x: "wanted error".to_owned(),
                y: "executions a result".to_owned(),
                log: (true, false),
                series: lines,
                ..Plot::default()
            }),
        }],
    }
}

fn world(faulty: f64, error: f64, share: f64, tasks: u32, seed: u64) -> Vec<f64> {
    let hands = (0..WORKERS).map(|at| {
        let bad = f64::from(at) < faulty * f64::from(WORKERS);
        let lie = Lie { share, after: 0 };
        Hand::stranger(if bad { Conduct::Alike(lie) } else { Conduct::Honest }, at)
    });
    let parts = |share: f64| (share * 1e6).round() as u32;
    let policy = Policy::Credibility { error: parts(error), faulty: parts(faulty) };
    let found = field::run(Plan { policy, tasks, own: 2, hands: hands.collect() }, seed);
    vec![found.wrong as f64, found.finals as f64, found.executions as f64]
}
