//! Jobs that are over, and who is to hear of that once it is there again.
//!
//! Words that were under way when a connection broke are lost: who brings results of a job that ended here
//! not long ago is told so. A relay that ends a job while somebody below is away cannot tell it so, and who does not hear of it keeps
//! its leases and results of that job for good, and what it takes of this relay stays divided by it. The
//! records of what was handed to it are kept until it has been told: they bring the debt over a restart.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};

use crate::{
    id::{JobId, LeaseId, PeerId},
    limits::{MAX_STANDINGS, RETENTION},
    record::{Change, Key},
    time::Timestamp,
};

/// Jobs of which it is remembered that they are over.
const MANY: usize = 1024;

/// What is owed to one peer.
#[derive(Debug)]
struct Debt {
    since: Timestamp,
    leases: BTreeSet<(JobId, LeaseId)>,
}

/// All such debts.
#[derive(Debug, Default)]
pub(super) struct Untold {
    peers: BTreeMap<PeerId, Debt>,
    leases: BTreeSet<LeaseId>,
    /// The latest jobs that ended, the oldest first, and whose they are.
    ended: VecDeque<(JobId, PeerId)>,
}

impl Untold {
    /// `peer` is to hear that `job` is over, of which it has `lease`. Beyond a great many peers nothing more
    /// is noted; they find out from the submitter.
    pub(super) fn owe(&mut self, now: Timestamp, peer: PeerId, job: JobId, lease: LeaseId) {
        if self.peers.len() >= MAX_STANDINGS && !self.peers.contains_key(&peer) {
            return;
        }
        let debt = self.peers.entry(peer);
        let debt = debt.or_insert_with(|| Debt { since: now, leases: BTreeSet::new() });
        debt.leases.insert((job, lease));
        self.leases.insert(lease);
    }

    /// A job is over, by the word of its submitter, or of whom it came from.
    pub(super) fn note(&mut self, job: JobId, submitter: PeerId) {
        if self.ended.contains(&(job, submitter)) {
            return;
        }
        if self.ended.len() >= MANY {
            self.ended.pop_front();
        }
        self.ended.push_back((job, submitter));
    }

    /// Whether that submitter's job ended here not long ago.
    pub(super) fn is_over(&self, job: &JobId, submitter: &PeerId) -> bool {
        self.ended.contains(&(*job, *submitter))
    }

    /// Whether somebody is to be told because of this lease.
    pub(super) fn has(&self, lease: &LeaseId) -> bool {
        self.leases.contains(lease)
    }

    /// `peer` is here: the jobs that it is told to be over.
    pub(super) fn take(&mut self, peer: &PeerId, records: &mut Vec<Change>) -> BTreeSet<JobId> {
        let Some(debt) = self.peers.remove(peer) else { return BTreeSet::new() };
        for (job, lease) in &debt.leases {
            self.leases.remove(lease);
            records.push(Change::Delete(Key::handed(job, lease)));
        }
        debt.leases.into_iter().map(|(job, _)| job).collect()
    }

    /// Forgets those that have been away for very long: they have forgotten the job as well.
    pub(super) fn expire(&mut self, now: Timestamp, records: &mut Vec<Change>) {
        let old = |(_, debt): &(&PeerId, &Debt)| debt.since + RETENTION <= now;
        let gone: Vec<PeerId> = self.peers.iter().filter(old).map(|(peer, _)| *peer).collect();
        for peer in gone {
            self.take(&peer, records);
        }
    }
}
