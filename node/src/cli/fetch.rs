//! `bayan fetch`: the outputs of a job that another command submitted.

use anyhow::bail;
use bayan_protocol::record::JobState;
use clap::Args;
use serde_json::json;

use super::{
    Context,
    exit::Code,
    follow::Follower,
    jobs,
    run::{self, OutputArgs},
    screen::Screen,
    session::Session,
    sink::Destination,
    text,
};

/// Get the outputs of a job
///
/// They go where `bayan run` was told to put them, unless another place is given. Of a job that still
/// runs, --out gets what there is.
#[derive(Debug, Args)]
pub(super) struct FetchArgs {
    /// The job's id, or how it begins
    job: String,
    #[command(flatten)]
    outputs: OutputArgs,
    /// Wait for the end of the job
    #[arg(long)]
    wait: bool,
}

/// Runs the command.
pub(super) fn run(context: &Context, args: &FetchArgs) -> anyhow::Result<Code> {
    let given = args.outputs.destination()?;
    let session = Session::look(&context.data_dir)?;
    let view = jobs::resolve(session.client(), &args.job)?;
    let note = run::note_for(context, view.job, given, args.outputs.force)?;
    let running = view.state == JobState::Running;
    let short = view.job.short();
    if running && args.wait && session.is_own() {
        bail!(
            "job {short} is not over and no peer is running: go on with it by `bayan run --resume {short}`, or start one with `bayan node`"
        );
    }
    let mut follower = Follower::new()?;
    if !running || args.wait {
        return run::finish(session, follower, Screen::new(context.json, false), view.job, &note);
    }
    if !matches!(note.destination, Destination::Directory(_)) {
        bail!(
            "job {short} is not over: {} of {} tasks are settled; --wait waits for the others, --out DIR gets what there is",
            view.settled,
            view.tasks
        );
    }
    let mut sink = note.destination.open(note.names.clone())?;
    let taken = follower.take_rest(session.client(), view.job, sink.as_mut(), true)?;
    sink.finish()?;
    session.close()?;
    if follower.interrupts().happened() {
        return Ok(Code::Interrupted);
    }
    let place = sink.place().unwrap_or_default();
    if context.json {
        text::json(
            &json!({ "event": "fetched", "job": view.job, "settled": taken, "tasks": view.tasks, "out": place }),
        )?;
    } else {
        text::line(&format!(
            "{taken} of {} tasks so far are in {}, not all of them checked; the job is not over",
            view.tasks,
            place.display()
        ))?;
    }
    Ok(Code::Done)
}
