//! The files themselves: cases in order, long runs of bytes folded.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::notation;

/// A run of one byte from this length on is folded.
const FOLD: usize = 64;
/// The value of longer bytes is not spelled out.
const SPELLED: usize = 4096;

/// One case: named fields in the order they are to be read in.
#[derive(Clone)]
pub(crate) struct Case(Vec<(&'static str, Value)>);

impl Case {
    pub(crate) fn valid(name: &str) -> Self {
        Self(vec![("name", json!(name)), ("valid", json!(true))])
    }

    pub(crate) fn invalid(name: &str, error: &str) -> Self {
        Self(vec![("name", json!(name)), ("valid", json!(false)), ("error", json!(error))])
    }

    pub(crate) fn with(mut self, field: &'static str, value: impl Into<Value>) -> Self {
        self.0.push((field, value.into()));
        self
    }

    /// Adds bytes as hexadecimal digits, long runs folded.
    pub(crate) fn bytes(self, field: &'static str, bytes: &[u8]) -> Self {
        self.with(field, folded(bytes))
    }

    /// Adds bytes and, if they are not many, the value that they encode.
    pub(crate) fn encoded(self, bytes: &[u8]) -> Self {
        let case = self.bytes("bytes", bytes);
        match notation::json(bytes) {
            Ok(value) if bytes.len() <= SPELLED => case.with("value", value),
            _ => case,
        }
    }
}

/// A file of cases.
pub(crate) struct File {
    pub(crate) path: &'static str,
    what: &'static str,
    rules: Vec<&'static str>,
    cases: Vec<Case>,
}

impl File {
    pub(crate) fn new(
        path: &'static str,
        what: &'static str,
        rules: &[&'static str],
        cases: Vec<Case>,
    ) -> Self {
        Self { path, what, rules: rules.to_vec(), cases }
    }

    pub(crate) fn cases(&self) -> usize {
        self.cases.len()
    }

    pub(crate) fn write(&self) -> anyhow::Result<()> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../specs/vectors").join(self.path);
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let cases: Vec<String> = self.cases.iter().map(render).collect();
        let text = format!(
            "{{\n  \"what\": {},\n  \"rules\": {},\n  \"cases\": [\n{}\n  ]\n}}\n",
            json!(self.what),
            json!(self.rules),
            cases.join(",\n")
        );
        Ok(fs::write(path, text)?)
    }
}

fn render(case: &Case) -> String {
    let fields: Vec<String> =
        case.0.iter().map(|(name, value)| format!("      {}: {value}", json!(name))).collect();
    format!("    {{\n{}\n    }}", fields.join(",\n"))
}

/// Bytes as one string of digits, or as a list of such strings and `{"repeat", "times"}`.
fn folded(bytes: &[u8]) -> Value {
    let mut parts = Vec::new();
    let mut plain = Vec::new();
    for run in bytes.chunk_by(|one, next| one == next) {
        if run.len() < FOLD {
            plain.extend_from_slice(run);
            continue;
        }
        if !plain.is_empty() {
            parts.push(json!(hex::encode(&plain)));
            plain.clear();
        }
        parts.push(json!({ "repeat": hex::encode(&run[..1]), "times": run.len() }));
    }
    if parts.is_empty() {
        return json!(hex::encode(bytes));
    }
    if !plain.is_empty() {
        parts.push(json!(hex::encode(&plain)));
    }
    Value::Array(parts)
}

/// `head`, then `part` so many times.
pub(crate) fn repeated(head: &[u8], part: &[u8], times: usize) -> Value {
    json!([hex::encode(head), { "repeat": hex::encode(part), "times": times }])
}
