//! Evidence of wrong results: made of what is in the blob store, and tried by running the task again.
//!
//! What evidence is, what of it is checked and what a run shows is decided in
//! [`bayan_protocol::evidence`].

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use bayan_engine::{Data, Engines, Task};
use bayan_protocol::evidence::BadResult;
use bayan_protocol::{
    evidence::{Checked, Doubt, EvidenceError, Verdict, judge},
    id::Hash,
    limits::MAX_EVIDENCE_FUEL,
    result::{Outcome, Proof},
    task::{Input, Limits, Program},
};
use bayan_store::Blobs;

/// The bytes of a file that accuses the worker of `proof`, with those blobs of the task that are here
/// and fit; `right` is what was found to be right. Refused is what no peer would accept.
pub fn write(
    blobs: &Blobs,
    proof: Proof,
    program: &Program,
    input: &Input,
    right: Option<Outcome>,
) -> Result<Vec<u8>, EvidenceError> {
    let content = |hash: &Hash, most: usize| {
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
