//! What is known of other peers, and whom the operator vouches for: `/v1/standings`, `/v1/trust`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use bayan_protocol::{id::PeerId, standing::Standing};

use super::{
    App, Failure,
    types::{ApiError, BanView, StandingView},
};
use crate::core::{Command, now};

/// What is known first-hand of every other peer.
#[utoipa::path(
    get, path = "/v1/standings", tag = "trust",
    responses((status = 200, body = Vec<StandingView>))
)]
pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Json<Vec<StandingView>>, Failure> {
    let known = app.ask(Command::Standings).await?;
    Ok(Json(known.iter().map(|(peer, standing)| view(*peer, standing)).collect()))
}

fn view(peer: PeerId, standing: &Standing) -> StandingView {
    let now = now();
    let ban = standing.ban.filter(|_| standing.is_banned(now));
    StandingView {
        peer,
        trusted: standing.trusted,
        k: standing.k(),
        passed: standing.passed,
        failed: standing.failed,
        established: standing.is_established(),
        ban: ban.map(|ban| BanView { until: ban.until, reason: ban.reason }),
    }
}

/// Vouches for a peer.
#[utoipa::path(
    put, path = "/v1/trust/{peer}", tag = "trust",
    params(("peer" = String, Path, description = "the peer's id")),
    responses(
        (status = 204),
        (status = 400, description = "not a peer's id", body = ApiError),
        (status = 422, description = "this peer itself", body = ApiError),
    )
)]
pub(super) async fn add(
    State(app): State<Arc<App>>,
    Path(peer): Path<String>,
) -> Result<StatusCode, Failure> {
    let peer = parse(&peer)?;
    if app.ask(Command::Peer).await?.peer == peer {
        return Err(Failure::refused("this is the peer itself; it need not be vouched for"));
    }
    set(&app, peer, true).await
}

/// Vouches for a peer no longer.
#[utoipa::path(
    delete, path = "/v1/trust/{peer}", tag = "trust",
    params(("peer" = String, Path, description = "the peer's id")),
    responses((status = 204), (status = 400, description = "not a peer's id", body = ApiError))
)]
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    Path(peer): Path<String>,
) -> Result<StatusCode, Failure> {
    set(&app, parse(&peer)?, false).await
}

async fn set(app: &App, peer: PeerId, trusted: bool) -> Result<StatusCode, Failure> {
    let done = app.ask(|reply| Command::Trust { peer, trusted, reply }).await;
    done.map(|()| StatusCode::NO_CONTENT)
}

fn parse(peer: &str) -> Result<PeerId, Failure> {
    peer.parse().map_err(|error| Failure::bad(format!("not a peer's id: {error}")))
}
