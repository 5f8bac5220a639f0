//! What was accepted and why it is believed: `/v1/jobs/{job}/results`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
};
use bayan_protocol::{
    cbor,
    id::{JobId, PeerId},
    record::{Key, Record},
    result::Output,
    source::JobView,
    verify::{Acceptance, Basis, State as TaskState},
};
use bayan_store::Records;
use serde::Deserialize;

use super::{
    App, Failure, jobs,
    types::{ApiError, DelegateWord, Results, TaskResult, Voucher},
};
use crate::core::{Command, Known};

/// Results of one answer, at most and unless asked for fewer.
const MAX_RESULTS: usize = 256;
/// Bytes of outputs, logs and proofs after which an answer is closed.
const MAX_ANSWER: usize = 8 << 20;
/// The last error that a task given up can show.
const GIVEN_UP: &str = "given up: no attempt came to a result";
/// What a task shows whose outcome is no longer believed.
const TAKEN_BACK: &str =
    "taken back: who computed it was caught, or is gone; it is being computed again";
/// What a task shows on which two outcomes differ.
const DISPUTED: &str = "taken back: two peers differ; it is being computed once more";

/// Which part of the results.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResultsQuery {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

/// What is known of tasks, in the order of the latest change of each: a task whose outcome is
/// confirmed, final or taken back later appears again.
#[utoipa::path(
    get, path = "/v1/jobs/{job}/results", tag = "jobs",
    params(
        ("job" = String, Path, description = "the job's id"),
        ("after" = Option<u64>, Query, description = "0 at first, then `next` of the last answer"),
        ("limit" = Option<usize>, Query, description = "at most this many; an answer may have fewer"),
    ),
    responses((status = 200, body = Results), (status = 404, body = ApiError))
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Path(job): Path<String>,
    query: Result<Query<ResultsQuery>, QueryRejection>,
) -> Result<Json<Results>, Failure> {
    let job = jobs::parse(&job)?;
    let Query(ResultsQuery { after, limit }) = query?;
    let limit = limit.unwrap_or(MAX_RESULTS).clamp(1, MAX_RESULTS);
    let known = app.ask(|reply| Command::Results { job, after, limit, reply }).await?;
    let (known, view) = known.ok_or_else(|| jobs::unknown(job))?;
    let records = app.shared.records.clone();
    tokio::task::spawn_blocking(move || collect(&records, job, after, known, view))
        .await
        .map_err(|error| Failure::internal("reading the results failed", error))?
        .map(Json)
}

fn collect(
    records: &Records,
    job: JobId,
    after: u64,
    known: Vec<Known>,
    view: JobView,
) -> Result<Results, Failure> {
    let (mut results, mut bytes, mut next) = (Vec::new(), 0, after);
    for one in known {
        if bytes > MAX_ANSWER {
            break;
        }
        next = one.place + 1;
        let result = result(records, job, one)?;
        bytes += result.inline.as_ref().map_or(0, String::len);
        bytes +=
            result.by.iter().map(|voucher| voucher.proof.len() + voucher.log.len()).sum::<usize>();
        results.push(result);
    }
    Ok(Results { next, results, job: view })
}

fn result(records: &Records, job: JobId, known: Known) -> Result<TaskResult, Failure> {
    let Known { places, index, task, state, acceptance, .. } = known;
    let Some(acceptance) = acceptance else {
        return Ok(TaskResult {
            places,
            task,
            state,
            basis: None,
            status: None,
            fuel: 0,
            output: None,
            output_len: 0,
            inline: None,
            verified: match state {
                TaskState::GivenUp => GIVEN_UP,
                TaskState::Disputed => DISPUTED,
                _ => TAKEN_BACK,
            }
            .to_owned(),
            by: Vec::new(),
            delegate: None,
        });
    };
    let (mut by, mut output) = (Vec::new(), None);
    let voters = acceptance.agreed.iter().map(|peer| (peer, true));
    for (peer, agrees) in voters.chain(acceptance.outvoted.iter().map(|peer| (peer, false))) {
        let Some((voucher, claimed)) = voucher(records, job, index, peer, agrees)? else {
            continue;
        };
        by.push(voucher);
        if agrees && output.is_none() {
            output = Some(claimed);
        }
    }
    let delegate = match acceptance.basis {
        Basis::Delegate => delegate_word(records, job, index)?,
        _ => None,
    };
    let delegate = delegate.map(|(word, told)| {
        output.get_or_insert(told);
        word
    });
    Ok(TaskResult {
        places,
        task,
        state,
        basis: Some(acceptance.basis),
        status: Some(acceptance.outcome.status),
        fuel: acceptance.outcome.fuel,
        output: Some(acceptance.outcome.output),
        output_len: output.as_ref().map_or(0, Output::len),
        inline: output.and_then(|output| match output {
            Output::Inline(bytes) => Some(hex::encode(bytes)),
            Output::Blob { .. } => None,
        }),
        verified: in_words(&acceptance),
        by,
        delegate,
    })
}

/// The delegate's stored word and the output that it told.
fn delegate_word(
    records: &Records,
    job: JobId,
    index: u32,
) -> Result<Option<(DelegateWord, Output)>, Failure> {
    let stored = records
        .get(&Key::vouched(&job, index).0)
        .map_err(|error| Failure::internal("the results cannot be read", error))?;
    let record = stored.map(|bytes| Record::decode(&bytes));
    let Some(Ok(Record::Vouched { voucher, output, .. })) = record else {
        tracing::warn!(job = %job.short(), index, "a delegate's word is not stored as it should be");
        return Ok(None);
    };
    let word = DelegateWord {
        peer: voucher.terms.delegate,
        signature: hex::encode(voucher.signature.0),
        proof: hex::encode(cbor::encode(&voucher)),
    };
    Ok(Some((word, output)))
}

/// The stored vote of a peer and the output it claimed.
fn voucher(
    records: &Records,
    job: JobId,
    index: u32,
    peer: &PeerId,
    agrees: bool,
) -> Result<Option<(Voucher, Output)>, Failure> {
    let stored = records
        .get(&Key::vote(&job, index, peer).0)
        .map_err(|error| Failure::internal("the results cannot be read", error))?;
    let record = stored.map(|bytes| Record::decode(&bytes));
    let (proof, output, log, micros) = match record {
        Some(Ok(Record::Vote { proof, output, log, micros, .. })) => (proof, output, log, micros),
        other => {
            tracing::warn!(job = %job.short(), index, peer = %peer.short(), found = other.is_some(), "a vote is not stored as it should be");
            return Ok(None);
        }
    };
    let voucher = Voucher {
        peer: *peer,
        agrees,
        signature: hex::encode(proof.signature.0),
        proof: hex::encode(cbor::encode(&proof)),
        micros,
        log: String::from_utf8_lossy(&log).into_owned(),
    };
    Ok(Some((voucher, output)))
}

/// Why an outcome is believed.
fn in_words(acceptance: &Acceptance) -> String {
    let (agreed, outvoted) = (acceptance.agreed.len(), acceptance.outvoted.len());
    let mut words = match (acceptance.basis, agreed) {
        (Basis::Own, 0 | 1) => "computed here".to_owned(),
        (Basis::Own, agreed) => format!("computed here, {} agree", peers(agreed - 1)),
        (Basis::Word, _) => "taken from one peer, unchecked".to_owned(),
        (Basis::LaterCheck, _) => "a later check of its peer passed".to_owned(),
        (Basis::Established, _) => "an established peer of another network agrees".to_owned(),
        (Basis::Referees, _) => "settled by referees".to_owned(),
        (Basis::Quorum, agreed) => format!("{} agree", peers(agreed)),
        (Basis::Elsewhere, _) => "a peer of another network agrees".to_owned(),
        (Basis::SinglePath, _) => {
            "single path: one relay stands before all who could check it".to_owned()
        }
        (Basis::Delegate, _) => "taken from the job's delegate, on its word".to_owned(),
        (Basis::Anyone, _) => "another identity agrees; it may be the same person's".to_owned(),
    };
    if outvoted > 0 {
        words.push_str(&format!(", {} outvoted", peers(outvoted)));
    }
    words
}

fn peers(count: usize) -> String {
    if count == 1 { "1 peer".to_owned() } else { format!("{count} peers") }
}
