//! Conformance: every vector under `specs/vectors` is read through the protocol's public API, and
//! every rule that code or vectors cite stands in the prose.
//!
//! Nothing is written from here; see `src/bin/vectors`. The guests' vectors are read by the tests of
//! `node/sandbox`; here it is only checked that those tests name each of their files.

#[path = "conformance/blobs.rs"]
mod blobs;
#[path = "conformance/citations.rs"]
mod citations;
#[path = "conformance/delegate.rs"]
mod delegate;
#[path = "conformance/evidence.rs"]
mod evidence;
#[path = "conformance/frames.rs"]
mod frames;
#[path = "conformance/identity.rs"]
mod identity;
#[path = "../src/bin/vectors/notation.rs"]
mod notation;
#[path = "../src/bin/vectors/play.rs"]
mod play;
#[path = "conformance/relay.rs"]
mod relay;
#[path = "conformance/results.rs"]
mod results;
#[path = "conformance/vector.rs"]
mod vector;
#[path = "conformance/verify.rs"]
mod verify;
#[path = "conformance/work.rs"]
mod work;

use std::collections::BTreeSet;

use bayan_protocol::wire::Frame;

use vector::{Case, specs};

/// Checks one case; the error that was found, or none for a case that was accepted.
type Check = fn(&Case) -> Option<String>;

/// Who reads what.
const READERS: [(&str, Check); 29] = [
    ("delegate/manifests.json", delegate::manifest),
    ("delegate/statements.json", delegate::statement),
    ("delegate/vouchers.json", delegate::voucher),
    ("evidence/files.json", evidence::file),
    ("evidence/verdicts.json", evidence::verdict),
    ("identity/ids.json", identity::id),
    ("identity/peers.json", identity::peer),
    ("identity/signatures.json", identity::signature),
    ("relay/paths.json", relay::path),
    ("relay/trails.json", relay::trail),
    ("results/acks.json", results::ack),
    ("results/batches.json", results::batch),
    ("results/leaves.json", results::leaf),
    ("results/merkle.json", results::tree),
    ("results/output-commits.json", results::commitment),
    ("results/proofs.json", results::proof),
    ("verify/draws.json", verify::drawn),
    ("verify/networks.json", verify::network),
    ("verify/policies.json", verify::policy),
    ("verify/rates.json", verify::rate),
    ("verify/scripts.json", verify::script),
    ("verify/standings.json", verify::standings),
    ("wire/adverts.json", frames::advert),
    ("wire/blob-answers.json", blobs::answer),
    ("wire/blob-requests.json", blobs::request),
    ("wire/cbor.json", frames::canonical),
    ("wire/frames.json", frames::frame),
    ("wire/refused-frames.json", frames::frame),
    ("work/programs.json", work::program),
];

/// Read by a test of its own, which also compares the cases with one another.
const TASK_IDS: &str = "work/task-ids.json";

#[test]
fn every_case_is_judged_as_its_vector_says() {
    let mut wrong = Vec::new();
    for (path, check) in READERS.into_iter().chain([(TASK_IDS, work::task_id as Check)]) {
        let cases = vector::read(path);
        let names: BTreeSet<&str> = cases.iter().map(Case::name).collect();
        assert_eq!(names.len(), cases.len(), "{path}: two cases of one name");
        for case in &cases {
            let found = check(case);
            if found.as_deref() != case.error() {
                wrong.push(format!(
                    "{path}: {}: {found:?} instead of {:?}",
                    case.name(),
                    case.error()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_kind_of_judgement_is_exercised() {
    for (path, _) in READERS {
        let cases = vector::read(path);
        let (valid, invalid): (Vec<_>, Vec<_>) =
            cases.iter().partition(|case| case.error().is_none());
        // What a submitter computes for itself is right or not; only what people write is refused.
        let computed = path.starts_with("verify/") && path != "verify/policies.json";
        let one_sided =
            computed || path.ends_with("/frames.json") || path.ends_with("/refused-frames.json");
        assert!(
            one_sided || !valid.is_empty() && !invalid.is_empty(),
            "{path} has one kind of case only"
        );
    }
}

#[test]
fn every_frame_kind_has_a_case() {
    let cases = vector::read("wire/frames.json");
    let kinds: BTreeSet<&str> = cases.iter().map(|case| case.text("kind")).collect();
    assert_eq!(kinds, Frame::KINDS.into_iter().collect());
}

#[test]
fn no_part_of_a_frame_is_a_frame() {
    for case in vector::read("wire/frames.json") {
        frames::check_cuts(&case);
    }
}

#[test]
fn equal_and_different_tasks_have_equal_and_different_ids() {
    work::check_distinct(&vector::read(TASK_IDS));
}

#[test]
fn every_vector_file_is_read_by_somebody() {
    let read: BTreeSet<String> =
        READERS.iter().map(|(path, _)| (*path).to_owned()).chain([TASK_IDS.to_owned()]).collect();
    let (guests, files): (BTreeSet<String>, BTreeSet<String>) =
        vector::all_files().into_iter().partition(|path| is_guests(path));
    assert_eq!(files, read, "files that are there and files that are read");
    let tests = citations::sources(&specs().join("../node/sandbox/tests"));
    for path in guests {
        let named = tests.iter().any(|(_, text)| text.contains(&format!("\"{path}\"")));
        assert!(named, "no test of node/sandbox names specs/vectors/{path}");
    }
}

/// Whether the file holds modules, with the shape that guest-abi.md describes.
fn is_guests(path: &str) -> bool {
    path.starts_with("guest/") || path.starts_with("packing/")
}

#[test]
fn every_rule_that_is_cited_exists() {
    citations::check();
}
