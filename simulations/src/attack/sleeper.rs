//! Sleepers: a long honest record, then lies.

use super::{hands, standard};
use crate::{
    field::{self, Conduct, Lie, Plan},
    report::{Answer, Better, Measure, Rule, Section},
    statistics,
    study::Study,
};

const SLEEPERS: u32 = 30;
const HONEST: u32 = 20;
/// First results of each worker; long enough that some become final while the job runs.
const RESULTS: u32 = 2000;
/// When they wake, and how often they lie then.
const GRID: [(u64, f64); 4] = [(0, 0.003), (0, 0.01), (1200, 0.01), (1200, 1.0)];

pub(super) fn run(study: &Study) -> Answer {
    let worlds = study.size.pick(1, 34);
    let results = study.size.pick(1400, RESULTS);
    let mut measures = Vec::new();
    for (after, share) in GRID {
        let label = format!("after {after} s={share}");
        let found = study.worlds(&label, worlds, |seed| {
            let lie = Lie { share, after };
            let cheats = hands(SLEEPERS, Conduct::Alone(lie), 5000, 0);
            let all = cheats.chain(hands(HONEST, Conduct::Honest, 5000, 1000)).collect();
            let tasks = results * (SLEEPERS + HONEST);
            let found = field::run(Plan { policy: standard(), tasks, own: 2, hands: all }, seed);
            found.wrong_of[..SLEEPERS as usize].to_vec()
        });
        let seed = study.seed_of(&label, 0);
        let mean = statistics::over_identities(&found, seed, statistics::mean);
        let most = statistics::over_identities(&found, seed, |all| statistics::quantile(all, 0.99));
        measures.push(
            Measure::new(format!("{label}: wrong finals an identity, mean"), mean, Better::Less)
                .beside(8.0, study.size.pick(Rule::Shown, Rule::Target)),
        );
        measures.push(
            Measure::new(format!("{label}: wrong finals an identity, p99"), most, Better::Less)
                .beside(30.0, study.size.pick(Rule::Shown, Rule::Target)),
        );
    }
    Answer {
        name: "attack sleeper".to_owned(),
        question: "A worker passes 5,000 checks, so that only a tenth of its results is checked, and \
            then begins to lie, in part or always. How many of its wrong results become final before \
            it is caught?"
            .to_owned(),
        sources: "Targets are the project's own: a mean of at most 8, 30 at the 99th percentile."
            .to_owned(),
        sections: vec![Section {
            title: "Each way to wake".to_owned(),
            text: format!(
                "{} identities of each kind: {SLEEPERS} sleepers and {HONEST} honest workers a \
                 world, all of k = 5000, {results} results each; \"after\" is how many more right \
                 results a sleeper returns in the job first. At a floor of a tenth an identity can \
                 get through (1 - 0.1) / 0.1 = 9 wrong results before its first failed check, \
                 whatever its strategy; roll-back takes most of these back again.",
                worlds as u32 * SLEEPERS
            ),
            measures,
            plot: None,
        }],
    }
}
