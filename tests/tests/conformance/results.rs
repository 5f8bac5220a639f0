//! Leaves, commitments, trees, batches, proofs, acknowledgements (spec RES).

use bayan_protocol::{
    cbor,
    id::{Hash, PeerId},
    merkle,
    result::{BatchError, Leaf, Proof, VerifiedBatch, output_commit},
    wire::Frame,
};
use serde_json::Value;

use crate::{
    frames::{check_value, judge},
    vector::{Case, hash, hashes},
};

/// Contexts of the key derivations, as the specification has them.
const LEAF: &str = "bayan 2026-11-21 result leaf v1";
const NODE: &str = "bayan 2026-11-21 result node v1";
const COMMIT: &str = "bayan 2026-11-21 output commit v1";

fn class(error: BatchError) -> String {
    match error {
        BatchError::Signature => "signature",
        BatchError::Count => "count",
        BatchError::Root => "root",
        BatchError::Foreign => "foreign",
        BatchError::Opening => "opening",
        BatchError::TooLong => "too-long",
    }
    .into()
}

pub(crate) fn leaf(case: &Case) -> Option<String> {
    let bytes = case.bytes("bytes");
    let error = judge(&bytes, cbor::decode_canonical::<Leaf>);
    if error.is_none() && case.error().is_none() {
        let leaf: Leaf = cbor::decode(&bytes).expect("it was read before");
        assert_eq!(leaf.digest(), case.hash("digest"), "{}", case.name());
        assert_eq!(blake3::derive_key(LEAF, &bytes), case.hash("digest").0, "{}", case.name());
        assert_eq!(leaf.status.is_conclusive(), case.flag("conclusive"), "{}", case.name());
        check_value(case, &bytes);
    }
    error
}

pub(crate) fn commitment(case: &Case) -> Option<String> {
    let (output, nonce) = (case.hash("output"), case.hash("nonce"));
    let commit = output_commit(&output, &nonce.0);
    assert_eq!(
        blake3::derive_key(COMMIT, &[output.0, nonce.0].concat()),
        commit.0,
        "{}",
        case.name()
    );
    (commit != case.hash("commit")).then(|| "opening".into())
}

pub(crate) fn tree(case: &Case) -> Option<String> {
    if case.has("leaf") {
        let (index, count) = (case.number("index"), case.number("count"));
        let root =
            merkle::root_of_proof(case.hash("leaf"), index, count, &hashes(case.field("siblings")));
        return (root != Some(case.hash("root"))).then(|| "root".into());
    }
    let leaves = hashes(case.field("leaves"));
    let Some(root) = merkle::root(&leaves) else { return Some("root".into()) };
    assert_eq!(root, case.hash("root"), "{}", case.name());
    assert_eq!(by_the_book(&leaves), root, "{}", case.name());
    for proof in case.field("proofs").as_array().expect("a list of proofs") {
        check_proof(case, &leaves, proof);
    }
    None
}

fn check_proof(case: &Case, leaves: &[Hash], proof: &Value) {
    let index = usize::try_from(proof["index"].as_u64().expect("a place")).expect("a small number");
    let siblings = hashes(&proof["siblings"]);
    assert_eq!(merkle::proof(leaves, index).as_ref(), Some(&siblings), "{}: {index}", case.name());
    let root = merkle::root_of_proof(leaves[index], index, leaves.len(), &siblings);
    assert_eq!(root, Some(case.hash("root")), "{}: {index}", case.name());
}

/// The root as spec RES-4 words it, without the code under test.
fn by_the_book(leaves: &[Hash]) -> Hash {
    if let [only] = leaves {
        return *only;
    }
    let mut left = 1;
    while left * 2 < leaves.len() {
        left *= 2;
    }
    let (left, right) = leaves.split_at(left);
    Hash(blake3::derive_key(NODE, &[by_the_book(left).0, by_the_book(right).0].concat()))
}

pub(crate) fn batch(case: &Case) -> Option<String> {
    let frame = |name| {
        Frame::decode(&case.bytes(name)).unwrap_or_else(|e| panic!("{}: {name}: {e}", case.name()))
    };
    let (Frame::Commit(commit), Frame::Reveal(reveal)) = (frame("commit"), frame("reveal")) else {
        panic!("{} is not a commit and a reveal", case.name());
    };
    let (worker, submitter) = (PeerId(case.hash("worker").0), PeerId(case.hash("submitter").0));
    let batch = match VerifiedBatch::check(commit, reveal, &worker, &submitter) {
        Ok(batch) => batch,
        Err(error) => return Some(class(error)),
    };
    for place in 0..batch.opened().len() {
        let proof = batch.proof(place).expect("every result has a proof");
        assert_eq!(proof.check(), Ok(()), "{}: result {place} alone", case.name());
    }
    None
}

pub(crate) fn proof(case: &Case) -> Option<String> {
    let bytes = case.bytes("bytes");
    let proof: Proof = cbor::decode(&bytes).unwrap_or_else(|e| panic!("{}: {e}", case.name()));
    check_value(case, &bytes);
    proof.check().err().map(class)
}

pub(crate) fn ack(case: &Case) -> Option<String> {
    let Ok(Frame::Ack(ack)) = Frame::decode(&case.bytes("bytes")) else {
        panic!("{} is no ack", case.name())
    };
    let submitter = PeerId(hash(case.field("submitter")).0);
    ack.check(&submitter).err().map(|_| "signature".into())
}
