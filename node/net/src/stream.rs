//! A blob stream as our users see it: tokio's traits over libp2p's stream.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::{AsyncRead as _, AsyncWrite as _};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::OwnedSemaphorePermit,
};

use crate::meter::{Purposes, add};

/// A stream of bytes with one peer. Shut its write side down when done; dropping it before resets it.
///
/// An inbound stream holds one of the places for inbound streams until it is dropped.
pub struct ByteStream {
    inner: libp2p::Stream,
    purposes: Arc<Purposes>,
    _places: Vec<OwnedSemaphorePermit>,
}

impl ByteStream {
    pub(crate) fn new(
        inner: libp2p::Stream,
        places: Vec<OwnedSemaphorePermit>,
        purposes: Arc<Purposes>,
    ) -> Self {
        Self { inner, purposes, _places: places }
    }
}

impl fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteStream").finish_non_exhaustive()
    }
}

impl AsyncRead for ByteStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read =
            ready!(Pin::new(&mut self.inner).poll_read(context, buffer.initialize_unfilled()))?;
        buffer.advance(read);
        add(&self.purposes.blobs_received, read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ByteStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = ready!(Pin::new(&mut self.inner).poll_write(context, bytes))?;
        add(&self.purposes.blobs_sent, taken);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(context)
    }
}
