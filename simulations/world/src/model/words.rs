//! The books on delegates: who carries on what for whom, what was told of it, and what it may forget.

use std::collections::{BTreeMap, BTreeSet};

use bayan_cast::Word;
use bayan_protocol::{
    id::{JobId, PeerId, TaskId},
    peer::Peer,
    record::{JobState, Key, Record},
    result::Outcome,
    source::Source,
    verify::State,
    wire::{Cancel, Frame, Settled, Vouch},
};

use super::{Finals, Model};
use crate::{disk::Disk, host::Host, judge::Kind, world::Number};

/// A job that is kept for somebody: whose, and which.
type Name = (PeerId, JobId);

/// What passes between submitters and their delegates.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// Own jobs of delegates, and what they carry on.
    carried: BTreeMap<(Number, JobId), Name>,
    /// Those that were forgotten, with what was final in them: without power they may come back.
    forgotten: BTreeMap<(Number, JobId), (Name, Finals)>,
    /// What was vouched for, by delegate and job.
    vouched: BTreeMap<(PeerId, JobId), BTreeMap<TaskId, BTreeSet<Outcome>>>,
    /// What delegates have heard to be settled.
    settled: BTreeMap<(Number, Name), BTreeSet<TaskId>>,
    /// Jobs that delegates have heard to be over.
    released: BTreeSet<(Number, Name)>,
}

impl Words {
    /// Whether a delegate said that a task of this job came to this.
    pub(super) fn has(&self, delegate: PeerId, job: JobId, task: &TaskId, what: &Outcome) -> bool {
        let told = self.vouched.get(&(delegate, job)).and_then(|tasks| tasks.get(task));
        told.is_some_and(|outcomes| outcomes.contains(what))
    }

    /// A delegate stores which own jobs carry a kept job on.
    pub(super) fn begins(&mut self, at: Number, name: Name, own: &[JobId]) {
        self.carried.extend(own.iter().map(|own| ((at, *own), name)));
    }

    /// Whether an own job carries on another's.
    pub(super) fn carries(&self, at: Number, own: &JobId) -> bool {
        self.carried.contains_key(&(at, *own))
    }

    /// A delegate hears from a submitter.
    pub(super) fn hears(&mut self, at: Number, from: PeerId, frame: &Frame) {
        match frame {
            Frame::Settled(Settled { job, tasks, .. }) => {
                self.settled.entry((at, (from, *job))).or_default().extend(tasks);
            }
            Frame::Cancel(Cancel { job, tasks }) if tasks.is_empty() => {
                self.released.insert((at, (from, *job)));
            }
            _ => {}
        }
    }
}

impl Model {
    /// Something about a job goes out to its delegate, or comes from it.
    pub(super) fn says(&mut self, from: Number, host: &Host, to: &PeerId, frame: &Frame) {
        match frame {
            Frame::Vouch(vouch) => self.vouches(from, host, *to, vouch),
            Frame::Settled(settled) => self.settles(from, host, settled),
            Frame::Cancel(Cancel { job, tasks }) if tasks.is_empty() => {
                // It is the end of the job for its delegate (DELEG-11).
                let source = host.machine.as_ref().and_then(|machine| machine.job(job));
                if source.is_some_and(|one| one.is_running() && one.delegate() == Some(*to)) {
                    let text = format!("h{from} tells its delegate that a running job is over");
                    self.blame(Kind::Lost, text);
                }
            }
            _ => {}
        }
    }

    /// What an honest delegate vouches for is final in a job of its own that carries this one on, or what a
    /// provisional one ended with (DELEG-6).
    fn vouches(&mut self, from: Number, host: &Host, to: PeerId, vouch: &Vouch) {
        let me = host.key.peer_id();
        let own: Vec<JobId> = self
            .words
            .carried
            .range((from, JobId([0; 32]))..=(from, JobId([255; 32])))
            .filter(|(_, name)| **name == (to, vouch.job))
            .map(|((_, own), _)| *own)
            .collect();
        for one in &vouch.results {
            let what = (one.task, one.outcome());
            let stands = own.iter().any(|own| {
                let finals = self.finals.get(&(from, *own));
                let is_final = finals.is_some_and(|finals| finals.values().any(|one| *one == what));
                is_final || host.machine.as_ref().is_some_and(|one| has_outcome(one, own, &what))
            });
            if !stands && host.plan.word == Word::Honest {
                let text = format!("h{from} vouches for a result that is not final there");
                self.blame(Kind::Unsupported, text);
            }
            let told = self.words.vouched.entry((me, vouch.job)).or_default();
            told.entry(what.0).or_default().insert(what.1);
        }
    }

    /// What a submitter says is settled is, or a check has confirmed it (DELEG-4).
    fn settles(&mut self, from: Number, host: &Host, settled: &Settled) {
        let source = host.machine.as_ref().and_then(|machine| machine.job(&settled.job));
        let Some(source) = source else { return };
        let stands = |task: &&TaskId| {
            let state = source.index_of(task).map(|index| source.task_state(index));
            matches!(state, Some(State::Confirmed | State::Final | State::GivenUp))
        };
        let wrong = settled.tasks.iter().filter(|task| !stands(task)).count();
        if wrong > 0 {
            let text = format!("h{from} tells its delegate of {wrong} tasks that are not settled");
            self.blame(Kind::Unsupported, text);
        }
    }

    /// A record is deleted. Nobody here forgets a job but a delegate that has carried one on: once what was
    /// final in it is settled at the submitter, or that one's job is over (DELEG-6, DELEG-11).
    pub(crate) fn deletes(&mut self, at: Number, key: &Key) {
        let all = (at, JobId([0; 32]))..=(at, JobId([255; 32]));
        let is_it = |job: &JobId| Key::job(job) == *key;
        let own = self.words.carried.range(all.clone()).find(|((_, own), _)| is_it(own));
        if let Some(((_, own), name)) = own.map(|(own, name)| (*own, *name)) {
            let finals = self.finals.remove(&(at, own)).unwrap_or_default();
            self.words.carried.remove(&(at, own));
            self.words.forgotten.insert((at, own), (name, finals.clone()));
            if self.words.released.contains(&(at, name)) {
                return;
            }
            let settled = self.words.settled.get(&(at, name));
            let is_settled = |task: &TaskId| settled.is_some_and(|tasks| tasks.contains(task));
            let untold = finals.values().filter(|(task, _)| !is_settled(task)).count();
            if untold > 0 {
                let text = format!("h{at} forgets {untold} results that its submitter lacks");
                self.blame(Kind::Lost, text);
            }
            return;
        }
        if self.finals.range(all).any(|((_, job), _)| is_it(job)) {
            self.blame(Kind::Lost, format!("h{at} forgets a job of its own"));
        }
    }

    /// A disk has lost records, among them perhaps that a job was forgotten.
    pub(super) fn remember(&mut self, at: Number, disk: &Disk) {
        for record in disk.records() {
            let Record::Job { job, .. } = record else { continue };
            let Some((name, finals)) = self.words.forgotten.remove(&(at, *job)) else { continue };
            self.words.carried.insert((at, *job), name);
            self.finals.insert((at, *job), finals);
        }
    }
}

/// Whether a provisional job that is done ended with this.
fn has_outcome(machine: &Peer, own: &JobId, (task, what): &(TaskId, Outcome)) -> bool {
    let done = |one: &&Source| one.manifest().provisional && one.state() == JobState::Done;
    let Some(source) = machine.job(own).filter(done) else { return false };
    let accepted = source.index_of(task).and_then(|index| source.acceptance(index));
    accepted.is_some_and(|accepted| accepted.outcome == *what)
}
