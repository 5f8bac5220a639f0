//! The few file-system habits everything here shares: private, atomic, synced, bounded.
//!
//! No knowledge of what the files mean.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read, Write},
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Prefix of files being written; whatever bears it at start-up is a leftover.
pub(crate) const TEMPORARY: &str = ".tmp-";

/// Whether `error` says that there is no room: disk, user's quota, or the process's file size limit.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// Makes renames, creations and removals in `dir` survive a loss of power.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

/// Creates `dir` and its parents as needed, readable by this user only.
pub(crate) fn create_private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// The permission bits of `metadata` if group or others have any.
pub(crate) fn too_open(metadata: &fs::Metadata) -> Option<u32> {
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
        (mode & 0o077 != 0).then_some(mode)
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        None
    }
}

/// Takes from group and others whatever access they have to `path`.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path)?.permissions().mode();
        if mode & 0o077 != 0 {
            fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o700))?;
        }
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// What [`write_atomic`] does with a file that is already there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// Puts the new content in its place.
    Replace,
    /// Leaves it and fails with `AlreadyExists`.
    Keep,
}

/// Writes `dir/name` (0600) so that a reader, now or after a crash, sees all of it or none.
pub(crate) fn write_atomic(
    dir: &Path,
    name: &str,
    bytes: &[u8],
    existing: Existing,
) -> io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(dir)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    let path = dir.join(name);
    match existing {
        Existing::Replace => file.persist(path),
        Existing::Keep => file.persist_noclobber(path),
    }
    .map_err(|failed| failed.error)?;
    sync_dir(dir)
}

/// Reads at most `max` bytes of `path` and says how long the file is.
pub(crate) fn read_bounded(path: &Path, max: u64) -> io::Result<(Vec<u8>, u64)> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes)?;
    let len = len.max(bytes.len() as u64);
    Ok((bytes, len))
}

/// Removes `path`; that it is gone already is as good.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Locks `mutex` even if a thread died holding it: every structure locked here is left consistent
/// between statements, and a store that answers nothing any more would lose more.
pub(crate) fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
