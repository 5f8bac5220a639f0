//! Bayanihan's fault-tolerance table: time, efficiency, error and cheats caught, by faulty part.

use bayan_protocol::verify::Policy;

use crate::{
    field::{self, Conduct, Hand, Lie, Plan},
    report::{Answer, Better, Measure, Plot, Rule, Section, Series},
    statistics,
    study::Study,
};

const WORKERS: u32 = 16;
const FAULTY: [f64; 5] = [0.0, 0.125, 0.25, 0.375, 0.5];
/// Printed there for two votes when bad workers agree.
const TWO_VOTES: [f64; 5] = [0.0, 0.043, 0.156, 0.316, 0.5];

/// A mechanism: its name, the policy, and whether who is caught may come back under a new name.
const MECHANISMS: [(&str, Policy, bool); 4] = [
    ("none", Policy::None, false),
    ("voting", Policy::Vote(2), false),
    ("spot-check, blacklist", Policy::Spot { checked: 100_000 }, false),
    ("spot-check, no blacklist", Policy::Spot { checked: 100_000 }, true),
];

pub(super) fn run(study: &Study) -> Answer {
    let sections = [("always", 1.0), ("one in twenty", 0.05)]
        .into_iter()
        .map(|(often, share)| section(study, often, share))
        .collect();
    Answer {
        name: "paper bayanihan-faults".to_owned(),
        question: "What do voting by two and spot-checks with backtracking, with and without a \
            blacklist, cost and let through as the faulty part of the workers grows from 0 to a half?"
            .to_owned(),
        sources: "Sarmenta and Hirano 1999: with bad workers that agree the error of two votes is \
            4.3, 15.6, 31.6 and 50 %, voting's efficiency 1/m."
            .to_owned(),
        sections,
    }
}

/// The chance of two or more faulty ones among three different workers, if this part of them is.
fn three_voters(faulty: f64) -> f64 {
    let (all, bad) = (f64::from(WORKERS), faulty * f64::from(WORKERS));
    let pairs = |count: f64| count * (count - 1.0) / 2.0;
    let triples = |count: f64| count * (count - 1.0) * (count - 2.0) / 6.0;
    (pairs(bad) * (all - bad) + triples(bad)) / triples(all)
}

fn section(study: &Study, often: &str, share: f64) -> Section {
    let worlds = study.size.pick(4, 40);
    let mut measures = Vec::new();
    let mut lines = Vec::new();
    for (name, policy, returns) in MECHANISMS {
        let mut points = Vec::new();
        for (faulty, printed) in FAULTY.into_iter().zip(TWO_VOTES) {
            let label = format!("{name}, lies {often}, f={faulty}");
            let found =
                study.worlds(&label, worlds, |seed| world(policy, faulty, share, returns, seed));
            let rate = |at: usize, of: usize| {
                let pairs: Vec<(f64, f64)> = found.iter().map(|one| (one[at], one[of])).collect();
                statistics::ratio(&pairs, study.seed_of(&label, at))
            };
            let error = Measure::new(format!("{label}: error"), rate(0, 1), Better::Less);
            let compares = name == "voting" && share == 1.0 && faulty > 0.0;
            if compares {
                let key = format!("{label}: error, beside that of three different voters");
                measures.push(error.beside(printed, Rule::Anchor));
                measures.push(
                    Measure::new(key, rate(0, 1), Better::Less)
                        .beside(three_voters(faulty), Rule::Anchor),
                );
            } else {
                measures.push(error);
            }
            measures.push(
                Measure::new(format!("{label}: time"), rate(2, 3), Better::Less)
                    .unit("times that of 16 honest workers unchecked"),
            );
            let efficiency = Measure::new(format!("{label}: efficiency"), rate(3, 2), Better::More);
            let halves = name == "voting" && faulty == 0.0;
            measures.push(if halves {
                efficiency.beside(0.5, Rule::Within(0.02))
            } else {
                efficiency
            });
            if matches!(policy, Policy::Spot { .. }) && faulty > 0.0 {
                measures.push(Measure::new(format!("{label}: caught"), rate(4, 5), Better::More));
            }
            points.push((faulty, rate(0, 1).value));
        }
        lines.push(Series::line(name, points));
    }
    if share == 1.0 {
        lines.push(Series::marks("voting, printed", FAULTY.into_iter().zip(TWO_VOTES).collect()));
    }
    Section {
        title: format!("Faulty workers lie {often}"),
        text: format!(
            "{WORKERS} workers, 1,024 tasks a world, {worlds} worlds. Time and efficiency count \
             every execution by workers, with everyone present at work; checks run in the \
             submitter's own slots beside. \"No blacklist\" is that whoever is caught comes back \
             under a new name: the machine never takes a name that was caught in a job back into \
             it. \"Caught\" counts names. Where workers are as few as 16, voters of one task are \
             drawn without repetition, and two faulty of 16 meet less often than the formula says: \
             beside the printed error stands that of two or more faulty ones among three different \
             voters."
        ),
        measures,
        plot: Some(Plot {
            name: format!("lies-{}", often.replace(' ', "-")),
            title: format!("Wrong results, faulty workers lie {often}"),
            x: "faulty part".to_owned(),
            y: "wrong results".to_owned(),
            log: (false, false),
            series: lines,
            ..Plot::default()
        }),
    }
}

fn world(policy: Policy, faulty: f64, share: f64, returns: bool, seed: u64) -> Vec<f64> {
    let bad = (faulty * f64::from(WORKERS)).round() as u32;
    let hands = (0..WORKERS).map(|at| {
        let lie = Lie { share, after: 0 };
        let conduct = if at < bad { Conduct::Alike(lie) } else { Conduct::Honest };
        Hand { returns: returns && at < bad, ..Hand::stranger(conduct, at) }
    });
    let own = u32::from(matches!(policy, Policy::Spot { .. })) * 2;
    let found = field::run(Plan { policy, tasks: 1024, own, hands: hands.collect() }, seed);
    let names = found.identities - u64::from(WORKERS - bad);
    vec![
        found.wrong as f64,
        found.finals as f64,
        found.time,
        found.finals as f64 / f64::from(WORKERS),
        found.caught.0 as f64,
        names as f64,
    ]
}
