//! Whether a job went as it should: safety, liveness and cost.
//!
//! Every kind of fault has a canary in the tests: a world in which it must be found.

use std::collections::BTreeSet;

use bayan_cast::{Passing, Role, Word};
use bayan_protocol::{
    id::{JobId, PeerId},
    record::{JobState, Record},
    source::Source,
    verify::{Acceptance, Basis, Decision, Policy},
};

use crate::{
    truth::outcome,
    world::{Number, World},
};

/// What kind of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Something wrong stands for good.
    Wrong,
    /// Something that was stored, settled or final is not there.
    Lost,
    /// Something was accepted a second time, or is no longer what it was.
    Twice,
    /// Something stands without those who would have to stand for it.
    Unsupported,
    /// Something is waited for that nobody owes, or a deadline has passed unnoticed.
    Overdue,
    /// Somebody honest was accused, or banned.
    Accused,
    /// Something does not end.
    Stuck,
    /// Something was kept that nobody needs.
    Left,
    /// It took more than it may.
    Costly,
    /// A machine panicked.
    Panicked,
}

/// One thing that went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Of which kind.
    pub kind: Kind,
    /// What.
    pub text: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.text)
    }
}

fn fault(kind: Kind, text: String) -> Fault {
    Fault { kind, text }
}

/// Whether a job that is over went well: every task settled once and rightly, with its output stored.
/// `sure` says whether the policy promises that nothing wrong stands.
pub fn job(world: &World, at: Number, job: &JobId, sure: bool) -> Vec<Fault> {
    let Some(source) = world.job(at, job) else {
        return vec![fault(Kind::Lost, format!("h{at} does not know its job"))];
    };
    let view = source.view();
    if view.state == JobState::Cancelled {
        return Vec::new();
    }
    let mut faults = Vec::new();
    // A provisional job is over with outcomes that are not final; each task is looked at below.
    let settled = if source.manifest().provisional { view.tasks } else { view.settled };
    if (view.state, settled, view.failed) != (JobState::Done, view.tasks, 0) {
        let (state, settled, tasks, failed) = (view.state, view.settled, view.tasks, view.failed);
        let text = format!("{settled} of {tasks} tasks, {failed} of them failed, {state:?}");
        faults.push(fault(Kind::Lost, format!("the job of h{at} ended with {text}")));
    }
    let mut seen = BTreeSet::new();
    for (_, task) in source.feed(0) {
        if !seen.insert(task) {
            faults.push(fault(Kind::Twice, format!("task {task} of h{at} is told twice")));
        }
        faults.extend(one_task(world, at, source, task, sure));
    }
    if seen.len() as u64 != view.tasks {
        faults.push(fault(Kind::Lost, format!("{} tasks of h{at} are told", seen.len())));
    }
    faults
}

fn one_task(world: &World, at: Number, source: &Source, task: u32, sure: bool) -> Option<Fault> {
    let (job, id) = (source.id(), source.task_id(task)?);
    let Some(accepted) = source.acceptance(task) else {
        return Some(fault(Kind::Lost, format!("task {task} of h{at} was given up")));
    };
    if sure && accepted.outcome != outcome(&id) && !on_a_bad_word(world, source, accepted) {
        let text = format!("task {task} of h{at} has a wrong result: {accepted:?}");
        return Some(fault(Kind::Wrong, text));
    }
    let output = accepted.outcome.output;
    let is_stored = |record: &Record| {
        matches!(record, Record::Vote { job: of, task: voted, output: one, .. }
            | Record::Vouched { job: of, task: voted, output: one, .. }
            if *of == job && *voted == task && one.hash() == output
                && (one.blob().is_none() || world.has_blob(at, &output)))
    };
    if !world.records(at).any(is_stored) {
        return Some(fault(
            Kind::Lost,
            format!("the output of task {task} of h{at} is not stored"),
        ));
    }
    None
}

/// Whether a result stands on the word of a delegate that is up to something: no check of the submitter's
/// stands behind that, and it cannot tell what is wrong from what is right (DELEG-12).
fn on_a_bad_word(world: &World, source: &Source, accepted: &Acceptance) -> bool {
    let delegate = source.delegate().and_then(|delegate| world.number(&delegate));
    let is_bad = delegate.is_none_or(|number| !is_honest(world, number));
    accepted.basis == Basis::Delegate && is_bad
}

/// Whether everything was settled once, and stayed as it was.
pub fn once(world: &World) -> Vec<Fault> {
    let twice = world.settled.iter().filter(|(_, puts)| !is_once(puts)).map(|((at, _), puts)| {
        fault(Kind::Twice, format!("a task of h{at} was settled {} times: {puts:?}", puts.len()))
    });
    let changed = world.after_final.iter().filter(|(_, stored)| stored.len() > 1);
    let changed = changed.map(|((at, _), stored)| {
        fault(Kind::Twice, format!("a task of h{at} was final, and then {stored:?}"))
    });
    twice.chain(changed).collect()
}

/// A decision may be stored again where only what is noted of its votes has changed.
fn is_once(puts: &[Record]) -> bool {
    let place = |record: &Record| match record {
        Record::Decided { decision: Decision { place, .. }, .. } => Some(*place),
        _ => None,
    };
    puts.windows(2).all(|two| place(&two[0]) == place(&two[1]))
}

fn is_honest(world: &World, number: Number) -> bool {
    let plan = world.host(number).plan();
    plan.role == Role::Honest && plan.passing == Passing::Honest && plan.word == Word::Honest
}

/// Whether no honest peer accused another of anything. Hosts that have lost records are excused: they
/// cannot know what they have asked for.
pub fn honour(world: &World) -> Vec<Fault> {
    let honest: BTreeSet<PeerId> = (0..world.len())
        .filter(|number| is_honest(world, *number))
        .map(|number| world.id(number))
        .collect();
    let mut faults = Vec::new();
    for number in (0..world.len()).filter(|number| is_honest(world, *number)) {
        let host = world.host(number);
        if host.powerless > 0 {
            continue;
        }
        for (peer, why) in host.closed.iter().zip(&host.reasons) {
            if honest.contains(peer) {
                let text = format!("h{number} accuses {}, which is honest: {why}", peer.short());
                faults.push(fault(Kind::Accused, text));
            }
        }
        for peer in host.banned.intersection(&honest) {
            let text = format!("h{number} banned {}, which is honest", peer.short());
            faults.push(fault(Kind::Accused, text));
        }
        if host.forgot > 0 {
            let text = format!("h{number} knew something else of others after a restart");
            faults.push(fault(Kind::Lost, text));
        }
    }
    faults
}

/// Whether nobody keeps anything for anybody, once every job is over and everyone has been told.
pub fn left(world: &World) -> Vec<Fault> {
    let mut faults = Vec::new();
    for number in (0..world.len()).filter(|number| is_honest(world, *number)) {
        let is_left = |record: &&Record| {
            matches!(
                record,
                Record::Held { .. }
                    | Record::Batch { .. }
                    | Record::Leased { .. }
                    | Record::Handed { .. }
                    | Record::Entrusted { .. }
                    | Record::SettledThere { .. }
                    | Record::Parcel { .. }
            )
        };
        let left: Vec<String> = world
            .records(number)
            .filter(is_left)
            .filter(|record| !is_owed_for_good(world, record))
            .map(|record| match record {
                Record::Handed { job, worker, .. } => {
                    let to = world.number(worker).unwrap_or(number);
                    format!("handed of {} to h{to}", job.short())
                }
                Record::Parcel { bundle, .. } => format!("parcel of {}", bundle.commit.job.short()),
                Record::Batch { commit, .. } => format!("batch of {}", commit.job.short()),
                other => crate::log::name_of(other).to_owned(),
            })
            .collect::<BTreeSet<String>>()
            .into_iter()
            .collect();
        if !left.is_empty() {
            faults.push(fault(Kind::Left, format!("h{number} keeps {}", left.join(", "))));
        }
        if let Some(view) = world.machine(number).map(|machine| machine.view())
            && (view.queued, view.free) != (0, view.slots)
        {
            let (queued, free, slots) = (view.queued, view.free, view.slots);
            let text =
                format!("h{number} still has {queued} queued, and {free} of {slots} slots free");
            faults.push(fault(Kind::Left, text));
        }
    }
    faults
}

/// Whether a record is kept for a peer that has gone for good: what was done for it, as a delegate of others,
/// is kept for seven days (WORK-14).
fn is_owed_for_good(world: &World, record: &Record) -> bool {
    let (Record::Held { source, .. } | Record::Batch { source, .. }) = record else { return false };
    let role = world.number(source).map(|number| world.host(number).role());
    role.is_none_or(|role| matches!(role, Role::Vanish { .. }))
}

/// Whether nobody honest keeps a job that carried another's on, or what belongs to one that is forgotten,
/// once every job is over and everyone has been told.
pub fn kept(world: &World) -> Vec<Fault> {
    let mut faults = Vec::new();
    for number in (0..world.len()).filter(|number| is_honest(world, *number)) {
        let known = |record: &Record| match record {
            Record::Job { job, .. } => Some(*job),
            _ => None,
        };
        let known: BTreeSet<JobId> = world.records(number).filter_map(known).collect();
        let carries =
            |job: &&JobId| world.model.as_ref().is_some_and(|one| one.carries(number, job));
        let carried = known.iter().filter(carries).count();
        if carried > 0 {
            let text = format!("h{number} keeps {carried} jobs of its own that carry on others'");
            faults.push(fault(Kind::Left, text));
        }
        let orphan = |record: &&Record| match record {
            Record::Vote { job, .. }
            | Record::Decided { job, .. }
            | Record::Handover { job, .. }
            | Record::Vouched { job, .. } => !known.contains(job),
            _ => false,
        };
        if let Some(record) = world.records(number).find(orphan) {
            let name = crate::log::name_of(record);
            let text = format!("h{number} keeps a record of a job that it has forgotten: {name}");
            faults.push(fault(Kind::Left, text));
        }
    }
    faults
}

/// Whether a job has ended.
pub fn ended(world: &World, at: Number, job: &JobId) -> Option<Fault> {
    let source = world.job(at, job).filter(|source| source.is_running())?;
    let view = source.view();
    let (settled, tasks, waiting) = (view.settled, view.tasks, view.waiting);
    let states: Vec<String> = view
        .states
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(state, count)| format!("{count} {state:?}"))
        .collect();
    let text = format!(
        "the job of h{at} has not ended: {settled} of {tasks} tasks settled ({}), {} workers, waits \
         for {waiting:?}",
        states.join(", "),
        view.workers.len()
    );
    Some(fault(Kind::Stuck, text))
}

/// What a stretch without faults took, against what it may take.
#[derive(Debug, Clone, Copy)]
pub struct Bill {
    /// Attempts that ended.
    pub attempts: u64,
    /// Attempts that are plenty.
    pub allowed: u64,
    /// Ticks that machines wanted.
    pub ticks: u64,
    /// Hosts.
    pub hosts: u64,
    /// Virtual seconds.
    pub seconds: u64,
}

/// Ticks a host and second that a world at rest may take.
const TICKS: u64 = 50;

/// Whether it took too much.
pub fn cost(bill: &Bill) -> Vec<Fault> {
    let Bill { attempts, allowed, ticks, hosts, seconds } = *bill;
    let may = TICKS * hosts * (seconds + 10);
    let attempts = (attempts > allowed)
        .then(|| fault(Kind::Costly, format!("{attempts} attempts, where {allowed} are plenty")));
    let ticks = (ticks > may)
        .then(|| fault(Kind::Costly, format!("{ticks} ticks, where {may} are plenty")));
    attempts.into_iter().chain(ticks).collect()
}

/// Attempts that a task may take under a policy when nothing breaks: replicas, referees and what is
/// speculated at the end.
pub fn attempts_allowed(policy: Policy, tasks: u64) -> u64 {
    let copies = match policy {
        Policy::None => 1,
        Policy::Vote(votes) => u64::from(votes) + 1,
        _ => 4,
    };
    tasks * copies * 2 + 20
}

/// For tests: fails unless a job went as it should and everything was settled once.
///
/// # Panics
/// If it did not.
pub fn assert_done(world: &World, at: Number, of: &JobId, seed: u64) {
    let mut faults = job(world, at, of, true);
    faults.extend(once(world));
    assert!(faults.is_empty(), "seed {seed}: {}", in_lines(&faults));
}

/// One fault a line.
pub fn in_lines(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("{fault}\n")).collect()
}
