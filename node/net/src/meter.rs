//! What goes over connections: bytes counted where a TCP socket takes and gives them, encryption and
//! framing included, and what of it was work and blobs. Nothing here judges the figures.

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bayan_protocol::id::PeerId;
use futures::{AsyncRead, AsyncWrite};
use libp2p::{core::ConnectedPoint, tcp::tokio::TcpStream};

use crate::address::Endpoint;

#[cfg(unix)]
type Socket = std::os::fd::OwnedFd;
#[cfg(not(unix))]
type Socket = ();

/// The counters of one TCP connection.
#[derive(Debug)]
pub(crate) struct Meter {
    sent: AtomicU64,
    received: AtomicU64,
    /// Gone as soon as the connection is: a meter must not keep a socket open.
    socket: Weak<Socket>,
}

impl Meter {
    /// Bytes that the socket has taken.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Bytes that the socket has given.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Bytes that the socket has taken and the other side not yet acknowledged; `None` where the
    /// system does not tell, or the connection is closed.
    pub(crate) fn waiting(&self) -> Option<u64> {
        waiting(&*self.socket.upgrade()?)
    }
}

#[cfg(target_os = "linux")]
fn waiting(socket: &Socket) -> Option<u64> {
    use std::os::fd::AsRawFd as _;

    let mut bytes: libc::c_int = 0;
    #[expect(unsafe_code, reason = "no crate wraps this request")]
    // SAFETY: the descriptor is open for as long as `socket` is borrowed, and the request (SIOCOUTQ,
    // see tcp(7)) writes one integer.
    let told = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if told == 0 { u64::try_from(bytes).ok() } else { None }
}

#[cfg(not(target_os = "linux"))]
fn waiting(_socket: &Socket) -> Option<u64> {
    None
}

/// A TCP stream with counters.
pub(crate) struct Metered {
    inner: TcpStream,
    meter: Arc<Meter>,
    _socket: Arc<Socket>,
}

impl Metered {
    fn new(inner: TcpStream) -> io::Result<Self> {
        #[cfg(unix)]
        let socket = Arc::new(std::os::fd::AsFd::as_fd(&inner.0).try_clone_to_owned()?);
        #[cfg(not(unix))]
        let socket = Arc::new(());
        let meter = Meter {
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            socket: Arc::downgrade(&socket),
        };
        Ok(Self { inner, meter: Arc::new(meter), _socket: socket })
    }

    fn count_sent(&self, taken: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = &taken {
            self.meter.sent.fetch_add(*count as u64, Ordering::Relaxed);
        }
        taken
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let given = Pin::new(&mut self.inner).poll_read(context, buffer);
        if let Poll::Ready(Ok(count)) = &given {
            self.meter.received.fetch_add(*count as u64, Ordering::Relaxed);
        }
        given
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.count_sent(taken)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.inner).poll_write_vectored(context, parts);
        self.count_sent(taken)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(context)
    }
}

/// Meters of connections that the event loop has not been told of yet, by the other end's address:
/// the transport makes them, the event loop claims them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meters(Arc<Mutex<Vec<Unclaimed>>>);

/// A meter, and where the other end of its connection is.
type Unclaimed = (Endpoint, Weak<Meter>);

impl Meters {
    /// Puts a meter on a new connection.
    pub(crate) fn put(&self, stream: TcpStream, point: &ConnectedPoint) -> io::Result<Metered> {
        let metered = Metered::new(stream)?;
        let mut unclaimed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // As many as there are connections being made, which the limits of connections bound.
        unclaimed.retain(|(_, meter)| meter.strong_count() > 0);
        if let Some(endpoint) = end(point) {
            unclaimed.push((endpoint, Arc::downgrade(&metered.meter)));
        }
        Ok(metered)
    }

    /// The meter on the connection that has just been made.
    pub(crate) fn claim(&self, point: &ConnectedPoint) -> Option<Arc<Meter>> {
        let endpoint = end(point)?;
        let mut unclaimed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = unclaimed.iter().position(|(known, _)| *known == endpoint)?;
        unclaimed.swap_remove(at).1.upgrade()
    }
}

/// Where the other end of a TCP connection is.
fn end(point: &ConnectedPoint) -> Option<Endpoint> {
    let address = match point {
        ConnectedPoint::Dialer { address, .. } => address,
        ConnectedPoint::Listener { send_back_addr, .. } => send_back_addr,
    };
    Endpoint::parse(address).map(|(endpoint, _)| endpoint).filter(|endpoint| !endpoint.quic)
}

/// What of a peer's bytes was its purpose.
#[derive(Debug, Default)]
pub(crate) struct Purposes {
    pub(crate) work_sent: AtomicU64,
    pub(crate) work_received: AtomicU64,
    pub(crate) blobs_sent: AtomicU64,
    pub(crate) blobs_received: AtomicU64,
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(bytes as u64, Ordering::Relaxed);
}

/// The purposes of all connected peers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger(Arc<RwLock<HashMap<PeerId, Arc<Purposes>>>>);

impl Ledger {
    /// The counters of a connected peer; ones that nobody sees if it is not.
    pub(crate) fn of(&self, peer: &PeerId) -> Arc<Purposes> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.get(peer).cloned().unwrap_or_default()
    }

    /// The peer is connected.
    pub(crate) fn open(&self, peer: PeerId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).entry(peer).or_default();
    }

    /// It is no longer.
    pub(crate) fn close(&self, peer: &PeerId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(peer);
    }
}
