//! A Merkle tree over a batch's leaves: one root to sign, a short proof for each leaf (spec RES-4).
//!
//! The shape is that of RFC 6962: the left subtree holds the largest power of two below the count.

use alloc::vec::Vec;

use crate::id::Hash;

const LEAF_CONTEXT: &str = "bayan 2026-11-21 result leaf v1";
const NODE_CONTEXT: &str = "bayan 2026-11-21 result node v1";

/// The digest of one leaf's canonical bytes.
pub fn leaf(bytes: &[u8]) -> Hash {
    Hash(blake3::derive_key(LEAF_CONTEXT, bytes))
}

fn node(left: &Hash, right: &Hash) -> Hash {
    let mut both = [0; 64];
    both[..32].copy_from_slice(&left.0);
    both[32..].copy_from_slice(&right.0);
    Hash(blake3::derive_key(NODE_CONTEXT, &both))
}

/// Leaves of the left subtree of a tree of `count` >= 2 leaves.
fn split(count: usize) -> usize {
    count.next_power_of_two() / 2
}

/// The root over `leaves`; `None` for no leaves.
pub fn root(leaves: &[Hash]) -> Option<Hash> {
    match leaves {
        [] => None,
        [only] => Some(*only),
        many => {
            let (left, right) = many.split_at(split(many.len()));
            Some(node(&root(left)?, &root(right)?))
        }
    }
}

/// The siblings from leaf `index` up to the root; `None` if there is no such leaf.
pub fn proof(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    if leaves.len() == 1 {
        return Some(Vec::new());
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut path, sibling) = if index < left.len() {
        (proof(left, index)?, root(right)?)
    } else {
        (proof(right, index - left.len())?, root(left)?)
    };
    path.push(sibling);
    Some(path)
}

/// The root over `leaves` and each leaf's siblings as [`proof`] gives them, every node hashed once;
/// `None` for no leaves.
pub fn proofs(leaves: &[Hash]) -> Option<(Hash, Vec<Vec<Hash>>)> {
    match leaves {
        [] => None,
        [only] => Some((*only, Vec::from([Vec::new()]))),
        many => {
            let (left, right) = many.split_at(split(many.len()));
            let ((left, mut paths), (right, mut others)) = (proofs(left)?, proofs(right)?);
            paths.iter_mut().for_each(|path| path.push(right));
            others.iter_mut().for_each(|path| path.push(left));
            paths.append(&mut others);
            Some((node(&left, &right), paths))
        }
    }
}

/// The root that `proof` leads to from `leaf` at `index` of `count`; `None` if the proof's length is not the tree's.
pub fn root_of_proof(leaf: Hash, index: usize, count: usize, proof: &[Hash]) -> Option<Hash> {
    if index >= count {
        return None;
    }
    if count == 1 {
        return proof.is_empty().then_some(leaf);
    }
    let (sibling, below) = proof.split_last()?;
    let left = split(count);
    if index < left {
        Some(node(&root_of_proof(leaf, index, left, below)?, sibling))
    } else {
        Some(node(sibling, &root_of_proof(leaf, index - left, count - left, below)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_is_provable_and_only_at_its_place() {
        for count in 1..=65_usize {
            let leaves: Vec<Hash> = (0..count).map(|i| leaf(&i.to_le_bytes())).collect();
            let top = root(&leaves);
            let (same, all) = proofs(&leaves).expect("there are leaves");
            assert_eq!(Some(same), top);
            for index in 0..count {
                let path = proof(&leaves, index).expect("in range");
                assert_eq!(all[index], path);
                assert_eq!(root_of_proof(leaves[index], index, count, &path), top);
                if count > 1 {
                    let wrong = (index + 1) % count;
                    assert_ne!(root_of_proof(leaves[index], wrong, count, &path), top);
                    assert_ne!(root_of_proof(leaves[wrong], index, count, &path), top);
                }
                assert_eq!(root_of_proof(leaves[index], count, count, &path), None);
            }
        }
        assert_eq!((root(&[]), proofs(&[])), (None, None));
    }
}
