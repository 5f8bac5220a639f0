//! Blobs and who has them, through Kademlia's provider records; and peers that somebody told of.
//!
//! A record is a hint: whoever is found is asked, and every byte is verified. So it is enough that
//! nobody can fill the store: records are admitted for keys of our kind alone, and few of one peer.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use bayan_protocol::id::{Hash, PeerId};
use libp2p::{
    Multiaddr,
    kad::{self, QueryId, RecordKey, store::RecordStore as _},
    swarm::dial_opts::DialOpts,
};

use super::{Driver, discovery::MAX_DIALS};
use crate::{Event, budget::Budget, names};

/// What the key of a blob begins with: provider records may come to stand for other things.
const PREFIX: &[u8] = b"bayan blob ";
/// Searches under way.
const MAX_SEARCHES: usize = 4;
/// Providers told of by one search.
const MAX_FOUND: usize = 16;
/// Records admitted of one peer: a few at once, then one in a while.
const BURST: u32 = 64;
const EVERY: Duration = Duration::from_secs(10);
/// Peers whose allowances are remembered.
const MAX_PEERS: usize = 1024;
/// All records admitted, of whomever.
const BURST_OF_ALL: u32 = 512;
const EVERY_OF_ALL: Duration = Duration::from_secs(1);

/// The state of it.
pub(super) struct Providers {
    searches: HashMap<QueryId, (Hash, usize)>,
    admitted: BTreeMap<PeerId, Budget>,
    all: Budget,
}

impl Providers {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            searches: HashMap::new(),
            admitted: BTreeMap::new(),
            all: Budget::new(BURST_OF_ALL, EVERY_OF_ALL, now),
        }
    }

    /// Whether a record of this peer is admitted now.
    fn admits(&mut self, peer: PeerId, now: Instant) -> bool {
        if self.admitted.len() >= MAX_PEERS && !self.admitted.contains_key(&peer) {
            self.admitted.retain(|_, budget| !budget.is_full(now));
            if self.admitted.len() >= MAX_PEERS {
                return false;
            }
        }
        let own = self.admitted.entry(peer).or_insert_with(|| Budget::new(BURST, EVERY, now));
        own.take(now) && self.all.take(now)
    }
}

fn key(hash: &Hash) -> RecordKey {
    RecordKey::from([PREFIX, hash.as_bytes()].concat())
}

fn is_blob(key: &RecordKey) -> bool {
    key.as_ref().len() == PREFIX.len() + 32 && key.as_ref().starts_with(PREFIX)
}

impl Driver {
    pub(super) fn provide(&mut self, hash: Hash) {
        if !self.links.whole().plan().announces_blobs {
            return; // whoever fetched it over a slow line would wait for long
        }
        if let Err(error) = self.swarm.behaviour_mut().kad.start_providing(key(&hash)) {
            tracing::debug!(blob = %hash.short(), %error, "not announced");
        }
    }

    pub(super) fn stop_providing(&mut self, hash: &Hash) {
        self.swarm.behaviour_mut().kad.stop_providing(&key(hash));
    }

    pub(super) fn find_providers(&mut self, hash: Hash) {
        if self.providers.searches.len() < MAX_SEARCHES {
            let query = self.swarm.behaviour_mut().kad.get_providers(key(&hash));
            self.providers.searches.insert(query, (hash, 0));
        }
    }

    pub(super) fn on_providers(
        &mut self,
        query: QueryId,
        result: kad::GetProvidersResult,
        last: bool,
    ) {
        let Some((hash, found)) = self.providers.searches.get_mut(&query) else { return };
        let (hash, mut peers) = (*hash, Vec::new());
        if let Ok(kad::GetProvidersOk::FoundProviders { providers, .. }) = result {
            let named = providers.iter().filter_map(names::from_libp2p);
            peers.extend(named.take(MAX_FOUND.saturating_sub(*found)));
            *found += peers.len();
        }
        if last {
            self.providers.searches.remove(&query);
        }
        peers.retain(|peer| *peer != self.shared.id);
        if peers.is_empty() {
            return;
        }
        for peer in &peers {
            // While the search goes on, Kademlia knows the addresses that it came with.
            self.dial_told(*peer, Vec::new());
        }
        self.tell(Event::Providers { hash, peers });
    }

    pub(super) fn on_provider_record(&mut self, mut record: kad::ProviderRecord) {
        let Some(peer) = names::from_libp2p(&record.provider) else { return };
        if !is_blob(&record.key) || !self.providers.admits(peer, Instant::now()) {
            return;
        }
        record.addresses = self.shared.reach.admit(&record.addresses, &record.provider, &self.own);
        // An error means that there is no room.
        let _ = self.swarm.behaviour_mut().kad.store_mut().add_provider(record);
    }

    /// Connects to a peer that somebody told of.
    pub(super) fn meet(&mut self, peer: PeerId, addresses: &[Multiaddr]) {
        let id = names::to_libp2p(&peer);
        let mut admitted = self.shared.reach.admit(addresses, &id, &self.own);
        self.hear_of(id, addresses, Instant::now());
        // What the peer said itself is worth more.
        let known = self.book.addresses(&peer);
        if !known.is_empty() {
            admitted = known.to_vec();
        }
        if !admitted.is_empty() {
            self.dial_told(peer, admitted);
        }
    }

    fn dial_told(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        let unwanted = peer == self.shared.id
            || self.peers.contains_key(&peer)
            || self.refused.contains_key(&peer);
        if unwanted
            || self.swarm.network_info().connection_counters().num_pending_outgoing() as usize
                >= MAX_DIALS
        {
            return;
        }
        let options = DialOpts::peer_id(names::to_libp2p(&peer))
            .addresses(addresses)
            .extend_addresses_through_behaviour()
            .build();
        if let Err(error) = self.swarm.dial(options) {
            tracing::debug!(peer = %peer.short(), %error, "a provider was not dialled");
        }
    }

    pub(super) fn addresses(&self, peers: Vec<PeerId>) -> Vec<(PeerId, Vec<String>)> {
        let known = |peer: PeerId| {
            let at = self.book.addresses(&peer);
            (!at.is_empty()).then(|| (peer, at.iter().map(ToString::to_string).collect()))
        };
        peers.into_iter().filter_map(known).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_one_peer_and_of_all_are_bounded_and_keys_are_ours() {
        let now = Instant::now();
        let mut providers = Providers::new(now);
        let peer = PeerId([1; 32]);
        assert_eq!((0..1000).filter(|_| providers.admits(peer, now)).count(), BURST as usize);
        assert!(providers.admits(peer, now + EVERY));
        for index in 0..2 * MAX_PEERS as u32 {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&index.to_be_bytes());
            providers.admits(PeerId(id), now);
        }
        assert!(providers.admitted.len() <= MAX_PEERS);
        assert!(is_blob(&key(&Hash([7; 32]))));
        assert!(!is_blob(&RecordKey::from(vec![7; 32])));
    }
}
