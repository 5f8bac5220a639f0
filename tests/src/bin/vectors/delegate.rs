//! A job that another peer carries on: its manifest, the frames about it, signed statements, and one
//! result of a statement alone.

use bayan_protocol::{
    cbor,
    crypto::Keypair,
    delegate::{Statement, Terms, Vouched, Voucher},
    id::{Hash, PeerId, TaskId},
    job::{Audience, Inputs, Local, Manifest},
    limits::MAX_MANIFEST,
    result::Output,
    task::{Input, Status},
    verify::{Adaptive, Policy},
    wire::{Entrust, Entrusted, Frame, Reason, Settled, Vouch},
};
use serde_bytes::ByteBuf;

use crate::{
    cast,
    file::{Case, File, repeated},
    frames::frame,
};

pub(crate) fn files() -> Vec<File> {
    vec![
        File::new(
            "delegate/manifests.json",
            "Manifests as they are entrusted, and what is refused of them by the peer `delegate`.",
            &["DELEG-1", "DELEG-3"],
            manifests(),
        ),
        File::new(
            "delegate/statements.json",
            "A `vouch` frame, received by `submitter` from the `delegate` that its job names.",
            &["DELEG-7", "DELEG-8", "WIRE-27"],
            statements(),
        ),
        File::new(
            "delegate/vouchers.json",
            "One result of a statement, with all that it takes to check it alone.",
            &["DELEG-7"],
            vouchers(),
        ),
    ]
}

fn delegate() -> Keypair {
    cast::stranger()
}

fn terms() -> Terms {
    let (submitter, delegate) = (cast::submitter().peer_id(), delegate().peer_id());
    Terms { job: cast::JOB, submitter, delegate }
}

fn task(place: u32) -> TaskId {
    cast::bare().task_id(&Hash::of(format!("{place}\n").as_bytes()))
}

fn vouched(place: u32) -> Vouched {
    let opened = cast::opened(place);
    let (status, fuel) = (opened.leaf.status, opened.leaf.fuel);
    Vouched { task: task(place), status, fuel, output: opened.output }
}

/// A statement about these, as the delegate signs it.
fn vouch(results: Vec<Vouched>, left: u64) -> Vouch {
    let signature = terms().sign(&delegate(), &results).expect("there are results");
    Vouch { job: cast::JOB, signature, results, left }
}

fn several() -> Vec<Vouched> {
    let trapped = Vouched { status: Status::Trapped, ..vouched(1) };
    let output = Output::Blob { hash: Hash::of(b"big"), len: 1 << 20 };
    vec![vouched(0), trapped, Vouched { output, ..vouched(2) }]
}

pub(crate) fn frames() -> Vec<Case> {
    let entrust = Entrust { job: cast::JOB, manifest: Hash::of(b"manifest"), len: 500 };
    let kept = Entrusted { job: cast::JOB, reason: None, upto: 0, left: 0 };
    let refused = Entrusted { reason: Some(Reason::NotAccepted), ..kept };
    let settled = Settled { job: cast::JOB, tasks: vec![task(0), task(1)], upto: 7 };
    let nothing = Settled { tasks: Vec::new(), ..settled.clone() };
    let full = (0..64).map(vouched).collect();
    vec![
        frame("entrust", &Frame::Entrust(entrust)),
        frame(
            "entrust: the longest manifest",
            &Frame::Entrust(Entrust { len: MAX_MANIFEST, ..entrust }),
        ),
        frame("entrusted: kept", &Frame::Entrusted(kept)),
        frame(
            "entrusted: kept, with results to tell",
            &Frame::Entrusted(Entrusted { upto: 7, left: 100, ..kept }),
        ),
        frame("entrusted: refused", &Frame::Entrusted(refused)),
        frame("settled: two tasks", &Frame::Settled(settled)),
        frame("settled: nothing new", &Frame::Settled(nothing)),
        frame("vouch: inline, a trap, by digest", &Frame::Vouch(vouch(several(), 0))),
        frame("vouch: as many as fit", &Frame::Vouch(vouch(full, 1_000_000))),
    ]
}

pub(crate) fn bounds() -> Vec<Case> {
    let refused = |name: &str, field: &str, frame: &Frame| {
        Case::invalid(name, &format!("bounds: {field}")).bytes("bytes", &frame.encode())
    };
    let entrust =
        |len| Frame::Entrust(Entrust { job: cast::JOB, manifest: Hash::of(b"manifest"), len });
    let of = |results| Frame::Vouch(Vouch { results, ..vouch(vec![vouched(0)], 0) });
    let long = Output::Inline(ByteBuf::from(vec![0; (16 << 10) + 1]));
    let huge = Output::Blob { hash: Hash::of(b"huge"), len: (4 << 30) + 1 };
    let settled = Settled { job: cast::JOB, tasks: vec![task(0); 513], upto: 7 };
    let bytes = Frame::Settled(settled).encode();
    let id = cbor::encode(&task(0));
    let first = bytes.windows(id.len()).position(|part| part == id).expect("a task");
    let (head, rest) = bytes.split_at(first);
    let tail = hex::encode(&rest[513 * id.len()..]);
    let mut many = repeated(head, &id, 513);
    many.as_array_mut().expect("parts").push(tail.into());
    vec![
        refused("a manifest of no bytes", "the manifest's length", &entrust(0)),
        refused("a manifest too long", "the manifest's length", &entrust(MAX_MANIFEST + 1)),
        Case::invalid("513 settled tasks", "bounds: tasks").with("bytes", many),
        refused("a statement about nothing", "results", &of(Vec::new())),
        refused("a statement about 65 results", "results", &of((0..65).map(vouched).collect())),
        refused(
            "a statement with an inline output too long",
            "an output",
            &of(vec![Vouched { output: long, ..vouched(0) }]),
        ),
        refused(
            "a statement with an output too large",
            "an output",
            &of(vec![Vouched { output: huge, ..vouched(0) }]),
        ),
    ]
}

fn manifest() -> Manifest {
    Manifest {
        name: "squares".into(),
        program: cast::bare(),
        inputs: Inputs::Range { from: 0, to: 100 },
        policy: Policy::Adaptive(Adaptive::default()),
        local: Local::Always,
        provisional: false,
        audience: Audience::Anyone,
        confidential: false,
        delegate: Some(delegate().peer_id()),
    }
}

fn manifests() -> Vec<Case> {
    let me = delegate().peer_id();
    let with = |case: Case, manifest: &Manifest| {
        case.bytes("bytes", &cbor::encode(manifest)).with("delegate", me.to_string())
    };
    let valid = |name, manifest: &Manifest| {
        let tasks = (0..manifest.inputs.count()).filter_map(|place| manifest.inputs.get(place));
        let ids = tasks.map(|input| manifest.program.task_id(&input.hash()).to_string());
        let first: Vec<String> = ids.take(2).collect();
        with(Case::valid(name), manifest).with("tasks", first)
    };
    let invalid = |name, error, manifest: &Manifest| with(Case::invalid(name, error), manifest);
    let list = vec![
        cast::inline(b"0\n"),
        Input::Blob { hash: Hash::of(b"big"), len: 1 << 20 },
        cast::inline(b"0\n"),
    ];
    let named = |peers: &[PeerId]| Audience::Named(peers.to_vec());
    let full = Manifest {
        program: cast::full(),
        inputs: Inputs::List(list),
        policy: Policy::Vote(3),
        local: Local::Never,
        audience: named(&[me, cast::worker().peer_id()]),
        confidential: true,
        ..manifest()
    };
    let trusted = Manifest {
        policy: Policy::None,
        local: Local::Reserve,
        audience: Audience::Trusted,
        provisional: true,
        ..manifest()
    };
    let spot = Manifest { policy: Policy::Spot { checked: 100_000 }, ..manifest() };
    let credibility =
        Manifest { policy: Policy::Credibility { error: 1000, faulty: 200_000 }, ..manifest() };
    let boinc = Manifest { policy: Policy::Boinc, ..manifest() };
    vec![
        valid("a range, for anyone", &manifest()),
        valid("a list, confidential, for named peers", &full),
        valid("for trusted peers, first results", &trusted),
        valid("with spot-checks", &spot),
        valid("by credibility", &credibility),
        valid("by BOINC's rule", &boinc),
        invalid("of no delegate", "delegate", &Manifest { delegate: None, ..manifest() }),
        invalid(
            "of another delegate",
            "delegate",
            &Manifest { delegate: Some(cast::worker().peer_id()), ..manifest() },
        ),
        invalid(
            "of no tasks",
            "bounds",
            &Manifest { inputs: Inputs::Range { from: 5, to: 5 }, ..manifest() },
        ),
        invalid(
            "of too many tasks",
            "bounds",
            &Manifest { inputs: Inputs::Range { from: 0, to: 1_000_001 }, ..manifest() },
        ),
        invalid(
            "confidential, for trusted peers",
            "bounds",
            &Manifest { audience: Audience::Trusted, confidential: true, ..manifest() },
        ),
        invalid(
            "confidential, for others than the delegate",
            "bounds",
            &Manifest { audience: named(&[cast::worker().peer_id()]), ..full },
        ),
    ]
}

fn statements() -> Vec<Case> {
    let terms = terms();
    let with = |case: Case, vouch: Vouch| {
        case.bytes("vouch", &Frame::Vouch(vouch).encode())
            .with("submitter", terms.submitter.to_string())
            .with("delegate", terms.delegate.to_string())
    };
    let good = |name, results: Vec<Vouched>| with(Case::valid(name), vouch(results, 0));
    let bad = |name, error, vouch| with(Case::invalid(name, error), vouch);
    let signed_as = |terms: Terms, key: &Keypair| {
        let signature = terms.sign(key, &several()).expect("there are results");
        Vouch { signature, ..vouch(several(), 0) }
    };
    let mut richer = vouch(several(), 0);
    richer.results[1].fuel += 1;
    let mut turned = vouch(several(), 0);
    turned.results.swap(0, 1);
    let mut fewer = vouch(several(), 0);
    fewer.results.pop();
    let to = |submitter: PeerId| Terms { submitter, ..terms };
    vec![
        good("one result", vec![vouched(0)]),
        good("three results", several()),
        good("as many as fit", (0..64).map(vouched).collect()),
        bad("signed by another", "signature", signed_as(terms, &cast::worker())),
        bad(
            "to another submitter",
            "signature",
            signed_as(to(cast::worker().peer_id()), &delegate()),
        ),
        bad(
            "about another job",
            "signature",
            signed_as(Terms { job: cast::OTHER_JOB, ..terms }, &delegate()),
        ),
        bad("a result changed", "signature", richer),
        bad("the results in another order", "signature", turned),
        bad("a result left out", "signature", fewer),
        bad("a task twice", "count", vouch(vec![vouched(0), vouched(0)], 0)),
        bad(
            "an attempt that says nothing",
            "inconclusive",
            vouch(vec![Vouched { status: Status::WallTime, ..vouched(0) }], 0),
        ),
    ]
}

fn vouchers() -> Vec<Case> {
    let Vouch { signature, results, .. } = vouch(several(), 0);
    let statement = Statement::check(terms(), results, signature).expect("it is good");
    let good = statement.voucher(1).expect("there are three");
    let case = |case: Case, voucher: &Voucher| case.encoded(&cbor::encode(voucher));
    let mut cases: Vec<Case> = (0..3)
        .map(|at| {
            let voucher = statement.voucher(at).expect("there are three");
            case(Case::valid(&format!("result {at} of three")), &voucher)
        })
        .collect();
    let bad = |name, error, voucher: Voucher| case(Case::invalid(name, error), &voucher);
    let mut other = good.clone();
    other.outcome.fuel += 1;
    let mut short = good.clone();
    short.siblings.pop();
    let moved = Voucher { index: 0, ..good.clone() };
    let many = Voucher { count: 65, ..good.clone() };
    let none = Voucher { count: 0, ..good };
    cases.extend([
        bad("another outcome", "signature", other),
        bad("another place", "signature", moved),
        bad("a sibling missing", "proof", short),
        bad("of 65 results", "count", many),
        bad("of no results", "count", none),
    ]);
    cases
}
