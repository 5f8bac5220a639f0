//! A job as its stored records tell it, after a restart.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::{Config, Source, blob_of};
use crate::{
    batch::Batch,
    crypto::Keypair,
    delegate::Answer,
    entropy::Entropy,
    id::{Hash, JobId, PeerId},
    job::Manifest,
    pool::{self, TaskIndex},
    record::{JobState, Key, Record},
    standing::Standings,
    time::Timestamp,
    verify::{self, Acceptance, Apart, Basis, Decision, Vote},
};

impl Source {
    /// A job from before a restart, out of its stored records (in any order).
    #[expect(
        clippy::too_many_arguments,
        reason = "a restart has all of these at hand and nothing to group them by"
    )]
    pub fn restore(
        key: Keypair,
        job: JobId,
        manifest_hash: Hash,
        manifest: Manifest,
        mut config: Config,
        now: Timestamp,
        mut entropy: Entropy,
        records: Vec<Record>,
        standings: &mut Standings,
    ) -> Self {
        let found = |one: &Record| match one {
            Record::Job { quarantined, own_apart, .. } => Apart::of(*quarantined, *own_apart),
            _ => None,
        };
        config.quarantined = records.iter().find_map(found).or(config.quarantined);
        let mut source = Self::build(key, job, manifest_hash, manifest, config, now, &mut entropy);
        let mut decisions: BTreeMap<TaskIndex, Decision> = BTreeMap::new();
        let mut votes: BTreeMap<TaskIndex, Vec<Vote>> = BTreeMap::new();
        let mut caught = BTreeSet::new();
        let mut answered = (Answer::Asked, 0);
        for record in records {
            match record {
                Record::Job { submitted, ended, state, .. } => {
                    (source.submitted, source.ended, source.state) = (submitted, ended, state);
                }
                Record::Leased { lease, worker, tasks, .. } => {
                    source.leased.push(Key::leased(&job, &lease));
                    let _ = source.pool.step(now, pool::Input::Restored { worker, lease, tasks });
                }
                Record::Heard { worker, highest, .. } => {
                    source.workers.entry(worker).or_default().heard = highest;
                }
                Record::Decided { task, decision, .. } => {
                    decisions.insert(task, decision);
                }
                Record::Caught { task, worker, .. } => {
                    source.workers.entry(worker).or_default().wrong += 1;
                    caught.insert((task, worker));
                }
                Record::Vote { task, proof, micros, via, output, .. } => {
                    source.outputs.extend(blob_of(&output));
                    let worker = proof.leaf.worker;
                    let stats = source.workers.entry(worker).or_default();
                    stats.returned += 1;
                    stats.micros = stats.micros.saturating_add(micros);
                    let (outcome, id) = (proof.outcome(), proof.leaf.task);
                    let vote = Vote { worker, via, outcome, root: Hash([0; 32]), id };
                    votes.entry(task).or_default().push(vote);
                }
                Record::Handover { answer, differs, .. } => answered = (answer, differs),
                Record::Vouched { task, output, .. } => {
                    source.outputs.extend(blob_of(&output));
                    source.vouched.insert(task);
                }
                _ => {}
            }
        }
        if let Some(handover) = &mut source.handover {
            handover.restore(now, answered.0, answered.1);
        }
        source.restored = true;
        source.restore_tasks(now, votes, decisions, &caught, standings);
        source.out = Batch::default();
        source
    }

    pub(super) fn restore_tasks(
        &mut self,
        now: Timestamp,
        mut votes: BTreeMap<TaskIndex, Vec<Vote>>,
        mut decisions: BTreeMap<TaskIndex, Decision>,
        caught: &BTreeSet<(TaskIndex, PeerId)>,
        standings: &mut Standings,
    ) {
        let touched: BTreeSet<TaskIndex> = votes.keys().chain(decisions.keys()).copied().collect();
        // What was confirmed first is final first, after a restart too.
        let mut touched: Vec<TaskIndex> = touched.into_iter().collect();
        touched.sort_by_key(|task| decisions.get(task).map(|decision| decision.place));
        for task in touched {
            let cast = votes.remove(&task).unwrap_or_default();
            let is_there = |peer: &PeerId| cast.iter().any(|vote| vote.worker == *peer);
            let decision = decisions.remove(&task).filter(|decision| {
                // Without any of the votes for it, which damage of the store may have taken, the output
                // is gone: the task is done again.
                let accepted = decision.acceptance.as_ref().filter(|_| self.is_running());
                let told = |one: &Acceptance| match one.basis {
                    Basis::Delegate => self.vouched.contains(&task),
                    _ => one.agreed.is_empty(),
                };
                accepted.is_none_or(|one| told(one) || one.agreed.iter().any(is_there))
            });
            self.verifier.restore(task, decision, &cast);
            for vote in &cast {
                let returned =
                    pool::Input::Returned { worker: *vote.hand(), task, wants: Vec::new() };
                let _ = self.pool.step(now, returned);
            }
        }
        self.verifier.resume(now, self.is_running());
        if self.is_running() {
            self.verifier.accuse_again(now, caught, standings);
            self.verifier.advance(now, standings);
        }
        for effect in self.verifier.take_effects() {
            match effect {
                verify::Effect::Want(want) => {
                    let _ = self.pool.step(now, pool::Input::Wanted(Vec::from([want])));
                }
                verify::Effect::Settled(task) => self.count_settled(task),
                _ => {}
            }
        }
        // The crash came between the last decision and the record of the job's end.
        if self.is_running() && self.verifier.is_over() {
            // What it wants stored now is not: these records are still to be deleted with the job.
            let leased = self.leased.clone();
            self.end(now, JobState::Done);
            self.leased = leased;
        }
    }
}
