//! Entrusted manifests, a delegate's statements, and single results of these (spec DELEG).

use bayan_protocol::{
    cbor,
    delegate::{Statement, StatementError, Terms, Voucher},
    id::PeerId,
    job::Manifest,
    wire::Frame,
};

use crate::{frames::check_value, vector::Case};

fn class(error: StatementError) -> String {
    match error {
        StatementError::Signature => "signature",
        StatementError::Count => "count",
        StatementError::Inconclusive => "inconclusive",
        StatementError::Proof => "proof",
    }
    .into()
}

fn peer(case: &Case, field: &str) -> PeerId {
    PeerId(case.hash(field).0)
}

pub(crate) fn manifest(case: &Case) -> Option<String> {
    let bytes = case.bytes("bytes");
    let manifest = cbor::decode_canonical::<Manifest>(&bytes).expect("canonical CBOR");
    if manifest.check_bounds().is_err() {
        return Some("bounds".into());
    }
    if manifest.delegate != Some(peer(case, "delegate")) {
        return Some("delegate".into());
    }
    let inputs = (0..2).filter_map(|place| manifest.inputs.get(place));
    let ids: Vec<String> =
        inputs.map(|input| manifest.program.task_id(&input.hash()).to_string()).collect();
    assert_eq!(&serde_json::json!(ids), case.field("tasks"), "{}", case.name());
    None
}

pub(crate) fn statement(case: &Case) -> Option<String> {
    let Ok(Frame::Vouch(vouch)) = Frame::decode(&case.bytes("vouch")) else {
        panic!("{} is no statement", case.name());
    };
    let (submitter, delegate) = (peer(case, "submitter"), peer(case, "delegate"));
    let terms = Terms { job: vouch.job, submitter, delegate };
    match Statement::check(terms, vouch.results, vouch.signature) {
        Ok(statement) => {
            for place in 0..statement.results().len() {
                let voucher = statement.voucher(place).expect("every result has one");
                assert_eq!(voucher.check(), Ok(()), "{}: {place}", case.name());
            }
            None
        }
        Err(error) => Some(class(error)),
    }
}

pub(crate) fn voucher(case: &Case) -> Option<String> {
    let bytes = case.bytes("bytes");
    let voucher = cbor::decode_canonical::<Voucher>(&bytes).expect("canonical CBOR");
    check_value(case, &bytes);
    voucher.check().err().map(class)
}
