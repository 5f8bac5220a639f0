//! Blobs written but not yet forced to disk, so that a durable record never refers to a lost blob.
//!
//! Blobs put their paths in; the records' background thread forces them before each commit.

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Mutex,
};

use crate::disk;

/// Paths waiting at most; beyond, whoever adds one pays for its sync. A few seconds of a disk.
const MAX_WAITING: usize = 1024;

/// The set of files still to be synced.
#[derive(Debug, Default)]
pub(crate) struct Unsynced {
    waiting: Mutex<BTreeSet<PathBuf>>,
}

impl Unsynced {
    /// Takes note of the files in `paths`, already under their final names; syncs them now if too
    /// many are waiting.
    pub(crate) fn add(&self, paths: impl IntoIterator<Item = PathBuf>) -> io::Result<()> {
        let paths = BTreeSet::from_iter(paths);
        let mut waiting = disk::guard(&self.waiting);
        if waiting.len() + paths.len() <= MAX_WAITING {
            waiting.extend(paths);
            return Ok(());
        }
        drop(waiting);
        sync_all(&paths)
    }

    /// Syncs everything noted before the call; on failure all of it stays noted.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let paths = std::mem::take(&mut *disk::guard(&self.waiting));
        sync_all(&paths).inspect_err(|_| disk::guard(&self.waiting).extend(paths))
    }
}

/// Syncs files and the directories that name them; a file removed meanwhile needs nothing.
fn sync_all(paths: &BTreeSet<PathBuf>) -> io::Result<()> {
    for path in paths {
        match File::open(path) {
            Ok(file) => file.sync_data()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let directories: BTreeSet<&Path> = paths.iter().filter_map(|path| path.parent()).collect();
    directories.into_iter().try_for_each(disk::sync_dir)
}
