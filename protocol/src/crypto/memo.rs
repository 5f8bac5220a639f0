//! Signatures that this thread has made, so that checking one of them is a look-up.
//!
//! In a world of thousands of peers each signature is checked by everyone on its way, and all of them are
//! in one process. Whether a signature holds is a function of signer, domain, message and signature, and
//! one that was made here holds; so what a machine is answered is the same with and without this. Nothing
//! is remembered until a thread asks for it.

extern crate std;

use core::cell::RefCell;

use self::std::{collections::HashSet, thread_local};

use super::{Domain, Signature};
use crate::id::PeerId;

thread_local! {
    static MADE: RefCell<Option<Made>> = const { RefCell::new(None) };
}

/// Two generations: what was not made in this one or the one before is checked as ever.
struct Made {
    most: usize,
    young: HashSet<[u8; 32]>,
    old: HashSet<[u8; 32]>,
}

/// Remembers the latest signatures that this thread makes, at least `most` and at most twice as many.
pub fn remember(most: usize) {
    let made = Made { most: most.max(1), young: HashSet::new(), old: HashSet::new() };
    MADE.set(Some(made));
}

/// Forgets them all, and remembers no more.
pub fn forget() {
    MADE.set(None);
}

pub(super) fn note(signer: &PeerId, domain: Domain, message: &[u8], signature: &Signature) {
    MADE.with_borrow_mut(|made| {
        let Some(made) = made else { return };
        if made.young.len() >= made.most {
            made.old = core::mem::take(&mut made.young);
        }
        made.young.insert(digest(signer, domain, message, signature));
    });
}

pub(super) fn has(signer: &PeerId, domain: Domain, message: &[u8], signature: &Signature) -> bool {
    MADE.with_borrow(|made| {
        made.as_ref().is_some_and(|made| {
            let digest = digest(signer, domain, message, signature);
            made.young.contains(&digest) || made.old.contains(&digest)
        })
    })
}

fn digest(signer: &PeerId, domain: Domain, message: &[u8], signature: &Signature) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(signer.as_bytes());
    hasher.update(&signature.0);
    hasher.update(&domain.frame(message));
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{BadSignature, Keypair, verify};

    #[test]
    fn what_is_remembered_holds_for_its_signer_domain_and_message_only() {
        let (key, other) = (Keypair::from_seed(&[1; 32]), Keypair::from_seed(&[2; 32]));
        remember(2);
        let signature = key.sign(Domain::Ack, b"m");
        assert!(has(&key.peer_id(), Domain::Ack, b"m", &signature));
        assert_eq!(verify(&key.peer_id(), Domain::Ack, b"m", &signature), Ok(()));
        assert_eq!(verify(&key.peer_id(), Domain::Lease, b"m", &signature), Err(BadSignature));
        assert_eq!(verify(&key.peer_id(), Domain::Ack, b"n", &signature), Err(BadSignature));
        assert_eq!(verify(&other.peer_id(), Domain::Ack, b"m", &signature), Err(BadSignature));
        for at in 0..4 {
            let _ = key.sign(Domain::Ack, &[at]);
        }
        assert!(!has(&key.peer_id(), Domain::Ack, b"m", &signature), "it is not kept for ever");
        assert_eq!(verify(&key.peer_id(), Domain::Ack, b"m", &signature), Ok(()));
        forget();
        let signature = key.sign(Domain::Ack, b"m");
        assert!(!has(&key.peer_id(), Domain::Ack, b"m", &signature));
    }
}
