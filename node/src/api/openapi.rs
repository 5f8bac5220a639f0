//! The API's own description: `/v1/openapi.json`.

use axum::Json;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use super::{blobs, events, evidence, jobs, peer, plan, results, trust};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "bayan local API",
        description = "Jobs and standing of one peer. Loopback only; every request shows the token of the peer's data directory.",
    ),
    paths(
        blobs::upload,
        blobs::download,
        jobs::submit,
        jobs::list,
        jobs::show,
        jobs::remove,
        results::list,
        events::follow,
        plan::show,
        trust::list,
        trust::add,
        trust::remove,
        evidence::list,
        evidence::download,
        peer::show,
        peer::pause,
        peer::resume,
        peer::stop,
    ),
    modifiers(&Token),
    security(("token" = [])),
)]
struct Description;

struct Token;

impl Modify for Token {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        openapi
            .components
            .get_or_insert_default()
            .add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// The document.
pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(describe())
}

pub(super) fn describe() -> utoipa::openapi::OpenApi {
    Description::openapi()
}
