//! The command line as people and scripts use it: every command, its exit codes, its JSON.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use bayan::client::Client;
use bayan_tests::{
    guests, native,
    native::{fixture, module},
    peers::{Node, address},
    program::{Finished, Program, bayan, executable, is_alive, run, signal, until},
};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

/// A directory with a few guests in it.
fn guests_dir() -> anyhow::Result<tempfile::TempDir> {
    let dir = tempfile::tempdir()?;
    for (name, text) in [
        ("echo", guests::echo()),
        ("moody", guests::moody()),
        ("socket", guests::socket()),
        ("reader", guests::reader()),
        ("slow", guests::slow_echo(200_000_000)),
    ] {
        fs::write(dir.path().join(format!("{name}.wasm")), wat::parse_str(text)?)?;
    }
    Ok(dir)
}

/// Runs a command whose peer, if it has one inside, stays on loopback.
fn alone(dir: &Path, args: &[&str], input: &[u8]) -> anyhow::Result<Finished> {
    let listen = format!("/ip4/{}/tcp/0", address());
    let mut command = bayan(dir);
    let (name, rest) = args.split_first().context("a command")?;
    command.args([name, "--no-mdns", "--no-quic", "--listen", &listen]).args(rest);
    Program::spawn_with(command, input)?.finish(LIMIT)
}

#[test]
fn one_task_from_standard_input_to_standard_output() -> anyhow::Result<()> {
    let dir = guests_dir()?;
    let data = dir.path().join("data");
    let app = |name: &str| dir.path().join(format!("{name}.wasm")).display().to_string();
    let done = alone(&data, &["run", &app("echo")], b"hello\nthere\n")?.code(0)?;
    assert_eq!(done.stdout, "hello\nthere\n");
    let reads = fs::read(fixture("reads.fa"))?;
    let done =
        alone(&data, &["run", &module("kmers").display().to_string(), "--args", "-k 4"], &reads)?;
    assert_eq!(done.code(0)?.stdout.as_bytes(), native::kmers(&reads, &["-k", "4"])?);

    let table = dir.path().join("table.txt");
    fs::write(&table, "from a file\n")?;
    let spec = format!("table={}", table.display());
    let done = alone(&data, &["run", &app("reader"), "--data", &spec], b"x")?.code(0)?;
    assert_eq!(done.stdout, "from a file\n");
    let without = alone(&data, &["run", &app("reader")], b"x")?.code(3)?;
    assert_eq!(without.stdout, "");

    let done = alone(&data, &["run", &app("echo"), "--json"], b"hello")?.code(0)?;
    let result =
        done.json()?.into_iter().find(|line| line["event"] == "result").context("a result")?;
    assert_eq!(result["result"]["inline"], hex::encode("hello"));
    Ok(())
}

#[test]
fn lines_are_mapped_in_order_and_failing_ones_are_named() -> anyhow::Result<()> {
    let dir = guests_dir()?;
    let data = dir.path().join("data");
    let text: String = (0..200).map(|number| format!("line {}\n", number % 50)).collect();
    let app = dir.path().join("echo.wasm").display().to_string();
    // The last line lacks its newline and is given it.
    let done = alone(&data, &["map", &app], text.trim_end().as_bytes())?.code(0)?;
    assert_eq!(done.stdout, text);

    let app = dir.path().join("moody.wasm").display().to_string();
    let done = alone(&data, &["map", &app], b"all\ntrap\nwell\n")?
        .code(3)?
        .says(&["input 1", "trapped"])?;
    assert_eq!(done.stdout, "aw");
    Ok(())
}

#[test]
fn a_map_takes_its_arguments_in_quotes() -> anyhow::Result<()> {
    let dir = guests_dir()?;
    let mut command = bayan(&dir.path().join("data"));
    command.current_dir(bayan_tests::program::root());
    let listen = format!("/ip4/{}/tcp/0", address());
    command.args(["map", "factor --number 1234567890123456789 --packet 100000000"]);
    command.args(["--no-mdns", "--no-quic", "--listen", &listen]);
    let done = Program::spawn_with(command, b"0\n1\n2\n")?.finish(LIMIT)?.code(0)?;
    let args = ["--number", "1234567890123456789", "--packet", "100000000"];
    assert_eq!(done.stdout.as_bytes(), native::range("factor", "0..3", &args)?);
    Ok(())
}

#[test]
fn a_peer_is_paused_resumed_and_stopped() -> anyhow::Result<()> {
    let dir = guests_dir()?;
    let mut node = Node::start(&dir.path().join("data"), &["--slots", "1"])?;
    let here = |args: &[&str]| run(&node.dir, args, LIMIT);
    here(&["pause"])?.code(0)?;
    ensure!(here(&["peers"])?.code(0)?.stdout.contains("paused"), "`peers` does not tell");
    let app = module("factor").display().to_string();
    let job = ["--detach", "--json", "--range", "0..4", "--args", "--number 91 --packet 3"];
    let submitted = here(&[&["run", &app], &job[..]].concat())?.code(0)?.json()?;
    let id = submitted[0]["job"].as_str().context("a job's id")?.to_owned();
    // The only slot is taken back, so that nothing can be settled however long one looks.
    let client = node.client()?;
    let view = client.job(id.parse()?)?;
    assert_eq!((view.settled, client.peer()?.view.executed), (0, 0));
    here(&["resume"])?.code(0)?;
    let fetched =
        here(&["fetch", "--wait", &id, "--concat", &dir.path().join("out").display().to_string()])?;
    fetched.code(0)?;
    let args = ["--number", "91", "--packet", "3"];
    assert_eq!(fs::read(dir.path().join("out"))?, native::range("factor", "0..4", &args)?);
    let stopped = here(&["stop"])?.code(0)?;
    ensure!(stopped.stdout.contains(&node.pid().to_string()), "`stop` does not say which process");
    ensure!(node.end()?.success(), "the peer did not end well");
    // Without anybody there, each says what to do.
    for command in ["peers", "pause", "resume", "stop"] {
        run(&node.dir, &[command], LIMIT)?.code(1)?.says(&["bayan node"])?;
    }
    Ok(())
}

/// Kills a process that is not a child when the test is over, whatever its end.
struct Stray(u32);

impl Drop for Stray {
    fn drop(&mut self) {
        // Most often it has ended already.
        let _ = signal(self.0, libc::SIGKILL);
    }
}

#[test]
fn a_detached_job_starts_a_peer_that_can_be_stopped() -> anyhow::Result<()> {
    let dir = guests_dir()?;
    let data = dir.path().join("data");
    let app = module("factor").display().to_string();
    let args =
        ["run", &app, "--detach", "--range", "0..12", "--args", "--number 1234567890123456789"];
    let submitted = alone(&data, &args, b"")?.code(0)?;
    let pid: u32 = submitted
        .stdout
        .split_once("process ")
        .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("no process is named: {}", submitted.stdout))?;
    let _stray = Stray(pid);
    ensure!(is_alive(pid), "no such process");
    let jobs = run(&data, &["jobs", "--json"], LIMIT)?.code(0)?.json()?;
    let job = jobs[0]["job"].as_str().context("a job")?.to_owned();
    let out = dir.path().join("out");
    let target = out.display().to_string();
    run(&data, &["fetch", "--wait", &job, "--concat", &target, "--json"], LIMIT)?.code(0)?;
    assert_eq!(
        fs::read(&out)?,
        native::range("factor", "0..12", &["--number", "1234567890123456789"])?
    );
    run(&data, &["stop"], LIMIT)?.code(0)?;
    until("the peer to end", LIMIT, || Ok((!is_alive(pid)).then_some(())))?;
    // What it had is there without it.
    let again = dir.path().join("again").display().to_string();
    run(&data, &["fetch", &job, "--concat", &again], LIMIT)?.code(0)?;
    assert_eq!(fs::read(&out)?, fs::read(again)?);
    Ok(())
}

#[test]
fn jobs_are_listed_shown_cancelled_and_forgotten() -> anyhow::Result<()> {
    let dir = guests_dir()?;
    let node = Node::start(&dir.path().join("data"), &["--slots", "1"])?;
    let here = |args: &[&str]| run(&node.dir, args, LIMIT);
    ensure!(here(&["jobs"])?.code(0)?.stdout.contains("bayan run"), "an empty list says nothing");
    let slow = dir.path().join("slow.wasm").display().to_string();
    let out = dir.path().join("out").display().to_string();
    let args =
        ["run", &slow, "--json", "--range", "0..500", "--name", "endless work", "--out", &out];
    let mut follower = bayan_tests::program::start(&node.dir, &args)?;
    let id = follower.wait_for(LIMIT, |line| line["job"].as_str().map(str::to_owned))?;

    let listed = here(&["jobs"])?.code(0)?.stdout;
    ensure!(
        listed.contains(&id[..8]) && listed.contains("endless work") && listed.contains("running"),
        "{listed}"
    );
    let shown = here(&["status", &id[..6]])?.code(0)?.stdout;
    ensure!(shown.contains(&id) && shown.contains("of 500"), "{shown}");
    here(&["cancel", "--forget", &id])?.code(1)?.says(&["running"])?;
    let so_far = dir.path().join("so-far").display().to_string();
    let fetched = here(&["fetch", &id[..9], "--out", &so_far])?.code(0)?.stdout;
    ensure!(fetched.contains("not over"), "{fetched}");
    here(&["fetch", &id[..9], "--concat", &format!("{so_far}.txt")])?
        .code(1)?
        .says(&["not over", "--wait"])?;
    let cancelled = here(&["cancel", &id])?.code(0)?.stdout;
    ensure!(cancelled.contains("cancelled"), "{cancelled}");
    let finished = follower.finish(LIMIT)?.code(4)?;
    let last = finished.json()?.pop().context("a last line")?;
    assert_eq!((&last["event"], &last["job"]["state"]), (&"finished".into(), &"cancelled".into()));
    here(&["cancel", &id])?.code(1)?.says(&["over", "--forget"])?;
    here(&["fetch", &id, "--out", &out, "--force"])?.code(4)?;
    here(&["cancel", "--forget", &id])?.code(0)?;
    here(&["status", &id])?.code(1)?.says(&["no job", "bayan jobs"])?;
    for command in ["status", "fetch", "cancel"] {
        here(&[command, "zz"])?.code(1)?.says(&["zz"])?;
    }
    // Nobody computes for a job that is gone.
    let client = node.client()?;
    until("the slot to be free", LIMIT, || Ok((client.peer()?.view.free == 1).then_some(())))?;
    Ok(())
}

#[test]
fn apps_are_checked_and_listed() -> anyhow::Result<()> {
    let dir = guests_dir()?;
    let data = dir.path().join("data");
    let app = |name: &str| dir.path().join(format!("{name}.wasm")).display().to_string();
    let input = dir.path().join("input.txt");
    fs::write(&input, "3\n")?;
    let input = input.display().to_string();
    let factor = module("factor").display().to_string();
    let args =
        ["app", "check", &factor, "--stdin", &input, "--args", "--number 91 --packet 2", "--json"];
    let report = run(&data, &args, LIMIT)?.code(0)?.json()?.pop().context("a report")?;
    ensure!(report["verdict"].as_str().is_some_and(|words| words.contains("agree")), "{report}");
    ensure!(report["imports"].as_array().is_some_and(|imports| !imports.is_empty()), "{report}");
    ensure!(report["fuel"].as_u64() > Some(0), "{report}");

    let refused = run(&data, &["app", "check", &app("socket")], LIMIT)?.code(5)?;
    ensure!(refused.stdout.contains("sock_open"), "the import is not named: {}", refused.stdout);
    run(&data, &["app", "check", &factor, "--args", "--number 0"], LIMIT)?.code(3)?;
    run(&data, &["app", "check", &input], LIMIT)?.code(5)?.says(&["not a WebAssembly module"])?;
    run(&data, &["app", "check", "nothing-of-this-name"], LIMIT)?
        .code(1)?
        .says(&["nothing-of-this-name"])?;

    let mut list = bayan(&data);
    list.args(["app", "list"]).env("BAYAN_APPS", dir.path());
    let listed = Program::spawn(list)?.finish(LIMIT)?.code(0)?.stdout;
    for name in ["echo", "moody", "socket"] {
        ensure!(listed.contains(name), "{name} is not listed:\n{listed}");
    }
    let mut by_name = bayan(&data);
    by_name.args(["run", "echo", "--no-mdns", "--listen", &format!("/ip4/{}/tcp/0", address())]);
    by_name.env("BAYAN_APPS", dir.path());
    let done = Program::spawn_with(by_name, b"by name")?.finish(LIMIT)?.code(0)?;
    assert_eq!(done.stdout, "by name");
    Ok(())
}

#[test]
fn every_command_speaks_json_and_nothing_else() -> anyhow::Result<()> {
    let dir = guests_dir()?;
    let data = dir.path().join("data");
    let app = dir.path().join("moody.wasm").display().to_string();
    let node = Node::start(&data, &["--slots", "1"])?;
    let here = |args: &[&str], code: i32| -> anyhow::Result<Vec<Value>> {
        run(&node.dir, &[args, &["--json"]].concat(), LIMIT)?.code(code)?.json()
    };
    let out = dir.path().join("out").display().to_string();
    let lines = dir.path().join("lines");
    fs::write(&lines, "t\nw\n")?;
    let events = here(&["run", &app, "--lines", &lines.display().to_string(), "--out", &out], 3)?;
    let names: Vec<&str> = events.iter().filter_map(|line| line["event"].as_str()).collect();
    ensure!(
        names.contains(&"submitted")
            && names.contains(&"progress")
            && names.ends_with(&["finished"]),
        "{names:?}"
    );
    let finished = events.last().context("an end")?;
    assert_eq!((&finished["job"]["settled"], &finished["job"]["failed"]), (&2.into(), &1.into()));
    ensure!(finished["failures"].to_string().contains("trapped"), "{finished}");
    assert_eq!(events[0]["event"], "plan", "what it will cost comes first");
    let submitted = events.iter().find(|event| event["event"] == "submitted").context("a job")?;
    let job = submitted["job"].as_str().context("a job's id")?;

    assert_eq!(here(&["jobs"], 0)?[0]["job"], job);
    assert_eq!(here(&["status", job], 0)?[0]["state"], "done");
    here(&["fetch", job, "--out", &out, "--force"], 3)?;
    assert_eq!(here(&["peers"], 0)?[0]["peer"], node.peer.as_str());
    assert_eq!(here(&["pause"], 0)?[0]["event"], "paused");
    assert_eq!(here(&["resume"], 0)?[0]["event"], "resumed");
    assert_eq!(here(&["cancel", "--forget", job], 0)?[0]["outcome"], "forgotten");
    let friend = "0a".repeat(32);
    assert_eq!(here(&["trust", "add", &friend], 0)?[0]["event"], "trusted");
    assert_eq!(here(&["trust", "list"], 0)?[0]["peer"], friend.as_str());
    assert_eq!(here(&["trust", "remove", &friend], 0)?[0]["event"], "distrusted");
    assert_eq!(here(&["trust", "list"], 0)?.len(), 0);
    assert_eq!(here(&["evidence", "list"], 0)?.len(), 0);
    assert_eq!(here(&["run", &app, "--range", "0..5", "--plan"], 0)?[0]["tasks"], 5);
    here(&["app", "list"], 0)?;
    here(&["app", "check", &app], 0)?;
    let error = here(&["status", "zz"], 1)?.pop().context("an error")?;
    assert_eq!(error["event"], "error");
    ensure!(error["error"].as_str().is_some_and(|words| words.contains("zz")), "{error}");
    assert_eq!(here(&["stop"], 0)?[0]["event"], "stopped");
    Ok(())
}

#[test]
fn completions_are_written_for_each_shell() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let done = run(dir.path(), &["completions", shell], LIMIT)?.code(0)?;
        ensure!(done.stdout.contains("bayan") && done.stdout.contains("resume"), "{shell}");
    }
    run(dir.path(), &["completions", "cobol"], LIMIT)?.code(2)?;
    run(dir.path(), &["no-such-command"], LIMIT)?.code(2)?;
    Ok(())
}

/// Escape sequences that choose colours.
fn has_colours(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    text.match_indices("\u{1b}[").any(|(at, _)| {
        let rest =
            text[at + 2..].trim_start_matches(|one: char| one.is_ascii_digit() || one == ';');
        rest.starts_with('m')
    })
}

#[test]
fn colours_are_for_terminals_that_want_them() -> anyhow::Result<()> {
    let dir = guests_dir()?;
    let data = dir.path().join("data");
    let app = dir.path().join("moody.wasm").display().to_string();
    let done = alone(
        &data,
        &["run", &app, "--range", "0..3", "--out", &dir.path().join("o1").display().to_string()],
        b"",
    )?;
    ensure!(
        !has_colours(done.stdout.as_bytes()) && !has_colours(done.stderr.as_bytes()),
        "colours in a pipe"
    );
    // On a terminal, but told not to.
    let listen = format!("/ip4/{}/tcp/0", address());
    let quoted = |path: PathBuf| format!("'{}'", path.display());
    let line = format!(
        "{} --data-dir {} run {app} --no-mdns --listen {listen} --range 0..3 --out {}",
        quoted(executable()),
        quoted(data),
        quoted(dir.path().join("o2")),
    );
    let mut terminal = Command::new("script");
    terminal
        .args(["-q", "-e", "-c", &line, "/dev/null"])
        .env("NO_COLOR", "1")
        .env("BAYAN_LOG", "info");
    let Ok(program) = Program::spawn(terminal) else {
        println!("skipped: there is no `script` to make a terminal with");
        return Ok(());
    };
    let done = program.finish(LIMIT)?.code(0)?;
    ensure!(done.stdout.contains("job "), "nothing was shown: {}", done.stdout);
    ensure!(!has_colours(done.stdout.as_bytes()), "colours in spite of NO_COLOR:\n{}", done.stdout);
    Ok(())
}

/// The status line of the answer to one request, as a program of another make would send it.
fn status_line(api: SocketAddr, headers: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(api)?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(stream, "GET /v1/peer HTTP/1.1\r\nConnection: close\r\n{headers}\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    answer.lines().next().map(str::to_owned).context("an answer")
}

#[test]
fn the_api_answers_nobody_without_its_token() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let node = Node::start(&dir.path().join("data"), &["--slots", "1"])?;
    let token = fs::read_to_string(node.dir.join("api_token"))?;
    let token = token.trim_end();
    let host = "Host: 127.0.0.1\r\n";
    for (headers, status) in [
        (host.to_owned(), "401"),
        (format!("{host}Authorization: Bearer {}\r\n", "0".repeat(64)), "401"),
        (format!("{host}Authorization: Bearer {}\r\n", &token[..63]), "401"),
        (format!("{host}Authorization: Basic {token}\r\n"), "401"),
        (format!("Host: example.org\r\nAuthorization: Bearer {token}\r\n"), "403"),
        (format!("{host}Authorization: Bearer {token}\r\n"), "200"),
    ] {
        let line = status_line(node.api, &headers)?;
        ensure!(line.contains(status), "{headers:?} is answered by {line}");
    }
    let refused = Client::new(node.api, "wrong").stop().expect_err("a wrong token");
    assert_eq!(refused.status(), Some(401));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(node.dir.join("api_token"))?.permissions(),
    );
    assert_eq!(mode & 0o077, 0, "others can read the token");
    node.client()?.peer()?;
    Ok(())
}
