//! How a submitter judges (spec VERIFY).

use bayan_protocol::{
    id::TaskId,
    offer::Prefix,
    standing::Share,
    verify::{MILLION, Policy, draw},
};
use serde_json::{Value, json};

use crate::{play, vector::Case};

/// Context of the key derivation for draws, as the specification has it.
const CONTEXT: &str = "bayan 2026-11-25 verify draw v1";

fn share(value: &Value) -> Share {
    serde_json::from_value(value.clone()).expect("a share is a number")
}

pub(crate) fn drawn(case: &Case) -> Option<String> {
    let (name, secret) = (case.name(), case.bytes("secret"));
    let (root, task) = (case.hash("root"), case.hash("task"));
    let expected = case.field("draw").as_u64().expect("a number");
    // As the rule says it, and as the machine does it.
    let mut hasher = blake3::Hasher::new_keyed(&blake3::derive_key(CONTEXT, &secret));
    let hash = hasher.update(&root.0).update(&task.0).finalize();
    let first = hash.as_bytes()[..8].try_into().expect("eight bytes");
    assert_eq!(u64::from_le_bytes(first), expected, "{name}");
    let secret = secret.try_into().expect("32 bytes");
    assert_eq!(draw(&secret, &root, &TaskId(task.0)), expected, "{name}");
    for one in case.field("shares").as_array().expect("a list") {
        let of = |at: usize| one["of"][at].as_u64().expect("a number");
        assert_eq!(share(&one["share"]), Share::of(of(0), of(1)), "{name}: {one}");
        assert_eq!(json!(share(&one["share"]).is_drawn(expected)), one["drawn"], "{name}: {one}");
    }
    None
}

pub(crate) fn rate(case: &Case) -> Option<String> {
    let policy: Policy = serde_json::from_value(case.field("policy").clone()).expect("a policy");
    let k = u32::try_from(case.number("k")).expect("32 bits");
    let found = match policy {
        Policy::Adaptive(adaptive) => adaptive.rate(k),
        Policy::Spot { checked } => Share::of(checked.into(), MILLION.into()),
        other => panic!("{other}: no share"),
    };
    assert_eq!(found, share(case.field("share")), "{}", case.name());
    None
}

pub(crate) fn policy(case: &Case) -> Option<String> {
    let Ok(policy) = case.text("text").parse::<Policy>() else { return Some("no policy".into()) };
    if case.error().is_none() {
        assert_eq!(&json!(policy), case.field("policy"), "{}", case.name());
        assert_eq!(policy.to_string().parse::<Policy>(), Ok(policy), "it is read as it is written");
    }
    None
}

pub(crate) fn network(case: &Case) -> Option<String> {
    let of = |field| Prefix::of(case.text(field).parse().expect("an address"));
    assert_eq!(of("one") == of("other"), case.flag("same"), "{}", case.name());
    None
}

pub(crate) fn standings(case: &Case) -> Option<String> {
    assert_eq!(&play::standings(case.field("events")), case.field("then"), "{}", case.name());
    None
}

pub(crate) fn script(case: &Case) -> Option<String> {
    let fields = ["policy", "tasks", "own", "members", "steps"];
    let script: Value =
        fields.iter().map(|name| ((*name).to_owned(), case.field(name).clone())).collect();
    let found = play::votes(&script);
    let expected = case.field("after").as_array().expect("a list");
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found, expected, "{}: after step {place}", case.name());
    }
    assert_eq!(found.len(), expected.len(), "{}", case.name());
    None
}
