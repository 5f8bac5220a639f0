//! The guest's memory as the host sees it, and the meter on every byte that crosses.

use alloc::vec::Vec;

use crate::{abi::Errno, host::Halt, host::Stop};

/// The linear memory of one guest, lent to the host for one call.
///
/// Copying in and out instead of lending slices lets an engine whose memory is not addressable
/// from here (a browser's) serve too.
pub trait GuestMemory {
    /// Its current size in bytes, at most 4 GiB.
    fn size(&self) -> u64;
    /// Copies `into.len()` bytes from address `at`; false and nothing done if they are not all inside.
    fn read(&self, at: u32, into: &mut [u8]) -> bool;
    /// Copies `from` to address `at`; false and nothing done if it does not fit.
    fn write(&mut self, at: u32, from: &[u8]) -> bool;
}

impl GuestMemory for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, at: u32, into: &mut [u8]) -> bool {
        let source = usize::try_from(at).ok().and_then(|at| self.get(at..)?.get(..into.len()));
        source.map(|source| into.copy_from_slice(source)).is_some()
    }

    fn write(&mut self, at: u32, from: &[u8]) -> bool {
        let target =
            usize::try_from(at).ok().and_then(|at| self.get_mut(at..)?.get_mut(..from.len()));
        target.map(|target| target.copy_from_slice(from)).is_some()
    }
}

/// Memory and fuel of the running call: bytes are checked, then charged, then moved.
pub(crate) struct Guest<'a, M: ?Sized> {
    pub(crate) memory: &'a mut M,
    pub(crate) fuel: &'a mut u64,
}

impl<M: GuestMemory + ?Sized> Guest<'_, M> {
    /// Takes `units` of fuel; the attempt ends when none is left over, as it does inside the guest.
    pub(crate) fn charge(&mut self, units: u64) -> Result<(), Stop> {
        if units >= *self.fuel {
            *self.fuel = 0;
            return Err(Stop::OutOfFuel);
        }
        *self.fuel -= units;
        Ok(())
    }

    /// Whether `len` bytes at `at` lie inside the memory; an empty range may touch its end.
    pub(crate) fn check(&self, at: u32, len: u64) -> Result<(), Errno> {
        if u64::from(at).saturating_add(len) <= self.memory.size() {
            Ok(())
        } else {
            Err(Errno::Fault)
        }
    }

    /// Reads `len` bytes at `at`. Callers bound `len`, because it is allocated.
    pub(crate) fn load(&mut self, at: u32, len: u32) -> Result<Vec<u8>, Halt> {
        self.check(at, u64::from(len))?;
        self.charge(u64::from(len))?;
        let mut bytes = alloc::vec![0; len as usize];
        self.read_charged(at, &mut bytes)?;
        Ok(bytes)
    }

    /// Writes a small result to `at`.
    pub(crate) fn store(&mut self, at: u32, bytes: &[u8]) -> Result<(), Halt> {
        self.check(at, bytes.len() as u64)?;
        self.charge(bytes.len() as u64)?;
        self.write_charged(at, bytes)
    }

    /// Reads bytes that the caller has charged for.
    pub(crate) fn read_charged(&self, at: u32, into: &mut [u8]) -> Result<(), Halt> {
        if self.memory.read(at, into) { Ok(()) } else { Err(Errno::Fault.into()) }
    }

    /// Writes bytes that the caller has charged for.
    pub(crate) fn write_charged(&mut self, at: u32, bytes: &[u8]) -> Result<(), Halt> {
        if self.memory.write(at, bytes) { Ok(()) } else { Err(Errno::Fault.into()) }
    }
}
