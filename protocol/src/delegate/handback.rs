//! What became final in own jobs that carry on others', told to whom these belong.

use alloc::vec::Vec;

use super::{
    Terms, Vouched,
    keeper::{Effect, Keeper, Name},
    kept::Carry,
};
use crate::{
    id::{JobId, TaskId},
    limits::{MAX_BATCH, MAX_UNTOLD},
    pool::TaskIndex,
    time::Timestamp,
    wire::{Frame, Vouch},
};

impl Keeper {
    pub(super) fn finals(&mut self, own: JobId, tasks: &[TaskId], over: bool, ended: bool) {
        let Some(name) = self.name_of(&own) else { return };
        let Some(kept) = self.jobs.get_mut(&name) else { return };
        for index in tasks.iter().filter_map(|task| kept.index(task)).collect::<Vec<_>>() {
            kept.finish(index, own);
        }
        if let Some(carry) = kept.carries.iter_mut().find(|one| one.own == own) {
            carry.over |= over;
        }
        if ended && !kept.ended {
            kept.ended = true;
            self.save(name);
        }
    }

    pub(super) fn recalled(&mut self, now: Timestamp, own: JobId, results: Vec<Vouched>) {
        let Some(name) = self.name_of(&own) else { return };
        let (submitter, job) = name;
        let Some(kept) = self.jobs.get_mut(&name) else { return };
        let known = |one: &Vouched| {
            let index = kept.index(&one.task)?;
            kept.recalling.contains(&index).then_some(index)
        };
        let (found, results): (Vec<TaskIndex>, Vec<Vouched>) =
            results.into_iter().filter_map(|one| Some((known(&one)?, one))).unzip();
        let missing: Vec<TaskIndex> =
            kept.recalling.iter().filter(|task| !found.contains(task)).copied().collect();
        missing.into_iter().for_each(|task| kept.drop_result(task));
        for task in found {
            kept.recalling.remove(&task);
            kept.told.insert(task, now);
        }
        let terms = Terms { job, submitter, delegate: self.me };
        let left = kept.left();
        kept.offered.extend(results.iter().filter_map(|one| one.output.blob()));
        if let Some(signature) = terms.sign(&self.key, &results) {
            self.send(submitter, Frame::Vouch(Vouch { job, signature, results, left }));
        }
    }

    /// Has further results read, to be told, if the submitter is there and keeps up.
    pub(super) fn tell(&mut self, name: Name) {
        let Some(kept) = self.jobs.get_mut(&name).filter(|kept| kept.present) else { return };
        if !kept.recalling.is_empty() || kept.told.len() + MAX_BATCH > MAX_UNTOLD {
            return;
        }
        let Some(own) = kept.ready.first().and_then(|task| kept.done.get(task)).copied() else {
            return;
        };
        let of_own = |task: &&TaskIndex| kept.done.get(task) == Some(&own);
        let next: Vec<TaskIndex> =
            kept.ready.iter().filter(of_own).take(MAX_BATCH).copied().collect();
        let tasks = next.iter().filter_map(|task| kept.id(*task)).collect();
        for task in next {
            kept.ready.remove(&task);
            kept.recalling.insert(task);
        }
        self.out.effects.push(Effect::Recall { own, tasks });
    }

    /// Forgets own jobs that are over and whose results are all settled at the submitter.
    pub(super) fn tidy(&mut self, name: Name) {
        let Some(kept) = self.jobs.get_mut(&name) else { return };
        if !kept.carries.iter().any(|one| one.over) {
            return;
        }
        let owed = |own: &JobId| kept.done.values().any(|of| of == own);
        let (gone, left): (Vec<Carry>, Vec<Carry>) =
            kept.carries.iter().partition(|one| one.over && !owed(&one.own));
        kept.carries = left;
        if gone.is_empty() {
            return;
        }
        self.out.effects.extend(gone.into_iter().map(|one| Effect::Forget(one.own)));
        self.save(name);
    }
}
