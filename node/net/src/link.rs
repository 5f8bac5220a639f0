//! One work stream from its opening to its end, as a task of its own beside the event loop.
//!
//! The task alone tells the user about the stream, in order: `Up`, frames, `Down`. The event loop
//! starts the next task of a peer only when this one has ended, so two streams never interleave.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bayan_protocol::id::PeerId;
use futures::{
    AsyncReadExt as _,
    io::{BufReader, ReadHalf, WriteHalf},
};
use libp2p::Stream;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    DownReason, Event,
    frame::{self, ReadError, Writer},
    meter::{Purposes, add},
    outbox::{self, Outboxes, Queue, Stop},
    substream::OpenFailure,
};

/// Time for the stream to be negotiated and for the other side's greeting to come.
const GREETING: Duration = Duration::from_secs(15);
/// Time to write what is queued when this peer shuts down, and for the other side to take it.
const FAREWELL: Duration = Duration::from_millis(1500);

/// Where the stream comes from.
pub(crate) enum Origin {
    /// This side asked for it.
    Opening(oneshot::Receiver<Result<Stream, OpenFailure>>),
    /// The other side opened it.
    Accepted(Stream),
}

/// A work stream to be run.
pub(crate) struct Link {
    pub(crate) peer: PeerId,
    pub(crate) address: String,
    pub(crate) inbound: bool,
    pub(crate) stop: Stop,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) outboxes: Outboxes,
    pub(crate) queue_frames: usize,
    pub(crate) queue_bytes: usize,
    pub(crate) purposes: Arc<Purposes>,
}

/// How it went.
pub(crate) struct Ended {
    pub(crate) peer: PeerId,
    /// How long the stream was up; `None` if it never was.
    pub(crate) up: Option<Duration>,
}

type Reader = BufReader<ReadHalf<Stream>>;

impl Link {
    /// Runs the stream to its end.
    pub(crate) async fn run(self, origin: Origin) -> Ended {
        let greeted = tokio::select! {
            biased;
            _ = self.stop.wait() => None,
            greeted = timeout(GREETING, greet(origin)) => greeted.ok().flatten(),
        };
        let Some((reader, writer)) = greeted else {
            tracing::debug!(peer = %self.peer.short(), "work stream did not open");
            return Ended { peer: self.peer, up: None };
        };
        let since = Instant::now();
        self.serve(reader, writer).await;
        Ended { peer: self.peer, up: Some(since.elapsed()) }
    }

    async fn serve(&self, mut reader: Reader, mut writer: Writer<WriteHalf<Stream>>) {
        let peer = self.peer;
        let (outbox, mut queue) =
            outbox::queue(self.queue_frames, self.queue_bytes, self.stop.clone());
        // The outbox comes first, so that whoever sees `Up` can send.
        self.outboxes.insert(peer, outbox);
        let up = Event::Up { peer, address: self.address.clone(), inbound: self.inbound };
        let told = tokio::select! {
            biased;
            _ = self.stop.wait() => false,
            sent = self.events.send(up) => sent.is_ok(),
        };
        if !told {
            self.outboxes.remove(&peer);
            return;
        }
        tracing::info!(peer = %peer.short(), address = %self.address, inbound = self.inbound, "peer up");
        let reason = tokio::select! {
            biased;
            reason = self.stop.wait() => reason,
            reason = self.read_all(&mut reader) => reason,
            reason = write_all(&mut queue, &mut writer, &self.purposes) => reason,
        };
        self.outboxes.remove(&peer);
        if reason == DownReason::Shutdown {
            // Best effort: the other side may be gone as well.
            let _ = timeout(FAREWELL, say_goodbye(&mut queue, &mut writer, &mut reader)).await;
        }
        tracing::info!(peer = %peer.short(), %reason, "peer down");
        drop((reader, writer));
        // Fails only when nobody listens any more.
        let _ = self.events.send(Event::Down { peer, reason }).await;
    }

    /// Hands over frames until the stream ends. While the user takes no events, nothing is read.
    async fn read_all(&self, reader: &mut Reader) -> DownReason {
        loop {
            let bytes = match frame::read(reader).await {
                Ok(bytes) if bytes.is_empty() => return DownReason::Closed,
                Ok(bytes) => bytes,
                Err(ReadError::Oversized) => return DownReason::OversizedFrame,
                Err(ReadError::Io(error)) => {
                    tracing::debug!(peer = %self.peer.short(), %error, "work stream broke");
                    return DownReason::Lost;
                }
            };
            add(&self.purposes.work_received, frame::PREFIX + bytes.len());
            tracing::trace!(peer = %self.peer.short(), length = bytes.len(), "frame in");
            if self.events.send(Event::Frame { peer: self.peer, bytes }).await.is_err() {
                return DownReason::Shutdown;
            }
        }
    }
}

/// Waits for the stream, then greets and waits to be greeted.
async fn greet(origin: Origin) -> Option<(Reader, Writer<WriteHalf<Stream>>)> {
    let stream = match origin {
        Origin::Accepted(stream) => stream,
        Origin::Opening(reply) => match reply.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(failure)) => {
                tracing::debug!(?failure, "work stream refused");
                return None;
            }
            Err(_) => return None,
        },
    };
    let (reader, writer) = stream.split();
    let (mut reader, mut writer) =
        (BufReader::with_capacity(64 << 10, reader), Writer::new(writer));
    writer.gather(&[]);
    writer.flush().await.ok()?;
    let greeting = frame::read(&mut reader).await.ok()?;
    greeting.is_empty().then_some((reader, writer))
}

/// Writes what is queued, many frames to a flush, until the stream fails.
async fn write_all(
    queue: &mut Queue,
    writer: &mut Writer<WriteHalf<Stream>>,
    purposes: &Purposes,
) -> DownReason {
    while let Some(first) = queue.next().await {
        writer.gather(&first);
        add(&purposes.work_sent, frame::PREFIX + first.len());
        drop(first);
        while !writer.is_full()
            && let Some(frame) = queue.try_next()
        {
            writer.gather(&frame);
            add(&purposes.work_sent, frame::PREFIX + frame.len());
        }
        if let Err(error) = writer.flush().await {
            tracing::debug!(%error, "work stream cannot be written");
            return if error.kind() == io::ErrorKind::TimedOut {
                DownReason::TooSlow
            } else {
                DownReason::Lost
            };
        }
    }
    // The outbox, and with it the queue's other end, is dropped only by the task that runs this.
    DownReason::Lost
}

/// Writes what is queued, ends the stream in order and waits for the other side to end it as well:
/// a connection that is closed sooner takes along what it has not delivered yet.
async fn say_goodbye(
    queue: &mut Queue,
    writer: &mut Writer<WriteHalf<Stream>>,
    reader: &mut Reader,
) -> io::Result<()> {
    writer.flush().await?;
    while let Some(frame) = queue.try_next() {
        writer.gather(&frame);
        if writer.is_full() {
            writer.flush().await?;
        }
    }
    writer.gather(&[]);
    writer.flush().await?;
    writer.close().await?;
    // What the other side still says comes too late to be dealt with.
    futures::io::copy(reader, &mut futures::io::sink()).await.map(drop)
}
