//! Bayanihan's volunteer server: workers behind a modem line, with and without a server at its end.

use std::time::Duration;

use crate::{
    lines::{self, Grain, Line, Run, Setup, Work},
    report::{Answer, Better, Measure, Plot, Rule, Section, Series},
    statistics::Estimate,
    study::Study,
};

const BLOCKS: usize = 256;
const WORKERS: u8 = 8;
/// One byte a pixel of a block of 50x50; the printed 198 s are 713 kB over the line, 285 bytes a block
/// more than that, which leases and headers share.
const OUTPUT: u64 = 2500;
const OVERHEAD: u64 = 122;
/// Seconds that the workers need on the fast line, printed as 5.
const FAST: f64 = 5.0;

const MODEM: Line = Line { bits: 28_800.0, latency: 100_000, overhead: OVERHEAD, serve: 2000 };
const ETHERNET: Line = Line { bits: 1e7, latency: 500, overhead: OVERHEAD, serve: 2000 };

pub(super) fn run(_: &Study) -> Answer {
    let rows = rows();
    let bars = rows.iter().zip(1..).map(|(row, at)| (f64::from(at), row.found.value)).collect();
    let printed = rows
        .iter()
        .zip(1..)
        .filter_map(|(row, at)| row.beside.map(|value| (f64::from(at), value)))
        .collect();
    Answer {
        name: "paper bayanihan-volunteer-server".to_owned(),
        question: "Workers sit behind a line of 28.8 kbit/s. How long does a picture take them \
            directly, and with a volunteer server at their end of the line? Both are real `pool` \
            machines; the volunteer server's holds what it has leased in bulk."
            .to_owned(),
        sources: "Sarmenta and Hirano 1999: fast line direct 5 s, slow line direct 198 s, slow line \
            with a watcher 233 s; behind a volunteer server the workers ran at the fast line's speed."
            .to_owned(),
        sections: vec![Section {
            title: "The table".to_owned(),
            text: format!(
                "{BLOCKS} blocks of {OUTPUT} bytes, {WORKERS} workers that need {FAST} s on the fast \
                 line; messages have {OVERHEAD} bytes besides, which together with leases makes the \
                 713 kB that 198 s at this rate are. So the two direct rows agree by construction and \
                 the others follow. What their watcher was sent is not printed: the 35 s more are 490 \
                 bytes a block, more than asking costs and less than the picture. A relay of bayan \
                 leases what its measured speed says it returns within 20 s, and that speed is the slow \
                 line's; so its workers wait for work, and nothing is lost by that but their time: the \
                 line is full of results all along. One that fetches all the work at once, as \
                 Bayanihan's did, has them done after a tenth of the time, during which work and \
                 results share the line, and the submitter no sooner."
            ),
            measures: rows.into_iter().map(|row| row.unit("s")).collect(),
            plot: Some(Plot {
                name: "slow-line".to_owned(),
                title: "Seconds, in the table's order".to_owned(),
                x: "row".to_owned(),
                y: "seconds".to_owned(),
                log: (false, true),
                series: vec![Series::marks("found", bars), Series::marks("printed", printed)],
..Plot::default()
}),
        }],
    }
}

/// Seconds of each way to do it.
fn rows() -> Vec<Measure> {
    let seconds = |value: f64| Estimate::exact(value);
    let fast = play(ETHERNET, None, Grain::Fixed, None);
    let slow = play(MODEM, None, Grain::Fixed, None);
    let polled = play(MODEM, None, Grain::Fixed, Some(2 * OVERHEAD));
    let watched = play(MODEM, None, Grain::Fixed, Some(OUTPUT + OVERHEAD));
    let adaptive = play(MODEM, None, Grain::Adaptive, None);
    let relayed = relay(None);
    let ahead = relay(Some(Duration::from_secs(3600)));
    vec![
        Measure::new("fast line, direct", seconds(fast.end), Better::Less)
            .beside(5.0, Rule::Within(0.1)),
        Measure::new("slow line, direct", seconds(slow.end), Better::Less)
            .beside(198.0, Rule::Within(0.1)),
        Measure::new(
            "slow line, watcher that asks for each result",
            seconds(polled.end),
            Better::Less,
        )
        .beside(233.0, Rule::Within(0.05)),
        Measure::new(
            "slow line, watcher that is sent each result",
            seconds(watched.end),
            Better::Less,
        )
        .beside(233.0, Rule::Within(0.05)),
        Measure::new("slow line, direct, adaptive", seconds(adaptive.end), Better::Less),
        Measure::new("volunteer server: workers done", seconds(relayed.near), Better::Less),
        Measure::new("volunteer server: submitter has all", seconds(relayed.end), Better::Less),
        Measure::new(
            "volunteer server that fetches all: workers done",
            seconds(ahead.near),
            Better::Less,
        )
        .beside(5.0, Rule::Within(0.5)),
        Measure::new(
            "volunteer server that fetches all: submitter has all",
            seconds(ahead.end),
            Better::Less,
        ),
    ]
}

fn relay(bulk: Option<Duration>) -> Run {
    lines::run(&Setup { bulk, ..setup(MODEM, Some(ETHERNET), Grain::Adaptive, None) })
}

fn play(line: Line, relay: Option<Line>, grain: Grain, watcher: Option<u64>) -> Run {
    lines::run(&setup(line, relay, grain, watcher))
}

fn setup(line: Line, relay: Option<Line>, grain: Grain, watcher: Option<u64>) -> Setup {
    // What the fast line itself takes is part of the printed time.
    let busy = FAST * f64::from(WORKERS) - BLOCKS as f64 * 0.004;
    let time = (busy * 1e6 / BLOCKS as f64) as u64;
    let work = Work { times: vec![time; BLOCKS], input: 40, output: OUTPUT };
    Setup { work, workers: WORKERS, grain, line, relay, bulk: None, watcher }
}
