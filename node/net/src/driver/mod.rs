//! The one task that polls libp2p. It carries out commands, passes on events, and keeps the book.
//!
//! Nothing slow happens here: work frames are read and written by `link` tasks, and an event that
//! finds no room waits in a bounded backlog instead of holding the loop up.

mod adverts;
mod connections;
mod discovery;
mod links;
mod probes;
mod providers;
mod rates;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use bayan_protocol::{id::PeerId, link::Links};
use futures::{FutureExt as _, StreamExt as _, future::OptionFuture};
use libp2p::{
    Multiaddr, Swarm,
    core::transport::ListenerId,
    swarm::{ConnectionId, SwarmEvent, dial_opts::DialOpts},
};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use self::{adverts::Adverts, connections::Peer, links::Slot, providers::Providers};
use crate::{
    Config, DownReason, Event, StartError,
    address::Endpoint,
    behaviour::{Behaviour, BehaviourEvent},
    book::{Book, Dial},
    handle::{Command, Shared},
    link,
    meter::Meters,
    names,
    start::Given,
    substream::{Inbound, Kind},
    walks::Walks,
};

/// How often what is due is looked for.
const TICK: Duration = Duration::from_millis(200);
/// Commands carried out before libp2p is polled again.
const COMMANDS_AT_ONCE: usize = 32;
/// Events of this loop waiting for room in the receiver's queue. Hints are dropped above half of it.
const MAX_BACKLOG: usize = 512;
/// Peers refused at a time.
const MAX_REFUSED: usize = 4096;
/// Time for all listeners to be ready.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(5);
/// On a shutdown: time for the work streams to end, then for the connections.
const LINKS_END: Duration = Duration::from_secs(2);
const CONNECTIONS_END: Duration = Duration::from_millis(500);
/// Inbound blob streams open at a time, in all.
const BLOB_STREAMS: usize = 256;

/// The task's state.
pub(crate) struct Driver {
    swarm: Swarm<Behaviour>,
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
    backlog: VecDeque<Event>,
    peers: BTreeMap<PeerId, Peer>,
    slots: BTreeMap<PeerId, Slot>,
    tasks: JoinSet<link::Ended>,
    task_peers: HashMap<tokio::task::Id, PeerId>,
    book: Book,
    walks: Walks,
    dials: HashMap<ConnectionId, Dial>,
    refused: BTreeMap<PeerId, Instant>,
    own: BTreeSet<Endpoint>,
    adverts: Adverts,
    providers: Providers,
    blob_places: Arc<Semaphore>,
    links: Links,
    meters: Meters,
    next_look: Instant,
    /// When the measured links are told of next.
    next_told: Instant,
    /// Ends of probes, from their tasks to the loop.
    probes: mpsc::Sender<probes::Probed>,
    probed: mpsc::Receiver<probes::Probed>,
    settings: Settings,
}

/// What the loop needs of the configuration.
struct Settings {
    max_peers: usize,
    target_outgoing: usize,
    only_bootstrap: bool,
    queue_frames: usize,
    queue_bytes: usize,
    refuse_for: Duration,
}

/// A random number for jitter; its quality does not matter, so neither does a failing source.
fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX / 2)
}

impl Driver {
    pub(crate) fn new(
        swarm: Swarm<Behaviour>,
        config: &Config,
        shared: Arc<Shared>,
        (commands, events): (mpsc::Receiver<Command>, mpsc::Sender<Event>),
        (links, meters): (Links, Meters),
    ) -> Self {
        let (probes, probed) = mpsc::channel(probes::QUEUE);
        Self {
            swarm,
            shared,
            commands,
            events,
            backlog: VecDeque::new(),
            peers: BTreeMap::new(),
            slots: BTreeMap::new(),
            tasks: JoinSet::new(),
            task_peers: HashMap::new(),
            book: Book::default(),
            walks: Walks::new(Instant::now()),
            dials: HashMap::new(),
            refused: BTreeMap::new(),
            own: BTreeSet::new(),
            adverts: Adverts::default(),
            providers: Providers::new(Instant::now()),
            blob_places: Arc::new(Semaphore::new(BLOB_STREAMS)),
            links,
            meters,
            next_look: Instant::now(),
            next_told: Instant::now(),
            probes,
            probed,
            settings: Settings {
                max_peers: config.max_peers as usize,
                target_outgoing: config.target_outgoing as usize,
                only_bootstrap: config.only_bootstrap,
                queue_frames: config.queue_frames,
                queue_bytes: config.queue_bytes,
                refuse_for: config.refuse_for,
            },
        }
    }

    /// Waits until every listener has an address.
    pub(crate) async fn await_listeners(
        &mut self,
        mut waiting: Vec<(ListenerId, Given)>,
    ) -> Result<(), StartError> {
        let ready = async {
            while !waiting.is_empty() {
                let event = self.swarm.select_next_some().await;
                let failure = match &event {
                    SwarmEvent::NewListenAddr { listener_id, .. } => {
                        waiting.retain(|(waiting, _)| waiting != listener_id);
                        None
                    }
                    SwarmEvent::ListenerClosed { listener_id, reason, .. } => Some((
                        *listener_id,
                        reason
                            .as_ref()
                            .err()
                            .map_or_else(|| "closed".to_owned(), ToString::to_string),
                    )),
                    SwarmEvent::ListenerError { listener_id, error } => {
                        Some((*listener_id, error.to_string()))
                    }
                    _ => None,
                };
                if let Some((failed, reason)) = failure
                    && let Some(at) = waiting.iter().position(|(waiting, _)| *waiting == failed)
                {
                    return Err(StartError::Listen {
                        address: waiting.swap_remove(at).1.text,
                        reason,
                    });
                }
                self.on_event(event);
            }
            Ok(())
        };
        match timeout(LISTEN_TIMEOUT, ready).await {
            Ok(result) => result,
            Err(_) => {
                let address = waiting.pop().map_or_else(String::new, |(_, given)| given.text);
                Err(StartError::Listen {
                    address,
                    reason: "no network interface took it up in time".to_owned(),
                })
            }
        }
    }

    /// Enters the peers that the operator named.
    pub(crate) fn name_peers(&mut self, addresses: impl Iterator<Item = Multiaddr>) {
        let now = Instant::now();
        for address in addresses {
            if Endpoint::parse(&address).is_some_and(|(endpoint, _)| self.own.contains(&endpoint)) {
                tracing::debug!(%address, "a bootstrap address is this peer's own");
                continue;
            }
            let (address, peer) = split_peer(address);
            self.book.name(peer, address, now);
        }
    }

    /// Runs until the last handle or the receiver is dropped, or a shutdown is asked for.
    pub(crate) async fn run(mut self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let events = self.events.clone();
        // Kept from one round to the next, or this loop would lose its place in the queue for room.
        let mut room = None;
        let asked = loop {
            if room.is_none() && !self.backlog.is_empty() {
                room = Some(Box::pin(events.clone().reserve_owned()));
            }
            tokio::select! {
                biased;
                () = events.closed() => break None,
                command = self.commands.recv() => match command {
                    None => break None,
                    Some(command) => if let Some(reply) = self.carry_out(command) { break Some(reply) },
                },
                Some(joined) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => self.on_joined(joined),
                Some(free) = OptionFuture::from(room.as_mut()), if room.is_some() => {
                    room = None;
                    // No room at all means that the receiver is gone, which ends the loop above.
                    if let (Ok(free), Some(event)) = (free, self.backlog.pop_front()) {
                        free.send(event);
                    }
                }
                Some(probed) = self.probed.recv() => self.on_probed(probed),
                _ = ticks.tick() => self.on_tick(),
                event = self.swarm.select_next_some() => self.on_event(event),
            }
        };
        self.end().await;
        // Whoever hears of the end finds the sockets closed and every command refused.
        drop(self);
        if let Some(reply) = asked {
            // Whoever asked may have stopped waiting.
            let _ = reply.send(());
        }
    }

    /// Carries out a batch of commands. Returns the reply channel if one was to shut down.
    fn carry_out(&mut self, first: Command) -> Option<oneshot::Sender<()>> {
        let mut next = Some(first);
        for _ in 0..COMMANDS_AT_ONCE {
            match next {
                None => break,
                Some(Command::Shutdown(reply)) => return Some(reply),
                Some(command) => self.command(command),
            }
            next = self.commands.try_recv().ok();
        }
        if let Some(command) = next {
            if let Command::Shutdown(reply) = command {
                return Some(reply);
            }
            self.command(command);
        }
        // Commands come first in the loop; this keeps them from starving the network.
        if let Some(Some(event)) = self.swarm.next().now_or_never() {
            self.on_event(event);
        }
        None
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::OpenBlob { peer, reply } => {
                // Dropping the reply tells that the peer is not connected.
                if let Some(connection) = self.peers.get(&peer).and_then(Peer::connection) {
                    let id = names::to_libp2p(&peer);
                    self.swarm.behaviour_mut().streams.open(id, connection, Kind::Blob, reply);
                }
            }
            Command::Publish(bytes) => self.advertise(bytes),
            Command::Dial(address) => self.dial_once(address),
            Command::Reach(peer) => self.reach(peer),
            Command::Disconnect { peer, reason } => self.refuse(peer, reason),
            Command::Peers(reply) => {
                // Whoever asked may have stopped waiting.
                let _ = reply.send(self.peer_infos());
            }
            Command::Meet { peer, addresses } => self.meet(peer, &addresses),
            Command::Addresses { peers, reply } => {
                let _ = reply.send(self.addresses(peers));
            }
            Command::Provide(hash) => self.provide(hash),
            Command::StopProviding(hash) => self.stop_providing(&hash),
            Command::FindProviders(hash) => self.find_providers(hash),
            Command::Shutdown(_) => {}
        }
    }

    fn on_tick(&mut self) {
        let now = Instant::now();
        let over: Vec<_> = self
            .refused
            .iter()
            .filter(|(_, until)| **until <= now)
            .map(|(peer, _)| *peer)
            .collect();
        for peer in over {
            self.refused.remove(&peer);
            self.swarm.behaviour_mut().refused.unblock_peer(names::to_libp2p(&peer));
        }
        self.retry_links(now);
        self.measure(now);
        self.probe_due(now);
        self.publish_due(now);
        self.walk(now);
        self.dial_due(now);
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_established(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                tracing::debug!(%peer_id, ?cause, "connection closed");
                self.on_closed(peer_id, connection_id);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                self.on_dial_error(connection_id, peer_id, &error);
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(from = %send_back_addr, %error, "inbound connection failed");
            }
            SwarmEvent::NewListenAddr { address, .. } => self.on_listening(address),
            SwarmEvent::ExpiredListenAddr { address, .. } => self.on_not_listening(&address),
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                tracing::warn!(?addresses, ?reason, "no longer listening");
                addresses.iter().for_each(|address| self.on_not_listening(address));
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "a listener failed for a moment")
            }
            _ => {}
        }
    }

    fn on_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Streams(Inbound { peer, connection, kind, stream }) => {
                let Some(peer) = names::from_libp2p(&peer) else { return };
                match kind {
                    Kind::Work => self.on_work_stream(peer, connection, stream),
                    Kind::Blob => self.on_blob_stream(peer, stream),
                    Kind::Link => self.on_probe(peer, stream),
                }
            }
            BehaviourEvent::Identify(event) => self.on_identify(event),
            // Others' pings are answered; this peer's own are probes.
            BehaviourEvent::Ping(_) => {}
            BehaviourEvent::Kad(event) => self.on_kad(event),
            BehaviourEvent::Mdns(event) => self.on_mdns(event),
            BehaviourEvent::Gossip(event) => self.on_gossip(event),
            // These two never say anything.
            BehaviourEvent::Limits(never) | BehaviourEvent::Refused(never) => match never {},
        }
    }

    /// Passes an event on as soon as there is room. Hints give way first.
    fn tell(&mut self, event: Event) {
        let is_hint =
            matches!(event, Event::Advert { .. } | Event::Providers { .. } | Event::Link { .. });
        let limit = if is_hint { MAX_BACKLOG / 2 } else { MAX_BACKLOG };
        if self.backlog.len() < limit {
            self.backlog.push_back(event);
        } else {
            tracing::debug!("an event was dropped: the receiver does not keep up");
        }
    }

    /// Dials an address that the operator gave, once.
    fn dial_once(&mut self, address: Multiaddr) {
        let dialled = match split_peer(address.clone()) {
            (_, Some(peer)) if self.peers.contains_key(&peer) => Ok(()),
            (address, Some(peer)) => self
                .swarm
                .dial(DialOpts::peer_id(names::to_libp2p(&peer)).addresses(vec![address]).build()),
            (address, None) => {
                self.swarm.dial(DialOpts::unknown_peer_id().address(address).build())
            }
        };
        if let Err(error) = dialled {
            tracing::debug!(%address, %error, "not dialled");
        }
    }

    /// Closes all connections with a peer and refuses new ones for a while.
    fn refuse(&mut self, peer: PeerId, reason: String) {
        tracing::info!(peer = %peer.short(), reason, "peer refused");
        let void = self
            .slots
            .get_mut(&peer)
            .is_some_and(|slot| slot.end(DownReason::Disconnected(reason)));
        if void {
            self.slots.remove(&peer);
        }
        if self.refused.len() >= MAX_REFUSED
            && let Some(soonest) =
                self.refused.iter().min_by_key(|(_, until)| **until).map(|(peer, _)| *peer)
        {
            self.refused.remove(&soonest);
            self.swarm.behaviour_mut().refused.unblock_peer(names::to_libp2p(&soonest));
        }
        self.refused.insert(peer, Instant::now() + self.settings.refuse_for);
        let (id, behaviour) = (names::to_libp2p(&peer), self.swarm.behaviour_mut());
        // Nor is it passed on to others.
        behaviour.kad.remove_peer(&id);
        behaviour.refused.block_peer(id);
    }

    /// Ends every work stream in order, then every connection, each within its time.
    async fn end(&mut self) {
        for slot in self.slots.values_mut() {
            slot.end(DownReason::Shutdown);
        }
        let links = async {
            // The loop's own connections still need polling while the streams say goodbye.
            while !self.tasks.is_empty() {
                tokio::select! {
                    _ = self.tasks.join_next() => {}
                    _ = self.swarm.select_next_some() => {}
                }
            }
        };
        if timeout(LINKS_END, links).await.is_err() {
            tracing::debug!("some work streams did not end in time");
        }
        let connected: Vec<_> = self.swarm.connected_peers().copied().collect();
        for peer in connected {
            // An error means that the peer has just gone.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let connections = async {
            while self.swarm.network_info().num_peers() > 0 {
                self.swarm.select_next_some().await;
            }
        };
        let _ = timeout(CONNECTIONS_END, connections).await;
    }
}

/// Takes the peer off the end of an address; `None` also for a peer that has no name here.
fn split_peer(mut address: Multiaddr) -> (Multiaddr, Option<PeerId>) {
    match address.pop() {
        Some(libp2p::multiaddr::Protocol::P2p(peer)) => (address, names::from_libp2p(&peer)),
        Some(other) => (address.with(other), None),
        None => (address, None),
    }
}
