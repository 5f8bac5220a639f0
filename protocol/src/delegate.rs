//! A peer that carries a job on while its submitter is away: what the two say to each other, signed.
//!
//! The job's manifest names its delegate. The submitter's side of it is [`Handover`], one a job; the
//! delegate's side is [`Keeper`], one a peer, which has no idea of pools and votes: what is left of a
//! job runs as a job of the delegate's own. What became final there is told in signed statements, each
//! result of which is provable alone (spec DELEG).

mod handback;
mod handover;
mod keeper;
mod kept;

#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

pub use handover::{Answer, DelegateView, Handover};
pub use keeper::{Accept, Config, Effect, Input, Keeper, KeptView};

use crate::{
    cbor,
    crypto::{self, BadSignature, Domain, Keypair, Signature},
    id::{Hash, JobId, PeerId, TaskId},
    limits::MAX_BATCH,
    merkle,
    result::{Outcome, Output},
    task::Status,
};

/// One result, as its delegate vouches for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vouched {
    /// The task.
    #[serde(rename = "t")]
    pub task: TaskId,
    /// How it ended.
    #[serde(rename = "e")]
    pub status: Status,
    /// Work in fuel units.
    #[serde(rename = "f")]
    pub fuel: u64,
    /// Its output.
    #[serde(rename = "o")]
    pub output: Output,
}

impl Vouched {
    /// What is vouched for.
    pub fn outcome(&self) -> Outcome {
        Outcome { status: self.status, output: self.output.hash(), fuel: self.fuel }
    }
}

/// Who vouches for results of which job, to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The job.
    pub job: JobId,
    /// Whose it is.
    pub submitter: PeerId,
    /// The delegate that it names.
    pub delegate: PeerId,
}

impl Terms {
    /// The digest of one result in a statement's tree (spec DELEG-7).
    fn leaf(&self, task: &TaskId, outcome: &Outcome) -> Hash {
        let Self { job, submitter, delegate } = self;
        let Outcome { status, output, fuel } = outcome;
        merkle::leaf(&cbor::encode(&(1_u8, job, submitter, delegate, task, status, output, fuel)))
    }

    fn message(&self, root: &Hash, count: u32) -> Vec<u8> {
        cbor::encode(&(1_u8, root, count, self.delegate))
    }

    fn leaves(&self, results: &[Vouched]) -> Vec<Hash> {
        results.iter().map(|one| self.leaf(&one.task, &one.outcome())).collect()
    }

    /// Signs a statement as the delegate. Of no results there is none.
    pub fn sign(&self, key: &Keypair, results: &[Vouched]) -> Option<Signature> {
        let root = merkle::root(&self.leaves(results))?;
        let count = u32::try_from(results.len()).ok()?;
        Some(key.sign(Domain::Delegate, &self.message(&root, count)))
    }
}

/// Why a delegate's statement is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// The signature is not the delegate's over these results.
    #[error("a statement that the job's delegate did not sign")]
    Signature,
    /// It has no result, or too many, or one of them twice.
    #[error("a statement has 1 to 64 results of different tasks")]
    Count,
    /// A result says nothing that others could agree on.
    #[error("a statement about an attempt that came to no result")]
    Inconclusive,
    /// The proof does not lead from the result to a root.
    #[error("the proof is not of the statement's tree")]
    Proof,
}

impl From<BadSignature> for StatementError {
    fn from(_: BadSignature) -> Self {
        Self::Signature
    }
}

/// A statement whose signature has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    terms: Terms,
    results: Vec<Vouched>,
    siblings: Vec<Vec<Hash>>,
    signature: Signature,
}

impl Statement {
    /// Checks that the delegate signed these results.
    pub fn check(
        terms: Terms,
        results: Vec<Vouched>,
        signature: Signature,
    ) -> Result<Self, StatementError> {
        let mut tasks: Vec<&TaskId> = results.iter().map(|one| &one.task).collect();
        tasks.sort_unstable();
        tasks.dedup();
        if results.is_empty() || results.len() > MAX_BATCH || tasks.len() != results.len() {
            return Err(StatementError::Count);
        }
        if !results.iter().all(|one| one.status.is_conclusive()) {
            return Err(StatementError::Inconclusive);
        }
        let count = u32::try_from(results.len()).map_err(|_| StatementError::Count)?;
        let (root, siblings) =
            merkle::proofs(&terms.leaves(&results)).ok_or(StatementError::Count)?;
        let message = terms.message(&root, count);
        crypto::verify(&terms.delegate, Domain::Delegate, &message, &signature)?;
        Ok(Self { terms, results, siblings, signature })
    }

    /// What is vouched for.
    pub fn results(&self) -> &[Vouched] {
        &self.results
    }

    /// The standalone proof of result `index`.
    pub fn voucher(&self, index: usize) -> Option<Voucher> {
        let one = self.results.get(index)?;
        Some(Voucher {
            terms: self.terms,
            task: one.task,
            outcome: one.outcome(),
            index: u32::try_from(index).ok()?,
            count: u32::try_from(self.results.len()).ok()?,
            siblings: self.siblings.get(index)?.clone(),
            signature: self.signature,
        })
    }
}

/// A delegate's word for one result, which anyone can check alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voucher {
    /// Whose word, to whom, about which job.
    pub terms: Terms,
    /// The task.
    pub task: TaskId,
    /// Its outcome.
    pub outcome: Outcome,
    /// Place in the statement.
    pub index: u32,
    /// Results of the statement.
    pub count: u32,
    /// Siblings from leaf to root.
    pub siblings: Vec<Hash>,
    /// The delegate's signature of the root.
    pub signature: Signature,
}

impl Voucher {
    /// Checks that the delegate said so.
    pub fn check(&self) -> Result<(), StatementError> {
        if self.count == 0 || self.count as usize > MAX_BATCH {
            return Err(StatementError::Count);
        }
        let leaf = self.terms.leaf(&self.task, &self.outcome);
        let (index, count) = (self.index as usize, self.count as usize);
        let root = merkle::root_of_proof(leaf, index, count, &self.siblings)
            .ok_or(StatementError::Proof)?;
        let message = self.terms.message(&root, self.count);
        Ok(crypto::verify(&self.terms.delegate, Domain::Delegate, &message, &self.signature)?)
    }
}
