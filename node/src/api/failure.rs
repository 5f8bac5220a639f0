//! What goes wrong, as clients see it: a status code and a sentence.

use axum::{
    Json,
    extract::rejection::{JsonRejection, QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use bayan_store::BlobError;

use super::types::ApiError;

/// An answer that is not 2xx.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    text: String,
}

impl Failure {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    /// The request itself is malformed.
    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// The request is well formed, but what it asks for cannot be.
    pub(super) fn refused(text: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, text)
    }

    pub(super) fn not_found(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    pub(super) fn conflict(text: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, text)
    }

    /// Something inside is broken; the details are for the log.
    pub(super) fn internal(what: &str, error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "{what}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{what}: {error}"))
    }

    /// The core is gone or going.
    pub(super) fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "this peer is stopping")
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(ApiError { error: self.text })).into_response()
    }
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<BlobError> for Failure {
    fn from(error: BlobError) -> Self {
        let status = match &error {
            BlobError::Missing(_) => StatusCode::NOT_FOUND,
            BlobError::Quota { .. } | BlobError::Full { .. } => StatusCode::INSUFFICIENT_STORAGE,
            BlobError::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            BlobError::Stream(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let text = match &error {
            BlobError::Quota { .. } => {
                format!(
                    "{error}; lend more disk to the peer (bayan node --disk MiB), or forget jobs that are over"
                )
            }
            BlobError::Stream(_) => "the upload ended early".to_owned(),
            _ => error.to_string(),
        };
        Self { status, text }
    }
}

/// The answer to an unknown path.
pub(super) async fn no_such_path() -> Failure {
    Failure::not_found("there is nothing here; GET /v1/openapi.json describes what there is")
}

/// The answer to a known path with another method.
pub(super) async fn no_such_method() -> Failure {
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path has other methods; GET /v1/openapi.json describes them",
    )
}
