//! The table of open descriptors: what each number stands for and where it is read next.

use alloc::vec::Vec;

use crate::abi::{Errno, filetype, rights};

/// Descriptors open at once, the four that a guest starts with among them.
pub const MAX_DESCRIPTORS: usize = 256;

/// Bytes that can be read at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Stdin,
    File(usize),
}

/// What an open descriptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Descriptor {
    Source { source: Source, position: u64 },
    Stdout,
    Stderr,
    Directory,
}

impl Descriptor {
    pub(crate) fn filetype(self) -> u8 {
        match self {
            Self::Source { .. } => filetype::REGULAR,
            Self::Stdout | Self::Stderr => filetype::UNKNOWN,
            Self::Directory => filetype::DIRECTORY,
        }
    }

    /// The rights it reports: its own and those it passes on.
    pub(crate) fn rights(self) -> (u64, u64) {
        match self {
            Self::Source { .. } => (rights::SOURCE, 0),
            Self::Stdout | Self::Stderr => (rights::SINK, 0),
            Self::Directory => (rights::DIRECTORY, rights::INHERITING),
        }
    }
}

/// Descriptors by number.
pub(crate) struct Descriptors {
    open: Vec<Option<Descriptor>>,
}

impl Descriptors {
    /// Number of the directory that is open from the start.
    pub(crate) const PREOPENED: u32 = 3;

    pub(crate) fn new() -> Self {
        let stdin = Descriptor::Source { source: Source::Stdin, position: 0 };
        let open = [stdin, Descriptor::Stdout, Descriptor::Stderr, Descriptor::Directory];
        Self { open: open.into_iter().map(Some).collect() }
    }

    pub(crate) fn get(&self, fd: u32) -> Result<Descriptor, Errno> {
        self.open.get(fd as usize).copied().flatten().ok_or(Errno::Badf)
    }

    /// A descriptor that can be read at a position, and that position.
    pub(crate) fn source(&self, fd: u32) -> Result<(Source, u64), Errno> {
        match self.get(fd)? {
            Descriptor::Source { source, position } => Ok((source, position)),
            Descriptor::Directory => Err(Errno::Isdir),
            Descriptor::Stdout | Descriptor::Stderr => Err(Errno::Badf),
        }
    }

    /// As [`Self::source`], for calls that ask about the position itself.
    pub(crate) fn seekable(&self, fd: u32) -> Result<(Source, u64), Errno> {
        match self.get(fd)? {
            Descriptor::Stdout | Descriptor::Stderr => Err(Errno::Spipe),
            _ => self.source(fd),
        }
    }

    pub(crate) fn directory(&self, fd: u32) -> Result<(), Errno> {
        if self.get(fd)? == Descriptor::Directory { Ok(()) } else { Err(Errno::Notdir) }
    }

    pub(crate) fn set_position(&mut self, fd: u32, to: u64) {
        if let Some(Some(Descriptor::Source { position, .. })) = self.open.get_mut(fd as usize) {
            *position = to;
        }
    }

    /// Opens `descriptor` at the lowest free number.
    pub(crate) fn open(&mut self, descriptor: Descriptor) -> Result<u32, Errno> {
        let free = self.open.iter().position(Option::is_none).unwrap_or(self.open.len());
        if free >= MAX_DESCRIPTORS {
            return Err(Errno::Mfile);
        }
        if free == self.open.len() {
            self.open.push(None);
        }
        self.open[free] = Some(descriptor);
        Ok(free as u32)
    }

    pub(crate) fn close(&mut self, fd: u32) -> Result<(), Errno> {
        self.get(fd)?;
        self.open[fd as usize] = None;
        Ok(())
    }
}
