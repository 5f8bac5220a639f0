//! The blob protocol, `/bayan/blob/1`: verified ranges of content-addressed blobs (spec WIRE, blobs).
//!
//! Nothing is decided here: `protocol`'s `fetch` says what is asked of whom, and its `giving` what is
//! given first. Every chunk group is verified against the digest as it arrives, so it does not matter
//! whom a range comes from.
//!
//! | module | subject |
//! |---|---|
//! | `carrier` | the loop that owns the fetching machine and carries out what it says |
//! | `ask` | one request to a provider |
//! | `serve` | the requests of others |
//! | `heads` | requests and heads of answers on a stream |
//! | `pace` | the upload limit |
//! | `traffic` | bytes that came and went, by peer |
//! | `room` | asking for disk space that something else has to give up |

mod ask;
mod carrier;
mod heads;
mod pace;
pub mod room;
mod serve;
mod traffic;

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bayan_net::{ByteStream, Handle};
use bayan_protocol::{
    fetch::{Input, giving::Giving},
    id::{Hash, PeerId},
    limits::{GROUP, SWARM},
    time::Timestamp,
};
use bayan_store::{Blobs, Receiving};
use tokio::sync::{Semaphore, mpsc, oneshot};

pub use self::traffic::{Traffic, Volume};
use self::{carrier::Order, pace::Pace};
use crate::core::{self, Message};

/// A peer that is silent for this long in the middle of an exchange has failed.
const SILENCE: Duration = Duration::from_secs(30);
/// Ranges given away at once; further askers wait in line.
const SERVED: usize = 32;
/// Orders that wait for the loop.
const ORDERS: usize = 1024;

const _: () = assert!(GROUP == bayan_store::GROUP);

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
enum BlobFailure {
    #[error("cannot reach the provider: {0}")]
    Open(#[from] bayan_net::OpenError),
    #[error("the other side is silent")]
    Silent,
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("the provider refuses: {0}")]
    Refused(String),
    #[error("the other side breaks the protocol: {0}")]
    Protocol(String),
    #[error(transparent)]
    Store(#[from] bayan_store::BlobError),
    #[error(transparent)]
    Decode(#[from] bayan_store::DecodeError),
    #[error("this peer is stopping")]
    Stopped,
}

/// Serves and fetches blobs. Clones are handles of the same; with the last one it ends.
#[derive(Clone)]
pub struct BlobService {
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
}

/// What the loop, its requests and the streams of others work with.
struct Shared {
    blobs: Blobs,
    net: Handle,
    core: mpsc::Sender<Message>,
    /// Blobs on their way here, which are given away as far as they have come.
    receiving: Mutex<BTreeMap<Hash, Arc<Receiving>>>,
    giving: Mutex<Giving>,
    slots: Semaphore,
    pace: Pace,
    traffic: Arc<Traffic>,
    runtime: tokio::runtime::Handle,
}

impl BlobService {
    /// Serves and fetches over `net`, giving away at most `upload_limit` bytes a second; whoever reads
    /// `core` is told of every fetch that ends.
    pub fn new(
        blobs: Blobs,
        net: Handle,
        core: mpsc::Sender<Message>,
        runtime: tokio::runtime::Handle,
        upload_limit: Option<u64>,
    ) -> Self {
        let (orders, ordered) = mpsc::channel(ORDERS);
        let shared = Arc::new(Shared {
            blobs,
            net,
            core,
            receiving: Mutex::default(),
            giving: Mutex::default(),
            slots: Semaphore::new(SERVED),
            pace: Pace::new(upload_limit),
            traffic: Arc::default(),
            runtime: runtime.clone(),
        });
        runtime.spawn(carrier::run(shared.clone(), ordered, orders.downgrade()));
        Self { shared, orders }
    }

    /// The store behind it.
    pub fn store(&self) -> &Blobs {
        &self.shared.blobs
    }

    /// Bytes that came and went.
    pub fn traffic(&self) -> Arc<Traffic> {
        self.shared.traffic.clone()
    }

    /// Answers requests on a stream until it ends.
    pub fn serve(&self, peer: PeerId, stream: ByteStream) {
        self.shared.runtime.spawn(serve::stream(self.clone(), peer, stream));
    }

    /// Gets a blob unless it is here, and tells the core either way.
    pub fn fetch(&self, hash: Hash, len: u64, from: PeerId) {
        self.order(Order::Step(Input::Want { hash, len, from }));
    }

    /// These peers are said to have a blob.
    pub fn heard(&self, hash: Hash, peers: Vec<PeerId>) {
        // A hint: with too much to do it is dropped.
        let _ = self.orders.try_send(Order::Step(Input::Heard { hash, peers }));
    }

    /// Takes back whom an earlier run found to send wrong bytes.
    pub fn remember(&self, poisoners: Vec<(PeerId, Timestamp)>) {
        self.order(Order::Remember(poisoners));
    }

    /// A blob has been removed: nobody is told any more that it is here.
    pub fn withdraw(&self, hash: &Hash) {
        if self.shared.giving().withdraws(hash) {
            self.shared.net.stop_providing(*hash);
        }
    }

    fn order(&self, order: Order) {
        if let Err(mpsc::error::TrySendError::Full(order)) = self.orders.try_send(order) {
            let orders = self.orders.clone();
            self.shared.runtime.spawn(async move {
                // Fails only when the loop is gone.
                let _ = orders.send(order).await;
            });
        }
    }
}

impl Shared {
    fn giving(&self) -> MutexGuard<'_, Giving> {
        self.giving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn receiving(&self) -> MutexGuard<'_, BTreeMap<Hash, Arc<Receiving>>> {
        self.receiving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the machines something.
    async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> Message,
    ) -> Result<T, BlobFailure> {
        let (reply, answer) = oneshot::channel();
        self.core.send(question(reply)).await.map_err(|_| BlobFailure::Stopped)?;
        answer.await.map_err(|_| BlobFailure::Stopped)
    }

    /// Tells the network that a long blob is here, if that is due and the blob no secret.
    fn announce(&self, hash: Hash, len: u64) {
        if len >= SWARM && self.giving().announces(core::now(), hash) {
            self.net.provide(hash);
        }
    }
}
