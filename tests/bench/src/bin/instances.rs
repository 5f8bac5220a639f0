//! What one small task costs: an echo with distinct inputs, each in a fresh instance, through an
//! engine process as a peer runs it, by the sandbox in this process, and by wasmtime alone.
//!
//! The engine process runs at the lowest priority, so that its time on the clock means something
//! on a quiet machine only; its processor time does anywhere.

use std::{env, thread};

use anyhow::{Context as _, anyhow};
use bayan_bench::{
    instances::{Cost, Guest, Memory, Way, guests},
    turns::Turns,
};
use clap::Parser;
use serde_json::json;

/// Measures what instances cost.
#[derive(Parser)]
struct Options {
    /// Turns of every way to run tasks; one more goes before them.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(9..))]
    turns: u32,
    /// Tasks of a turn.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1000..))]
    tasks: u64,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    if env::args_os().nth(1).is_some_and(|argument| argument == bayan_engine::ARGUMENT) {
        bayan_engine::child_main();
    }
    let options = Options::parse();
    let measure = thread::Builder::new().stack_size(bayan_sandbox::STACK);
    measure.spawn(move || all(&options))?.join().map_err(|_| anyhow!("measuring panicked"))?
}

fn all(options: &Options) -> anyhow::Result<()> {
    let mut results = Vec::new();
    for guest in guests()? {
        let mut ways = ways(&guest)?;
        let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); ways.len()];
        let mut next = 1;
        for turn in 0..=options.turns {
            for (way, costs) in ways.iter_mut().zip(&mut costs) {
                let cost = way.run(next, options.tasks).with_context(|| way.name())?;
                next += options.tasks;
                if turn > 0 {
                    costs.push(cost);
                }
            }
        }
        if !options.json {
            println!(
                "\nguest: {}; {} turns of {} tasks; microseconds a task, medians (min..max)\n\n{:<38} {:>26} {:>17} {:>26}",
                guest.name,
                options.turns,
                options.tasks,
                "",
                "processor time",
                "of it, engine",
                "on the clock"
            );
        }
        for (way, costs) in ways.iter().zip(&costs) {
            if options.json {
                results.push(as_json(&guest, way, costs));
            } else {
                line(way, costs);
            }
        }
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&results)?);
    }
    Ok(())
}

fn ways(guest: &Guest) -> anyhow::Result<[Way; 5]> {
    Ok([
        Way::process(guest).context("engine process")?,
        Way::sandbox(guest).context("sandbox")?,
        Way::bare(guest, Memory::OnDemand)?,
        Way::bare(guest, Memory::Pooled)?,
        Way::bare(guest, Memory::Resident)?,
    ])
}

fn turns(costs: &[Cost], of: impl Fn(&Cost) -> f64) -> Turns {
    Turns(costs.iter().map(of).collect())
}

fn engine(costs: &[Cost]) -> Option<Turns> {
    costs.iter().map(|cost| cost.engine).collect::<Option<_>>().map(Turns)
}

fn line(way: &Way, costs: &[Cost]) {
    let cell =
        |turns: &Turns| format!("{:.1} ({:.1}..{:.1})", turns.median(), turns.min(), turns.max());
    println!(
        "{:<38} {:>26} {:>17} {:>26}",
        way.name(),
        cell(&turns(costs, |cost| cost.processor)),
        engine(costs).map_or_else(|| "-".to_owned(), |turns| format!("{:.1}", turns.median())),
        cell(&turns(costs, |cost| cost.wall))
    );
}

fn as_json(guest: &Guest, way: &Way, costs: &[Cost]) -> serde_json::Value {
    json!({
        "guest": guest.name,
        "way": way.name(),
        "processor_micros": turns(costs, |cost| cost.processor).0,
        "engine_micros": engine(costs).map(|turns| turns.0),
        "wall_micros": turns(costs, |cost| cost.wall).0,
    })
}
