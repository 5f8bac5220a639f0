//! Compiled code on disk, so that a module is compiled once and not at every start.
//!
//! A file is named by the packed module and by everything that the compiled form depends on, and
//! starts with a checksum of the rest. The checksum finds damage; it does not defend against
//! someone who can write to the directory, who could as well replace this program.

use std::{
    collections::hash_map::RandomState,
    fs,
    hash::BuildHasher,
    io::{self, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use bayan_protocol::id::Hash;

/// Key of the checksum, which so cannot be mistaken for another digest of the same bytes.
const CHECKSUM_CONTEXT: &str = "bayan 2026-11-21 compiled module v2";
const CHECKSUM_LEN: usize = 32;
/// How a finished file's name ends.
const EXTENSION: &str = "compiled";
/// Files kept, and bytes of them; the least recently used go first.
const MAX_FILES: usize = 64;
const MAX_BYTES: u64 = 4 << 30;

/// A directory of compiled modules.
pub(crate) struct Cache {
    directory: PathBuf,
    /// What compiled code depends on besides the module: engine version, settings, processor.
    fingerprint: [u8; 32],
}

impl Cache {
    pub(crate) fn open(directory: PathBuf, fingerprint: &[u8; 32]) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        Ok(Self { directory, fingerprint: *fingerprint })
    }

    fn path(&self, packed: &Hash) -> PathBuf {
        let mut name = blake3::Hasher::new();
        name.update(&self.fingerprint).update(packed.as_bytes());
        self.directory.join(format!("{}.{EXTENSION}", name.finalize().to_hex()))
    }

    /// The compiled form of a packed module; none if there is no usable file.
    pub(crate) fn get(&self, packed: &Hash) -> Option<Vec<u8>> {
        let path = self.path(packed);
        let mut bytes = fs::read(&path).ok()?;
        let intact = bytes
            .split_at_checked(CHECKSUM_LEN)
            .is_some_and(|(sum, code)| blake3::derive_key(CHECKSUM_CONTEXT, code) == sum);
        if !intact {
            let path = path.display();
            tracing::warn!(%path, "a compiled module is damaged; compiling it again");
            return None;
        }
        // Marks the file as used. Failing to only makes it go earlier.
        let _ = fs::File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        bytes.drain(..CHECKSUM_LEN);
        Some(bytes)
    }

    /// Writes a file beside its final place and moves it there, so that a reader never sees half.
    pub(crate) fn put(&self, packed: &Hash, code: &[u8]) -> io::Result<()> {
        let path = self.path(packed);
        let unique = RandomState::new().hash_one(&path);
        let temporary = path.with_extension(format!("{unique:016x}.new"));
        let written = fs::File::create_new(&temporary).and_then(|mut file| {
            file.write_all(&blake3::derive_key(CHECKSUM_CONTEXT, code))?;
            file.write_all(code)?;
            file.sync_all()
        });
        let moved = written.and_then(|()| fs::rename(&temporary, &path));
        if moved.is_err() {
            // The error that matters is the first one.
            let _ = fs::remove_file(&temporary);
        }
        moved?;
        self.evict(&path)
    }

    /// Removes the least recently used files beyond the bounds, but not the one just written.
    fn evict(&self, newest: &Path) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let path = entry.path();
            if path != newest && path.extension().is_some_and(|found| found == EXTENSION) {
                let about = entry.metadata()?;
                files.push((about.modified()?, about.len(), path));
            }
        }
        files.sort();
        let (mut count, mut bytes) = (1, fs::metadata(newest)?.len());
        for (_, len, path) in files.iter().rev() {
            (count, bytes) = (count + 1, bytes + len);
            if count > MAX_FILES || bytes > MAX_BYTES {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}
