//! The sample apps over eight peers, of which one lies and three die: the outputs equal those of a
//! sequential native run, byte for byte, and every result is proven.

use std::{fs, path::Path};

use anyhow::ensure;
use bayan_protocol::id::Hash;
use bayan_tests::{
    chance::Chance,
    native::{self, fixture, module},
    outputs,
    peers::Node,
    runs::Run,
};

const PEERS: usize = 8;
const SABOTEUR: usize = 3;
const KILLED: usize = 3;

/// Runs a job of `count` tasks over eight peers, kills three honest ones on the way, and compares.
fn survives(app: &str, args: &[&str], count: u64, expected: &[u8]) -> anyhow::Result<()> {
    let mut chance = Chance::new();
    let dir = tempfile::tempdir()?;
    let at = |number: usize| dir.path().join(format!("peer-{number}"));
    let first = Node::start(&at(0), &["--slots", "1"])?;
    let bootstrap = first.dial.clone();
    let mut honest = vec![first];
    let mut saboteurs = Vec::new();
    for number in 1..PEERS {
        if number == SABOTEUR {
            saboteurs.push(Node::join(&at(number), &honest[0], &["--sabotage"])?);
        } else {
            honest.push(Node::join(&at(number), &honest[0], &[])?);
        }
    }
    let mut all = vec!["--local", "never", "--redundancy", "2", "--bootstrap", &bootstrap];
    all.extend(args);
    let mut run = Run::start(&dir.path().join("submitter"), &module(app), &all)?;
    let mut moments: Vec<u64> =
        (0..KILLED).map(|_| chance.pick(count / 20..count * 6 / 10)).collect();
    moments.sort_unstable();
    let mut killed = Vec::new();
    for moment in moments {
        let settled = run.reaches(moment)?;
        let mut victim = chance.take(&mut honest).expect("more honest peers than are killed");
        victim.kill();
        println!("killed {} at {settled} of {count} tasks", victim.dir.display());
        killed.push(victim);
    }
    let done = run.finish(0)?;
    ensure!(done.bytes == expected, "the outputs are not those of a sequential run");
    outputs::check_complete(&done.results, count)?;
    outputs::check_proofs(&done.results)?;
    for result in &done.results {
        ensure!(
            result.by.iter().filter(|vote| vote.agrees).count() >= 2,
            "a single vote was enough: {result:?}"
        );
    }
    let (agreed, outvoted) = outputs::votes_of(&done.results, &saboteurs[0].id()?);
    ensure!(agreed == 0, "{agreed} results of the saboteur were taken");
    ensure!(outvoted > 0, "the saboteur had no part in it");
    ensure!(done.finished["job"]["failed"] == 0, "tasks failed: {}", done.finished);
    Ok(())
}

/// Where the outputs lie one by one, each is what its digest says.
fn outputs_are_named_by_digest(dir: &Path) -> anyhow::Result<()> {
    for line in fs::read_to_string(dir.join("results.jsonl"))?.lines() {
        let value: serde_json::Value = serde_json::from_str(line)?;
        for file in value["files"].as_array().into_iter().flatten().filter_map(|file| file.as_str())
        {
            let digest = Hash::of(&fs::read(dir.join(file))?).to_string();
            ensure!(value["output"] == digest.as_str(), "{file} is not what {line} says");
        }
    }
    Ok(())
}

#[test]
fn mandelbrot() -> anyhow::Result<()> {
    let args = ["--width", "400", "--height", "400", "--block", "25", "--depth", "8000"];
    let expected = native::range("mandelbrot", "0..256", &args)?;
    survives("mandelbrot", &["--range", "0..256", "--args", &args.join(" ")], 256, &expected)
}

#[test]
fn factor() -> anyhow::Result<()> {
    let args = ["--number", "1234567890123456789", "--packet", "8000000"];
    let expected = native::range("factor", "0..139", &args)?;
    survives("factor", &["--range", "0..139", "--args", &args.join(" ")], 139, &expected)
}

/// Lines of made-up sequence; some are too long to travel inside a frame.
fn sequences(chance: &mut Chance, count: usize) -> Vec<u8> {
    let mut text = Vec::new();
    for _ in 0..count {
        let length = usize::try_from(chance.pick(200..40_000)).expect("short");
        text.extend(chance.garbage(length).iter().map(|byte| b"ACGT"[usize::from(byte % 4)]));
        text.push(b'\n');
    }
    text
}

#[test]
fn kmers_of_lines() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let lines = dir.path().join("lines.txt");
    let text = [sequences(&mut Chance::new(), 120), fs::read(fixture("lines.txt"))?].concat();
    fs::write(&lines, &text)?;
    let count = u64::try_from(text.iter().filter(|byte| **byte == b'\n').count())?;
    let expected = native::kmers_of_lines(&text, &["-k", "7"])?;
    survives(
        "kmers",
        &["--lines", &lines.display().to_string(), "--args", "-k 7"],
        count,
        &expected,
    )
}

#[test]
fn kmers_of_files() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (mut chance, mut expected) = (Chance::new(), Vec::new());
    for number in 0..120 {
        let text =
            [format!(">made up {number}\n").into_bytes(), sequences(&mut chance, 1)].concat();
        fs::write(dir.path().join(format!("{number:03}.fa")), &text)?;
        expected.extend(native::kmers(&text, &["-k", "8"])?);
    }
    let pattern = dir.path().join("*.fa").display().to_string();
    survives("kmers", &["--files", &pattern, "--args", "-k 8"], 120, &expected)
}

#[test]
fn a_directory_of_outputs_is_named_by_digest() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let out = dir.path().join("out");
    let reads = fixture("reads.fa").display().to_string();
    let lines = fixture("lines.txt").display().to_string();
    let finished = bayan_tests::program::run(
        &dir.path().join("peer"),
        &[
            "run",
            &module("kmers").display().to_string(),
            "--no-mdns",
            "--listen",
            &format!("/ip4/{}/tcp/0", bayan_tests::peers::address()),
            "--files",
            &reads,
            &lines,
            "--out",
            &out.display().to_string(),
            "--args",
            "-k 8",
        ],
        bayan_tests::runs::LIMIT,
    )?;
    finished.code(0)?;
    outputs_are_named_by_digest(&out)?;
    let results = outputs::list(&out.join("results.jsonl"))?;
    outputs::check_proofs(&results)?;
    outputs::check_complete(&results, 2)?;
    assert_eq!(
        fs::read(out.join("reads.fa.out"))?,
        native::kmers(&fs::read(fixture("reads.fa"))?, &["-k", "8"])?
    );
    assert_eq!(
        fs::read(out.join("lines.txt.out"))?,
        native::kmers(&fs::read(fixture("lines.txt"))?, &["-k", "8"])?
    );
    Ok(())
}
