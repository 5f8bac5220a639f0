//! Saboteurs, alone and in a ring, and saboteurs that come back under new names.

use bayan_protocol::verify::Policy;

use super::standard;
use crate::{
    field::{self, Conduct, Hand, Lie, Plan},
    report::{Answer, Better, Measure, Plot, Rule, Section, Series},
    statistics::{self, Estimate},
    study::Study,
};

/// Part of its results that a saboteur lies in, and the part of its time that it is honest before.
pub(crate) const WAYS: [(f64, f64); 6] =
    [(0.003, 0.0), (0.01, 0.0), (0.1, 0.0), (1.0, 0.0), (0.1, 0.5), (1.0, 0.9)];

/// What to make of an app in quarantine.
pub(crate) const QUARANTINE: &str = "A world with the app in quarantine is one in which three \
    established members of the ring were among the up to 31 witnesses of an accusation and gave \
    the same wrong answer: then the breaker takes the app for one that differs by machine and bans \
    nobody any more; whoever the observer's own execution contradicts gets nothing more of the app.";

/// A crowd in which some lie, half of them together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crowd {
    /// Workers of one world.
    pub(crate) workers: u32,
    /// Part of them that cheats.
    pub(crate) faulty: f64,
    /// Honest ones that are known from before.
    pub(crate) seeds: u32,
    /// Whether who is caught comes back.
    pub(crate) returns: bool,
    /// First results of each worker.
    pub(crate) results: u32,
    /// Worlds of each way to lie.
    pub(crate) worlds: usize,
}

impl Crowd {
    fn hands(&self, (share, late): (f64, f64)) -> Vec<Hand> {
        let after = (late * f64::from(self.results)) as u64;
        let lie = Lie { share, after };
        let cheats = (self.faulty * f64::from(self.workers)).round() as u32;
        (0..self.workers)
            .map(|at| {
                let conduct = if at >= cheats {
                    Conduct::Honest
                } else if at < cheats / 2 {
                    Conduct::Ring(lie)
                } else {
                    Conduct::Alone(lie)
                };
                let known = at >= self.workers - self.seeds;
                Hand {
                    k: if known { 5000 } else { 0 },
                    returns: self.returns && at < cheats,
                    ..Hand::stranger(conduct, at)
                }
            })
            .collect()
    }
}

/// Error and executions a result, each in the worst of all ways to lie; and honest bans.
pub(crate) struct Worst {
    pub(crate) error: Estimate,
    pub(crate) way: String,
    pub(crate) executions: Estimate,
    pub(crate) once: Estimate,
    pub(crate) honest_bans: f64,
    /// Worlds in which the app was taken to differ by machine.
    pub(crate) quarantined: f64,
    pub(crate) results: f64,
    /// Executions a result in each of the ways.
    pub(crate) each: Vec<(String, Estimate)>,
}

/// Executions a result among workers of whom none lies: what the rest is to be compared with.
pub(crate) fn honest(study: &Study, label: &str, policy: Policy, crowd: Crowd) -> Estimate {
    let label = format!("{label} honest");
    let crowd = Crowd { faulty: 0.0, ..crowd };
    let found = study.worlds(&label, crowd.worlds, |seed| {
        let tasks = crowd.results * crowd.workers;
        let hands = crowd.hands((0.0, 0.0));
        let found = field::run(Plan { policy, tasks, own: 2, hands }, seed);
        vec![found.executions as f64, found.finals as f64]
    });
    let pairs: Vec<(f64, f64)> = found.iter().map(|one| (one[0], one[1])).collect();
    statistics::ratio(&pairs, study.seed_of(&label, 0))
}

/// Runs a crowd in all ways and takes the worst.
pub(crate) fn worst(study: &Study, label: &str, policy: Policy, crowd: Crowd) -> Worst {
    let mut worst: Option<Worst> = None;
    for way in WAYS {
        let label = format!("{label} s={} late={}", way.0, way.1);
        let found = study.worlds(&label, crowd.worlds, |seed| {
            let tasks = crowd.results * crowd.workers;
            let found = field::run(Plan { policy, tasks, own: 2, hands: crowd.hands(way) }, seed);
            vec![
                found.wrong as f64,
                found.finals as f64,
                found.executions as f64,
                found.wrong_once as f64,
                found.banned.1 as f64,
                f64::from(u8::from(found.quarantined)),
            ]
        });
        let rate = |at: usize| {
            let pairs: Vec<(f64, f64)> = found.iter().map(|one| (one[at], one[1])).collect();
            statistics::ratio(&pairs, study.seed_of(&label, at))
        };
        let (error, executions, once) = (rate(0), rate(2), rate(3));
        let honest_bans: f64 = found.iter().map(|one| one[4]).sum();
        let results: f64 = found.iter().map(|one| one[1]).sum();
        let quarantined: f64 = found.iter().map(|one| one[5]).sum();
        let way = format!("s = {}, honest for the first {:.0} %", way.0, 100.0 * way.1);
        let each = vec![(way.clone(), executions)];
        let this = Worst { error, way, executions, once, honest_bans, quarantined, results, each };
        worst = Some(match worst {
            None => this,
            Some(mut worst) => {
                worst.each.extend(this.each.iter().cloned());
                let each = std::mem::take(&mut worst.each);
                let bans = worst.honest_bans + this.honest_bans;
                let results = worst.results + this.results;
                let quarantined = worst.quarantined + this.quarantined;
                let dearer = worst.executions.value > this.executions.value;
                let executions = if dearer { worst.executions } else { this.executions };
                let more = this.once.value > worst.once.value;
                let once = if more { this.once } else { worst.once };
                let worse =
                    (this.error.value, this.error.high) > (worst.error.value, worst.error.high);
                let base = if worse { this } else { worst };
                Worst { executions, once, honest_bans: bans, quarantined, results, each, ..base }
            }
        });
    }
    worst.unwrap_or(Worst {
        error: Estimate::exact(0.0),
        way: String::new(),
        executions: Estimate::exact(0.0),
        once: Estimate::exact(0.0),
        honest_bans: 0.0,
        quarantined: 0.0,
        results: 0.0,
        each: Vec::new(),
    })
}

pub(super) fn run(study: &Study) -> Answer {
    let targets = [(1000, 1e-4, 1.8), (5000, 1.5e-4, 1.4)];
    let seeds = "A twentieth of the workers is honest and known from before (k = 5000), the rest \
        are strangers; three in ten of all cheat.";
    Answer {
        name: "attack saboteurs".to_owned(),
        question: "Three in ten workers lie, half of these together and half each in a way of its \
            own. How many final results are wrong under the default policy, and what does it cost?"
            .to_owned(),
        sources: "Targets are the project's own.".to_owned(),
        sections: vec![section(study, seeds, &targets, |results, worlds| Crowd {
            workers: 40,
            faulty: 0.3,
            seeds: 2,
            returns: false,
            results,
            worlds,
        })],
    }
}

pub(super) fn whitewashing(study: &Study) -> Answer {
    let targets = [(5000, 3e-4, 1.6)];
    let text = "Whoever is proven wrong leaves and comes back at once as a stranger in the same \
        network. A twentieth of the workers is honest and known from before.";
    Answer {
        name: "attack whitewashing".to_owned(),
        question:
            "The same saboteurs, but names are free: whoever is caught comes back under a new \
            one. What is wrong in the end, and what does it cost?"
                .to_owned(),
        sources: "Targets are the project's own.".to_owned(),
        sections: vec![section(study, text, &targets, |results, worlds| Crowd {
            workers: 40,
            faulty: 0.3,
            seeds: 2,
            returns: true,
            results,
            worlds,
        })],
    }
}

fn section(
    study: &Study,
    text: &str,
    targets: &[(u32, f64, f64)],
    crowd: impl Fn(u32, usize) -> Crowd,
) -> Section {
    let mut measures = Vec::new();
    let mut ways = Vec::new();
    let mut points = Vec::new();
    for (results, error, cost) in targets.iter().copied() {
        let results = study.size.pick(results / 10, results);
        let worlds = study.size.pick(2, if results > 1000 { 6 } else { 16 });
        let label = format!("n={results}");
        let found = worst(study, &label, standard(), crowd(results, worlds));
        // Targets are for the stated size.
        let rule = study.size.pick(Rule::Shown, Rule::Target);
        measures.push(
            Measure::new(format!("{label} error at the end"), found.error, Better::Less)
                .beside(error, rule),
        );
        measures.push(Measure::new(
            format!("{label} wrong at some time"),
            found.once,
            Better::Less,
        ));
        measures.push(
            Measure::new(format!("{label} executions a result"), found.executions, Better::Less)
                .beside(cost, rule),
        );
        let nobody = honest(study, &label, standard(), crowd(results, worlds));
        for (way, executions) in [("nobody lies".to_owned(), nobody)].into_iter().chain(found.each)
        {
            let label = format!("{label} executions a result: {way}");
            measures.push(Measure::new(label, executions, Better::Less));
        }
        let bans = Estimate::exact(found.honest_bans);
        measures.push(
            Measure::new(format!("{label} honest workers banned"), bans, Better::Less)
                .beside(1.0, Rule::Target),
        );
        let quarantined = Estimate::exact(found.quarantined);
        measures.push(Measure::new(
            format!("{label} worlds with the app in quarantine"),
            quarantined,
            Better::Less,
        ));
        ways.push(format!("{label}: worst at {}, {:.2e} results", found.way, found.results));
        points.push((f64::from(results), found.error.value));
    }
    Section {
        title: "The worst of the ways to lie".to_owned(),
        text: format!(
            "{text} Ways tried, as (part that is lies, part of the time honest before): {WAYS:?}. {}. \
             Costs are the dearest of the ways. What a worker had returned and was not final when it was \
             caught, up to a thousand results, is computed once more however often it was checked, for \
             whoever confirmed a lie is found by nothing else: that is what is dear about workers that \
             are honest for long, and about ones that come back under new names, of whose results each \
             is computed, checked, and computed once more. {QUARANTINE}",
            ways.join("; ")
        ),
        measures,
        plot: (points.len() > 1).then(|| Plot {
            name: "error".to_owned(),
            title: "Wrong final results".to_owned(),
            x: "results of each worker".to_owned(),
            y: "wrong".to_owned(),
            log: (true, false),
            series: vec![
                Series::line("found", points),
                Series::marks(
                    "target",
                    targets.iter().map(|one| (f64::from(one.0), one.1)).collect(),
                ),
            ],
            ..Plot::default()
        }),
    }
}
