//! What a peer of each kind says, counted in a real run: for each child, for each result that passes, and
//! for each that is its own.

use std::collections::BTreeMap;

use bayan_protocol::{
    cbor,
    crypto::Keypair,
    id::{JobId, LeaseId, TaskId},
    path::Errand,
};

use super::{
    list::List,
    tree::{Begins, Kind, Tree},
};

/// Frames and their bytes.
pub(super) type Sent = (f64, f64);

/// Frames and bytes of all peers of a kind, by kind of frame.
pub(super) type Carried = BTreeMap<(u32, &'static str), Sent>;

/// What peers of one kind say.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rate {
    /// For each own result: its commit and reveal. Of those who hand work on, for each result that passes:
    /// its acknowledgement, and the cancels of copies.
    pub(super) result: Sent,
    /// For each child: leases, above all.
    pub(super) child: Sent,
    /// Beside that.
    pub(super) rest: Sent,
    /// Frames of results upwards, in the number that [`upward`] says, and bytes for each result.
    pub(super) up: Sent,
    /// Leases for each child.
    pub(super) leases: f64,
    /// How deep these peers stand, on average.
    pub(super) depth: f64,
    /// Levels below them, on average.
    pub(super) height: f64,
}

/// What a reduced model knows of a real run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rates {
    pub(super) kinds: [Rate; 4],
    pub(super) begins: Begins,
    /// Seconds that the run took longer than one list with the same beginnings, for each hop that a task and
    /// its result go.
    pub(super) longer: f64,
    /// Attempts that ended, for each result.
    pub(super) attempts: f64,
}

/// Microseconds for which a relay gathers results, here in seconds (`CLOSE` in the protocol's relay).
const GATHERED: f64 = 0.1;
/// Results of one frame upwards at most.
const FULL: f64 = 64.0;

/// Frames upwards of whoever has so many results to bring in so many seconds: one at the end of each time
/// that begins with a result, or more if they are full before.
pub(super) fn upward(results: f64, seconds: f64) -> f64 {
    if results <= 0.0 || seconds <= 0.0 {
        return 0.0;
    }
    (seconds / (GATHERED + seconds / results)).max(results / FULL)
}

/// Bytes that a lease or trail grows by with each hop.
pub(super) fn hop_bytes() -> f64 {
    let key = Keypair::from_seed(&[1; 32]);
    let errand = Errand { job: JobId([2; 32]), submitter: key.peer_id() };
    let lease = LeaseId([200; 32]);
    let tasks = [TaskId([200; 32])].into_iter();
    cbor::encode(&errand.hand(&key, Some(lease), lease, &key.peer_id(), tasks)).len() as f64
}

impl Rates {
    /// How many numbers these are.
    pub const LEN: usize = 4 * 11 + 4;

    pub(super) fn of(&self, kind: Kind) -> &Rate {
        &self.kinds[kind as usize]
    }

    /// Counts them in a run that took so long, in which peers had so many attempts that ended.
    pub(super) fn count(
        tree: &Tree,
        carried: &Carried,
        ended: &[f64],
        begins: Begins,
        (seconds, list): (f64, &List),
    ) -> Self {
        let own = |number: u64| {
            number.checked_sub(1).and_then(|at| ended.get(at as usize)).copied().unwrap_or(0.0)
        };
        let (below, heights) = (tree.sums(own), tree.heights());
        let mut kinds = [Rate::default(); 4];
        for kind in [Kind::Submitter, Kind::Leaf, Kind::Bottom, Kind::Inner] {
            let all: Vec<u64> = (0..=tree.peers).filter(|one| tree.kind(*one) == kind).collect();
            let sum = |of: &dyn Fn(u64) -> f64| all.iter().map(|one| of(*one)).sum::<f64>();
            let sent = |words: &[&str]| {
                let of_kind = carried
                    .iter()
                    .filter(|((group, word), _)| *group == kind as u32 && words.contains(word));
                of_kind.fold((0.0, 0.0), |sum, (_, one)| (sum.0 + one.0, sum.1 + one.1))
            };
            let per = |sent: Sent, count: f64| {
                if count > 0.0 { (sent.0 / count, sent.1 / count) } else { (0.0, 0.0) }
            };
            let leaf = kind == Kind::Leaf;
            let results = if leaf { sum(&own) } else { sum(&|one| below[one as usize] - own(one)) };
            let of_results: &[&str] = if leaf { &["commit", "reveal"] } else { &["ack", "cancel"] };
            let of_child = ["lease", "offer", "hello"];
            let mut rest = ["ask", "credit", "renew", "refuse", "route", "exclude"].to_vec();
            rest.extend(if leaf { &of_child[..] } else { &["commit", "reveal"] });
            let brought = sum(&|one| below[one as usize]);
            let frames =
                sum(&|one| upward(below[one as usize], seconds - begins.of(tree.depth(one))));
            let up = sent(&["relayed"]);
            let children = sum(&|one| tree.children(one) as f64);
            let count = all.len() as f64;
            kinds[kind as usize] = Rate {
                result: per(sent(of_results), results),
                child: if leaf { (0.0, 0.0) } else { per(sent(&of_child), children) },
                rest: per(sent(&rest), count),
                up: (per(up, frames).0, per(up, brought).1),
                leases: per(sent(&["lease"]), children).0,
                depth: sum(&|one| f64::from(tree.depth(one))) / count.max(1.0),
                height: sum(&|one| f64::from(heights[one as usize])) / count.max(1.0),
            };
        }
        let results: u32 = list.results.iter().sum();
        Self {
            kinds,
            begins,
            longer: (seconds - list.seconds) / f64::from(tree.depth(tree.peers).max(1)),
            attempts: ended.iter().sum::<f64>() / f64::from(results.max(1)),
        }
    }

    /// The same with so much that the last of a level begin later by: that is kept with the curves.
    #[must_use]
    pub fn late(mut self, late: f64) -> Self {
        self.begins.late = late;
        self
    }

    /// As plain numbers.
    pub fn values(&self) -> Vec<f64> {
        let of = |rate: &Rate| {
            let Rate { result, child, rest, up, leases, depth, height } = *rate;
            let sent = [result, child, rest, up].map(|one| [one.0, one.1]).concat();
            [sent, vec![leases, depth, height]].concat()
        };
        let mut values: Vec<f64> = self.kinds.iter().flat_map(of).collect();
        values.extend([self.begins.first, self.begins.step, self.longer, self.attempts]);
        values
    }

    /// And back; none if these are not as many.
    pub fn from_values(values: &[f64]) -> Option<Self> {
        let (kinds, rest) = values.split_at_checked(4 * 11)?;
        let [first, step, longer, attempts] = *rest.first_chunk::<4>()?;
        let mut rates =
            Self { begins: Begins { first, step, late: 0.0 }, longer, attempts, ..Self::default() };
        for (rate, values) in rates.kinds.iter_mut().zip(kinds.chunks(11)) {
            let [r0, r1, c0, c1, b0, b1, u0, u1, leases, depth, height] =
                *values.first_chunk::<11>()?;
            let (result, child, rest, up) = ((r0, r1), (c0, c1), (b0, b1), (u0, u1));
            *rate = Rate { result, child, rest, up, leases, depth, height };
        }
        Some(rates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_being_kept() {
        let values: Vec<f64> = (0..Rates::LEN).map(|at| at as f64).collect();
        assert_eq!(Rates::from_values(&values).map(|rates| rates.values()), Some(values.clone()));
        assert_eq!(Rates::from_values(&values[1..]), None);
    }

    #[test]
    fn many_results_share_a_frame_and_few_do_not() {
        assert!((upward(10.0, 1000.0) - 10.0).abs() < 0.1);
        assert!((upward(10_000.0, 100.0) - 909.0).abs() < 1.0);
        assert_eq!(upward(1e6, 100.0), 1e6 / 64.0);
        assert_eq!(upward(0.0, 100.0), 0.0);
    }

    #[test]
    fn a_hop_has_two_ids_a_root_and_a_signature() {
        assert!((160.0..200.0).contains(&hop_bytes()), "{}", hop_bytes());
    }
}
