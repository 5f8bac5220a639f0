//! What passes between a job and its delegate: handed over, told what is settled, and taken back with
//! what became final meanwhile.

use alloc::vec::Vec;

use super::{Effect, Source, blob_of};
use crate::{
    delegate::{Answer, DelegateView, Statement, Terms, Voucher},
    id::{Hash, PeerId, TaskId},
    limits::{MAX_LEASE_TASKS, MAX_UNTOLD},
    pool::{self, TaskIndex, Want},
    record::{Change, JobState, Record},
    result::Output,
    standing::Standings,
    time::Timestamp,
    verify::{Adopted, Basis, State},
    wire::{Entrust, Entrusted, Frame, Settled},
};

/// A result that the delegate vouches for and whose output is still to be fetched.
#[derive(Debug)]
pub(super) struct Promised {
    task: TaskIndex,
    voucher: Voucher,
    output: Output,
}

impl Source {
    /// The job's delegate, if it has one that is not this peer.
    pub fn delegate(&self) -> Option<PeerId> {
        self.handover.as_ref().map(|one| one.delegate())
    }

    /// Whose word on this job's results is taken, and on what terms.
    pub fn terms(&self) -> Option<Terms> {
        let (job, submitter) = (self.job, self.me);
        self.delegate().map(|delegate| Terms { job, submitter, delegate })
    }

    /// Whether `peer` may have the job's manifest, which is the blob `hash`.
    pub fn entrusts(&self, peer: &PeerId, hash: &Hash) -> bool {
        self.manifest_hash == *hash && self.delegate() == Some(*peer) && self.is_running()
    }

    /// The delegate, if it is to be looked for now.
    fn seek_delegate(&mut self, now: Timestamp) -> Option<PeerId> {
        let handover = self.handover.as_mut()?;
        handover.seeks(now).then(|| handover.delegate())
    }

    /// Whether nothing is leased until the delegate has said what became final.
    pub(super) fn is_held(&self) -> bool {
        self.is_running() && self.handover.as_ref().is_some_and(|one| one.is_awaited())
    }

    pub(super) fn delegate_view(&self) -> Option<DelegateView> {
        let results = || self.verifier.bases().get(&Basis::Delegate).copied().unwrap_or(0);
        let view = self.handover.as_ref().map(|one| one.view(results()));
        view.map(|view| DelegateView { awaited: view.awaited && self.is_running(), ..view })
    }

    pub(super) fn delegate_here(&mut self, here: bool) {
        let Some(handover) = &mut self.handover else { return };
        handover.set_here(here);
        if !here {
            // What it told is told again.
            self.promised.clear();
            return;
        }
        let delegate = handover.delegate();
        let frame = if self.is_running() {
            let (job, manifest) = (self.job, self.manifest_hash);
            Frame::Entrust(Entrust { job, manifest, len: self.manifest_len })
        } else {
            self.over()
        };
        self.out.effects.push(Effect::Send(delegate, frame));
    }

    pub(super) fn entrusted(&mut self, said: &Entrusted) {
        let next = self.verifier.next_place();
        let Some(handover) = &mut self.handover else { return };
        let delegate = handover.delegate();
        if self.state != JobState::Running {
            let over = self.over();
            return self.out.effects.push(Effect::Send(delegate, over));
        }
        if handover.answered(said, next) {
            self.save_handover();
            self.out.effects.push(Effect::Changed);
        }
    }

    /// Takes results on the delegate's word. What was final here stays what it is.
    pub(super) fn vouched(
        &mut self,
        now: Timestamp,
        statement: &Statement,
        left: u64,
        standings: &mut Standings,
    ) {
        let Some(delegate) = self.delegate() else { return };
        if self.state != JobState::Running {
            let over = self.over();
            return self.out.effects.push(Effect::Send(delegate, over));
        }
        let mut tasks = Vec::new();
        for one in statement.results() {
            let Some(task) = self.by_id.get(&one.task).copied() else {
                let what = "its delegate vouches for a task that the job does not have";
                return self.out.effects.push(Effect::Violation(delegate, what));
            };
            if one.output.len() > self.manifest.program.limits.output {
                let what = "its delegate vouches for an output longer than the job allows";
                return self.out.effects.push(Effect::Violation(delegate, what));
            }
            tasks.push(task);
        }
        let news = tasks.iter().any(|task| !self.verifier.is_settled(*task));
        if let Some(handover) = &mut self.handover {
            handover.vouched(now, left, news);
        }
        let mut settled = Vec::new();
        for (at, task) in tasks.into_iter().enumerate() {
            let (Some(voucher), Some(one)) = (statement.voucher(at), statement.results().get(at))
            else {
                continue;
            };
            let promised = Promised { task, voucher, output: one.output.clone() };
            match blob_of(&one.output).filter(|_| !self.verifier.is_settled(task)) {
                Some(hash) => self.promise(hash, one.output.len(), delegate, promised),
                None => settled.extend(self.adopt(promised)),
            }
        }
        self.verified(now, standings);
        self.tell(&settled);
    }

    /// Fetches an output that the delegate vouches for.
    fn promise(&mut self, hash: Hash, len: u64, from: PeerId, promised: Promised) {
        // A task is promised once, and no more of them than are told at once; the rest is told again.
        let tasks = || self.promised.values().flatten().map(|one| one.task);
        if tasks().count() >= MAX_UNTOLD || tasks().any(|task| task == promised.task) {
            return;
        }
        self.promised.entry(hash).or_default().push(promised);
        self.out.effects.push(Effect::Fetch { hash, len, from });
    }

    /// An output that the delegate vouches for is here, or is not to be had: then the task is computed.
    pub(super) fn promised_blob(
        &mut self,
        now: Timestamp,
        hash: &Hash,
        here: bool,
        standings: &mut Standings,
    ) {
        let Some(waiting) = self.promised.remove(hash) else { return };
        if !here || self.state != JobState::Running {
            return;
        }
        let settled: Vec<TaskId> = waiting.into_iter().filter_map(|one| self.adopt(one)).collect();
        self.verified(now, standings);
        self.tell(&settled);
    }

    /// The task, if it is settled now.
    fn adopt(&mut self, Promised { task, voucher, output }: Promised) -> Option<TaskId> {
        let id = voucher.task;
        match self.verifier.adopt(task, voucher.outcome) {
            Adopted::Taken => {
                self.outputs.extend(blob_of(&output));
                self.vouched.insert(task);
                let job = self.job;
                self.out.records.push(Change::Put(Record::Vouched { job, task, voucher, output }));
            }
            Adopted::Known { agrees: true } => {}
            Adopted::Known { agrees: false } => {
                if let Some(handover) = &mut self.handover {
                    handover.count_difference();
                }
                self.save_handover();
                self.out.effects.push(Effect::Changed);
            }
            Adopted::Disputed => return None,
        }
        Some(id)
    }

    /// Tells the delegate at once that these are settled.
    fn tell(&mut self, tasks: &[TaskId]) {
        let Some(handover) = self.handover.as_ref().filter(|_| !tasks.is_empty()) else { return };
        let (job, upto, delegate) = (self.job, handover.told(), handover.delegate());
        for part in tasks.chunks(MAX_LEASE_TASKS) {
            let frame = Frame::Settled(Settled { job, tasks: part.to_vec(), upto });
            self.out.effects.push(Effect::Send(delegate, frame));
        }
    }

    /// Tells the delegate, now and then, what it need not compute: what is settled, and what a check has
    /// confirmed. Under most policies that is final at the end alone.
    pub(super) fn tell_delegate(&mut self, now: Timestamp) {
        if self.state != JobState::Running {
            return;
        }
        let sought = self.seek_delegate(now);
        self.out.effects.extend(sought.map(Effect::Reach));
        let Some(handover) = &self.handover else { return };
        let next = self.verifier.next_place();
        let Some(from) = handover.tells_from(now, next) else { return };
        let (mut tasks, mut upto, mut all) = (Vec::new(), from, true);
        for (place, task) in self.verifier.feed(from) {
            if tasks.len() == MAX_LEASE_TASKS {
                all = false;
                break;
            }
            upto = place + 1;
            let state = self.verifier.state(task);
            if matches!(state, State::Confirmed | State::Final | State::GivenUp) {
                tasks.extend(self.tasks.get(task as usize).map(|(id, _)| *id));
            }
        }
        let (job, delegate) = (self.job, handover.delegate());
        let said = !tasks.is_empty();
        if said {
            let frame = Frame::Settled(Settled { job, tasks, upto });
            self.out.effects.push(Effect::Send(delegate, frame));
        }
        if let Some(handover) = &mut self.handover {
            handover.tells(now, upto, all.then_some(next), said);
        }
    }

    /// Goes on leasing once the delegate has told all, or has had the time to.
    pub(super) fn resume_leasing(&mut self, now: Timestamp, standings: &mut Standings) {
        let fetching = !self.promised.is_empty();
        let over = self.handover.as_mut().is_some_and(|one| one.stops_waiting(now, fetching));
        if !over || self.state != JobState::Running {
            return;
        }
        let idle = self.workers.iter().filter(|(_, stats)| stats.connected && !stats.joined);
        let idle: Vec<_> = idle.map(|(peer, stats)| (*peer, stats.slots, stats.prefix)).collect();
        for (worker, slots, prefix) in idle {
            self.join(now, worker, slots, prefix, standings);
        }
        self.out.effects.push(Effect::Changed);
    }

    /// Takes up nothing new.
    pub(super) fn wind_down(&mut self, now: Timestamp) {
        if self.state != JobState::Running {
            return;
        }
        let untouched = self.verifier.wind_down();
        let wants = untouched.into_iter().map(|task| Want::anyone(task, 0)).collect();
        self.pool(now, pool::Input::Wanted(wants));
    }

    /// The job is over: the delegate forgets it.
    pub(super) fn release_delegate(&mut self) {
        let asked = |one: &&crate::delegate::Handover| {
            one.is_here() && !matches!(one.answer(), Answer::Refused(_))
        };
        let delegate = self.handover.as_ref().filter(asked).map(|one| one.delegate());
        let over = delegate.map(|delegate| Effect::Send(delegate, self.over()));
        self.out.effects.extend(over);
    }

    fn save_handover(&mut self) {
        let Some(handover) = &self.handover else { return };
        let (job, answer, differs) = (self.job, handover.answer(), handover.differs());
        self.out.records.push(Change::Put(Record::Handover { job, answer, differs }));
    }
}
