//! `bayan demo`: several real peers on loopback compute a picture, one of them lies and one dies.
//!
//! The demo is an ordinary user of the program: it starts peers as processes of their own, submits
//! through a peer of its own that computes nothing, and reads results over the local API.

mod cast;
mod picture;
mod report;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use bayan_engine::{Engines, Task};
use bayan_protocol::{
    id::{Hash, JobId, PeerId},
    job::Local,
    record::JobState,
    task::Limits,
};
use mandelbrot::{Picture, Settings};

use crate::{
    api::types::{InputsRequest, JobRequest, TaskResult},
    cli::on_interrupt,
    client::Client,
    config::Config,
    node::Node,
};
use cast::Cast;
use picture::Canvas;
use report::Screen;

/// The guest, as it is committed.
const MODULE: &[u8] = include_bytes!("../../apps/modules/mandelbrot.wasm");
/// The share of tasks after which one peer is killed.
const KILL_AFTER: f64 = 0.35;
/// A demo that takes longer than this has failed.
const LIMIT: Duration = Duration::from_secs(300);
/// Between looks at the job.
const LOOK: Duration = Duration::from_millis(100);

/// What the demo is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the picture goes.
    pub out: PathBuf,
    /// Peers to start, 4 to 16.
    pub peers: u32,
    /// Iterations of the Mandelbrot set.
    pub depth: u16,
    /// Width and height of the picture in pixels.
    pub size: u32,
    /// Whether to speak JSON.
    pub json: bool,
}

/// What became of one task.
pub(crate) struct Part {
    pub(crate) block: u64,
    pub(crate) result: TaskResult,
}

/// What the demo measured and saw.
pub(crate) struct Outcome {
    pub(crate) tasks: u64,
    pub(crate) wall: Duration,
    /// One sequential native run of the whole picture.
    pub(crate) native: Duration,
    /// One sequential run of the whole picture in the sandbox.
    pub(crate) sandbox: Duration,
    pub(crate) equal: bool,
    pub(crate) job: bayan_protocol::source::JobView,
}

/// Runs the demo; the exit code is 0 only if the picture equals the sequential one.
///
/// # Errors
/// Whatever kept it from running, in words that say what to do.
pub fn run(options: &Options) -> anyhow::Result<i32> {
    ensure!(
        (4..=16).contains(&options.peers),
        "the demo needs 4 to 16 peers: one lies, one dies, two must agree"
    );
    ensure!((50..=4000).contains(&options.size), "the picture's size is 50 to 4000 pixels");
    let settings = Settings {
        width: options.size,
        height: options.size,
        block: options.size.div_ceil(16),
        depth: options.depth,
        ..Settings::default()
    };
    let picture =
        Picture::new(settings).map_err(|failure| anyhow::anyhow!("{}", failure.message()))?;
    let interrupted = watch_interrupt()?;
    let dir = tempfile::Builder::new()
        .prefix("bayan-demo-")
        .tempdir()
        .context("cannot make a temporary directory")?;
    let mut screen = Screen::new(options.json);
    screen.say(&format!(
        "starting {} peers, each a process with its own identity, store and address",
        options.peers
    ));
    let mut cast = Cast::start(dir.path(), options.peers, &interrupted)?;
    for member in cast.members() {
        screen.joined(member);
    }
    let submitter =
        Node::start(&dir.path().join("submitter"), submitter_config(cast.first_address()), false)?;
    let client = Client::new(submitter.api(), submitter.token());
    let job = submit(&client, &settings, picture.blocks())?;
    let mut canvas = Canvas::new(options.size, options.size);
    let started = Instant::now();
    let seen = follow(&client, job, &picture, &mut canvas, &mut cast, &mut screen, &interrupted)?;
    let wall = started.elapsed();
    let Some(job) = seen else {
        drop(submitter);
        drop(cast);
        screen.say("interrupted; every peer has been stopped");
        return Ok(130);
    };
    submitter.stop()?;
    let roles = cast.roles();
    cast.stop();
    screen.say("checking the picture against one sequential native run");
    let (counts, native) = native_run(&picture, &settings)?;
    let sandbox = sandbox_run(&settings, picture.blocks())?;
    if interrupted.load(Ordering::Relaxed) {
        screen.say("interrupted before the picture was written; every peer has been stopped");
        return Ok(130);
    }
    canvas.write(&options.out, options.depth, &roles)?;
    let equal = canvas.counts() == counts.as_slice();
    let outcome = Outcome { tasks: picture.blocks(), wall, native, sandbox, equal, job };
    screen.finish(&outcome, &roles, &options.out);
    Ok(if equal { 0 } else { 1 })
}

fn submitter_config(first: &str) -> Config {
    Config {
        listen: vec![format!("/ip4/{}/tcp/0", cast::address(0))],
        bootstrap: vec![first.to_owned()],
        mdns: false,
        quic: false,
        slots: Some(0),
        ..Config::default()
    }
}

fn submit(client: &Client, settings: &Settings, blocks: u64) -> anyhow::Result<JobId> {
    let module = client.upload(MODULE)?.hash;
    let request = JobRequest {
        args: settings.to_args(),
        trust: "vote:2".to_owned(),
        local: Local::Never,
        ..JobRequest::new(
            "mandelbrot",
            module,
            InputsRequest::Range { from: 0, to: i64::try_from(blocks)? },
        )
    };
    Ok(client.submit(&request)?)
}

/// Draws results as they come, kills one peer on the way, and gives the job's final standing; none
/// if the user interrupted.
fn follow(
    client: &Client,
    job: JobId,
    picture: &Picture,
    canvas: &mut Canvas,
    cast: &mut Cast,
    screen: &mut Screen,
    interrupted: &AtomicBool,
) -> anyhow::Result<Option<bayan_protocol::source::JobView>> {
    let started = Instant::now();
    let mut next = 0;
    loop {
        if interrupted.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let page = client.results(job, next, 256)?;
        next = page.next;
        let more = !page.results.is_empty();
        for result in page.results {
            let block = result.places.first().copied().unwrap_or_default();
            draw(client, picture, canvas, &Part { block, result })?;
        }
        screen.progress(&page.job, cast);
        if page.job.settled as f64 >= KILL_AFTER * page.job.tasks as f64
            && let Some(killed) = cast.kill_one(&page.job)
        {
            screen.say(&format!("killed {killed} in the middle of its work"));
        }
        if page.job.state != JobState::Running && !more {
            return Ok(Some(page.job));
        }
        ensure!(
            started.elapsed() < LIMIT,
            "the job did not end within {} s; this is a fault",
            LIMIT.as_secs()
        );
        if !more {
            std::thread::sleep(LOOK);
        }
    }
}

fn draw(
    client: &Client,
    picture: &Picture,
    canvas: &mut Canvas,
    part: &Part,
) -> anyhow::Result<()> {
    let Some(hash) = part.result.output else { bail!("block {} has no result", part.block) };
    let bytes = match &part.result.inline {
        Some(text) => hex::decode(text).context("an inline output is not hexadecimal")?,
        None => client.blob(&hash)?,
    };
    ensure!(Hash::of(&bytes) == hash, "block {} is not what its digest says", part.block);
    let by = part.result.by.iter().find(|voucher| voucher.agrees).map(|voucher| voucher.peer);
    canvas.place(picture, part.block, &bytes, by)
}

fn native_run(picture: &Picture, settings: &Settings) -> anyhow::Result<(Vec<u16>, Duration)> {
    let mut counts = vec![0; settings.width as usize * settings.height as usize];
    let started = Instant::now();
    for block in 0..picture.blocks() {
        let bytes =
            picture.block(block).map_err(|failure| anyhow::anyhow!("{}", failure.message()))?;
        ensure!(
            picture.place(block, &bytes, &mut counts),
            "block {block} has another shape than the picture"
        );
    }
    Ok((counts, started.elapsed()))
}

/// The whole picture in one engine process, one block after the other.
fn sandbox_run(settings: &Settings, blocks: u64) -> anyhow::Result<Duration> {
    let engines = Engines::start(bayan_engine::Options::new(1), |_, _| {})?;
    let module = engines.prepare(MODULE)?;
    let task = |block: u64| Task {
        id: bayan_protocol::id::TaskId([0; 32]),
        args: settings.to_args(),
        env: Vec::new(),
        stdin: Arc::from(format!("{block}\n").into_bytes()),
        data: Vec::new(),
        limits: Limits::default(),
    };
    // The process is started by the first task: not what is measured.
    engines.run(&module, task(0));
    let started = Instant::now();
    for block in 0..blocks {
        let outcome = engines.run(&module, task(block));
        ensure!(
            outcome.status.is_success(),
            "the guest failed in the sandbox: {:?}",
            outcome.status
        );
    }
    Ok(started.elapsed())
}

/// Turns Ctrl-C and a polite end into a flag, so that everything started is also ended.
fn watch_interrupt() -> anyhow::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    on_interrupt(move || flag.store(true, Ordering::Relaxed))?;
    Ok(interrupted)
}

/// Peers by what they are in the play, with the colours of their borders.
pub(crate) type Roles = BTreeMap<PeerId, cast::Role>;
