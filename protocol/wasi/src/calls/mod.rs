//! What each import answers. Every call goes through the same steps in the same order, which the
//! spec fixes because they decide the fuel of failing calls too (spec GUEST-12):
//! the descriptor; plain arguments; bytes the call reads, each range checked, charged and copied;
//! the ranges of all results checked; the question decided; results charged and stored in the
//! order of the parameters.

mod descriptor;
mod path;
mod process;

pub(crate) use process::Strings;

use crate::{
    abi::{Errno, Import},
    host::{Answer, Args, Host},
    memory::{Guest, GuestMemory},
};

impl Host {
    pub(crate) fn dispatch<M: GuestMemory + ?Sized>(
        &mut self,
        import: Import,
        args: Args<'_>,
        guest: &mut Guest<'_, M>,
    ) -> Answer {
        match import {
            Import::ArgsGet => self.args.get(args, guest),
            Import::ArgsSizesGet => self.args.sizes_get(args, guest),
            Import::EnvironGet => self.env.get(args, guest),
            Import::EnvironSizesGet => self.env.sizes_get(args, guest),
            Import::ClockResGet => {
                process::clock_get(args.u32(0), args.u32(1), process::CLOCK_RESOLUTION, guest)
            }
            Import::ClockTimeGet => {
                process::clock_get(args.u32(0), args.u32(2), process::CLOCK_TIME, guest)
            }
            Import::RandomGet => self.random_get(args, guest),
            Import::PollOneoff => self.poll_oneoff(args, guest),
            Import::ProcExit => process::exit(args),
            Import::SchedYield => Ok(()),

            Import::FdRead => self.fd_read(args, guest),
            Import::FdPread => self.fd_pread(args, guest),
            Import::FdWrite => self.fd_write(args, guest),
            Import::FdPwrite => self.fd_pwrite(args),
            Import::FdSeek => self.fd_seek(args, guest),
            Import::FdTell => self.fd_tell(args, guest),
            Import::FdClose => Ok(self.descriptors.close(args.u32(0))?),
            Import::FdFdstatGet => self.fd_fdstat_get(args, guest),
            Import::FdFilestatGet => self.fd_filestat_get(args, guest),
            Import::FdPrestatGet => self.fd_prestat_get(args, guest),
            Import::FdPrestatDirName => self.fd_prestat_dir_name(args, guest),
            Import::FdReaddir => self.fd_readdir(args, guest),
            // Nothing is buffered and no flag has an effect, so these hold for any open descriptor.
            Import::FdAdvise | Import::FdSync | Import::FdDatasync | Import::FdFdstatSetFlags => {
                self.descriptors.get(args.u32(0))?;
                Ok(())
            }

            Import::PathOpen => self.path_open(args, guest),
            Import::PathFilestatGet => self.path_filestat_get(args, guest),
            Import::PathReadlink => self.path_readlink(args, guest),

            // Answered alike whatever the arguments: nothing below `/data` ever changes.
            Import::FdAllocate
            | Import::FdFilestatSetSize
            | Import::FdFilestatSetTimes
            | Import::PathCreateDirectory
            | Import::PathFilestatSetTimes
            | Import::PathLink
            | Import::PathRemoveDirectory
            | Import::PathRename
            | Import::PathSymlink
            | Import::PathUnlinkFile => Err(Errno::Rofs.into()),
            Import::FdFdstatSetRights | Import::FdRenumber | Import::ProcRaise => {
                Err(Errno::Notsup.into())
            }
        }
    }
}
