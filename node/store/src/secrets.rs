//! The two secrets of a peer: its identity, and the token of its local API.
//!
//! Both are made once, readable by this user only, and never replaced: a peer that silently came
//! back as somebody else would leave its standing and its obligations behind.

use std::{fs, io, path::Path};

use crate::{
    directory::OpenError,
    disk::{self, Existing},
};

pub(crate) const IDENTITY_FILE: &str = "identity";
pub(crate) const TOKEN_FILE: &str = "api_token";

const SEED: usize = 32;
const CHECK: usize = 8;

/// Separates the check of the identity file from every other use of BLAKE3 on the seed.
const CHECK_CONTEXT: &str = "bayan 2026-11-21 identity file check v1";

/// Reads the Ed25519 seed of `directory`, or makes one where `fresh` allows it.
pub(crate) fn identity(directory: &Path, fresh: bool) -> Result<[u8; SEED], OpenError> {
    let bytes = match read(directory, IDENTITY_FILE, SEED + CHECK)? {
        Some(bytes) => bytes,
        None if fresh => {
            let seed: [u8; SEED] = random()?;
            let mut bytes = seed.to_vec();
            bytes.extend_from_slice(&check(&seed));
            create(directory, IDENTITY_FILE, &bytes)?;
            bytes
        }
        None => return Err(damaged(directory, IDENTITY_FILE, "is missing")),
    };
    let (seed, stored) =
        bytes.split_first_chunk::<SEED>().ok_or_else(|| wrong_length(directory))?;
    if stored.len() != CHECK {
        return Err(wrong_length(directory));
    }
    if stored != check(seed) {
        return Err(damaged(directory, IDENTITY_FILE, "fails its own check"));
    }
    Ok(*seed)
}

/// Reads the API token of `directory`, or makes one where `fresh` allows it.
pub(crate) fn api_token(directory: &Path, fresh: bool) -> Result<String, OpenError> {
    let digits = 2 * SEED;
    if let Some(bytes) = read(directory, TOKEN_FILE, digits + 1)? {
        return String::from_utf8(bytes)
            .ok()
            .map(|text| text.trim_end().to_owned())
            .filter(|text| {
                text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
            })
            .ok_or_else(|| damaged(directory, TOKEN_FILE, "is not 64 hexadecimal digits"));
    }
    if !fresh {
        return Err(damaged(directory, TOKEN_FILE, "is missing"));
    }
    let token: String = random::<SEED>()?.iter().map(|byte| format!("{byte:02x}")).collect();
    create(directory, TOKEN_FILE, token.as_bytes())?;
    Ok(token)
}

/// Bytes of the operating system's generator.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], OpenError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| OpenError::Unreadable {
        path: "the operating system's random generator".into(),
        source: io::Error::other(error.to_string()),
    })?;
    Ok(bytes)
}

fn check(seed: &[u8; SEED]) -> [u8; CHECK] {
    let digest = blake3::derive_key(CHECK_CONTEXT, seed);
    *digest.first_chunk().expect("a digest is longer than its check")
}

/// The content of a secret file, one byte more than `expected` at most; `None` if there is none.
fn read(directory: &Path, name: &str, expected: usize) -> Result<Option<Vec<u8>>, OpenError> {
    let path = directory.join(name);
    let metadata = match fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(OpenError::Unreadable { path, source }),
    };
    if !metadata.is_file() {
        return Err(damaged(directory, name, "is not a regular file"));
    }
    if let Some(mode) = disk::too_open(&metadata) {
        return Err(OpenError::TooOpen { path, mode });
    }
    match disk::read_bounded(&path, expected as u64 + 1) {
        Ok((bytes, _)) => Ok(Some(bytes)),
        Err(source) => Err(OpenError::Unreadable { path, source }),
    }
}

fn create(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), OpenError> {
    disk::write_atomic(directory, name, bytes, Existing::Keep)
        .map_err(|error| OpenError::from_io(&directory.join(name), error))
}

fn wrong_length(directory: &Path) -> OpenError {
    damaged(directory, IDENTITY_FILE, "has the wrong length")
}

fn damaged(directory: &Path, name: &str, what: &str) -> OpenError {
    OpenError::Corrupt { path: directory.join(name), what: what.to_owned() }
}
