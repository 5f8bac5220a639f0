//! The local API: HTTP and JSON on loopback, for the program itself, web pages and scripts.
//!
//! | module | subject |
//! |---|---|
//! | [`types`] | what goes over it, as server and clients see it |
//! | `guard` | who may ask: the token, and loopback names only |
//! | `blobs` | uploads and downloads |
//! | `jobs` | submitting, listing, ending |
//! | `manifest` | from a request to a job that keeps every bound |
//! | `results` | what was accepted, with the proofs |
//! | `events` | a job's standing as it changes |
//! | `plan` | what a job would cost and promise |
//! | `trust` | what is known of other peers, and whom the operator vouches for |
//! | `evidence` | proofs of wrong results |
//! | `peer` | the peer's standing, pause, resume, stop |
//! | `server` | connections, and their bounds |
//! | `openapi`, `schema` | the description |
//!
//! It decides nothing about work: every question is a [`Command`] to the core.

mod blobs;
mod events;
mod evidence;
mod failure;
mod guard;
mod jobs;
mod manifest;
mod openapi;
mod peer;
mod plan;
mod results;
mod schema;
mod server;
#[cfg(test)]
mod tests;
mod trust;
pub mod types;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post, put},
};
use bayan_engine::LoadError;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::failure::Failure;
use crate::{
    blobs::Traffic,
    core::{Changes, Command, Message},
};

/// Bytes of a JSON request: a job of the most inputs, each named by its digest, and its program.
const MAX_REQUEST: usize = 96 << 20;
/// Uploads and downloads at once; more wait.
const MAX_TRANSFERS: usize = 16;
/// Jobs made ready at once; more wait. Each may hold a module and its inputs in memory.
const MAX_SUBMISSIONS: usize = 2;

/// Packs and compiles a module.
pub(crate) type Prepare = Arc<dyn Fn(&[u8]) -> Result<(), LoadError> + Send + Sync>;

/// What the API works with.
pub(crate) struct Shared {
    /// The core's queue.
    pub(crate) commands: mpsc::Sender<Message>,
    /// Jobs that changed.
    pub(crate) changes: Changes,
    /// Content.
    pub(crate) blobs: bayan_store::Blobs,
    pub(crate) traffic: Arc<Traffic>,
    /// Votes and their proofs.
    pub(crate) records: bayan_store::Records,
    /// Evidence of wrong results.
    pub(crate) archive: crate::archive::Archive,
    /// Connections.
    pub(crate) net: bayan_net::Handle,
    /// Makes modules ready before they are submitted, so that one that cannot run is refused here.
    pub(crate) prepare: Prepare,
    /// What clients must show.
    pub(crate) token: String,
    /// Whether this peer outlives the job that it was started for.
    pub(crate) daemon: bool,
    /// Bytes of guest memory that the own slots lend to one task.
    pub(crate) lending_memory: u64,
    /// This peer.
    pub(crate) peer: bayan_protocol::id::PeerId,
}

/// What every handler has at hand.
struct App {
    shared: Shared,
    shutdown: CancellationToken,
    transfers: Semaphore,
    submissions: Semaphore,
}

impl App {
    /// Puts a question to the core.
    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        let message = Message::Command(command(reply));
        self.shared.commands.send(message).await.map_err(|_| Failure::stopping())?;
        answer.await.map_err(|_| Failure::stopping())
    }
}

/// Serves until `shutdown`, then lets answers under way be completed.
pub(crate) async fn serve(
    listener: tokio::net::TcpListener,
    shared: Shared,
    shutdown: CancellationToken,
) {
    let app = Arc::new(App {
        shared,
        shutdown: shutdown.clone(),
        transfers: Semaphore::new(MAX_TRANSFERS),
        submissions: Semaphore::new(MAX_SUBMISSIONS),
    });
    // Until the core has its past back it does not know which blobs are needed: nothing is served
    // before it answers. If it never does, `shutdown` follows.
    let _ = app.ask(Command::Peer).await;
    server::run(listener, router(app), shutdown).await;
}

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/blobs", post(blobs::upload).layer(DefaultBodyLimit::disable()))
        .route("/v1/blobs/{hash}", get(blobs::download))
        .route("/v1/jobs", get(jobs::list).post(jobs::submit))
        .route("/v1/jobs/{job}", get(jobs::show).delete(jobs::remove))
        .route("/v1/jobs/{job}/results", get(results::list))
        .route("/v1/jobs/{job}/events", get(events::follow))
        .route("/v1/plan", post(plan::show))
        .route("/v1/standings", get(trust::list))
        .route("/v1/trust/{peer}", put(trust::add).delete(trust::remove))
        .route("/v1/evidence", get(evidence::list))
        .route("/v1/evidence/{id}", get(evidence::download))
        .route("/v1/peer", get(peer::show))
        .route("/v1/pause", post(peer::pause))
        .route("/v1/resume", post(peer::resume))
        .route("/v1/stop", post(peer::stop))
        .route("/v1/openapi.json", get(openapi::document))
        .fallback(failure::no_such_path)
        .method_not_allowed_fallback(failure::no_such_method)
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), guard::check))
        .with_state(app)
}
