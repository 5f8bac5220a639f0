//! Against the circuit breaker: a ring that wants its lie to look like a difference of machines, and
//! an app that really differs by machine.

use super::{hands, share, standard};
use crate::{
    field::{self, Conduct, Plan},
    report::{Answer, Better, Measure, Rule, Section},
    statistics::Estimate,
    study::Study,
};

pub(super) fn run(study: &Study) -> Answer {
    let worlds = study.size.pick(8, 200);
    let mut measures = Vec::new();
    for part in [0.05, 1.0] {
        let label = format!("ring of three, s={part}");
        let found = study.worlds(&label, worlds, |seed| {
            let ring = hands(3, Conduct::Ring(share(part)), 1000, 0);
            world(ring.chain(hands(8, Conduct::Honest, 1000, 100)).collect(), seed)
        });
        measures.extend(rows(&label, &found, Some(0.5), false));
    }
    let label = "ring of six among forty, s=1";
    let crowds = study.worlds(label, worlds, |seed| {
        let ring = hands(6, Conduct::Ring(share(1.0)), 1000, 0);
        world(ring.chain(hands(34, Conduct::Honest, 1000, 100)).collect(), seed)
    });
    let sum = |at: usize| Estimate::exact(crowds.iter().map(|one| one[at]).sum());
    measures.push(Measure::new(format!("{label}: worlds with quarantine"), sum(0), Better::Less));
    measures.push(Measure::new(format!("{label}: honest workers banned"), sum(1), Better::Less));
    measures.push(Measure::new(format!("{label}: wrong finals"), sum(3), Better::Less));
    for (other, same) in [(5, 4), (10, 10), (6, 14), (5, 15), (4, 16), (3, 17)] {
        let label = format!("module that differs on {other} of {} machines", other + same);
        let found = study.worlds(&label, worlds, |seed| {
            let odd = hands(other, Conduct::OtherMachine, 1000, 0);
            world(odd.chain(hands(same, Conduct::Honest, 1000, 100)).collect(), seed)
        });
        // Three say no more than a ring of three does.
        let targets = (other > 3).then_some(worlds as f64 - 0.5);
        measures.extend(rows(&label, &found, targets, true));
    }
    Answer {
        name: "attack breaker-ring".to_owned(),
        question:
            "Three established workers agree on lies, so that the observer might think that the \
            app differs by machine and let them go. And if an app does differ: is anyone punished?"
                .to_owned(),
        sources: "Targets are the project's own: no honest ban, no app quarantined by the accused."
            .to_owned(),
        sections: vec![Section {
            title: "Who is punished, and what is quarantined".to_owned(),
            text: format!(
                "{worlds} worlds of each kind, 600 tasks, everybody of k = 1000. The target is for a \
                 ring of three, of which two at most can be witnesses against the observer. A ring with \
                 more established members can have three among the up to 31 witnesses: then \
                 the app is quarantined and nobody banned, but those whom the observer's own execution \
                 contradicts get nothing more of the app, so that no lie stands. Three honest machines \
                 on which an app differs from seventeen others say exactly what a ring of three says, \
                 and are taken for one, and four would be if two of them were accused together; the rows for such machines show how that passes with their \
                 number. Wrong is what machines like the observer's do not give."
            ),
            measures,
            plot: None,
        }],
    }
}

fn world(hands: Vec<field::Hand>, seed: u64) -> Vec<f64> {
    let found = field::run(Plan { policy: standard(), tasks: 600, own: 2, hands }, seed);
    let (cheats, honest) = found.banned;
    vec![
        f64::from(u8::from(found.quarantined)),
        honest as f64,
        cheats as f64,
        found.wrong as f64,
        found.finals as f64,
    ]
}

fn rows(label: &str, found: &[Vec<f64>], quarantines: Option<f64>, differs: bool) -> Vec<Measure> {
    let sum = |at: usize| Estimate::exact(found.iter().map(|one| one[at]).sum());
    let (rule, better) =
        if differs { (Rule::AtLeast, Better::More) } else { (Rule::Target, Better::Less) };
    let mut rows = vec![
        Measure::new(format!("{label}: worlds with quarantine"), sum(0), better),
        Measure::new(format!("{label}: honest workers banned"), sum(1), Better::Less),
    ];
    if let Some(quarantines) = quarantines {
        let targets = [(quarantines, rule), (0.5, Rule::Target)];
        rows =
            rows.into_iter().zip(targets).map(|(row, (to, rule))| row.beside(to, rule)).collect();
    }
    if !differs {
        rows.push(Measure::new(format!("{label}: cheats banned"), sum(2), Better::More));
    }
    rows.push(Measure::new(format!("{label}: wrong finals"), sum(3), Better::Less));
    rows
}
