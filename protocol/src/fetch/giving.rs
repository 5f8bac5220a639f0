//! The giving side: which pieces an asker is given that leaves the choice to us, and whom it is told
//! of.
//!
//! A peer that many want a blob from gives each piece away once before it gives any a second time.
//! The askers, who then hold different pieces, get the rest from each other.

use alloc::{collections::BTreeMap, vec, vec::Vec};
use core::{ops::Range, time::Duration};

use super::pieces::{self, Pieces};
use crate::{
    id::{Hash, PeerId},
    limits::{MAX_RANGE, MAX_TOLD, PIECE},
    time::Timestamp,
};

/// Blobs of which it is remembered who asked for them and what was given.
const MAX_SHELVES: usize = 256;
/// Askers remembered of one blob.
const MAX_ASKERS: usize = 64;
/// An asker that was not heard of for this long is told of no more.
const GONE: Duration = Duration::from_secs(600);
/// A piece is not given to a second asker while it is on its way to the first, at most this long,
const UNDER_WAY: Duration = Duration::from_secs(15);
/// nor before the first has had the time to pass it on.
const SPREADS: Duration = Duration::from_secs(2);
/// Whoever has to wait asks again this soon at the latest: it may have learnt meanwhile who else has
/// what it wants.
const WAIT: Duration = Duration::from_millis(500);

/// What an asker gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pick {
    /// These pieces.
    Run(Range<usize>),
    /// Nothing for now.
    Wait(Duration),
    /// Nothing of what it wants is here.
    Nothing,
}

#[derive(Debug)]
struct Shelf {
    /// How often each piece was given, and when it may be given again.
    given: Vec<(u32, Timestamp)>,
    /// Where the next choice begins: so runs given one after the other are neighbours.
    cursor: usize,
    askers: BTreeMap<PeerId, Timestamp>,
    used: Timestamp,
}

/// Blobs that the network is told of at a time, how often, and how many at once.
const MAX_ANNOUNCED: usize = 64;
const AGAIN: Duration = Duration::from_secs(12 * 3600);
const EVERY: Duration = Duration::from_secs(2);

/// The machine: what was given of each blob, and to whom.
#[derive(Debug, Default)]
pub struct Giving {
    shelves: BTreeMap<Hash, Shelf>,
    announced: BTreeMap<Hash, Timestamp>,
    last: Timestamp,
}

impl Giving {
    /// Someone asks for anything of a blob that may be shared.
    pub fn asked(&mut self, now: Timestamp, hash: Hash, len: u64, by: PeerId) {
        let shelf = self.shelf(now, hash, len);
        if shelf.askers.len() >= MAX_ASKERS && !shelf.askers.contains_key(&by) {
            let oldest = shelf.askers.iter().min_by_key(|(_, at)| **at).map(|(peer, _)| *peer);
            oldest.and_then(|peer| shelf.askers.remove(&peer));
        }
        shelf.askers.insert(by, now);
    }

    /// Chooses among the pieces that are `wanted` and here: those given least often, and none that
    /// was given to somebody just now.
    pub fn pick(
        &mut self,
        now: Timestamp,
        (hash, len): (Hash, u64),
        wanted: &Pieces,
        here: &Pieces,
        most: u64,
    ) -> Pick {
        let shelf = self.shelf(now, hash, len);
        let count = shelf.given.len();
        let open = |piece: &usize| wanted.contains(*piece) && here.contains(*piece);
        let free = |shelf: &Shelf, piece: &usize| open(piece) && shelf.given[*piece].1 <= now;
        let around = (shelf.cursor..count).chain(0..shelf.cursor);
        let Some(first) =
            around.filter(|piece| free(shelf, piece)).min_by_key(|piece| shelf.given[*piece].0)
        else {
            let soonest = (0..count).filter(open).map(|piece| shelf.given[piece].1).min();
            return soonest.map_or(Pick::Nothing, |at| Pick::Wait(at.since(now).min(WAIT)));
        };
        let times = shelf.given[first].0;
        let longest = usize::try_from(most.min(MAX_RANGE) / PIECE).unwrap_or(1).max(1);
        let alike = |piece: &usize| free(shelf, piece) && shelf.given[*piece].0 == times;
        let run = (first..count.min(first + longest)).take_while(alike).count();
        let run = first..first + run;
        shelf.cursor = run.end;
        for piece in run.clone() {
            shelf.given[piece] = (times.saturating_add(1), now + UNDER_WAY);
        }
        Pick::Run(run)
    }

    /// A range has been given, whoever chose it.
    pub fn gave(&mut self, now: Timestamp, hash: Hash, len: u64, range: &Range<u64>, chosen: bool) {
        let shelf = self.shelf(now, hash, len);
        for (piece, given) in shelf.given.iter_mut().enumerate() {
            let bytes = pieces::bytes(&(piece..piece + 1), len);
            if range.start < bytes.end && bytes.start < range.end {
                given.0 = given.0.saturating_add(u32::from(!chosen));
                given.1 = now + SPREADS;
            }
        }
    }

    /// A chosen run did not reach its asker: anybody may have it at once.
    pub fn failed(&mut self, now: Timestamp, hash: Hash, run: &Range<usize>) {
        let Some(shelf) = self.shelves.get_mut(&hash) else { return };
        for given in shelf.given.iter_mut().take(run.end).skip(run.start) {
            *given = (given.0.saturating_sub(1), now);
        }
    }

    /// Whom an asker is told of: those who asked for the same blob lately.
    pub fn others(&self, now: Timestamp, hash: &Hash, except: &PeerId) -> Vec<PeerId> {
        let Some(shelf) = self.shelves.get(hash) else { return Vec::new() };
        let mut others: Vec<(Timestamp, PeerId)> = shelf
            .askers
            .iter()
            .filter(|(peer, at)| *peer != except && now.since(**at) < GONE)
            .map(|(peer, at)| (*at, *peer))
            .collect();
        others.sort_unstable();
        others.into_iter().rev().take(MAX_TOLD).map(|(_, peer)| peer).collect()
    }

    /// Whether the network is to be told now that a long blob is here.
    pub fn announces(&mut self, now: Timestamp, hash: Hash) -> bool {
        self.announced.retain(|_, at| now.since(*at) < AGAIN);
        let free = self.announced.len() < MAX_ANNOUNCED && !self.announced.contains_key(&hash);
        let announces = free && now.since(self.last) >= EVERY;
        if announces {
            self.announced.insert(hash, now);
            self.last = now;
        }
        announces
    }

    /// A blob is gone. Tells whether the network was told of it.
    pub fn withdraws(&mut self, hash: &Hash) -> bool {
        self.shelves.remove(hash);
        self.announced.remove(hash).is_some()
    }

    fn shelf(&mut self, now: Timestamp, hash: Hash, len: u64) -> &mut Shelf {
        if self.shelves.len() >= MAX_SHELVES && !self.shelves.contains_key(&hash) {
            let oldest =
                self.shelves.iter().min_by_key(|(_, shelf)| shelf.used).map(|(hash, _)| *hash);
            oldest.and_then(|hash| self.shelves.remove(&hash));
        }
        let count = pieces::count(len);
        let shelf = self.shelves.entry(hash).or_insert_with(|| Shelf {
            given: vec![(0, Timestamp(0)); count],
            cursor: 0,
            askers: BTreeMap::new(),
            used: now,
        });
        // Lengths of what is here are true; still, no other may index what was made for one.
        shelf.given.resize(count, (0, Timestamp(0)));
        shelf.used = now;
        shelf
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: u64 = 8 * PIECE;
    const BLOB: (Hash, u64) = (Hash([1; 32]), LEN);

    fn at(ms: u64) -> Timestamp {
        Timestamp(1_000_000_000 + ms * 1000)
    }

    #[test]
    fn every_piece_goes_out_once_before_any_goes_out_twice() {
        let (mut giving, all) = (Giving::default(), Pieces::all(LEN));
        let mut seen = Pieces::none(LEN);
        for _ in 0..4 {
            let Pick::Run(run) = giving.pick(at(0), BLOB, &all, &all, 2 * PIECE) else {
                panic!("there is something to give")
            };
            assert_eq!(run.len(), 2);
            run.for_each(|piece| {
                assert!(!seen.contains(piece));
                seen.insert(piece);
            });
        }
        assert!(seen.is_full());
        assert_eq!(giving.pick(at(1), BLOB, &all, &all, PIECE), Pick::Wait(WAIT));
        giving.gave(at(10), BLOB.0, LEN, &(0..PIECE), true);
        assert_eq!(giving.pick(at(1_000), BLOB, &all, &all, PIECE), Pick::Wait(WAIT));
        assert_eq!(giving.pick(at(2_010), BLOB, &all, &all, LEN), Pick::Run(0..1));
    }

    #[test]
    fn what_did_not_arrive_is_given_again_at_once() {
        let (mut giving, all) = (Giving::default(), Pieces::all(LEN));
        assert_eq!(giving.pick(at(0), BLOB, &all, &all, LEN), Pick::Run(0..8));
        giving.failed(at(1), BLOB.0, &(0..8));
        assert_eq!(giving.pick(at(1), BLOB, &all, &all, LEN), Pick::Run(0..8));
        let none = Pieces::none(LEN);
        assert_eq!(giving.pick(at(2), BLOB, &all, &none, LEN), Pick::Nothing);
    }

    #[test]
    fn askers_are_told_of_each_other_and_memory_is_bounded() {
        let mut giving = Giving::default();
        let peer = |index: u64| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&index.to_be_bytes());
            PeerId(id)
        };
        for index in 0..200 {
            giving.asked(at(index), BLOB.0, LEN, peer(index));
        }
        let told = giving.others(at(200), &BLOB.0, &peer(199));
        assert_eq!(told.len(), MAX_TOLD);
        assert_eq!(told[0], peer(198), "the latest come first");
        assert_eq!(giving.others(at(10_000_000), &BLOB.0, &peer(0)), []);
        for index in 0..1000_u64 {
            giving.asked(at(300), Hash(*peer(index).as_bytes()), LEN, peer(1));
        }
        assert!(giving.shelves.len() <= MAX_SHELVES);
    }
}
