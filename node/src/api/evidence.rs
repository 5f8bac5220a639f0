//! Proofs of wrong results: `/v1/evidence`.

use std::{io, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
    http::header::CONTENT_TYPE,
    response::{IntoResponse as _, Response},
};
use bayan_protocol::id::Hash;

use super::{
    App, Failure,
    types::{ApiError, EvidenceView},
};

/// Every file of evidence that this peer keeps.
#[utoipa::path(
    get, path = "/v1/evidence", tag = "evidence",
    responses((status = 200, body = Vec<EvidenceView>))
)]
pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Json<Vec<EvidenceView>>, Failure> {
    let archive = app.shared.archive.clone();
    let listed = tokio::task::spawn_blocking(move || archive.list()).await;
    let failed = "the evidence cannot be listed";
    let kept = listed
        .map_err(|error| Failure::internal(failed, error))?
        .map_err(|error| Failure::internal(failed, error))?;
    let views = kept.into_iter().map(|kept| EvidenceView {
        id: kept.id,
        accused: kept.accused,
        job: kept.job,
        task: kept.task,
        file: kept.path.display().to_string(),
        bytes: kept.bytes,
        missing: kept.missing,
    });
    Ok(Json(views.collect()))
}

/// One of them, as specs/evidence.md describes it.
#[utoipa::path(
    get, path = "/v1/evidence/{id}", tag = "evidence",
    params(("id" = String, Path, description = "its id, 64 hexadecimal digits")),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 404, description = "not here", body = ApiError),
    )
)]
pub(super) async fn download(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    let id: Hash =
        id.parse().map_err(|error| Failure::bad(format!("not the id of evidence: {error}")))?;
    let archive = app.shared.archive.clone();
    let read = tokio::task::spawn_blocking(move || archive.read(&id)).await;
    match read.map_err(|error| Failure::internal("reading the evidence failed", error))? {
        Ok(bytes) => Ok(([(CONTENT_TYPE, "application/octet-stream")], bytes).into_response()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Failure::not_found(format!("there is no evidence {id} here")))
        }
        Err(error) => Err(Failure::internal("the evidence cannot be read", error)),
    }
}
