//! Taking a blob in, range by range, from peers that may be lying.
//!
//! A chunk group counts only when it and the hash pairs above it lead to the digest, so wrong bytes
//! and wrong lengths cost the range they came with and nothing else. Progress is on disk: data and
//! hash pairs are forced there before the bits that vouch for them.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    ops::Range,
    path::{Path, PathBuf},
    sync::Mutex,
    time::SystemTime,
};

use bao_tree::io::{
    BaoContentItem, DecodeError as BaoError,
    sync::{DecodeResponseIter, OutboardMut, WriteAt, encode_ranges_validated},
};
use bayan_protocol::id::Hash;

use super::{BlobError, Blobs, GROUP, bits, bits::Bits, tree};
use crate::disk::{self, Existing, guard};

const DATA: &str = ".data";
const PAIRS: &str = ".bao";
const BITS: &str = ".bits";

/// Verified bytes after which progress is forced to disk: what a crash may cost to fetch again.
const SAVE_EVERY: u64 = 8 << 20;

/// Why a range was not accepted in full. Groups verified before the failure are kept.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes do not lead to the digest: the sender, or the announced length, is wrong.
    #[error(
        "what was sent for byte {offset} on is not of this blob, or its length is not as announced"
    )]
    Mismatch {
        /// First byte of the part that failed.
        offset: u64,
    },
    /// The stream ended early.
    #[error("the stream ended before the range did")]
    Truncated,
    /// The range is empty or goes beyond the announced length.
    #[error("bytes {} to {} are not a part of a blob of {len} bytes", range.start, range.end)]
    Range {
        /// The range.
        range: Range<u64>,
        /// The announced length.
        len: u64,
    },
    /// The stream failed.
    #[error("cannot read the stream: {0}")]
    Stream(io::Error),
    /// The disk failed.
    #[error(transparent)]
    Store(#[from] BlobError),
}

/// A blob being received. Several threads may have different ranges accepted at the same time.
///
/// Dropping it keeps what has been verified, for a later [`Blobs::receive`];
/// [`Blobs::remove_partial`] gives it up.
#[derive(Debug)]
pub struct Receiving {
    blobs: Blobs,
    hash: Hash,
    len: u64,
    /// Where the partial files are.
    directory: PathBuf,
    data: File,
    pairs: File,
    state: Mutex<State>,
    /// Held while writing the bits, so that they are written one after the other.
    saving: Mutex<()>,
}

#[derive(Debug)]
struct State {
    bits: Bits,
    /// Verified bytes that the bits on disk do not vouch for yet.
    unsaved: u64,
    finished: bool,
}

impl Receiving {
    pub(crate) fn start(blobs: Blobs, hash: Hash, len: u64) -> Result<Self, BlobError> {
        let directory = blobs.inner.partial_dir();
        let found = blobs.inner.index.start(hash, len)?;
        let opened = open_files(&directory, &hash, len, found == Some(len));
        match opened {
            Ok((data, pairs, bits)) => {
                let resumed = bits.missing() < tree::group_count(len) || found == Some(len);
                let state = Mutex::new(State { bits, unsaved: 0, finished: false });
                let saving = Mutex::new(());
                let receiving = Self { blobs, hash, len, directory, data, pairs, state, saving };
                if resumed {
                    receiving.recover();
                }
                Ok(receiving)
            }
            Err(error) => {
                blobs.inner.index.pause(&hash);
                Err(BlobError::from_io(&directory, error))
            }
        }
    }

    /// The digest that everything is verified against.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The announced length.
    pub fn announced_len(&self) -> u64 {
        self.len
    }

    /// Whether the announced length is the blob's true length. It is proven by the last chunk group;
    /// with a false one that group is never accepted, so asking for it first saves the rest.
    pub fn length_is_proven(&self) -> bool {
        guard(&self.state).bits.is_set(tree::group_count(self.len) - 1)
    }

    /// The first byte ranges still missing, at most `at_most`, in order. For an empty blob that is
    /// the empty range at 0, until it is accepted.
    pub fn missing(&self, at_most: usize) -> Vec<Range<u64>> {
        let state = guard(&self.state);
        let bytes = |groups: Range<u64>| {
            groups.start * GROUP..tree::group_bytes(groups.end - 1, self.len).end
        };
        state.bits.gaps().take(at_most).map(bytes).collect()
    }

    /// Finds the groups that arrived before a crash and that no bit vouches for yet: whatever leads to
    /// the digest is right, whenever it was written.
    fn recover(&self) {
        let gaps: Vec<_> = guard(&self.state).bits.gaps().collect();
        let mut found = 0;
        for group in gaps.into_iter().flatten() {
            if self.encode(&tree::group_bytes(group, self.len), io::sink()).is_ok() {
                let mut state = guard(&self.state);
                state.bits.set(group);
                state.unsaved += GROUP;
                found += 1;
            }
        }
        if found > 0 {
            tracing::debug!(hash = %self.hash, groups = found, "unsaved progress was found again");
        }
    }

    fn encode(&self, range: &Range<u64>, out: impl Write) -> Result<(), BlobError> {
        let outside = || BlobError::Range { range: range.clone(), len: self.len };
        let groups = tree::groups(range, self.len).ok_or_else(outside)?;
        let pairs = tree::with_pairs(&self.hash, self.len, &self.pairs);
        encode_ranges_validated(&self.data, &pairs, &groups, out)
            .map_err(|error| BlobError::Stream(error.into()))
    }

    /// Whether every group of `range` is here.
    pub fn has(&self, range: &Range<u64>) -> bool {
        let state = guard(&self.state);
        let groups = range.start / GROUP..range.end.div_ceil(GROUP).max(range.start / GROUP + 1);
        range.end <= self.len && groups.into_iter().all(|group| state.bits.is_set(group))
    }

    /// Writes the encoding of a range that is here, as [`Blobs::encode_range`] does of a whole blob.
    pub fn encode_range(&self, range: Range<u64>, out: impl Write) -> Result<(), BlobError> {
        if !self.has(&range) {
            return Err(BlobError::Range { range, len: self.len });
        }
        self.encode(&range, out)
    }

    /// Bytes still missing, counted in whole groups.
    pub fn missing_bytes(&self) -> u64 {
        guard(&self.state).bits.missing().saturating_mul(GROUP).min(self.len)
    }

    /// Reads the encoding of the groups that cover `range`, as [`Blobs::encode_range`] writes it, and
    /// keeps each group that is verified. Reads no byte more than the encoding has.
    pub fn accept(&self, range: Range<u64>, from: impl Read) -> Result<(), DecodeError> {
        self.accept_with(range, from, |_, _| ())
    }

    /// Like [`Self::accept`], and tells of every group that is verified, by the byte after it, and
    /// whether it was still missing.
    pub fn accept_with(
        &self,
        range: Range<u64>,
        from: impl Read,
        kept: impl FnMut(u64, bool),
    ) -> Result<(), DecodeError> {
        let len = self.len;
        let groups =
            tree::groups(&range, len).ok_or(DecodeError::Range { range: range.clone(), len })?;
        let accepted = self.decode(&range, &groups, from, kept);
        if guard(&self.state).unsaved >= SAVE_EVERY {
            self.save()?;
        }
        accepted
    }

    fn decode(
        &self,
        range: &Range<u64>,
        groups: &bao_tree::ChunkRanges,
        from: impl Read,
        mut kept: impl FnMut(u64, bool),
    ) -> Result<(), DecodeError> {
        let failed = |error| DecodeError::Store(BlobError::from_io(&self.directory, error));
        let mut data = self.data.try_clone().map_err(failed)?;
        let mut pairs =
            tree::with_pairs(&self.hash, self.len, self.pairs.try_clone().map_err(failed)?);
        let mut offset = range.start / GROUP * GROUP;
        for item in
            DecodeResponseIter::new(tree::root(&self.hash), tree::tree(self.len), from, groups)
        {
            match item.map_err(|error| refused(error, offset))? {
                BaoContentItem::Parent(parent) => {
                    pairs.save(parent.node, &parent.pair).map_err(failed)?
                }
                BaoContentItem::Leaf(leaf) => {
                    data.write_all_at(leaf.offset, &leaf.data).map_err(failed)?;
                    offset = leaf.offset + leaf.data.len() as u64;
                    let mut state = guard(&self.state);
                    let fresh = !state.bits.is_set(leaf.offset / GROUP);
                    state.bits.set(leaf.offset / GROUP);
                    state.unsaved += leaf.data.len() as u64;
                    drop(state);
                    kept(offset, fresh);
                }
            }
        }
        Ok(())
    }

    /// Forces progress to disk. Done now and then by [`Self::accept`], and when dropped.
    pub fn save(&self) -> Result<(), BlobError> {
        let _saving = guard(&self.saving);
        let bits = {
            let mut state = guard(&self.state);
            if state.finished {
                return Ok(());
            }
            state.unsaved = 0;
            state.bits.clone()
        };
        // The copy was taken first: whatever its bits vouch for is in the files by now.
        self.data
            .sync_data()
            .and_then(|()| self.pairs.sync_data())
            .and_then(|()| write_bits(&self.directory, &self.hash, &bits))
            .map_err(|error| BlobError::from_io(&self.directory, error))
    }

    /// Makes the blob a whole one, once nothing is missing any more.
    pub fn finish(&self) -> Result<Hash, BlobError> {
        let _saving = guard(&self.saving);
        let mut state = guard(&self.state);
        if state.finished {
            return Ok(self.hash);
        }
        if state.bits.missing() > 0 {
            return Err(BlobError::Incomplete { hash: self.hash, missing: state.bits.missing() });
        }
        let data = path(&self.directory, &self.hash, DATA);
        let pairs = path(&self.directory, &self.hash, PAIRS);
        let has_pairs = tree::outboard_len(self.len) > 0;
        let inner = &self.blobs.inner;
        if !self.blobs.has(&self.hash) {
            inner.install(self.hash, self.len, &data, has_pairs.then_some(pairs.as_path()))?;
        }
        state.finished = true;
        inner.index.complete(self.hash, self.len, super::clock(SystemTime::now()));
        remove_files(&self.directory, &self.hash)
            .map_err(|error| BlobError::from_io(&self.directory, error))?;
        Ok(self.hash)
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if guard(&self.state).unsaved > 0
            && let Err(error) = self.save()
        {
            tracing::warn!(%error, hash = %self.hash, "progress of a partial blob is lost");
        }
        self.blobs.inner.index.pause(&self.hash);
    }
}

fn refused(error: BaoError, offset: u64) -> DecodeError {
    match error {
        BaoError::ParentNotFound(_) | BaoError::LeafNotFound(_) => DecodeError::Truncated,
        BaoError::ParentHashMismatch(_) | BaoError::LeafHashMismatch(_) => {
            DecodeError::Mismatch { offset }
        }
        BaoError::Io(error) => DecodeError::Stream(error),
    }
}

fn path(directory: &Path, hash: &Hash, suffix: &str) -> PathBuf {
    directory.join(format!("{hash}{suffix}"))
}

/// Opens the partial files, with what they hold already if `resume` and if they are in order.
fn open_files(
    directory: &Path,
    hash: &Hash,
    len: u64,
    resume: bool,
) -> io::Result<(File, File, Bits)> {
    let bits = if resume { read_bits(directory, hash, len)? } else { None };
    let open = |suffix, expected: u64| {
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path(directory, hash, suffix))?;
        let as_expected = file.metadata()?.len() == expected;
        Ok::<_, io::Error>((file, as_expected))
    };
    let (data, data_fits) = open(DATA, len)?;
    let (pairs, pairs_fit) = open(PAIRS, tree::outboard_len(len))?;
    if let Some(bits) = bits
        && data_fits
        && pairs_fit
    {
        return Ok((data, pairs, bits));
    }
    // From the beginning. The bits go first: no crash may leave old ones beside new files.
    let bits = Bits::none(len);
    write_bits(directory, hash, &bits)?;
    data.set_len(0)?;
    data.set_len(len)?;
    pairs.set_len(0)?;
    pairs.set_len(tree::outboard_len(len))?;
    Ok((data, pairs, bits))
}

fn write_bits(directory: &Path, hash: &Hash, bits: &Bits) -> io::Result<()> {
    disk::write_atomic(directory, &format!("{hash}{BITS}"), &bits.encode(), Existing::Replace)
}

fn read_bits(directory: &Path, hash: &Hash, len: u64) -> io::Result<Option<Bits>> {
    match disk::read_bounded(&path(directory, hash, BITS), bits::encoded_len(len) + 1) {
        Ok((bytes, _)) => Ok(Bits::decode(&bytes).filter(|bits| bits.len() == len)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The partial blobs in `directory` with their lengths; clears away files that are not of one.
pub(crate) fn found(directory: &Path) -> io::Result<Vec<(Hash, u64)>> {
    let mut found = Vec::new();
    let mut others = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let (stem, suffix) = name.split_at_checked(64).unwrap_or((&name, ""));
        match stem.parse::<Hash>() {
            Ok(hash) if suffix == DATA => found.push((hash, entry.metadata()?.len())),
            Ok(hash) if suffix == PAIRS || suffix == BITS => others.push((hash, entry.path())),
            _ => disk::remove_if_there(&entry.path())?,
        }
    }
    found.sort();
    for (hash, path) in others {
        if found.binary_search_by_key(&hash, |(hash, _)| *hash).is_err() {
            disk::remove_if_there(&path)?;
        }
    }
    Ok(found)
}

/// Removes what there is of a partial blob. The bits go first, so that no rest is taken for more.
pub(crate) fn remove_files(directory: &Path, hash: &Hash) -> io::Result<()> {
    [BITS, DATA, PAIRS]
        .iter()
        .try_for_each(|suffix| disk::remove_if_there(&path(directory, hash, suffix)))
}
