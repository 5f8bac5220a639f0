//! Finding peers: walks through Kademlia, multicast on the local network, and the dials that follow.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bayan_protocol::id::PeerId;
use libp2p::{
    Multiaddr, kad, mdns,
    swarm::{DialError, dial_opts::DialOpts},
};

use super::{Driver, connections::Peer, random};
use crate::{
    address::{is_container, leading_ip},
    book::Dial,
    names,
};

/// Dials of this loop under way at a time.
pub(super) const MAX_DIALS: usize = 16;
/// Addresses taken from one multicast answer, and the time over which their dials are spread.
const MAX_MULTICAST: usize = 32;
const MULTICAST_SPREAD: Duration = Duration::from_millis(500);

impl Driver {
    /// Connected peers that can be asked for others.
    pub(super) fn known(&self) -> usize {
        self.peers.values().filter(|peer| peer.speaks_kad).count()
    }

    /// Starts a walk if one is due.
    pub(super) fn walk(&mut self, now: Instant) {
        if self.settings.only_bootstrap {
            return; // a walk would connect to whom it leads past
        }
        let known = self.known();
        if self.links.whole().plan().looks_for_peers && self.walks.due(now, known) {
            let homeward = self.walks.is_homeward();
            let target =
                if homeward { *self.swarm.local_peer_id() } else { libp2p::PeerId::random() };
            self.swarm.behaviour_mut().kad.get_closest_peers(target);
        }
    }

    pub(super) fn on_kad(&mut self, event: kad::Event) {
        match event {
            kad::Event::OutboundQueryProgressed {
                result: kad::QueryResult::GetClosestPeers(result),
                step,
                ..
            } => self.on_walk(result, step.last),
            kad::Event::OutboundQueryProgressed {
                result: kad::QueryResult::GetProviders(result),
                id,
                step,
                ..
            } => self.on_providers(id, result, step.last),
            kad::Event::InboundRequest {
                request: kad::InboundRequest::AddProvider { record: Some(record) },
            } => self.on_provider_record(record),
            _ => {}
        }
    }

    fn on_walk(&mut self, result: kad::GetClosestPeersResult, last: bool) {
        let peers = match result {
            Ok(found) => found.peers,
            Err(kad::GetClosestPeersError::Timeout { peers, .. }) => peers,
        };
        let now = Instant::now();
        let mut found = false;
        for peer in peers {
            found |= self.hear_of(peer.peer_id, &peer.addrs, now);
        }
        if last {
            let known = self.known();
            self.walks.done(now, known, found, random());
        }
        self.dial_due(now);
    }

    pub(super) fn on_mdns(&mut self, event: mdns::Event) {
        let mdns::Event::Discovered(found) = event else { return };
        let mut peers: BTreeMap<libp2p::PeerId, Vec<Multiaddr>> = BTreeMap::new();
        for (peer, address) in found.into_iter().take(MAX_MULTICAST) {
            if leading_ip(&address).is_some_and(|ip| !ip.is_loopback() && !is_container(ip)) {
                peers.entry(peer).or_default().push(address);
            }
        }
        let now = Instant::now();
        for (peer, addresses) in peers {
            // Everyone on the network hears of a newcomer at once.
            let spread = MULTICAST_SPREAD.mul_f64(f64::from(random()) / f64::from(u32::MAX));
            self.hear_of(peer, &addresses, now + spread);
        }
    }

    /// Looks for a peer that is wanted by name.
    pub(super) fn reach(&mut self, peer: PeerId) {
        if self.peers.contains_key(&peer) || peer == self.shared.id {
            return;
        }
        let (now, id) = (Instant::now(), names::to_libp2p(&peer));
        // Kademlia tells only of whom it has connected to itself.
        self.swarm.behaviour_mut().gate.name(id);
        if !self.book.want(peer, now) {
            self.swarm.behaviour_mut().kad.get_closest_peers(id);
        }
        self.dial_due(now);
    }

    /// Enters a peer that someone else told of. Tells whether it is news.
    pub(super) fn hear_of(
        &mut self,
        peer: libp2p::PeerId,
        addresses: &[Multiaddr],
        from: Instant,
    ) -> bool {
        let Some(name) = names::from_libp2p(&peer) else { return false };
        if name == self.shared.id || self.peers.contains_key(&name) {
            return false;
        }
        let addresses = self.shared.reach.admit(addresses, &peer, &self.own);
        self.book.learn(name, addresses, false, from)
    }

    /// Makes the dials that are due, as far as there are places for them.
    pub(super) fn dial_due(&mut self, now: Instant) {
        let outgoing: usize = self.peers.values().map(Peer::outgoing).sum();
        let slots = MAX_DIALS.saturating_sub(self.dials.len());
        let looks = self.links.whole().plan().looks_for_peers && !self.settings.only_bootstrap;
        let wanted = if looks { self.settings.target_outgoing } else { 0 };
        let fresh = wanted.saturating_sub(outgoing + self.dials.len());
        let (peers, refused) = (&self.peers, &self.refused);
        let unwanted = |peer: &PeerId| peers.contains_key(peer) || refused.contains_key(peer);
        for dial in self.book.due(now, unwanted, slots, fresh) {
            self.dial(dial, now);
        }
    }

    fn dial(&mut self, dial: Dial, now: Instant) {
        if let Some(peer) = dial.peer {
            self.swarm.behaviour_mut().gate.name(names::to_libp2p(&peer));
        }
        let options = match (dial.peer, dial.addresses.first()) {
            (Some(peer), _) => {
                DialOpts::peer_id(names::to_libp2p(&peer)).addresses(dial.addresses.clone()).build()
            }
            (None, Some(address)) => DialOpts::unknown_peer_id().address(address.clone()).build(),
            (None, None) => return,
        };
        let connection = options.connection_id();
        tracing::debug!(addresses = ?dial.addresses, "dialling");
        match self.swarm.dial(options) {
            Ok(()) => {
                self.dials.insert(connection, dial);
            }
            // Kademlia is dialling the peer already, or the limit of dials is reached.
            Err(DialError::DialPeerConditionFalse(_) | DialError::Denied { .. }) => {
                self.book.skipped(&dial, now)
            }
            Err(error) => {
                tracing::debug!(%error, "not dialled");
                self.book.failed(&dial, now, random());
            }
        }
    }
}
