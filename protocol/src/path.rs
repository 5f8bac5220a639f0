//! The way a lease came: who handed it to whom, each hop signed by its giver (spec RELAY-2).
//!
//! A hop binds a lease to the one it is a part of, to its receiver and to its tasks. So a chain of hops
//! proves, to whoever signed any of them, that a result belongs to a lease of theirs, whichever way the
//! result comes back; and a giver cannot deny what it handed on.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{
    cbor,
    crypto::{self, BadSignature, Domain, Keypair, Signature},
    id::{Hash, JobId, LeaseId, PeerId, TaskId},
    limits::MAX_PATH,
    merkle,
};

/// One handing over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// Who handed the lease over.
    #[serde(rename = "p")]
    pub giver: PeerId,
    /// The lease, as the giver named it.
    #[serde(rename = "l")]
    pub lease: LeaseId,
    /// [`root_of`] the lease's tasks.
    #[serde(rename = "r")]
    pub root: Hash,
    /// By the giver, over the canonical array {1, job, submitter, parent, lease, giver, receiver, root}.
    #[serde(rename = "s")]
    pub signature: Signature,
}

/// A job and whose it is: what all hops of a path share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Errand {
    /// The job.
    pub job: JobId,
    /// Whose it is.
    pub submitter: PeerId,
}

/// Hops from some peer of a path on, down to the worker: what is returned with results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trail {
    /// The lease that the first hop's giver had it from; null if that is the submitter.
    #[serde(rename = "u")]
    pub parent: Option<LeaseId>,
    /// The hops, nearest to the submitter first.
    #[serde(rename = "h")]
    pub hops: Vec<Hop>,
}

/// Why a path is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No hop, or more than may be.
    #[error("a path has 1 to 8 hops")]
    Length,
    /// It does not begin with the submitter.
    #[error("a path begins with the submitter")]
    Start,
    /// A peer is on it twice, or hands to itself.
    #[error("a path with a loop")]
    Loop,
    /// A hop is not signed by its giver for this job, lease and receiver.
    #[error("a hop of the path is not signed by its giver")]
    Signature,
}

impl From<BadSignature> for PathError {
    fn from(_: BadSignature) -> Self {
        Self::Signature
    }
}

/// Digest that binds a hop to its tasks: the Merkle root over their ids, in the lease's order.
pub fn root_of(tasks: impl Iterator<Item = TaskId>) -> Hash {
    let leaves: Vec<Hash> = tasks.map(|task| merkle::leaf(&task.0)).collect();
    merkle::root(&leaves).unwrap_or(Hash([0; 32]))
}

impl Errand {
    fn message(
        &self,
        hop: (&PeerId, &LeaseId, &Hash),
        parent: Option<LeaseId>,
        to: &PeerId,
    ) -> Vec<u8> {
        let (giver, lease, root) = hop;
        cbor::encode(&(1_u8, self.job, self.submitter, parent, lease, giver, to, root))
    }

    /// Hands `lease`, a part of `parent`, to `to`.
    pub fn hand(
        &self,
        key: &Keypair,
        parent: Option<LeaseId>,
        lease: LeaseId,
        to: &PeerId,
        tasks: impl Iterator<Item = TaskId>,
    ) -> Hop {
        let (giver, root) = (key.peer_id(), root_of(tasks));
        let message = self.message((&giver, &lease, &root), parent, to);
        Hop { giver, lease, root, signature: key.sign(Domain::Lease, &message) }
    }

    /// Checks the path that a lease came by, as its receiver.
    pub fn check_path(&self, path: &[Hop], to: &PeerId) -> Result<(), PathError> {
        if path.first().is_some_and(|first| first.giver != self.submitter) {
            return Err(PathError::Start);
        }
        self.check_hops(None, path, to)
    }

    /// Checks what a trail says for itself: that its hops are a chain to `worker`, each signed.
    pub fn check_trail(&self, trail: &Trail, worker: &PeerId) -> Result<(), PathError> {
        let begins = trail.hops.first().is_some_and(|first| first.giver == self.submitter);
        if begins != trail.parent.is_none() {
            return Err(PathError::Start);
        }
        self.check_hops(trail.parent, &trail.hops, worker)
    }

    fn check_hops(
        &self,
        parent: Option<LeaseId>,
        hops: &[Hop],
        worker: &PeerId,
    ) -> Result<(), PathError> {
        if hops.is_empty() || hops.len() > MAX_PATH {
            return Err(PathError::Length);
        }
        for (at, hop) in hops.iter().enumerate() {
            let last = at + 1 == hops.len();
            let to = hops.get(at + 1).map_or(worker, |next| &next.giver);
            // A peer's own slots are its own workers: only the last hop may end where it begins.
            let again = hops[at + 1..].iter().any(|later| later.giver == hop.giver);
            if again || (hop.giver == *to && !last) || (!last && hop.giver == *worker) {
                return Err(PathError::Loop);
            }
            let parent = if at == 0 { parent } else { Some(hops[at - 1].lease) };
            let message = self.message((&hop.giver, &hop.lease, &hop.root), parent, to);
            crypto::verify(&hop.giver, Domain::Lease, &message, &hop.signature)?;
        }
        Ok(())
    }
}

impl Trail {
    /// The lease at its end: that of the worker.
    pub fn lease(&self) -> Option<LeaseId> {
        self.hops.last().map(|hop| hop.lease)
    }

    /// Everyone that handed the lease on, nearest to the submitter first.
    pub fn givers(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.hops.iter().map(|hop| hop.giver)
    }

    /// The part below `peer`, for `peer` itself: it knows how the lease came to it. The whole trail for
    /// whom it does not lead through.
    pub fn below(&self, peer: &PeerId) -> Self {
        match self.hops.iter().position(|hop| hop.giver == *peer) {
            Some(at) => {
                Self { parent: Some(self.hops[at].lease), hops: self.hops[at + 1..].to_vec() }
            }
            None => self.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn key(seed: u8) -> Keypair {
        Keypair::from_seed(&[seed; 32])
    }

    fn id(seed: u8) -> PeerId {
        key(seed).peer_id()
    }

    fn errand() -> Errand {
        Errand { job: JobId([7; 32]), submitter: id(1) }
    }

    fn tasks() -> impl Iterator<Item = TaskId> {
        [TaskId([1; 32]), TaskId([2; 32])].into_iter()
    }

    /// 1 hands to 2, 2 to 3, 3 to 4.
    fn path() -> Vec<Hop> {
        let hand = |from: u8, to: u8| {
            let parent = (from > 1).then(|| LeaseId([from - 1; 32]));
            errand().hand(&key(from), parent, LeaseId([from; 32]), &id(to), tasks())
        };
        vec![hand(1, 2), hand(2, 3), hand(3, 4)]
    }

    #[test]
    fn a_path_holds_for_its_receiver_job_and_order_only() {
        assert_eq!(errand().check_path(&path(), &id(4)), Ok(()));
        assert_eq!(errand().check_path(&path(), &id(5)), Err(PathError::Signature));
        let other = Errand { job: JobId([8; 32]), ..errand() };
        assert_eq!(other.check_path(&path(), &id(4)), Err(PathError::Signature));
        assert_eq!(errand().check_path(&path()[1..], &id(4)), Err(PathError::Start));
        assert_eq!(errand().check_path(&[], &id(4)), Err(PathError::Length));
        let mut skipped = path();
        skipped.remove(1);
        assert_eq!(errand().check_path(&skipped, &id(4)), Err(PathError::Signature));
        for at in 0..3 {
            let mut bent = path();
            bent[at].root.0[0] ^= 1;
            assert_eq!(errand().check_path(&bent, &id(4)), Err(PathError::Signature), "hop {at}");
        }
    }

    #[test]
    fn loops_are_refused_and_own_slots_are_no_loop() {
        let mut looped = path();
        looped.push(errand().hand(
            &key(4),
            Some(LeaseId([3; 32])),
            LeaseId([4; 32]),
            &id(2),
            tasks(),
        ));
        looped.push(errand().hand(
            &key(2),
            Some(LeaseId([4; 32])),
            LeaseId([5; 32]),
            &id(6),
            tasks(),
        ));
        assert_eq!(errand().check_path(&looped, &id(6)), Err(PathError::Loop));
        assert_eq!(errand().check_path(&looped[..4], &id(2)), Err(PathError::Loop));
        let own = errand().hand(&key(1), None, LeaseId([1; 32]), &id(1), tasks());
        assert_eq!(errand().check_path(&[own], &id(1)), Ok(()));
        let mut own = path();
        own.push(errand().hand(&key(4), Some(LeaseId([3; 32])), LeaseId([9; 32]), &id(4), tasks()));
        assert_eq!(errand().check_path(&own, &id(4)), Ok(()));
    }

    #[test]
    fn a_path_has_eight_hops_at_most() {
        let mut long = vec![errand().hand(&key(1), None, LeaseId([1; 32]), &id(2), tasks())];
        for from in 2..=9_u8 {
            let parent = Some(LeaseId([from - 1; 32]));
            long.push(errand().hand(
                &key(from),
                parent,
                LeaseId([from; 32]),
                &id(from + 1),
                tasks(),
            ));
        }
        assert_eq!(errand().check_path(&long[..8], &id(9)), Ok(()));
        assert_eq!(errand().check_path(&long, &id(10)), Err(PathError::Length));
    }

    #[test]
    fn a_trail_is_cut_for_whoever_is_on_it() {
        let whole = Trail { parent: None, hops: path() };
        assert_eq!(errand().check_trail(&whole, &id(4)), Ok(()));
        let cut = whole.below(&id(2));
        assert_eq!((cut.parent, cut.hops.len()), (Some(LeaseId([2; 32])), 1));
        assert_eq!(errand().check_trail(&cut, &id(4)), Ok(()));
        assert_eq!(whole.below(&id(9)), whole);
        let elsewhere = Trail { parent: Some(LeaseId([9; 32])), ..cut };
        assert_eq!(errand().check_trail(&elsewhere, &id(4)), Err(PathError::Signature));
        let headless = Trail { parent: Some(LeaseId([9; 32])), ..whole };
        assert_eq!(errand().check_trail(&headless, &id(4)), Err(PathError::Start));
    }
}
