//! CPU Torrent's analysis: a queue of 46 slots that hands the first part of waiting jobs to others.

mod formulas;
mod queue;

use formulas::{equation_five, feedback_free, wait};
use queue::{Burst, Offload, Setup, Week};

use crate::{
    report::{Answer, Better, Measure, Plot, Rule, Section, Series},
    statistics::{self, Estimate},
    study::Study,
};

const SLOTS: u32 = 46;
const LAMBDA: f64 = 19.0;
const ALPHAS: [f64; 4] = [0.25, 0.5, 0.75, 0.9];
/// Hours a job, and equation (5) as printed, in percent, by alpha.
const PRINTED: [(f64, [f64; 4]); 6] = [
    (0.5, [24.86, 49.72, 74.58, 89.49]),
    (1.0, [24.62, 49.25, 73.87, 88.64]),
    (1.5, [24.15, 48.29, 72.44, 86.92]),
    (2.0, [22.66, 45.32, 67.98, 81.58]),
    (2.2, [20.55, 41.11, 61.66, 73.99]),
    (2.4, [7.19, 14.37, 21.56, 25.87]),
];

pub(super) fn run(study: &Study) -> Answer {
    Answer {
        name: "paper cpu-torrent".to_owned(),
        question: "How much sooner are jobs done if the first part (alpha) of a job is handed to \
            others while it waits for one of 46 slots? What the paper's equation (5) says, what \
            queueing theory says, and what happens when it is played through."
            .to_owned(),
        sources:
            "Sheth and Kaiser, CPU Torrent, Columbia CUCS-030-08: lambda = 19 an hour, 46 CPUs, \
            equation (5), figure 1's week."
                .to_owned(),
        sections: vec![equation(), corrected(study), always(study), week(study)],
    }
}

fn equation() -> Section {
    let mut measures = Vec::new();
    for (hours, row) in PRINTED {
        for (alpha, printed) in ALPHAS.into_iter().zip(row) {
            let found = 100.0 * equation_five(LAMBDA, SLOTS, hours, alpha);
            measures.push(
                Measure::new(
                    format!("(5) tp={hours} alpha={alpha}"),
                    Estimate::exact(found),
                    Better::Same,
                )
                .unit("%")
                .beside(printed, Rule::Within(0.001)),
            );
        }
    }
    let curve = |alpha: f64| {
        let points = (1..=120).map(|at| f64::from(at) * 0.02);
        points.map(|hours| (hours, 100.0 * equation_five(LAMBDA, SLOTS, hours, alpha))).collect()
    };
    Section {
        title: "Equation (5), and figure 6 from it".to_owned(),
        text: "ti = alpha tp / (tp + Wq), with Wq the wait of one server that is 46 times as fast. \
            That is what reproduces the printed table to its last digit. It is not the system's: a \
            job is served by one CPU for the whole of tp, and 46 CPUs make nobody wait as long as one \
            of them is free. So it says most where nothing is gained at all, at an empty queue."
            .to_owned(),
        measures,
        plot: Some(Plot {
            name: "figure-6".to_owned(),
            title: "Equation (5): improvement by processing time".to_owned(),
            x: "processing time tp, hours".to_owned(),
            y: "improvement, %".to_owned(),
            log: (false, false),
            series: ALPHAS.map(|alpha| Series::line(format!("alpha = {alpha}"), curve(alpha))).into(),
..Plot::default()
}),
    }
}

/// Improvement of the mean time in the system, in percent, with an interval over worlds.
fn improvement(study: &Study, label: &str, setup: Setup) -> (Estimate, Estimate) {
    let jobs = study.size.pick(40_000, 1_000_000);
    let worlds = study.size.pick(4, 24);
    let found = study.worlds(label, worlds, |seed| {
        // The same arrivals and lengths with and without, so that only the offloading differs.
        let without = queue::run(Setup { offload: Offload::Never, ..setup }, jobs, seed);
        let with = queue::run(setup, jobs, seed);
        vec![without.spent - with.spent, without.spent, without.work - with.work, without.work]
    });
    let rate = |at: usize| {
        let pairs: Vec<(f64, f64)> = found.iter().map(|one| (one[at], one[at + 1])).collect();
        statistics::ratio(&pairs, study.seed_of(label, at)).scaled(100.0)
    };
    (rate(0), rate(2))
}

fn corrected(study: &Study) -> Section {
    let alpha = 0.5;
    let setup = |hours, speed| Setup {
        slots: SLOTS,
        lambda: LAMBDA,
        hours,
        alpha,
        offload: Offload::WhileWaiting { speed },
    };
    // What was found before by a simulation of the same rules: percent, from and to.
    let before = [
        (0.5, None, None),
        (1.0, None, None),
        (1.5, None, None),
        (2.0, Some((0.55, 0.65)), Some((1.65, 1.75))),
        (2.2, Some((4.0, 6.0)), Some((8.5, 9.5))),
        (2.4, Some((65.0, 67.0)), Some((69.0, 70.0))),
    ];
    let mut measures = Vec::new();
    let mut curves = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    for (hours, equal, faster) in before {
        let theory = 100.0 * feedback_free(LAMBDA, SLOTS, hours, alpha);
        let ratio = Estimate::exact(wait(LAMBDA * hours, SLOTS));
        measures.push(
            Measure::new(
                format!("tp={hours}: M/M/46 without feedback"),
                Estimate::exact(theory),
                Better::Same,
            )
            .unit("%"),
        );
        measures.push(Measure::new(
            format!("tp={hours}: wait over tp, M/M/46"),
            ratio,
            Better::Same,
        ));
        for (speed, known) in [(1.0, equal), (4.0, faster)] {
            let label = format!("tp={hours}: offload if queued, provider x{speed}");
            let (found, saved) = improvement(study, &label, setup(hours, speed));
            let one = Measure::new(label.clone(), found, Better::Same).unit("%");
            measures.push(match known {
                Some((low, high)) => one.beside(low, Rule::Range(high)),
                None => one,
            });
            if hours >= 2.2 {
                let saved =
                    Measure::new(format!("{label}: work at home saved"), saved, Better::Same);
                measures.push(saved.unit("%"));
            }
            curves[if speed > 1.0 { 3 } else { 2 }].push((hours, found.value));
        }
        curves[0].push((hours, 100.0 * equation_five(LAMBDA, SLOTS, hours, alpha)));
        curves[1].push((hours, theory));
    }
    let [five, theory, equal, faster] = curves;
    Section {
        title: "Played through, alpha = 0.5".to_owned(),
        text: "A job that finds no slot free hands its first part out at once; if that is back when \
            its turn comes, only the rest is computed at home, else all of it. Jobs come as a Poisson \
            process, lengths are exponential, and both are the same with and without offloading. \
            Beside: without feedback, ti = alpha / (1 + C / (m - a)) with a = lambda tp and C by \
            Erlang's formula, which takes the first part as done for nothing and the queue as if \
            nobody did so. Three things set the numbers apart. Most jobs never wait below tp = 2, so \
            nothing can be gained. A first part must be done within the wait: to < tq holds for \
            alpha <= W / tp only. And near saturation offloading shortens the queue for everybody, \
            which no formula above has in it: there the gain is several times what (5) says."
            .to_owned(),
        measures,
        plot: Some(Plot {
            name: "improvement".to_owned(),
            title: "Improvement of the mean time in the system, alpha = 0.5".to_owned(),
            x: "processing time tp, hours".to_owned(),
            y: "improvement, %".to_owned(),
            log: (false, false),
            series: vec![
                Series::line("equation (5)", five),
                Series::line("M/M/46 without feedback", theory),
                Series::line("played, provider as fast", equal),
                Series::line("played, provider 4x", faster),
            ],
..Plot::default()
}),
    }
}

fn always(study: &Study) -> Section {
    let before = [(1.0, 37.5), (2.0, 39.0), (2.2, 43.0), (2.4, 81.0)];
    // Known to half a percent only.
    let rounding = 0.5;
    let mut measures = Vec::new();
    for (hours, known) in before {
        let label = format!("tp={hours}: always offload, provider x4");
        let offload = Offload::Always { speed: 4.0 };
        let setup = Setup { slots: SLOTS, lambda: LAMBDA, hours, alpha: 0.5, offload };
        let (found, saved) = improvement(study, &label, setup);
        measures.push(
            Measure::new(label.clone(), found, Better::Same)
                .unit("%")
                .beside(known - rounding, Rule::Range(known + rounding)),
        );
        // Load improvement li = alpha (1 - beta): everything is offloaded, so beta = 0.
        measures.push(
            Measure::new(format!("{label}: work at home saved"), saved, Better::Same)
                .unit("%")
                .beside(50.0, Rule::Within(0.02)),
        );
    }
    Section {
        title: "Always offload and wait, alpha = 0.5".to_owned(),
        text:
            "Every job's first part goes to a provider four times as fast, and the job asks for a \
            slot when it is back. The load at home falls by li = alpha (1 - beta), beta being the \
            part of jobs that stay at home altogether, here none."
                .to_owned(),
        measures,
        plot: None,
    }
}

fn week(study: &Study) -> Section {
    let week = Week {
        slots: SLOTS,
        lambda: 15.2,
        hours: 2.0,
        alpha: 0.5,
        bursts: [
            Burst { at: 20.0, jobs: 484, over: 0.0 },
            Burst { at: 110.0, jobs: 205, over: 7.0 },
        ],
    };
    let worlds = study.size.pick(8, 200);
    let ways = [
        ("without offloading", Offload::Never),
        ("offload if queued, provider as fast", Offload::WhileWaiting { speed: 1.0 }),
        ("offload if queued, provider x4", Offload::WhileWaiting { speed: 4.0 }),
    ];
    let (mut measures, mut lines) = (Vec::new(), Vec::new());
    for (name, offload) in ways {
        let label = format!("week, {name}");
        // The same weeks for every way.
        let seeds = (0..worlds).map(|at| study.seed_of("week", at));
        let played: Vec<[f64; 5]> = seeds.map(|seed| week.run(offload, seed).0).collect();
        let never = offload == Offload::Never;
        let known = [Some(469.0), Some(130.0), Some(60.0), Some(24.0), None];
        let what =
            ["first peak", "second peak", "first full load", "second full load", "mean wait"];
        let units = ["jobs waiting", "jobs waiting", "hours", "hours", "hours"];
        for at in 0..5 {
            let values: Vec<(f64, f64)> = played.iter().map(|one| (one[at], 1.0)).collect();
            let found = statistics::ratio(&values, study.seed_of(&label, at));
            let one =
                Measure::new(format!("{name}: {}", what[at]), found, Better::Less).unit(units[at]);
            measures.push(match known[at] {
                Some(known) if never => one.beside(known, Rule::Within(0.1)),
                _ => one,
            });
        }
        lines.push(Series::line(name, week.run(offload, study.seed_of("week", 0)).1));
    }
    Section {
        title: "Figure 1's week".to_owned(),
        text: "The week's own arrivals are not published, only its peaks and how long the slots were \
            full. Made up to fit: 15.2 jobs an hour all week and two bursts, 484 jobs at once and \
            205 within seven hours, all of two hours on average; together that is the 19 an hour of \
            the analysis. Mean wait is \
            over all jobs of the week."
            .to_owned(),
        measures,
        plot: Some(Plot {
            name: "week".to_owned(),
            title: "Jobs waiting in a week like figure 1's".to_owned(),
            x: "hours".to_owned(),
            y: "jobs waiting".to_owned(),
            log: (false, false),
            series: lines,
..Plot::default()
}),
    }
}
