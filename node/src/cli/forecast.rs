//! What a job will cost and what can be promised of it, said before it is submitted.

use std::{
    thread,
    time::{Duration, Instant},
};

use bayan_protocol::job::Local;
use serde_json::json;

use super::{screen::Screen, session::Session, text, trust_args::Trust};
use crate::{
    api::types::{PlanRequest, PlanView},
    config::Config,
};

/// Time for a peer inside this command to meet the first other one, before a job is submitted.
pub(super) const MEETS: Duration = Duration::from_millis(1500);
/// The same if the plan is all that is wanted.
pub(super) const MEETS_LONGER: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(50);

/// What there is to be asked.
pub(super) fn request(tasks: u64, trust: &Trust, local: Local) -> PlanRequest {
    PlanRequest {
        tasks,
        trust: trust.policy.clone(),
        tolerance: trust.tolerance.clone(),
        assume_faulty: trust.assume_faulty.clone(),
        provisional: trust.provisional,
        audience: trust.audience.clone(),
        local,
        delegate: trust.delegate,
    }
}

/// Whether a peer with these settings looks for others.
pub(super) fn meets_others(config: &Config) -> bool {
    config.mdns || !config.bootstrap.is_empty()
}

/// Waits until a peer inside this command has met another one, at most `limit` long.
pub(super) fn wait_for_others(session: &Session, limit: Duration) -> anyhow::Result<()> {
    let begun = Instant::now();
    while session.is_own() && begun.elapsed() < limit {
        let neighbours = session.client().peer()?.view.neighbours;
        if neighbours.iter().any(|neighbour| neighbour.agent.is_some()) {
            break;
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

/// Says it on the way to the job.
pub(super) fn tell(screen: &Screen, view: &PlanView) -> anyhow::Result<()> {
    screen.event(&json!({ "event": "plan", "plan": view }))?;
    for line in lines(view) {
        screen.say(&line);
    }
    Ok(())
}

/// Says it as what was asked for.
pub(super) fn put(json: bool, view: &PlanView) -> anyhow::Result<()> {
    if json { text::json(view) } else { text::line(&lines(view).join("\n")) }
}

fn lines(view: &PlanView) -> Vec<String> {
    let tasks = text::count(view.tasks, "task", "tasks");
    let head = format!("plan for {tasks}, {}: ", view.policy);
    let mut words = view.words.iter();
    let first = words.next().map_or("", String::as_str);
    let mut lines = vec![format!("{head}{first}")];
    lines.extend(words.map(|word| format!("  {word}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::Ladder;

    #[test]
    fn a_plan_begins_with_what_it_is_for() {
        let view = PlanView {
            words: vec!["all replicated, about 2x".to_owned(), "no bound".to_owned()],
            policy: "adaptive".to_owned(),
            first: Some(1.0),
            tolerable: None,
            tasks: 50,
            faulty: 0.2,
            colluding: 0.5,
            executions: 2.0,
            executions_attacked: 2.2,
            replicated: 1.0,
            bound: None,
            no_bound: Some("no bound".to_owned()),
            available: Ladder { established: false, own: false, elsewhere: true, anyone: true },
            checks: Ladder { established: 0.0, own: 0.0, elsewhere: 1.0, anyone: 0.0 },
            workers: Vec::new(),
            own: false,
        };
        assert_eq!(
            lines(&view),
            ["plan for 50 tasks, adaptive: all replicated, about 2x", "  no bound"]
        );
    }

    #[test]
    fn who_meets_nobody_is_not_waited_for() {
        let config = Config { mdns: false, ..Config::default() };
        assert!(!meets_others(&config));
        assert!(meets_others(&Config { bootstrap: vec!["/x".to_owned()], ..config }));
    }
}
