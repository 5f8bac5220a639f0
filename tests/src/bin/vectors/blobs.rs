//! What is said on blob streams: requests, and heads of answers.

use bayan_protocol::{
    fetch::message::{Answer, AnyOf, Of, Part, RangeOf, Request, Stock, Told},
    id::{Hash, PeerId},
    limits::{MAX_ADDRESS, MAX_BLOB, MAX_BLOB_HEADER, MAX_REFUSAL, MAX_TOLD, PIECE},
};
use serde_bytes::ByteBuf;

use crate::{
    cast,
    file::{Case, File},
};

pub(crate) fn files() -> Vec<File> {
    vec![
        File::new(
            "wire/blob-requests.json",
            "Requests on a blob stream, without the length in front.",
            &["WIRE-30", "WIRE-34", "WIRE-35", "WIRE-36"],
            requests(),
        ),
        File::new(
            "wire/blob-answers.json",
            "Heads of answers on a blob stream, without the length in front.",
            &["WIRE-30", "WIRE-34", "WIRE-35", "WIRE-36"],
            answers(),
        ),
    ]
}

const HASH: Hash = Hash([7; 32]);

fn valid(name: &str, bytes: &[u8]) -> Case {
    Case::valid(name).encoded(bytes)
}

fn refused(name: &str, error: &str, bytes: &[u8]) -> Case {
    Case::invalid(name, error).bytes("bytes", bytes)
}

fn any(len: u64, wants: &[u8], most: u64) -> Vec<u8> {
    Request::Any(AnyOf { hash: HASH, len, wants: ByteBuf::from(wants), most }).encode()
}

fn requests() -> Vec<Case> {
    let range = Request::Range(RangeOf { hash: HASH, from: 0, to: 16_384 }).encode();
    let two = [&[0xa2][..], &Request::Have(Of { hash: HASH }).encode()[1..], b"\x63who\xf6"];
    let eleven = 11 * PIECE;
    vec![
        valid("a range", &range),
        valid("any of all three pieces", &any(3 * PIECE, &[0b111], PIECE)),
        valid("any of the first and the last of eleven", &any(eleven, &[1, 4], 2 << 20)),
        valid("any of an empty blob", &any(0, &[1], PIECE)),
        valid("have", &Request::Have(Of { hash: HASH }).encode()),
        valid("who", &Request::Who(Of { hash: HASH }).encode()),
        refused("nothing", "malformed", b""),
        refused("a range cut short", "malformed", &range[..range.len() - 1]),
        refused("a byte after a range", "malformed", &[&range[..], &[0]].concat()),
        refused("an unknown name", "malformed", b"\xa1\x64give\xa0"),
        refused("two names", "malformed", &two.concat()),
        refused("fewer bits than pieces", "bounds", &any(eleven, &[1], PIECE)),
        refused("more bits than pieces", "bounds", &any(eleven, &[1, 0, 0], PIECE)),
        refused("a bit beyond the last piece", "bounds", &any(eleven, &[1, 8], PIECE)),
        refused("less than a piece", "bounds", &any(eleven, &[1, 0], PIECE - 1)),
        refused("a blob that is too long", "bounds", &any(MAX_BLOB + 1, &[1; 2049], PIECE)),
        refused("too long", "oversized", &vec![0; MAX_BLOB_HEADER + 1]),
    ]
}

fn part(len: u64, from: u64, to: u64) -> Vec<u8> {
    Answer::Part(Part { len, from, to }).encode()
}

fn have(len: u64, pieces: &[u8]) -> Vec<u8> {
    Answer::Have(Stock { len, pieces: ByteBuf::from(pieces) }).encode()
}

fn told(count: usize, addresses: usize, of: usize) -> Vec<u8> {
    let at = vec!["/".repeat(of); addresses];
    let one = |number| Told { peer: PeerId([number as u8; 32]), at: at.clone() };
    Answer::Who((0..count).map(one).collect()).encode()
}

fn answers() -> Vec<Case> {
    let who = Answer::Who(vec![
        Told { peer: cast::submitter().peer_id(), at: vec!["/ip4/192.0.2.1/tcp/4600".to_owned()] },
        Told { peer: PeerId([9; 32]), at: Vec::new() },
    ]);
    let len = 2 * PIECE + 5;
    vec![
        valid("ok", &Answer::Ok(len).encode()),
        valid("the first two pieces", &part(len, 0, 2 * PIECE)),
        valid("the last piece, which is short", &part(len, 2 * PIECE, len)),
        valid("wait", &Answer::Wait(500).encode()),
        valid("have the first and the last", &have(len, &[0b101])),
        valid("have nothing", &have(len, &[0])),
        valid("who", &who.encode()),
        valid("nobody", &Answer::Who(Vec::new()).encode()),
        valid("refuse", &Answer::Refuse("not here".to_owned()).encode()),
        refused("nothing", "malformed", b""),
        refused("an unknown name", "malformed", b"\xa1\x64give\x00"),
        refused("a byte after wait", "malformed", &[&Answer::Wait(1).encode()[..], &[0]].concat()),
        refused("an empty part", "bounds", &part(len, PIECE, PIECE)),
        refused("a part that begins inside a piece", "bounds", &part(len, 1, PIECE)),
        refused("a part that ends inside a piece", "bounds", &part(len, 0, PIECE + 1)),
        refused("a part beyond the blob", "bounds", &part(len, 0, 3 * PIECE)),
        refused("a part that is too long", "bounds", &part(20 * PIECE, 0, 9 * PIECE)),
        refused("too long a wait", "bounds", &Answer::Wait(10_001).encode()),
        refused("too many bits", "bounds", &have(len, &[1, 0])),
        refused("a bit beyond the last piece", "bounds", &have(len, &[8])),
        refused("too many peers", "bounds", &told(MAX_TOLD + 1, 0, 0)),
        refused("too many addresses", "bounds", &told(1, 5, 1)),
        refused("too long an address", "bounds", &told(1, 1, MAX_ADDRESS + 1)),
        refused("a blob that is too long", "bounds", &Answer::Ok(MAX_BLOB + 1).encode()),
        refused("too many words", "bounds", &Answer::Refuse("x".repeat(MAX_REFUSAL + 1)).encode()),
    ]
}
