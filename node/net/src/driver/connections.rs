//! Connections and what is known of the peers at their other ends.

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use bayan_protocol::{
    id::PeerId,
    link::{Input, Profile},
};
use libp2p::{
    Multiaddr, Stream,
    core::ConnectedPoint,
    identify,
    multiaddr::Protocol,
    swarm::{ConnectionId, DialError},
};
use tokio::sync::Semaphore;

use super::{
    Driver,
    probes::{self, Schedule},
    random,
    rates::Seen,
    split_peer,
};
use crate::{
    ByteStream, Event, PeerInfo, Traffic, TransportKind, address::Endpoint, behaviour,
    budget::Budget, meter::Meter, names, substream::Kind,
};

/// Characters kept of a peer's agent.
const MAX_AGENT: usize = 128;
/// Inbound blob streams open at a time with one peer.
const BLOB_STREAMS_PER_PEER: usize = 16;
/// Work streams that a peer may open: an honest one needs a second only after a failure.
const WORK_STREAM_BURST: u32 = 4;
const WORK_STREAM_EVERY: Duration = Duration::from_secs(1);

/// A connected peer.
pub(super) struct Peer {
    /// Oldest first; never empty while the peer is in the map.
    pub(super) connections: Vec<Connection>,
    agent: String,
    pub(super) speaks_work: bool,
    pub(super) speaks_kad: bool,
    pub(super) work_budget: Budget,
    pub(super) probe_budget: Budget,
    blob_places: Arc<Semaphore>,
}

pub(super) struct Connection {
    pub(super) id: ConnectionId,
    address: Multiaddr,
    inbound: bool,
    pub(super) rtt: Option<Duration>,
    /// Small probes in a row without an answer.
    pub(super) missed: u32,
    pub(super) schedule: Schedule,
    /// None over QUIC.
    pub(super) meter: Option<Arc<Meter>>,
    pub(super) seen: Option<Seen>,
}

impl Peer {
    fn new(now: Instant) -> Self {
        Self {
            connections: Vec::new(),
            agent: String::new(),
            speaks_work: false,
            speaks_kad: false,
            work_budget: Budget::new(WORK_STREAM_BURST, WORK_STREAM_EVERY, now),
            probe_budget: Budget::new(probes::BURST, probes::EVERY, now),
            blob_places: Arc::new(Semaphore::new(BLOB_STREAMS_PER_PEER)),
        }
    }

    /// The connection to open streams on.
    pub(super) fn connection(&self) -> Option<ConnectionId> {
        self.connections.first().map(|connection| connection.id)
    }

    /// Address and direction of a connection.
    pub(super) fn describe(&self, id: ConnectionId) -> Option<(String, bool)> {
        let connection = self.connections.iter().find(|connection| connection.id == id)?;
        Some((connection.address.to_string(), connection.inbound))
    }

    /// Outbound connections.
    pub(super) fn outgoing(&self) -> usize {
        self.connections.iter().filter(|connection| !connection.inbound).count()
    }

    pub(super) fn info(&self, id: PeerId, up: bool) -> Option<PeerInfo> {
        let connection = self.connections.first()?;
        let quic = connection.address.iter().any(|part| part == Protocol::QuicV1);
        Some(PeerInfo {
            id,
            address: connection.address.to_string(),
            agent: self.agent.clone(),
            rtt: self.connections.iter().filter_map(|connection| connection.rtt).min(),
            inbound: connection.inbound,
            transport: if quic { TransportKind::Quic } else { TransportKind::Tcp },
            up,
            rate: None,
            profile: Profile::default(),
            traffic: Traffic::default(),
        })
    }
}

impl Driver {
    pub(super) fn on_established(
        &mut self,
        peer: libp2p::PeerId,
        id: ConnectionId,
        endpoint: &ConnectedPoint,
    ) {
        let Some(name) = names::from_libp2p(&peer) else {
            tracing::debug!(%peer, "not an Ed25519 key: connection closed");
            self.swarm.close_connection(id);
            return;
        };
        if let Some(dial) = self.dials.remove(&id) {
            self.book.reached(&dial, name);
        }
        let (address, inbound) = match endpoint {
            ConnectedPoint::Dialer { address, .. } => (split_peer(address.clone()).0, false),
            ConnectedPoint::Listener { send_back_addr, .. } => (send_back_addr.clone(), true),
        };
        tracing::debug!(peer = %name.short(), %address, inbound, "connected");
        let peer = self.peers.entry(name).or_insert_with(|| Peer::new(Instant::now()));
        let meter = self.meters.claim(endpoint);
        let schedule = Schedule::new(Instant::now());
        let (rtt, missed, seen) = (None, 0, None);
        let connection = Connection { id, address, inbound, rtt, missed, schedule, meter, seen };
        peer.connections.push(connection);
        self.shared.ledger.open(name);
        // What is on the same machine is not reached over a line.
        let away = Endpoint::parse(match endpoint {
            ConnectedPoint::Dialer { address, .. } => address,
            ConnectedPoint::Listener { send_back_addr, .. } => send_back_addr,
        });
        if away.is_some_and(|(endpoint, _)| !endpoint.ip.is_loopback()) {
            self.link(Input::Up(name));
        }
        self.close_spares(name);
    }

    pub(super) fn on_closed(&mut self, peer: libp2p::PeerId, id: ConnectionId) {
        let Some(name) = names::from_libp2p(&peer) else { return };
        let Some(known) = self.peers.get_mut(&name) else { return };
        known.connections.retain(|connection| connection.id != id);
        if !known.connections.is_empty() {
            return;
        }
        self.peers.remove(&name);
        self.shared.ledger.close(&name);
        self.link(Input::Down(name));
        let now = Instant::now();
        if self.shared.outboxes.contains(&name) {
            self.book.up(&name);
        }
        if self.book.lost(&name, now, random()).is_some() {
            self.swarm.behaviour_mut().kad.remove_peer(&peer);
        }
        let known = self.known();
        self.walks.news(now, known);
    }

    pub(super) fn on_dial_error(
        &mut self,
        id: ConnectionId,
        peer: Option<libp2p::PeerId>,
        error: &DialError,
    ) {
        tracing::debug!(?peer, %error, "dial failed");
        let dial = self.dials.remove(&id);
        let now = Instant::now();
        match error {
            DialError::DialPeerConditionFalse(_)
            | DialError::Denied { .. }
            | DialError::Aborted => {
                if let Some(dial) = dial {
                    self.book.skipped(&dial, now);
                }
                return;
            }
            DialError::LocalPeerId { .. } => {
                if let Some(dial) = &dial {
                    self.book.is_own(dial);
                }
            }
            DialError::WrongPeerId { address, .. } => {
                if let Some(peer) = peer {
                    self.evict_address(peer, address);
                }
            }
            DialError::NoAddresses | DialError::Transport(_) => {}
        }
        match dial {
            Some(dial) => {
                self.book.failed(&dial, now, random());
            }
            // A dial that Kademlia made.
            None => {
                if let Some(name) = peer.and_then(|peer| names::from_libp2p(&peer)) {
                    self.book.blame(name, now, random());
                }
            }
        }
        if let Some(peer) = peer
            && names::from_libp2p(&peer).is_none_or(|name| !self.book.contains(&name))
        {
            self.swarm.behaviour_mut().kad.remove_peer(&peer);
        }
    }

    /// Someone else answered at an address of `peer`.
    fn evict_address(&mut self, peer: libp2p::PeerId, address: &Multiaddr) {
        let (address, _) = split_peer(address.clone());
        self.swarm.behaviour_mut().kad.remove_address(&peer, &address);
        if let Some(name) = names::from_libp2p(&peer) {
            self.book.forget_address(&name, &address);
        }
    }

    pub(super) fn on_identify(&mut self, event: identify::Event) {
        let identify::Event::Received { peer_id, info, .. } = event else { return };
        let Some(name) = names::from_libp2p(&peer_id) else { return };
        let Some(peer) = self.peers.get_mut(&name) else { return };
        peer.agent =
            info.agent_version.chars().filter(|char| !char.is_control()).take(MAX_AGENT).collect();
        peer.speaks_work = info.protocols.contains(&Kind::Work.protocol());
        peer.speaks_kad = info.protocols.contains(&behaviour::KAD);
        let speaks_kad = peer.speaks_kad;

        let now = Instant::now();
        let addresses = self.shared.reach.admit(&info.listen_addrs, &peer_id, &self.own);
        let before = self.book.addresses(&name).to_vec();
        if speaks_kad && !self.is_slow(&name) {
            let kad = &mut self.swarm.behaviour_mut().kad;
            for stale in before.iter().filter(|address| !addresses.contains(address)) {
                kad.remove_address(&peer_id, stale);
            }
            for address in &addresses {
                kad.add_address(&peer_id, address.clone());
            }
        }
        if self.book.learn(name, addresses, true, now) {
            let known = self.known();
            self.walks.news(now, known);
        }
        self.want_link(name);
    }

    pub(super) fn on_blob_stream(&mut self, peer: PeerId, stream: Stream) {
        let Some(known) = self.peers.get(&peer) else { return };
        let places = (
            self.blob_places.clone().try_acquire_owned(),
            known.blob_places.clone().try_acquire_owned(),
        );
        let (Ok(one), Ok(other)) = places else {
            tracing::debug!(peer = %peer.short(), "too many blob streams: one was reset");
            return;
        };
        let stream = ByteStream::new(stream, vec![one, other], self.shared.ledger.of(&peer));
        self.tell(Event::BlobRequest { peer, stream });
    }

    pub(super) fn on_listening(&mut self, address: Multiaddr) {
        let Some((endpoint, _)) = Endpoint::parse(&address) else { return };
        self.own.insert(endpoint);
        if self.shared.reach.may_advertise(&endpoint) {
            self.swarm.add_external_address(endpoint.to_multiaddr());
        }
        let text = self.full_address(address);
        tracing::info!(address = text, "listening");
        self.shared.listening.write().unwrap_or_else(PoisonError::into_inner).push(text.clone());
        self.tell(Event::Listening { address: text });
    }

    pub(super) fn on_not_listening(&mut self, address: &Multiaddr) {
        if let Some((endpoint, _)) = Endpoint::parse(address) {
            self.own.remove(&endpoint);
            self.swarm.remove_external_address(&endpoint.to_multiaddr());
        }
        let text = self.full_address(address.clone());
        self.shared
            .listening
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|known| *known != text);
    }

    fn full_address(&self, address: Multiaddr) -> String {
        address.with(Protocol::P2p(*self.swarm.local_peer_id())).to_string()
    }
}
