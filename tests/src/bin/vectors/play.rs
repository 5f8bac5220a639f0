//! Scripts of checks and of votes, played through the machines: what is written into the vectors, and
//! what the conformance test finds when it reads them.

use std::{collections::BTreeMap, time::Duration};

use bayan_protocol::{
    id::{Hash, PeerId, TaskId},
    offer::Prefix,
    pool::{TaskIndex, Want},
    result::Outcome,
    standing::{BanReason, Standings},
    task::Status,
    time::Timestamp,
    verify::{About, Config, Effect, Verifier, Vote},
};
use serde_json::{Map, Value, json};

/// The submitter's own slots.
const ME: &str = "me";
const SECOND: u64 = 1_000_000;

/// Whom a name stands for: workers are single letters and come in their order.
fn peer(name: &Value) -> PeerId {
    match name.as_str() {
        Some(ME) => PeerId([0; 32]),
        Some(letter) if letter.len() == 1 => PeerId([letter.as_bytes()[0]; 32]),
        _ => panic!("{name} is no name"),
    }
}

fn name(peer: &PeerId) -> String {
    if peer.0[0] == 0 { ME.into() } else { char::from(peer.0[0]).to_string() }
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// What an observer knows of everyone after these checks.
pub(crate) fn standings(events: &Value) -> Value {
    let (mut standings, mut now) = (Standings::default(), Timestamp(0));
    for event in list(events) {
        now = Timestamp(number(&event["at"]) * SECOND);
        let who = peer(&event["who"]);
        for _ in 0..event["times"].as_u64().unwrap_or(1) {
            match event["what"].as_str() {
                Some("passes") => standings.passed(now, who, event.get("with").map(peer)),
                Some("fails") => drop(standings.failed(now, who)),
                Some("is banned") => {
                    let time = Duration::from_secs(number(&event["seconds"]));
                    standings.ban(now, who, time, BanReason::Operator);
                }
                Some("is trusted") => standings.trust(who),
                other => panic!("{other:?} is nothing that happens"),
            }
        }
    }
    let of = |(peer, standing): (&PeerId, &bayan_protocol::standing::Standing)| {
        let ban = standing.ban.filter(|_| standing.is_banned(now));
        let known = json!({
            "k": standing.k(),
            "established": standing.is_established(),
            "banned_until": ban.map(|ban| ban.until.0 / SECOND),
            // Micro-nats.
            "llr": serde_json::to_value(standing).expect("a standing is JSON")["llr"],
        });
        (name(peer), known)
    };
    Value::Object(standings.iter().map(of).collect::<Map<_, _>>())
}

/// One job's verifier and what it has said that it wants.
struct Play {
    verifier: Verifier,
    standings: Standings,
    now: Timestamp,
    wants: BTreeMap<TaskIndex, Want>,
    caught: Vec<String>,
}

/// What is believed and wanted after each step of a script.
pub(crate) fn votes(script: &Value) -> Vec<Value> {
    let policy = script["policy"].as_str().and_then(|text| text.parse().ok()).expect("a policy");
    let tasks = u32::try_from(number(&script["tasks"])).expect("few tasks");
    let config = Config { policy, tasks, provisional: false, quarantined: None };
    let mut play = Play {
        verifier: Verifier::new(config, peer(&json!(ME)), [7; 32]),
        standings: Standings::default(),
        now: Timestamp(1_000 * SECOND),
        wants: (0..tasks).map(|task| (task, Want::anyone(task, policy.quorum()))).collect(),
        caught: Vec::new(),
    };
    if script["own"] == true {
        let prefix = Prefix::default();
        play.join(peer(&json!(ME)), About { prefix, slots: 2, own: true, reserved: true });
    }
    for member in list(&script["members"]) {
        let who = peer(&member["name"]);
        for _ in 0..number(&member["k"]) {
            play.standings.passed(play.now, who, None);
        }
        let address = member["address"].as_str().and_then(|ip| ip.parse().ok());
        let prefix = Prefix::of(address.expect("an address"));
        play.join(who, About { prefix, slots: 1, own: false, reserved: false });
    }
    list(&script["steps"]).iter().map(|step| play.step(step)).collect()
}

impl Play {
    fn join(&mut self, who: PeerId, about: About) {
        self.verifier.join(self.now, who, about, &mut self.standings);
        self.settle();
    }

    fn step(&mut self, step: &Value) -> Value {
        let mut task = 0;
        if let Some(seconds) = step.get("wait") {
            self.now = Timestamp(self.now.0 + number(seconds) * SECOND);
            self.verifier.tick(self.now, &mut self.standings);
        } else if let Some(who) = step.get("leaves") {
            self.verifier.leave(self.now, &peer(who), &mut self.standings);
        } else {
            task = u32::try_from(number(&step["task"])).expect("few tasks");
            self.vote(step, task);
        }
        self.settle();
        self.verifier.advance(self.now, &mut self.standings);
        self.settle();
        let want = self.wants.get(&task);
        let of = want.and_then(|want| want.among.as_ref());
        json!({
            "state": self.verifier.state(task),
            "basis": self.verifier.acceptance(task).map(|accepted| accepted.basis),
            "wanted": want.map_or(0, |want| want.need),
            "of": of.map(|among| among.iter().map(name).collect::<Vec<_>>()),
            "caught": self.caught,
            "over": self.verifier.is_over(),
        })
    }

    fn vote(&mut self, step: &Value, task: TaskIndex) {
        let says = step["says"].as_str().expect("an outcome's name");
        let output = Hash::of(says.as_bytes());
        let outcome = Outcome { status: Status::Exited(0), output, fuel: 1000 };
        let root = step.get("root").and_then(Value::as_str).unwrap_or("");
        let vote = Vote {
            via: Vec::new(),
            worker: peer(&step["by"]),
            outcome,
            root: Hash::of(root.as_bytes()),
            id: TaskId(Hash::of(format!("task {task}").as_bytes()).0),
        };
        self.verifier.vote(self.now, task, vote, &mut self.standings);
    }

    fn settle(&mut self) {
        for effect in self.verifier.take_effects() {
            match effect {
                Effect::Want(want) if want.need == 0 => drop(self.wants.remove(&want.task)),
                Effect::Want(want) => drop(self.wants.insert(want.task, want)),
                Effect::Caught { worker, .. } => self.caught.push(name(&worker)),
                _ => {}
            }
        }
    }
}
