//! Frames on a work stream: a length as four bytes, big-endian, then that many bytes.
//!
//! Each side's first frame is empty and greets: it tells that the stream has truly been accepted.
//! A later empty frame says goodbye; a stream that ends without one was lost, even if the network
//! says that it was closed, as it does of a process that was killed.

use std::{io, time::Duration};

use bayan_protocol::limits::MAX_FRAME;
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

/// Bytes of a frame in front of its body.
pub(crate) const PREFIX: usize = 4;
/// Bytes that a body grows by while it arrives: an announced length alone costs no memory.
const GROWTH: usize = 64 << 10;
/// Small frames are gathered up to this many bytes before they are written and flushed together.
const BATCH: usize = 256 << 10;
/// A write that moves no byte for this long means that the other side no longer reads.
const STALL: Duration = Duration::from_secs(120);

const _: () = assert!(MAX_FRAME <= u32::MAX as usize && BATCH >= GROWTH);

/// How reading a frame failed.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The announced length is above the limit.
    Oversized,
    /// The stream broke or ended.
    Io(io::Error),
}

/// Reads one frame.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, ReadError> {
    let mut prefix = [0; PREFIX];
    stream.read_exact(&mut prefix).await.map_err(ReadError::Io)?;
    let length = u32::from_be_bytes(prefix) as usize;
    if length > MAX_FRAME {
        return Err(ReadError::Oversized);
    }
    let mut body = Vec::new();
    while body.len() < length {
        let have = body.len();
        body.resize(length.min(have + GROWTH.max(have)), 0);
        stream.read_exact(&mut body[have..]).await.map_err(ReadError::Io)?;
    }
    Ok(body)
}

/// Writes frames in batches. Every method may be dropped at any point and called again: what was
/// gathered and how far it was written are kept.
pub(crate) struct Writer<S> {
    stream: S,
    batch: Vec<u8>,
    written: usize,
}

impl<S: AsyncWrite + Unpin> Writer<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, batch: Vec::new(), written: 0 }
    }

    /// Adds a frame to the batch.
    pub(crate) fn gather(&mut self, frame: &[u8]) {
        debug_assert!(frame.len() <= MAX_FRAME, "the queue takes no longer frame");
        self.batch.extend_from_slice(&(frame.len() as u32).to_be_bytes());
        self.batch.extend_from_slice(frame);
    }

    /// Whether the batch should be written before more is gathered.
    pub(crate) fn is_full(&self) -> bool {
        self.batch.len() >= BATCH
    }

    /// Writes and flushes what was gathered.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        while self.written < self.batch.len() {
            let moved = within(self.stream.write(&self.batch[self.written..])).await?;
            if moved == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.written += moved;
        }
        within(self.stream.flush()).await?;
        self.batch.clear();
        self.batch.shrink_to(BATCH);
        self.written = 0;
        Ok(())
    }

    /// Ends the stream in order.
    pub(crate) async fn close(&mut self) -> io::Result<()> {
        within(self.stream.close()).await
    }
}

async fn within<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(STALL, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use futures::{executor::block_on, io::Cursor};

    use super::*;

    #[tokio::test]
    async fn frames_round_trip_and_a_cut_is_an_error() {
        let mut bytes = Vec::new();
        let long = vec![7; 3 * GROWTH + 1];
        let mut writer = Writer::new(&mut bytes);
        for frame in [&b""[..], b"one", &long] {
            writer.gather(frame);
        }
        writer.flush().await.expect("memory");
        let mut whole = Cursor::new(&bytes);
        assert_eq!(read(&mut whole).await.expect("frame"), b"");
        assert_eq!(read(&mut whole).await.expect("frame"), b"one");
        assert_eq!(read(&mut whole).await.expect("frame"), long);
        for cut in [0, 2, 4 + 2, 4 + 4 + 1, bytes.len()] {
            let mut cut = Cursor::new(&bytes[..cut]);
            let error = loop {
                if let Err(error) = read(&mut cut).await {
                    break error;
                }
            };
            assert!(matches!(error, ReadError::Io(_)), "{error:?}");
        }
    }

    #[test]
    fn an_oversized_length_is_refused_without_its_body() {
        let mut stream = Cursor::new(((MAX_FRAME + 1) as u32).to_be_bytes());
        assert!(matches!(block_on(read(&mut stream)), Err(ReadError::Oversized)));
    }
}
