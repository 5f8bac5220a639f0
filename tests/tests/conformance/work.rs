//! Programs and task ids (spec WORK-2 and WORK-3).

use std::collections::BTreeMap;

use bayan_protocol::{
    id::{Hash, TaskId},
    task::{Input, Program},
    wire::WireError,
};
use serde_bytes::ByteBuf;
use serde_json::{Value, json};

use crate::{
    notation,
    vector::{Case, hash},
};

/// Context of the task id's key derivation, as the specification has it.
const CONTEXT: &str = "bayan 2026-11-21 task id v1";

fn parse(case: &Case) -> Program {
    serde_json::from_value(case.field("program").clone())
        .unwrap_or_else(|e| panic!("{}: {e}", case.name()))
}

pub(crate) fn program(case: &Case) -> Option<String> {
    match parse(case).check_bounds() {
        Ok(()) => None,
        Err(WireError::Bounds(field)) => Some(format!("bounds: {field}")),
        Err(other) => Some(other.to_string()),
    }
}

fn input(case: &Case) -> Input {
    let value = case.field("input");
    match value.get("inline") {
        Some(digits) => {
            let bytes = hex::decode(digits.as_str().expect("digits")).expect("digits");
            Input::Inline(ByteBuf::from(bytes))
        }
        None => {
            let blob = &value["blob"];
            Input::Blob { hash: hash(&blob["hash"]), len: blob["len"].as_u64().expect("a length") }
        }
    }
}

pub(crate) fn task_id(case: &Case) -> Option<String> {
    let (program, stdin) = (parse(case), input(case).hash());
    assert_eq!(stdin, case.hash("stdin"), "{}", case.name());
    let id = program.task_id(&stdin);
    assert_eq!(id, TaskId(case.hash("task").0), "{}", case.name());
    let preimage = case.bytes("preimage");
    assert_eq!(blake3::derive_key(CONTEXT, &preimage), id.0, "{}", case.name());
    assert_eq!(
        notation::json(&preimage),
        Ok(array(case.field("program"), &stdin)),
        "{}",
        case.name()
    );
    None
}

/// The array of spec WORK-3, put together from the vector alone.
fn array(program: &Value, stdin: &Hash) -> Value {
    let bytes = |digits: &Value| json!(format!("h'{}'", digits.as_str().expect("digits")));
    let files = program["data"].as_array().expect("a list");
    let data: Vec<Value> =
        files.iter().map(|file| json!([file["name"], bytes(&file["hash"])])).collect();
    let limits = &program["limits"];
    json!([
        1,
        bytes(&program["module"]),
        program["args"],
        program["env"],
        format!("h'{stdin}'"),
        data,
        [limits["memory"], limits["fuel"], limits["output"]],
        program["profile"],
        bytes(&program["salt"]),
    ])
}

/// Cases that say "the same id" share one with the first or the full program; no two others do.
pub(crate) fn check_distinct(cases: &[Case]) {
    let mut known: BTreeMap<Hash, &str> = BTreeMap::new();
    for case in cases {
        let earlier = known.insert(case.hash("task"), case.name());
        assert_eq!(
            earlier.is_some(),
            case.name().ends_with("the same id"),
            "{} and {earlier:?}",
            case.name()
        );
    }
}
