//! How a submitter judges: draws, rates, policies, networks, standings, and votes under each policy.

use bayan_protocol::{
    id::{Hash, TaskId},
    offer::Prefix,
    standing::Share,
    verify::{Adaptive, MILLION, Policy, draw},
};
use serde_json::{Value, json};

use crate::{
    file::{Case, File},
    play,
};

pub(crate) fn files() -> Vec<File> {
    vec![
        File::new(
            "verify/draws.json",
            "The number that decides whether a result is checked, and what shares it falls into.",
            &["VERIFY-10"],
            draws(),
        ),
        File::new(
            "verify/rates.json",
            "The share of a worker's results that is checked, by the checks it has passed.",
            &["VERIFY-10", "VERIFY-11", "VERIFY-32"],
            rates(),
        ),
        File::new(
            "verify/policies.json",
            "Texts that are policies, and texts that are none.",
            &["VERIFY-1"],
            policies(),
        ),
        File::new(
            "verify/networks.json",
            "Addresses of one network and of two.",
            &["VERIFY-12"],
            networks(),
        ),
        File::new(
            "verify/standings.json",
            "Checks that workers pass and fail, and what is known of them then.",
            &["VERIFY-4", "VERIFY-5", "VERIFY-6"],
            standings(),
        ),
        File::new(
            "verify/scripts.json",
            "Votes in a job, and after each what is believed of its task and of whom more is wanted.",
            &["VERIFY-2", "VERIFY-3", "VERIFY-12", "VERIFY-14", "VERIFY-16", "VERIFY-17"],
            scripts(),
        ),
    ]
}

fn number(share: Share) -> Value {
    serde_json::to_value(share).expect("a share is a number")
}

fn draws() -> Vec<Case> {
    let case = |(name, secret, root, task): (&str, u8, u8, u8)| {
        let (secret, root, task) = ([secret; 32], Hash([root; 32]), TaskId([task; 32]));
        let drawn = draw(&secret, &root, &task);
        // Just above the draw, at it, and shares that policies have.
        let upper = drawn >> 32;
        let shares = [(upper + 1, 1 << 32), (upper, 1 << 32), (1, 10), (1, 2), (1, 1), (0, 1)];
        let of = |(numer, denom): (u64, u64)| {
            let share = Share::of(numer, denom);
            json!({ "of": [numer, denom], "share": number(share), "drawn": share.is_drawn(drawn) })
        };
        Case::valid(name)
            .bytes("secret", &secret)
            .with("root", root.to_string())
            .with("task", task.to_string())
            .with("draw", drawn)
            .with("shares", shares.map(of).to_vec())
    };
    [
        ("a result", 1, 2, 3),
        ("the same in another job", 9, 2, 3),
        ("the same in another batch", 1, 9, 3),
        ("another result of that batch", 1, 2, 9),
        ("zeros", 0, 0, 0),
    ]
    .map(case)
    .to_vec()
}

fn rates() -> Vec<Case> {
    let case = |policy: Policy, k: u32| {
        let share = match policy {
            Policy::Adaptive(adaptive) => adaptive.rate(k),
            Policy::Spot { checked } => Share::of(checked.into(), MILLION.into()),
            _ => Share::ZERO,
        };
        Case::valid(&format!("{}, k = {k}", json!(policy)))
            .with("policy", json!(policy))
            .with("k", k)
            .with("share", number(share))
    };
    let usual = Adaptive::default();
    let lenient = Policy::Adaptive(Adaptive { first: 300_000, ..usual });
    let strict = Policy::Adaptive(Adaptive { floor: MILLION, ..usual });
    let quick = Policy::Adaptive(Adaptive { k: 158, floor: 50_000, ..usual });
    let mut cases = Vec::new();
    for k in [0, 1, 499, 500, 501, 750, 1000, 1001, 4999, 5000, 5001, 1_000_000, u32::MAX] {
        cases.push(case(Policy::Adaptive(usual), k));
    }
    for k in [0, 499, 1666, 1667, 5000] {
        cases.push(case(lenient, k));
    }
    cases.extend([0, 500, 100_000].map(|k| case(strict, k)));
    cases.extend([157, 158, 159, 3160, 3161].map(|k| case(quick, k)));
    cases.extend([0, 5000].map(|k| case(Policy::Spot { checked: 100_000 }, k)));
    cases.push(case(Policy::Spot { checked: 1 }, 0));
    cases.push(case(Policy::Spot { checked: MILLION }, 0));
    cases
}

fn policies() -> Vec<Case> {
    let valid = |text: &&str| {
        let policy: Policy = text.parse().unwrap_or_else(|error| panic!("{error}"));
        Case::valid(text).with("text", *text).with("policy", json!(policy))
    };
    let good = [
        "none",
        "vote:2",
        "vote:15",
        "spot:0.1",
        "spot:0.000001",
        "spot:1",
        "spot:1.0",
        "credibility:0.001",
        "credibility:0.999999",
        "boinc",
        "adaptive",
    ];
    let bad = [
        "",
        "None",
        " none",
        "none ",
        "none:",
        "none:1",
        "vote",
        "vote:",
        "vote:0",
        "vote:1x",
        "vote:16",
        "vote:+2",
        "vote:-2",
        "vote:2.0",
        "vote:4294967298",
        "spot",
        "spot:",
        "spot:0",
        "spot:0.0000001",
        "spot:1.1",
        "spot:-0.1",
        "spot:+0.1",
        "spot:1e-1",
        "spot:nan",
        "spot:inf",
        "spot:10%",
        "spot:0,1",
        "credibility",
        "credibility:0",
        "credibility:1",
        "credibility:0.1:0.2",
        "boinc:",
        "boinc:10",
        "adaptive:",
        "adaptive:500",
        "trust",
    ];
    let invalid =
        |text: &&str| Case::invalid(&format!("'{text}'"), "no policy").with("text", *text);
    good.iter().map(valid).chain(bad.iter().map(invalid)).collect()
}

fn networks() -> Vec<Case> {
    let case = |(one, other): (&str, &str)| {
        let of = |text: &str| Prefix::of(text.parse().expect("an address"));
        Case::valid(&format!("{one} and {other}"))
            .with("one", one)
            .with("other", other)
            .with("same", of(one) == of(other))
    };
    [
        ("192.0.2.1", "192.0.2.255"),
        ("192.0.2.1", "192.0.3.1"),
        ("192.0.2.1", "::ffff:192.0.2.9"),
        ("192.0.2.1", "::ffff:192.0.3.9"),
        ("2001:db8:1::1", "2001:db8:1:ffff::1"),
        ("2001:db8:1::1", "2001:db8:2::1"),
        ("2001:db8::1", "2001:db8:0:1::1"),
        ("4.32.1.13", "420:10d::1"),
        ("0.0.0.0", "::"),
        ("127.0.0.1", "::1"),
    ]
    .map(case)
    .to_vec()
}

fn standings() -> Vec<Case> {
    let case = |name: &str, events: Value| {
        let then = play::standings(&events);
        Case::valid(name).with("events", events).with("then", then)
    };
    let day = 24 * 3600;
    vec![
        case("a newcomer", json!([{ "at": 0, "what": "passes", "who": "a" }])),
        case("nearly established", json!([{ "at": 0, "what": "passes", "who": "a", "times": 99 }])),
        case("established", json!([{ "at": 0, "what": "passes", "who": "a", "times": 100 }])),
        case(
            "a failure starts over",
            json!([
                { "at": 0, "what": "passes", "who": "a", "times": 200 },
                { "at": 1, "what": "fails", "who": "a" },
                { "at": 2, "what": "passes", "who": "a", "times": 3 },
            ]),
        ),
        case(
            "a partner that is caught takes its agreements along",
            json!([
                { "at": 0, "what": "passes", "who": "a", "times": 5 },
                { "at": 1, "what": "passes", "who": "a", "with": "b", "times": 4 },
                { "at": 1, "what": "passes", "who": "b", "with": "a", "times": 4 },
                { "at": 1, "what": "passes", "who": "a", "with": "c" },
                { "at": 2, "what": "fails", "who": "b" },
            ]),
        ),
        case(
            "three failures at once",
            json!([{ "at": 0, "what": "fails", "who": "a", "times": 3 }]),
        ),
        case(
            "four failures at once",
            json!([{ "at": 10, "what": "fails", "who": "a", "times": 4 }]),
        ),
        case(
            "four failures after a long record",
            json!([
                { "at": 0, "what": "passes", "who": "a", "times": 1000 },
                { "at": 1, "what": "fails", "who": "a", "times": 4 },
            ]),
        ),
        case(
            "five failures after a long record",
            json!([
                { "at": 0, "what": "passes", "who": "a", "times": 1000 },
                { "at": 1, "what": "fails", "who": "a", "times": 5 },
            ]),
        ),
        case(
            "one failure in twenty results",
            json!([
                { "at": 0, "what": "fails", "who": "a" },
                { "at": 1, "what": "passes", "who": "a", "times": 19 },
                { "at": 2, "what": "fails", "who": "a" },
                { "at": 3, "what": "passes", "who": "a", "times": 19 },
            ]),
        ),
        case(
            "what happens during a ban changes nothing",
            json!([
                { "at": 0, "what": "passes", "who": "a", "times": 50 },
                { "at": 1, "what": "is banned", "who": "a", "seconds": 10 * day },
                { "at": 2, "what": "passes", "who": "a", "times": 5 },
                { "at": 3, "what": "fails", "who": "a", "times": 9 },
            ]),
        ),
        case(
            "a ban is not shortened by another",
            json!([
                { "at": 0, "what": "is banned", "who": "a", "seconds": 10 * day },
                { "at": 1, "what": "is banned", "who": "a", "seconds": day },
            ]),
        ),
        case(
            "a ban takes agreements along",
            json!([
                { "at": 0, "what": "passes", "who": "b", "with": "a", "times": 7 },
                { "at": 1, "what": "is banned", "who": "a", "seconds": day },
            ]),
        ),
        case(
            "after a ban a stranger",
            json!([
                { "at": 0, "what": "passes", "who": "a", "times": 600 },
                { "at": 1, "what": "is banned", "who": "a", "seconds": 10 },
                { "at": 11, "what": "passes", "who": "a" },
            ]),
        ),
        case(
            "the operator's word",
            json!([
                { "at": 0, "what": "is trusted", "who": "a" },
                { "at": 1, "what": "passes", "who": "a", "times": 3 },
                { "at": 2, "what": "is trusted", "who": "b" },
                { "at": 2, "what": "is banned", "who": "b", "seconds": day },
            ]),
        ),
    ]
}

/// Members of these names, each in a network of its own, with so many checks passed.
fn members(of: &[(&str, u32)]) -> Value {
    let member = |(place, (name, k)): (usize, &(&str, u32))| json!({ "name": name, "address": format!("10.0.{place}.1"), "k": k });
    of.iter().enumerate().map(member).collect()
}

fn vote(by: &str, task: u32, says: &str) -> Value {
    json!({ "by": by, "task": task, "says": says })
}

fn script(name: &str, policy: &str, tasks: u32, own: bool, members: Value, steps: Value) -> Case {
    let script = json!({
        "policy": policy, "tasks": tasks, "own": own, "members": members, "steps": steps,
    });
    let after = play::votes(&script);
    Case::valid(name)
        .with("policy", policy)
        .with("tasks", tasks)
        .with("own", own)
        .with("members", script["members"].clone())
        .with("steps", script["steps"].clone())
        .with("after", after)
}

fn scripts() -> Vec<Case> {
    let three = || members(&[("a", 0), ("b", 0), ("c", 0)]);
    let known = || members(&[("a", 0), ("b", 200), ("c", 200), ("d", 200), ("e", 0)]);
    let (right, wrong) = ("right", "wrong");
    vec![
        script("anyone's word", "none", 1, false, three(), json!([vote("a", 0, right)])),
        script(
            "two of three",
            "vote:2",
            1,
            false,
            three(),
            json!([vote("a", 0, right), vote("b", 0, wrong), vote("c", 0, right)]),
        ),
        script(
            "one vote each",
            "vote:2",
            1,
            false,
            three(),
            json!([vote("a", 0, right), vote("a", 0, right), vote("b", 0, right)]),
        ),
        script(
            "own slots settle a vote",
            "vote:3",
            1,
            true,
            three(),
            json!([vote("a", 0, wrong), vote("b", 0, wrong), vote("me", 0, right)]),
        ),
        script(
            "strangers check each other",
            "adaptive",
            2,
            false,
            three(),
            json!([
                vote("a", 0, right),
                vote("b", 0, right),
                vote("b", 1, right),
                vote("c", 1, right),
            ]),
        ),
        script(
            "established workers check a stranger",
            "adaptive",
            1,
            true,
            known(),
            json!([vote("a", 0, right), vote("c", 0, right)]),
        ),
        script(
            "own slots where nobody is established",
            "adaptive",
            8,
            true,
            three(),
            json!([
                vote("a", 0, right),
                vote("me", 0, right),
                vote("a", 1, right),
                vote("me", 1, right),
                vote("a", 2, right),
            ]),
        ),
        script(
            "own slots settle a dispute and a liar is caught",
            "adaptive",
            2,
            true,
            three(),
            json!([vote("a", 0, wrong), vote("b", 0, right), vote("me", 0, right)]),
        ),
        script(
            "witnesses are asked before somebody is caught",
            "adaptive",
            2,
            true,
            known(),
            json!([
                vote("a", 0, wrong),
                vote("me", 0, right),
                vote("b", 0, right),
                vote("c", 0, right),
                vote("d", 0, right),
            ]),
        ),
        script(
            "witnesses that give what the accused gave",
            "adaptive",
            2,
            true,
            known(),
            json!([
                vote("a", 0, wrong),
                vote("me", 0, right),
                vote("b", 0, wrong),
                vote("c", 0, wrong),
                vote("d", 0, wrong),
            ]),
        ),
        script(
            "two referees where there are no own slots",
            "adaptive",
            1,
            false,
            known(),
            json!([
                vote("a", 0, wrong),
                vote("b", 0, right),
                vote("c", 0, right),
                vote("d", 0, right),
            ]),
        ),
        script(
            "nobody is left to referee",
            "adaptive",
            2,
            false,
            three(),
            json!([
                vote("a", 0, right),
                vote("b", 0, right),
                vote("c", 0, wrong),
                json!({ "wait": 31 }),
            ]),
        ),
        script(
            "who leaves is not waited for",
            "adaptive",
            1,
            false,
            members(&[("a", 0), ("b", 200), ("c", 0)]),
            json!([vote("a", 0, right), json!({ "leaves": "b" }), vote("c", 0, right)]),
        ),
        script(
            "who is silent is joined by others",
            "adaptive",
            1,
            false,
            members(&[("a", 0), ("b", 200), ("c", 0)]),
            json!([vote("a", 0, right), json!({ "wait": 31 })]),
        ),
        script(
            "a liar's other results are computed anew",
            "adaptive",
            3,
            true,
            members(&[("a", 20_000), ("b", 0)]),
            json!([
                vote("a", 0, right),
                vote("a", 1, right),
                vote("me", 2, right),
                vote("a", 2, wrong),
            ]),
        ),
        script(
            "one that signed with a liar is checked itself",
            "adaptive",
            4,
            true,
            members(&[("a", 0), ("b", 0), ("c", 0)]),
            json!([
                vote("a", 0, wrong),
                vote("b", 0, wrong),
                vote("me", 1, right),
                vote("a", 1, wrong),
                vote("me", 0, right),
            ]),
        ),
        script(
            "spot-checks are the submitter's",
            "spot:1",
            2,
            true,
            three(),
            json!([
                vote("a", 0, right),
                vote("me", 0, right),
                vote("b", 1, wrong),
                vote("me", 1, right),
            ]),
        ),
        script(
            "valid results in a row",
            "boinc",
            2,
            false,
            three(),
            json!([
                vote("a", 0, right),
                vote("b", 0, right),
                vote("a", 1, right),
                vote("b", 1, wrong),
                vote("c", 1, right),
            ]),
        ),
    ]
}
