//! One event after the other.

use std::sync::Arc;

use bayan_cast::Turn;
use bayan_protocol::{
    id::{Hash, PeerId, TaskId},
    limits::MAX_INLINE,
    peer::{Input, Peer},
    result::{Ended, Output},
    task::Status,
    time::Timestamp,
    wire::Frame,
};
use serde_bytes::ByteBuf;

use crate::{
    judge::Kind,
    queue::Event,
    truth,
    world::{Number, World},
};

/// Ticks in a row after each of which a machine wants another one at once, until that is no coincidence.
const RESTLESS: u32 = 16;

impl World {
    /// Lets the next thing happen; false if nothing is to come before `until`, or somebody has seen enough.
    pub fn advance(&mut self, until: Timestamp) -> bool {
        if self.log.is_halted() {
            return false;
        }
        let Some((place, event)) = self.queue.next(until) else { return false };
        self.counts.events += 1;
        if let Some(at) = event.at()
            && let Some(wakes) = self.hosts[at].asleep
        {
            if wakes > self.now() {
                self.queue.put_off(wakes, place, event);
                return true;
            }
            self.hosts[at].asleep = None;
            self.log.note(self.queue.now, format_args!("h{at} wakes"));
            if let Some(model) = &mut self.model {
                model.wakes(self.queue.now, at);
            }
        }
        self.happen(event);
        self.compare();
        true
    }

    fn lives(&self, at: Number, life: u64) -> bool {
        self.hosts[at].life == life && self.hosts[at].machine.is_some()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Frame { to, from, epoch, bytes } => {
                if self.links.epoch(to, from) == Some(epoch) && !self.links.is_dark(epoch) {
                    let peer = self.id(from);
                    self.step(to, Input::Frame { peer, frame: Frame::decode(&bytes) });
                }
            }
            Event::Done { at, life, attempt, task, module } if self.lives(at, life) => {
                self.done(at, attempt, &task, &module);
            }
            Event::Blob { at, life, hash, from } if self.lives(at, life) => {
                self.fetch_next(at);
                self.fetched(at, hash, &from);
            }
            Event::Wake { at, life } if self.lives(at, life) => self.woken(at),
            Event::Turn { at, turn } => self.turn(at, turn),
            Event::Reach { at, life, peer } if self.lives(at, life) => {
                if let Some(other) = self.number(&peer) {
                    self.connect(at, other);
                }
            }
            Event::Late { from, to, frame } => self.deliver(from, &to, &frame),
            Event::Again { from, to, frames } => {
                for frame in frames.iter() {
                    self.deliver(from, &to, frame);
                }
            }
            Event::Advert { at, bytes } => self.step(at, Input::Advert(bytes)),
            Event::Lost { pair: (one, other), epoch } => {
                if self.links.epoch(one, other) == Some(epoch) {
                    self.disconnect(one, other);
                }
            }
            Event::Down { at, life, peer } if self.lives(at, life) => {
                let linked =
                    self.number(&peer).is_some_and(|other| self.links.epoch(at, other).is_some());
                if !linked {
                    self.step(at, Input::Down { peer });
                }
            }
            Event::Reach { .. }
            | Event::Done { .. }
            | Event::Blob { .. }
            | Event::Wake { .. }
            | Event::Down { .. } => {}
        }
    }

    /// Compares the machines with the model, every virtual second.
    fn compare(&mut self) {
        let now = self.now();
        let Some(model) = self.model.as_mut().filter(|model| model.is_due(now)) else { return };
        for (number, host) in self.hosts.iter().enumerate() {
            if let Some(machine) = host.machine.as_ref().filter(|_| host.asleep.is_none()) {
                model.compare(now, number, machine);
            }
        }
    }

    fn woken(&mut self, at: Number) {
        let now = self.now();
        // A machine that has changed its mind since is told the time when it wants to be.
        if self.hosts[at].wake.is_none_or(|wake| wake > now) {
            return;
        }
        self.hosts[at].wake = None;
        self.counts.ticks += 1;
        self.step(at, Input::Tick);
        let due = self.machine(at).and_then(Peer::next_wake).filter(|(wake, _)| *wake <= now);
        let host = &mut self.hosts[at];
        host.restless = if due.is_some() { host.restless + 1 } else { 0 };
        if let (Some((_, what)), Some(model)) = (due, self.model.as_mut())
            && host.restless == RESTLESS
        {
            let text = format!("h{at} is told the time and never sees to the {what}");
            model.blame(Kind::Overdue, text);
        }
    }

    /// A host goes for good, or comes back where it was as somebody else.
    fn turn(&mut self, at: Number, turn: Turn) {
        let neighbours = self.links.neighbours(at);
        self.crash(at);
        if turn == Turn::Rejoin {
            let (secret, was) = (self.draw_bytes(), self.id(at));
            self.hosts[at].become_another(secret);
            self.renumber(at, &was);
            self.start(at);
            for other in neighbours {
                self.connect(at, other);
            }
        }
    }

    fn done(&mut self, at: Number, attempt: u64, task: &TaskId, module: &Hash) {
        let fails = self.hosts[at].plan.fails;
        let failed = fails > 0 && self.network.draw(1_000_000) < fails;
        let host = &mut self.hosts[at];
        let Some((since, answer)) = host.running.remove(&attempt) else { return };
        self.counts.attempts += 1;
        host.ended += 1;
        self.counts.busy_micros += self.queue.now.0 - since.0;
        self.counts.busy += host.plan.pace;
        let (micros, log) = (host.plan.pace, Vec::new());
        if failed {
            let (status, output) = (Status::HostFault, Output::Inline(ByteBuf::new()));
            let failed = Input::Executed(Ended { attempt, status, output, fuel: 0, log, micros });
            return self.step(at, failed);
        }
        let honest = truth::claim(task);
        let claim =
            answer.unwrap_or_else(|| host.conduct.claim(&mut self.board, task, module, &honest));
        if let Some(model) = &mut self.model {
            model.claimed(host.key.peer_id(), *task, claim.outcome());
        }
        let (status, bytes, fuel) = (claim.status, claim.output, claim.fuel);
        let output = if bytes.len() > MAX_INLINE {
            let (hash, len) = (Hash::of(&bytes), bytes.len() as u64);
            // Nobody looks into outputs here, and every hop has them: one of each length will do.
            let kept = match (self.lean, bytes.len()) {
                (true, len) => {
                    Arc::clone(self.blanks.entry(len).or_insert_with(|| vec![0; len].into()))
                }
                (false, _) => bytes.into(),
            };
            host.blobs.insert(hash, kept);
            Output::Blob { hash, len }
        } else {
            Output::Inline(ByteBuf::from(bytes))
        };
        self.step(at, Input::Executed(Ended { attempt, status, output, fuel, log, micros }));
    }

    fn fetched(&mut self, at: Number, hash: Hash, from: &PeerId) {
        let connected = |other: Number| {
            let epoch = self.links.epoch(at, other);
            other == at || epoch.is_some_and(|epoch| !self.links.is_dark(epoch))
        };
        let provider = self.number(from).filter(|other| connected(*other));
        let found = provider.and_then(|other| self.hosts[other].blobs.get(&hash).cloned());
        if let Some(bytes) = &found {
            self.counts.blob_bytes += bytes.len() as u64;
            self.hosts[at].blobs.insert(hash, Arc::clone(bytes));
        }
        let here = self.hosts[at].blobs.contains_key(&hash);
        self.step(at, Input::Blob { hash, here });
    }
}
