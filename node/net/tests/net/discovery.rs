//! Peers find each other.

use std::time::{Duration, Instant};

use bayan_net::{Config, TransportKind};

use crate::common::{Node, PATIENCE, config, quic_config};

/// Each of five peers is told of one other only, and they form a chain.
async fn chain_becomes_a_mesh(configs: Vec<Config>, transport: TransportKind) {
    let begun = Instant::now();
    let mut nodes: Vec<Node> = Vec::new();
    for config in configs {
        let node = match nodes.last() {
            Some(last) => Node::join(config, last).await,
            None => Node::start(config).await,
        };
        nodes.push(node);
    }
    let ids: Vec<_> = nodes.iter().map(|node| node.id).collect();
    let addresses: Vec<_> = nodes.iter().map(Node::address).collect();
    for (index, node) in nodes.iter_mut().enumerate() {
        for other in (0..ids.len()).filter(|other| *other != index) {
            let (address, _) = node.up(ids[other]).await;
            // Every peer is seen under its own address, whoever dialled.
            let host = |address: &str| address.split('/').nth(2).map(str::to_owned);
            assert_eq!(host(&address), host(&addresses[other]), "{address}");
        }
    }
    let elapsed = begun.elapsed();
    println!("five peers met within {elapsed:?}");
    assert!(elapsed < Duration::from_secs(20), "{elapsed:?}");
    let peers = nodes[0].handle.peers().await;
    assert_eq!(peers.len(), 4);
    assert!(peers.iter().all(|peer| peer.up && peer.transport == transport));
    // What a peer calls itself may come after its work stream.
    let told = async {
        while !nodes[0].handle.peers().await.iter().all(|peer| peer.agent.starts_with("bayan/")) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("every peer says what it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn five_peers_that_know_one_address_each_meet_over_tcp() {
    chain_becomes_a_mesh((1..=5).map(|peer| config(10, peer)).collect(), TransportKind::Tcp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_peers_that_know_one_address_each_meet_over_quic() {
    chain_becomes_a_mesh((1..=5).map(|peer| quic_config(11, peer)).collect(), TransportKind::Quic)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_on_both_transports_is_met_once() {
    let both = |peer| {
        let mut config = config(12, peer);
        config.listen.extend(quic_config(12, peer).listen);
        config
    };
    let mut first = Node::start(both(1)).await;
    let mut second = both(2);
    second.bootstrap = first.handle.listen_addresses();
    let mut second = Node::start(second).await;
    first.up(second.id).await;
    second.up(first.id).await;
    first.exchange(&mut second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_without_a_peer_id_will_do_and_ones_own_does_no_harm() {
    let mut first = Node::start(config(13, 1)).await;
    let bare =
        |address: String| address.split("/p2p/").next().map(str::to_owned).expect("not empty");
    let mut second = config(13, 2);
    second.bootstrap = vec![bare(first.address())];
    let mut second = Node::start(second).await;
    first.up(second.id).await;
    second.up(first.id).await;
    second.handle.dial(&second.address()).expect("an address of the right shape");
    first.exchange(&mut second).await;
    assert_eq!(second.handle.peers().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_can_be_dialled_on_command() {
    let (mut first, mut second) =
        (Node::start(config(14, 1)).await, Node::start(config(14, 2)).await);
    second.handle.dial(&first.address()).expect("taken");
    let (_, inbound) = first.up(second.id).await;
    assert!(inbound);
    let (_, inbound) = second.up(first.id).await;
    assert!(!inbound);
}
