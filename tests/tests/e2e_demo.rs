//! `bayan demo`: the first thing that anyone runs.

use std::{fs::File, io::BufReader, time::Duration};

use anyhow::{Context as _, ensure};
use bayan_tests::program::{is_alive, run, start, until};
use serde_json::Value;

const SIZE: u32 = 320;

#[test]
fn the_demo_shows_a_picture_a_liar_and_a_death() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let picture = dir.path().join("picture.png");
    let args = [
        "demo",
        "--json",
        "--out",
        &picture.display().to_string(),
        "--size",
        &SIZE.to_string(),
        "--depth",
        "65535",
    ];
    let lines = run(&dir.path().join("data"), &args, Duration::from_secs(120))?.code(0)?.json()?;
    let done = lines.last().context("the last line")?;
    assert_eq!(done["event"], "done");
    assert_eq!(done["equal_to_sequential"], true, "{done}");
    assert_eq!(done["settled"], done["tasks"]);
    assert_eq!(done["failed"], 0);
    let workers = done["workers"].as_array().context("workers")?;
    let with =
        |what: &str| workers.iter().filter(|worker| worker[what] == true).collect::<Vec<_>>();
    let saboteurs = with("saboteur");
    ensure!(!saboteurs.is_empty(), "nobody lies: {done}");
    for saboteur in saboteurs {
        assert_eq!(saboteur["agreed"], 0, "a lie was taken: {saboteur}");
        ensure!(saboteur["outvoted"].as_u64() > Some(0), "no lie was told: {saboteur}");
    }
    assert_eq!(with("killed").len(), 1, "one peer dies: {done}");
    ends_every_process(&lines)?;

    let mut reader = png::Decoder::new(BufReader::new(File::open(&picture)?)).read_info()?;
    assert_eq!((reader.info().width, reader.info().height), (SIZE, SIZE));
    let mut pixels = vec![0; reader.output_buffer_size().context("a picture of this size")?];
    reader.next_frame(&mut pixels)?;
    ensure!(pixels.iter().any(|byte| *byte != pixels[0]), "the picture is of one colour");
    Ok(())
}

/// Starts a demo, waits for `moment`, interrupts it, and checks what is left.
fn interrupted_at(
    size: &str,
    depth: &str,
    mut moment: impl FnMut(&Value) -> bool,
) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let picture = dir.path().join("picture.png");
    let out = picture.display().to_string();
    let args = ["demo", "--json", "--out", &out, "--size", size, "--depth", depth];
    let mut demo = start(&dir.path().join("data"), &args)?;
    demo.wait_for(Duration::from_secs(60), |line| moment(line).then_some(()))?;
    demo.signal(libc::SIGINT)?;
    let finished = demo.finish(Duration::from_secs(30))?.code(130)?;
    ends_every_process(&finished.json()?)?;
    ensure!(!picture.exists(), "a picture was written that is not whole");
    Ok(())
}

#[test]
fn interrupted_while_peers_start_it_leaves_no_process_behind() -> anyhow::Result<()> {
    interrupted_at("1600", "60000", |line| line["event"] == "peer" && line["number"] == 3)
}

#[test]
fn interrupted_in_the_middle_it_leaves_no_process_behind() -> anyhow::Result<()> {
    let killed = |line: &Value| line["text"].as_str().is_some_and(|text| text.contains("killed"));
    interrupted_at("800", "3000", killed)
}

#[test]
fn a_killed_demo_takes_its_peers_with_it() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let out = dir.path().join("picture.png").display().to_string();
    let args = ["demo", "--json", "--out", &out, "--size", "1600", "--depth", "60000"];
    let mut demo = start(&dir.path().join("data"), &args)?;
    let mut lines = Vec::new();
    demo.wait_for(Duration::from_secs(60), |line| {
        lines.push(line.clone());
        (line["event"] == "peer" && line["number"] == 4).then_some(())
    })?;
    demo.kill();
    ends_every_process(&lines)
}

/// Checks that none of the processes that the lines name is left.
fn ends_every_process(lines: &[Value]) -> anyhow::Result<()> {
    let pids: Vec<u32> = lines
        .iter()
        .filter(|line| line["event"] == "peer")
        .filter_map(|line| line["pid"].as_u64())
        .map(u32::try_from)
        .collect::<Result<_, _>>()?;
    ensure!(pids.len() >= 3, "{} peers are named", pids.len());
    until("every process to end", Duration::from_secs(20), || {
        Ok((!pids.iter().any(|pid| is_alive(*pid))).then_some(()))
    })
}
