//! Files of evidence and verdicts (spec EVID). Files that hold are run by `e2e_evidence`.

use bayan_protocol::{
    evidence::{BadResult, Doubt, EvidenceError, Verdict, judge, wants_run},
    limits::MAX_EVIDENCE_FUEL,
    merkle,
    result::Outcome,
};
use serde_json::json;

use crate::{frames::check_value, vector::Case};

fn class(error: &EvidenceError) -> String {
    match error {
        EvidenceError::Oversized(_) => "oversized",
        EvidenceError::NotEvidence => "not-evidence",
        EvidenceError::Version(_) => "version",
        EvidenceError::Malformed => "malformed",
        EvidenceError::Trailing(_) => "trailing",
        EvidenceError::NotCanonical => "not-canonical",
        EvidenceError::Task(field) => return format!("bounds: {field}"),
        EvidenceError::Blobs(_) => "blobs",
        EvidenceError::Place { .. } => "count",
        EvidenceError::Tree => "root",
        EvidenceError::Opening => "opening",
        EvidenceError::Signature => "signature",
        EvidenceError::OtherTask { .. } => "task",
        EvidenceError::Right(_) => "right",
        EvidenceError::Blob(_) => "blob",
        EvidenceError::Stray(_) => "stray",
    }
    .into()
}

pub(crate) fn file(case: &Case) -> Option<String> {
    let bytes = case.bytes("bytes");
    let checked = match BadResult::decode(&bytes).and_then(BadResult::checked) {
        Ok(checked) => checked,
        Err(error) => return Some(class(&error)),
    };
    if case.error().is_some() {
        return None;
    }
    let (evidence, name) = (checked.evidence(), case.name());
    check_value(case, &bytes);
    assert_eq!(evidence.encode(), bytes, "{name}: written as it was read");
    assert_eq!(evidence.id(), case.hash("id"), "{name}");
    let leaf = bayan_protocol::cbor::encode(&evidence.proof.leaf);
    assert_eq!(merkle::leaf(&leaf), case.hash("id"), "{name}");
    assert_eq!(evidence.accused().0, case.hash("accused").0, "{name}");
    let gossipable = checked.is_gossipable(MAX_EVIDENCE_FUEL);
    assert_eq!(gossipable, case.flag("gossipable"), "{name}");
    // Whether it is decided is known before it is run, unless the run fails.
    assert_eq!(case.text("verdict") != "inconclusive", gossipable, "{name}");
    None
}

pub(crate) fn verdict(case: &Case) -> Option<String> {
    let read = |value: &serde_json::Value| -> Outcome {
        serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{}: {e}", case.name()))
    };
    let claim = read(case.field("claim"));
    let right = Some(case.field("right")).filter(|right| !right.is_null()).map(read);
    let runs = case.field("runs").as_array().expect("a list of outcomes");
    let runs: Vec<Outcome> = runs.iter().map(read).collect();
    if wants_run(&claim, right.as_ref(), &runs) {
        return Some("again".into());
    }
    let (verdict, differs) = match judge(&claim, &runs) {
        Verdict::Proven(differs) => ("proven", differs.names()),
        Verdict::Refuted => ("refuted", Vec::new()),
        Verdict::Inconclusive(Doubt::Claim(_)) => return Some("claim".into()),
        Verdict::Inconclusive(Doubt::Rerun(_)) => return Some("rerun".into()),
        Verdict::Inconclusive(Doubt::Unsteady) => return Some("unsteady".into()),
        Verdict::Inconclusive(other) => panic!("{}: {other}", case.name()),
    };
    if case.error().is_none() {
        assert_eq!(verdict, case.text("verdict"), "{}", case.name());
        assert_eq!(&json!(differs), case.field("differs"), "{}", case.name());
    }
    None
}
