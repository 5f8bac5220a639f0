//! Calls on open descriptors: reading, writing, positions, what they are.

use alloc::vec::Vec;

use crate::{
    abi::{Errno, filetype},
    data::DIRECTORY_NAME,
    descriptor::{Descriptor, Descriptors, Source},
    host::{Answer, Args, Halt, Host, MAX_LOG, MAX_VECTOR, Stop},
    memory::{Guest, GuestMemory},
};

/// Bytes of a directory entry before its name.
const DIRENT_LEN: usize = 24;
/// Bytes of one buffer description.
const IOVEC_LEN: usize = 8;

/// A vector of guest buffers, all inside its memory.
struct Buffers {
    parts: Vec<(u32, u32)>,
    total: u64,
}

impl Buffers {
    fn load<M: GuestMemory + ?Sized>(
        at: u32,
        count: u32,
        guest: &mut Guest<'_, M>,
    ) -> Result<Self, Halt> {
        if count > MAX_VECTOR {
            return Err(Errno::Inval.into());
        }
        let bytes = guest.load(at, count * IOVEC_LEN as u32)?;
        let (words, _) = bytes.as_chunks::<4>();
        let (pairs, _) = words.as_chunks::<2>();
        let mut buffers = Self { parts: Vec::with_capacity(pairs.len()), total: 0 };
        for [at, len] in pairs {
            let (at, len) = (u32::from_le_bytes(*at), u32::from_le_bytes(*len));
            guest.check(at, u64::from(len))?;
            buffers.parts.push((at, len));
            buffers.total += u64::from(len);
        }
        if buffers.total > u64::from(u32::MAX) {
            return Err(Errno::Inval.into());
        }
        Ok(buffers)
    }

    /// Fills the buffers in order with as much of `content` as they hold; returns how much that was.
    fn fill<M: GuestMemory + ?Sized>(
        &self,
        content: &[u8],
        guest: &mut Guest<'_, M>,
    ) -> Result<u32, Halt> {
        let moved = self.total.min(content.len() as u64);
        guest.charge(moved)?;
        let mut rest = &content[..moved as usize];
        for (at, len) in &self.parts {
            let (part, after) = rest.split_at(rest.len().min(*len as usize));
            guest.write_charged(*at, part)?;
            rest = after;
        }
        Ok(moved as u32)
    }

    /// Appends all buffers to `to`, which has room for them. The bytes have been charged for.
    fn append<M: GuestMemory + ?Sized>(&self, to: &mut Vec<u8>, guest: &Guest<'_, M>) -> Answer {
        for (at, len) in &self.parts {
            let start = to.len();
            to.resize(start + *len as usize, 0);
            guest.read_charged(*at, &mut to[start..])?;
        }
        Ok(())
    }
}

impl Host {
    pub(super) fn content(&self, source: Source) -> &[u8] {
        match source {
            Source::Stdin => &self.stdin,
            Source::File(index) => self.data.content(index),
        }
    }

    /// `fd_read`.
    pub(super) fn fd_read<M: GuestMemory + ?Sized>(
        &mut self,
        args: Args<'_>,
        guest: &mut Guest<'_, M>,
    ) -> Answer {
        let fd = args.u32(0);
        let (source, position) = self.descriptors.source(fd)?;
        let read =
            self.read_at(source, position, (args.u32(1), args.u32(2)), args.u32(3), guest)?;
        self.descriptors.set_position(fd, position + u64::from(read));
        Ok(())
    }

    /// `fd_pread`.
    pub(super) fn fd_pread<M: GuestMemory + ?Sized>(
        &mut self,
        args: Args<'_>,
        guest: &mut Guest<'_, M>,
    ) -> Answer {
        let (source, _) = self.descriptors.seekable(args.u32(0))?;
        self.read_at(source, args.u64(3), (args.u32(1), args.u32(2)), args.u32(4), guest)?;
        Ok(())
    }

    fn read_at<M: GuestMemory + ?Sized>(
        &self,
        source: Source,
        position: u64,
        (buffers_at, count): (u32, u32),
        read_at: u32,
        guest: &mut Guest<'_, M>,
    ) -> Result<u32, Halt> {
        let buffers = Buffers::load(buffers_at, count, guest)?;
        guest.check(read_at, 4)?;
        let content = self.content(source);
        let rest = usize::try_from(position)
            .ok()
            .and_then(|position| content.get(position..))
            .unwrap_or(&[]);
        let read = buffers.fill(rest, guest)?;
        guest.store(read_at, &read.to_le_bytes())?;
        Ok(read)
    }

    /// `fd_write`: all bytes or none.
    pub(super) fn fd_write<M: GuestMemory + ?Sized>(
        &mut self,
        args: Args<'_>,
        guest: &mut Guest<'_, M>,
    ) -> Answer {
        let descriptor = self.descriptors.get(args.u32(0))?;
        if !matches!(descriptor, Descriptor::Stdout | Descriptor::Stderr) {
            return Err(Errno::Badf.into());
        }
        let buffers = Buffers::load(args.u32(1), args.u32(2), guest)?;
        guest.check(args.u32(3), 4)?;
        guest.charge(buffers.total)?;
        if descriptor == Descriptor::Stdout {
            self.write_output(&buffers, guest)?;
        } else {
            self.write_log(&buffers, guest)?;
        }
        guest.store(args.u32(3), &(buffers.total as u32).to_le_bytes())
    }

    fn write_output<M: GuestMemory + ?Sized>(
        &mut self,
        buffers: &Buffers,
        guest: &Guest<'_, M>,
    ) -> Answer {
        if self.output.len() as u64 + buffers.total > self.output_limit {
            return Err(Stop::OutputLimit.into());
        }
        let room = self.output.try_reserve(buffers.total as usize);
        room.map_err(|_| Stop::HostMemory)?;
        buffers.append(&mut self.output, guest)
    }

    fn write_log<M: GuestMemory + ?Sized>(
        &mut self,
        buffers: &Buffers,
        guest: &Guest<'_, M>,
    ) -> Answer {
        let mut room = MAX_LOG - self.log.len();
        let mut kept = Buffers { parts: Vec::new(), total: 0 };
        for (at, len) in &buffers.parts {
            let part = room.min(*len as usize);
            kept.parts.push((*at, part as u32));
            room -= part;
        }
        kept.append(&mut self.log, guest)
    }

    /// `fd_pwrite`: nothing that can be written has positions.
    pub(super) fn fd_pwrite(&self, args: Args<'_>) -> Answer {
        match self.descriptors.get(args.u32(0))? {
            Descriptor::Stdout | Descriptor::Stderr => Err(Errno::Spipe.into()),
            _ => Err(Errno::Badf.into()),
        }
    }

    /// `fd_seek`: from the start, the position or the end; beyond the end is allowed.
    pub(super) fn fd_seek<M: GuestMemory + ?Sized>(
        &mut self,
        args: Args<'_>,
        guest: &mut Guest<'_, M>,
    ) -> Answer {
        let (fd, offset, whence, at) = (args.u32(0), args.u64(1) as i64, args.u32(2), args.u32(3));
        let (source, position) = self.descriptors.seekable(fd)?;
        let base = match whence {
            0 => 0,
            1 => position,
            2 => self.content(source).len() as u64,
            _ => return Err(Errno::Inval.into()),
        };
        guest.check(at, 8)?;
        let to = base
            .checked_add_signed(offset)
            .filter(|to| *to <= i64::MAX as u64)
            .ok_or(Errno::Inval)?;
        guest.store(at, &to.to_le_bytes())?;
        self.descriptors.set_position(fd, to);
        Ok(())
    }

    /// `fd_tell`.
    pub(super) fn fd_tell<M: GuestMemory + ?Sized>(
        &self,
        args: Args<'_>,
        guest: &mut Guest<'_, M>,
    ) -> Answer {
        let (_, position) = self.descriptors.seekable(args.u32(0))?;
        guest.store(args.u32(1), &position.to_le_bytes())
    }

    /// `fd_fdstat_get`: type and rights; no flags are ever set.
    pub(super) fn fd_fdstat_get<M: GuestMemory + ?Sized>(
        &self,
        args: Args<'_>,
        guest: &mut Guest<'_, M>,
    ) -> Answer {
        let descriptor = self.descriptors.get(args.u32(0))?;
        let (own, inheriting) = descriptor.rights();
        let mut stat = [0; 24];
        stat[0] = descriptor.filetype();
        stat[8..16].copy_from_slice(&own.to_le_bytes());
        stat[16..24].copy_from_slice(&inheriting.to_le_bytes());
        guest.store(args.u32(1), &stat)
    }

    /// `fd_filestat_get`.
    pub(super) fn fd_filestat_get<M: GuestMemory + ?Sized>(
        &self,
        args: Args<'_>,
        guest: &mut Guest<'_, M>,
    ) -> Answer {
        let descriptor = self.descriptors.get(args.u32(0))?;
        let size = match descriptor {
            Descriptor::Source { source, .. } => self.content(source).len() as u64,
            _ => 0,
        };
        guest.store(args.u32(1), &filestat(descriptor.filetype(), size))
    }

    /// `fd_prestat_get`: only `/data` was open from the start, and only under its first number.
    pub(super) fn fd_prestat_get<M: GuestMemory + ?Sized>(
        &self,
        args: Args<'_>,
        guest: &mut Guest<'_, M>,
    ) -> Answer {
        self.preopened(args.u32(0))?;
        let mut prestat = [0; 8];
        prestat[4..].copy_from_slice(&(DIRECTORY_NAME.len() as u32).to_le_bytes());
        guest.store(args.u32(1), &prestat)
    }

    /// `fd_prestat_dir_name`: the name without a zero byte, into a buffer at least as long.
    pub(super) fn fd_prestat_dir_name<M: GuestMemory + ?Sized>(
        &self,
        args: Args<'_>,
        guest: &mut Guest<'_, M>,
    ) -> Answer {
        self.preopened(args.u32(0))?;
        if (args.u32(2) as usize) < DIRECTORY_NAME.len() {
            return Err(Errno::Nametoolong.into());
        }
        guest.store(args.u32(1), DIRECTORY_NAME)
    }

    fn preopened(&self, fd: u32) -> Result<(), Errno> {
        match self.descriptors.get(fd)? {
            Descriptor::Directory if fd == Descriptors::PREOPENED => Ok(()),
            _ => Err(Errno::Badf),
        }
    }

    /// `fd_readdir`: entries from `cookie` on, the last one cut where the buffer ends.
    pub(super) fn fd_readdir<M: GuestMemory + ?Sized>(
        &self,
        args: Args<'_>,
        guest: &mut Guest<'_, M>,
    ) -> Answer {
        let (fd, at, len, cookie, used_at) =
            (args.u32(0), args.u32(1), args.u32(2), args.u64(3), args.u32(4));
        self.descriptors.directory(fd)?;
        guest.check(at, u64::from(len))?;
        guest.check(used_at, 4)?;
        let listing = self.listing(cookie, len as usize);
        guest.store(at, &listing)?;
        guest.store(used_at, &(listing.len() as u32).to_le_bytes())
    }

    fn listing(&self, cookie: u64, len: usize) -> Vec<u8> {
        let mut listing = Vec::new();
        let Ok(first) = usize::try_from(cookie) else { return listing };
        let dots = [".", ".."].into_iter().map(|name| (name, filetype::DIRECTORY)).skip(first);
        let files =
            self.data.names_from(first.saturating_sub(2)).map(|name| (name, filetype::REGULAR));
        for (index, (name, kind)) in dots.chain(files).enumerate() {
            if listing.len() >= len {
                break;
            }
            let mut entry = [0; DIRENT_LEN];
            entry[..8].copy_from_slice(&(cookie + index as u64 + 1).to_le_bytes());
            entry[16..20].copy_from_slice(&(name.len() as u32).to_le_bytes());
            entry[20] = kind;
            listing.extend_from_slice(&entry);
            listing.extend_from_slice(name.as_bytes());
        }
        listing.truncate(len);
        listing
    }
}

/// A `filestat`: one link, no device, no inode, no times.
pub(super) fn filestat(kind: u8, size: u64) -> [u8; 64] {
    let mut stat = [0; 64];
    stat[16] = kind;
    stat[24] = 1;
    stat[32..40].copy_from_slice(&size.to_le_bytes());
    stat
}
