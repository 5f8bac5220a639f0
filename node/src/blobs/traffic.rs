//! Bytes of blobs that came and went, by peer.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use bayan_protocol::id::PeerId;

/// Peers counted by themselves; what further ones move counts in the sum alone.
const MAX_PEERS: usize = 1024;

/// Bytes of blob streams, with the hash pairs that prove them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Volume {
    /// Given to the peer.
    pub sent: u64,
    /// Got from it.
    pub received: u64,
    /// Of these, bytes that were wrong or that were here already.
    pub wasted: u64,
}

/// All counts since the start.
#[derive(Debug, Default)]
pub struct Traffic(Mutex<(Volume, BTreeMap<PeerId, Volume>)>);

impl Traffic {
    pub(super) fn note(&self, peer: PeerId, change: impl Fn(&mut Volume)) {
        let (sum, peers) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(sum);
        if peers.len() < MAX_PEERS || peers.contains_key(&peer) {
            change(peers.entry(peer).or_default());
        }
    }

    /// All together.
    pub fn sum(&self) -> Volume {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// By peer.
    pub fn by_peer(&self) -> BTreeMap<PeerId, Volume> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}
