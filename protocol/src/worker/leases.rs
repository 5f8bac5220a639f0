//! Offers and leases of others: which are taken, what becomes of their tasks, when they are let go.

use alloc::{collections::BTreeSet, string::String, sync::Arc, vec::Vec};

use super::{Effect, Foreign, Held, Neighbour, STALE, Worker, of};
use crate::{
    id::{JobId, LeaseId, PeerId, TaskId},
    limits::{MAX_CREDIT, MAX_FOREIGN_JOBS, RETENTION},
    record::{Change, Record},
    task,
    time::Timestamp,
    wire::{Cancel, Frame, Lease, LeasedTask, Offer, Reason, Refuse, Renew},
};

impl Worker {
    pub(super) fn offered(&mut self, now: Timestamp, peer: PeerId, offer: &Offer) {
        let Some(neighbour) = self.neighbours.get(&peer) else { return };
        if let Err(reason) = self.lending.takes(neighbour.proximity, &offer.profile, offer.memory) {
            return self.refuse(peer, Some(offer.job), reason);
        }
        if neighbour.offers.len() >= MAX_FOREIGN_JOBS && !neighbour.offers.contains_key(&offer.job)
        {
            return self.refuse(peer, Some(offer.job), Reason::Busy);
        }
        if self.is_expected(now, &peer, offer) {
            return self.refuse(peer, Some(offer.job), Reason::Elsewhere);
        }
        // A job is taken of one source at a time, whichever serves it better.
        if let Some(rival) = self.rival(now, &peer, offer) {
            if !self.is_better(&peer, &rival, offer) {
                return self.refuse(peer, Some(offer.job), Reason::Elsewhere);
            }
            self.part(rival, offer.job);
        }
        if let Some(neighbour) = self.neighbours.get_mut(&peer) {
            neighbour.offers.entry(offer.job).or_insert(now);
            self.in_vain = 0;
        }
    }

    pub(super) fn leased(&mut self, now: Timestamp, peer: PeerId, lease: Lease, hand_on: bool) {
        let Some(neighbour) = self.neighbours.get(&peer) else { return };
        if let Err(reason) = self.lending.takes(
            neighbour.proximity,
            &lease.program.profile,
            lease.program.limits.memory,
        ) {
            return self.refuse(peer, Some(lease.job), reason);
        }
        if let Err(fault) = self.check(&peer, &lease) {
            return self.out.effects.push(Effect::Violation(peer, fault));
        }
        // What was refused may have been leased before that was heard: nobody waits for it any more.
        match self.neighbours.get_mut(&peer).and_then(|one| one.offers.get_mut(&lease.job)) {
            Some(served) => *served = now,
            None => return self.refuse(peer, Some(lease.job), Reason::Elsewhere),
        }
        let is_known = self.jobs.contains_key(&(peer, lease.job));
        if !is_known && self.jobs.len() >= MAX_FOREIGN_JOBS {
            self.make_room(now);
        }
        if self.jobs.len() >= MAX_FOREIGN_JOBS && !self.jobs.contains_key(&(peer, lease.job)) {
            return self.refuse(peer, Some(lease.job), Reason::Busy);
        }
        self.out.records.push(Change::Put(Record::Held { source: peer, lease: lease.clone() }));
        if hand_on {
            return self.out.effects.push(Effect::HandOn(peer, lease));
        }
        self.take(now, peer, lease);
    }

    /// What the lease of an honest source has.
    fn check(&self, peer: &PeerId, lease: &Lease) -> Result<(), &'static str> {
        let refuse = |is_wrong: bool, fault| if is_wrong { Err(fault) } else { Ok(()) };
        let (first, last) = (lease.path.first(), lease.path.last());
        let loops = *peer != self.me && lease.path.iter().any(|hop| hop.giver == self.me);
        let begins = first.is_some_and(|hop| hop.giver == lease.submitter);
        let ends = last.is_some_and(|hop| hop.giver == *peer && hop.lease == lease.lease);
        refuse(loops || !begins || !ends, "a lease with an impossible path")?;
        let named = |task: &LeasedTask| lease.program.task_id(&task.input.hash()) == task.task;
        let all_named = lease.tasks.iter().all(named);
        refuse(!all_named, "a lease whose task ids are not its tasks'")?;
        let of_peer = self.jobs.range(of(*peer));
        let held: usize = of_peer.map(|(_, job)| job.queue.len()).sum();
        let most = 2 * MAX_CREDIT as usize;
        refuse(held + lease.tasks.len() > most, "more tasks than credit was given for")?;
        let distinct: BTreeSet<TaskId> = lease.tasks.iter().map(|task| task.task).collect();
        let mut twice = distinct.len() < lease.tasks.len();
        if let Some(known) = self.jobs.get(&(*peer, lease.job)) {
            let is_others = known.submitter.is_some_and(|known| known != lease.submitter);
            refuse(is_others, "a lease of a job that was another submitter's")?;
            let differs = known.program.as_deref().is_some_and(|known| *known != lease.program);
            refuse(differs, "a lease whose program is not its job's")?;
            twice |= known.has_lease(&lease.lease);
        }
        refuse(twice, "a lease or task that is given twice")
    }

    /// Queues a lease's tasks and asks for the blobs they need.
    pub(super) fn take(&mut self, now: Timestamp, peer: PeerId, lease: Lease) {
        let job = self.jobs.entry((peer, lease.job)).or_insert_with(|| Foreign::new(now));
        job.note_share(&lease);
        job.came_by(&lease);
        let program = job.program.get_or_insert_with(|| Arc::new(lease.program.clone())).clone();
        let mut needs = Vec::from([(program.module, program.module_len)]);
        needs.extend(program.data.iter().map(|file| (file.hash, file.len)));
        let (delivered, queued) = (job.delivered(), job.queued());
        let mut count = 0;
        for task in lease.tasks {
            if let task::Input::Blob { hash, len } = task.input {
                needs.push((hash, len));
            }
            let held = Held {
                task: task.task,
                lease: lease.lease,
                submitter: lease.submitter,
                input: task.input,
            };
            let runs = self.running.values_mut().find(|one| {
                one.source == peer && one.job == lease.job && one.held.task == held.task
            });
            if let Some(running) = runs {
                job.release(&running.held.lease, &mut self.out.records, peer);
                running.held.lease = lease.lease;
                count += 1;
            } else if !delivered.contains(&held.task) {
                if queued.contains(&held.task) {
                    job.move_task(held, &mut self.out.records, peer);
                } else {
                    job.queue.push_back(held);
                }
                count += 1;
            }
        }
        job.hold(lease.lease, count, &mut self.out.records, peer);
        for (hash, len) in needs {
            self.want(hash, len, peer);
        }
    }

    /// A source no longer wants work. A submitter ends its job whoever it came through.
    pub(super) fn cancelled(&mut self, peer: PeerId, cancel: &Cancel) {
        if cancel.tasks.is_empty() {
            let through = |((source, job), foreign): &(&(PeerId, JobId), &Foreign)| {
                *job == cancel.job && *source != peer && foreign.submitter == Some(peer)
            };
            let sources = self.jobs.iter().filter(through).map(|((source, _), _)| *source);
            for source in sources.collect::<Vec<PeerId>>() {
                self.let_go(source, cancel);
            }
        }
        self.let_go(peer, cancel);
    }

    /// Stops working on what a source no longer wants.
    fn let_go(&mut self, peer: PeerId, cancel: &Cancel) {
        let key = (peer, cancel.job);
        let over = cancel.tasks.is_empty();
        let hit: Vec<u64> = self
            .running
            .iter()
            .filter(|(_, one)| one.source == peer && one.job == cancel.job)
            .filter(|(_, one)| over || cancel.tasks.contains(&one.held.task))
            .map(|(attempt, _)| *attempt)
            .collect();
        for attempt in hit {
            if let Some(running) = self.running.remove(&attempt)
                && let Some(job) = self.jobs.get_mut(&key)
            {
                job.release(&running.held.lease, &mut self.out.records, peer);
            }
            self.out.effects.push(Effect::Kill(attempt));
        }
        if over {
            if let Some(neighbour) = self.neighbours.get_mut(&peer) {
                neighbour.offers.remove(&cancel.job);
            }
            if let Some(job) = self.jobs.remove(&key) {
                job.forget(&mut self.out.records, peer, cancel.job);
            }
            self.forget_blobs();
        } else if let Some(job) = self.jobs.get_mut(&key) {
            job.drop_tasks(&cancel.tasks, &mut self.out.records, peer);
        }
    }

    pub(super) fn renew(&mut self) {
        for (peer, _) in self.neighbours.iter().filter(|(_, n)| n.connected) {
            let of_peer = self.jobs.range(of(*peer));
            let leases: Vec<LeaseId> = of_peer.flat_map(|(_, job)| job.leases()).collect();
            for some in leases.chunks(crate::limits::MAX_LEASE_TASKS) {
                let frame = Frame::Renew(Renew { leases: some.to_vec() });
                self.out.effects.push(Effect::Send(*peer, frame));
            }
        }
    }

    /// Lets go of unbegun work of sources that have been away for long, and of results of those that
    /// have been away for very long.
    pub(super) fn expire(&mut self, now: Timestamp) {
        for ((source, _), job) in &mut self.jobs {
            let away = |n: &Neighbour| !n.connected && n.seen + STALE <= now;
            if self.neighbours.get(source).is_some_and(away) {
                job.shed(0, &mut self.out.records, *source);
            }
        }
        let gone: Vec<PeerId> = self
            .neighbours
            .iter()
            .filter(|(_, n)| !n.connected && n.seen + RETENTION <= now)
            .map(|(peer, _)| *peer)
            .collect();
        for peer in gone {
            self.drop_source(peer);
        }
    }

    /// Forgets a source that is away, with its work and results.
    pub(super) fn drop_source(&mut self, peer: PeerId) {
        let jobs: Vec<JobId> = self.jobs.range(of(peer)).map(|((_, job), _)| *job).collect();
        for job in jobs {
            self.cancelled(peer, &Cancel { job, tasks: Vec::new() });
        }
        self.neighbours.remove(&peer);
    }

    /// Makes room for one more job: results of whoever has been away the longest give way to work of
    /// somebody who is there. Otherwise a few sources that come and go could take all the room.
    pub(super) fn make_room(&mut self, now: Timestamp) {
        self.jobs.retain(|_, job| !job.is_over());
        if self.jobs.len() < MAX_FOREIGN_JOBS {
            return;
        }
        let away = |(_, n): &(&PeerId, &Neighbour)| !n.connected && n.seen + STALE <= now;
        let longest = self.neighbours.iter().filter(away).min_by_key(|(_, n)| n.seen);
        if let Some(peer) = longest.map(|(peer, _)| *peer) {
            self.drop_source(peer);
        }
    }

    pub(super) fn refuse(&mut self, peer: PeerId, job: Option<JobId>, reason: Reason) {
        let frame = Frame::Refuse(Refuse { job, reason, text: String::new() });
        self.out.effects.push(Effect::Send(peer, frame));
    }
}
