//! Requests and heads of answers on a stream: a length, and as many bytes of CBOR.

use std::{io, time::Duration};

use bayan_net::ByteStream;
use bayan_protocol::limits::MAX_BLOB_HEADER;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::{BlobFailure, SILENCE};

/// Writes one.
pub(super) async fn write(stream: &mut ByteStream, head: &[u8]) -> Result<(), BlobFailure> {
    let mut bytes = Vec::with_capacity(4 + head.len());
    bytes.extend_from_slice(&u32::try_from(head.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend_from_slice(head);
    let written = async {
        stream.write_all(&bytes).await?;
        stream.flush().await
    };
    Ok(timeout(SILENCE, written).await.map_err(|_| BlobFailure::Silent)??)
}

/// Reads the next one, or none at the orderly end of the stream.
pub(super) async fn read(
    stream: &mut ByteStream,
    patience: Duration,
) -> Result<Option<Vec<u8>>, BlobFailure> {
    let head = async {
        let len = match stream.read_u32().await {
            Ok(len) => len as usize,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if len > MAX_BLOB_HEADER {
            return Err(BlobFailure::Protocol("an oversized head".to_owned()));
        }
        let mut bytes = vec![0; len];
        stream.read_exact(&mut bytes).await?;
        Ok(Some(bytes))
    };
    timeout(patience, head).await.map_err(|_| BlobFailure::Silent)?
}
