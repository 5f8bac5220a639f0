//! One request to a provider: the head, and what follows it, verified as it comes.

use std::{
    io::{self, Read},
    ops::Range,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use bayan_net::ByteStream;
use bayan_protocol::{
    fetch::{
        Ask, End, Input,
        message::{Answer, AnyOf, Of, RangeOf, Request},
    },
    id::{Hash, PeerId},
    limits::PIECE,
};
use bayan_store::{DecodeError, Receiving};
use serde_bytes::ByteBuf;
use tokio::{io::AsyncReadExt as _, sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    BlobFailure, Shared,
    carrier::{Idle, Order},
    heads,
};

/// A provider that says nothing for this long is asked for nothing for a while.
const SILENCE: Duration = Duration::from_secs(15);

/// Streams kept of one provider.
const MAX_IDLE: usize = 8;

/// A request under way.
pub(super) struct Asking {
    pub(super) shared: Arc<Shared>,
    pub(super) idle: Idle,
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) request: u64,
    pub(super) peer: PeerId,
    pub(super) hash: Hash,
    pub(super) len: u64,
    pub(super) receiving: Arc<Receiving>,
    pub(super) cancel: CancellationToken,
}

impl Asking {
    /// Asks, and tells the machine how that ends unless it has given the request up.
    pub(super) async fn carry_out(self, ask: Ask) {
        let cancel = self.cancel.clone();
        let ended = tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            ended = self.exchange(&ask) => ended,
        };
        cancel.cancel();
        let end = match &ended {
            Ok(()) => End::Done,
            Err(error) => {
                tracing::debug!(blob = %self.hash.short(), peer = %self.peer.short(), %error, "a request for a blob failed");
                end(error)
            }
        };
        self.tell(Input::Ended { request: self.request, end }).await;
    }

    async fn tell(&self, input: Input) {
        // Fails only when the loop is gone.
        let _ = self.orders.send(Order::Step(input)).await;
    }

    async fn exchange(&self, ask: &Ask) -> Result<(), BlobFailure> {
        let request = self.request(ask).encode();
        let (mut stream, answer) = self.head(&request).await?;
        let breach = |what: &str| Err(BlobFailure::Protocol(what.to_owned()));
        let range = match (&answer, ask) {
            (Answer::Refuse(why), _) => {
                self.keep(stream);
                return Err(BlobFailure::Refused(why.clone()));
            }
            (Answer::Ok(len), Ask::Range { range, .. }) if *len == self.len => Some(range.clone()),
            (Answer::Ok(_), Ask::Range { .. }) => {
                return breach("the blob has another length there");
            }
            (Answer::Part(part), Ask::Any { wants, .. }) => match part.run(self.len) {
                Some(run) if run.clone().all(|piece| wants.contains(piece)) => {
                    Some(part.from..part.to)
                }
                _ => return breach("a part that was not asked for"),
            },
            (Answer::Wait(_), Ask::Any { .. })
            | (Answer::Have(_), Ask::Have)
            | (Answer::Who(_), Ask::Who) => None,
            _ => return breach("an answer to something else"),
        };
        self.tell(Input::Answered { request: self.request, answer }).await;
        if let Some(range) = range {
            stream = self.take_in(stream, range).await?;
        }
        self.keep(stream);
        Ok(())
    }

    fn request(&self, ask: &Ask) -> Request {
        let hash = self.hash;
        match ask {
            Ask::Range { range, .. } => {
                Request::Range(RangeOf { hash, from: range.start, to: range.end })
            }
            Ask::Any { wants, most } => Request::Any(AnyOf {
                hash,
                len: self.len,
                wants: ByteBuf::from(wants.to_bytes()),
                most: *most,
            }),
            Ask::Have => Request::Have(Of { hash }),
            Ask::Who => Request::Who(Of { hash }),
        }
    }

    /// Sends a request and reads the head of its answer. A stream that was kept may have been ended by
    /// the other side meanwhile: then a new one is opened.
    async fn head(&self, request: &[u8]) -> Result<(ByteStream, Answer), BlobFailure> {
        let kept = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.get_mut(&self.peer).and_then(Vec::pop)
        };
        if let Some((_, stream)) = kept
            && let Ok(answered) = converse(stream, request).await
        {
            return Ok(answered);
        }
        converse(self.shared.net.open_blob(self.peer).await?, request).await
    }

    fn keep(&self, stream: ByteStream) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let streams = idle.entry(self.peer).or_default();
        if streams.len() < MAX_IDLE {
            streams.push((Instant::now(), stream));
        }
    }

    /// Takes the encoding of a range in. The decoder reads what it is about to verify and no more, so
    /// a wrong group ends the transfer at once.
    async fn take_in(
        &self,
        stream: ByteStream,
        range: Range<u64>,
    ) -> Result<ByteStream, BlobFailure> {
        let runtime = self.shared.runtime.clone();
        let mut incoming = Incoming { stream, runtime, cancel: self.cancel.clone() };
        let (receiving, orders, request) =
            (self.receiving.clone(), self.orders.clone(), self.request);
        let (shared, peer) = (self.shared.clone(), self.peer);
        let decode = move || {
            let (mut wasted, mut verified) = (0, 0);
            let (mut told, mut upto) = (range.start, range.start);
            let end = range.end;
            let read = std::cell::Cell::new(0);
            let counted = Counted { from: &mut incoming, read: &read };
            let accepted = receiving.accept_with(range, counted, |kept, fresh| {
                if !fresh {
                    wasted += read.get() - verified;
                }
                (verified, upto) = (read.get(), kept);
                if kept / PIECE > told / PIECE && kept < end {
                    told = kept;
                    // What cannot be told now is told with what comes later.
                    let _ = orders.try_send(Order::Step(Input::Progress { request, upto: kept }));
                }
            });
            if accepted.is_err() && upto > told {
                let _ = orders.blocking_send(Order::Step(Input::Progress { request, upto }));
            }
            wasted += read.get() - verified;
            shared.traffic.note(peer, |volume| {
                volume.received += read.get();
                volume.wasted += wasted;
            });
            accepted.map(|()| incoming.stream)
        };
        let decoded = tokio::task::spawn_blocking(decode).await;
        Ok(decoded.map_err(|_| BlobFailure::Stopped)??)
    }
}

async fn converse(
    mut stream: ByteStream,
    request: &[u8],
) -> Result<(ByteStream, Answer), BlobFailure> {
    heads::write(&mut stream, request).await?;
    let Some(head) = heads::read(&mut stream, SILENCE).await? else {
        return Err(BlobFailure::Io(io::ErrorKind::UnexpectedEof.into()));
    };
    let answer = Answer::decode(&head).map_err(|error| BlobFailure::Protocol(error.to_string()))?;
    Ok((stream, answer))
}

fn end(error: &BlobFailure) -> End {
    match error {
        BlobFailure::Decode(DecodeError::Mismatch { .. }) => End::Poison,
        BlobFailure::Decode(DecodeError::Store(_) | DecodeError::Range { .. })
        | BlobFailure::Store(_)
        | BlobFailure::Stopped => End::Own,
        BlobFailure::Decode(DecodeError::Stream(error)) | BlobFailure::Io(error)
            if error.kind() == io::ErrorKind::TimedOut =>
        {
            End::Silent
        }
        BlobFailure::Open(_)
        | BlobFailure::Io(_)
        | BlobFailure::Decode(DecodeError::Truncated | DecodeError::Stream(_)) => End::Gone,
        BlobFailure::Silent => End::Silent,
        BlobFailure::Refused(_) => End::Refused,
        BlobFailure::Protocol(_) => End::Protocol,
    }
}

/// A stream as a thread reads it that may block.
struct Incoming {
    stream: ByteStream,
    runtime: tokio::runtime::Handle,
    cancel: CancellationToken,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Self { stream, runtime, cancel, .. } = self;
        runtime.block_on(async {
            tokio::select! {
                biased;
                () = cancel.cancelled() => Err(io::ErrorKind::ConnectionAborted.into()),
                read = timeout(SILENCE, stream.read(buffer)) => {
                    read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
                }
            }
        })
    }
}

/// Counts what is read.
struct Counted<'a> {
    from: &'a mut Incoming,
    read: &'a std::cell::Cell<u64>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.read.set(self.read.get() + count as u64);
        Ok(count)
    }
}
