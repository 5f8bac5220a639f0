//! What a relay takes back from the store: leases that it holds, what it handed on, results on their way.

use alloc::vec::Vec;

use super::{Relay, bundles::Parcel, job::Job};
use crate::{
    entropy::Entropy,
    id::PeerId,
    record::Record,
    time::Timestamp,
    wire::{Lease, Offer},
};

impl Relay {
    /// Takes back what a stopped relay had. Leases come first, then what was handed on of them.
    pub fn restore(&mut self, now: Timestamp, held: Vec<(PeerId, Lease)>, records: Vec<Record>) {
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
                };
                let parcel = Parcel::new(bundle.clone(), trails.clone(), *source, *from, now);
                self.restored(&offer).bundles.add(bundle.commit.root, parcel);
            }
        }
        for (source, lease) in held {
            self.leased(now, source, lease);
        }
        for record in records {
            if let Record::Handed { job, lease, parent, worker, hop, tasks } = record
                && let Some(job) = self.jobs.get_mut(&job)
            {
                job.restore_sub(now, (lease, parent, worker, hop), &tasks);
            }
        }
        for job in self.jobs.values_mut() {
            job.restored(now);
        }
        self.out = crate::batch::Batch::default();
    }

    fn restored(&mut self, offer: &Offer) -> &mut Job {
        let entropy = Entropy::new(&self.entropy.draw());
        self.jobs.entry(offer.job).or_insert_with(|| Job::new(offer, entropy))
    }
}
