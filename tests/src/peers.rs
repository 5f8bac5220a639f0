//! Real peers as processes: started on loopback addresses of their own, with directories of their
//! own, bounded in time, ended by process id.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use bayan::{api::types::PeerInfo, client::Client};
use bayan_protocol::id::PeerId;

pub use crate::native::module;
use crate::{
    namespaces::Host,
    program::{Program, bayan},
};

/// A peer that is not ready within this time never will be.
const READY: Duration = Duration::from_secs(30);
/// How long a process may take to end after it was told to.
const ENDS: Duration = Duration::from_secs(20);

static NEXT: AtomicU32 = AtomicU32::new(1);

/// A loopback address that no other peer of this test has; test processes differ by their ids.
pub fn address() -> String {
    let (process, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    format!("127.{}.{}.1", 16 + process % 80, next % 256)
}

/// A started `bayan node`.
pub struct Node {
    program: Program,
    /// Its peer id, hexadecimal.
    pub peer: String,
    /// Its first address, as others dial it.
    pub dial: String,
    /// Where its local API is.
    pub api: SocketAddr,
    /// Its data directory.
    pub dir: PathBuf,
    args: Vec<String>,
    host: Option<Host>,
}

impl Node {
    /// Starts a peer on `dir`, listening on an address of its own, with further arguments.
    pub fn start(dir: &Path, args: &[&str]) -> anyhow::Result<Self> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        Self::start_at(dir, SocketAddr::new(address().parse()?, 0), args, None)
    }

    /// Starts a peer on `dir`, listening on this address.
    pub fn start_on(dir: &Path, address: &str, args: &[&str]) -> anyhow::Result<Self> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        Self::start_at(dir, SocketAddr::new(address.parse()?, 0), args, None)
    }

    /// Starts a peer on a host of a network of its own. Its local API is reached from there alone, by
    /// [`Host::bayan`].
    pub fn start_in(dir: &Path, host: &Host, args: &[&str]) -> anyhow::Result<Self> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        Self::start_at(dir, SocketAddr::new(host.address().into(), 0), args, Some(host.clone()))
    }

    /// Starts a peer with one slot that joins the network of another.
    pub fn join(dir: &Path, first: &Self, args: &[&str]) -> anyhow::Result<Self> {
        let mut all = vec!["--slots", "1", "--bootstrap", &first.dial];
        all.extend(args);
        Self::start(dir, &all)
    }

    fn start_at(
        dir: &Path,
        listen: SocketAddr,
        args: Vec<String>,
        host: Option<Host>,
    ) -> anyhow::Result<Self> {
        let mut command = bayan(dir);
        command.args(["node", "--json", "--no-mdns"]);
        command
            .args(["--listen", &format!("/ip4/{}/tcp/{}", listen.ip(), listen.port())])
            .args(&args);
        command.env("BAYAN_LOG", std::env::var("BAYAN_LOG").unwrap_or_else(|_| "info".to_owned()));
        if let Some(host) = &host {
            command = host.enter(command);
        }
        let mut program = Program::spawn(command)?;
        let ready = program
            .wait_for(READY, |line| (line["event"] == "ready").then(|| line.clone()))
            .with_context(|| format!("the peer on {} did not get ready", dir.display()))?;
        let text = |field: &serde_json::Value| field.as_str().map(str::to_owned).context("a text");
        Ok(Self {
            program,
            peer: text(&ready["peer"])?,
            dial: text(&ready["listening"][0])?,
            api: text(&ready["api"])?.parse()?,
            dir: dir.to_path_buf(),
            args,
            host,
        })
    }

    /// Starts it again on its directory and address, after it has ended or been told to.
    pub fn restart(mut self) -> anyhow::Result<Self> {
        self.end()?;
        let (dir, args, socket) = (self.dir.clone(), self.args.clone(), self.socket()?);
        let host = self.host.clone();
        drop(self);
        Self::start_at(&dir, socket, args, host)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// Its peer id.
    pub fn id(&self) -> anyhow::Result<PeerId> {
        self.peer.parse().context("a peer id")
    }

    /// A client of its local API.
    pub fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(self.api, fs::read_to_string(self.dir.join("api_token"))?.trim_end()))
    }

    /// The port that it listens on for other peers.
    pub fn socket(&self) -> anyhow::Result<SocketAddr> {
        let parts: Vec<&str> = self.dial.split('/').collect();
        ensure!(
            parts.len() > 4 && parts[1] == "ip4" && parts[3] == "tcp",
            "{} is not TCP",
            self.dial
        );
        Ok(format!("{}:{}", parts[2], parts[4]).parse()?)
    }

    /// Whether the process lives.
    pub fn is_up(&mut self) -> anyhow::Result<bool> {
        Ok(self.program.status()?.is_none())
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) {
        self.program.kill();
    }

    /// Asks it to end, as a service manager does, and waits until it has.
    pub fn end(&mut self) -> anyhow::Result<ExitStatus> {
        if let Some(status) = self.program.status()? {
            return Ok(status);
        }
        self.program.signal(libc::SIGTERM)?;
        let status = self.program.wait(ENDS)?;
        ensure!(status.success(), "the peer ended with {status}");
        Ok(status)
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        self.program.stderr()
    }

    /// What `bayan peers` says of it, wherever it is.
    pub fn info(&self) -> anyhow::Result<PeerInfo> {
        let Some(host) = &self.host else { return Ok(self.client()?.peer()?) };
        let said = host.bayan(&self.dir, &["peers", "--json"], ENDS)?.code(0)?;
        serde_json::from_str(&said.stdout).context("a peer's standing")
    }

    /// The same for people.
    pub fn peers_in_words(&self) -> anyhow::Result<String> {
        let said = match &self.host {
            Some(host) => host.bayan(&self.dir, &["peers"], ENDS)?,
            None => crate::program::run(&self.dir, &["peers"], ENDS)?,
        };
        Ok(said.code(0)?.stdout)
    }

    /// Waits until it is connected, with hellos exchanged, to at least `count` peers.
    pub fn meets(&self, count: usize) -> anyhow::Result<()> {
        crate::program::until("the peers to meet", READY, || {
            let met =
                self.info()?.view.neighbours.iter().filter(|peer| peer.agent.is_some()).count();
            Ok((met >= count).then_some(()))
        })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        // Test runners show this only of tests that fail.
        let log = self.log();
        // `BAYAN_KEEP_LOGS` names a directory for the whole ones.
        if let (Some(keep), Some(name)) =
            (std::env::var_os("BAYAN_KEEP_LOGS"), self.dir.file_name())
        {
            let name = format!("{}-{}.log", name.display(), self.program.pid());
            let _ = fs::write(Path::new(&keep).join(name), &log);
        }
        let from = log.len().saturating_sub(2500);
        let from = (from..log.len()).find(|at| log.is_char_boundary(*at)).unwrap_or(log.len());
        eprintln!(
            "--- end of the log of {} ({})\n{}",
            self.dir.display(),
            &self.peer[..8],
            &log[from..]
        );
    }
}
