//! A submitter goes away, its delegate finishes the job, and the submitter has every result when it is
//! back, without computing any of them again.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use bayan::api::types::{InputsRequest, JobRequest, TaskResult};
use bayan_protocol::{
    cbor,
    delegate::{KeptView, Voucher},
    id::{Hash, JobId},
    job::{Audience, Local},
    record::JobState,
    verify::Basis,
};
use bayan_tests::{
    guests,
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

/// A job whose inputs and outputs are long, so that all of it goes by blobs.
fn confidential(at: &Node, delegate: &Node, worker: &Node) -> anyhow::Result<(JobId, Vec<Hash>)> {
    let client = at.client()?;
    let module = client.upload(&wat::parse_str(guests::slow_echo(30_000_000))?)?.hash;
    let inputs: Vec<Hash> = (0..200_u8)
        .map(|number| Ok(client.upload(&[number; 20_000])?.hash))
        .collect::<anyhow::Result<_>>()?;
    let request = JobRequest {
        trust: "none".to_owned(),
        local: Local::Never,
        audience: Audience::Named(vec![delegate.id()?, worker.id()?]),
        confidential: true,
        delegate: Some(delegate.id()?),
        ..JobRequest::new("echo", module, InputsRequest::Blobs(inputs.clone()))
    };
    Ok((client.submit(&request)?, inputs))
}

#[test]
fn all_of_a_confidential_job_comes_to_its_delegate_and_back_and_crashes_of_both_lose_nothing()
-> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name);
    let mut submitter = Node::start(&at("submitter"), &["--slots", "0"])?;
    // Its slot goes on with what it was leased; the worker knows the delegate alone.
    let mut delegate = Node::join(
        &at("delegate"),
        &submitter,
        &["--delegate-after", AFTER, "--delegate-for", &submitter.peer.clone()],
    )?;
    let worker = Node::start(&at("worker"), &["--slots", "1", "--bootstrap", &delegate.dial])?;
    worker.meets(1)?;
    let (job, inputs) = confidential(&submitter, &delegate, &worker)?;
    let client = submitter.client()?;
    until("the delegate to accept", LIMIT, || {
        let view = client.job(job)?;
        let accepted = view.delegate.is_some_and(|one| one.accepted);
        Ok((accepted && view.settled >= 2).then_some(()))
    })?;
    submitter.kill();
    until("the delegate to carry the job on", LIMIT, || {
        Ok(kept(&delegate)?.first().is_some_and(|one| one.done >= 2).then_some(()))
    })?;
    delegate.kill();
    delegate = delegate.restart()?;
    until("the delegate to have the rest", LIMIT, || {
        let one = kept(&delegate)?;
        let one = one.first().context("the job is kept")?;
        Ok((one.settled + one.done >= inputs.len() as u64 - 5).then_some(()))
    })?;
    submitter = submitter.restart()?;
    let client = submitter.client()?;
    let over = || Ok(Some(client.job(job)?).filter(|view| view.state == JobState::Done));
    let view = until("the job's end", LIMIT, over)?;
    let told = view.delegate.context("its delegate")?;
    ensure!(view.failed == 0 && told.results > 0 && told.differs == 0, "{told:?}");
    let results = outputs::all(|after| Ok(client.results(job, after, 256)?))?;
    outputs::check_complete(&results, inputs.len() as u64)?;
    assert_eq!(check_words(&results, &delegate)?, told.results);
    for result in &results {
        let input = usize::try_from(result.places[0])?;
        ensure!(result.output == Some(inputs[input]), "an echo differs: {result:?}");
    }
    Ok(())
}

#[test]
fn a_refusal_is_told_and_shown_and_the_job_goes_on_without_a_delegate() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name);
    let other = Node::start(&at("other"), &["--slots", "0", "--delegate-for", "nobody"])?;
    let submitter = Node::start(&at("submitter"), &["--slots", "1", "--bootstrap", &other.dial])?;
    run(&other.dir, &["trust", "add", &submitter.peer], LIMIT)?.code(0)?;
    submitter.meets(1)?;
    let app = module("factor").display().to_string();
    let args = ["run", &app, "--detach", "--json", "--range", "0..5", "--args"];
    let rules = ["--number 1000003 --packet 100", "--delegate", &other.peer];
    let submitted = run(&submitter.dir, &[&args[..], &rules].concat(), LIMIT)?.code(0)?;
    let job: JobId = submitted.json()?[0]["job"].as_str().context("a job's id")?.parse()?;
    let client = submitter.client()?;
    let over = || Ok(Some(client.job(job)?).filter(|view| view.state == JobState::Done));
    until("the job's end", LIMIT, over)?;
    // A short job may be over before it was handed over; one that waits is not.
    let waits = [&args[..], &rules, &["--local", "never"]].concat();
    let submitted = run(&submitter.dir, &waits, LIMIT)?.code(0)?;
    let job: JobId = submitted.json()?[0]["job"].as_str().context("a job's id")?.parse()?;
    until("the refusal", LIMIT, || {
        let refused = client.job(job)?.delegate.and_then(|one| one.refused);
        Ok(refused.filter(|why| why.contains("does not accept")))
    })?;
    let shown = run(&submitter.dir, &["status", &job.to_string()], LIMIT)?.code(0)?;
    ensure!(shown.stdout.contains("refuses: its operator does not accept"), "{}", shown.stdout);
    let listed = run(&submitter.dir, &["jobs"], LIMIT)?.code(0)?;
    ensure!(listed.stdout.contains(&format!("{} refuses", &other.peer[..8])), "{}", listed.stdout);
    ensure!(kept(&other)?.is_empty());
    Ok(())
}

#[test]
fn a_long_manifest_comes_to_the_delegate_and_is_forgotten_when_the_job_is_cancelled()
-> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name);
    let delegate = Node::start(&at("delegate"), &["--slots", "0"])?;
    let submitter =
        Node::start(&at("submitter"), &["--slots", "0", "--bootstrap", &delegate.dial])?;
    run(&delegate.dir, &["trust", "add", &submitter.peer], LIMIT)?.code(0)?;
    let client = submitter.client()?;
    let module = client.upload(&wat::parse_str(guests::echo())?)?.hash;
    let lines: String = (0..60_000).map(|line| format!("{line:0>60}\n")).collect();
    let inputs = InputsRequest::Lines(client.upload(lines.as_bytes())?.hash);
    let request = JobRequest {
        local: Local::Never,
        delegate: Some(delegate.id()?),
        ..JobRequest::new("echo", module, inputs)
    };
    let job = client.submit(&request)?;
    until("the delegate to accept", LIMIT, || {
        Ok(client.job(job)?.delegate.filter(|one| one.accepted))
    })?;
    let one = kept(&delegate)?.pop().context("it is kept")?;
    ensure!(one.whole && one.tasks == 60_000 && one.submitter == submitter.id()?, "{one:?}");
    let shown = run(&delegate.dir, &["peers"], LIMIT)?.code(0)?.stdout;
    ensure!(shown.contains("its submitter is here"), "{shown}");
    run(&submitter.dir, &["cancel", &job.to_string()], LIMIT)?.code(0)?;
    until("the delegate to forget it", LIMIT, || Ok(kept(&delegate)?.is_empty().then_some(())))
}

#[test]
fn delegates_that_cannot_be_are_refused_in_words() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let node = Node::start(&dir.path().join("peer"), &["--slots", "1"])?;
    let app = module("factor").display().to_string();
    let (other, third) = ("ab".repeat(32), "cd".repeat(32));
    let job = ["run", &app, "--range", "0..3", "--detach"];
    for (code, args, words) in [
        (2, &["--delegate", "abc"][..], &["--delegate", "'abc' is no peer", "64 hexadecimal"][..]),
        (2, &["--delegate", ""], &["--delegate", "is no peer"]),
        (5, &["--delegate", &node.peer], &["is this peer itself", "--delegate"]),
        (
            2,
            &["--delegate", &other, "--confidential", "--peers", &third],
            &["--peers does not name abababab"],
        ),
        (2, &["--delegate", &other, "--confidential", "--only-trusted"], &["--peers"]),
    ] {
        run(&node.dir, &[&job[..], args].concat(), LIMIT)?.code(code)?.says(words)?;
    }
    ensure!(node.client()?.jobs()?.is_empty(), "a refused job is there");
    let plan = ["run", &app, "--range", "0..3", "--plan", "--delegate", &other];
    let said = run(&node.dir, &plan, LIMIT)?.code(0)?.stdout;
    ensure!(said.contains("abababab carries the job on") && said.contains("if it lies"), "{said}");
    for (args, words) in [
        (&["--delegate-for", "friends"][..], "neither 'trusted', nor 'nobody', nor a peer"),
        (&["--delegate-for", "nobody", "--delegate-for", "trusted"], "leave one out"),
    ] {
        let node = [&["node", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"], args].concat();
        run(&dir.path().join("second"), &node, LIMIT)?.code(2)?.says(&[words])?;
    }
    Ok(())
}
