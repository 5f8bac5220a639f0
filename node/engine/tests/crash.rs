//! Engine processes that are killed at any moment: every attempt is reported once, rightly, and no
//! process is left. A test of its own because it counts the processes of this one.
#![cfg(target_os = "linux")]

#[path = "engine/common.rs"]
#[expect(dead_code, reason = "shared with tests that use the rest")]
mod common;

use bayan_engine::SubmitError;
use bayan_protocol::task::Status;
use rustix::process::{Pid, Signal, kill_process};

use common::{Reports, double, job, module};

const ATTEMPTS: u64 = 6000;
const KILLS: u32 = 60;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Processes whose parent is this one, dead ones included.
fn children() -> Vec<u32> {
    let parent = |pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    let all = std::fs::read_dir("/proc").unwrap();
    let all = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    all.filter(|pid| parent(pid) == Some(std::process::id())).collect()
}

#[test]
fn every_attempt_is_reported_once() {
    for seed in [1, 2, 3] {
        let mut random = Random(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let reports = Reports::default();
        let engines = reports.engines(double(3, &[]));
        let module = module(&engines);
        let (mut next, mut kills) = (0, 0);
        let mut kill_at = random.below(100);
        while reports.count() < ATTEMPTS as usize {
            while next < ATTEMPTS {
                let what = if next % 500 == 0 { ["sleep", "3"] } else { ["echo", ""] };
                match engines.submit(job(next, &module, &what, &next.to_le_bytes())) {
                    Ok(()) => next += 1,
                    Err(SubmitError::Full) => break,
                    Err(error) => panic!("{error}"),
                }
            }
            if reports.count() as u64 >= kill_at && kills < KILLS {
                let processes = engines.health().processes;
                if !processes.is_empty() {
                    let pid = processes[random.below(processes.len() as u64) as usize];
                    // It may have ended just now.
                    let _ = kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL);
                    kills += 1;
                    kill_at += random.below(2 * ATTEMPTS / u64::from(KILLS));
                }
            }
            std::thread::yield_now();
        }
        let all = reports.wait(ATTEMPTS as usize);
        let mut faults = 0;
        for (attempt, outcomes) in &all {
            assert_eq!(outcomes.len(), 1, "seed {seed}, attempt {attempt}");
            match outcomes[0].status {
                Status::Exited(0) => assert_eq!(outcomes[0].output, attempt.to_le_bytes()),
                Status::HostFault => faults += 1,
                other => panic!("seed {seed}, attempt {attempt}: {other:?}"),
            }
        }
        println!("seed {seed}: {kills} kills, {faults} attempts lost");
        assert!(kills > KILLS / 2, "seed {seed}: only {kills} kills");
        assert!(faults <= kills, "seed {seed}: {faults} attempts lost to {kills} kills");
        drop(engines);
        assert_eq!(children(), Vec::<u32>::new(), "seed {seed}");
    }
}
