//! Peers that break the rules harm nobody but themselves: the peer they are connected to stays up,
//! their results never count, and its job ends with exact results over the honest peers.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use bayan::api::types::{InputsRequest, JobRequest, TaskResult};
use bayan_protocol::{
    cbor,
    crypto::Keypair,
    id::{Hash, JobId, LeaseId, PeerId, TaskId},
    job::Local,
    limits::MAX_FRAME,
    path::Errand,
    record::JobState,
    result::{Ack, Commit, Output, Reveal},
    task::{Input, Limits, PROFILE_V1, Program, Status},
    wire::{Cancel, Credit, Frame, Hello, Lease, LeasedTask, Offer, Reason, Renew},
};
use bayan_tests::{
    chance::Chance,
    hostile::{Hostile, hello, inline, opened},
    native, outputs,
    peers::Node,
    program::{run, until},
};

const NUMBER: &str = "1234567890123456789";
const PACKET: &str = "2000000";
const TASKS: u64 = 40;
const LIMIT: Duration = Duration::from_secs(60);

/// A peer with a job to give away, and two honest ones that work for it.
struct Network {
    victim: Node,
    honest: Vec<Node>,
    _dir: tempfile::TempDir,
}

impl Network {
    fn start() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let at = |name: &str| dir.path().join(name);
        let victim = Node::start(&at("victim"), &["--slots", "0"])?;
        let honest =
            vec![Node::join(&at("one"), &victim, &[])?, Node::join(&at("two"), &victim, &[])?];
        victim.meets(2)?;
        Ok(Self { victim, honest, _dir: dir })
    }

    /// A job on which two peers must agree.
    fn submit(&self) -> anyhow::Result<JobId> {
        let client = self.victim.client()?;
        let module = client.upload(&std::fs::read(native::module("factor"))?)?.hash;
        let args = ["--number", NUMBER, "--packet", PACKET].map(str::to_owned).to_vec();
        Ok(client.submit(&JobRequest {
            args,
            trust: "vote:2".to_owned(),
            local: Local::Never,
            ..JobRequest::new(
                "factor",
                module,
                InputsRequest::Range { from: 0, to: i64::try_from(TASKS)? },
            )
        })?)
    }

    /// Waits for the job's end: its outputs are exact, everyone is up, and of these peers' votes none
    /// counts.
    fn is_unharmed(&mut self, job: JobId, hostile: &[&Hostile]) -> anyhow::Result<Vec<TaskResult>> {
        let client = self.victim.client()?;
        until("the job's end", LIMIT, || {
            Ok((client.job(job)?.state == JobState::Done).then_some(()))
        })?;
        let results = outputs::all(|after| Ok(client.results(job, after, 256)?))?;
        outputs::check_complete(&results, TASKS)?;
        outputs::check_proofs(&results)?;
        let mut by_place: Vec<&TaskResult> = results.iter().collect();
        by_place.sort_by_key(|result| result.places.clone());
        let bytes: Vec<u8> = by_place
            .iter()
            .map(|result| hex::decode(result.inline.as_deref().unwrap_or_default()))
            .collect::<Result<Vec<_>, _>>()?
            .concat();
        let expected = native::range(
            "factor",
            &format!("0..{TASKS}"),
            &["--number", NUMBER, "--packet", PACKET],
        )?;
        ensure!(bytes == expected, "the outputs are not those of a sequential run");
        for peer in hostile {
            let (agreed, _) = outputs::votes_of(&results, &peer.peer);
            ensure!(agreed == 0, "{agreed} results of a hostile peer count");
        }
        ensure!(self.victim.is_up()?, "the peer went down");
        for peer in &mut self.honest {
            ensure!(peer.is_up()?, "an honest peer went down");
        }
        Ok(results)
    }
}

#[test]
fn frames_that_break_the_rules_end_their_own_connection() -> anyhow::Result<()> {
    let mut chance = Chance::new();
    let mut network = Network::start()?;
    let job = network.submit()?;

    let garbage = chance.garbage(4096);
    let oversized_text = Frame::Hello(Hello { agent: "x".repeat(10_000), ..hello(1) });
    let versions = Frame::Hello(Hello { versions: vec![0, 2, 99], ..hello(1) });
    for (what, bytes) in [
        ("garbage", garbage),
        ("a frame before the hello", Frame::Ask.encode()),
        ("a hello beyond its bounds", oversized_text.encode()),
        ("an unknown version", versions.encode()),
        ("a hello with bytes behind it", [Frame::Hello(hello(1)).encode(), vec![0]].concat()),
    ] {
        let mut hostile = Hostile::connect(&network.victim)?;
        hostile.send_bytes(bytes)?;
        let heard = hostile.is_thrown_out().context(what)?;
        let reasons: Vec<Reason> = heard
            .iter()
            .filter_map(|frame| match frame {
                Frame::Refuse(refuse) => Some(refuse.reason),
                _ => None,
            })
            .collect();
        let expected = if what.contains("version") { Reason::Version } else { Reason::Protocol };
        // The refusal is sent ahead of the end, which may overtake it.
        ensure!(reasons.iter().all(|reason| *reason == expected), "{what}: {reasons:?}");
    }

    let mut twice = Hostile::greeted(&network.victim, 1)?;
    twice.send(&Frame::Hello(hello(1)))?;
    twice.is_thrown_out().context("a second hello")?;

    let mut later = Hostile::greeted(&network.victim, 0)?;
    later.send_bytes(cbor::encode(&"a_later_kind"))?;
    let answer = |frame: &Frame| match frame {
        Frame::Refuse(refuse) => Some(refuse.reason),
        _ => None,
    };
    let reason = later.until("an answer to an unknown kind of frame", answer)?;
    assert_eq!(reason, Reason::UnknownFrame);
    for _ in 0..101 {
        let _ = later.send_bytes(cbor::encode(&"a_later_kind"));
    }
    later.is_thrown_out().context("a flood of unknown frames")?;

    network.is_unharmed(job, &[&twice, &later])?;
    Ok(())
}

/// A program of another make: encryption and streams as they should be, and then a frame whose length
/// alone is an attack.
#[test]
fn an_oversized_frame_ends_its_own_connection() -> anyhow::Result<()> {
    let mut network = Network::start()?;
    let job = network.submit()?;
    for length in [u32::MAX, u32::try_from(MAX_FRAME)? + 1] {
        let rest = stranger::says(&network.victim, &length.to_be_bytes())?;
        // The victim's greeting and hello may come first, or be overtaken by the end.
        ensure!(rest.len() < 4096, "the victim goes on talking: {} bytes", rest.len());
    }
    network.is_unharmed(job, &[])?;
    Ok(())
}

/// A peer without any of this project's own network code.
mod stranger {
    use std::time::Duration;

    use anyhow::Context as _;
    use bayan_tests::peers::Node;
    use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
    use libp2p::{
        Multiaddr, PeerId, StreamProtocol, SwarmBuilder, identity::Keypair, noise,
        swarm::SwarmEvent, tcp, yamux,
    };

    const WORK: StreamProtocol = StreamProtocol::new("/bayan/work/1");
    const LIMIT: Duration = Duration::from_secs(20);

    /// Greets on a work stream, says `bytes`, and hears what comes until the other side ends it.
    pub(super) fn says(victim: &Node, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let talk = async { tokio::time::timeout(LIMIT, talk(victim, bytes)).await };
        runtime.block_on(talk).context("the victim does not end the stream")?
    }

    async fn talk(victim: &Node, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
        // Of two peers the one with the smaller id opens the stream.
        let victim_id = victim.id()?;
        let keypair = (0..=u8::MAX)
            .filter_map(|seed| Keypair::ed25519_from_bytes([seed; 32]).ok())
            .find(|key| {
                let public = key.public().try_into_ed25519().map(|key| key.to_bytes());
                public.is_ok_and(|public| public < *victim_id.as_bytes())
            })
            .context("one of 256 ids is smaller")?;
        let mut swarm = SwarmBuilder::with_existing_identity(keypair)
            .with_tokio()
            .with_tcp(tcp::Config::new(), noise::Config::new, yamux::Config::default)?
            .with_behaviour(|_| libp2p_stream::Behaviour::new())?
            .with_swarm_config(|config| config.with_idle_connection_timeout(LIMIT))
            .build();
        let mut control = swarm.behaviour().new_control();
        let address: Multiaddr = victim.dial.parse()?;
        swarm.dial(address)?;
        let peer: PeerId = loop {
            if let SwarmEvent::ConnectionEstablished { peer_id, .. } =
                swarm.select_next_some().await
            {
                break peer_id;
            }
        };
        let talk = async {
            let mut stream = control.open_stream(peer, WORK).await?;
            stream.write_all(&[0; 4]).await?;
            stream.write_all(bytes).await?;
            stream.flush().await?;
            let mut rest = Vec::new();
            // A reset is an end as well.
            let _ = stream.read_to_end(&mut rest).await;
            Ok(rest)
        };
        let network = async {
            loop {
                swarm.select_next_some().await;
            }
        };
        tokio::select! {
            rest = talk => rest,
            () = network => unreachable!("a network without an end"),
        }
    }
}

#[test]
fn garbage_on_the_socket_and_silent_connections_do_no_harm() -> anyhow::Result<()> {
    let mut chance = Chance::new();
    let mut network = Network::start()?;
    let job = network.submit()?;
    let socket = network.victim.socket()?;
    // They say nothing and stay for as long as they are let.
    let silent: Vec<TcpStream> = (0..40).filter_map(|_| TcpStream::connect(socket).ok()).collect();
    ensure!(!silent.is_empty(), "nobody can connect");
    for length in [1, 4, 100, 1 << 20] {
        let mut stream = TcpStream::connect(socket)?;
        stream.set_read_timeout(Some(LIMIT))?;
        // The peer hangs up in the middle, or at the end.
        let _ = stream.write_all(&[&u32::MAX.to_be_bytes()[..], &chance.garbage(length)].concat());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    network.is_unharmed(job, &[])?;
    drop(silent);
    Ok(())
}

/// A wrong factor of the number.
fn lie() -> Output {
    inline(b"7 176366841446160684 composite\n")
}

/// None of these peers' results is even a vote.
fn never_voted(network: &mut Network, job: JobId, peers: &[&Hostile]) -> anyhow::Result<()> {
    let results = network.is_unharmed(job, peers)?;
    for peer in peers {
        let votes = outputs::votes_of(&results, &peer.peer);
        ensure!(votes == (0, 0), "a refused batch was counted: {votes:?}");
    }
    Ok(())
}

#[test]
fn results_that_nobody_asked_for_do_not_count() -> anyhow::Result<()> {
    let mut network = Network::start()?;
    let mut no_task = Hostile::greeted(&network.victim, 1)?;
    let mut other_task = Hostile::greeted(&network.victim, 1)?;
    let mut other_lease = Hostile::greeted(&network.victim, 1)?;
    let job = network.submit()?;
    let right = Status::Exited(0);

    let lease = no_task.leases(1)?;
    let unknown = no_task.result(&lease, TaskId([9; 32]), right, lie());
    no_task.deliver(job, 1, vec![unknown])?;
    no_task.is_thrown_out().context("a result for a task that does not exist")?;

    let lease = other_task.leases(1)?;
    let held: Vec<TaskId> = lease.tasks.iter().map(|task| task.task).collect();
    let id = |number: u64| lease.program.task_id(&Hash::of(format!("{number}\n").as_bytes()));
    let other =
        (0..TASKS).map(id).find(|task| !held.contains(task)).context("a task of somebody else")?;
    other_task.deliver(job, 1, vec![other_task.result(&lease, other, right, lie())])?;
    other_task.is_thrown_out().context("a result for a task that others were given")?;

    let lease = other_lease.leases(1)?;
    let own = (lease.job, lease.submitter, LeaseId([3; 32]));
    let results = vec![opened(other_lease.peer, own, lease.tasks[0].task, right, lie())];
    other_lease.deliver(job, 1, results)?;
    other_lease.is_thrown_out().context("a result under a lease that it does not hold")?;

    never_voted(&mut network, job, &[&no_task, &other_task, &other_lease])
}

#[test]
fn results_that_their_sender_did_not_sign_do_not_count() -> anyhow::Result<()> {
    let mut network = Network::start()?;
    let mut signer = Hostile::greeted(&network.victim, 1)?;
    let mut worker = Hostile::greeted(&network.victim, 1)?;
    let mut root = Hostile::greeted(&network.victim, 1)?;
    let mut no_commit = Hostile::greeted(&network.victim, 1)?;
    let job = network.submit()?;
    let right = Status::Exited(0);

    // Another peer's signature is a valid signature, but not of the peer that sends it.
    let lease = signer.leases(1)?;
    let results = vec![signer.result(&lease, lease.tasks[0].task, right, lie())];
    let signed = Commit::sign(&Keypair::from_seed(&[200; 32]), job, 1, &results);
    signer.deliver_as(signed, results)?;
    signer.is_thrown_out().context("a commit by another peer")?;

    let lease = worker.leases(1)?;
    let names = (lease.job, lease.submitter, lease.lease);
    let honest = network.honest[0].id()?;
    let results = vec![opened(honest, names, lease.tasks[0].task, right, lie())];
    worker.deliver(job, 1, results)?;
    worker.is_thrown_out().context("a result in another's name")?;

    let lease = root.leases(1)?;
    let result = root.result(&lease, lease.tasks[0].task, right, lie());
    let commit = Commit::sign(&root.key, job, 1, std::slice::from_ref(&result));
    let other = root.result(&lease, lease.tasks[0].task, right, inline(b"changed my mind"));
    root.deliver_as(commit, vec![other])?;
    root.is_thrown_out().context("a reveal of something else than was committed to")?;

    let lease = no_commit.leases(1)?;
    let result = no_commit.result(&lease, lease.tasks[0].task, right, lie());
    let committed = Commit::sign(&no_commit.key, job, 1, std::slice::from_ref(&result)).root;
    no_commit.send(&Frame::Reveal(Reveal { root: committed, opened: vec![result] }))?;
    no_commit.is_thrown_out().context("a reveal without a commit")?;

    never_voted(&mut network, job, &[&signer, &worker, &root, &no_commit])
}

#[test]
fn a_lie_told_again_and_again_stays_one_vote() -> anyhow::Result<()> {
    let mut network = Network::start()?;
    let mut liar = Hostile::greeted(&network.victim, 4)?;
    let mut copycat = Hostile::greeted(&network.victim, 1)?;
    let job = network.submit()?;
    let lease = liar.leases(4)?;
    let task = lease.tasks[0].task;
    let lie = vec![liar.result(&lease, task, Status::Exited(0), inline(b"a lie\n"))];
    for sequence in [1, 1, 2, 3] {
        liar.deliver(job, sequence, lie.clone())?;
    }
    liar.until("an acknowledgement of the first", |frame| {
        matches!(frame, Frame::Ack(_)).then_some(())
    })?;
    // The same batch under another lease of its own is another statement, and false.
    let other = network.submit()?;
    let second = liar.until("a lease of the other job", |frame| match frame {
        Frame::Lease(lease) if lease.job == other => Some(lease.clone()),
        _ => None,
    })?;
    let names = (job, lease.submitter, second.lease);
    let again = opened(liar.peer, names, task, Status::Exited(0), inline(b"a lie\n"));
    liar.deliver(job, 4, vec![again])?;
    liar.is_thrown_out().context("a result replayed under a lease that does not hold its task")?;

    // Whoever repeats the liar's own batch is not the liar.
    let lease = copycat.leases(1)?;
    let commit = Commit::sign(&liar.key, job, 1, &lie);
    copycat.deliver_as(commit, lie)?;
    copycat
        .is_thrown_out()
        .with_context(|| format!("another's batch, holding lease {}", lease.lease))?;

    network.is_unharmed(other, &[&liar, &copycat])?;
    let results = network.is_unharmed(job, &[&liar, &copycat])?;
    assert_eq!(outputs::votes_of(&results, &liar.peer), (0, 1));
    assert_eq!(outputs::votes_of(&results, &copycat.peer), (0, 0));
    Ok(())
}

#[test]
fn tasks_that_are_taken_and_never_returned_are_done_by_others() -> anyhow::Result<()> {
    let mut network = Network::start()?;
    let mut hoarders = Vec::new();
    for _ in 0..3 {
        hoarders.push(Hostile::greeted(&network.victim, 64)?);
    }
    let job = network.submit()?;
    let mut taken = 0;
    for hoarder in &mut hoarders {
        let lease = hoarder.leases(u32::MAX)?;
        taken += lease.tasks.len();
        // It even says that it still works on them, and on more.
        hoarder.send(&Frame::Renew(Renew { leases: vec![lease.lease, LeaseId([1; 32])] }))?;
    }
    ensure!(taken > 0, "nothing was taken");
    let hoarders: Vec<&Hostile> = hoarders.iter().collect();
    network.is_unharmed(job, &hoarders)?;
    Ok(())
}

/// Attempts that cannot say are tried elsewhere: a peer that fails everything, or claims outputs that
/// it does not have, must not make tasks be given up.
#[test]
fn attempts_without_a_result_lose_no_task() -> anyhow::Result<()> {
    let mut network = Network::start()?;
    let mut failing = Hostile::greeted(&network.victim, 16)?;
    let mut empty_handed = Hostile::greeted(&network.victim, 16)?;
    let job = network.submit()?;
    let lease = failing.leases(64)?;
    let blobs = empty_handed.leases(64)?;
    // As fast as tasks come, for as long as the job runs.
    let (mut next, mut sequence) = (Some(lease), 1);
    while let Some(lease) = next {
        for task in &lease.tasks {
            let result = failing.result(&lease, task.task, Status::HostFault, inline(b""));
            failing.deliver(job, sequence, vec![result])?;
            sequence += 1;
        }
        next = failing.until("the next lease", lease_or_end(job)).context("of the failing peer")?;
    }
    let results: Vec<_> = blobs
        .tasks
        .iter()
        .map(|task| {
            let output = Output::Blob { hash: Hash::of(&task.task.0), len: 1 << 20 };
            empty_handed.result(&blobs, task.task, Status::Exited(0), output)
        })
        .collect();
    for (place, chunk) in (1..).zip(results.chunks(64)) {
        empty_handed.deliver(job, place, chunk.to_vec())?;
    }
    let results = network.is_unharmed(job, &[&failing, &empty_handed])?;
    ensure!(
        results.iter().all(|result| result.status == Some(Status::Exited(0))),
        "a task was given up"
    );
    Ok(())
}

/// The next lease, or none when the job is over.
fn lease_or_end(job: JobId) -> impl Fn(&Frame) -> Option<Option<Lease>> {
    move |frame| match frame {
        Frame::Lease(lease) => Some(Some(lease.clone())),
        Frame::Cancel(cancel) if cancel.job == job && cancel.tasks.is_empty() => Some(None),
        _ => None,
    }
}

#[test]
fn offers_and_orders_that_make_no_sense_are_refused() -> anyhow::Result<()> {
    let mut network = Network::start()?;
    let job = network.submit()?;
    let mut source = Hostile::greeted(&network.honest[0], 0)?;
    let submitter = source.peer;
    let offer = |number: u16, profile: &str| {
        let mut job = [5; 32];
        job[..2].copy_from_slice(&number.to_be_bytes());
        Offer { job: JobId(job), submitter, profile: profile.to_owned(), memory: 1 << 20, hops: 0 }
    };
    let refused = |frame: &Frame| match frame {
        Frame::Refuse(refuse) => Some(refuse.reason),
        _ => None,
    };
    source.send(&Frame::Offer(offer(0, "wasmtime-fuel-0")))?;
    assert_eq!(source.until("an answer to another profile", refused)?, Reason::Profile);
    source.send(&Frame::Offer(Offer { memory: u64::MAX, ..offer(1, PROFILE_V1) }))?;
    assert_eq!(source.until("an answer to an offer of too much", refused)?, Reason::Memory);
    let lease = lease_of(&source, &network.honest[0].id()?);
    source.send(&offer_of(&lease))?;
    for number in 2..2000 {
        source.send(&Frame::Offer(offer(number, PROFILE_V1)))?;
    }
    // Orders about jobs of others concern nobody.
    source.send(&Frame::Cancel(Cancel { job, tasks: Vec::new() }))?;
    source.send(&Frame::Credit(Credit { tasks: u32::MAX, below: 0 }))?;
    let stranger = Keypair::from_seed(&[201; 32]);
    let foreign = Ack::sign(&stranger, JobId([6; 32]), Hash([0; 32]), u64::MAX);
    source.send(&Frame::Ack(foreign))?;
    let forged = Ack::sign(&stranger, lease.job, Hash([0; 32]), u64::MAX);
    source.send(&Frame::Lease(lease))?;
    source.send(&Frame::Ack(forged))?;
    source.is_thrown_out().context("an acknowledgement in another's name")?;
    network.is_unharmed(job, &[])?;
    Ok(())
}

/// The offer of a lease's job.
fn offer_of(lease: &Lease) -> Frame {
    let (profile, memory) = (lease.program.profile.clone(), lease.program.limits.memory);
    Frame::Offer(Offer { job: lease.job, submitter: lease.submitter, profile, memory, hops: 0 })
}

/// A lease of one task whose module nobody has.
fn lease_of(source: &Hostile, to: &PeerId) -> Lease {
    let program = Program {
        module: Hash([8; 32]),
        module_len: 1000,
        args: Vec::new(),
        env: Vec::new(),
        data: Vec::new(),
        limits: Limits::default(),
        profile: PROFILE_V1.to_owned(),
        salt: Hash([0; 32]),
    };
    let input = Input::Inline(serde_bytes::ByteBuf::from(b"1\n"));
    let task = program.task_id(&input.hash());
    let (job, lease) = (JobId([5; 32]), LeaseId([6; 32]));
    let errand = Errand { job, submitter: source.peer };
    Lease {
        lease,
        job,
        submitter: source.peer,
        program,
        lasts_ms: 1000,
        path: vec![errand.hand(&source.key, None, lease, to, [task].into_iter())],
        tasks: vec![LeasedTask { task, input }],
        share: 0,
    }
}

#[test]
fn leases_that_make_no_sense_are_refused() -> anyhow::Result<()> {
    let mut network = Network::start()?;
    let job = network.submit()?;
    let worker = &network.honest[0];
    let mut wrong_path = Hostile::greeted(worker, 0)?;
    let id = worker.id()?;
    let mut lease = lease_of(&wrong_path, &id);
    lease.path[0].giver = id;
    wrong_path.send(&Frame::Lease(lease))?;
    wrong_path.is_thrown_out().context("a lease in another's name")?;

    let mut wrong_ids = Hostile::greeted(worker, 0)?;
    let mut tampered = lease_of(&wrong_ids, &id);
    tampered.tasks[0].task = TaskId([1; 32]);
    wrong_ids.send(&Frame::Lease(tampered))?;
    wrong_ids.is_thrown_out().context("task ids that are not the tasks'")?;

    // A module that cannot be had is said to be so, and nothing waits for it.
    let mut no_module = Hostile::greeted(worker, 0)?;
    let lease = lease_of(&no_module, &id);
    no_module.send(&offer_of(&lease))?;
    no_module.send(&Frame::Lease(lease))?;
    let status = no_module.until("a result that says so", |frame| match frame {
        Frame::Reveal(reveal) => reveal.opened.first().map(|one| one.leaf.status),
        _ => None,
    })?;
    assert_eq!(status, Status::HostFault);
    network.is_unharmed(job, &[])?;
    Ok(())
}

#[test]
fn endless_questions_hold_up_nobody() -> anyhow::Result<()> {
    let mut network = Network::start()?;
    let asking = Hostile::greeted(&network.victim, 1)?;
    let job = network.submit()?;
    let mut asked = 0_u64;
    for _ in 0..200_000 {
        // Its own queue may be full, or the victim have had enough of it; both are fine.
        if asking.send(&Frame::Ask).is_err() {
            break;
        }
        asked += 1;
    }
    ensure!(asked > 1000, "only {asked} questions were asked");
    network.is_unharmed(job, &[&asking])?;
    Ok(())
}

#[test]
fn another_engine_is_named_and_gets_no_work() -> anyhow::Result<()> {
    let mut network = Network::start()?;
    let mut other = Hostile::connect(&network.victim)?;
    other.send(&Frame::Hello(Hello { profiles: vec!["v8-counter-3".to_owned()], ..hello(8) }))?;
    other.until("the hello", |frame| matches!(frame, Frame::Hello(_)).then_some(()))?;
    other.send(&Frame::Credit(Credit { tasks: 100, below: 0 }))?;
    let job = network.submit()?;
    network.is_unharmed(job, &[&other])?;
    let heard: Vec<_> = std::iter::from_fn(|| other.hear(Duration::from_millis(200))).collect();
    ensure!(
        !format!("{heard:?}").contains("Lease("),
        "work was given to an engine of another kind: {heard:?}"
    );

    let shown = peers(&network.victim.dir, &["peers"])?;
    ensure!(shown.contains("v8-counter-3"), "the mismatch is not named:\n{shown}");
    let json = peers(&network.victim.dir, &["peers", "--json"])?;
    ensure!(json.contains("v8-counter-3"), "the mismatch is not in the JSON:\n{json}");
    Ok(())
}

fn peers(dir: &Path, args: &[&str]) -> anyhow::Result<String> {
    Ok(run(dir, args, LIMIT)?.code(0)?.stdout)
}
