//! `bayan evidence`: files that accuse a peer, read and tried on any machine (`show`, `verify`), and
//! those that this peer keeps (`list`, `export`, in `kept`).

mod kept;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, IsTerminal as _, Read, Write as _},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bayan_engine::{Engines, Options};
use bayan_protocol::{
    evidence::{BadResult, Doubt, EvidenceError, Part, Piece, Verdict},
    id::Hash,
    limits::{MAX_EVIDENCE, MAX_EVIDENCE_FUEL},
    result::Outcome,
    task::Status,
};
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::{
    Context,
    exit::{Code, Refusal},
    text,
};
use crate::evidence::{Bounds, Rerun, rerun};

/// Nothing is said about a run that is over sooner.
const SOON: Duration = Duration::from_secs(1);
/// Between two lines where there is no terminal.
const LINE: Duration = Duration::from_secs(5);

/// Look at evidence of a wrong result, or try it by running the task again
///
/// `show` and `verify` need no peer, no network and no data directory.
#[derive(Debug, Subcommand)]
pub(super) enum EvidenceCommand {
    Show(ShowArgs),
    Verify(VerifyArgs),
    /// List the evidence that this peer keeps: of each result that it proved wrong itself
    List,
    Export(kept::ExportArgs),
}

/// Show who is accused of what, and whether the accused signed it; runs nothing
#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The evidence; - is standard input
    file: PathBuf,
}

/// Run the task again, and say whether what the accused signed is wrong
///
/// Ends with 0 if it is proven wrong, 6 if it is right, 7 if this machine cannot tell, and 5 if the file is no
/// evidence or does not hold.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The evidence; - is standard input
    file: PathBuf,
    /// A part of the task that is missing in the file: module, input or data file
    #[arg(long, value_name = "FILE")]
    blob: Vec<PathBuf>,
    /// Do not run a task whose fuel limit is higher, in units of fuel
    #[arg(long, value_name = "N", default_value_t = MAX_EVIDENCE_FUEL)]
    max_fuel: u64,
    /// Give up a run after so many seconds [default: 600]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    wall: Option<u64>,
}

/// Runs the command.
pub(super) fn run(context: &Context, command: &EvidenceCommand) -> anyhow::Result<Code> {
    match command {
        EvidenceCommand::Show(args) => show(context, args),
        EvidenceCommand::Verify(args) => verify(context, args),
        EvidenceCommand::List => kept::list(context),
        EvidenceCommand::Export(args) => kept::export(context, args),
    }
}

fn show(context: &Context, args: &ShowArgs) -> anyhow::Result<Code> {
    let (evidence, size) = read(&args.file)?;
    let checks = Checks::of(&evidence);
    if context.json {
        let mut value = about(&evidence);
        value["size"] = json!(size);
        value["checks"] = checks.as_json();
        value["holds"] = json!(checks.hold());
        text::json(&value)?;
    } else {
        let mut lines = describe(&evidence, size);
        lines.extend(checks.in_words(&evidence));
        text::line(&lines.join("\n"))?;
    }
    Ok(if checks.hold() { Code::Done } else { Code::Refused })
}

fn verify(context: &Context, args: &VerifyArgs) -> anyhow::Result<Code> {
    let (evidence, _) = read(&args.file)?;
    let checked = evidence.checked().map_err(|error| refusal(&args.file, &error))?;
    let evidence = checked.evidence();
    let blobs = supplied(evidence, &args.blob)?;
    let mut bounds = Bounds { fuel: args.max_fuel, ..Bounds::default() };
    if let Some(seconds) = args.wall {
        bounds.wall = Duration::from_secs(seconds);
    }
    let begun = Instant::now();
    let done = with_progress(context.json, || {
        // Not before it is known that there is something to run.
        match checked.ready(bounds.fuel, |hash| blobs.contains_key(hash)) {
            Err(doubt) => Ok(Rerun { verdict: Verdict::Inconclusive(doubt), runs: Vec::new() }),
            Ok(()) => {
                let engines =
                    Engines::start(Options::new(1), |_, _| {}).context("cannot start an engine")?;
                rerun(&engines, &checked, |hash| blobs.get(hash).cloned(), bounds)
                    .context("cannot hand the data files over to an engine")
            }
        }
    })?;
    let took = begun.elapsed();
    if context.json {
        text::json(&verdict_json(evidence, &done, took))?;
    } else {
        text::line(&verdict_words(evidence, &done, took).join("\n"))?;
    }
    Ok(match done.verdict {
        Verdict::Proven(_) => Code::Done,
        Verdict::Refuted => Code::Refuted,
        Verdict::Inconclusive(_) => Code::Inconclusive,
    })
}

/// Reads a file, and not more of it than evidence has; with its size.
fn read(path: &Path) -> anyhow::Result<(BadResult, u64)> {
    let bytes = if path.as_os_str() == "-" {
        at_most(io::stdin().lock()).context("cannot read standard input")?
    } else {
        let failed = || format!("cannot read {}", path.display());
        let file = File::open(path).with_context(failed)?;
        let about = file.metadata().with_context(failed)?;
        if about.len() > MAX_EVIDENCE as u64 {
            return Err(refusal(path, &EvidenceError::Oversized(about.len())));
        }
        at_most(file).with_context(failed)?
    };
    let evidence = BadResult::decode(&bytes).map_err(|error| refusal(path, &error))?;
    Ok((evidence, bytes.len() as u64))
}

/// One byte more than is taken is enough to refuse it.
fn at_most(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_EVIDENCE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn refusal(path: &Path, error: &EvidenceError) -> anyhow::Error {
    let next = match error {
        EvidenceError::Version(_) => "; install a newer version",
        EvidenceError::Malformed
        | EvidenceError::Trailing(_)
        | EvidenceError::NotCanonical
        | EvidenceError::Blob(_) => "; get the file anew from whoever wrote it",
        _ => "",
    };
    Refusal(format!("{}: {error}{next}", path.display())).into()
}

/// The files given for parts that are missing.
fn supplied(evidence: &BadResult, paths: &[PathBuf]) -> anyhow::Result<BTreeMap<Hash, Vec<u8>>> {
    let parts = evidence.task.parts();
    let mut blobs = BTreeMap::new();
    for path in paths {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let hash = Hash::of(&bytes);
        if !parts.iter().any(|part| part.hash == hash) {
            let missing = evidence.missing(|_| false);
            let missing: Vec<String> = missing.iter().map(part_words).collect();
            let missing = if missing.is_empty() {
                "the file has all of it".to_owned()
            } else {
                format!("missing: {}", missing.join(", "))
            };
            return Err(anyhow::anyhow!(
                "{} ({hash}) is no part of the task; {missing}",
                path.display()
            ));
        }
        blobs.insert(hash, bytes);
    }
    Ok(blobs)
}

/// Whether each thing holds that can be told without running the task.
struct Checks([(&'static str, Result<(), EvidenceError>); 4]);

impl Checks {
    fn of(evidence: &BadResult) -> Self {
        Self([
            ("signed", evidence.check_proof()),
            ("task", evidence.check_task()),
            ("right", evidence.check_right()),
            ("blobs", evidence.check_blobs()),
        ])
    }

    fn hold(&self) -> bool {
        self.0.iter().all(|(_, result)| result.is_ok())
    }

    fn as_json(&self) -> Value {
        let entry = |(name, result): &(&str, Result<(), EvidenceError>)| {
            let error = result.as_ref().err().map(ToString::to_string);
            ((*name).to_owned(), json!({ "holds": error.is_none(), "error": error }))
        };
        Value::Object(self.0.iter().map(entry).collect())
    }

    fn in_words(&self, evidence: &BadResult) -> Vec<String> {
        let proof = &evidence.proof;
        let good = [
            format!(
                "the accused signed this, as result {} of a batch of {}",
                u64::from(proof.index) + 1,
                proof.count
            ),
            "it is the one that the signed result is for".to_owned(),
            String::new(),
            "every blob in the file is a part of the task, unchanged".to_owned(),
        ];
        let names = ["signed", "task", "right", "blobs"];
        let lines =
            self.0.iter().zip(good).zip(names).filter_map(
                |(((_, result), good), name)| match result {
                    Ok(()) if good.is_empty() => None,
                    Ok(()) => Some(field(name, &format!("yes: {good}"))),
                    Err(error) => Some(field(name, &format!("NO: {error}"))),
                },
            );
        let mut lines: Vec<String> = lines.collect();
        lines.push(field(
            "verdict",
            if self.hold() {
                "not known: `bayan evidence verify` runs the task and says whether the result is wrong"
            } else {
                "none: this file proves nothing"
            },
        ));
        lines
    }
}

fn field(name: &str, value: &str) -> String {
    format!("{name:<10} {value}")
}

fn describe(evidence: &BadResult, size: u64) -> Vec<String> {
    let (leaf, task) = (&evidence.proof.leaf, &evidence.task);
    let mut lines = vec![
        field("evidence", &evidence.id().to_string()),
        field("accused", &leaf.worker.to_string()),
        field("submitter", &leaf.submitter.to_string()),
        field("job", &leaf.job.to_string()),
        field("task", &leaf.task.to_string()),
    ];
    for part in task.parts() {
        let name = match &part.piece {
            Piece::Module => "module",
            Piece::Input => "input",
            Piece::Data(_) => "data",
        };
        let file = match &part.piece {
            Piece::Data(name) => format!("{}, ", text::printable(name, 60)),
            _ => String::new(),
        };
        let here = match evidence.blobs.get(&part.hash) {
            Some(bytes) => format!("{} in the file", text::bytes(bytes.len() as u64)),
            None => "not in the file".to_owned(),
        };
        lines.push(field(name, &format!("{file}{}, {here}", part.hash)));
    }
    if !task.args.is_empty() {
        lines.push(field("arguments", &text::printable(&task.args.join(" "), 200)));
    }
    for (name, value) in &task.env {
        lines.push(field("variable", &text::printable(&format!("{name}={value}"), 200)));
    }
    lines.extend([
        field(
            "limits",
            &format!(
                "{} of memory, {} units of fuel, {} of output",
                text::bytes(task.memory),
                task.fuel,
                text::bytes(task.output)
            ),
        ),
        field("profile", &text::printable(&task.profile, 60)),
        field("claimed", &outcome_words(&evidence.claim())),
        field(
            "right",
            &match &evidence.right {
                Some(right) => format!("{}, as the file has it", outcome_words(right)),
                None => "the file does not say".to_owned(),
            },
        ),
        field("size", &format!("{}, blobs {}", text::bytes(size), text::bytes(evidence.carried()))),
    ]);
    lines
}

fn outcome_words(outcome: &Outcome) -> String {
    // Not those of `text`: no option of this command would change anything.
    let status = match outcome.status {
        Status::OutOfFuel => "out of fuel".to_owned(),
        Status::OutputLimit => "over its output limit".to_owned(),
        Status::WallTime => "out of time".to_owned(),
        other => text::status(Some(other)),
    };
    format!("{status}, output {}, {} units of fuel", outcome.output, outcome.fuel)
}

fn part_words(part: &Part) -> String {
    text::printable(&part.to_string(), 400)
}

/// What both commands say about a file.
fn about(evidence: &BadResult) -> Value {
    let (leaf, task) = (&evidence.proof.leaf, &evidence.task);
    let part = |part: &Part| {
        let len = evidence.blobs.get(&part.hash).map(|bytes| bytes.len());
        let mut value = part_json(part);
        value["len"] = json!(len);
        value
    };
    json!({
        "id": evidence.id(),
        "accused": leaf.worker,
        "submitter": leaf.submitter,
        "job": leaf.job,
        "task": leaf.task,
        "module": task.module,
        "parts": task.parts().iter().map(part).collect::<Vec<_>>(),
        "args": task.args,
        "env": task.env,
        "limits": { "memory": task.memory, "fuel": task.fuel, "output": task.output },
        "profile": task.profile,
        "index": evidence.proof.index,
        "count": evidence.proof.count,
        "claim": evidence.claim(),
        "right": evidence.right,
        "blobs": evidence.carried(),
    })
}

fn part_json(part: &Part) -> Value {
    let (piece, name) = match &part.piece {
        Piece::Module => ("module", None),
        Piece::Input => ("input", None),
        Piece::Data(name) => ("data", Some(name)),
    };
    json!({ "part": piece, "name": name, "hash": part.hash })
}

fn verdict_json(evidence: &BadResult, done: &Rerun, took: Duration) -> Value {
    let mut value = about(evidence);
    let (verdict, differs, doubt) = match &done.verdict {
        Verdict::Proven(differs) => ("proven", differs.names(), None),
        Verdict::Refuted => ("refuted", Vec::new(), None),
        Verdict::Inconclusive(doubt) => ("inconclusive", Vec::new(), Some(doubt)),
    };
    let missing = match doubt {
        Some(Doubt::Missing(parts)) => parts.iter().map(part_json).collect(),
        _ => Vec::new(),
    };
    value["verdict"] = json!(verdict);
    value["differs"] = json!(differs);
    value["reason"] = json!(doubt.map(ToString::to_string));
    value["missing"] = json!(missing);
    value["rerun"] = json!(done.runs.first());
    value["runs"] = json!(done.runs.len());
    value["seconds"] = json!(took.as_secs_f64());
    value
}

fn verdict_words(evidence: &BadResult, done: &Rerun, took: Duration) -> Vec<String> {
    let claim = evidence.claim();
    let mut lines = vec![
        field("accused", &evidence.accused().to_string()),
        field("task", &evidence.proof.leaf.task.to_string()),
        field("claimed", &outcome_words(&claim)),
    ];
    if let Some(run) = done.runs.first() {
        let times = text::count(done.runs.len() as u64, "run", "runs");
        let words = outcome_words(run);
        lines.push(field("here", &format!("{words} ({times}, {})", text::duration(took))));
        if let Some(right) = evidence.right.filter(|right| right != run) {
            lines.push(field("right", &format!("{}, as the file has it", outcome_words(&right))));
            lines.push(field("note", "what the file gives as right is not what came out here"));
        }
    }
    let words = match &done.verdict {
        Verdict::Proven(differs) => {
            format!("proven: the accused signed a wrong {}", differs.names().join(" and "))
        }
        Verdict::Refuted => {
            "refuted: the result is right; whoever accused was wrong, by mistake or not".to_owned()
        }
        Verdict::Inconclusive(doubt) => {
            format!("inconclusive: {}{}", text::printable(&doubt.to_string(), 2000), advice(doubt))
        }
    };
    lines.push(field("verdict", &words));
    lines
}

/// What to do about it, if anything.
fn advice(doubt: &Doubt) -> String {
    match doubt {
        Doubt::Missing(_) => "; give each as a file with --blob".to_owned(),
        Doubt::TooExpensive { limit, .. } => format!("; --max-fuel {limit} runs it all the same"),
        Doubt::Rerun(Status::WallTime) => "; give it more time with --wall".to_owned(),
        Doubt::Profile(_) => "; try a version of this program that knows it".to_owned(),
        Doubt::Rerun(_) | Doubt::Module(_) => "; try another machine".to_owned(),
        Doubt::Unsteady => "; its memory or processor is faulty: try another machine".to_owned(),
        Doubt::Claim(_) | Doubt::NotRun => String::new(),
    }
}

/// Does something that may take long, and says on standard error that it does.
fn with_progress<T>(quiet: bool, work: impl FnOnce() -> T) -> T {
    let (over, wait) = mpsc::channel::<()>();
    thread::scope(|scope| {
        if !quiet {
            scope.spawn(move || tell(&wait));
        }
        let done = work();
        drop(over);
        done
    })
}

/// Says how long it has taken so far, until the other end is gone.
fn tell(over: &mpsc::Receiver<()>) {
    let begun = Instant::now();
    let goes_on = |pace| matches!(over.recv_timeout(pace), Err(mpsc::RecvTimeoutError::Timeout));
    if !goes_on(SOON) {
        return;
    }
    if io::stderr().is_terminal() {
        let bar = ProgressBar::new_spinner().with_message("running the task again");
        while goes_on(Duration::from_millis(100)) {
            let took = text::duration(Duration::from_secs(begun.elapsed().as_secs()));
            bar.set_message(format!("running the task again, {took} so far"));
            bar.tick();
        }
        bar.finish_and_clear();
        return;
    }
    loop {
        // That nobody reads it is no reason to end.
        let took = text::duration(begun.elapsed());
        let _ = writeln!(io::stderr(), "running the task again, {took} so far");
        if !goes_on(LINE) {
            return;
        }
    }
}
