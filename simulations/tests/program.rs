//! The program `bayan-sim` as its users meet it.

use std::{
    collections::BTreeMap,
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
    assert!(!text(&done.stdout).contains(" 0 of them by delegates"), "no delegate did anything");
}

/// Seeds beyond the fixed ones that found something once; what it was has tests of its own.
#[test]
fn seeds_that_found_something_go_well() {
    let seeds = [
        82, 87, 101, 106, 132, 153, 188, 243, 262, 287, 382, 413, 434, 470, 519, 581, 698, 748,
        756, 830, 854, 954, 986, 992, 1177, 1251, 1556, 1686, 2049, 2215, 2687, 2738, 3255, 5722,
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

/// All files of a folder by name.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let file = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.expect("it can be read").path();
        let name = path.file_name().expect("it has one").to_string_lossy().into_owned();
        Some((name, fs::read(path).ok()?))
    };
    fs::read_dir(folder).expect("a folder").filter_map(file).collect()
}

/// Runs a scenario into a folder, and gives the folder of its results.
fn run_into(scenario: &Path, out: &Path) -> PathBuf {
    let done = sim(&["run", &scenario.display().to_string(), "--out", &out.display().to_string()]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    out.join("a")
}

#[test]
fn a_run_writes_a_folder_that_is_the_same_for_the_same_seeds() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = scenario(folder.path(), GOOD);
    fs::create_dir(folder.path().join("other")).expect("a folder");
    fs::write(folder.path().join("other/README.md"), "# Mine\n").expect("written");
    let [one, other] = ["one", "other"].map(|out| run_into(&path, &folder.path().join(out)));
    let mine = fs::read_to_string(folder.path().join("other/README.md")).expect("it is there");
    assert_eq!(mine, "# Mine\n", "somebody else's page is not written over");
    let found = files(&one);
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    for picture in ["seconds", "used"] {
        assert!(names.contains(&format!("{picture}.svg").as_str()), "{names:?}");
        assert!(names.contains(&format!("{picture}.png").as_str()), "{names:?}");
    }
    assert!(!names.contains(&"unfinished.csv") && !names.contains(&"wrong.svg"), "{names:?}");
    let page = text(&found["README.md"]);
    let command = format!("Made by `bayan-sim run {}`", path.display());
    for said in ["# run a", "What?", &command, "seeds 0 to 2", "tasks=20: seconds", "95% interval"]
    {
        assert!(page.contains(said), "{said}: {page}");
    }
    assert_eq!(text(&found["runs.csv"]).lines().count(), 2 + 6);
    let table = text(&found["table.csv"]);
    assert!(table.contains("tasks=10: wrong,0,0,1.000000e-1,,less"), "3 in 30 tasks: {table}");
    assert!(found == files(&other), "one of the files differs");
    let index = fs::read_to_string(folder.path().join("one/README.md")).expect("an index");
    assert!(index.contains("[run a](a/README.md)"), "{index}");
}

#[test]
fn a_run_that_was_broken_off_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = scenario(folder.path(), GOOD);
    let whole = files(&run_into(&path, &folder.path().join("whole")));
    let out = folder.path().join("cut");
    let kept = out.join("a/unfinished.csv");
    let rows = text(&whole["runs.csv"]);
    let keep = |rows: &str| {
        fs::create_dir_all(out.join("a")).expect("a folder");
        fs::write(&kept, rows).expect("it can be written");
    };
    keep(&rows[..rows.len() * 2 / 3]);
    assert!(files(&run_into(&path, &out)) == whole, "what was cut comes to something else");
    // A row that says something else than a run would: it is taken from there, not played again.
    let row = rows.lines().nth(3).expect("a row");
    let said = format!("{},1,777,1,0,1,1,1", row.split(',').take(2).collect::<Vec<_>>().join(","));
    keep(&rows.replace(row, &said));
    assert!(text(&files(&run_into(&path, &out))["runs.csv"]).contains(&said));
    keep(&rows);
    scenario(folder.path(), &GOOD.replace("count = 3", "count = 4"));
    let other = sim(&["run", &path.display().to_string(), "--out", &out.display().to_string()]);
    assert_eq!(other.status.code(), Some(2));
    assert!(text(&other.stderr).contains("another version"), "{}", text(&other.stderr));
    assert_eq!(fs::read_to_string(&kept).expect("it is there"), rows, "nothing is lost by that");
}

#[test]
fn folders_that_cannot_be_written_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = scenario(folder.path(), GOOD);
    let run = run_into(&path, &folder.path().join("out")).display().to_string();
    let (scenario, file) = (path.display().to_string(), path.display().to_string());
    for (out, why) in [(file.as_str(), "is a file"), ("/proc/none", "cannot make /proc/none")] {
        for args in [
            vec!["run", &scenario],
            vec!["compare", &run, &run],
            vec!["paper", "planet", "--small"],
            vec!["paper", "all", "--small"],
            vec!["attack", "all", "--small"],
        ] {
            let done = sim(&[&args[..], &["--out", out]].concat());
            assert_eq!(done.status.code(), Some(2), "{args:?} {out}: {}", text(&done.stderr));
            assert!(text(&done.stderr).contains(why), "{args:?}: {}", text(&done.stderr));
        }
    }
    assert_eq!(fs::read_to_string(path).expect("it is there"), GOOD);
}

#[test]
fn two_runs_beside_each_other_become_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let path = scenario(folder.path(), GOOD);
    let few = run_into(&path, &at("few"));
    scenario(folder.path(), &GOOD.replace("count = 3", "count = 6"));
    let many = run_into(&path, &at("many"));
    let compare = |one: &Path, other: &Path, more: &[&Path]| {
        let paths = [&[one, other], more].concat();
        let mut args: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        if !more.is_empty() {
            args.insert(2, "--out".to_owned());
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        sim(&[&["compare"], &args[..]].concat())
    };
    let slower = compare(&many, &few, &[&at("slower")]);
    assert_eq!(slower.status.code(), Some(1), "{}", text(&slower.stderr));
    let found = files(&at("slower"));
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(names, ["README.md", "changes.png", "changes.svg", "table.csv"]);
    let (page, table) = (text(&found["README.md"]), text(&found["table.csv"]));
    let worse = page.split("## Worse").nth(1).expect("something is worse");
    assert!(
        worse.split("## ").next().is_some_and(|part| part.contains("tasks=20: seconds")),
        "{page}"
    );
    let command = format!("`bayan-sim compare {} {}`", many.display(), few.display());
    assert!(page.contains(&command), "{page}");
    assert_eq!(page.matches(&format!("made by `bayan-sim run {}`", path.display())).count(), 2);
    let line = |key: &str| table.lines().find(|line| line.starts_with(key)).map(str::to_owned);
    assert!(
        line("tasks=20: seconds,").is_some_and(|line| line.ends_with(",less,worse")),
        "{table}"
    );
    assert!(line("tasks=20: wrong,").is_some_and(|line| line.ends_with(",less,same")), "{table}");
    // The same again; and as folders of folders.
    assert_eq!(compare(&many, &few, &[&at("again")]).status.code(), Some(1));
    assert!(files(&at("again")) == found);
    let all = compare(&at("many"), &at("few"), &[&at("all")]);
    assert_eq!(all.status.code(), Some(1), "{}", text(&all.stderr));
    assert!(text(&files(&at("all"))["table.csv"]).contains("a: tasks=20: seconds,"));
    let same = compare(&few, &few, &[&at("same")]);
    assert!(same.status.success(), "{}", text(&same.stdout));
    assert!(text(&files(&at("same"))["README.md"]).contains("0 differ by more than the noise"));
    // What cannot be compared, and what must not be written over.
    scenario(folder.path(), &GOOD.replace("tasks = [10, 20]", "tasks = [11, 21]"));
    let other = run_into(&path, &at("other"));
    for (done, why) in [
        (compare(&few, &other, &[&at("none")]), "nothing in common"),
        (compare(&few, &at("missing"), &[]), "cannot read"),
        (compare(&few, &many, &[&few]), "no comparison"),
        (compare(&at("few"), &at("many"), &[&at("few")]), "one of the runs"),
    ] {
        assert_eq!(done.status.code(), Some(2), "{why}: {}", text(&done.stdout));
        assert!(text(&done.stderr).contains(why), "{why}: {}", text(&done.stderr));
    }
    assert!(!at("none").exists());
}

#[test]
fn all_goes_on_with_the_first_that_is_not_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().display().to_string();
    let said_by = |name: &str, command: &str| {
        fs::create_dir_all(folder.path().join(name)).expect("a folder");
        fs::write(folder.path().join(name).join("README.md"), format!("Made by `{command}`."))
            .expect("written");
    };
    let names = [
        "voting",
        "spot-check",
        "credibility",
        "adaptive",
        "bayanihan-faults",
        "bayanihan-speedup",
        "bayanihan-volunteer-server",
        "cpu-torrent",
    ];
    for name in names {
        said_by(name, &format!("bayan-sim paper {name} --seed 1 --small"));
    }
    let list = folder.path().join("unfinished-paper.txt");
    let head = "bayan-sim paper all --seed 1 --small\n";
    // As if it had been killed while it wrote the last name.
    fs::write(&list, head.to_owned() + &names.join("\n") + "\npla").expect("written");
    let done = sim(&["paper", "all", "--small", "--out", &out]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let said = text(&done.stdout);
    assert_eq!(said.matches("done before this was broken off").count(), names.len(), "{said}");
    assert!(folder.path().join("planet/table.csv").is_file() && !list.exists(), "{said}");
    // Nothing is begun without time; what is done stays so, unless the folder says something else.
    let list = folder.path().join("unfinished-attack.txt");
    let attack = |seed: &str| {
        let args = ["attack", "all", "--small", "--budget", "0", "--seed", seed, "--out", &out];
        let done = sim(&args);
        assert_eq!(done.status.code(), Some(3), "{}", text(&done.stderr));
        text(&done.stdout).matches("done before").count()
    };
    let kept = "bayan-sim attack all --seed 1 --small\nsleeper\nflaky-host\n";
    said_by("sleeper", "bayan-sim attack sleeper --seed 1 --small");
    said_by("flaky-host", "bayan-sim attack flaky-host --seed 2 --small");
    fs::write(&list, kept).expect("written");
    assert_eq!(attack("1"), 1);
    assert_eq!(fs::read_to_string(&list).expect("it is there"), kept);
    assert_eq!(attack("2"), 0, "another seed begins anew");
    assert_eq!(attack("1"), 0);
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
