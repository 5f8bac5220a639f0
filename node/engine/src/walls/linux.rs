//! The walls of Linux.

use std::io;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, Ruleset,
    RulesetAttr, RulesetStatus, Scope,
};
use rustix::{
    process::{
        DumpableBehavior, Resource, Signal, chdir, chroot, getppid, getpriority_process,
        set_dumpable_behavior, set_parent_process_death_signal, setpriority_process,
    },
    thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs},
};

use super::{Bounds, Walls, filter, limit, lower};

const LOWEST_PRIORITY: i32 = 19;

/// Closes every descriptor but standard input.
pub(crate) fn close_all_but_stdin() {
    const FIRST: libc::c_uint = 1;
    #[expect(unsafe_code, reason = "no safe wrapper can know that nobody owns a descriptor")]
    // SAFETY: called first thing in the process, when no value owns a descriptor.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, 0) };
    if closed == 0 {
        return;
    }
    // Before Linux 5.9.
    let names = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let open: Vec<libc::c_int> =
        names.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 0) {
        #[expect(unsafe_code, reason = "no safe wrapper can know that nobody owns a descriptor")]
        // SAFETY: as above; the directory that was read has been closed, its number is refused.
        unsafe {
            libc::close(descriptor);
        }
    }
}

/// Raises everything but the system call filter. The process must have one thread.
pub(crate) fn raise(bounds: &Bounds) -> Walls {
    // Where memory runs out altogether, this process goes first. Not a wall: it may fail.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let mut walls = Walls { empty_root: empty_root(), ..Walls::default() };
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    walls.no_capabilities = set_capabilities(None, none).is_ok();
    walls.no_new_privileges = set_no_new_privs(true).is_ok();
    // After what changes credentials, which takes both back.
    let parent = getppid();
    walls.parent_death_signal = set_parent_process_death_signal(Some(Signal::KILL)).is_ok();
    if getppid() != parent || parent.is_none() {
        std::process::exit(0);
    }
    walls.undumpable = set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok();
    // Fails where it is lower already, which cannot be.
    let _ = setpriority_process(None, LOWEST_PRIORITY);
    walls.nice = getpriority_process(None).unwrap_or_default();
    walls.idle_io = idle_io().is_ok();
    walls.limits = limit(bounds);
    walls.landlock = no_paths().unwrap_or_default();
    walls
}

/// Raises the filter around all threads. Without it an engine process must not serve.
pub(crate) fn seal(walls: &mut Walls) -> Result<(), String> {
    walls.limits &= lower(Resource::Nproc, 0);
    filter::apply()?;
    walls.seccomp = true;
    Ok(())
}

/// Makes a directory without files the root. Needs a privilege that the process has as root, or
/// else in a user namespace of its own where the system lets it have one.
fn empty_root() -> bool {
    let enter = || chroot("/proc/self/fdinfo").and_then(|()| chdir("/"));
    if enter().is_ok() {
        return true;
    }
    #[expect(unsafe_code, reason = "unsafe for descriptor tables only, which stay as they are")]
    // SAFETY: only credentials change, in a process of one thread.
    let unshared = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWUSER) };
    unshared.and_then(|()| enter()).is_ok()
}

/// Forbids every path, every TCP port, and signals and abstract sockets beyond this process.
/// Returns the version of landlock that does so.
fn no_paths() -> Option<u32> {
    let newest = ABI::V7;
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(newest))
        .ok()?
        .handle_access(AccessNet::from_all(newest))
        .ok()?
        .scope(Scope::from_all(newest))
        .ok()?;
    let status = ruleset.create().ok()?.restrict_self().ok()?;
    match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _) => None,
        (_, LandlockStatus::Available { effective_abi, .. }) => Some(effective_abi as u32),
        _ => None,
    }
}

/// Reads and writes of this process wait for those of others.
fn idle_io() -> io::Result<()> {
    const WHO_PROCESS: libc::c_int = 1;
    const CLASS_IDLE: libc::c_int = 3 << 13;
    #[expect(unsafe_code, reason = "a system call without a wrapper")]
    // SAFETY: takes three integers and touches no memory; 0 names the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, CLASS_IDLE) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
