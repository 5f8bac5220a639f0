//! Processor time: what a computation took, whatever else the machine did meanwhile.

use std::{fs, time::Duration};

use anyhow::Context as _;
use rustix::time::{ClockId, clock_gettime};

/// What the calling thread has taken, in nanoseconds.
pub fn thread_nanos() -> u64 {
    nanos(ClockId::ThreadCPUTime)
}

/// What this process has taken, ended threads included.
pub fn process() -> Duration {
    Duration::from_nanos(nanos(ClockId::ProcessCPUTime))
}

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// What the threads of another process have taken that have not ended.
pub fn of(process: u32) -> anyhow::Result<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let path = thread?.path().join("schedstat");
        let told =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let first =
            told.split_ascii_whitespace().next().and_then(|first| first.parse::<u64>().ok());
        nanos += first.with_context(|| format!("{} is not as expected", path.display()))?;
    }
    Ok(Duration::from_nanos(nanos))
}
