//! The requests of others: ranges of what is here, whole or on its way, and who else has it.

use std::{
    io::{self, Write},
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use bayan_net::ByteStream;
use bayan_protocol::{
    fetch::{
        giving::Pick,
        message::{Answer, AnyOf, Part, RangeOf, Request, Stock, Told},
        pieces::{self, Pieces},
    },
    id::{Hash, PeerId},
    limits::{MAX_ADDRESS, MAX_TOLD_ADDRESSES, SWARM},
};
use bayan_store::Receiving;
use serde_bytes::ByteBuf;
use tokio::{io::AsyncWriteExt as _, sync::mpsc, time::timeout};

use super::{BlobFailure, BlobService, SILENCE, heads};
use crate::core::{self, Message};

/// What is said of a blob that is not here, or not given to the one who asks.
const NOT_HERE: &str = "not here";
/// Whether a blob is given to a peer is asked anew after this time.
const GRANTED: Duration = Duration::from_secs(10);
/// Bytes a second below which a reader is too slow to be served, after the silence it is allowed.
const SLOWEST: f64 = (16 << 10) as f64;
/// How long an asker is told to wait when nothing of what it wants is here yet.
const NOTHING_YET: Duration = Duration::from_millis(500);
/// Blocks that wait for a reader.
const BLOCKS: usize = 2;

/// A blob as far as it is here.
#[derive(Clone)]
enum Source {
    Whole(u64),
    Partial(Arc<Receiving>),
}

/// What an asker may have of one blob.
struct Grant {
    hash: Hash,
    at: Instant,
    given: bool,
    shared: bool,
}

/// Answers requests on a stream until it ends.
pub(super) async fn stream(service: BlobService, peer: PeerId, stream: ByteStream) {
    let mut server = Server { service, peer, stream, grant: None };
    if let Err(error) = server.run().await {
        tracing::debug!(peer = %peer.short(), %error, "blob stream ended");
    }
}

struct Server {
    service: BlobService,
    peer: PeerId,
    stream: ByteStream,
    grant: Option<Grant>,
}

impl Server {
    async fn run(&mut self) -> Result<(), BlobFailure> {
        while let Some(head) = heads::read(&mut self.stream, SILENCE).await? {
            let request =
                Request::decode(&head).map_err(|error| BlobFailure::Protocol(error.to_string()))?;
            let hash = request.hash();
            let (given, shared, news) = self.grant(hash).await?;
            let source = if given { self.source(&hash) } else { None };
            let Some(source) = source else {
                // As if it were not here: whoever may not have a blob need not know that it exists.
                self.say(&Answer::Refuse(NOT_HERE.to_owned())).await?;
                continue;
            };
            let len = source.len();
            let swarm = shared && len >= SWARM;
            if swarm && news {
                self.note(hash, len);
            }
            match request {
                Request::Range(range) => self.range(&source, &range, swarm).await?,
                Request::Any(any) => self.any(&source, &any).await?,
                Request::Have(_) => {
                    let pieces = ByteBuf::from(source.pieces().to_bytes());
                    self.say(&Answer::Have(Stock { len, pieces })).await?;
                }
                Request::Who(_) => self.who(hash, swarm).await?,
            }
        }
        Ok(self.stream.shutdown().await?)
    }

    /// Whether the machines give this blob to the peer, whether it is no secret, and whether they were
    /// asked just now.
    async fn grant(&mut self, hash: Hash) -> Result<(bool, bool, bool), BlobFailure> {
        if let Some(grant) = &self.grant
            && grant.hash == hash
            && grant.at.elapsed() < GRANTED
        {
            return Ok((grant.given, grant.shared, false));
        }
        let peer = self.peer;
        let (given, shared) =
            self.service.shared.ask(|reply| Message::MayFetch { peer, hash, reply }).await?;
        self.grant = Some(Grant { hash, at: Instant::now(), given, shared });
        Ok((given, shared, true))
    }

    fn source(&self, hash: &Hash) -> Option<Source> {
        let shared = &self.service.shared;
        if let Some(len) = shared.blobs.len(hash) {
            shared.blobs.touch(hash);
            return Some(Source::Whole(len));
        }
        shared.receiving().get(hash).cloned().map(Source::Partial)
    }

    /// Remembers who asks for a blob that many may want, and asks it in turn if the blob is still on
    /// its way here.
    fn note(&self, hash: Hash, len: u64) {
        let shared = &self.service.shared;
        shared.giving().asked(core::now(), hash, len, self.peer);
        if shared.receiving().contains_key(&hash) {
            self.service.heard(hash, vec![self.peer]);
        } else {
            shared.announce(hash, len);
        }
    }

    async fn say(&mut self, answer: &Answer) -> Result<(), BlobFailure> {
        heads::write(&mut self.stream, &answer.encode()).await
    }

    async fn range(
        &mut self,
        source: &Source,
        asked: &RangeOf,
        swarm: bool,
    ) -> Result<(), BlobFailure> {
        let len = source.len();
        let Some(range) = asked.within(len) else {
            let why = "a range is at most 2 MiB and inside the blob";
            return self.say(&Answer::Refuse(why.to_owned())).await;
        };
        if !source.has(&range) {
            return self.say(&Answer::Refuse(NOT_HERE.to_owned())).await;
        }
        self.give(source, asked.hash, range.clone(), Answer::Ok(len)).await?;
        if swarm {
            self.service.shared.giving().gave(core::now(), asked.hash, len, &range, false);
        }
        Ok(())
    }

    async fn any(&mut self, source: &Source, asked: &AnyOf) -> Result<(), BlobFailure> {
        let (hash, len) = (asked.hash, source.len());
        let Some(wants) = asked.pieces().filter(|_| asked.len == len) else {
            return self.say(&Answer::Refuse("the blob has another length".to_owned())).await;
        };
        let here = source.pieces();
        let picked =
            self.service.shared.giving().pick(core::now(), (hash, len), &wants, &here, asked.most);
        let run = match picked {
            Pick::Run(run) => run,
            Pick::Wait(wait) => return self.say(&wait_for(wait)).await,
            Pick::Nothing => return self.say(&wait_for(NOTHING_YET)).await,
        };
        let range = pieces::bytes(&run, len);
        let part = Answer::Part(Part { len, from: range.start, to: range.end });
        let given = self.give(source, hash, range.clone(), part).await;
        let mut giving = self.service.shared.giving();
        match &given {
            Ok(()) => giving.gave(core::now(), hash, len, &range, true),
            Err(_) => giving.failed(core::now(), hash, &run),
        }
        given
    }

    /// Who else has or fetches a blob. Of a secret one that is nobody.
    async fn who(&mut self, hash: Hash, swarm: bool) -> Result<(), BlobFailure> {
        let mut told = Vec::new();
        if swarm {
            let others = self.service.shared.giving().others(core::now(), &hash, &self.peer);
            for (peer, mut at) in self.service.shared.net.addresses(others).await {
                at.retain(|address| address.len() <= MAX_ADDRESS);
                at.truncate(MAX_TOLD_ADDRESSES);
                told.push(Told { peer, at });
            }
        }
        self.say(&Answer::Who(told)).await
    }

    /// Sends a head and the encoding of a range, a block at a time: little of it is in memory, however
    /// slowly it is read.
    async fn give(
        &mut self,
        source: &Source,
        hash: Hash,
        range: Range<u64>,
        head: Answer,
    ) -> Result<(), BlobFailure> {
        let shared = self.service.shared.clone();
        let _slot = shared.slots.acquire().await.map_err(|_| BlobFailure::Stopped)?;
        let (sender, mut blocks) = mpsc::channel(BLOCKS);
        let (encoded, blobs) = (source.clone(), shared.blobs.clone());
        let size = shared.pace.block();
        let mut encoding = tokio::task::spawn_blocking(move || {
            let mut out = Blocks { sender, block: Vec::with_capacity(size), size };
            let written = match encoded {
                Source::Whole(_) => blobs.encode_range(&hash, range, &mut out),
                Source::Partial(receiving) => receiving.encode_range(range, &mut out),
            };
            written.and_then(|()| out.flush().map_err(bayan_store::BlobError::Stream))
        });
        let mut next = blocks.recv().await;
        let is_empty = next.is_none();
        if is_empty && let Ok(Err(error)) = (&mut encoding).await {
            tracing::warn!(blob = %hash.short(), %error, "cannot serve a blob");
            return self.say(&Answer::Refuse("cannot be read here".to_owned())).await;
        }
        self.say(&head).await?;
        let (mut writing, mut sent) = (Duration::ZERO, 0);
        while let Some(block) = next {
            shared.pace.take(block.len()).await;
            let begun = Instant::now();
            let written = timeout(SILENCE, self.stream.write_all(&block)).await;
            written.map_err(|_| BlobFailure::Silent)??;
            writing += begun.elapsed();
            sent += block.len();
            shared.traffic.note(self.peer, |volume| volume.sent += block.len() as u64);
            if writing > SILENCE + Duration::from_secs_f64(sent as f64 / SLOWEST) {
                return Err(BlobFailure::Silent);
            }
            next = blocks.recv().await;
        }
        if !is_empty {
            // What cannot be read to its end leaves the asker with less than was announced: there is
            // nothing to be said on this stream any more.
            encoding.await.map_err(|_| BlobFailure::Stopped)??;
        }
        timeout(SILENCE, self.stream.flush()).await.map_err(|_| BlobFailure::Silent)??;
        Ok(())
    }
}

fn wait_for(time: Duration) -> Answer {
    Answer::Wait(u64::try_from(time.as_millis()).unwrap_or(1000).clamp(1, 1000))
}

impl Source {
    fn len(&self) -> u64 {
        match self {
            Self::Whole(len) => *len,
            Self::Partial(receiving) => receiving.announced_len(),
        }
    }

    fn has(&self, range: &Range<u64>) -> bool {
        match self {
            Self::Whole(_) => true,
            Self::Partial(receiving) => receiving.has(range),
        }
    }

    fn pieces(&self) -> Pieces {
        match self {
            Self::Whole(len) => Pieces::all(*len),
            Self::Partial(receiving) => {
                Pieces::outside(receiving.announced_len(), &receiving.missing(usize::MAX))
            }
        }
    }
}

/// Passes what is written on in blocks, waiting while the reader has enough.
struct Blocks {
    sender: mpsc::Sender<Vec<u8>>,
    block: Vec<u8>,
    size: usize,
}

impl Write for Blocks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.block.len() >= self.size {
            self.flush()?;
        }
        let count = bytes.len().min(self.size - self.block.len());
        self.block.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(self.size));
        self.sender.blocking_send(block).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
