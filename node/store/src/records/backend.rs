//! The database's file, on approval: until it is accepted, nothing is written to it.
//!
//! Opening repairs, and repairing writes: into pages that are free as far as the database can tell,
//! which in a damaged one are those that there is something left to find in.

use std::{
    fs::File,
    io,
    sync::{Arc, PoisonError, RwLock},
};

use redb::{StorageBackend, backends::FileBackend};

/// Bytes of writes that may be held back: opening an undamaged database makes a few pages.
const MAX_HELD: usize = 64 << 20;

/// What has been asked of the file and not been done.
#[derive(Debug)]
enum Step {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

#[derive(Debug, Default)]
struct Held {
    steps: Vec<Step>,
    bytes: usize,
}

/// A file and the steps held back; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Approval {
    file: Arc<FileBackend>,
    /// `None` once accepted.
    held: Arc<RwLock<Option<Held>>>,
}

impl Approval {
    pub(crate) fn new(file: File) -> Result<Self, redb::Error> {
        let file = Arc::new(FileBackend::new(file)?);
        Ok(Self { file, held: Arc::new(RwLock::new(Some(Held::default()))) })
    }

    /// Carries out what was held back, in order, and whatever follows at once.
    pub(crate) fn accept(&self) -> io::Result<()> {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        for step in held.take().unwrap_or_default().steps {
            match step {
                Step::Write(offset, bytes) => self.file.write(offset, &bytes)?,
                Step::SetLen(len) => self.file.set_len(len)?,
                Step::Sync => self.file.sync_data()?,
            }
        }
        Ok(())
    }

    /// Holds a step back, or says that it is to be carried out.
    fn hold(&self, bytes: usize, step: impl FnOnce() -> Step) -> io::Result<bool> {
        if self.held.read().unwrap_or_else(PoisonError::into_inner).is_none() {
            return Ok(false);
        }
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let Some(held) = held.as_mut() else { return Ok(false) };
        held.bytes += bytes;
        if held.bytes > MAX_HELD {
            return Err(io::Error::other("opening it would rewrite much of it"));
        }
        held.steps.push(step());
        Ok(true)
    }
}

impl StorageBackend for Approval {
    fn len(&self) -> io::Result<u64> {
        let len = self.file.len()?;
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let steps = held.iter().flat_map(|held| &held.steps);
        Ok(steps.fold(len, |len, step| match step {
            Step::Write(offset, bytes) => len.max(offset + bytes.len() as u64),
            Step::SetLen(len) => *len,
            Step::Sync => len,
        }))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let Some(held) = held.as_ref() else { return self.file.read(offset, out) };
        let end = offset + out.len() as u64;
        let there = usize::try_from(self.file.len()?.saturating_sub(offset)).unwrap_or(usize::MAX);
        let there = there.min(out.len());
        self.file.read(offset, &mut out[..there])?;
        out[there..].fill(0);
        let mut len = self.file.len()?;
        for step in &held.steps {
            match step {
                Step::Write(at, bytes) => {
                    let (from, to) = (offset.max(*at), end.min(at + bytes.len() as u64));
                    if from < to {
                        // Both within the lengths of the slices, by the line above.
                        let source = &bytes[(from - at) as usize..(to - at) as usize];
                        out[(from - offset) as usize..(to - offset) as usize]
                            .copy_from_slice(source);
                    }
                    len = len.max(at + bytes.len() as u64);
                }
                Step::SetLen(new) => {
                    let cut = new.clamp(&offset, &end) - offset;
                    out[cut as usize..].fill(0);
                    len = *new;
                }
                Step::Sync => {}
            }
        }
        if end > len {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a page is beyond the end"));
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if self.hold(0, || Step::SetLen(len))? { Ok(()) } else { self.file.set_len(len) }
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.hold(0, || Step::Sync)? { Ok(()) } else { self.file.sync_data() }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let held = self.hold(data.len(), || Step::Write(offset, data.to_vec()))?;
        if held { Ok(()) } else { self.file.write(offset, data) }
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}
