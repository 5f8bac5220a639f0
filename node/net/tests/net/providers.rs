//! Who has a blob: provider records, and peers that somebody told of.

use bayan_net::Event;
use bayan_protocol::id::{Hash, PeerId};

use crate::common::{Node, config};

/// A peer that looks for nobody but the one it was told of.
fn alone(test: u8, peer: u8) -> bayan_net::Config {
    let mut config = config(test, peer);
    config.target_outgoing = 0;
    config
}

async fn providers(node: &mut Node) -> (Hash, Vec<PeerId>) {
    node.wait(|event| match event {
        Event::Providers { hash, peers } => Some((*hash, peers.clone())),
        _ => None,
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_is_found_through_others_and_connected_to() {
    let mut middle = Node::start(alone(70, 1)).await;
    let mut has = Node::join(alone(70, 2), &middle).await;
    let mut wants = Node::join(alone(70, 3), &middle).await;
    has.up(middle.id).await;
    wants.up(middle.id).await;
    middle.up(has.id).await;
    middle.up(wants.id).await;
    let hash = Hash([7; 32]);
    // A record is sent once: until it has reached somebody there is nothing to be found.
    let found = async {
        loop {
            has.handle.provide(hash);
            wants.handle.find_providers(hash);
            let wait =
                tokio::time::timeout(std::time::Duration::from_secs(1), providers(&mut wants));
            if let Ok(found) = wait.await {
                break found;
            }
        }
    };
    let (of, peers) = found.await;
    assert_eq!((of, peers), (hash, vec![has.id]));
    wants.up(has.id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_was_told_of_is_met_and_its_addresses_are_passed_on() {
    let mut middle = Node::start(alone(71, 1)).await;
    let mut one = Node::join(alone(71, 2), &middle).await;
    let mut other = Node::join(alone(71, 3), &middle).await;
    one.up(middle.id).await;
    other.up(middle.id).await;
    middle.up(one.id).await;
    middle.up(other.id).await;
    let known = middle.handle.addresses(vec![one.id, PeerId([9; 32])]).await;
    assert_eq!(known.len(), 1);
    let (peer, at) = known.into_iter().next().expect("one");
    // Not loopback addresses, and not addresses at all: left out.
    let hostile = ["/ip4/192.0.2.1/tcp/1", "nonsense", "/dns4/example.org/tcp/1"];
    other.handle.meet(peer, hostile.map(str::to_owned).to_vec());
    other.handle.meet(peer, at);
    other.up(one.id).await;
}
