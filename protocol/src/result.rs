//! Results: what a worker signs, how it is opened, and how one result of a batch is proven alone.
//!
//! Nothing here schedules or votes; see `verify` for what becomes of a result.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::{
    cbor,
    crypto::{self, BadSignature, Domain, Keypair, Signature},
    id::{Hash, JobId, LeaseId, PeerId, TaskId},
    limits::{MAX_BATCH, MAX_BLOB, MAX_INLINE, MAX_LOG},
    merkle,
    task::Status,
};

const COMMIT_CONTEXT: &str = "bayan 2026-11-21 output commit v1";

/// What honest peers must agree on: a vote is for one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Outcome {
    /// How the attempt ended.
    pub status: Status,
    /// Digest of its standard output.
    pub output: Hash,
    /// Its work in fuel units.
    pub fuel: u64,
}

/// How an attempt ended, as the engine tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Which attempt.
    pub attempt: u64,
    /// How.
    pub status: Status,
    /// Its standard output; a blob is stored already.
    pub output: Output,
    /// Its work in fuel units.
    pub fuel: u64,
    /// Its standard error.
    pub log: Vec<u8>,
    /// Microseconds that it took.
    pub micros: u64,
}

impl Ended {
    /// An attempt that ended without the guest's doing, for the reason in `log`.
    pub fn host_fault(attempt: u64, log: Vec<u8>) -> Self {
        let output = Output::Inline(ByteBuf::new());
        Self { attempt, status: Status::HostFault, output, fuel: 0, log, micros: 0 }
    }
}

/// The statement a worker makes about one task, committed to before it is opened (spec RES-2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The task.
    pub task: TaskId,
    /// The job it was leased for.
    pub job: JobId,
    /// Who the job belongs to.
    pub submitter: PeerId,
    /// The lease it was held under.
    pub lease: LeaseId,
    /// Who computed it.
    pub worker: PeerId,
    /// How the attempt ended.
    pub status: Status,
    /// [`output_commit`] of the output's digest and a nonce.
    pub output_commit: Hash,
    /// Work in fuel units.
    pub fuel: u64,
}

type LeafArray = (u8, TaskId, JobId, PeerId, LeaseId, PeerId, Status, Hash, u64);

impl Serialize for Leaf {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let array: LeafArray = (
            1,
            self.task,
            self.job,
            self.submitter,
            self.lease,
            self.worker,
            self.status,
            self.output_commit,
            self.fuel,
        );
        array.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Leaf {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (version, task, job, submitter, lease, worker, status, output_commit, fuel) =
            LeafArray::deserialize(from)?;
        if version != 1 {
            return Err(serde::de::Error::custom("unknown leaf version"));
        }
        Ok(Self { task, job, submitter, lease, worker, status, output_commit, fuel })
    }
}

impl Leaf {
    /// The leaf's digest in the batch's tree.
    pub fn digest(&self) -> Hash {
        merkle::leaf(&cbor::encode(self))
    }
}

/// Hides an output's digest until the nonce is revealed (spec RES-3).
pub fn output_commit(output: &Hash, nonce: &[u8; 32]) -> Hash {
    let mut both = [0; 64];
    both[..32].copy_from_slice(&output.0);
    both[32..].copy_from_slice(nonce);
    Hash(blake3::derive_key(COMMIT_CONTEXT, &both))
}

/// An output: carried inline when small, by digest when not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// The bytes themselves.
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

impl Output {
    /// Digest of the output's bytes.
    pub fn hash(&self) -> Hash {
        match self {
            Self::Inline(bytes) => Hash::of(bytes),
            Self::Blob { hash, .. } => *hash,
        }
    }

    /// Digest of an output that travels by it.
    pub fn blob(&self) -> Option<Hash> {
        match self {
            Self::Inline(_) => None,
            Self::Blob { hash, .. } => Some(*hash),
        }
    }

    /// Length of the output in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Blob { len, .. } => *len,
        }
    }

    /// Whether there is no output.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A signed root over a batch of leaves of one job: sent before what it covers is revealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// The job of every leaf.
    #[serde(rename = "j")]
    pub job: JobId,
    /// Grows by one per batch of a worker for a job, from its clock's microseconds at the first.
    #[serde(rename = "q")]
    pub sequence: u64,
    /// Merkle root of the leaves' digests.
    #[serde(rename = "r")]
    pub root: Hash,
    /// Number of leaves, 1 to [`MAX_BATCH`].
    #[serde(rename = "n")]
    pub count: u32,
    /// By the worker, over the canonical array {1, root, count, worker}.
    #[serde(rename = "s")]
    pub signature: Signature,
}

fn commit_message(root: &Hash, count: u32, worker: &PeerId) -> Vec<u8> {
    cbor::encode(&(1_u8, root, count, worker))
}

/// One leaf opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// The statement committed to.
    #[serde(rename = "l")]
    pub leaf: Leaf,
    /// The nonce of its output commit.
    #[serde(rename = "n")]
    pub nonce: Hash,
    /// The output.
    #[serde(rename = "o")]
    pub output: Output,
    /// The end of what the guest wrote to standard error; no part of the result.
    #[serde(rename = "e", default, skip_serializing_if = "is_empty")]
    pub log: ByteBuf,
    /// Microseconds the attempt took, as the worker tells it; no part of the result.
    #[serde(rename = "u", default)]
    pub micros: u64,
}

fn is_empty(bytes: &ByteBuf) -> bool {
    bytes.is_empty()
}

/// All leaves of a committed batch, in the tree's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reveal {
    /// The commit's root.
    #[serde(rename = "r")]
    pub root: Hash,
    /// The batch.
    #[serde(rename = "o")]
    pub opened: Vec<Opened>,
}

/// Why a batch of results is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The signature is not the connected worker's over this root and count.
    #[error("the batch is not signed by the peer that sent it")]
    Signature,
    /// The commit covers no leaf or too many.
    #[error("a batch holds 1 to 64 results")]
    Count,
    /// The revealed leaves are not those committed to.
    #[error("the revealed results are not those that were committed to")]
    Root,
    /// A leaf names another worker, job or submitter than the batch is for.
    #[error("a result is made out to another worker, job or submitter")]
    Foreign,
    /// The nonce and output do not open the commitment.
    #[error("an output does not open its commitment")]
    Opening,
    /// An output or log is longer than may travel inline.
    #[error("an inline output or log is too long")]
    TooLong,
}

impl From<BadSignature> for BatchError {
    fn from(_: BadSignature) -> Self {
        Self::Signature
    }
}

impl Commit {
    /// Commits to `opened` as `worker`; the batch must hold 1 to [`MAX_BATCH`] leaves of one job.
    pub fn sign(key: &Keypair, job: JobId, sequence: u64, opened: &[Opened]) -> Self {
        let digests: Vec<Hash> = opened.iter().map(|one| one.leaf.digest()).collect();
        let root = merkle::root(&digests).expect("a batch is closed only when it holds a result");
        let count = u32::try_from(digests.len()).expect("a batch is bounded");
        let signature =
            key.sign(Domain::ResultBatch, &commit_message(&root, count, &key.peer_id()));
        Self { job, sequence, root, count, signature }
    }

    /// Checks the signature and count as coming from `worker`.
    pub fn check(&self, worker: &PeerId) -> Result<(), BatchError> {
        if self.count == 0 || self.count as usize > MAX_BATCH {
            return Err(BatchError::Count);
        }
        let message = commit_message(&self.root, self.count, worker);
        Ok(crypto::verify(worker, Domain::ResultBatch, &message, &self.signature)?)
    }
}

/// A batch whose signature, root, names and openings have been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedBatch {
    commit: Commit,
    opened: Vec<Opened>,
    /// Each leaf's siblings in the tree.
    siblings: Vec<Vec<Hash>>,
}

impl VerifiedBatch {
    /// Checks that `reveal` opens `commit` as results of `worker` for `submitter`.
    pub fn check(
        commit: Commit,
        reveal: Reveal,
        worker: &PeerId,
        submitter: &PeerId,
    ) -> Result<Self, BatchError> {
        commit.check(worker)?;
        if reveal.opened.len() != commit.count as usize {
            return Err(BatchError::Count);
        }
        let digests: Vec<Hash> = reveal.opened.iter().map(|one| one.leaf.digest()).collect();
        let (root, siblings) = merkle::proofs(&digests).ok_or(BatchError::Count)?;
        if root != commit.root || reveal.root != commit.root {
            return Err(BatchError::Root);
        }
        for one in &reveal.opened {
            let leaf = &one.leaf;
            if leaf.worker != *worker || leaf.job != commit.job || leaf.submitter != *submitter {
                return Err(BatchError::Foreign);
            }
            if matches!(one.output, Output::Blob { len, .. } if len > MAX_BLOB)
                || one.log.len() > MAX_LOG
                || matches!(&one.output, Output::Inline(bytes) if bytes.len() > MAX_INLINE)
            {
                return Err(BatchError::TooLong);
            }
            if output_commit(&one.output.hash(), &one.nonce.0) != leaf.output_commit {
                return Err(BatchError::Opening);
            }
        }
        Ok(Self { commit, opened: reveal.opened, siblings })
    }

    /// The commit the batch was checked against.
    pub fn commit(&self) -> &Commit {
        &self.commit
    }

    /// Who computed it.
    pub fn worker(&self) -> PeerId {
        self.opened.first().map_or(PeerId([0; 32]), |one| one.leaf.worker)
    }

    /// The opened results.
    pub fn opened(&self) -> &[Opened] {
        &self.opened
    }

    /// The standalone proof of result `index`.
    pub fn proof(&self, index: usize) -> Option<Proof> {
        let one = self.opened.get(index)?;
        Some(Proof {
            leaf: one.leaf.clone(),
            nonce: one.nonce,
            output: one.output.hash(),
            index: u32::try_from(index).ok()?,
            count: self.commit.count,
            siblings: self.siblings.get(index)?.clone(),
            signature: self.commit.signature,
        })
    }
}

/// One result that anyone can check alone: leaf, opening, path to the root, signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The statement.
    pub leaf: Leaf,
    /// Opens the output commit.
    pub nonce: Hash,
    /// Digest of the output.
    pub output: Hash,
    /// Place in the batch.
    pub index: u32,
    /// Size of the batch.
    pub count: u32,
    /// Siblings from leaf to root.
    pub siblings: Vec<Hash>,
    /// The worker's signature of the root.
    pub signature: Signature,
}

impl Proof {
    /// Checks everything that can be checked without running the task again.
    pub fn check(&self) -> Result<(), BatchError> {
        if self.count == 0 || self.count as usize > MAX_BATCH {
            return Err(BatchError::Count);
        }
        let root = merkle::root_of_proof(
            self.leaf.digest(),
            self.index as usize,
            self.count as usize,
            &self.siblings,
        )
        .ok_or(BatchError::Root)?;
        if output_commit(&self.output, &self.nonce.0) != self.leaf.output_commit {
            return Err(BatchError::Opening);
        }
        let message = commit_message(&root, self.count, &self.leaf.worker);
        Ok(crypto::verify(&self.leaf.worker, Domain::ResultBatch, &message, &self.signature)?)
    }

    /// What the worker voted for.
    pub fn outcome(&self) -> Outcome {
        Outcome { status: self.leaf.status, output: self.output, fuel: self.leaf.fuel }
    }
}

/// The submitter's word that it has stored a worker's batches up to `highest`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The job.
    #[serde(rename = "j")]
    pub job: JobId,
    /// Root of the batch that this answers.
    #[serde(rename = "r")]
    pub root: Hash,
    /// Every batch of the worker up to this sequence is stored.
    #[serde(rename = "q")]
    pub highest: u64,
    /// By the submitter, over the canonical array {1, job, root, highest}.
    #[serde(rename = "s")]
    pub signature: Signature,
}

impl Ack {
    /// Acknowledges as the submitter.
    pub fn sign(key: &Keypair, job: JobId, root: Hash, highest: u64) -> Self {
        let signature = key.sign(Domain::Ack, &cbor::encode(&(1_u8, job, root, highest)));
        Self { job, root, highest, signature }
    }

    /// Checks the signature as coming from `submitter`.
    pub fn check(&self, submitter: &PeerId) -> Result<(), BadSignature> {
        let message = cbor::encode(&(1_u8, self.job, self.root, self.highest));
        crypto::verify(submitter, Domain::Ack, &message, &self.signature)
    }
}
