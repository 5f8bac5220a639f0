//! Which work streams exist: one a peer at most, opened by the peer with the smaller id.
//!
//! A peer's next stream starts only when its last task has ended, so that its events stay in order.

use std::time::{Duration, Instant};

use bayan_protocol::id::PeerId;
use libp2p::{Stream, swarm::ConnectionId};
use tokio::{sync::oneshot, task};

use super::{Driver, random};
use crate::{
    DownReason, Event,
    book::backoff,
    link::{Ended, Link, Origin},
    names,
    outbox::Stop,
    substream::Kind,
};

/// A stream that lasted this long was a success: back-off starts over.
const LASTING: Duration = Duration::from_secs(10);

/// The place of a peer's work stream.
#[derive(Default)]
pub(super) struct Slot {
    /// Ends the running task; `None` if none runs.
    running: Option<Stop>,
    /// The connection that the last task runs or ran on.
    connection: Option<ConnectionId>,
    /// A newer stream that the other side opened, to be served when the task has ended.
    next: Option<(ConnectionId, Stream)>,
    /// When to open a stream again.
    retry: Option<Instant>,
    /// Streams in a row that did not last.
    failures: u32,
}

impl Slot {
    /// Ends the running stream and forgets the waiting one. Tells whether nothing ran.
    pub(super) fn end(&mut self, reason: DownReason) -> bool {
        self.next = None;
        self.retry = None;
        if let Some(stop) = &self.running {
            stop.set(reason);
        }
        self.running.is_none()
    }
}

impl Driver {
    /// Opens a work stream to a peer that serves them, if that is up to this side.
    pub(super) fn want_link(&mut self, peer: PeerId) {
        let wanted =
            self.shared.id < peer && self.peers.get(&peer).is_some_and(|known| known.speaks_work);
        let idle =
            self.slots.get(&peer).is_none_or(|slot| slot.running.is_none() && slot.retry.is_none());
        if wanted && idle {
            self.open_link(peer);
        }
    }

    fn open_link(&mut self, peer: PeerId) {
        let Some(connection) = self.peers.get(&peer).and_then(|known| known.connection()) else {
            return;
        };
        let (reply, answer) = oneshot::channel();
        if self.start_link(peer, connection, Origin::Opening(answer)) {
            self.swarm.behaviour_mut().streams.open(
                names::to_libp2p(&peer),
                connection,
                Kind::Work,
                reply,
            );
        }
    }

    /// The other side opened a work stream.
    pub(super) fn on_work_stream(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        stream: Stream,
    ) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        if self.shared.id < peer {
            tracing::debug!(peer = %peer.short(), "a work stream came from the wrong side");
            return;
        }
        if !known.work_budget.take(Instant::now()) {
            tracing::debug!(peer = %peer.short(), "too many work streams");
            return;
        }
        match self.slots.get_mut(&peer) {
            Some(slot) if slot.running.is_some() => {
                slot.end(DownReason::Replaced);
                slot.next = Some((connection, stream));
            }
            _ => {
                self.start_link(peer, connection, Origin::Accepted(stream));
            }
        }
    }

    fn start_link(&mut self, peer: PeerId, connection: ConnectionId, origin: Origin) -> bool {
        let Some((address, inbound)) =
            self.peers.get(&peer).and_then(|known| known.describe(connection))
        else {
            return false;
        };
        // Streams of peers that have left may still wait for the receiver to take their last event.
        if !self.slots.contains_key(&peer) && self.slots.len() >= 2 * self.settings.max_peers {
            tracing::debug!(peer = %peer.short(), "the receiver does not keep up: no further work stream");
            return false;
        }
        let stop = Stop::new();
        let link = Link {
            peer,
            address,
            inbound,
            stop: stop.clone(),
            events: self.events.clone(),
            outboxes: self.shared.outboxes.clone(),
            queue_frames: self.settings.queue_frames,
            queue_bytes: self.settings.queue_bytes,
            purposes: self.shared.ledger.of(&peer),
        };
        let slot = self.slots.entry(peer).or_default();
        (slot.running, slot.retry) = (Some(stop), None);
        slot.connection = Some(connection);
        let task = self.tasks.spawn(link.run(origin));
        self.task_peers.insert(task.id(), peer);
        true
    }

    /// Two peers that dial each other at once have two connections, and each has its probes. Over a slow
    /// link only the one with the work stream is kept; the side that opens that stream says which.
    pub(super) fn close_spares(&mut self, peer: PeerId) {
        if peer < self.shared.id || !self.is_slow(&peer) {
            return;
        }
        let Some(known) = self.peers.get(&peer) else { return };
        let all = || known.connections.iter().map(|connection| connection.id);
        let working = self.slots.get(&peer).and_then(|slot| slot.connection);
        let Some(kept) = all().find(|id| Some(*id) == working).or_else(|| known.connection())
        else {
            return;
        };
        let spares: Vec<ConnectionId> = all().filter(|id| *id != kept).collect();
        for spare in spares {
            tracing::debug!(peer = %peer.short(), "a spare connection over a slow link was closed");
            self.swarm.close_connection(spare);
        }
    }

    pub(super) fn on_joined(&mut self, joined: Result<(task::Id, Ended), task::JoinError>) {
        let (peer, up) = match joined {
            Ok((id, ended)) => {
                self.task_peers.remove(&id);
                (ended.peer, ended.up)
            }
            Err(error) => {
                tracing::error!(%error, "a work stream's task failed");
                let Some(peer) = self.task_peers.remove(&error.id()) else { return };
                if self.shared.outboxes.remove(&peer).is_some() {
                    self.tell(Event::Down { peer, reason: DownReason::Lost });
                }
                (peer, None)
            }
        };
        if up.is_some() {
            self.book.up(&peer);
        }
        self.after_link(peer, up);
    }

    /// What follows a stream: the newer one that waits, another attempt, or nothing.
    fn after_link(&mut self, peer: PeerId, up: Option<Duration>) {
        let opens =
            self.shared.id < peer && self.peers.get(&peer).is_some_and(|known| known.speaks_work);
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        slot.running = None;
        if let Some((connection, stream)) = slot.next.take()
            && self.start_link(peer, connection, Origin::Accepted(stream))
        {
            return;
        }
        let Some(slot) = self.slots.get_mut(&peer) else { return };
        if opens && !self.refused.contains_key(&peer) {
            slot.failures =
                if up.is_some_and(|lasted| lasted >= LASTING) { 0 } else { slot.failures + 1 };
            slot.retry = Some(Instant::now() + backoff(slot.failures.saturating_sub(1), random()));
        } else {
            self.slots.remove(&peer);
        }
    }

    /// Opens the streams whose time has come; forgets those whose peers have left.
    pub(super) fn retry_links(&mut self, now: Instant) {
        let due =
            |slot: &Slot| slot.running.is_none() && slot.retry.is_some_and(|retry| retry <= now);
        let peers: Vec<_> =
            self.slots.iter().filter(|(_, slot)| due(slot)).map(|(peer, _)| *peer).collect();
        for peer in peers {
            if self.peers.contains_key(&peer) {
                self.open_link(peer);
            } else {
                self.slots.remove(&peer);
            }
        }
    }
}
