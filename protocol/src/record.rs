//! What a peer must not forget: each record is an upsert of one key, stored before any effect that
//! relies on it is carried out. Replaying the live records gives the machines back (see `peer`).

use alloc::{string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use crate::{
    cbor::{self, DecodeError},
    delegate::{Answer, Voucher},
    hops::HopRecord,
    id::{Hash, JobId, LeaseId, PeerId, TaskId},
    path::{Hop, Trail},
    pool::TaskIndex,
    result::{Commit, Opened, Outcome, Output, Proof},
    standing::Standing,
    time::Timestamp,
    verify::Decision,
    wire,
};

/// Where a job of one's own stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Tasks are unfinished.
    Running,
    /// Every task has an accepted result or was given up.
    Done,
    /// Ended by its submitter.
    Cancelled,
}

/// One thing remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// A job of this peer's own.
    Job {
        /// Its id.
        job: JobId,
        /// The blob that holds its manifest.
        manifest: Hash,
        /// When it was submitted.
        submitted: Timestamp,
        /// When it ended.
        ended: Option<Timestamp>,
        /// Where it stands.
        state: JobState,
        /// Whether its app was found to differ by machine.
        quarantined: bool,
        /// If so, whether it is this peer's own machine that gives what no other gives.
        #[serde(default, skip_serializing_if = "core::ops::Not::not")]
        own_apart: bool,
    },
    /// Tasks handed to a worker.
    Leased {
        /// The job.
        job: JobId,
        /// The lease.
        lease: LeaseId,
        /// Who holds it.
        worker: PeerId,
        /// Its tasks.
        tasks: Vec<TaskIndex>,
    },
    /// A worker's result that counts as a vote.
    Vote {
        /// The job.
        job: JobId,
        /// The task.
        task: TaskIndex,
        /// The result with its proof.
        proof: Proof,
        /// Its output.
        output: Output,
        /// What the guest wrote to standard error.
        #[serde(with = "serde_bytes")]
        log: Vec<u8>,
        /// Microseconds it took, as the worker tells it.
        micros: u64,
        /// The relays that it came through, nearest first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        via: Vec<PeerId>,
    },
    /// What is believed of a task.
    Decided {
        /// The job.
        job: JobId,
        /// The task.
        task: TaskIndex,
        /// Its state, and what that rests on.
        decision: Decision,
    },
    /// What this peer knows first-hand of another.
    Standing {
        /// Whom.
        peer: PeerId,
        /// What.
        standing: Standing,
    },
    /// A result that this peer's own execution proved wrong.
    Caught {
        /// The job.
        job: JobId,
        /// The task.
        task: TaskIndex,
        /// Who claimed it.
        worker: PeerId,
        /// What is right.
        right: Outcome,
        /// When it was found.
        at: Timestamp,
    },
    /// An app that gives different results on different honest machines.
    Quarantine {
        /// The app's module.
        module: Hash,
        /// The engine profile it was run under.
        profile: String,
        /// Until when nobody is punished over it.
        until: Timestamp,
        /// Whether it is this peer's own machine that gives what no other gives.
        #[serde(default, skip_serializing_if = "core::ops::Not::not")]
        own_apart: bool,
    },
    /// A provider that sent wrong bytes for a blob.
    Poisoner {
        /// Who.
        peer: PeerId,
        /// Until when it is not asked for anything.
        until: Timestamp,
    },
    /// The batches of a worker that are stored.
    Heard {
        /// The job.
        job: JobId,
        /// The worker.
        worker: PeerId,
        /// Every batch up to this one.
        highest: u64,
    },
    /// A lease that this peer works on for another.
    Held {
        /// Whom it is leased from.
        source: PeerId,
        /// The lease.
        lease: wire::Lease,
    },
    /// Results of one's own that the source has not acknowledged.
    Batch {
        /// Whom they are for.
        source: PeerId,
        /// The signed commit.
        commit: Commit,
        /// The results.
        opened: Vec<Opened>,
        /// The ways of their leases; none of those that the submitter gave itself.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        trails: Vec<Trail>,
    },
    /// Tasks of another's job that this peer handed on.
    Handed {
        /// The job.
        job: JobId,
        /// The lease, as this peer named it.
        lease: LeaseId,
        /// Whose lease the tasks are held under.
        source: PeerId,
        /// The whole way, this peer's own hop at its end.
        path: Vec<Hop>,
        /// Who got them.
        worker: PeerId,
        /// The tasks.
        tasks: Vec<TaskId>,
    },
    /// Results of others that this peer brings upstream and that are not acknowledged.
    Parcel {
        /// Whom they are brought to.
        source: PeerId,
        /// Who sent them here.
        from: PeerId,
        /// The batch.
        bundle: wire::Bundle,
        /// The ways of its leases, from the submitter on.
        trails: Vec<Trail>,
    },
    /// How a job of one's own stands with its delegate.
    Handover {
        /// The job.
        job: JobId,
        /// What the delegate said.
        answer: Answer,
        /// Results for which it vouched differently from what was final here.
        differs: u64,
    },
    /// A result that stands on the delegate's word.
    Vouched {
        /// The job.
        job: JobId,
        /// The task.
        task: TaskIndex,
        /// The delegate's word.
        voucher: Voucher,
        /// The output.
        output: Output,
    },
    /// A job that this peer keeps for another, as its delegate.
    Entrusted {
        /// Whose it is.
        submitter: PeerId,
        /// The job.
        job: JobId,
        /// The blob that holds its manifest.
        manifest: Hash,
        /// Length of the manifest.
        len: u64,
        /// When its submitter was last here.
        seen: Timestamp,
        /// All that was settled there in places before this one has been told.
        upto: u64,
        /// This peer's own jobs that carry it on, with results that are still to be told.
        carried: Vec<JobId>,
        /// Whether its operator has ended one of these, so that it is not carried on any more.
        ended: bool,
    },
    /// Tasks of a kept job that are settled at its submitter.
    SettledThere {
        /// Whose it is.
        submitter: PeerId,
        /// The job.
        job: JobId,
        /// Its number among those of the job.
        part: u64,
        /// Which.
        tasks: Vec<TaskIndex>,
    },
    /// How well another peer passes on what it is given to.
    Hops {
        /// Whom.
        peer: PeerId,
        /// How well.
        record: HopRecord,
    },
}

/// A record's place in the store; keys sort so that a job's own records stand together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(pub Vec<u8>);

/// One change of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Store under its key, replacing what was there.
    Put(Record),
    /// Forget.
    Delete(Key),
}

impl Key {
    /// Prefixes of the keys of what nobody can be asked for again, and is small: jobs, standings, what
    /// was caught, quarantines; and of what makes an honest worker's results look like those of a
    /// stranger if it is lost: leases given, and what was heard. A store does well to keep these twice.
    pub const PRECIOUS: &[&[u8]] = &[b"j", b"k", b"c", b"q", b"l", b"h", b"d", b"e"];

    /// What the records are called whose keys begin with `kind`.
    pub fn kind_in_words(kind: u8) -> &'static str {
        match kind {
            b'j' => "jobs",
            b'l' => "leases given",
            b'v' => "votes",
            b's' => "decisions about tasks",
            b'k' => "standings of peers",
            b'c' => "wrong results caught",
            b'q' => "apps in quarantine",
            b'p' => "senders of wrong bytes",
            b'h' => "notes of what workers sent",
            b'w' => "leases held",
            b'b' => "results to deliver",
            b'n' => "leases handed on",
            b'u' => "results of others to deliver",
            b'r' => "records of relays",
            b'd' => "answers of delegates",
            b't' => "results that delegates vouch for",
            b'e' => "jobs kept for others",
            b'x' => "notes of what is settled elsewhere",
            _ => "others",
        }
    }

    fn new(kind: u8, parts: &[&[u8]]) -> Self {
        let mut bytes = Vec::from([kind]);
        for part in parts {
            bytes.extend_from_slice(part);
        }
        Self(bytes)
    }

    /// Of [`Record::Job`].
    pub fn job(job: &JobId) -> Self {
        Self::new(b'j', &[&job.0])
    }

    /// Of [`Record::Leased`].
    pub fn leased(job: &JobId, lease: &LeaseId) -> Self {
        Self::new(b'l', &[&job.0, &lease.0])
    }

    /// Of [`Record::Vote`].
    pub fn vote(job: &JobId, task: TaskIndex, worker: &PeerId) -> Self {
        Self::new(b'v', &[&job.0, &task.to_be_bytes(), &worker.0])
    }

    /// Of [`Record::Decided`].
    pub fn decided(job: &JobId, task: TaskIndex) -> Self {
        Self::new(b's', &[&job.0, &task.to_be_bytes()])
    }

    /// Of [`Record::Standing`].
    pub fn standing(peer: &PeerId) -> Self {
        Self::new(b'k', &[&peer.0])
    }

    /// Of [`Record::Caught`].
    pub fn caught(job: &JobId, task: TaskIndex, worker: &PeerId) -> Self {
        Self::new(b'c', &[&job.0, &task.to_be_bytes(), &worker.0])
    }

    /// Of [`Record::Quarantine`].
    pub fn quarantine(module: &Hash, profile: &str) -> Self {
        Self::new(b'q', &[&module.0, profile.as_bytes()])
    }

    /// Of [`Record::Poisoner`].
    pub fn poisoner(peer: &PeerId) -> Self {
        Self::new(b'p', &[&peer.0])
    }

    /// Of [`Record::Heard`].
    pub fn heard(job: &JobId, worker: &PeerId) -> Self {
        Self::new(b'h', &[&job.0, &worker.0])
    }

    /// Of [`Record::Held`].
    pub fn held(source: &PeerId, lease: &LeaseId) -> Self {
        Self::new(b'w', &[&source.0, &lease.0])
    }

    /// Of [`Record::Handed`].
    pub fn handed(job: &JobId, lease: &LeaseId) -> Self {
        Self::new(b'n', &[&job.0, &lease.0])
    }

    /// Of [`Record::Parcel`].
    pub fn parcel(job: &JobId, root: &Hash) -> Self {
        Self::new(b'u', &[&job.0, &root.0])
    }

    /// Of [`Record::Hops`].
    pub fn hops(peer: &PeerId) -> Self {
        Self::new(b'r', &[&peer.0])
    }

    /// Of [`Record::Handover`].
    pub fn handover(job: &JobId) -> Self {
        Self::new(b'd', &[&job.0])
    }

    /// Of [`Record::Vouched`].
    pub fn vouched(job: &JobId, task: TaskIndex) -> Self {
        Self::new(b't', &[&job.0, &task.to_be_bytes()])
    }

    /// Of [`Record::Entrusted`].
    pub fn entrusted(submitter: &PeerId, job: &JobId) -> Self {
        Self::new(b'e', &[&submitter.0, &job.0])
    }

    /// Of [`Record::SettledThere`].
    pub fn settled_there(submitter: &PeerId, job: &JobId, part: u64) -> Self {
        Self::new(b'x', &[&submitter.0, &job.0, &part.to_be_bytes()])
    }

    /// Of [`Record::Batch`].
    pub fn batch(source: &PeerId, job: &JobId, sequence: u64) -> Self {
        Self::new(b'b', &[&source.0, &job.0, &sequence.to_be_bytes()])
    }
}

impl Record {
    /// Its place in the store.
    pub fn key(&self) -> Key {
        match self {
            Self::Job { job, .. } => Key::job(job),
            Self::Leased { job, lease, .. } => Key::leased(job, lease),
            Self::Vote { job, task, proof, .. } => Key::vote(job, *task, &proof.leaf.worker),
            Self::Decided { job, task, .. } => Key::decided(job, *task),
            Self::Standing { peer, .. } => Key::standing(peer),
            Self::Caught { job, task, worker, .. } => Key::caught(job, *task, worker),
            Self::Quarantine { module, profile, .. } => Key::quarantine(module, profile),
            Self::Poisoner { peer, .. } => Key::poisoner(peer),
            Self::Heard { job, worker, .. } => Key::heard(job, worker),
            Self::Held { source, lease } => Key::held(source, &lease.lease),
            Self::Handed { job, lease, .. } => Key::handed(job, lease),
            Self::Parcel { bundle, .. } => Key::parcel(&bundle.commit.job, &bundle.commit.root),
            Self::Hops { peer, .. } => Key::hops(peer),
            Self::Handover { job, .. } => Key::handover(job),
            Self::Vouched { job, task, .. } => Key::vouched(job, *task),
            Self::Entrusted { submitter, job, .. } => Key::entrusted(submitter, job),
            Self::SettledThere { submitter, job, part, .. } => {
                Key::settled_there(submitter, job, *part)
            }
            Self::Batch { source, commit, .. } => Key::batch(source, &commit.job, commit.sequence),
        }
    }

    /// The blobs that the record is of no use without. Those of a job's manifest are
    /// [`crate::job::Manifest::blobs`].
    pub fn blobs(&self) -> Vec<Hash> {
        let of = |output: &Output| match output {
            Output::Blob { hash, .. } => Some(*hash),
            Output::Inline(_) => None,
        };
        match self {
            Self::Job { manifest, .. } | Self::Entrusted { manifest, .. } => Vec::from([*manifest]),
            Self::Vote { output, .. } | Self::Vouched { output, .. } => {
                of(output).into_iter().collect()
            }
            Self::Held { lease, .. } => {
                let inputs = lease.tasks.iter().filter_map(|task| task.input.blob());
                lease.program.blobs().chain(inputs).collect()
            }
            Self::Batch { opened, .. } => opened.iter().filter_map(|one| of(&one.output)).collect(),
            Self::Parcel { bundle, .. } => {
                bundle.opened.iter().filter_map(|one| of(&one.output)).collect()
            }
            Self::Leased { .. }
            | Self::Handed { .. }
            | Self::Handover { .. }
            | Self::SettledThere { .. }
            | Self::Hops { .. }
            | Self::Decided { .. }
            | Self::Heard { .. }
            | Self::Standing { .. }
            | Self::Caught { .. }
            | Self::Poisoner { .. }
            | Self::Quarantine { .. } => Vec::new(),
        }
    }

    /// Its stored form.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads a stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        cbor::decode(bytes)
    }
}
