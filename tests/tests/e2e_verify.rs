//! Twelve peers of which four cheat, under the default policy: strangers first, then with long
//! records, sleepers among them. And the first job of somebody who knows nobody.
//!
//! `BAYAN_TRUST_SEEDS=N` runs N seeds of the long job, `BAYAN_TRUST_STEPS=N` makes its tasks shorter or
//! longer: turns of an empty loop.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use bayan::api::types::{InputsRequest, JobRequest, PlanRequest, TaskResult};
use bayan_protocol::{
    id::PeerId,
    job::{Audience, Local},
    record::{JobState, Key, Record},
    source::{JobView, WorkerView},
    standing::Standings,
    task::Limits,
    time::Timestamp,
    verify::State,
};
use bayan_store::{Change, Directory, Options};
use bayan_tests::{
    cast::{Cast, Member},
    guests, outputs,
    peers::Node,
    program::until,
};

/// Turns of a task: a millisecond or less.
const STEPS: u64 = 2_000_000;
/// Turns of a task of the long job: about ten milliseconds.
const LONG_STEPS: u64 = 20_000_000;
const HONEST: usize = 7;
const STRANGERS: u64 = 2000;
const LONG: u64 = 10_000;
const LIMIT: Duration = Duration::from_secs(600);
/// Share of clean workers' results that are checked, at 5000 passed checks and up.
const CLEAN: std::ops::RangeInclusive<f64> = 0.08..=0.13;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A submitter with a slot of its own, and honest peers in networks of their own.
struct Network {
    submitter: Node,
    honest: Vec<Node>,
    _dir: tempfile::TempDir,
}

impl Network {
    fn start(count: usize) -> anyhow::Result<Self> {
        Self::start_with(count, &[])
    }

    fn start_with(count: usize, args: &[&str]) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let args = [&["--slots", "1"], args].concat();
        let submitter = Node::start(&dir.path().join("submitter"), &args)?;
        let mut honest = Vec::new();
        for number in 0..count {
            let at = dir.path().join(format!("honest-{number}"));
            honest.push(Node::join(&at, &submitter, &[])?);
        }
        submitter.meets(count)?;
        Ok(Self { submitter, honest, _dir: dir })
    }

    fn honest_ids(&self) -> anyhow::Result<BTreeSet<PeerId>> {
        self.honest.iter().map(Node::id).collect()
    }

    /// A job whose tasks work for a while and then say which they are.
    fn job(&self, tasks: u64, steps: u64, trust: &str) -> anyhow::Result<JobRequest> {
        let guest = wat::parse_str(guests::slow_echo(steps))?;
        let module = self.submitter.client()?.upload(&guest)?;
        let inputs = InputsRequest::Range { from: 0, to: i64::try_from(tasks)? };
        Ok(JobRequest { trust: trust.to_owned(), ..JobRequest::new("echo", module.hash, inputs) })
    }

    /// Runs a job to its end: its standing and its results, in the order of the inputs.
    fn run(
        &mut self,
        request: &JobRequest,
        tasks: u64,
    ) -> anyhow::Result<(JobView, Vec<TaskResult>)> {
        let client = self.submitter.client()?;
        let job = client.submit(request)?;
        let view = until("the job's end", LIMIT, || {
            let view = client.job(job)?;
            Ok((view.state == JobState::Done).then_some(view))
        })?;
        let mut results = outputs::all(|after| Ok(client.results(job, after, 256)?))?;
        outputs::check_complete(&results, tasks)?;
        outputs::check_proofs(&results)?;
        results.sort_by_key(|result| result.places.clone());
        ensure!(results.iter().all(|one| one.state == State::Final), "not everything is final");
        Ok((view, results))
    }

    /// Writes these records into the submitter's store, in place of what it knows, and starts it anew.
    fn knows(mut self, k: u32, peers: &[PeerId]) -> anyhow::Result<Self> {
        self.submitter.end()?;
        let dir = self.submitter.dir.clone();
        remember(&dir, k, peers)?;
        self.submitter = self.submitter.restart()?;
        self.submitter.meets(self.honest.len())?;
        Ok(self)
    }
}

/// Replaces what a stopped peer knows of these others by so many passed checks each.
fn remember(dir: &Path, k: u32, peers: &[PeerId]) -> anyhow::Result<()> {
    let mut standings = Standings::default();
    for peer in peers {
        for _ in 0..k {
            standings.passed(Timestamp(1), *peer, None);
        }
    }
    let store = Directory::open(dir, Options::default())?;
    let put = |(peer, standing)| {
        let record = Record::Standing { peer, standing };
        Change::Put { key: record.key().0, value: record.encode() }
    };
    let changes: Vec<Change> = standings.take_changed().into_iter().map(put).collect();
    store.records().append(&changes)?;
    store.close()?;
    Ok(())
}

/// Who is banned by what a stopped peer has stored.
fn banned(dir: &Path, peers: impl IntoIterator<Item = PeerId>) -> anyhow::Result<BTreeSet<PeerId>> {
    let store = Directory::open(dir, Options::default())?;
    let records = store.records();
    let mut banned = BTreeSet::new();
    for peer in peers {
        let Some(bytes) = records.get(&Key::standing(&peer).0)? else { continue };
        if let Record::Standing { standing, .. } = Record::decode(&bytes)?
            && standing.ban.is_some()
        {
            banned.insert(peer);
        }
    }
    store.close()?;
    Ok(banned)
}

/// Results that are not what the task comes to: its input, as it is.
fn wrong(results: &[TaskResult]) -> anyhow::Result<usize> {
    let mut wrong = 0;
    for result in results {
        let bytes = hex::decode(result.inline.as_deref().context("outputs are short")?)?;
        let place = result.places.first().context("a result answers an input")?;
        if bytes != format!("{place}\n").into_bytes() {
            wrong += 1;
            let by = result.by.iter().map(|vote| (vote.peer.short(), vote.agrees));
            eprintln!("wrong: {place} by {:?}, {:?}", by.collect::<Vec<_>>(), result.basis);
        }
    }
    Ok(wrong)
}

fn executions(view: &JobView) -> f64 {
    let run: u64 = view.workers.iter().map(|one| one.returned + one.inconclusive).sum();
    run as f64 / view.tasks as f64
}

fn worker<'a>(view: &'a JobView, peer: &PeerId) -> Option<&'a WorkerView> {
    view.workers.iter().find(|worker| worker.peer == *peer)
}

#[test]
fn strangers_of_whom_a_third_cheat_give_only_right_results() -> anyhow::Result<()> {
    let mut network = Network::start(HONEST)?;
    let cast =
        Cast::join(&network.submitter, 11, &["always", "rate:0.1", "ring:pair", "ring:pair"])?;
    let (view, results) = network.run(&network.job(STRANGERS, STEPS, "adaptive")?, STRANGERS)?;
    let members = cast.end()?;
    assert_eq!(wrong(&results)?, 0, "a wrong result is final: {view:?}");
    let told: u64 = members.iter().map(|member| member.wrong).sum();
    ensure!(told > 0, "the cast had no part: {members:?}");
    eprintln!(
        "strangers: {told} wrong results told, none final; {:.2} executions a result, {:?}",
        executions(&view),
        view.bases
    );
    let honest = network.honest_ids()?;
    let dir = network.submitter.dir.clone();
    network.submitter.end()?;
    ensure!(banned(&dir, honest)?.is_empty(), "an honest peer is banned");
    Ok(())
}

/// Wrong results that are final, and how many the plan said there would be on average.
fn sleepers(seed: u64) -> anyhow::Result<(usize, f64)> {
    let steps = setting("BAYAN_TRUST_STEPS", LONG_STEPS);
    let network = Network::start(HONEST)?;
    // The same identities, awake and asleep: a member's key follows from seed and number.
    let roles = ["after:100", "after:300:0.2", "ring:pair:0.1", "ring:pair:0.1"];
    let ids = members(seed, roles.len());
    let honest = network.honest_ids()?;
    let everyone: Vec<PeerId> = honest.iter().chain(&ids).copied().collect();
    let mut network = network.knows(5000, &everyone)?;
    let cast = Cast::join(&network.submitter, seed, &roles)?;
    let plan = network.submitter.client()?.plan(&PlanRequest {
        tasks: LONG,
        trust: "adaptive".to_owned(),
        tolerance: None,
        assume_faulty: Some("0.4".to_owned()),
        provisional: false,
        audience: Audience::Anyone,
        local: Local::Always,
        delegate: None,
    })?;
    let (view, results) = network.run(&network.job(LONG, steps, "adaptive")?, LONG)?;
    let members = cast.end()?;
    let wrong = wrong(&results)?;
    judge(&view, &results, &members, &honest, wrong, seed)?;
    let promised = plan.bound.map(|bound| bound * LONG as f64);
    eprintln!("seed {seed}: promised {promised:?} wrong on average, {:?}", plan.no_bound);

    let dir = network.submitter.dir.clone();
    network.submitter.end()?;
    ensure!(banned(&dir, honest)?.is_empty(), "seed {seed}: an honest peer is banned");
    let promised =
        promised.context("a job of this size among known peers is promised something")?;
    Ok((wrong, promised))
}

fn judge(
    view: &JobView,
    results: &[TaskResult],
    members: &[Member],
    honest: &BTreeSet<PeerId>,
    wrong: usize,
    seed: u64,
) -> anyhow::Result<()> {
    let clean = || view.workers.iter().filter(|worker| honest.contains(&worker.peer));
    let drawn: u64 = clean().map(|worker| worker.drawn).sum();
    let undrawn: u64 = clean().map(|worker| worker.undrawn).sum();
    let share = drawn as f64 / (drawn + undrawn).max(1) as f64;
    let told: u64 = members.iter().map(|member| member.wrong).sum();
    eprintln!(
        "seed {seed}: {wrong} of {} wrong, {told} told; {:.3} of clean workers' results checked; {:.3} executions a result; taken back {}, disputes {}, quarantined {}, {:?}",
        results.len(),
        share,
        executions(view),
        view.tally.taken_back,
        view.tally.disputes,
        view.quarantined,
        view.bases
    );
    ensure!(undrawn > 0, "seed {seed}: nothing was ever accepted without a replica");
    ensure!(CLEAN.contains(&share), "seed {seed}: {share} of clean workers' results are checked");
    for member in members {
        let views = member.identities.iter().filter_map(|id| worker(view, id));
        for one in views {
            eprintln!(
                "seed {seed}: {} {}: {} returned, {} told wrong, {} proven, {} drawn, {} not",
                member.role,
                one.peer.short(),
                one.returned,
                member.wrong,
                one.wrong,
                one.drawn,
                one.undrawn
            );
        }
        for id in &member.identities {
            let caught = worker(view, id).is_some_and(|worker| worker.wrong > 0);
            ensure!(
                member.wrong < 50 || caught,
                "seed {seed}: {} cheated {} times and was not caught",
                member.role,
                member.wrong
            );
        }
    }
    Ok(())
}

#[test]
fn sleepers_with_long_records_are_caught_and_honest_ones_are_cheap() -> anyhow::Result<()> {
    let first = setting("BAYAN_TRUST_FIRST", 0);
    // One identity gets away with (1 - rate) / rate wrong results on average before it is caught, and
    // with thrice as many now and then: what is promised is promised on average.
    let (mut wrong, mut promised) = (0, 0.0);
    for seed in first..first + setting("BAYAN_TRUST_SEEDS", 10) {
        let (found, most) = sleepers(100 + seed)?;
        (wrong, promised) = (wrong + found, promised + most);
    }
    eprintln!("{wrong} wrong results are final, {promised:.0} were promised");
    ensure!(wrong as f64 <= promised, "{wrong} wrong results, {promised:.0} were promised");
    Ok(())
}

/// The ids of the members that a cast of this seed has at first.
fn members(seed: u64, count: usize) -> Vec<PeerId> {
    let id = |member| {
        let secret = bayan_cast::identity(seed, member, 0);
        bayan_protocol::crypto::Keypair::from_seed(&secret).peer_id()
    };
    (0..count as u32).map(id).collect()
}

/// Members of these roles beside honest peers, everybody with a record of so many checks: every
/// result is right, and whoever is banned deserves it. What the job came to, and who is banned.
fn plays(
    seed: u64,
    roles: &[&str],
    k: u32,
    harmless: &[PeerId],
) -> anyhow::Result<(JobView, BTreeSet<PeerId>)> {
    plays_behind(seed, (roles, 0), k, harmless)
}

/// The same with so many members behind the first of them.
fn plays_behind(
    seed: u64,
    (roles, behind): (&[&str], u64),
    k: u32,
    harmless: &[PeerId],
) -> anyhow::Result<(JobView, BTreeSet<PeerId>)> {
    // Whom it does not look for itself, it knows through relays alone.
    let args: &[&str] = if behind > 0 { &["--only-bootstrap"] } else { &[] };
    let network = Network::start_with(5, args)?;
    let honest = network.honest_ids()?;
    let ids = members(seed, roles.len());
    let everyone: Vec<PeerId> = honest.iter().chain(&ids).copied().collect();
    let mut network = network.knows(k, &everyone)?;
    let cast = Cast::behind(&network.submitter, seed, roles, behind)?;
    let (view, results) = network.run(&network.job(STRANGERS, STEPS, "adaptive")?, STRANGERS)?;
    let members = cast.end()?;
    let mut all: BTreeSet<PeerId> = honest.iter().copied().collect();
    all.extend(members.iter().flat_map(|member| member.identities.iter().copied()));
    ensure!(wrong(&results)? == 0, "{roles:?}: wrong results are final: {view:?}");
    let dir = network.submitter.dir.clone();
    network.submitter.end()?;
    let banned = banned(&dir, all)?;
    eprintln!(
        "{roles:?}: {:.2} executions a result, {} banned, {:?}",
        executions(&view),
        banned.len(),
        members.iter().map(|one| (one.results, one.wrong)).collect::<Vec<_>>()
    );
    for peer in honest.iter().chain(harmless) {
        ensure!(!banned.contains(peer), "{roles:?}: an honest peer is banned");
    }
    Ok((view, banned))
}

#[test]
fn rings_burners_and_breakers_take_each_other_along() -> anyhow::Result<()> {
    let (_, banned) = plays(21, &["burner:b", "confirmer:b", "confirmer:b"], 1000, &[])?;
    ensure!(banned.contains(&members(21, 1)[0]), "the burner is not banned");
    let (view, banned) = plays(22, &["breaker:t", "breaker:t", "breaker:t"], 1000, &[])?;
    ensure!(!view.quarantined, "a ring of three made the app look as if it differed by machine");
    ensure!(banned.len() == 3, "{} of three are banned", banned.len());
    Ok(())
}

#[test]
fn cheats_of_every_other_kind_get_nothing_wrong_accepted() -> anyhow::Result<()> {
    let (_, banned) = plays(23, &["fuel:100", "data", "lazy", "equivocate"], 1000, &[])?;
    ensure!(banned.len() >= 3, "{} of four are banned", banned.len());
    plays(24, &["whitewash:20", "vanish:5", "silent", "commit-only", "other-reveal"], 0, &[])?;
    Ok(())
}

#[test]
fn relays_in_league_with_workers_get_nothing_wrong_accepted() -> anyhow::Result<()> {
    // A ring behind its relay, which gives work to nobody else, and a third of them beside it.
    let ring = ["relay:colludes:r", "ring:r", "ring:r:0.2", "ring:r"];
    let relay = members(26, 1);
    let (view, banned) = plays_behind(26, (&ring, 2), 0, &relay)?;
    ensure!(through(&view, &relay[0]) > 0, "nothing came through the relay: {view:?}");
    ensure!(banned.contains(&members(26, 2)[1]), "who is always wrong is not banned");
    // What a liar says leaks to one that should check it, and repeats it.
    let leak = ["relay:leaks:z", "rate:0.3", "lazy:z"];
    let relay = members(27, 1);
    let (view, _) = plays_behind(27, (&leak, 1), 0, &relay)?;
    ensure!(through(&view, &relay[0]) > 0, "nothing came through the relay: {view:?}");
    Ok(())
}

/// Results that came through a relay.
fn through(view: &JobView, relay: &PeerId) -> u64 {
    view.tree.iter().filter(|hop| hop.from == *relay).map(|hop| hop.results).sum()
}

#[test]
fn machines_on_which_an_app_differs_are_nobodys_fault() -> anyhow::Result<()> {
    let honest = members(25, 4);
    let (view, banned) = plays(25, &["engine:arm"; 4], 1000, &honest)?;
    ensure!(view.quarantined, "it was not noticed that the app differs by machine");
    ensure!(banned.is_empty(), "{} are banned", banned.len());
    Ok(())
}

#[test]
fn tasks_that_poison_are_no_workers_fault() -> anyhow::Result<()> {
    let mut network = Network::start(4)?;
    let client = network.submitter.client()?;
    let guest = client.upload(&wat::parse_str(guests::moody())?)?;
    let lines = ["x1", "t1", "l1", "o1", "m1", "e1", "x2", "t2"].map(|line| format!("{line}\n"));
    let lines = client.upload(lines.concat().as_bytes())?.hash;
    let limits = Limits { memory: 8 << 20, fuel: 50_000_000, output: 1 << 16, wall_ms: 20_000 };
    let request =
        JobRequest { limits, ..JobRequest::new("moody", guest.hash, InputsRequest::Lines(lines)) };
    let job = client.submit(&request)?;
    let view = until("the job's end", LIMIT, || {
        let view = client.job(job)?;
        Ok((view.state == JobState::Done).then_some(view))
    })?;
    ensure!(view.settled == 8 && view.failed == 6, "{view:?}");
    let honest = network.honest_ids()?;
    let dir = network.submitter.dir.clone();
    network.submitter.end()?;
    ensure!(banned(&dir, honest)?.is_empty(), "a worker is banned for what a task does");
    Ok(())
}

/// Wall time of a job of `tasks`, its standing, and how many executions each result took.
fn timed(network: &mut Network, tasks: u64, trust: &str) -> anyhow::Result<(Duration, f64)> {
    // Long enough that a task is more than a round trip.
    let request = network.job(tasks, 40 * STEPS, trust)?;
    let begun = Instant::now();
    let (view, results) = network.run(&request, tasks)?;
    let took = begun.elapsed();
    ensure!(wrong(&results)? == 0, "{trust}: wrong results");
    eprintln!("{trust}: {took:?}, {:.2} executions a result, {:?}", executions(&view), view.bases);
    Ok((took, executions(&view)))
}

/// Whoever comes for the first time waits no longer than with plain voting, and not for long.
fn first_job(mut network: Network, tasks: u64) -> anyhow::Result<()> {
    let (voting, _) = timed(&mut network, tasks, "vote:2")?;
    // The records that voting leaves are none: everybody is a stranger still.
    let (adaptive, executions) = timed(&mut network, tasks, "adaptive")?;
    ensure!(executions <= 2.3, "{executions} executions a result");
    ensure!(adaptive <= voting * 5 / 2, "{adaptive:?} against {voting:?} by voting");
    Ok(())
}

#[test]
fn fifty_tasks_among_eight_strangers() -> anyhow::Result<()> {
    first_job(Network::start(8)?, 50)
}

#[test]
fn a_fresh_network_of_three_peers_on_one_lan() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let lan = bayan_tests::peers::address();
    let at = |host: u8| format!("{}.{host}", lan.rsplit_once('.').map_or("", |(net, _)| net));
    let submitter = Node::start_on(&dir.path().join("submitter"), &at(1), &["--slots", "1"])?;
    let mut honest = Vec::new();
    for host in 2..=3 {
        let args = ["--slots", "1", "--bootstrap", &submitter.dial];
        honest.push(Node::start_on(&dir.path().join(format!("{host}")), &at(host), &args)?);
    }
    submitter.meets(2)?;
    let mut network = Network { submitter, honest, _dir: dir };
    let request = JobRequest { local: Local::Always, ..network.job(60, STEPS, "adaptive")? };
    let (view, results) = network.run(&request, 60)?;
    ensure!(wrong(&results)? == 0, "wrong results");
    ensure!(executions(&view) <= 2.3, "{} executions a result", executions(&view));
    first_job(network, 50)
}
