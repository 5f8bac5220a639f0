//! A start that cannot work says which setting is wrong, and why.

use bayan_net::{CommandError, Config, StartError};

use crate::common::{Node, config, quic_config};

async fn start_error(config: Config) -> StartError {
    bayan_net::start(config).await.map(drop).expect_err("the settings are wrong")
}

fn with_listen(listen: &str) -> Config {
    let mut config = config(60, 1);
    config.listen = vec![listen.to_owned()];
    config
}

fn with_bootstrap(bootstrap: &str) -> Config {
    let mut config = config(60, 1);
    config.bootstrap = vec![bootstrap.to_owned()];
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_cannot_be_used_are_named() {
    let rsa = "/ip4/127.0.0.1/tcp/1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
    let wrong = [
        (with_listen("127.0.0.1:80"), "127.0.0.1:80"),
        (with_listen("/ip4/127.0.0.300/tcp/1"), "/ip4/127.0.0.300/tcp/1"),
        (with_listen("/ip4/127.0.0.1/tcp/1/ws"), "/ip4/127.0.0.1/tcp/1/ws"),
        (with_listen("/dns4/localhost/tcp/1"), "/dns4/localhost/tcp/1"),
        (with_bootstrap("nonsense"), "nonsense"),
        (with_bootstrap("/ip4/127.0.0.1"), "/ip4/127.0.0.1"),
        (with_bootstrap("/ip4/192.0.2.1/tcp/1"), "/ip4/192.0.2.1/tcp/1"),
        (with_bootstrap(rsa), rsa),
    ];
    for (config, wanted) in wrong {
        match start_error(config).await {
            StartError::Address { address, reason } => {
                assert_eq!(address, wanted);
                assert!(!reason.is_empty());
            }
            other => panic!("{wanted}: {other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named_whoever_uses_it() {
    let stranger = std::net::TcpListener::bind("127.61.1.1:0").expect("a port");
    let taken = format!("/ip4/127.61.1.1/tcp/{}", stranger.local_addr().expect("bound").port());
    assert!(
        matches!(start_error(with_listen(&taken)).await, StartError::PortInUse { address } if address == taken)
    );

    for peer in [Node::start(config(61, 2)).await, Node::start(quic_config(61, 3)).await] {
        let taken = peer.address().split("/p2p/").next().expect("not empty").to_owned();
        let error = start_error(with_listen(&taken)).await;
        assert!(
            matches!(&error, StartError::PortInUse { address } if *address == taken),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_another_machine_cannot_be_listened_on() {
    // 240.0.0.0/4 is reserved for the future: no machine has it.
    for listen in
        ["/ip4/240.0.0.1/tcp/0", "/ip4/240.0.0.1/tcp/4001", "/ip4/240.0.0.1/udp/0/quic-v1"]
    {
        let error = start_error(with_listen(listen)).await;
        assert!(
            matches!(&error, StartError::Listen { address, .. } if address == listen),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn quic_can_be_switched_off_under_addresses_that_name_it() {
    let mut both = config(62, 1);
    both.listen.extend(quic_config(62, 1).listen);
    both.bootstrap = vec!["/ip4/127.62.9.1/udp/9/quic-v1".to_owned()];
    both.quic = false;
    let node = Node::start(both).await;
    let addresses = node.handle.listen_addresses();
    assert!(addresses.len() == 1 && addresses[0].contains("/tcp/"), "{addresses:?}");
    let refused = node.handle.dial("/ip4/127.62.9.1/udp/9/quic-v1");
    assert!(matches!(refused, Err(CommandError::Address { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loopback_peer_refuses_to_dial_elsewhere() {
    let node = Node::start(config(63, 1)).await;
    for address in
        ["/ip4/192.0.2.1/tcp/1", "/dns4/example.org/tcp/1", "192.0.2.1", "/ip4/127.0.0.1/tcp/0"]
    {
        let refused = node.handle.dial(address);
        assert!(
            matches!(&refused, Err(CommandError::Address { address: named, .. }) if named == address)
        );
    }
}
