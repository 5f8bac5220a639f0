//! `bayan-sim scale`: the same job over trees of different sizes, as curves.

use std::{fs, path::PathBuf, time::Instant};

use anyhow::ensure;
use bayan_protocol::limits::{MAX_JOB_TASKS, MAX_PATH};

use super::FINE;
use crate::{
    report,
    scale::{self, MOST_PLAYED, Question},
    study::{Size, Study},
};

/// What `scale` is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Numbers of peers; those beyond 100000 come from a reduced model
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
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Trees of each size up to 10000, each with a seed of its own; larger ones are played once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    seeds: u16,
    /// Where table, plots and page go, in a folder `scale`; nowhere by default
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Peers that the reduced model is made for.
const MOST: u64 = 1_000_000;

impl Args {
    fn check(&self) -> anyhow::Result<()> {
        let Self { fan, tasks, task_ms, .. } = *self;
        for peers in &self.peers {
            ensure!((1..=MOST).contains(peers), "--peers is from 1 to {MOST}, not {peers}");
        }
        ensure!(
            (2..=150).contains(&fan),
            "--fan is from 2 to 150: a peer has 160 neighbours at most"
        );
        let deep = self.peers.iter().copied().max().map_or(0, |peers| scale::depth(peers, fan));
        ensure!(
            deep as usize <= MAX_PATH,
            "--fan {fan} makes a tree of {deep} levels: a lease goes over {MAX_PATH} hops at most"
        );
        ensure!((1..=3_600_000).contains(&task_ms), "--task-ms is from 1 to 3600000");
        let most = self.peers.iter().copied().filter(|peers| *peers <= MOST_PLAYED).max();
        let allowed = MAX_JOB_TASKS / most.unwrap_or(1);
        ensure!(
            (1..=allowed).contains(&tasks),
            "--tasks is from 1 to {allowed}: a job has a million tasks at most"
        );
        Ok(())
    }
}

pub(super) fn run(args: &Args) -> anyhow::Result<u8> {
    args.check()?;
    let Args { fan, tasks, task_ms, seed, seeds, .. } = *args;
    let mut study = Study::new(seed, Size::Full).loud();
    let folder = args.out.as_ref().map(|out| out.join("scale"));
    if let Some(folder) = &folder {
        study = study.keep_in(folder)?;
    }
    let begun = Instant::now();
    let question = Question { peers: 0, fan, tasks, task_ms, seed };
    let answer = scale::run(&study, &args.peers, seeds.into(), &question)?;
    if let (Some(out), Some(folder)) = (&args.out, &folder) {
        let peers: Vec<String> = args.peers.iter().map(u64::to_string).collect();
        let command = format!(
            "bayan-sim scale --peers {} --fan {fan} --tasks {tasks} --task-ms {task_ms} --seed {seed} \
             --seeds {seeds}",
            peers.join(",")
        );
        answer.write(folder, &command)?;
        report::write_index(out)?;
        study.finish()?;
    } else {
        print!("{}", answer.table());
    }
    let seconds = begun.elapsed().as_secs_f64();
    match peak() {
        Some(bytes) => {
            eprintln!("scale: {seconds:.0} s, {:.2} GiB at most", bytes / f64::from(1 << 30))
        }
        None => eprintln!("scale: {seconds:.0} s"),
    }
    Ok(FINE)
}

/// Memory that this process has taken at most, where the system says so.
fn peak() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024.0)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn fault(line: &str) -> String {
        let words = std::iter::once("scale").chain(line.split_whitespace());
        let args = Line::try_parse_from(words).expect("a line").args;
        run(&args).map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn what_makes_no_sense_is_refused_before_anything_is_played() {
        assert!(fault("--peers 0").contains("not 0"));
        assert!(fault("--peers 100,2000000").contains("not 2000000"));
        assert!(fault("--fan 1").contains("--fan is from 2"));
        assert!(fault("--peers 1000 --fan 2").contains("9 levels"));
        assert!(fault("--tasks 0").contains("--tasks is from 1"));
        assert!(fault("--peers 100000 --tasks 11").contains("from 1 to 10"));
        assert!(fault("--task-ms 0").contains("--task-ms"));
    }
}
