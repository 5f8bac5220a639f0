//! The API over real connections, with a core that answers from a script.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use bayan_protocol::{
    crypto::Keypair,
    id::{Hash, JobId, LeaseId, PeerId, TaskId},
    job::{Audience, Inputs, Local, Manifest},
    limits::MAX_INLINE,
    offer::{Accept, Lending},
    peer::{self, Peer, PeerView},
    record::{JobState, Record},
    result::{Commit, Leaf, Opened, Output, Proof, Reveal, VerifiedBatch, output_commit},
    source::{self, JobView},
    standing::Standing,
    task::{Input, Limits, PROFILE_V1, Status},
    time::Timestamp,
    verify::{Acceptance, Basis, Policy, State, Tally},
};
use bayan_store::{Change, Directory};
use serde_bytes::ByteBuf;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    Shared, openapi,
    types::{InputsRequest, JobRequest, Removal, decode_proof},
};
use crate::{
    client::{Client, ClientError},
    core::{Changes, Command, Known, Message},
};

mod trust;

const JOB: JobId = JobId([9; 32]);

/// What the scripted core knows.
#[derive(Default)]
struct Script {
    job: Option<JobView>,
    known: Vec<Known>,
    submitted: Vec<(Hash, Manifest)>,
    orders: Vec<&'static str>,
    standings: Vec<(PeerId, Standing)>,
}

struct Fixture {
    client: Client,
    api: SocketAddr,
    token: String,
    script: Arc<Mutex<Script>>,
    changes: Changes,
    shutdown: CancellationToken,
    store: Directory,
    _runtime: tokio::runtime::Runtime,
    _dir: tempfile::TempDir,
}

impl Fixture {
    fn new(daemon: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let store = Directory::open(
            dir.path(),
            bayan_store::Options { blob_quota: 8 << 20, ..Default::default() },
        )
        .unwrap();
        let (commands, inbox) = mpsc::channel(16);
        let (changes, _) = broadcast::channel(16);
        let script = Arc::new(Mutex::new(Script::default()));
        let (net, _events) =
            runtime.block_on(bayan_net::start(bayan_net::Config::new([1; 32]))).unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let api = listener.local_addr().unwrap();
        let token = store.api_token();
        let shared = Shared {
            commands,
            changes: changes.clone(),
            blobs: store.blobs(),
            traffic: Arc::default(),
            records: store.records(),
            archive: crate::archive::Archive::open(dir.path(), store.blobs(), store.records())
                .unwrap(),
            net,
            prepare: Arc::new(|_| Ok(())),
            token: token.clone(),
            daemon,
            lending_memory: 512 << 20,
            peer: PeerId([1; 32]),
        };
        let shutdown = CancellationToken::new();
        runtime.spawn(super::serve(listener, shared, shutdown.clone()));
        runtime.spawn(core(inbox, Arc::clone(&script)));
        let client = Client::new(api, &token);
        Self { client, api, token, script, changes, shutdown, store, _runtime: runtime, _dir: dir }
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    /// Sends a request as it is and reads the answer to the end of the connection.
    fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.api).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(&self, path: &str) -> String {
        self.raw(&format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
            self.token
        ))
    }
}

async fn core(mut inbox: mpsc::Receiver<Message>, script: Arc<Mutex<Script>>) {
    while let Some(message) = inbox.recv().await {
        let Message::Command(command) = message else { panic!("the API gives commands only") };
        answer(command, &mut script.lock().unwrap());
    }
}

/// Whether somebody waits for the answer is not the core's business.
fn answer(command: Command, script: &mut Script) {
    match command {
        Command::Submit { manifest_hash, manifest, reply } => {
            script.submitted.push((manifest_hash, *manifest));
            let _ = reply.send(JOB);
        }
        Command::Cancel(_, reply) => {
            script.orders.push("cancel");
            let _ = reply.send(true);
        }
        Command::Forget(_, reply) => {
            script.orders.push("forget");
            let _ = reply.send(true);
        }
        Command::Jobs(reply) => {
            let _ = reply.send(script.job.iter().cloned().collect());
        }
        Command::Job(job, reply) => {
            let _ = reply.send(script.job.clone().filter(|view| view.job == job));
        }
        Command::Results { job, after, limit, reply } => {
            let view = script.job.clone().filter(|view| view.job == job);
            let part = script.known.iter().filter(|one| one.place >= after).take(limit);
            let part = part.cloned().collect();
            let _ = reply.send(view.map(|view| (part, view)));
        }
        Command::Trust { reply, .. } => {
            script.orders.push("trust");
            let _ = reply.send(());
        }
        Command::Plan(intent, reply) => {
            let _ = reply.send(machines().forecast(Timestamp(1), *intent));
        }
        Command::Standings(reply) => {
            let known = script.standings.iter();
            let _ = reply.send(known.map(|(peer, one)| (*peer, one.clone())).collect());
        }
        Command::Peer(reply) => {
            let _ = reply.send(peer_view());
        }
        Command::Pause(reply) => {
            script.orders.push("pause");
            let _ = reply.send(());
        }
        Command::Resume(reply) => {
            script.orders.push("resume");
            let _ = reply.send(());
        }
        Command::Stop(reply) => {
            script.orders.push("stop");
            let _ = reply.send(());
        }
    }
}

/// A peer that has met nobody.
fn machines() -> Peer {
    let config = peer::Config {
        lending: Lending {
            relays: false,
            slots: 2,
            memory: 1 << 30,
            accept: Accept::Lan,
            profiles: vec![PROFILE_V1.to_owned()],
        },
        agent: "test".to_owned(),
        source: source::Config::default(),
        delegate: bayan_protocol::delegate::Config::default(),
    };
    Peer::new(Keypair::from_seed(&[1; 32]), config, &[0; 32], Timestamp(1))
}

fn peer_view() -> PeerView {
    PeerView {
        peer: PeerId([1; 32]),
        slots: 2,
        free: 1,
        speed: 5,
        queued: 0,
        paused: false,
        executed: 7,
        busy_micros: 7,
        accept: Accept::Lan,
        neighbours: Vec::new(),
        adverts: Vec::new(),
        hops: Vec::new(),
        kept: Vec::new(),
    }
}

fn view(state: JobState, settled: u64) -> JobView {
    JobView {
        tree: Vec::new(),
        job: JOB,
        name: "test".to_owned(),
        state,
        policy: Policy::Vote(2),
        provisional: false,
        audience: Audience::Anyone,
        confidential: false,
        inputs: 10,
        tasks: 10,
        settled,
        states: BTreeMap::new(),
        bases: BTreeMap::new(),
        replicated: 0,
        tally: Tally::default(),
        quarantined: false,
        own_apart: false,
        failed: 0,
        in_flight: 0,
        waiting: None,
        delegate: None,
        submitted: Timestamp(1),
        ended: None,
        workers: Vec::new(),
    }
}

fn module(import: &str) -> Vec<u8> {
    let text =
        format!(r#"(module {import} (memory (export "memory") 1) (func (export "_start")))"#);
    wat::parse_str(text).unwrap()
}

fn request(module: Hash, inputs: InputsRequest) -> JobRequest {
    JobRequest { trust: "vote:2".to_owned(), ..JobRequest::new("test", module, inputs) }
}

fn refused<T: std::fmt::Debug>(answer: Result<T, ClientError>, status: u16) -> String {
    match answer {
        Err(ClientError::Refused { status: found, text }) if found == status => text,
        other => panic!("expected status {status}: {other:?}"),
    }
}

#[test]
fn nothing_is_said_without_the_token_or_under_another_name() {
    let fixture = Fixture::new(true);
    for path in ["/v1/peer", "/v1/openapi.json", "/v1/nothing", "/"] {
        let bare = fixture
            .raw(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        assert!(bare.starts_with("HTTP/1.1 401"), "{bare}");
        assert!(bare.contains("\"error\""), "{bare}");
    }
    let wrong = Client::new(fixture.api, &"0".repeat(64));
    refused(wrong.peer(), 401);
    let rebound = fixture.raw(&format!(
        "GET /v1/peer HTTP/1.1\r\nHost: evil.example:80\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        fixture.token
    ));
    assert!(rebound.starts_with("HTTP/1.1 403"), "{rebound}");
    assert_eq!(fixture.client.peer().unwrap().view.executed, 7);
}

#[test]
fn unknown_paths_methods_and_ids_are_told_apart_in_json() {
    let fixture = Fixture::new(true);
    for (path, status) in [
        ("/v1/nothing", "404"),
        ("/v1/pause", "405"),
        ("/v1/jobs/zz", "400"),
        ("/v1/blobs/zz", "400"),
        (&format!("/v1/jobs/{JOB}/results?after=-1"), "400"),
        (&format!("/v1/jobs/{JOB}/results?what=1"), "400"),
        (&format!("/v1/jobs/{JOB}/results"), "404"),
        (&format!("/v1/jobs/{JOB}/events"), "404"),
        (&format!("/v1/jobs/{JOB}"), "404"),
    ] {
        let answer = fixture.get(path);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
        assert!(answer.contains("{\"error\":\""), "{path}: {answer}");
    }
}

#[test]
fn blobs_come_back_as_they_went_in() {
    let fixture = Fixture::new(true);
    let mut large = vec![0; 3 << 20];
    for (place, byte) in large.iter_mut().enumerate() {
        *byte = (place / 7) as u8;
    }
    for content in [&b""[..], b"x", &large] {
        let info = fixture.client.upload(content).unwrap();
        assert_eq!((info.hash, info.len), (Hash::of(content), content.len() as u64));
        assert!(fixture.client.blob(&info.hash).unwrap() == content);
    }
    refused(fixture.client.blob(&Hash([3; 32])), 404);
    let no_room = refused(fixture.client.upload(&vec![0; 9 << 20]), 507);
    assert!(no_room.contains("--disk"), "{no_room}");
    let short = fixture.client.upload_reader(&b"abc"[..], 5);
    assert!(matches!(short, Err(ClientError::Local(_))), "{short:?}");
    let answer = fixture.raw(&format!(
        "POST /v1/blobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n",
        fixture.token
    ));
    assert!(answer.starts_with("HTTP/1.1 411"), "{answer}");
    let answer = fixture.raw(&format!(
        "POST /v1/blobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Length: 99999999999\r\nConnection: close\r\n\r\n",
        fixture.token
    ));
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[test]
fn an_upload_that_breaks_off_leaves_nothing() {
    let fixture = Fixture::new(true);
    let mut stream = TcpStream::connect(fixture.api).unwrap();
    let head = format!(
        "POST /v1/blobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Length: 10\r\n\r\nabc",
        fixture.token
    );
    stream.write_all(head.as_bytes()).unwrap();
    drop(stream);
    let whole = fixture.client.upload(b"whole").unwrap().hash;
    assert_eq!(fixture.store.blobs().list(), [(whole, 5)]);
}

#[test]
fn a_job_is_cut_into_inputs_and_stored_before_it_is_submitted() {
    let fixture = Fixture::new(true);
    let client = &fixture.client;
    let module = client.upload(&module("")).unwrap().hash;
    let lines = client.upload(b"a\nb").unwrap().hash;
    let data = client.upload(b"data").unwrap().hash;
    let mut job = request(module, InputsRequest::Lines(lines));
    job.data = vec![("z".to_owned(), data), ("b".to_owned(), data)];
    assert_eq!(client.submit(&job).unwrap(), JOB);

    let (small, large) =
        (client.upload(b"small").unwrap(), client.upload(&vec![1; MAX_INLINE + 1]).unwrap());
    client.submit(&request(module, InputsRequest::Blobs(vec![small.hash, large.hash]))).unwrap();
    client.submit(&request(module, InputsRequest::Range { from: -2, to: 3 })).unwrap();

    let submitted = std::mem::take(&mut fixture.script().submitted);
    let inline = |bytes: &[u8]| Input::Inline(ByteBuf::from(bytes));
    let (hash, first) = &submitted[0];
    assert_eq!(first.inputs, Inputs::List(vec![inline(b"a\n"), inline(b"b\n")]));
    assert_eq!(
        first.program.data.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(),
        ["b", "z"]
    );
    assert_eq!(first.policy, Policy::Vote(2));
    let stored = fixture.store.blobs().get(hash).unwrap();
    assert_eq!(&bayan_protocol::cbor::decode::<Manifest>(&stored).unwrap(), first);
    let expected = vec![inline(b"small"), Input::Blob { hash: large.hash, len: large.len }];
    assert_eq!(submitted[1].1.inputs, Inputs::List(expected));
    assert_eq!(submitted[2].1.inputs, Inputs::Range { from: -2, to: 3 });
    assert_ne!(first.program.salt, submitted[2].1.program.salt);
}

#[test]
fn a_module_with_an_import_that_guests_are_not_given_is_refused_by_name() {
    let fixture = Fixture::new(true);
    let sockets = module(
        r#"(import "wasi_snapshot_preview1" "sock_send" (func (param i32 i32 i32 i32 i32) (result i32)))"#,
    );
    let module = fixture.client.upload(&sockets).unwrap().hash;
    let text = refused(
        fixture.client.submit(&request(module, InputsRequest::Range { from: 0, to: 1 })),
        422,
    );
    assert!(text.contains("wasi_snapshot_preview1.sock_send"), "{text}");
    assert!(text.contains("sockets"), "{text}");
    assert!(fixture.script().submitted.is_empty());
}

#[test]
fn what_breaks_a_bound_is_refused_in_plain_words() {
    let fixture = Fixture::new(true);
    let client = &fixture.client;
    let module = client.upload(&module("")).unwrap().hash;
    let empty = client.upload(b"").unwrap().hash;
    let range = InputsRequest::Range { from: 0, to: 1 };
    let good = request(module, range.clone());
    let with = |change: fn(&mut JobRequest)| {
        let mut job = good.clone();
        change(&mut job);
        job
    };
    for (job, words) in [
        (with(|job| job.module = Hash([0; 32])), "upload it first"),
        (request(empty, range), "not a WebAssembly module"),
        (request(module, InputsRequest::Lines(empty)), "1 to 1000000 inputs, this one 0"),
        (request(module, InputsRequest::Blobs(vec![Hash([0; 32])])), "an input"),
        (with(|job| job.inputs = InputsRequest::Range { from: 5, to: 5 }), "this one 0"),
        (
            with(|job| job.inputs = InputsRequest::Range { from: i64::MIN, to: i64::MAX }),
            "this one 18446744073709551615",
        ),
        (with(|job| job.trust = "vote:16".to_owned()), "not that many peers"),
        (with(|job| job.trust = "faith".to_owned()), "no such policy"),
        (with(|job| job.confidential = true), "confidential"),
        (with(|job| job.args = vec!["x".repeat(65 << 10)]), "64 KiB"),
        (with(|job| job.args = vec!["a\0b".to_owned()]), "NUL"),
        (with(|job| job.env = vec![("a=b".to_owned(), String::new())]), "environment"),
        (
            with(|job| job.data = vec![("a".to_owned(), job.module); 2]),
            "two data files have the name a",
        ),
        (with(|job| job.data = vec![("../a".to_owned(), job.module)]), "plain file name"),
        (with(|job| job.limits.memory = 1000), "--memory"),
        (with(|job| job.limits.memory = 4 << 30), "--local never"),
        (with(|job| job.limits.fuel = 0), "--fuel"),
        (with(|job| job.name = "x".repeat(300)), "256 bytes"),
    ] {
        let text = refused(client.submit(&job), 422);
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(fixture.script().submitted.is_empty());
    let answer = fixture.raw(&format!(
        "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: 12\r\nConnection: close\r\n\r\n{{\"name\":\"x\"}}",
        fixture.token
    ));
    assert!(answer.starts_with("HTTP/1.1 422"), "{answer}");
    assert!(answer.contains("missing field"), "{answer}");
}

/// A result of the peer with this seed, as it would be stored.
fn vote(seed: u8, index: u32, output: &Output) -> (Record, Proof) {
    let key = Keypair::from_seed(&[seed; 32]);
    let nonce = Hash([seed; 32]);
    let leaf = Leaf {
        task: TaskId([index as u8; 32]),
        job: JOB,
        submitter: PeerId([1; 32]),
        lease: LeaseId([2; 32]),
        worker: key.peer_id(),
        status: Status::Exited(0),
        output_commit: output_commit(&output.hash(), &nonce.0),
        fuel: 5,
    };
    let opened =
        vec![Opened { leaf, nonce, output: output.clone(), log: ByteBuf::new(), micros: 3 }];
    let commit = Commit::sign(&key, JOB, 1, &opened);
    let reveal = Reveal { root: commit.root, opened };
    let batch = VerifiedBatch::check(commit, reveal, &key.peer_id(), &PeerId([1; 32])).unwrap();
    let proof = batch.proof(0).unwrap();
    let record = Record::Vote {
        via: Vec::new(),
        job: JOB,
        task: index,
        proof: proof.clone(),
        output: output.clone(),
        log: b"said".to_vec(),
        micros: 3,
    };
    (record, proof)
}

#[test]
fn results_come_in_pages_with_outputs_and_proofs() {
    let fixture = Fixture::new(true);
    let long = Output::Blob { hash: Hash::of(b"long"), len: 99_999 };
    let mut known = Vec::new();
    for index in 0..5_u32 {
        let output = if index == 3 {
            long.clone()
        } else {
            Output::Inline(ByteBuf::from(format!("{index}")))
        };
        let wrong = Output::Inline(ByteBuf::from("wrong"));
        let votes = [vote(10, index, &output), vote(11, index, &output), vote(12, index, &wrong)];
        let changes: Vec<Change> = votes
            .iter()
            .map(|(record, _)| Change::Put { key: record.key().0, value: record.encode() })
            .collect();
        fixture.store.records().append(&changes).unwrap();
        let [agreed @ .., outvoted] = votes.map(|(_, proof)| proof.leaf.worker);
        let acceptance = Acceptance {
            outcome: bayan_protocol::result::Outcome {
                status: Status::Exited(0),
                output: output.hash(),
                fuel: 5,
            },
            agreed: agreed.to_vec(),
            outvoted: vec![outvoted],
            basis: Basis::Quorum,
        };
        let acceptance = (index != 4).then_some(acceptance);
        known.push(Known {
            place: index.into(),
            state: if index == 4 { State::GivenUp } else { State::Final },
            places: vec![index.into()],
            index,
            task: TaskId([index as u8; 32]),
            acceptance,
        });
    }
    fixture.script().known = known;
    fixture.script().job = Some(view(JobState::Running, 5));

    let first = fixture.client.results(JOB, 0, 2).unwrap();
    assert_eq!((first.results.len(), first.next), (2, 2));
    let rest = fixture.client.results(JOB, first.next, 1000).unwrap();
    assert_eq!((rest.results.len(), rest.next), (3, 5));
    assert!(fixture.client.results(JOB, rest.next, 10).unwrap().results.is_empty());

    let one = &first.results[1];
    assert_eq!(one.inline.as_deref(), Some(hex::encode("1").as_str()));
    assert_eq!(one.verified, "2 peers agree, 1 peer outvoted");
    assert_eq!(
        one.by.iter().map(|voucher| voucher.agrees).collect::<Vec<_>>(),
        [true, true, false]
    );
    for voucher in &one.by {
        let proof = decode_proof(&voucher.proof).unwrap();
        proof.check().unwrap();
        assert_eq!(proof.leaf.worker, voucher.peer);
        assert_eq!((voucher.log.as_str(), voucher.micros), ("said", 3));
    }
    assert_eq!((&rest.results[1].inline, rest.results[1].output_len), (&None, 99_999));
    assert_eq!((rest.results[2].status, rest.results[2].by.len()), (None, 0));
}

#[test]
fn events_show_every_state_that_lasts_and_end_with_the_job() {
    let fixture = Fixture::new(true);
    fixture.script().job = Some(view(JobState::Running, 1));
    let mut events = fixture.client.events(JOB).unwrap();
    assert_eq!(events.next().unwrap().unwrap().settled, 1);
    fixture.script().job = Some(view(JobState::Running, 2));
    fixture.changes.send(JOB).unwrap();
    assert_eq!(events.next().unwrap().unwrap().settled, 2);
    // Another job's changes are no event, and many changes at once are one.
    for _ in 0..100 {
        fixture.changes.send(JobId([1; 32])).unwrap();
    }
    fixture.script().job = Some(view(JobState::Done, 10));
    fixture.changes.send(JOB).unwrap();
    assert_eq!(events.next().unwrap().unwrap(), view(JobState::Done, 10));
    assert!(events.next().is_none());

    let over: Vec<_> = fixture.client.events(JOB).unwrap().collect();
    assert_eq!(over.len(), 1, "a job that is over has one event");
}

#[test]
fn a_change_that_nobody_announced_is_seen_all_the_same() {
    let fixture = Fixture::new(true);
    fixture.script().job = Some(view(JobState::Running, 1));
    let mut events = fixture.client.events(JOB).unwrap();
    events.next().unwrap().unwrap();
    fixture.script().job = Some(view(JobState::Cancelled, 1));
    assert_eq!(events.next().unwrap().unwrap().state, JobState::Cancelled);
}

#[test]
fn followers_of_a_peer_that_stops_learn_that_it_is_gone() {
    let fixture = Fixture::new(true);
    fixture.script().job = Some(view(JobState::Running, 1));
    let mut events = fixture.client.events(JOB).unwrap();
    events.next().unwrap().unwrap();
    let (client, shutdown) = (fixture.client.clone(), fixture.shutdown.clone());
    thread::spawn(move || shutdown.cancel());
    assert!(events.next().unwrap().unwrap_err().is_gone());
    assert!(events.next().is_none());
    // Connections that were idle are closed, and nobody listens for new ones.
    assert!(client.peer().unwrap_err().is_gone());
}

#[test]
fn running_jobs_are_cancelled_and_others_forgotten() {
    let fixture = Fixture::new(true);
    fixture.script().job = Some(view(JobState::Running, 1));
    refused(fixture.client.forget(JOB), 409);
    assert_eq!(fixture.client.cancel(JOB).unwrap().outcome, Removal::Cancelled);
    fixture.script().job = Some(view(JobState::Cancelled, 1));
    refused(fixture.client.cancel(JOB), 409);
    assert_eq!(fixture.client.forget(JOB).unwrap().outcome, Removal::Forgotten);
    assert_eq!(fixture.script().orders, ["cancel", "forget"]);
    assert_eq!(fixture.client.jobs().unwrap().len(), 1);
    assert_eq!(fixture.client.job(JOB).unwrap().state, JobState::Cancelled);
    refused(fixture.client.job(JobId([1; 32])), 404);
}

#[test]
fn only_a_daemon_is_stopped_from_outside() {
    let fixture = Fixture::new(true);
    fixture.client.pause().unwrap();
    fixture.client.resume().unwrap();
    fixture.client.stop().unwrap();
    assert_eq!(fixture.script().orders, ["pause", "resume", "stop"]);
    let run = Fixture::new(false);
    assert!(refused(run.client.stop(), 409).contains("bayan run"));
    assert!(run.script().orders.is_empty());
}

/// Names of an object's fields.
fn fields(value: &serde_json::Value) -> Vec<&str> {
    let mut names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn the_description_has_every_path_and_the_fields_that_are_sent() {
    let fixture = Fixture::new(true);
    let document = fixture.client.openapi().unwrap();
    assert_eq!(document, serde_json::to_value(openapi::describe()).unwrap());
    for path in [
        "/v1/blobs",
        "/v1/blobs/{hash}",
        "/v1/jobs",
        "/v1/jobs/{job}",
        "/v1/jobs/{job}/results",
        "/v1/jobs/{job}/events",
        "/v1/plan",
        "/v1/standings",
        "/v1/trust/{peer}",
        "/v1/evidence",
        "/v1/evidence/{id}",
        "/v1/peer",
        "/v1/pause",
        "/v1/resume",
        "/v1/stop",
    ] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    let mut working = view(JobState::Running, 1);
    working.workers.push(bayan_protocol::source::WorkerView {
        below: 0,
        via: None,
        peer: PeerId([1; 32]),
        own: true,
        connected: true,
        slots: 1,
        held: 1,
        returned: 1,
        agreed: 1,
        outvoted: 0,
        late: 0,
        wrong: 0,
        drawn: 0,
        undrawn: 0,
        inconclusive: 0,
        micros: 1,
    });
    let mut peer = peer_view();
    peer.neighbours.push(bayan_protocol::peer::NeighbourView {
        peer: PeerId([1; 32]),
        agent: None,
        slots: 1,
        near: true,
        credit: 1,
        refused: None,
        foreign_profiles: Vec::new(),
    });
    peer.adverts.push(bayan_protocol::wire::Advert {
        peer: PeerId([1; 32]),
        at: 1,
        slots: 1,
        free: 1,
        speed: 1,
        memory: 1,
        profiles: Vec::new(),
    });
    peer.hops.push(bayan_protocol::peer::PassedView {
        peer: PeerId([1; 32]),
        delivered: 1,
        dropped: 1,
    });
    let delegate = bayan_protocol::delegate::DelegateView {
        peer: PeerId([1; 32]),
        connected: true,
        accepted: true,
        refused: None,
        results: 1,
        differs: 0,
        awaited: false,
    };
    working.delegate = Some(delegate);
    peer.kept.push(bayan_protocol::delegate::KeptView {
        submitter: PeerId([1; 32]),
        job: JOB,
        name: None,
        tasks: 1,
        settled: 1,
        done: 0,
        whole: true,
        away: None,
        carried: Vec::new(),
    });
    working.tree.push(bayan_protocol::source::HopView {
        from: PeerId([1; 32]),
        to: PeerId([2; 32]),
        results: 1,
        dropped: 0,
        micros: 1,
    });
    let (job, peer) = (serde_json::to_value(working).unwrap(), serde_json::to_value(peer).unwrap());
    for (name, sent) in [
        ("JobView", &job),
        ("WorkerView", &job["workers"][0]),
        ("HopView", &job["tree"][0]),
        ("DelegateView", &job["delegate"]),
        ("PeerView", &peer),
        ("KeptView", &peer["kept"][0]),
        ("PassedView", &peer["hops"][0]),
        ("NeighbourView", &peer["neighbours"][0]),
        ("Advert", &peer["adverts"][0]),
        ("Limits", &serde_json::to_value(Limits::default()).unwrap()),
    ] {
        assert_eq!(
            fields(&document["components"]["schemas"][name]["properties"]),
            fields(sent),
            "{name}"
        );
    }
}
