//! What goes over the local API, as both its server and its clients see it. All of it is JSON.

use bayan_protocol::{
    id::{Hash, JobId, PeerId, TaskId},
    job::Local,
    result::Proof,
    source::JobView,
    task::{Limits, Status},
};
use serde::{Deserialize, Serialize};

/// A job to be submitted: `POST /v1/jobs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// A name for people.
    pub name: String,
    /// The module, uploaded before.
    pub module: Hash,
    /// Arguments of the guest.
    #[serde(default)]
    pub args: Vec<String>,
    /// Environment of the guest.
    #[serde(default)]
    pub env: Vec<(String, String)>,
    /// Files under `/data`: name and blob, uploaded before.
    #[serde(default)]
    pub data: Vec<(String, Hash)>,
    /// The inputs.
    pub inputs: InputsRequest,
    /// Bounds of each task.
    #[serde(default)]
    pub limits: Limits,
    /// Peers that must agree on a result, 1 to 15.
    pub redundancy: u32,
    /// What this peer's own slots do.
    pub local: Local,
}

/// Where a job's inputs come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputsRequest {
    /// One task per integer from `from` up to, not including, `to`.
    Range {
        /// First.
        from: i64,
        /// One past the last.
        to: i64,
    },
    /// One task per line of an uploaded blob.
    Lines(Hash),
    /// One task per uploaded blob.
    Blobs(Vec<Hash>),
}

/// Answer to an upload: `POST /v1/blobs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobInfo {
    /// Digest.
    pub hash: Hash,
    /// Bytes.
    pub len: u64,
}

/// Answer to a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// The job.
    pub job: JobId,
}

/// A peer's signed word for a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voucher {
    /// Who computed it.
    pub peer: PeerId,
    /// Whether it agrees with what was accepted.
    pub agrees: bool,
    /// Its Ed25519 signature of its batch's root, hexadecimal.
    pub signature: String,
    /// Everything needed to check the signature: the proof, CBOR in hexadecimal (specs/results.md).
    pub proof: String,
    /// Microseconds it took, as the peer tells it.
    pub micros: u64,
    /// End of the guest's standard error there.
    pub log: String,
}

/// One settled task: `GET /v1/jobs/JOB/results`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskResult {
    /// Places of the inputs that this answers, from 0.
    pub places: Vec<u64>,
    /// The task.
    pub task: TaskId,
    /// How it ended; none if it was given up.
    pub status: Option<Status>,
    /// Work in fuel units.
    pub fuel: u64,
    /// Digest of the output.
    pub output: Option<Hash>,
    /// Length of the output.
    pub output_len: u64,
    /// The output itself in hexadecimal, if at most 16 KiB; else `GET /v1/blobs/HASH` has it.
    pub inline: Option<String>,
    /// Why it is believed, in words.
    pub verified: String,
    /// Who computed it.
    pub by: Vec<Voucher>,
}

/// A part of a job's results, in the order of settlement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Results {
    /// The results.
    pub results: Vec<TaskResult>,
    /// What to ask for next as `after`.
    pub next: usize,
    /// The job's standing.
    pub job: JobView,
}

/// A connected peer as the transport sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Who.
    pub peer: PeerId,
    /// Its address as seen from here.
    pub address: String,
    /// `tcp` or `quic`.
    pub transport: String,
    /// Microseconds to it and back.
    pub rtt_micros: Option<u64>,
    /// Whether it made the connection.
    pub inbound: bool,
}

/// This peer: `GET /v1/peer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Its standing and neighbourhood.
    #[serde(flatten)]
    pub view: bayan_protocol::peer::PeerView,
    /// Program and version.
    pub agent: String,
    /// Process id.
    pub pid: u32,
    /// Where it listens, as others would dial it.
    pub listening: Vec<String>,
    /// Its connections.
    pub connections: Vec<Connection>,
    /// Bytes of disk that blobs take.
    pub blob_bytes: u64,
    /// Whether this is a daemon or the peer inside a `bayan run`.
    pub daemon: bool,
}

/// What goes wrong: every answer that is not 2xx.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiError {
    /// What is wrong and what to do.
    pub error: String,
}

/// The proof inside a [`Voucher`].
pub fn decode_proof(hexadecimal: &str) -> Option<Proof> {
    bayan_protocol::cbor::decode(&hex::decode(hexadecimal).ok()?).ok()
}
