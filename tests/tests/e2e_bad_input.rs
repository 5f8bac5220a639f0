//! What cannot work is refused in words that say what to do, or fails alone: nothing is lost, and no
//! peer is harmed.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use bayan_protocol::{record::JobState, task::Status};
use bayan_tests::{
    guests,
    native::{self, module},
    outputs,
    peers::{Node, address},
    program::{Finished, Program, bayan, executable, run, start, until},
    runs::Run,
};

const LIMIT: Duration = Duration::from_secs(60);

/// A directory with a few guests and inputs in it.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        for (name, text) in
            [("moody", guests::moody()), ("socket", guests::socket()), ("echo", guests::echo())]
        {
            fs::write(dir.path().join(format!("{name}.wasm")), wat::parse_str(text)?)?;
        }
        fs::write(dir.path().join("text.wasm"), "this is no module\n")?;
        fs::write(dir.path().join("cut.wasm"), &fs::read(module("factor"))?[..5000])?;
        Ok(Self { dir })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.at(name).display().to_string()
    }
}

/// Runs `bayan run` with a peer of its own on loopback.
fn alone(dir: &Path, args: &[&str]) -> anyhow::Result<Finished> {
    let listen = format!("/ip4/{}/tcp/0", address());
    run(dir, &[&["run", "--no-mdns", "--no-quic", "--listen", &listen], args].concat(), LIMIT)
}

/// A job whose outputs are known runs well on the peers that `args` lead to.
fn all_is_well(place: &Place, args: &[&str]) -> anyhow::Result<()> {
    let data = tempfile::tempdir_in(place.dir.path())?;
    let all = [&["--range", "0..6", "--args", "--number 1000000007 --packet 6000"], args].concat();
    let done = Run::start(&data.path().join("good"), &module("factor"), &all)?.finish(0)?;
    let expected =
        native::range("factor", "0..6", &["--number", "1000000007", "--packet", "6000"])?;
    ensure!(done.bytes == expected, "a good job no longer gives what it should");
    Ok(())
}

#[test]
fn modules_that_cannot_run_are_refused_at_submission() -> anyhow::Result<()> {
    let place = Place::new()?;
    let data = place.at("data");
    let node = Node::start(&data, &["--slots", "1"])?;
    for (name, words) in [
        ("text.wasm", &["not a WebAssembly module"][..]),
        ("cut.wasm", &["invalid module"]),
        ("socket.wasm", &["sock_open", "sockets are not available"]),
    ] {
        let args = ["run", &place.text(name), "--range", "0..3", "--out", &place.text("out")];
        run(&data, &args, LIMIT)?.code(5)?.says(words)?;
        // Without a peer running the answer is the same.
        alone(&place.at("alone"), &args[1..])?.code(5)?.says(words)?;
    }
    let missing = place.text("missing.wasm");
    run(&data, &["run", &missing, "--range", "0..3"], LIMIT)?
        .code(1)?
        .says(&["no module at", "missing.wasm"])?;
    // Programs are told the same over the API.
    let client = node.client()?;
    let uploaded = client.upload(&fs::read(place.at("socket.wasm"))?)?;
    let mut request = bayan::api::types::JobRequest {
        trust: "vote:2".to_owned(),
        ..bayan::api::types::JobRequest::new(
            "x",
            uploaded.hash,
            bayan::api::types::InputsRequest::Range { from: 0, to: 1 },
        )
    };
    let refused = client.submit(&request).expect_err("an unknown import");
    ensure!(
        refused.status() == Some(422) && refused.to_string().contains("sock_open"),
        "{refused}"
    );
    request.module = bayan_protocol::id::Hash([1; 32]);
    let refused = client.submit(&request).expect_err("a module that is not here");
    ensure!(refused.status() == Some(422) && refused.to_string().contains("upload"), "{refused}");
    ensure!(client.jobs()?.is_empty(), "a refused job is there");
    Ok(())
}

#[test]
fn inputs_that_make_no_job_are_refused() -> anyhow::Result<()> {
    let place = Place::new()?;
    let data = place.at("data");
    fs::write(place.at("empty"), "")?;
    let out = place.text("out");
    let app = module("factor").display().to_string();
    for (code, args, words) in [
        (1, &["--files", &place.text("*.nothing")][..], &["no file matches"][..]),
        (1, &["--files", &place.text("")], &["directory"]),
        (1, &["--files", &place.text("gone.txt")], &["gone.txt"]),
        (1, &["--lines", &place.text("gone.txt")], &["cannot read", "gone.txt"]),
        (1, &["--lines", &place.text("empty")], &["empty"]),
        (
            1,
            &["--range", "0..2", "--data", &format!("table={}", place.text("gone.txt"))],
            &["cannot read", "gone.txt"],
        ),
        (1, &["--range", "0..2", "--concat", &place.text("no/where")], &["there is no directory"]),
        (2, &["--range", "5..5"], &["empty"]),
        (2, &["--range", "9..1"], &["backwards"]),
        (2, &["--range", "0..9000000000000000000"], &["at most 1000000"]),
        (2, &["--range", "0..99999999999999999999"], &["64 bits"]),
        (2, &["--range", "0..2", "--data", "../x=y"], &["plain file name"]),
        (2, &["--range", "0..2", "--redundancy", "16"], &["16"]),
        (2, &["--range", "0..2", "--fuel", "0"], &["0"]),
        (1, &["--range", "0..2", "--bootstrap", "nonsense"], &["nonsense", "multiaddress"]),
    ] {
        let mut all = [&[app.as_str()][..], args].concat();
        if !args.contains(&"--concat") {
            all.extend(["--out", out.as_str()]);
        }
        alone(&data, &all)?.code(code)?.says(words).with_context(|| format!("{args:?}"))?;
    }
    fs::create_dir(place.at("taken"))?;
    fs::write(place.at("taken/mine"), "precious")?;
    let args = [app.as_str(), "--range", "0..2", "--out", &place.text("taken")];
    alone(&data, &args)?.code(1)?.says(&["exists already", "--force"])?;
    ensure!(
        !data.join("blobs").exists() || run(&data, &["jobs", "--json"], LIMIT)?.json()?.is_empty(),
        "a job is there"
    );
    all_is_well(&place, &[])
}

/// Tasks that trap, loop, flood, eat memory or give up fail one by one, on every peer alike, and the
/// others of the same job are done.
#[test]
fn guests_that_misbehave_fail_alone() -> anyhow::Result<()> {
    let place = Place::new()?;
    let one = Node::start(&place.at("one"), &["--slots", "1"])?;
    let mut two = Node::join(&place.at("two"), &one, &[])?;
    let lines = place.text("lines");
    fs::write(&lines, "well\ntrap\nloop\noverflow\nmemory\nexit\nwell too\n")?;
    let network = ["--local", "never", "--redundancy", "2", "--bootstrap", &one.dial];
    let bounds =
        ["--lines", &lines, "--fuel", "100000000", "--output-limit", "500000", "--memory", "128"];
    let guest = place.at("moody.wasm");
    let run = Run::start(&place.at("submitter"), &guest, &[&bounds[..], &network].concat())?;
    let mut done = run.finish(3)?;
    assert_eq!(done.bytes, b"ww");
    done.results.sort_by_key(|result| result.places.clone());
    outputs::check_complete(&done.results, 7)?;
    let statuses: Vec<_> = done.results.iter().map(|result| result.status).collect();
    let expected = [
        Status::Exited(0),
        Status::Trapped,
        Status::OutOfFuel,
        Status::OutputLimit,
        Status::Trapped,
        Status::Exited(7),
        Status::Exited(0),
    ];
    assert_eq!(statuses, expected.map(Some));
    assert_eq!(done.finished["job"]["failed"], 5);
    let failures = done.finished["failures"].to_string();
    ensure!(failures.contains("input"), "no failure is described: {failures}");

    // A loop without a fuel limit worth the name ends by wall time, and is given up in the end.
    fs::write(&lines, "loop\nwell\n")?;
    let bounds = ["--lines", &lines, "--wall", "1", "--redundancy", "1", "--slots", "1"];
    let done = Run::start(&place.at("patient"), &guest, &bounds)?.finish(3)?;
    assert_eq!(done.bytes, b"w");
    let given_up =
        done.results.iter().find(|result| result.status.is_none()).context("a task given up")?;
    ensure!(given_up.verified.contains("given up"), "{}", given_up.verified);

    all_is_well(&place, &network)?;
    ensure!(two.is_up()?, "a peer went down");
    Ok(())
}

#[test]
fn a_data_directory_that_cannot_be_used_is_named() -> anyhow::Result<()> {
    let place = Place::new()?;
    fs::write(place.at("file"), "not a directory")?;
    fs::create_dir(place.at("others"))?;
    fs::write(place.at("others/letter.txt"), "dear all")?;
    let newer = place.at("newer");
    drop(Node::start(&newer, &["--slots", "1"])?);
    fs::write(newer.join("format"), "99\n")?;
    let app = module("factor").display().to_string();
    for (dir, words) in [
        ("file", &["file"][..]),
        ("file/below", &["below"]),
        ("others", &["not empty", "choose another"]),
        ("newer", &["format 99", "install a newer version"]),
    ] {
        let data = place.at(dir);
        let node = run(&data, &["node", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"], LIMIT)?;
        node.code(1)?.says(words).with_context(|| dir.to_owned())?;
        let out = place.text("out");
        alone(&data, &[&app, "--range", "0..2", "--out", &out])?
            .code(1)?
            .says(words)
            .with_context(|| dir.to_owned())?;
    }
    assert_eq!(fs::read_to_string(place.at("others/letter.txt"))?, "dear all");
    assert_eq!(
        fs::read_dir(place.at("others"))?.count(),
        1,
        "something was left in a foreign directory"
    );
    Ok(())
}

/// The limit on the size of a file stands for a full disk, and needs no other rights than the user's.
#[test]
fn a_full_disk_is_told_and_loses_nothing() -> anyhow::Result<()> {
    let place = Place::new()?;
    let data = place.at("data");
    let first = Run::start(
        &data,
        &module("factor"),
        &["--range", "0..3", "--args", "--number 91 --packet 3"],
    )?;
    let job = first.job.clone();
    let before = first.finish(0)?;

    let big = place.at("big.txt");
    fs::write(&big, vec![b'x'; 8 << 20])?;
    let limited = |words: &str| {
        let mut command = Command::new("bash");
        // Blocks of 1024 bytes: files of 3 MiB at most. The signal that comes with it is ignored.
        let script = format!("trap '' XFSZ; ulimit -f 3072; exec \"$0\" {words}");
        command.args(["-c", &script]).arg(executable());
        command.arg("--data-dir").arg(&data).env_remove("BAYAN_DATA_DIR");
        Program::spawn(command)?.finish(LIMIT)
    };
    let echo = place.text("echo.wasm");
    let listen = format!("--listen /ip4/{}/tcp/0", address());
    let out = place.text("big.out");
    let words = format!(
        "\"$@\" run --no-mdns --no-quic {listen} {echo} --files {} --concat {out}",
        big.display()
    );
    limited(&words)?.code(1)?.says(&["room"])?;

    // With room again everything is as it was, and work goes on.
    let again = place.text("again");
    run(&data, &["fetch", &job, "--concat", &again], LIMIT)?.code(0)?;
    assert_eq!(fs::read(again)?, before.bytes);
    let done = Run::start(
        &data,
        &module("factor"),
        &["--range", "0..3", "--args", "--number 91 --packet 3"],
    );
    assert!(done.is_err(), "outputs are not written over");
    alone(&data, &[&echo, "--files", &big.display().to_string(), "--concat", &out])?.code(0)?;
    assert_eq!(fs::read(out)?.len(), 65536, "the guest repeats as much as it reads at once");
    Ok(())
}

#[test]
fn addresses_that_cannot_be_used_are_named() -> anyhow::Result<()> {
    let place = Place::new()?;
    let data = place.at("data");
    let ip = address();
    let other = TcpListener::bind((ip.as_str(), 0))?;
    let taken = format!("/ip4/{ip}/tcp/{}", other.local_addr()?.port());
    let local = TcpListener::bind("127.0.0.1:0")?;
    let port = local.local_addr()?.port().to_string();
    let free = format!("/ip4/{ip}/tcp/0");
    for (args, words) in [
        (&["--listen", &taken][..], &[taken.as_str(), "in use"][..]),
        (&["--listen", &free, "--api-port", &port], &[port.as_str(), "in use"]),
        (&["--listen", "127.0.0.1:4600"], &["127.0.0.1:4600", "multiaddress"]),
        (&["--listen", "/ip4/127.0.0.1"], &["/ip4/127.0.0.1", "/tcp/PORT"]),
        (&["--listen", &free, "--bootstrap", "/ip4/300.0.0.1/tcp/1"], &["300.0.0.1"]),
        (&["--listen", "/ip4/203.0.113.7/tcp/0"], &["203.0.113.7"]),
        (&["--sabotage", "--listen", "/ip4/0.0.0.0/tcp/0"], &["loopback"]),
    ] {
        let all = [&["node", "--no-mdns", "--no-quic", "--slots", "1"], args].concat();
        run(&data, &all, LIMIT)?.code(1)?.says(words).with_context(|| format!("{args:?}"))?;
    }
    // The directory is as good as before.
    let mut node = Node::start(&data, &["--slots", "1"])?;
    ensure!(node.end()?.success(), "it did not end well");
    Ok(())
}

#[test]
fn without_peers_the_own_slots_do_the_work() -> anyhow::Result<()> {
    let place = Place::new()?;
    let app = module("factor").display().to_string();
    let out = place.text("out");
    let args = [
        &app,
        "--range",
        "0..4",
        "--args",
        "--number 91 --packet 3",
        "--redundancy",
        "2",
        "--concat",
        &out,
    ];
    let done = alone(&place.at("data"), &args)?.code(0)?;
    ensure!(
        done.stderr.contains("this peer") || done.stderr.contains("computed here"),
        "who computed it is not told: {}",
        done.stderr
    );
    assert_eq!(
        fs::read(&out)?,
        native::range("factor", "0..4", &["--number", "91", "--packet", "3"])?
    );
    // As a reserve they step in when nobody came.
    fs::remove_file(&out)?;
    let reserve = [&args[..], &["--local", "reserve", "--patience", "1", "--force"]].concat();
    alone(&place.at("data"), &reserve)?.code(0)?;
    assert_eq!(
        fs::read(&out)?,
        native::range("factor", "0..4", &["--number", "91", "--packet", "3"])?
    );
    Ok(())
}

#[test]
fn a_job_without_peers_waits_says_why_and_is_kept() -> anyhow::Result<()> {
    let place = Place::new()?;
    let (data, out) = (place.at("data"), place.text("out"));
    let app = module("factor").display().to_string();
    let listen = format!("/ip4/{}/tcp/0", address());
    let args = ["run", &app, "--no-mdns", "--no-quic", "--listen", &listen, "--range", "0..4"];
    let job =
        ["--args", "--number 91 --packet 3", "--concat", &out, "--no-local", "--redundancy", "2"];
    let mut waiting = start(&data, &[&args[..], &job].concat())?;
    waiting.complains("2 different peer", LIMIT)?;
    waiting.signal(libc::SIGINT)?;
    waiting.finish(LIMIT)?.code(130)?.says(&["is kept", "--resume"])?;
    ensure!(!Path::new(&out).exists(), "half of an output is visible");

    // It goes on as soon as there are peers.
    let jobs = run(&data, &["jobs", "--json"], LIMIT)?.code(0)?.json()?;
    let id = jobs[0]["job"].as_str().context("the job is gone")?.to_owned();
    assert_eq!(jobs[0]["state"], "running");
    let one = Node::start(&place.at("one"), &["--slots", "1"])?;
    let _two = Node::join(&place.at("two"), &one, &[])?;
    let mut command = bayan(&data);
    command.args(["run", "--resume", &id, "--json", "--no-mdns", "--no-quic", "--listen", &listen]);
    command.args(["--bootstrap", &one.dial]);
    Program::spawn(command)?.finish(LIMIT)?.code(0)?;
    assert_eq!(
        fs::read(&out)?,
        native::range("factor", "0..4", &["--number", "91", "--packet", "3"])?
    );
    Ok(())
}

/// A peer that is asked to end while it works does so in time, and its job is kept.
#[test]
fn a_peer_ends_in_order_in_the_middle_of_its_work() -> anyhow::Result<()> {
    let place = Place::new()?;
    fs::write(place.at("slow.wasm"), wat::parse_str(guests::slow_echo(300_000_000))?)?;
    let mut node = Node::start(&place.at("data"), &["--slots", "1"])?;
    let slow = place.text("slow.wasm");
    run(&node.dir, &["run", &slow, "--range", "0..12", "--detach"], LIMIT)?.code(0)?;
    let client = node.client()?;
    until("some of it to be done", LIMIT, || Ok((client.jobs()?[0].settled >= 2).then_some(())))?;
    ensure!(node.end()?.success(), "it did not end well");
    let node = node.restart()?;
    let client = node.client()?;
    ensure!(client.jobs()?[0].settled >= 2, "results are forgotten");
    until("the job's end", LIMIT, || Ok((client.jobs()?[0].state == JobState::Done).then_some(())))
}
