//! What the network side tells its user.

use std::{fmt, time::Duration};

use bayan_protocol::{
    id::{Hash, PeerId},
    link::{Profile, Rate},
};

use crate::ByteStream;

/// Something that happened. Per peer: `Up`, then frames in the order they were sent, then one `Down`.
#[derive(Debug)]
pub enum Event {
    /// This peer listens here; the text ends in `/p2p/…` and serves as another's bootstrap address.
    Listening {
        /// The multiaddress.
        address: String,
    },
    /// The work stream with this peer is open in both directions.
    Up {
        /// Who.
        peer: PeerId,
        /// The other end of the connection, as seen from here.
        address: String,
        /// Whether the other side made the connection.
        inbound: bool,
    },
    /// One work frame.
    Frame {
        /// Who sent it.
        peer: PeerId,
        /// Its bytes, at most [`bayan_protocol::limits::MAX_FRAME`]; never empty.
        bytes: Vec<u8>,
    },
    /// The work stream with this peer is gone.
    Down {
        /// Who.
        peer: PeerId,
        /// Why.
        reason: DownReason,
    },
    /// What was measured of the link to a neighbour, from time to time.
    Link {
        /// Whom.
        peer: PeerId,
        /// The shortest of the latest round trips.
        rtt: Duration,
        /// What the link carries towards it, as far as that was seen.
        rate: Option<Rate>,
    },
    /// An advert off the gossip topic.
    Advert {
        /// Whose key signed the gossip message.
        ///
        /// Gossip drops a second copy of the same bytes, whoever signs it. So another peer may be
        /// the first to pass on a copy in its own name: what an advert claims must be signed inside.
        from: PeerId,
        /// The advert.
        bytes: Vec<u8>,
    },
    /// These peers say that they have a blob, in answer to [`crate::Handle::find_providers`]. They are
    /// being connected to.
    Providers {
        /// Which blob.
        hash: Hash,
        /// Who.
        peers: Vec<PeerId>,
    },
    /// A peer opened a blob stream, perhaps before it was up. Dropping the stream resets it.
    BlobRequest {
        /// Who.
        peer: PeerId,
        /// The stream.
        stream: ByteStream,
    },
}

/// Why a work stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DownReason {
    /// The other side closed it in order: it is shutting down, and all that it had queued has come.
    Closed,
    /// The stream or its connection ended without a word.
    Lost,
    /// The other side announced a frame longer than allowed; nothing of it was read.
    OversizedFrame,
    /// More was queued for the peer than it took in time.
    TooSlow,
    /// The other side opened a newer stream.
    Replaced,
    /// [`crate::Handle::disconnect`] was called, with this reason.
    Disconnected(String),
    /// This peer is shutting down.
    Shutdown,
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed by the other side",
            Self::Lost => "connection lost",
            Self::OversizedFrame => "the other side announced an oversized frame",
            Self::TooSlow => "the other side is too slow",
            Self::Replaced => "replaced by a newer stream",
            Self::Disconnected(reason) => return write!(f, "disconnected: {reason}"),
            Self::Shutdown => "this peer is shutting down",
        })
    }
}

/// What carries a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransportKind {
    /// TCP with noise and yamux.
    Tcp,
    /// QUIC version 1.
    Quic,
}

/// A connected peer.
#[derive(Debug, Clone)]
pub struct PeerInfo {
    /// Who.
    pub id: PeerId,
    /// The other end of the oldest connection, as seen from here.
    pub address: String,
    /// Program name and version as the peer tells it; printable, at most 128 characters, empty until
    /// it has been told, which may be shortly after the peer is up.
    pub agent: String,
    /// The last measured round trip.
    pub rtt: Option<Duration>,
    /// Whether the other side made the connection.
    pub inbound: bool,
    /// What carries the connection.
    pub transport: TransportKind,
    /// Whether the work stream is open.
    pub up: bool,
    /// What the link carries towards the peer, as far as that was seen. Not measured over QUIC, nor
    /// where the system does not tell what the other side has acknowledged.
    pub rate: Option<Rate>,
    /// The profile in force towards the peer.
    pub profile: Profile,
    /// What went over the open connections.
    pub traffic: Traffic,
}

/// Bytes that went over a peer's open connections. What is neither work nor blobs is the background:
/// discovery, adverts, pings, and the cost of encryption and framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// All that the sockets took, without the headers of TCP and below; `None` over QUIC.
    pub sent: Option<u64>,
    /// All that they gave.
    pub received: Option<u64>,
    /// Frames of the work stream.
    pub work_sent: u64,
    /// Likewise.
    pub work_received: u64,
    /// What was written to blob streams.
    pub blobs_sent: u64,
    /// What was read from them.
    pub blobs_received: u64,
}
