//! Raw streams of our own protocols on chosen connections, as a libp2p behaviour.
//!
//! `libp2p-stream` 0.5.0-alpha does the same with a shared lock, but keeps a sender for every
//! connection ever made, drops an inbound stream when two arrive together, picks a connection at
//! random and dials on its own. Here inbound streams reach the event loop as events (the connection
//! waits while the loop is busy) and outbound ones are answered through a channel of their own.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Ready, ready},
    io,
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{
        Endpoint, UpgradeInfo,
        transport::PortUse,
        upgrade::{InboundUpgrade, ReadyUpgrade},
    },
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, NotifyHandler, StreamUpgradeError, SubstreamProtocol, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::{
            ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
        },
    },
};
use tokio::sync::oneshot;

/// Streams being opened, and streams waiting for the event loop, on one connection.
const MAX_WAITING: usize = 32;

/// Which of our protocols a stream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Framed work, one long-lived stream a pair of peers.
    Work,
    /// Blobs, one stream a transfer.
    Blob,
    /// Probes: some bytes, and a short answer when they have come.
    Link,
}

impl Kind {
    /// The protocol's name on the wire.
    pub(crate) const fn protocol(self) -> StreamProtocol {
        match self {
            Self::Work => StreamProtocol::new("/bayan/work/1"),
            Self::Blob => StreamProtocol::new("/bayan/blob/1"),
            Self::Link => StreamProtocol::new("/bayan/link/1"),
        }
    }
}

/// Why a stream was not opened.
#[derive(Debug)]
pub(crate) enum OpenFailure {
    /// The peer does not speak the protocol.
    Unsupported,
    /// Too many streams are being opened on this connection.
    Busy,
    /// The connection failed or the peer did not answer in time.
    Io(io::Error),
}

/// The answer to a request for a stream; a dropped sender means that the connection closed.
pub(crate) type OpenReply = oneshot::Sender<Result<Stream, OpenFailure>>;

/// A request on its way to a connection.
#[derive(Debug)]
pub(crate) struct Open {
    kind: Kind,
    reply: OpenReply,
}

/// A stream that the other side opened.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) peer: PeerId,
    pub(crate) connection: ConnectionId,
    pub(crate) kind: Kind,
    pub(crate) stream: Stream,
}

/// The behaviour. Requests are handed out when the swarm polls next.
#[derive(Default)]
pub(crate) struct Behaviour {
    queue: VecDeque<ToSwarm<Inbound, Open>>,
}

impl Behaviour {
    /// Asks for a stream on that connection.
    pub(crate) fn open(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        kind: Kind,
        reply: OpenReply,
    ) {
        self.queue.push_back(ToSwarm::NotifyHandler {
            peer_id: peer,
            handler: NotifyHandler::One(connection),
            event: Open { kind, reply },
        });
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Inbound;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        (kind, stream): THandlerOutEvent<Self>,
    ) {
        self.queue.push_back(ToSwarm::GenerateEvent(Inbound { peer, connection, kind, stream }));
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // No waker is kept: the queue is filled by calls of the loop that polls the swarm.
        self.queue.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// One connection's side of the behaviour.
#[derive(Default)]
pub(crate) struct Handler {
    wanted: VecDeque<Open>,
    arrived: VecDeque<(Kind, Stream)>,
    /// Outbound streams in negotiation.
    opening: usize,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Open;
    type ToBehaviour = (Kind, Stream);
    type InboundProtocol = Accept;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = OpenReply;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(Accept, ())
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<
        ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>,
    > {
        if let Some(arrived) = self.arrived.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(arrived));
        }
        while let Some(Open { kind, reply }) = self.wanted.pop_front() {
            if reply.is_closed() {
                continue;
            }
            self.opening += 1;
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(kind.protocol()), reply);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, open: Open) {
        if self.wanted.len() + self.opening < MAX_WAITING {
            self.wanted.push_back(open);
        } else {
            // The asker may be gone already, which is fine.
            let _ = open.reply.send(Err(OpenFailure::Busy));
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<
            '_,
            Self::InboundProtocol,
            Self::OutboundProtocol,
            (),
            Self::OutboundOpenInfo,
        >,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol, ..
            }) if self.arrived.len() < MAX_WAITING => self.arrived.push_back(protocol),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol,
                info,
            }) => {
                self.opening = self.opening.saturating_sub(1);
                let _ = info.send(Ok(protocol));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                self.opening = self.opening.saturating_sub(1);
                let _ = info.send(Err(match error {
                    StreamUpgradeError::NegotiationFailed => OpenFailure::Unsupported,
                    StreamUpgradeError::Timeout => OpenFailure::Io(io::ErrorKind::TimedOut.into()),
                    StreamUpgradeError::Io(error) => OpenFailure::Io(error),
                    StreamUpgradeError::Apply(never) => match never {},
                }));
            }
            _ => {}
        }
    }
}

/// Accepts a stream of any of our protocols.
pub(crate) struct Accept;

impl UpgradeInfo for Accept {
    type Info = StreamProtocol;
    type InfoIter = [StreamProtocol; 3];

    fn protocol_info(&self) -> Self::InfoIter {
        [Kind::Work, Kind::Blob, Kind::Link].map(Kind::protocol)
    }
}

impl InboundUpgrade<Stream> for Accept {
    type Output = (Kind, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        let kinds = [Kind::Work, Kind::Blob];
        let kind = kinds.into_iter().find(|kind| kind.protocol() == protocol);
        ready(Ok((kind.unwrap_or(Kind::Link), stream)))
    }
}
