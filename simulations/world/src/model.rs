//! A reference beside the real machines: simple books on who claimed what, who holds what until when, and
//! what was final once. It decides nothing; it says what the machines may believe and wait for.
//!
//! All relations are bounds in one direction, so that they hold whatever the machines do within the rules.

mod words;

use std::collections::{BTreeMap, BTreeSet};

use bayan_protocol::{
    id::{JobId, LeaseId, PeerId, TaskId},
    limits::LEASE,
    peer::{Input, Peer},
    pool::TaskIndex,
    record::{JobState, Record},
    result::Outcome,
    source::Source,
    time::Timestamp,
    verify::{Acceptance, Basis, Decision, Policy, State},
    wire::Frame,
};

use words::Words;

use crate::{
    SECOND,
    disk::Disk,
    host::Host,
    judge::{Fault, Kind},
    world::Number,
};

/// A machine is told the time at the latest this long after it asked for it.
const SLACK: u64 = SECOND;
/// Faults that are kept.
const MOST: usize = 20;

/// A lease that a submitter gave.
#[derive(Debug)]
struct Given {
    job: JobId,
    deadline: Timestamp,
    tasks: BTreeSet<TaskId>,
}

/// What stands for good at a submitter.
type Finals = BTreeMap<TaskIndex, (TaskId, Outcome)>;

/// The books.
#[derive(Debug, Default)]
pub struct Model {
    claims: BTreeMap<TaskId, BTreeMap<PeerId, BTreeSet<Outcome>>>,
    leases: BTreeMap<(Number, PeerId), BTreeMap<LeaseId, Given>>,
    finals: BTreeMap<(Number, JobId), Finals>,
    woke: BTreeMap<Number, Timestamp>,
    words: Words,
    faults: Vec<Fault>,
    compared: Timestamp,
}

impl Model {
    /// What was found wrong.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Whether a host's own job carries on another's.
    pub(crate) fn carries(&self, at: Number, own: &JobId) -> bool {
        self.words.carries(at, own)
    }

    pub(crate) fn blame(&mut self, kind: Kind, text: String) {
        if self.faults.len() < MOST {
            self.faults.push(Fault { kind, text });
        }
    }

    /// A host signs, or is about to sign, that a task came to this.
    pub(crate) fn claimed(&mut self, who: PeerId, task: TaskId, what: Outcome) {
        self.claims.entry(task).or_default().entry(who).or_default().insert(what);
    }

    /// A frame goes out.
    pub(crate) fn sends(
        &mut self,
        now: Timestamp,
        from: Number,
        host: &Host,
        to: &PeerId,
        frame: &Frame,
    ) {
        let me = host.key.peer_id();
        self.says(from, host, to, frame);
        match frame {
            Frame::Lease(lease) if lease.submitter == me => {
                let (job, deadline) = (lease.job, now + LEASE);
                let tasks = lease.tasks.iter().map(|one| one.task).collect();
                let given = Given { job, deadline, tasks };
                self.leases.entry((from, *to)).or_default().insert(lease.lease, given);
            }
            Frame::Reveal(reveal) => {
                for one in reveal.opened.iter().filter(|one| one.leaf.worker == me) {
                    let (status, output, fuel) =
                        (one.leaf.status, one.output.hash(), one.leaf.fuel);
                    self.claimed(me, one.leaf.task, Outcome { status, output, fuel });
                }
            }
            _ => {}
        }
    }

    /// A machine is given an input.
    pub(crate) fn sees(&mut self, now: Timestamp, at: Number, input: &Input) {
        if let Input::Frame { peer, frame: Ok(frame) } = input {
            self.words.hears(at, *peer, frame);
        }
        match input {
            Input::Frame { peer, frame: Ok(Frame::Renew(renew)) } => {
                let Some(given) = self.leases.get_mut(&(at, *peer)) else { return };
                // Who slept has given nothing to others meanwhile: what it finds first on waking may be a
                // renewal of what lapsed in its sleep.
                let woke = self.woke.get(&at).is_some_and(|woke| woke.0 + SLACK >= now.0);
                for lease in &renew.leases {
                    if let Some(one) = given.get_mut(lease)
                        && (woke || one.deadline.0 + SLACK >= now.0)
                    {
                        one.deadline = now + LEASE;
                    }
                }
            }
            Input::Down { peer } => {
                self.leases.remove(&(at, *peer));
            }
            _ => {}
        }
    }

    /// A record is written.
    pub(crate) fn stores(&mut self, at: Number, machine: &Peer, record: &Record) {
        match record {
            Record::Vote { proof, via, .. } => {
                let hand = via.first().unwrap_or(&proof.leaf.worker);
                for given in self.leases.get_mut(&(at, *hand)).into_iter().flatten() {
                    given.1.tasks.remove(&proof.leaf.task);
                }
            }
            Record::Decided { job, task, decision } => {
                let Some(source) = machine.job(job) else { return };
                if matches!(decision.state, State::Final | State::GivenUp)
                    && let Some(id) = source.task_id(*task)
                {
                    self.release(at, |given| {
                        given.tasks.remove(&id);
                    });
                }
                self.decided(at, source, *task, decision);
            }
            Record::Entrusted { submitter, job, carried, .. } => {
                self.words.begins(at, (*submitter, *job), carried);
            }
            Record::Job { job, state, .. } if *state != JobState::Running => {
                self.release(at, |given| {
                    if given.job == *job {
                        given.tasks.clear();
                    }
                });
            }
            _ => {}
        }
    }

    fn release(&mut self, at: Number, mut how: impl FnMut(&mut Given)) {
        let all = self.leases.iter_mut().filter(|((number, _), _)| *number == at);
        for given in all.flat_map(|(_, leases)| leases.values_mut()) {
            how(given);
        }
    }

    fn decided(&mut self, at: Number, source: &Source, task: TaskIndex, decision: &Decision) {
        let job = source.id();
        let known = self.finals.get(&(at, job)).and_then(|finals| finals.get(&task)).copied();
        let now = decision.acceptance.as_ref().map(|one| one.outcome);
        if let Some((_, known)) = known
            && (decision.state != State::Final || now != Some(known))
        {
            let state = decision.state;
            self.blame(Kind::Twice, format!("task {task} of h{at} was final and is {state:?}"));
        }
        let (State::Final, Some(acceptance)) = (decision.state, &decision.acceptance) else {
            return;
        };
        let Some(id) = source.task_id(task) else { return };
        self.finals.entry((at, job)).or_default().insert(task, (id, acceptance.outcome));
        if acceptance.basis == Basis::Delegate {
            let delegate = source.delegate();
            if !delegate.is_some_and(|one| self.words.has(one, job, &id, &acceptance.outcome)) {
                let text = format!("task {task} of h{at} is final by a word that nobody has given");
                self.blame(Kind::Unsupported, text);
            }
        }
        let needed = needed(source.manifest().policy, acceptance.basis);
        let claims = self.claims.get(&id);
        let claimed = |peer: &&PeerId| {
            claims
                .and_then(|claims| claims.get(*peer))
                .is_some_and(|claims| claims.contains(&acceptance.outcome))
        };
        let agreed: BTreeSet<&PeerId> = acceptance.agreed.iter().filter(claimed).collect();
        if agreed.len() < needed || agreed.len() < acceptance.agreed.len() {
            let Acceptance { basis, agreed: named, .. } = acceptance;
            let (have, named) = (agreed.len(), named.len());
            let text = format!(
                "task {task} of h{at} is final by {basis:?} with {have} peers that claimed it, of \
                 {named} named and {needed} needed"
            );
            self.blame(Kind::Unsupported, text);
        }
    }

    /// A host stopped: what it had handed out is forgotten until it is handed out anew.
    pub(crate) fn stopped(&mut self, at: Number) {
        self.leases.retain(|(number, _), _| *number != at);
        self.woke.remove(&at);
    }

    /// A host woke: it needs a moment to see to what has passed meanwhile.
    pub(crate) fn wakes(&mut self, now: Timestamp, at: Number) {
        self.woke.insert(at, now);
    }

    /// A host started on its records: what was final is.
    pub(crate) fn restarted(&mut self, at: Number, machine: &Peer) {
        let mut lost = Vec::new();
        for ((_, job), finals) in self.finals.range((at, JobId([0; 32]))..=(at, JobId([255; 32]))) {
            let source = machine.job(job);
            for (task, (_, outcome)) in finals {
                let now = source.and_then(|source| source.acceptance(*task));
                if now.map(|one| one.outcome) != Some(*outcome) {
                    lost.push(format!("task {task} of h{at} was final before the restart"));
                }
            }
        }
        for text in lost {
            self.blame(Kind::Lost, text);
        }
    }

    /// A host's disk has lost records: nobody can expect more of it than what is left.
    pub(crate) fn forget(&mut self, at: Number, disk: &Disk) {
        self.remember(at, disk);
        let mut left: BTreeMap<JobId, BTreeSet<TaskIndex>> = BTreeMap::new();
        for record in disk.records() {
            if let Record::Decided { job, task, decision } = record
                && decision.state == State::Final
            {
                left.entry(*job).or_default().insert(*task);
            }
        }
        for ((number, job), finals) in &mut self.finals {
            if *number == at {
                finals.retain(|task, _| left.get(job).is_some_and(|left| left.contains(task)));
            }
        }
    }

    /// Whether it is time to compare.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        now.0 >= self.compared.0 + SECOND
    }

    /// What a submitter believes that others hold for it, they may hold.
    pub(crate) fn compare(&mut self, now: Timestamp, at: Number, machine: &Peer) {
        self.compared = now;
        if self.woke.get(&at).is_some_and(|woke| woke.0 + SLACK >= now.0) {
            return;
        }
        let mut wrong = Vec::new();
        for source in machine.jobs().filter(|source| source.is_running()) {
            for worker in source.view().workers.iter().filter(|one| !one.own && one.held > 0) {
                let may = self.may_hold(now, at, &worker.peer, source.id());
                if worker.held > may {
                    let (peer, held) = (worker.peer.short(), worker.held);
                    wrong.push(format!("h{at} waits for {held} tasks of {peer}, which has {may}"));
                }
            }
        }
        for text in wrong {
            self.blame(Kind::Overdue, text);
        }
    }

    fn may_hold(&self, now: Timestamp, at: Number, peer: &PeerId, job: JobId) -> u64 {
        let Some(leases) = self.leases.get(&(at, *peer)) else { return 0 };
        let open = leases.values().filter(|one| one.job == job && one.deadline.0 + SLACK >= now.0);
        open.map(|one| one.tasks.len() as u64).sum()
    }
}

/// Peers that must have claimed an outcome before it may stand on this basis.
fn needed(policy: Policy, basis: Basis) -> usize {
    match (policy, basis) {
        (_, Basis::Delegate) => 0,
        (_, Basis::Own | Basis::SinglePath) => 1,
        (Policy::Vote(votes), _) => votes as usize,
        (_, Basis::Established | Basis::Referees | Basis::Elsewhere | Basis::Anyone) => 2,
        _ => 1,
    }
}
