//! Compiled code on disk, so that a module is compiled once and not at every start.
//!
//! A file is named by the module and by everything that the compiled form depends on, and starts
//! with a checksum of the rest. The checksum finds damage; it does not defend against someone who
//! can write to the directory, who could as well replace this program.

use std::{
    collections::hash_map::RandomState,
    fs,
    hash::{BuildHasher, Hash as _, Hasher},
    io::{self, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use bayan_protocol::{id::Hash, task::PROFILE_V1};

/// Key of the checksum, which so cannot be mistaken for another digest of the same bytes.
const CHECKSUM_CONTEXT: &str = "bayan 2026-11-21 compiled module v1";
const CHECKSUM_LEN: usize = 32;
/// How a finished file's name ends.
const EXTENSION: &str = "compiled";
/// Files kept; the least recently used go first.
const MAX_FILES: usize = 64;

/// A directory of compiled modules.
pub(crate) struct Cache {
    directory: PathBuf,
    /// What compiled code depends on besides the module: engine version, settings, processor.
    environment: [u8; 32],
}

impl Cache {
    pub(crate) fn open(directory: PathBuf, engine: &wasmtime::Engine) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        let mut fingerprint = Fingerprint(blake3::Hasher::new());
        PROFILE_V1.hash(&mut fingerprint);
        engine.precompile_compatibility_hash().hash(&mut fingerprint);
        Ok(Self { directory, environment: *fingerprint.0.finalize().as_bytes() })
    }

    /// The compiled form of `wasm`, whose digest is `hash`. Trouble with the disk only costs time.
    pub(crate) fn get_or_compile(
        &self,
        engine: &wasmtime::Engine,
        hash: &Hash,
        wasm: &[u8],
    ) -> wasmtime::Result<wasmtime::Module> {
        let path = self.path(hash);
        if let Some(module) = load(engine, &path) {
            return Ok(module);
        }
        let module = wasmtime::Module::new(engine, wasm)?;
        if let Err(error) = self.store(&path, &module.serialize()?) {
            tracing::warn!(path = %path.display(), %error, "cannot keep a compiled module");
        }
        Ok(module)
    }

    fn path(&self, hash: &Hash) -> PathBuf {
        let mut name = blake3::Hasher::new();
        name.update(&self.environment).update(hash.as_bytes());
        self.directory.join(format!("{}.{EXTENSION}", name.finalize().to_hex()))
    }

    /// Writes a file beside its final place and moves it there, so that a reader never sees half.
    fn store(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        let unique = RandomState::new().hash_one(path);
        let temporary = path.with_extension(format!("{unique:016x}.new"));
        let written = fs::File::create_new(&temporary).and_then(|mut file| {
            file.write_all(&blake3::derive_key(CHECKSUM_CONTEXT, code))?;
            file.write_all(code)?;
            file.sync_all()
        });
        let moved = written.and_then(|()| fs::rename(&temporary, path));
        if moved.is_err() {
            // The error that matters is the first one.
            let _ = fs::remove_file(&temporary);
        }
        moved?;
        self.evict()
    }

    /// Removes the least recently used files beyond [`MAX_FILES`].
    fn evict(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|extension| extension == EXTENSION) {
                files.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        files.sort();
        let surplus = files.len().saturating_sub(MAX_FILES);
        files.iter().take(surplus).try_for_each(|(_, path)| fs::remove_file(path))
    }
}

/// Reads a compiled module back; none if there is no usable file.
fn load(engine: &wasmtime::Engine, path: &Path) -> Option<wasmtime::Module> {
    let bytes = fs::read(path).ok()?;
    let (checksum, code) = bytes.split_at_checked(CHECKSUM_LEN)?;
    if blake3::derive_key(CHECKSUM_CONTEXT, code) != checksum {
        tracing::warn!(path = %path.display(), "a compiled module is damaged; compiling it again");
        return None;
    }
    #[expect(
        unsafe_code,
        reason = "compiled code cannot be checked, only trusted by where it comes from"
    )]
    // SAFETY: `code` was written by this program into a directory that belongs to this peer, whole
    // as the checksum shows, by `serialize` of an engine with the same version and settings as the
    // file's name shows; the engine checks the latter again.
    let module = unsafe { wasmtime::Module::deserialize(engine, code) };
    match module {
        Ok(module) => {
            // Marks the file as used. Failing to only makes it go earlier.
            let _ = fs::File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
            Some(module)
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a compiled module does not fit; compiling it again");
            None
        }
    }
}

/// Feeds what implements [`std::hash::Hash`] into a cryptographic digest.
struct Fingerprint(blake3::Hasher);

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        self.0.finalize().as_bytes().first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
    }
}
