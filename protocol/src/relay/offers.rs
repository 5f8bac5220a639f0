//! Which jobs may be handed on, of whom they are to be had, and how far these stand from the submitter.
//!
//! Relays that know each other could offer each other a job for ever that is long over. So an offer says how
//! many relays stand between its sender and the submitter, as routes do in a distance vector (RFC 1058): a
//! ring that has lost the submitter counts up to the longest path that a lease may have, and falls silent.

use alloc::collections::BTreeMap;
use core::time::Duration;

use crate::{
    id::{JobId, PeerId},
    limits::MAX_PATH,
    time::Timestamp,
    wire::Offer,
};

/// A source other than the submitter that has neither offered a job nor given work of it for so long has
/// none. Whoever is idle below asks more often than that.
const STALE: Duration = Duration::from_secs(300);

/// Of whom a job is to be had.
#[derive(Debug)]
struct Source {
    /// Relays between it and the submitter.
    hops: u8,
    /// When it last offered the job, or gave work of it.
    heard: Timestamp,
}

#[derive(Debug)]
struct Known {
    offer: Offer,
    sources: BTreeMap<PeerId, Source>,
}

/// All jobs that were offered here.
#[derive(Debug, Default)]
pub(super) struct Offers {
    known: BTreeMap<JobId, Known>,
}

impl Offers {
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    pub(super) fn has(&self, job: &JobId) -> bool {
        self.known.contains_key(job)
    }

    pub(super) fn jobs(&self) -> impl Iterator<Item = &JobId> {
        self.known.keys()
    }

    /// A source offers a job. One so far from the submitter that nobody here could be given what comes from
    /// it does not count.
    pub(super) fn add(&mut self, now: Timestamp, source: PeerId, offer: Offer) {
        let (job, hops) = (offer.job, offer.hops);
        if usize::from(hops) + 1 >= MAX_PATH {
            return self.part(&source, &job);
        }
        let fresh = || Known { offer: offer.clone(), sources: BTreeMap::new() };
        let known = self.known.entry(job).or_insert_with(fresh);
        if known.offer.submitter != offer.submitter {
            // Somebody lies about whose it is. No work of it has come: that would have proven it.
            *known = fresh();
        }
        known.sources.insert(source, Source { hops, heard: now });
    }

    /// A source has given work of a job.
    pub(super) fn serves(&mut self, now: Timestamp, source: &PeerId, job: &JobId) {
        let known = self.known.get_mut(job);
        if let Some(source) = known.and_then(|known| known.sources.get_mut(source)) {
            source.heard = now;
        }
    }

    /// What may be offered to others: the job, one relay further away than it is to be had here.
    pub(super) fn onward(&self, job: &JobId) -> Option<Offer> {
        let known = self.known.get(job)?;
        let nearest = known.sources.values().map(|source| source.hops).min()?;
        Some(Offer { hops: nearest + 1, ..known.offer.clone() })
    }

    /// A source has the job no more.
    pub(super) fn part(&mut self, source: &PeerId, job: &JobId) {
        if let Some(known) = self.known.get_mut(job) {
            known.sources.remove(source);
        }
    }

    /// A source is gone.
    pub(super) fn lose(&mut self, source: &PeerId) {
        for known in self.known.values_mut() {
            known.sources.remove(source);
        }
    }

    /// Leaves out sources that say nothing any more, unless something is still held or owed of them, and jobs
    /// that nobody offers and that are not `known` here.
    pub(super) fn expire(
        &mut self,
        now: Timestamp,
        is_busy: impl Fn(&JobId, &PeerId) -> bool,
        is_known: impl Fn(&JobId) -> bool,
    ) {
        self.known.retain(|job, Known { offer, sources }| {
            sources.retain(|peer, one| {
                *peer == offer.submitter || now < one.heard + STALE || is_busy(job, peer)
            });
            !sources.is_empty() || is_known(job)
        });
    }

    pub(super) fn forget(&mut self, job: &JobId) {
        self.known.remove(job);
    }

    pub(super) fn sources(&self, job: &JobId) -> impl Iterator<Item = &PeerId> {
        self.known.get(job).into_iter().flat_map(|known| known.sources.keys())
    }

    pub(super) fn is_source(&self, peer: &PeerId, job: &JobId) -> bool {
        self.known.get(job).is_some_and(|known| known.sources.contains_key(peer))
    }

    /// Whether anybody offers the job.
    pub(super) fn is_offered(&self, job: &JobId) -> bool {
        self.sources(job).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: JobId = JobId([1; 32]);
    const NOW: Timestamp = Timestamp(1_000_000_000);

    fn peer(number: u8) -> PeerId {
        PeerId([number; 32])
    }

    fn offer(hops: u8) -> Offer {
        let profile = crate::task::PROFILE_V1.into();
        Offer { job: JOB, submitter: peer(1), profile, memory: 0, hops }
    }

    fn hops(offers: &Offers) -> Option<u8> {
        offers.onward(&JOB).map(|offer| offer.hops)
    }

    #[test]
    fn a_job_is_offered_from_one_relay_further_than_its_nearest_source() {
        let mut offers = Offers::default();
        assert_eq!(hops(&offers), None);
        offers.add(NOW, peer(2), offer(3));
        offers.add(NOW, peer(3), offer(1));
        assert_eq!(hops(&offers), Some(2));
        offers.lose(&peer(3));
        assert_eq!(hops(&offers), Some(4));
        offers.add(NOW, peer(2), offer(5));
        assert_eq!(hops(&offers), Some(6), "its last word counts");
    }

    #[test]
    fn two_that_have_the_job_of_each_other_alone_fall_silent() {
        let [mut one, mut other] = [Offers::default(), Offers::default()];
        one.add(NOW, peer(1), offer(0));
        one.add(NOW, peer(3), offer(2));
        one.lose(&peer(1));
        let mut told = 0;
        while let Some(onward) = one.onward(&JOB) {
            other.add(NOW, peer(2), onward);
            let Some(back) = other.onward(&JOB) else { break };
            one.add(NOW, peer(3), back);
            told += 1;
            assert!(told < MAX_PATH, "there is no end to it");
        }
        assert!(!one.is_offered(&JOB) || !other.is_offered(&JOB));
    }

    #[test]
    fn a_source_that_says_nothing_is_left_out_unless_the_job_is_its_own() {
        let mut offers = Offers::default();
        offers.add(NOW, peer(1), offer(0));
        offers.add(NOW, peer(2), offer(1));
        offers.add(NOW, peer(3), offer(1));
        let later = NOW + STALE / 2;
        offers.serves(later, &peer(3), &JOB);
        offers.expire(NOW + STALE, |_, _| false, |_| true);
        assert!(offers.sources(&JOB).eq([&peer(1), &peer(3)]));
        offers.expire(later + STALE, |_, source| *source == peer(3), |_| true);
        assert!(offers.sources(&JOB).eq([&peer(1), &peer(3)]), "work of it is still held");
        offers.expire(later + STALE, |_, _| false, |_| true);
        assert!(offers.sources(&JOB).eq([&peer(1)]));
        offers.part(&peer(1), &JOB);
        offers.expire(later, |_, _| false, |_| true);
        assert!(offers.has(&JOB));
        offers.expire(later, |_, _| false, |_| false);
        assert!(!offers.has(&JOB), "nobody offers it and nothing of it is here");
    }

    #[test]
    fn whose_a_job_is_may_be_said_anew_until_it_is_proven() {
        let mut offers = Offers::default();
        offers.add(NOW, peer(4), Offer { submitter: peer(4), ..offer(0) });
        offers.add(NOW, peer(2), offer(1));
        assert_eq!(offers.onward(&JOB).map(|one| one.submitter), Some(peer(1)));
        assert!(offers.sources(&JOB).eq([&peer(2)]));
    }
}
