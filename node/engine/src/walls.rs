//! The walls around an engine process, raised by itself before it takes any work.
//!
//! Most of them bind one thread and what it starts, so they are raised in two steps: everything
//! but the system call filter while there is one thread; the filter when all threads that will
//! ever be needed have been started.

#[cfg(target_os = "linux")]
mod filter;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other;

use std::fmt;

#[cfg(target_os = "linux")]
pub(crate) use linux::{close_all_but_stdin, raise, seal};
#[cfg(not(target_os = "linux"))]
pub(crate) use other::{close_all_but_stdin, raise, seal};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

/// Descriptors that an engine process may have: the socket, modules, data on its way in.
const MAX_DESCRIPTORS: u64 = 64;

/// What an engine process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Bytes of private writable memory.
    pub(crate) data: u64,
    /// Seconds of processor time over its whole life; 0 is no bound.
    pub(crate) cpu_seconds: u64,
}

/// Which walls stand around an engine process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walls {
    /// Landlock forbids all paths, as far as this version of it goes; 0 if it is not there.
    pub landlock: u32,
    /// Only listed system calls are answered.
    pub seccomp: bool,
    /// It can gain no privileges.
    pub no_new_privileges: bool,
    /// It has no capabilities.
    pub no_capabilities: bool,
    /// Its root directory is an empty one.
    pub empty_root: bool,
    /// Memory, processor time, file size, descriptors, core dumps are bounded.
    pub limits: bool,
    /// Its processor priority; 19 is the lowest.
    pub nice: i32,
    /// It reads and writes when nobody else does.
    pub idle_io: bool,
    /// The system ends it when the parent ends.
    pub parent_death_signal: bool,
    /// Other processes of its user cannot look into it.
    pub undumpable: bool,
}

impl fmt::Display for Walls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = [
            ("seccomp", self.seccomp),
            ("no-new-privileges", self.no_new_privileges),
            ("no capabilities", self.no_capabilities),
            ("empty root", self.empty_root),
            ("resource limits", self.limits),
            ("idle I/O", self.idle_io),
            ("parent-death signal", self.parent_death_signal),
            ("undumpable", self.undumpable),
        ];
        match self.landlock {
            0 => f.write_str("without landlock")?,
            abi => write!(f, "landlock {abi}")?,
        }
        write!(f, ", nice {}", self.nice)?;
        for (name, stands) in flags {
            write!(f, ", {}{name}", if stands { "" } else { "without " })?;
        }
        Ok(())
    }
}

/// Sets the limits that hold from the start. True if all were taken.
fn limit(bounds: &Bounds) -> bool {
    let mut limits = vec![
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        (Resource::Nofile, MAX_DESCRIPTORS),
        (Resource::Data, bounds.data),
    ];
    if bounds.cpu_seconds > 0 {
        limits.push((Resource::Cpu, bounds.cpu_seconds));
    }
    // Not `all`, which would stop at the first that fails.
    limits.into_iter().filter(|(resource, value)| !lower(*resource, *value)).count() == 0
}

/// Lowers a limit for good; one that is lower already stays. Processor time has a second more until
/// the kill: the signal before it tells what the process died of, however its time was counted.
fn lower(resource: Resource, value: u64) -> bool {
    let maximum = value + u64::from(resource == Resource::Cpu);
    let at_most = |value: u64| getrlimit(resource).maximum.map_or(value, |known| known.min(value));
    let limit = Rlimit { current: Some(at_most(value)), maximum: Some(at_most(maximum)) };
    setrlimit(resource, limit).is_ok()
}
