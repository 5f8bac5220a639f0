//! What is said on a blob stream: requests and the heads of answers (spec WIRE-30 to WIRE-37).

use alloc::{string::String, vec::Vec};
use core::ops::Range;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::pieces::Pieces;
use crate::{
    cbor::{self, DecodeError},
    id::{Hash, PeerId},
    limits::{
        MAX_ADDRESS, MAX_BLOB, MAX_BLOB_HEADER, MAX_RANGE, MAX_REFUSAL, MAX_TOLD,
        MAX_TOLD_ADDRESSES, MAX_WAIT_MS, PIECE,
    },
};

/// Why bytes are no request or no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not CBOR of the right shape.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// Longer than a head may be.
    #[error("a head over the size limit")]
    Oversized,
    /// A field is outside its bounds.
    #[error("{0} is outside its bounds")]
    Bounds(&'static str),
}

/// Asks for the chunk groups that cover a byte range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeOf {
    /// Whose.
    pub hash: Hash,
    /// First byte.
    pub from: u64,
    /// One past the last.
    pub to: u64,
}

/// Asks for some run of pieces, of the server's choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnyOf {
    /// Whose.
    pub hash: Hash,
    /// The blob's length.
    pub len: u64,
    /// The pieces that are welcome (see [`Pieces::to_bytes`]).
    pub wants: ByteBuf,
    /// Bytes at most, 256 KiB or more.
    pub most: u64,
}

/// Names a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Of {
    /// Which.
    pub hash: Hash,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// These bytes.
    Range(RangeOf),
    /// Any of these pieces.
    Any(AnyOf),
    /// Which pieces are there?
    Have(Of),
    /// Who else has or fetches it?
    Who(Of),
}

/// Requests that stand under their name on the wire.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Named {
    Any(AnyOf),
    Have(Of),
    Who(Of),
}

/// A run of pieces that the server chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The blob's length.
    pub len: u64,
    /// First byte.
    pub from: u64,
    /// One past the last.
    pub to: u64,
}

/// What is there of a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stock {
    /// The blob's length.
    pub len: u64,
    /// The pieces that are there.
    pub pieces: ByteBuf,
}

/// A peer that has or fetches a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Who.
    pub peer: PeerId,
    /// Where, as multiaddresses.
    pub at: Vec<String>,
}

/// The head of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The blob's length; the encoding of the range follows.
    Ok(u64),
    /// This run; its encoding follows.
    Part(Part),
    /// Nothing for now: ask again after so many milliseconds.
    Wait(u64),
    /// What is there.
    Have(Stock),
    /// Who else.
    Who(Vec<Told>),
    /// No; nothing follows.
    Refuse(String),
}

fn bound(holds: bool, what: &'static str) -> Result<(), MessageError> {
    if holds { Ok(()) } else { Err(MessageError::Bounds(what)) }
}

impl Request {
    /// Its bytes, without the length in front.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Range(range) => cbor::encode(range),
            Self::Any(any) => cbor::encode(&Named::Any(any.clone())),
            Self::Have(of) => cbor::encode(&Named::Have(of.clone())),
            Self::Who(of) => cbor::encode(&Named::Who(of.clone())),
        }
    }

    /// Reads and bounds-checks one. A range is checked against the blob by whoever has it.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > MAX_BLOB_HEADER {
            return Err(MessageError::Oversized);
        }
        // A range's map has three entries at least, a named request's one.
        if bytes.first() != Some(&0xa1) {
            return Ok(Self::Range(cbor::decode(bytes)?));
        }
        Ok(match cbor::decode(bytes)? {
            Named::Any(any) => {
                bound(any.len <= MAX_BLOB, "len")?;
                bound(any.most >= PIECE, "most")?;
                bound(any.pieces().is_some(), "wants")?;
                Self::Any(any)
            }
            Named::Have(of) => Self::Have(of),
            Named::Who(of) => Self::Who(of),
        })
    }

    /// The blob that it is about.
    pub fn hash(&self) -> Hash {
        match self {
            Self::Range(RangeOf { hash, .. })
            | Self::Any(AnyOf { hash, .. })
            | Self::Have(Of { hash })
            | Self::Who(Of { hash }) => *hash,
        }
    }
}

impl AnyOf {
    /// The pieces that are welcome.
    pub fn pieces(&self) -> Option<Pieces> {
        Pieces::from_bytes(self.len, &self.wants)
    }
}

impl RangeOf {
    /// The range, if it is one that a blob of `len` bytes is given in.
    pub fn within(&self, len: u64) -> Option<Range<u64>> {
        let in_order = self.from <= self.to && self.to <= len && (self.from < self.to || len == 0);
        (in_order && self.to - self.from <= MAX_RANGE).then_some(self.from..self.to)
    }
}

impl Answer {
    /// Its bytes, without the length in front.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads and bounds-checks one.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > MAX_BLOB_HEADER {
            return Err(MessageError::Oversized);
        }
        let answer = cbor::decode::<Self>(bytes)?;
        match &answer {
            Self::Ok(len) => bound(*len <= MAX_BLOB, "len")?,
            Self::Part(part) => {
                let in_order = part.from < part.to && part.to <= part.len && part.len <= MAX_BLOB;
                bound(in_order && part.to - part.from <= MAX_RANGE, "part")?;
                let whole = |at: u64| at.is_multiple_of(PIECE) || at == part.len;
                bound(whole(part.from) && whole(part.to), "part")?;
            }
            Self::Wait(ms) => bound(*ms <= MAX_WAIT_MS, "wait")?,
            Self::Have(stock) => {
                bound(stock.len <= MAX_BLOB, "len")?;
                bound(Pieces::from_bytes(stock.len, &stock.pieces).is_some(), "pieces")?;
            }
            Self::Who(told) => {
                bound(told.len() <= MAX_TOLD, "who")?;
                bound(told.iter().all(|one| one.at.len() <= MAX_TOLD_ADDRESSES), "at")?;
                let mut at = told.iter().flat_map(|one| &one.at);
                bound(at.all(|address| address.len() <= MAX_ADDRESS), "at")?;
            }
            Self::Refuse(why) => bound(why.len() <= MAX_REFUSAL, "refuse")?,
        }
        Ok(answer)
    }
}

impl Part {
    /// The pieces that it is made of, if it belongs to a blob of `len` bytes.
    pub fn run(&self, len: u64) -> Option<Range<usize>> {
        let piece = |at: u64| usize::try_from(at.div_ceil(PIECE)).ok();
        (self.len == len).then_some(piece(self.from)?..piece(self.to)?)
    }
}
