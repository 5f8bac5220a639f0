//! Which addresses may be dialled, kept and passed on. Pure; nothing is resolved or dialled here.
//!
//! One rule rides above the others: a peer on loopback stays on loopback, and nobody else can be
//! talked into dialling into its own machine.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, PoisonError},
};

use libp2p::{Multiaddr, multiaddr::Protocol};

/// Addresses kept of one peer.
pub(crate) const MAX_ADDRESSES: usize = 8;
/// Addresses that the operator named and that are exempt from the loopback rule.
const MAX_NAMED: usize = 256;

/// How far this peer's addresses reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Loopback addresses only.
    Loopback,
    /// Everything else.
    Wide,
}

/// An address of the only shapes this crate dials by itself: an IP address with TCP or QUIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Endpoint {
    pub(crate) ip: IpAddr,
    pub(crate) port: u16,
    pub(crate) quic: bool,
}

impl Endpoint {
    /// Parses `/ip/tcp` or `/ip/udp/quic-v1`, with or without `/p2p` at the end.
    pub(crate) fn parse(address: &Multiaddr) -> Option<(Self, Option<libp2p::PeerId>)> {
        let mut parts = address.iter();
        let ip = ip_of(&parts.next()?)?;
        let (port, quic) = match parts.next()? {
            Protocol::Tcp(port) => (port, false),
            Protocol::Udp(port) => match parts.next()? {
                Protocol::QuicV1 => (port, true),
                _ => return None,
            },
            _ => return None,
        };
        let peer = match parts.next() {
            None => None,
            Some(Protocol::P2p(peer)) => Some(peer),
            Some(_) => return None,
        };
        parts.next().is_none().then_some((Self { ip, port, quic }, peer))
    }

    /// The multiaddress, without `/p2p`.
    pub(crate) fn to_multiaddr(self) -> Multiaddr {
        let address = Multiaddr::empty().with(self.ip.into());
        if self.quic {
            address.with(Protocol::Udp(self.port)).with(Protocol::QuicV1)
        } else {
            address.with(Protocol::Tcp(self.port))
        }
    }
}

/// The IP address in a component; an IPv4 address in IPv6 clothing counts as what it is.
fn ip_of(part: &Protocol<'_>) -> Option<IpAddr> {
    match part {
        Protocol::Ip4(ip) => Some(IpAddr::V4(*ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(*ip).to_canonical()),
        _ => None,
    }
}

/// The IP address that `address` starts with.
pub(crate) fn leading_ip(address: &Multiaddr) -> Option<IpAddr> {
    ip_of(&address.iter().next()?)
}

/// IP address and port of `address`, whatever follows.
fn socket_of(address: &Multiaddr) -> Option<(IpAddr, u16)> {
    let mut parts = address.iter();
    let ip = ip_of(&parts.next()?)?;
    match parts.next()? {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some((ip, port)),
        _ => None,
    }
}

/// The rules of one peer, shared by whoever learns addresses and by the transport that dials them.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    scope: Scope,
    quic: bool,
    /// The loopback address to dial from.
    source: Option<Ipv4Addr>,
    named: Arc<Mutex<BTreeSet<(IpAddr, u16)>>>,
}

impl Reach {
    /// The rules of a peer with these addresses.
    pub(crate) fn new(listen: &[Multiaddr], bootstrap: &[Multiaddr], quic: bool) -> Self {
        let deciding = if listen.is_empty() { bootstrap } else { listen };
        let local = |address: &Multiaddr| leading_ip(address).is_some_and(|ip| ip.is_loopback());
        let scope = if !deciding.is_empty() && deciding.iter().all(local) {
            Scope::Loopback
        } else {
            Scope::Wide
        };
        let source = match (scope, listen.iter().find_map(leading_ip)) {
            (Scope::Loopback, Some(IpAddr::V4(ip))) => Some(ip),
            _ => None,
        };
        let reach = Self { scope, quic, source, named: Arc::default() };
        bootstrap.iter().for_each(|address| reach.name(address));
        reach
    }

    pub(crate) fn scope(&self) -> Scope {
        self.scope
    }

    /// The loopback address from which a loopback peer dials.
    pub(crate) fn source(&self) -> Option<Ipv4Addr> {
        self.source
    }

    /// Exempts an address that the operator gave from the loopback rule.
    pub(crate) fn name(&self, address: &Multiaddr) {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(socket) = socket_of(address)
            && named.len() < MAX_NAMED
        {
            named.insert(socket);
        }
    }

    /// Whether a connection to `address`, in which names are already resolved, may be made.
    pub(crate) fn may_dial(&self, address: &Multiaddr) -> bool {
        let Some((ip, port)) = socket_of(address) else { return false };
        match self.scope {
            Scope::Loopback => ip.is_loopback(),
            Scope::Wide => {
                !ip.is_loopback()
                    || self
                        .named
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .contains(&(ip, port))
            }
        }
    }

    /// Why the operator may not give `address` to be dialled, if so.
    pub(crate) fn objection(&self, address: &Multiaddr) -> Option<&'static str> {
        let mut parts = address.iter();
        let first = parts.next();
        let named = matches!(first, Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)));
        let dnsaddr = matches!(first, Some(Protocol::Dnsaddr(_)));
        let ip = first.as_ref().and_then(ip_of);
        if ip.is_none() && !named && !dnsaddr {
            return Some("it must start with /ip4, /ip6, /dns, /dns4, /dns6 or /dnsaddr");
        }
        if self.scope == Scope::Loopback && !ip.is_some_and(|ip| ip.is_loopback()) {
            return Some("this peer is on loopback alone and dials loopback addresses only");
        }
        if dnsaddr {
            return None;
        }
        match (parts.next(), parts.next()) {
            (Some(Protocol::Tcp(0) | Protocol::Udp(0)), _) => Some("port 0 cannot be dialled"),
            (Some(Protocol::Tcp(_)), None | Some(Protocol::P2p(_))) => None,
            (Some(Protocol::Udp(_)), Some(Protocol::QuicV1)) => {
                (!self.quic).then_some("QUIC is switched off")
            }
            _ => Some("after the host it must read /tcp/PORT or /udp/PORT/quic-v1"),
        }
    }

    /// Those of a peer's claimed addresses that may be kept, in our spelling and at most
    /// [`MAX_ADDRESSES`]; `own` are this peer's own.
    pub(crate) fn admit<'a>(
        &self,
        claimed: impl IntoIterator<Item = &'a Multiaddr>,
        peer: &libp2p::PeerId,
        own: &BTreeSet<Endpoint>,
    ) -> Vec<Multiaddr> {
        let mut admitted: Vec<Endpoint> = Vec::new();
        // Hostile lists may be long: look at no more than a multiple of what is kept.
        for address in claimed.into_iter().take(4 * MAX_ADDRESSES) {
            let Some((endpoint, named)) = Endpoint::parse(address) else { continue };
            let right_peer = named.is_none_or(|named| named == *peer);
            if right_peer
                && self.is_dialable(&endpoint)
                && !own.contains(&endpoint)
                && !admitted.contains(&endpoint)
            {
                admitted.push(endpoint);
            }
        }
        if admitted.iter().any(|endpoint| !is_container(endpoint.ip)) {
            admitted.retain(|endpoint| !is_container(endpoint.ip));
        }
        admitted.truncate(MAX_ADDRESSES);
        admitted.into_iter().map(Endpoint::to_multiaddr).collect()
    }

    /// Whether this peer may tell others that it listens here.
    pub(crate) fn may_advertise(&self, endpoint: &Endpoint) -> bool {
        self.is_dialable(endpoint)
    }

    fn is_dialable(&self, endpoint: &Endpoint) -> bool {
        let usable = match endpoint.ip {
            IpAddr::V4(ip) => {
                !ip.is_unspecified()
                    && !ip.is_multicast()
                    && !ip.is_broadcast()
                    && !ip.is_link_local()
            }
            // A link-local address means nothing without the interface it belongs to.
            IpAddr::V6(ip) => {
                !ip.is_unspecified() && !ip.is_multicast() && !ip.is_unicast_link_local()
            }
        };
        usable
            && endpoint.port != 0
            && (self.quic || !endpoint.quic)
            && (endpoint.ip.is_loopback() == (self.scope == Scope::Loopback))
    }
}

/// Whether `ip` lies in a range that container engines hand out by default (Docker's first bridge,
/// Podman's): as a rule the same on every host, so useless from another.
pub(crate) fn is_container(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => matches!(ip.octets(), [172, 17, ..] | [10, 88, ..]),
        IpAddr::V6(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Multiaddr {
        text.parse().expect("a multiaddress")
    }

    fn admitted(reach: &Reach, claimed: &[&str]) -> Vec<String> {
        let claimed: Vec<_> = claimed.iter().map(|text| at(text)).collect();
        let own =
            BTreeSet::from([Endpoint::parse(&at("/ip4/192.168.1.5/tcp/4001")).expect("parses").0]);
        reach
            .admit(&claimed, &libp2p::PeerId::random(), &own)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_loopback_peer_stays_on_loopback() {
        let reach = Reach::new(&[at("/ip4/127.3.0.1/tcp/0")], &[], true);
        assert_eq!(reach.scope(), Scope::Loopback);
        assert!(reach.may_dial(&at("/ip4/127.9.0.1/tcp/1")));
        assert!(!reach.may_dial(&at("/ip4/192.168.1.2/tcp/1")));
        assert!(!reach.may_dial(&at("/dns4/example.org/tcp/1")));
        assert_eq!(
            admitted(&reach, &["/ip4/10.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/2"]),
            ["/ip4/127.0.0.1/tcp/2"]
        );
        assert!(reach.objection(&at("/ip4/10.0.0.1/tcp/1")).is_some());
    }

    #[test]
    fn a_wide_peer_never_dials_loopback_unless_told_to() {
        let reach = Reach::new(&[at("/ip4/0.0.0.0/tcp/0")], &[at("/ip4/127.0.0.1/tcp/4001")], true);
        assert_eq!(reach.scope(), Scope::Wide);
        assert!(reach.may_dial(&at("/ip4/127.0.0.1/tcp/4001")));
        assert!(!reach.may_dial(&at("/ip4/127.0.0.1/tcp/4002")));
        assert!(
            !reach.may_dial(&at("/ip6/::ffff:127.0.0.1/tcp/4002")),
            "mapped addresses are no way around"
        );
        assert!(
            admitted(&reach, &["/ip4/127.0.0.1/tcp/4001"]).is_empty(),
            "nor is it kept or passed on"
        );
    }

    #[test]
    fn useless_addresses_are_dropped() {
        let reach = Reach::new(&[at("/ip4/0.0.0.0/tcp/0")], &[], false);
        let claimed = [
            "/ip4/0.0.0.0/tcp/1",
            "/ip4/224.0.0.1/tcp/1",
            "/ip4/169.254.3.4/tcp/1",
            "/ip6/fe80::1/tcp/1",
            "/ip4/8.8.8.8/tcp/0",
            "/ip4/8.8.8.8/udp/1/quic-v1",
            "/dns4/example.org/tcp/1",
            "/ip4/192.168.1.5/tcp/4001",
            "/ip4/172.17.0.2/tcp/1",
            "/ip4/8.8.8.8/tcp/1",
            "/ip4/8.8.8.8/tcp/1",
        ];
        assert_eq!(admitted(&reach, &claimed), ["/ip4/8.8.8.8/tcp/1"]);
        let other = libp2p::PeerId::random();
        assert!(admitted(&reach, &[&format!("/ip4/8.8.8.8/tcp/1/p2p/{other}")]).is_empty());
        assert_eq!(admitted(&reach, &["/ip4/172.17.0.2/tcp/1"]).len(), 1, "better than no address");
    }

    #[test]
    fn endpoints_round_trip() {
        for text in ["/ip4/1.2.3.4/tcp/5", "/ip6/2001:db8::1/udp/5/quic-v1"] {
            let (endpoint, peer) = Endpoint::parse(&at(text)).expect("parses");
            assert_eq!((endpoint.to_multiaddr().to_string().as_str(), peer), (text, None));
        }
        for text in ["/ip4/1.2.3.4/tcp/5/ws", "/ip4/1.2.3.4", "/ip4/1.2.3.4/udp/5", "/tcp/5"] {
            assert_eq!(Endpoint::parse(&at(text)), None, "{text}");
        }
    }

    #[test]
    fn objections_name_what_is_wrong() {
        let reach = Reach::new(&[], &[], false);
        assert_eq!(reach.objection(&at("/ip4/8.8.8.8/tcp/1")), None);
        assert_eq!(reach.objection(&at("/dnsaddr/example.org")), None);
        for text in [
            "/tcp/1",
            "/ip4/8.8.8.8",
            "/ip4/8.8.8.8/tcp/0",
            "/ip4/8.8.8.8/udp/1/quic-v1",
            "/ip4/8.8.8.8/udp/1",
        ] {
            assert!(reach.objection(&at(text)).is_some(), "{text}");
        }
    }
}
