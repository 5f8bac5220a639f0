//! What is queued for each peer whose work stream is open, bounded by frames and bytes, and the
//! switch that ends the stream. Shared by the handles, which push, and the stream tasks, which pull.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use bayan_protocol::{id::PeerId, limits::MAX_FRAME};
use tokio::sync::{mpsc, watch};

use crate::{DownReason, SendError};

/// Ends a work stream from outside, once; the first reason counts.
#[derive(Debug, Clone)]
pub(crate) struct Stop(Arc<watch::Sender<Option<DownReason>>>);

impl Stop {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Ends the stream for `reason`.
    pub(crate) fn set(&self, reason: DownReason) {
        self.0.send_if_modified(|held| {
            let first = held.is_none();
            if first {
                *held = Some(reason);
            }
            first
        });
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Waits until the stream is to end.
    pub(crate) async fn wait(&self) -> DownReason {
        let mut watcher = self.0.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        watcher
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|held| held.clone())
            .unwrap_or(DownReason::Shutdown)
    }
}

/// The pushing end of a peer's queue.
#[derive(Debug)]
pub(crate) struct Outbox {
    frames: mpsc::Sender<Vec<u8>>,
    bytes: Arc<AtomicUsize>,
    max_bytes: usize,
    stop: Stop,
}

/// The pulling end.
#[derive(Debug)]
pub(crate) struct Queue {
    frames: mpsc::Receiver<Vec<u8>>,
    bytes: Arc<AtomicUsize>,
}

/// A queue of at most so many frames and bytes, on a stream ended by `stop`.
pub(crate) fn queue(max_frames: usize, max_bytes: usize, stop: Stop) -> (Outbox, Queue) {
    let (sender, receiver) = mpsc::channel(max_frames.max(1));
    let bytes = Arc::new(AtomicUsize::new(0));
    let outbox =
        Outbox { frames: sender, bytes: bytes.clone(), max_bytes: max_bytes.max(MAX_FRAME), stop };
    (outbox, Queue { frames: receiver, bytes })
}

impl Outbox {
    /// Queues a frame. A full queue ends the stream.
    fn push(&self, frame: Vec<u8>) -> Result<(), SendError> {
        if self.stop.is_set() {
            return Err(SendError::NotUp);
        }
        let length = frame.len();
        let before = self.bytes.fetch_add(length, Ordering::Relaxed);
        if before.saturating_add(length) > self.max_bytes || self.frames.try_send(frame).is_err() {
            self.bytes.fetch_sub(length, Ordering::Relaxed);
            self.stop.set(DownReason::TooSlow);
            return Err(SendError::TooSlow);
        }
        Ok(())
    }
}

impl Queue {
    /// Waits for a frame.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        let frame = self.frames.recv().await?;
        self.bytes.fetch_sub(frame.len(), Ordering::Relaxed);
        Some(frame)
    }

    /// The next frame if there is one now.
    pub(crate) fn try_next(&mut self) -> Option<Vec<u8>> {
        let frame = self.frames.try_recv().ok()?;
        self.bytes.fetch_sub(frame.len(), Ordering::Relaxed);
        Some(frame)
    }
}

/// The outboxes of all peers that are up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outboxes(Arc<RwLock<HashMap<PeerId, Outbox>>>);

impl Outboxes {
    /// Queues a frame for `peer`.
    pub(crate) fn send(&self, peer: &PeerId, frame: Vec<u8>) -> Result<(), SendError> {
        if frame.is_empty() || frame.len() > MAX_FRAME {
            return Err(SendError::Length(frame.len()));
        }
        self.read().get(peer).ok_or(SendError::NotUp)?.push(frame)
    }

    pub(crate) fn contains(&self, peer: &PeerId) -> bool {
        self.read().contains_key(peer)
    }

    pub(crate) fn insert(&self, peer: PeerId, outbox: Outbox) {
        self.write().insert(peer, outbox);
    }

    pub(crate) fn remove(&self, peer: &PeerId) -> Option<Outbox> {
        self.write().remove(peer)
    }

    /// Ends the peer's stream, if it is up.
    pub(crate) fn stop(&self, peer: &PeerId, reason: DownReason) {
        if let Some(outbox) = self.read().get(peer) {
            outbox.stop.set(reason);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<PeerId, Outbox>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<PeerId, Outbox>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PeerId = PeerId([1; 32]);

    fn one(max_frames: usize, max_bytes: usize) -> (Outboxes, Queue, Stop) {
        let (outboxes, stop) = (Outboxes::default(), Stop::new());
        let (outbox, queue) = queue(max_frames, max_bytes, stop.clone());
        outboxes.insert(PEER, outbox);
        (outboxes, queue, stop)
    }

    #[tokio::test]
    async fn one_frame_too_many_ends_the_stream() {
        let (outboxes, mut queue, stop) = one(2, usize::MAX);
        assert_eq!(outboxes.send(&PEER, vec![1]), Ok(()));
        assert_eq!(outboxes.send(&PEER, vec![2]), Ok(()));
        assert_eq!(queue.next().await, Some(vec![1]));
        assert_eq!(outboxes.send(&PEER, vec![3]), Ok(()));
        assert_eq!(outboxes.send(&PEER, vec![4]), Err(SendError::TooSlow));
        assert_eq!(stop.wait().await, DownReason::TooSlow);
        assert_eq!(outboxes.send(&PEER, vec![5]), Err(SendError::NotUp));
        stop.set(DownReason::Shutdown);
        assert_eq!(stop.wait().await, DownReason::TooSlow, "the first reason counts");
    }

    #[test]
    fn bytes_are_bounded_and_given_back() {
        let (outboxes, mut queue, _) = one(100, 2 * MAX_FRAME);
        for _ in 0..3 {
            assert_eq!(outboxes.send(&PEER, vec![0; MAX_FRAME]), Ok(()));
            assert_eq!(outboxes.send(&PEER, vec![0; MAX_FRAME]), Ok(()));
            assert!(
                queue.try_next().is_some()
                    && queue.try_next().is_some()
                    && queue.try_next().is_none()
            );
        }
        assert_eq!(
            outboxes.send(&PEER, vec![0; 2 * MAX_FRAME]),
            Err(SendError::Length(2 * MAX_FRAME))
        );
        assert_eq!(outboxes.send(&PEER, Vec::new()), Err(SendError::Length(0)));
        assert_eq!(outboxes.send(&PeerId([2; 32]), vec![1]), Err(SendError::NotUp));
        for _ in 0..2 {
            assert_eq!(outboxes.send(&PEER, vec![0; MAX_FRAME]), Ok(()));
        }
        assert_eq!(outboxes.send(&PEER, vec![0]), Err(SendError::TooSlow));
    }
}
