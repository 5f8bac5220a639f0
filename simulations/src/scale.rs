//! One job over a tree of many peers, all of them the protocol's own machines.
//!
//! Every inner peer of the tree hands work on and computes as well. Leaves compute.

use bayan_protocol::{job::Local, limits::MAX_JOB_TASKS, verify::Policy};
use bayan_world::{MS, SECOND, World, habits::Speeds, host::Plan};

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

/// What it took. Times are virtual seconds since the job was submitted.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Answer {
    /// Peers besides the submitter.
    pub peers: u64,
    /// Hops from the submitter to the deepest peer.
    pub depth: u32,
    /// Whether the job ended within the limit.
    pub done: bool,
    /// When half of the peers, 99 in 100, and all had begun; of those that ever did.
    pub begun: [f64; 3],
    /// Peers that never had anything to compute.
    pub never: u64,
    /// When the job ended.
    pub seconds: f64,
    /// Share of the slots' time, until the end, in which nothing was computed.
    pub idle: f64,
    /// Attempts a task.
    pub attempts: f64,
    /// Frames a peer, and bytes.
    pub frames: f64,
    /// Bytes a peer.
    pub bytes: f64,
    /// Frames of the peer that sent most.
    pub most: u64,
    /// Events that the world went through.
    pub events: u64,
}

/// Virtual time that a job may take.
const LIMIT: u64 = 24 * 3600 * SECOND;

/// Plays it.
pub fn play(question: &Question) -> Answer {
    let Question { peers, fan, tasks, task_ms, seed } = *question;
    let fan = fan.max(2);
    let mut world = World::new(seed);
    let me = world.join(Plan { slots: 0, relays: true, ..Plan::default() });
    let speeds = Speeds { median: task_ms * MS, sigma: 0.5 };
    let mut depths = vec![0_u32];
    for number in 1..=peers {
        // The first has its children at 1 to fan, the next from there on.
        let parent = (number - 1) / fan;
        let relays = number * fan < peers;
        let pace = speeds.draw(&mut world);
        let host = world.join(Plan { pace, relays, ..Plan::default() });
        world.connect(parent as usize, host);
        depths.push(depths[parent as usize] + 1);
    }
    // Peers have met and told each other what is below them.
    world.pass(60 * SECOND);
    let (began, before) = (world.now(), world.counts);
    let count = (peers * tasks).min(MAX_JOB_TASKS);
    let Some(job) = world.submit(me, count as i64, Policy::None, Local::Never) else {
        return Answer::default();
    };
    let until = world.after(LIMIT);
    let done = world.run_until(until, |world| world.is_over(me, &job));
    let since = |at: bayan_protocol::time::Timestamp| at.since(began).as_secs_f64();
    let mut begun: Vec<f64> =
        (1..world.len()).filter_map(|host| world.host(host).begun).map(since).collect();
    begun.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = (begun.len() as f64 * share).ceil() as usize;
        begun.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    };
    let (seconds, counts, all) = (since(world.now()), world.counts, peers as f64);
    let busy = (counts.busy - before.busy) as f64 / 1e6;
    Answer {
        peers,
        depth: depths.iter().copied().max().unwrap_or(0),
        done,
        begun: [at(0.5), at(0.99), at(1.0)],
        never: peers - begun.len() as u64,
        seconds,
        idle: 1.0 - busy / (seconds * all),
        attempts: (counts.attempts - before.attempts) as f64 / count as f64,
        frames: (counts.frames - before.frames) as f64 / all,
        bytes: (counts.bytes - before.bytes) as f64 / all,
        most: (0..world.len()).map(|host| world.host(host).sent.0).max().unwrap_or(0),
        events: counts.events,
    }
}
