//! A job as people and programs see it.

use alloc::{borrow::ToOwned as _, collections::BTreeMap, string::String, vec::Vec};

use serde::{Deserialize, Serialize};

use super::{HopView, Source};
use crate::{
    delegate::DelegateView,
    id::{JobId, PeerId},
    job::Audience,
    record::JobState,
    time::Timestamp,
    verify::{Apart, Basis, Policy, State, Tally},
};

/// One worker's part in a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerView {
    /// Who.
    pub peer: PeerId,
    /// Whether these are the submitter's own slots.
    pub own: bool,
    /// Whether it is connected now.
    pub connected: bool,
    /// Tasks it computes at once.
    pub slots: u32,
    /// Tasks it holds now.
    pub held: u64,
    /// Results that it returned.
    pub returned: u64,
    /// Of these, in accordance with what was accepted.
    pub agreed: u64,
    /// Of these, against what was accepted.
    pub outvoted: u64,
    /// Of these, after the task was settled.
    pub late: u64,
    /// Attempts that could not say.
    pub inconclusive: u64,
    /// Results that the submitter's own execution proved wrong.
    pub wrong: u64,
    /// First results of which a check was drawn.
    pub drawn: u64,
    /// First results that were taken on its word.
    pub undrawn: u64,
    /// Microseconds of computing, as the worker tells it.
    pub micros: u64,
    /// Tasks computed at once by it and those below it; 0 if it hands nothing on.
    pub below: u32,
    /// The relay that its results come through, if they do.
    pub via: Option<PeerId>,
}

/// A job's standing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobView {
    /// The job.
    pub job: JobId,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: JobState,
    /// How results are accepted.
    pub policy: Policy,
    /// Whether it is over once every task has a result, however little it was checked.
    pub provisional: bool,
    /// Who may compute it.
    pub audience: Audience,
    /// Whether its module and inputs are given to nobody else.
    pub confidential: bool,
    /// Inputs that were given.
    pub inputs: u64,
    /// Distinct tasks among them.
    pub tasks: u64,
    /// Tasks that stand for good or were given up.
    pub settled: u64,
    /// Tasks in each state, by name.
    pub states: BTreeMap<State, u64>,
    /// Tasks with an outcome, by what the belief in it rests on.
    pub bases: BTreeMap<Basis, u64>,
    /// Tasks with an outcome that more than one worker computed.
    pub replicated: u64,
    /// What checking came to.
    pub tally: Tally,
    /// Whether the app was found to give different results on different honest machines.
    pub quarantined: bool,
    /// If so, whether it is the submitter's own machine that gives what no other gives.
    pub own_apart: bool,
    /// Settled tasks whose guest did not end with exit code 0, or that were given up.
    pub failed: u64,
    /// Unsettled tasks with a copy out.
    pub in_flight: u64,
    /// What it waits for.
    pub waiting: Option<String>,
    /// Microseconds since the epoch.
    pub submitted: Timestamp,
    /// Microseconds since the epoch.
    pub ended: Option<Timestamp>,
    /// Everyone that took part.
    pub workers: Vec<WorkerView>,
    /// The hops behind relays that results came over.
    pub tree: Vec<HopView>,
    /// Who carries it on while this peer is away.
    pub delegate: Option<DelegateView>,
}

impl Source {
    /// The job's standing now.
    pub fn view(&self) -> JobView {
        JobView {
            job: self.job,
            name: self.manifest.name.clone(),
            state: self.state,
            policy: self.manifest.policy,
            provisional: self.manifest.provisional,
            audience: self.manifest.audience.clone(),
            confidential: self.manifest.confidential,
            inputs: self.manifest.inputs.count(),
            tasks: self.tasks.len() as u64,
            settled: self.settled,
            states: State::ALL.into_iter().zip(self.verifier.counts()).collect(),
            bases: self.verifier.bases(),
            replicated: self.verifier.replicated(),
            tally: self.verifier.tally().clone(),
            quarantined: self.quarantined.is_some(),
            own_apart: self.quarantined == Some(Apart::Own),
            failed: self.failed,
            in_flight: self.pool.in_flight() as u64,
            waiting: self.waiting(),
            submitted: self.submitted,
            ended: self.ended,
            workers: self
                .workers
                .iter()
                .filter(|(_, stats)| stats.joined || stats.returned + stats.inconclusive > 0)
                .map(|(peer, stats)| WorkerView {
                    peer: *peer,
                    own: *peer == self.me,
                    connected: stats.connected,
                    slots: stats.slots,
                    held: self.pool.held_by(peer) as u64,
                    returned: stats.returned,
                    agreed: stats.agreed,
                    outvoted: stats.outvoted,
                    late: stats.late,
                    inconclusive: stats.inconclusive,
                    wrong: stats.wrong,
                    drawn: self.verifier.draws_of(peer).0,
                    undrawn: self.verifier.draws_of(peer).1,
                    micros: stats.micros,
                    below: stats.below,
                    via: stats.via,
                })
                .collect(),
            tree: self.tree.view(),
            delegate: self.delegate_view(),
        }
    }

    /// What the job waits for, if it waits.
    pub fn waiting(&self) -> Option<String> {
        if self.is_held() {
            return Some("the delegate is asked what became final while this peer was away".into());
        }
        let task = self.pool.first_starved().filter(|_| self.state == JobState::Running)?;
        let own = self.workers.get(&self.me).is_some_and(|own| own.joined && !own.reserved);
        if own {
            return None;
        }
        let eligible = self.pool.eligible_for(task);
        if let Some(reason) = uninvited(&self.manifest.audience).filter(|_| eligible == 0) {
            return Some(reason.to_owned());
        }
        if self.manifest.policy.checks() {
            let copy = if self.verifier.state(task).has_outcome() { "a second" } else { "a" };
            return Some(alloc::format!(
                "{copy} peer is needed that can compute the task (to check its result); none is here"
            ));
        }
        let quorum = self.manifest.policy.quorum();
        Some(alloc::format!(
            "results must come from {quorum} different peer(s), and only {eligible} more can compute the next task"
        ))
    }
}

/// What a job waits for that not everyone may compute.
fn uninvited(audience: &Audience) -> Option<&'static str> {
    match audience {
        Audience::Anyone => None,
        Audience::Trusted => Some(
            "only peers of the trust list may compute it, and none that can is here; `bayan trust add PEER` puts one on it",
        ),
        Audience::Named(_) => {
            Some("only the peers that it names may compute it, and none that can is here")
        }
    }
}
