//! The wasm engine: runs one packed guest on one task and reports a result that every honest peer
//! reproduces (spec GUEST).
//!
//! | module | subject |
//! |---|---|
//! | `settings` | how wasmtime is set up, and the fingerprint of that |
//! | `module` | compiling a packed module, and loading what was compiled |
//! | `attempt` | one execution, from a fresh instance to its [`Outcome`] |
//! | `bridge` | the guest's imports, answered by `bayan-wasi` |
//!
//! Packed modules count their own fuel, bound their own stack and canonicalise their own NaNs
//! (`bayan-packing`), so the engine adds nothing to the code it compiles. Wall time, cancelling,
//! excess memory and keeping compiled code are the business of the process around this crate.
//!
//! # System calls
//! What a filter has to let through on Linux, besides what Rust's own start needs and what the
//! allocator may ask for at any time (`brk`, `mmap`, `munmap`, `mremap`, `mprotect`, `madvise`; on
//! threads but the first, the allocator of glibc also opens `/proc/sys/vm/overcommit_memory` once,
//! and takes a refusal for an answer).
//!
//! | when | calls |
//! |---|---|
//! | [`Engine::new`], before any wall | `rt_sigaction` (SEGV, ILL, FPE), `mmap` (8 GiB of address space for memories, 256 MiB for tables), `getrandom`, `sched_getaffinity`, opens and reads `/proc/self/cgroup` and files below `/sys/fs/cgroup`, opens `/proc/self/pagemap`, `ioctl` on it |
//! | [`Engine::load`] | `statx` or `fstat` of the artefact, `mmap` of it (private), `mprotect` (also to executable); on ARM `membarrier` |
//! | the last clone of a [`Module`] goes | `munmap`, `mmap` (fixed), `close` |
//! | first [`Engine::run`] of a thread | `sigaltstack`, `mmap`, `mprotect`; when it ends `sigaltstack`, `munmap` |
//! | [`Engine::run`] | `ioctl` `PAGEMAP_SCAN` on `/proc/self/pagemap`, and nothing else for small tasks; `madvise` to give memory back; `mmap` (fixed, of the artefact or anonymous) and `mprotect` where the module is another than last time; `clock_gettime` where the kernel does not map it |
//! | memory grows | `mprotect` |
//! | a trap | SEGV, ILL or FPE to the thread itself, `rt_sigreturn` |
//! | [`compile`], [`fingerprint`] | `rt_sigaction`, `sched_getaffinity` and the allocator's |
//!
//! Builds with debug assertions ask `fcntl` `F_GETFD` before each `close`. If the filter refuses
//! `PAGEMAP_SCAN`, attempts still run, but every one clears up to 1 MiB more than it has to.

mod attempt;
mod bridge;
mod module;
mod settings;

pub use attempt::{Outcome, Task, Verdict};
pub use module::{CompileError, LoadError, Module, compile};
pub use settings::{Engine, EngineError, STACK, fingerprint};
