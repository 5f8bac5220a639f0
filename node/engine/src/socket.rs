//! Bytes and descriptors over a Unix stream socket.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use crate::wire::Inbound;
use rustix::{
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
};

/// Bytes taken from a socket at once.
const READ: usize = 64 << 10;
/// A piece of output that grows beyond this is followed by another.
const PIECE: usize = 256 << 10;

/// Output that waits for the socket.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that have been sent.
    sent: usize,
}

#[derive(Debug, Default)]
struct Piece {
    bytes: Vec<u8>,
    /// Travels with the first byte.
    descriptor: Option<OwnedFd>,
}

impl Outbound {
    /// Where frames without a descriptor are to be appended.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        if self.pieces.back().is_none_or(|last| last.bytes.len() >= PIECE) {
            self.pieces.push_back(Piece::default());
        }
        &mut self.pieces.back_mut().expect("a piece was just added").bytes
    }

    /// Appends bytes that a descriptor travels with.
    pub(crate) fn push(&mut self, bytes: Vec<u8>, descriptor: OwnedFd) {
        self.pieces.push_back(Piece { bytes, descriptor: Some(descriptor) });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Sends until everything is sent or the socket takes no more.
    pub(crate) fn send(&mut self, socket: &UnixStream) -> io::Result<()> {
        while let Some(piece) = self.pieces.front_mut() {
            if self.sent == piece.bytes.len() {
                self.pieces.pop_front();
                self.sent = 0;
                continue;
            }
            let bytes = [IoSlice::new(&piece.bytes[self.sent..])];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let descriptors = piece.descriptor.as_ref().map(|descriptor| [descriptor.as_fd()]);
            if let Some(descriptors) = &descriptors {
                control.push(SendAncillaryMessage::ScmRights(descriptors));
            }
            match sendmsg(socket, &bytes, &mut control, flags()) {
                Ok(sent) => {
                    self.sent += sent;
                    piece.descriptor = None;
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// A peer that is gone is an error here, not a signal.
fn flags() -> SendFlags {
    #[cfg(target_os = "linux")]
    return SendFlags::NOSIGNAL;
    #[cfg(not(target_os = "linux"))]
    return SendFlags::empty();
}

/// What a read found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    Bytes,
    Nothing,
    End,
}

/// The receiving end of a socket.
#[derive(Debug)]
pub(crate) struct Receiver {
    scratch: Box<[u8]>,
    pub(crate) inbound: Inbound,
    /// In the order of the frames that they belong to.
    pub(crate) descriptors: VecDeque<OwnedFd>,
}

impl Receiver {
    pub(crate) fn new() -> Self {
        let scratch = vec![0; READ].into_boxed_slice();
        Self { scratch, inbound: Inbound::default(), descriptors: VecDeque::new() }
    }

    /// Takes in bytes that are there. Descriptors that come with them are closed by the system:
    /// for the end that does not believe the other.
    pub(crate) fn receive_bytes(&mut self, socket: &UnixStream) -> io::Result<Received> {
        let received = loop {
            match rustix::net::recv(socket, &mut *self.scratch, RecvFlags::DONTWAIT) {
                Err(Errno::INTR) => {}
                other => break other,
            }
        };
        self.take(received.map(|(bytes, _)| bytes))
    }

    /// Takes in bytes and descriptors that are there; with `wait`, waits for some.
    pub(crate) fn receive(&mut self, socket: &UnixStream, wait: bool) -> io::Result<Received> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = if wait { RecvFlags::empty() } else { RecvFlags::DONTWAIT };
        #[cfg(target_os = "linux")]
        let flags = flags | RecvFlags::CMSG_CLOEXEC;
        let received = loop {
            let mut into = [IoSliceMut::new(&mut self.scratch)];
            match recvmsg(socket, &mut into, &mut control, flags) {
                Err(Errno::INTR) => {}
                other => break other,
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                self.descriptors.extend(rights);
            }
        }
        self.take(received.map(|received| received.bytes))
    }

    fn take(&mut self, received: Result<usize, Errno>) -> io::Result<Received> {
        match received {
            // The other end may have been closed with bytes of ours unread.
            Ok(0) | Err(Errno::CONNRESET | Errno::PIPE) => Ok(Received::End),
            Ok(bytes) => {
                self.inbound.buffer().extend_from_slice(&self.scratch[..bytes]);
                Ok(Received::Bytes)
            }
            Err(Errno::AGAIN) => Ok(Received::Nothing),
            Err(error) => Err(error.into()),
        }
    }
}
