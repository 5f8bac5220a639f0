//! Keeps to the connections that the driver itself asks for, where the operator wants no others.
//!
//! Kademlia connects to whomever a query leads past. Behind a closed gate it asks only those who are
//! connected already.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm, dummy,
    },
};

/// Why a connection is not made.
#[derive(Debug, thiserror::Error)]
#[error("only peers that were named are connected to")]
struct Closed;

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Behaviour {
    open: bool,
    named: BTreeSet<PeerId>,
}

impl Behaviour {
    /// A gate that lets everyone out, or only those that are named.
    pub(crate) fn new(open: bool) -> Self {
        Self { open, named: BTreeSet::new() }
    }

    /// The driver wants this one.
    pub(crate) fn name(&mut self, peer: PeerId) {
        if !self.open {
            self.named.insert(peer);
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        match peer {
            Some(peer) if !self.open && !self.named.contains(&peer) => {
                Err(ConnectionDenied::new(Closed))
            }
            _ => Ok(Vec::new()),
        }
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}
