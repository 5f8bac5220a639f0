//! Who stands where: a tree that is filled level by level.

use crate::statistics::mean;

/// A peer that hands nothing on; one with such peers below it; one with relays below it; the submitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Submitter,
    Leaf,
    Bottom,
    Inner,
}

/// When peers begin, by how deep they stand.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Begins {
    /// Those next to the submitter, in seconds.
    pub(super) first: f64,
    /// So much later on each level below.
    pub(super) step: f64,
    /// And so much later the last of a level, one in [`LAST`].
    pub(super) late: f64,
}

/// See [`Begins::late`].
pub(super) const LAST: u64 = 40;

impl Begins {
    pub(super) fn of(&self, depth: u32) -> f64 {
        self.first + self.step * f64::from(depth.saturating_sub(1))
    }
}

/// The tree: the submitter is 0, its children are 1 to `fan`, the first of these has the next ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tree {
    pub(super) peers: u64,
    fan: u64,
}

impl Tree {
    pub(super) fn new(peers: u64, fan: u64) -> Self {
        Self { peers, fan: fan.max(2) }
    }

    pub(super) fn parent(&self, number: u64) -> u64 {
        number.saturating_sub(1) / self.fan
    }

    pub(super) fn is_inner(&self, number: u64) -> bool {
        number * self.fan < self.peers
    }

    pub(super) fn children(&self, number: u64) -> u64 {
        (self.peers.saturating_sub(number * self.fan)).min(self.fan)
    }

    /// Hops from the submitter.
    pub(super) fn depth(&self, mut number: u64) -> u32 {
        let mut depth = 0;
        while number > 0 {
            (number, depth) = (self.parent(number), depth + 1);
        }
        depth
    }

    pub(super) fn kind(&self, number: u64) -> Kind {
        match number {
            0 => Kind::Submitter,
            _ if !self.is_inner(number) => Kind::Leaf,
            // The first child is the one that has children if any has.
            _ if self.is_inner(number * self.fan + 1) => Kind::Inner,
            _ => Kind::Bottom,
        }
    }

    /// What a peer's frames are counted under.
    pub(super) fn group(&self, number: u64) -> u32 {
        self.kind(number) as u32
    }

    /// For each peer, from 0, what it and all below it have together.
    pub(super) fn sums(&self, own: impl Fn(u64) -> f64) -> Vec<f64> {
        let mut sums: Vec<f64> = (0..=self.peers).map(own).collect();
        for number in (1..=self.peers).rev() {
            sums[self.parent(number) as usize] += sums[number as usize];
        }
        sums
    }

    /// For each peer, from 0, how many levels there are below it.
    pub(super) fn heights(&self) -> Vec<u32> {
        let mut heights = vec![0; self.peers as usize + 1];
        for number in (1..=self.peers).rev() {
            let parent = self.parent(number) as usize;
            heights[parent] = heights[parent].max(heights[number as usize] + 1);
        }
        heights
    }

    /// When each level begins, on average, as a line through the first level and the last; and by how much
    /// the last of that level are later.
    pub(super) fn begins(&self, begun: &[(u64, f64)]) -> Begins {
        let level = |depth: u32| -> Vec<f64> {
            let at = begun.iter().filter(|(number, _)| self.depth(*number) == depth);
            at.map(|(_, at)| *at).collect()
        };
        let last = self.depth(self.peers);
        let (first, mut deepest) = (mean(&level(1)), level(last));
        let usual = mean(&deepest);
        deepest.sort_by(f64::total_cmp);
        let late = deepest.split_off(deepest.len() - deepest.len() / LAST as usize);
        let late = if late.is_empty() { 0.0 } else { mean(&late) - usual };
        let steps = f64::from(last.saturating_sub(1));
        Begins { first, step: if steps > 0.0 { (usual - first) / steps } else { 0.0 }, late }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_has_a_place() {
        let tree = Tree::new(20, 3);
        let children = |number: u64| (1..=20).filter(|one| tree.parent(*one) == number).count();
        for number in 0..=20 {
            assert_eq!(children(number) as u64, tree.children(number), "{number}");
            assert_eq!(tree.is_inner(number), children(number) > 0, "{number}");
        }
        assert_eq!((tree.depth(0), tree.depth(3), tree.depth(4), tree.depth(20)), (0, 1, 2, 3));
        let kinds = [0, 1, 2, 6, 7, 20].map(|number| tree.kind(number));
        use Kind::{Bottom, Inner, Leaf, Submitter};
        assert_eq!(kinds, [Submitter, Inner, Bottom, Bottom, Leaf, Leaf]);
        assert_eq!(tree.sums(|_| 1.0)[..3], [21.0, 12.0, 4.0]);
        assert_eq!(tree.heights()[..3], [3, 2, 1]);
    }

    #[test]
    fn levels_begin_one_after_the_other() {
        let tree = Tree::new(6, 2);
        let begins = tree.begins(&[(1, 1.0), (2, 3.0), (3, 5.0), (6, 7.0)]);
        assert_eq!(begins, Begins { first: 2.0, step: 4.0, late: 0.0 });
        assert_eq!((begins.of(1), begins.of(3)), (2.0, 10.0));
    }
}
