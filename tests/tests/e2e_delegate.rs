//! A submitter goes away, its delegate finishes the job, and the submitter has every result when it is
//! back, without computing any of them again.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use bayan::api::types::TaskResult;
use bayan_protocol::{
    cbor,
    delegate::{KeptView, Voucher},
    id::JobId,
    record::JobState,
    verify::Basis,
};
use bayan_tests::{
    native::{self, module},
    outputs,
    peers::Node,
    program::{run, until},
    runs::LIMIT,
};

const TASKS: u64 = 60;
const RANGE: &str = "0..60";
/// The largest prime of 64 bits, in packets of about a tenth of a second.
const ARGS: &str = "--number 18446744073709551557 --packet 40000000";
/// Seconds that the submitter is away before its job is carried on.
const AFTER: &str = "2";

fn expected() -> anyhow::Result<Vec<u8>> {
    native::range("factor", RANGE, &ARGS.split(' ').collect::<Vec<_>>())
}

/// What a delegate keeps.
fn kept(node: &Node) -> anyhow::Result<Vec<KeptView>> {
    Ok(node.client()?.peer()?.view.kept)
}

fn executed(nodes: &[&Node]) -> anyhow::Result<u64> {
    nodes.iter().map(|node| Ok(node.client()?.peer()?.view.executed)).sum()
}

/// Every result is proven by those who computed it, or by the delegate's word.
fn check_words(results: &[TaskResult], delegate: &Node) -> anyhow::Result<u64> {
    let (told, computed): (Vec<_>, Vec<_>) =
        results.iter().cloned().partition(|one| one.basis == Some(Basis::Delegate));
    outputs::check_proofs(&computed)?;
    for result in &told {
        let word = result.delegate.as_ref().context("the delegate's word")?;
        let voucher: Voucher = cbor::decode(&hex::decode(&word.proof)?)?;
        voucher.check()?;
        ensure!(word.peer == delegate.id()? && voucher.terms.delegate == word.peer);
        ensure!(voucher.task == result.task && Some(voucher.outcome.output) == result.output);
    }
    Ok(told.len() as u64)
}

#[test]
fn a_job_goes_on_without_its_submitter_and_comes_back_to_it() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name);
    let delegate = Node::start(&at("delegate"), &["--slots", "1", "--delegate-after", AFTER])?;
    let worker = Node::join(&at("worker"), &delegate, &[])?;
    let mut submitter =
        Node::start(&at("submitter"), &["--slots", "0", "--bootstrap", &delegate.dial])?;
    run(&delegate.dir, &["trust", "add", &submitter.peer], LIMIT)?.code(0)?;
    let app = module("factor").display().to_string();
    let args = ["run", &app, "--detach", "--json", "--range", RANGE, "--args", ARGS];
    let rules = ["--local", "never", "--redundancy", "1", "--delegate", &delegate.peer];
    let submitted = run(&submitter.dir, &[&args[..], &rules].concat(), LIMIT)?.code(0)?;
    let job: JobId = submitted.json()?[0]["job"].as_str().context("a job's id")?.parse()?;
    let client = submitter.client()?;
    until("the delegate to accept and some tasks to be settled", LIMIT, || {
        let view = client.job(job)?;
        let accepted = view.delegate.is_some_and(|one| one.accepted);
        Ok((accepted && view.settled >= 8).then_some(()))
    })?;
    submitter.kill();

    until("the delegate to have the rest", LIMIT, || {
        let kept = kept(&delegate)?;
        let one = kept.first().context("the job is kept")?;
        Ok((one.settled + one.done == TASKS).then_some(()))
    })?;
    let jobs = delegate.client()?.jobs()?;
    ensure!(jobs.len() == 1 && jobs[0].name.starts_with("factor (for "), "{jobs:?}");
    // What was under way when the last result came is over, too.
    until("everyone to be idle", LIMIT, || {
        let idle = |node: &Node| Ok::<_, anyhow::Error>(node.client()?.peer()?.view);
        let (one, other) = (idle(&delegate)?, idle(&worker)?);
        Ok((one.free == one.slots && other.free == other.slots).then_some(()))
    })?;
    let before = executed(&[&delegate, &worker])?;

    submitter = submitter.restart()?;
    let client = submitter.client()?;
    let over = || Ok(Some(client.job(job)?).filter(|view| view.state == JobState::Done));
    let view = until("the job's end", LIMIT, over)?;
    assert_eq!((view.settled, view.failed), (TASKS, 0));
    let told = view.delegate.context("its delegate")?;
    ensure!(told.results > 0 && told.differs == 0, "{told:?}");
    assert_eq!(executed(&[&delegate, &worker])?, before, "something was computed again");

    let results = outputs::all(|after| Ok(client.results(job, after, 256)?))?;
    outputs::check_complete(&results, TASKS)?;
    assert_eq!(check_words(&results, &delegate)?, told.results);
    let out = at("out");
    let target = out.display().to_string();
    let fetch = ["fetch", &job.to_string(), "--concat", &target, "--json"];
    run(&submitter.dir, &fetch, LIMIT)?.code(0)?;
    ensure!(std::fs::read(out)? == expected()?, "the outputs are not those of a sequential run");
    let status = run(&submitter.dir, &["status", &job.to_string()], LIMIT)?.code(0)?.stdout;
    ensure!(status.contains("has accepted") && status.contains("on its word"), "{status}");
    until("the delegate to forget the job", Duration::from_secs(20), || {
        let forgotten = kept(&delegate)?.is_empty() && delegate.client()?.jobs()?.is_empty();
        Ok(forgotten.then_some(()))
    })
}
