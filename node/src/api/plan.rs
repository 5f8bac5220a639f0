//! What a job would cost and promise: `/v1/plan`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{State, rejection::JsonRejection},
};
use bayan_protocol::{
    job::Audience,
    limits::{MAX_JOB_TASKS, MAX_NAMED},
    peer::{Forecast, Intent},
    plan::Rungs,
    verify::{MILLION, Policy},
};

use super::{
    App, Failure, manifest,
    types::{ApiError, Ladder, PlanRequest, PlanView, PlanWorker},
};
use crate::core::Command;

/// What a job would cost, and what could be promised of it, if it were submitted now.
#[utoipa::path(
    post, path = "/v1/plan", tag = "jobs",
    request_body = PlanRequest,
    responses(
        (status = 200, body = PlanView),
        (status = 422, description = "no such job can be submitted, for the reason given", body = ApiError),
    )
)]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    request: Result<Json<PlanRequest>, JsonRejection>,
) -> Result<Json<PlanView>, Failure> {
    let Json(request) = request?;
    let PlanRequest { tasks, trust, tolerance, assume_faulty, provisional, .. } = request;
    let PlanRequest { audience, local, delegate, .. } = request;
    let rules = manifest::rules(&trust, tolerance.as_deref(), assume_faulty.as_deref())?;
    if tasks == 0 || tasks > MAX_JOB_TASKS {
        return Err(Failure::refused(format!("a job has 1 to {MAX_JOB_TASKS} tasks, not {tasks}")));
    }
    if let Audience::Named(peers) = &audience
        && (peers.is_empty() || peers.len() > MAX_NAMED)
    {
        return Err(Failure::refused(format!("a job names 1 to {MAX_NAMED} peers")));
    }
    let intent = Box::new(Intent { tasks, rules, audience, local, provisional, delegate });
    app.ask(|reply| Command::Plan(intent, reply)).await.map(|forecast| Json(view(&forecast)))
}

fn view(forecast: &Forecast) -> PlanView {
    let plan = &forecast.plan;
    let first = match plan.policy {
        Policy::Adaptive(adaptive) => Some(f64::from(adaptive.first) / f64::from(MILLION)),
        _ => None,
    };
    PlanView {
        words: forecast.words(),
        policy: plan.policy.to_string(),
        first,
        tolerable: forecast.intent.rules.tolerance.map(|_| forecast.tolerable),
        tasks: forecast.intent.tasks,
        faulty: plan.assumed.faulty,
        colluding: plan.assumed.colluding,
        executions: plan.executions,
        executions_attacked: plan.executions_attacked,
        replicated: plan.replicated,
        bound: plan.bound.ok(),
        no_bound: plan.bound.err().map(|why| why.to_string()),
        available: ladder(&plan.available),
        checks: ladder(&plan.rungs),
        workers: forecast
            .workers
            .iter()
            .map(|(peer, known)| PlanWorker { peer: *peer, k: known.k, trusted: known.trusted })
            .collect(),
        own: forecast.own,
    }
}

fn ladder<T: Copy>(rungs: &Rungs<T>) -> Ladder<T> {
    Ladder {
        established: rungs.established,
        own: rungs.own,
        elsewhere: rungs.elsewhere,
        anyone: rungs.anyone,
    }
}
