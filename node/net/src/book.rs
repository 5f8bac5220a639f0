//! Whom to dial and when: the peers to stay connected to, those that were up, and those heard of.
//!
//! Pure: time and randomness are arguments, nothing is dialled here. Every peer is given up after
//! some failures in a row, except those the operator named.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use bayan_protocol::id::PeerId;
use libp2p::Multiaddr;

/// Peers remembered at a time, not counting those the operator named.
const MAX_PEERS: usize = 1024;
/// Peers that are wanted by name at a time.
const MAX_WANTED: usize = 64;
/// Failures in a row after which a peer that was never up is forgotten.
const MAX_FAILURES: u32 = 3;
/// Failures in a row after which a peer that was up is forgotten: some minutes of back-off.
const MAX_FAILURES_KEPT: u32 = 12;
/// Back-off between dials of one peer.
const FIRST_DELAY: Duration = Duration::from_millis(500);
const LAST_DELAY: Duration = Duration::from_secs(30);

/// How long to wait after so many failures in a row: doubling, with a quarter of jitter either way.
pub(crate) fn backoff(failures: u32, random: u32) -> Duration {
    let doubled = FIRST_DELAY.saturating_mul(1 << failures.min(16)).min(LAST_DELAY);
    doubled.mul_f64(0.75 + f64::from(random) / f64::from(u32::MAX) / 2.0)
}

/// A dial to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dial {
    /// Who should answer, if known.
    pub(crate) peer: Option<PeerId>,
    /// Where.
    pub(crate) addresses: Vec<Multiaddr>,
    /// The place of the named peer that it is for.
    pub(crate) root: Option<usize>,
}

/// A peer that the operator named.
#[derive(Debug)]
struct Root {
    peer: Option<PeerId>,
    addresses: Vec<Multiaddr>,
    failures: u32,
    next: Instant,
    dialling: bool,
    /// It turned out to be this peer itself.
    own: bool,
}

#[derive(Debug)]
struct Entry {
    addresses: Vec<Multiaddr>,
    failures: u32,
    next: Instant,
    dialling: bool,
    /// It was up once: work with it may be resumed.
    kept: bool,
}

/// The book.
#[derive(Debug, Default)]
pub(crate) struct Book {
    roots: Vec<Root>,
    peers: BTreeMap<PeerId, Entry>,
    /// Those that are to be reached whoever else is connected.
    wanted: BTreeSet<PeerId>,
}

impl Book {
    /// Adds an address that the operator named; addresses of one peer are dialled together.
    pub(crate) fn name(&mut self, peer: Option<PeerId>, address: Multiaddr, now: Instant) {
        let same = |root: &&mut Root| peer.is_some() && root.peer == peer;
        if let Some(root) = self.roots.iter_mut().find(same) {
            root.addresses.push(address);
        } else {
            let addresses = vec![address];
            self.roots.push(Root {
                peer,
                addresses,
                failures: 0,
                next: now,
                dialling: false,
                own: false,
            });
        }
    }

    /// Notes where a peer says it is, or was heard to be; `from` is when it may be dialled first.
    /// The addresses replace older ones if the peer itself said so, else they only fill a gap.
    pub(crate) fn learn(
        &mut self,
        peer: PeerId,
        addresses: Vec<Multiaddr>,
        itself: bool,
        from: Instant,
    ) -> bool {
        if let Some(entry) = self.peers.get_mut(&peer) {
            if itself || entry.addresses.is_empty() {
                entry.addresses = addresses;
            }
            return false;
        }
        if addresses.is_empty() {
            return false;
        }
        if self.peers.len() >= MAX_PEERS {
            let failing = self
                .peers
                .iter()
                .find(|(_, entry)| entry.failures > 0 && !entry.kept)
                .map(|(peer, _)| *peer);
            match failing {
                Some(failing) => self.peers.remove(&failing),
                None => return false,
            };
        }
        self.peers.insert(
            peer,
            Entry { addresses, failures: 0, next: from, dialling: false, kept: false },
        );
        true
    }

    pub(crate) fn contains(&self, peer: &PeerId) -> bool {
        self.peers.contains_key(peer)
    }

    /// The addresses known of a peer.
    pub(crate) fn addresses(&self, peer: &PeerId) -> &[Multiaddr] {
        self.peers.get(peer).map_or(&[], |entry| &entry.addresses)
    }

    /// `peer` is wanted by name, and dialled however many are connected. False if no address of it is
    /// known: it is remembered for when one is.
    pub(crate) fn want(&mut self, peer: PeerId, now: Instant) -> bool {
        if self.wanted.len() >= MAX_WANTED {
            self.wanted.pop_first();
        }
        self.wanted.insert(peer);
        let Some(entry) = self.peers.get_mut(&peer) else { return false };
        entry.next = entry.next.min(now);
        !entry.addresses.is_empty()
    }

    /// What to dial now: all that is due and unconnected, at most `slots`, and of peers that were
    /// merely heard of at most `fresh`. They count as being dialled until told otherwise.
    pub(crate) fn due(
        &mut self,
        now: Instant,
        connected: impl Fn(&PeerId) -> bool,
        mut slots: usize,
        mut fresh: usize,
    ) -> Vec<Dial> {
        let mut dials = Vec::new();
        for (index, root) in self.roots.iter_mut().enumerate() {
            let idle =
                !root.own && !root.dialling && !root.peer.is_some_and(|peer| connected(&peer));
            if slots > 0 && idle && root.next <= now {
                slots -= 1;
                root.dialling = true;
                dials.push(Dial {
                    peer: root.peer,
                    addresses: root.addresses.clone(),
                    root: Some(index),
                });
            }
        }
        let named =
            |peer: &PeerId| self.roots.iter().any(|root| root.dialling && root.peer == Some(*peer));
        for (peer, entry) in &mut self.peers {
            let idle =
                !entry.dialling && !entry.addresses.is_empty() && !connected(peer) && !named(peer);
            let wanted = self.wanted.contains(peer);
            if slots > 0 && idle && entry.next <= now && (entry.kept || wanted || fresh > 0) {
                slots -= 1;
                fresh = fresh.saturating_sub(usize::from(!entry.kept && !wanted));
                entry.dialling = true;
                dials.push(Dial {
                    peer: Some(*peer),
                    addresses: entry.addresses.clone(),
                    root: None,
                });
            }
        }
        dials
    }

    /// A dial reached `peer`.
    pub(crate) fn reached(&mut self, dial: &Dial, peer: PeerId) {
        if let Some(root) = dial.root.and_then(|index| self.roots.get_mut(index)) {
            root.dialling = false;
            root.peer = Some(peer);
            // Forgiven once the peer is up: one that hangs up at once is still backed off from.
            root.failures = root.failures.saturating_add(1);
        }
        self.wanted.remove(&peer);
        if let Some(entry) = dial.peer.and_then(|peer| self.peers.get_mut(&peer)) {
            entry.dialling = false;
        }
    }

    /// A dial failed. Tells which peer was given up, if one was.
    pub(crate) fn failed(&mut self, dial: &Dial, now: Instant, random: u32) -> Option<PeerId> {
        if let Some(root) = dial.root.and_then(|index| self.roots.get_mut(index)) {
            root.dialling = false;
            root.next = now + backoff(root.failures, random);
            root.failures = root.failures.saturating_add(1);
            return None;
        }
        let peer = dial.peer?;
        self.peers.get_mut(&peer)?.dialling = false;
        self.blame(peer, now, random)
    }

    /// Counts a failure against a peer, such as a connection that ended before the peer was up.
    pub(crate) fn blame(&mut self, peer: PeerId, now: Instant, random: u32) -> Option<PeerId> {
        let entry = self.peers.get_mut(&peer)?;
        entry.next = now + backoff(entry.failures, random);
        entry.failures += 1;
        let limit = if entry.kept { MAX_FAILURES_KEPT } else { MAX_FAILURES };
        (entry.failures >= limit).then(|| {
            self.peers.remove(&peer);
            peer
        })
    }

    /// A dial was not made, for no fault of the peer.
    pub(crate) fn skipped(&mut self, dial: &Dial, now: Instant) {
        let later = now + FIRST_DELAY;
        if let Some(root) = dial.root.and_then(|index| self.roots.get_mut(index)) {
            (root.dialling, root.next) = (false, later);
        } else if let Some(entry) = dial.peer.and_then(|peer| self.peers.get_mut(&peer)) {
            (entry.dialling, entry.next) = (false, later);
        }
    }

    /// The named place `index` is this peer itself.
    pub(crate) fn is_own(&mut self, dial: &Dial) {
        if let Some(root) = dial.root.and_then(|index| self.roots.get_mut(index)) {
            root.own = true;
        }
    }

    /// The peer is up: past failures are forgiven, and it will be redialled for longer.
    pub(crate) fn up(&mut self, peer: &PeerId) {
        for root in self.roots.iter_mut().filter(|root| root.peer == Some(*peer)) {
            root.failures = 0;
        }
        if let Some(entry) = self.peers.get_mut(peer) {
            entry.failures = 0;
            entry.kept = true;
        }
    }

    /// The last connection with the peer closed: back-off starts.
    pub(crate) fn lost(&mut self, peer: &PeerId, now: Instant, random: u32) -> Option<PeerId> {
        for root in self.roots.iter_mut().filter(|root| root.peer == Some(*peer)) {
            root.next = now + backoff(root.failures, random);
        }
        self.blame(*peer, now, random)
    }

    /// Someone else answered at this address of the peer. Tells whether the peer was given up.
    pub(crate) fn forget_address(&mut self, peer: &PeerId, address: &Multiaddr) -> bool {
        let Some(entry) = self.peers.get_mut(peer) else { return false };
        entry.addresses.retain(|known| known != address);
        let gone = entry.addresses.is_empty();
        if gone {
            self.peers.remove(peer);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PeerId = PeerId([1; 32]);
    const B: PeerId = PeerId([2; 32]);

    fn at(port: u16) -> Multiaddr {
        format!("/ip4/127.0.0.1/tcp/{port}").parse().expect("a multiaddress")
    }

    fn nobody(_: &PeerId) -> bool {
        false
    }

    #[test]
    fn backoff_doubles_to_half_a_minute_with_jitter() {
        assert_eq!(backoff(0, u32::MAX), FIRST_DELAY.mul_f64(1.25));
        assert_eq!(backoff(0, 0), Duration::from_millis(375));
        assert!(backoff(3, 0) > backoff(2, 0));
        assert_eq!(backoff(99, u32::MAX), LAST_DELAY.mul_f64(1.25));
    }

    #[test]
    fn named_peers_are_dialled_for_ever_and_only_while_unconnected() {
        let (mut book, mut now) = (Book::default(), Instant::now());
        book.name(None, at(1), now);
        for _ in 0..100 {
            let dials = book.due(now, nobody, 9, 0);
            assert_eq!(dials.len(), 1);
            assert!(book.due(now, nobody, 9, 0).is_empty(), "one dial at a time");
            assert_eq!(book.failed(&dials[0], now, 0), None);
            assert!(book.due(now, nobody, 9, 0).is_empty(), "not before the back-off is over");
            now += LAST_DELAY;
        }
        let dials = book.due(now, nobody, 9, 0);
        book.reached(&dials[0], A);
        book.up(&A);
        assert!(book.due(now, |peer| *peer == A, 9, 0).is_empty());
        book.lost(&A, now, 0);
        assert!(book.due(now, nobody, 9, 0).is_empty());
        let dials = book.due(now + FIRST_DELAY, nobody, 9, 0);
        assert_eq!(dials[0].peer, Some(A));
        book.is_own(&dials[0]);
        book.failed(&dials[0], now, 0);
        assert!(book.due(now + 10 * LAST_DELAY, nobody, 9, 9).is_empty(), "never this peer itself");
    }

    #[test]
    fn addresses_of_one_named_peer_are_one_dial() {
        let (mut book, now) = (Book::default(), Instant::now());
        book.name(Some(A), at(1), now);
        book.name(Some(A), at(2), now);
        book.learn(A, vec![at(3)], true, now);
        let dials = book.due(now, nobody, 9, 9);
        assert_eq!(dials, [Dial { peer: Some(A), addresses: vec![at(1), at(2)], root: Some(0) }]);
    }

    #[test]
    fn strangers_are_given_up_soon_and_peers_that_were_up_late() {
        for (kept, limit) in [(false, MAX_FAILURES), (true, MAX_FAILURES_KEPT)] {
            let (mut book, mut now) = (Book::default(), Instant::now());
            book.learn(A, vec![at(1)], true, now);
            if kept {
                book.up(&A);
            }
            for attempt in 1..=limit {
                let dials = book.due(now, nobody, 1, 1);
                assert_eq!(dials.len(), 1, "attempt {attempt}");
                assert_eq!(book.failed(&dials[0], now, 0), (attempt == limit).then_some(A));
                now += LAST_DELAY;
            }
            assert!(book.due(now, nobody, 9, 9).is_empty());
        }
    }

    #[test]
    fn strangers_fill_only_the_places_left_for_them() {
        let (mut book, now) = (Book::default(), Instant::now());
        book.learn(A, vec![at(1)], false, now);
        book.learn(B, vec![at(2)], false, now);
        book.up(&B);
        let dials = book.due(now, nobody, 9, 0);
        assert_eq!(dials.iter().filter_map(|dial| dial.peer).collect::<Vec<_>>(), [B]);
        assert_eq!(book.due(now, nobody, 0, 9), []);
        assert_eq!(book.due(now, nobody, 9, 1).len(), 1);
    }

    #[test]
    fn hearsay_does_not_replace_what_the_peer_said_itself() {
        let (mut book, now) = (Book::default(), Instant::now());
        assert!(book.learn(A, vec![at(1)], true, now));
        assert!(!book.learn(A, vec![at(2)], false, now));
        assert_eq!(book.addresses(&A), [at(1)]);
        assert!(!book.learn(A, vec![at(3)], true, now));
        assert_eq!(book.addresses(&A), [at(3)]);
        assert!(book.forget_address(&A, &at(3)));
        assert!(book.due(now, nobody, 9, 9).is_empty());
    }

    #[test]
    fn the_book_is_bounded() {
        let (mut book, now) = (Book::default(), Instant::now());
        for index in 0..2 * MAX_PEERS as u32 {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&index.to_be_bytes());
            book.learn(PeerId(id), vec![at(1)], false, now);
        }
        assert_eq!(book.due(now, nobody, usize::MAX, usize::MAX).len(), MAX_PEERS);
    }
}
