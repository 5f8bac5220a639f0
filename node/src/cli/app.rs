//! `bayan app check` and `bayan app list`.

use std::{fs, io::Read as _, path::PathBuf, sync::Arc, thread, time::Duration};

use anyhow::{Context as _, anyhow};
use bayan_protocol::{
    id::Hash,
    task::{PROFILE_V1, Program},
};
use bayan_sandbox::{Engine, Outcome, Task, Verdict, admission::PAGE};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Context, apps, exit::Code, job_args::ProgramArgs, text};

/// Stack of the thread that runs the guest: what the sandbox asks for, and as much again.
const STACK: usize = 8 << 20;

/// Check or list apps
#[derive(Debug, Subcommand)]
pub(super) enum AppCommand {
    Check(CheckArgs),
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

/// Runs the command.
pub(super) fn run(context: &Context, command: &AppCommand) -> anyhow::Result<Code> {
    match command {
        AppCommand::Check(args) => check(context, args),
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
    let verdict = match app.report.problems.as_slice() {
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

fn as_json(app: &apps::App, verdict: Option<&Verdict>) -> serde_json::Value {
    let report = &app.report;
    let outcome = verdict.map(first);
    json!({
        "module": Hash::of(&app.wasm),
        "size": report.size,
        "imports": report.imports.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "memory": report.memory_bytes(),
        "problems": report.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
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
        data.push((spec.name.clone(), Arc::from(bytes)));
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

/// Runs the task twice, on a thread whose stack is known to be large enough.
fn twice(wasm: &[u8], task: Task) -> anyhow::Result<Verdict> {
    let engine = Engine::new(None)?;
    let module = engine.load(wasm)?;
    let run = move || engine.check_determinism(&module, &task);
    let thread =
        thread::Builder::new().stack_size(STACK).spawn(run).context("cannot start a thread")?;
    thread.join().map_err(|_| anyhow!("the engine failed; this is a fault of this program"))
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
        None => format!("refused: it {}", apps::reasons(&app.report.problems)),
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
