//! Canonical CBOR, and frames that must be read.

use bayan_protocol::{
    cbor,
    crypto::Keypair,
    id::{Hash, LeaseId},
    result::{Ack, Commit, Opened, Output, Reveal},
    task::{Input, PROFILE_V1, Status},
    wire::{
        Advert, Bundle, Cancel, Credit, Exclude, Frame, Hello, Offer, Reason, Refuse, Relayed,
        Renew, Route,
    },
};
use serde_bytes::ByteBuf;
use serde_json::json;

use crate::{
    cast,
    file::{Case, File, repeated},
};

pub(crate) fn files() -> Vec<File> {
    vec![
        File::new(
            "wire/cbor.json",
            "Bytes read as one canonical value of the given type.",
            &["WIRE-1", "WIRE-2"],
            canonical(),
        ),
        File::new(
            "wire/frames.json",
            "Frames of every kind that must be read. Where `canonical` is true, writing the value gives the same bytes.",
            &[
                "WIRE-5", "WIRE-7", "WIRE-10", "WIRE-11", "WIRE-12", "WIRE-13", "WIRE-14",
                "WIRE-15", "WIRE-16", "WIRE-17", "WIRE-18", "WIRE-19", "WIRE-20", "WIRE-21",
                "WIRE-22", "WIRE-23", "WIRE-24", "WIRE-25", "WIRE-26", "WIRE-27",
            ],
            frames(),
        ),
        File::new("wire/adverts.json", "Sealed adverts.", &["WIRE-41", "WIRE-42"], adverts()),
    ]
}

fn canonical() -> Vec<Case> {
    let valid = |name, kind: &'static str, hex: &str| {
        let bytes = hex::decode(hex).expect("digits");
        Case::valid(name).with("type", kind).encoded(&bytes)
    };
    let invalid = |name, error, kind: &'static str, hex: &str| {
        Case::invalid(name, error).with("type", kind).with("bytes", hex)
    };
    let mut cases = vec![
        valid("zero", "uint", "00"),
        valid("23 in one byte", "uint", "17"),
        valid("24 in two", "uint", "1818"),
        valid("255 in two", "uint", "18ff"),
        valid("256 in three", "uint", "190100"),
        valid("65536 in five", "uint", "1a00010000"),
        valid("2^32 in nine", "uint", "1b0000000100000000"),
        valid("2^64 - 1", "uint", "1bffffffffffffffff"),
        valid("no text", "text", "60"),
        valid("text in UTF-8", "text", "62c3b6"),
        valid("no bytes", "bytes", "40"),
        valid("24 bytes", "bytes", &format!("5818{}", "ab".repeat(24))),
        valid("no integers", "uints", "80"),
        valid("three integers", "uints", "8301186419ffff"),
    ];
    let malformed = [
        ("nothing", "uint", ""),
        ("a byte after the value", "uint", "0000"),
        ("cut in the argument", "uint", "1901"),
        ("a negative number", "uint", "20"),
        ("a float", "uint", "f93c00"),
        ("a tag", "uint", "c100"),
        ("a big number by tag", "uint", "c24101"),
        ("a reserved length", "uint", "1c00"),
        ("a break alone", "uint", "ff"),
        ("text for bytes", "bytes", "6161"),
        ("bytes for text", "text", "4161"),
        ("text that is not UTF-8", "text", "61ff"),
        ("text cut short", "text", "6261"),
        ("bytes longer than there are", "bytes", "5bffffffffffffffff00"),
        ("an array cut short", "uints", "8201"),
        ("an array longer than there are bytes", "uints", "9bffffffffffffffff"),
        ("an endless array without its break", "uints", "9f01"),
    ];
    cases.extend(malformed.map(|(name, kind, hex)| invalid(name, "malformed", kind, hex)));
    let loose = [
        ("23 in two bytes", "uint", "1817"),
        ("255 in three bytes", "uint", "1900ff"),
        ("65535 in five bytes", "uint", "1a0000ffff"),
        ("2^32 - 1 in nine bytes", "uint", "1b00000000ffffffff"),
        ("a text's length in two bytes", "text", "780161"),
        ("bytes' length in three bytes", "bytes", "59000161"),
        ("an array's length in two bytes", "uints", "980101"),
        ("a long integer inside an array", "uints", "811801"),
        ("text of indefinite length", "text", "7f6161ff"),
        ("bytes of indefinite length", "bytes", "5f4161ff"),
        ("an array of indefinite length", "uints", "9f01ff"),
    ];
    cases.extend(loose.map(|(name, kind, hex)| invalid(name, "not-canonical", kind, hex)));
    cases.extend(maps());
    cases
}

fn advert(key: &Keypair) -> Advert {
    Advert {
        peer: key.peer_id(),
        at: cast::SEQUENCE,
        slots: 4,
        free: 1,
        speed: 900_000_000,
        memory: 1 << 30,
        profiles: vec![PROFILE_V1.into()],
    }
}

/// One entry of an advert's map: the key's letter and the value as it is written.
type Entry = (&'static str, Vec<u8>);

fn entries() -> Vec<Entry> {
    let advert = advert(&cast::worker());
    vec![
        ("p", cbor::encode(&advert.peer)),
        ("t", cbor::encode(&advert.at)),
        ("s", cbor::encode(&advert.slots)),
        ("f", cbor::encode(&advert.free)),
        ("v", cbor::encode(&advert.speed)),
        ("m", cbor::encode(&advert.memory)),
        ("e", cbor::encode(&advert.profiles)),
    ]
}

fn map(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = vec![0xa0 + u8::try_from(entries.len()).expect("a small map")];
    for (key, value) in entries {
        bytes.extend(cbor::encode(key));
        bytes.extend(value);
    }
    bytes
}

/// Maps: entries stand in the order of the notation, each once, and no others.
fn maps() -> Vec<Case> {
    let changed = |change: &dyn Fn(&mut Vec<Entry>)| {
        let mut entries = entries();
        change(&mut entries);
        map(&entries)
    };
    let case = |name, error, bytes: Vec<u8>| {
        Case::invalid(name, error).with("type", "advert").bytes("bytes", &bytes)
    };
    let mut endless = map(&entries());
    endless[0] = 0xbf;
    endless.push(0xff);
    vec![
        Case::valid("a map in order").with("type", "advert").encoded(&map(&entries())),
        case("entries in another order", "not-canonical", changed(&|all| all.swap(2, 3))),
        case(
            "entries sorted by key",
            "not-canonical",
            changed(&|all| all.sort_by_key(|(key, _)| *key)),
        ),
        case(
            "an entry that is not known",
            "not-canonical",
            changed(&|all| all.push(("z", vec![0]))),
        ),
        case("a map of indefinite length", "not-canonical", endless),
        case("an entry twice", "malformed", changed(&|all| all.push(("s", vec![4])))),
        case("an entry missing", "malformed", changed(&|all| drop(all.pop()))),
    ]
}

pub(crate) fn frame(name: &str, frame: &Frame) -> Case {
    Case::valid(name).with("kind", kind(frame)).with("canonical", true).encoded(&frame.encode())
}

fn kind(frame: &Frame) -> &'static str {
    match frame {
        Frame::Hello(_) => "hello",
        Frame::Offer(_) => "offer",
        Frame::Ask => "ask",
        Frame::Credit(_) => "credit",
        Frame::Lease(_) => "lease",
        Frame::Refuse(_) => "refuse",
        Frame::Renew(_) => "renew",
        Frame::Commit(_) => "commit",
        Frame::Reveal(_) => "reveal",
        Frame::Ack(_) => "ack",
        Frame::Cancel(_) => "cancel",
        Frame::Relayed(_) => "relayed",
        Frame::Route(_) => "route",
        Frame::Exclude(_) => "exclude",
        Frame::Entrust(_) => "entrust",
        Frame::Entrusted(_) => "entrusted",
        Frame::Settled(_) => "settled",
        Frame::Vouch(_) => "vouch",
    }
}

pub(crate) fn hello() -> Hello {
    Hello {
        relays: 0,
        versions: vec![1],
        agent: "bayan/0.1.0".into(),
        profiles: vec![PROFILE_V1.into()],
        slots: 4,
        memory: 1 << 30,
    }
}

fn frames() -> Vec<Case> {
    let submits = Hello { profiles: Vec::new(), slots: 0, memory: 0, ..hello() };
    let many = Hello {
        versions: (1..=16).collect(),
        agent: "a".repeat(256),
        profiles: (0..16).map(|n| format!("profile-{n}")).collect(),
        ..hello()
    };
    let offer = Offer {
        job: cast::JOB,
        submitter: cast::submitter().peer_id(),
        profile: PROFILE_V1.into(),
        memory: 256 << 20,
        hops: 0,
    };
    let handed_on = Offer { hops: 7, ..offer.clone() };
    let mut cases = vec![
        frame("hello of a worker", &Frame::Hello(hello())),
        frame("hello of a peer that only submits", &Frame::Hello(submits)),
        frame("hello with as much as fits", &Frame::Hello(many)),
        frame("offer", &Frame::Offer(offer)),
        frame("offer behind as many relays as there may be", &Frame::Offer(handed_on)),
        frame("ask", &Frame::Ask),
        frame("credit", &Frame::Credit(Credit { tasks: 16, below: 0 })),
        frame("credit withdrawn", &Frame::Credit(Credit { tasks: 0, below: 0 })),
        frame(
            "credit above what is honoured",
            &Frame::Credit(Credit { tasks: u32::MAX, below: 0 }),
        ),
    ];
    cases.extend(leases());
    cases.extend(refusals());
    cases.push(frame("renewal of nothing", &Frame::Renew(Renew { leases: Vec::new() })));
    let leases = vec![cast::LEASE, LeaseId([0xb1; 32])];
    cases.push(frame("renewal of two leases", &Frame::Renew(Renew { leases })));
    cases.extend(batches());
    let over = Cancel { job: cast::JOB, tasks: Vec::new() };
    let task = cast::bare().task_id(&Hash::of(b"0\n"));
    let some = Cancel { job: cast::JOB, tasks: vec![task, task] };
    cases.push(frame("cancel of a job", &Frame::Cancel(over)));
    cases.push(frame("cancel of tasks", &Frame::Cancel(some)));
    cases.extend(crate::delegate::frames());
    cases.extend(lenient());
    cases
}

fn leases() -> Vec<Case> {
    let inputs = vec![
        cast::inline(b"0\n"),
        cast::inline(b""),
        Input::Blob { hash: Hash::of(b"big"), len: 1 << 20 },
    ];
    let mut relayed = cast::handed_on(cast::full(), inputs, 1);
    relayed.lasts_ms = 20_000;
    let deep = cast::handed_on(cast::bare(), vec![cast::inline(b"0\n")], 7);
    let mut shared = cast::lease(cast::bare(), vec![cast::inline(b"0\n")]);
    shared.share = 1;
    let longest = cast::lease(cast::bare(), vec![cast::inline(&[0; 16 << 10])]);
    let (head, task) = open_ended(&Frame::Lease(cast::lease(cast::bare(), Vec::new())));
    let most = Case::valid("lease of as many tasks as fit")
        .with("kind", "lease")
        .with("canonical", true)
        .with("bytes", repeated(&[head, vec![0x99, 0x02, 0x00]].concat(), &task, 512));
    vec![
        frame("lease whose blobs may be given on", &Frame::Lease(shared)),
        frame(
            "lease of one task",
            &Frame::Lease(cast::lease(cast::bare(), vec![cast::inline(b"0\n")])),
        ),
        frame("lease of three tasks through a relay", &Frame::Lease(relayed)),
        frame("lease with the longest path", &Frame::Lease(deep)),
        frame("lease with the longest inline input", &Frame::Lease(longest)),
        most,
    ]
}

/// A lease without its closing empty list of tasks, and the bytes of one task.
pub(crate) fn open_ended(lease: &Frame) -> (Vec<u8>, Vec<u8>) {
    let mut head = lease.encode();
    assert_eq!(head.pop(), Some(0x80), "the tasks come last, and there are none");
    (head, cbor::encode(&cast::leased(&cast::bare(), cast::inline(b"0\n"))))
}

fn refusals() -> Vec<Case> {
    let reasons = [
        Reason::Version,
        Reason::Profile,
        Reason::NotAccepted,
        Reason::Busy,
        Reason::Memory,
        Reason::Blob,
        Reason::Module,
        Reason::Protocol,
        Reason::UnknownFrame,
    ];
    let of_job =
        |reason| matches!(reason, Reason::Version | Reason::Protocol | Reason::UnknownFrame);
    let refusal = |reason| Refuse {
        job: (!of_job(reason)).then_some(cast::JOB),
        reason,
        text: format!("{reason}"),
    };
    reasons
        .iter()
        .map(|reason| frame(&format!("refusal: {reason}"), &Frame::Refuse(refusal(*reason))))
        .collect()
}

fn batches() -> Vec<Case> {
    let key = cast::worker();
    let statuses = [
        ("exit 0", Status::Exited(0)),
        ("exit 4294967295", Status::Exited(u32::MAX)),
        ("trap", Status::Trapped),
        ("out of fuel", Status::OutOfFuel),
        ("output limit", Status::OutputLimit),
        ("wall time", Status::WallTime),
        ("stack", Status::StackOverflow),
        ("memory", Status::MemoryRefused),
        ("host fault", Status::HostFault),
    ];
    let mut cases: Vec<Case> = statuses
        .iter()
        .map(|(name, status)| {
            let one = cast::result(0, *status, Output::Inline(ByteBuf::new()));
            frame(&format!("reveal: {name}"), &reveal(vec![one]))
        })
        .collect();
    let mut logged = cast::opened(1);
    logged.log = ByteBuf::from(&b"warning: rounding\n"[..]);
    let big =
        cast::result(2, Status::Exited(0), Output::Blob { hash: Hash::of(b"big"), len: 1 << 20 });
    let three = vec![cast::opened(0), logged, big];
    let commit = Commit::sign(&key, cast::JOB, cast::SEQUENCE, &three);
    cases.push(frame("commit", &Frame::Commit(commit.clone())));
    cases.push(frame("reveal of three: inline, with a log, by digest", &reveal(three)));
    let full: Vec<Opened> = (0..64).map(cast::opened).collect();
    let largest = Commit::sign(&key, cast::JOB, u64::MAX, &full);
    cases.push(frame("commit to as many as fit", &Frame::Commit(largest)));
    cases.push(frame("reveal of as many as fit", &reveal(full)));
    let ack = Ack::sign(&cast::submitter(), cast::JOB, commit.root, commit.sequence);
    cases.push(frame("acknowledgement", &Frame::Ack(ack)));
    cases.extend(relayed());
    cases
}

/// Results on their way through relays, and what relays say of themselves.
fn relayed() -> Vec<Case> {
    let away = Route { job: cast::JOB, away_ms: Some(1500) };
    let several = Relayed {
        bundles: vec![bundle(0..2), bundle(2..3)],
        trails: vec![cast::trail(1)],
        tasks: Vec::new(),
    };
    let round = Relayed {
        bundles: vec![bundle(0..1)],
        trails: vec![cast::trail(2)],
        tasks: vec![vec![cast::bare().task_id(&Hash::of(b"0\n"))]],
    };
    let hello = Hello { slots: 0, relays: 1, ..hello() };
    vec![
        frame("hello of a peer that only hands work on", &Frame::Hello(hello)),
        frame(
            "credit for a peer and those below it",
            &Frame::Credit(Credit { tasks: 96, below: 12 }),
        ),
        frame("route: there is a way", &Frame::Route(Route { away_ms: None, ..away })),
        frame("route: there is none", &Frame::Route(away)),
        frame(
            "exclude: nothing more of a job for one worker",
            &Frame::Exclude(Exclude { job: cast::JOB, workers: vec![cast::worker().peer_id()] }),
        ),
        frame("relayed: two batches under one lease", &Frame::Relayed(several)),
        frame("relayed by the worker itself, with its tasks", &Frame::Relayed(round)),
    ]
}

pub(crate) fn bundle(places: std::ops::Range<u32>) -> Bundle {
    let opened: Vec<Opened> = places.map(cast::opened).collect();
    let commit = Commit::sign(&cast::worker(), cast::JOB, cast::SEQUENCE, &opened);
    Bundle { worker: cast::worker().peer_id(), commit, opened }
}

fn reveal(opened: Vec<Opened>) -> Frame {
    let commit = Commit::sign(&cast::worker(), cast::JOB, cast::SEQUENCE, &opened);
    Frame::Reveal(Reveal { root: commit.root, opened })
}

/// Frames that are read though no peer of version 1 writes them so.
fn lenient() -> Vec<Case> {
    let case = |name, kind: &'static str, bytes: &[u8]| {
        Case::valid(name).with("kind", kind).with("canonical", false).encoded(bytes)
    };
    // {"credit": {"tasks": 7, "later": …}}, and the unknown entry first.
    let credit = |entries: &[(&str, &[u8])]| {
        let mut bytes = vec![0xa1];
        bytes.extend(cbor::encode(&"credit"));
        bytes.push(0xa0 + u8::try_from(entries.len()).expect("a small map"));
        for (key, value) in entries {
            bytes.extend(cbor::encode(key));
            bytes.extend(*value);
        }
        bytes
    };
    let unknown = [0x82, 0x01, 0xa1, 0x61, 0x78, 0x41, 0x00];
    let mut silent = cast::opened(0);
    silent.micros = 0;
    let mut bytes = reveal(vec![silent]).encode();
    let tail = [0x61, b'u', 0x00];
    assert!(bytes.ends_with(&tail), "the duration comes last");
    bytes.truncate(bytes.len() - tail.len());
    let result = bytes.iter().rposition(|byte| *byte == 0xa4).expect("a map of four entries");
    bytes[result] = 0xa3;
    vec![
        case(
            "an entry of a later version",
            "credit",
            &credit(&[("tasks", &[7]), ("later", &unknown)]),
        ),
        case(
            "an entry of a later version, first",
            "credit",
            &credit(&[("later", &unknown), ("tasks", &[7])]),
        ),
        case("a result without its duration", "reveal", &bytes),
    ]
}

fn adverts() -> Vec<Case> {
    let (key, other) = (cast::worker(), cast::stranger());
    let seal =
        |key: &_, advert: &_| bayan_protocol::overlay::seal(key, advert).expect("a short advert");
    let good = seal(&key, &advert(&key));
    let body = cbor::encode(&advert(&key));
    let valid = |name, bytes: &[u8], body: &[u8]| {
        Case::valid(name)
            .encoded(bytes)
            .bytes("body", body)
            .with("advert", crate::notation::json(body).expect("CBOR"))
    };
    let invalid = |name, error, bytes: &[u8]| Case::invalid(name, error).bytes("bytes", bytes);
    let sealed = |body: &[u8]| {
        let signature = key.sign(bayan_protocol::crypto::Domain::Advert, body);
        cbor::encode(&(ByteBuf::from(body), signature))
    };
    let idle = Advert { slots: 0, free: 0, speed: 0, profiles: Vec::new(), ..advert(&key) };
    let mut bent = good.clone();
    *bent.last_mut().expect("not empty") ^= 1;
    let mut older = good.clone();
    let at = older.windows(2).position(|two| two == [0x61, b's']).expect("the slots' key") + 2;
    older[at] ^= 1;
    let many = Advert { profiles: vec![String::new(); 17], ..advert(&key) };
    let wordy = Advert { profiles: vec!["p".repeat(257)], ..advert(&key) };
    let large = Advert { profiles: vec!["p".repeat(200), "q".repeat(200)], ..advert(&key) };
    let mut unordered = entries();
    unordered.swap(0, 1);
    let mut extended = entries();
    extended.push(("z", vec![0]));
    vec![
        valid("an advert", &good, &body),
        valid("of a peer that lends nothing", &seal(&key, &idle), &cbor::encode(&idle)),
        invalid("a bit of the signature flipped", "signature", &bent),
        invalid("a number changed", "signature", &older),
        invalid("signed by another peer", "signature", &seal(&other, &advert(&key))),
        invalid("entries in another order", "malformed", &sealed(&map(&unordered))),
        invalid("an entry that is not known", "malformed", &sealed(&map(&extended))),
        invalid("a byte after the body", "malformed", &sealed(&[body.clone(), vec![0]].concat())),
        invalid("a byte after the seal", "malformed", &[good.clone(), vec![0]].concat()),
        invalid("cut short", "malformed", &good[..good.len() - 1]),
        invalid("more profiles than may be listed", "malformed", &sealed(&cbor::encode(&many))),
        invalid("a profile's name too long", "malformed", &sealed(&cbor::encode(&wordy))),
        invalid("longer than an advert may be", "malformed", &sealed(&cbor::encode(&large))),
        Case::invalid("the bare body", "malformed").with("bytes", json!(hex::encode(&body))),
    ]
}
