//! The same tasks from one list: whoever is free takes the next one at once, and when none is left a copy
//! of one that is under way. No messages, no relays; what a tree is measured by.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
};

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct List {
    /// When all tasks had a result.
    pub(super) seconds: f64,
    /// Part of the slots' time until then that went into no result.
    pub(super) idle: f64,
    /// Results of each peer.
    pub(super) results: Vec<u32>,
}

/// A task under way: how many have it, how slow the fastest of them is, and its number.
type Open = (u32, Reverse<u64>, u32);

struct Play<'a> {
    paces: &'a [f64],
    random: fastrand::Rng,
    /// When whose attempt ends, and which of its attempts that is.
    ends: BinaryHeap<Reverse<(u64, u32, u32)>>,
    /// What each peer computes, since when, and how many attempts it has begun.
    running: Vec<(Option<(u32, u64)>, u32)>,
    next: u32,
    count: u32,
    /// Once none is left on the list: those under way, and who has each.
    open: BTreeSet<Open>,
    holders: std::collections::BTreeMap<u32, (Open, Vec<u32>)>,
}

impl List {
    /// Peers with these seconds a task come at these times; attempts take between a half and one and a half
    /// times that, as in the world.
    pub(super) fn play(paces: &[f64], starts: &[f64], count: u64, seed: u64) -> Self {
        let mut play = Play {
            paces,
            random: fastrand::Rng::with_seed(seed ^ 0x6c69_7374),
            ends: BinaryHeap::new(),
            running: vec![(None, 0); paces.len()],
            next: 0,
            count: u32::try_from(count).unwrap_or(u32::MAX),
            open: BTreeSet::new(),
            holders: std::collections::BTreeMap::new(),
        };
        let mut results = vec![0; paces.len()];
        // A peer that comes is one whose attempt at nothing ends.
        for (peer, start) in (0..).zip(starts) {
            play.ends.push(Reverse(((start * 1e6) as u64, peer, 0)));
        }
        let (mut now, mut left, mut useful) = (0, play.count, 0_u64);
        while left > 0
            && let Some(Reverse((at, peer, attempt))) = play.ends.pop()
        {
            let (task, begun) = play.running[peer as usize];
            if begun != attempt {
                continue; // it was stopped
            }
            now = at;
            play.running[peer as usize].0 = None;
            let mut free = vec![peer];
            if let Some((task, since)) = task {
                results[peer as usize] += 1;
                (left, useful) = (left - 1, useful + at - since);
                free.extend(play.stop(task, peer));
            }
            for peer in free {
                play.begin(now, peer);
            }
        }
        let (seconds, all) = (now as f64 / 1e6, paces.len() as f64);
        let part = useful as f64 / 1e6 / (seconds * all);
        Self { seconds, idle: if seconds > 0.0 { 1.0 - part } else { 0.0 }, results }
    }
}

impl Play<'_> {
    fn begin(&mut self, now: u64, peer: u32) {
        let task = if self.next < self.count {
            self.next += 1;
            if self.next == self.count {
                self.close();
            }
            self.next - 1
        } else {
            let Some(open) = self.open.first().copied() else { return };
            open.2
        };
        let (running, begun) = &mut self.running[peer as usize];
        (*running, *begun) = (Some((task, now)), *begun + 1);
        let takes = self.paces[peer as usize] * (0.5 + self.random.f64());
        self.ends.push(Reverse((now + (takes * 1e6) as u64, peer, *begun)));
        if self.next == self.count {
            self.hold(task, peer);
        }
    }

    /// The last task was taken: from now on it matters who has which.
    fn close(&mut self) {
        let running: Vec<(u32, u32)> = (0..)
            .zip(&self.running)
            .filter_map(|(peer, (running, _))| running.map(|(task, _)| (task, peer)))
            .collect();
        for (task, peer) in running {
            self.hold(task, peer);
        }
    }

    fn hold(&mut self, task: u32, peer: u32) {
        let slow = (self.paces[peer as usize] * 1e6) as u64;
        let (open, who) =
            self.holders.entry(task).or_insert(((0, Reverse(slow), task), Vec::new()));
        self.open.remove(open);
        *open = (open.0 + 1, open.1.max(Reverse(slow)), task);
        who.push(peer);
        self.open.insert(*open);
    }

    /// A task has a result: others that compute it are free.
    fn stop(&mut self, task: u32, by: u32) -> Vec<u32> {
        let Some((open, who)) = self.holders.remove(&task) else { return Vec::new() };
        self.open.remove(&open);
        let others: Vec<u32> = who.into_iter().filter(|peer| *peer != by).collect();
        for peer in &others {
            let (running, begun) = &mut self.running[*peer as usize];
            (*running, *begun) = (None, *begun + 1);
        }
        others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_has_one_result_and_nobody_waits() {
        let paces = vec![1.0; 50];
        let list = List::play(&paces, &[0.0; 50], 500, 1);
        assert_eq!(list.results.iter().sum::<u32>(), 500);
        assert!((10.0..11.5).contains(&list.seconds), "{list:?}");
        assert!((0.0..0.1).contains(&list.idle), "{list:?}");
    }

    #[test]
    fn a_slow_one_holds_nothing_up_and_a_late_one_does_less() {
        let mut paces = vec![1.0; 20];
        paces[0] = 100.0;
        let mut starts = vec![0.0; 20];
        starts[1] = 8.0;
        let list = List::play(&paces, &starts, 200, 1);
        assert!(list.seconds < 13.0, "{list:?}");
        assert_eq!(list.results[0], 0);
        assert!(list.results[1] < 7 && list.results[2] > 7, "{list:?}");
    }

    #[test]
    fn of_nothing_nothing_comes() {
        let list = List::play(&[], &[], 10, 1);
        assert_eq!((list.seconds, list.idle), (0.0, 0.0));
    }
}
