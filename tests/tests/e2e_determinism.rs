//! The same task gives the same status, output and fuel on every peer, whatever becomes of it.

use std::{env, fs, path::Path};

use anyhow::{Context as _, ensure};
use bayan::api::types::TaskResult;
use bayan_protocol::task::Status;
use bayan_tests::{
    guests,
    native::{fixture, module},
    outputs,
    peers::Node,
    runs::Run,
};

/// Two workers, and a job on which both must agree.
struct Pair {
    one: Node,
    two: Node,
    dir: tempfile::TempDir,
}

impl Pair {
    fn start() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let one = Node::start(&dir.path().join("one"), &["--slots", "1"])?;
        let two = Node::join(&dir.path().join("two"), &one, &[])?;
        Ok(Self { one, two, dir })
    }

    /// Runs a job and checks that every vote was for the same status, output and fuel.
    fn agree(
        &self,
        app: &Path,
        args: &[&str],
        count: u64,
        code: i32,
    ) -> anyhow::Result<(Vec<u8>, Vec<TaskResult>)> {
        let mut all = vec!["--local", "never", "--redundancy", "2", "--bootstrap", &self.one.dial];
        all.extend(args);
        let data = tempfile::tempdir_in(self.dir.path())?;
        let done = Run::start(&data.path().join("submitter"), app, &all)?.finish(code)?;
        outputs::check_complete(&done.results, count)?;
        outputs::check_proofs(&done.results)?;
        for result in &done.results {
            let mut peers: Vec<_> = result.by.iter().map(|vote| vote.peer).collect();
            peers.sort_unstable();
            let mut both = [self.one.id()?, self.two.id()?];
            both.sort_unstable();
            ensure!(peers == both, "not both peers computed {:?}", result.places);
            ensure!(
                result.by.iter().all(|vote| vote.agrees),
                "two honest peers differ: {result:?}"
            );
            ensure!(result.fuel > 0, "no work was counted");
        }
        for worker in done.finished["job"]["workers"].as_array().context("workers")? {
            ensure!(worker["outvoted"] == 0, "an honest peer was outvoted: {worker}");
        }
        Ok((done.bytes, done.results))
    }
}

#[test]
fn two_peers_agree_on_the_sample_apps() -> anyhow::Result<()> {
    let pair = Pair::start()?;
    let picture = "--width 120 --height 90 --block 30 --depth 500";
    pair.agree(&module("mandelbrot"), &["--range", "0..12", "--args", picture], 12, 0)?;
    let search = "--number 1234567890123456789 --packet 1000000";
    pair.agree(&module("factor"), &["--range", "0..20", "--args", search], 20, 0)?;
    let lines = fixture("lines.txt").display().to_string();
    pair.agree(&module("kmers"), &["--lines", &lines, "--args", "-k 5"], 40, 0)?;
    let reads = fixture("reads.fa").display().to_string();
    pair.agree(&module("kmers"), &["--files", &reads, "--args", "-k 11"], 1, 0)?;
    Ok(())
}

#[test]
fn two_peers_agree_on_failures() -> anyhow::Result<()> {
    let pair = Pair::start()?;
    let guest = pair.dir.path().join("moody.wasm");
    fs::write(&guest, wat::parse_str(guests::moody())?)?;
    let lines = pair.dir.path().join("lines.txt");
    // An exit code, a loop, a flood, memory beyond the limit, a trap, and all well.
    let moods = ["e", "l", "o", "m", "t", "w"];
    fs::write(&lines, moods.join("\n"))?;
    let lines = lines.display().to_string();
    let bounds =
        ["--lines", &lines, "--fuel", "50000000", "--output-limit", "1000000", "--memory", "64"];
    let (bytes, mut results) = pair.agree(&guest, &bounds, 6, 3)?;
    assert_eq!(bytes, b"w", "failed tasks have no output");
    results.sort_by_key(|result| result.places.clone());
    let statuses: Vec<Option<Status>> = results.iter().map(|result| result.status).collect();
    let expected = [
        Status::Exited(7),
        Status::OutOfFuel,
        Status::OutputLimit,
        Status::Trapped,
        Status::Trapped,
        Status::Exited(0),
    ];
    assert_eq!(statuses, expected.map(Some));

    // Bad arguments end the sample apps with code 2, and say why.
    let (_, results) =
        pair.agree(&module("factor"), &["--range", "0..3", "--args", "--packet 0"], 3, 3)?;
    for result in &results {
        assert_eq!(result.status, Some(Status::Exited(2)));
        ensure!(!result.by[0].log.is_empty(), "the guest's own words are lost");
    }
    let starved = ["--range", "0..3", "--fuel", "100000", "--args", "--number 1234567890123456789"];
    let (_, results) = pair.agree(&module("factor"), &starved, 3, 3)?;
    ensure!(
        results.iter().all(|result| result.status == Some(Status::OutOfFuel)),
        "the limit did not hold"
    );
    ensure!(results.iter().all(|result| result.fuel == 100_000), "peers stop at different points");
    Ok(())
}

/// A module built elsewhere may differ in its bytes, and must not in its outputs.
#[test]
fn rebuilt_modules_give_the_same_outputs() -> anyhow::Result<()> {
    let Some(rebuilt) = env::var_os("BAYAN_REBUILT_MODULES") else {
        println!("BAYAN_REBUILT_MODULES is not set: nothing to compare with");
        return Ok(());
    };
    let pair = Pair::start()?;
    let lines = fixture("lines.txt").display().to_string();
    let picture = "--width 120 --height 90 --block 30 --depth 500";
    let search = "--number 1234567890123456789 --packet 1000000";
    for (app, args, count) in [
        ("mandelbrot", ["--range", "0..12", "--args", picture], 12),
        ("factor", ["--range", "0..20", "--args", search], 20),
        ("kmers", ["--lines", lines.as_str(), "--args", "-k 6"], 40),
    ] {
        let (old, _) = pair.agree(&module(app), &args, count, 0)?;
        let other = Path::new(&rebuilt).join(format!("{app}.wasm"));
        let (new, _) = pair.agree(&other, &args, count, 0)?;
        ensure!(old == new, "{} gives other outputs than the committed module", other.display());
    }
    Ok(())
}
