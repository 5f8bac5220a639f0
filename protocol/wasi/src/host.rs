//! The host of one attempt: its state, its doorway [`Host::call`], and how a call can end.
//!
//! The answers themselves are in `calls`.

use alloc::{string::String, sync::Arc, vec::Vec};

use crate::{
    abi::{Errno, Import},
    calls::Strings,
    data::{DataFiles, NameError},
    descriptor::Descriptors,
    memory::{Guest, GuestMemory},
};

/// Fuel that every host call costs before it looks at its arguments. Measured against the
/// 100 to 200 ns that entering and leaving the host takes in wasmtime.
pub const CALL_COST: u64 = 256;
/// Entries of one vector of buffers or subscriptions (Linux's `IOV_MAX`).
pub const MAX_VECTOR: u32 = 1024;
/// Bytes of one path (Linux's `PATH_MAX`).
pub const MAX_PATH: u32 = 4096;
/// Bytes of standard error that are kept; later ones are dropped.
pub const MAX_LOG: usize = 64 << 10;
/// A guest's name for itself, the first of its arguments.
pub const PROGRAM_NAME: &str = "app";

/// Domain of the guest's randomness (spec GUEST-22).
const RANDOM_DOMAIN: &[u8] = b"bayan 2026-11-21 guest randomness v1";

/// Everything that a guest can observe, and the bound on what it says.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The task's id, which keys the guest's randomness.
    pub task: [u8; 32],
    /// Arguments after [`PROGRAM_NAME`].
    pub args: Vec<String>,
    /// Environment, in the order shown to the guest.
    pub env: Vec<(String, String)>,
    /// Standard input.
    pub stdin: Arc<[u8]>,
    /// The files under `/data`, in any order.
    pub data: Vec<(String, Arc<[u8]>)>,
    /// Bytes of standard output before the attempt ends.
    pub output_limit: u64,
}

/// Why a call does not return to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The guest ended itself with this code.
    Exit(u32),
    /// The call cost at least the fuel that was left.
    OutOfFuel,
    /// The call would have written more standard output than allowed.
    OutputLimit,
    /// This machine has no memory left for the guest's output; says nothing about the guest.
    HostMemory,
}

/// A call's early end: an error number for the guest, or the end of the attempt.
pub(crate) enum Halt {
    Errno(Errno),
    Stop(Stop),
}

impl From<Errno> for Halt {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<Stop> for Halt {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

/// What a call's implementation gives back.
pub(crate) type Answer = Result<(), Halt>;

/// The surroundings of one attempt.
pub struct Host {
    pub(crate) args: Strings,
    pub(crate) env: Strings,
    pub(crate) stdin: Arc<[u8]>,
    pub(crate) data: DataFiles,
    pub(crate) descriptors: Descriptors,
    pub(crate) random: blake3::OutputReader,
    pub(crate) output: Vec<u8>,
    pub(crate) output_limit: u64,
    pub(crate) log: Vec<u8>,
}

impl Host {
    /// Surroundings for a fresh attempt.
    pub fn new(setup: Setup) -> Result<Self, NameError> {
        let args = core::iter::once(PROGRAM_NAME).chain(setup.args.iter().map(String::as_str));
        Ok(Self {
            args: Strings::new(args.map(|arg| [arg, "", ""])),
            env: Strings::new(setup.env.iter().map(|(name, value)| [name, "=", value])),
            stdin: setup.stdin,
            data: DataFiles::new(setup.data)?,
            descriptors: Descriptors::new(),
            random: blake3::Hasher::new_keyed(&setup.task).update(RANDOM_DOMAIN).finalize_xof(),
            output: Vec::new(),
            output_limit: setup.output_limit,
            log: Vec::new(),
        })
    }

    /// Serves one call of `import` and returns what it returns to the guest.
    ///
    /// `args` are the call's arguments in order, 32-bit ones zero-extended; missing ones count as
    /// zero. `fuel` is what the attempt has left and is reduced by the call's cost before the work
    /// is done. After a [`Stop`] the guest must not run on.
    pub fn call<M: GuestMemory + ?Sized>(
        &mut self,
        import: Import,
        args: &[u64],
        memory: &mut M,
        fuel: &mut u64,
    ) -> Result<u32, Stop> {
        let mut guest = Guest { memory, fuel };
        guest.charge(CALL_COST)?;
        let errno = match self.dispatch(import, Args(args), &mut guest) {
            Ok(()) => Errno::Success,
            Err(Halt::Errno(errno)) => errno,
            Err(Halt::Stop(stop)) => return Err(stop),
        };
        Ok(errno as u32)
    }

    /// What the guest has written to standard output.
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// The start of what the guest has written to standard error.
    pub fn log(&self) -> &[u8] {
        &self.log
    }

    /// Standard output and the kept part of standard error.
    pub fn into_parts(self) -> (Vec<u8>, Vec<u8>) {
        (self.output, self.log)
    }
}

/// A call's arguments by position.
#[derive(Clone, Copy)]
pub(crate) struct Args<'a>(&'a [u64]);

impl Args<'_> {
    pub(crate) fn u64(self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or(0)
    }

    pub(crate) fn u32(self, index: usize) -> u32 {
        self.u64(index) as u32
    }
}
