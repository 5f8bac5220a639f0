//! `bayan jobs`, `status`, `cancel`: the jobs of a peer.

use bayan_protocol::{
    delegate::DelegateView, job::Audience, record::JobState, source::JobView, verify::Policy,
};
use clap::Args;

use super::{Context, account, exit::Code, notes::Note, screen, session::Session, text};
use crate::{api::types::Removal, client::Client};

/// Show how a job stands
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// The job's id, or how it begins
    job: String,
}

/// End a job; its results so far are kept
#[derive(Debug, Args)]
pub(super) struct CancelArgs {
    /// The job's id, or how it begins
    job: String,
    /// Forget a job that is over, with its results
    #[arg(long)]
    forget: bool,
}

/// Runs `bayan jobs`.
pub(super) fn list(context: &Context) -> anyhow::Result<Code> {
    let session = Session::look(&context.data_dir)?;
    let mut jobs = session.client().jobs()?;
    jobs.sort_by_key(|job| job.submitted);
    if context.json {
        for job in &jobs {
            text::json(job)?;
        }
    } else if jobs.is_empty() {
        text::line("no jobs; submit one with `bayan run`")?;
    } else {
        let mut heading = vec!["job", "name", "state", "settled", "tasks", "failed", "submitted"];
        let delegated = jobs.iter().any(|job| job.delegate.is_some());
        heading.extend(delegated.then_some("delegate"));
        let mut rows = vec![heading.into_iter().map(str::to_owned).collect()];
        rows.extend(jobs.iter().map(|job| {
            let delegate = job
                .delegate
                .as_ref()
                .map_or_else(String::new, |one| format!("{} {}", one.peer.short(), answer(one)));
            let mut row = vec![
                job.job.short(),
                text::printable(&job.name, 40),
                state(job).to_owned(),
                job.settled.to_string(),
                job.tasks.to_string(),
                job.failed.to_string(),
                text::ago(job.submitted),
            ];
            row.extend(delegated.then_some(delegate));
            row
        }));
        text::put(text::table(&rows).as_bytes())?;
    }
    session.close()?;
    Ok(Code::Done)
}

/// Runs `bayan status`.
pub(super) fn status(context: &Context, args: &StatusArgs) -> anyhow::Result<Code> {
    let session = Session::look(&context.data_dir)?;
    let view = resolve(session.client(), &args.job)?;
    if context.json {
        text::json(&view)?;
    } else {
        text::put(describe(&view, &session).as_bytes())?;
    }
    session.close()?;
    Ok(Code::Done)
}

/// Runs `bayan cancel`.
pub(super) fn cancel(context: &Context, args: &CancelArgs) -> anyhow::Result<Code> {
    let session = Session::look(&context.data_dir)?;
    let view = resolve(session.client(), &args.job)?;
    let removed = if args.forget {
        let removed = session.client().forget(view.job)?;
        Note::remove(&context.data_dir, view.job);
        removed
    } else if view.state == JobState::Running {
        session.client().cancel(view.job)?
    } else {
        anyhow::bail!(
            "job {} is over already; `bayan cancel --forget` drops it with its results",
            view.job.short()
        );
    };
    if context.json {
        text::json(&removed)?;
    } else {
        let done = match removed.outcome {
            Removal::Cancelled => "cancelled; `bayan fetch` gets the results it has",
            Removal::Forgotten => "forgotten",
        };
        text::line(&format!("job {} is {done}", view.job.short()))?;
    }
    session.close()?;
    Ok(Code::Done)
}

/// The one job whose id begins so.
pub(super) fn resolve(client: &Client, prefix: &str) -> anyhow::Result<JobView> {
    let wanted = prefix.to_ascii_lowercase();
    let mut found: Vec<JobView> =
        client.jobs()?.into_iter().filter(|job| job.job.to_string().starts_with(&wanted)).collect();
    match (found.pop(), found.len()) {
        (Some(job), 0) => Ok(job),
        (None, _) => anyhow::bail!("no job's id begins with {prefix}; `bayan jobs` lists them"),
        (Some(_), more) => {
            anyhow::bail!("the ids of {} jobs begin with {prefix}; give more of it", more + 1)
        }
    }
}

/// The exit code that a job's end means.
pub(super) fn code(view: &JobView) -> Code {
    match view.state {
        JobState::Cancelled => Code::Cancelled,
        JobState::Running | JobState::Done if view.failed > 0 => Code::TasksFailed,
        JobState::Running | JobState::Done => Code::Done,
    }
}

/// Peers, results, agreed, outvoted, time: who did what.
pub(super) fn workers(view: &JobView) -> String {
    let heading = ["peer", "results", "agreed", "outvoted", "late", "computing", ""];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let mut workers: Vec<_> = view.workers.iter().collect();
    workers.sort_by_key(|worker| std::cmp::Reverse(worker.returned));
    rows.extend(workers.into_iter().map(|worker| {
        let note = match (worker.own, worker.connected) {
            (true, _) => "this peer",
            (false, true) => "",
            (false, false) => "gone",
        };
        vec![
            worker.peer.short(),
            worker.returned.to_string(),
            worker.agreed.to_string(),
            worker.outvoted.to_string(),
            worker.late.to_string(),
            text::duration(std::time::Duration::from_micros(worker.micros)),
            note.to_owned(),
        ]
    }));
    if rows.len() == 1 { String::new() } else { text::table(&rows) }
}

/// The words for a job's state.
pub(super) fn state(view: &JobView) -> &'static str {
    match view.state {
        JobState::Running => "running",
        JobState::Done if view.failed > 0 => "done, with failures",
        JobState::Done => "done",
        JobState::Cancelled => "cancelled",
    }
}

fn describe(view: &JobView, session: &Session) -> String {
    let policy = match view.policy {
        Policy::None => "the first result of anyone is taken".to_owned(),
        Policy::Vote(m) => format!("{m} peers must agree on a result"),
        Policy::Spot { .. } => format!("{}: a share of results is checked", view.policy),
        Policy::Credibility { .. } => format!("{}: by the odds of those who agree", view.policy),
        Policy::Boinc => "boinc: fewer checks of who was right before".to_owned(),
        Policy::Adaptive(_) => "adaptive: checks by each peer's record here".to_owned(),
    };
    let mut lines = vec![
        format!("job        {}", view.job),
        format!("name       {}", text::printable(&view.name, 256)),
        format!("state      {}", state(view)),
        format!(
            "results    {} of {}, {} final, {} failed",
            screen::accepted(view),
            text::count(view.tasks, "task", "tasks"),
            screen::settled(view),
            view.failed
        ),
        format!("rule       {policy}"),
        format!("submitted  {}", text::ago(view.submitted)),
        format!("took       {}", text::duration(text::taken(view))),
    ];
    if view.inputs != view.tasks {
        lines.insert(4, format!("inputs     {}; equal ones are computed once", view.inputs));
    }
    lines.extend(audience(view));
    lines.extend(view.delegate.as_ref().map(delegate));
    if let Some(waiting) = &view.waiting {
        lines.push(format!("waits      {waiting}"));
    }
    if view.state == JobState::Running && session.is_own() {
        lines.push(format!(
            "paused     no peer is running on this directory: `bayan run --resume {}` or `bayan node` goes on with it",
            view.job.short()
        ));
    }
    let facts = account::Facts::gather(session.client(), view);
    for (index, words) in account::words(view, &facts).into_iter().enumerate() {
        let head = if index == 0 { "so far" } else { "" };
        lines.push(format!("{head:<10} {words}"));
    }
    format!("{}\n{}", lines.join("\n"), workers(view))
}

/// What a delegate said.
fn answer(view: &DelegateView) -> &'static str {
    match (&view.refused, view.accepted) {
        (Some(_), _) => "refuses",
        (None, true) => "has accepted",
        (None, false) => "has not answered",
    }
}

/// Who carries the job on while this peer is away, and what has come of that.
fn delegate(view: &DelegateView) -> String {
    let mut words = format!("delegate   {} {}", view.peer.short(), answer(view));
    if let Some(reason) = &view.refused {
        words.push_str(&format!(": {reason}"));
    }
    if !view.connected {
        words.push_str(", not connected");
    }
    if view.results > 0 {
        let results = text::count(view.results, "result", "results");
        words.push_str(&format!("; {results} on its word"));
    }
    if view.differs > 0 {
        let results = text::count(view.differs, "result", "results");
        words.push_str(&format!(
            "; it says otherwise of {results} that were final here, which stand as they are"
        ));
    }
    words
}

/// Who may compute, where that is not everyone.
fn audience(view: &JobView) -> Option<String> {
    let who = match &view.audience {
        Audience::Anyone => return None,
        Audience::Trusted => "only peers of the trust list".to_owned(),
        Audience::Named(peers) => {
            let count = text::count(peers.len() as u64, "named peer", "named peers");
            format!("only {count}")
        }
    };
    let secret = if view.confidential { "; module and inputs go to nobody else" } else { "" };
    Some(format!("for        {who}{secret}"))
}
