//! Submitting, listing and ending jobs: `/v1/jobs`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
};
use bayan_protocol::{id::JobId, peer::Intent, record::JobState, source::JobView};
use serde::Deserialize;

use super::{
    App, Failure, manifest, schema,
    types::{ApiError, JobRequest, Removal, Removed, Submitted},
};
use crate::core::Command;

/// Runs a job. Its module, data files and inputs have been uploaded before.
#[utoipa::path(
    post, path = "/v1/jobs", tag = "jobs",
    request_body = JobRequest,
    responses(
        (status = 200, body = Submitted),
        (status = 422, description = "the job or its module is refused, for the reason given", body = ApiError),
        (status = 507, description = "no room", body = ApiError),
    )
)]
pub(super) async fn submit(
    State(app): State<Arc<App>>,
    request: Result<Json<JobRequest>, JsonRejection>,
) -> Result<Json<Submitted>, Failure> {
    let Json(request) = request?;
    let failed = |error| Failure::internal("preparing the job failed", error);
    let rules = manifest::rules(
        &request.trust,
        request.tolerance.as_deref(),
        request.assume_faulty.as_deref(),
    )?;
    let _place = app.submissions.acquire().await.map_err(|_| Failure::stopping())?;
    let this = Arc::clone(&app);
    let built =
        tokio::task::spawn_blocking(move || manifest::build(&this.shared, &rules, request)).await;
    let mut manifest = Box::new(built.map_err(failed)??);
    if rules.tolerance.is_some() {
        let intent = Box::new(Intent::of(&manifest, rules));
        manifest.policy = app.ask(|reply| Command::Plan(intent, reply)).await?.plan.policy;
    }
    let this = Arc::clone(&app);
    let stored = tokio::task::spawn_blocking(move || {
        manifest::store(&this.shared, &manifest).map(|hash| (hash, manifest))
    });
    let (manifest_hash, manifest) = stored.await.map_err(failed)??;
    let job = app.ask(|reply| Command::Submit { manifest_hash, manifest, reply }).await?;
    Ok(Json(Submitted { job }))
}

/// Every job of this peer.
#[utoipa::path(get, path = "/v1/jobs", tag = "jobs", responses((status = 200, body = Vec<schema::JobView>)))]
pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Json<Vec<JobView>>, Failure> {
    app.ask(Command::Jobs).await.map(Json)
}

/// One job.
#[utoipa::path(
    get, path = "/v1/jobs/{job}", tag = "jobs",
    params(("job" = String, Path, description = "the job's id")),
    responses((status = 200, body = schema::JobView), (status = 404, body = ApiError))
)]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(job): Path<String>,
) -> Result<Json<JobView>, Failure> {
    let job = parse(&job)?;
    view(&app, job).await.map(Json)
}

/// What is to be done with a job that is over.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RemoveQuery {
    /// Given: only this. Not given: whichever fits.
    forget: Option<bool>,
}

/// Ends a running job, or forgets one that is over.
#[utoipa::path(
    delete, path = "/v1/jobs/{job}", tag = "jobs",
    params(
        ("job" = String, Path, description = "the job's id"),
        ("forget" = Option<bool>, Query, description = "true: only if it is over; false: only if it is running"),
    ),
    responses(
        (status = 200, body = Removed),
        (status = 404, body = ApiError),
        (status = 409, description = "it is over, or still running", body = ApiError),
    )
)]
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    Path(job): Path<String>,
    query: Result<Query<RemoveQuery>, QueryRejection>,
) -> Result<Json<Removed>, Failure> {
    let job = parse(&job)?;
    let Query(RemoveQuery { forget }) = query?;
    let running = view(&app, job).await?.state == JobState::Running;
    let outcome = match (running, forget) {
        (true, Some(true)) => return Err(Failure::conflict("the job is running; cancel it first")),
        (false, Some(false)) => return Err(Failure::conflict("the job is over")),
        (true, _) => {
            app.ask(|reply| Command::Cancel(job, reply)).await.map(|_| Removal::Cancelled)?
        }
        (false, _) => {
            app.ask(|reply| Command::Forget(job, reply)).await.map(|_| Removal::Forgotten)?
        }
    };
    Ok(Json(Removed { job, outcome }))
}

/// Reads a job's id.
pub(super) fn parse(job: &str) -> Result<JobId, Failure> {
    job.parse().map_err(|error| Failure::bad(format!("not a job's id: {error}")))
}

/// The standing of a job that must exist.
pub(super) async fn view(app: &App, job: JobId) -> Result<JobView, Failure> {
    app.ask(|reply| Command::Job(job, reply)).await?.ok_or_else(|| unknown(job))
}

/// The answer when it does not.
pub(super) fn unknown(job: JobId) -> Failure {
    Failure::not_found(format!("there is no job {job} here"))
}
