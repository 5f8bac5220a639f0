//! Who may work below: what they are offered, what they take, and who gets nothing.

use alloc::{collections::btree_map::Entry, vec::Vec};

use super::{Demand, Effect, GRACE, IDLE, Relay, job::Job};
use crate::{
    entropy::Entropy,
    id::{JobId, LeaseId, PeerId},
    limits::MAX_FOREIGN_JOBS,
    pool,
    time::Timestamp,
    wire::{Cancel, Exclude, Frame, Offer},
};

/// Jobs that are known of all neighbours together.
const MANY_JOBS: usize = 16 * MAX_FOREIGN_JOBS;

/// A peer that may work below this one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Below {
    pub(super) slots: u32,
    pub(super) window: u32,
    /// Slots of it and those below it, as it says; 0 if it hands nothing on.
    pub(super) below: u32,
    /// When it last said that it is idle.
    pub(super) asked: Option<Timestamp>,
}

impl Relay {
    pub(super) fn up(&mut self, now: Timestamp, peer: PeerId, slots: u32) {
        let idle = |one: &Below| one.asked.is_some_and(|asked| now < asked + IDLE);
        if self.allowed && peer != self.me && !self.has_work() && self.below.values().any(idle) {
            // Somebody below waits for work: whoever comes may have some.
            self.out.effects.push(Effect::Send(peer, Frame::Ask));
        }
        self.below.insert(peer, Below { slots, window: 0, below: 0, asked: None });
        let over = self.untold.take(&peer, &mut self.out.records);
        for job in over.into_iter().filter(|job| !self.jobs.contains_key(job)) {
            let over = Frame::Cancel(Cancel { job, tasks: Vec::new() });
            self.out.effects.push(Effect::Send(peer, over));
        }
        // What it is to bring upstream, and what of its work is settled already.
        for job in self.jobs.values_mut() {
            job.upstream_up(&peer);
            job.reconnected(&peer, &mut self.out.effects);
            job.tell_route(now, None, &mut self.out.effects);
        }
        self.renewed = Timestamp(0);
    }

    pub(super) fn down(&mut self, now: Timestamp, peer: &PeerId) {
        self.below.remove(peer);
        self.offers.lose(peer);
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in ids {
            self.in_pool(now, &id, pool::Input::Left { worker: *peer });
            if let Some(job) = self.jobs.get_mut(&id) {
                job.left(now, peer);
                job.upstream_down(now, peer);
                job.tell_route(now, None, &mut self.out.effects);
            }
        }
        // What nobody offers any more and nothing is held or owed of is over for those below.
        let ends = |id: &&JobId| {
            !self.offers.is_offered(id) && self.jobs.get(*id).is_none_or(Job::has_nothing)
        };
        for id in self.offers.jobs().filter(ends).copied().collect::<Vec<JobId>>() {
            self.end(&id);
            self.offers.forget(&id);
        }
    }

    pub(super) fn offered(&mut self, now: Timestamp, peer: PeerId, offer: Offer) {
        // How many one neighbour offers is bounded where it is decided whether they are taken.
        if !self.allowed || (self.offers.len() >= MANY_JOBS && !self.offers.has(&offer.job)) {
            return;
        }
        let id = offer.job;
        if !self.offers.has(&id) && self.computes() {
            self.fresh.insert(id, now + GRACE);
        }
        self.offers.add(now, peer, offer);
        self.offer_idle(now, &id);
    }

    /// Whether this peer has slots of its own: then it is no volunteer server first of all.
    fn computes(&self) -> bool {
        self.below.get(&self.me).is_some_and(|own| own.slots > 0)
    }

    /// Offers a job to those below that are idle.
    pub(super) fn offer_idle(&mut self, now: Timestamp, id: &JobId) {
        let idle = |one: &Below| one.asked.is_some_and(|asked| now < asked + IDLE);
        let idle: Vec<PeerId> =
            self.below.iter().filter(|(_, one)| idle(one)).map(|(peer, _)| *peer).collect();
        for worker in idle {
            self.offer(now, worker, id);
        }
        self.engage_oneself(now);
    }

    pub(super) fn asked(&mut self, now: Timestamp, peer: PeerId) {
        let Some(below) = self.below.get_mut(&peer) else { return };
        below.asked = Some(now);
        let jobs: Vec<JobId> = self.offers.jobs().copied().collect();
        for job in jobs {
            self.offer(now, peer, &job);
        }
        self.engage_oneself(now);
    }

    /// Offers a job to a peer, unless that would lead it back to where it came from. What it takes of this
    /// peer is for this job as well: it says so anew only if that changes.
    fn offer(&mut self, now: Timestamp, peer: PeerId, id: &JobId) {
        let Some(offer) = self.offers.onward(id) else { return };
        let behind = self.offers.is_source(&peer, id) || peer == offer.submitter;
        let above = self.jobs.get(id).is_some_and(|job| job.is_above(&peer));
        let early = self.fresh.contains_key(id);
        if self.jobs.get(id).is_some_and(|job| job.excluded.contains(&peer)) {
            return;
        }
        if !self.allowed || early || above || behind {
            return;
        }
        self.out.effects.push(Effect::Send(peer, Frame::Offer(offer.clone())));
        if peer != self.me {
            let entropy = Entropy::new(&self.entropy.draw());
            let job = self.jobs.entry(*id).or_insert_with(|| Job::new(&offer, entropy));
            if !job.is_proven() {
                job.errand.submitter = offer.submitter;
            }
            if job.offered.insert(peer) && self.below.get(&peer).is_some_and(|one| one.window > 0) {
                self.admit(now, id, peer);
            }
        }
    }

    pub(super) fn credit(&mut self, now: Timestamp, peer: PeerId, tasks: u32, below: u32) {
        let Some(known) = self.below.get_mut(&peer) else { return };
        (known.window, known.below) = (tasks, below);
        if below > 0 {
            known.slots = below;
        }
        let offered = |(_, job): &(&JobId, &Job)| job.offered.contains(&peer);
        let ids: Vec<JobId> = self.jobs.iter().filter(offered).map(|(id, _)| *id).collect();
        for id in ids {
            self.admit(now, &id, peer);
        }
        self.engage_oneself(now);
    }

    /// Has a job's pool hand a peer as much as it takes.
    fn admit(&mut self, now: Timestamp, id: &JobId, peer: PeerId) {
        let Some(Below { slots, window, below, .. }) = self.below.get(&peer).copied() else {
            return;
        };
        self.join(now, id, peer, slots);
        self.in_pool(now, id, pool::Input::Credit { worker: peer, tasks: window, below });
        if let Some(job) = self.jobs.get_mut(id) {
            job.credit(now, peer, window, slots);
        }
    }

    /// Once anyone below takes work of a job, the own slots take their part of it from the same pool.
    fn engage_oneself(&mut self, now: Timestamp) {
        let own = self.below.get(&self.me).filter(|own| own.slots > 0).copied();
        let Some(own) = own else { return };
        let fresh = |(_, job): &(&JobId, &Job)| {
            let is_known = job.offered.contains(&self.me) || job.excluded.contains(&self.me);
            job.has_takers() && !is_known
        };
        let ids: Vec<JobId> = self.jobs.iter().filter(fresh).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(job) = self.jobs.get_mut(&id) {
                job.offered.insert(self.me);
            }
            self.offer(now, self.me, &id);
            self.credit(now, self.me, own.window, 0);
        }
    }

    /// Lets a peer into a job's pool.
    fn join(&mut self, now: Timestamp, id: &JobId, peer: PeerId, slots: u32) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        if let Entry::Vacant(place) = job.takers.entry(peer) {
            place.insert(Demand::default());
            self.out.effects.extend(job.route_for(now, &peer));
            if self.below.get(&peer).is_some_and(|one| one.below > 0) {
                self.out.effects.extend(job.exclusions(*id, &peer));
            }
            // For the pool they are like anybody: what they return settles no more than others' results.
            let joined = pool::Input::Joined { worker: peer, slots, own: false, reserved: false };
            self.in_pool(now, id, joined);
        }
    }

    pub(super) fn refused(&mut self, now: Timestamp, peer: &PeerId, id: &JobId) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        job.offered.remove(peer);
        job.left(now, peer);
        self.in_pool(now, id, pool::Input::Left { worker: *peer });
    }

    /// Gives workers nothing more of a job, and has those below do the same (spec RELAY-12). It is the
    /// submitter's to say; that a hop in between may say so too gives it no more than handing on nothing.
    pub(super) fn exclude(
        &mut self,
        now: Timestamp,
        source: &PeerId,
        Exclude { job: id, workers }: Exclude,
    ) {
        let offers = self.offers.is_source(source, &id);
        let Some(job) = self.jobs.get_mut(&id).filter(|job| offers || job.is_source(source)) else {
            return;
        };
        let fresh = job.exclude(workers);
        if fresh.is_empty() {
            return;
        }
        let relays = job.takers.keys().filter(|peer| *peer != source && !fresh.contains(peer));
        let relays = relays.filter(|peer| self.below.get(peer).is_some_and(|one| one.below > 0));
        let exclude = Exclude { job: id, workers: fresh.clone() };
        let tell = |peer: &PeerId| Effect::Send(*peer, Frame::Exclude(exclude.clone()));
        self.out.effects.extend(relays.map(tell));
        for worker in &fresh {
            self.shut_out(now, &id, worker);
        }
    }

    /// Takes what it has of a job from a worker.
    pub(super) fn shut_out(&mut self, now: Timestamp, id: &JobId, worker: &PeerId) {
        if self.jobs.get(id).is_some_and(|job| job.offered.contains(worker)) {
            let over = Cancel { job: *id, tasks: Vec::new() };
            self.out.effects.push(Effect::Send(*worker, Frame::Cancel(over)));
            self.refused(now, worker, id);
        }
    }

    pub(super) fn renew_below(&mut self, now: Timestamp, peer: PeerId, leases: &[LeaseId]) {
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in ids {
            let Some(job) = self.jobs.get(&id) else { continue };
            let known: Vec<LeaseId> =
                leases.iter().filter_map(|lease| job.in_pool(lease)).collect();
            for lease in known {
                self.in_pool(now, &id, pool::Input::Renewed { worker: peer, lease });
            }
        }
    }
}
