//! `bayan app check`, `pack` and `list`.

use std::{fs, io::Read as _, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use bayan_engine::{Data, Engines, Options, Outcome, Task, Verdict};
use bayan_packing::{
    Report,
    limits::{PAGE, STACK},
};
use bayan_protocol::{
    id::Hash,
    task::{PROFILE_V1, Program},
};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Context, apps, exit::Code, job_args::ProgramArgs, text};

/// Check, pack or list apps
#[derive(Debug, Subcommand)]
pub(super) enum AppCommand {
    Check(CheckArgs),
    Pack(PackArgs),
    /// List the apps that can be run by name
    ///
    /// An app is a file NAME.wasm in one of: the directories of BAYAN_APPS, `apps` in the data directory,
    /// ./apps/modules.
    List,
}

/// Check that a module may run, and that two runs of it agree
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Path of a module, or the name of an installed app
    module: String,
    #[command(flatten)]
    program: ProgramArgs,
    /// The task's standard input; - is that of this command [default: empty]
    #[arg(long, value_name = "FILE")]
    stdin: Option<PathBuf>,
}

/// Show what packing does to a module
///
/// Every peer packs a module before it runs it: fuel is counted, stack and memory are bounded and NaNs made
/// canonical inside the module itself. Peers pack for themselves; nobody has to do it beforehand.
#[derive(Debug, Args)]
pub(super) struct PackArgs {
    /// Path of a module, or the name of an installed app
    module: String,
    /// Write the packed module to this file
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn run(context: &Context, command: &AppCommand) -> anyhow::Result<Code> {
    match command {
        AppCommand::Check(args) => check(context, args),
        AppCommand::Pack(args) => pack(context, args),
        AppCommand::List => list(context),
    }
}

fn list(context: &Context) -> anyhow::Result<Code> {
    let installed = apps::installed(context);
    if context.json {
        for (name, path) in &installed {
            text::json(&json!({ "name": name, "path": path }))?;
        }
    } else if installed.is_empty() {
        text::line(
            "no apps are installed; put NAME.wasm into `apps` in the data directory, or name a directory of them in BAYAN_APPS",
        )?;
    } else {
        let mut rows = vec![vec!["app".to_owned(), "size".to_owned(), "path".to_owned()]];
        rows.extend(installed.iter().map(|(name, path)| {
            let size = fs::metadata(path).map_or(0, |metadata| metadata.len());
            vec![name.clone(), text::bytes(size), path.display().to_string()]
        }));
        text::put(text::table(&rows).as_bytes())?;
    }
    Ok(Code::Done)
}

fn check(context: &Context, args: &CheckArgs) -> anyhow::Result<Code> {
    let app = apps::read(context, &args.module)?;
    let verdict = match app.problems.as_slice() {
        [] => Some(twice(&app.wasm, task(&app, args)?)?),
        _ => None,
    };
    if context.json {
        text::json(&as_json(&app, verdict.as_ref()))?;
    } else {
        text::line(&describe(&app, verdict.as_ref()))?;
    }
    Ok(match &verdict {
        None => Code::Refused,
        Some(Verdict::Same(outcome)) if outcome.status.is_success() => Code::Done,
        Some(Verdict::Same(_)) => Code::TasksFailed,
        Some(Verdict::Differs(..) | Verdict::Inconclusive(_)) => Code::Error,
    })
}

fn pack(context: &Context, args: &PackArgs) -> anyhow::Result<Code> {
    let app = apps::load(context, &args.module)?;
    let packed = bayan_packing::pack(&app.wasm)?;
    if let Some(path) = &args.out {
        fs::write(path, &packed.wasm)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if context.json {
        text::json(&json!({
            "profile": PROFILE_V1,
            "module": Hash::of(&app.wasm),
            "packed": Hash::of(&packed.wasm),
            "packing": packing_json(&packed.report),
        }))?;
    } else {
        let mut lines = vec![
            format!("profile  {}", PROFILE_V1),
            format!("module   {}", Hash::of(&app.wasm)),
            format!("packed   {}", Hash::of(&packed.wasm)),
        ];
        lines.extend(packing_words(&packed.report));
        text::line(&lines.join("\n"))?;
    }
    Ok(Code::Done)
}

fn packing_json(report: &Report) -> serde_json::Value {
    json!({
        "size": report.size,
        "packed_size": report.packed_size,
        "functions": report.functions,
        "counted_frames": report.counted_functions,
        "largest_frame": report.largest_frame,
        "charges": report.places.charges,
        "refunds": report.places.refunds,
        "canonicalised": report.places.canonicalised,
        "start_fuel": report.start_fuel,
        "memory_min": report.memory_bytes(),
        "memory_max": report.memory_max.map(|pages| pages.saturating_mul(PAGE)),
    })
}

/// What packing did and what it costs, a line each.
fn packing_words(report: &Report) -> Vec<String> {
    let growth = match report.size {
        0 => 0.0,
        size => 100.0 * (report.packed_size as f64 / size as f64 - 1.0),
    };
    vec![
        format!("bytes    {} as it is, {} packed ({growth:+.0}%)", report.size, report.packed_size),
        format!(
            "fuel     charged at {} places, part of it given back at {}; {} before the first instruction",
            report.places.charges, report.places.refunds, report.start_fuel
        ),
        format!(
            "stack    {} of {} functions are counted; the largest frame takes {} of {}",
            report.counted_functions,
            report.functions,
            text::bytes(report.largest_frame),
            text::bytes(STACK),
        ),
        format!("NaNs     made canonical at {} places", report.places.canonicalised),
    ]
}

fn as_json(app: &apps::App, verdict: Option<&Verdict>) -> serde_json::Value {
    let report = &app.report;
    let outcome = verdict.map(first);
    json!({
        "module": Hash::of(&app.wasm),
        "size": report.size,
        "imports": report.imports.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "memory": report.memory_bytes(),
        "problems": app.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "status": outcome.map(|outcome| outcome.status),
        "fuel": outcome.map(|outcome| outcome.fuel),
        "output": outcome.map(|outcome| Hash::of(&outcome.output)),
        "output_len": outcome.map(|outcome| outcome.output.len()),
        "micros": outcome.map(|outcome| outcome.micros),
        "verdict": in_words(app, verdict),
    })
}

fn describe(app: &apps::App, verdict: Option<&Verdict>) -> String {
    let report = &app.report;
    let most = match report.memory_max {
        Some(pages) => format!("at most {}", text::bytes(pages.saturating_mul(PAGE))),
        None => "no maximum of its own".to_owned(),
    };
    let mut lines = vec![
        format!("module   {}", Hash::of(&app.wasm)),
        format!("size     {}", text::bytes(report.size as u64)),
        format!("memory   {} at first, {most}", text::bytes(report.memory_bytes())),
    ];
    lines.extend(
        report
            .imports
            .iter()
            .map(|import| format!("imports  {}", text::printable(&import.to_string(), 200))),
    );
    if let Some(outcome) = verdict.map(first) {
        let (len, hash) = (outcome.output.len() as u64, Hash::of(&outcome.output));
        lines.push(format!("fuel     {}", outcome.fuel));
        lines.push(format!("time     {}", text::duration(Duration::from_micros(outcome.micros))));
        lines.push(format!("output   {}, {hash}", text::bytes(len)));
        let log = String::from_utf8_lossy(&outcome.log);
        lines.extend(
            log.lines().take(10).map(|line| format!("log      {}", text::printable(line, 200))),
        );
    }
    lines.push(format!("verdict  {}", in_words(app, verdict)));
    lines.join("\n")
}

fn task(app: &apps::App, args: &CheckArgs) -> anyhow::Result<Task> {
    let stdin = match &args.stdin {
        None => Vec::new(),
        Some(path) if path.as_os_str() == "-" => {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes).context("cannot read standard input")?;
            bytes
        }
        Some(path) => fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
    };
    let mut data = Vec::new();
    for spec in &args.program.data {
        let bytes =
            fs::read(&spec.path).with_context(|| format!("cannot read {}", spec.path.display()))?;
        data.push((spec.name.clone(), Data::new(&bytes)?));
    }
    let (guest, env, limits) = (args.program.args()?, args.program.env(), args.program.limits());
    let program = Program {
        module: Hash::of(&app.wasm),
        module_len: app.wasm.len() as u64,
        args: guest.clone(),
        env: env.clone(),
        data: Vec::new(),
        limits,
        profile: PROFILE_V1.to_owned(),
        salt: Hash([0; 32]),
    };
    Ok(Task {
        id: program.task_id(&Hash::of(&stdin)),
        args: guest,
        env,
        stdin: Arc::from(stdin),
        data,
        limits,
    })
}

/// Runs the task twice.
fn twice(wasm: &[u8], task: Task) -> anyhow::Result<Verdict> {
    let engines = Engines::start(Options::new(1), |_, _| {}).context("cannot start an engine")?;
    let module = engines.prepare(wasm)?;
    Ok(Verdict::of(engines.run(&module, task.clone()), engines.run(&module, task)))
}

fn first(verdict: &Verdict) -> &Outcome {
    match verdict {
        Verdict::Same(outcome) | Verdict::Differs(outcome, _) | Verdict::Inconclusive(outcome) => {
            outcome
        }
    }
}

fn in_words(app: &apps::App, verdict: Option<&Verdict>) -> String {
    let status = |outcome: &Outcome| text::status(Some(outcome.status));
    match verdict {
        None => format!("refused: it {}", apps::reasons(&app.problems)),
        Some(Verdict::Same(outcome)) if outcome.status.is_success() => {
            "it may run, and two runs of this task agree".to_owned()
        }
        Some(Verdict::Same(outcome)) => {
            format!(
                "it may run, and two runs of this task agree, but the task fails: {}",
                status(outcome)
            )
        }
        Some(Verdict::Differs(..)) => {
            "two runs of this task differ: this is a fault of this program, please report it"
                .to_owned()
        }
        Some(Verdict::Inconclusive(outcome)) => {
            format!("it may run, but this task came to no result here: {}", status(outcome))
        }
    }
}
