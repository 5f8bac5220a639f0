//! The loop that owns the fetching machine: takes what happens, steps it, carries out what it says.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bayan_net::ByteStream;
use bayan_protocol::{
    fetch::{Effect, Fetches, Found, Input},
    id::{Hash, PeerId},
    limits::MAX_BLOB,
    time::Timestamp,
};
use bayan_store::Receiving;
use tokio::{io::AsyncWriteExt as _, sync::mpsc};
use tokio_util::sync::CancellationToken;

use super::{BlobFailure, Shared, ask, room};
use crate::core::{self, Message};

/// Something for the loop.
pub(super) enum Order {
    /// An input of the machine.
    Step(Input),
    /// Peers known to send wrong bytes.
    Remember(Vec<(PeerId, Timestamp)>),
}

/// Streams between two requests, by provider, with the time of the last.
pub(super) type Idle = Arc<Mutex<BTreeMap<PeerId, Vec<(Instant, ByteStream)>>>>;

/// A stream that nothing was asked on for this long is ended.
const IDLE: Duration = Duration::from_secs(15);

struct Carrier {
    shared: Arc<Shared>,
    machine: Fetches,
    orders: mpsc::WeakSender<Order>,
    /// Requests under way.
    requests: HashMap<u64, CancellationToken>,
    idle: Idle,
}

/// Runs until every handle of the service is gone.
pub(super) async fn run(
    shared: Arc<Shared>,
    mut ordered: mpsc::Receiver<Order>,
    orders: mpsc::WeakSender<Order>,
) {
    let mut seed = [0; 32];
    if getrandom::fill(&mut seed).is_err() {
        // Only the order of pieces depends on it.
        tracing::debug!("the system gives no random numbers");
    }
    let machine = Fetches::new(shared.net.id(), &seed);
    let requests = HashMap::new();
    let mut carrier = Carrier { shared, machine, orders, requests, idle: Idle::default() };
    loop {
        let wake = carrier.machine.next_wake().map(|at| at.since(core::now()));
        let order = tokio::select! {
            biased;
            order = ordered.recv() => match order {
                Some(order) => order,
                None => break,
            },
            () = tokio::time::sleep(wake.unwrap_or(Duration::from_secs(60)).max(Duration::from_millis(5))) => {
                Order::Step(Input::Tick)
            }
        };
        carrier.end_idle();
        match order {
            Order::Step(input) => {
                for effect in carrier.machine.step(core::now(), input) {
                    carrier.act(effect).await;
                }
            }
            Order::Remember(poisoners) => carrier.machine.remember(poisoners),
        }
    }
    carrier.requests.values().for_each(CancellationToken::cancel);
}

impl Carrier {
    async fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Begin { hash, len } => self.begin(hash, len),
            Effect::Ask { request, peer, hash, len, ask } => {
                self.requests.retain(|_, cancel| !cancel.is_cancelled());
                let Some(receiving) = self.shared.receiving().get(&hash).cloned() else { return };
                let Some(orders) = self.orders.upgrade() else { return };
                let cancel = CancellationToken::new();
                self.requests.insert(request, cancel.clone());
                let (shared, idle) = (self.shared.clone(), self.idle.clone());
                let asking = ask::Asking {
                    shared,
                    idle,
                    orders,
                    request,
                    peer,
                    hash,
                    len,
                    receiving,
                    cancel,
                };
                self.shared.runtime.spawn(asking.carry_out(ask));
            }
            Effect::Stop { request } => {
                if let Some(cancel) = self.requests.remove(&request) {
                    cancel.cancel();
                }
            }
            Effect::Meet { peer, at } => self.shared.net.meet(peer, at),
            Effect::Search { hash } => self.shared.net.find_providers(hash),
            Effect::Finish { hash } => self.finish(hash),
            Effect::Done { hash, here } => self.done(hash, here).await,
            Effect::Poisoned { peer, until } => {
                tracing::warn!(peer = %peer.short(), "sent wrong bytes for a blob and is not asked for any more");
                // Fails only when the core is gone.
                let _ = self.shared.core.send(Message::Poisoner { peer, until: Some(until) }).await;
                self.idle().remove(&peer);
            }
            Effect::Forgiven { peer } => {
                let _ = self.shared.core.send(Message::Poisoner { peer, until: None }).await;
            }
        }
    }

    /// Makes a place for a blob, beside the loop: that may take the disk some time.
    fn begin(&self, hash: Hash, len: u64) {
        let Some(orders) = self.orders.upgrade() else { return };
        let shared = self.shared.clone();
        self.shared.runtime.spawn(async move {
            let found = match place(&shared, hash, len).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(blob = %hash.short(), %error, "a blob cannot be taken in");
                    Found::Unable
                }
            };
            let _ = orders.send(Order::Step(Input::Begun { hash, found })).await;
        });
    }

    fn finish(&self, hash: Hash) {
        let Some(orders) = self.orders.upgrade() else { return };
        let shared = self.shared.clone();
        let receiving = shared.receiving().get(&hash).cloned();
        self.shared.runtime.spawn_blocking(move || {
            let finished = receiving.as_ref().map(|receiving| receiving.finish());
            let here = match finished {
                Some(Ok(_)) => true,
                Some(Err(error)) => {
                    tracing::warn!(blob = %hash.short(), %error, "a blob cannot be put in place");
                    shared.blobs.has(&hash)
                }
                None => shared.blobs.has(&hash),
            };
            let _ = orders.blocking_send(Order::Step(Input::Finished { hash, here }));
        });
    }

    async fn done(&mut self, hash: Hash, here: bool) {
        // What has come of it stays on disk, for another attempt; saying so may take the disk a while.
        let receiving = self.shared.receiving().remove(&hash);
        if let Some(receiving) = receiving {
            self.shared.runtime.spawn_blocking(move || drop(receiving));
        }
        if here {
            self.announce(hash);
        } else {
            tracing::debug!(blob = %hash.short(), "fetch failed");
        }
        // Fails only when the core is gone.
        let _ = self.shared.core.send(Message::Blob { hash, here }).await;
    }

    fn idle(&self) -> MutexGuard<'_, BTreeMap<PeerId, Vec<(Instant, ByteStream)>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the streams that were not used for a while, in order.
    fn end_idle(&self) {
        let mut ended = Vec::new();
        self.idle().retain(|_, streams| {
            while streams.first().is_some_and(|(used, _)| used.elapsed() >= IDLE) {
                ended.push(streams.remove(0).1);
            }
            !streams.is_empty()
        });
        for mut stream in ended {
            self.shared.runtime.spawn(async move {
                // The other side may have ended it first.
                let _ = tokio::time::timeout(IDLE, stream.shutdown()).await;
            });
        }
    }

    /// Tells the network of a blob that has come, unless it is a secret.
    fn announce(&self, hash: Hash) {
        let shared = self.shared.clone();
        self.shared.runtime.spawn(async move {
            let Some(len) = shared.blobs.len(&hash) else { return };
            if may_share(&shared, hash).await {
                shared.announce(hash, len);
            }
        });
    }
}

/// Times that a blob is tried which is still held by an earlier attempt.
const AGAIN: u32 = 20;

async fn may_share(shared: &Shared, hash: Hash) -> bool {
    shared.ask(|reply| Message::MayShare { hash, reply }).await.unwrap_or(false)
}

/// What is here of a blob; unless it is all of it, what is missing can be taken in from now on.
async fn place(shared: &Arc<Shared>, hash: Hash, len: u64) -> Result<Found, BlobFailure> {
    if shared.blobs.has(&hash) {
        shared.blobs.touch(&hash);
        return Ok(Found::Whole);
    }
    let may_share = may_share(shared, hash).await;
    let mut received = receive(shared, hash, len).await;
    for _ in 0..AGAIN {
        // An earlier attempt may be about to end.
        if !matches!(received, Err(BlobFailure::Store(bayan_store::BlobError::Busy(_)))) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        received = receive(shared, hash, len).await;
    }
    let receiving = match received {
        Err(BlobFailure::Store(bayan_store::BlobError::Quota { needed, used, quota })) => {
            let bytes = used.saturating_add(needed).saturating_sub(quota);
            room::make(&shared.core, bytes).await;
            receive(shared, hash, len).await?
        }
        received => received?,
    };
    let gaps = receiving.missing(usize::MAX);
    shared.receiving().insert(hash, Arc::new(receiving));
    Ok(Found::Missing { gaps, shared: may_share })
}

async fn receive(shared: &Arc<Shared>, hash: Hash, len: u64) -> Result<Receiving, BlobFailure> {
    let blobs = shared.blobs.clone();
    let receive = move || blobs.receive(hash, len, MAX_BLOB);
    Ok(tokio::task::spawn_blocking(receive).await.map_err(|_| BlobFailure::Stopped)??)
}
