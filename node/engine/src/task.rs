//! What is run and what came of it.

use std::{
    fs::File,
    io::{self, Seek, SeekFrom},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bayan_protocol::{
    id::TaskId,
    task::{Limits, Status},
};
pub use bayan_sandbox::Outcome;

use crate::sealed;

/// Bytes of a guest's standard error that come back.
pub const MAX_LOG: usize = 64 << 10;

/// Names of what engine processes are given once and keep: modules and data.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

pub(crate) fn next_id() -> u64 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

/// Everything one attempt needs but its module.
#[derive(Debug, Clone)]
pub struct Task {
    /// Keys the guest's randomness.
    pub id: TaskId,
    /// Arguments after the program's own name.
    pub args: Vec<String>,
    /// Environment, in order.
    pub env: Vec<(String, String)>,
    /// Standard input.
    pub stdin: Arc<[u8]>,
    /// Files the guest sees under `/data`; names without slashes, distinct.
    pub data: Vec<(String, Data)>,
    /// Bounds.
    pub limits: Limits,
}

/// The content of a data file, in a form that every engine process can be handed. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Data(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    id: u64,
    len: u64,
    file: OwnedFd,
}

impl Data {
    /// Copies `bytes` to memory that can be shared and no longer changed.
    pub fn new(bytes: &[u8]) -> io::Result<Self> {
        let file = sealed::seal("bayan-data", bytes)?;
        Ok(Self(Arc::new(Shared { id: next_id(), len: bytes.len() as u64, file })))
    }

    /// Shares an open file as it is. Nobody may change it from now on; engine processes get a
    /// descriptor of it, so it must have been opened for reading only.
    pub fn from_file(mut file: File) -> io::Result<Self> {
        let len = file.seek(SeekFrom::End(0))?;
        Ok(Self(Arc::new(Shared { id: next_id(), len, file: file.into() })))
    }

    /// Bytes.
    pub fn len(&self) -> u64 {
        self.0.len
    }

    /// Whether there is not a byte.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.file.as_fd()
    }
}

/// Reads all of a shared file, `len` bytes, whatever others have read of it.
pub(crate) fn read_shared(file: &File, len: u64) -> io::Result<Arc<[u8]>> {
    let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
    // In one allocation: data files may be as large as memory allows.
    let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, len).collect();
    if let Some(bytes) = Arc::get_mut(&mut bytes) {
        file.read_exact_at(bytes, 0)?;
    }
    Ok(bytes)
}

pub(crate) fn inconclusive(status: Status, words: &str) -> Outcome {
    Outcome { status, output: Vec::new(), fuel: 0, log: words.as_bytes().to_vec(), micros: 0 }
}

pub(crate) fn fault(words: &str) -> Outcome {
    inconclusive(Status::HostFault, words)
}

pub(crate) fn cancelled() -> Outcome {
    inconclusive(Status::WallTime, "cancelled")
}
