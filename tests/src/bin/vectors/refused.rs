//! Frames that must not be read, and how the refusal is to be classed.

use bayan_protocol::{
    cbor,
    id::{Hash, LeaseId},
    limits::{MAX_FRAME, MAX_PROGRAM_BYTES, MAX_PROGRAM_ITEMS},
    path::Trail,
    result::{Commit, Opened, Reveal},
    task::{Input, PROFILE_V1, Program},
    wire::{Cancel, Frame, Hello, Lease, Offer, Reason, Refuse, Relayed, Renew},
};
use serde_json::json;

use crate::{
    cast,
    file::{Case, File, repeated},
    frames::{bundle, hello, open_ended},
    tasks,
};

pub(crate) fn files() -> Vec<File> {
    let mut cases = malformed();
    cases.extend(wrong_fields());
    cases.extend(unknown());
    cases.extend(oversized());
    cases.extend(bounds());
    cases.extend(lease_bounds());
    cases.extend(relayed_bounds());
    cases.extend(crate::delegate::bounds());
    vec![File::new(
        "wire/refused-frames.json",
        "Bytes that are no frame of version 1, and why.",
        &["WIRE-5", "WIRE-6", "WIRE-7"],
        cases,
    )]
}

fn case(name: &str, error: &str, bytes: &[u8]) -> Case {
    Case::invalid(name, error).bytes("bytes", bytes)
}

/// A map of one entry, `kind`, whose value is `body`.
fn wrapped(kind: &str, body: &[u8]) -> Vec<u8> {
    [&[0xa1][..], &cbor::encode(&kind), body].concat()
}

/// A map with these entries, each value as it is written.
fn map(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0xa0 + u8::try_from(entries.len()).expect("a small map")];
    for (key, value) in entries {
        bytes.extend(cbor::encode(key));
        bytes.extend(*value);
    }
    bytes
}

fn malformed() -> Vec<Case> {
    let hello = Frame::Hello(hello()).encode();
    let ask = Frame::Ask.encode();
    let two = [
        &[0xa2][..],
        &cbor::encode(&"ask"),
        &[0xf6],
        &cbor::encode(&"credit"),
        &map(&[("tasks", &[1])]),
    ];
    let mut nested = vec![0x81; 300];
    nested.push(0x80);
    let deep = wrapped("credit", &map(&[("tasks", &[1]), ("later", &nested)]));
    let malformed = |name, bytes: &[u8]| case(name, "malformed", bytes);
    vec![
        malformed("nothing", &[]),
        malformed("noise", &[0xff; 40]),
        malformed("a hello cut after its kind", &hello[..7]),
        malformed("a hello cut in the middle", &hello[..hello.len() / 2]),
        malformed("a hello without its last byte", &hello[..hello.len() - 1]),
        malformed("a byte after an ask", &[&ask[..], &[0]].concat()),
        malformed("a byte after a hello", &[&hello[..], &[0]].concat()),
        malformed("two frames in one", &[&ask[..], &ask[..]].concat()),
        malformed("a map of two kinds", &two.concat()),
        malformed("an empty map", &[0xa0]),
        malformed("a map of indefinite length", &[&[0xbf][..], &hello[1..], &[0xff]].concat()),
        malformed("an array", &[0x81, 0x00]),
        malformed("a number", &[0x00]),
        malformed("a kind that is no text", &[0xa1, 0x01, 0x02]),
        malformed("a kind without a letter", &[0x60]),
        malformed("a kind of more than 23 letters", &cbor::encode(&"later".repeat(5))),
        malformed("a kind that is not UTF-8", &[0x61, 0xff]),
        malformed("an ask with a body", &wrapped("ask", &[0xf6])),
        malformed("a credit without a body", &cbor::encode(&"credit")),
        malformed("nested deeper than 256", &deep),
    ]
}

/// Bodies of known kinds with one field wrong.
fn wrong_fields() -> Vec<Case> {
    let malformed = |name, bytes: &[u8]| case(name, "malformed", bytes);
    let credit = |value: &[u8]| wrapped("credit", &map(&[("tasks", value)]));
    let renew = |id: &[u8]| wrapped("renew", &map(&[("leases", &[&[0x81], id].concat())]));
    let refuse = |reason: &[u8]| {
        wrapped("refuse", &map(&[("job", &[0xf6]), ("reason", reason), ("text", &[0x60])]))
    };
    let full = hello();
    let versions = |versions: &[u8]| {
        let entries: &[(&str, &[u8])] = &[
            ("versions", versions),
            ("agent", &cbor::encode(&full.agent)),
            ("profiles", &[0x80]),
            ("slots", &[0x01]),
            ("memory", &[0x00]),
        ];
        wrapped("hello", &map(entries))
    };
    let reveal = Frame::Reveal(reveal(vec![cast::opened(0)])).encode();
    let bent = |what: &[u8], by: &[u8]| {
        let at = reveal.windows(what.len()).position(|part| part == what).expect("it is in there");
        [&reveal[..at], by, &reveal[at + what.len()..]].concat()
    };
    let commit = Commit::sign(&cast::worker(), cast::JOB, 1, &[cast::opened(0)]);
    let mut short = Frame::Commit(commit).encode();
    let head = short.windows(2).rposition(|two| two == [0x58, 64]).expect("a signature");
    short[head + 1] = 63;
    short.pop();
    vec![
        malformed("a number as text", &credit(&cbor::encode(&"1"))),
        malformed("a negative number", &credit(&[0x20])),
        malformed("a number as a float", &credit(&[0xf9, 0x3c, 0x00])),
        malformed("a number with a tag", &credit(&[0xc1, 0x01])),
        malformed("a number as null", &credit(&[0xf6])),
        malformed("2^32 where 32 bits are", &credit(&[0x1b, 0, 0, 0, 1, 0, 0, 0, 0])),
        malformed("65536 where 16 bits are", &versions(&[0x81, 0x1a, 0, 1, 0, 0])),
        malformed("a field missing", &wrapped("credit", &[0xa0])),
        malformed("a field twice", &wrapped("credit", &map(&[("tasks", &[1]), ("tasks", &[1])]))),
        malformed("a body as an array", &wrapped("credit", &[0x81, 0x01])),
        malformed("an id of 31 bytes", &renew(&[&[0x58, 31][..], &[0; 31]].concat())),
        malformed("an id of 33 bytes", &renew(&[&[0x58, 33][..], &[0; 33]].concat())),
        malformed("an id as text", &renew(&cbor::encode(&LeaseId([0; 32]).to_string()))),
        malformed("a signature of 63 bytes", &short),
        malformed("a reason that is not known", &refuse(&cbor::encode(&"later"))),
        malformed("a leaf of version 2", &bent(&[0x89, 0x01], &[0x89, 0x02])),
        malformed("a leaf of eight elements", &bent(&[0x89, 0x01], &[0x88, 0x01])),
        malformed("a status that is not known", &bent(b"\xa1\x64exit\x00", b"\xa1\x64quit\x00")),
        malformed("an exit without its code", &bent(b"\xa1\x64exit\x00", b"\x64exit")),
        malformed("an output of no known form", &bent(b"\x66inline", b"\x66inlime")),
    ]
}

fn unknown() -> Vec<Case> {
    let unknown = |name, bytes: &[u8]| case(name, "unknown", bytes);
    vec![
        unknown("a kind as text", &cbor::encode(&"later")),
        unknown("a kind with a body", &wrapped("later", &map(&[("tasks", &[1])]))),
        unknown("a kind with a number", &wrapped("later", &[0x01])),
        unknown("a kind of one letter", &cbor::encode(&"x")),
        unknown("a kind of 23 letters", &cbor::encode(&"l".repeat(23))),
        unknown("a known kind in capitals", &cbor::encode(&"Ask")),
        unknown("a body that is not read: cut short", &wrapped("later", &[])),
        unknown("a body that is not read: noise", &wrapped("later", &[0xff, 0xff])),
    ]
}

fn oversized() -> Vec<Case> {
    let whole = MAX_FRAME + 1;
    let noise = Case::invalid("a frame of zeros", "oversized")
        .with("bytes", json!([{ "repeat": "00", "times": whole }]));
    // {"later": bytes}, were it not for the size.
    let mut head = wrapped("later", &[0x5a]);
    let body = whole - head.len() - 4;
    head.extend_from_slice(&u32::try_from(body).expect("32 bits").to_be_bytes());
    vec![
        noise,
        Case::invalid("an unknown kind", "oversized").with("bytes", repeated(&head, &[0], body)),
    ]
}

fn reveal(opened: Vec<Opened>) -> Reveal {
    let commit = Commit::sign(&cast::worker(), cast::JOB, cast::SEQUENCE, &opened);
    Reveal { root: commit.root, opened }
}

fn bounds() -> Vec<Case> {
    let bounds =
        |name, field: &str, frame: &Frame| case(name, &format!("bounds: {field}"), &frame.encode());
    let listed = |name, field: &str, empty: &Frame, item: &[u8]| {
        let mut head = empty.encode();
        assert_eq!(head.pop(), Some(0x80), "the list comes last, and it is empty");
        head.extend([0x99, 0x02, 0x01]);
        Case::invalid(name, &format!("bounds: {field}")).with("bytes", repeated(&head, item, 513))
    };
    let offer = Offer {
        job: cast::JOB,
        submitter: cast::submitter().peer_id(),
        profile: "p".repeat(257),
        memory: 0,
        hops: 0,
    };
    let refuse = Refuse { job: None, reason: Reason::Busy, text: "t".repeat(257) };
    let one = vec![cast::opened(0)];
    let commit = |count| Commit { count, ..Commit::sign(&cast::worker(), cast::JOB, 1, &one) };
    let nothing = Reveal { root: Hash([0; 32]), opened: Vec::new() };
    let result = cbor::encode(&cast::opened(0));
    let mut many = Frame::Reveal(nothing.clone()).encode();
    assert_eq!(many.pop(), Some(0x80), "the results come last");
    many.extend([0x98, 65]);
    vec![
        bounds(
            "17 versions",
            "versions",
            &Frame::Hello(Hello { versions: vec![1; 17], ..hello() }),
        ),
        bounds(
            "17 profiles",
            "profiles",
            &Frame::Hello(Hello { profiles: vec!["p".into(); 17], ..hello() }),
        ),
        bounds(
            "a profile's name too long",
            "profiles",
            &Frame::Hello(Hello { profiles: vec![PROFILE_V1.into(), "p".repeat(257)], ..hello() }),
        ),
        bounds(
            "an agent's name too long",
            "agent",
            &Frame::Hello(Hello { agent: "a".repeat(257), ..hello() }),
        ),
        bounds("an offer's profile too long", "profile", &Frame::Offer(offer)),
        bounds("a refusal's text too long", "text", &Frame::Refuse(refuse)),
        bounds("a commit to nothing", "count", &Frame::Commit(commit(0))),
        bounds("a commit to 65 results", "count", &Frame::Commit(commit(65))),
        bounds("a reveal of nothing", "opened", &Frame::Reveal(nothing)),
        Case::invalid("a reveal of 65 results", "bounds: opened")
            .with("bytes", repeated(&many, &result, 65)),
        listed(
            "a renewal of 513 leases",
            "leases",
            &Frame::Renew(Renew { leases: Vec::new() }),
            &cbor::encode(&cast::LEASE),
        ),
        listed(
            "a cancel of 513 tasks",
            "tasks",
            &Frame::Cancel(Cancel { job: cast::JOB, tasks: Vec::new() }),
            &cbor::encode(&Hash([0; 32])),
        ),
    ]
}

fn relayed_bounds() -> Vec<Case> {
    let bounds = |name: &str, field: &str, relayed: Relayed| {
        case(name, &format!("bounds: {field}"), &Frame::Relayed(relayed).encode())
    };
    let good =
        Relayed { bundles: vec![bundle(0..1)], trails: vec![cast::trail(1)], tasks: Vec::new() };
    let many = vec![bundle(0..33), bundle(33..66)];
    let mut miscounted = bundle(0..2);
    miscounted.opened.pop();
    let hopless = Trail { parent: None, hops: Vec::new() };
    let hop = cast::trail(1).hops.remove(0);
    let long = Trail { parent: None, hops: vec![hop; 9] };
    let tasks = vec![Vec::new(), Vec::new()];
    vec![
        bounds("nothing relayed", "bundles", Relayed { bundles: Vec::new(), ..good.clone() }),
        bounds("66 results relayed", "bundles", Relayed { bundles: many, ..good.clone() }),
        bounds(
            "a relayed batch of another count",
            "count",
            Relayed { bundles: vec![miscounted], ..good.clone() },
        ),
        bounds("results without a trail", "trails", Relayed { trails: Vec::new(), ..good.clone() }),
        bounds("65 trails", "trails", Relayed { trails: vec![cast::trail(1); 65], ..good.clone() }),
        bounds(
            "a trail without a hop",
            "trails",
            Relayed { trails: vec![hopless], ..good.clone() },
        ),
        bounds("a trail of nine hops", "trails", Relayed { trails: vec![long], ..good.clone() }),
        bounds("tasks of more leases than trails", "tasks", Relayed { tasks, ..good }),
        case(
            "a hello that relays twice",
            "bounds: relays",
            &Frame::Hello(Hello { relays: 2, ..hello() }).encode(),
        ),
    ]
}

fn lease_bounds() -> Vec<Case> {
    let bounds = |name: &str, field: &str, lease: Lease| {
        case(name, &format!("bounds: {field}"), &Frame::Lease(lease).encode())
    };
    let of = |program: Program| cast::lease(program, vec![cast::inline(b"0\n")]);
    let bare = cast::bare();
    let empty = cast::lease(bare.clone(), Vec::new());
    let (head, task) = open_ended(&Frame::Lease(empty.clone()));
    let head = [head, vec![0x99, 0x02, 0x01]].concat();
    let pathless = Lease { path: Vec::new(), ..of(bare.clone()) };
    let hop = cast::lease(bare.clone(), vec![cast::inline(b"0\n")]).path.remove(0);
    let deep = Lease { path: vec![hop; 9], ..of(bare.clone()) };
    let share = Lease { share: 2, ..of(bare.clone()) };
    let long = cast::lease(bare.clone(), vec![cast::inline(&[0; (16 << 10) + 1])]);
    let huge = Input::Blob { hash: Hash::of(b"huge"), len: (4 << 30) + 1 };
    let items = MAX_PROGRAM_ITEMS + 1;
    let files = (0..items).map(|n| cast::file(&format!("{n:03}"), b"")).collect();
    let env = vec![(String::from("A"), String::new()); items];
    let mut cases = vec![
        bounds("a lease of nothing", "tasks", empty),
        Case::invalid("a lease of 513 tasks", "bounds: tasks")
            .with("bytes", repeated(&head, &task, 513)),
        bounds("a lease without a path", "path", pathless),
        bounds("a path of nine hops", "path", deep),
        bounds("a lease that is shared twice over", "share", share),
        bounds("an inline input too long", "input", long),
        bounds("an input too large", "input", cast::lease(bare.clone(), vec![huge])),
        bounds(
            "257 arguments",
            "args",
            of(Program { args: vec![String::new(); items], ..bare.clone() }),
        ),
        bounds("257 variables", "env", of(Program { env, ..bare.clone() })),
        bounds("257 data files", "data", of(Program { data: files, ..bare.clone() })),
        bounds(
            "64 KiB of program and a byte",
            "program",
            of(Program { args: vec!["a".repeat(MAX_PROGRAM_BYTES + 1)], ..bare }),
        ),
    ];
    let small = tasks::out_of_bounds().into_iter();
    cases.extend(small.map(|(name, field, program)| {
        bounds(&format!("a program with {name}"), field, of(program))
    }));
    cases
}
