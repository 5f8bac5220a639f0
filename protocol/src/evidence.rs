//! Bad-result evidence: everything with which anybody, who has met neither peer, can find out whether
//! a result that a worker signed is wrong (spec EVID).
//!
//! Here lives the file's form and what can be checked without running anything; `verdict` says what a
//! re-run shows. Nothing here runs a task, and nothing says what becomes of whoever is convicted.

mod verdict;

#[cfg(test)]
mod tests;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};
use core::fmt;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

pub use self::verdict::{Differs, Doubt, Verdict, judge, wants_run};
use crate::{
    cbor,
    id::{Hash, JobId, PeerId, TaskId},
    limits::{MAX_BATCH, MAX_EVIDENCE, MAX_EVIDENCE_BLOBS},
    result::{BatchError, Outcome, Proof},
    task::{DataFile, Input, Limits, PROFILE_V1, Program},
    wire::WireError,
};

/// The first element of the file's array; at the same place in files of every version.
const KIND: &str = "bayan evidence";
const VERSION: u8 = 1;
/// An array of six elements, then a text of fourteen bytes: how a file of this version begins.
const HEAD: [u8; 2] = [0x86, 0x6e];
/// Where the version stands.
const VERSION_AT: usize = HEAD.len() + KIND.len();

const _: () = assert!(KIND.len() == HEAD[1] as usize - 0x60);

/// Why a file is no evidence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// Longer than such a file may be; it was not looked into.
    #[error("the file has {0} bytes; evidence has at most {MAX_EVIDENCE}")]
    Oversized(u64),
    /// It does not begin as evidence does.
    #[error("this is no evidence: it does not begin with the words `{KIND}`")]
    NotEvidence,
    /// It is of a version that this program does not know.
    #[error("the file is evidence of version {0}; this program reads version {VERSION}")]
    Version(u64),
    /// Cut short, or of another shape.
    #[error("the file is damaged or cut short: it does not have the shape of evidence")]
    Malformed,
    /// Something stands behind its end.
    #[error("{0} bytes follow the end of the evidence")]
    Trailing(u64),
    /// It says something in other bytes than those that say it.
    #[error("the file is not in canonical form: it was changed, or written by something else")]
    NotCanonical,
    /// A program that nobody may lease out.
    #[error("the task is none that a peer may give out: its {0} is outside its bounds")]
    Task(&'static str),
    /// More blobs than a file may carry.
    #[error("the blobs in the file have {0} bytes; at most {MAX_EVIDENCE_BLOBS} are carried")]
    Blobs(u64),
    /// The result's place is not one in a batch.
    #[error(
        "the result is said to be number {index} of a batch of {count}; a batch has 1 to {MAX_BATCH}"
    )]
    Place {
        /// Its place, from 0.
        index: u32,
        /// Results of the batch.
        count: u32,
    },
    /// The path from the result to the root is of another tree.
    #[error(
        "the path to the batch's root does not fit a batch of that many results: it is of another tree"
    )]
    Tree,
    /// The digest and the nonce are not those that were committed to.
    #[error("the output's digest does not open what was signed: digest or nonce was changed")]
    Opening,
    /// The accused did not sign the batch that result and path lead to.
    #[error(
        "the accused did not sign this: result, path or signature was changed, or is of another batch"
    )]
    Signature,
    /// The task is not the one that the signed result is for.
    #[error("the task in the file is {found}, but what was signed is a result of {signed}")]
    OtherTask {
        /// The id of the task in the file.
        found: TaskId,
        /// The id in the result.
        signed: TaskId,
    },
    /// What the file says is right accuses nobody.
    #[error("the file accuses nobody: what it gives as right is {0}")]
    Right(&'static str),
    /// A blob's bytes are others than its digest says.
    #[error("the blob {0} in the file has other bytes than its name says: the file is damaged")]
    Blob(Hash),
    /// A blob that is no part of the task.
    #[error("the blob {0} in the file is no part of the task")]
    Stray(Hash),
}

impl EvidenceError {
    fn of_proof(error: BatchError, proof: &Proof) -> Self {
        match error {
            BatchError::Count => Self::Place { index: proof.index, count: proof.count },
            BatchError::Root => Self::Tree,
            BatchError::Opening => Self::Opening,
            // The others are of whole batches; a proof ends in none of them.
            BatchError::Signature | BatchError::Foreign | BatchError::TooLong => Self::Signature,
        }
    }
}

/// A task as its id covers it, and nothing else of it: spec WORK-3. Lengths follow from digests, and
/// the wall time decides no result that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskBody {
    /// Digest of the WebAssembly module.
    pub module: Hash,
    /// Arguments after the program's own name.
    pub args: Vec<String>,
    /// Environment, in the order given.
    pub env: Vec<(String, String)>,
    /// Digest of standard input.
    pub stdin: Hash,
    /// Names and digests of the files under `/data`, sorted by name.
    pub data: Vec<(String, Hash)>,
    /// Bytes of linear memory.
    pub memory: u64,
    /// Units of fuel.
    pub fuel: u64,
    /// Bytes of standard output.
    pub output: u64,
    /// Engine profile.
    pub profile: String,
    /// The job's salt.
    pub salt: Hash,
}

type TaskArray = (
    u8,
    Hash,
    Vec<String>,
    Vec<(String, String)>,
    Hash,
    Vec<(String, Hash)>,
    (u64, u64, u64),
    String,
    Hash,
);

impl Serialize for TaskBody {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let limits = (self.memory, self.fuel, self.output);
        let (module, stdin, salt) = (&self.module, &self.stdin, &self.salt);
        (1_u8, module, &self.args, &self.env, stdin, &self.data, limits, &self.profile, salt)
            .serialize(to)
    }
}

impl<'de> Deserialize<'de> for TaskBody {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (version, module, args, env, stdin, data, (memory, fuel, output), profile, salt) =
            TaskArray::deserialize(from)?;
        if version != 1 {
            return Err(serde::de::Error::custom("unknown version of a task"));
        }
        Ok(Self { module, args, env, stdin, data, memory, fuel, output, profile, salt })
    }
}

impl TaskBody {
    /// What the id covers of `program` on `input`.
    pub fn new(program: &Program, input: &Input) -> Self {
        Self {
            module: program.module,
            args: program.args.clone(),
            env: program.env.clone(),
            stdin: input.hash(),
            data: program.data.iter().map(|file| (file.name.clone(), file.hash)).collect(),
            memory: program.limits.memory,
            fuel: program.limits.fuel,
            output: program.limits.output,
            profile: program.profile.clone(),
            salt: program.salt,
        }
    }

    /// The task's id.
    pub fn id(&self) -> TaskId {
        self.program().task_id(&self.stdin)
    }

    /// A program of this id. Lengths and wall time, which the id does not cover, mean nothing in it.
    fn program(&self) -> Program {
        let file =
            |(name, hash): &(String, Hash)| DataFile { name: name.clone(), hash: *hash, len: 0 };
        Program {
            module: self.module,
            module_len: 1,
            args: self.args.clone(),
            env: self.env.clone(),
            data: self.data.iter().map(file).collect(),
            limits: Limits {
                memory: self.memory,
                fuel: self.fuel,
                output: self.output,
                wall_ms: 0,
            },
            profile: self.profile.clone(),
            salt: self.salt,
        }
    }

    /// Everything that is given by digest.
    pub fn parts(&self) -> Vec<Part> {
        let data = self.data.iter().map(|(name, hash)| (Piece::Data(name.clone()), *hash));
        [(Piece::Input, self.stdin), (Piece::Module, self.module)]
            .into_iter()
            .chain(data)
            .map(|(piece, hash)| Part { piece, hash })
            .collect()
    }
}

/// What of a task a blob is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Standard input.
    Input,
    /// The guest.
    Module,
    /// A file under `/data`, by its name.
    Data(String),
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input => f.write_str("the input"),
            Self::Module => f.write_str("the module"),
            // Somebody else's text.
            Self::Data(name) => write!(f, "the data file {name:?}"),
        }
    }
}

/// One blob that a task needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub piece: Piece,
    /// Its digest.
    pub hash: Hash,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.piece, self.hash)
    }
}

/// A signed result that is said to be wrong, with what it takes to compute the task again. As it was
/// read: [`Self::checked`] is the way to something that may be acted upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadResult {
    /// The result and its worker's signature.
    pub proof: Proof,
    /// The task.
    pub task: TaskBody,
    /// What somebody says is right. It is no part of what is signed, and no verdict rests on it alone.
    pub right: Option<Outcome>,
    /// Contents by digest: as many of the task's parts as a file may carry.
    pub blobs: BTreeMap<Hash, ByteBuf>,
}

impl BadResult {
    /// Puts together what is at hand, and checks it. `content` gives a blob if it is here and has at
    /// most so many bytes; what does not fit into a file is left out.
    pub fn bundle(
        proof: Proof,
        program: &Program,
        input: &Input,
        right: Option<Outcome>,
        mut content: impl FnMut(&Hash, usize) -> Option<Vec<u8>>,
    ) -> Result<Checked, EvidenceError> {
        let task = TaskBody::new(program, input);
        let mut blobs: BTreeMap<Hash, ByteBuf> = BTreeMap::new();
        let mut room = MAX_EVIDENCE_BLOBS;
        for Part { piece, hash } in task.parts() {
            if blobs.contains_key(&hash) {
                continue;
            }
            let bytes = match (piece, input) {
                (Piece::Input, Input::Inline(bytes)) => Some(bytes.clone().into_vec()),
                _ => content(&hash, room),
            };
            if let Some(bytes) = bytes
                && let Some(left) = room.checked_sub(bytes.len())
            {
                room = left;
                blobs.insert(hash, ByteBuf::from(bytes));
            }
        }
        let evidence = Self { proof, task, right, blobs };
        evidence.check_bounds()?;
        evidence.checked()
    }

    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let blobs: Vec<(&Hash, &ByteBuf)> = self.blobs.iter().collect();
        cbor::encode(&(KIND, VERSION, &self.proof, &self.task, &self.right, blobs))
    }

    /// Reads a file. Nothing is allocated for lengths that the bytes do not bear out.
    pub fn decode(bytes: &[u8]) -> Result<Self, EvidenceError> {
        if bytes.len() > MAX_EVIDENCE {
            return Err(EvidenceError::Oversized(bytes.len() as u64));
        }
        check_head(bytes)?;
        let len = cbor::item_len(bytes).ok_or(EvidenceError::Malformed)?;
        if len < bytes.len() {
            return Err(EvidenceError::Trailing((bytes.len() - len) as u64));
        }
        type Read = (String, u8, Proof, TaskBody, Option<Outcome>, Vec<(Hash, ByteBuf)>);
        let (_, _, proof, task, right, blobs) =
            cbor::decode::<Read>(bytes).map_err(|_| EvidenceError::Malformed)?;
        // Blobs in another order, or one twice, are written otherwise.
        let evidence = Self { proof, task, right, blobs: blobs.into_iter().collect() };
        if evidence.encode() != bytes {
            return Err(EvidenceError::NotCanonical);
        }
        evidence.check_bounds()?;
        Ok(evidence)
    }

    fn check_bounds(&self) -> Result<(), EvidenceError> {
        self.task.program().check_bounds().map_err(|error| match error {
            WireError::Bounds(field) => EvidenceError::Task(field),
            _ => EvidenceError::Malformed,
        })?;
        let carried = self.carried();
        if carried > MAX_EVIDENCE_BLOBS as u64 {
            return Err(EvidenceError::Blobs(carried));
        }
        Ok(())
    }

    /// Bytes of the blobs in it.
    pub fn carried(&self) -> u64 {
        self.blobs.values().map(|bytes| bytes.len() as u64).sum()
    }

    /// The name of what it is about: the digest of the signed statement. Two files about one statement
    /// have one id, whatever else is in them.
    pub fn id(&self) -> Hash {
        self.proof.leaf.digest()
    }

    /// Who is accused.
    pub fn accused(&self) -> PeerId {
        self.proof.leaf.worker
    }

    /// The job that the result was for.
    pub fn job(&self) -> JobId {
        self.proof.leaf.job
    }

    /// What the accused says came out.
    pub fn claim(&self) -> Outcome {
        self.proof.outcome()
    }

    /// Parts of the task that are neither in it nor `here`.
    pub fn missing(&self, here: impl Fn(&Hash) -> bool) -> Vec<Part> {
        let mut parts = self.task.parts();
        parts.retain(|part| !self.blobs.contains_key(&part.hash) && !here(&part.hash));
        parts
    }

    /// Whether the accused signed this result (spec EVID-4).
    pub fn check_proof(&self) -> Result<(), EvidenceError> {
        self.proof.check().map_err(|error| EvidenceError::of_proof(error, &self.proof))
    }

    /// Whether the task is the one that the result is for (spec EVID-5).
    pub fn check_task(&self) -> Result<(), EvidenceError> {
        let (found, signed) = (self.task.id(), self.proof.leaf.task);
        if found == signed { Ok(()) } else { Err(EvidenceError::OtherTask { found, signed }) }
    }

    /// Whether the blobs are what they are said to be, and each a part of the task (spec EVID-6).
    pub fn check_blobs(&self) -> Result<(), EvidenceError> {
        let parts: BTreeSet<Hash> = self.task.parts().iter().map(|part| part.hash).collect();
        for (hash, bytes) in &self.blobs {
            if !parts.contains(hash) {
                return Err(EvidenceError::Stray(*hash));
            }
            if Hash::of(bytes) != *hash {
                return Err(EvidenceError::Blob(*hash));
            }
        }
        Ok(())
    }

    /// Whether what is given as right contradicts the claim (spec EVID-7).
    pub fn check_right(&self) -> Result<(), EvidenceError> {
        match &self.right {
            Some(right) if !right.status.is_conclusive() => {
                Err(EvidenceError::Right("no result that counts"))
            }
            Some(right) if *right == self.claim() => {
                Err(EvidenceError::Right("what the accused signed"))
            }
            _ => Ok(()),
        }
    }

    /// Checks everything that can be checked without running the task.
    pub fn check(&self) -> Result<(), EvidenceError> {
        self.check_proof()?;
        self.check_task()?;
        self.check_right()?;
        self.check_blobs()
    }

    /// Goes on with evidence that holds as far as can be told without running the task.
    pub fn checked(self) -> Result<Checked, EvidenceError> {
        self.check()?;
        Ok(Checked(self))
    }
}

/// Tells files of other kinds and versions from damaged ones.
fn check_head(bytes: &[u8]) -> Result<(), EvidenceError> {
    let kind = bytes.get(1..).unwrap_or_default();
    let expected = [&HEAD[1..], KIND.as_bytes()];
    let words = expected.into_iter().flatten().zip(kind);
    if bytes.is_empty() || words.into_iter().any(|(expected, found)| expected != found) {
        return Err(EvidenceError::NotEvidence);
    }
    let version = bytes.get(VERSION_AT..).unwrap_or_default();
    match cbor::first_uint(version) {
        Some(version) if version != u64::from(VERSION) => Err(EvidenceError::Version(version)),
        Some(_) if bytes[0] == HEAD[0] => Ok(()),
        _ => Err(EvidenceError::Malformed),
    }
}

/// Evidence that holds as far as can be told without running the task: the accused signed this result
/// of this task. Whether the result is wrong is for a re-run to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked(BadResult);

impl Checked {
    /// What was checked.
    pub fn evidence(&self) -> &BadResult {
        &self.0
    }

    /// Whether a re-run can decide it, and is not to cost more than `max_fuel`. `here` says which
    /// blobs are at hand that are not in the file.
    pub fn ready(&self, max_fuel: u64, here: impl Fn(&Hash) -> bool) -> Result<(), Doubt> {
        let (claim, task) = (self.0.claim(), &self.0.task);
        if !claim.status.is_conclusive() {
            return Err(Doubt::Claim(claim.status));
        }
        if task.profile != PROFILE_V1 {
            return Err(Doubt::Profile(task.profile.clone()));
        }
        // What it really takes may be anything up to the limit, whatever was claimed.
        if task.fuel > max_fuel {
            return Err(Doubt::TooExpensive { limit: task.fuel, bound: max_fuel });
        }
        match self.0.missing(here) {
            missing if missing.is_empty() => Ok(()),
            missing => Err(Doubt::Missing(missing)),
        }
    }

    /// Whether the task is to be run (again) before [`judge`] may speak of what `runs` gave.
    pub fn wants_run(&self, runs: &[Outcome]) -> bool {
        verdict::wants_run(&self.0.claim(), self.0.right.as_ref(), runs)
    }

    /// Whether peers pass it on: complete, and no dearer than `max_fuel` to re-run (spec EVID-12).
    pub fn is_gossipable(&self, max_fuel: u64) -> bool {
        self.ready(max_fuel, |_| false).is_ok()
    }
}
