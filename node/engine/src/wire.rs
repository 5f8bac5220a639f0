//! What parent and engine process say to each other: CBOR values in frames of a length (u32,
//! little-endian) and that many bytes.
//!
//! Requests come from the parent and are believed. Replies may come from a guest that broke out:
//! whoever reads them bounds each frame before it is taken in and believes nothing it says of
//! itself.

use std::borrow::Cow;

use bayan_protocol::{
    cbor,
    task::{Limits, Status},
};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_bytes::ByteBuf;

use crate::walls::Walls;

/// Bytes of a frame's length.
pub(crate) const PREFIX: usize = 4;
/// Bytes of a reply that are neither output nor log.
pub(crate) const REPLY_OVERHEAD: usize = 1 << 10;
/// Bytes of a reply that carries no output: readiness, a failure in words.
pub(crate) const SMALL_REPLY: usize = 16 << 10;
/// Bytes of room that a receiver keeps after a long frame.
const KEPT: usize = 1 << 20;
/// Input that travels in the request; longer input comes as a descriptor.
pub(crate) const MAX_INLINE_STDIN: usize = 32 << 10;

/// From the parent. Descriptors travel beside the frames, in the order of the frames that say so.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request<'a> {
    /// A module's compiled form is in the next descriptor.
    Load { id: u64 },
    /// A data file's content is in the next descriptor.
    Data { id: u64, len: u64 },
    /// A module or data file is not used again.
    Forget { id: u64 },
    /// An attempt.
    Run(Run<'a>),
    /// An attempt is no longer wanted if it has not begun.
    Skip { seq: u64 },
    /// The module in the next descriptor is to be compiled.
    Compile { len: u64 },
    /// The walls are to be tried from inside.
    Probe(Targets),
}

/// One attempt.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Run<'a> {
    pub(crate) seq: u64,
    pub(crate) module: u64,
    pub(crate) task: [u8; 32],
    pub(crate) args: Cow<'a, [String]>,
    pub(crate) env: Cow<'a, [(String, String)]>,
    pub(crate) stdin: Stdin<'a>,
    pub(crate) data: Vec<(Cow<'a, str>, u64)>,
    pub(crate) limits: Limits,
}

/// Where an attempt's input is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Stdin<'a> {
    Inline(
        #[serde(serialize_with = "serde_bytes::serialize", deserialize_with = "owned")]
        Cow<'a, [u8]>,
    ),
    Descriptor {
        len: u64,
    },
}

fn owned<'de, 'a, D: Deserializer<'de>>(from: D) -> Result<Cow<'a, [u8]>, D::Error> {
    Ok(Cow::Owned(ByteBuf::deserialize(from)?.into_vec()))
}

/// What a probe goes for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Targets {
    /// Files that exist and that the program's user may read.
    pub(crate) readable: Vec<String>,
    /// A file that does not exist, in a directory that the program's user may write to.
    pub(crate) creatable: String,
    /// The parent process.
    pub(crate) parent: u32,
    /// An address in the parent that holds at least one readable byte.
    pub(crate) address: u64,
}

/// From the engine process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The walls stand and the engine runs.
    Ready(Walls),
    /// It cannot serve, in words.
    Failed(String),
    /// An attempt has ended.
    Done { seq: u64, status: Status, output: ByteBuf, fuel: u64, log: ByteBuf, micros: u64 },
    /// An attempt was not begun.
    Skipped { seq: u64 },
    /// The compiled form of a module.
    Artefact(ByteBuf),
    /// What came of one try of a probe: its name, and the error if it was refused.
    Tried { what: String, errno: Option<i32> },
}

/// Appends a frame.
pub(crate) fn write<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), TooLong> {
    let body = cbor::encode(value);
    let len = u32::try_from(body.len()).map_err(|_| TooLong)?;
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&body);
    Ok(())
}

/// A value that no frame can hold.
#[derive(Debug, thiserror::Error)]
#[error("longer than a frame may be")]
pub(crate) struct TooLong;

/// Bytes that are no frame of this protocol, or longer than allowed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Nonsense {
    #[error("a frame of {0} bytes where at most {1} are allowed")]
    Oversized(usize, usize),
    #[error("a frame that is not of the protocol")]
    Malformed,
    #[error("{0}")]
    Unexpected(&'static str),
}

/// Bytes received and not yet read.
#[derive(Debug, Default)]
pub(crate) struct Inbound {
    bytes: Vec<u8>,
    read: usize,
}

impl Inbound {
    /// Where received bytes are to be appended.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        if self.read > 0 {
            self.bytes.drain(..self.read);
            self.read = 0;
            self.bytes.shrink_to(KEPT);
        }
        &mut self.bytes
    }

    /// The next value if all of it is here. Frames over `limit` bytes are refused by their length
    /// alone.
    pub(crate) fn next<T: DeserializeOwned>(
        &mut self,
        limit: usize,
    ) -> Result<Option<T>, Nonsense> {
        let Some((prefix, rest)) = self.bytes[self.read..].split_first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let len = u32::from_le_bytes(*prefix) as usize;
        if len > limit {
            return Err(Nonsense::Oversized(len, limit));
        }
        let Some(body) = rest.get(..len) else { return Ok(None) };
        let value = cbor::decode(body).map_err(|_| Nonsense::Malformed)?;
        self.read += PREFIX + len;
        Ok(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_however_they_are_cut() {
        let mut bytes = Vec::new();
        for seq in 0..40 {
            write(&Reply::Skipped { seq }, &mut bytes).unwrap();
        }
        for step in 1..30 {
            let mut inbound = Inbound::default();
            let mut next = 0;
            for piece in bytes.chunks(step) {
                inbound.buffer().extend_from_slice(piece);
                while let Some(reply) = inbound.next::<Reply>(64).unwrap() {
                    assert!(matches!(reply, Reply::Skipped { seq } if seq == next));
                    next += 1;
                }
            }
            assert_eq!(next, 40);
            assert!(inbound.next::<Reply>(64).unwrap().is_none());
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_its_bytes_come() {
        let mut inbound = Inbound::default();
        inbound.buffer().extend_from_slice(&u32::MAX.to_le_bytes());
        let refused = inbound.next::<Reply>(100).unwrap_err();
        assert_eq!(refused, Nonsense::Oversized(u32::MAX as usize, 100));
    }

    #[test]
    fn other_bytes_are_refused() {
        for body in [&b""[..], b"\xff", b"\xa1", &[0x9f; 90]] {
            let mut inbound = Inbound::default();
            inbound.buffer().extend_from_slice(&(body.len() as u32).to_le_bytes());
            inbound.buffer().extend_from_slice(body);
            assert_eq!(inbound.next::<Reply>(100).unwrap_err(), Nonsense::Malformed);
        }
    }
}
