//! What a peer is told at its start, and how a start can fail. No checking is done here.

use std::{fmt, time::Duration};

use bayan_protocol::link::Setting;

/// Settings of one peer's network side. [`Config::new`] gives the defaults.
#[derive(Clone)]
pub struct Config {
    /// The Ed25519 secret seed: the peer's one key.
    pub secret: [u8; 32],
    /// Where to listen: `/ip4/…/tcp/PORT` and `/ip4/…/udp/PORT/quic-v1` (or `ip6`). May be empty.
    ///
    /// A peer that listens on loopback addresses alone dials and passes on nothing but loopback
    /// addresses; any other peer never dials or passes on one, unless it is named in `bootstrap`
    /// or given to [`crate::Handle::dial`]. A peer that listens nowhere goes by its `bootstrap`.
    pub listen: Vec<String>,
    /// Peers to stay connected to, with or without `/p2p/…`; each is redialled while unconnected.
    pub bootstrap: Vec<String>,
    /// Whether to look for peers on the local network by multicast.
    pub mdns: bool,
    /// Whether to use QUIC beside TCP.
    pub quic: bool,
    /// What the operator says of the line.
    pub link: Setting,
    /// Program name and version told to other peers.
    pub agent: String,
    /// Most established connections; three fifths of them may be inbound, two fifths outbound.
    pub max_peers: u32,
    /// Whether nobody is connected to but those in `bootstrap` and who is wanted by name.
    pub only_bootstrap: bool,
    /// Outbound connections up to which newly discovered peers are dialled.
    pub target_outgoing: u32,
    /// Frames queued for one peer before it counts as too slow.
    pub queue_frames: usize,
    /// Bytes queued for one peer before it counts as too slow. At least one largest frame.
    pub queue_bytes: usize,
    /// Events held for the receiver before the readers of work streams stop reading.
    pub event_capacity: usize,
    /// How long a peer is refused after [`crate::Handle::disconnect`].
    pub refuse_for: Duration,
}

impl Config {
    /// Defaults for a home peer: no addresses yet, QUIC on, multicast off, 160 connections.
    pub fn new(secret: [u8; 32]) -> Self {
        Self {
            secret,
            listen: Vec::new(),
            bootstrap: Vec::new(),
            mdns: false,
            quic: true,
            link: Setting::Auto,
            agent: concat!("bayan/", env!("CARGO_PKG_VERSION")).to_owned(),
            max_peers: 160,
            only_bootstrap: false,
            target_outgoing: 32,
            queue_frames: 16_384,
            queue_bytes: 4 * bayan_protocol::limits::MAX_FRAME,
            event_capacity: 64,
            refuse_for: Duration::from_secs(300),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("secret", &"…")
            .field("listen", &self.listen)
            .field("bootstrap", &self.bootstrap)
            .field("mdns", &self.mdns)
            .field("quic", &self.quic)
            .field("link", &self.link)
            .field("agent", &self.agent)
            .field("max_peers", &self.max_peers)
            .field("only_bootstrap", &self.only_bootstrap)
            .field("target_outgoing", &self.target_outgoing)
            .finish_non_exhaustive()
    }
}

/// Why a peer's network side did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The secret is not a key.
    #[error("the secret is not an Ed25519 key: {0}")]
    Key(String),
    /// An address in `listen` or `bootstrap` cannot be used.
    #[error("cannot use address {address}: {reason}")]
    Address {
        /// The address as given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another program (or another peer) listens there.
    #[error("cannot listen on {address}: the port is in use")]
    PortInUse {
        /// The address as given.
        address: String,
    },
    /// Listening failed for another reason, such as an address this machine does not have.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address as given.
        address: String,
        /// What the operating system said.
        reason: String,
    },
    /// Encryption or transports could not be set up.
    #[error("cannot set up the network: {0}")]
    Setup(String),
}
