//! How the rest of a peer talks to its network side.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use bayan_protocol::{
    id::{Hash, PeerId},
    link::{Profile, Setting},
};
use libp2p::Multiaddr;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    ByteStream, DownReason, PeerInfo,
    address::Reach,
    meter::Ledger,
    outbox::Outboxes,
    substream::{OpenFailure, OpenReply},
};

/// Bytes of an advert.
pub const MAX_ADVERT: usize = 8 << 10;
/// Commands waiting for the event loop.
pub(crate) const MAX_COMMANDS: usize = 256;
/// Addresses looked at of a peer to meet.
const MAX_MEET: usize = 16;
/// Time to open a blob stream, a little more than libp2p gives the negotiation.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);
/// Time for everything to end on a shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// What the event loop is asked to do.
pub(crate) enum Command {
    OpenBlob { peer: PeerId, reply: OpenReply },
    Publish(Vec<u8>),
    Dial(Multiaddr),
    Reach(PeerId),
    Disconnect { peer: PeerId, reason: String },
    Peers(oneshot::Sender<Vec<PeerInfo>>),
    Meet { peer: PeerId, addresses: Vec<Multiaddr> },
    Addresses { peers: Vec<PeerId>, reply: oneshot::Sender<Vec<(PeerId, Vec<String>)>> },
    Provide(Hash),
    StopProviding(Hash),
    FindProviders(Hash),
    Shutdown(oneshot::Sender<()>),
}

/// Why a frame was not queued.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No work stream with this peer is open.
    #[error("no work stream with this peer is open")]
    NotUp,
    /// The peer's queue was full; its work stream is being closed.
    #[error("the peer is too slow: its queue is full")]
    TooSlow,
    /// Frames have at least one byte and at most [`bayan_protocol::limits::MAX_FRAME`].
    #[error("a frame of {0} bytes cannot be sent")]
    Length(usize),
}

/// Why a blob stream was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The peer is not connected.
    #[error("the peer is not connected")]
    NotConnected,
    /// The peer does not serve blobs.
    #[error("the peer does not serve blobs")]
    Unsupported,
    /// Too many streams are being opened, or the event loop is overwhelmed.
    #[error("too many streams are being opened")]
    Busy,
    /// The peer did not answer in time.
    #[error("the peer did not answer in time")]
    TimedOut,
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(std::io::Error),
    /// The network side has shut down.
    #[error("the network side has shut down")]
    Stopped,
}

/// Why a command was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The address cannot be dialled.
    #[error("cannot dial {address}: {reason}")]
    Address {
        /// The address as given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The advert is longer than [`MAX_ADVERT`].
    #[error("an advert of {0} bytes is too long")]
    TooLong(usize),
    /// Too many commands are waiting; try again later.
    #[error("the network side is busy")]
    Busy,
    /// The network side has shut down.
    #[error("the network side has shut down")]
    Stopped,
}

/// What handles share with the event loop.
pub(crate) struct Shared {
    pub(crate) id: PeerId,
    pub(crate) outboxes: Outboxes,
    pub(crate) listening: RwLock<Vec<String>>,
    pub(crate) reach: Reach,
    pub(crate) ledger: Ledger,
    pub(crate) line: RwLock<(Setting, Profile)>,
}

/// The network side of this peer. When the last handle is dropped it shuts down.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Handle").field(&self.shared.id).finish()
    }
}

impl Handle {
    pub(crate) fn new(commands: mpsc::Sender<Command>, shared: Arc<Shared>) -> Self {
        Self { commands, shared }
    }

    /// This peer's id.
    pub fn id(&self) -> PeerId {
        self.shared.id
    }

    /// Where this peer listens, as multiaddresses that end in `/p2p/…`.
    pub fn listen_addresses(&self) -> Vec<String> {
        self.shared.listening.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the operator said of the line, and the profile in force for this peer as a whole.
    pub fn line(&self) -> (Setting, Profile) {
        *self.shared.line.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a frame for a peer that is up. Never waits.
    ///
    /// # Errors
    /// [`SendError::TooSlow`] also closes the work stream, with [`DownReason::TooSlow`].
    pub fn send(&self, peer: PeerId, frame: Vec<u8>) -> Result<(), SendError> {
        self.shared.outboxes.send(&peer, frame)
    }

    /// Opens a blob stream to a connected peer.
    ///
    /// # Errors
    /// See [`OpenError`]. A peer that has no place for the stream resets it after it was opened.
    pub async fn open_blob(&self, peer: PeerId) -> Result<ByteStream, OpenError> {
        let (reply, answer) = oneshot::channel();
        self.commands.try_send(Command::OpenBlob { peer, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => OpenError::Busy,
            mpsc::error::TrySendError::Closed(_) => OpenError::Stopped,
        })?;
        match timeout(OPEN_TIMEOUT, answer).await {
            Err(_) => Err(OpenError::TimedOut),
            // The event loop or the connection dropped the request.
            Ok(Err(_)) if self.commands.is_closed() => Err(OpenError::Stopped),
            Ok(Err(_)) => Err(OpenError::NotConnected),
            Ok(Ok(Ok(stream))) => {
                Ok(ByteStream::new(stream, Vec::new(), self.shared.ledger.of(&peer)))
            }
            Ok(Ok(Err(OpenFailure::Unsupported))) => Err(OpenError::Unsupported),
            Ok(Ok(Err(OpenFailure::Busy))) => Err(OpenError::Busy),
            Ok(Ok(Err(OpenFailure::Io(error)))) if error.kind() == std::io::ErrorKind::TimedOut => {
                Err(OpenError::TimedOut)
            }
            Ok(Ok(Err(OpenFailure::Io(error)))) => Err(OpenError::Io(error)),
        }
    }

    /// Gossips an advert. While nobody listens, the latest one is kept and sent to the first who does.
    ///
    /// The same bytes are gossiped once within three minutes, and other peers pass on only a few
    /// adverts of one author a minute: publish rarely, and with something that changes inside.
    ///
    /// # Errors
    /// [`CommandError::TooLong`] above [`MAX_ADVERT`] bytes.
    pub fn publish_advert(&self, bytes: Vec<u8>) -> Result<(), CommandError> {
        if bytes.len() > MAX_ADVERT {
            return Err(CommandError::TooLong(bytes.len()));
        }
        self.command(Command::Publish(bytes))
    }

    /// Dials an address once. If a peer answers there, [`crate::Event::Up`] follows.
    ///
    /// # Errors
    /// [`CommandError::Address`] tells what is wrong with the address.
    pub fn dial(&self, address: &str) -> Result<(), CommandError> {
        let refuse = |reason: String| CommandError::Address { address: address.to_owned(), reason };
        let parsed: Multiaddr =
            address.parse().map_err(|error: libp2p::multiaddr::Error| refuse(error.to_string()))?;
        if let Some(objection) = self.shared.reach.objection(&parsed) {
            return Err(refuse(objection.to_owned()));
        }
        self.shared.reach.name(&parsed);
        self.command(Command::Dial(parsed))
    }

    /// Connects to a peer wherever it is, as far as its addresses are known or can be found out.
    ///
    /// # Errors
    /// [`CommandError::Busy`] and [`CommandError::Stopped`].
    pub fn reach(&self, peer: PeerId) -> Result<(), CommandError> {
        self.command(Command::Reach(peer))
    }

    /// Connects to a peer that somebody told of, at these addresses or those known of it, unless it is
    /// connected or refused. Addresses that may not be dialled are left out.
    pub fn meet(&self, peer: PeerId, addresses: Vec<String>) {
        let parsed = addresses.iter().take(MAX_MEET).filter_map(|address| address.parse().ok());
        // A hint: with too much to do it is dropped, and somebody will tell of the peer again.
        let _ = self.command(Command::Meet { peer, addresses: parsed.collect() });
    }

    /// Where these peers listen, as far as they said so; those that nothing is known of are left out.
    pub async fn addresses(&self, peers: Vec<PeerId>) -> Vec<(PeerId, Vec<String>)> {
        let (reply, answer) = oneshot::channel();
        if self.command(Command::Addresses { peers, reply }).is_err() {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }

    /// Tells the network that this peer has a blob. Best effort.
    pub fn provide(&self, hash: Hash) {
        let _ = self.command(Command::Provide(hash));
    }

    /// Tells the network of it no more: what others remember of it runs out by itself.
    pub fn stop_providing(&self, hash: Hash) {
        let _ = self.command(Command::StopProviding(hash));
    }

    /// Looks for peers that have a blob; [`crate::Event::Providers`] tells of some, if there are any.
    pub fn find_providers(&self, hash: Hash) {
        let _ = self.command(Command::FindProviders(hash));
    }

    /// Closes the work stream and every connection with a misbehaving peer, and refuses it for
    /// [`crate::Config::refuse_for`].
    ///
    /// # Errors
    /// On [`CommandError::Busy`] only the work stream is closed; call again.
    pub fn disconnect(&self, peer: PeerId, reason: &str) -> Result<(), CommandError> {
        self.shared.outboxes.stop(&peer, DownReason::Disconnected(reason.to_owned()));
        self.command(Command::Disconnect { peer, reason: reason.to_owned() })
    }

    /// The connected peers; empty after a shutdown.
    pub async fn peers(&self) -> Vec<PeerInfo> {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Peers(reply)).await.is_err() {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }

    /// Sends what is queued, closes everything and waits for the end, a few seconds at most.
    pub async fn shutdown(self) {
        let (reply, answer) = oneshot::channel();
        // An error on either channel means that it is over already.
        let all = async {
            if self.commands.send(Command::Shutdown(reply)).await.is_ok() {
                let _ = answer.await;
            }
        };
        let _ = timeout(SHUTDOWN_TIMEOUT, all).await;
    }

    fn command(&self, command: Command) -> Result<(), CommandError> {
        self.commands.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => CommandError::Busy,
            mpsc::error::TrySendError::Closed(_) => CommandError::Stopped,
        })
    }
}
