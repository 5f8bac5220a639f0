//! The system calls that an engine process may make once it serves.
//!
//! A list of what is allowed, so that calls which later kernels bring are refused. It holds what
//! reading requests, writing outcomes, managing memory, waiting and ending need, and nothing that
//! names a file, a socket, a process or a thread.

use std::collections::BTreeMap;

use libc::{SYS_clone3, c_long};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads,
};

/// Allowed whatever the arguments.
const ALLOWED: &[c_long] = &[
    // The socket and descriptors that came through it.
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_close,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_ppoll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    // Traps of the guest arrive as signals.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Waiting, time, randomness of hash tables.
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_membarrier,
    // Asked by allocators and at the end of threads.
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_sched_getaffinity,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Answered by the other filter.
    SYS_clone3,
];

/// Allowed if an argument has these bits: a length is asked of an open descriptor in this way.
const BY_DESCRIPTOR: &[(c_long, u8)] = &[(libc::SYS_newfstatat, 3), (libc::SYS_statx, 2)];
/// Allowed if an argument is exactly this.
const BY_VALUE: &[(c_long, u8, u64)] = &[
    // Which pages of its own memory were written to, for clearing them: `PAGEMAP_SCAN`.
    (libc::SYS_ioctl, 1, 0xc060_6610),
    // Whether a descriptor is open, which builds with assertions ask before they close it.
    (libc::SYS_fcntl, 1, libc::F_GETFD as u64),
];

/// Raises the filter around all threads of this process, for good.
pub(super) fn apply() -> Result<(), String> {
    let words = |error: seccompiler::Error| format!("cannot filter system calls: {error}");
    // `clone3` is refused in the way that makes libraries fall back to `clone`, which is refused
    // for good: they then report that there is no thread.
    let program = |rules, mismatch, on_match| -> Result<BpfProgram, String> {
        let arch = TargetArch::try_from(std::env::consts::ARCH);
        let filter = arch.and_then(|arch| SeccompFilter::new(rules, mismatch, on_match, arch));
        filter.and_then(BpfProgram::try_from).map_err(|error| words(error.into()))
    };
    let clone3 = BTreeMap::from([(SYS_clone3, Vec::new())]);
    let refused = SeccompAction::Errno(libc::ENOSYS as u32);
    let clone3 = program(clone3, SeccompAction::Allow, refused)?;
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let list =
        program(rules().map_err(|error| words(error.into()))?, refused, SeccompAction::Allow)?;
    apply_filter_all_threads(&clone3).map_err(words)?;
    apply_filter_all_threads(&list).map_err(words)
}

fn rules() -> Result<BTreeMap<c_long, Vec<SeccompRule>>, seccompiler::BackendError> {
    let mut rules: BTreeMap<_, _> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    let mut add = |call: c_long, argument: u8, operator: SeccompCmpOp, value: u64| {
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?;
        rules.insert(call, vec![SeccompRule::new(vec![condition])?]);
        Ok(())
    };
    for (call, argument) in BY_DESCRIPTOR {
        let flag = libc::AT_EMPTY_PATH as u64;
        add(*call, *argument, SeccompCmpOp::MaskedEq(flag), flag)?;
    }
    for (call, argument, value) in BY_VALUE {
        add(*call, *argument, SeccompCmpOp::Eq, *value)?;
    }
    // Signals to itself, for ending in a way that says why.
    add(libc::SYS_tgkill, 0, SeccompCmpOp::Eq, u64::from(std::process::id()))?;
    Ok(rules)
}
