//! Adverts and blobs.

use bayan_net::{CommandError, Config, Event, MAX_ADVERT, OpenError};
use bayan_protocol::id::PeerId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::common::{Node, config, pair, quic_config};

#[tokio::test(flavor = "multi_thread")]
async fn an_advert_reaches_a_peer_two_hops_away() {
    let alone = |peer| {
        let mut config = config(50, peer);
        // These look for nobody but the one they were told of.
        config.target_outgoing = 0;
        config
    };
    let first = Node::start(alone(1)).await;
    let long = vec![7; MAX_ADVERT];
    // Nobody listens yet: the latest one is kept.
    first.handle.publish_advert(b"old".to_vec()).expect("taken");
    first.handle.publish_advert(long.clone()).expect("taken");
    let mut middle = Node::start(alone(2)).await;
    let mut last = Node::join(alone(3), &middle).await;
    middle.up(last.id).await;
    last.up(middle.id).await;
    first.handle.dial(&middle.address()).expect("taken");
    middle.up(first.id).await;
    for node in [&mut middle, &mut last] {
        let (from, bytes) = advert(node).await;
        assert!(from == first.id && bytes == long);
    }
    first.handle.publish_advert(b"new".to_vec()).expect("taken");
    assert_eq!(advert(&mut last).await, (first.id, b"new".to_vec()));
    let peers: Vec<_> = last.handle.peers().await.iter().map(|peer| peer.id).collect();
    assert_eq!(peers, [middle.id], "first and last never met");
    assert_eq!(
        first.handle.publish_advert(vec![0; MAX_ADVERT + 1]),
        Err(CommandError::TooLong(MAX_ADVERT + 1))
    );
}

async fn advert(node: &mut Node) -> (PeerId, Vec<u8>) {
    node.wait(|event| match event {
        Event::Advert { from, bytes } => Some((*from, bytes.clone())),
        _ => None,
    })
    .await
}

/// Sends back what comes on each blob stream.
fn serve(mut node: Node) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        while let Some(event) = node.next().await {
            if let Event::BlobRequest { stream, .. } = event {
                tokio::spawn(async move {
                    let (mut read, mut write) = tokio::io::split(stream);
                    tokio::io::copy(&mut read, &mut write).await.expect("echoed");
                    write.shutdown().await.expect("closed");
                });
            }
        }
    })
}

async fn blobs_come_back(first: Config, second: Config) {
    let (one, two) = pair(first, second).await;
    let blob: Vec<u8> =
        (0..3 << 20).map(|index: u32| (index.wrapping_mul(97) >> 5) as u8).collect();
    // The ids order the opening of work streams; blobs go either way.
    let (handles, ids) = ([one.handle.clone(), two.handle.clone()], [two.id, one.id]);
    let servers = [serve(one), serve(two)];
    for (handle, other) in handles.iter().zip(ids) {
        let transfer = async || {
            let stream = handle.open_blob(other).await.expect("opened");
            let (mut read, mut write) = tokio::io::split(stream);
            let send = async {
                write.write_all(&blob).await.expect("written");
                write.shutdown().await.expect("closed");
            };
            let mut back = Vec::new();
            let receive = async { read.read_to_end(&mut back).await.expect("read") };
            tokio::join!(send, receive);
            assert!(back == blob);
        };
        tokio::join!(transfer(), transfer(), transfer());
    }
    assert!(matches!(handles[0].open_blob(PeerId([9; 32])).await, Err(OpenError::NotConnected)));
    handles[1].clone().shutdown().await;
    assert!(matches!(handles[1].open_blob(ids[1]).await, Err(OpenError::Stopped)));
    servers.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_come_back_over_tcp() {
    blobs_come_back(config(51, 1), config(51, 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_come_back_over_quic() {
    blobs_come_back(quic_config(52, 1), quic_config(52, 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_hoards_blob_streams_gets_no_more_than_its_share() {
    let (mut victim, greedy) = pair(config(53, 1), config(53, 2)).await;
    let mut hoard = Vec::new();
    for _ in 0..40 {
        let mut stream = greedy.handle.open_blob(victim.id).await.expect("negotiated");
        // A stream beyond the share may be reset already.
        let _ = stream.write_all(b"?").await;
        let _ = stream.flush().await;
        hoard.push(stream);
    }
    let mut served = Vec::new();
    while served.len() < 16 {
        if let Event::BlobRequest { mut stream, .. } = victim.next().await.expect("running") {
            stream.write_all(b"!").await.expect("written");
            stream.flush().await.expect("flushed");
            served.push(stream);
        }
    }
    let mut answered = 0;
    for stream in &mut hoard {
        answered += usize::from(matches!(stream.read(&mut [0]).await, Ok(1)));
    }
    assert_eq!(answered, 16);
    // A place that is given back can be had again.
    served.pop();
    loop {
        let mut stream = greedy.handle.open_blob(victim.id).await.expect("negotiated");
        let _ = stream.write_all(b"?").await;
        let _ = stream.flush().await;
        let mut answer = [0];
        // The victim may not have noticed yet that its user dropped the stream.
        tokio::select! {
            event = victim.next() => {
                assert!(matches!(event, Some(Event::BlobRequest { .. })));
                break;
            }
            read = stream.read(&mut answer) => assert!(!matches!(read, Ok(1))),
        }
    }
}
