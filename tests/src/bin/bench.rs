//! The figures by which speed is judged, as ratios measured in one run:
//! `cargo run --bin bench` (add `--release` to judge what users install).
//!
//! 1. sandbox over native for the Mandelbrot kernel, interleaved, median of the runs;
//! 2. efficiency with one and two one-slot peers: sequential native time / (peers x wall time);
//! 3. no-op tasks a second through one one-slot worker peer.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use bayan::{
    api::types::{InputsRequest, JobRequest},
    client::Client,
    config::Config,
    node::Node,
};
use bayan_engine::{ARGUMENT, Engines, Launcher, Options, Task};
use bayan_protocol::{
    id::TaskId,
    job::Local,
    record::JobState,
    source::JobView,
    task::{Limits, Status},
};

use bayan_tests::{peers, program};
use mandelbrot::{Picture, Settings};

/// Interleaved runs of each side.
const RUNS: usize = 5;
/// No-op tasks of the throughput figure.
const NOOPS: i64 = 20_000;
/// A job that takes longer than this has failed.
const LIMIT: Duration = Duration::from_secs(300);

fn main() -> anyhow::Result<()> {
    if program::is_only_asked("Measures peers against the same work run natively.")? {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let settings = Settings::default();
    let picture =
        Picture::new(settings).map_err(|failure| anyhow::anyhow!("{}", failure.message()))?;
    let native = kernel(&settings, &picture)?;
    for count in [1, 2] {
        let wall = picture_over_peers(
            &dir.path().join(format!("efficiency-{count}")),
            &settings,
            &picture,
            count,
        )?;
        let efficiency = native.as_secs_f64() / (count as f64 * wall.as_secs_f64());
        println!(
            "efficiency with {count} one-slot peer(s), depth {}: {efficiency:.3}",
            settings.depth
        );
    }
    let rate = noops(&dir.path().join("noop"))?;
    println!("no-op tasks a second through one one-slot worker peer: {rate:.0}");
    Ok(())
}

/// Prints sandbox over native and gives the median native time of the whole picture.
fn kernel(settings: &Settings, picture: &Picture) -> anyhow::Result<Duration> {
    let launcher = Launcher::at(program::executable(), [ARGUMENT.into()]);
    let engines = Engines::start(Options { launcher, ..Options::new(1) }, |_, _| {})?;
    let module = engines.prepare(&fs::read(peers::module("mandelbrot"))?)?;
    let (mut natives, mut sandboxes, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let started = Instant::now();
        for block in 0..picture.blocks() {
            std::hint::black_box(
                picture.block(block).map_err(|failure| anyhow::anyhow!("{}", failure.message()))?,
            );
        }
        let native = started.elapsed();
        let started = Instant::now();
        for block in 0..picture.blocks() {
            let outcome = engines.run(&module, task(settings, block));
            ensure!(outcome.status == Status::Exited(0), "the guest failed: {:?}", outcome.status);
        }
        let sandbox = started.elapsed();
        natives.push(native);
        sandboxes.push(sandbox);
        ratios.push(sandbox.as_secs_f64() / native.as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    natives.sort();
    sandboxes.sort();
    println!(
        "sandbox over native, Mandelbrot {}x{} depth {}: {:.2} (min {:.2}, max {:.2}; native {:.2} s, sandbox {:.2} s, medians of {RUNS})",
        settings.width,
        settings.height,
        settings.depth,
        ratios[RUNS / 2],
        ratios[0],
        ratios[RUNS - 1],
        natives[RUNS / 2].as_secs_f64(),
        sandboxes[RUNS / 2].as_secs_f64(),
    );
    Ok(natives[RUNS / 2])
}

fn task(settings: &Settings, block: u64) -> Task {
    Task {
        id: TaskId([0; 32]),
        args: settings.to_args(),
        env: Vec::new(),
        stdin: Arc::from(format!("{block}\n").into_bytes()),
        data: Vec::new(),
        limits: Limits::default(),
    }
}

fn picture_over_peers(
    dir: &Path,
    settings: &Settings,
    picture: &Picture,
    count: usize,
) -> anyhow::Result<Duration> {
    let module = fs::read(peers::module("mandelbrot"))?;
    let blocks = i64::try_from(picture.blocks())?;
    over_peers(dir, count, &module, settings.to_args(), blocks)
}

fn noops(dir: &Path) -> anyhow::Result<f64> {
    let module =
        wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_start")))"#)?;
    let wall = over_peers(dir, 1, &module, Vec::new(), NOOPS)?;
    Ok(NOOPS as f64 / wall.as_secs_f64())
}

/// Runs a job at redundancy 1 over `count` one-slot peers, processes of their own, and gives its
/// wall time from submission to end. The module is compiled there by a job of one task before.
fn over_peers(
    dir: &Path,
    count: usize,
    module: &[u8],
    args: Vec<String>,
    tasks: i64,
) -> anyhow::Result<Duration> {
    fs::create_dir_all(dir)?;
    let first = peers::Node::start(&dir.join("1"), &["--slots", "1", "--no-quic"])?;
    let mut workers = Vec::new();
    for number in 2..=count {
        let args = ["--slots", "1", "--no-quic", "--bootstrap", &first.dial];
        workers.push(peers::Node::start(&dir.join(number.to_string()), &args)?);
    }
    let config = Config {
        listen: vec![format!("/ip4/{}/tcp/0", peers::address())],
        bootstrap: [&first].into_iter().chain(&workers).map(|worker| worker.dial.clone()).collect(),
        mdns: false,
        quic: false,
        slots: Some(0),
        ..Config::default()
    };
    let submitter = Node::start(&dir.join("submitter"), config, false)?;
    let client = Client::new(submitter.api(), submitter.token());
    let module = client.upload(module)?.hash;
    let request = |to| JobRequest {
        args: args.clone(),
        trust: "none".to_owned(),
        local: Local::Never,
        ..JobRequest::new("bench", module, InputsRequest::Range { from: 0, to })
    };
    wait_for_peers(&client, count)?;
    end_of(&client, &request(i64::try_from(4 * count)?))?;
    let job = end_of(&client, &request(tasks))?;
    ensure!(job.failed == 0, "{} tasks failed", job.failed);
    let ended = job.ended.context("the job has ended")?;
    submitter.stop()?;
    Ok(ended.since(job.submitted))
}

fn wait_for_peers(client: &Client, count: usize) -> anyhow::Result<()> {
    let started = Instant::now();
    while client.peer()?.view.neighbours.iter().filter(|peer| peer.agent.is_some()).count() < count
    {
        ensure!(started.elapsed() < LIMIT, "the peers did not find each other");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn end_of(client: &Client, request: &JobRequest) -> anyhow::Result<JobView> {
    let job = client.submit(request)?;
    let started = Instant::now();
    loop {
        let view = client.job(job)?;
        if view.state != JobState::Running {
            return Ok(view);
        }
        ensure!(started.elapsed() < LIMIT, "the job did not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}
