//! What signatures are made of. Peers sign with Ed25519, always; made-up worlds may have a keyed hash.
//!
//! The hash takes no secret: whoever knows a peer's id can make it, so it is worth nothing between
//! programs. In a world nobody makes one for somebody else, and what is signed, by whom and for what use
//! counts as it does with Ed25519; it is many times faster.
//!
//! Cargo turns this feature on for every program that is built together with the simulations. So it
//! changes nothing by itself: a thread has the hash only inside of [`Scheme::within`], which ends with what
//! it is given, also by a panic. Nobody but `simulations/world` names it.

extern crate std;

use core::{cell::Cell, fmt, str::FromStr};

use self::std::thread_local;

use super::{BadSignature, Domain, Signature};
use crate::id::PeerId;

thread_local! {
    static SCHEME: Cell<Scheme> = const { Cell::new(Scheme::Ed25519) };
}

/// What signatures are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// As between real peers.
    Ed25519,
    /// BLAKE3 in keyed mode, 64 bytes of it: the signer's id is the key, what Ed25519 would sign the input.
    Keyed,
}

/// A word that names no scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("signatures are ed25519 or keyed")]
pub struct UnknownScheme;

impl FromStr for Scheme {
    type Err = UnknownScheme;

    fn from_str(text: &str) -> Result<Self, UnknownScheme> {
        match text {
            "ed25519" => Ok(Self::Ed25519),
            "keyed" => Ok(Self::Keyed),
            _ => Err(UnknownScheme),
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ed25519 => "ed25519",
            Self::Keyed => "keyed",
        })
    }
}

/// Puts back what was before.
struct Before(Scheme);

impl Drop for Before {
    fn drop(&mut self) {
        SCHEME.set(self.0);
    }
}

impl Scheme {
    /// Does something in which this thread, and no other, signs and checks by this scheme.
    pub fn within<T>(self, what: impl FnOnce() -> T) -> T {
        let _before = Before(SCHEME.replace(self));
        what()
    }
}

/// The hash in place of a signature, where that is how it is done.
pub(super) fn sign(signer: &PeerId, domain: Domain, message: &[u8]) -> Option<Signature> {
    (SCHEME.get() == Scheme::Keyed).then(|| keyed(signer, domain, message))
}

/// Whether a hash is right, where that is how it is done.
pub(super) fn verify(
    signer: &PeerId,
    domain: Domain,
    message: &[u8],
    signature: &Signature,
) -> Option<Result<(), BadSignature>> {
    let right = sign(signer, domain, message)?;
    Some(if right == *signature { Ok(()) } else { Err(BadSignature) })
}

fn keyed(signer: &PeerId, domain: Domain, message: &[u8]) -> Signature {
    let mut hasher = blake3::Hasher::new_keyed(signer.as_bytes());
    hasher.update(&domain.frame(message));
    let mut bytes = [0; 64];
    hasher.finalize_xof().fill(&mut bytes);
    Signature(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Keypair, tests::holds_for_its_key_domain_and_message_only, verify};

    fn keys() -> (Keypair, Signature, Signature) {
        let key = Keypair::from_seed(&[1; 32]);
        let real = key.sign(Domain::Ack, b"m");
        let hash = Scheme::Keyed.within(|| key.sign(Domain::Ack, b"m"));
        (key, real, hash)
    }

    #[test]
    fn a_hash_holds_for_its_key_domain_and_message_only() {
        Scheme::Keyed.within(holds_for_its_key_domain_and_message_only);
    }

    #[test]
    fn each_scheme_refuses_what_the_other_has_made() {
        let (key, real, hash) = keys();
        let id = key.peer_id();
        assert_ne!(real, hash);
        assert_eq!(verify(&id, Domain::Ack, b"m", &hash), Err(BadSignature));
        assert_eq!(verify(&id, Domain::Ack, b"m", &real), Ok(()));
        Scheme::Keyed.within(|| {
            assert_eq!(verify(&id, Domain::Ack, b"m", &hash), Ok(()));
            assert_eq!(verify(&id, Domain::Ack, b"m", &real), Err(BadSignature));
            Scheme::Ed25519.within(|| assert_eq!(key.sign(Domain::Ack, b"m"), real));
            assert_eq!(key.sign(Domain::Ack, b"m"), hash);
        });
    }

    #[test]
    fn nothing_of_it_is_left_on_this_thread_or_on_another() {
        let (key, real, _) = keys();
        let here = || assert_eq!(key.sign(Domain::Ack, b"m"), real);
        here();
        Scheme::Keyed.within(|| {
            std::thread::scope(|scope| scope.spawn(here).join())
                .expect("another thread has its own");
        });
        here();
        let broken = std::panic::catch_unwind(|| Scheme::Keyed.within(|| panic!("meant")));
        assert!(broken.is_err());
        here();
    }

    #[test]
    fn schemes_are_called_by_one_word() {
        for scheme in [Scheme::Ed25519, Scheme::Keyed] {
            assert_eq!(std::format!("{scheme}").parse(), Ok(scheme));
        }
        assert_eq!("rsa".parse::<Scheme>(), Err(UnknownScheme));
    }
}
