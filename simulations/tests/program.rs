//! The program `bayan-sim` as its users meet it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn sim(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bayan-sim")).args(args).output().expect("it can be run")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The fixed seeds. One that fails is printed with the command that plays it again.
#[test]
fn the_fixed_seeds_of_chaos_go_well() {
    let done = sim(&["chaos"]);
    assert!(done.status.success(), "{}{}", text(&done.stdout), text(&done.stderr));
    assert!(text(&done.stdout).starts_with("64 seeds, 0 failed"), "{}", text(&done.stdout));
}

/// Seeds beyond the fixed ones that found something once; what it was has tests of its own.
#[test]
fn seeds_that_found_something_go_well() {
    let seeds = [
        82, 87, 101, 106, 132, 153, 243, 287, 382, 413, 434, 470, 581, 698, 748, 756, 830, 854,
        992, 1177, 1251, 1686, 2049, 2215, 2687, 2738, 3255, 5722,
    ];
    for seed in seeds {
        let done = sim(&["chaos", "--seed", &seed.to_string()]);
        assert!(done.status.success(), "{}", text(&done.stdout));
    }
}

#[test]
fn a_scale_that_makes_no_sense_is_refused_with_nothing_printed() {
    for (args, why) in [
        (["scale", "--peers", "0"], "--peers is from 1"),
        (["scale", "--peers", "9000000"], "--peers is from 1"),
        (["scale", "--fan", "1"], "--fan is from 2"),
        (["scale", "--tasks", "0"], "--tasks is from 1"),
    ] {
        let done = sim(&args);
        assert_eq!(done.status.code(), Some(2), "{args:?}");
        assert!(done.stdout.is_empty() && text(&done.stderr).contains(why), "{args:?}");
    }
}

#[test]
fn a_scale_that_was_broken_off_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().display().to_string();
    let args = ["scale", "--peers", "20,40,60", "--tasks", "3", "--fan", "4", "--out", &out];
    let done = sim(&args);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let page = folder.path().join("scale");
    let kept = page.join("unfinished.csv");
    assert!(!kept.exists() && page.join("frames.svg").exists());
    let table = fs::read(page.join("table.csv")).expect("a table");
    // A row that says something else than a run would: it is taken from there, not played again.
    let row = format!("40;2;1;7;7;7;7;0{}", ";7".repeat(62));
    let kept_row = format!("seed 1 Full\n40 peers fan 4 tasks 3 of 10000 ms;0;{row};.\n");
    fs::write(&kept, kept_row).expect("written");
    let done = sim(&args);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let again = fs::read_to_string(page.join("table.csv")).expect("a table");
    assert!(again.contains("40 peers: ended; the tree,7.0"), "{again}");
    let lines = |table: &str| -> Vec<String> {
        table.lines().filter(|line| line.starts_with("60 ")).map(str::to_owned).collect()
    };
    assert_eq!(lines(&again), lines(&text(&table)), "what is played is played alike");
}

#[test]
fn one_seed_is_one_log_in_any_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
    for seed in ["0", "1", "2"] {
        for path in [&one, &other] {
            let done = sim(&["log", "--seed", seed, "--out", &path.display().to_string()]);
            assert!(done.status.success(), "{}", text(&done.stderr));
        }
        let [one, other] = [&one, &other].map(|path| fs::read(path).expect("it was written"));
        assert!(one.len() > 10_000 && one == other, "seed {seed}");
    }
}

/// The log has frames without their signatures, so it is the same to the byte if nothing depends on these.
#[test]
fn what_signatures_are_made_of_changes_no_line_of_a_log() {
    for seed in 0..8 {
        let log = |signatures: &str| {
            let done = sim(&["log", "--seed", &seed.to_string(), "--signatures", signatures]);
            assert!(done.status.success(), "{}", text(&done.stderr));
            done.stdout
        };
        let (keyed, real) = (log("keyed"), log("ed25519"));
        assert!(keyed.len() > 10_000 && keyed == real, "seed {seed} depends on its signatures");
    }
    let bad = sim(&["log", "--seed", "0", "--signatures", "rsa"]);
    assert_eq!(bad.status.code(), Some(2));
    assert!(text(&bad.stderr).contains("ed25519 or keyed"), "{}", text(&bad.stderr));
}

/// A peer that took a hash for a signature would take anything: only worlds can ask for it.
#[test]
fn nothing_but_worlds_can_have_signatures_of_another_kind() {
    fn search(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("it can be read").path();
            let hidden = path.file_name().is_some_and(|name| name == "target" || name == "pkg");
            if path.is_dir() && !hidden {
                search(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs" || end == "toml") {
                let text = fs::read_to_string(&path).expect("it is text");
                let named = ["crypto::scheme", "Scheme::Keyed", "\"keyed\"", "protocol/keyed"];
                if named.iter().any(|name| text.contains(name)) {
                    found.push(path);
                }
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = Vec::new();
    for room in ["protocol", "node", "apps", "tests"] {
        search(&root.join(room), &mut found);
    }
    found.sort();
    let own = ["crypto/scheme.rs", "crypto.rs"].map(|file| root.join("protocol/src").join(file));
    assert_eq!(found, own);
}

#[test]
fn a_replay_stops_where_it_is_told_to() {
    let log = text(&sim(&["log", "--seed", "1"]).stdout);
    let lines: Vec<&str> = log.lines().collect();
    let at = lines.iter().position(|line| line.contains(" lease ")).expect("somebody leases");
    let replay = |more: &[&str]| {
        let done = sim(&[&["replay", "--seed", "1", "--until"], more].concat());
        assert!(done.status.success(), "{}", text(&done.stderr));
        text(&done.stdout).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(replay(&[" lease ", "--before", "0", "--then", "3"]), lines[at..at + 4]);
    assert_eq!(replay(&["100", "--before", "2"]), lines[97..100]);
    let late = lines.iter().position(|line| line.contains("+1.")).expect("it takes a second");
    assert_eq!(replay(&["1s", "--before", "0"]), lines[late..=late]);
    let never = sim(&["replay", "--seed", "1", "--until", "no line says this"]);
    assert_eq!(never.status.code(), Some(1));
}

#[test]
fn a_replay_goes_on_step_by_step() {
    use std::{io::Write as _, process::Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_bayan-sim"))
        .args(["replay", "--seed", "1", "--until", "50", "--before", "0", "--step"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can be run");
    child.stdin.take().expect("it reads").write_all(b"\n3\nq\n").expect("it reads");
    let done = child.wait_with_output().expect("it ends");
    let log = text(&sim(&["log", "--seed", "1"]).stdout);
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(text(&done.stdout).lines().collect::<Vec<_>>(), lines[49..54]);
}

const GOOD: &str = "name = \"a\"\nquestion = \"What?\"\nseeds = 3\n\n[job]\ntasks = [10, 20]\npolicy = \"none\"\n\n[workers]\ncount = 3\ntask-ms = 100\n";

fn scenario(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("scenario.toml");
    fs::write(&path, text).expect("it can be written");
    path
}

#[test]
fn bad_scenarios_are_refused_with_file_line_and_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    for (was, is, line, reason) in [
        ("tasks = [10, 20]", "task = 10", ":6: ", "unknown field `task`"),
        ("count = 3", "count = 0", ":10: ", "a whole number from 1 to 100000 is wanted"),
        ("policy = \"none\"", "policy = \"vote:1000\"", ":7: ", "vote:1000"),
        ("[workers]", "[workers", ":9: ", ""),
        ("task-ms = 100", "task-ms = 100\navailable = 0", ": ", "nobody is ever there"),
    ] {
        let path = scenario(folder.path(), &GOOD.replacen(was, is, 1));
        let done = sim(&["run", &path.display().to_string()]);
        let said = text(&done.stderr);
        assert_eq!(done.status.code(), Some(2), "{is}: {said}");
        let place = format!("{}{line}", path.display());
        assert!(said.contains(&place) && said.contains(reason), "{is}: {said}");
    }
    let missing = folder.path().join("missing.toml").display().to_string();
    let done = sim(&["run", &missing]);
    assert_eq!(done.status.code(), Some(2));
    assert!(text(&done.stderr).contains(&missing));
    for bad in [["chaos", "--seeds", "9..3"], ["chaos", "--seeds", "9"], ["chaos", "--seed", "x"]] {
        assert_eq!(sim(&bad).status.code(), Some(2), "{bad:?}");
    }
}

#[test]
fn a_run_that_was_stopped_is_continued() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = scenario(folder.path(), GOOD).display().to_string();
    let csv = folder.path().join("rows.csv");
    let run = || sim(&["run", &path, "--csv", &csv.display().to_string()]);
    let whole = run();
    assert!(whole.status.success(), "{}", text(&whole.stderr));
    let rows = fs::read_to_string(&csv).expect("it was written");
    let sorted = |rows: &str| rows.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(rows.lines().count(), 2 + 6);
    let cut: usize = rows.len() * 2 / 3;
    fs::write(&csv, &rows[..cut]).expect("it can be written");
    assert_eq!(text(&run().stdout), text(&whole.stdout));
    assert_eq!(sorted(&fs::read_to_string(&csv).expect("it is there")), sorted(&rows));
    scenario(folder.path(), &GOOD.replace("count = 3", "count = 4"));
    let other = run();
    assert_eq!(other.status.code(), Some(2));
    assert!(text(&other.stderr).contains("another version"), "{}", text(&other.stderr));
}

#[test]
fn every_scenario_of_the_repository_makes_sense() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("there are scenarios") {
        let path = entry.expect("it can be read").path();
        let done = sim(&["run", "--check", &path.display().to_string()]);
        assert!(done.status.success(), "{}", text(&done.stderr));
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = text(&done.stdout).split(':').next().map(str::to_owned);
        assert_eq!(name, stem, "a scenario is called what its file is");
        count += 1;
    }
    assert!(count > 0);
}
