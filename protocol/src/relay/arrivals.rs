//! Leases whose blobs are still on the way: nothing is handed on that those below could not compute.

use alloc::{collections::BTreeSet, string::String, vec::Vec};

use super::{Effect, Relay, job::Job};
use crate::{
    entropy::Entropy,
    id::{Hash, JobId, PeerId, TaskId},
    record::{Change, Key},
    task::Input,
    time::Timestamp,
    wire::{Frame, Lease, Offer, Reason, Refuse},
};

/// Blobs known to be here beyond which they are asked for again.
const MANY: usize = 4096;

/// A lease that waits for blobs.
#[derive(Debug)]
pub(super) struct Arriving {
    pub(super) source: PeerId,
    pub(super) lease: Lease,
    missing: BTreeSet<Hash>,
}

impl Relay {
    /// Takes a lease from upstream: at once, or when everything is here that its tasks need.
    pub(super) fn leased(&mut self, now: Timestamp, source: PeerId, lease: Lease) {
        let id = lease.job;
        let entropy = Entropy::new(&self.entropy.draw());
        let offer = Offer {
            job: id,
            submitter: lease.submitter,
            profile: lease.program.profile.clone(),
            memory: lease.program.limits.memory,
            hops: 0,
        };
        let job = self.jobs.entry(id).or_insert_with(|| Job::new(&offer, entropy));
        if !job.is_proven() {
            job.errand.submitter = lease.submitter; // whatever was said before
        }
        // Whoever turns out to stand above is not handed what came through it.
        let above: Vec<PeerId> = lease.path.iter().map(|hop| hop.giver).collect();
        for peer in above {
            self.refused(now, &peer, &id);
        }
        let mut needs = Vec::from([(lease.program.module, lease.program.module_len)]);
        needs.extend(lease.program.data.iter().map(|file| (file.hash, file.len)));
        needs.extend(lease.tasks.iter().filter_map(|task| match task.input {
            Input::Blob { hash, len } => Some((hash, len)),
            Input::Inline(_) => None,
        }));
        let mut missing = BTreeSet::new();
        for (hash, len) in needs {
            if !self.here.contains(&hash) && missing.insert(hash) {
                self.out.effects.push(Effect::Fetch { hash, len, from: source });
            }
        }
        if missing.is_empty() {
            return self.arrived(now, source, lease);
        }
        if let Some(job) = self.jobs.get_mut(&id) {
            job.arriving.push(Arriving { source, lease, missing });
        }
    }

    /// A lease has everything.
    fn arrived(&mut self, now: Timestamp, source: PeerId, lease: Lease) {
        let id = lease.job;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        match job.take((&self.me, source), lease, &mut self.out.records) {
            Ok(input) => self.in_pool(now, &id, input),
            Err(what) => self.out.effects.push(Effect::Violation(source, what)),
        }
    }

    /// A blob came, or is not to be had: then its lease goes back to where it came from.
    pub(super) fn arrive(&mut self, now: Timestamp, hash: &Hash, here: bool) {
        if here {
            if self.here.len() >= MANY {
                self.here.clear();
            }
            self.here.insert(*hash);
        }
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in ids {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            let waits = |one: &Arriving| one.missing.contains(hash);
            if !job.arriving.iter().any(waits) {
                continue;
            }
            for mut one in core::mem::take(&mut job.arriving) {
                let hit = one.missing.remove(hash);
                if hit && !here {
                    self.send_back(&one);
                } else if one.missing.is_empty() {
                    self.arrived(now, one.source, one.lease);
                } else if let Some(job) = self.jobs.get_mut(&id) {
                    job.arriving.push(one);
                }
            }
        }
    }

    fn send_back(&mut self, Arriving { source, lease, .. }: &Arriving) {
        self.out.records.push(Change::Delete(Key::held(source, &lease.lease)));
        let (job, reason) = (Some(lease.job), Reason::Blob);
        let refuse = Refuse { job, reason, text: String::new() };
        self.out.effects.push(Effect::Send(*source, Frame::Refuse(refuse)));
    }
}

impl Job {
    /// Cancelled tasks of a lease that has not arrived.
    pub(super) fn drop_arriving(
        &mut self,
        source: &PeerId,
        tasks: &[TaskId],
        records: &mut Vec<Change>,
    ) {
        for one in self.arriving.iter_mut().filter(|one| one.source == *source) {
            one.lease.tasks.retain(|task| !tasks.contains(&task.task));
            if one.lease.tasks.is_empty() {
                records.push(Change::Delete(Key::held(source, &one.lease.lease)));
            }
        }
        self.arriving.retain(|one| !one.lease.tasks.is_empty());
    }
}
