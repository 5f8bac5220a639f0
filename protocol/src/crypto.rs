//! Keys and signatures: one Ed25519 key a peer, one domain string per use.

#[cfg(feature = "keyed")]
pub mod scheme;

use ed25519_dalek::{Signature as DalekSignature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use alloc::vec::Vec;

use crate::id::PeerId;

/// What a signature is for; a signature of one domain says nothing in another (spec ID-3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// The root of a batch of results.
    ResultBatch,
    /// A submitter's acknowledgement of batches.
    Ack,
    /// A capacity advert.
    Advert,
    /// The handing over of a lease.
    Lease,
    /// A delegate's word for results of a job that it carried on.
    Delegate,
}

impl Domain {
    /// The string that is signed in front of the message.
    pub const fn text(self) -> &'static str {
        match self {
            Self::ResultBatch => "bayan/result-batch/1",
            Self::Ack => "bayan/ack/1",
            Self::Advert => "bayan/advert/1",
            Self::Lease => "bayan/lease/1",
            Self::Delegate => "bayan/delegate/1",
        }
    }

    fn frame(self, message: &[u8]) -> Vec<u8> {
        let text = self.text().as_bytes();
        let mut framed = Vec::with_capacity(1 + text.len() + message.len());
        framed.push(u8::try_from(text.len()).expect("domain strings are short"));
        framed.extend_from_slice(text);
        framed.extend_from_slice(message);
        framed
    }
}

/// An Ed25519 signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signature(#[serde(with = "serde_bytes")] pub [u8; 64]);

/// A signature that does not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

/// This peer's own key.
#[derive(Clone)]
pub struct Keypair(SigningKey);

impl Keypair {
    /// The key whose secret seed is `seed`.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public half.
    pub fn peer_id(&self) -> PeerId {
        PeerId(self.0.verifying_key().to_bytes())
    }

    /// Signs `message` for one use.
    pub fn sign(&self, domain: Domain, message: &[u8]) -> Signature {
        #[cfg(feature = "keyed")]
        if let Some(hash) = scheme::sign(&self.peer_id(), domain, message) {
            return hash;
        }
        Signature(self.0.sign(&domain.frame(message)).to_bytes())
    }
}

/// Checks that `signer` signed `message` for `domain`; strict Ed25519 (no malleable or small-order keys).
pub fn verify(
    signer: &PeerId,
    domain: Domain,
    message: &[u8],
    signature: &Signature,
) -> Result<(), BadSignature> {
    #[cfg(feature = "keyed")]
    if let Some(checked) = scheme::verify(signer, domain, message, signature) {
        return checked;
    }
    VerifyingKey::from_bytes(signer.as_bytes())
        .and_then(|key| {
            key.verify_strict(&domain.frame(message), &DalekSignature::from_bytes(&signature.0))
        })
        .map_err(|_| BadSignature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_key_domain_and_message_only() {
        holds_for_its_key_domain_and_message_only();
        let signature = Keypair::from_seed(&[1; 32]).sign(Domain::Ack, b"m");
        assert_eq!(verify(&PeerId([0; 32]), Domain::Ack, b"m", &signature), Err(BadSignature));
    }

    pub(super) fn holds_for_its_key_domain_and_message_only() {
        let (key, other) = (Keypair::from_seed(&[1; 32]), Keypair::from_seed(&[2; 32]));
        let signature = key.sign(Domain::Ack, b"m");
        assert_eq!(verify(&key.peer_id(), Domain::Ack, b"m", &signature), Ok(()));
        assert_eq!(verify(&key.peer_id(), Domain::Advert, b"m", &signature), Err(BadSignature));
        assert_eq!(verify(&key.peer_id(), Domain::Ack, b"n", &signature), Err(BadSignature));
        assert_eq!(verify(&other.peer_id(), Domain::Ack, b"m", &signature), Err(BadSignature));
        let mut other = signature;
        other.0[63] ^= 1;
        assert_eq!(verify(&key.peer_id(), Domain::Ack, b"m", &other), Err(BadSignature));
    }
}
