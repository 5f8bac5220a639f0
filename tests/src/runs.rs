//! `bayan run --json` as a process: what it was told, what it says on the way, what it leaves.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use bayan::{api::types::TaskResult, client::Client};
use bayan_protocol::record::JobState;
use bayan_store::Directory;
use serde_json::Value;

use crate::{
    outputs,
    peers::address,
    program::{Finished, Program, bayan, until},
};

/// No job of these tests takes longer.
pub const LIMIT: Duration = Duration::from_secs(90);

/// A run under way whose outputs go to one file.
pub struct Run {
    /// The process.
    pub program: Program,
    /// The job's id.
    pub job: String,
    /// Its data directory.
    pub dir: PathBuf,
    concat: PathBuf,
    settled: u64,
}

/// A run that is over.
pub struct Done {
    /// All outputs, in the order of the inputs.
    pub bytes: Vec<u8>,
    /// The list beside them.
    pub results: Vec<TaskResult>,
    /// The last event.
    pub finished: Value,
    /// The process.
    pub process: Finished,
}

impl Run {
    /// Starts a run on `dir` and waits until the job is submitted. The peer inside it listens on an
    /// address of its own, unless the directory is held by another.
    pub fn start(dir: &Path, app: &Path, args: &[&str]) -> anyhow::Result<Self> {
        let concat = dir.with_extension("out");
        let mut command = bayan(dir);
        command.args(["run", "--json", "--no-mdns", "--no-quic"]);
        command.args(["--listen", &format!("/ip4/{}/tcp/0", address())]);
        command.arg("--concat").arg(&concat).arg(app).args(args);
        let mut program = Program::spawn(command)?;
        let submitted = |line: &Value| {
            (line["event"] == "submitted").then(|| line["job"].as_str().map(str::to_owned))
        };
        let job = program.wait_for(LIMIT, submitted)?.context("a job's id")?;
        Ok(Self { program, job, dir: dir.to_path_buf(), concat, settled: 0 })
    }

    /// Follows it until at least `count` tasks are settled.
    ///
    /// # Errors
    /// If the job ends before, which leaves nothing to be tested.
    pub fn reaches(&mut self, count: u64) -> anyhow::Result<u64> {
        if self.settled < count {
            let client = self.client()?;
            for view in client.events(self.job.parse()?)? {
                let view = view?;
                if view.state != JobState::Running {
                    bail!(
                        "the job was over before {count} tasks were seen settled; give it more work"
                    );
                }
                self.settled = view.settled;
                if view.settled >= count {
                    break;
                }
            }
        }
        Ok(self.settled)
    }

    /// A client of whoever serves the run's directory.
    pub fn client(&self) -> anyhow::Result<Client> {
        client(&self.dir)
    }

    /// The end, with this exit code.
    pub fn finish(self, code: i32) -> anyhow::Result<Done> {
        let process = self.program.finish(LIMIT)?.code(code)?;
        collect(process, &self.concat)
    }
}

/// What a run has left behind.
pub fn collect(process: Finished, concat: &Path) -> anyhow::Result<Done> {
    let finished = process.json()?.into_iter().rev().find(|line| line["event"] == "finished");
    let finished = finished.with_context(|| format!("the run did not finish: {process:?}"))?;
    let bytes =
        std::fs::read(concat).with_context(|| format!("{} is missing", concat.display()))?;
    let mut list = concat.as_os_str().to_owned();
    list.push(".results.jsonl");
    let results = outputs::list(Path::new(&list))?;
    Ok(Done { bytes, results, finished, process })
}

/// A client of whoever holds a data directory.
pub fn client(dir: &Path) -> anyhow::Result<Client> {
    let api = until("somebody to serve the directory", LIMIT, || {
        Ok(Directory::peek_holder(dir).and_then(|holder| holder.api?.parse().ok()))
    })?;
    let token = std::fs::read_to_string(dir.join("api_token"))?;
    Ok(Client::new(api, token.trim_end()))
}
