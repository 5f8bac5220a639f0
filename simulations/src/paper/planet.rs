//! What a planet of peers comes to, and what a unit of work costs in energy: a calculator whose every
//! assumption is a row of its table.

use bayan_protocol::verify::Policy;

use crate::{
    field::{self, Conduct, Hand, Plan},
    report::{Answer, Better, Measure, Plot, Section, Series},
    statistics::{self, Estimate},
    study::Study,
};

/// Of a peer. BOINC's published population is available for about 68 % of the time and fails about 5 %
/// of its jobs (Anderson and Fedak 2006; Anderson 2020).
const AVAILABLE: f64 = 0.68;
const FAILED: f64 = 0.05;
const CORES: f64 = 4.0;
const GIGAFLOPS: f64 = 2.0;
/// Part of an available peer's cores that its owner leaves.
const LENT: f64 = 0.5;
/// Core-seconds of a unit, bytes in and out.
const UNIT: f64 = 60.0;
const INPUT: f64 = 20e3;
const OUTPUT: f64 = 20e3;
/// Watts that a core at work adds to a computer that is on anyway; of a dedicated server's core, all
/// told, idle time and cooling included; and the part of its life that a server is idle.
const MARGINAL: f64 = 8.0;
const DEDICATED: f64 = 7.0;
const COOLING: f64 = 1.5;
const UTILISED: f64 = 0.5;
/// A peer that would otherwise sleep, for the worst case: its whole draw over its cores.
const AWAKE: f64 = 60.0;
/// Grams of CO2 a kWh, a mix of grids; kilograms to make a server, years of use, cores.
const GRID: f64 = 450.0;
const MADE: f64 = 1200.0;
const YEARS: f64 = 5.0;
const SERVER_CORES: f64 = 32.0;

const KWH: f64 = 3.6e6;

pub(super) fn run(study: &Study) -> Answer {
    let executions = executions(study);
    Answer {
        name: "paper planet".to_owned(),
        question: "How much would a planet of peers compute once everything is checked, and what does \
            a unit of 60 core-seconds cost in energy and CO2 on a peer that is on anyway, on one that \
            is kept awake for it, and on dedicated machines?"
            .to_owned(),
        sources: "No table is published for this; it is arithmetic on the assumptions below, with one \
            number measured: executions a result, from the real `verify` machine."
            .to_owned(),
        sections: vec![assumptions(executions), capacity(executions), energy(executions)],
    }
}

/// Executions a result of workers with a long record under the default policy.
fn executions(study: &Study) -> Estimate {
    let worlds = study.size.pick(4, 20);
    let found = study.worlds("a long record", worlds, |seed| {
        let hands = (0..20).map(|at| Hand { k: 5000, ..Hand::stranger(Conduct::Honest, at) });
        let plan = Plan { policy: Policy::default(), tasks: 5000, own: 2, hands: hands.collect() };
        let found = field::run(plan, seed);
        vec![found.executions as f64, found.finals as f64]
    });
    let pairs: Vec<(f64, f64)> = found.iter().map(|one| (one[0], one[1])).collect();
    statistics::ratio(&pairs, study.seed_of("a long record", 0))
}

fn row(key: &str, value: f64, unit: &'static str) -> Measure {
    Measure::new(key, Estimate::exact(value), Better::Same).unit(unit)
}

fn assumptions(executions: Estimate) -> Section {
    Section {
        title: "Assumptions".to_owned(),
        text:
            "Change them in the source and run it again; nothing else goes in. The measured one is \
            that of workers with 5,000 passed checks; failed jobs are computed again on top of it."
                .to_owned(),
        measures: vec![
            row("part of the time that a peer is available", AVAILABLE, ""),
            row("part of executions that fail", FAILED, ""),
            row("cores of a peer", CORES, ""),
            row("part of them that is lent while available", LENT, ""),
            row("speed of a core", GIGAFLOPS, "GFLOPS"),
            row("a unit of work", UNIT, "core-seconds"),
            row("bytes of a unit in and out", INPUT + OUTPUT, "B"),
            row("watts that a busy core adds where the computer is on", MARGINAL, "W"),
            row("watts of a peer that is kept awake for it", AWAKE, "W"),
            row("watts of a dedicated core at work", DEDICATED, "W"),
            row("power drawn for each watt of a dedicated server (PUE)", COOLING, ""),
            row("part of its time that a dedicated server works", UTILISED, ""),
            row("grid", GRID, "g CO2/kWh"),
            row("CO2 to make a server of 32 cores that lasts five years", MADE, "kg"),
            Measure::new("measured: executions a result", executions, Better::Less),
        ],
        plot: None,
    }
}

/// Executions that a confirmed unit takes.
fn spent(executions: Estimate) -> f64 {
    executions.value / (1.0 - FAILED)
}

fn capacity(executions: Estimate) -> Section {
    let units = |peers: f64| peers * AVAILABLE * CORES * LENT / UNIT / spent(executions);
    let mut measures = Vec::new();
    let mut points = Vec::new();
    for power in [3, 4, 5, 6, 7, 8, 9] {
        let peers = 10_f64.powi(power);
        let useful = units(peers) * UNIT * GIGAFLOPS / 1e6;
        points.push((peers, useful));
        if power >= 6 {
            measures.push(row(
                &format!("10^{power} peers: confirmed units a second"),
                units(peers),
                "",
            ));
            measures.push(row(&format!("10^{power} peers: confirmed"), useful, "PFLOPS"));
        }
    }
    let bytes = units(1.0) * spent(executions) * (INPUT + OUTPUT);
    measures.push(row("bytes a second of a peer, work alone", bytes, "B/s"));
    measures.push(row("bytes a day of a peer, work alone", bytes * 86_400.0, "B"));
    Section {
        title: "What a planet of peers computes".to_owned(),
        text: "Work divides among peers, so what each does and sends does not depend on how many there \
            are; how far spreading it does is a matter for the simulations of the whole peer at scale."
            .to_owned(),
        measures,
        plot: Some(Plot {
            name: "capacity".to_owned(),
            title: "Confirmed work by peers".to_owned(),
            x: "peers".to_owned(),
            y: "PFLOPS".to_owned(),
            log: (true, true),
            series: vec![Series::line("confirmed", points)],
..Plot::default()
}),
    }
}

fn energy(executions: Estimate) -> Section {
    let seconds = UNIT * spent(executions);
    let marginal = seconds * MARGINAL;
    let awake = seconds * AWAKE / (CORES * LENT);
    // A server's idle half is paid for by the work of the other half; dedicated work is not doubled.
    let dedicated = UNIT * DEDICATED * COOLING * (1.0 + (1.0 - UTILISED) / UTILISED * 0.5);
    let built = MADE * 1e3 / (SERVER_CORES * YEARS * 3.156e7 * UTILISED) * UNIT;
    let watt_hours = |joules: f64| joules / 3600.0;
    let grams = |joules: f64| joules / KWH * GRID;
    Section {
        title: "Energy and CO2 of a unit".to_owned(),
        text: "A peer's computer exists and is on for its owner, so only what a busy core adds counts, \
            times the executions that checking takes. A dedicated server does each unit once, but is \
            cooled, idles (at half its power) and had to be made. A computer that is kept awake for \
            this alone is dearer than a server: volunteering pays where the computer is on anyway."
            .to_owned(),
        measures: vec![
            row("marginal energy, computer on anyway", watt_hours(marginal), "Wh"),
            row("energy, computer kept awake for it", watt_hours(awake), "Wh"),
            row("energy, dedicated server", watt_hours(dedicated), "Wh"),
            row("CO2, computer on anyway", grams(marginal), "g"),
            row("CO2, computer kept awake for it", grams(awake), "g"),
            row("CO2, dedicated server, running", grams(dedicated), "g"),
            row("CO2, dedicated server, its making", built, "g"),
            row(
                "CO2 of a computer on anyway beside dedicated",
                grams(marginal) / (grams(dedicated) + built),
                "times",
            ),
        ],
        plot: None,
    }
}
