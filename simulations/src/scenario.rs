//! Scenario files: a name, a question, and the world that is to answer it. Any value may be a list of
//! values; then all combinations are run.
//!
//! Files are TOML. What is unknown or impossible is refused with file, line and reason.

mod answer;
mod play;
mod swept;
mod table;
mod values;

use std::{fs, ops::Range, path::Path};

use anyhow::{Context as _, anyhow, ensure};
use bayan_protocol::{limits::MAX_JOB_TASKS, verify::Policy};
use serde::Deserialize;

pub use answer::answer;
pub use play::{Row, play};
use swept::{Pick, Swept};
pub use table::{Table, summary};
use values::{Count, Locals, Named, Positive, Share};

use crate::{attack, paper};

/// A file as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    name: String,
    question: String,
    /// Each combination is run with this many seeds, from 0.
    seeds: Count<1, 100_000>,
    /// Virtual hours after which a job that has not ended is given up.
    #[serde(default = "Positive::day")]
    limit_hours: Positive,
    job: Job,
    workers: Workers,
    #[serde(default)]
    network: Network,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Job {
    tasks: Swept<Count<1, MAX_JOB_TASKS>>,
    policy: Swept<Named<Policy>>,
    /// Slots of the submitter's own, and when they compute.
    #[serde(default)]
    own_slots: Swept<Count<0, 1024>>,
    #[serde(default)]
    local: Swept<Locals>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Workers {
    count: Swept<Count<1, 100_000>>,
    #[serde(default = "one")]
    slots: Swept<Count<1, 1024>>,
    /// Milliseconds a task on the median worker, and the spread of their logarithm.
    task_ms: Swept<Count<1, 86_400_000>>,
    #[serde(default)]
    spread: Swept<Share>,
    /// Share of the time for which a worker is awake, and for how many minutes at a time.
    #[serde(default = "always")]
    available: Swept<Share>,
    #[serde(default = "hour")]
    awake_minutes: Swept<Positive>,
    /// Share of attempts that an engine cannot finish.
    #[serde(default)]
    fails: Swept<Share>,
    /// Share of the workers that are up to something, and what.
    #[serde(default)]
    cheats: Swept<Share>,
    #[serde(default)]
    role: Swept<Named<bayan_world::Role>>,
    /// Relays between the submitter and the workers; 0 connects all with the submitter.
    #[serde(default)]
    relays: Swept<Count<0, 1000>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Network {
    regions: Swept<bool>,
    /// Share of frames that are lost at first.
    loss: Swept<Share>,
    /// Kilobits a second of each worker's line; 0 is no bound.
    up_kbit: Swept<Count<0, 100_000_000>>,
    down_kbit: Swept<Count<0, 100_000_000>>,
    /// The same of the submitter's, both ways.
    own_kbit: Swept<Count<0, 100_000_000>>,
}

fn one() -> Swept<Count<1, 1024>> {
    Swept::of(Count(1))
}

fn always() -> Swept<Share> {
    Swept::of(Share(1.0))
}

fn hour() -> Swept<Positive> {
    Swept::of(Positive(60.0))
}

/// One combination.
#[derive(Debug, Clone)]
pub struct Point {
    /// The values that differ between combinations, as text, by their keys.
    pub labels: Vec<(&'static str, String)>,
    limit: u64,
    tasks: u64,
    policy: Policy,
    own_slots: u32,
    local: bayan_protocol::job::Local,
    workers: u64,
    slots: u32,
    task_micros: u64,
    spread: f64,
    available: f64,
    awake: u64,
    fails: f64,
    cheats: f64,
    role: bayan_world::Role,
    relays: u64,
    regions: bool,
    loss: f64,
    up: u64,
    down: u64,
    own_line: u64,
}

/// A scenario that makes sense.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// What it asks.
    pub question: String,
    /// Seeds of each combination.
    pub seeds: Range<u64>,
    /// All combinations.
    pub points: Vec<Point>,
    /// Of the file's bytes: results of another file are not continued.
    pub digest: String,
    /// The file.
    pub text: String,
}

impl Point {
    /// What differs between combinations, in words.
    pub fn words(&self) -> String {
        let words: Vec<String> =
            self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        words.join(" ")
    }
}

/// Combinations of one file at most.
const MOST: usize = 10_000;

impl Scenario {
    /// Reads a file.
    ///
    /// # Errors
    /// If there is none, or it makes no sense; the text names file, line and reason.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("{}: cannot be read", path.display()))?;
        Self::parse(&text).map_err(|(line, reason)| match line {
            Some(line) => anyhow!("{}:{line}: {reason}", path.display()),
            None => anyhow!("{}: {reason}", path.display()),
        })
    }

    /// Reads a text; what is wrong with it comes with its line.
    fn parse(text: &str) -> Result<Self, (Option<usize>, String)> {
        let file: File = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| line_of(text, span.start));
            (line, error.message().to_owned())
        })?;
        file.check().map_err(|error| (None, error.to_string()))?;
        let all = file.pick(0).1;
        if all > MOST {
            return Err((None, format!("{all} combinations are more than {MOST}")));
        }
        Ok(Self {
            seeds: 0..file.seeds.0,
            points: (0..all).map(|at| file.pick(at).0).collect(),
            digest: bayan_protocol::id::Hash::of(text.as_bytes()).short(),
            text: text.to_owned(),
            name: file.name,
            question: file.question,
        })
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

impl File {
    fn check(&self) -> anyhow::Result<()> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        ensure!(
            !self.name.is_empty() && self.name.bytes().all(plain),
            "name: small letters, digits and dashes are allowed"
        );
        let papers = paper::Name::ALL.into_iter().map(paper::Name::word);
        let attacks = attack::Name::ALL.into_iter().map(attack::Name::word);
        ensure!(
            !papers.chain(attacks).chain(["scale", "baseline"]).any(|word| word == self.name),
            "name: results of something else are called {} already",
            self.name
        );
        ensure!(self.question.trim().ends_with('?'), "question: it ends with a question mark");
        ensure!(
            self.workers.available.all(|share| share.0 > 0.0),
            "workers.available: nobody is ever there"
        );
        ensure!(
            self.job.local.all(|one| one.0 == bayan_protocol::job::Local::Never)
                || self.job.own_slots.all(|count| count.0 > 0),
            "job.local: there are no own slots (job.own-slots)"
        );
        Ok(())
    }

    /// The combination at a place, and how many there are.
    fn pick(&self, at: usize) -> (Point, usize) {
        let Self { job, workers, network, .. } = self;
        let mut pick = Pick::new(at);
        let micros = |minutes: f64| (minutes * 60e6) as u64;
        let bytes = |kbit: u64| kbit * 125;
        let point = Point {
            limit: micros(self.limit_hours.0 * 60.0),
            tasks: pick.one("tasks", &job.tasks).0,
            policy: pick.one("policy", &job.policy).0,
            own_slots: pick.one("own-slots", &job.own_slots).0 as u32,
            local: pick.one("local", &job.local).0,
            workers: pick.one("workers", &workers.count).0,
            slots: pick.one("slots", &workers.slots).0 as u32,
            task_micros: pick.one("task-ms", &workers.task_ms).0 * bayan_world::MS,
            spread: pick.one("spread", &workers.spread).0,
            available: pick.one("available", &workers.available).0,
            awake: micros(pick.one("awake-minutes", &workers.awake_minutes).0),
            fails: pick.one("fails", &workers.fails).0,
            cheats: pick.one("cheats", &workers.cheats).0,
            role: pick.one("role", &workers.role).0,
            relays: pick.one("relays", &workers.relays).0,
            regions: pick.one("regions", &network.regions),
            loss: pick.one("loss", &network.loss).0,
            up: bytes(pick.one("up-kbit", &network.up_kbit).0),
            down: bytes(pick.one("down-kbit", &network.down_kbit).0),
            own_line: bytes(pick.one("own-kbit", &network.own_kbit).0),
            labels: Vec::new(),
        };
        let (labels, all) = pick.done();
        (Point { labels, ..point }, all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "name = \"a\"\nquestion = \"What?\"\nseeds = 2\n\n[job]\ntasks = [10, 20]\npolicy = [\"none\", \"vote:2\"]\n\n[workers]\ncount = 3\ntask-ms = 100\n";

    #[test]
    fn lists_are_swept_in_all_combinations() {
        let scenario = Scenario::parse(GOOD).expect("it makes sense");
        let of = |point: &Point| (point.tasks, point.policy.to_string());
        let points: Vec<_> = scenario.points.iter().map(of).collect();
        let wanted = [(10, "none"), (20, "none"), (10, "vote:2"), (20, "vote:2")];
        assert_eq!(points, wanted.map(|(tasks, policy)| (tasks, policy.to_owned())));
        assert_eq!(scenario.points[1].labels[0], ("tasks", "20".to_owned()));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_line() {
        for (was, is, line, reason) in [
            ("seeds = 2", "seeds = 0", Some(3), "1 to 100000"),
            ("seeds = 2", "sedes = 2", Some(3), "unknown field `sedes`"),
            ("[10, 20]", "[10, -20]", Some(6), "1 to 1000000"),
            ("[10, 20]", "[]", Some(6), "empty list"),
            ("[10, 20]", "\"many\"", Some(6), "whole number"),
            ("\"vote:2\"", "\"vote:99\"", Some(7), "vote"),
            ("task-ms = 100", "task-ms = 100\nfails = 1.5", Some(12), "0 to 1"),
            ("task-ms = 100", "task-ms = 100\nrole = \"pirate\"", Some(12), "pirate"),
            ("task-ms = 100", "task-ms = 100\navailable = 0", None, "nobody is ever there"),
            ("count = 3\n", "", Some(9), "missing field `count`"),
            ("name = \"a\"", "name = \"A b\"", None, "small letters"),
            ("name = \"a\"", "name = \"voting\"", None, "called voting already"),
            ("What?", "What.", None, "question mark"),
            ("[job]", "[job", Some(5), ""),
        ] {
            assert!(GOOD.contains(was), "{was}");
            let text = GOOD.replacen(was, is, 1);
            let (at, why) = Scenario::parse(&text).expect_err(&text);
            assert_eq!(at, line, "{is}: {why}");
            assert!(why.contains(reason), "{is}: {why}");
        }
    }
}
