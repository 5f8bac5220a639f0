//! The geometry of verified content: chunk groups of 16 KiB under a BLAKE3 tree.
//!
//! Both ends of a transfer derive what is sent from (length, range) by the functions here.

use std::{
    io::{self, Read, Write},
    ops::Range,
};

use bao_tree::{
    BaoTree, BlockSize, ChunkNum, ChunkRanges,
    io::{outboard::PostOrderOutboard, sync},
    iter::{BaoChunk, ResponseIterRef},
};
use bayan_protocol::id::Hash;

/// Bytes of a chunk group, the unit of verification and of ranges. At this size the hashes stored
/// beside a blob are 1/256 of it.
pub const GROUP: u64 = 16 << 10;

/// Longest blob that can be received, bytes: bounds the bits kept in memory for it to 8 MiB, whatever
/// length is announced and whatever the caller allows.
pub const MAX_BLOB: u64 = 1 << 40;

const BLOCK: BlockSize = BlockSize::from_chunk_log(4);
const _: () = assert!(BLOCK.bytes() as u64 == GROUP, "a block is a chunk group");

/// What one file takes on disk at the least; charged so that many tiny blobs are not free.
const DISK_BLOCK: u64 = 4096;

pub(crate) fn tree(len: u64) -> BaoTree {
    BaoTree::new(len, BLOCK)
}

/// Chunk groups of a blob; an empty one has one, which is empty.
pub(crate) fn group_count(len: u64) -> u64 {
    len.div_ceil(GROUP).max(1)
}

/// The bytes of group `index`.
pub(crate) fn group_bytes(index: u64, len: u64) -> Range<u64> {
    let start = index * GROUP;
    start..len.min(start.saturating_add(GROUP))
}

/// Bytes of the outboard; none where one group is all there is.
pub(crate) fn outboard_len(len: u64) -> u64 {
    (group_count(len) - 1) * 64
}

/// Disk bytes that a blob and its outboard count for.
pub(crate) fn charge(len: u64) -> u64 {
    let blocks = |len: u64| len.div_ceil(DISK_BLOCK).saturating_mul(DISK_BLOCK);
    blocks(len).max(DISK_BLOCK).saturating_add(blocks(outboard_len(len)))
}

/// The whole groups that cover `range`; `None` if it is not a part of the blob.
pub(crate) fn groups(range: &Range<u64>, len: u64) -> Option<ChunkRanges> {
    let inside = range.end <= len && (range.start < range.end || (len == 0 && range.start == 0));
    if !inside {
        return None;
    }
    let chunks = BLOCK.bytes() as u64 / 1024;
    let start = ChunkNum(range.start / GROUP * chunks);
    let end = range.end.div_ceil(GROUP).max(1);
    Some(if end == group_count(len) {
        ChunkRanges::from(start..)
    } else {
        ChunkRanges::from(start..ChunkNum(end * chunks))
    })
}

/// Bytes that the encoding of `range` of a blob of `len` bytes takes; `None` if the range is not a
/// part of it. Takes time in proportion to the range, which the caller bounds.
pub fn encoded_len(len: u64, range: &Range<u64>) -> Option<u64> {
    let groups = groups(range, len)?;
    let items = ResponseIterRef::new(tree(len), &groups);
    Some(items.map(|item: BaoChunk| item.size() as u64).sum())
}

/// Reads `len` bytes and writes their outboard; the root is their digest.
pub(crate) fn outboard(content: impl Read, len: u64, out: impl Write) -> io::Result<Hash> {
    sync::outboard_post_order(content, tree(len), out).map(|root| Hash(*root.as_bytes()))
}

/// The outboard of `hash` over stored hash pairs.
pub(crate) fn with_pairs<D>(hash: &Hash, len: u64, pairs: D) -> PostOrderOutboard<D> {
    PostOrderOutboard { root: root(hash), tree: tree(len), data: pairs }
}

pub(crate) fn root(hash: &Hash) -> bao_tree::blake3::Hash {
    bao_tree::blake3::Hash::from_bytes(*hash.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_rounded_out_to_whole_groups_and_foreign_ones_refused() {
        let len = 3 * GROUP + 5;
        assert_eq!(groups(&(0..1), len), groups(&(0..GROUP), len));
        assert_eq!(groups(&(GROUP - 1..GROUP + 1), len), groups(&(0..2 * GROUP), len));
        assert_eq!(groups(&(3 * GROUP..len), len), groups(&(len - 1..len), len));
        assert_ne!(groups(&(0..3 * GROUP), len), groups(&(0..len), len));
        for bad in [0..len + 1, 5..5, len..len, u64::MAX - 1..u64::MAX] {
            assert_eq!(groups(&bad, len), None, "{bad:?}");
        }
        assert!(groups(&(0..0), 0).is_some());
        assert_eq!(groups(&(0..1), 0), None);
    }

    #[test]
    fn charges_count_disk_blocks_and_never_overflow() {
        assert_eq!(charge(0), 4096);
        assert_eq!(charge(4097), 8192);
        assert_eq!(charge(2 * GROUP), 2 * GROUP + 4096);
        assert!(charge(u64::MAX) > u64::MAX / 2);
    }
}
