//! Which blobs there are, how much disk they take, and who may take more.
//!
//! Kept in memory so that presence, length and quota are exact and need no disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use bayan_protocol::{evict::Stored, id::Hash, time::Timestamp};

use super::{BlobError, tree};
use crate::disk::guard;

/// What blobs take on disk, in whole disk blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Whole blobs.
    pub blobs: u64,
    /// Bytes they take, outboards included.
    pub whole: u64,
    /// Bytes set aside for blobs being written or received, and for interrupted ones.
    pub partial: u64,
    /// Bytes they all may take.
    pub quota: u64,
}

/// A blob that is here.
#[derive(Debug, Clone, Copy)]
struct Entry {
    len: u64,
    used: Timestamp,
    made_here: bool,
}

#[derive(Debug, Default)]
struct State {
    whole: BTreeMap<Hash, Entry>,
    whole_bytes: u64,
    partial_bytes: u64,
    /// Partial blobs on disk, with their announced lengths.
    partials: BTreeMap<Hash, u64>,
    /// Those being received at this moment.
    receiving: BTreeSet<Hash>,
}

#[derive(Debug)]
pub(crate) struct Index {
    quota: u64,
    state: Mutex<State>,
}

impl Index {
    pub(crate) fn new(quota: u64) -> Self {
        Self { quota, state: Mutex::default() }
    }

    pub(crate) fn len_of(&self, hash: &Hash) -> Option<u64> {
        guard(&self.state).whole.get(hash).map(|entry| entry.len)
    }

    pub(crate) fn list(&self) -> Vec<(Hash, u64)> {
        guard(&self.state).whole.iter().map(|(hash, entry)| (*hash, entry.len)).collect()
    }

    pub(crate) fn partials(&self) -> Vec<(Hash, u64)> {
        guard(&self.state).partials.iter().map(|(hash, len)| (*hash, *len)).collect()
    }

    pub(crate) fn usage(&self) -> Usage {
        let state = guard(&self.state);
        Usage {
            blobs: state.whole.len() as u64,
            whole: state.whole_bytes,
            partial: state.partial_bytes,
            quota: self.quota,
        }
    }

    /// Adds a blob that is in place, last used then.
    pub(crate) fn insert(&self, hash: Hash, len: u64, used: Timestamp, made_here: bool) {
        let state = &mut *guard(&self.state);
        if state.whole.insert(hash, Entry { len, used, made_here }).is_none() {
            state.whole_bytes = state.whole_bytes.saturating_add(tree::charge(len));
        }
    }

    /// Notes that a blob is used now, and tells when it was used before.
    pub(crate) fn touch(&self, hash: &Hash, now: Timestamp) -> Option<Timestamp> {
        let mut state = guard(&self.state);
        let entry = state.whole.get_mut(hash)?;
        Some(std::mem::replace(&mut entry.used, now))
    }

    /// Everything that could be removed: whole blobs, and parts of such that are not being received.
    pub(crate) fn stored(&self) -> Vec<Stored> {
        let state = guard(&self.state);
        let whole = state.whole.iter().map(|(hash, entry)| Stored {
            hash: *hash,
            bytes: tree::charge(entry.len),
            used: entry.used,
            made_here: entry.made_here,
        });
        let idle = state.partials.iter().filter(|(hash, _)| !state.receiving.contains(hash));
        let partial = idle.map(|(hash, len)| Stored {
            hash: *hash,
            bytes: tree::charge(*len),
            used: Timestamp(0),
            made_here: false,
        });
        whole.chain(partial).collect()
    }

    /// Forgets a blob; whether there was one.
    pub(crate) fn remove(&self, hash: &Hash) -> bool {
        let state = &mut *guard(&self.state);
        let Some(entry) = state.whole.remove(hash) else { return false };
        state.whole_bytes = state.whole_bytes.saturating_sub(tree::charge(entry.len));
        true
    }

    /// Sets disk space aside for a blob of `len` bytes about to be written.
    pub(crate) fn reserve(self: &Arc<Self>, len: u64) -> Result<Reservation, BlobError> {
        let bytes = tree::charge(len);
        self.take(&mut guard(&self.state), bytes)?;
        Ok(Reservation { index: self.clone(), bytes })
    }

    fn take(&self, state: &mut State, bytes: u64) -> Result<(), BlobError> {
        let used = state.whole_bytes.saturating_add(state.partial_bytes);
        // A length that overflows the sum fits no quota, however generous.
        if used.checked_add(bytes).is_none_or(|sum| sum > self.quota) {
            return Err(BlobError::Quota { needed: bytes, used, quota: self.quota });
        }
        state.partial_bytes += bytes;
        Ok(())
    }

    /// Takes note of a partial blob found on disk; over quota or not, it is there.
    pub(crate) fn found_partial(&self, hash: Hash, len: u64) {
        let state = &mut *guard(&self.state);
        if state.partials.insert(hash, len).is_none() {
            state.partial_bytes = state.partial_bytes.saturating_add(tree::charge(len));
        }
    }

    /// Begins or resumes receiving; the length of the partial blob on disk, if there is one.
    pub(crate) fn start(&self, hash: Hash, len: u64) -> Result<Option<u64>, BlobError> {
        let state = &mut *guard(&self.state);
        if state.receiving.contains(&hash) {
            return Err(BlobError::Busy(hash));
        }
        let found = state.partials.get(&hash).copied();
        if found != Some(len) {
            let old = found.map_or(0, tree::charge);
            state.partial_bytes = state.partial_bytes.saturating_sub(old);
            if let Err(error) = self.take(state, tree::charge(len)) {
                state.partial_bytes += old;
                return Err(error);
            }
            state.partials.insert(hash, len);
        }
        state.receiving.insert(hash);
        Ok(found)
    }

    /// Ends receiving; the partial blob stays.
    pub(crate) fn pause(&self, hash: &Hash) {
        guard(&self.state).receiving.remove(hash);
    }

    /// Forgets a partial blob, unless it is being received.
    pub(crate) fn remove_partial(&self, hash: &Hash) -> Result<bool, BlobError> {
        let state = &mut *guard(&self.state);
        if state.receiving.contains(hash) {
            return Err(BlobError::Busy(*hash));
        }
        Ok(Self::drop_partial(state, hash))
    }

    /// Turns a partial blob into a whole one.
    pub(crate) fn complete(&self, hash: Hash, len: u64, now: Timestamp) {
        Self::drop_partial(&mut guard(&self.state), &hash);
        self.insert(hash, len, now, false);
    }

    fn drop_partial(state: &mut State, hash: &Hash) -> bool {
        let Some(len) = state.partials.remove(hash) else { return false };
        state.partial_bytes = state.partial_bytes.saturating_sub(tree::charge(len));
        true
    }
}

/// Disk space set aside; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    index: Arc<Index>,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let state = &mut *guard(&self.index.state);
        state.partial_bytes = state.partial_bytes.saturating_sub(self.bytes);
    }
}
