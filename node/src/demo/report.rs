//! What the demo shows: a live line per peer, and at the end who did what and what it cost.

use std::{collections::BTreeMap, path::Path, time::Duration};

use bayan_protocol::{
    id::PeerId,
    source::{JobView, WorkerView},
};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

use super::{
    Outcome, Roles,
    cast::{Cast, Member},
};

/// The terminal, or lines of JSON.
pub(crate) struct Screen {
    json: bool,
    bars: MultiProgress,
    total: ProgressBar,
    peers: BTreeMap<PeerId, ProgressBar>,
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

impl Screen {
    pub(crate) fn new(json: bool) -> Self {
        let bars = MultiProgress::new();
        let total = bars.add(ProgressBar::new(1));
        total.set_style(style("picture {bar:32} {pos}/{len} blocks  {elapsed}"));
        Self { json, bars, total, peers: BTreeMap::new() }
    }

    /// A sentence of its own.
    pub(crate) fn say(&self, text: &str) {
        if self.json {
            println!("{}", json!({ "event": "note", "text": text }));
        } else if self.bars.is_hidden() {
            println!("{text}");
        } else {
            let _ = self.bars.println(text);
        }
    }

    pub(crate) fn joined(&mut self, member: &Member) {
        let what = if member.role.saboteur { "  (will return wrong results)" } else { "" };
        if self.json {
            let line = json!({ "event": "peer", "number": member.role.number, "peer": member.peer,
                "pid": member.pid, "address": member.address, "saboteur": member.role.saboteur });
            println!("{line}");
        } else {
            self.say(&format!(
                "  {}  {}  pid {}{what}",
                member.role.name,
                member.peer.short(),
                member.pid
            ));
        }
        let bar = self.bars.add(ProgressBar::new(1));
        bar.set_style(style("{prefix} {bar:32} {msg}"));
        bar.set_prefix(format!("{:7}", member.role.name));
        self.peers.insert(member.peer, bar);
    }

    pub(crate) fn progress(&mut self, job: &JobView, cast: &Cast) {
        self.total.set_length(job.tasks);
        self.total.set_position(job.settled);
        for member in cast.members() {
            let Some(bar) = self.peers.get(&member.peer) else { continue };
            let worker = job.workers.iter().find(|worker| worker.peer == member.peer);
            bar.set_length(job.tasks);
            bar.set_position(worker.map_or(0, |worker| worker.returned));
            bar.set_message(if member.role.killed {
                "killed".to_owned()
            } else {
                worker.map_or("waiting for work".to_owned(), |worker| {
                    format!(
                        "{} returned, {} held, {} outvoted",
                        worker.returned, worker.held, worker.outvoted
                    )
                })
            });
        }
    }

    /// The table and the figures.
    pub(crate) fn finish(&mut self, outcome: &Outcome, roles: &Roles, picture: &Path) {
        self.total.finish_and_clear();
        for bar in self.peers.values() {
            bar.finish_and_clear();
        }
        let figures = Figures::of(outcome, roles.len());
        if self.json {
            println!("{}", figures.json(outcome, roles, picture));
        } else {
            print!("{}", figures.table(outcome, roles, picture));
        }
    }
}

/// What follows from the times measured.
struct Figures {
    /// Results returned, whether they counted or not.
    copies: u64,
    /// Cores that could compute at once.
    cores: usize,
    /// Native work done per core and second, over all executed copies.
    efficiency: f64,
    /// How many times longer a block takes in the sandbox than natively.
    sandbox: f64,
}

impl Figures {
    fn of(outcome: &Outcome, peers: usize) -> Self {
        let copies: u64 = outcome.job.workers.iter().map(|worker| worker.returned).sum();
        let cores = std::thread::available_parallelism().map_or(1, usize::from).min(peers);
        let per_copy = outcome.native.as_secs_f64() / outcome.tasks.max(1) as f64;
        let efficiency = copies as f64 * per_copy / (cores as f64 * seconds(outcome.wall));
        let sandbox = seconds(outcome.sandbox) / seconds(outcome.native);
        Self { copies, cores, efficiency, sandbox }
    }

    fn json(&self, outcome: &Outcome, roles: &Roles, picture: &Path) -> serde_json::Value {
        let workers: Vec<serde_json::Value> = outcome
            .job
            .workers
            .iter()
            .map(|worker| {
                let role = roles.get(&worker.peer);
                json!({ "peer": worker.peer, "number": role.map(|role| role.number),
                    "saboteur": role.is_some_and(|role| role.saboteur),
                    "killed": role.is_some_and(|role| role.killed),
                    "returned": worker.returned, "agreed": worker.agreed, "outvoted": worker.outvoted,
                    "late": worker.late })
            })
            .collect();
        json!({ "event": "done", "picture": picture, "tasks": outcome.tasks, "settled": outcome.job.settled,
            "failed": outcome.job.failed, "copies": self.copies, "cores": self.cores,
            "wall_seconds": seconds(outcome.wall), "native_seconds": seconds(outcome.native),
            "sandbox_seconds": seconds(outcome.sandbox), "efficiency_per_copy": self.efficiency,
            "sandbox_over_native": self.sandbox, "equal_to_sequential": outcome.equal, "workers": workers })
    }

    fn table(&self, outcome: &Outcome, roles: &Roles, picture: &Path) -> String {
        let mut text = format!(
            "\n{:<8} {:<10} {:>8} {:>8} {:>9} {:>6}  {}\n",
            "peer", "id", "returned", "agreed", "outvoted", "late", ""
        );
        let mut workers: Vec<&WorkerView> = outcome.job.workers.iter().collect();
        workers.sort_by_key(|worker| roles.get(&worker.peer).map(|role| role.number));
        for worker in workers {
            text.push_str(&row(worker, roles));
        }
        let percent = 100.0 * self.efficiency;
        text.push_str(&format!(
            "\n{} blocks, 2 peers agreeing on each: {} copies computed in {:.2} s on {} cores\n",
            outcome.tasks,
            self.copies,
            seconds(outcome.wall),
            self.cores
        ));
        text.push_str(&format!(
            "one sequential native run takes {:.2} s, in the sandbox {:.2} s ({:.1}x)\n",
            seconds(outcome.native),
            seconds(outcome.sandbox),
            self.sandbox
        ));
        text.push_str(&format!(
            "efficiency per executed copy {percent:.0}% of native speed; against the sandbox's own speed {:.0}%\n",
            percent * self.sandbox
        ));
        text.push_str(&if outcome.equal {
            format!(
                "the picture equals the sequential one, pixel by pixel: {}\n",
                picture.display()
            )
        } else {
            format!("THE PICTURE DIFFERS from the sequential one: {}\n", picture.display())
        });
        text
    }
}

fn row(worker: &WorkerView, roles: &Roles) -> String {
    let role = roles.get(&worker.peer);
    let fate = match role {
        Some(role) if role.saboteur => "returned wrong results and was outvoted",
        Some(role) if role.killed => "killed in the middle",
        _ => "",
    };
    format!(
        "{:<8} {:<10} {:>8} {:>8} {:>9} {:>6}  {fate}\n",
        role.map_or("?", |role| role.name.as_str()),
        worker.peer.short(),
        worker.returned,
        worker.agreed,
        worker.outvoted,
        worker.late
    )
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64().max(1e-6)
}
