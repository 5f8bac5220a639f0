//! Conformance of packing and the engine with the vectors of specs GUEST and PACK.
//!
//! With `BAYAN_WRITE_VECTORS=1` the modules (`wasm`) are assembled anew from their text (`wat`).
//! Expected results are worked out from the spec. Only after a change of the costs themselves,
//! `BAYAN_WRITE_FUEL=1` puts the measured fuel into the programs whose status and output are as
//! expected; whoever does that checks the figures against the spec.

use std::{fs, path::PathBuf, sync::Arc};

use crate::guests::{attempt, load, with_stack};
use bayan_protocol::{
    id::TaskId,
    task::{Limits, Status},
};
use bayan_sandbox::{Engine, Task, Verdict};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File<V> {
    rule: String,
    about: String,
    vectors: Vec<V>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stream {
    task: TaskId,
    first: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Program {
    name: String,
    about: String,
    wat: Vec<String>,
    wasm: String,
    task: TaskId,
    args: Vec<String>,
    env: Vec<(String, String)>,
    stdin: String,
    data: Vec<(String, String)>,
    memory: u64,
    fuel_limit: u64,
    output_limit: u64,
    status: Status,
    output: String,
    fuel: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    name: String,
    /// The rule that it breaks, where the file is about several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    wat: Vec<String>,
    wasm: String,
    error: String,
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../specs/vectors").join(name)
}

fn read<V: DeserializeOwned>(name: &str) -> File<V> {
    let text = fs::read_to_string(path(name)).expect("vectors are part of the repository");
    let file: File<V> = serde_json::from_str(&text).expect("vectors have the shape above");
    assert!(
        !file.vectors.is_empty()
            && (file.rule.starts_with("GUEST-") || file.rule.starts_with("PACK-"))
            && !file.about.is_empty()
    );
    file
}

/// Reads a file of vectors with modules, after writing the modules if that is asked for.
fn read_modules<V: Serialize + DeserializeOwned>(
    name: &str,
    module: impl Fn(&mut V) -> (&[String], &mut String),
) -> Vec<V> {
    let mut file = read::<V>(name);
    let writing = std::env::var_os("BAYAN_WRITE_VECTORS").is_some();
    for vector in &mut file.vectors {
        let (wat, wasm) = module(vector);
        if wat.is_empty() {
            continue;
        }
        let assembled = hex::encode(wat::parse_str(wat.join("\n")).expect("the text assembles"));
        if writing {
            *wasm = assembled;
        } else {
            assert_eq!(*wasm, assembled, "text and bytes are the same module");
        }
    }
    if writing {
        write(name, &file);
    }
    file.vectors
}

fn write<V: Serialize>(name: &str, file: &File<V>) {
    let text = serde_json::to_string_pretty(file).expect("vectors serialise");
    fs::write(path(name), text + "\n").expect("vectors can be written");
}

fn bytes(text: &str) -> Arc<[u8]> {
    hex::decode(text).expect("bytes are hexadecimal").into()
}

impl Program {
    fn task(&self) -> Task {
        Task {
            id: self.task,
            args: self.args.clone(),
            env: self.env.clone(),
            stdin: bytes(&self.stdin),
            data: self.data.iter().map(|(name, content)| (name.clone(), bytes(content))).collect(),
            limits: Limits {
                memory: self.memory,
                fuel: self.fuel_limit,
                output: self.output_limit,
                wall_ms: 60_000,
            },
        }
    }
}

#[test]
fn programs_give_the_specified_results() {
    programs("guest/programs.json");
}

#[test]
fn packed_programs_give_the_specified_results() {
    programs("packing/programs.json");
}

fn programs(file: &str) {
    let engine = Engine::new().unwrap();
    let mut wrong = Vec::new();
    let mut measured = Vec::new();
    for vector in read_modules(file, |v: &mut Program| (&v.wat, &mut v.wasm)) {
        let packed = match bayan_packing::pack(&bytes(&vector.wasm)) {
            Ok(packed) => packed.wasm,
            Err(refusal) => {
                wrong.push(format!("{}: refused: {refusal}", vector.name));
                measured.push(vector.fuel);
                continue;
            }
        };
        let module = engine.prepare(&packed).unwrap_or_else(|error| panic!("{error}"));
        let verdict = with_stack(|| engine.check_determinism(&module, &vector.task()));
        let Verdict::Same(outcome) = verdict else { panic!("{}: {verdict:?}", vector.name) };
        let expected = (vector.status, vector.output.clone(), vector.fuel);
        let got = (outcome.status, hex::encode(&outcome.output), outcome.fuel);
        if got != expected {
            wrong.push(format!("{}: {got:?} instead of {expected:?}", vector.name));
        }
        let other_fuel = (got.0, &got.1) == (expected.0, &expected.1);
        measured.push(if other_fuel { got.2 } else { expected.2 });
    }
    if std::env::var_os("BAYAN_WRITE_FUEL").is_some() {
        let mut written = read::<Program>(file);
        for (vector, fuel) in written.vectors.iter_mut().zip(measured) {
            vector.fuel = fuel;
        }
        write(file, &written);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn refused_modules_are_refused_for_the_specified_reason() {
    refusals("guest/refused.json");
}

#[test]
fn modules_that_break_a_rule_of_packing_are_refused() {
    refusals("packing/refused.json");
}

fn refusals(file: &str) {
    let mut wrong = Vec::new();
    for vector in read_modules(file, |v: &mut Refused| (&v.wat, &mut v.wasm)) {
        let (name, expected) = (&vector.name, &vector.error);
        match bayan_packing::pack(&bytes(&vector.wasm)) {
            Ok(_) => wrong.push(format!("{name}: not refused")),
            Err(refusal) if refusal.to_string().starts_with(expected) => {}
            Err(refusal) => wrong.push(format!("{name}: {refusal} instead of {expected}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn random_streams_are_the_specified_ones() {
    let engine = Engine::new().unwrap();
    let programs = read::<Program>("guest/programs.json").vectors;
    let program = programs.iter().find(|program| program.name == "random").expect("it is a vector");
    // From the text, because the bytes may be being written by the test above.
    let module = load(&engine, &crate::guests::assemble(&program.wat.join("\n")));
    for vector in read::<Stream>("guest/random_get.json").vectors {
        let task = Task { id: vector.task, ..program.task() };
        assert_eq!(hex::encode(attempt(&engine, &module, &task).output), vector.first);
    }
}
