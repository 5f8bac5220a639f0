//! CBOR, frames and adverts (spec WIRE).

use std::fmt::Debug;

use bayan_protocol::{
    cbor::{self, DecodeError},
    overlay::{self, AdvertError},
    result::Leaf,
    wire::{Advert, Frame, WireError},
};
use serde_bytes::ByteBuf;

use crate::{notation, vector::Case};

/// Whole frames up to this length are tried with every single byte cut off.
const CUT: usize = 2048;

pub(crate) fn canonical(case: &Case) -> Option<String> {
    let bytes = case.bytes("bytes");
    let found = match case.text("type") {
        "uint" => judge(&bytes, cbor::decode_canonical::<u64>),
        "uints" => judge(&bytes, cbor::decode_canonical::<Vec<u64>>),
        "text" => judge(&bytes, cbor::decode_canonical::<String>),
        "bytes" => judge(&bytes, cbor::decode_canonical::<ByteBuf>),
        "leaf" => judge(&bytes, cbor::decode_canonical::<Leaf>),
        "advert" => judge(&bytes, cbor::decode_canonical::<Advert>),
        other => panic!("{}: {other} is no type", case.name()),
    };
    if found.is_none() {
        check_value(case, &bytes);
    }
    found
}

/// The error that reading `bytes` ends in.
pub(crate) fn judge<T: Debug>(
    bytes: &[u8],
    read: fn(&[u8]) -> Result<T, DecodeError>,
) -> Option<String> {
    read(bytes).err().map(|error| match error {
        DecodeError::Malformed => "malformed".into(),
        DecodeError::NotCanonical => "not-canonical".into(),
    })
}

/// The bytes say what the case's `value` says, by a reader of its own.
pub(crate) fn check_value(case: &Case, bytes: &[u8]) {
    if case.has("value") {
        assert_eq!(notation::json(bytes).as_ref(), Ok(case.field("value")), "{}", case.name());
    }
}

pub(crate) fn frame(case: &Case) -> Option<String> {
    let bytes = case.bytes("bytes");
    let frame = match Frame::decode(&bytes) {
        Ok(frame) => frame,
        Err(WireError::Malformed) => return Some("malformed".into()),
        Err(WireError::UnknownKind) => return Some("unknown".into()),
        Err(WireError::Oversized) => return Some("oversized".into()),
        Err(WireError::Bounds(field)) => return Some(format!("bounds: {field}")),
    };
    if case.error().is_some() {
        return None;
    }
    check_value(case, &bytes);
    let again = frame.encode();
    assert_eq!(again == bytes, case.flag("canonical"), "{}: whether it is written so", case.name());
    assert_eq!(
        Frame::decode(&again).as_ref(),
        Ok(&frame),
        "{}: reading what was written",
        case.name()
    );
    let kind = match notation::json(&again).expect("frames are plain CBOR") {
        serde_json::Value::String(kind) => kind,
        serde_json::Value::Object(map) => map.keys().next().expect("one entry").clone(),
        other => panic!("{}: {other} is no frame", case.name()),
    };
    assert_eq!(kind, case.text("kind"), "{}", case.name());
    assert_eq!(kind, frame.kind(), "{}", case.name());
    None
}

/// A frame with bytes cut off or added is malformed, never another frame and never of unknown kind.
pub(crate) fn check_cuts(case: &Case) {
    let mut bytes = case.bytes("bytes");
    if bytes.len() > CUT {
        return;
    }
    for end in 0..bytes.len() {
        let cut = Frame::decode(&bytes[..end]);
        assert_eq!(cut, Err(WireError::Malformed), "{}: cut to {end} bytes", case.name());
    }
    bytes.push(0xf6);
    assert_eq!(Frame::decode(&bytes), Err(WireError::Malformed), "{}: a byte more", case.name());
}

pub(crate) fn advert(case: &Case) -> Option<String> {
    match overlay::open(&case.bytes("bytes")) {
        Ok(advert) => {
            let body = case.bytes("body");
            assert_eq!(cbor::encode(&advert), body, "{}", case.name());
            assert_eq!(notation::json(&body).as_ref(), Ok(case.field("advert")), "{}", case.name());
            check_value(case, &case.bytes("bytes"));
            None
        }
        Err(AdvertError::Malformed) => Some("malformed".into()),
        Err(AdvertError::Signature) => Some("signature".into()),
    }
}
