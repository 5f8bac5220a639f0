//! How connections are carried: QUIC and TCP with noise and yamux, names resolved above a gate that
//! every dial passes, wherever in libp2p its address came from.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    FutureExt as _,
    future::{BoxFuture, ready},
};
use libp2p::{
    Multiaddr, Transport, TransportError,
    core::{
        muxing::StreamMuxerBox,
        transport::{Boxed, DialOpts, ListenerId, OrTransport, TransportEvent},
        upgrade::Version,
    },
    dns,
    identity::Keypair,
    noise, quic, tcp, yamux,
};

use crate::{
    StartError,
    address::{Endpoint, Reach, Scope},
    meter::Meters,
};

/// Time for a TCP connection to be made, encrypted and multiplexed.
const SETUP_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams of one connection at a time.
const MAX_STREAMS: usize = 128;
/// QUIC's receive windows, bytes: one stalled stream must not stall its connection.
const QUIC_STREAM_WINDOW: u32 = 2 << 20;
const QUIC_CONNECTION_WINDOW: u32 = 32 << 20;

type Connections = Boxed<(libp2p::PeerId, StreamMuxerBox)>;

/// The transport of a peer under the rules of `reach`.
pub(crate) fn build(
    keypair: &Keypair,
    with_quic: bool,
    reach: &Reach,
    meters: &Meters,
) -> Result<Connections, StartError> {
    let gated = || {
        Ok::<_, StartError>(Gated {
            inner: carriers(keypair, with_quic, reach, meters)?,
            reach: reach.clone(),
        })
    };
    if reach.scope() == Scope::Loopback {
        return Ok(gated()?.boxed());
    }
    match dns::tokio::Transport::system(gated()?) {
        Ok(resolving) => Ok(resolving.boxed()),
        Err(error) => {
            tracing::warn!(%error, "no name resolution: addresses with host names cannot be dialled");
            Ok(gated()?.boxed())
        }
    }
}

fn carriers(
    keypair: &Keypair,
    with_quic: bool,
    reach: &Reach,
    meters: &Meters,
) -> Result<Connections, StartError> {
    let meters = meters.clone();
    let mut multiplexing = yamux::Config::default();
    multiplexing.set_max_num_streams(MAX_STREAMS);
    let encryption =
        noise::Config::new(keypair).map_err(|error| StartError::Setup(error.to_string()))?;
    let tcp = SourcedTcp {
        inner: tcp::tokio::Transport::new(tcp::Config::new()),
        source: reach.source(),
    }
    .and_then(move |stream, point| ready(meters.put(stream, &point)))
    .upgrade(Version::V1Lazy)
    .authenticate(encryption)
    .multiplex(multiplexing)
    .timeout(SETUP_TIMEOUT)
    .boxed();
    if !with_quic {
        return Ok(tcp);
    }
    let mut config = quic::Config::new(keypair);
    config.max_concurrent_stream_limit = MAX_STREAMS as u32;
    config.max_stream_data = QUIC_STREAM_WINDOW;
    config.max_connection_data = QUIC_CONNECTION_WINDOW;
    let quic = quic::tokio::Transport::new(config)
        .map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)))
        .boxed();
    Ok(OrTransport::new(quic, tcp).map(|either, _| either.into_inner()).boxed())
}

/// Refuses to dial what the rules forbid.
struct Gated<T> {
    inner: T,
    reach: Reach,
}

impl<T: Transport + Unpin> Transport for Gated<T> {
    type Output = T::Output;
    type Error = T::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = T::Dial;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<T::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        options: DialOpts,
    ) -> Result<T::Dial, TransportError<T::Error>> {
        if !self.reach.may_dial(&address) {
            tracing::debug!(%address, "out of reach, not dialled");
            return Err(TransportError::MultiaddrNotSupported(address));
        }
        self.inner.dial(address, options)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Pin::new(&mut self.inner).poll(context)
    }
}

/// TCP that dials loopback addresses from this peer's own loopback address.
///
/// libp2p would dial from `0.0.0.0` with the listener's port. On loopback that turns every peer into
/// 127.0.0.1, and lets peers with equal ports on different loopback addresses collide.
struct SourcedTcp {
    inner: tcp::tokio::Transport,
    source: Option<Ipv4Addr>,
}

impl Transport for SourcedTcp {
    type Output = tcp::tokio::TcpStream;
    type Error = io::Error;
    type ListenerUpgrade = <tcp::tokio::Transport as Transport>::ListenerUpgrade;
    type Dial = BoxFuture<'static, io::Result<tcp::tokio::TcpStream>>;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        options: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        let target = match Endpoint::parse(&address) {
            Some((Endpoint { ip: IpAddr::V4(ip), port, quic: false }, _)) if ip.is_loopback() => {
                Some((ip, port))
            }
            _ => None,
        };
        match (self.source, target) {
            (Some(source), Some((ip, port))) if port != 0 => {
                Ok(connect_from(source, (ip, port).into()).boxed())
            }
            _ => self.inner.dial(address, options).map(|dial| dial.boxed()),
        }
    }

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Pin::new(&mut self.inner).poll(context)
    }
}

async fn connect_from(source: Ipv4Addr, target: SocketAddr) -> io::Result<tcp::tokio::TcpStream> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    let stream = socket.connect(target).await?;
    stream.set_nodelay(true)?;
    Ok(tcp::tokio::TcpStream(stream))
}
