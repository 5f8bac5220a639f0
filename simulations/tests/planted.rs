//! Chaos finds bugs: planted in a copy of `protocol`, each must fail one of the 64 fixed seeds.
//!
//! The copy has all of them behind a switch that its environment sets, so that it is built once; the sources
//! themselves have none (`specs/decisions/0014-worlds.md`).

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// One line of a source, and what stands in its place.
struct Plant {
    /// What sets it off.
    name: &'static str,
    file: &'static str,
    was: &'static str,
    is: &'static str,
}

const BUGS: [Plant; 7] = [
    Plant {
        name: "drop-a-completion",
        file: "pool.rs",
        was: "self.drop_copy(peer, index, Some(Copy::Returned));",
        is: "if !crate::planted(\"drop-a-completion\") { self.drop_copy(peer, index, Some(Copy::Returned)); }",
    },
    Plant {
        name: "skip-a-deadline",
        file: "pool.rs",
        was: "let held = self.tasks[index as usize].copy_of(&peer) == Some(Copy::Held(id));",
        is: "let held = !crate::planted(\"skip-a-deadline\") && self.tasks[index as usize].copy_of(&peer) == Some(Copy::Held(id));",
    },
    Plant {
        name: "ignore-the-clock",
        file: "pool.rs",
        was: "Input::Tick => self.lapse(now),",
        is: "Input::Tick => if !crate::planted(\"ignore-the-clock\") { self.lapse(now) },",
    },
    Plant {
        name: "one-vote-too-few",
        file: "verify/votes.rs",
        was: "let quorum = self.policy().quorum();",
        is: "let quorum = (self.policy().quorum() - u32::from(crate::planted(\"one-vote-too-few\"))).max(1);",
    },
    Plant {
        name: "forget-a-late-duplicate",
        file: "verify.rs",
        was: "if known.is_some_and(|task| task.state == State::Final && task.probe.is_none()) {",
        is: "if !crate::planted(\"forget-a-late-duplicate\") && known.is_some_and(|task| task.state == State::Final && task.probe.is_none()) {",
    },
    Plant {
        name: "forget-what-was-not-told",
        file: "delegate/handback.rs",
        was: "kept.carries.iter().partition(|one| one.over && !owed(&one.own));",
        is: "kept.carries.iter().partition(|one| one.over && (crate::planted(\"forget-what-was-not-told\") || !owed(&one.own)));",
    },
    Plant {
        name: "lose-a-decision",
        file: "verify.rs",
        was: "self.effects.push(Effect::Changed(index));",
        is: "if !crate::planted(\"lose-a-decision\") || state != State::Final { self.effects.push(Effect::Changed(index)); }",
    },
];

const SWITCH: &str = r#"
extern crate std as system;
/// Whether the environment sets this bug off.
pub(crate) fn planted(name: &str) -> bool {
    static PLANTED: system::sync::OnceLock<alloc::string::String> = system::sync::OnceLock::new();
    PLANTED.get_or_init(|| system::env::var("BAYAN_PLANTED").unwrap_or_default()) == name
}
"#;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    // What has not changed keeps its time, or all of it would be built again.
    let bytes = fs::read(from)?;
    if fs::read(to).is_ok_and(|there| there == bytes) { Ok(()) } else { fs::write(to, bytes) }
}

fn write(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return;
    }
    fs::write(path, text).expect("the copy can be written");
}

/// Puts `is` in place of `was`, which stands there once.
fn replace(text: &str, Plant { name, file, was, is }: &Plant) -> String {
    assert_eq!(text.matches(was).count(), 1, "{name}: the line to change in {file} has changed");
    text.replace(was, is)
}

/// The protocol's sources with everything planted, and the least around them that plays chaos.
fn tree() -> PathBuf {
    let (root, tree) = (root(), Path::new(env!("CARGO_TARGET_TMPDIR")).join("planted"));
    let fresh = tree.join("fresh");
    let _ = fs::remove_dir_all(&fresh);
    for part in
        ["protocol/src", "protocol/Cargo.toml", "simulations/world", "tests/cast/src", "Cargo.lock"]
    {
        let to = fresh.join(part);
        fs::create_dir_all(to.parent().expect("it has one")).expect("the copy can be written");
        copy(&root.join(part), &to).expect("the sources can be copied");
    }
    let read = |part: &str| fs::read_to_string(root.join(part)).expect("it can be read");
    let members = "members = [\"protocol\", \"tests/cast\", \"simulations/world\"]";
    let manifest: Vec<String> = read("Cargo.toml")
        .lines()
        .map(|line| if line.starts_with("members =") { members } else { line }.to_owned())
        .collect();
    write(&fresh.join("Cargo.toml"), &manifest.join("\n"));
    write(&fresh.join("tests/cast/Cargo.toml"), &bare(&read("tests/cast/Cargo.toml")));
    let source = fresh.join("protocol/src");
    for plant in &BUGS {
        let path = source.join(plant.file);
        let text = fs::read_to_string(&path).expect("it can be read");
        write(&path, &replace(&text, plant));
    }
    let path = source.join("lib.rs");
    let text = fs::read_to_string(&path).expect("it can be read");
    write(&path, &(text + SWITCH));
    let built = tree.join("tree");
    copy(&fresh, &built).expect("the sources can be copied");
    built
}

/// The cast's manifest without peers on the wire.
fn bare(manifest: &str) -> String {
    let mut section = "";
    let mut kept = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        }
        if section != "[features]" && section != "[[bin]]" && !line.contains("optional = true") {
            kept.push(line);
        }
    }
    let mut text = kept.join("\n").replace("[package]", "[package]\nautobins = false");
    text.push_str("\n\n[features]\nwire = []\n");
    text
}

fn build() -> PathBuf {
    let tree = tree();
    let target = tree.with_file_name("target");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--offline", "--quiet", "-p", "bayan-world", "--example", "chaos"])
        .current_dir(&tree)
        .env("CARGO_TARGET_DIR", &target)
        .output()
        .expect("cargo can be run");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    target.join("debug/examples/chaos")
}

fn run(program: &Path, planted: &str, args: &[&str]) -> Output {
    let done = Command::new(program).args(args).env("BAYAN_PLANTED", planted).output();
    done.expect("the program can be run")
}

#[test]
fn every_planted_bug_is_found_within_the_fixed_seeds() {
    let program = build();
    let fine = run(&program, "", &["0..64"]);
    assert!(fine.status.success(), "without a bug: {}", String::from_utf8_lossy(&fine.stdout));
    for Plant { name, .. } in &BUGS {
        let found = run(&program, name, &["0..64"]);
        let said = String::from_utf8_lossy(&found.stdout);
        assert_eq!(found.status.code(), Some(1), "{name} was not found: {said}");
        println!("{name}: {}", said.trim_end());
    }
}
