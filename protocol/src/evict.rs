//! Which blobs give way when the disk space lent to them is full.
//!
//! What a job, a lease, an owed result or a fetch under way needs never does; of the rest the one
//! that was used the longest ago goes first. What was stored for a job that is still to come looks
//! unneeded, so it is left alone for a while.

use alloc::{collections::BTreeSet, vec::Vec};
use core::time::Duration;

use crate::{id::Hash, time::Timestamp};

/// How long a blob that was uploaded or computed here, and is not yet part of anything, is kept.
pub const GRACE: Duration = Duration::from_secs(600);

/// A blob on disk, whole or in part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Which.
    pub hash: Hash,
    /// Bytes of disk that it takes.
    pub bytes: u64,
    /// When it was last used.
    pub used: Timestamp,
    /// Whether it was made here: uploaded or computed, not fetched.
    pub made_here: bool,
}

/// The blobs to remove so that `room` bytes become free, in order; fewer if not enough may go.
pub fn choose(
    now: Timestamp,
    stored: Vec<Stored>,
    needed: &BTreeSet<Hash>,
    room: u64,
) -> Vec<Hash> {
    let spare = |one: &Stored| {
        let is_fresh = one.made_here && now.since(one.used) < GRACE;
        !is_fresh && !needed.contains(&one.hash)
    };
    let mut spare: Vec<Stored> = stored.into_iter().filter(spare).collect();
    spare.sort_by_key(|one| (one.used, one.hash));
    let mut freed = 0_u64;
    let mut chosen = Vec::new();
    for one in spare {
        if freed >= room {
            break;
        }
        freed = freed.saturating_add(one.bytes);
        chosen.push(one.hash);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn stored(name: u8, bytes: u64, used: u64, made_here: bool) -> Stored {
        Stored { hash: Hash([name; 32]), bytes, used: Timestamp(used * 1_000_000), made_here }
    }

    #[test]
    fn the_longest_unused_go_first_and_what_is_needed_never_does() {
        let now = Timestamp(10_000 * 1_000_000);
        let all = vec![
            stored(1, 10, 50, false),
            stored(2, 10, 10, false),
            stored(3, 10, 20, false),
            stored(4, 10, 9_900, true),
            stored(5, 10, 30, true),
        ];
        let needed = BTreeSet::from([Hash([2; 32])]);
        let of = |room| choose(now, all.clone(), &needed, room);
        assert_eq!(of(0), []);
        assert_eq!(of(10), [Hash([3; 32])]);
        assert_eq!(of(11), [Hash([3; 32]), Hash([5; 32])]);
        assert_eq!(of(1000), [Hash([3; 32]), Hash([5; 32]), Hash([1; 32])]);
    }
}
