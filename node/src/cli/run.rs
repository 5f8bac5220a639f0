//! `bayan run`: one job from its submission to its outputs.

use std::{
    env,
    io::IsTerminal as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use bayan_protocol::{id::JobId, offer::Accept, source::JobView};
use clap::Args;
use serde_json::json;

use super::{
    Context,
    account::{self, Facts},
    apps, detach,
    exit::{Code, OutputClosed},
    follow::{self, Ended, Follower},
    forecast,
    inputs::{self, InputArgs, Inputs},
    job_args::{ProgramArgs, RuleArgs},
    jobs,
    notes::Note,
    peer_args::PeerArgs,
    screen::{self, Screen},
    session::Session,
    sink::Destination,
    text,
    trust_args::Trust,
};
use crate::{
    api::types::JobRequest,
    client::{Client, ClientError},
    config::{Config, DelegateFor},
};

/// Times that a submission is begun anew because the peer went away.
const TRIES: u32 = 5;

/// Run an app on many inputs and write the outputs
///
/// Works through the peer that runs on the data directory; if there is none, a peer inside this command
/// serves for as long as the job takes. The job is kept whatever happens: --resume goes on with it.
///
/// Without --range, --lines or --files there is one task, whose input is standard input and whose output
/// goes to standard output.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Path of a module, or the name of an installed app (see bayan app list)
    #[arg(required_unless_present = "resume", conflicts_with = "resume")]
    app: Option<String>,
    /// Say what the job will cost and what can be promised of it, and submit nothing
    #[arg(long, conflicts_with_all = ["resume", "detach"])]
    plan: bool,
    /// Submit, leave the job to a peer in the background, and end
    #[arg(long)]
    detach: bool,
    /// Go on with a job of this data directory
    #[arg(long, value_name = "JOB")]
    resume: Option<String>,
    /// Show nothing but errors
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    inputs: InputArgs,
    #[command(flatten)]
    outputs: OutputArgs,
    #[command(flatten)]
    program: ProgramArgs,
    #[command(flatten)]
    rules: RuleArgs,
    #[command(flatten)]
    peer: PeerArgs,
}

/// Where outputs go.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Outputs")]
pub(super) struct OutputArgs {
    /// A file for each input in this directory [default: ./bayan-JOB]
    #[arg(long, value_name = "DIR", conflicts_with = "concat")]
    out: Option<PathBuf>,
    /// All outputs in this file, in the order of the inputs
    #[arg(long, value_name = "FILE")]
    concat: Option<PathBuf>,
    /// Write over what is there
    #[arg(long)]
    pub(super) force: bool,
}

impl OutputArgs {
    /// What was asked for; checked, so that nothing is computed that cannot be written.
    pub(super) fn destination(&self) -> anyhow::Result<Option<Destination>> {
        let destination = match (&self.out, &self.concat) {
            (Some(path), _) => Destination::Directory(absolute(path)?),
            (None, Some(path)) => Destination::File(absolute(path)?),
            (None, None) => return Ok(None),
        };
        if !self.force {
            destination.check()?;
        }
        Ok(Some(destination))
    }
}

/// The directory that a job's outputs go to when nothing else was said.
pub(super) fn default_directory(job: JobId) -> anyhow::Result<Destination> {
    absolute(Path::new(&format!("bayan-{}", job.short()))).map(Destination::Directory)
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot use the path {}", path.display()))
}

/// A job that is ready to be submitted.
struct Order<'a> {
    app: apps::App,
    inputs: Inputs,
    args: Vec<String>,
    destination: Option<Destination>,
    program: &'a ProgramArgs,
    rules: &'a RuleArgs,
    trust: Trust,
}

/// Runs the command.
pub(super) fn run(context: &Context, args: &RunArgs) -> anyhow::Result<Code> {
    let config = embedded(args.peer.config(context)?);
    let screen = Screen::new(context.json, args.quiet);
    if let Some(job) = &args.resume {
        return resume(context, args, config, screen, job);
    }
    let app = args.app.as_deref().context("name an app")?;
    let trust = args.rules.trust.read()?;
    let inputs = args.inputs.prepare()?;
    if args.plan {
        return plan(context, &inputs, &args.rules, &trust, config);
    }
    let destination = match args.outputs.destination()? {
        Some(destination) => Some(destination),
        None if inputs.is_single() && context.json => Some(Destination::Events),
        None if inputs.is_single() => Some(Destination::Stdout),
        None => None,
    };
    let order = Order {
        app: apps::load(context, app)?,
        inputs,
        args: args.program.args()?,
        destination,
        program: &args.program,
        rules: &args.rules,
        trust,
    };
    if args.detach {
        // Programs are told in one line that the job is submitted; --plan tells them what it will cost.
        let screen = Screen::new(false, args.quiet || context.json);
        return submit_and_leave(context, &args.peer, &order, &screen);
    }
    carry_out(context, &order, &args.peer, config, screen)
}

/// Says what the job would cost, and submits nothing.
fn plan(
    context: &Context,
    inputs: &Inputs,
    rules: &RuleArgs,
    trust: &Trust,
    config: Config,
) -> anyhow::Result<Code> {
    let request = forecast::request(inputs.count()?, trust, rules.local());
    let meets = forecast::meets_others(&config);
    let session = Session::open(&context.data_dir, config)?;
    let asked = || {
        if meets {
            forecast::wait_for_others(&session, forecast::MEETS_LONGER)?;
        }
        Ok::<_, anyhow::Error>(session.client().plan(&request)?)
    };
    let view = asked();
    session.close()?;
    forecast::put(context.json, &view?)?;
    Ok(Code::Done)
}

/// Reads standard input's lines and writes the outputs to standard output: `bayan map`.
pub(super) fn map(
    context: &Context,
    app: apps::App,
    guest: Vec<String>,
    program: &ProgramArgs,
    rules: &RuleArgs,
    peer: &PeerArgs,
    quiet: bool,
) -> anyhow::Result<Code> {
    // Nothing in, nothing out.
    let Some(inputs) = Inputs::lines_of_stdin()? else { return Ok(Code::Done) };
    let destination = if context.json { Destination::Events } else { Destination::Stdout };
    let trust = rules.trust.read()?;
    let order =
        Order { app, inputs, args: guest, destination: Some(destination), program, rules, trust };
    let config = embedded(peer.config(context)?);
    // A bar among the outputs would be in the way of both.
    let quiet = quiet || std::io::stdout().is_terminal();
    carry_out(context, &order, peer, config, Screen::new(context.json, quiet))
}

/// A peer inside a run is there for the run: it computes for nobody else.
fn embedded(config: Config) -> Config {
    Config { accept: Accept::Own, delegate_for: vec![DelegateFor::Nobody], ..config }
}

fn carry_out(
    context: &Context,
    order: &Order<'_>,
    peer: &PeerArgs,
    config: Config,
    screen: Screen,
) -> anyhow::Result<Code> {
    let meets = forecast::meets_others(&config);
    let follower = Follower::new()?;
    let mut session = Session::open(&context.data_dir, config)?;
    if let (Some((pid, _)), true) = (session.other(), peer.is_given()) {
        screen.warn(&format!(
            "the peer that runs on this directory (process {pid}) is used with its own settings; those given here have no effect"
        ));
    }
    if follower.interrupts().happened() {
        session.close()?;
        return Ok(Code::Interrupted);
    }
    if meets && (screen.speaks() || order.trust.tolerance.is_some()) {
        forecast::wait_for_others(&session, forecast::MEETS)?;
    }
    let job = submit(&mut session, order, &screen)?;
    let note = remember(context, order, job)?;
    screen.event(&json!({ "event": "submitted", "job": job, "pid": pid(&session) }))?;
    match session.other() {
        Some((pid, _)) => {
            screen.say(&format!("job {} submitted to the peer of process {pid}", job.short()))
        }
        None => screen.say(&format!("job {} submitted; this command is its peer", job.short())),
    }
    finish(session, follower, screen, job, &note)
}

fn pid(session: &Session) -> u32 {
    session.other().map_or_else(std::process::id, |(pid, _)| pid)
}

/// Notes where the outputs of a job go.
fn remember(context: &Context, order: &Order<'_>, job: JobId) -> anyhow::Result<Note> {
    let destination = match &order.destination {
        Some(destination) => destination.clone(),
        None => default_directory(job)?,
    };
    let note = Note { destination, names: order.inputs.names() };
    note.save(&context.data_dir, job);
    Ok(note)
}

/// Uploads and submits. A peer that goes away in the middle is followed by the next; the job may
/// then be there twice, of which one is never looked at and costs only what it computes.
fn submit(session: &mut Session, order: &Order<'_>, screen: &Screen) -> anyhow::Result<JobId> {
    let mut left = TRIES;
    loop {
        match submit_to(session.client(), order, screen) {
            Err(error) if left > 1 && follow::is_gone(&error) => {
                left -= 1;
                session.recover()?;
            }
            submitted => return submitted,
        }
    }
}

fn submit_to(client: &Client, order: &Order<'_>, screen: &Screen) -> anyhow::Result<JobId> {
    let data = order
        .program
        .data
        .iter()
        .map(|spec| Ok((spec.name.clone(), inputs::upload_path(client, &spec.path)?)));
    let trust = order.trust.clone();
    let request = JobRequest {
        name: order.rules.name.clone().unwrap_or_else(|| order.app.name.clone()),
        module: client.upload(&order.app.wasm)?.hash,
        args: order.args.clone(),
        env: order.program.env(),
        data: data.collect::<anyhow::Result<_>>()?,
        inputs: order.inputs.upload(client)?,
        limits: order.program.limits(),
        trust: trust.policy,
        tolerance: trust.tolerance,
        assume_faulty: trust.assume_faulty,
        provisional: trust.provisional,
        audience: trust.audience,
        confidential: trust.confidential,
        delegate: trust.delegate,
        local: order.rules.local(),
    };
    if screen.speaks() {
        let asked = forecast::request(order.inputs.count()?, &order.trust, order.rules.local());
        forecast::tell(screen, &client.plan(&asked)?)?;
    }
    Ok(client.submit(&request)?)
}

fn submit_and_leave(
    context: &Context,
    peer: &PeerArgs,
    order: &Order<'_>,
    screen: &Screen,
) -> anyhow::Result<Code> {
    let (attached, is_new) = detach::daemon(context, peer)?;
    let job = submit_to(&attached.client, order, screen)?;
    let note = remember(context, order, job)?;
    // Nobody will be there to take it.
    if matches!(note.destination, Destination::Stdout | Destination::Events) {
        Note::remove(&context.data_dir, job);
    }
    if context.json {
        text::json(
            &json!({ "event": "submitted", "job": job, "pid": attached.pid, "started": is_new }),
        )?;
        return Ok(Code::Done);
    }
    let short = job.short();
    let mut lines = vec![format!("job {job} submitted to the peer of process {}", attached.pid)];
    if is_new {
        lines.push(format!(
            "that peer was started in the background; it logs to {}, and `bayan stop` ends it",
            context.data_dir.join("node.log").display()
        ));
    }
    if !attached.daemon {
        lines.push("that peer ends with the `bayan run` it belongs to; `bayan node` goes on with the job then".to_owned());
    }
    lines.push(format!(
        "`bayan status {short}` shows how it stands, `bayan fetch --wait {short}` gets the outputs"
    ));
    text::line(&lines.join("\n"))?;
    Ok(Code::Done)
}

fn resume(
    context: &Context,
    args: &RunArgs,
    config: Config,
    screen: Screen,
    job: &str,
) -> anyhow::Result<Code> {
    let given = args.outputs.destination()?;
    let follower = Follower::new()?;
    let session = Session::open(&context.data_dir, config)?;
    let job = jobs::resolve(session.client(), job)?.job;
    let note = note_for(context, job, given, args.outputs.force)?;
    finish(session, follower, screen, job, &note)
}

/// Where the outputs of a job go that another process submitted.
pub(super) fn note_for(
    context: &Context,
    job: JobId,
    given: Option<Destination>,
    force: bool,
) -> anyhow::Result<Note> {
    let known = Note::load(&context.data_dir, job);
    let (known, names) =
        known.map_or((None, Vec::new()), |note| (Some(note.destination), note.names));
    let destination = match given.or(known) {
        Some(Destination::Events) if !context.json => Destination::Stdout,
        Some(Destination::Stdout) if context.json => Destination::Events,
        Some(destination) => destination,
        None => {
            let destination = default_directory(job)?;
            if !force {
                destination.check()?;
            }
            destination
        }
    };
    Ok(Note { destination, names })
}

/// Follows the job to its end and says how it went.
pub(super) fn finish(
    mut session: Session,
    mut follower: Follower,
    mut screen: Screen,
    job: JobId,
    note: &Note,
) -> anyhow::Result<Code> {
    let ended = take_all(&mut session, &mut follower, &mut screen, job, note);
    screen.close();
    match ended {
        Ok((Ended::Over(view), place)) => {
            let facts = Facts::gather(session.client(), &view);
            session.close()?;
            conclude(&screen, &view, &facts, &follower, note, place)?;
            Ok(match jobs::code(&view) {
                Code::Done if follower.unsettled_failures() > 0 => Code::TasksFailed,
                code => code,
            })
        }
        Ok((Ended::Interrupted, _)) => interrupted(session, &screen, job),
        Err(error) => Err(failed(session, job, error)),
    }
}

/// Everything that the job gives, and where it is.
fn take_all(
    session: &mut Session,
    follower: &mut Follower,
    screen: &mut Screen,
    job: JobId,
    note: &Note,
) -> anyhow::Result<(Ended, Option<PathBuf>)> {
    let mut sink = note.destination.open(note.names.clone())?;
    let ended = follower.follow(session, job, sink.as_mut(), screen)?;
    if let Ended::Over(_) = ended {
        sink.finish()?;
    }
    Ok((ended, sink.place()))
}

/// What becomes of the job when its outputs cannot be taken.
fn failed(session: Session, job: JobId, error: anyhow::Error) -> anyhow::Error {
    let unknown =
        error.downcast_ref::<ClientError>().is_some_and(|error| error.status() == Some(404));
    let unwanted = error.is::<OutputClosed>();
    if unwanted {
        // As a program in a pipeline ends when nobody reads on. If it fails, the job only goes on.
        let _ = session.client().cancel(job);
    }
    // What went wrong first is what matters.
    let _ = session.close();
    if unknown || unwanted {
        return error;
    }
    let short = job.short();
    error
        .context(format!("job {short} is kept (`bayan run --resume {short}` goes on with it), but"))
}

fn interrupted(session: Session, screen: &Screen, job: JobId) -> anyhow::Result<Code> {
    let short = job.short();
    let words = match session.other() {
        Some((pid, true)) => format!(
            "the job goes on in process {pid}: `bayan status {short}` shows how it stands, `bayan fetch {short}` gets the outputs, `bayan cancel {short}` ends it"
        ),
        _ => format!(
            "job {short} is kept: `bayan run --resume {short}` goes on with it, `bayan cancel {short}` ends it"
        ),
    };
    screen.event(&json!({ "event": "interrupted", "job": job }))?;
    screen.warn(&words);
    session.close()?;
    Ok(Code::Interrupted)
}

fn conclude(
    screen: &Screen,
    view: &JobView,
    facts: &Facts,
    follower: &Follower,
    note: &Note,
    place: Option<PathBuf>,
) -> anyhow::Result<()> {
    let failures = follower.failures();
    let account = account::words(view, facts);
    screen.event(&json!({
        "event": "finished",
        "job": view,
        "out": place,
        "failures": failures,
        "account": account,
        "caught": facts.caught(view),
        "micros": u64::try_from(text::taken(view).as_micros()).unwrap_or(u64::MAX),
    }))?;
    let failed = view.failed + follower.unsettled_failures();
    if failed > 0 {
        screen.warn(&format!("{} failed:", text::count(failed, "task", "tasks")));
        for failure in &failures {
            screen.warn(failure);
        }
        if failed > failures.len() as u64 {
            screen.warn(&format!("and {} more", failed - failures.len() as u64));
        }
    }
    screen.say(jobs::workers(view).trim_end());
    for line in &account {
        screen.say(line);
    }
    let open = screen::accepted(view) - screen::settled(view);
    let early = match open {
        0 => String::new(),
        open => format!(" ({open} of them not final)"),
    };
    screen.say(&format!(
        "job {} {}: {} of {}{early} in {}",
        view.job.short(),
        jobs::state(view),
        screen::accepted(view),
        text::count(view.tasks, "task", "tasks"),
        text::duration(text::taken(view)),
    ));
    if let (Some(place), true) = (place, note.destination != Destination::Stdout) {
        let shown = env::current_dir()
            .ok()
            .and_then(|here| place.strip_prefix(here).ok().map(Path::to_path_buf));
        screen.say(&format!("outputs are in {}", shown.unwrap_or(place).display()));
    }
    Ok(())
}
