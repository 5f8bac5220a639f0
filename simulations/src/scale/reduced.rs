//! A tree that is too large to be played: what peers compute comes from one list, what they say from
//! rates that were counted in a real run of a smaller tree of the same fan.
//!
//! Level by level: peers at depth d begin `first + (d - 1) * step` seconds after the job was submitted, one
//! in forty `late` seconds later. From then on they take tasks from one list, which gives each its number of
//! results; the job ends later than the list, by as much for each level as the real run did. A leaf says its commit and reveal for each result. Who hands
//! work on acknowledges each result of those below it, cancels copies of some, leases to each child, and
//! brings results up in as many frames as they make by the relay's rule (`upward`). Leases are longer by a
//! hop for each level that they have come down, results by one for each that they have come up.

use super::{
    Curves, Question, Spread,
    list::List,
    paces,
    rates::{Rates, hop_bytes, upward},
    tree::{Kind, LAST, Tree},
};

/// Part by which the model may differ from the machines.
pub const TOLERANCE: f64 = 0.1;

/// What a tree comes to by the rates of a smaller one of the same fan. What is computed in vain it does not
/// say.
pub fn predict(question: &Question, rates: &Rates) -> Curves {
    let Question { peers, fan, tasks, task_ms, seed } = *question;
    let tree = Tree::new(peers, fan);
    let paces = paces(peers, task_ms, seed);
    let depths: Vec<u32> = (0..=peers).map(|number| tree.depth(number)).collect();
    let late = |number: u64| if number.is_multiple_of(LAST) { rates.begins.late } else { 0.0 };
    let starts: Vec<f64> =
        (1..).zip(&depths[1..]).map(|(at, depth)| rates.begins.of(*depth) + late(at)).collect();
    let list = List::play(&paces, &starts, peers * tasks, seed);
    let floor = List::play(&paces, &vec![0.0; paces.len()], peers * tasks, seed);
    let seconds = list.seconds + rates.longer * f64::from(tree.depth(peers));
    let useful = (1.0 - list.idle) * list.seconds * rates.attempts;
    let own = |number: u64| {
        let results = number.checked_sub(1).and_then(|at| list.results.get(at as usize));
        results.copied().map_or(0.0, f64::from) * rates.attempts
    };
    let (below, heights) = (tree.sums(own), tree.heights());
    let (mut frames, mut bytes) = (Vec::new(), Vec::new());
    for number in 0..=peers {
        let at = number as usize;
        let node = Node {
            kind: tree.kind(number),
            own: own(number),
            all: below[at],
            children: tree.children(number) as f64,
            depth: f64::from(depths[at]),
            height: f64::from(heights[at]),
            seconds: seconds - rates.begins.of(depths[at]),
        };
        let sent = node.says(rates);
        frames.push(sent.0);
        bytes.push(sent.1);
    }
    let count = peers as f64;
    Curves {
        peers: count,
        depth: f64::from(tree.depth(peers)),
        done: 1.0,
        begun: Spread::of(&starts, 0.0, count),
        all_begun: starts.iter().copied().fold(0.0, f64::max),
        late: rates.begins.late,
        never: 0.0,
        seconds,
        idle: 1.0 - useful / seconds,
        vain: f64::NAN,
        floor: (floor.seconds, floor.idle),
        attempts: rates.attempts,
        busiest: frames.iter().copied().fold(0.0, f64::max),
        frames: Spread::of(&frames[1..], frames[0], count),
        bytes: Spread::of(&bytes[1..], bytes[0], count),
    }
}

/// A peer of the tree.
struct Node {
    kind: Kind,
    own: f64,
    /// Its results and those of all below it.
    all: f64,
    children: f64,
    depth: f64,
    height: f64,
    /// How long it has something to say.
    seconds: f64,
}

impl Node {
    /// Frames and bytes that it sends.
    fn says(&self, rates: &Rates) -> (f64, f64) {
        let rate = rates.of(self.kind);
        let passing = if self.kind == Kind::Leaf { self.own } else { self.all - self.own };
        let brings = if matches!(self.kind, Kind::Bottom | Kind::Inner) { self.all } else { 0.0 };
        let deeper = hop_bytes() * (self.depth - rate.depth);
        let higher = hop_bytes() * (self.height - rate.height);
        let frames = rate.rest.0
            + rate.result.0 * passing
            + rate.child.0 * self.children
            + rate.up.0 * upward(brings, self.seconds);
        let bytes = rate.rest.1
            + rate.result.1 * passing
            + (rate.child.1 + deeper * rate.leases) * self.children
            + (rate.up.1 + higher) * brings;
        (frames, bytes)
    }
}

/// How one number of the model differs from the machines'.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Which.
    pub what: &'static str,
    /// As played.
    pub played: f64,
    /// By the model.
    pub predicted: f64,
    /// The difference, as a part of what was played.
    pub part: f64,
}

impl Difference {
    /// Whether the model may differ by so much; not if that is no number.
    pub fn is_near(&self) -> bool {
        self.part.abs() <= TOLERANCE
    }
}

/// Compares the model with the machines, in each curve's half and 99 in 100 where it has them.
pub fn differences(played: &Curves, predicted: &Curves) -> Vec<Difference> {
    let numbers = |of: &Curves| {
        [
            ("half of the peers have begun", of.begun.half),
            ("99 in 100 peers have begun", of.begun.most),
            ("the job has ended", of.seconds),
            ("idle share", of.idle),
            ("frames a peer", of.frames.mean),
            ("frames, half of the peers", of.frames.half),
            ("frames, 99 in 100 peers", of.frames.most),
            ("bytes a peer", of.bytes.mean),
            ("bytes, half of the peers", of.bytes.half),
            ("bytes, 99 in 100 peers", of.bytes.most),
        ]
    };
    let pairs = numbers(played).into_iter().zip(numbers(predicted));
    let difference = |((what, played), (_, predicted)): ((&'static str, f64), (_, f64))| {
        let part = if played == predicted { 0.0 } else { predicted / played - 1.0 };
        Difference { what, played, predicted, part }
    };
    pairs.map(difference).collect()
}
