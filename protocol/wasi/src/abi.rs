//! The import table: names, signatures, error numbers and the numeric constants of preview 1.
//!
//! What each import answers lives in `calls`.

/// The only module name guests may import from.
pub const MODULE: &str = "wasi_snapshot_preview1";

/// A core WebAssembly type in an import's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
}

macro_rules! imports {
    ($($variant:ident $name:ident ($($param:ident)*);)*) => {
        /// A host function that guests may import.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Import {
            $(#[doc = concat!("`", stringify!($name), "`")] $variant,)*
        }

        impl Import {
            /// Every import, in alphabetical order of name.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The import's name inside [`MODULE`].
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($name),)* }
            }

            /// The types of its parameters.
            pub const fn params(self) -> &'static [ValueType] {
                match self { $(Self::$variant => &[$(ValueType::$param,)*],)* }
            }
        }
    };
}

imports! {
    ArgsGet args_get(I32 I32);
    ArgsSizesGet args_sizes_get(I32 I32);
    ClockResGet clock_res_get(I32 I32);
    ClockTimeGet clock_time_get(I32 I64 I32);
    EnvironGet environ_get(I32 I32);
    EnvironSizesGet environ_sizes_get(I32 I32);
    FdAdvise fd_advise(I32 I64 I64 I32);
    FdAllocate fd_allocate(I32 I64 I64);
    FdClose fd_close(I32);
    FdDatasync fd_datasync(I32);
    FdFdstatGet fd_fdstat_get(I32 I32);
    FdFdstatSetFlags fd_fdstat_set_flags(I32 I32);
    FdFdstatSetRights fd_fdstat_set_rights(I32 I64 I64);
    FdFilestatGet fd_filestat_get(I32 I32);
    FdFilestatSetSize fd_filestat_set_size(I32 I64);
    FdFilestatSetTimes fd_filestat_set_times(I32 I64 I64 I32);
    FdPread fd_pread(I32 I32 I32 I64 I32);
    FdPrestatDirName fd_prestat_dir_name(I32 I32 I32);
    FdPrestatGet fd_prestat_get(I32 I32);
    FdPwrite fd_pwrite(I32 I32 I32 I64 I32);
    FdRead fd_read(I32 I32 I32 I32);
    FdReaddir fd_readdir(I32 I32 I32 I64 I32);
    FdRenumber fd_renumber(I32 I32);
    FdSeek fd_seek(I32 I64 I32 I32);
    FdSync fd_sync(I32);
    FdTell fd_tell(I32 I32);
    FdWrite fd_write(I32 I32 I32 I32);
    PathCreateDirectory path_create_directory(I32 I32 I32);
    PathFilestatGet path_filestat_get(I32 I32 I32 I32 I32);
    PathFilestatSetTimes path_filestat_set_times(I32 I32 I32 I32 I64 I64 I32);
    PathLink path_link(I32 I32 I32 I32 I32 I32 I32);
    PathOpen path_open(I32 I32 I32 I32 I32 I64 I64 I32 I32);
    PathReadlink path_readlink(I32 I32 I32 I32 I32 I32);
    PathRemoveDirectory path_remove_directory(I32 I32 I32);
    PathRename path_rename(I32 I32 I32 I32 I32 I32);
    PathSymlink path_symlink(I32 I32 I32 I32 I32);
    PathUnlinkFile path_unlink_file(I32 I32 I32);
    PollOneoff poll_oneoff(I32 I32 I32 I32);
    ProcExit proc_exit(I32);
    ProcRaise proc_raise(I32);
    RandomGet random_get(I32 I32);
    SchedYield sched_yield();
}

impl Import {
    /// Looks an import up by its name inside [`MODULE`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|import| import.name() == name)
    }

    /// Whether it returns an error number; only `proc_exit` returns nothing.
    pub fn returns_errno(self) -> bool {
        self != Self::ProcExit
    }
}

macro_rules! errnos {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        /// An error number of preview 1; those that this host answers with.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u16)]
        pub enum Errno {
            $($(#[$doc])* $name = $value,)*
        }
    };
}

errnos! {
    /// No error.
    Success = 0;
    /// The descriptor is not open, or not for this use.
    Badf = 8;
    /// The file exists and must not.
    Exist = 20;
    /// A pointer reaches outside the guest's memory.
    Fault = 21;
    /// An argument has no meaning.
    Inval = 28;
    /// The descriptor or path is a directory.
    Isdir = 31;
    /// Too many descriptors are open.
    Mfile = 33;
    /// A path, or a buffer for a name, has the wrong length.
    Nametoolong = 37;
    /// No such file.
    Noent = 44;
    /// A path goes through something that is not a directory.
    Notdir = 54;
    /// Not offered by this host.
    Notsup = 58;
    /// A value does not fit its 32-bit result.
    Overflow = 61;
    /// The file system is read-only.
    Rofs = 69;
    /// The descriptor has no position.
    Spipe = 70;
    /// A path leaves the directory it starts in.
    Notcapable = 76;
}

/// File types (`filetype`).
pub(crate) mod filetype {
    pub(crate) const UNKNOWN: u8 = 0;
    pub(crate) const DIRECTORY: u8 = 3;
    pub(crate) const REGULAR: u8 = 4;
}

/// Rights (`rights`), as far as this host reports them.
pub(crate) mod rights {
    pub(crate) const FD_DATASYNC: u64 = 1 << 0;
    pub(crate) const FD_READ: u64 = 1 << 1;
    pub(crate) const FD_SEEK: u64 = 1 << 2;
    pub(crate) const FD_FDSTAT_SET_FLAGS: u64 = 1 << 3;
    pub(crate) const FD_SYNC: u64 = 1 << 4;
    pub(crate) const FD_TELL: u64 = 1 << 5;
    pub(crate) const FD_WRITE: u64 = 1 << 6;
    pub(crate) const FD_ADVISE: u64 = 1 << 7;
    pub(crate) const PATH_OPEN: u64 = 1 << 13;
    pub(crate) const FD_READDIR: u64 = 1 << 14;
    pub(crate) const PATH_READLINK: u64 = 1 << 15;
    pub(crate) const PATH_FILESTAT_GET: u64 = 1 << 18;
    pub(crate) const FD_FILESTAT_GET: u64 = 1 << 21;
    pub(crate) const POLL_FD_READWRITE: u64 = 1 << 27;

    const ANY: u64 = FD_FDSTAT_SET_FLAGS
        | FD_SYNC
        | FD_DATASYNC
        | FD_ADVISE
        | FD_FILESTAT_GET
        | POLL_FD_READWRITE;
    /// Standard input and files.
    pub(crate) const SOURCE: u64 = ANY | FD_READ | FD_SEEK | FD_TELL;
    /// Standard output and error.
    pub(crate) const SINK: u64 = ANY | FD_WRITE;
    /// The directory itself.
    pub(crate) const DIRECTORY: u64 =
        ANY | PATH_OPEN | FD_READDIR | PATH_READLINK | PATH_FILESTAT_GET;
    /// What descriptors opened below the directory may ask for. `FD_WRITE` is among them so that a
    /// C library passes the wish to write on to `path_open`, where it is refused by name, instead
    /// of masking it out and failing at the first write.
    pub(crate) const INHERITING: u64 = SOURCE | DIRECTORY | FD_WRITE;
}

/// Flags of `path_open` (`oflags`).
pub(crate) mod oflags {
    pub(crate) const CREAT: u32 = 1;
    pub(crate) const DIRECTORY: u32 = 2;
    pub(crate) const EXCL: u32 = 4;
    pub(crate) const TRUNC: u32 = 8;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_distinct_and_found() {
        assert!(Import::ALL.windows(2).all(|pair| pair[0].name() < pair[1].name()));
        for import in Import::ALL {
            assert_eq!(Import::from_name(import.name()), Some(*import));
        }
        assert_eq!(Import::from_name("sock_open"), None);
    }
}
