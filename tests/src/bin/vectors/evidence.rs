//! Evidence of wrong results: files, and what re-runs say.

use std::{fs, path::Path};

use bayan_protocol::{
    cbor,
    crypto::Domain,
    evidence::BadResult,
    id::Hash,
    limits::{MAX_EVIDENCE, MAX_EVIDENCE_BLOBS},
    result::{Commit, Outcome, Output, Proof, Reveal, VerifiedBatch, output_commit},
    task::{Input, Limits, Program, Status},
};
use serde_bytes::ByteBuf;
use serde_json::{Value, json};

use crate::{
    cast,
    file::{Case, File, repeated},
};

/// How a file begins.
const HEAD: &[u8] = b"\x86\x6ebayan evidence\x01";

pub(crate) fn files() -> Vec<File> {
    vec![
        File::new(
            "evidence/files.json",
            "Files of evidence, what they are about, and the verdict of whoever has nothing but the file; bytes that are no evidence, and files that do not hold.",
            &["EVID-1", "EVID-2", "EVID-3", "EVID-4", "EVID-5", "EVID-6", "EVID-7", "EVID-8"],
            [whole(), broken(), bent(), foreign()].concat(),
        ),
        File::new(
            "evidence/verdicts.json",
            "A claim, what the file gives as right, and what runs gave: proven, refuted, or why nothing can be said.",
            &["EVID-8", "EVID-9", "EVID-10"],
            verdicts(),
        ),
    ]
}

/// The guest of this name among the guests' vectors, and its result.
fn guest(name: &str) -> (Vec<u8>, Outcome) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../specs/vectors/guest/programs.json");
    let text = fs::read_to_string(path).expect("the guests' vectors are there");
    let file: Value = serde_json::from_str(&text).expect("they are JSON");
    let all = file["vectors"].as_array().expect("a list");
    let guest = all.iter().find(|guest| guest["name"] == name).expect("a guest of this name");
    let bytes = |field: &str| hex::decode(guest[field].as_str().expect("digits")).expect("digits");
    let status = serde_json::from_value(guest["status"].clone()).expect("a status");
    let fuel = guest["fuel"].as_u64().expect("a number");
    (bytes("wasm"), Outcome { status, output: Hash::of(&bytes("output")), fuel })
}

/// A guest that runs, its task, and its right result.
struct Hello {
    wasm: Vec<u8>,
    program: Program,
    right: Outcome,
}

impl Hello {
    fn new() -> Self {
        let (wasm, right) = guest("hello");
        let limits = Limits { memory: 1 << 20, fuel: 1_000_000, output: 1 << 20, wall_ms: 60_000 };
        let module = Hash::of(&wasm);
        let program = Program { module, module_len: wasm.len() as u64, limits, ..cast::bare() };
        Self { wasm, program, right }
    }

    fn wrong(&self) -> Outcome {
        Outcome { output: Hash::of(b"goodbye\n"), ..self.right }
    }

    /// Evidence that the worker signed `claim`.
    fn against(&self, claim: &Outcome, right: Option<Outcome>) -> BadResult {
        self.on(&cast::inline(b"3\n"), claim, right, &[])
    }

    fn on(
        &self,
        input: &Input,
        claim: &Outcome,
        right: Option<Outcome>,
        more: &[&[u8]],
    ) -> BadResult {
        let mut contents = vec![self.wasm.as_slice()];
        contents.extend(more);
        let content = |hash: &Hash, most: usize| {
            let fits = |bytes: &&&[u8]| Hash::of(bytes) == *hash && bytes.len() <= most;
            contents.iter().find(fits).map(|bytes| bytes.to_vec())
        };
        let proof = signed(&self.program, input, claim);
        let checked = BadResult::bundle(proof, &self.program, input, right, content);
        checked.expect("it holds").evidence().clone()
    }
}

/// The middle result of a batch of three, all of this task.
fn signed(program: &Program, input: &Input, claim: &Outcome) -> Proof {
    let result = |place| {
        let output = Output::Blob { hash: claim.output, len: 8 };
        let mut opened = cast::result(place, claim.status, output);
        opened.leaf.task = program.task_id(&input.hash());
        opened.leaf.fuel = claim.fuel;
        opened
    };
    let opened: Vec<_> = (0..3).map(result).collect();
    let commit = Commit::sign(&cast::worker(), cast::JOB, cast::SEQUENCE, &opened);
    let reveal = Reveal { root: commit.root, opened };
    let (worker, submitter) = (cast::worker().peer_id(), cast::submitter().peer_id());
    let batch = VerifiedBatch::check(commit, reveal, &worker, &submitter).expect("a good batch");
    batch.proof(1).expect("in range")
}

fn valid(name: &str, verdict: &str, gossipable: bool, evidence: &BadResult) -> Case {
    Case::valid(name)
        .encoded(&evidence.encode())
        .with("id", evidence.id().to_string())
        .with("accused", evidence.accused().to_string())
        .with("gossipable", gossipable)
        .with("verdict", verdict)
}

fn whole() -> Vec<Case> {
    let mut hello = Hello::new();
    let (right, wrong) = (hello.right, hello.wrong());
    let dear = Outcome { fuel: right.fuel + 1, ..right };
    let ended = Outcome { status: Status::Exited(1), ..right };
    let lost = Outcome { status: Status::HostFault, output: Hash::of(b""), fuel: 0 };
    let mut cases = vec![
        valid("a wrong output", "proven", true, &hello.against(&wrong, None)),
        valid("with what is right", "proven", true, &hello.against(&wrong, Some(right))),
        valid("wrong about what is right", "proven", true, &hello.against(&wrong, Some(dear))),
        valid("wrong fuel", "proven", true, &hello.against(&dear, Some(right))),
        valid("another exit code", "proven", true, &hello.against(&ended, None)),
        valid("the right result", "refuted", true, &hello.against(&right, None)),
        valid(
            "the right result, another called right",
            "refuted",
            true,
            &hello.against(&right, Some(wrong)),
        ),
        valid("no claim", "inconclusive", false, &hello.against(&lost, None)),
    ];
    let input = Input::Blob { hash: Hash::of(b"long"), len: 4 };
    cases.push(valid(
        "no input in it",
        "inconclusive",
        false,
        &hello.on(&input, &wrong, None, &[]),
    ));
    cases.push(valid(
        "an input by digest",
        "proven",
        true,
        &hello.on(&input, &wrong, None, &[b"long"]),
    ));
    let empty = hello.on(&cast::inline(b""), &wrong, None, &[]);
    cases.push(valid("an empty input", "proven", true, &empty));
    let mut bare = hello.against(&wrong, None);
    bare.blobs.clear();
    cases.push(valid("no blobs in it", "inconclusive", false, &bare));

    hello.program.limits.fuel = 1_000_000_000_000;
    cases.push(valid("the most fuel", "proven", true, &hello.against(&wrong, None)));
    hello.program.limits.fuel += 1;
    cases.push(valid("a unit more", "inconclusive", false, &hello.against(&wrong, None)));
    hello.program.limits.fuel = 1_000_000;
    hello.program.profile = "bayan-pack-99".into();
    cases.push(valid("another profile", "inconclusive", false, &hello.against(&wrong, None)));
    hello.program = Program { module: hello.program.module, module_len: 1, ..cast::full() };
    let files: [&[u8]; 2] = [b">x\nACGT\n", b""];
    let full = hello.on(&cast::inline(b"3\n"), &wrong, None, &files);
    cases.push(valid("a task with something of everything", "proven", true, &full));
    let room = MAX_EVIDENCE_BLOBS - hello.wasm.len() - 2;
    for (name, verdict, len) in [
        ("as much as fits", "proven", room),
        ("a byte that does not fit", "inconclusive", room + 1),
    ] {
        let zeros = vec![0; len];
        hello.program.data = vec![cast::file("zeros", &zeros)];
        let evidence = hello.on(&cast::inline(b"3\n"), &wrong, None, &[&zeros]);
        cases.push(valid(name, verdict, verdict == "proven", &evidence));
    }
    cases
}

/// Bytes that are no evidence.
fn broken() -> Vec<Case> {
    let hello = Hello::new();
    let evidence = hello.against(&hello.wrong(), None);
    let good = evidence.encode();
    let mut version = good.clone();
    version[HEAD.len() - 1] = 2;
    let later = [&good[..HEAD.len() - 1], &[0x18, 200], &good[HEAD.len()..]].concat();
    let mut words = good.clone();
    words[5] ^= 0x20;
    let mut seven = good.clone();
    seven[0] = 0x87;
    let long_version = [&good[..HEAD.len() - 1], &[0x18, 1], &good[HEAD.len()..]].concat();
    let mut cases: Vec<Case> = [
        ("nothing", "not-evidence", Vec::new()),
        ("a text", "not-evidence", b"bayan evidence".to_vec()),
        ("other words", "not-evidence", words),
        ("its head alone", "malformed", HEAD.to_vec()),
        ("version 2", "version", version),
        ("version 200", "version", later),
        ("the version in two bytes", "not-canonical", long_version),
        ("an array of seven", "malformed", seven),
        ("cut short", "malformed", good[..good.len() - 1].to_vec()),
        ("a byte after it", "trailing", [&good[..], &[0xf6]].concat()),
        ("an endless array", "malformed", [&[0x9f], &good[1..], &[0xff]].concat()),
    ]
    .iter()
    .map(|(name, error, bytes)| Case::invalid(name, error).bytes("bytes", bytes))
    .collect();
    cases.push(
        Case::invalid("longer than a file may be", "oversized")
            .with("bytes", repeated(HEAD, &[0], MAX_EVIDENCE - HEAD.len() + 1)),
    );
    for (name, error, head) in [
        (
            "a length beyond all bounds",
            "malformed",
            &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..],
        ),
        ("nested without end", "malformed", &[0x81; 600]),
    ] {
        cases.push(Case::invalid(name, error).bytes("bytes", &[HEAD, head].concat()));
    }
    // The same again, with the last element, the blobs, written otherwise.
    let body = &good[..good.len() - cbor::encode(&evidence.blobs.iter().collect::<Vec<_>>()).len()];
    let blobs: Vec<_> = evidence.blobs.iter().collect();
    let turned: Vec<_> = blobs.iter().rev().collect();
    let twice: Vec<_> = [&blobs[..], &blobs[..1]].concat();
    let too_many = vec![0; MAX_EVIDENCE_BLOBS + 1];
    let large = (Hash::of(&too_many), ByteBuf::from(too_many));
    for (name, error, bytes) in [
        ("blobs in another order", "not-canonical", cbor::encode(&turned)),
        ("a blob twice", "not-canonical", cbor::encode(&twice)),
        ("too many bytes of blobs", "blobs", cbor::encode(&[large])),
        ("no list of blobs", "malformed", cbor::encode(&"none")),
    ] {
        cases.push(Case::invalid(name, error).bytes("bytes", &[body, &bytes].concat()));
    }
    cases
}

fn changed(name: &str, error: &str, change: impl FnOnce(&mut BadResult)) -> Case {
    let hello = Hello::new();
    let mut evidence = hello.against(&hello.wrong(), Some(hello.right));
    change(&mut evidence);
    Case::invalid(name, error).bytes("bytes", &evidence.encode())
}

/// Good evidence with one thing in it changed.
fn bent() -> Vec<Case> {
    let wasm = Hello::new().program.module;
    vec![
        changed("a place beyond the last", "root", |it| it.proof.index = 3),
        changed("another place", "signature", |it| it.proof.index = 0),
        changed("a batch of none", "count", |it| it.proof.count = 0),
        changed("a batch of 65", "count", |it| it.proof.count = 65),
        changed("a sibling too few", "root", |it| it.proof.siblings.truncate(1)),
        changed("a bit of a sibling", "signature", |it| it.proof.siblings[0].0[0] ^= 1),
        changed("a bit of the nonce", "opening", |it| it.proof.nonce.0[9] ^= 1),
        changed("a bit of the output", "opening", |it| it.proof.output.0[9] ^= 1),
        changed("a bit of the signature", "signature", |it| it.proof.signature.0[40] ^= 1),
        changed("other fuel claimed", "signature", |it| it.proof.leaf.fuel += 1),
        changed("another accused", "signature", |it| {
            it.proof.leaf.worker = cast::stranger().peer_id()
        }),
        changed("another job", "signature", |it| it.proof.leaf.job = cast::OTHER_JOB),
        changed("another output, opened as it should be", "signature", |it| {
            it.proof.output = Hash::of(b"other");
            it.proof.leaf.output_commit = output_commit(&it.proof.output, &it.proof.nonce.0);
        }),
        changed("signed for another use", "signature", |it| {
            it.proof.signature = cast::worker().sign(Domain::Ack, b"root");
        }),
        changed("an argument more", "task", |it| it.task.args.push("x".into())),
        changed("other fuel", "task", |it| it.task.fuel += 1),
        changed("another salt", "task", |it| it.task.salt.0[0] ^= 1),
        changed("another input", "task", |it| it.task.stdin = Hash::of(b"4\n")),
        changed("another profile, unsigned", "task", |it| it.task.profile.push('0')),
        changed("a NUL in an argument", "bounds: args", |it| it.task.args.push("\0".into())),
        changed("a file that is no name", "bounds: data", |it| {
            it.task.data.push(("a/b".into(), wasm));
        }),
        changed("what was signed called right", "right", |it| it.right = Some(it.claim())),
        changed("no result called right", "right", |it| {
            it.right = Some(Outcome { status: Status::WallTime, ..it.claim() });
        }),
        changed("a bit of the module", "blob", |it| {
            it.blobs.get_mut(&wasm).expect("the module")[20] ^= 1;
        }),
        changed("a blob of no use", "stray", |it| {
            it.blobs.insert(Hash::of(b"x"), ByteBuf::from(b"x"));
        }),
    ]
}

/// Parts of two files that hold, each in itself.
fn foreign() -> Vec<Case> {
    let hello = Hello::new();
    let other =
        Hello { program: Program { salt: Hash([1; 32]), ..hello.program.clone() }, ..Hello::new() };
    let (mine, others) = (hello.against(&hello.wrong(), None), other.against(&hello.wrong(), None));
    let right = hello.against(&hello.right, None);
    vec![
        changed("another task's proof", "task", |it| it.proof = others.proof.clone()),
        changed("another batch's signature", "signature", |it| {
            it.proof.signature = others.proof.signature;
        }),
        changed("another batch's path", "signature", |it| {
            it.proof.siblings = others.proof.siblings.clone();
        }),
        changed("what was signed is what is right", "right", |it| it.proof = right.proof.clone()),
        changed("another task's blobs", "stray", |it| {
            it.blobs = mine.blobs.clone();
            it.blobs.insert(cast::bare().module, ByteBuf::from(b"module"));
        }),
    ]
}

fn outcome(outcome: &Outcome) -> Value {
    json!(outcome)
}

fn verdicts() -> Vec<Case> {
    let hello = Hello::new();
    let (right, wrong) = (hello.right, hello.wrong());
    let dear = Outcome { fuel: right.fuel + 1, ..right };
    let trap = Outcome { status: Status::Trapped, output: Hash::of(b""), fuel: right.fuel };
    let lost = |status| Outcome { status, output: Hash::of(b""), fuel: 0 };
    let (wall, stack) = (lost(Status::WallTime), lost(Status::StackOverflow));
    let (memory, host) = (lost(Status::MemoryRefused), lost(Status::HostFault));
    let fields = |case: Case, claim: &Outcome, said: Option<Outcome>, runs: &[Outcome]| {
        case.with("claim", outcome(claim))
            .with("right", said.as_ref().map_or(Value::Null, outcome))
            .with("runs", runs.iter().map(outcome).collect::<Vec<_>>())
    };
    let mut cases = Vec::new();
    for (name, claim, said, runs, differs) in [
        ("wrong output, two runs", wrong, None, &[right, right][..], &["output"][..]),
        ("wrong output, a run and the file", wrong, Some(right), &[right], &["output"]),
        ("wrong fuel", dear, Some(right), &[right], &["fuel"]),
        ("wrong status and output", right, None, &[trap, trap], &["status", "output"]),
        ("all of it wrong", trap, Some(dear), &[dear], &["status", "output", "fuel"]),
        ("the file is wrong too", wrong, Some(dear), &[right, right], &["output"]),
    ] {
        let case = fields(Case::valid(name), &claim, said, runs);
        cases.push(case.with("verdict", "proven").with("differs", json!(differs)));
    }
    for (name, claim, said, runs) in [
        ("the right result", right, None, &[right][..]),
        ("the file says otherwise", right, Some(wrong), &[right]),
        ("a trap", trap, None, &[trap]),
    ] {
        let case = fields(Case::valid(name), &claim, said, runs);
        cases.push(case.with("verdict", "refuted").with("differs", json!([])));
    }
    for (name, error, claim, said, runs) in [
        ("not run", "again", wrong, Some(right), &[][..]),
        ("one run alone", "again", wrong, None, &[right][..]),
        ("a run and a file that disagree", "again", wrong, Some(dear), &[right]),
        ("runs that disagree", "unsteady", wrong, None, &[right, dear]),
        ("a run that agrees and one that does not", "unsteady", wrong, None, &[right, wrong]),
        ("out of time", "rerun", wrong, Some(right), &[wall]),
        ("out of stack", "rerun", wrong, None, &[stack]),
        ("out of memory", "rerun", wrong, None, &[memory]),
        ("failed by its host", "rerun", wrong, None, &[host]),
        ("the second run out of time", "rerun", wrong, None, &[right, wall]),
        ("no claim", "claim", wall, Some(right), &[]),
    ] {
        cases.push(fields(Case::invalid(name, error), &claim, said, runs));
    }
    cases
}
