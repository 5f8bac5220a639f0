//! The peer as a whole: its standing, pause, resume, stop.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use bayan_net::TransportKind;

use super::{
    App, Failure,
    types::{ApiError, BlobTraffic, Connection, Line, PeerInfo, Traffic},
};
use crate::{blobs::Volume, core::Command};

/// This peer's standing and neighbourhood.
#[utoipa::path(get, path = "/v1/peer", tag = "peer", responses((status = 200, body = PeerInfo)))]
pub(super) async fn show(State(app): State<Arc<App>>) -> Result<Json<PeerInfo>, Failure> {
    let shared = &app.shared;
    let view = app.ask(Command::Peer).await?;
    let by_peer = shared.traffic.by_peer();
    let connections = shared.net.peers().await.into_iter().map(|peer| Connection {
        peer: peer.id,
        address: peer.address,
        transport: match peer.transport {
            TransportKind::Tcp => "tcp".to_owned(),
            TransportKind::Quic => "quic".to_owned(),
        },
        rtt_micros: peer.rtt.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
        inbound: peer.inbound,
        blobs: by_peer.get(&peer.id).copied().map(traffic).unwrap_or_default(),
        bytes_per_second: peer.rate.map(|rate| rate.0),
        profile: peer.profile,
        traffic: Traffic {
            sent: peer.traffic.sent,
            received: peer.traffic.received,
            work_sent: peer.traffic.work_sent,
            work_received: peer.traffic.work_received,
            blobs_sent: peer.traffic.blobs_sent,
            blobs_received: peer.traffic.blobs_received,
        },
    });
    let (setting, profile) = shared.net.line();
    let usage = shared.blobs.usage();
    Ok(Json(PeerInfo {
        view,
        agent: concat!("bayan/", env!("CARGO_PKG_VERSION")).to_owned(),
        pid: std::process::id(),
        listening: shared.net.listen_addresses(),
        connections: connections.collect(),
        line: Line { setting: setting.to_string(), profile },
        blob_bytes: usage.whole.saturating_add(usage.partial),
        blobs: traffic(shared.traffic.sum()),
        daemon: shared.daemon,
    }))
}

fn traffic(Volume { sent, received, wasted }: Volume) -> BlobTraffic {
    BlobTraffic { sent, received, wasted }
}

/// Takes the machine back: nothing new is begun for others.
#[utoipa::path(post, path = "/v1/pause", tag = "peer", responses((status = 204)))]
pub(super) async fn pause(State(app): State<Arc<App>>) -> Result<StatusCode, Failure> {
    app.ask(Command::Pause).await.map(|()| StatusCode::NO_CONTENT)
}

/// Lends it again.
#[utoipa::path(post, path = "/v1/resume", tag = "peer", responses((status = 204)))]
pub(super) async fn resume(State(app): State<Arc<App>>) -> Result<StatusCode, Failure> {
    app.ask(Command::Resume).await.map(|()| StatusCode::NO_CONTENT)
}

/// Ends the peer. Its jobs go on when it is started again.
#[utoipa::path(
    post, path = "/v1/stop", tag = "peer",
    responses((status = 204), (status = 409, description = "it is the peer inside a `bayan run`", body = ApiError))
)]
pub(super) async fn stop(State(app): State<Arc<App>>) -> Result<StatusCode, Failure> {
    if !app.shared.daemon {
        return Err(Failure::conflict(format!(
            "this peer belongs to a `bayan run` (process {}) and ends with it; interrupt that one instead",
            std::process::id()
        )));
    }
    app.ask(Command::Stop).await.map(|()| StatusCode::NO_CONTENT)
}
