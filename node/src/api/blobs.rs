//! Uploads and downloads: `/v1/blobs`. Content is never held in memory as a whole.

use std::{
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{
        HeaderMap, StatusCode,
        header::{CONTENT_LENGTH, CONTENT_TYPE},
    },
    response::{IntoResponse as _, Response},
};
use bayan_protocol::{id::Hash, limits::MAX_BLOB};
use bayan_store::BlobError;
use futures::{StreamExt as _, stream};
use tokio::{io::AsyncReadExt as _, sync::mpsc};

use super::{
    App, Failure,
    types::{ApiError, BlobInfo},
};
use crate::blobs::room;

/// Chunks of an upload that wait for the disk.
const CHUNKS: usize = 8;
/// Bytes of a download read at once.
const BUFFER: usize = 256 << 10;
/// An upload that stands still for this long has failed.
const SILENCE: Duration = Duration::from_secs(60);

/// Stores the body of the request.
#[utoipa::path(
    post, path = "/v1/blobs", tag = "blobs",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, body = BlobInfo),
        (status = 411, description = "no Content-Length", body = ApiError),
        (status = 413, description = "longer than a blob may be", body = ApiError),
        (status = 507, description = "no room", body = ApiError),
    )
)]
pub(super) async fn upload(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<BlobInfo>, Failure> {
    let len =
        headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let len = len.ok_or_else(|| {
        Failure::new(
            StatusCode::LENGTH_REQUIRED,
            "send the blob's length in the header Content-Length",
        )
    })?;
    if len > MAX_BLOB {
        let text = format!("a blob has at most {MAX_BLOB} bytes, this one {len}");
        return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    // Before the body is asked for: a client that waits for the word to continue sends none of it.
    let missing = room::missing(&app.shared.blobs, len);
    if missing > 0 {
        room::make(&app.shared.commands, len).await;
    }
    let usage = app.shared.blobs.usage();
    let used = usage.whole.saturating_add(usage.partial);
    if len > usage.quota.saturating_sub(used) {
        return Err(BlobError::Quota { needed: len, used, quota: usage.quota }.into());
    }
    let _place = app.transfers.acquire().await.map_err(|_| Failure::stopping())?;
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let blobs = app.shared.blobs.clone();
    let stored = tokio::task::spawn_blocking(move || {
        blobs.put_reader(Chunks { receiver, current: Bytes::new() }, len)
    });
    let mut chunks = body.into_data_stream();
    let mut sender = Some(sender);
    while let Ok(Some(Ok(chunk))) = tokio::time::timeout(SILENCE, chunks.next()).await {
        // Closed when the store has failed. It says why below, to a client that hears it only when
        // it has sent everything.
        if let Some(open) = &sender
            && open.send(chunk).await.is_err()
        {
            sender = None;
        }
    }
    drop(sender);
    let hash =
        stored.await.map_err(|error| Failure::internal("storing the blob failed", error))??;
    Ok(Json(BlobInfo { hash, len }))
}

/// The blob's bytes.
#[utoipa::path(
    get, path = "/v1/blobs/{hash}", tag = "blobs",
    params(("hash" = String, Path, description = "BLAKE3 digest, 64 hexadecimal digits")),
    responses(
        (status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 404, description = "not here", body = ApiError),
    )
)]
pub(super) async fn download(
    State(app): State<Arc<App>>,
    Path(hash): Path<String>,
) -> Result<Response, Failure> {
    let hash: Hash =
        hash.parse().map_err(|error| Failure::bad(format!("not a blob's digest: {error}")))?;
    let blobs = app.shared.blobs.clone();
    let opened = {
        let _place = app.transfers.acquire().await.map_err(|_| Failure::stopping())?;
        let verify = move || blobs.verify(&hash).and_then(|()| blobs.open_file(&hash));
        tokio::task::spawn_blocking(verify).await
    };
    let (file, len) =
        opened.map_err(|error| Failure::internal("reading the blob failed", error))??;
    let headers =
        [(CONTENT_TYPE, "application/octet-stream".to_owned()), (CONTENT_LENGTH, len.to_string())];
    Ok((headers, Body::from_stream(chunks(tokio::fs::File::from_std(file)))).into_response())
}

/// The bytes of a file, piece by piece.
fn chunks(file: tokio::fs::File) -> impl stream::Stream<Item = io::Result<Bytes>> + Send {
    stream::try_unfold(file, async |mut file| {
        let mut buffer = Vec::with_capacity(BUFFER);
        let read = file.read_buf(&mut buffer).await?;
        Ok((read > 0).then(|| (Bytes::from(buffer), file)))
    })
}

/// An upload as the store's thread reads it.
struct Chunks {
    receiver: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(chunk) => self.current = chunk,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len());
        buffer[..count].copy_from_slice(&self.current.split_to(count));
        Ok(count)
    }
}
