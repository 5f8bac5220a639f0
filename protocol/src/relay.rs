//! Work taken in bulk and handed on: what a peer does for the peers below it.
//!
//! A relay is a worker whose engine is other peers. What it leases from upstream goes into the same
//! `pool` that a submitter's tasks are in; the peers below it, and its own slots, lease from there. Their
//! results keep their signatures and go upstream in batches, with the way that each lease came; what the
//! submitter acknowledges goes back down. The machine decides nothing about whether a result is right.
//!
//! | file | subject |
//! |---|---|
//! | `job` | one job's tasks: leased from upstream, handed on |
//! | `offers` | which jobs are to be had, of whom, how far from the submitter |
//! | `below` | who may work below: what they are offered and take |
//! | `arrivals` | leases whose blobs are still on the way |
//! | `bundles` | results on their way up |
//! | `restart` | what is taken back from the store |
//! | `untold` | jobs that are over, and who is to hear of it once it is there again |

mod arrivals;
mod below;
mod bundles;
mod job;
mod offers;
mod restart;
mod untold;

#[cfg(test)]
mod tests;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    vec::Vec,
};
use core::time::Duration;

use crate::{
    batch::Batch,
    crypto::Keypair,
    entropy::Entropy,
    id::{Hash, JobId, LeaseId, PeerId},
    limits::{MAX_LEASE_TASKS, RENEW},
    path::{Errand, Trail},
    pool,
    result::{Ack, VerifiedBatch},
    time::Timestamp,
    wire::{Cancel, Exclude, Frame, Lease, Offer, Reason, Refuse, Renew, Route},
};
use below::Below;
pub use bundles::{PATIENCE, patience, way_round};
use job::Job;
use offers::Offers;
pub use restart::is_part_of;
use untold::Untold;

/// A peer that asked for work is thought idle for this long.
const IDLE: Duration = Duration::from_secs(250);
/// Work that a relay would like to hold, in windows of those below it: a store for when the link is slow.
const BULK: u32 = 8;
/// A peer that computes itself offers a job below so much later than it was offered it: who is about to
/// meet the submitter takes it from there, and its results depend on nobody.
const GRACE: Duration = Duration::from_secs(2);
/// Without anyone below that takes work, what is held is given back after this long.
const ALONE: Duration = Duration::from_secs(5);

/// A job that nobody offers and nothing is left of here is over after this long.
const FORSAKEN: Duration = Duration::from_secs(60);

/// What happens to the relay.
#[derive(Debug, Clone)]
pub enum Input {
    /// A peer is connected; this one's own slots are, too.
    Up {
        /// Who.
        peer: PeerId,
        /// Tasks that it computes at once.
        slots: u32,
    },
    /// A peer is gone.
    Down {
        /// Who.
        peer: PeerId,
    },
    /// A peer is idle and asks for work.
    Asked {
        /// Who.
        peer: PeerId,
    },
    /// How many tasks a peer may hold.
    Credit {
        /// Who.
        peer: PeerId,
        /// Tasks, for each job.
        tasks: u32,
        /// Tasks computed at once by it and those below it; 0 if it hands nothing on.
        below: u32,
    },
    /// A peer takes no work of a job.
    Refused {
        /// Who.
        peer: PeerId,
        /// Which job.
        job: JobId,
    },
    /// A peer still works on these leases.
    Renew {
        /// Who.
        peer: PeerId,
        /// Which.
        leases: Vec<LeaseId>,
    },
    /// A source has work that may be handed on.
    Offered {
        /// Who.
        peer: PeerId,
        /// What.
        offer: Offer,
    },
    /// Work of a job is taken of that source no more.
    Parted {
        /// Who.
        peer: PeerId,
        /// Which job.
        job: JobId,
    },
    /// A source hands over tasks that are to be handed on; path and ids have been checked.
    Lease {
        /// Who.
        peer: PeerId,
        /// What.
        lease: Lease,
    },
    /// A source no longer wants work.
    Cancel {
        /// Who.
        peer: PeerId,
        /// What.
        cancel: Cancel,
    },
    /// A source says who gets no more of a job.
    Exclude {
        /// Who.
        peer: PeerId,
        /// What.
        exclude: Exclude,
    },
    /// This peer has itself found a worker out.
    Banned {
        /// Whom.
        worker: PeerId,
    },
    /// The submitter has stored a batch; its signature has been checked.
    Ack {
        /// Who brought its word.
        from: PeerId,
        /// Its word.
        ack: Ack,
    },
    /// Results from below, with the trails of those that did not come from their worker under a lease
    /// of this peer's. The batch has been checked, trails have not.
    Results {
        /// Who sent them.
        from: PeerId,
        /// What.
        batch: VerifiedBatch,
        /// The ways of their leases.
        trails: Vec<Trail>,
    },
    /// A source tells how it is connected towards the submitter.
    Route {
        /// Who.
        peer: PeerId,
        /// What.
        route: Route,
    },
    /// An output that was to be fetched is here, or is not to be had.
    Blob {
        /// Which.
        hash: Hash,
        /// Whether it is here.
        here: bool,
    },
    /// Time passed.
    Tick,
}

/// What the relay wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Say this to that peer.
    Send(PeerId, Frame),
    /// Get this blob from that peer.
    Fetch {
        /// Which.
        hash: Hash,
        /// Its length.
        len: u64,
        /// From whom.
        from: PeerId,
    },
    /// The peer broke the protocol in this way.
    Violation(PeerId, &'static str),
    /// This peer is to be reached, to bring results to it.
    Reach(PeerId),
    /// A hop brought results to the submitter and its word back, or did not.
    Hop {
        /// Who.
        peer: PeerId,
        /// How.
        outcome: HopOutcome,
    },
}

/// What became of something that was given to a hop to pass on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HopOutcome {
    /// The submitter acknowledged it.
    Delivered,
    /// It had to be brought round the hop.
    Dropped,
}

/// What a relay would take of one source for those below it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demand {
    /// Tasks that it would hold.
    pub tasks: u32,
    /// Tasks that are computed at once below it.
    pub slots: u32,
}

/// The machine. See the module's head for what it decides.
pub struct Relay {
    key: Keypair,
    me: PeerId,
    entropy: Entropy,
    /// Whether work is handed on at all.
    allowed: bool,
    below: BTreeMap<PeerId, Below>,
    /// Jobs that sources have offered, and by whom.
    offers: Offers,
    /// Jobs that are not offered below yet, and when they are.
    fresh: BTreeMap<JobId, Timestamp>,
    jobs: BTreeMap<JobId, Job>,
    /// Whom it still has to tell that jobs are over.
    untold: Untold,
    /// Blobs known to be here.
    here: BTreeSet<Hash>,
    renewed: Timestamp,
    out: Batch<Effect>,
}

impl Relay {
    /// A relay with nothing to do; one that is not `allowed` never has.
    pub fn new(key: Keypair, allowed: bool, entropy: Entropy) -> Self {
        Self {
            me: key.peer_id(),
            key,
            entropy,
            allowed,
            below: BTreeMap::new(),
            offers: Offers::default(),
            fresh: BTreeMap::new(),
            jobs: BTreeMap::new(),
            untold: Untold::default(),
            here: BTreeSet::new(),
            renewed: Timestamp(0),
            out: Batch::default(),
        }
    }

    /// Takes one input and says what is to be stored and done.
    pub fn step(&mut self, now: Timestamp, input: Input) -> Batch<Effect> {
        match input {
            Input::Up { peer, slots } => self.up(now, peer, slots),
            Input::Down { peer } => self.down(now, &peer),
            Input::Asked { peer } => self.asked(now, peer),
            Input::Credit { peer, tasks, below } => self.credit(now, peer, tasks, below),
            Input::Refused { peer, job } => self.refused(now, &peer, &job),
            Input::Renew { peer, leases } => self.renew_below(now, peer, &leases),
            Input::Offered { peer, offer } => self.offered(now, peer, offer),
            Input::Parted { peer, job } => self.offers.part(&peer, &job),
            Input::Lease { peer, lease } => {
                self.offers.serves(now, &peer, &lease.job);
                self.leased(now, peer, lease);
            }
            Input::Cancel { peer, cancel } => self.cancelled(now, &peer, &cancel),
            Input::Exclude { peer, exclude } => self.exclude(now, &peer, exclude),
            Input::Banned { worker } => {
                let ids: Vec<JobId> = self.jobs.keys().copied().collect();
                for id in ids {
                    self.shut_out(now, &id, &worker);
                }
            }
            Input::Ack { from, ack } => self.acked(now, &from, &ack),
            Input::Results { from, batch, trails } => self.results(now, from, &batch, &trails),
            Input::Route { peer, route } => self.routed(now, &peer, &route),
            Input::Blob { hash, here } => {
                self.arrive(now, &hash, here);
                self.blob(now, &hash, here);
            }
            Input::Tick => self.tick(now),
        }
        self.deliver(now);
        core::mem::take(&mut self.out)
    }

    /// When the relay next wants a tick, and what for.
    pub fn next_wake(&self) -> Option<(Timestamp, &'static str)> {
        let renew =
            (!self.jobs.is_empty()).then(|| (self.renewed + RENEW, "lease renewal upstream"));
        let fresh = self.fresh.values().min().map(|at| (*at, "a job to hand on"));
        self.jobs.values().filter_map(Job::next_wake).chain(renew).chain(fresh).min()
    }

    /// Whether a lease of `job` goes to those below.
    pub fn hands_on(&self, job: &JobId) -> bool {
        self.jobs.get(job).is_some_and(|job| job.has_takers())
    }

    /// Whether the job passes through here.
    pub fn knows(&self, job: &JobId) -> bool {
        self.jobs.contains_key(job)
    }

    /// Whether that submitter's job is known to be over: whoever still has results of it may forget them.
    pub fn has_ended(&self, job: &JobId, submitter: &PeerId) -> bool {
        self.untold.is_over(job, submitter) && !self.knows(job)
    }

    /// Whose the job is that passes through here.
    pub fn errand(&self, job: &JobId) -> Option<Errand> {
        self.jobs.get(job).map(|job| job.errand)
    }

    /// Whose the job is, once work of it has come: its path is signed.
    pub fn proven_submitter(&self, job: &JobId) -> Option<PeerId> {
        self.jobs.get(job).filter(|job| job.is_proven()).map(|job| job.errand.submitter)
    }

    /// Jobs that pass through here.
    pub fn jobs(&self) -> impl Iterator<Item = &JobId> {
        self.jobs.keys()
    }

    /// Whether there is work to hand on.
    pub fn has_work(&self) -> bool {
        self.jobs.values().any(|job| job.held().next().is_some())
    }

    /// The window that `peer` gave, and the slots below it.
    pub fn window_of(&self, peer: &PeerId) -> Option<(u32, u32)> {
        self.below.get(peer).map(|one| (one.window, one.below))
    }

    /// Whether `output` belongs to a result that is on its way up: whoever takes it may have it.
    pub fn owes(&self, output: &Hash) -> bool {
        self.jobs.values().any(|job| job.owes(output))
    }

    /// Whether tasks that are handed on need `hash`: what may be handed on may be given on.
    pub fn shares(&self, hash: &Hash) -> bool {
        self.jobs.values().any(|job| job.blobs().any(|blob| blob == *hash))
    }

    /// Every blob that something here needs: work held, results on their way.
    pub fn needed(&self) -> impl Iterator<Item = Hash> + '_ {
        self.jobs.values().flat_map(|job| job.blobs().chain(job.bundles.outputs()))
    }

    /// What is wanted of each source for those below.
    pub fn demands(&self) -> BTreeMap<PeerId, Demand> {
        let mut demands: BTreeMap<PeerId, Demand> = BTreeMap::new();
        for (id, job) in &self.jobs {
            let Demand { tasks, slots } = job.demand(&self.me);
            let many = u32::try_from(self.offers.sources(id).count()).unwrap_or(1).max(1);
            for source in self.offers.sources(id) {
                let demand = demands.entry(*source).or_default();
                demand.tasks =
                    demand.tasks.saturating_add(tasks.saturating_mul(BULK).div_ceil(many));
                // Mostly the same peers take work of all its jobs.
                demand.slots = demand.slots.max(slots);
            }
        }
        demands
    }

    /// Tasks computed at once by those below, each counted once; for adverts.
    pub fn slots_below(&self) -> u32 {
        let active: BTreeSet<PeerId> =
            self.jobs.values().flat_map(Job::takers).filter(|peer| *peer != self.me).collect();
        active
            .iter()
            .filter_map(|peer| self.below.get(peer))
            .fold(0, |sum, one| sum.saturating_add(one.slots))
    }

    fn cancelled(&mut self, now: Timestamp, peer: &PeerId, cancel: &Cancel) {
        let id = cancel.job;
        if cancel.tasks.is_empty() {
            self.offers.part(peer, &id);
            if !self.offers.is_offered(&id) {
                self.offers.forget(&id);
            }
            let Some(job) = self.jobs.get_mut(&id) else {
                // Perhaps it was forgotten here before all those below had heard that it is over.
                return self.untold.note(id, *peer);
            };
            // The submitter ends it all; a source between ends what came from it.
            if job.errand.submitter == *peer || (job.is_source(peer) && !job.has_other_source(peer))
            {
                for (peer, lease) in job.workers() {
                    if self.below.contains_key(&peer) {
                        continue;
                    }
                    self.untold.owe(now, peer, id, lease);
                }
                self.untold.note(id, job.errand.submitter);
                self.end(&id);
            } else if job.is_source(peer) {
                let (_, wants) = job.surrender(Some(peer), &mut self.out.records);
                self.in_pool(now, &id, pool::Input::Wanted(wants));
            }
            return;
        }
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.drop_arriving(peer, &cancel.tasks, &mut self.out.records);
        if let Some(input) = job.drop_tasks(peer, &cancel.tasks, &mut self.out.records) {
            self.in_pool(now, &id, input);
        }
    }

    fn end(&mut self, id: &JobId) {
        let Some(job) = self.jobs.remove(id) else { return };
        let over = Frame::Cancel(Cancel { job: *id, tasks: Vec::new() });
        // Those as well that had work before a restart and may still have results for it, the own slots not
        // least: they never meet this peer anew.
        let told: BTreeSet<PeerId> =
            job.offered.iter().copied().chain(job.workers().into_keys()).collect();
        let send = |peer| Effect::Send(peer, over.clone());
        self.out.effects.extend(told.into_iter().map(send));
        self.offers.forget(id);
        let untold = &self.untold;
        job.forget(*id, |lease| untold.has(lease), &mut self.out.records);
    }

    fn routed(&mut self, now: Timestamp, peer: &PeerId, route: &Route) {
        if let Some(job) = self.jobs.get_mut(&route.job) {
            job.tell_route(now, Some((*peer, route.away_ms)), &mut self.out.effects);
        }
    }

    fn tick(&mut self, now: Timestamp) {
        let due = self.fresh.iter().filter(|(_, at)| **at <= now);
        for id in due.map(|(id, _)| *id).collect::<Vec<JobId>>() {
            self.fresh.remove(&id);
            self.offer_idle(now, &id);
        }
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in &ids {
            self.in_pool(now, id, pool::Input::Tick);
            self.give_back(now, id);
        }
        if self.renewed + RENEW <= now {
            self.renewed = now;
            for (id, job) in &mut self.jobs {
                job.bundles.expire(now, *id, &mut self.out.records);
            }
            self.untold.expire(now, &mut self.out.records);
            self.renew_upstream();
            self.end_forsaken(now);
        }
    }

    /// What nobody offers any more and nothing is held or owed of is over for those below, be it that its
    /// source ended it without a word to this peer.
    fn end_forsaken(&mut self, now: Timestamp) {
        let jobs = &self.jobs;
        let is_busy =
            |id: &JobId, peer: &PeerId| jobs.get(id).is_some_and(|job| job.is_busy_for(peer));
        self.offers.expire(now, is_busy, |id| jobs.contains_key(id));
        let offers = &self.offers;
        let forsaken = |(id, job): (&JobId, &mut Job)| {
            job.is_forsaken(now, offers.is_offered(id), FORSAKEN).then_some(*id)
        };
        let over: Vec<JobId> = self.jobs.iter_mut().filter_map(forsaken).collect();
        over.iter().for_each(|id| self.end(id));
    }

    /// Says upstream that what is held is still being worked on.
    fn renew_upstream(&mut self) {
        let mut leases: BTreeMap<PeerId, Vec<LeaseId>> = BTreeMap::new();
        for job in self.jobs.values() {
            for (source, lease) in job.held() {
                leases.entry(source).or_default().push(lease);
            }
        }
        for (source, leases) in leases {
            for some in leases.chunks(MAX_LEASE_TASKS) {
                let frame = Frame::Renew(Renew { leases: some.to_vec() });
                self.out.effects.push(Effect::Send(source, frame));
            }
        }
    }

    /// What nobody here takes is not kept from others.
    fn give_back(&mut self, now: Timestamp, id: &JobId) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        if job.is_stranded(now, ALONE) {
            let (sources, wants) = job.surrender(None, &mut self.out.records);
            self.in_pool(now, id, pool::Input::Wanted(wants));
            for source in sources {
                let refuse = Refuse { job: Some(*id), reason: Reason::Busy, text: String::new() };
                self.out.effects.push(Effect::Send(source, Frame::Refuse(refuse)));
                self.offers.part(&source, id);
            }
        }
        if self.jobs.get(id).is_some_and(Job::is_idle)
            && let Some(job) = self.jobs.remove(id)
        {
            job.forget(*id, |_| false, &mut self.out.records);
        }
    }

    /// Lets a job's pool take one input, and carries out what it wants.
    fn in_pool(&mut self, now: Timestamp, id: &JobId, input: pool::Input) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        for effect in job.pool.step(now, input) {
            match effect {
                pool::Effect::Lease { worker, lease, tasks } => {
                    let leases = job.hand(
                        &self.key,
                        &mut self.entropy,
                        worker,
                        lease,
                        &tasks,
                        &mut self.out,
                    );
                    let send = |lease| Effect::Send(worker, Frame::Lease(lease));
                    self.out.effects.extend(leases.into_iter().map(send));
                }
                pool::Effect::Cancel { worker, tasks } => {
                    let tasks = tasks.iter().filter_map(|index| job.task_id(*index)).collect();
                    let frame = Frame::Cancel(Cancel { job: *id, tasks });
                    self.out.effects.push(Effect::Send(worker, frame));
                }
            }
        }
    }
}
