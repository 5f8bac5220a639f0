//! The ways of leases (spec RELAY).

use bayan_protocol::{
    cbor,
    crypto::{self, Domain},
    id::{JobId, LeaseId, PeerId},
    path::{Errand, Hop, PathError, Trail},
};

use crate::vector::Case;

fn errand(case: &Case) -> Errand {
    Errand { job: JobId(case.hash("job").0), submitter: PeerId(case.hash("submitter").0) }
}

fn class(error: PathError) -> String {
    match error {
        PathError::Length => "length",
        PathError::Start => "start",
        PathError::Loop => "loop",
        PathError::Signature => "signature",
    }
    .into()
}

/// Every hop is signed for what RELAY-2 says, put together here by hand.
fn check_by_hand(case: &Case, parent: Option<LeaseId>, hops: &[Hop], to: &PeerId) {
    let Errand { job, submitter } = errand(case);
    for (at, hop) in hops.iter().enumerate() {
        let parent = if at == 0 { parent } else { Some(hops[at - 1].lease) };
        let to = hops.get(at + 1).map_or(to, |next| &next.giver);
        let mut message = vec![0x88, 0x01];
        for id in [Some(job.0), Some(submitter.0), parent.map(|one| one.0), Some(hop.lease.0)] {
            bytes_or_null(&mut message, id);
        }
        for id in [hop.giver.0, to.0, hop.root.0] {
            bytes_or_null(&mut message, Some(id));
        }
        let signed = crypto::verify(&hop.giver, Domain::Lease, &message, &hop.signature);
        assert_eq!(signed, Ok(()), "{}: hop {at}", case.name());
    }
}

fn bytes_or_null(message: &mut Vec<u8>, id: Option<[u8; 32]>) {
    match id {
        Some(id) => {
            message.extend([0x58, 32]);
            message.extend(id);
        }
        None => message.push(0xf6),
    }
}

pub(crate) fn path(case: &Case) -> Option<String> {
    let hops: Vec<Hop> = cbor::decode(&case.bytes("path")).expect("an array of hops");
    let to = PeerId(case.hash("receiver").0);
    let error = errand(case).check_path(&hops, &to).err().map(class);
    if error.is_none() {
        check_by_hand(case, None, &hops, &to);
    }
    error
}

pub(crate) fn trail(case: &Case) -> Option<String> {
    let trail: Trail = cbor::decode(&case.bytes("trail")).expect("a trail");
    let worker = PeerId(case.hash("worker").0);
    let error = errand(case).check_trail(&trail, &worker).err().map(class);
    if error.is_none() {
        check_by_hand(case, trail.parent, &trail.hops, &worker);
    }
    error
}
