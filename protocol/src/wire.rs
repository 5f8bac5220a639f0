//! The frames of `/bayan/work/1`: what two peers say to each other about work (spec WIRE).
//!
//! Decoding checks shape and bounds; what a frame means is decided by the machines.

mod words;

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{
    cbor,
    crypto::Signature,
    delegate::Vouched,
    id::{Hash, JobId, LeaseId, PeerId, TaskId},
    limits::{
        MAX_BATCH, MAX_BLOB, MAX_EXCLUDED_AT_ONCE, MAX_FRAME, MAX_HELLO_ITEMS, MAX_INLINE,
        MAX_LEASE_TASKS, MAX_MANIFEST, MAX_MODULE, MAX_PATH, MAX_PROGRAM_BYTES, MAX_PROGRAM_ITEMS,
        MAX_TEXT,
    },
    path::{Errand, Hop, Trail},
    result::{Ack, Commit, Opened, Output, Reveal},
    task::{Input, Program},
};

/// The version of the work protocol that this build speaks.
pub const VERSION: u16 = 1;

/// The first frame each way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Versions of the work protocol that the sender speaks.
    pub versions: Vec<u16>,
    /// Program and version, for people.
    pub agent: String,
    /// Engine profiles that the sender can compute under.
    pub profiles: Vec<String>,
    /// Tasks that the sender computes at once; 0 for a peer that only submits.
    pub slots: u32,
    /// Bytes of guest memory that the sender lends to one task.
    pub memory: u64,
    /// 1 if the sender hands work on to others; left out if not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub relays: u8,
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

/// A source has work of this kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The job.
    pub job: JobId,
    /// Whose it is.
    pub submitter: PeerId,
    /// The profile its results must be computed under.
    pub profile: String,
    /// Guest memory it needs, bytes.
    pub memory: u64,
    /// Relays between the sender and the submitter; left out if there is none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hops: u8,
}

/// A worker is willing to hold this many tasks of the receiver at once; 0 withdraws.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    /// Absolute window, not an increment.
    pub tasks: u32,
    /// Tasks computed at once by the sender and those below it, where it hands work on; left out by
    /// others, for whom the hello's number stands.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub below: u32,
}

/// One task of a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeasedTask {
    /// Its id, which the worker derives again from program and input.
    #[serde(rename = "t")]
    pub task: TaskId,
    /// Its standard input.
    #[serde(rename = "i")]
    pub input: Input,
}

/// A batch of tasks to be computed before a deadline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Names the lease.
    pub lease: LeaseId,
    /// The job of all its tasks.
    pub job: JobId,
    /// Whose job it is.
    pub submitter: PeerId,
    /// What the tasks share.
    pub program: Program,
    /// Milliseconds until the lease lapses unless renewed.
    pub lasts_ms: u64,
    /// How the lease came, the submitter's hop first.
    pub path: Vec<Hop>,
    /// The tasks.
    pub tasks: Vec<LeasedTask>,
    /// 1 if whoever holds the lease may give its blobs to anyone; 0, which is not written, if not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub share: u8,
}

/// Why an offer, lease or frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No common version of the work protocol.
    Version,
    /// The engine profile is not supported here.
    Profile,
    /// The operator does not take this submitter's work.
    NotAccepted,
    /// Paused, or over its caps.
    Busy,
    /// More memory asked for than is lent.
    Memory,
    /// A module or input could not be fetched or is not what its digest says.
    Blob,
    /// The module is not an acceptable guest.
    Module,
    /// It has this job from another source that serves it better.
    Elsewhere,
    /// The frame breaks a rule of the specification.
    Protocol,
    /// The frame's kind is unknown here; it was ignored.
    UnknownFrame,
}

impl core::fmt::Display for Reason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Version => "no common version of the work protocol",
            Self::Profile => "the engine profile is not supported there",
            Self::NotAccepted => "its operator does not accept this work",
            Self::Busy => "busy or paused",
            Self::Memory => "more memory asked for than it lends",
            Self::Blob => "a module or input could not be fetched",
            Self::Module => "the module is not an acceptable guest",
            Self::Elsewhere => "it has the job from another source",
            Self::Protocol => "a frame broke the protocol",
            Self::UnknownFrame => "unknown kind of frame",
        })
    }
}

/// An answer that takes no work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refuse {
    /// The job refused; none when the answer is about the stream.
    pub job: Option<JobId>,
    /// Why.
    pub reason: Reason,
    /// More for people.
    pub text: String,
}

/// The leases that a worker still works on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    /// At most [`MAX_LEASE_TASKS`].
    pub leases: Vec<LeaseId>,
}

/// Work that is no longer wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// The job.
    pub job: JobId,
    /// Its tasks; none means all of them, and the job is over.
    pub tasks: Vec<TaskId>,
}

/// A worker's batch, as it is sent on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// Who computed and signed it.
    #[serde(rename = "w")]
    pub worker: PeerId,
    /// Its commit.
    #[serde(rename = "c")]
    pub commit: Commit,
    /// The results, in the tree's order.
    #[serde(rename = "o")]
    pub opened: Vec<Opened>,
}

/// Results that are sent on, or round a relay, with the way that their leases came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relayed {
    /// At most [`MAX_BATCH`] results in all.
    #[serde(rename = "b")]
    pub bundles: Vec<Bundle>,
    /// The trail of each lease that they were computed under.
    #[serde(rename = "t")]
    pub trails: Vec<Trail>,
    /// From a worker that brings its results round a relay: the tasks of each of these leases, in the
    /// trails' order, which their last hops are signed for. Left out by others.
    #[serde(rename = "k", default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<Vec<TaskId>>,
}

/// How a relay is connected towards a job's submitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The job.
    pub job: JobId,
    /// Milliseconds for which it has had no connection; null while it has one.
    pub away_ms: Option<u64>,
}

/// The submitter takes results of a job from these no more; whoever hands it on gives them none of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exclude {
    /// The job.
    pub job: JobId,
    /// Whom.
    pub workers: Vec<PeerId>,
}

/// A submitter hands a job over to the delegate that its manifest names, for keeping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entrust {
    /// The job.
    pub job: JobId,
    /// Digest of its manifest, which is fetched as a blob.
    pub manifest: Hash,
    /// Its length.
    pub len: u64,
}

/// A delegate's standing with a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entrusted {
    /// The job.
    pub job: JobId,
    /// Why it is not kept; null if it is.
    pub reason: Option<Reason>,
    /// What the submitter has told to be settled is known up to this place.
    pub upto: u64,
    /// Results that became final here and are to be told.
    pub left: u64,
}

/// Tasks that are settled at the submitter, or whose results a check has confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// The job.
    pub job: JobId,
    /// Which: at most [`MAX_LEASE_TASKS`].
    pub tasks: Vec<TaskId>,
    /// All that there was to tell of places before this one has been told.
    pub upto: u64,
}

/// A delegate's signed word for results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vouch {
    /// The job.
    #[serde(rename = "j")]
    pub job: JobId,
    /// By the delegate, over the root of the results.
    #[serde(rename = "s")]
    pub signature: Signature,
    /// The results: 1 to [`MAX_BATCH`].
    #[serde(rename = "o")]
    pub results: Vec<Vouched>,
    /// Results that are still to be told after these.
    #[serde(rename = "n")]
    pub left: u64,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// First each way.
    Hello(Hello),
    /// Source to worker: there is work.
    Offer(Offer),
    /// Worker to source: idle, is there work?
    Ask,
    /// Worker to source: how much it may hold.
    Credit(Credit),
    /// Source to worker: tasks.
    Lease(Lease),
    /// Either way: no.
    Refuse(Refuse),
    /// Worker to source: still at it.
    Renew(Renew),
    /// Worker to source: bound to these results.
    Commit(Commit),
    /// Worker to source: here they are.
    Reveal(Reveal),
    /// Source to worker: stored.
    Ack(Ack),
    /// Source to worker: stop.
    Cancel(Cancel),
    /// Towards the submitter: results of others, or one's own on another way than their lease came.
    Relayed(Relayed),
    /// Relay to worker: whether it is connected towards the submitter.
    Route(Route),
    /// Source to relay: these get no more of a job.
    Exclude(Exclude),
    /// Submitter to delegate: keep this job.
    Entrust(Entrust),
    /// Delegate to submitter: how it stands with a job.
    Entrusted(Entrusted),
    /// Submitter to delegate: these need not be computed.
    Settled(Settled),
    /// Delegate to submitter: these became final meanwhile.
    Vouch(Vouch),
}

/// Bytes that are not a frame of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Not CBOR of a frame's shape.
    #[error("malformed frame")]
    Malformed,
    /// A frame of a kind that this version does not know: ignored, with an answer.
    #[error("unknown kind of frame")]
    UnknownKind,
    /// Longer than a frame may be.
    #[error("frame over the size limit")]
    Oversized,
    /// A field is outside its bounds.
    #[error("{0} is outside its bounds")]
    Bounds(&'static str),
}

impl Frame {
    /// The frame's bytes, without the length prefix.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Parses and bounds-checks one frame.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > MAX_FRAME {
            return Err(WireError::Oversized);
        }
        let frame = cbor::decode::<Self>(bytes).map_err(|_| unreadable(bytes))?;
        frame.check_bounds()?;
        Ok(frame)
    }

    fn check_bounds(&self) -> Result<(), WireError> {
        match self {
            Self::Hello(hello) => {
                bound(hello.versions.len() <= MAX_HELLO_ITEMS, "versions")?;
                bound(hello.profiles.len() <= MAX_HELLO_ITEMS, "profiles")?;
                bound(hello.profiles.iter().all(|name| name.len() <= MAX_TEXT), "profiles")?;
                bound(hello.agent.len() <= MAX_TEXT, "agent")?;
                bound(hello.relays <= 1, "relays")
            }
            Self::Offer(offer) => {
                bound(offer.profile.len() <= MAX_TEXT, "profile")?;
                bound(usize::from(offer.hops) < MAX_PATH, "hops")
            }
            Self::Lease(lease) => lease.check_bounds(),
            Self::Refuse(refuse) => bound(refuse.text.len() <= MAX_TEXT, "text"),
            Self::Renew(renew) => bound(renew.leases.len() <= MAX_LEASE_TASKS, "leases"),
            Self::Reveal(reveal) => {
                bound(!reveal.opened.is_empty() && reveal.opened.len() <= MAX_BATCH, "opened")
            }
            Self::Commit(commit) => {
                bound(commit.count > 0 && commit.count as usize <= MAX_BATCH, "count")
            }
            Self::Cancel(cancel) => bound(cancel.tasks.len() <= MAX_LEASE_TASKS, "tasks"),
            Self::Relayed(relayed) => relayed.check_bounds(),
            Self::Exclude(exclude) => {
                let count = exclude.workers.len();
                bound((1..=MAX_EXCLUDED_AT_ONCE).contains(&count), "workers")
            }
            Self::Entrust(entrust) => {
                bound((1..=MAX_MANIFEST).contains(&entrust.len), "the manifest's length")
            }
            Self::Settled(settled) => bound(settled.tasks.len() <= MAX_LEASE_TASKS, "tasks"),
            Self::Vouch(vouch) => vouch.check_bounds(),
            Self::Ask | Self::Credit(_) | Self::Ack(_) | Self::Route(_) | Self::Entrusted(_) => {
                Ok(())
            }
        }
    }
}

impl Relayed {
    fn check_bounds(&self) -> Result<(), WireError> {
        let results: usize = self.bundles.iter().map(|bundle| bundle.opened.len()).sum();
        bound(!self.bundles.is_empty() && results <= MAX_BATCH, "bundles")?;
        for bundle in &self.bundles {
            bound(!bundle.opened.is_empty(), "opened")?;
            bound(bundle.commit.count as usize == bundle.opened.len(), "count")?;
        }
        bound(!self.trails.is_empty() && self.trails.len() <= MAX_BATCH, "trails")?;
        let fits = |trail: &Trail| !trail.hops.is_empty() && trail.hops.len() <= MAX_PATH;
        bound(self.trails.iter().all(fits), "trails")?;
        bound(self.tasks.len() <= self.trails.len(), "tasks")?;
        bound(self.tasks.iter().all(|tasks| tasks.len() <= MAX_LEASE_TASKS), "tasks")
    }
}

impl Vouch {
    fn check_bounds(&self) -> Result<(), WireError> {
        bound((1..=MAX_BATCH).contains(&self.results.len()), "results")?;
        let fits = |one: &Vouched| match &one.output {
            Output::Inline(bytes) => bytes.len() <= MAX_INLINE,
            Output::Blob { len, .. } => *len <= MAX_BLOB,
        };
        bound(self.results.iter().all(fits), "an output")
    }
}

impl Lease {
    /// The errand that its hops are signed for.
    pub fn errand(&self) -> Errand {
        Errand { job: self.job, submitter: self.submitter }
    }

    fn check_bounds(&self) -> Result<(), WireError> {
        bound(!self.tasks.is_empty() && self.tasks.len() <= MAX_LEASE_TASKS, "tasks")?;
        bound(!self.path.is_empty() && self.path.len() <= MAX_PATH, "path")?;
        bound(self.share <= 1, "share")?;
        for task in &self.tasks {
            match &task.input {
                Input::Inline(bytes) => bound(bytes.len() <= MAX_INLINE, "input")?,
                Input::Blob { len, .. } => bound(*len <= MAX_BLOB, "input")?,
            }
        }
        self.program.check_bounds()
    }
}

impl Program {
    /// Checks counts, sizes, names and order of everything in the program.
    pub fn check_bounds(&self) -> Result<(), WireError> {
        bound(self.module_len > 0 && self.module_len <= MAX_MODULE, "module")?;
        bound(self.profile.len() <= MAX_TEXT, "profile")?;
        bound(self.args.len() <= MAX_PROGRAM_ITEMS, "args")?;
        bound(self.env.len() <= MAX_PROGRAM_ITEMS, "env")?;
        bound(self.data.len() <= MAX_PROGRAM_ITEMS, "data")?;
        let bytes = self.args.iter().map(String::len).sum::<usize>()
            + self.env.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
            + self.data.iter().map(|file| file.name.len()).sum::<usize>();
        bound(bytes <= MAX_PROGRAM_BYTES, "program")?;
        bound(self.args.iter().all(|arg| !arg.contains('\0')), "args")?;
        bound(
            self.env.iter().all(|(name, value)| {
                !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
            }),
            "env",
        )?;
        bound(self.data.windows(2).all(|two| two[0].name < two[1].name), "data")?;
        bound(self.data.iter().all(|file| is_data_name(&file.name) && file.len <= MAX_BLOB), "data")
    }
}

/// Whether `name` can stand under `/data`: 1 to 255 bytes, no slash, no NUL, not `.` or `..`.
pub fn is_data_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !name.contains(['/', '\0'])
        && name != "."
        && name != ".."
}

fn bound(holds: bool, what: &'static str) -> Result<(), WireError> {
    if holds { Ok(()) } else { Err(WireError::Bounds(what)) }
}

/// Tells a frame of a later version from garbage: a text, or a map of one entry whose key is a text.
fn unreadable(bytes: &[u8]) -> WireError {
    let kind = match bytes.split_first() {
        Some((0xa1, rest)) => text_prefix(rest),
        Some(_) => text_prefix(bytes).filter(|text| text.len() + 1 == bytes.len()),
        None => None,
    };
    match kind {
        Some(name) if !Frame::KINDS.contains(&name) && !name.is_empty() => WireError::UnknownKind,
        _ => WireError::Malformed,
    }
}

/// The CBOR text of under 24 bytes that `bytes` begin with.
fn text_prefix(bytes: &[u8]) -> Option<&str> {
    let (head, rest) = bytes.split_first()?;
    let len = usize::from(head.checked_sub(0x60).filter(|len| *len < 24)?);
    core::str::from_utf8(rest.get(..len)?).ok()
}

/// A capacity statement, gossiped; hints only, never acted on alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advert {
    /// Who states it.
    #[serde(rename = "p")]
    pub peer: PeerId,
    /// Microseconds since the epoch on the stating peer's clock; later ones replace earlier ones.
    #[serde(rename = "t")]
    pub at: u64,
    /// Tasks computed at once.
    #[serde(rename = "s")]
    pub slots: u32,
    /// Of these, free now.
    #[serde(rename = "f")]
    pub free: u32,
    /// Measured speed in fuel units a second and slot, 0 while unknown.
    #[serde(rename = "v")]
    pub speed: u64,
    /// Guest memory lent to one task, bytes.
    #[serde(rename = "m")]
    pub memory: u64,
    /// Engine profiles.
    #[serde(rename = "e")]
    pub profiles: Vec<String>,
}

impl Advert {
    /// Digest of the advert's bytes, to name it by.
    pub fn digest(&self) -> Hash {
        Hash::of(&cbor::encode(self))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn frames_round_trip() {
        let hello = Frame::Hello(Hello {
            versions: vec![1],
            agent: "bayan 0.1".into(),
            profiles: vec!["p".into()],
            slots: 2,
            memory: 1 << 30,
            relays: 0,
        });
        for frame in [hello, Frame::Ask, Frame::Credit(Credit { tasks: 7, below: 0 })] {
            assert_eq!(Frame::decode(&frame.encode()), Ok(frame));
        }
    }

    #[test]
    fn every_kind_is_listed() {
        let frame = Frame::Ask.encode();
        assert_eq!(text_prefix(&frame), Some("ask"));
        assert_eq!(
            unreadable(&frame),
            WireError::Malformed,
            "a known kind is never reported as unknown"
        );
    }

    #[test]
    fn garbage_and_unknown_kinds_are_told_apart() {
        assert_eq!(Frame::decode(b""), Err(WireError::Malformed));
        assert_eq!(Frame::decode(&[0xff; 40]), Err(WireError::Malformed));
        assert_eq!(Frame::decode(&cbor::encode(&"later")), Err(WireError::UnknownKind));
        let mut trailing = Frame::Ask.encode();
        trailing.push(0);
        assert_eq!(Frame::decode(&trailing), Err(WireError::Malformed));
    }
}
