//! One job over a tree of many peers, all of them the protocol's own machines.
//!
//! Every inner peer of the tree hands work on and computes as well. Leaves compute.
//!
//! | file | subject |
//! |---|---|
//! | `tree` | who stands where |
//! | `list` | the same work from one list that costs nothing: what no tree can be better than |
//! | `rates` | what a peer of each kind says, counted in a real run |
//! | `reduced` | what a tree comes to by rates and list alone, for trees too large to be played |
//! | `answer` | curves over the number of peers, and what they are |

mod answer;
mod list;
mod rates;
mod reduced;
mod tree;

use bayan_protocol::{job::Local, time::Timestamp, verify::Policy};
use bayan_world::{MS, SECOND, World, habits::Speeds, host::Plan};

pub use answer::{MOST_PLAYED, run};
use list::List;
use rates::Rates;
pub use reduced::{TOLERANCE, differences, predict};
use tree::Tree;

use crate::statistics::quantile;

/// Standard deviation of the natural logarithm of peers' speeds.
const SPREAD: f64 = 0.5;
/// Virtual time that a job may take.
const LIMIT: u64 = 24 * 3600 * SECOND;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Question {
    /// Peers besides the submitter.
    pub peers: u64,
    /// Peers below each one.
    pub fan: u64,
    /// Tasks a peer.
    pub tasks: u64,
    /// Milliseconds a task on the median peer.
    pub task_ms: u64,
    /// Everything follows from it.
    pub seed: u64,
}

/// A number that each peer has.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Spread {
    /// Of all together, over the number of peers.
    pub mean: f64,
    /// Half of the peers have less.
    pub half: f64,
    /// 99 in 100 have less.
    pub most: f64,
}

/// What it took. Times are virtual seconds since the job was submitted.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Curves {
    /// Peers besides the submitter.
    pub peers: f64,
    /// Hops from the submitter to the deepest peer.
    pub depth: f64,
    /// 1 if the job ended within the limit.
    pub done: f64,
    /// When peers had begun; of those that ever did.
    pub begun: Spread,
    /// When the last one had.
    pub all_begun: f64,
    /// Peers that never had anything to compute.
    pub never: f64,
    /// When the job ended.
    pub seconds: f64,
    /// Part of the slots' time, until the end, that went into no attempt that ended.
    pub idle: f64,
    /// Part of it that went into attempts that were stopped because another had ended.
    pub vain: f64,
    /// When it would have ended by one list, and the part of the slots' time idle then.
    pub floor: (f64, f64),
    /// Attempts that ended, a task.
    pub attempts: f64,
    /// Frames that peers sent.
    pub frames: Spread,
    /// Their bytes.
    pub bytes: Spread,
    /// Frames of the peer that sent most.
    pub busiest: f64,
    /// How much later the last of the deepest level, one in forty, began than it did on average.
    pub late: f64,
}

impl Spread {
    /// Of the peers, of which there are `count`, and the submitter with `extra`.
    fn of(each: &[f64], extra: f64, count: f64) -> Self {
        Self {
            mean: (each.iter().sum::<f64>() + extra) / count,
            half: quantile(each, 0.5),
            most: quantile(each, 0.99),
        }
    }
}

impl Curves {
    /// How many numbers these are.
    pub const LEN: usize = 22;

    /// As plain numbers.
    pub fn values(&self) -> [f64; Self::LEN] {
        let Self { begun, frames, bytes, .. } = *self;
        [
            self.peers,
            self.depth,
            self.done,
            begun.mean,
            begun.half,
            begun.most,
            self.all_begun,
            self.never,
            self.seconds,
            self.idle,
            self.vain,
            self.floor.0,
            self.floor.1,
            self.attempts,
            frames.mean,
            frames.half,
            frames.most,
            bytes.mean,
            bytes.half,
            bytes.most,
            self.busiest,
            self.late,
        ]
    }

    /// And back; none if these are not as many.
    pub fn from_values(values: &[f64]) -> Option<Self> {
        let [peers, depth, done, b0, b1, b2, all_begun, never, seconds, idle, vain, rest @ ..] =
            *values.first_chunk::<{ Self::LEN }>()?;
        let [f0, f1, attempts, m0, m1, m2, y0, y1, y2, busiest, late] = rest;
        let spread = |mean, half, most| Spread { mean, half, most };
        Some(Self {
            peers,
            depth,
            done,
            begun: spread(b0, b1, b2),
            all_begun,
            never,
            seconds,
            idle,
            vain,
            floor: (f0, f1),
            attempts,
            frames: spread(m0, m1, m2),
            bytes: spread(y0, y1, y2),
            busiest,
            late,
        })
    }
}

/// Hops from the submitter to the deepest of so many peers.
pub fn depth(peers: u64, fan: u64) -> u32 {
    Tree::new(peers, fan).depth(peers)
}

/// Plays it; none if there is nothing to play. The rates are what a reduced model needs to know of it.
/// `watch` is told now and then when it is, in virtual seconds, and how many tasks have ended.
pub fn play(question: &Question, mut watch: impl FnMut(f64, u64)) -> Option<(Curves, Rates)> {
    let Question { peers, fan, tasks, task_ms, seed } = *question;
    let tree = Tree::new(peers, fan);
    let mut world = World::new(seed);
    world.lean = true;
    let group = tree.group(0);
    let me = world.join(Plan { slots: 0, relays: true, group, ..Plan::default() });
    let speeds = Speeds { median: task_ms * MS, sigma: SPREAD };
    let mut paces = Vec::new();
    for number in 1..=peers {
        let (pace, group) = (speeds.draw(&mut world), tree.group(number));
        paces.push(pace as f64 / 1e6);
        let host =
            world.join(Plan { pace, relays: tree.is_inner(number), group, ..Plan::default() });
        world.connect(tree.parent(number) as usize, host);
    }
    // Peers have met and told each other what is below them.
    world.pass(60 * SECOND);
    let (began, before, carried) = (world.now(), world.counts, world.carried.clone());
    let sent: Vec<(u64, u64)> = (0..world.len()).map(|host| world.host(host).sent).collect();
    let count = peers * tasks;
    let job = world.submit(me, i64::try_from(count).ok()?, Policy::None, Local::Never)?;
    let (until, mut next) = (world.after(LIMIT), world.now());
    let done = world.run_until(until, |world| {
        if world.now() >= next {
            watch(world.now().since(began).as_secs_f64(), world.counts.attempts);
            next = world.after(SECOND);
        }
        world.is_over(me, &job)
    });
    let since = |at: Timestamp| at.since(began).as_secs_f64();
    let begun: Vec<(u64, f64)> = (1..=peers)
        .filter_map(|host| Some((host, since(world.host(host as usize).begun?))))
        .collect();
    let times: Vec<f64> = begun.iter().map(|(_, at)| *at).collect();
    let seconds = since(world.now());
    let list = List::play(&paces, &vec![0.0; paces.len()], count, seed);
    let of = |which: fn((u64, u64)) -> u64, host: usize| {
        (which(world.host(host).sent) - which(sent[host])) as f64
    };
    let each = |which| (1..world.len()).map(|host| of(which, host)).collect::<Vec<f64>>();
    let (frames, bytes) = (each(|sent| sent.0), each(|sent| sent.1));
    let (counts, all, began_at) = (world.counts, peers as f64, tree.begins(&begun));
    let part = |micros: u64| micros as f64 / 1e6 / (seconds * all);
    let curves = Curves {
        peers: all,
        depth: f64::from(tree.depth(peers)),
        done: f64::from(u8::from(done)),
        begun: Spread::of(&times, 0.0, times.len() as f64),
        all_begun: times.iter().copied().fold(0.0, f64::max),
        never: all - begun.len() as f64,
        seconds,
        idle: 1.0 - part(counts.busy_micros - before.busy_micros),
        vain: part(counts.killed_micros - before.killed_micros + world.running_micros()),
        floor: (list.seconds, list.idle),
        attempts: (counts.attempts - before.attempts) as f64 / count as f64,
        busiest: frames.iter().copied().fold(of(|sent| sent.0, 0), f64::max),
        frames: Spread::of(&frames, of(|sent| sent.0, 0), all),
        bytes: Spread::of(&bytes, of(|sent| sent.1, 0), all),
        late: began_at.late,
    };
    let ended: Vec<f64> = (1..world.len()).map(|host| world.host(host).ended as f64).collect();
    let starts: Vec<f64> = (1..=peers).map(|host| began_at.of(tree.depth(host))).collect();
    let list = List::play(&paces, &starts, count, seed);
    let carried = world.carried.iter().map(|(key, (frames, bytes))| {
        let old = carried.get(key).copied().unwrap_or_default();
        (*key, ((frames - old.0) as f64, (bytes - old.1) as f64))
    });
    let rates = Rates::count(&tree, &carried.collect(), &ended, began_at, (seconds, &list));
    Some((curves, rates))
}

/// How the speeds of a tree's peers are drawn where none is played: seconds a task.
fn paces(peers: u64, task_ms: u64, seed: u64) -> Vec<f64> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut normal = || {
        let (one, other) = (1.0 - random.f64(), random.f64());
        (-2.0 * one.ln()).sqrt() * (core::f64::consts::TAU * other).cos()
    };
    (0..peers).map(|_| task_ms as f64 / 1e3 * (SPREAD * normal()).exp()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::mean;

    fn question(peers: u64, fan: u64) -> Question {
        Question { peers, fan, tasks: 10, task_ms: 10_000, seed: 3 }
    }

    #[test]
    fn numbers_survive_being_kept() {
        let mut values = [0.0; Curves::LEN];
        for (at, value) in values.iter_mut().enumerate() {
            *value = at as f64 + 0.5;
        }
        assert_eq!(Curves::from_values(&values).map(|curves| curves.values()), Some(values));
        assert_eq!(Curves::from_values(&values[1..]), None);
    }

    #[test]
    fn everyone_is_busy_and_nothing_is_computed_twice_before_the_end() {
        let (curves, _) = play(&question(200, 6), |_, _| {}).expect("played");
        assert_eq!((curves.done, curves.never), (1.0, 0.0), "{curves:?}");
        // No tree is better than one list; this one is not much worse.
        assert!(curves.seconds > curves.floor.0, "{curves:?}");
        assert!(curves.seconds < 1.25 * curves.floor.0, "{curves:?}");
        assert!(curves.idle < curves.floor.1 + 0.12, "{curves:?}");
        assert!(curves.vain < 0.12 && curves.attempts < 1.03, "{curves:?}");
    }

    #[test]
    fn the_reduced_model_agrees_with_the_machines_where_both_can_be_had() {
        let (_, rates) = play(&question(120, 5), |_, _| {}).expect("played");
        let larger = question(480, 5);
        let (played, _) = play(&larger, |_, _| {}).expect("played");
        let predicted = predict(&larger, &rates);
        for one in differences(&played, &predicted) {
            assert!(one.part.abs() < 2.0 * TOLERANCE, "{one:?}");
        }
    }

    #[test]
    fn a_mean_of_paces_is_that_of_their_distribution() {
        let paces = paces(50_000, 10_000, 1);
        let expected = 10.0 * (SPREAD * SPREAD / 2.0).exp();
        assert!((mean(&paces) / expected - 1.0).abs() < 0.01, "{}", mean(&paces));
    }
}
