//! Which chunk groups of a partial blob have been verified, and that on disk.

use std::ops::Range;

use super::tree::group_count;

const MAGIC: &[u8; 8] = b"bayanbit";
const HEAD: usize = MAGIC.len() + 8;
const CHECK: usize = 16;

/// One bit a chunk group of a blob of `len` bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bits {
    len: u64,
    set: u64,
    words: Vec<u8>,
}

impl Bits {
    /// Nothing verified yet.
    pub(crate) fn none(len: u64) -> Self {
        Self { len, set: 0, words: vec![0; words_for(len)] }
    }

    pub(crate) fn missing(&self) -> u64 {
        group_count(self.len) - self.set
    }

    pub(crate) fn is_set(&self, group: u64) -> bool {
        self.words.get((group / 8) as usize).is_some_and(|word| word & (1 << (group % 8)) != 0)
    }

    pub(crate) fn set(&mut self, group: u64) {
        if group < group_count(self.len) && !self.is_set(group) {
            self.words[(group / 8) as usize] |= 1 << (group % 8);
            self.set += 1;
        }
    }

    /// Runs of groups not set, in order.
    pub(crate) fn gaps(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let count = group_count(self.len);
        let mut next = 0;
        std::iter::from_fn(move || {
            let start = (next..count).find(|group| !self.is_set(*group))?;
            next = (start..count).find(|group| self.is_set(*group)).unwrap_or(count);
            Some(start..next)
        })
    }

    /// The bytes that [`Self::decode`] takes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.len.to_le_bytes());
        bytes.extend_from_slice(&self.words);
        let check = *blake3::hash(&bytes).as_bytes();
        bytes.extend_from_slice(&check[..CHECK]);
        bytes
    }

    /// What was encoded, or `None` if these bytes are not that.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (content, check) = bytes.split_at_checked(bytes.len().checked_sub(CHECK)?)?;
        if blake3::hash(content).as_bytes()[..CHECK] != *check {
            return None;
        }
        let len = announced_len(content)?;
        let words = content.get(HEAD..)?;
        if words.len() != words_for(len) {
            return None;
        }
        let mut bits = Self::none(len);
        for group in 0..group_count(len) {
            if words[(group / 8) as usize] & (1 << (group % 8)) != 0 {
                bits.set(group);
            }
        }
        Some(bits)
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }
}

/// The length in the head of encoded bits, unchecked.
fn announced_len(bytes: &[u8]) -> Option<u64> {
    let rest = bytes.strip_prefix(MAGIC)?;
    Some(u64::from_le_bytes(*rest.first_chunk()?))
}

/// Bytes that the encoding takes at most for a blob of `len` bytes.
pub(crate) fn encoded_len(len: u64) -> u64 {
    (HEAD + words_for(len) + CHECK) as u64
}

fn words_for(len: u64) -> usize {
    group_count(len).div_ceil(8) as usize
}

#[cfg(test)]
mod tests {
    use super::{super::tree::GROUP, *};

    #[test]
    fn gaps_are_the_runs_between_what_is_set() {
        let mut bits = Bits::none(10 * GROUP + 1);
        for group in [0, 3, 4, 10, 11] {
            bits.set(group);
        }
        assert_eq!(bits.gaps().collect::<Vec<_>>(), [1..3, 5..10]);
        assert_eq!(bits.missing(), 7);
        assert_eq!(Bits::decode(&bits.encode()), Some(bits));
    }

    #[test]
    fn damaged_bits_are_no_bits() {
        let mut bits = Bits::none(100 * GROUP);
        bits.set(70);
        let bytes = bits.encode();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert_eq!(Bits::decode(&damaged), None, "byte {at}");
            assert_eq!(Bits::decode(&bytes[..at]), None, "cut at {at}");
        }
    }
}
