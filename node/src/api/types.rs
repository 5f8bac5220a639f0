//! What goes over the local API, as both its server and its clients see it. All of it is JSON.

use bayan_protocol::{
    id::{Hash, JobId, PeerId, TaskId},
    job::{Audience, Local},
    link::Profile,
    result::Proof,
    source::JobView,
    standing::BanReason,
    task::{Limits, Status},
    time::Timestamp,
    verify::{Basis, Policy, State},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::schema;

/// A job to be submitted: `POST /v1/jobs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// A name for people.
    pub name: String,
    /// The module, uploaded before.
    #[schema(value_type = String)]
    pub module: Hash,
    /// Arguments of the guest.
    #[serde(default)]
    pub args: Vec<String>,
    /// Environment of the guest.
    #[serde(default)]
    pub env: Vec<(String, String)>,
    /// Files under `/data`: name and blob, uploaded before.
    #[serde(default)]
    #[schema(value_type = Vec<(String, String)>)]
    pub data: Vec<(String, Hash)>,
    /// The inputs.
    pub inputs: InputsRequest,
    /// Bounds of each task.
    #[serde(default)]
    #[schema(value_type = schema::Limits)]
    pub limits: Limits,
    /// How results are accepted: none, vote:M, spot:Q, credibility:E, boinc or adaptive.
    #[serde(default = "adaptive")]
    pub trust: String,
    /// Share of wrong results that the job can bear, such as 0.01 for a picture: the adaptive policy
    /// checks newcomers only as much as that takes.
    #[serde(default)]
    pub tolerance: Option<String>,
    /// Share of workers that are assumed to be faulty, 0.2 unless told otherwise: for the tolerance and
    /// the policy credibility.
    #[serde(default)]
    pub assume_faulty: Option<String>,
    /// End as soon as every task has a result, however little it was checked.
    #[serde(default)]
    pub provisional: bool,
    /// Who may compute it.
    #[serde(default = "anyone")]
    #[schema(value_type = schema::Audience)]
    pub audience: Audience,
    /// Give module and inputs to nobody but those who may compute it.
    #[serde(default)]
    pub confidential: bool,
    /// Who carries it on while this peer is away; what it says is final is taken on its word.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub delegate: Option<PeerId>,
    /// What this peer's own slots do.
    #[schema(value_type = schema::Local)]
    pub local: Local,
}

impl JobRequest {
    /// A job with everything that can be left out left out: the default policy, for anyone, with this
    /// peer's own slots from the start.
    pub fn new(name: &str, module: Hash, inputs: InputsRequest) -> Self {
        Self {
            name: name.to_owned(),
            module,
            args: Vec::new(),
            env: Vec::new(),
            data: Vec::new(),
            inputs,
            limits: Limits::default(),
            trust: adaptive(),
            tolerance: None,
            assume_faulty: None,
            provisional: false,
            audience: Audience::Anyone,
            confidential: false,
            delegate: None,
            local: Local::Always,
        }
    }
}

fn adaptive() -> String {
    Policy::default().to_string()
}

fn anyone() -> Audience {
    Audience::Anyone
}

/// A job that may be submitted: `POST /v1/plan`. The fields mean what they do in a [`JobRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// Distinct tasks.
    pub tasks: u64,
    /// How results are accepted.
    #[serde(default = "adaptive")]
    pub trust: String,
    /// Share of wrong results that the job can bear.
    #[serde(default)]
    pub tolerance: Option<String>,
    /// Share of workers that are assumed to be faulty.
    #[serde(default)]
    pub assume_faulty: Option<String>,
    /// End as soon as every task has a result.
    #[serde(default)]
    pub provisional: bool,
    /// Who may compute it.
    #[serde(default = "anyone")]
    #[schema(value_type = schema::Audience)]
    pub audience: Audience,
    /// What this peer's own slots do.
    #[schema(value_type = schema::Local)]
    pub local: Local,
    /// Who carries it on while this peer is away.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub delegate: Option<PeerId>,
}

/// What a job would cost and what could be promised of it, with those who are connected now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanView {
    /// All of it in plain words.
    pub words: Vec<String>,
    /// The policy.
    pub policy: String,
    /// Share of strangers' results that are checked, under the adaptive policy.
    pub first: Option<f64>,
    /// Whether that keeps wrong results below the tolerance, if one was given.
    pub tolerable: Option<bool>,
    /// Distinct tasks.
    pub tasks: u64,
    /// Share of workers that are assumed to be faulty.
    pub faulty: f64,
    /// Share of these that are assumed to act together.
    pub colluding: f64,
    /// Executions for each final result while nobody cheats.
    pub executions: f64,
    /// The same if all faulty workers cheat.
    pub executions_attacked: f64,
    /// Share of results that more than one worker computes.
    pub replicated: f64,
    /// The largest share of final results that is wrong on average, if one can be stated.
    pub bound: Option<f64>,
    /// Why none can.
    pub no_bound: Option<String>,
    /// Whether somebody can check as an established worker of another network, as own slots, as a
    /// stranger of another network, as any stranger.
    pub available: Ladder<bool>,
    /// Share of checks made by each.
    pub checks: Ladder<f64>,
    /// Who is connected and may compute it.
    pub workers: Vec<PlanWorker>,
    /// Whether own slots compute too.
    pub own: bool,
}

/// One value for each kind of check, the most convincing first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ladder<T> {
    /// By an established worker of another network.
    pub established: T,
    /// By own slots.
    pub own: T,
    /// By a stranger of another network.
    pub elsewhere: T,
    /// By any other worker.
    pub anyone: T,
}

/// A connected worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanWorker {
    /// Who.
    #[schema(value_type = String)]
    pub peer: PeerId,
    /// Checks passed here that count.
    pub k: u32,
    /// Whether the operator vouches for it.
    pub trusted: bool,
}

/// What is known first-hand of another peer: `GET /v1/standings`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StandingView {
    /// Whom.
    #[schema(value_type = String)]
    pub peer: PeerId,
    /// Whether the operator vouches for it.
    pub trusted: bool,
    /// Checks passed that count.
    pub k: u32,
    /// Checks passed ever.
    pub passed: u64,
    /// Results proven wrong ever.
    pub failed: u64,
    /// Whether it may check results of strangers.
    pub established: bool,
    /// The ban that it is under.
    pub ban: Option<BanView>,
}

/// A time during which a peer gets no work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BanView {
    /// When it ends, microseconds since the epoch.
    #[schema(value_type = u64)]
    pub until: Timestamp,
    /// Why it began.
    #[schema(value_type = schema::BanReason)]
    pub reason: BanReason,
}

/// A file that proves a result wrong: `GET /v1/evidence`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EvidenceView {
    /// Its id.
    #[schema(value_type = String)]
    pub id: Hash,
    /// Who signed the wrong result.
    #[schema(value_type = String)]
    pub accused: PeerId,
    /// The job.
    #[schema(value_type = String)]
    pub job: JobId,
    /// The task.
    #[schema(value_type = String)]
    pub task: TaskId,
    /// The file, on the peer's machine.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// Parts of the task that it does not carry.
    pub missing: Vec<String>,
}

/// Where a job's inputs come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
    #[schema(value_type = String)]
    Lines(Hash),
    /// One task per uploaded blob.
    #[schema(value_type = Vec<String>)]
    Blobs(Vec<Hash>),
}

/// Answer to an upload: `POST /v1/blobs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlobInfo {
    /// Digest.
    #[schema(value_type = String)]
    pub hash: Hash,
    /// Bytes.
    pub len: u64,
}

/// Answer to a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Submitted {
    /// The job.
    #[schema(value_type = String)]
    pub job: JobId,
}

/// A peer's signed word for a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Voucher {
    /// Who computed it.
    #[schema(value_type = String)]
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

/// Answer to `DELETE /v1/jobs/JOB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Removed {
    /// The job.
    #[schema(value_type = String)]
    pub job: JobId,
    /// What became of it.
    pub outcome: Removal,
}

/// What became of a job that was to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Removal {
    /// It was running and has been ended; its results so far are kept.
    Cancelled,
    /// It was over and is no longer known.
    Forgotten,
}

/// What is known of one task: `GET /v1/jobs/JOB/results`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskResult {
    /// Places of the inputs that this answers, from 0.
    pub places: Vec<u64>,
    /// The task.
    #[schema(value_type = String)]
    pub task: TaskId,
    /// Where it stands.
    #[schema(value_type = schema::TaskState)]
    pub state: State,
    /// What the belief in it rests on.
    #[schema(value_type = Option<schema::Basis>)]
    pub basis: Option<Basis>,
    /// How it ended; none if it was given up or taken back.
    #[schema(value_type = Option<schema::Status>)]
    pub status: Option<Status>,
    /// Work in fuel units.
    pub fuel: u64,
    /// Digest of the output.
    #[schema(value_type = Option<String>)]
    pub output: Option<Hash>,
    /// Length of the output.
    pub output_len: u64,
    /// The output itself in hexadecimal, if at most 16 KiB; else `GET /v1/blobs/HASH` has it.
    pub inline: Option<String>,
    /// Why it is believed, in words.
    pub verified: String,
    /// Who computed it.
    pub by: Vec<Voucher>,
    /// The delegate's word, if the result stands on it.
    pub delegate: Option<DelegateWord>,
}

/// A delegate's signed word for a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DelegateWord {
    /// Who.
    #[schema(value_type = String)]
    pub peer: PeerId,
    /// Its Ed25519 signature of its statement's root, hexadecimal.
    pub signature: String,
    /// Everything needed to check the signature: the voucher, CBOR in hexadecimal (specs/delegate.md).
    pub proof: String,
}

/// A part of a job's results, in the order of their latest changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Results {
    /// The results.
    pub results: Vec<TaskResult>,
    /// What to ask for next as `after`.
    pub next: u64,
    /// The job's standing.
    #[schema(value_type = schema::JobView)]
    pub job: JobView,
}

/// A connected peer as the transport sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Connection {
    /// Who.
    #[schema(value_type = String)]
    pub peer: PeerId,
    /// Its address as seen from here.
    pub address: String,
    /// `tcp` or `quic`.
    pub transport: String,
    /// Microseconds to it and back.
    pub rtt_micros: Option<u64>,
    /// Whether it made the connection.
    pub inbound: bool,
    /// Bytes of blobs moved.
    pub blobs: BlobTraffic,
    /// Bytes a second that the link carries towards it, as far as that was seen; over TCP only.
    pub bytes_per_second: Option<u64>,
    /// The profile in force towards it: `full`, or `slow`.
    #[schema(value_type = String)]
    pub profile: Profile,
    /// What went over its open connections.
    pub traffic: Traffic,
}

/// Bytes of modules, inputs and outputs that came and went since the start, with what proves them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlobTraffic {
    /// Given away.
    pub sent: u64,
    /// Got.
    pub received: u64,
    /// Of these, bytes that were wrong or here already.
    pub wasted: u64,
}

/// Bytes over a peer's open connections. What of `sent` is neither work nor blobs is the background:
/// discovery, adverts, pings, and what encryption and framing add.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Traffic {
    /// All that the sockets took, without the headers of TCP and below; null over QUIC.
    pub sent: Option<u64>,
    /// All that they gave.
    pub received: Option<u64>,
    /// Frames of work.
    pub work_sent: u64,
    /// Likewise.
    pub work_received: u64,
    /// Modules, inputs, outputs and data that travelled as blobs.
    pub blobs_sent: u64,
    /// Likewise.
    pub blobs_received: u64,
}

/// What this peer knows of its own line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Line {
    /// What the operator says of it: `auto`, or a rate.
    pub setting: String,
    /// The profile in force for the peer as a whole: `full`, or `slow`.
    #[schema(value_type = String)]
    pub profile: Profile,
}

/// This peer: `GET /v1/peer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerInfo {
    /// Its standing and neighbourhood.
    #[serde(flatten)]
    #[schema(value_type = schema::PeerView)]
    pub view: bayan_protocol::peer::PeerView,
    /// Program and version.
    pub agent: String,
    /// Process id.
    pub pid: u32,
    /// Where it listens, as others would dial it.
    pub listening: Vec<String>,
    /// Its connections.
    pub connections: Vec<Connection>,
    /// Its own line.
    pub line: Line,
    /// Bytes of disk that blobs take.
    pub blob_bytes: u64,
    /// Bytes of blobs moved to and from all others.
    pub blobs: BlobTraffic,
    /// Whether this is a daemon or the peer inside a `bayan run`.
    pub daemon: bool,
}

/// What goes wrong: every answer that is not 2xx.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiError {
    /// What is wrong and what to do.
    pub error: String,
}

/// The proof inside a [`Voucher`].
pub fn decode_proof(hexadecimal: &str) -> Option<Proof> {
    bayan_protocol::cbor::decode(&hex::decode(hexadecimal).ok()?).ok()
}
