//! What a peer takes back from its store.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{Effect, Peer};
use crate::{
    batch::Batch,
    entropy::Entropy,
    id::{Hash, JobId},
    job::Manifest,
    offer::Proximity,
    record::Record,
    source::Source,
    time::Timestamp,
    verify::Apart,
    worker,
};

impl Peer {
    /// Takes back what was stored before a restart. `manifest` finds a job's manifest by its digest.
    pub fn restore(
        &mut self,
        now: Timestamp,
        records: Vec<Record>,
        manifest: impl Fn(&Hash) -> Option<Manifest>,
    ) -> Batch<Effect> {
        let mut jobs: BTreeMap<JobId, Vec<Record>> = BTreeMap::new();
        let (mut worker, mut handed, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        for record in records {
            match record {
                Record::Job { job, .. }
                | Record::Leased { job, .. }
                | Record::Vote { job, .. }
                | Record::Decided { job, .. }
                | Record::Handover { job, .. }
                | Record::Vouched { job, .. }
                | Record::Heard { job, .. } => jobs.entry(job).or_default().push(record),
                Record::Held { .. } | Record::Batch { .. } => worker.push(record),
                Record::Handed { .. } | Record::Parcel { .. } => handed.push(record),
                Record::Entrusted { .. } | Record::SettledThere { .. } => kept.push(record),
                Record::Hops { peer, record } => self.hops.restore(peer, record),
                // Of whoever fetches blobs.
                Record::Poisoner { .. } => {}
                Record::Standing { peer, standing } => self.standings.restore(peer, standing),
                Record::Quarantine { module, profile, until, own_apart } => {
                    let apart = if own_apart { Apart::Own } else { Apart::Others };
                    self.quarantines.insert((module, profile), (until, apart));
                }
                Record::Caught { job, task, worker, right, .. } => {
                    let ban = None;
                    self.out.effects.push(Effect::Caught { job, task, worker, right, ban });
                    jobs.entry(job).or_default().push(record);
                }
            }
        }
        for (job, records) in jobs {
            let hash = records.iter().find_map(|record| match record {
                Record::Job { manifest, .. } => Some(*manifest),
                _ => None,
            });
            let Some((hash, found)) = hash.and_then(|hash| Some((hash, manifest(&hash)?))) else {
                continue;
            };
            let entropy = Entropy::new(&self.entropy.draw());
            let config = self.source_config(now, &found);
            let source = Source::restore(
                self.key.clone(),
                job,
                hash,
                found,
                config,
                now,
                entropy,
                records,
                &mut self.standings,
            );
            self.shelf.add(job, source.manifest());
            self.sources.insert(job, source);
        }
        self.keeper.restore(now, kept, manifest);
        let worker = self.restore_relay(now, worker, handed);
        let batch = self.worker.restore(now, worker);
        self.worker_batch(now, batch);
        // What the own worker has not delivered is said again, as to any source that is back.
        self.worker(now, worker::Input::Up { peer: self.me, proximity: Proximity::Own });
        let running: Vec<JobId> =
            self.sources.values().filter(|s| s.is_running()).map(Source::id).collect();
        for job in running {
            self.introduce(now, job);
        }
        self.settle_loopback(now);
        self.follow_carried(now);
        core::mem::take(&mut self.out)
    }
}
