//! Requests and heads of answers on blob streams.

use bayan_protocol::fetch::message::{Answer, MessageError, Request};

use crate::vector::Case;

fn class(error: &MessageError) -> String {
    match error {
        MessageError::Malformed(_) => "malformed",
        MessageError::Oversized => "oversized",
        MessageError::Bounds(_) => "bounds",
    }
    .to_owned()
}

/// A request; writing it again gives the same bytes.
pub(crate) fn request(case: &Case) -> Option<String> {
    let bytes = case.bytes("bytes");
    match Request::decode(&bytes) {
        Ok(request) if request.encode() == bytes => None,
        Ok(_) => Some("another encoding".to_owned()),
        Err(error) => Some(class(&error)),
    }
}

/// The head of an answer; writing it again gives the same bytes.
pub(crate) fn answer(case: &Case) -> Option<String> {
    let bytes = case.bytes("bytes");
    match Answer::decode(&bytes) {
        Ok(answer) if answer.encode() == bytes => None,
        Ok(_) => Some("another encoding".to_owned()),
        Err(error) => Some(class(&error)),
    }
}
