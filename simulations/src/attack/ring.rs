//! Burners that lie, and confirmers that are honest but for confirming them.

use super::{QUARANTINE, hands, share, standard};
use crate::{
    field::{self, Conduct, Plan},
    report::{Answer, Better, Measure, Rule, Section},
    statistics::{self, Estimate},
    study::Study,
};

const SHARES: [f64; 4] = [0.01, 0.05, 0.2, 1.0];
const WORKERS: u32 = 40;

pub(super) fn run(study: &Study) -> Answer {
    let results = study.size.pick(200, 2500);
    let worlds = study.size.pick(2, 10);
    let mut measures = Vec::new();
    for part in SHARES {
        let label = format!("s={part}");
        let found = study.worlds(&label, worlds, |seed| {
            let all = hands(6, Conduct::Ring(share(part)), 0, 0)
                .chain(hands(6, Conduct::Confirmer, 0, 100))
                .chain(hands(26, Conduct::Honest, 0, 200))
                .chain(hands(2, Conduct::Honest, 5000, 300));
            let tasks = results * WORKERS;
            let plan = Plan { policy: standard(), tasks, own: 2, hands: all.collect() };
            let found = field::run(plan, seed);
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
        measures.push(
            Measure::new(format!("{label} error at the end"), rate(0), Better::Less)
                .beside(1e-4, study.size.pick(Rule::Shown, Rule::Target)),
        );
        measures.push(Measure::new(format!("{label} wrong at some time"), rate(3), Better::Less));
        measures.push(Measure::new(format!("{label} executions a result"), rate(2), Better::Less));
        let quarantined = Estimate::exact(found.iter().map(|one| one[5]).sum());
        measures.push(Measure::new(
            format!("{label} worlds with the app in quarantine, of {worlds}"),
            quarantined,
            Better::Less,
        ));
        let bans: f64 = found.iter().map(|one| one[4]).sum();
        let bans = Estimate::exact(bans);
        measures.push(
            Measure::new(format!("{label} honest workers banned"), bans, Better::Less)
                .beside(1.0, Rule::Target),
        );
    }
    Answer {
        name: "attack burner-confirmer".to_owned(),
        question: "15 % of the workers lie about the same tasks in the same way, 15 % never lie first \
            but confirm every such lie that they are asked to check. What is still wrong at the end?"
            .to_owned(),
        sources: "Target: the project's own, at most 1e-4 after correction.".to_owned(),
        sections: vec![Section {
            title: "By how often the burners lie".to_owned(),
            text: format!(
                "{WORKERS} workers a world, {results} results each, of whom 2 are honest and known \
                 from before; confirmers know which lies are the ring's. A lie stands for a while \
                 if a confirmer is the one that checks it. {QUARANTINE}"
            ),
            measures,
            plot: None,
        }],
    }
}
