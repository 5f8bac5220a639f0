//! Content by its BLAKE3 digest, verified on the way in and on the way out.
//!
//! `blobs/ab/cdef…` holds the bytes, `blobs/ab/cdef….bao` beside it the hash pairs of the tree where
//! there is more than one chunk group; the pairs can be made again from the bytes at any time. A
//! blob is there when its data file is: outboards arrive before and leave after it.
//!
//! What to keep when the quota is reached is the caller's decision; see [`Blobs::stored`] and
//! [`Blobs::give_up`].

mod bits;
mod index;
mod receiving;
#[cfg(test)]
mod tests;
mod tree;

use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bao_tree::io::{EncodeError, sync::encode_ranges_validated};
use bayan_protocol::{evict::Stored, id::Hash, time::Timestamp};
use tempfile::NamedTempFile;

use self::index::Index;
pub use self::{
    index::Usage,
    receiving::{DecodeError, Receiving},
    tree::{GROUP, MAX_BLOB, encoded_len},
};
use crate::{
    directory::{OpenError, Options, Sync},
    disk,
    lock::Lock,
    unsynced::Unsynced,
};

const OUTBOARD: &str = ".bao";
const TEMPORARY_DIR: &str = "tmp";
const PARTIAL_DIR: &str = "partial";

/// Bytes collected before they go to the operating system or to a peer.
const BUFFER: usize = 256 << 10;

/// That a blob is used is noted on disk if the last note is older than this.
const NOTE: Duration = Duration::from_secs(600);

/// Why a blob operation failed.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// There is no such blob.
    #[error("blob {0} is not here")]
    Missing(Hash),
    /// It would not fit the quota; remove something first.
    #[error("{needed} more bytes of blobs do not fit: {used} of {quota} are in use")]
    Quota {
        /// Bytes of disk it needs.
        needed: u64,
        /// Bytes in use.
        used: u64,
        /// Bytes allowed.
        quota: u64,
    },
    /// No room left on the disk.
    #[error("no room left to write {}; free some disk space", path.display())]
    Full {
        /// What could not be written.
        path: PathBuf,
    },
    /// The bytes on disk are not those of the digest; they have been dropped.
    #[error("blob {0} was damaged on disk and has been dropped; fetch it again")]
    Damaged(Hash),
    /// Only the stored hash pairs were bad, and they have been made anew: the operation may have
    /// been cut short and can be repeated.
    #[error("the outboard of blob {0} was damaged and has been made anew; try again")]
    Repaired(Hash),
    /// The announced length is more than the caller allows.
    #[error("a blob of {len} bytes is announced, {max} are allowed")]
    TooLong {
        /// The announced length.
        len: u64,
        /// The longest allowed.
        max: u64,
    },
    /// The range is empty or goes beyond the blob.
    #[error("bytes {} to {} are not a part of a blob of {len} bytes", range.start, range.end)]
    Range {
        /// The range.
        range: Range<u64>,
        /// The blob's length.
        len: u64,
    },
    /// It is being received already.
    #[error("blob {0} is being received already")]
    Busy(Hash),
    /// Parts are still missing.
    #[error("{missing} chunk groups of blob {hash} are still missing")]
    Incomplete {
        /// The blob.
        hash: Hash,
        /// Groups still missing.
        missing: u64,
    },
    /// What was being read ended early, grew, or is no regular file.
    #[error("{} changed while it was read, or is not a regular file", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The other side of a transfer, or the reader of the content, failed.
    #[error("cannot pass the bytes on: {0}")]
    Stream(io::Error),
    /// The operating system refused.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// What could not be used.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl BlobError {
    fn from_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        if disk::is_full(&source) { Self::Full { path } } else { Self::Io { path, source } }
    }
}

/// The blobs of one peer. Clones are handles of the same.
#[derive(Debug, Clone)]
pub struct Blobs {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    sync: Sync,
    index: Arc<Index>,
    unsynced: Arc<Unsynced>,
    _lock: Arc<Lock>,
}

impl Blobs {
    /// Opens the blobs under `root`, removing what a crash left unfinished.
    pub(crate) fn open(
        root: &Path,
        options: Options,
        unsynced: Arc<Unsynced>,
        lock: Arc<Lock>,
    ) -> Result<Self, OpenError> {
        let index = Arc::new(Index::new(options.blob_quota));
        let inner =
            Inner { root: root.to_path_buf(), sync: options.sync, index, unsynced, _lock: lock };
        inner.scan().map_err(|error| OpenError::from_io(root, error))?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Stores `content`; that it is there already is fine.
    pub fn put(&self, content: &[u8]) -> Result<Hash, BlobError> {
        let hash = Hash::of(content);
        if !self.has(&hash) {
            self.put_reader(content, content.len() as u64)?;
        }
        Ok(hash)
    }

    /// Stores the content of the file at `path` and returns its length too.
    pub fn put_file(&self, path: impl AsRef<Path>) -> Result<(Hash, u64), BlobError> {
        let path = path.as_ref();
        let failed = |source| BlobError::Io { path: path.to_path_buf(), source };
        let changed = || BlobError::Changed { path: path.to_path_buf() };
        // Asked before opening as well: opening a pipe would wait for its other end.
        if !fs::metadata(path).map_err(failed)?.is_file() {
            return Err(changed());
        }
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(changed());
        }
        let len = metadata.len();
        let hash =
            self.put_reader(BufReader::with_capacity(BUFFER, &file), len).map_err(|error| {
                match error {
                    BlobError::Stream(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        changed()
                    }
                    BlobError::Stream(source) => failed(source),
                    error => error,
                }
            })?;
        // A file that grew was not read whole: its first part is no file of the user's.
        if file.metadata().map_err(failed)?.len() != len {
            return Err(changed());
        }
        Ok((hash, len))
    }

    /// Stores exactly `len` bytes of `content`, in one pass and without holding them in memory.
    pub fn put_reader(&self, content: impl Read, len: u64) -> Result<Hash, BlobError> {
        let inner = &*self.inner;
        let _reservation = inner.index.reserve(len)?;
        let directory = inner.root.join(TEMPORARY_DIR);
        let failed = |error| BlobError::from_io(&directory, error);
        let temporary = || tempfile::Builder::new().prefix(disk::TEMPORARY).tempfile_in(&directory);
        let data = temporary().map_err(failed)?;
        let pairs =
            if tree::outboard_len(len) > 0 { Some(temporary().map_err(failed)?) } else { None };

        let mut source_failed = false;
        let mut tee = Tee {
            from: content,
            to: BufWriter::with_capacity(BUFFER, data.as_file()),
            source_failed: &mut source_failed,
        };
        let written = match &pairs {
            Some(pairs) => {
                let mut out = BufWriter::new(pairs.as_file());
                tree::outboard(&mut tee, len, &mut out).and_then(|hash| out.flush().map(|()| hash))
            }
            None => tree::outboard(&mut tee, len, io::sink()),
        };
        let written = written.and_then(|hash| tee.to.flush().map(|()| hash));
        drop(tee);
        let hash = written.map_err(|error| {
            if source_failed { BlobError::Stream(error) } else { failed(error) }
        })?;
        if !self.has(&hash) {
            inner.install(hash, len, data.path(), pairs.as_ref().map(NamedTempFile::path))?;
        }
        Ok(hash)
    }

    /// Whether the blob is here, whole.
    pub fn has(&self, hash: &Hash) -> bool {
        self.len(hash).is_some()
    }

    /// The blob's length, if it is here.
    pub fn len(&self, hash: &Hash) -> Option<u64> {
        self.inner.index.len_of(hash)
    }

    /// The whole content, verified. [`Self::len`] tells beforehand how much memory that takes.
    pub fn get(&self, hash: &Hash) -> Result<Vec<u8>, BlobError> {
        let (file, len) = self.open_file(hash)?;
        let mut content = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
        file.take(len)
            .read_to_end(&mut content)
            .map_err(|error| BlobError::from_io(&self.inner.data_path(hash), error))?;
        if Hash::of(&content) != *hash {
            return Err(self.inner.drop_damaged(hash));
        }
        Ok(content)
    }

    /// The open data file and its length, which has been checked; the bytes have not. A reader that
    /// relies on them calls [`Self::verify`] first.
    pub fn open_file(&self, hash: &Hash) -> Result<(File, u64), BlobError> {
        let inner = &*self.inner;
        let len = inner.index.len_of(hash).ok_or(BlobError::Missing(*hash))?;
        let path = inner.data_path(hash);
        let file = match File::open(&path) {
            Ok(file) => file,
            // Removed meanwhile, by this program or by somebody's hand.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                inner.index.remove(hash);
                return Err(BlobError::Missing(*hash));
            }
            Err(error) => return Err(BlobError::from_io(&path, error)),
        };
        let found = file.metadata().map_err(|error| BlobError::from_io(&path, error))?.len();
        if found == len { Ok((file, len)) } else { Err(inner.drop_damaged(hash)) }
    }

    /// Reads the blob through and checks it; drops it if it is damaged.
    pub fn verify(&self, hash: &Hash) -> Result<(), BlobError> {
        let (file, len) = self.open_file(hash)?;
        let found = tree::outboard(BufReader::with_capacity(BUFFER, file), len, io::sink())
            .map_err(|error| BlobError::from_io(&self.inner.data_path(hash), error))?;
        if found == *hash { Ok(()) } else { Err(self.inner.drop_damaged(hash)) }
    }

    /// Removes a blob; whether it was here. Files already open stay readable.
    pub fn remove(&self, hash: &Hash) -> Result<bool, BlobError> {
        self.inner.remove(hash)
    }

    /// Everything that could be removed to make room: blobs, and parts of such that are not being
    /// received.
    pub fn stored(&self) -> Vec<Stored> {
        self.inner.index.stored()
    }

    /// Removes a blob, or what there is of one; whether anything was.
    pub fn give_up(&self, hash: &Hash) -> Result<bool, BlobError> {
        let removed = self.remove(hash)?;
        Ok(self.remove_partial(hash)? || removed)
    }

    /// Notes that a blob is used, which keeps it from being the first to give way.
    pub fn touch(&self, hash: &Hash) {
        let now = clock(SystemTime::now());
        let Some(before) = self.inner.index.touch(hash, now) else { return };
        if now.since(before) >= NOTE {
            let noted = File::open(self.inner.data_path(hash))
                .and_then(|file| file.set_modified(SystemTime::now()));
            if let Err(error) = noted {
                tracing::debug!(%hash, %error, "the use of a blob was not noted");
            }
        }
    }

    /// Every blob with its length, in order of digests.
    pub fn list(&self) -> Vec<(Hash, u64)> {
        self.inner.index.list()
    }

    /// How much is stored, and how much may be.
    pub fn usage(&self) -> Usage {
        self.inner.index.usage()
    }

    /// Writes the encoding of the chunk groups that cover `range`: hash pairs and bytes with which a
    /// receiver that knows digest and length verifies each group. Every byte is verified before it
    /// is sent. [`encoded_len`] says how many there will be.
    pub fn encode_range(
        &self,
        hash: &Hash,
        range: Range<u64>,
        out: impl Write,
    ) -> Result<(), BlobError> {
        let inner = &*self.inner;
        let (file, len) = self.open_file(hash)?;
        let groups = tree::groups(&range, len).ok_or(BlobError::Range { range, len })?;
        let pairs = tree::with_pairs(hash, len, inner.pairs(hash, len)?);
        let mut out = Out { to: BufWriter::with_capacity(BUFFER, out), failed: false };
        let encoded = encode_ranges_validated(&file, &pairs, &groups, &mut out);
        let encoded = encoded.and_then(|()| out.flush().map_err(EncodeError::Io));
        match encoded {
            Ok(()) => Ok(()),
            Err(error) if out.failed => Err(BlobError::Stream(error.into())),
            Err(EncodeError::Io(error)) => Err(BlobError::from_io(&inner.data_path(hash), error)),
            Err(_) => {
                // Is it the bytes, or only what is stored about them?
                self.verify(hash)?;
                inner.rebuild_pairs(hash, len)?;
                Err(BlobError::Repaired(*hash))
            }
        }
    }

    /// Begins to receive a blob, or goes on where an earlier attempt stopped.
    ///
    /// `len` is another peer's claim: more than `max` or [`MAX_BLOB`] is refused, and the claim is proven only when
    /// the last chunk group is accepted; see [`Receiving::length_is_proven`].
    pub fn receive(&self, hash: Hash, len: u64, max: u64) -> Result<Receiving, BlobError> {
        let max = max.min(MAX_BLOB);
        if len > max {
            return Err(BlobError::TooLong { len, max });
        }
        Receiving::start(self.clone(), hash, len)
    }

    /// Blobs of which a part is on disk, with the lengths announced for them.
    pub fn partials(&self) -> Vec<(Hash, u64)> {
        self.inner.index.partials()
    }

    /// Gives up on a partial blob; whether there was one.
    pub fn remove_partial(&self, hash: &Hash) -> Result<bool, BlobError> {
        let removed = self.inner.index.remove_partial(hash)?;
        receiving::remove_files(&self.inner.partial_dir(), hash)
            .map_err(|error| BlobError::from_io(&self.inner.partial_dir(), error))?;
        Ok(removed)
    }
}

impl Inner {
    fn data_path(&self, hash: &Hash) -> PathBuf {
        let name = hash.to_string();
        let (prefix, rest) = name.split_at(2);
        self.root.join(prefix).join(rest)
    }

    fn pairs_path(&self, hash: &Hash) -> PathBuf {
        let mut path = self.data_path(hash).into_os_string();
        path.push(OUTBOARD);
        path.into()
    }

    fn partial_dir(&self) -> PathBuf {
        self.root.join(PARTIAL_DIR)
    }

    /// Moves verified files to their names and makes the blob known.
    fn install(
        &self,
        hash: Hash,
        len: u64,
        data: &Path,
        pairs: Option<&Path>,
    ) -> Result<(), BlobError> {
        let target = self.data_path(&hash);
        let failed = |error| BlobError::from_io(&target, error);
        let directory = target.parent().expect("a blob is in a directory");
        disk::create_private_dir(directory).map_err(failed)?;
        let mut installed = vec![target.clone()];
        if let Some(pairs) = pairs {
            let path = self.pairs_path(&hash);
            self.place(pairs, &path).map_err(failed)?;
            installed.push(path);
        }
        self.place(data, &target).map_err(failed)?;
        match self.sync {
            Sync::Always => disk::sync_dir(directory),
            Sync::Interval => self.unsynced.add(installed),
        }
        .map_err(failed)?;
        self.index.insert(hash, len, clock(SystemTime::now()), true);
        Ok(())
    }

    fn place(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.sync == Sync::Always {
            File::open(from)?.sync_data()?;
        }
        fs::rename(from, to)
    }

    /// The stored hash pairs, made again where they are missing or of the wrong length.
    fn pairs(&self, hash: &Hash, len: u64) -> Result<File, BlobError> {
        let path = self.pairs_path(hash);
        let expected = tree::outboard_len(len);
        // One group has no pairs; any file serves, because it will not be read.
        if expected == 0 {
            return File::open(self.data_path(hash))
                .map_err(|error| BlobError::from_io(&path, error));
        }
        match File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file))) {
            Ok((found, file)) if found == expected => return Ok(file),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(BlobError::from_io(&path, error)),
        }
        self.rebuild_pairs(hash, len)
    }

    fn rebuild_pairs(&self, hash: &Hash, len: u64) -> Result<File, BlobError> {
        let path = self.pairs_path(hash);
        let failed = |error| BlobError::from_io(&path, error);
        let directory = self.root.join(TEMPORARY_DIR);
        let pairs = tempfile::Builder::new()
            .prefix(disk::TEMPORARY)
            .tempfile_in(directory)
            .map_err(failed)?;
        let data = File::open(self.data_path(hash)).map_err(failed)?;
        let mut out = BufWriter::new(pairs.as_file());
        let found = tree::outboard(BufReader::with_capacity(BUFFER, data), len, &mut out)
            .and_then(|found| out.flush().map(|()| found))
            .map_err(failed)?;
        drop(out);
        if found != *hash {
            return Err(self.drop_damaged(hash));
        }
        pairs.persist(&path).map_err(|error| failed(error.error))
    }

    fn drop_damaged(&self, hash: &Hash) -> BlobError {
        tracing::warn!(%hash, "a blob was damaged on disk; dropping it");
        match self.remove(hash) {
            Ok(_) => BlobError::Damaged(*hash),
            Err(error) => error,
        }
    }

    fn remove(&self, hash: &Hash) -> Result<bool, BlobError> {
        let path = self.data_path(hash);
        disk::remove_if_there(&path)
            .and_then(|()| disk::remove_if_there(&self.pairs_path(hash)))
            .map_err(|error| BlobError::from_io(&path, error))?;
        Ok(self.index.remove(hash))
    }

    /// Fills the index from disk and clears away leftovers.
    fn scan(&self) -> io::Result<()> {
        disk::create_private_dir(&self.partial_dir())?;
        let temporary = self.root.join(TEMPORARY_DIR);
        disk::create_private_dir(&temporary)?;
        for entry in fs::read_dir(&temporary)? {
            disk::remove_if_there(&entry?.path())?;
        }
        for entry in fs::read_dir(&self.root)? {
            let directory = entry?.path();
            let prefix = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if prefix.len() == 2 && directory.is_dir() {
                self.scan_prefix(&directory, &prefix)?;
            }
        }
        for (hash, len) in receiving::found(&self.partial_dir())? {
            if self.index.len_of(&hash).is_some() {
                receiving::remove_files(&self.partial_dir(), &hash)?;
            } else {
                self.index.found_partial(hash, len);
            }
        }
        Ok(())
    }

    fn scan_prefix(&self, directory: &Path, prefix: &str) -> io::Result<()> {
        let mut outboards = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(name) = name.strip_suffix(OUTBOARD) {
                outboards.extend(format!("{prefix}{name}").parse::<Hash>());
                continue;
            }
            let Ok(hash) = format!("{prefix}{name}").parse::<Hash>() else { continue };
            let metadata = entry.metadata()?;
            let len = metadata.len();
            // What a file is whose name reached the disk before a loss of power and its bytes not.
            if len == 0 && hash != Hash::of(&[]) {
                disk::remove_if_there(&entry.path())?;
            } else {
                let used = metadata.modified().map_or(Timestamp(0), clock);
                self.index.insert(hash, len, used, true);
            }
        }
        for hash in outboards {
            if self.index.len_of(&hash).is_none() {
                disk::remove_if_there(&self.pairs_path(&hash))?;
            }
        }
        Ok(())
    }
}

fn clock(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// Passes on what is read and writes it down as well.
struct Tee<'a, R, W> {
    from: R,
    to: W,
    source_failed: &'a mut bool,
}

impl<R: Read, W: Write> Read for Tee<'_, R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer);
        // An early end becomes an error further up, and is the source's doing.
        *self.source_failed = !matches!(read, Ok(count) if count > 0 || buffer.is_empty());
        let read = read?;
        self.to.write_all(&buffer[..read])?;
        Ok(read)
    }
}

/// Remembers whether it was the receiving side that failed.
struct Out<W> {
    to: W,
    failed: bool,
}

impl<W: Write> Write for Out<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes).inspect_err(|_| self.failed = true)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush().inspect_err(|_| self.failed = true)
    }
}
