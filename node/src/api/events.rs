//! A job's standing as it changes, as server-sent events: `/v1/jobs/{job}/events`.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{Path, State},
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
};
use bayan_protocol::{id::JobId, record::JobState, source::JobView};
use futures::{Stream, stream};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::{Instant, sleep, sleep_until},
};

use super::{App, Failure, jobs, schema, types::ApiError};

/// Events of one follower are at least this far apart.
const PACE: Duration = Duration::from_millis(100);
/// What no change announces (tasks held, peers come and gone) is looked at this often.
const LOOK: Duration = Duration::from_secs(1);
/// A silent stream shows at least this often that it is alive.
const ALIVE: Duration = Duration::from_secs(10);

/// The standing at once and after every change; the stream ends with the job.
#[utoipa::path(
    get, path = "/v1/jobs/{job}/events", tag = "jobs",
    params(("job" = String, Path, description = "the job's id")),
    responses(
        (status = 200, description = "events whose data is the job's standing", body = schema::JobView, content_type = "text/event-stream"),
        (status = 404, body = ApiError),
    )
)]
pub(super) async fn follow(
    State(app): State<Arc<App>>,
    Path(job): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Failure> {
    let job = jobs::parse(&job)?;
    // Before the first look, so that no change falls between the two.
    let changes = app.shared.changes.subscribe();
    let first = jobs::view(&app, job).await?;
    let follower = Follower { app, job, changes, next: Some(first), sent: None };
    let events = stream::unfold(follower, async |mut follower| {
        let view = follower.next().await?;
        let event = Event::default().event("job").json_data(&view).unwrap_or_default();
        Some((Ok(event), follower))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE)))
}

struct Follower {
    app: Arc<App>,
    job: JobId,
    changes: broadcast::Receiver<JobId>,
    /// The first view, until it is sent.
    next: Option<JobView>,
    /// The last view sent, and when.
    sent: Option<(JobView, Instant)>,
}

impl Follower {
    /// The next view that differs from the last; none after the final one, or when the peer stops.
    async fn next(&mut self) -> Option<JobView> {
        let view = match self.next.take() {
            Some(first) => first,
            None => self.changed().await?,
        };
        self.sent = Some((view.clone(), Instant::now()));
        Some(view)
    }

    async fn changed(&mut self) -> Option<JobView> {
        let (last, at) = self.sent.take()?;
        if last.state != JobState::Running {
            return None;
        }
        let shutdown = self.app.shutdown.clone();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return None,
                () = self.hint() => {}
                () = sleep(LOOK) => {}
            }
            sleep_until(at + PACE).await;
            let view = jobs::view(&self.app, self.job).await.ok()?;
            if view != last {
                return Some(view);
            }
        }
    }

    /// Waits for word of a change of this job.
    async fn hint(&mut self) {
        loop {
            match self.changes.recv().await {
                Ok(job) if job == self.job => return,
                Ok(_) => {}
                // Among what was missed may be this job.
                Err(RecvError::Lagged(_)) => return,
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}
