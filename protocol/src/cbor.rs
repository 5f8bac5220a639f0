//! The one encoding: CBOR with definite lengths and shortest integers.
//!
//! Canonical values are written with their fields in one fixed order, so that encoding is a function
//! of the value alone; a decoder of canonical bytes re-encodes and compares (spec WIRE-2).

use alloc::vec::Vec;

use cbor4ii::core::{dec::Read, utils::SliceReader};
use serde::{
    Deserialize as _, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};

/// Bytes that are not the CBOR of the expected shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not CBOR, truncated, trailing bytes, or another shape.
    #[error("malformed CBOR")]
    Malformed,
    /// Well-formed, but not the canonical encoding of its value.
    #[error("CBOR is not in canonical form")]
    NotCanonical,
}

/// Encodes `value`; infallible because memory is the only sink and no map is unsized.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    cbor4ii::serde::to_vec(Vec::new(), value).expect("encoding to memory fails on no value of ours")
}

/// Bytes of the one well-formed item that `bytes` begin with.
pub fn item_len(bytes: &[u8]) -> Option<usize> {
    let mut reader = SliceReader::new(bytes);
    IgnoredAny::deserialize(&mut cbor4ii::serde::Deserializer::new(&mut reader)).ok()?;
    let rest = reader.fill(bytes.len()).ok()?;
    bytes.len().checked_sub(rest.as_ref().len())
}

/// The unsigned integer that `bytes` begin with.
pub fn first_uint(bytes: &[u8]) -> Option<u64> {
    u64::deserialize(&mut cbor4ii::serde::Deserializer::new(&mut SliceReader::new(bytes))).ok()
}

/// Decodes exactly one value that spans all of `bytes`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    // One well-formed item and nothing after it; what the typed decoder then reads cannot run past
    // the item it believes to be in.
    let mut reader = SliceReader::new(bytes);
    IgnoredAny::deserialize(&mut cbor4ii::serde::Deserializer::new(&mut reader))
        .map_err(|_| DecodeError::Malformed)?;
    if reader.fill(1).map_or(true, |rest| !rest.as_ref().is_empty()) {
        return Err(DecodeError::Malformed);
    }
    let mut reader = SliceReader::new(bytes);
    let mut from = cbor4ii::serde::Deserializer::new(&mut reader);
    let value = T::deserialize(&mut from).map_err(|_| DecodeError::Malformed)?;
    if reader.fill(1).map_or(true, |rest| rest.as_ref().is_empty()) {
        Ok(value)
    } else {
        Err(DecodeError::Malformed)
    }
}

/// Decodes a value whose bytes must be their own canonical form.
pub fn decode_canonical<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let value = decode::<T>(bytes)?;
    if encode(&value) == bytes { Ok(value) } else { Err(DecodeError::NotCanonical) }
}
