//! One running peer: opens its directory, starts network, engines, core and local API, and stops
//! them in the opposite order.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, bail};
use bayan_protocol::{
    crypto::Keypair,
    delegate,
    id::PeerId,
    offer::Lending,
    peer::{self, Peer},
    record::Key,
    source,
    task::PROFILE_V1,
};
use bayan_store::{Directory, Options, Sync};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    api,
    archive::Archive,
    blobs::BlobService,
    config::{Config, RelayWork},
    core::{self, Command, Core, CoreError, Message, Past},
    engine::Engines,
    mending,
};

/// Where compiled modules are kept in the data directory.
const CACHE_DIR: &str = "cache";
/// A peer that does not stop within this time is left to the end of the process.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// A running peer.
pub struct Node {
    peer: PeerId,
    api: SocketAddr,
    token: String,
    listening: Vec<String>,
    stopper: Stopper,
    core: Mutex<Option<JoinHandle<Result<(), CoreError>>>>,
    runtime: Option<tokio::runtime::Runtime>,
    shutdown: CancellationToken,
    net: bayan_net::Handle,
    /// Holds the directory's lock for as long as the peer runs.
    directory: Option<Directory>,
    unreadable: Arc<OnceLock<u64>>,
}

/// Stops a peer from anywhere.
#[derive(Clone)]
pub struct Stopper(mpsc::Sender<Message>);

impl Stopper {
    /// Asks the peer to end; [`Node::wait`] returns when it has.
    pub fn stop(&self) {
        let (reply, _) = oneshot::channel();
        let sender = self.0.clone();
        // The queue may be full, and callers may be inside a runtime or a signal's thread.
        std::thread::spawn(move || {
            let _ = sender.blocking_send(Message::Command(Command::Stop(reply)));
        });
    }
}

impl Node {
    /// Starts a peer on `data_dir`. Blocks until it listens and serves its API.
    ///
    /// # Errors
    /// Whatever keeps it from starting, in words that say what to do. A directory held by another
    /// process is a [`bayan_store::OpenError::Held`] inside.
    pub fn start(data_dir: &Path, config: Config, daemon: bool) -> anyhow::Result<Self> {
        if config.sabotage && !config.is_loopback_only() {
            bail!(
                "sabotage is for tests of the network's defence and works on loopback addresses alone"
            );
        }
        let sync = if config.sync_always { Sync::Always } else { Sync::Interval };
        let blob_quota = config.disk.saturating_mul(1 << 20);
        let options = Options { sync, blob_quota, copied: Key::PRECIOUS };
        let directory = Directory::open(data_dir, options)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("bayan-net")
            .enable_all()
            .build()
            .context("cannot start the network threads")?;
        let handle = runtime.handle().clone();
        // Whatever can be refused comes before the first thread that would have to be stopped again.
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, config.api_port)))
            .with_context(|| format!("cannot serve the local API on port {}", config.api_port))?;
        let api = listener.local_addr()?;
        let (outbox, inbox) = mpsc::channel(core::QUEUE);
        let (changes, _) = broadcast::channel(1024);
        let (net, events) =
            handle.block_on(bayan_net::start(net_config(&config, directory.identity())))?;
        handle.spawn(forward(events, outbox.clone()));

        let blobs = directory.blobs();
        let archive = Archive::open(directory.path(), blobs.clone(), directory.records())?;
        let service = BlobService::new(
            blobs.clone(),
            net.clone(),
            outbox.clone(),
            handle.clone(),
            config.upload_limit.map(|limit| limit.saturating_mul(1 << 10)),
        );
        let options = bayan_engine::Options {
            cache_dir: Some(directory.path().join(CACHE_DIR)),
            ..bayan_engine::Options::new(config.slots() as usize)
        };
        let traffic = service.traffic();
        let engines =
            Engines::start(options, blobs.clone(), outbox.clone(), handle, config.sabotage)
                .context("cannot start the engines")?;
        let key = Keypair::from_seed(&directory.identity());
        let peer = machines(&key, &config)?;
        let recovery = directory.recovery();
        let has_holes = recovery.salvage.is_some() || recovery.damage.is_some();
        let unreadable = Arc::new(OnceLock::new());
        let past = Past { records: directory.records(), has_holes, unreadable: unreadable.clone() };
        let core = Core::new(
            peer,
            past,
            net.clone(),
            engines.clone(),
            (service, archive.clone()),
            changes.clone(),
            inbox,
        );
        let shutdown = CancellationToken::new();
        let core = spawn_core(core, shutdown.clone())?;

        let shared = api::Shared {
            commands: outbox.clone(),
            changes,
            blobs,
            traffic,
            records: directory.records(),
            archive,
            net: net.clone(),
            prepare: Arc::new(move |wasm| engines.prepare(wasm)),
            token: directory.api_token(),
            daemon,
            lending_memory: memory(&config),
            peer: key.peer_id(),
        };
        runtime.spawn(api::serve(listener, shared, shutdown.clone()));
        directory
            .set_holder(&api.to_string())
            .context("cannot note the API's address in the data directory")?;
        Ok(Self {
            peer: key.peer_id(),
            api,
            token: directory.api_token(),
            listening: net.listen_addresses(),
            stopper: Stopper(outbox),
            core: Mutex::new(Some(core)),
            runtime: Some(runtime),
            shutdown,
            net,
            directory: Some(directory),
            unreadable,
        })
    }

    /// This peer.
    pub fn peer_id(&self) -> PeerId {
        self.peer
    }

    /// What was found damaged when its directory was opened, a line each; complete once the peer has
    /// answered anything.
    pub fn mended(&self) -> Vec<String> {
        let unreadable = self.unreadable.get().copied().unwrap_or_default();
        let directory = self.directory.as_ref();
        directory.map_or_else(Vec::new, |one| mending::in_words(one.recovery(), unreadable))
    }

    /// Where the local API is.
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// What clients of the local API must show.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Where it listens, as others would dial it.
    pub fn listening(&self) -> Vec<String> {
        self.listening.clone()
    }

    /// A handle that stops it.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Blocks until the peer has been stopped, or could not go on.
    ///
    /// # Errors
    /// Why it could not go on.
    pub fn wait(&self) -> anyhow::Result<()> {
        let core = self.core.lock().unwrap_or_else(PoisonError::into_inner).take();
        match core.map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => Err(error.into()),
            Some(Err(_)) => bail!(
                "the peer's core thread failed; its data directory is in order, start it again"
            ),
        }
    }

    /// Stops it and gives its directory back.
    ///
    /// # Errors
    /// Why it had failed, if it had.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.stopper.stop();
        let ended = self.wait();
        self.close();
        ended
    }

    fn close(&mut self) {
        self.shutdown.cancel();
        let Some(runtime) = self.runtime.take() else { return };
        let net = self.net.clone();
        let _ =
            runtime.block_on(async { tokio::time::timeout(STOP_TIMEOUT, net.shutdown()).await });
        runtime.shutdown_timeout(STOP_TIMEOUT);
        if let Some(directory) = self.directory.take()
            && let Err(error) = directory.close()
        {
            tracing::error!(%error, "the last records are in the journal, but not in the database");
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.runtime.is_some() {
            self.stopper.stop();
            let _ = self.wait();
            self.close();
        }
    }
}

fn memory(config: &Config) -> u64 {
    config.memory.saturating_mul(1 << 20)
}

fn net_config(config: &Config, secret: [u8; 32]) -> bayan_net::Config {
    let mut net = bayan_net::Config::new(secret);
    net.listen = config.listen_addresses();
    net.bootstrap.clone_from(&config.bootstrap);
    net.mdns = config.mdns;
    net.quic = config.quic;
    net.link = config.link;
    net.only_bootstrap = config.only_bootstrap;
    net.mdns &= !config.only_bootstrap;
    net
}

fn machines(key: &Keypair, config: &Config) -> anyhow::Result<Peer> {
    let lending = Lending {
        relays: config.relay_work != RelayWork::Never,
        slots: if config.relay_work == RelayWork::Only { 0 } else { config.slots() },
        memory: memory(config),
        accept: config.accept,
        profiles: vec![PROFILE_V1.to_owned()],
    };
    let patience = Duration::from_secs(config.patience);
    let agent = concat!("bayan/", env!("CARGO_PKG_VERSION")).to_owned();
    let config = peer::Config {
        lending,
        agent,
        source: source::Config { patience, ..source::Config::default() },
        delegate: delegate::Config {
            accept: config.delegate_accept()?,
            after: Duration::from_secs(config.delegate_after),
        },
    };
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)
        .map_err(|error| anyhow::anyhow!("the system gives no random numbers: {error}"))?;
    Ok(Peer::new(key.clone(), config, &seed, core::now()))
}

/// Passes network events on; a full core makes the network's readers wait.
async fn forward(mut events: mpsc::Receiver<bayan_net::Event>, outbox: mpsc::Sender<Message>) {
    while let Some(event) = events.recv().await {
        if outbox.send(Message::Net(event)).await.is_err() {
            break;
        }
    }
}

fn spawn_core(
    core: Core,
    shutdown: CancellationToken,
) -> anyhow::Result<JoinHandle<Result<(), CoreError>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    std::thread::Builder::new()
        .name("bayan-core".to_owned())
        .spawn(move || {
            let ended = runtime.block_on(core.run());
            shutdown.cancel();
            ended
        })
        .context("cannot start the core's thread")
}
