//! Peers that break the rules harm nobody but themselves.

use std::time::Duration;

use bayan_net::DownReason;
use bayan_protocol::{id::PeerId, limits::MAX_FRAME};
use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::{Multiaddr, StreamProtocol, SwarmBuilder, noise, swarm::SwarmEvent, tcp, yamux};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
};

use crate::common::{Node, config, pair, quic_config};

const WORK: StreamProtocol = StreamProtocol::new("/bayan/work/1");

/// A peer of another make, whose id is smaller than the victim's, so that it opens the stream.
struct Stranger {
    id: PeerId,
    control: libp2p_stream::Control,
    victim: libp2p::PeerId,
}

impl Stranger {
    async fn connect(victim: &Node) -> Self {
        let (keypair, id) = (0..=u8::MAX)
            .map(|seed| {
                let keypair =
                    libp2p::identity::Keypair::ed25519_from_bytes([seed; 32]).expect("a seed");
                let key = keypair.public().try_into_ed25519().expect("Ed25519").to_bytes();
                (keypair, PeerId(key))
            })
            .find(|(_, id)| *id < victim.id)
            .expect("one of 256 ids is smaller");
        let mut swarm = SwarmBuilder::with_existing_identity(keypair)
            .with_tokio()
            .with_tcp(tcp::Config::new(), noise::Config::new, yamux::Config::default)
            .expect("TCP")
            .with_behaviour(|_| libp2p_stream::Behaviour::new())
            .expect("a behaviour")
            .with_swarm_config(|config| {
                config.with_idle_connection_timeout(Duration::from_secs(60))
            })
            .build();
        let address: Multiaddr = victim.address().parse().expect("an address");
        swarm.dial(address).expect("dialled");
        let peer = loop {
            if let SwarmEvent::ConnectionEstablished { peer_id, .. } =
                swarm.select_next_some().await
            {
                break peer_id;
            }
        };
        let control = swarm.behaviour().new_control();
        tokio::spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        });
        Self { id, control, victim: peer }
    }

    /// Opens a work stream and exchanges greetings.
    async fn greet(&mut self) -> libp2p::Stream {
        let mut stream = self.control.open_stream(self.victim, WORK).await.expect("opened");
        stream.write_all(&[0; 4]).await.expect("written");
        stream.flush().await.expect("flushed");
        let mut greeting = [1; 4];
        stream.read_exact(&mut greeting).await.expect("greeted");
        assert_eq!(greeting, [0; 4]);
        stream
    }
}

/// A victim with an honest friend.
async fn victim(test: u8) -> (Node, Node) {
    pair(config(test, 1), config(test, 2)).await
}

async fn ends_with(test: u8, bytes: &[u8], reason: DownReason) {
    let (mut victim, mut friend) = victim(test).await;
    let mut stranger = Stranger::connect(&victim).await;
    let mut stream = stranger.greet().await;
    victim.up(stranger.id).await;
    stream.write_all(bytes).await.expect("written");
    stream.flush().await.expect("flushed");
    assert_eq!(victim.down(stranger.id).await, reason);
    let mut rest = Vec::new();
    assert!(
        !matches!(stream.read_to_end(&mut rest).await, Ok(read) if read > 0),
        "nothing more is said"
    );
    victim.exchange(&mut friend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversized_frame_ends_the_stream_before_its_body_comes() {
    ends_with(30, &((MAX_FRAME + 1) as u32).to_be_bytes(), DownReason::OversizedFrame).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_length_of_all_ends_the_stream() {
    ends_with(31, &[0xff; 4], DownReason::OversizedFrame).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_goodbye_ends_the_stream_whatever_follows() {
    ends_with(32, &[0, 0, 0, 1, 42, 0, 0, 0, 0, 0xff, 0xff], DownReason::Closed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ends_inside_a_frame_is_lost() {
    let (mut victim, mut friend) = victim(33).await;
    let mut stranger = Stranger::connect(&victim).await;
    let mut stream = stranger.greet().await;
    victim.up(stranger.id).await;
    stream.write_all(&[0, 0, 0, 9, 1]).await.expect("written");
    stream.close().await.expect("closed");
    assert_eq!(victim.down(stranger.id).await, DownReason::Lost);
    victim.exchange(&mut friend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_stream_replaces_the_older_and_a_flood_of_them_is_cut() {
    let (mut victim, mut friend) = victim(34).await;
    let mut stranger = Stranger::connect(&victim).await;
    let mut old = stranger.greet().await;
    victim.up(stranger.id).await;
    let mut new = stranger.greet().await;
    assert_eq!(victim.down(stranger.id).await, DownReason::Replaced);
    victim.up(stranger.id).await;
    // Whatever is still said on the old stream is not heard.
    let _ = old.write_all(&[0, 0, 0, 1, 1]).await;
    new.write_all(&[0, 0, 0, 1, 2]).await.expect("written");
    new.flush().await.expect("flushed");
    assert_eq!(victim.frame(stranger.id).await, [2]);
    // Further streams are dropped once the allowance is used up: the greeting does not come back.
    let mut refused = false;
    for _ in 0..32 {
        let mut stream =
            stranger.control.open_stream(stranger.victim, WORK).await.expect("negotiated");
        let _ = stream.write_all(&[0; 4]).await;
        let _ = stream.flush().await;
        refused |= stream.read_exact(&mut [0; 4]).await.is_err();
    }
    assert!(refused);
    victim.exchange(&mut friend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_greeting_nobody_is_up() {
    let (mut victim, mut friend) = victim(35).await;
    let mut stranger = Stranger::connect(&victim).await;
    let mut silent = stranger.control.open_stream(stranger.victim, WORK).await.expect("opened");
    silent.write_all(&[0, 0, 0, 1, 7]).await.expect("written");
    silent.flush().await.expect("flushed");
    let mut rest = Vec::new();
    // The victim greets, finds that the first frame is no greeting, and hangs up.
    let _ = silent.read_to_end(&mut rest).await;
    assert!(rest.is_empty() || rest == [0; 4]);
    victim.exchange(&mut friend).await;
    // Had it been up, the wait for this would have met its frame first.
    let stream = stranger.greet().await;
    victim.up(stranger.id).await;
    drop(stream);
    victim.down(stranger.id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_sockets_does_no_harm() {
    let mut config = config(36, 1);
    config.listen.extend(quic_config(36, 1).listen);
    let mut victim = Node::start(config).await;
    let garbage: Vec<u8> =
        (0..64 << 10).map(|index: u32| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for address in victim.handle.listen_addresses() {
        let parts: Vec<_> = address.split('/').collect();
        let target = format!("{}:{}", parts[2], parts[4]);
        if parts[3] == "udp" {
            let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
            for chunk in garbage.chunks(1200) {
                socket.send_to(chunk, &target).await.expect("sent");
            }
            continue;
        }
        for start in [0, 1, 19, 1000] {
            let mut client = TcpStream::connect(&target).await.expect("connected");
            // The victim may hang up in the middle, and has to at the end.
            let _ = client.write_all(&garbage[start..]).await;
            let _ = client.shutdown().await;
            let _ = client.read_to_end(&mut Vec::new()).await;
        }
    }
    let mut friend = Node::join(quic_config(36, 2), &victim).await;
    victim.up(friend.id).await;
    friend.up(victim.id).await;
    victim.exchange(&mut friend).await;
}
