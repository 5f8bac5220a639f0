//! The demo's peers: processes that are started, watched and always ended.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use bayan_protocol::{id::PeerId, source::JobView};
use serde_json::Value;

use super::Roles;

/// A peer that does not listen within this time never will.
const READY: Duration = Duration::from_secs(30);
/// How long peers may take to end politely.
const ENDS: Duration = Duration::from_secs(5);

/// Border colours, told apart by most eyes.
const COLOURS: [[u8; 3]; 8] = [
    [0x4e, 0x9a, 0xf1],
    [0xf2, 0x9e, 0x4c],
    [0x5a, 0xc8, 0x7a],
    [0xe0, 0x5a, 0x5a],
    [0xb0, 0x7c, 0xe8],
    [0xf5, 0xd7, 0x5a],
    [0x4c, 0xd0, 0xc8],
    [0xf0, 0x8c, 0xc0],
];

/// What a peer is in the play.
#[derive(Debug, Clone)]
pub(crate) struct Role {
    pub(crate) number: usize,
    pub(crate) name: String,
    pub(crate) colour: [u8; 3],
    pub(crate) saboteur: bool,
    pub(crate) killed: bool,
}

/// One peer.
pub(crate) struct Member {
    pub(crate) peer: PeerId,
    pub(crate) pid: u32,
    pub(crate) address: String,
    pub(crate) role: Role,
    child: Child,
}

/// All of them. Dropping it ends every process.
pub(crate) struct Cast {
    members: Vec<Member>,
    has_killed: bool,
}

/// The loopback address of peer `number`; runs at the same time differ by their process ids.
pub(crate) fn address(number: usize) -> String {
    format!("127.{}.{}.1", 100 + std::process::id() % 100, number + 1)
}

impl Cast {
    /// Starts the peers: each but the first is told the first one's address and nothing else.
    pub(crate) fn start(dir: &Path, count: u32, interrupted: &AtomicBool) -> anyhow::Result<Self> {
        let mut cast = Self { members: Vec::new(), has_killed: false };
        for number in 1..=count as usize {
            if interrupted.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            let saboteur = number == 3;
            let mut extra: Vec<String> = Vec::new();
            if let Some(first) = cast.members.first() {
                extra.extend(["--bootstrap".to_owned(), first.address.clone()]);
            }
            if saboteur {
                extra.push("--sabotage".to_owned());
            }
            let role = Role {
                number,
                name: format!("peer {number}"),
                colour: COLOURS[(number - 1) % COLOURS.len()],
                saboteur,
                killed: false,
            };
            cast.members.push(start_one(
                &dir.join(format!("peer-{number}")),
                number,
                &extra,
                role,
            )?);
        }
        Ok(cast)
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    pub(crate) fn first_address(&self) -> &str {
        self.members.first().map_or("", |member| &member.address)
    }

    pub(crate) fn roles(&self) -> Roles {
        self.members
            .iter()
            .map(|member| (member.peer, member.role.clone()))
            .collect::<BTreeMap<_, _>>()
    }

    /// Kills one honest peer that holds work, once; says which.
    pub(crate) fn kill_one(&mut self, job: &JobView) -> Option<String> {
        if self.has_killed {
            return None;
        }
        let holds = |peer: &PeerId| {
            job.workers.iter().any(|worker| worker.peer == *peer && worker.held > 0)
        };
        let victim = self
            .members
            .iter_mut()
            .rev()
            .find(|member| !member.role.saboteur && holds(&member.peer))?;
        let _ = victim.child.kill();
        let _ = victim.child.wait();
        victim.role.killed = true;
        self.has_killed = true;
        Some(victim.role.name.clone())
    }

    /// Ends every peer: politely, and then not.
    pub(crate) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // A peer of the demo ends when its standard input does.
        for member in &mut self.members {
            drop(member.child.stdin.take());
        }
        let deadline = Instant::now() + ENDS;
        for member in &mut self.members {
            while matches!(member.child.try_wait(), Ok(None)) {
                if Instant::now() >= deadline {
                    let _ = member.child.kill();
                    let _ = member.child.wait();
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

impl Drop for Cast {
    fn drop(&mut self) {
        self.end();
    }
}

fn start_one(dir: &Path, number: usize, extra: &[String], role: Role) -> anyhow::Result<Member> {
    let program =
        std::env::current_exe().context("cannot find this program to start peers with")?;
    std::fs::create_dir_all(dir)?;
    let log = std::fs::File::create(dir.with_extension("log"))?;
    let mut child = Command::new(program)
        .args(["--data-dir".as_ref(), dir.as_os_str(), "node".as_ref()])
        .args(["--json", "--no-mdns", "--no-quic", "--slots", "1", "--until-stdin-closes"])
        .args(["--listen", &format!("/ip4/{}/tcp/0", address(number))])
        .args(extra)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .context("cannot start a peer")?;
    match ready(&mut child) {
        Ok((peer, address)) => Ok(Member { peer, pid: child.id(), address, role, child }),
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            let log = std::fs::read_to_string(dir.with_extension("log")).unwrap_or_default();
            Err(error.context(format!("{} did not start; it said:\n{log}", role.name)))
        }
    }
}

/// Reads the line in which a peer says who and where it is.
fn ready(child: &mut Child) -> anyhow::Result<(PeerId, String)> {
    let stdout = child.stdout.take().context("its output is piped")?;
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = tell.send(line);
        }
    });
    let deadline = Instant::now() + READY;
    loop {
        let line = told
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            .context("it ended, or was silent for too long")?;
        let Ok(value) = serde_json::from_str::<Value>(&line) else { continue };
        if value["event"] == "ready" {
            let peer = value["peer"]
                .as_str()
                .and_then(|peer| peer.parse().ok())
                .context("it gave no peer id")?;
            let address = value["listening"][0].as_str().context("it listens nowhere")?;
            return Ok((peer, address.to_owned()));
        }
    }
}
