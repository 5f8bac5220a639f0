//! What verification costs, measured on real processes: `cargo run --bin bench-verify`.
//!
//! A submitter with one own slot and eleven honest peers, each in a network of its own. Records are
//! earned first: jobs of tiny tasks until the submitter counts 5000 passed checks of everyone. Then
//! 10,000 tasks under `adaptive`: executions per final result, all copies, closing checks and
//! referees included, and the bytes that the verifier holds for a task that is not final.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bayan::{
    api::types::{InputsRequest, JobRequest},
    client::Client,
};
use bayan_protocol::{
    entropy::Entropy,
    id::{Hash, PeerId, TaskId},
    offer::Prefix,
    record::JobState,
    result::Outcome,
    source::JobView,
    standing::Standings,
    task::Status,
    time::Timestamp,
    verify::{About, Config, Policy, Verifier, Vote},
};
use bayan_tests::{
    guests,
    peers::Node,
    program::{is_only_asked, until},
};

/// Honest peers.
const PEERS: usize = 11;
/// Passed checks that everyone is to have.
const RECORD: u32 = 5000;
/// Tasks of the measured job, and of each that records are earned with.
const TASKS: i64 = 10_000;
const EARNING: i64 = 40_000;
/// Turns of an empty loop in each task of the measured job.
const STEPS: u64 = 30_000_000;
/// A job that takes longer than this has failed.
const LIMIT: Duration = Duration::from_secs(1200);

fn main() -> anyhow::Result<()> {
    let about =
        "Measures what verification costs: executions a final result, and bytes a pending task.";
    if is_only_asked(about)? {
        return Ok(());
    }
    println!("verification state: {}", footprint());
    let dir = tempfile::tempdir()?;
    let submitter = Node::start(&dir.path().join("submitter"), &["--slots", "1"])?;
    let mut peers = Vec::new();
    for number in 0..PEERS {
        peers.push(Node::join(&dir.path().join(format!("peer-{number}")), &submitter, &[])?);
    }
    submitter.meets(PEERS)?;
    let client = submitter.client()?;
    earn(&client)?;
    measure(&client)
}

/// Bytes held for a task that is not final, in the middle of a job like the measured one.
fn footprint() -> String {
    let id = |number: u8| PeerId([number; 32]);
    let policy = Policy::default();
    let config = Config { policy, tasks: TASKS as u32, provisional: false, quarantined: None };
    let mut verifier = Verifier::new(config, id(0), [7; 32]);
    let (mut standings, now) = (Standings::default(), Timestamp(1));
    for number in 1..=PEERS as u8 {
        for _ in 0..RECORD {
            standings.passed(now, id(number), None);
        }
        let prefix = Prefix::of([10, 0, number, 1].into());
        let about = About { prefix, slots: 1, own: false, reserved: false };
        verifier.join(now, id(number), about, &mut standings);
    }
    let mut entropy = Entropy::new(&[1; 32]);
    let outcome = Outcome { status: Status::Exited(0), output: Hash([1; 32]), fuel: 1 };
    for task in 0..TASKS as u32 / 2 {
        let worker = id(1 + (task % PEERS as u32) as u8);
        let (root, id) = (Hash(entropy.draw()), TaskId(entropy.draw()));
        let vote = Vote { worker, via: Vec::new(), outcome, root, id };
        let _ = verifier.vote(now, task, vote, &mut standings);
        drop(verifier.take_effects());
    }
    let (bytes, tasks) = verifier.footprint();
    format!("{} bytes for each of {tasks} tasks that are not final", bytes / tasks.max(1))
}

/// Jobs of tiny tasks until everyone has its record.
fn earn(client: &Client) -> anyhow::Result<()> {
    let module =
        wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "_start")))"#)?;
    let module = client.upload(&module)?.hash;
    let begun = Instant::now();
    let mut tasks = 0;
    loop {
        let least = client.standings()?.iter().map(|one| one.k).collect::<Vec<u32>>();
        let known = least.len() >= PEERS;
        let least = least.into_iter().min().unwrap_or(0);
        if known && least >= RECORD {
            println!(
                "records of {least} and more earned with {tasks} tasks in {:?}",
                begun.elapsed()
            );
            return Ok(());
        }
        ensure!(begun.elapsed() < LIMIT, "after {tasks} tasks the least record is {least}");
        let inputs = InputsRequest::Range { from: 0, to: EARNING };
        let view = end_of(client, &JobRequest::new("earning", module, inputs))?;
        tasks += view.tasks;
        client.forget(view.job)?;
    }
}

fn measure(client: &Client) -> anyhow::Result<()> {
    let module = client.upload(&wat::parse_str(guests::slow_echo(STEPS))?)?.hash;
    let inputs = InputsRequest::Range { from: 0, to: TASKS };
    let view = end_of(client, &JobRequest::new("measured", module, inputs))?;
    ensure!(view.failed == 0, "{} tasks failed", view.failed);
    let attempts: u64 = view.workers.iter().map(|one| one.returned + one.inconclusive).sum();
    let micros: u64 = view.workers.iter().map(|one| one.micros).sum();
    let ended = view.ended.context("the job has ended")?;
    println!(
        "{} tasks of {:.1} ms in {:.1} s: {:.3} executions per final result ({} checks drawn, {} at the end, {} disputes); what was believed rests on {:?}",
        view.tasks,
        micros as f64 / attempts as f64 / 1000.0,
        ended.since(view.submitted).as_secs_f64(),
        attempts as f64 / view.tasks as f64,
        view.tally.drawn,
        view.tally.closing,
        view.tally.disputes,
        view.bases,
    );
    Ok(())
}

fn end_of(client: &Client, request: &JobRequest) -> anyhow::Result<JobView> {
    let job = client.submit(request)?;
    until("the job's end", LIMIT, || {
        let view = client.job(job)?;
        Ok((view.state != JobState::Running).then_some(view))
    })
}
