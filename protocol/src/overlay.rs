//! Who is out there: adverts heard and when they stop being believed.
//!
//! Adverts are hints. They tell people who is around and let a submitter see capacity; nothing is
//! leased on their word.

use alloc::{collections::BTreeMap, vec::Vec};
use core::time::Duration;

use crate::{
    cbor,
    crypto::{self, Domain, Keypair, Signature},
    id::PeerId,
    limits::{MAX_ADVERT, MAX_HELLO_ITEMS, MAX_TEXT},
    time::Timestamp,
    wire::Advert,
};

/// An advert is repeated about this often while nothing changes.
pub const PERIOD: Duration = Duration::from_secs(60);
/// A changed advert is sent no sooner than this after the last.
pub const MIN_PERIOD: Duration = Duration::from_secs(10);
/// An advert is believed for three periods.
const LIFE: Duration = Duration::from_secs(180);
/// Adverts remembered at most.
const MAX_KNOWN: usize = 4096;
/// An advert from further ahead than this is a clock gone wrong, or a lie.
const MAX_AHEAD: Duration = Duration::from_secs(60);

/// Why an advert is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdvertError {
    /// Not an advert, or too large.
    #[error("malformed advert")]
    Malformed,
    /// Not signed by the peer it speaks of.
    #[error("the advert is not signed by its peer")]
    Signature,
}

/// Encodes and signs an advert; none if receivers would refuse it as too long.
pub fn seal(key: &Keypair, advert: &Advert) -> Option<Vec<u8>> {
    let body = cbor::encode(advert);
    let signature = key.sign(Domain::Advert, &body);
    let sealed = cbor::encode(&(serde_bytes::ByteBuf::from(body), signature));
    (sealed.len() <= MAX_ADVERT).then_some(sealed)
}

/// Checks a sealed advert.
pub fn open(bytes: &[u8]) -> Result<Advert, AdvertError> {
    if bytes.len() > MAX_ADVERT {
        return Err(AdvertError::Malformed);
    }
    let (body, signature) = cbor::decode::<(serde_bytes::ByteBuf, Signature)>(bytes)
        .map_err(|_| AdvertError::Malformed)?;
    let advert = cbor::decode_canonical::<Advert>(&body).map_err(|_| AdvertError::Malformed)?;
    if advert.profiles.len() > MAX_HELLO_ITEMS
        || advert.profiles.iter().any(|name| name.len() > MAX_TEXT)
    {
        return Err(AdvertError::Malformed);
    }
    crypto::verify(&advert.peer, Domain::Advert, &body, &signature)
        .map_err(|_| AdvertError::Signature)?;
    Ok(advert)
}

/// The adverts believed now.
#[derive(Debug, Default)]
pub struct Overlay {
    known: BTreeMap<PeerId, (Timestamp, Advert)>,
}

impl Overlay {
    /// Takes a checked advert in; older ones than what is known, or from the future, change nothing.
    pub fn hear(&mut self, now: Timestamp, advert: Advert) {
        if Timestamp(advert.at) > now + MAX_AHEAD {
            return;
        }
        let newer = self.known.get(&advert.peer).is_none_or(|(_, known)| known.at < advert.at);
        if newer && (self.known.len() < MAX_KNOWN || self.known.contains_key(&advert.peer)) {
            self.known.insert(advert.peer, (now, advert));
        }
    }

    /// Forgets what is too old to be believed.
    pub fn expire(&mut self, now: Timestamp) {
        self.known.retain(|_, (heard, _)| now.since(*heard) < LIFE);
    }

    /// Everyone believed to be out there, with when they were last heard.
    pub fn adverts(&self) -> impl Iterator<Item = (Timestamp, &Advert)> {
        self.known.values().map(|(heard, advert)| (*heard, advert))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn advert(key: &Keypair, at: u64) -> Advert {
        Advert {
            peer: key.peer_id(),
            at,
            slots: 2,
            free: 1,
            speed: 1_000_000,
            memory: 1 << 28,
            profiles: vec!["p".into()],
        }
    }

    #[test]
    fn a_sealed_advert_opens_and_a_changed_one_does_not() {
        let key = Keypair::from_seed(&[3; 32]);
        let sealed = seal(&key, &advert(&key, 5)).unwrap();
        assert_eq!(open(&sealed), Ok(advert(&key, 5)));
        for at in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[at] ^= 1;
            assert!(open(&bent).is_err(), "bit flipped at {at}");
        }
        let other = seal(&Keypair::from_seed(&[4; 32]), &advert(&key, 5)).unwrap();
        assert_eq!(open(&other), Err(AdvertError::Signature));
    }

    #[test]
    fn an_advert_that_receivers_would_refuse_is_not_sealed() {
        let key = Keypair::from_seed(&[3; 32]);
        let long = Advert { profiles: vec!["p".repeat(256), "q".repeat(256)], ..advert(&key, 5) };
        assert_eq!(seal(&key, &long), None);
    }

    #[test]
    fn newer_adverts_replace_older_ones_and_all_expire() {
        let key = Keypair::from_seed(&[3; 32]);
        let mut overlay = Overlay::default();
        let start = Timestamp(1_000_000_000);
        overlay.hear(start, advert(&key, 10));
        overlay.hear(start, advert(&key, 9));
        overlay.hear(start, advert(&key, start.0 + 61_000_000));
        assert_eq!(overlay.adverts().map(|(_, a)| a.at).collect::<Vec<_>>(), [10]);
        overlay.expire(start + LIFE);
        assert_eq!(overlay.adverts().count(), 0);
    }
}
