//! Peers that cheat, as a process: started beside real peers, heard out at its end.

use std::{process::Command, time::Duration};

use anyhow::{Context as _, ensure};
use bayan_protocol::id::{PeerId, TaskId};
use serde_json::Value;

use crate::{
    peers::{Node, address},
    program::{Program, built},
};

/// A cast that has not joined within this time never will.
const READY: Duration = Duration::from_secs(30);
/// How long it may take to end after it was told to.
const ENDS: Duration = Duration::from_secs(20);

/// A running `bayan-cast`.
pub struct Cast {
    program: Program,
    roles: Vec<String>,
}

/// What a member has done, as it says at its end.
#[derive(Debug, Clone)]
pub struct Member {
    /// What it was up to.
    pub role: String,
    /// Everyone it has been.
    pub identities: Vec<PeerId>,
    /// Results that it sent, right or wrong.
    pub results: u64,
    /// Of these, the wrong ones.
    pub wrong: u64,
    /// Results that it committed to and never revealed.
    pub withheld: u64,
    /// The tasks of which it sent a wrong result.
    pub wrong_tasks: Vec<TaskId>,
    /// The tasks of which it sent a guess that nobody in the cast can judge.
    pub unknown_tasks: Vec<TaskId>,
    /// Peers that a connection with it ended of, in order.
    pub lost: Vec<PeerId>,
}

impl Cast {
    /// Starts a member for each role, each on an address of its own, and waits until all of them are
    /// connected to `first`.
    pub fn join(first: &Node, seed: u64, roles: &[&str]) -> anyhow::Result<Self> {
        Self::behind(first, seed, roles, 0)
    }

    /// The same with so many members behind the first of them, which is a relay: they know nobody else.
    pub fn behind(first: &Node, seed: u64, roles: &[&str], behind: u64) -> anyhow::Result<Self> {
        let mut command = Command::new(built("bayan-cast"));
        command.args(["--bootstrap", &first.dial, "--seed", &seed.to_string()]);
        command.args(["--behind", &behind.to_string()]);
        for role in roles {
            command.args(["--role", role, "--listen", &address()]);
        }
        let mut program = Program::spawn(command)?;
        let mut missing: Vec<Value> = (0..roles.len()).map(Value::from).collect();
        program
            .wait_for(READY, |line| {
                let met_first = line["other"] == first.peer.as_str();
                let met_theirs =
                    line["member"].as_u64().is_some_and(|one| (1..=behind).contains(&one));
                if line["event"] == "meets" && (met_first || met_theirs) {
                    missing.retain(|member| *member != line["member"]);
                }
                missing.is_empty().then_some(())
            })
            .with_context(|| format!("not all of {roles:?} have joined"))?;
        Ok(Self { program, roles: roles.iter().map(|role| (*role).to_owned()).collect() })
    }

    /// Where a member is to be reached.
    pub fn dial(&self, member: usize) -> anyhow::Result<String> {
        let of_member = |line: &Value| line["event"] == "ready" && line["member"] == member;
        let heard = self.program.heard();
        let lines = heard.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let ready =
            lines.filter(of_member).find_map(|line| line["listening"].as_str().map(str::to_owned));
        ready.with_context(|| format!("member {member} has not said where it listens"))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// Follows what it says until `wanted` finds something.
    pub fn wait_for<T>(
        &mut self,
        limit: Duration,
        wanted: impl FnMut(&Value) -> Option<T>,
    ) -> anyhow::Result<T> {
        self.program.wait_for(limit, wanted)
    }

    /// Asks it to end and hears what its members have done, in the order of their roles.
    pub fn end(self) -> anyhow::Result<Vec<Member>> {
        self.program.signal(libc::SIGTERM)?;
        let finished = self.program.finish(ENDS)?.code(0)?;
        let lines = finished.json()?;
        // Test runners show this only of tests that fail.
        lines.iter().filter(|line| line["event"] == "loses").for_each(|line| eprintln!("{line}"));
        let of = |event: &str, member: usize| {
            let event = event.to_owned();
            lines.iter().filter(move |line| line["event"] == event && line["member"] == member)
        };
        let members = self.roles.iter().enumerate().map(|(number, role)| {
            let summary = of("summary", number).next_back();
            let summary = summary.with_context(|| format!("{role} gives no summary"))?;
            ensure!(summary["role"] == role.as_str(), "another role than {role}: {summary}");
            let lost = of("loses", number).filter_map(|line| line["other"].as_str()?.parse().ok());
            member(role, summary, lost.collect())
        });
        members.collect()
    }
}

fn member(role: &str, summary: &Value, lost: Vec<PeerId>) -> anyhow::Result<Member> {
    let count = |name: &str| summary[name].as_u64().with_context(|| format!("{name}: {summary}"));
    let texts = |name: &str| {
        let list = summary[name].as_array().with_context(|| format!("{name}: {summary}"))?;
        let text = |one: &Value| one.as_str().map(str::to_owned).context("a text");
        list.iter().map(text).collect::<anyhow::Result<Vec<String>>>()
    };
    let identities = texts("identities")?;
    let tasks = |name: &str| -> anyhow::Result<Vec<TaskId>> {
        Ok(texts(name)?.iter().map(|id| id.parse()).collect::<Result<_, _>>()?)
    };
    Ok(Member {
        role: role.to_owned(),
        identities: identities.iter().map(|id| id.parse()).collect::<Result<_, _>>()?,
        results: count("results")?,
        wrong: count("wrong")?,
        withheld: count("withheld")?,
        wrong_tasks: tasks("wrong_tasks")?,
        unknown_tasks: tasks("unknown_tasks")?,
        lost,
    })
}
