//! Fuzzing by hand: as many modules as there is time for.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bayan_packing_tests::engines::THREAD_STACK;
use bayan_packing_tests::fuzz::{Fuzzer, Tally, replay};
use clap::Parser;

/// Generates modules, runs them unpacked and packed on several engines, and compares.
#[derive(Debug, Parser)]
struct Options {
    /// How long to go on.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many threads, each with a Node.js of its own.
    #[arg(long)]
    jobs: Option<usize>,
    /// A flag for V8, such as --no-liftoff; may be given several times.
    #[arg(long, allow_hyphen_values = true)]
    v8: Vec<String>,
    /// Where modules that disagree are written to.
    #[arg(long, default_value = ".")]
    out: PathBuf,
    /// Runs this module alone, with the arguments of --seed.
    #[arg(long)]
    replay: Option<PathBuf>,
    /// Goes on after a disagreement.
    #[arg(long)]
    keep_going: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let jobs = match &options.replay {
        Some(_) => 1,
        None => options
            .jobs
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
    };
    let started = Instant::now();
    let next = AtomicU64::new(options.seed);
    let stop = AtomicBool::new(false);
    let all = Mutex::new(Tally::default());
    std::thread::scope(|scope| -> Result<()> {
        let threads: Vec<_> = (0..jobs)
            .map(|_| {
                std::thread::Builder::new().stack_size(THREAD_STACK).spawn_scoped(scope, || {
                    let tally = run(&options, started, &next, &stop)?;
                    all.lock().expect("no thread panicked").add(tally);
                    anyhow::Ok(())
                })
            })
            .collect::<std::io::Result<_>>()
            .context("cannot start threads")?;
        threads.into_iter().try_for_each(|thread| thread.join().expect("no thread panicked"))
    })?;
    let tally = all.into_inner().expect("no thread panicked");
    println!("{tally}");
    println!("{:.1} modules/s", tally.modules as f64 / started.elapsed().as_secs_f64());
    ensure!(tally.findings.is_empty(), "{} modules disagree", tally.findings.len());
    if options.replay.is_none() && !tally.enough() {
        bail!("too little was compared to say anything");
    }
    Ok(())
}

fn run(options: &Options, started: Instant, next: &AtomicU64, stop: &AtomicBool) -> Result<Tally> {
    let flags: Vec<&str> = options.v8.iter().map(String::as_str).collect();
    let mut fuzzer = Fuzzer::start(&flags).map_err(anyhow::Error::msg)?.writing_to(&options.out);
    let mut tally = Tally::default();
    if let Some(path) = &options.replay {
        let wasm =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let wasm = wat::parse_bytes(&wasm)?;
        fuzzer.module(&wasm, options.seed, &mut tally);
        tally.findings.iter().for_each(|finding| println!("{}", finding.what));
        return Ok(tally);
    }
    let end = Duration::from_secs(options.seconds);
    while started.elapsed() < end && !stop.load(Ordering::Relaxed) {
        let seen = tally.findings.len();
        fuzzer.seed(next.fetch_add(1, Ordering::Relaxed), &mut tally);
        for finding in &tally.findings[seen..] {
            let path = options.out.join(format!("disagreement-{}.wasm", finding.seed));
            std::fs::write(&path, &finding.wasm)
                .with_context(|| format!("cannot write {}", path.display()))?;
            println!("{}\n{}", finding.what, replay(&path, finding.seed));
            stop.store(!options.keep_going, Ordering::Relaxed);
        }
    }
    Ok(tally)
}
