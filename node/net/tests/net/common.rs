//! A peer under test, and waiting for what it is told.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use bayan_net::{Config, DownReason, Event, Handle};
use bayan_protocol::id::PeerId;
use tokio::{sync::mpsc, time::timeout};

/// Long enough for a busy machine; nothing waits this long when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running peer. Every event that passes through is checked for order.
pub(crate) struct Node {
    pub(crate) handle: Handle,
    pub(crate) id: PeerId,
    events: mpsc::Receiver<Event>,
    /// Events that were not waited for yet.
    passed: VecDeque<Event>,
    up: BTreeSet<PeerId>,
}

/// Settings of a peer on `127.TEST.PEER.1`, with TCP alone.
pub(crate) fn config(test: u8, peer: u8) -> Config {
    let mut secret = [0; 32];
    (secret[0], secret[1]) = (test, peer);
    let mut config = Config::new(secret);
    config.listen = vec![format!("/ip4/127.{test}.{peer}.1/tcp/0")];
    config
}

/// The same with QUIC alone.
pub(crate) fn quic_config(test: u8, peer: u8) -> Config {
    let mut config = config(test, peer);
    config.listen = vec![format!("/ip4/127.{test}.{peer}.1/udp/0/quic-v1")];
    config
}

impl Node {
    pub(crate) async fn start(config: Config) -> Self {
        let (handle, events) = bayan_net::start(config).await.expect("the peer starts");
        Self { id: handle.id(), handle, events, passed: VecDeque::new(), up: BTreeSet::new() }
    }

    /// Starts a peer that knows one other.
    pub(crate) async fn join(mut config: Config, other: &Node) -> Self {
        config.bootstrap = vec![other.address()];
        Self::start(config).await
    }

    pub(crate) fn address(&self) -> String {
        self.handle.listen_addresses().pop().expect("listens")
    }

    /// The next event; `None` when the peer has shut down.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        let event = timeout(PATIENCE, self.events.recv()).await.expect("an event in time")?;
        match &event {
            Event::Up { peer, .. } => assert!(self.up.insert(*peer), "Up twice for {peer:?}"),
            Event::Down { peer, .. } => {
                assert!(self.up.remove(peer), "Down without Up for {peer:?}")
            }
            Event::Frame { peer, bytes } => {
                assert!(self.up.contains(peer), "a frame of {peer:?}, which is not up");
                assert!(!bytes.is_empty());
            }
            _ => {}
        }
        Some(event)
    }

    /// Waits for the first event of which `pick` makes something, earlier ones included.
    pub(crate) async fn wait<T>(&mut self, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        for index in 0..self.passed.len() {
            if let Some(picked) = pick(&self.passed[index]) {
                self.passed.remove(index);
                return picked;
            }
        }
        loop {
            let event = self.next().await.expect("the peer is running");
            if let Some(picked) = pick(&event) {
                return picked;
            }
            self.passed.push_back(event);
        }
    }

    /// Waits until `peer` is up; gives its address and whether it made the connection.
    pub(crate) async fn up(&mut self, wanted: PeerId) -> (String, bool) {
        self.wait(|event| match event {
            Event::Up { peer, address, inbound } if *peer == wanted => {
                Some((address.clone(), *inbound))
            }
            _ => None,
        })
        .await
    }

    pub(crate) async fn down(&mut self, wanted: PeerId) -> DownReason {
        self.wait(|event| match event {
            Event::Down { peer, reason } if *peer == wanted => Some(reason.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn frame(&mut self, from: PeerId) -> Vec<u8> {
        self.wait(|event| match event {
            Event::Frame { peer, bytes } if *peer == from => Some(bytes.clone()),
            _ => None,
        })
        .await
    }

    /// Sends every frame back to where it came from, until the peer shuts down.
    pub(crate) fn echo(mut self) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move {
            while let Some(event) = self.next().await {
                if let Event::Frame { peer, bytes } = event {
                    self.handle.send(peer, bytes).expect("room for an echo");
                }
            }
        })
    }

    /// One frame there and one back: the two peers can work with each other.
    pub(crate) async fn exchange(&mut self, other: &mut Node) {
        self.handle.send(other.id, b"question".to_vec()).expect("queued");
        assert_eq!(other.frame(self.id).await, b"question");
        other.handle.send(self.id, b"answer".to_vec()).expect("queued");
        assert_eq!(self.frame(other.id).await, b"answer");
    }
}

/// Two peers that are up with each other; the second knew the first.
pub(crate) async fn pair(first: Config, second: Config) -> (Node, Node) {
    let mut one = Node::start(first).await;
    let mut two = Node::join(second, &one).await;
    one.up(two.id).await;
    two.up(one.id).await;
    (one, two)
}
