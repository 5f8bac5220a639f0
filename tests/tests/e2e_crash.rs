//! Peers end as a power cut ends them, at the worst moment: no task is lost, none is settled twice,
//! and what was computed is not computed again.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use bayan_protocol::{id::JobId, record::JobState};
use bayan_tests::{
    chance::Chance,
    native::{self, module},
    outputs,
    peers::Node,
    program::{run, until},
    runs::{LIMIT, Run, client, collect},
};

const TASKS: u64 = 60;
const RANGE: &str = "0..60";
/// The largest prime of 64 bits.
const NUMBER: &str = "18446744073709551557";
/// Packets of about a tenth of a second.
const PACKET: &str = "40000000";

/// The arguments of a job of [`TASKS`] tasks.
const JOB: [&str; 4] =
    ["--range", RANGE, "--args", "--number 18446744073709551557 --packet 40000000"];

fn expected() -> anyhow::Result<Vec<u8>> {
    native::range("factor", RANGE, &["--number", NUMBER, "--packet", PACKET])
}

fn job_args<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [more, &JOB].concat()
}

/// Where the peer inside a run listens, as others dial it.
fn dial(dir: &Path) -> anyhow::Result<String> {
    let listening = || Ok(client(dir)?.peer()?.listening.first().cloned());
    until("the run's peer to listen", LIMIT, listening)
}

/// Every result is proven, every input answered once, every output as in a sequential run.
fn is_exact(bytes: &[u8], results: &[bayan::api::types::TaskResult]) -> anyhow::Result<()> {
    ensure!(bytes == expected()?, "the outputs are not those of a sequential run");
    outputs::check_complete(results, TASKS)?;
    outputs::check_proofs(results)
}

/// All workers die in the middle; the job waits for the next one and ends.
fn workers_come_and_go(rules: &[&str]) -> anyhow::Result<()> {
    let mut chance = Chance::new();
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name);
    let mut one = Node::start(&at("one"), &["--slots", "1"])?;
    let mut two = Node::join(&at("two"), &one, &[])?;
    let mut args = job_args(rules);
    args.extend(["--slots", "1", "--bootstrap", &one.dial]);
    let mut run = Run::start(&at("submitter"), &module("factor"), &args)?;
    run.reaches(chance.pick(2..TASKS / 3))?;
    one.kill();
    two.kill();
    let submitter = dial(&run.dir)?;
    if rules.contains(&"never") {
        let (client, job) = (run.client()?, run.job.parse()?);
        until("the job to say what it waits for", LIMIT, || Ok(client.job(job)?.waiting))?;
    }
    let late = Node::start(&at("late"), &["--slots", "1", "--bootstrap", &submitter])?;
    let done = run.finish(0)?;
    is_exact(&done.bytes, &done.results)?;
    let (counted, _) = outputs::votes_of(&done.results, &late.id()?);
    ensure!(counted > 0, "the peer that came late had no part in it");
    Ok(())
}

#[test]
fn a_job_outlives_all_its_workers() -> anyhow::Result<()> {
    workers_come_and_go(&["--redundancy", "1", "--local", "never"])
}

#[test]
fn own_slots_go_on_when_all_workers_die() -> anyhow::Result<()> {
    workers_come_and_go(&["--redundancy", "2", "--local", "always"])
}

#[test]
fn a_killed_submitter_goes_on_where_it_was() -> anyhow::Result<()> {
    let mut chance = Chance::new();
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name);
    let one = Node::start(&at("one"), &["--slots", "1"])?;
    let _two = Node::join(&at("two"), &one, &[])?;
    let _three = Node::join(&at("three"), &one, &[])?;
    let mut submitter = Node::start(&at("submitter"), &["--slots", "0", "--bootstrap", &one.dial])?;
    let app = module("factor").display().to_string();
    let args =
        job_args(&["run", &app, "--detach", "--json", "--local", "never", "--redundancy", "2"]);
    let submitted = run(&submitter.dir, &args, LIMIT)?.code(0)?;
    let job: JobId = submitted.json()?[0]["job"].as_str().context("a job's id")?.parse()?;
    let mut before = Vec::new();
    // More than once: what was restored must be as good as what was there at first.
    for _ in 0..2 {
        let least = before.len() as u64 + chance.pick(4..TASKS / 4);
        let client = submitter.client()?;
        until("some tasks to be settled", LIMIT, || {
            Ok((client.job(job)?.settled >= least).then_some(()))
        })?;
        before = outputs::all(|after| Ok(client.results(job, after, 256)?))?;
        submitter.kill();
        submitter = submitter.restart()?;
        let client = submitter.client()?;
        let after = outputs::all(|after| Ok(client.results(job, after, 256)?))?;
        ensure!(
            after.len() >= before.len() && after[..before.len()] == before,
            "what was settled has changed"
        );
    }
    let client = submitter.client()?;
    let over = || Ok(Some(client.job(job)?).filter(|view| view.state == JobState::Done));
    let view = until("the job's end", LIMIT, over)?;
    assert_eq!((view.settled, view.failed), (TASKS, 0));
    let out = at("out");
    let target = out.display().to_string();
    run(&submitter.dir, &["fetch", &job.to_string(), "--concat", &target, "--json"], LIMIT)?
        .code(0)?;
    let results = outputs::all(|after| Ok(client.results(job, after, 256)?))?;
    assert_eq!(results[..before.len()], before, "what was settled has changed");
    is_exact(&fs::read(out)?, &results)
}

/// Submitter and worker both die. What the worker had computed meanwhile is delivered, not computed
/// again: attempts before and after add up to the number of tasks.
#[test]
fn a_killed_worker_delivers_what_it_had() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name);
    let mut submitter = Node::start(&at("submitter"), &["--slots", "0"])?;
    let mut worker = Node::join(&at("worker"), &submitter, &[])?;
    worker.meets(1)?;
    let app = module("factor").display().to_string();
    let args =
        job_args(&["run", &app, "--detach", "--json", "--local", "never", "--redundancy", "1"]);
    let submitted = run(&submitter.dir, &args, LIMIT)?.code(0)?;
    let job: JobId = submitted.json()?[0]["job"].as_str().context("a job's id")?.parse()?;

    let executed =
        |worker: &Node| -> anyhow::Result<u64> { Ok(worker.client()?.peer()?.view.executed) };
    until("the worker to get going", LIMIT, || Ok((executed(&worker)? >= 5).then_some(())))?;
    let settled = submitter.client()?.job(job)?.settled;
    submitter.kill();
    let heard = executed(&worker)?;
    // It goes on with what it holds, and keeps the results.
    until("the worker to go on alone", LIMIT, || {
        Ok((executed(&worker)? >= heard + 4).then_some(()))
    })?;
    worker.client()?.pause()?;
    let before = executed(&worker)?;
    worker.kill();

    let submitter = submitter.restart()?;
    let client = submitter.client()?;
    ensure!(client.job(job)?.settled >= settled, "the submitter has forgotten results");
    let worker = worker.restart()?;
    until("the job's end", LIMIT, || Ok((client.job(job)?.state == JobState::Done).then_some(())))?;
    let results = outputs::all(|after| Ok(client.results(job, after, 256)?))?;
    outputs::check_complete(&results, TASKS)?;
    outputs::check_proofs(&results)?;
    let after = executed(&worker)?;
    assert_eq!(before + after, TASKS, "{before} attempts before the crash and {after} behind it");
    Ok(())
}

#[test]
fn a_killed_run_is_resumed() -> anyhow::Result<()> {
    let mut chance = Chance::new();
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name);
    let one = Node::start(&at("one"), &["--slots", "1"])?;
    let _two = Node::join(&at("two"), &one, &[])?;
    let peer = ["--no-mdns", "--no-quic", "--bootstrap", &one.dial];
    let args = job_args(&["--redundancy", "2", "--local", "never", "--bootstrap", &one.dial]);
    let mut first = Run::start(&at("submitter"), &module("factor"), &args)?;
    first.reaches(chance.pick(5..TASKS / 2))?;
    let (job, data) = (first.job.clone(), first.dir.clone());
    first.program.kill();
    ensure!(!data.with_extension("out").exists(), "half of an output is visible under its name");

    let listen = format!("/ip4/{}/tcp/0", bayan_tests::peers::address());
    let resume = ["run", "--resume", &job, "--json", "--listen", &listen];
    let resumed = run(&data, &[&resume[..], &peer].concat(), LIMIT)?.code(0)?;
    let done = collect(resumed, &data.with_extension("out"))?;
    is_exact(&done.bytes, &done.results)?;

    // Everything is there for whoever asks later, without any peer.
    let again = at("again");
    let target = again.display().to_string();
    run(&data, &["fetch", &job[..12], "--out", &target], LIMIT)?.code(0)?;
    let results = outputs::list(&again.join("results.jsonl"))?;
    assert_eq!(results, done.results);
    let mut bytes = Vec::new();
    for place in 0..TASKS {
        bytes.extend(fs::read(again.join(format!("{place:06}.out")))?);
    }
    is_exact(&bytes, &results)
}

/// Two runs share a directory: the second works through the first, and takes over when that one is
/// done, or dies.
fn two_runs(kill: bool) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    let app = module("factor").display().to_string();
    let args = job_args(&["--slots", "2"]);
    let mut holder = Run::start(&data, &module("factor"), &args)?;
    let mut command = bayan_tests::program::bayan(&data);
    let target = dir.path().join("second.out");
    command
        .args(["run", &app, "--json", "--no-mdns", "--no-quic", "--concat"])
        .arg(&target)
        .args(JOB);
    let mut second = bayan_tests::program::Program::spawn(command)?;
    let pid = second
        .wait_for(LIMIT, |line| (line["event"] == "submitted").then(|| line["pid"].clone()))?;
    assert_eq!(pid, holder.program.pid(), "the second run uses the first one's peer");
    if kill {
        holder.reaches(3)?;
        let job = holder.job.clone();
        holder.program.kill();
        let done = collect(second.finish(LIMIT)?.code(0)?, &target)?;
        is_exact(&done.bytes, &done.results)?;
        let listen = format!("/ip4/{}/tcp/0", bayan_tests::peers::address());
        let resumed = run(
            &data,
            &["run", "--resume", &job, "--json", "--no-mdns", "--no-quic", "--listen", &listen],
            LIMIT,
        )?;
        let done = collect(resumed.code(0)?, &data.with_extension("out"))?;
        return is_exact(&done.bytes, &done.results);
    }
    let done = holder.finish(0)?;
    is_exact(&done.bytes, &done.results)?;
    let done = collect(second.finish(LIMIT)?.code(0)?, &target)?;
    is_exact(&done.bytes, &done.results)
}

#[test]
fn two_runs_on_one_directory_both_end() -> anyhow::Result<()> {
    two_runs(false)
}

#[test]
fn a_run_takes_over_from_a_killed_one() -> anyhow::Result<()> {
    two_runs(true)
}

#[test]
fn a_second_peer_on_a_directory_is_told_who_is_there() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    let mut node = Node::start(&data, &["--slots", "1"])?;
    let second = run(&data, &["node", "--no-mdns"], Duration::from_secs(30))?;
    second.code(1)?.says(&["already", &node.pid().to_string()])?;
    ensure!(node.is_up()?, "the first was disturbed");
    node.kill();
    // A crash leaves the lock to nobody.
    let mut again = node.restart()?;
    ensure!(again.end()?.success(), "it did not end in order");
    Ok(())
}
