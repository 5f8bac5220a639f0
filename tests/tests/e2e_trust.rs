//! Whom a job trusts, as its submitter says it on the command line, and what it is told in return:
//! before, during and after.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use bayan_protocol::{id::Hash, record::JobState};
use bayan_tests::{
    cast::Cast,
    guests,
    hostile::{Heard, Hostile},
    native::{self, module},
    peers::{Node, address},
    program::{Finished, bayan, run, start, until},
};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(90);
/// Long enough for a peer that is offered something to say so.
const QUIET: Duration = Duration::from_secs(2);
const NUMBER: [&str; 4] = ["--number", "1000000007", "--packet", "2000"];
const ARGS: &str = "--number 1000000007 --packet 2000";

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { dir: tempfile::tempdir()? })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.at(name).display().to_string()
    }

    fn node(&self, args: &[&str]) -> anyhow::Result<Node> {
        Node::start(&self.at("submitter"), args)
    }
}

fn factor() -> String {
    module("factor").display().to_string()
}

fn expected(range: &str) -> anyhow::Result<Vec<u8>> {
    native::range("factor", range, &NUMBER)
}

/// The lines of a `results.jsonl`, one for each place.
fn lines(path: &Path, tasks: usize) -> anyhow::Result<Vec<Value>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let lines: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let mut places: Vec<u64> = lines
        .iter()
        .flat_map(|line| line["places"].as_array().into_iter().flatten())
        .filter_map(Value::as_u64)
        .collect();
    places.sort_unstable();
    ensure!(places == (0..tasks as u64).collect::<Vec<_>>(), "not one line a task: {places:?}");
    for line in &lines {
        for field in ["state", "basis", "verified"] {
            ensure!(line[field].is_string(), "{field} is missing: {line}");
        }
    }
    Ok(lines)
}

fn word<'a>(value: &'a Value, field: &str) -> anyhow::Result<&'a str> {
    value[field].as_str().with_context(|| format!("{field}: {value}"))
}

#[test]
fn the_operators_own_list_is_kept_with_and_without_a_daemon() -> anyhow::Result<()> {
    let place = Place::new()?;
    let data = place.at("data");
    let (one, two) = ("01".repeat(32), "02".repeat(32));
    let trust = |args: &[&str]| run(&data, &[&["trust"], args].concat(), LIMIT);
    // Nobody runs, and the directory is new.
    let none = trust(&["list"])?.code(0)?;
    ensure!(none.stdout.contains("bayan trust add"), "{}", none.stdout);
    trust(&["add", &one, &two])?.code(0)?;
    let node = Node::start(&data, &["--slots", "1"])?;
    let listed = trust(&["list", "--json"])?.code(0)?.json()?;
    ensure!(listed.len() == 2 && listed[0]["trusted"] == true, "{listed:?}");
    assert_eq!((&listed[0]["peer"], &listed[0]["k"]), (&Value::from(one.as_str()), &500.into()));
    trust(&["remove", &one])?.code(0)?;
    let node = node.restart()?;
    let left = trust(&["list"])?.code(0)?.stdout;
    ensure!(!left.contains(&one) && left.contains(&two), "{left}");
    let all = trust(&["list", "--all"])?.code(0)?.stdout;
    ensure!(all.contains(&one) && all.contains("trusted"), "{all}");

    trust(&["add", "xyz"])?.code(2)?.says(&["64 hexadecimal digits"])?;
    trust(&["add", &one, "12"])?.code(2)?;
    trust(&["add"])?.code(2)?;
    trust(&["add", &node.peer])?.code(5)?.says(&["the peer itself"])?;
    Ok(())
}

#[test]
fn what_a_job_will_cost_is_said_before_it_is_submitted() -> anyhow::Result<()> {
    let place = Place::new()?;
    let node = place.node(&["--slots", "1"])?;
    let cast = Cast::join(&node, 1, &["honest", "honest", "honest"])?;
    node.meets(3)?;
    let app = factor();
    let plan = |args: &[&str]| {
        let job = ["run", &app, "--range", "0..50", "--no-local", "--plan"];
        run(&node.dir, &[&job[..], args].concat(), LIMIT)
    };
    let said = plan(&[])?.code(0)?.stdout;
    ensure!(said.starts_with("plan for 50 tasks, adaptive: all replicated, about 2x"), "{said}");
    ensure!(said.contains("no bound on wrong results"), "{said}");
    ensure!(said.contains("3 peers are there"), "{said}");
    let told = plan(&["--json", "--assume-faulty", "0.1"])?.code(0)?.json()?;
    assert_eq!((&told[0]["tasks"], &told[0]["bound"]), (&50.into(), &Value::Null));
    assert_eq!(told[0]["workers"].as_array().map(Vec::len), Some(3));
    assert_eq!(told[0]["faulty"], 0.1);
    let voted = plan(&["--trust", "vote:2"])?.code(0)?.stdout;
    ensure!(voted.contains("vote:2: all replicated, about 2x"), "{voted}");
    let lenient = plan(&["--tolerate", "0.15", "--json"])?.code(0)?.json()?;
    ensure!(lenient[0]["first"].as_f64().is_some_and(|first| first < 1.0), "{lenient:?}");
    ensure!(node.client()?.jobs()?.is_empty(), "a plan was submitted");

    // On the way to a job it is on standard error, unless nothing is wanted there.
    let job = ["run", &app, "--range", "0..4", "--args", ARGS, "--out"];
    let loud = run(&node.dir, &[&job[..], &[&place.text("loud")]].concat(), LIMIT)?.code(0)?;
    ensure!(loud.stderr.contains("plan for 4 tasks"), "{}", loud.stderr);
    ensure!(loud.stderr.contains("executions for 4 results"), "{}", loud.stderr);
    let quiet =
        run(&node.dir, &[&job[..], &[&place.text("quiet"), "--quiet"]].concat(), LIMIT)?.code(0)?;
    assert_eq!(quiet.stderr, "");
    cast.end()?;
    Ok(())
}

#[test]
fn a_job_for_trusted_peers_waits_for_one_and_says_so() -> anyhow::Result<()> {
    let place = Place::new()?;
    let node = place.node(&["--slots", "1"])?;
    let friend = Node::join(&place.at("friend"), &node, &[])?;
    node.meets(1)?;
    let out = place.text("out");
    let app = factor();
    let args = ["run", &app, "--range", "0..6", "--args", ARGS, "--out", &out, "--only-trusted"];
    let mut job = start(&node.dir, &[&args[..], &["--no-local", "--trust", "none"]].concat())?;
    job.complains("no peer of the trust list", LIMIT)?;
    let client = node.client()?;
    let view = until("the job to say what it waits for", LIMIT, || {
        Ok(client.jobs()?.into_iter().find(|job| job.waiting.is_some()))
    })?;
    let waits = view.waiting.clone().context("a reason")?;
    ensure!(waits.contains("bayan trust add"), "{waits}");
    let status = run(&node.dir, &["status", &view.job.to_string()], LIMIT)?.code(0)?.stdout;
    ensure!(status.contains("only peers of the trust list"), "{status}");
    ensure!(view.workers.is_empty(), "somebody that nobody vouches for takes part: {view:?}");

    run(&node.dir, &["trust", "add", &friend.peer], LIMIT)?.code(0)?;
    job.finish(LIMIT)?.code(0)?;
    lines(&Path::new(&out).join("results.jsonl"), 6)?;
    Ok(())
}

#[test]
fn a_confidential_job_reaches_those_that_it_names_and_nobody_else() -> anyhow::Result<()> {
    let place = Place::new()?;
    let node = place.node(&["--slots", "1"])?;
    let named = Node::join(&place.at("named"), &node, &[])?;
    node.meets(1)?;
    let mut other = Hostile::greeted(&node, 4)?;
    let (app, out) = (factor(), place.text("out"));
    let list = place.at("peers.txt");
    fs::write(&list, format!("# who may\n{}\n", named.peer))?;
    let job = ["run", &app, "--range", "0..8", "--args", ARGS, "--concat", &out, "--no-local"];
    let peers = format!("@{}", list.display());
    let secret = ["--peers", &peers, "--confidential", "--trust", "none"];
    let done = run(&node.dir, &[&job[..], &secret].concat(), LIMIT)?.code(0)?;
    ensure!(done.stderr.contains("1 peer is there"), "{}", done.stderr);
    ensure!(fs::read(&out)? == expected("0..8")?, "the wrong outputs");

    while let Some(heard) = other.hear(QUIET) {
        let Heard::Frame(frame) = heard else { anyhow::bail!("the stream is gone") };
        let told = format!("{frame:?}");
        ensure!(!told.contains("Offer") && !told.contains("Lease"), "it was offered work: {told}");
    }
    let hash = Hash::of(&fs::read(&app)?);
    ensure!(node.client()?.blob(&hash).is_ok(), "the module is here");
    assert_eq!(other.asks_for(hash)?, None, "the module was given away");

    // A job that is no secret gives the same module to anyone.
    let open = place.text("open");
    let job =
        ["run", &app, "--range", "0..1", "--args", ARGS, "--concat", &open, "--trust", "none"];
    run(&node.dir, &job, LIMIT)?.code(0)?;
    ensure!(other.asks_for(hash)?.is_some(), "a public module is refused");
    assert_eq!(other.asks_for(Hash([7; 32]))?, None);
    Ok(())
}

#[test]
fn wrong_values_are_named_and_nothing_is_submitted() -> anyhow::Result<()> {
    let place = Place::new()?;
    let (data, app) = (place.at("data"), factor());
    let no_file = format!("@{}", place.text("none.txt"));
    for (args, code, words) in [
        (&["--trust", "votes"][..], 2, "no such policy"),
        (&["--trust", "vote:99"], 2, "not that many peers"),
        (&["--assume-faulty", "1.5"], 2, "above 0 and below 1"),
        (&["--tolerate", "0"], 2, "between 0 and 1"),
        (&["--tolerate", "0.1", "--trust", "vote:2"], 2, "only the policy adaptive"),
        (&["--tolerate", "0.1", "--redundancy", "2"], 2, "cannot be used with"),
        (&["--peers", "abc"], 2, "'abc' is no peer"),
        (&["--peers", &no_file], 1, "cannot read"),
        (&["--peers", ""], 2, "is no peer"),
        (&["--confidential"], 2, "required"),
        (&["--only-trusted", "--peers", "x"], 2, "cannot be used with"),
        (&["--accept", "maybe"], 2, "provisional"),
        (&["--plan", "--detach"], 2, "cannot be used with"),
    ] {
        let all = [&["run", &app, "--range", "0..2"], args].concat();
        run(&data, &all, LIMIT)?.code(code)?.says(&[words])?;
    }
    ensure!(!data.exists(), "a data directory was made for nothing");
    let node = place.node(&["--slots", "1"])?;
    for args in
        [&["evidence", "export", "ff", "--out", "x"][..], &["evidence", "export", "", "--out", "x"]]
    {
        run(&node.dir, args, LIMIT)?.code(1)?.says(&["bayan evidence list"])?;
    }
    let none = run(&node.dir, &["evidence", "list"], LIMIT)?.code(0)?.stdout;
    ensure!(none.contains("no evidence is kept"), "{none}");
    Ok(())
}

#[test]
fn a_run_may_end_before_results_are_final() -> anyhow::Result<()> {
    let place = Place::new()?;
    let node = place.node(&["--slots", "1"])?;
    let _worker = Node::join(&place.at("worker"), &node, &[])?;
    node.meets(1)?;
    let (app, out) = (factor(), place.at("out"));
    // The only other peer is never checked: nobody else is there, and own slots are not to compute.
    let text = out.display().to_string();
    let job = ["run", &app, "--range", "0..12", "--args", ARGS, "--out", &text, "--no-local"];
    let early = ["--accept", "provisional", "--json"];
    let done = run(&node.dir, &[&job[..], &early].concat(), LIMIT)?.code(0)?;
    let events = done.json()?;
    ensure!(events.iter().any(|event| event["event"] == "plan"), "no plan was told");
    let states: Vec<&str> = events
        .iter()
        .filter(|event| event["event"] == "result")
        .map(|event| word(&event["result"], "state"))
        .collect::<anyhow::Result<_>>()?;
    ensure!(states.len() >= 12 && !states.contains(&"final"), "{states:?}");
    let results = lines(&out.join("results.jsonl"), 12)?;
    ensure!(results.iter().all(|line| line["basis"] == "word"), "{results:?}");
    let outputs: Vec<u8> = (0..12)
        .map(|number| fs::read(out.join(format!("{number:06}.out"))))
        .collect::<Result<Vec<_>, _>>()?
        .concat();
    ensure!(outputs == expected("0..12")?, "the wrong outputs");
    let finished = events.last().context("an end")?;
    let account = finished["account"].to_string();
    ensure!(account.contains("12 on their peer's word alone"), "{account}");

    // In order, on standard output, the same.
    let mapped = ["map", "--no-local", "--accept", "provisional", "--quiet", &app, "--args", ARGS];
    let mut command = bayan(&node.dir);
    command.args(mapped);
    let program = bayan_tests::program::Program::spawn_with(command, b"0\n1\n2\n")?;
    let done = program.finish(LIMIT)?.code(0)?;
    ensure!(done.stdout.as_bytes() == expected("0..3")?, "{}", done.stdout);
    Ok(())
}

/// A run on a peer whose only helper lies always, to its end.
fn among_liars(place: &Place, node: &Node, extra: &[&str]) -> anyhow::Result<(Finished, PathBuf)> {
    let out = place.at("out");
    let text = out.display().to_string();
    let app = place.at("slow.wasm");
    fs::write(&app, wat::parse_str(guests::slow_echo(20_000_000))?)?;
    let app = app.display().to_string();
    let job = ["run", &app, "--range", "0..60", "--out", &text, "--force"];
    let done = run(&node.dir, &[&job[..], extra].concat(), LIMIT)?.code(0)?;
    for number in 0..60 {
        let output = fs::read_to_string(out.join(format!("{number:06}.out")))?;
        ensure!(output == format!("{number}\n"), "input {number}: {output:?}");
    }
    lines(&out.join("results.jsonl"), 60)?;
    Ok((done, out))
}

#[test]
fn who_signs_wrong_results_is_named_and_the_proof_is_kept() -> anyhow::Result<()> {
    let place = Place::new()?;
    let node = place.node(&["--slots", "1"])?;
    let cast = Cast::join(&node, 3, &["always"])?;
    let (done, _) = among_liars(&place, &node, &[])?;
    ensure!(done.stderr.contains("proven wrong"), "{}", done.stderr);
    ensure!(done.stderr.contains("evidence: "), "{}", done.stderr);
    println!("{}", done.stderr);
    let members = cast.end()?;
    let liar = members[0].identities[0].to_string();

    let here = |args: &[&str]| run(&node.dir, args, LIMIT);
    let kept = here(&["evidence", "list", "--json"])?.code(0)?.json()?;
    ensure!(!kept.is_empty() && kept.iter().all(|one| one["accused"] == liar.as_str()), "{kept:?}");
    let file = PathBuf::from(word(&kept[0], "file")?);
    ensure!(file == node.dir.join("evidence").join(format!("{}.bayan", word(&kept[0], "id")?)));
    let copy = place.text("proof.bayan");
    here(&["evidence", "export", &liar[..12], "--out", &copy])?.code(0)?;
    here(&["evidence", "export", &liar, "--out", &copy])?.code(1)?.says(&["--force"])?;
    let verdict = run(&place.at("nobody"), &["evidence", "verify", "--json", &copy], LIMIT)?;
    assert_eq!(verdict.code(0)?.json()?[0]["verdict"], "proven");
    let status = here(&["jobs", "--json"])?.json()?;
    let job = word(&status[0], "job")?.to_owned();
    let status = here(&["status", &job])?.code(0)?.stdout;
    ensure!(status.contains("proven wrong") && status.contains("evidence: "), "{status}");
    let known = here(&["trust", "list", "--all", "--json"])?.code(0)?.json()?;
    let standing = known.iter().find(|one| one["peer"] == liar.as_str()).context("the liar")?;
    ensure!(standing["failed"].as_u64() > Some(0) && standing["k"] == 0, "{standing}");

    // What was not written is made up for at the next start.
    let before = fs::read(&file)?;
    fs::remove_file(&file)?;
    let _node = node.restart()?;
    until("the evidence to be back", LIMIT, || Ok(file.exists().then_some(())))?;
    assert_eq!(fs::read(&file)?, before);
    Ok(())
}

#[test]
fn evidence_of_a_confidential_job_carries_nothing_of_it() -> anyhow::Result<()> {
    let place = Place::new()?;
    let node = place.node(&["--slots", "1"])?;
    let mut cast = Cast::join(&node, 4, &["always"])?;
    let liar = until("the liar to be known", LIMIT, || {
        Ok(node.client()?.peer()?.view.neighbours.first().map(|one| one.peer.to_string()))
    })?;
    let secret = ["--peers", &liar, "--confidential", "--json"];
    let (done, _) = among_liars(&place, &node, &secret)?;
    let events = done.json()?;
    // What is computed again before anybody has looked is not seen to be taken back.
    for back in events.iter().filter(|event| event["event"] == "taken_back") {
        ensure!(word(&back["result"], "verified")?.starts_with("taken back: "), "{back}");
        ensure!(back["result"]["basis"].is_null() && back["result"]["places"].is_array(), "{back}");
    }
    let finished = events.last().context("an end")?;
    let account = finished["account"].to_string();
    ensure!(account.contains("which is confidential"), "{account}");
    assert_eq!(finished["caught"][0]["peer"], liar.as_str());
    let here = |args: &[&str]| run(&node.dir, args, LIMIT);
    let kept = here(&["evidence", "list", "--json"])?.code(0)?.json()?;
    ensure!(!kept.is_empty(), "no evidence is kept");
    for one in &kept {
        assert_eq!(one["missing"].as_array().map(Vec::len), Some(2), "{one}");
        let bytes = fs::metadata(word(one, "file")?)?.len();
        ensure!(bytes < 4096, "{bytes} bytes");
    }
    let _ = cast.wait_for(Duration::ZERO, |_| Some(()));
    Ok(())
}

#[test]
fn a_peer_inside_a_run_has_a_plan_too() -> anyhow::Result<()> {
    let place = Place::new()?;
    let node = place.node(&["--slots", "1"])?;
    let listen = format!("/ip4/{}/tcp/0", address());
    let alone = ["--no-mdns", "--no-quic", "--listen", &listen];
    let (app, out) = (factor(), place.text("out"));
    let job = ["run", &app, "--range", "0..4", "--args", ARGS, "--concat", &out];
    let done = run(&place.at("alone"), &[&job[..], &alone].concat(), LIMIT)?.code(0)?;
    ensure!(done.stderr.contains("this machine computes all of it"), "{}", done.stderr);
    let joined = [&job[..], &alone, &["--bootstrap", &node.dial, "--plan"]].concat();
    let said = run(&place.at("joined"), &joined, LIMIT)?.code(0)?.stdout;
    ensure!(said.contains("1 peer is there"), "{said}");
    ensure!(node.client()?.jobs()?.iter().all(|job| job.state != JobState::Running));
    Ok(())
}
