//! What a run leaves: the list of results beside the outputs, and whether it can be believed.

use std::{fs, path::Path};

use anyhow::{Context as _, ensure};
use bayan::api::types::{Results, TaskResult, decode_proof};
use bayan_protocol::id::{Hash, PeerId};
use serde_json::Value;

/// Results of a job, checked one by one as anyone can: every vote is proven by its peer's signature,
/// and those that count vouch for exactly what was accepted.
pub fn check_proofs(results: &[TaskResult]) -> anyhow::Result<()> {
    for result in results {
        let places = &result.places;
        ensure!(result.by.iter().any(|vote| vote.agrees), "nobody vouches for {places:?}");
        for vote in &result.by {
            let proof = decode_proof(&vote.proof)
                .with_context(|| format!("a proof of {places:?} is unreadable"))?;
            proof.check().with_context(|| format!("a proof of {places:?} does not hold"))?;
            ensure!(proof.leaf.worker == vote.peer, "a proof of {places:?} is another peer's");
            ensure!(proof.leaf.task == result.task, "a proof of {places:?} is another task's");
            ensure!(
                hex::encode(proof.signature.0) == vote.signature,
                "two signatures for {places:?}"
            );
            let outcome = proof.outcome();
            let same = Some(outcome.status) == result.status
                && Some(outcome.output) == result.output
                && outcome.fuel == result.fuel;
            ensure!(same == vote.agrees, "a vote for {places:?} is counted on the wrong side");
        }
        if let Some(inline) = &result.inline {
            let bytes = hex::decode(inline)?;
            ensure!(
                Some(Hash::of(&bytes)) == result.output,
                "the output of {places:?} is not what its digest says"
            );
        }
    }
    Ok(())
}

/// Every settled task of a page by page list.
pub fn all(
    mut page: impl FnMut(u64) -> anyhow::Result<Results>,
) -> anyhow::Result<Vec<TaskResult>> {
    let (mut results, mut after) = (Vec::new(), 0);
    loop {
        let next = page(after)?;
        if next.results.is_empty() {
            return Ok(results);
        }
        after = next.next;
        results.extend(next.results);
    }
}

/// Reads a `results.jsonl`.
pub fn list(path: &Path) -> anyhow::Result<Vec<TaskResult>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let parse = |line: &str| {
        let mut value: Value =
            serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
        // The outputs themselves stand in the files beside the list.
        value.as_object_mut().context("an object")?.remove("files");
        value["inline"] = Value::Null;
        Ok(serde_json::from_value(value)?)
    };
    text.lines().map(parse).collect()
}

/// Checks that each of `count` inputs is answered exactly once.
pub fn check_complete(results: &[TaskResult], count: u64) -> anyhow::Result<()> {
    let mut places: Vec<u64> = results.iter().flat_map(|result| result.places.clone()).collect();
    places.sort_unstable();
    ensure!(
        places == (0..count).collect::<Vec<_>>(),
        "of {count} inputs these are answered: {places:?}"
    );
    Ok(())
}

/// Votes of a peer that count, and that do not.
pub fn votes_of(results: &[TaskResult], peer: &PeerId) -> (usize, usize) {
    let votes = results.iter().flat_map(|result| &result.by).filter(|vote| vote.peer == *peer);
    let (agreed, outvoted): (Vec<_>, Vec<_>) = votes.partition(|vote| vote.agrees);
    (agreed.len(), outvoted.len())
}
