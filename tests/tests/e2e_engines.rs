//! Engine processes die at any moment: the job's result is exact, nothing is settled twice, and no
//! process is left when the peers have ended.

use std::fs;

use anyhow::ensure;
use bayan_tests::{
    chance::Chance,
    guests, outputs,
    peers::Node,
    program::{is_alive, signal, until},
    runs::{LIMIT, Run},
};

const TASKS: u64 = 10_000;
/// Times that an engine process is killed.
const KILLS: u64 = 25;

/// The engine processes of a peer: its children.
fn engines(peer: u32) -> anyhow::Result<Vec<u32>> {
    let mut children = Vec::new();
    for task in fs::read_dir(format!("/proc/{peer}/task"))? {
        // A thread may end while we look.
        let list = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        children.extend(list.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    Ok(children)
}

#[test]
fn engine_processes_that_are_killed_cost_nothing_but_time() -> anyhow::Result<()> {
    let mut chance = Chance::new();
    let dir = tempfile::tempdir()?;
    let at = |name: &str| dir.path().join(name);
    let app = at("app.wasm");
    // Some milliseconds a task: a killed process has usually something under way, and the job goes on
    // while the last ones are killed.
    fs::write(&app, wat::parse_str(guests::slow_echo(6_000_000))?)?;
    let one = Node::start(&at("one"), &["--slots", "1"])?;
    let two = Node::join(&at("two"), &one, &[])?;
    let args =
        ["--range", "0..10000", "--redundancy", "1", "--local", "never", "--bootstrap", &one.dial];
    let mut run = Run::start(&at("submitter"), &app, &args)?;
    let mut seen = Vec::new();
    let mut killed = 0;
    for turn in 1..=KILLS {
        let part = TASKS / 2 / KILLS;
        run.reaches(chance.pick((turn - 1) * part..turn * part))?;
        for peer in [&one, &two] {
            let mut now = engines(peer.pid())?;
            seen.extend(&now);
            if let Some(victim) = chance.take(&mut now) {
                // It may have ended by itself in between.
                killed += u64::from(signal(victim, libc::SIGKILL).is_ok());
            }
        }
    }
    let done = run.finish(0)?;
    let expected: String = (0..TASKS).map(|number| format!("{number}\n")).collect();
    ensure!(done.bytes == expected.as_bytes(), "the outputs are not the inputs");
    outputs::check_complete(&done.results, TASKS)?;
    outputs::check_proofs(&done.results)?;
    ensure!(killed >= KILLS, "only {killed} engine processes were killed");
    for peer in [one, two] {
        let mut peer = peer;
        seen.extend(engines(peer.pid())?);
        ensure!(peer.end()?.success(), "a peer failed: {}", peer.log());
    }
    seen.sort_unstable();
    seen.dedup();
    ensure!(seen.len() as u64 > KILLS, "too few engine processes were seen");
    until("the engine processes to be gone", LIMIT, || {
        Ok(seen.iter().all(|pid| !is_alive(*pid)).then_some(()))
    })
}
