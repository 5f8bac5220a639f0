//! What a node would do with what its machines say: store, and then send, run, fetch, connect.

use std::collections::BTreeSet;

use bayan_cast::Need;
use bayan_protocol::{
    batch::Batch,
    fetch::MAX_DOWNLOADS,
    id::{Hash, PeerId},
    peer::{Effect, Input},
    record::{Change, Record},
    verify::State,
    wire::{Frame, Lease},
};

use crate::{
    MS, SECOND,
    host::KEPT,
    queue::Event,
    world::{Number, World},
};

/// Bytes around each frame on the wire: length, stream, transport, address.
const ENVELOPE: u64 = 80;

impl World {
    pub(crate) fn carry_out(&mut self, number: Number, batch: Batch<Effect>) {
        let (now, Batch { records, effects }) = (self.now(), batch);
        let writes = !records.is_empty();
        if writes && self.torn_per_mille > 0 && self.draw(1000) < self.torn_per_mille {
            self.log.note(now, format_args!("h{number} is cut short while it stores"));
            self.crash(number);
            return self.hosts[number].know_what_is_stored();
        }
        self.note_records(number, &records);
        if !self.lean {
            for change in &records {
                match (change, &mut self.model) {
                    (Change::Put(record), _) => self.watch(number, record),
                    (Change::Delete(key), Some(model)) => model.deletes(number, key),
                    (Change::Delete(_), None) => {}
                }
            }
            self.hosts[number].disk.write(now, records);
        }
        if self.crash_per_mille > 0 && self.draw(1000) < self.crash_per_mille {
            return self.crash(number);
        }
        for effect in effects {
            if self.hosts[number].machine.is_none() {
                return;
            }
            self.act(number, effect);
        }
    }

    /// Notes what a judge wants to know of what is stored.
    fn watch(&mut self, number: Number, record: &Record) {
        if let (Some(model), Some(machine)) = (&mut self.model, &self.hosts[number].machine) {
            model.stores(number, machine, record);
        }
        match record {
            Record::Decided { decision, .. } => {
                let key = (number, record.key().0);
                let outcome = decision.acceptance.as_ref().map(|accepted| accepted.outcome);
                if let Some(states) = self.after_final.get_mut(&key) {
                    states.insert((decision.state, outcome));
                }
                if decision.state == State::Final {
                    self.after_final
                        .entry(key.clone())
                        .or_default()
                        .insert((State::Final, outcome));
                    self.settled.entry(key).or_default().push(record.clone());
                }
            }
            Record::Standing { peer, standing } if standing.ban.is_some() => {
                self.hosts[number].banned.insert(*peer);
            }
            _ => {}
        }
    }

    fn act(&mut self, number: Number, effect: Effect) {
        match effect {
            Effect::Send(peer, frame) => self.send(number, &peer, frame),
            Effect::Close(peer, why) => {
                self.note_close(number, &peer, &why);
                self.hosts[number].closed.push(peer);
                self.hosts[number].reasons.push(why);
                if let Some(other) = self.number(&peer) {
                    self.disconnect(number, other);
                }
            }
            Effect::Fetch { hash, len, from } => self.fetch(number, hash, len, from),
            Effect::Read(hash) => {
                let bytes = self.hosts[number].blobs.get(&hash).cloned();
                self.step(
                    number,
                    Input::Content { hash, bytes: bytes.map(|bytes| bytes.to_vec()) },
                );
            }
            Effect::Keep { hash, bytes } => {
                self.hosts[number].blobs.insert(hash, bytes.into());
                self.step(number, Input::Blob { hash, here: true });
            }
            Effect::Recall { job, keys } => {
                let records = keys.iter().filter_map(|key| self.hosts[number].disk.get(key));
                let records = records.cloned().collect();
                self.step(number, Input::Recalled { job, records });
            }
            Effect::Run { attempt, task, program, .. } => {
                let now = self.now();
                let (host, module) = (&mut self.hosts[number], program.module);
                host.begun.get_or_insert(now);
                let answer = match host.conduct.take(&mut self.board, &task, &module) {
                    Need::Nothing => return,
                    Need::Answer(claim) => Some(claim),
                    // Engines here know no data: what is computed on other data is wrong somehow.
                    Need::Computed | Need::ComputedOn(_) => None,
                };
                host.running.insert(attempt, (now, answer));
                let (pace, life) = (host.plan.pace, host.life);
                let after = pace / 2 + self.draw(pace);
                self.queue.after(after, Event::Done { at: number, life, attempt, task, module });
            }
            Effect::Kill(attempt) => {
                if let Some((since, _)) = self.hosts[number].running.remove(&attempt) {
                    self.counts.killed += 1;
                    self.counts.killed_micros += self.now().0 - since.0;
                }
            }
            Effect::Reach(peer) => {
                let life = self.hosts[number].life;
                let delay = 10 * self.delay();
                self.queue.after(delay, Event::Reach { at: number, life, peer });
            }
            Effect::Advertise(bytes) => self.gossip(number, &bytes),
            Effect::Submitted(_) | Effect::Changed(_) | Effect::Caught { .. } => {}
        }
    }

    /// Over a line with a rate, blobs come as many at once as a node fetches, so that frames have their part of
    /// it; the others wait for their turn.
    fn fetch(&mut self, number: Number, hash: Hash, len: u64, from: PeerId) {
        let host = &mut self.hosts[number];
        if host.plan.line.down > 0 && host.fetching >= MAX_DOWNLOADS {
            host.to_fetch.push_back((hash, len, from));
            return;
        }
        host.fetching += 1;
        let life = host.life;
        let delay = self.delay();
        let at = match self.number(&from) {
            Some(other) => {
                let way = |number: Number| (number, self.hosts[number].plan.line);
                let (here, there, now) = (way(number), way(other), self.now());
                self.network.arrival(now, there, here, len, delay)
            }
            None => self.after(delay),
        };
        self.queue.at(at, Event::Blob { at: number, life, hash, from });
    }

    /// A fetch is over: the next one begins.
    pub(crate) fn fetch_next(&mut self, number: Number) {
        let host = &mut self.hosts[number];
        host.fetching = host.fetching.saturating_sub(1);
        if let Some((hash, len, from)) = host.to_fetch.pop_front() {
            self.fetch(number, hash, len, from);
        }
    }

    fn delay(&mut self) -> u64 {
        MS + self.draw(40 * MS)
    }

    fn send(&mut self, from: Number, peer: &PeerId, frame: Frame) {
        let host = &mut self.hosts[from];
        if let Frame::Reveal(reveal) = &frame
            && let Some(turn) = host.conduct.sent(reveal.opened.len() as u64)
        {
            self.queue.after(0, Event::Turn { at: from, turn });
        }
        let host = &mut self.hosts[from];
        let frames = host.plan.word.give(&host.key, peer, frame);
        let frames = frames.into_iter().flat_map(|frame| host.forger.pass(frame));
        for frame in frames.collect::<Vec<_>>() {
            if !self.lean {
                self.hosts[from].keep(peer, &frame);
            }
            self.pass_on(from, peer, frame);
        }
    }

    /// Sends a frame as the host's way of passing things on has it.
    fn pass_on(&mut self, from: Number, peer: &PeerId, frame: Frame) {
        let chance = self.draw(u64::MAX);
        let host = &self.hosts[from];
        let board = &mut self.board;
        match host.plan.passing.pass(&host.key, peer, frame, (board, chance)) {
            None => {}
            Some((0, frame)) => self.deliver(from, peer, &frame),
            Some((after, frame)) => {
                let late = Event::Late { from, to: *peer, frame: Box::new(frame) };
                self.queue.after(after, late);
            }
        }
    }

    /// Has a host send one of its latest batches again, to whom it has sent it before.
    pub fn repeat(&mut self, from: Number) {
        let at = self.draw(KEPT as u64) as usize;
        let Some((peer, frames)) = self.hosts[from].batches.get(at).cloned() else { return };
        for frame in &frames {
            self.deliver(from, &peer, frame);
        }
    }

    pub(crate) fn deliver(&mut self, from: Number, peer: &PeerId, frame: &Frame) {
        let Some(to) = self.number(peer) else { return };
        let Some(epoch) = self.links.epoch(from, to) else { return };
        if self.hosts[from].frozen || self.hosts[to].frozen {
            return;
        }
        if let Frame::Lease(lease) = frame {
            self.refuse_loops(from, to, peer, lease);
        }
        let (now, bytes) = (self.now(), frame.encode());
        if let Some(model) = &mut self.model {
            model.sends(now, from, &self.hosts[from], peer, frame);
        }
        let length = bytes.len() as u64 + ENVELOPE;
        self.counts.frames += 1;
        self.counts.bytes += length;
        let carried = self.carried.entry((self.hosts[from].plan.group, frame.kind())).or_default();
        *carried = (carried.0 + 1, carried.1 + length);
        let (frames, sent) = &mut self.hosts[from].sent;
        (*frames, *sent) = (*frames + 1, *sent + length);
        let way = |number: Number| (number, self.hosts[number].plan.line);
        let (here, there, plain) = (way(from), way(to), self.delay());
        let delay = self.network.delay(plain, here.1, there.1);
        let at = self.network.arrival(now, here, there, length, delay);
        let at = self.links.in_order(from, to, at);
        self.queue.at(at, Event::Frame { to, from, epoch, bytes });
        self.perhaps_again(from, peer, frame);
    }

    /// A worker that is in doubt about a batch says it again.
    fn perhaps_again(&mut self, from: Number, peer: &PeerId, frame: &Frame) {
        let doubled = self.network.conditions.doubled;
        if doubled == 0 || !matches!(frame, Frame::Reveal(_)) {
            return;
        }
        if self.network.draw(1000) < doubled
            && let Some((to, frames)) = self.hosts[from].batches.front().cloned()
            && to == *peer
        {
            let after = self.network.draw(2 * SECOND);
            self.queue.after(after, Event::Again { from, to, frames: Box::new(frames) });
        }
    }

    fn refuse_loops(&mut self, from: Number, to: Number, peer: &PeerId, lease: &Lease) {
        let givers: BTreeSet<PeerId> = lease.path.iter().map(|hop| hop.giver).collect();
        let loops = givers.len() < lease.path.len() || (from != to && givers.contains(peer));
        assert!(!loops, "host {from} hands a lease to {to} that came from there");
    }

    /// An advert reaches neighbours: not all, some twice, in any order.
    fn gossip(&mut self, from: Number, bytes: &[u8]) {
        if !self.network.conditions.gossip {
            return;
        }
        let conditions = self.network.conditions;
        for at in self.links.neighbours(from) {
            let copies = 1 + u64::from(self.network.draw(1000) < conditions.doubled);
            for _ in 0..copies {
                if self.network.draw(1000) >= conditions.gossip_loss {
                    let after = 5 * MS + self.network.draw(3 * SECOND);
                    self.queue.after(after, Event::Advert { at, bytes: bytes.to_vec() });
                }
            }
        }
    }
}
