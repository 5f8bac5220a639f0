//! Modules made ready to run.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bayan_packing::{Refusal, Report};
use bayan_protocol::id::Hash;

use crate::{sealed, task::next_id};

/// What is assumed of a module that has never run: too long for more than one at a time.
const UNKNOWN: u64 = 1_000_000;

/// A guest module, packed and compiled. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Module(Arc<Compiled>);

impl PartialEq for Module {
    /// Whether both are one compiled form.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Module {}

#[derive(Debug)]
struct Compiled {
    id: u64,
    hash: Hash,
    packed: Hash,
    report: Report,
    artefact: OwnedFd,
    artefact_len: u64,
    /// Microseconds that an attempt takes, about.
    typical: AtomicU64,
}

impl Module {
    pub(crate) fn new(
        hash: Hash,
        packed: Hash,
        report: Report,
        artefact: &[u8],
    ) -> io::Result<Self> {
        Ok(Self(Arc::new(Compiled {
            id: next_id(),
            hash,
            packed,
            report,
            artefact: sealed::seal("bayan-module", artefact)?,
            artefact_len: artefact.len() as u64,
            typical: AtomicU64::new(UNKNOWN),
        })))
    }

    /// Digest of the module's bytes as they were given.
    pub fn hash(&self) -> Hash {
        self.0.hash
    }

    /// Digest of the packed module.
    pub fn packed_hash(&self) -> Hash {
        self.0.packed
    }

    /// What packing did.
    pub fn report(&self) -> &Report {
        &self.0.report
    }

    /// Bytes of the compiled form.
    pub fn artefact_len(&self) -> u64 {
        self.0.artefact_len
    }

    /// Whether there is another clone.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }

    pub(crate) fn artefact(&self) -> BorrowedFd<'_> {
        self.0.artefact.as_fd()
    }

    /// How long an attempt takes, about: rather too much than too little.
    pub(crate) fn typical(&self) -> Duration {
        Duration::from_micros(self.0.typical.load(Ordering::Relaxed))
    }

    /// Takes in how long an attempt took: longer ones count at once, shorter ones slowly.
    pub(crate) fn learn(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(UNKNOWN).min(UNKNOWN);
        let before = self.0.typical.load(Ordering::Relaxed);
        let after = if before == UNKNOWN { took } else { took.max((before * 7 + took) / 8) };
        // Another slot's lesson may be lost; the next one is not.
        self.0.typical.store(after.max(1), Ordering::Relaxed);
    }
}

/// Why a module cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// No guest may be like this; every peer says so.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The module is in order, but this machine could not compile it.
    #[error("cannot compile the module here: {0}")]
    Compile(String),
    /// Compiling was ended.
    #[error("compiling took more than {0} s")]
    CompileTime(u64),
    /// Compiling was ended.
    #[error("compiling took more than {0} MiB of memory")]
    CompileMemory(u64),
    /// This machine does not do what it must.
    #[error("cannot make the module ready: {0}")]
    System(String),
}
