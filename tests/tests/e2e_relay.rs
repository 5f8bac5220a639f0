//! Volunteer servers as processes: trees that survive their relays, submitters that share them, and
//! relays that do not pass on what they are given.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use bayan_protocol::{
    id::{JobId, PeerId},
    record::JobState,
    source::JobView,
};
use bayan_tests::{
    cast::Cast,
    chance::Chance,
    native::{self, module},
    outputs,
    peers::Node,
    program::{run, until},
    runs::LIMIT,
};

/// Moments at which the relay in the middle is killed, one after the other in one network;
/// `BAYAN_RELAY_SEEDS` sets another number.
const SEEDS: u64 = 20;
const TASKS: u64 = 64;
/// The largest prime of 64 bits.
const NUMBER: &str = "18446744073709551557";
/// Packets of some hundredths of a second.
const PACKET: &str = "10000000";
/// A slow link's worth of patience for a whole job.
const LONG: Duration = Duration::from_secs(120);

fn seeds() -> u64 {
    std::env::var("BAYAN_RELAY_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SEEDS)
}

fn range(tasks: u64) -> String {
    format!("0..{tasks}")
}

fn expected(tasks: u64) -> anyhow::Result<Vec<u8>> {
    native::range("factor", &range(tasks), &["--number", NUMBER, "--packet", PACKET])
}

/// Submits a job through a running peer.
fn submit(at: &Node, tasks: u64) -> anyhow::Result<JobId> {
    let app = module("factor").display().to_string();
    let (range, args) = (range(tasks), format!("--number {NUMBER} --packet {PACKET}"));
    let words = [
        "run", &app, "--detach", "--json", "--local", "never", "--trust", "none", "--range",
        &range, "--args", &args,
    ];
    let submitted = run(&at.dir, &words, LIMIT)?.code(0)?;
    Ok(submitted.json()?[0]["job"].as_str().context("a job's id")?.parse()?)
}

fn settled(at: &Node, job: JobId) -> anyhow::Result<u64> {
    Ok(at.client()?.job(job)?.settled)
}

fn reaches(at: &Node, job: JobId, count: u64) -> anyhow::Result<()> {
    until("tasks to be settled", LONG, || Ok((settled(at, job)? >= count).then_some(())))
}

/// Waits for the end: every task has one result, which is that of a sequential run.
fn is_exact(at: &Node, job: JobId, tasks: u64) -> anyhow::Result<JobView> {
    let client = at.client()?;
    let over = || Ok(Some(client.job(job)?).filter(|view| view.state != JobState::Running));
    let view = until("the job to end", LONG, over)?;
    ensure!(view.state == JobState::Done && view.settled == tasks, "not done: {view:?}");
    // Under this policy one result settles a task: were one accepted twice, there would be more.
    ensure!(view.tally.results == tasks, "{} results were accepted", view.tally.results);
    let results = outputs::all(|after| Ok(client.results(job, after, 256)?))?;
    outputs::check_complete(&results, tasks)?;
    outputs::check_proofs(&results)?;
    let id = job.to_string();
    let out = at.dir.with_extension(&id[..8]);
    let path = out.display().to_string();
    run(&at.dir, &["fetch", &id, "--concat", &path], LIMIT)?.code(0)?;
    ensure!(
        std::fs::read(&out)? == expected(tasks)?,
        "the outputs are not those of a sequential run"
    );
    Ok(view)
}

/// Starts a peer that knows nobody but `above`.
fn below(dir: &Path, name: &str, above: &Node, slots: &str) -> anyhow::Result<Node> {
    Node::start(
        &dir.join(name),
        &["--only-bootstrap", "--no-quic", "--bootstrap", &above.dial, "--slots", slots],
    )
}

/// One at the top, two below it, three below these, ten at the bottom.
struct Tree {
    top: Node,
    upper: Vec<Node>,
    lower: Vec<Node>,
    _leaves: Vec<Node>,
}

impl Tree {
    fn grow(dir: &Path) -> anyhow::Result<Self> {
        let top =
            Node::start(&dir.join("top"), &["--only-bootstrap", "--no-quic", "--slots", "0"])?;
        let upper = (0..2)
            .map(|at| below(dir, &format!("upper{at}"), &top, "0"))
            .collect::<anyhow::Result<Vec<Node>>>()?;
        let lower = (0..3)
            .map(|at| below(dir, &format!("lower{at}"), &upper[at % 2], "0"))
            .collect::<anyhow::Result<Vec<Node>>>()?;
        let leaves = (0..10)
            .map(|at| below(dir, &format!("leaf{at}"), &lower[at % 3], "1"))
            .collect::<anyhow::Result<Vec<Node>>>()?;
        Ok(Self { top, upper, lower, _leaves: leaves })
    }
}

#[test]
fn a_tree_of_sixteen_survives_the_relay_in_its_middle() -> anyhow::Result<()> {
    let mut chance = Chance::new();
    let dir = tempfile::tempdir()?;
    let mut tree = Tree::grow(dir.path())?;
    for seed in 0..seeds() {
        let job = submit(&tree.top, TASKS)?;
        reaches(&tree.top, job, chance.pick(1..TASKS * 2 / 3))
            .with_context(|| format!("moment {seed}"))?;
        // By turns one of those at the top's side and one of those at the bottom's.
        let (row, at) = if seed % 2 == 0 {
            (&mut tree.upper, chance.pick(0..2) as usize)
        } else {
            (&mut tree.lower, chance.pick(0..3) as usize)
        };
        let mut killed = row.remove(at);
        killed.kill();
        let view = is_exact(&tree.top, job, TASKS).with_context(|| format!("moment {seed}"))?;
        let deep = view.tree.iter().filter(|hop| hop.from != tree.top.id().unwrap_or(hop.from));
        ensure!(deep.count() > 0, "no result came over more than one hop");
        let row = if seed % 2 == 0 { &mut tree.upper } else { &mut tree.lower };
        row.insert(at, killed.restart()?);
    }
    Ok(())
}

/// Two submitters, two relays that both know, and workers behind these.
#[test]
fn two_submitters_share_their_relays_and_one_may_die() -> anyhow::Result<()> {
    let mut chance = Chance::new();
    let dir = tempfile::tempdir()?;
    let only = ["--only-bootstrap", "--no-quic", "--slots", "0"];
    let mut one = Node::start(&dir.path().join("one"), &only)?;
    let two = Node::start(&dir.path().join("two"), &only)?;
    let relay = |name: &str| {
        let mut args = vec!["--bootstrap", &one.dial, "--bootstrap", &two.dial];
        args.extend(only);
        args.extend(["--relay-work", "only"]);
        Node::start(&dir.path().join(name), &args)
    };
    let relays = [relay("relay1")?, relay("relay2")?];
    let _workers = (0..4)
        .map(|at| below(dir.path(), &format!("worker{at}"), &relays[at % 2], "1"))
        .collect::<anyhow::Result<Vec<Node>>>()?;
    let (first, second) = (submit(&one, 2 * TASKS)?, submit(&two, 2 * TASKS)?);
    reaches(&one, first, chance.pick(1..TASKS))?;
    reaches(&two, second, 1)?;
    one.kill();
    is_exact(&two, second, 2 * TASKS).context("the other submitter's job")?;
    // What was done for the one that died is not lost either.
    let one = one.restart()?;
    is_exact(&one, first, 2 * TASKS).context("the job of the one that was killed")?;
    Ok(())
}

/// A network of a submitter, a relay of the cast and two workers that know the relay alone.
struct Cheated {
    top: Node,
    cast: Cast,
    workers: Vec<Node>,
    /// Somebody who knows everybody and computes nothing.
    guide: Node,
    job: JobId,
}

fn cheated(dir: &Path, role: &str, tasks: u64) -> anyhow::Result<Cheated> {
    let top = Node::start(&dir.join("top"), &["--only-bootstrap", "--no-quic", "--slots", "0"])?;
    let cast = Cast::join(&top, 1, &[role])?;
    let relay = cast.dial(0)?;
    let workers = (0..2)
        .map(|at| {
            let args = ["--only-bootstrap", "--no-quic", "--slots", "1", "--bootstrap", &relay];
            Node::start(&dir.join(format!("worker{at}")), &args)
        })
        .collect::<anyhow::Result<Vec<Node>>>()?;
    let args = ["--no-quic", "--slots", "0", "--relay-work", "never", "--bootstrap", &top.dial];
    let guide = Node::start(&dir.join("guide"), &args)?;
    guide.meets(4)?;
    let job = submit(&top, tasks)?;
    Ok(Cheated { top, cast, workers, guide, job })
}

impl Cheated {
    /// The relay is known for what it is, and nobody else is taken for it.
    fn blames_the_relay_alone(self) -> anyhow::Result<()> {
        let relay: PeerId = self.cast.end()?.remove(0).identities.remove(0);
        let mut found = false;
        for node in self.workers.iter().chain([&self.top]) {
            let hops = node.client()?.peer()?.view.hops;
            found |= hops.iter().any(|hop| hop.peer == relay && hop.dropped > 0);
            ensure!(hops.iter().all(|hop| hop.peer == relay || hop.dropped == 0), "{hops:?}");
        }
        ensure!(found, "nobody has noticed the relay");
        Ok(())
    }
}

fn is_gone_round(role: &str) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let network = cheated(dir.path(), role, TASKS)?;
    let top = network.top.id()?;
    // Ten seconds from the first result that the relay has, which no test can see; the workers begin
    // within moments, and what they need is small.
    let found = || {
        let direct = network.top.client()?.job(network.job)?.settled;
        Ok((direct > 0).then_some(()))
    };
    until("the workers to find another way", Duration::from_secs(15), found)?;
    let meets = |worker: &Node| {
        let view = worker.client()?.peer()?.view;
        anyhow::Ok(view.neighbours.iter().any(|one| one.peer == top))
    };
    let connected = network.workers.iter().map(meets).collect::<anyhow::Result<Vec<bool>>>()?;
    ensure!(connected.contains(&true), "nobody behind the relay knows the submitter");
    is_exact(&network.top, network.job, TASKS)?;
    network.blames_the_relay_alone()
}

#[test]
fn a_relay_that_drops_is_gone_round() -> anyhow::Result<()> {
    is_gone_round("relay:drops")
}

#[test]
fn a_relay_that_delays_is_gone_round() -> anyhow::Result<()> {
    is_gone_round("relay:delays:60000")
}

#[test]
fn a_relay_that_reorders_does_no_harm() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let network = cheated(dir.path(), "relay:reorders", TASKS)?;
    is_exact(&network.top, network.job, TASKS)?;
    Ok(())
}

/// Forged results and altered inputs end the connection with whoever brought or made them.
fn is_thrown_out(role: &str) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let network = cheated(dir.path(), role, TASKS)?;
    let accused = || -> Vec<String> {
        let log = network.top.log();
        log.lines()
            .filter(|line| line.contains("closing the connection"))
            .map(str::to_owned)
            .collect()
    };
    let found = || Ok((!accused().is_empty()).then_some(()));
    until("the relay to be found out", Duration::from_secs(60), found)?;
    let honest = Node::join(&dir.path().join("honest"), &network.top, &["--no-quic"])?;
    is_exact(&network.top, network.job, TASKS)?;
    let accused = accused();
    let members = network.cast.end()?;
    let relay = members[0].identities[0].short();
    ensure!(accused.iter().any(|line| line.contains(&relay)), "not the relay: {accused:?}");
    for worker in network.workers.iter().chain([&honest, &network.guide]) {
        let short = worker.id()?.short();
        let blamed = accused.iter().any(|line| line.contains(&short));
        ensure!(!blamed, "an honest peer is accused: {accused:?}");
    }
    Ok(())
}

#[test]
fn a_relay_that_forges_is_thrown_out() -> anyhow::Result<()> {
    is_thrown_out("relay:forges")
}

#[test]
fn a_relay_that_alters_inputs_is_thrown_out() -> anyhow::Result<()> {
    is_thrown_out("relay:alters")
}

#[test]
fn the_tree_of_a_job_is_drawn() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let top =
        Node::start(&dir.path().join("top"), &["--only-bootstrap", "--no-quic", "--slots", "0"])?;
    let relay = below(dir.path(), "relay", &top, "0")?;
    let worker = below(dir.path(), "worker", &relay, "1")?;
    let job = submit(&top, 8)?;
    is_exact(&top, job, 8)?;
    let job = job.to_string();
    let drawn = run(&top.dir, &["peers", "--tree", &job[..8]], LIMIT)?.code(0)?;
    let lines: Vec<&str> = drawn.stdout.lines().collect();
    ensure!(lines.len() == 3, "{lines:?}");
    ensure!(lines[1].starts_with(&format!("└─ {}", relay.id()?.short())), "{lines:?}");
    ensure!(
        lines[2].starts_with(&format!("   └─ {}, 8 results", worker.id()?.short())),
        "{lines:?}"
    );
    run(&top.dir, &["peers", "--tree", "ffffffff"], LIMIT)?.says(&["ffffffff"])?;
    Ok(())
}
