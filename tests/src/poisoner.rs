//! A peer that says it has blobs and sends wrong bytes for them: the network side of a real peer.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use bayan_net::{ByteStream, Config, Event, Handle};
use bayan_protocol::{
    crypto::Keypair,
    fetch::{
        message::{Answer, Of, Request, Stock},
        pieces::Pieces,
    },
    id::{Hash, PeerId},
};
use bayan_store::{Blobs, Directory, Options};
use serde_bytes::ByteBuf;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::Runtime,
};

use crate::peers::{Node, address};

static NEXT: AtomicU8 = AtomicU8::new(200);

/// How a sent range is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoil {
    /// The last byte of the first group, under hash pairs that are right.
    Content,
    /// Noise from the first byte on.
    Noise,
}

/// The peer. It poisons until it is dropped.
pub struct Poisoner {
    runtime: Runtime,
    net: Handle,
    /// Who it is.
    pub peer: PeerId,
    blobs: Blobs,
    _directory: Directory,
    asked: Arc<AtomicU64>,
}

impl Poisoner {
    /// Joins the network of `first`.
    pub fn join(dir: &Path, first: &Node, spoil: Spoil) -> anyhow::Result<Self> {
        let secret = [NEXT.fetch_add(1, Ordering::Relaxed); 32];
        let mut config = Config::new(secret);
        config.listen = vec![format!("/ip4/{}/tcp/0", address())];
        config.bootstrap = vec![first.dial.clone()];
        config.quic = false;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let directory = Directory::open(dir, Options::default())?;
        let blobs = directory.blobs();
        let (net, mut events) = runtime.block_on(bayan_net::start(config))?;
        let asked = Arc::new(AtomicU64::new(0));
        let (store, count) = (blobs.clone(), asked.clone());
        runtime.spawn(async move {
            while let Some(event) = events.recv().await {
                if let Event::BlobRequest { stream, .. } = event {
                    tokio::spawn(poison(stream, store.clone(), spoil, count.clone()));
                }
            }
        });
        let peer = Keypair::from_seed(&secret).peer_id();
        Ok(Self { runtime, net, peer, blobs, _directory: directory, asked })
    }

    /// Pretends to want a blob of `source` until that one grants it, so that others are told of this
    /// peer.
    pub fn offers(&self, source: PeerId, content: &[u8]) -> anyhow::Result<()> {
        let hash = self.blobs.put(content)?;
        let net = self.net.clone();
        self.runtime.spawn(async move {
            while !matches!(have(&net, source, hash).await, Ok(Answer::Have(_))) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Ok(())
    }

    /// Ranges that it was asked for.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Poisoner {
    fn drop(&mut self) {
        let net = self.net.clone();
        self.runtime.block_on(net.shutdown());
    }
}

async fn have(net: &Handle, source: PeerId, hash: Hash) -> anyhow::Result<Answer> {
    let mut stream = net.open_blob(source).await?;
    write(&mut stream, &Request::Have(Of { hash }).encode()).await?;
    Ok(Answer::decode(&read(&mut stream).await?)?)
}

async fn write(stream: &mut ByteStream, head: &[u8]) -> anyhow::Result<()> {
    stream.write_u32(u32::try_from(head.len())?).await?;
    stream.write_all(head).await?;
    Ok(stream.flush().await?)
}

async fn read(stream: &mut ByteStream) -> anyhow::Result<Vec<u8>> {
    let mut head = vec![0; stream.read_u32().await? as usize];
    stream.read_exact(&mut head).await?;
    Ok(head)
}

/// Serves a stream, badly.
async fn poison(
    mut stream: ByteStream,
    blobs: Blobs,
    spoil: Spoil,
    asked: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    loop {
        let request = Request::decode(&read(&mut stream).await?)?;
        let Some(len) = blobs.len(&request.hash()) else {
            write(&mut stream, &Answer::Refuse("not here".to_owned()).encode()).await?;
            continue;
        };
        match request {
            Request::Have(_) => {
                let pieces = ByteBuf::from(Pieces::all(len).to_bytes());
                write(&mut stream, &Answer::Have(Stock { len, pieces }).encode()).await?;
            }
            Request::Range(range) => {
                asked.fetch_add(1, Ordering::Relaxed);
                let mut bytes = Vec::new();
                blobs.encode_range(&range.hash, range.from..range.to, &mut bytes)?;
                match spoil {
                    Spoil::Content => *bytes.last_mut().expect("a group") ^= 1,
                    Spoil::Noise => bytes.iter_mut().for_each(|byte| *byte = !*byte),
                }
                write(&mut stream, &Answer::Ok(len).encode()).await?;
                stream.write_all(&bytes).await?;
                stream.flush().await?;
            }
            Request::Any(_) => write(&mut stream, &Answer::Wait(1000).encode()).await?,
            Request::Who(_) => write(&mut stream, &Answer::Who(Vec::new()).encode()).await?,
        }
    }
}
