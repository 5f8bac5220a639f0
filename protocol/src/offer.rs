//! Whose work is taken: the operator's own rules against what a job asks for.

use alloc::{string::String, vec::Vec};
use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::wire::Reason;

/// How near a peer is, by the address its connection has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proximity {
    /// This peer itself.
    Own,
    /// A loopback, link-local or private address.
    Lan,
    /// Anywhere else.
    Wide,
}

impl Proximity {
    /// The proximity of an address.
    pub fn of(address: IpAddr) -> Self {
        let near = match address {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => return Self::of(IpAddr::V4(v4)),
                None => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
            },
        };
        if near { Self::Lan } else { Self::Wide }
    }
}

/// The network that a connection comes from: the first 24 bits of an IPv4 address, the first 48 of an
/// IPv6 one. Identities are free, addresses in many networks are not (spec VERIFY-12).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Prefix([u8; 7]);

impl Prefix {
    /// The network of an address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                Self([4, a, b, c, 0, 0, 0])
            }
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => Self::of(IpAddr::V4(v4)),
                None => {
                    let [a, b, c, d, e, f, ..] = v6.octets();
                    Self([6, a, b, c, d, e, f])
                }
            },
        }
    }
}

/// Whose work the operator takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accept {
    /// Only jobs submitted through this peer.
    Own,
    /// Jobs of peers on the same network as well.
    Lan,
    /// Anybody's.
    All,
}

/// What the operator lends, to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lending {
    /// Tasks computed at once.
    pub slots: u32,
    /// Bytes of guest memory for one task.
    pub memory: u64,
    /// Whose work.
    pub accept: Accept,
    /// Engine profiles of the engines at hand.
    pub profiles: Vec<String>,
    /// Whether others' work is handed on to further peers.
    pub relays: bool,
}

impl Lending {
    /// Whether work of a peer at `proximity` that needs `profile` and `memory` is taken, or why not.
    pub fn takes(&self, proximity: Proximity, profile: &str, memory: u64) -> Result<(), Reason> {
        let accepted = match self.accept {
            Accept::Own => proximity == Proximity::Own,
            Accept::Lan => proximity <= Proximity::Lan,
            Accept::All => true,
        };
        if !accepted {
            Err(Reason::NotAccepted)
        } else if !self.profiles.iter().any(|known| known == profile) {
            Err(Reason::Profile)
        } else if memory > self.memory {
            Err(Reason::Memory)
        } else if self.slots == 0 && !self.relays {
            Err(Reason::Busy)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn near_and_far_addresses() {
        for near in [
            "127.3.0.1",
            "10.1.2.3",
            "192.168.0.9",
            "169.254.1.1",
            "::1",
            "fe80::1",
            "fd00::1",
            "::ffff:10.0.0.1",
        ] {
            assert_eq!(Proximity::of(near.parse().unwrap()), Proximity::Lan, "{near}");
        }
        for far in ["8.8.8.8", "2001:db8::1", "172.32.0.1", "::ffff:8.8.8.8"] {
            assert_eq!(Proximity::of(far.parse().unwrap()), Proximity::Wide, "{far}");
        }
    }

    #[test]
    fn addresses_of_one_network_share_a_prefix() {
        let of = |text: &str| Prefix::of(text.parse().unwrap());
        assert_eq!(of("192.0.2.1"), of("192.0.2.254"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.9"));
        assert_ne!(of("192.0.2.1"), of("192.0.3.1"));
        assert_eq!(of("2001:db8:1:1::1"), of("2001:db8:1:2::9"));
        assert_ne!(of("2001:db8:1::1"), of("2001:db8:2::1"));
        assert_ne!(of("4.0.0.1"), of("::1"));
    }

    #[test]
    fn each_rule_refuses_by_its_own_name() {
        let lending = Lending {
            slots: 1,
            memory: 100,
            accept: Accept::Lan,
            profiles: vec!["p".into()],
            relays: false,
        };
        assert_eq!(lending.takes(Proximity::Lan, "p", 100), Ok(()));
        assert_eq!(lending.takes(Proximity::Own, "p", 100), Ok(()));
        assert_eq!(lending.takes(Proximity::Wide, "p", 100), Err(Reason::NotAccepted));
        assert_eq!(lending.takes(Proximity::Lan, "q", 100), Err(Reason::Profile));
        assert_eq!(lending.takes(Proximity::Lan, "p", 101), Err(Reason::Memory));
        let idle = Lending { slots: 0, ..lending };
        assert_eq!(idle.takes(Proximity::Lan, "p", 1), Err(Reason::Busy));
    }
}
