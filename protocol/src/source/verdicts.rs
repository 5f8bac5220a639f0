//! What becomes of the verifier's decisions: stored, counted, told on, and turned into what the pool is
//! to hand out.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{Effect, Source};
use crate::{
    id::PeerId,
    pool::{self, TaskIndex, Want},
    record::{Change, Record},
    standing::Standings,
    time::Timestamp,
    verify,
};

impl Source {
    /// Carries out what the verifier wants, as far as that is not part of taking a result.
    pub(super) fn verified(&mut self, now: Timestamp, standings: &mut Standings) {
        let wants = self.verdicts(now, standings);
        if !wants.is_empty() {
            self.pool(now, pool::Input::Wanted(wants));
        }
    }

    /// Stores and counts what the verifier decided; what it wants is returned.
    pub(super) fn verdicts(&mut self, now: Timestamp, standings: &mut Standings) -> Vec<Want> {
        let mut wants = Vec::new();
        let mut changed = BTreeSet::new();
        loop {
            let effects = self.verifier.take_effects();
            if effects.is_empty() {
                break;
            }
            for effect in effects {
                match effect {
                    verify::Effect::Want(want) => wants.push(want),
                    verify::Effect::Changed(task) => drop(changed.insert(task)),
                    verify::Effect::Settled(task) => self.count_settled(task),
                    verify::Effect::Caught { worker, task, right, ban } => {
                        self.workers.entry(worker).or_default().wrong += 1;
                        self.out.effects.push(Effect::Caught { worker, task, right, ban });
                    }
                    verify::Effect::Exclude(worker) => {
                        self.exclude(now, &worker, standings);
                        self.out.effects.push(Effect::Excluded(worker));
                    }
                    verify::Effect::Quarantined(apart) => {
                        self.quarantined = Some(apart);
                        self.save_job();
                        self.out.effects.push(Effect::Quarantined(apart));
                    }
                }
            }
        }
        for task in changed {
            let Some(decision) = self.verifier.decision(task) else { continue };
            self.out.records.push(Change::Put(Record::Decided { job: self.job, task, decision }));
            self.out.effects.push(Effect::Changed);
        }
        wants
    }

    /// A task has come to stand for good, or was given up.
    pub(super) fn count_settled(&mut self, task: TaskIndex) {
        self.settled += 1;
        self.inconclusive.remove(&task);
        let acceptance = self.verifier.acceptance(task);
        let success = acceptance.is_some_and(|one| one.outcome.status.is_success());
        self.failed += u64::from(!success);
        let Some(acceptance) = acceptance.cloned() else { return };
        for peer in acceptance.agreed {
            self.workers.entry(peer).or_default().agreed += 1;
        }
        for peer in acceptance.outvoted {
            self.workers.entry(peer).or_default().outvoted += 1;
        }
    }

    /// A ban ends a worker's part in every job, and what is believed of it.
    pub(super) fn banned(&mut self, now: Timestamp, worker: PeerId, standings: &mut Standings) {
        if self.manifest.policy.checks() {
            self.verifier.banned(now, worker, standings);
            self.verified(now, standings);
        } else if self.workers.get(&worker).is_some_and(|stats| stats.joined) {
            self.leave(now, &worker, standings);
        }
    }

    /// Gives a worker nothing more of the job.
    fn exclude(&mut self, now: Timestamp, worker: &PeerId, standings: &mut Standings) {
        // A delegate would take that for the end of what it keeps; what it computes in vain is little.
        let is_told = self.delegate() != Some(*worker);
        if is_told && self.workers.get(worker).is_some_and(|stats| stats.joined) {
            self.out.effects.push(Effect::Send(*worker, self.over()));
        }
        let via = self.workers.get(worker).and_then(|stats| stats.via);
        self.out.effects.extend(via.map(|hand| self.exclusion(*worker, hand)));
        if let Some(stats) = self.workers.get_mut(worker) {
            (stats.joined, stats.window) = (false, 0);
        }
        self.forget_awaited(worker);
        self.pool(now, pool::Input::Left { worker: *worker });
        self.verifier.leave(now, worker, standings);
    }
}
