//! `bayan-sim log` and `replay`: one seed of `chaos`, event by event.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, BufRead as _, BufWriter, Write},
    path::PathBuf,
    rc::Rc,
    str::FromStr,
};

use anyhow::{Context as _, anyhow};
use bayan_world::{
    Scheme, chaos,
    log::{Line, Reader},
};

use super::{FINE, FOUND};

/// What `log` is asked.
#[derive(Debug, clap::Args)]
pub(super) struct LogArgs {
    /// Which seed
    #[arg(long)]
    seed: u64,
    /// Where to write; standard output if not given
    #[arg(long, short)]
    out: Option<PathBuf>,
    /// What signatures are made of: `keyed`, a hash that takes no time, or `ed25519`, as between real peers
    #[arg(long, default_value_t = Scheme::Keyed)]
    signatures: Scheme,
}

/// What `replay` is asked.
#[derive(Debug, clap::Args)]
pub(super) struct ReplayArgs {
    /// Which seed
    #[arg(long)]
    seed: u64,
    /// What signatures are made of: `keyed`, a hash that takes no time, or `ed25519`, as between real peers
    #[arg(long, default_value_t = Scheme::Keyed)]
    signatures: Scheme,
    /// Where to stop: a line's number (`1200`), a time (`12.5s`), or a text that a line contains (`h3 crashes`)
    #[arg(long)]
    until: Until,
    /// Lines shown that lead there
    #[arg(long, default_value_t = 20)]
    before: usize,
    /// Lines shown that follow
    #[arg(long, default_value_t = 0)]
    then: u64,
    /// Goes on a line at a time, for each line on standard input; a number goes on by as many, q ends
    #[arg(long)]
    step: bool,
}

/// A condition on a line.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Until {
    Number(u64),
    Micros(u64),
    Text(String),
}

impl FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a condition is a line's number, a time such as 12.5s, or a text".into());
        }
        if let Ok(number) = text.parse() {
            return Ok(Self::Number(number));
        }
        let seconds = text.strip_suffix('s').and_then(|text| text.parse::<f64>().ok());
        Ok(match seconds.filter(|seconds| (0.0..1e9).contains(seconds)) {
            Some(seconds) => Self::Micros((seconds * 1e6) as u64),
            None => Self::Text(text.to_owned()),
        })
    }
}

impl Until {
    fn holds(&self, line: &Line<'_>) -> bool {
        match self {
            Self::Number(number) => line.number >= *number,
            Self::Micros(micros) => line.micros >= *micros,
            Self::Text(text) => line.text.contains(text),
        }
    }
}

pub(super) fn log(args: &LogArgs) -> anyhow::Result<u8> {
    let mut out: Box<dyn Write> = match &args.out {
        Some(path) => {
            let file = File::create(path)
                .with_context(|| format!("cannot write the log to {}", path.display()))?;
            Box::new(BufWriter::new(file))
        }
        None => Box::new(BufWriter::new(io::stdout())),
    };
    let failed = Rc::new(RefCell::new(None));
    let keep = Rc::clone(&failed);
    let reader: Reader = Box::new(move |line| match writeln!(out, "{line}") {
        Ok(()) => true,
        Err(error) => {
            *keep.borrow_mut() = Some(error);
            false
        }
    });
    let report = chaos::play(args.seed, args.signatures, Some(reader));
    if let Some(error) = failed.borrow_mut().take() {
        return Err(anyhow!(error).context("the log could not be written"));
    }
    for fault in &report.faults {
        eprintln!("{fault}");
    }
    Ok(if report.faults.is_empty() { FINE } else { FOUND })
}

/// What a replay has come to.
#[derive(Debug, Default)]
struct Place {
    latest: std::collections::VecDeque<String>,
    reached: bool,
    /// Lines to go on by before asking.
    more: u64,
}

pub(super) fn replay(args: &ReplayArgs) -> anyhow::Result<u8> {
    let (until, before, then, step) = (args.until.clone(), args.before, args.then, args.step);
    let place = Rc::new(RefCell::new(Place::default()));
    let shared = Rc::clone(&place);
    let reader: Reader = Box::new(move |line| {
        let mut place = shared.borrow_mut();
        if place.reached {
            println!("{line}");
        } else {
            place.latest.push_back(line.to_string());
            if place.latest.len() > before + 1 {
                place.latest.pop_front();
            }
            if !until.holds(line) {
                return true;
            }
            place.reached = true;
            place.more = then + 1;
            for line in &place.latest {
                println!("{line}");
            }
        }
        place.more -= 1;
        if place.more > 0 {
            return true;
        }
        place.more = if step { asked() } else { 0 };
        place.more > 0
    });
    let report = chaos::play(args.seed, args.signatures, Some(reader));
    if !place.borrow().reached {
        eprintln!("bayan-sim: seed {} ended before the condition held", args.seed);
        for fault in &report.faults {
            eprintln!("{fault}");
        }
        return Ok(FOUND);
    }
    Ok(FINE)
}

/// How many lines to go on by, as the user says; none at the end of the input.
fn asked() -> u64 {
    let mut text = String::new();
    match io::stdin().lock().read_line(&mut text) {
        Ok(0) | Err(_) => 0,
        Ok(_) => match text.trim() {
            "q" => 0,
            "" => 1,
            text => text.parse().unwrap_or(1),
        },
    }
}
