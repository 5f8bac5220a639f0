//! What a task is: the app, what its guest may observe, its bounds, and the id that names all of it.

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::{
    cbor,
    id::{Hash, TaskId},
};

/// The engine profile of this build: which engine rules make (status, output, fuel) reproducible.
///
/// It names how modules are packed (spec PACK: costs, bounds, canonical NaNs) and the guest ABI
/// (spec GUEST). Any change to either is a new profile; which engine runs the packed module is not
/// part of it.
pub const PROFILE_V1: &str = "bayan-pack-1";

/// Domain of the task id's key derivation (spec WORK-3).
const TASK_ID_CONTEXT: &str = "bayan 2026-11-21 task id v1";

/// Bounds on one attempt. All but `wall_ms` decide the result and so stand in the task id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Linear memory, bytes; rounded down to whole 64 KiB pages by the engine.
    pub memory: u64,
    /// Units of work before the attempt ends as out of fuel.
    pub fuel: u64,
    /// Bytes of standard output before the attempt ends as over its output limit.
    pub output: u64,
    /// Milliseconds of wall time before the attempt is given up as inconclusive.
    pub wall_ms: u64,
}

impl Default for Limits {
    /// Generous for a laptop: 256 MiB, about a minute or more of work, 16 MiB out, ten minutes.
    fn default() -> Self {
        Self { memory: 256 << 20, fuel: 1_000_000_000_000, output: 16 << 20, wall_ms: 600_000 }
    }
}

/// A read-only file that the guest sees as `/data/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DataFile {
    /// File name, no slash.
    pub name: String,
    /// Digest of its content.
    pub hash: Hash,
    /// Its length in bytes.
    pub len: u64,
}

/// What all tasks of a job share: the guest module and everything it may observe but its input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Digest of the WebAssembly module.
    pub module: Hash,
    /// Its length in bytes.
    pub module_len: u64,
    /// Arguments after the program's own name, which is always `app`.
    pub args: Vec<String>,
    /// Environment, in the order given.
    pub env: Vec<(String, String)>,
    /// Files under `/data`, sorted by name, names distinct.
    pub data: Vec<DataFile>,
    /// Bounds on each attempt.
    pub limits: Limits,
    /// Engine profile that the results are to be reproducible under.
    pub profile: String,
    /// Chosen per job at random: replicas share ids, different jobs do not.
    pub salt: Hash,
}

/// A task's standard input: carried inline when small, by digest when not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// The bytes themselves, at most [`crate::limits::MAX_INLINE`].
    #[serde(rename = "inline")]
    Inline(ByteBuf),
    /// Where longer bytes are to be fetched by.
    #[serde(rename = "blob")]
    Blob {
        /// Digest of the bytes.
        hash: Hash,
        /// Their count.
        len: u64,
    },
}

impl Input {
    /// The blob that holds it, if it does not travel inline.
    pub fn blob(&self) -> Option<Hash> {
        match self {
            Self::Inline(_) => None,
            Self::Blob { hash, .. } => Some(*hash),
        }
    }

    /// Digest of the input's bytes.
    pub fn hash(&self) -> Hash {
        match self {
            Self::Inline(bytes) => Hash::of(bytes),
            Self::Blob { hash, .. } => *hash,
        }
    }
}

/// The canonical array whose derived key is the task id (spec WORK-3).
#[derive(Serialize)]
struct TaskIdPreimage<'a>(
    u8,
    &'a Hash,
    &'a [String],
    &'a [(String, String)],
    &'a Hash,
    Vec<(&'a str, &'a Hash)>,
    (u64, u64, u64),
    &'a str,
    &'a Hash,
);

impl Program {
    /// The module and the data files.
    pub fn blobs(&self) -> impl Iterator<Item = Hash> + '_ {
        core::iter::once(self.module).chain(self.data.iter().map(|file| file.hash))
    }

    /// The id of this program's task with input digest `stdin`.
    pub fn task_id(&self, stdin: &Hash) -> TaskId {
        let preimage = cbor::encode(&TaskIdPreimage(
            1,
            &self.module,
            &self.args,
            &self.env,
            stdin,
            self.data.iter().map(|file| (file.name.as_str(), &file.hash)).collect(),
            (self.limits.memory, self.limits.fuel, self.limits.output),
            &self.profile,
            &self.salt,
        ));
        TaskId(blake3::derive_key(TASK_ID_CONTEXT, &preimage))
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Status {
    /// The guest ended with this exit code.
    #[serde(rename = "exit")]
    Exited(u32),
    /// The guest trapped (unreachable, out-of-bounds access, division by zero, ...).
    #[serde(rename = "trap")]
    Trapped,
    /// The fuel limit was reached.
    #[serde(rename = "fuel")]
    OutOfFuel,
    /// The guest wrote more than the output limit.
    #[serde(rename = "output")]
    OutputLimit,
    /// Wall time ran out on this peer.
    #[serde(rename = "wall")]
    WallTime,
    /// The engine's stack ran out.
    #[serde(rename = "stack")]
    StackOverflow,
    /// This peer could not grow the guest's memory within its limit.
    #[serde(rename = "memory")]
    MemoryRefused,
    /// The host failed (disk, engine, missing blob).
    #[serde(rename = "host")]
    HostFault,
}

impl Status {
    /// Whether honest peers must agree on this status; if not, it is retried elsewhere and never a vote.
    pub fn is_conclusive(self) -> bool {
        matches!(self, Self::Exited(_) | Self::Trapped | Self::OutOfFuel | Self::OutputLimit)
    }

    /// Whether the task did what its user wanted.
    pub fn is_success(self) -> bool {
        self == Self::Exited(0)
    }
}
