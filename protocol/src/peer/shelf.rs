//! Which blobs are given to whom.
//!
//! A store holds more than a peer has to give: what was uploaded for jobs to come, what other
//! submitters' tasks are made of, what is left of forgotten jobs. So a blob is given away only for a
//! reason: it is part of an own job that the asking peer may compute, part of work held whose source
//! lets it be shared, an output that is owed to the asker, or the manifest of a job that the asker is
//! the delegate of.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::Peer;
use crate::{
    id::{Hash, JobId, PeerId},
    job::Manifest,
    time::Timestamp,
};

/// Which own jobs need which blobs.
#[derive(Debug, Default)]
pub(super) struct Shelf(BTreeMap<Hash, Vec<JobId>>);

impl Shelf {
    pub(super) fn add(&mut self, job: JobId, manifest: &Manifest) {
        for hash in manifest.blobs() {
            let jobs = self.0.entry(hash).or_default();
            // The same input may stand in a job many times, one after the other.
            if jobs.last() != Some(&job) {
                jobs.push(job);
            }
        }
    }

    pub(super) fn remove(&mut self, job: JobId) {
        self.0.retain(|_, jobs| {
            jobs.retain(|one| *one != job);
            !jobs.is_empty()
        });
    }

    fn jobs(&self, hash: &Hash) -> &[JobId] {
        self.0.get(hash).map_or(&[], Vec::as_slice)
    }
}

impl Peer {
    /// Whether the blob `hash` is given to `peer`: a part of an own job that is not confidential is
    /// given to anyone, one of confidential jobs to those who may compute one of them, a part of a job
    /// held from somebody else to anyone if its leases say so, an output to whom it was computed for
    /// until it is acknowledged, and nothing else to anyone.
    pub fn may_fetch(&self, now: Timestamp, peer: &PeerId, hash: &Hash) -> bool {
        let free = |job: &JobId| {
            let manifest = self.sources.get(job).map(crate::source::Source::manifest);
            manifest.is_some_and(|one| !one.confidential || self.may_compute(now, one, peer))
        };
        self.shelf.jobs(hash).iter().any(free)
            || self.sources.values().any(|source| source.entrusts(peer, hash))
            || self.keeper.owes(peer, hash)
            || self.worker.shares(hash)
            || self.worker.owes(peer, hash)
            || self.relay.owes(hash)
            || self.relay.shares(hash)
    }

    /// Whether the blob is no secret: it is part of an own job that is not confidential, or of one
    /// held whose leases let it be shared. So others may be told who has it, and asked for it.
    pub fn shares(&self, hash: &Hash) -> bool {
        let open = |job: &JobId| {
            self.sources.get(job).is_some_and(|source| !source.manifest().confidential)
        };
        self.shelf.jobs(hash).iter().any(open)
            || self.worker.shares(hash)
            || self.relay.shares(hash)
    }

    /// Every blob that something needs: own jobs with what is known of their results, work held,
    /// results owed, fetches under way. Nothing of it gives way to anything else.
    pub fn needed(&self) -> BTreeSet<Hash> {
        let jobs = self.sources.values().flat_map(|source| source.blobs());
        let fetching = self.fetching.keys().copied();
        self.shelf
            .0
            .keys()
            .copied()
            .chain(jobs)
            .chain(fetching)
            .chain(self.worker.needed())
            .chain(self.relay.needed())
            .chain(self.keeper.needed())
            .collect()
    }
}
