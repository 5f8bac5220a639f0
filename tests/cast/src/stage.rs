//! What the members of one process share: what mates tell each other, the engine, the disk, and one
//! voice to the outside.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bayan::{blobs::BlobService, core::Message};
use bayan_protocol::id::{Hash, PeerId};
use bayan_store::Blobs;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::{behaviour::Board, truth::Executor};

/// Who waits for a blob that another member is fetching.
type Waiting = VecDeque<(BlobService, u64, PeerId)>;

/// The common ground of a process.
pub struct Stage {
    board: Mutex<Board>,
    /// Where truths come from.
    pub executor: Arc<dyn Executor>,
    /// Where modules, inputs and long outputs are.
    pub blobs: Blobs,
    fetches: Mutex<BTreeMap<Hash, Waiting>>,
    lives: AtomicU64,
    voice: Box<dyn Fn(Value) + Send + Sync>,
}

impl Stage {
    /// An empty stage; `voice` is told what happens, one object at a time.
    pub fn new(
        executor: Arc<dyn Executor>,
        blobs: Blobs,
        voice: impl Fn(Value) + Send + Sync + 'static,
    ) -> Self {
        Self {
            board: Mutex::default(),
            executor,
            blobs,
            fetches: Mutex::default(),
            lives: AtomicU64::new(0),
            voice: Box::new(voice),
        }
    }

    pub(crate) fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn say(&self, what: Value) {
        (self.voice)(what);
    }

    /// A number for one more identity.
    pub(crate) fn life(&self) -> u64 {
        self.lives.fetch_add(1, Ordering::Relaxed)
    }

    fn fetches(&self) -> MutexGuard<'_, BTreeMap<Hash, Waiting>> {
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gets a blob for a member. The store takes one blob from one side at a time, so members that
    /// want the same one take turns; all but the first find it there, or try their own source.
    pub(crate) fn fetch(&self, service: &BlobService, hash: Hash, len: u64, from: PeerId) {
        let mut fetches = self.fetches();
        if let Some(waiting) = fetches.get_mut(&hash) {
            return waiting.push_back((service.clone(), len, from));
        }
        fetches.insert(hash, Waiting::new());
        drop(fetches);
        service.fetch(hash, len, from);
    }

    fn fetched(&self, hash: &Hash) {
        let mut fetches = self.fetches();
        let Some(waiting) = fetches.get_mut(hash) else { return };
        match waiting.pop_front() {
            Some((service, len, from)) => {
                drop(fetches);
                service.fetch(*hash, len, from);
            }
            None => drop(fetches.remove(hash)),
        }
    }

    /// Passes a member's fetched blobs on to it. Outlives the member, for others wait in line.
    pub(crate) async fn pass_on(
        self: Arc<Self>,
        mut from: mpsc::Receiver<Message>,
        to: mpsc::Sender<(Hash, bool)>,
    ) {
        while let Some(message) = from.recv().await {
            match message {
                Message::Blob { hash, here } => {
                    self.fetched(&hash);
                    // Fails only when the member is gone.
                    let _ = to.send((hash, here)).await;
                }
                // A member has nothing to hide.
                Message::MayFetch { reply, .. } => drop(reply.send((true, true))),
                Message::MayShare { reply, .. } => drop(reply.send(true)),
                _ => {}
            }
        }
    }
}
