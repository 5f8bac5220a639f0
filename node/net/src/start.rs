//! Starting the network side: settings are checked, sockets opened, the event loop set going.

use std::{
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::{Arc, RwLock},
    time::Duration,
};

use bayan_protocol::link::Links;
use libp2p::{Multiaddr, Swarm, core::transport::ListenerId, multiaddr::Protocol, swarm};
use tokio::sync::mpsc;

use crate::{
    Config, Event, Handle, StartError,
    address::{Endpoint, Reach},
    behaviour::Behaviour,
    driver::Driver,
    handle::{MAX_COMMANDS, Shared},
    meter::Meters,
    names, transport,
};

/// A connection without streams is closed after this time.
const IDLE: Duration = Duration::from_secs(30);
/// Addresses that may be named in the settings, each way.
const MAX_GIVEN: usize = 64;

/// An address as given, and as understood.
pub(crate) struct Given {
    pub(crate) text: String,
    pub(crate) address: Multiaddr,
}

/// Starts a peer's network side. When this returns, the peer listens on every address asked for.
///
/// It shuts down when the last [`Handle`] or the receiver is dropped.
///
/// # Errors
/// See [`StartError`].
///
/// # Panics
/// If called outside a tokio runtime.
pub async fn start(mut config: Config) -> Result<(Handle, mpsc::Receiver<Event>), StartError> {
    let keypair =
        names::keypair(&config.secret).map_err(|error| StartError::Key(error.to_string()))?;
    let libp2p_id = keypair.public().to_peer_id();
    let id = names::from_libp2p(&libp2p_id)
        .ok_or_else(|| StartError::Key("unusable public key".to_owned()))?;
    config.quic &= config.link.plan().datagrams;
    let listen = listen_addresses(&config)?;
    let bootstrap = bootstrap_addresses(&config)?;
    let plain =
        |given: &[Given]| given.iter().map(|given| given.address.clone()).collect::<Vec<_>>();
    let reach = Reach::new(&plain(&listen), &plain(&bootstrap), config.quic);
    for given in &bootstrap {
        if let Some(objection) = reach.objection(&given.address) {
            return Err(refuse(&given.text, objection));
        }
    }
    listen.iter().try_for_each(probe)?;

    let links = Links::new(config.link);
    let meters = Meters::default();
    let carried = transport::build(&keypair, config.quic, &reach, &meters)?;
    let behaviour = Behaviour::new(&config, &keypair, &reach, links.whole().plan())?;
    let settings =
        swarm::Config::with_tokio_executor().with_idle_connection_timeout(IDLE).with_smart_dial();
    let mut swarm = Swarm::new(carried, behaviour, libp2p_id, settings);
    let listeners = listen_on(&mut swarm, listen)?;

    let (commands, command_queue) = mpsc::channel(MAX_COMMANDS);
    let (events, event_queue) = mpsc::channel(config.event_capacity.max(1));
    let shared = Arc::new(Shared {
        id,
        outboxes: Default::default(),
        listening: Default::default(),
        reach,
        ledger: Default::default(),
        line: RwLock::new((links.setting(), links.whole())),
    });
    let mut driver =
        Driver::new(swarm, &config, shared.clone(), (command_queue, events), (links, meters));
    driver.await_listeners(listeners).await?;
    driver.name_peers(bootstrap.into_iter().map(|given| given.address));
    tokio::spawn(driver.run());
    Ok((Handle::new(commands, shared), event_queue))
}

fn refuse(address: &str, reason: impl Into<String>) -> StartError {
    StartError::Address { address: address.to_owned(), reason: reason.into() }
}

fn parse(addresses: &[String]) -> Result<Vec<Given>, StartError> {
    if let Some(extra) = addresses.get(MAX_GIVEN) {
        return Err(refuse(extra, format!("more than {MAX_GIVEN} addresses are given")));
    }
    let parse = |text: &String| match text.parse() {
        Ok(address) => Ok(Given { text: text.clone(), address }),
        Err(error) => Err(refuse(text, format!("it is not a multiaddress ({error})"))),
    };
    addresses.iter().map(parse).collect()
}

fn is_quic(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::QuicV1)
}

fn listen_addresses(config: &Config) -> Result<Vec<Given>, StartError> {
    let mut listen = parse(&config.listen)?;
    for given in &listen {
        if !matches!(Endpoint::parse(&given.address), Some((_, None))) {
            let shapes =
                "one can listen on /ip4/…/tcp/PORT or /ip4/…/udp/PORT/quic-v1, with ip4 or ip6";
            return Err(refuse(&given.text, shapes));
        }
    }
    // Switching QUIC off is a decision about all addresses, the default ones among them.
    listen.retain(|given| config.quic || !is_quic(&given.address));
    Ok(listen)
}

fn bootstrap_addresses(config: &Config) -> Result<Vec<Given>, StartError> {
    let mut bootstrap = parse(&config.bootstrap)?;
    for given in &bootstrap {
        if let Some(Protocol::P2p(peer)) = given.address.iter().last()
            && names::from_libp2p(&peer).is_none()
        {
            return Err(refuse(&given.text, "its peer id is not that of an Ed25519 key"));
        }
    }
    bootstrap.retain(|given| {
        let usable = config.quic || !is_quic(&given.address);
        if !usable {
            tracing::warn!(address = given.text, "QUIC is switched off: address not used");
        }
        usable
    });
    Ok(bootstrap)
}

/// Fails if the port is taken. libp2p itself would share a TCP port with another process of the
/// same user (it sets `SO_REUSEPORT`), and half of the connections would go astray.
fn probe(given: &Given) -> Result<(), StartError> {
    let Some((Endpoint { ip, port, quic }, _)) = Endpoint::parse(&given.address) else {
        return Ok(());
    };
    if port == 0 || (ip.is_unspecified() && ip.is_ipv6()) {
        // A probe of `::` would also collide with an IPv4 listener, which libp2p's does not.
        return Ok(());
    }
    let socket = SocketAddr::new(ip, port);
    let bound =
        if quic { UdpSocket::bind(socket).map(drop) } else { TcpListener::bind(socket).map(drop) };
    bound.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => StartError::PortInUse { address: given.text.clone() },
        _ => StartError::Listen { address: given.text.clone(), reason: error.to_string() },
    })
}

fn listen_on(
    swarm: &mut Swarm<Behaviour>,
    listen: Vec<Given>,
) -> Result<Vec<(ListenerId, Given)>, StartError> {
    let listen_on = |given: Given| match swarm.listen_on(given.address.clone()) {
        Ok(listener) => Ok((listener, given)),
        Err(error) => Err(StartError::Listen { address: given.text, reason: error.to_string() }),
    };
    listen.into_iter().map(listen_on).collect()
}
