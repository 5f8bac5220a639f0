//! Bayanihan's Mandelbrot speedup: efficiency by workers and depth, fixed and adaptive grain.

use fastrand::Rng;
use mandelbrot::{Picture, Settings};

use crate::{
    lines::{self, Grain, Line, Setup, Work},
    report::{Answer, Better, Measure, Plot, Rule, Section, Series},
    statistics::Estimate,
    study::Study,
};

/// Depths, and the efficiency printed for 16 workers.
const PRINTED: [(u16, f64); 4] = [(2048, 0.91), (1037, 0.85), (198, 0.42), (3, 0.01)];
/// Microseconds of one step of one point then, and now (measured with a native kernel).
const STEP_THEN: f64 = 1.0;
const STEP_NOW: f64 = 0.003;
const PIXELS: u64 = 2500;

/// The lab's Ethernet, with the server's time for a message to be found.
fn then(serve: u64) -> Line {
    Line { bits: 1e7, latency: 500, overhead: 300, serve }
}

/// A gigabit line across a city.
const NOW: Line = Line { bits: 1e9, latency: 1000, overhead: 300, serve: 50 };

pub(super) fn run(study: &Study) -> Answer {
    let counts = counts(study);
    let serve = fit(&counts);
    let sections = vec![
        section("Their network", "then", &counts, STEP_THEN, then(serve), serve),
        section("Today's network", "now", &counts, STEP_NOW, NOW, NOW.serve),
    ];
    Answer {
        name: "paper bayanihan-speedup".to_owned(),
        question: "How well do up to 16 workers share a Mandelbrot picture of 800x800 pixels in 256 \
            blocks of 50x50, at depths that make the work large or next to nothing, with one block at \
            a time or as the real `pool` machine cuts it?"
            .to_owned(),
        sources: "Sarmenta and Hirano 1999: with 16 workers 91, 85, 42 and 1 % at depths 2048, 1037, \
            198 and 3."
            .to_owned(),
        sections,
    }
}

/// Steps of each block at the greatest depth, point by point; at less depth each is cut off there.
fn counts(study: &Study) -> Vec<Vec<u16>> {
    // A quarter as wide is enough for a small run: the same picture, fewer points a block.
    let side = study.size.pick(200, 800);
    let settings = Settings { width: side, height: side, block: side / 16, ..Settings::default() };
    let Ok(picture) = Picture::new(settings) else { return Vec::new() };
    let block = |index: u64| {
        let bytes = picture.block(index).unwrap_or_default();
        bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect()
    };
    (0..picture.blocks()).map(block).collect()
}

fn work(counts: &[Vec<u16>], depth: u16, step: f64) -> Work {
    let time = |block: &Vec<u16>| {
        let steps: u64 = block.iter().map(|count| u64::from((*count).min(depth))).sum();
        let scale = PIXELS as f64 / block.len().max(1) as f64;
        (steps as f64 * scale * step).round().max(1.0) as u64
    };
    Work { times: counts.iter().map(time).collect(), input: 40, output: 4 * PIXELS }
}

/// Tasks in an order that has nothing to do with the picture, as a submitter hands them out.
fn mixed(mut work: Work) -> Work {
    Rng::with_seed(1).shuffle(&mut work.times);
    work
}

fn efficiency(work: Work, workers: u8, grain: Grain, line: Line) -> f64 {
    let alone: u64 = work.times.iter().sum();
    let setup = Setup { work, workers, grain, line, relay: None, bulk: None, watcher: None };
    alone as f64 / 1e6 / (f64::from(workers) * lines::run(&setup).end)
}

/// The server's time for a message that gives the printed efficiency at depth 198.
fn fit(counts: &[Vec<u16>]) -> u64 {
    let (mut low, mut high) = (0, 200_000);
    while high - low > 20 {
        let middle = (low + high) / 2;
        let found = efficiency(work(counts, 198, STEP_THEN), 16, Grain::Fixed, then(middle));
        if found > 0.42 { low = middle } else { high = middle }
    }
    low
}

fn section(
    title: &str,
    name: &str,
    counts: &[Vec<u16>],
    step: f64,
    line: Line,
    serve: u64,
) -> Section {
    let (mut measures, mut curves, mut marks) = (Vec::new(), Vec::new(), Vec::new());
    for (depth, printed) in PRINTED {
        for grain in [Grain::Fixed, Grain::Adaptive] {
            let word = if grain == Grain::Fixed { "fixed" } else { "adaptive" };
            let mut points = Vec::new();
            for workers in [1, 2, 4, 8, 12, 16] {
                let work = work(counts, depth, step);
                let work = if grain == Grain::Fixed { work } else { mixed(work) };
                let found = efficiency(work, workers, grain, line);
                points.push((f64::from(workers), found));
                if matches!(workers, 1 | 4 | 16) {
                    let key =
                        format!("{name}, depth {depth}, {word}, {workers} workers: efficiency");
                    let one = Measure::new(key, Estimate::exact(found), Better::More);
                    let compares = name == "then" && grain == Grain::Fixed && workers == 16;
                    measures.push(if compares {
                        one.beside(printed, Rule::Within(0.1))
                    } else {
                        one
                    });
                }
            }
            curves.push(Series::line(format!("depth {depth}, {word}"), points));
        }
        marks.push((16.0, printed));
    }
    if name == "then" {
        curves.push(Series::marks("printed", marks));
    }
    let text = if name == "then" {
        format!(
            "10 Mbit/s that all share. Fixed: one block is asked for after the other, row by row. \
             Adaptive: as the pool cuts it, in an order that has nothing to do with the picture, as \
             submitters of bayan hand tasks out. What a step of a point \
             took is assumed ({STEP_THEN} microseconds); what the server needed for a message is not \
             printed and was fitted to the 42 % at depth 198: {serve} microseconds. The other depths \
             follow from that. They depend on the picture, \
             which is not known: ours, the whole set, has blocks at its edge that are next to nothing at \
             any depth, for which workers queue at the server, and where every point runs for at least \
             three steps more work is left at depth 3 than 1 % says."
        )
    } else {
        format!(
            "1 Gbit/s, a millisecond one way, {STEP_NOW} microseconds a step and {serve} a message: \
             computers have become faster by more than lines have become quicker, so small blocks \
             pay even less one at a time, and cutting by speed pays more."
        )
    };
    Section {
        title: title.to_owned(),
        text,
        measures,
        plot: Some(Plot {
            name: name.to_owned(),
            title: format!("Efficiency, {}", title.to_lowercase()),
            x: "workers".to_owned(),
            y: "efficiency".to_owned(),
            log: (false, false),
            series: curves,
            ..Plot::default()
        }),
    }
}
