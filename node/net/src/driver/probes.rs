//! Probes: how long some bytes and a short answer take, over a stream of their own (spec WIRE-50). A
//! small one is a round trip and shows that the neighbour is still there; a larger one shows what the
//! link carries, over whatever transport.

use std::time::{Duration, Instant};

use bayan_protocol::{
    id::PeerId,
    link::{Input, PROBE},
};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use libp2p::{Stream, swarm::ConnectionId};
use tokio::{sync::oneshot, time::timeout};

use super::Driver;
use crate::{
    names,
    substream::{Kind, OpenFailure},
};

/// Bytes of a round trip.
const SMALL: usize = 1;
/// Bytes that a probe of another peer may have.
const LARGEST: u64 = 16 << 10;
/// The time that another peer has to send them.
const PATIENCE: Duration = Duration::from_secs(60);
/// Probes without an answer in a row after which a connection is closed.
const MAX_MISSED: u32 = 3;
/// Probes that another peer may send: a few at once, then one in a while.
pub(super) const BURST: u32 = 8;
pub(super) const EVERY: Duration = Duration::from_secs(2);
/// Probes whose ends wait for the event loop.
pub(super) const QUEUE: usize = 64;

/// When a connection is probed next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    next: Instant,
    under_way: bool,
}

impl Schedule {
    pub(super) fn new(now: Instant) -> Self {
        Self { next: now, under_way: false }
    }
}

/// How a probe ended.
#[derive(Debug)]
pub(super) struct Probed {
    peer: PeerId,
    connection: ConnectionId,
    is_small: bool,
    /// The time that it had.
    limit: Duration,
    /// The time; `None` if there was no answer, or the other side knows no probes.
    took: Result<Duration, Silence>,
}

/// Why there was no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Silence {
    Unsupported,
    Lost,
}

impl Driver {
    /// Sends the small probes that are due.
    pub(super) fn probe_due(&mut self, now: Instant) {
        let mut due = Vec::new();
        for (id, peer) in &mut self.peers {
            let every = self.links.link(id).profile.plan().ping_every;
            for connection in &mut peer.connections {
                let schedule = &mut connection.schedule;
                if !schedule.under_way && schedule.next <= now {
                    *schedule = Schedule { next: now + every, under_way: true };
                    due.push((*id, connection.id));
                }
            }
        }
        for (peer, connection) in due {
            self.probe(peer, connection, SMALL);
        }
    }

    /// Sends a large probe.
    pub(super) fn probe_rate(&mut self, peer: PeerId) {
        if let Some(connection) = self.peers.get(&peer).and_then(super::Peer::connection) {
            self.probe(peer, connection, PROBE as usize);
        }
    }

    fn probe(&mut self, peer: PeerId, connection: ConnectionId, bytes: usize) {
        let (reply, stream) = oneshot::channel();
        let id = names::to_libp2p(&peer);
        self.swarm.behaviour_mut().streams.open(id, connection, Kind::Link, reply);
        let limit = self.links.link(&peer).profile.plan().answer_within;
        let tell = self.probes.clone();
        tokio::spawn(async move {
            let took = timeout(limit, measure(stream, bytes)).await.unwrap_or(Err(Silence::Lost));
            let is_small = bytes == SMALL;
            // Nobody listens any more when the peer shuts down.
            let _ = tell.send(Probed { peer, connection, is_small, limit, took }).await;
        });
    }

    pub(super) fn on_probed(&mut self, probed: Probed) {
        let Probed { peer, connection: id, is_small, limit, took } = probed;
        let known = self.peers.get_mut(&peer);
        let connection =
            known.and_then(|known| known.connections.iter_mut().find(|one| one.id == id));
        let Some(connection) = connection else { return };
        if !is_small {
            match took {
                Ok(took) => self.link(Input::Probed(peer, took)),
                Err(Silence::Lost) => self.link(Input::Probed(peer, limit)),
                Err(Silence::Unsupported) => {}
            }
            return;
        }
        connection.schedule.under_way = false;
        match took {
            Ok(took) => {
                (connection.rtt, connection.missed) = (Some(took), 0);
                self.link(Input::RoundTrip(peer, took));
            }
            Err(Silence::Unsupported) => connection.missed = 0,
            Err(Silence::Lost) => {
                connection.missed += 1;
                tracing::debug!(peer = %peer.short(), missed = connection.missed, "no answer");
                if connection.missed >= MAX_MISSED {
                    self.swarm.close_connection(id);
                }
            }
        }
    }

    /// The other side sends a probe.
    pub(super) fn on_probe(&mut self, peer: PeerId, stream: Stream) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        if known.probe_budget.take(Instant::now()) {
            tokio::spawn(timeout(PATIENCE, answer(stream)));
        } else {
            tracing::debug!(peer = %peer.short(), "too many probes: one was reset");
        }
    }
}

/// Sends some bytes and waits for the answer.
async fn measure(
    stream: oneshot::Receiver<Result<Stream, OpenFailure>>,
    bytes: usize,
) -> Result<Duration, Silence> {
    let mut stream = match stream.await {
        Ok(Ok(stream)) => stream,
        Ok(Err(OpenFailure::Unsupported)) => return Err(Silence::Unsupported),
        _ => return Err(Silence::Lost),
    };
    // Of a kind that no modem can make shorter; without a source of them, zeros have to do.
    let mut noise = vec![0; bytes];
    let _ = getrandom::fill(&mut noise);
    let begun = Instant::now();
    let exchange = async {
        stream.write_all(&noise).await?;
        stream.close().await?;
        stream.read_exact(&mut [0]).await
    };
    exchange.await.map_err(|_| Silence::Lost)?;
    Ok(begun.elapsed())
}

/// Takes a probe to its end and answers.
async fn answer(mut stream: Stream) -> std::io::Result<()> {
    let mut noise = (&mut stream).take(LARGEST);
    futures::io::copy(&mut noise, &mut futures::io::sink()).await?;
    stream.write_all(&[0]).await?;
    stream.close().await
}
