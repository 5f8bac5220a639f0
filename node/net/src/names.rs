//! The two names of one key: our `PeerId` is the raw Ed25519 public key, libp2p's is the identity
//! multihash of that key's protobuf. Nothing but the conversion lives here.

use bayan_protocol::id::PeerId;
use libp2p::identity::{DecodingError, Keypair};

/// Everything before the raw key: multihash code `identity`, its length, then the protobuf fields
/// "type = Ed25519" and "32 bytes of data" (libp2p specs, peer-ids).
const PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// The signing key of the secret seed.
pub(crate) fn keypair(secret: &[u8; 32]) -> Result<Keypair, DecodingError> {
    // libp2p zeroes the buffer it reads from, so it gets a copy.
    let mut copy = *secret;
    Keypair::ed25519_from_bytes(&mut copy)
}

/// Our name of a libp2p peer; `None` if its key is not an Ed25519 key.
pub(crate) fn from_libp2p(id: &libp2p::PeerId) -> Option<PeerId> {
    let bytes = id.to_bytes();
    let key = bytes.strip_prefix(&PREFIX)?;
    Some(PeerId(key.try_into().ok()?))
}

/// libp2p's name of one of our peers.
pub(crate) fn to_libp2p(id: &PeerId) -> libp2p::PeerId {
    let mut bytes = PREFIX.to_vec();
    bytes.extend_from_slice(id.as_bytes());
    libp2p::PeerId::from_bytes(&bytes).expect("an identity multihash of 36 bytes is a peer id")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_convert_both_ways_and_agree_with_the_key() {
        let keypair = keypair(&[7; 32]).expect("any seed is a key");
        let theirs = keypair.public().to_peer_id();
        let ours = from_libp2p(&theirs).expect("Ed25519");
        let dalek = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        assert_eq!(ours.as_bytes(), dalek.verifying_key().as_bytes());
        assert_eq!(to_libp2p(&ours), theirs);
    }

    #[test]
    fn hashed_ids_of_other_key_types_have_no_name_here() {
        // A SHA-256 multihash, as RSA keys have.
        let mut bytes = vec![0x12, 0x20];
        bytes.extend_from_slice(&[9; 32]);
        let rsa = libp2p::PeerId::from_bytes(&bytes).expect("a valid multihash");
        assert_eq!(from_libp2p(&rsa), None);
    }
}
