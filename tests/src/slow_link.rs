//! A job whose submitter sits behind a modem line, in three arrangements: the workers are reached
//! over the line directly, through a volunteer server beside them, or all on one fast network.
//!
//! A run is judged by two bounds that no arrangement can beat. The *link bound* is the time that the
//! module once, every distinct input and every distinct output take at the line's rate; the *CPU
//! bound* is what the slots computed in that run, so a machine that is slower today is no one's fault.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, ensure};
use bayan_protocol::{
    crypto::{Keypair, Signature},
    id::{Hash, JobId, LeaseId, TaskId},
    path::Hop,
    result::{Ack, Commit, Leaf, Opened, Output, Reveal},
    source::JobView,
    task::{self, Limits, PROFILE_V1, Program, Status},
    wire::{Frame, Lease, LeasedTask},
};
use serde_bytes::ByteBuf;
use serde_json::Value;

use crate::{
    guests,
    namespaces::{Cable, Host, Network, Traffic},
    peers::Node,
    program::{self, Finished, Program as Process, until},
};

/// The line.
pub const LINE: &str = "28.8kbit";
/// What it carries, bytes a second.
pub const CARRIES: f64 = 3600.0;
/// Bytes of an input, and of its output, which repeats it.
pub const INPUT: usize = 480;
/// Bytes that the module has beyond its code.
const PADDING: usize = 3000;
/// Nothing here takes longer.
const LIMIT: Duration = Duration::from_secs(300);
/// Between two looks at whether the module has arrived.
const LOOK: Duration = Duration::from_millis(250);

/// Where the workers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrangement {
    /// Behind the line, each connected to the submitter.
    Direct,
    /// Behind the line, connected to a volunteer server beside them.
    Relayed,
    /// Beside the submitter.
    Near,
}

/// What is computed, by how many.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Distinct tasks.
    pub tasks: usize,
    /// Workers of one slot.
    pub workers: usize,
    /// Turns of an empty loop in each task.
    pub steps: u64,
}

/// A module for a load.
pub struct Job {
    load: Load,
    module: Vec<u8>,
}

/// How a run went.
#[derive(Debug)]
pub struct Outcome {
    arrangement: Arrangement,
    /// From submission to end.
    pub wall: Duration,
    /// See the module's head.
    pub link_bound: Duration,
    /// See the module's head.
    pub cpu_bound: Duration,
    /// Of the slots' time from the module's arrival at the first worker on, what they held a task.
    pub busy: f64,
    /// From submission to the module's arrival at the first worker.
    pub arrival: Duration,
    /// What went over the line during the job; from the submitter is *there*.
    pub traffic: Option<Traffic>,
    /// Of it, frames of work and blobs without what carries them, both ways.
    pub frames: (u64, u64),
    tasks: u64,
}

impl Job {
    /// Makes the module.
    ///
    /// # Errors
    /// If its text is none.
    pub fn new(load: Load) -> anyhow::Result<Self> {
        let module = wat::parse_str(guests::padded_echo(load.steps, PADDING))?;
        Ok(Self { load, module })
    }

    /// See the module's head.
    pub fn link_bound(&self) -> Duration {
        let bytes = self.module.len() + self.load.tasks * 2 * INPUT;
        Duration::from_secs_f64(bytes as f64 / CARRIES)
    }

    /// Runs it.
    ///
    /// # Errors
    /// If it does not come to a right end in time.
    pub fn run(&self, arrangement: Arrangement) -> anyhow::Result<Outcome> {
        let dir = tempfile::tempdir()?;
        let stage = Stage::build(dir.path(), arrangement, self.load.workers)?;
        let (module, inputs) = (dir.path().join("module.wasm"), dir.path().join("inputs"));
        fs::write(&module, &self.module)?;
        let lines: Vec<String> = (0..self.load.tasks).map(|number| line(number as u64)).collect();
        fs::write(&inputs, lines.concat())?;
        let before = stage.traffic()?;
        let frames = stage.frames()?;
        let run = stage.submit(&module, &inputs)?;
        let outcome = self.follow(&stage, run, arrangement)?;
        let written = fs::read_to_string(stage.out())?;
        ensure!(written == lines.concat(), "the outputs are not the inputs");
        let after = stage.frames()?;
        Ok(Outcome {
            traffic: stage.traffic()?.zip(before).map(|(after, before)| after.since(before)),
            frames: (after.0 - frames.0, after.1 - frames.1),
            ..outcome
        })
    }

    fn follow(
        &self,
        stage: &Stage,
        run: Process,
        arrangement: Arrangement,
    ) -> anyhow::Result<Outcome> {
        // The first task is there before the module, so a slot holds it as soon as that has come.
        let arrived = until("the module to arrive at a worker", LIMIT, || {
            std::thread::sleep(LOOK);
            for worker in &stage.workers {
                let view = worker.info()?.view;
                if view.free < view.slots || view.executed > 0 {
                    return Ok(Some(SystemTime::now()));
                }
            }
            Ok(None)
        })?;
        let view = finished(run.finish(LIMIT)?.code(0)?)?;
        ensure!(view.failed == 0, "{} tasks failed", view.failed);
        let ended = view.ended.context("the job has ended")?;
        let mut busy = Duration::ZERO;
        for worker in &stage.workers {
            busy += Duration::from_micros(worker.info()?.view.busy_micros);
        }
        let computed: u64 = view.workers.iter().map(|worker| worker.micros).sum();
        let slots = u32::try_from(stage.workers.len())?;
        let micros = arrived.duration_since(SystemTime::UNIX_EPOCH)?.as_micros();
        let arrived = bayan_protocol::time::Timestamp(u64::try_from(micros)?);
        let since = ended.since(arrived).as_secs_f64() * stage.workers.len() as f64;
        Ok(Outcome {
            arrangement,
            wall: ended.since(view.submitted),
            link_bound: self.link_bound(),
            cpu_bound: Duration::from_micros(computed) / slots,
            busy: busy.as_secs_f64() / since,
            arrival: arrived.since(view.submitted),
            traffic: None,
            frames: (0, 0),
            tasks: view.tasks,
        })
    }
}

/// What one task costs in frames, if it travels alone: the kind, bytes that come with every frame of
/// it, and bytes that each task adds, its own input or output included.
pub fn anatomy(input: usize) -> Vec<(&'static str, usize, usize)> {
    let key = Keypair::from_seed(&[1; 32]);
    let (me, id) = (key.peer_id(), [9; 32]);
    let program = Program {
        module: Hash(id),
        module_len: 4000,
        args: Vec::new(),
        env: Vec::new(),
        data: Vec::new(),
        limits: Limits::default(),
        profile: PROFILE_V1.to_owned(),
        salt: Hash(id),
    };
    let lease = |tasks: usize| {
        let input = task::Input::Inline(ByteBuf::from(vec![0; input]));
        let task = LeasedTask { task: TaskId(id), input };
        Frame::Lease(Lease {
            lease: LeaseId(id),
            job: JobId(id),
            submitter: me,
            program: program.clone(),
            lasts_ms: 30_000,
            path: vec![Hop {
                giver: me,
                lease: LeaseId(id),
                root: Hash(id),
                signature: Signature([9; 64]),
            }],
            tasks: vec![task; tasks],
            share: 1,
        })
    };
    let leaf = Leaf {
        task: TaskId(id),
        job: JobId(id),
        submitter: me,
        lease: LeaseId(id),
        worker: me,
        status: Status::Exited(0),
        output_commit: Hash(id),
        fuel: 1_000_000_000,
    };
    let output = Output::Inline(ByteBuf::from(vec![0; input]));
    let opened = Opened { leaf, nonce: Hash(id), output, log: ByteBuf::new(), micros: 1_000_000 };
    let reveal = |count: usize| {
        Frame::Reveal(Reveal { root: Hash(id), opened: vec![opened.clone(); count] })
    };
    let ack = Ack::sign(&key, JobId(id), Hash(id), 1 << 50);
    let signature = ack.signature;
    let commit = Frame::Commit(Commit {
        job: JobId(id),
        sequence: 1 << 50,
        root: Hash(id),
        count: 1,
        signature,
    });
    let pair = |name, one: Frame, two: Frame| {
        let (one, two) = (one.encode().len() + 4, two.encode().len() + 4);
        (name, one - (two - one), two - one)
    };
    vec![
        pair("lease", lease(1), lease(2)),
        pair("commit", commit.clone(), commit),
        pair("reveal", reveal(1), reveal(2)),
        pair("ack", Frame::Ack(ack.clone()), Frame::Ack(ack)),
    ]
}

/// An input: its number, and text that is like no other.
fn line(number: u64) -> String {
    let mut text = format!("{number} ");
    let mut mixed = number;
    while text.len() < INPUT - 1 {
        mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
        text.push_str(&format!("{mixed:016x}"));
    }
    text.truncate(INPUT - 1);
    text + "\n"
}

fn finished(run: Finished) -> anyhow::Result<JobView> {
    let last = run.json()?.into_iter().rev().find(|line| line["event"] == "finished");
    let view = last.context("the run did not finish")?["job"].clone();
    Ok(serde_json::from_value::<JobView>(view)?)
}

/// Peers on their networks.
struct Stage {
    dir: PathBuf,
    submitter: Node,
    place: Host,
    workers: Vec<Node>,
    /// The volunteer server, if there is one.
    _server: Option<Node>,
    cable: Option<Cable>,
    /// Goes last: processes end before their networks.
    _network: Network,
}

impl Stage {
    fn build(dir: &Path, arrangement: Arrangement, workers: usize) -> anyhow::Result<Self> {
        let mut network = Network::new()?;
        let near = network.switch()?;
        let (far, cable) = if arrangement == Arrangement::Near {
            (near, None)
        } else {
            let far = network.switch()?;
            (far, Some(network.join(near, far, Some(LINE))?))
        };
        let mut server = None;
        if arrangement == Arrangement::Relayed {
            let args = ["--slots", "0", "--relay-work", "auto"];
            server = Some(Node::start_in(&dir.join("server"), &network.host(far, None)?, &args)?);
        }
        let mut nodes = Vec::new();
        for number in 0..workers {
            let place = network.host(far, None)?;
            let mut args = vec!["--slots", "1"];
            if let Some(server) = &server {
                args.extend(["--bootstrap", &server.dial, "--relay-work", "never"]);
            }
            nodes.push(Node::start_in(&dir.join(format!("worker-{number}")), &place, &args)?);
        }
        let place = network.host(near, None)?;
        let link = if cable.is_some() { LINE } else { "auto" };
        let mut args = vec!["--slots", "1", "--accept", "own", "--link", link];
        let upstream: Vec<&Node> = server.as_ref().map_or(nodes.iter().collect(), |one| vec![one]);
        args.extend(upstream.iter().flat_map(|node| ["--bootstrap", node.dial.as_str()]));
        let submitter = Node::start_in(&dir.join("submitter"), &place, &args)?;
        submitter.meets(upstream.len())?;
        if let Some(server) = &server {
            server.meets(workers + 1)?;
        }
        let stage = Self {
            dir: dir.to_path_buf(),
            submitter,
            place,
            workers: nodes,
            _server: server,
            cable,
            _network: network,
        };
        stage.rest()?;
        Ok(stage)
    }

    /// Waits until the line has little to carry.
    fn rest(&self) -> anyhow::Result<()> {
        until("the line to come to rest", LIMIT, || {
            let before = self.traffic()?;
            std::thread::sleep(Duration::from_secs(3));
            let passed = self.traffic()?.zip(before).map(|(after, before)| after.since(before));
            let most = (CARRIES * 3.0 * 0.1) as u64;
            Ok(passed.is_none_or(|one| one.there <= most && one.back <= most).then_some(()))
        })
    }

    fn out(&self) -> PathBuf {
        self.dir.join("out")
    }

    fn traffic(&self) -> anyhow::Result<Option<Traffic>> {
        self.cable.as_ref().map(Cable::traffic).transpose()
    }

    /// Frames and blobs of the submitter so far, both ways.
    fn frames(&self) -> anyhow::Result<(u64, u64)> {
        let all = self.submitter.info()?.connections;
        let sum = |part: fn(&bayan::api::types::Traffic) -> u64| {
            all.iter().map(|one| part(&one.traffic)).sum::<u64>()
        };
        Ok((
            sum(|one| one.work_sent + one.blobs_sent),
            sum(|one| one.work_received + one.blobs_received),
        ))
    }

    /// Submits through the submitter's peer.
    fn submit(&self, module: &Path, inputs: &Path) -> anyhow::Result<Process> {
        let mut command = program::bayan(&self.submitter.dir);
        command.args(["run", "--json", "--trust", "none", "--local", "never"]);
        command.arg("--concat").arg(self.out()).arg("--lines").arg(inputs).arg(module);
        let mut run = Process::spawn(self.place.enter(command))?;
        run.wait_for(LIMIT, |line: &Value| (line["event"] == "submitted").then_some(()))?;
        Ok(run)
    }
}

impl Outcome {
    /// The wall time over the larger bound.
    pub fn over_bound(&self) -> f64 {
        self.wall.as_secs_f64() / self.cpu_bound.max(self.link_bound).as_secs_f64()
    }

    /// Bytes on the line for a task, from the submitter and to it; and the frames of these.
    pub fn per_task(&self) -> Option<[u64; 4]> {
        let traffic = self.traffic?;
        let all = [traffic.there, traffic.back, self.frames.0, self.frames.1];
        Some(all.map(|bytes| bytes / self.tasks.max(1)))
    }

    /// The head of a table of outcomes.
    pub fn head() -> String {
        format!(
            "{:<10} {:>7} {:>7} {:>7} {:>6} {:>7} {:>7}  bytes a task on the line (of them frames and blobs)",
            "workers", "wall", "link", "CPU", "over", "arrival", "busy"
        )
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.arrangement {
            Arrangement::Direct => "(a) direct",
            Arrangement::Relayed => "(b) server",
            Arrangement::Near => "(c) near",
        };
        write!(
            f,
            "{name:<10} {:>6.1}s {:>6.1}s {:>6.1}s {:>6.2} {:>6.1}s {:>6.1}%  ",
            self.wall.as_secs_f64(),
            self.link_bound.as_secs_f64(),
            self.cpu_bound.as_secs_f64(),
            self.over_bound(),
            self.arrival.as_secs_f64(),
            100.0 * self.busy,
        )?;
        match self.per_task() {
            Some([there, back, sent, received]) => {
                write!(f, "{there} there ({sent}), {back} back ({received})")
            }
            None => write!(f, "no line"),
        }
    }
}
