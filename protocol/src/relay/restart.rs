//! What a relay takes back from the store: leases that it holds, what it handed on, results on their way.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{Effect, Relay, bundles::Parcel, job::Job};
use crate::{
    batch::Batch,
    entropy::Entropy,
    id::{LeaseId, PeerId},
    record::{Change, Key, Record},
    time::Timestamp,
    wire::{Cancel, Frame, Lease, Offer},
};

impl Relay {
    /// Takes back what a stopped relay had. Leases come first, then what was handed on of them.
    pub fn restore(
        &mut self,
        now: Timestamp,
        held: Vec<(PeerId, Lease)>,
        records: Vec<Record>,
    ) -> Batch<Effect> {
        for record in &records {
            if let Record::Parcel { source, from, bundle, trails } = record {
                let Some(submitter) = bundle.opened.first().map(|one| one.leaf.submitter) else {
                    continue;
                };
                let offer = Offer {
                    job: bundle.commit.job,
                    submitter,
                    profile: alloc::string::String::new(),
                    memory: 0,
                    hops: 0,
                };
                let parcel = Parcel::new(bundle.clone(), trails.clone(), *source, *from, now);
                self.restored(&offer).bundles.add(bundle.commit.root, parcel);
            }
        }
        for (source, lease) in held {
            // What was handed on had everything that it needs.
            if records.iter().any(|one| is_part_of(one, &lease.lease)) {
                self.here.extend(lease.program.blobs());
                self.here.extend(lease.tasks.iter().filter_map(|task| task.input.blob()));
            }
            self.leased(now, source, lease);
        }
        let mut own = BTreeSet::new();
        for record in records {
            let Record::Handed { job: id, lease, source, path, worker, tasks } = record else {
                continue;
            };
            match self.jobs.get_mut(&id) {
                Some(job) => job.restore_sub(now, lease, (source, path, worker), &tasks),
                // Of a job of which nothing else is left: whoever still works on it need not.
                None if worker == self.me => {
                    self.out.records.push(Change::Delete(Key::handed(&id, &lease)));
                    own.insert(id);
                }
                None => self.untold.owe(now, worker, id, lease),
            }
        }
        for job in self.jobs.values_mut() {
            job.restored(now);
        }
        self.out.effects.retain(|effect| matches!(effect, Effect::Fetch { .. }));
        let over = |job| Frame::Cancel(Cancel { job, tasks: Vec::new() });
        self.out.effects.extend(own.into_iter().map(|job| Effect::Send(self.me, over(job))));
        core::mem::take(&mut self.out)
    }

    fn restored(&mut self, offer: &Offer) -> &mut Job {
        let entropy = Entropy::new(&self.entropy.draw());
        self.jobs.entry(offer.job).or_insert_with(|| Job::new(offer, entropy))
    }
}

/// Whether a record is of tasks that were handed on out of this lease.
pub fn is_part_of(record: &Record, lease: &LeaseId) -> bool {
    let Record::Handed { path, .. } = record else { return false };
    path.iter().rev().nth(1).is_some_and(|parent| parent.lease == *lease)
}
