//! Rules that are cited, and rules that exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::vector::{all_files, specs};

/// Where code is that may cite rules, from the repository's root.
const ROOMS: [&str; 5] = ["protocol", "node", "apps", "simulations", "tests"];

/// Every rule cited by code or vectors stands in the prose, once.
pub(crate) fn check() {
    let rules = rules();
    let families: BTreeSet<&str> =
        rules.keys().filter_map(|rule| rule.split_once('-')).map(|(name, _)| name).collect();
    for family in ["ID", "WIRE", "WORK", "RELAY", "RES", "EVID", "VERIFY"] {
        assert!(families.contains(family), "no rule of family {family} in specs");
    }
    let mut missing = Vec::new();
    let mut cited = 0;
    for room in ROOMS {
        for (path, text) in sources(&specs().join("..").join(room)) {
            for rule in citations(&text, &families) {
                cited += 1;
                if !rules.contains_key(&rule) {
                    missing.push(format!("{} cites {rule}", path.display()));
                }
            }
        }
    }
    assert!(cited > 10, "citations are looked for in the wrong place");
    for path in all_files() {
        for rule in cited_by_vectors(&path) {
            if !rules.contains_key(&rule) {
                missing.push(format!("specs/vectors/{path} cites {rule}"));
            }
        }
    }
    assert!(missing.is_empty(), "rules that no file of specs has:\n{}", missing.join("\n"));
}

/// The rules of all prose files, and where each stands. A rule begins a line with its name in bold.
fn rules() -> BTreeMap<String, PathBuf> {
    let mut rules = BTreeMap::new();
    for entry in fs::read_dir(specs()).expect("the specification is part of the repository") {
        let path = entry.expect("a readable directory").path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("prose is text");
        for line in text.lines() {
            let Some(name) = line.trim_start_matches(['-', '#', ' ']).strip_prefix("**") else {
                continue;
            };
            let end = name.find(|char: char| {
                !(char.is_ascii_uppercase() || char.is_ascii_digit() || char == '-')
            });
            let name = &name[..end.unwrap_or(name.len())];
            if is_rule(name)
                && let Some(other) = rules.insert(name.to_owned(), path.clone())
            {
                panic!("{name} stands twice: in {} and in {}", path.display(), other.display());
            }
        }
    }
    rules
}

/// Whether `name` is capitals, a hyphen and a number.
fn is_rule(name: &str) -> bool {
    name.split_once('-').is_some_and(|(family, number)| {
        family.len() >= 2
            && family.bytes().all(|byte| byte.is_ascii_uppercase())
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Names of rules in a source: those after the word "spec", and all of families that exist.
fn citations(text: &str, families: &BTreeSet<&str>) -> Vec<String> {
    let is_part = |char: char| char.is_ascii_alphanumeric() || char == '-' || char == '_';
    let mut found = Vec::new();
    let mut before = "";
    for word in text.split(|char: char| !is_part(char)).filter(|word| !word.is_empty()) {
        let name = word.trim_end_matches('-');
        if is_rule(name) {
            let family = name.split_once('-').map_or("", |(family, _)| family);
            if before == "spec" || before == "specs" || families.contains(family) {
                found.push(name.to_owned());
            }
        }
        before = word;
    }
    found
}

fn cited_by_vectors(path: &str) -> Vec<String> {
    let text = fs::read_to_string(specs().join("vectors").join(path)).expect("a readable file");
    let file: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"));
    let text = |rule: &Value| rule.as_str().expect("a rule's name").to_owned();
    let mut rules: Vec<String> = file["rules"].as_array().into_iter().flatten().map(text).collect();
    rules.extend(file.get("rule").map(text));
    assert!(!rules.is_empty(), "specs/vectors/{path} cites no rule");
    rules
}

/// The program texts below `root`, without what was built.
pub(crate) fn sources(root: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut left = vec![root.to_path_buf()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten() {
            let path = entry.expect("a readable directory").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    left.push(path);
                }
            } else if path
                .extension()
                .is_some_and(|kind| kind == "rs" || kind == "c" || kind == "toml")
                && let Ok(text) = fs::read_to_string(&path)
            {
                found.push((path, text));
            }
        }
    }
    found
}

#[test]
fn citations_are_found_in_running_text() {
    let families = BTreeSet::from(["WIRE"]);
    let text =
        "see (spec NEW\x2d3), spec ID-1 to ID-2, WIRE-12; but neither UTF-8 nor SHA-256 nor WIRE-x";
    assert_eq!(citations(text, &families), ["NEW-3", "ID-1", "WIRE-12"]);
}
