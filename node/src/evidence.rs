//! Evidence of wrong results: made of what is in the blob store, and tried by running the task again.
//!
//! What evidence is, what of it is checked and what a run shows is decided in
//! [`bayan_protocol::evidence`].

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use bayan_engine::{Data, Engines, Task};
use bayan_protocol::{
    evidence::{BadResult, Checked, Doubt, EvidenceError, Verdict, judge},
    id::Hash,
    limits::MAX_EVIDENCE_FUEL,
    result::{Outcome, Proof},
    task::{Input, Limits, Program},
};
use bayan_store::Blobs;

/// The bytes of a file that accuses the worker of `proof`, with those blobs of the task that are here
/// and fit, or with none; `right` is what was found to be right. Refused is what no peer would accept.
pub fn write(
    blobs: Option<&Blobs>,
    proof: Proof,
    program: &Program,
    input: &Input,
    right: Option<Outcome>,
) -> Result<Vec<u8>, EvidenceError> {
    let content = |hash: &Hash, most: usize| {
        let blobs = blobs?;
        let fits = blobs.len(hash).is_some_and(|len| len <= most as u64);
        // A blob that is damaged here is left out like one that is not here.
        fits.then(|| blobs.get(hash).ok()).flatten()
    };
    let evidence = BadResult::bundle(proof, program, input, right, content)?;
    Ok(evidence.evidence().encode())
}

/// What a re-run may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Tasks with a higher fuel limit are not run.
    pub fuel: u64,
    /// A run is given up after this. The submitter's own bound is no part of a task's id, so what a
    /// file says about it would mean nothing.
    pub wall: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        let wall = Duration::from_millis(Limits::default().wall_ms);
        Self { fuel: MAX_EVIDENCE_FUEL, wall }
    }
}

/// What running the task again showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rerun {
    /// What is to be thought of the accusation.
    pub verdict: Verdict,
    /// What came out, run by run.
    pub runs: Vec<Outcome>,
}

impl Rerun {
    fn doubt(doubt: Doubt) -> Self {
        Self { verdict: Verdict::Inconclusive(doubt), runs: Vec::new() }
    }
}

/// Runs the task of `evidence` again, once or twice, in an engine process. `more` gives blobs that are
/// not in the file.
///
/// # Errors
/// If this machine has no memory to hand data files over in.
pub fn rerun(
    engines: &Engines,
    evidence: &Checked,
    more: impl Fn(&Hash) -> Option<Vec<u8>>,
    bounds: Bounds,
) -> io::Result<Rerun> {
    // Before anything is read for a task that is not going to be run.
    if let Err(doubt) = evidence.ready(bounds.fuel, |_| true) {
        return Ok(Rerun::doubt(doubt));
    }
    let mut contents = BTreeMap::new();
    for part in evidence.evidence().missing(|_| false) {
        if let Some(bytes) = more(&part.hash).filter(|bytes| Hash::of(bytes) == part.hash) {
            contents.insert(part.hash, bytes);
        }
    }
    if let Err(doubt) = evidence.ready(bounds.fuel, |hash| contents.contains_key(hash)) {
        return Ok(Rerun::doubt(doubt));
    }
    let content = |hash: &Hash| {
        let carried = evidence.evidence().blobs.get(hash).map(|bytes| bytes.as_slice());
        carried.or_else(|| contents.get(hash).map(Vec::as_slice)).unwrap_or_default()
    };
    let body = &evidence.evidence().task;
    let module = match engines.prepare(content(&body.module)) {
        Ok(module) => module,
        Err(error) => return Ok(Rerun::doubt(Doubt::Module(error.to_string()))),
    };
    let mut data = Vec::new();
    for (name, hash) in &body.data {
        data.push((name.clone(), Data::new(content(hash))?));
    }
    let task = Task {
        id: body.id(),
        args: body.args.clone(),
        env: body.env.clone(),
        stdin: Arc::from(content(&body.stdin)),
        data,
        limits: Limits {
            memory: body.memory,
            fuel: body.fuel,
            output: body.output,
            wall_ms: u64::try_from(bounds.wall.as_millis()).unwrap_or(u64::MAX),
        },
    };
    let mut runs = Vec::new();
    while evidence.wants_run(&runs) {
        let run = engines.run(&module, task.clone());
        runs.push(Outcome { status: run.status, output: Hash::of(&run.output), fuel: run.fuel });
    }
    Ok(Rerun { verdict: judge(&evidence.evidence().claim(), &runs), runs })
}

#[cfg(test)]
mod tests {
    use bayan_protocol::{
        crypto::Keypair,
        evidence::Piece,
        id::{JobId, LeaseId},
        limits::MAX_EVIDENCE_BLOBS,
        result::{Commit, Leaf, Opened, Output, Reveal, VerifiedBatch, output_commit},
        task::{DataFile, PROFILE_V1, Status},
    };
    use bayan_store::{Directory, Options};
    use serde_bytes::ByteBuf;

    use super::*;

    /// A batch of one.
    fn proof(program: &Program, input: &Input) -> Proof {
        let (key, job, submitter) =
            (Keypair::from_seed(&[1; 32]), JobId([2; 32]), Keypair::from_seed(&[3; 32]).peer_id());
        let (output, nonce) = (Output::Inline(ByteBuf::from(b"wrong")), Hash([4; 32]));
        let leaf = Leaf {
            task: program.task_id(&input.hash()),
            job,
            submitter,
            lease: LeaseId([5; 32]),
            worker: key.peer_id(),
            status: Status::Exited(0),
            output_commit: output_commit(&output.hash(), &nonce.0),
            fuel: 1,
        };
        let opened = vec![Opened { leaf, nonce, output, log: ByteBuf::new(), micros: 0 }];
        let commit = Commit::sign(&key, job, 1, &opened);
        let reveal = Reveal { root: commit.root, opened };
        let batch = VerifiedBatch::check(commit, reveal, &key.peer_id(), &submitter);
        batch.expect("a good batch").proof(0).expect("it has a result")
    }

    #[test]
    fn what_is_stored_and_fits_is_in_the_file() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let directory = Directory::open(dir.path().join("peer"), Options::default())?;
        let blobs = directory.blobs();
        let large = vec![1; MAX_EVIDENCE_BLOBS];
        let module = blobs.put(b"module")?;
        let (small, large) = (blobs.put(b"small")?, blobs.put(&large)?);
        let file = |name: &str, hash| DataFile { name: name.to_owned(), hash, len: 1 };
        let gone = Hash::of(b"not here");
        let program = Program {
            module,
            module_len: 6,
            args: Vec::new(),
            env: Vec::new(),
            data: vec![file("gone", gone), file("large", large), file("small", small)],
            limits: Limits::default(),
            profile: PROFILE_V1.to_owned(),
            salt: Hash([6; 32]),
        };
        let input = Input::Blob { hash: blobs.put(b"a long input")?, len: 12 };
        let right = Outcome { status: Status::Exited(0), output: Hash::of(b"right"), fuel: 1 };
        let bytes = write(Some(&blobs), proof(&program, &input), &program, &input, Some(right))?;
        let evidence = BadResult::decode(&bytes)?.checked()?;
        let evidence = evidence.evidence();
        assert_eq!(evidence.right, Some(right));
        let missing = evidence.missing(|_| false);
        let missing: Vec<_> = missing.iter().map(|part| (&part.piece, part.hash)).collect();
        let named = |name: &str| Piece::Data(name.to_owned());
        assert_eq!(missing, [(&named("gone"), gone), (&named("large"), large)]);

        let mut other = program.clone();
        other.salt = Hash([7; 32]);
        let refused = write(Some(&blobs), proof(&program, &input), &other, &input, None);
        assert!(matches!(refused, Err(EvidenceError::OtherTask { .. })), "{refused:?}");
        Ok(())
    }
}
