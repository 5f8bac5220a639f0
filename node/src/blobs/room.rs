//! Disk space for something new: blobs that nothing needs have to give way for it.

use bayan_store::{BlobError, Blobs};
use tokio::sync::{mpsc, oneshot};

use crate::core::Message;

/// Bytes of disk that are missing for `bytes` more.
pub fn missing(blobs: &Blobs, bytes: u64) -> u64 {
    let usage = blobs.usage();
    let used = usage.whole.saturating_add(usage.partial);
    used.saturating_add(bytes).saturating_sub(usage.quota)
}

/// Has `bytes` of disk freed, as far as there is something that nothing needs.
pub async fn make(core: &mpsc::Sender<Message>, bytes: u64) {
    let (reply, made) = oneshot::channel();
    if core.send(Message::MakeRoom { bytes, reply }).await.is_ok() {
        // An error means that the core is gone; there is no room then.
        let _ = made.await;
    }
}

/// Stores something, from a thread that may block; once more with room made if there was none.
pub fn store<T>(
    core: &mpsc::Sender<Message>,
    blobs: &Blobs,
    put: impl Fn(&Blobs) -> Result<T, BlobError>,
) -> Result<T, BlobError> {
    match put(blobs) {
        Err(BlobError::Quota { needed, used, quota }) => {
            let (reply, made) = oneshot::channel();
            let bytes = used.saturating_add(needed).saturating_sub(quota);
            if core.blocking_send(Message::MakeRoom { bytes, reply }).is_ok() {
                let _ = made.blocking_recv();
            }
            put(blobs)
        }
        stored => stored,
    }
}
