//! Peers come and go.

use std::time::{Duration, Instant};

use bayan_net::{CommandError, DownReason, Event, SendError};
use tokio::sync::oneshot;

use crate::common::{Node, config, pair, quic_config};

/// A peer in a runtime of its own, which can be torn away without a goodbye.
struct Doomed {
    runtime: tokio::runtime::Runtime,
    address: String,
}

impl Doomed {
    async fn start(config: bayan_net::Config) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (tell, told) = oneshot::channel();
        runtime.spawn(async move {
            let mut node = Node::start(config).await;
            tell.send(node.address()).expect("the test waits");
            while node.next().await.is_some() {}
        });
        Self { address: told.await.expect("started"), runtime }
    }

    async fn kill(self) {
        let end = || self.runtime.shutdown_timeout(Duration::from_secs(10));
        tokio::task::spawn_blocking(end).await.expect("torn down");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_killed_and_restarted_goes_down_and_comes_up() {
    let mut survivor = Node::start(config(40, 1)).await;
    let mut doomed = config(40, 2);
    doomed.bootstrap = vec![survivor.address()];
    let first = Doomed::start(doomed.clone()).await;
    let id = survivor
        .wait(|event| if let Event::Up { peer, .. } = event { Some(*peer) } else { None })
        .await;

    // Restarted where it was, but knowing nobody: the survivor has to come back by itself.
    doomed.listen = vec![first.address.split("/p2p/").next().expect("not empty").to_owned()];
    doomed.bootstrap.clear();
    first.kill().await;
    assert_eq!(survivor.down(id).await, DownReason::Lost);
    assert_eq!(survivor.handle.send(id, vec![1]), Err(SendError::NotUp));
    let second = Doomed::start(doomed.clone()).await;
    let (_, inbound) = survivor.up(id).await;
    assert!(!inbound);
    second.kill().await;
    survivor.down(id).await;

    // Restarted elsewhere, knowing the survivor.
    doomed.listen = config(40, 3).listen;
    doomed.bootstrap = vec![survivor.address()];
    let third = Doomed::start(doomed).await;
    let (_, inbound) = survivor.up(id).await;
    assert!(inbound);
    third.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_delivers_what_was_queued() {
    for (test, make) in [(41, config as fn(u8, u8) -> _), (42, quic_config)] {
        let (mut leaving, mut staying) = pair(make(test, 1), make(test, 2)).await;
        for number in 0..100_u8 {
            leaving.handle.send(staying.id, vec![number; 10_000]).expect("room");
        }
        let handle = leaving.handle.clone();
        let receive = async {
            for number in 0..100_u8 {
                assert_eq!(staying.frame(leaving.id).await, vec![number; 10_000]);
            }
        };
        tokio::join!(handle.clone().shutdown(), receive);
        assert_eq!(staying.down(leaving.id).await, DownReason::Closed);
        assert_eq!(leaving.down(staying.id).await, DownReason::Shutdown);
        while leaving.next().await.is_some() {}
        assert_eq!(handle.send(staying.id, vec![1]), Err(SendError::NotUp));
        assert_eq!(handle.publish_advert(vec![1]), Err(CommandError::Stopped));
        assert!(handle.peers().await.is_empty());
        handle.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_handle_or_the_receiver_is_a_shutdown() {
    let (mut one, two) = pair(config(43, 1), config(43, 2)).await;
    let other = two.id;
    drop(two);
    assert_eq!(one.down(other).await, DownReason::Closed);

    let (handle, mut events) = bayan_net::start(config(43, 3)).await.expect("starts");
    drop(handle);
    while events.recv().await.is_some() {}

    let (handle, events) = bayan_net::start(config(43, 4)).await.expect("starts");
    drop(events);
    // The event loop notices by itself; asking in between is answered or refused, never left open.
    while handle.publish_advert(vec![1]) != Err(CommandError::Stopped) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_was_refused_may_come_back_later() {
    let mut refusing = config(44, 1);
    refusing.refuse_for = Duration::from_secs(2);
    let (mut one, mut two) = pair(refusing, config(44, 2)).await;
    let begun = Instant::now();
    one.handle.disconnect(two.id, "told lies").expect("taken");
    assert_eq!(one.down(two.id).await, DownReason::Disconnected("told lies".to_owned()));
    two.down(one.id).await;
    one.up(two.id).await;
    assert!(begun.elapsed() >= Duration::from_secs(2), "refused for as long as set");
    two.up(one.id).await;
    one.exchange(&mut two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_does_not_wait_for_a_receiver_that_stopped() {
    let mut stopping = config(45, 1);
    stopping.event_capacity = 1;
    let (stopped, busy) = pair(stopping, config(45, 2)).await;
    for _ in 0..8 {
        busy.handle.send(stopped.id, vec![0; 1 << 20]).expect("room");
    }
    let begun = Instant::now();
    stopped.handle.clone().shutdown().await;
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(stopped.handle.publish_advert(vec![1]), Err(CommandError::Stopped));
}
