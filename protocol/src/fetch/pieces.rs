//! The pieces of a blob, and sets of them.

use alloc::{vec, vec::Vec};
use core::ops::Range;

use crate::limits::PIECE;

/// Pieces of a blob of `len` bytes; an empty one has one, which is empty.
pub fn count(len: u64) -> usize {
    usize::try_from(len.div_ceil(PIECE).max(1)).unwrap_or(usize::MAX)
}

/// The bytes of the pieces in `run`.
pub fn bytes(run: &Range<usize>, len: u64) -> Range<u64> {
    let at = |piece: usize| (piece as u64).saturating_mul(PIECE).min(len);
    at(run.start)..at(run.end)
}

/// A set of a blob's pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pieces {
    count: usize,
    bits: Vec<u8>,
}

impl Pieces {
    /// None of the pieces of a blob of `len` bytes.
    pub fn none(len: u64) -> Self {
        let count = count(len);
        Self { count, bits: vec![0; count.div_ceil(8)] }
    }

    /// All of them.
    pub fn all(len: u64) -> Self {
        let mut all = Self::none(len);
        (0..all.count).for_each(|piece| all.insert(piece));
        all
    }

    /// Those that lie outside `gaps`, byte ranges in order.
    pub fn outside(len: u64, gaps: &[Range<u64>]) -> Self {
        let mut pieces = Self::all(len);
        for gap in gaps {
            let first = usize::try_from(gap.start / PIECE).unwrap_or(usize::MAX);
            let end = usize::try_from(gap.end.div_ceil(PIECE)).unwrap_or(usize::MAX);
            (first..end.max(first + 1).min(pieces.count)).for_each(|piece| pieces.remove(piece));
        }
        pieces
    }

    /// As it stands on the wire (spec WIRE-34): piece 0 is the lowest bit of the first byte.
    pub fn to_bytes(&self) -> &[u8] {
        &self.bits
    }

    /// Reads that form; none if it is not that of a set for this length.
    pub fn from_bytes(len: u64, bits: &[u8]) -> Option<Self> {
        let count = count(len);
        let spare = bits.last().is_some_and(|last| {
            let used = count % 8;
            used != 0 && last >> used != 0
        });
        (bits.len() == count.div_ceil(8) && !spare).then(|| Self { count, bits: bits.to_vec() })
    }

    /// Whether the piece is in it.
    pub fn contains(&self, piece: usize) -> bool {
        piece < self.count && self.bits[piece / 8] & (1 << (piece % 8)) != 0
    }

    /// Adds a piece.
    pub fn insert(&mut self, piece: usize) {
        if piece < self.count {
            self.bits[piece / 8] |= 1 << (piece % 8);
        }
    }

    /// Takes a piece out.
    pub fn remove(&mut self, piece: usize) {
        if piece < self.count {
            self.bits[piece / 8] &= !(1 << (piece % 8));
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.bits.iter().all(|bits| *bits == 0)
    }

    /// Whether every piece is in it.
    pub fn is_full(&self) -> bool {
        (0..self.count).all(|piece| self.contains(piece))
    }

    /// How many pieces the blob has.
    pub fn of(&self) -> usize {
        self.count
    }

    /// The pieces in it, in order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.count).filter(|piece| self.contains(*piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_survive_the_wire_and_foreign_bits_are_refused() {
        let len = 11 * PIECE + 1;
        let mut set = Pieces::none(len);
        [0, 7, 8, 11].into_iter().for_each(|piece| set.insert(piece));
        assert_eq!(set.to_bytes(), [0x81, 0x09]);
        assert_eq!(Pieces::from_bytes(len, set.to_bytes()), Some(set));
        for bad in [&[0x81][..], &[0x81, 0x10], &[0x81, 0x09, 0]] {
            assert_eq!(Pieces::from_bytes(len, bad), None, "{bad:?}");
        }
        assert!(Pieces::all(len).is_full());
        assert_eq!(Pieces::all(0).of(), 1);
    }

    #[test]
    fn a_gap_takes_every_piece_that_it_touches() {
        let len = 4 * PIECE;
        let set = Pieces::outside(len, &[PIECE - 1..PIECE + 1, 3 * PIECE..4 * PIECE]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [2]);
        assert!(Pieces::outside(0, core::slice::from_ref(&(0..0))).is_empty());
        assert_eq!(bytes(&(1..3), 2 * PIECE + 5), PIECE..2 * PIECE + 5);
    }
}
