//! Reading the files of `specs/vectors`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bayan_protocol::{crypto::Signature, id::Hash};
use serde_json::Value;

/// The directory of the specification.
pub(crate) fn specs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../specs")
}

/// One case. A field that is missing or of another kind fails the test.
pub(crate) struct Case {
    path: String,
    fields: Value,
}

/// The cases of a file, in order.
pub(crate) fn read(path: &str) -> Vec<Case> {
    let text = fs::read_to_string(specs().join("vectors").join(path))
        .unwrap_or_else(|e| panic!("{path}: {e}"));
    let mut file: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"));
    let file = file.as_object_mut().unwrap_or_else(|| panic!("{path} is no object"));
    let keys: Vec<&String> = file.keys().collect();
    assert_eq!(keys.len(), 3, "{path} has fields other than what, rules, cases: {keys:?}");
    assert!(file["what"].as_str().is_some_and(|what| !what.is_empty()), "{path} says what it is");
    let Some(Value::Array(cases)) = file.get_mut("cases").map(Value::take) else {
        panic!("{path} has no cases")
    };
    assert!(!cases.is_empty(), "{path} has no cases");
    cases.into_iter().map(|fields| Case { path: path.to_owned(), fields }).collect()
}

/// Every file, relative to the directory of the vectors.
pub(crate) fn all_files() -> Vec<String> {
    let root = specs().join("vectors");
    let mut found = Vec::new();
    let mut left = vec![root.clone()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).expect("the vectors are part of the repository") {
            let path = entry.expect("a readable directory").path();
            if path.is_dir() {
                left.push(path);
            } else {
                let relative = path.strip_prefix(&root).expect("it is below the root");
                found.push(relative.to_str().expect("plain names").replace('\\', "/"));
            }
        }
    }
    found
}

impl Case {
    pub(crate) fn name(&self) -> &str {
        self.text("name")
    }

    /// The error that the case must end in; none if it is valid.
    pub(crate) fn error(&self) -> Option<&str> {
        let valid = self.field("valid").as_bool().expect("valid is true or false");
        assert_eq!(
            valid,
            !self.has("error"),
            "{}: {}: an error, and only of invalid cases",
            self.path,
            self.name()
        );
        self.has("error").then(|| self.text("error"))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.get(name).is_some()
    }

    pub(crate) fn field(&self, name: &str) -> &Value {
        self.fields
            .get(name)
            .unwrap_or_else(|| panic!("{}: {} has no {name}", self.path, self.fields["name"]))
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.field(name).as_str().unwrap_or_else(|| panic!("{}: {name} is no text", self.path))
    }

    pub(crate) fn number(&self, name: &str) -> usize {
        let number = self
            .field(name)
            .as_u64()
            .unwrap_or_else(|| panic!("{}: {name} is no number", self.path));
        usize::try_from(number).expect("a small number")
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.field(name)
            .as_bool()
            .unwrap_or_else(|| panic!("{}: {name} is not true or false", self.path))
    }

    /// Bytes, with folded runs unfolded.
    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        unfold(self.field(name))
    }

    pub(crate) fn hash(&self, name: &str) -> Hash {
        hash(self.field(name))
    }

    pub(crate) fn signature(&self, name: &str) -> Signature {
        Signature(self.bytes(name).try_into().expect("64 bytes"))
    }
}

/// A digest given as text.
pub(crate) fn hash(value: &Value) -> Hash {
    value.as_str().expect("a digest is text").parse().expect("64 digits")
}

/// Digests given as a list.
pub(crate) fn hashes(value: &Value) -> Vec<Hash> {
    value.as_array().expect("a list of digests").iter().map(hash).collect()
}

fn unfold(value: &Value) -> Vec<u8> {
    match value {
        Value::String(digits) => hex::decode(digits).expect("bytes are hexadecimal digits"),
        Value::Array(parts) => parts.iter().flat_map(unfold).collect(),
        Value::Object(run) => {
            let times = run["times"].as_u64().expect("a count");
            unfold(&run["repeat"]).repeat(usize::try_from(times).expect("a small count"))
        }
        _ => panic!("bytes are digits, runs, or a list of both"),
    }
}
