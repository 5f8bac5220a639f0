//! `bayan-sim scale`: the same job over trees of different sizes, as a table.

use std::time::Instant;

use anyhow::ensure;

use super::{FINE, FOUND};
use crate::scale::{Answer, Question, play};

/// What `scale` is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Numbers of peers, one row each
    #[arg(long, value_delimiter = ',', default_value = "100,1000")]
    peers: Vec<u64>,
    /// Peers below each one
    #[arg(long, default_value_t = 16)]
    fan: u64,
    /// Tasks a peer
    #[arg(long, default_value_t = 10)]
    tasks: u64,
    /// Milliseconds a task on the median peer
    #[arg(long, default_value_t = 10_000)]
    task_ms: u64,
    /// Seed of everything
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub(super) fn run(args: &Args) -> anyhow::Result<u8> {
    let Args { fan, tasks, task_ms, seed, .. } = *args;
    ensure!((2..=150).contains(&fan), "--fan is from 2 to 150: a peer has 160 neighbours at most");
    ensure!(tasks > 0 && task_ms > 0, "--tasks and --task-ms are above 0");
    println!(
        "peers,depth,done,begun50_s,begun99_s,begun_s,never,seconds,idle,attempts,frames,bytes,\
         most_frames,events,real_s"
    );
    let mut fine = true;
    for peers in args.peers.iter().copied() {
        ensure!((1..=1_000_000).contains(&peers), "--peers is from 1 to 1000000");
        let began = Instant::now();
        let answer = play(&Question { peers, fan, tasks, task_ms, seed });
        let Answer { depth, done, begun: [half, most, all], never, seconds, idle, .. } = answer;
        let Answer { attempts, frames, bytes, most: busiest, events, .. } = answer;
        println!(
            "{peers},{depth},{done},{half:.2},{most:.2},{all:.2},{never},{seconds:.1},{idle:.3},\
             {attempts:.3},{frames:.1},{bytes:.0},{busiest},{events},{:.1}",
            began.elapsed().as_secs_f64()
        );
        fine &= done;
    }
    Ok(if fine { FINE } else { FOUND })
}
