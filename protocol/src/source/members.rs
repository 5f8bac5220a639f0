//! Who takes part in a job: peers that come and go, and the submitter's own slots when those do not
//! suffice.

use super::{Effect, LOOK, Source};
use crate::{
    id::PeerId, job::Local, limits::MAX_LEASE_TASKS, offer::Prefix, pool, record::JobState,
    standing::Standings, time::Timestamp, verify::About, wire::Frame,
};

impl Source {
    pub(super) fn join(
        &mut self,
        now: Timestamp,
        worker: PeerId,
        slots: u32,
        prefix: Prefix,
        standings: &mut Standings,
    ) {
        let own = worker == self.me;
        let stats = self.workers.entry(worker).or_default();
        stats.connected = true;
        (stats.slots, stats.prefix) = (slots, prefix);
        // Own slots in reserve check and referee from the start, where the policy has a use for that.
        let idle = match self.manifest.local {
            Local::Always => false,
            Local::Reserve => !self.manifest.policy.checks(),
            Local::Never => true,
        };
        let waits = own && idle;
        if self.state != JobState::Running {
            return self.out.effects.push(Effect::Send(worker, self.over()));
        }
        for tasks in self.pool.stale(&worker).chunks(MAX_LEASE_TASKS) {
            let frame = self.cancel_frame(tasks);
            self.out.effects.push(Effect::Send(worker, frame));
        }
        if !waits && !self.is_held() && !self.verifier.is_excluded(&worker) {
            let reserved = own && self.manifest.local == Local::Reserve;
            self.enter(now, worker, reserved, standings);
        }
    }

    /// Lets a connected worker into the pool and offers it the job.
    pub(super) fn enter(
        &mut self,
        now: Timestamp,
        worker: PeerId,
        reserved: bool,
        standings: &mut Standings,
    ) {
        let Some(stats) = self.workers.get_mut(&worker) else { return };
        (stats.joined, stats.reserved) = (true, reserved);
        let (slots, prefix) = (stats.slots, stats.prefix);
        let own = worker == self.me;
        self.pool(now, pool::Input::Joined { worker, slots, own, reserved });
        self.verifier.join(now, worker, About { prefix, slots, own, reserved }, standings);
        self.verified(now, standings);
        let offer = self.offer();
        self.out.effects.push(Effect::Send(worker, Frame::Offer(offer)));
    }

    pub(super) fn leave(&mut self, now: Timestamp, worker: &PeerId, standings: &mut Standings) {
        if let Some(stats) = self.workers.get_mut(worker) {
            (stats.connected, stats.joined, stats.window) = (false, false, 0);
        }
        self.forget_awaited(worker);
        self.pool(now, pool::Input::Left { worker: *worker });
        self.verifier.leave(now, worker, standings);
        self.verified(now, standings);
    }

    pub(super) fn credit(&mut self, now: Timestamp, worker: PeerId, tasks: u32, below: u32) {
        if let Some(stats) = self.workers.get_mut(&worker).filter(|stats| stats.joined) {
            (stats.window, stats.below) = (tasks, below);
            if below > 0 {
                stats.slots = below;
            }
            self.pool(now, pool::Input::Credit { worker, tasks, below });
        }
    }

    pub(super) fn may_supply(&self) -> bool {
        let own = self.workers.get(&self.me);
        self.manifest.local == Local::Reserve
            && !self.is_held()
            && self.state == JobState::Running
            && own
                .is_some_and(|own| own.connected && (!own.joined || own.reserved) && own.slots > 0)
    }

    /// The submitter's own slots step in when peers have been too few for the patience time. Looking
    /// for a starved task may take a look at all of them, so that is not done at every step.
    pub(super) fn supply(&mut self, now: Timestamp, standings: &mut Standings) {
        if now < self.looked + LOOK {
            return;
        }
        self.looked = now;
        if self.pool.first_starved().is_none() {
            self.starved_since = None;
            return;
        }
        let since = *self.starved_since.get_or_insert(now);
        if now.since(since) >= self.config.patience {
            self.enter(now, self.me, false, standings);
        }
    }

    /// Tasks for which nobody is left to vote that no relay stands in front of, and no own slots either, are
    /// not waited for without end.
    pub(super) fn take_single_paths(&mut self, now: Timestamp, standings: &mut Standings) {
        if now < self.looked + LOOK {
            return;
        }
        self.looked = now;
        let Some(mut task) = self.pool.first_starved() else {
            self.starved_since = None;
            return;
        };
        let since = *self.starved_since.get_or_insert(now);
        if now.since(since) < self.config.patience * 2 {
            return;
        }
        while self.verifier.take_single_path(task) {
            self.verified(now, standings);
            match self.pool.first_starved() {
                Some(next) => task = next,
                None => break,
            }
        }
    }
}
