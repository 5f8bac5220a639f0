//! The blob protocol, `/bayan/blob/1`: verified ranges of content-addressed blobs (spec WIRE, blobs).
//!
//! The asking side opens a stream and sends requests; each is answered by a header and, if granted,
//! the bao encoding of the range. Every chunk group is verified against the digest as it arrives, so
//! it does not matter whom a range comes from.

use std::{
    io,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use bayan_net::{ByteStream, Handle};
use bayan_protocol::{
    cbor,
    id::{Hash, PeerId},
    limits::MAX_BLOB,
};
use bayan_store::{Blobs, GROUP, Receiving, encoded_len};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

use crate::core::Message;

/// Bytes of one range at most, and a multiple of the chunk group.
const MAX_RANGE: u64 = 2 << 20;
/// Bytes of the first range asked for; later ones grow with the link's speed.
const FIRST_RANGE: u64 = 256 << 10;
/// Bytes of a request or answer header.
const MAX_HEADER: usize = 1024;
/// A peer that is silent for this long in the middle of an exchange has failed.
const SILENCE: Duration = Duration::from_secs(30);
/// Streams served at once.
const SERVED: usize = 32;
/// Fetches carried out at once.
const FETCHED: usize = 8;
/// Times that a fetch is begun before it is given up.
const TRIES: u32 = 3;

/// What is said of a blob that is not here, or not given to the one who asks.
const NOT_HERE: &str = "not here";

const _: () = assert!(MAX_RANGE.is_multiple_of(GROUP));

/// Asks for the chunk groups that cover a byte range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Request {
    /// Whose.
    hash: Hash,
    /// First byte.
    from: u64,
    /// One past the last.
    to: u64,
}

/// What a request is answered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// The blob's length; the encoding of the range follows.
    Ok(u64),
    /// Nothing follows.
    Refuse(String),
}

/// Why a blob was not got.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("cannot reach the provider: {0}")]
    Open(#[from] bayan_net::OpenError),
    #[error("the provider does not answer")]
    Silent,
    #[error("the connection to the provider failed: {0}")]
    Io(#[from] io::Error),
    #[error("the provider refuses: {0}")]
    Refused(String),
    #[error("the provider breaks the protocol: {0}")]
    Protocol(&'static str),
    #[error(transparent)]
    Store(#[from] bayan_store::BlobError),
    #[error(transparent)]
    Decode(#[from] bayan_store::DecodeError),
    #[error("this peer is stopping")]
    Stopped,
}

/// Serves and fetches blobs.
#[derive(Clone)]
pub struct BlobService {
    blobs: Blobs,
    net: Handle,
    outbox: mpsc::Sender<Message>,
    served: Arc<Semaphore>,
    fetched: Arc<Semaphore>,
    runtime: tokio::runtime::Handle,
}

impl BlobService {
    /// Serves and fetches over `net`; whoever reads `outbox` is told of every fetch that ends.
    pub fn new(
        blobs: Blobs,
        net: Handle,
        outbox: mpsc::Sender<Message>,
        runtime: tokio::runtime::Handle,
    ) -> Self {
        let (served, fetched) =
            (Arc::new(Semaphore::new(SERVED)), Arc::new(Semaphore::new(FETCHED)));
        Self { blobs, net, outbox, served, fetched, runtime }
    }

    /// The store behind it.
    pub fn store(&self) -> &Blobs {
        &self.blobs
    }

    /// Answers requests on a stream until it ends. With too many streams open it is dropped at once.
    pub fn serve(&self, peer: PeerId, stream: ByteStream) {
        let Ok(place) = Arc::clone(&self.served).try_acquire_owned() else { return };
        let (blobs, core) = (self.blobs.clone(), self.outbox.clone());
        self.runtime.spawn(async move {
            if let Err(error) = serve(&blobs, &core, peer, stream).await {
                tracing::debug!(peer = %peer.short(), %error, "blob stream ended");
            }
            drop(place);
        });
    }

    /// Gets a blob unless it is here, and tells the core either way.
    pub fn fetch(&self, hash: Hash, len: u64, from: PeerId) {
        let this = self.clone();
        self.runtime.spawn(async move {
            let mut here = this.blobs.has(&hash);
            let place = Arc::clone(&this.fetched).acquire_owned().await;
            for attempt in 1..=TRIES {
                if here {
                    break;
                }
                match this.get(hash, len, from).await {
                    Ok(()) => here = true,
                    Err(error) => {
                        tracing::debug!(blob = %hash.short(), peer = %from.short(), attempt, %error, "fetch failed");
                        here = this.blobs.has(&hash);
                        if matches!(error, FetchError::Open(_) | FetchError::Refused(_)) {
                            break;
                        }
                    }
                }
            }
            drop(place);
            // Fails only when the core is gone.
            let _ = this.outbox.send(Message::Blob { hash, here }).await;
        });
    }

    async fn get(&self, hash: Hash, len: u64, from: PeerId) -> Result<(), FetchError> {
        let receiving = Arc::new(self.blobs.receive(hash, len, MAX_BLOB)?);
        let mut stream = self.net.open_blob(from).await?;
        let mut step = FIRST_RANGE;
        while let Some(gap) = receiving.missing(1).into_iter().next() {
            let range = gap.start..gap.end.min(gap.start + step);
            let asked = Instant::now();
            let bytes = ask(&mut stream, hash, len, &range).await?;
            step = next_range(step, asked.elapsed());
            blocking(&receiving, move |receiving| Ok(receiving.accept(range, bytes.as_slice())?))
                .await?;
        }
        let _ = stream.shutdown().await;
        blocking(&receiving, |receiving| {
            receiving.finish()?;
            Ok(())
        })
        .await
    }
}

/// Ranges that take neither long nor no time: each is verified and kept, so a slow link loses little.
fn next_range(step: u64, took: Duration) -> u64 {
    if took < SILENCE / 30 {
        (step * 2).min(MAX_RANGE)
    } else if took > SILENCE / 6 {
        (step / 2).max(GROUP)
    } else {
        step
    }
}

async fn blocking(
    receiving: &Arc<Receiving>,
    work: impl FnOnce(&Receiving) -> Result<(), FetchError> + Send + 'static,
) -> Result<(), FetchError> {
    let receiving = Arc::clone(receiving);
    tokio::task::spawn_blocking(move || work(&receiving)).await.map_err(|_| FetchError::Stopped)?
}

/// Sends one request and reads its whole answer.
async fn ask(
    stream: &mut ByteStream,
    hash: Hash,
    len: u64,
    range: &Range<u64>,
) -> Result<Vec<u8>, FetchError> {
    let exchange = async {
        write_header(stream, &Request { hash, from: range.start, to: range.end }).await?;
        let answer =
            read_header::<Answer>(stream).await?.ok_or(FetchError::Protocol("no answer"))?;
        match answer {
            Answer::Ok(claimed) if claimed == len => {}
            Answer::Ok(_) => return Err(FetchError::Protocol("the blob has another length there")),
            Answer::Refuse(why) => {
                return Err(FetchError::Refused(why.chars().take(200).collect()));
            }
        }
        let size = encoded_len(len, range).ok_or(FetchError::Protocol("an impossible range"))?;
        let mut bytes = vec![
            0;
            usize::try_from(size)
                .map_err(|_| FetchError::Protocol("an impossible range"))?
        ];
        stream.read_exact(&mut bytes).await?;
        Ok(bytes)
    };
    timeout(SILENCE, exchange).await.map_err(|_| FetchError::Silent)?
}

async fn serve(
    blobs: &Blobs,
    core: &mpsc::Sender<Message>,
    peer: PeerId,
    mut stream: ByteStream,
) -> Result<(), FetchError> {
    // Most streams are for one blob: the core is asked once for all of its ranges.
    let mut granted = None;
    loop {
        let request = timeout(SILENCE, read_header::<Request>(&mut stream)).await;
        let Some(request) = request.map_err(|_| FetchError::Silent)?? else { break };
        if granted != Some(request.hash) {
            granted = may_fetch(core, peer, request.hash).await?.then_some(request.hash);
        }
        let (answer, bytes) = match granted {
            Some(_) => answer(blobs, request).await?,
            // As if it were not here: whoever may not have a blob need not know that it exists.
            None => (Answer::Refuse(NOT_HERE.to_owned()), Vec::new()),
        };
        let reply = async {
            write_header(&mut stream, &answer).await?;
            stream.write_all(&bytes).await?;
            stream.flush().await
        };
        timeout(SILENCE, reply).await.map_err(|_| FetchError::Silent)??;
    }
    Ok(stream.shutdown().await?)
}

/// Whether the machines give this blob to that peer.
async fn may_fetch(
    core: &mpsc::Sender<Message>,
    peer: PeerId,
    hash: Hash,
) -> Result<bool, FetchError> {
    let (reply, answer) = oneshot::channel();
    let asked = core.send(Message::MayFetch { peer, hash, reply }).await;
    asked.map_err(|_| FetchError::Stopped)?;
    answer.await.map_err(|_| FetchError::Stopped)
}

async fn answer(
    blobs: &Blobs,
    Request { hash, from, to }: Request,
) -> Result<(Answer, Vec<u8>), FetchError> {
    let refuse = |why: &str| Ok((Answer::Refuse(why.to_owned()), Vec::new()));
    let Some(len) = blobs.len(&hash) else { return refuse(NOT_HERE) };
    let in_order = from <= to && to <= len && (from < to || len == 0);
    if !in_order || to - from > MAX_RANGE {
        return refuse("a range is at most 2 MiB and inside the blob");
    }
    let blobs = blobs.clone();
    let encode = move || {
        let mut bytes = Vec::new();
        blobs.encode_range(&hash, from..to, &mut bytes).map(|()| bytes)
    };
    match tokio::task::spawn_blocking(encode).await.map_err(|_| FetchError::Stopped)? {
        Ok(bytes) => Ok((Answer::Ok(len), bytes)),
        Err(error) => {
            tracing::warn!(blob = %hash.short(), %error, "cannot serve a blob");
            refuse("cannot be read here")
        }
    }
}

async fn write_header<T: Serialize>(stream: &mut ByteStream, header: &T) -> io::Result<()> {
    let bytes = cbor::encode(header);
    stream.write_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX)).await?;
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// The next header, or none at the orderly end of the stream.
async fn read_header<T: serde::de::DeserializeOwned>(
    stream: &mut ByteStream,
) -> Result<Option<T>, FetchError> {
    let len = match stream.read_u32().await {
        Ok(len) => len as usize,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if len > MAX_HEADER {
        return Err(FetchError::Protocol("an oversized header"));
    }
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).await?;
    cbor::decode(&bytes).map(Some).map_err(|_| FetchError::Protocol("a malformed header"))
}
