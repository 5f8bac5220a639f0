//! The blobs that held tasks need: asked for, here, or not to be had.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{Effect, Worker, of};
use crate::{
    id::{Hash, PeerId},
    result::Ended,
    time::Timestamp,
};

/// Blobs known to be here beyond which those that no task needs any more are forgotten.
const MANY: usize = 4096;

impl Worker {
    /// Asks `source` for a blob that is neither here nor asked for.
    pub(super) fn want(&mut self, hash: Hash, len: u64, source: PeerId) {
        if !self.here.contains(&hash) && !self.wanted.contains_key(&hash) {
            self.wanted.insert(hash, source);
            self.out.effects.push(Effect::Fetch { hash, len, from: source });
        }
    }

    pub(super) fn blob(&mut self, now: Timestamp, hash: &Hash, here: bool) {
        let Some(asked) = self.wanted.remove(hash) else { return };
        if here {
            self.here.insert(*hash);
            if self.here.len() > MANY {
                self.forget_blobs();
            }
            return;
        }
        let (mut lost, mut others) = (Vec::new(), Vec::new());
        for ((source, job), foreign) in &mut self.jobs {
            if asked == *source {
                let taken = foreign.take_needing(hash).into_iter();
                lost.extend(taken.map(|held| (*source, *job, held)));
            } else if let Some(len) = foreign.needs(hash) {
                others.push((*source, len));
            }
        }
        for (source, job, held) in lost {
            if self.neighbours.get(&source).is_some_and(|n| n.connected) {
                let lost = Ended::host_fault(0, Vec::new());
                self.result(now, source, job, held, lost);
            } else if let Some(foreign) = self.jobs.get_mut(&(source, job)) {
                foreign.release(&held.lease, &mut self.out.records, source);
            }
        }
        // A source that does not deliver spoils its own tasks only: the next one is asked.
        if let Some((source, len)) = others.first() {
            self.want(*hash, *len, *source);
        }
    }

    /// Keeps in mind only the blobs that something held may still need.
    pub(super) fn forget_blobs(&mut self) {
        let held = self.running.values().filter_map(|running| running.held.input.blob());
        let needed: BTreeSet<Hash> =
            self.jobs.values().flat_map(|job| job.blobs()).chain(held).collect();
        self.here.retain(|hash| needed.contains(hash));
    }

    /// Whether `output` belongs to a result for `source` that it has not acknowledged.
    pub fn owes(&self, source: &PeerId, output: &Hash) -> bool {
        self.jobs.range(of(*source)).any(|(_, foreign)| foreign.owes(output))
    }

    /// Whether the blob is part of a job held whose content may be given to anyone.
    pub fn shares(&self, hash: &Hash) -> bool {
        self.jobs.values().any(|foreign| foreign.shares(hash))
    }

    /// The blobs that held tasks need and results owed are made of.
    pub fn needed(&self) -> impl Iterator<Item = Hash> + '_ {
        let running = self.running.values().flat_map(|one| {
            let program =
                self.jobs.get(&(one.source, one.job)).and_then(|job| job.program.as_ref());
            one.held.input.blob().into_iter().chain(program.into_iter().flat_map(|p| p.blobs()))
        });
        let jobs = self.jobs.values().flat_map(|job| job.blobs().chain(job.owed()));
        self.wanted.keys().copied().chain(jobs).chain(running)
    }
}
