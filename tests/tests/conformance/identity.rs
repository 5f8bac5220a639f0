//! Peers, digests and signatures (spec ID-1 to ID-8).

use bayan_protocol::{
    crypto::{self, Domain, Keypair},
    id::{Hash, PeerId},
};

use crate::vector::Case;

/// What stands in front of the raw key in a libp2p id (spec ID-2).
const PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

pub(crate) fn peer(case: &Case) -> Option<String> {
    let libp2p = case.bytes("libp2p");
    let key = libp2p.strip_prefix(&PREFIX).and_then(|key| key.try_into().ok()).map(PeerId);
    let Some(key) = key else { return Some("not-ed25519".into()) };
    let seed = case.bytes("seed").try_into().expect("32 bytes");
    assert_eq!(Keypair::from_seed(&seed).peer_id(), key, "{}", case.name());
    assert_eq!(case.text("peer"), key.to_string(), "{}", case.name());
    None
}

pub(crate) fn id(case: &Case) -> Option<String> {
    if case.has("content") {
        assert_eq!(Hash::of(&case.bytes("content")), case.hash("digest"), "{}", case.name());
        return None;
    }
    match case.text("text").parse::<Hash>() {
        Ok(id) => {
            assert_eq!(id.to_string(), case.text("text").to_lowercase());
            None
        }
        Err(_) => Some("not-an-id".into()),
    }
}

pub(crate) fn signature(case: &Case) -> Option<String> {
    let domain =
        [Domain::ResultBatch, Domain::Ack, Domain::Advert, Domain::Lease, Domain::Delegate]
            .into_iter()
            .find(|domain| domain.text() == case.text("domain"))
            .unwrap_or_else(|| panic!("{}: no such domain", case.name()));
    let signer = PeerId(case.hash("signer").0);
    crypto::verify(&signer, domain, &case.bytes("message"), &case.signature("signature"))
        .err()
        .map(|_| "signature".into())
}
