//! Leaves, commitments, trees, batches, proofs, acknowledgements.

use bayan_protocol::{
    cbor,
    crypto::{Domain, Keypair},
    id::{Hash, PeerId},
    merkle,
    result::{Ack, Commit, Leaf, Opened, Output, Reveal, VerifiedBatch, output_commit},
    task::Status,
    wire::Frame,
};
use serde_bytes::ByteBuf;
use serde_json::json;

use crate::{
    cast,
    file::{Case, File},
};

pub(crate) fn files() -> Vec<File> {
    vec![
        File::new(
            "results/leaves.json",
            "Leaves and their digests; bytes that are no leaf.",
            &["RES-1", "RES-2"],
            leaves(),
        ),
        File::new(
            "results/output-commits.json",
            "Output digests, nonces and the commitment; openings that do not fit.",
            &["RES-3"],
            commitments(),
        ),
        File::new(
            "results/merkle.json",
            "Leaf digests, the root over them, and single proofs; proofs that must lead nowhere or elsewhere.",
            &["RES-4"],
            trees(),
        ),
        File::new(
            "results/batches.json",
            "Commit and reveal frames as received from `worker` by `submitter`.",
            &["RES-5", "RES-6", "RES-7"],
            batches(),
        ),
        File::new("results/proofs.json", "Proofs of one result each.", &["RES-9"], proofs()),
        File::new(
            "results/acks.json",
            "Ack frames as received from `submitter`.",
            &["RES-8"],
            acks(),
        ),
    ]
}

fn blank(status: Status) -> Opened {
    cast::result(0, status, Output::Inline(ByteBuf::new()))
}

fn leaves() -> Vec<Case> {
    let statuses = [
        ("exit 0", Status::Exited(0), true),
        ("exit 1", Status::Exited(1), true),
        ("exit 4294967295", Status::Exited(u32::MAX), true),
        ("trap", Status::Trapped, true),
        ("out of fuel", Status::OutOfFuel, true),
        ("output limit", Status::OutputLimit, true),
        ("wall time", Status::WallTime, false),
        ("stack", Status::StackOverflow, false),
        ("memory", Status::MemoryRefused, false),
        ("host fault", Status::HostFault, false),
    ];
    let mut cases: Vec<Case> = statuses
        .iter()
        .map(|(name, status, conclusive)| {
            let leaf = blank(*status).leaf;
            Case::valid(name)
                .encoded(&cbor::encode(&leaf))
                .with("conclusive", *conclusive)
                .with("digest", leaf.digest().to_string())
        })
        .collect();
    let dear = Leaf { fuel: u64::MAX, ..cast::opened(0).leaf };
    cases.push(
        Case::valid("the most fuel")
            .encoded(&cbor::encode(&dear))
            .with("conclusive", true)
            .with("digest", dear.digest().to_string()),
    );
    let good = cbor::encode(&cast::opened(0).leaf);
    let changed = |from: &[u8], to: &[u8]| {
        let at = good.windows(from.len()).position(|part| part == from).expect("it is in there");
        [&good[..at], to, &good[at + from.len()..]].concat()
    };
    let exit = b"\xa1\x64exit\x00";
    for (name, error, bytes) in [
        ("version 0", "malformed", changed(&[0x89, 1], &[0x89, 0])),
        ("version 2", "malformed", changed(&[0x89, 1], &[0x89, 2])),
        ("eight elements", "malformed", [&[0x88][..], &good[1..good.len() - 3]].concat()),
        ("ten elements", "malformed", [&[0x8a][..], &good[1..], &[0]].concat()),
        ("cut short", "malformed", good[..good.len() - 1].to_vec()),
        ("a byte after the leaf", "malformed", [&good[..], &[0]].concat()),
        ("a status that is not known", "malformed", changed(exit, b"\x64done")),
        (
            "an exit code over 32 bits",
            "malformed",
            changed(exit, b"\xa1\x64exit\x1b\0\0\0\x01\0\0\0\0"),
        ),
        ("an exit code in two bytes", "not-canonical", changed(exit, b"\xa1\x64exit\x18\x00")),
        ("the version in two bytes", "not-canonical", changed(&[0x89, 1], &[0x89, 0x18, 1])),
        ("an array of indefinite length", "malformed", [&[0x9f][..], &good[1..], &[0xff]].concat()),
    ] {
        cases.push(Case::invalid(name, error).bytes("bytes", &bytes));
    }
    cases
}

fn commitments() -> Vec<Case> {
    let (empty, word) = (Hash::of(b""), Hash::of(b"42\n"));
    let (zero, nonce) = (Hash([0; 32]), Hash::of(b"nonce 0"));
    let fields = |case: Case, output: &Hash, nonce: &Hash, commit: &Hash| {
        case.with("output", output.to_string())
            .with("nonce", nonce.to_string())
            .with("commit", commit.to_string())
    };
    let mut cases = Vec::new();
    for (name, output, nonce) in [
        ("no output, zero nonce", &empty, &zero),
        ("no output", &empty, &nonce),
        ("an output, zero nonce", &word, &zero),
        ("an output", &word, &nonce),
    ] {
        cases.push(fields(Case::valid(name), output, nonce, &output_commit(output, &nonce.0)));
    }
    let good = output_commit(&word, &nonce.0);
    let plain = Hash::of(&[word.0, nonce.0].concat());
    for (name, output, nonce, commit) in [
        ("another nonce", &word, &zero, &good),
        ("another output", &empty, &nonce, &good),
        ("output and nonce exchanged", &nonce, &word, &good),
        ("a plain digest of both", &word, &nonce, &plain),
    ] {
        cases.push(fields(Case::invalid(name, "opening"), output, nonce, commit));
    }
    cases
}

fn digests(count: usize) -> Vec<Hash> {
    (0..count).map(|at| merkle::leaf(format!("leaf {at}").as_bytes())).collect()
}

fn texts(hashes: &[Hash]) -> serde_json::Value {
    json!(hashes.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn trees() -> Vec<Case> {
    let mut cases = Vec::new();
    for count in (1..=8).chain([64]) {
        let leaves = digests(count);
        let root = merkle::root(&leaves).expect("there are leaves");
        let shown: Vec<usize> = if count > 8 { vec![0, 31, 32, 63] } else { (0..count).collect() };
        let proofs: Vec<_> = shown
            .iter()
            .map(|at| json!({ "index": at, "siblings": texts(&merkle::proof(&leaves, *at).expect("in range")) }))
            .collect();
        cases.push(
            Case::valid(&format!("{count} leaves"))
                .with("leaves", texts(&leaves))
                .with("root", root.to_string())
                .with("proofs", proofs),
        );
    }
    cases.push(Case::invalid("an empty tree", "root").with("leaves", json!([])));
    cases.extend(wrong_proofs());
    cases
}

fn wrong_proofs() -> Vec<Case> {
    let leaves = digests(6);
    let root = merkle::root(&leaves).expect("there are leaves");
    let path = merkle::proof(&leaves, 2).expect("in range");
    let mut swapped = path.clone();
    swapped.swap(0, 1);
    let longer = [&path[..], &[Hash([0; 32])]].concat();
    let wrong = |name, leaf: &Hash, index: usize, count: usize, siblings: &[Hash]| {
        Case::invalid(name, "root")
            .with("leaf", leaf.to_string())
            .with("index", index)
            .with("count", count)
            .with("siblings", texts(siblings))
            .with("root", root.to_string())
    };
    vec![
        wrong("another leaf", &leaves[3], 2, 6, &path),
        wrong("another place", &leaves[2], 3, 6, &path),
        wrong("a place beyond the last", &leaves[2], 6, 6, &path),
        wrong("another count", &leaves[2], 2, 4, &path),
        wrong("no leaves", &leaves[2], 0, 0, &[]),
        wrong("a sibling too few", &leaves[2], 2, 6, &path[..path.len() - 1]),
        wrong("a sibling too many", &leaves[2], 2, 6, &longer),
        wrong("siblings in another order", &leaves[2], 2, 6, &swapped),
        wrong("a leaf as if it were alone", &leaves[2], 0, 1, &[]),
    ]
}

struct Batch {
    commit: Commit,
    reveal: Reveal,
    worker: PeerId,
    submitter: PeerId,
}

fn batch(key: &Keypair, opened: Vec<Opened>) -> Batch {
    let commit = Commit::sign(key, cast::JOB, cast::SEQUENCE, &opened);
    let reveal = Reveal { root: commit.root, opened };
    Batch {
        commit,
        reveal,
        worker: cast::worker().peer_id(),
        submitter: cast::submitter().peer_id(),
    }
}

fn three() -> Vec<Opened> {
    (0..3).map(cast::opened).collect()
}

/// A good batch of three results, changed.
fn bent(change: impl FnOnce(&mut Batch)) -> Batch {
    let mut good = batch(&cast::worker(), three());
    change(&mut good);
    good
}

/// A batch whose results are changed before they are signed.
fn signed(change: impl FnOnce(&mut Vec<Opened>)) -> Batch {
    let mut opened = three();
    change(&mut opened);
    batch(&cast::worker(), opened)
}

fn received(case: Case, batch: &Batch) -> Case {
    case.with("worker", batch.worker.to_string())
        .with("submitter", batch.submitter.to_string())
        .bytes("commit", &Frame::Commit(batch.commit.clone()).encode())
        .bytes("reveal", &Frame::Reveal(batch.reveal.clone()).encode())
}

fn batches() -> Vec<Case> {
    let mut cases = Vec::new();
    let talkative = bent(|all| {
        all.reveal.opened[0].log = ByteBuf::from(&b"other words"[..]);
        all.reveal.opened[1].micros = 1;
    });
    let large =
        cast::result(0, Status::Exited(0), Output::Blob { hash: Hash::of(b"big"), len: 1 << 20 });
    for (name, batch) in [
        ("one result", batch(&cast::worker(), vec![cast::opened(0)])),
        ("three results", batch(&cast::worker(), three())),
        ("64 results", batch(&cast::worker(), (0..64).map(cast::opened).collect())),
        ("an output by digest", batch(&cast::worker(), vec![large])),
        ("an attempt without a conclusion", batch(&cast::worker(), vec![blank(Status::HostFault)])),
        ("log and duration are no part of it", talkative),
        ("the sequence is not signed", bent(|all| all.commit.sequence += 1)),
        (
            "the longest log and output",
            signed(|all| {
                let output = Output::Inline(ByteBuf::from(vec![0; 16 << 10]));
                all[0] = cast::result(0, Status::Exited(0), output);
                all[0].log = ByteBuf::from(vec![b'.'; 4 << 10]);
            }),
        ),
    ] {
        cases.push(received(Case::valid(name), &batch));
    }
    for (name, error, batch) in wrong_batches() {
        cases.push(received(Case::invalid(name, error), &batch));
    }
    cases
}

fn wrong_batches() -> Vec<(&'static str, &'static str, Batch)> {
    let (other, job) = (cast::stranger().peer_id(), cast::OTHER_JOB);
    let message =
        |batch: &Batch| cbor::encode(&(1_u8, batch.commit.root, batch.commit.count, batch.worker));
    let mut elsewhere = bent(|_| {});
    elsewhere.commit.signature = cast::worker().sign(Domain::Ack, &message(&elsewhere));
    let mut counted = bent(|all| all.commit.count = 2);
    counted.commit.signature = cast::worker().sign(Domain::ResultBatch, &message(&counted));
    vec![
        ("signed by another peer", "signature", batch(&cast::stranger(), three())),
        ("sent by another peer", "signature", bent(|all| all.worker = other)),
        ("signed under another domain", "signature", elsewhere),
        ("a bit of the signature flipped", "signature", bent(|all| all.commit.signature.0[5] ^= 4)),
        ("another root", "signature", bent(|all| all.commit.root = Hash([9; 32]))),
        ("another count", "signature", bent(|all| all.commit.count = 2)),
        ("a count signed that is not the leaves'", "count", counted),
        ("a result missing", "count", bent(|all| drop(all.reveal.opened.pop()))),
        ("a result twice", "count", bent(|all| all.reveal.opened.push(cast::opened(2)))),
        ("results in another order", "root", bent(|all| all.reveal.opened.swap(0, 1))),
        ("another status", "root", bent(|all| all.reveal.opened[0].leaf.status = Status::Trapped)),
        ("other fuel", "root", bent(|all| all.reveal.opened[2].leaf.fuel += 1)),
        ("another root in the reveal", "root", bent(|all| all.reveal.root = Hash([9; 32]))),
        ("another nonce", "opening", bent(|all| all.reveal.opened[1].nonce.0[0] ^= 1)),
        (
            "another output",
            "opening",
            bent(|all| {
                all.reveal.opened[1].output = Output::Inline(ByteBuf::from(&b"43\n"[..]));
            }),
        ),
        ("another job's commit", "foreign", bent(|all| all.commit.job = job)),
        ("a leaf of another job", "foreign", signed(|all| all[1].leaf.job = job)),
        ("a leaf of another worker", "foreign", signed(|all| all[1].leaf.worker = other)),
        ("a leaf for another submitter", "foreign", signed(|all| all[1].leaf.submitter = other)),
        (
            "a log too long",
            "too-long",
            bent(|all| {
                all.reveal.opened[0].log = ByteBuf::from(vec![b'.'; (4 << 10) + 1]);
            }),
        ),
        (
            "an inline output too long",
            "too-long",
            signed(|all| {
                let output = Output::Inline(ByteBuf::from(vec![0; (16 << 10) + 1]));
                all[0] = cast::result(0, Status::Exited(0), output);
            }),
        ),
    ]
}

fn proofs() -> Vec<Case> {
    let whole = |count: u32| {
        let Batch { commit, reveal, worker, submitter } =
            batch(&cast::worker(), (0..count).map(cast::opened).collect());
        VerifiedBatch::check(commit, reveal, &worker, &submitter).expect("a good batch")
    };
    let mut cases = Vec::new();
    for (count, index) in [(1, 0), (3, 0), (3, 2), (64, 40)] {
        let proof = whole(count).proof(index).expect("in range");
        cases.push(
            Case::valid(&format!("result {index} of {count}")).encoded(&cbor::encode(&proof)),
        );
    }
    let good = whole(6).proof(2).expect("in range");
    let mut wrong = |name, error, change: &dyn Fn(&mut bayan_protocol::result::Proof)| {
        let mut proof = good.clone();
        change(&mut proof);
        cases.push(Case::invalid(name, error).bytes("bytes", &cbor::encode(&proof)));
    };
    wrong("another place", "signature", &|proof| proof.index = 3);
    wrong("a place beyond the last", "root", &|proof| proof.index = 6);
    wrong("another count", "root", &|proof| proof.count = 3);
    wrong("a count of nothing", "count", &|proof| proof.count = 0);
    wrong("a sibling too few", "root", &|proof| proof.siblings.truncate(2));
    wrong("a sibling too many", "root", &|proof| proof.siblings.push(Hash([0; 32])));
    wrong("another sibling", "signature", &|proof| proof.siblings[0].0[0] ^= 1);
    wrong("other fuel", "signature", &|proof| proof.leaf.fuel += 1);
    wrong("another worker", "signature", &|proof| proof.leaf.worker = cast::stranger().peer_id());
    wrong("another output", "opening", &|proof| proof.output = Hash::of(b"43\n"));
    wrong("another nonce", "opening", &|proof| proof.nonce.0[0] ^= 1);
    wrong("a bit of the signature flipped", "signature", &|proof| proof.signature.0[63] ^= 1);
    cases
}

fn acks() -> Vec<Case> {
    let key = cast::submitter();
    let root = batch(&cast::worker(), three()).commit.root;
    let good = Ack::sign(&key, cast::JOB, root, cast::SEQUENCE);
    let case = |case: Case, ack: &Ack| {
        case.with("submitter", key.peer_id().to_string())
            .bytes("bytes", &Frame::Ack(ack.clone()).encode())
    };
    let refused = |name, ack: Ack| case(Case::invalid(name, "signature"), &ack);
    let message = cbor::encode(&(1_u8, cast::JOB, root, cast::SEQUENCE));
    let mut bent = good.clone();
    bent.signature.0[0] ^= 1;
    vec![
        case(Case::valid("an acknowledgement"), &good),
        case(Case::valid("of batch 0"), &Ack::sign(&key, cast::JOB, root, 0)),
        case(Case::valid("of the last number"), &Ack::sign(&key, cast::JOB, root, u64::MAX)),
        refused(
            "signed by the worker",
            Ack::sign(&cast::worker(), cast::JOB, root, cast::SEQUENCE),
        ),
        refused("another job", Ack { job: cast::OTHER_JOB, ..good.clone() }),
        refused("another root", Ack { root: Hash([9; 32]), ..good.clone() }),
        refused("a higher number", Ack { highest: cast::SEQUENCE + 1, ..good.clone() }),
        refused("a bit of the signature flipped", bent),
        refused(
            "signed under another domain",
            Ack { signature: key.sign(Domain::ResultBatch, &message), ..good },
        ),
    ]
}
