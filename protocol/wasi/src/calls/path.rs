//! Calls that name files by path below `/data`.

use crate::{
    abi::{Errno, filetype, oflags, rights},
    calls::descriptor::filestat,
    data::Node,
    descriptor::{Descriptor, Source},
    host::{Answer, Args, Halt, Host, MAX_PATH},
    memory::{Guest, GuestMemory},
};

impl Host {
    /// Loads the path of `len` bytes at `at`.
    fn load_path<M: GuestMemory + ?Sized>(
        at: u32,
        len: u32,
        guest: &mut Guest<'_, M>,
    ) -> Result<alloc::vec::Vec<u8>, Halt> {
        if len > MAX_PATH {
            return Err(Errno::Nametoolong.into());
        }
        guest.load(at, len)
    }

    /// `path_open`: read-only. Lookup and descriptor flags have no effect; of the rights only the
    /// wish to write counts.
    pub(super) fn path_open<M: GuestMemory + ?Sized>(
        &mut self,
        args: Args<'_>,
        guest: &mut Guest<'_, M>,
    ) -> Answer {
        let (flags, wanted, opened_at) = (args.u32(4), args.u64(5), args.u32(8));
        self.descriptors.directory(args.u32(0))?;
        if flags & !(oflags::CREAT | oflags::DIRECTORY | oflags::EXCL | oflags::TRUNC) != 0 {
            return Err(Errno::Inval.into());
        }
        let path = Self::load_path(args.u32(2), args.u32(3), guest)?;
        guest.check(opened_at, 4)?;
        let descriptor = match (self.openable(&path, flags)?, wanted & rights::FD_WRITE != 0) {
            (Node::Directory, false) => Descriptor::Directory,
            (Node::Directory, true) => return Err(Errno::Isdir.into()),
            (Node::File(index), false) => {
                Descriptor::Source { source: Source::File(index), position: 0 }
            }
            (Node::File(_), true) => return Err(Errno::Rofs.into()),
        };
        let fd = self.descriptors.open(descriptor)?;
        guest.store(opened_at, &fd.to_le_bytes())
    }

    /// What `path` leads to, if `flags` let it be opened without changing anything.
    fn openable(&self, path: &[u8], flags: u32) -> Result<Node, Errno> {
        let node = match self.data.resolve(path) {
            Err(Errno::Noent) if flags & oflags::CREAT != 0 => return Err(Errno::Rofs),
            other => other?,
        };
        if flags & oflags::CREAT != 0 && flags & oflags::EXCL != 0 {
            return Err(Errno::Exist);
        }
        match node {
            Node::File(_) if flags & oflags::DIRECTORY != 0 => Err(Errno::Notdir),
            Node::File(_) if flags & oflags::TRUNC != 0 => Err(Errno::Rofs),
            Node::Directory if flags & oflags::TRUNC != 0 => Err(Errno::Isdir),
            _ => Ok(node),
        }
    }

    /// `path_filestat_get`.
    pub(super) fn path_filestat_get<M: GuestMemory + ?Sized>(
        &self,
        args: Args<'_>,
        guest: &mut Guest<'_, M>,
    ) -> Answer {
        let stat_at = args.u32(4);
        self.descriptors.directory(args.u32(0))?;
        let path = Self::load_path(args.u32(2), args.u32(3), guest)?;
        guest.check(stat_at, 64)?;
        let stat = match self.data.resolve(&path)? {
            Node::Directory => filestat(filetype::DIRECTORY, 0),
            Node::File(index) => filestat(filetype::REGULAR, self.data.content(index).len() as u64),
        };
        guest.store(stat_at, &stat)
    }

    /// `path_readlink`: there are no links, so whatever exists is not one.
    pub(super) fn path_readlink<M: GuestMemory + ?Sized>(
        &self,
        args: Args<'_>,
        guest: &mut Guest<'_, M>,
    ) -> Answer {
        self.descriptors.directory(args.u32(0))?;
        let path = Self::load_path(args.u32(1), args.u32(2), guest)?;
        guest.check(args.u32(3), u64::from(args.u32(4)))?;
        guest.check(args.u32(5), 4)?;
        self.data.resolve(&path)?;
        Err(Errno::Inval.into())
    }
}
