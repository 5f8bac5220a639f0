//! Work streams carry frames whole, in order, and with back-pressure.

use bayan_net::{Config, DownReason, SendError};
use bayan_protocol::limits::MAX_FRAME;

use crate::common::{Node, config, pair, quic_config};

async fn frames_come_back_in_order(first: Config, second: Config) {
    let (mut one, two) = pair(first, second).await;
    let other = two.id;
    let echo = two.echo();
    for number in 0..10_000_u32 {
        one.handle.send(other, number.to_be_bytes().to_vec()).expect("room");
    }
    for number in 0..10_000_u32 {
        assert_eq!(one.frame(other).await, number.to_be_bytes());
    }
    let long: Vec<u8> = (0..MAX_FRAME).map(|index| ((index * index) >> 7) as u8).collect();
    one.handle.send(other, long.clone()).expect("room");
    one.handle.send(other, b"last".to_vec()).expect("room");
    assert!(one.frame(other).await == long, "the longest frame comes back as it was");
    assert_eq!(one.frame(other).await, b"last");
    assert_eq!(
        one.handle.send(other, vec![0; MAX_FRAME + 1]),
        Err(SendError::Length(MAX_FRAME + 1))
    );
    one.handle.shutdown().await;
    echo.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_frames_and_the_longest_come_back_over_tcp() {
    frames_come_back_in_order(config(20, 1), config(20, 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_frames_and_the_longest_come_back_over_quic() {
    frames_come_back_in_order(quic_config(21, 1), quic_config(21, 2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_pauses_loses_nothing() {
    let (mut sending, mut pausing) = (config(22, 1), config(22, 2));
    sending.queue_bytes = 64 << 20;
    pausing.event_capacity = 1;
    let (sender, mut receiver) = pair(sending, pausing).await;
    for number in 0..48_u8 {
        sender.handle.send(receiver.id, vec![number; 1 << 20]).expect("room");
    }
    for number in 0..48_u8 {
        let frame = receiver.frame(sender.id).await;
        assert!(
            frame.len() == 1 << 20 && frame.iter().all(|byte| *byte == number),
            "frame {number}"
        );
    }
}

async fn a_receiver_that_stops_is_too_slow(test: u8, make: fn(u8, u8) -> Config) {
    let mut stopping = make(test, 2);
    stopping.event_capacity = 1;
    let (mut sender, stopped) = pair(make(test, 1), stopping).await;
    let mut friend = Node::join(make(test, 3), &sender).await;
    sender.up(friend.id).await;
    friend.up(sender.id).await;
    // Whatever the sockets and windows in between hold, the queue is full at some point.
    let mut sent = 0;
    let error = loop {
        match sender.handle.send(stopped.id, vec![0; 1 << 20]) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 4096, "the queue has a bound");
        tokio::task::yield_now().await;
    };
    assert_eq!(error, SendError::TooSlow);
    assert_eq!(sender.down(stopped.id).await, DownReason::TooSlow);
    sender.exchange(&mut friend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_stops_is_too_slow_over_tcp() {
    a_receiver_that_stops_is_too_slow(23, config).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_stops_is_too_slow_over_quic() {
    a_receiver_that_stops_is_too_slow(24, quic_config).await;
}
