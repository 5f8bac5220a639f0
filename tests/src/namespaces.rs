//! Small networks for tests: hosts and switches in network namespaces of their own, joined by
//! virtual cables, each with a rate if one is wanted. Works as root and, with a user namespace, as
//! anybody; nothing of it is seen outside, and no address of it is reachable from outside.
//!
//! A namespace lives as long as a process in it. So each has a *holder*, a `cat` that waits for the
//! end of its standard input: it ends when the network is dropped, and also when the test process
//! dies of anything at all, and the kernel takes cables, switches and rates away with it.
//!
//! A rate is kept by the kernel (`tc … tbf`). Delay and loss are injected elsewhere
//! ([`crate::proxy`]): not every kernel has `netem`.

use std::{
    io::{BufRead as _, BufReader},
    net::Ipv4Addr,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::program::{self, Finished, Program};

/// Bytes that a cable with a rate sends at once after a pause; at least one full packet.
pub const BURST: u32 = 2048;
/// Bytes that wait in front of a cable with a rate before further ones are dropped. A little more
/// than the first ten packets that TCP sends without being answered.
const QUEUE: u32 = 24 << 10;
/// The network of every host: 10.77.SWITCH.HOST.
const NETWORK: [u8; 2] = [10, 77];
/// Where all switches and both ends of every cable between them are.
const HUB: usize = 0;

/// A network. Dropping it takes it down.
pub struct Network {
    holders: Vec<Holder>,
    in_user_namespace: bool,
    switches: u8,
    cables: u32,
}

/// A switch: hosts on it reach each other as on a local network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch(u8);

/// A place for processes, with one network interface.
#[derive(Debug, Clone)]
pub struct Host {
    pid: u32,
    in_user_namespace: bool,
    address: Ipv4Addr,
}

/// A cable between two switches, to be looked at.
#[derive(Debug, Clone)]
pub struct Cable {
    hub: Host,
    ends: [String; 2],
}

/// What went over a cable so far, as the kernel counts it: whole Ethernet frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes from the first switch to the second.
    pub there: u64,
    /// Bytes from the second switch to the first.
    pub back: u64,
    /// Packets that found the queue in front of the cable full, both ways.
    pub dropped: u64,
}

/// The process that keeps a namespace alive.
struct Holder {
    child: Child,
    /// Closing it ends the process.
    stdin: Option<ChildStdin>,
}

impl Network {
    /// An empty network. As root, without a user namespace.
    ///
    /// # Errors
    /// In words that say what is missing and how to get it.
    pub fn new() -> anyhow::Result<Self> {
        // The owner of one's own process directory is who one is.
        let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self")?);
        Self::with(uid != 0)
    }

    /// An empty network as a user without rights makes it.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn as_user() -> anyhow::Result<Self> {
        Self::with(true)
    }

    fn with(in_user_namespace: bool) -> anyhow::Result<Self> {
        for (tool, package) in [("ip", "iproute2"), ("tc", "iproute2"), ("nsenter", "util-linux")] {
            let found = Command::new(tool).arg("-V").stdout(Stdio::null()).status();
            ensure!(
                found.is_ok_and(|status| status.success()),
                "`{tool}` is missing; install it with: sudo apt-get install {package}"
            );
        }
        let mut unshare = Command::new("unshare");
        unshare.arg(if in_user_namespace { "-Urn" } else { "-n" });
        let hub = Holder::start(unshare).context(
            "no network namespace can be made here; as an ordinary user this needs user namespaces \
             (sudo sysctl kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0)",
        )?;
        Ok(Self { holders: vec![hub], in_user_namespace, switches: 0, cables: 0 })
    }

    /// A new switch that nothing is connected to.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn switch(&mut self) -> anyhow::Result<Switch> {
        ensure!(self.switches < 250, "that many switches have no addresses");
        self.switches += 1;
        let name = bridge(self.switches);
        self.hub().ip(&["link", "add", &name, "type", "bridge", "mcast_snooping", "0"])?;
        self.hub().ip(&["link", "set", &name, "up"])?;
        Ok(Switch(self.switches))
    }

    /// A new host on a switch, whose cable has this rate each way, or none.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn host(&mut self, switch: Switch, rate: Option<&str>) -> anyhow::Result<Host> {
        let number = u8::try_from(self.holders.len()).ok().filter(|number| *number < 255);
        let number = number.context("that many hosts have no addresses")?;
        let mut unshare = self.hub().enter(Command::new("unshare"));
        unshare.arg("-n");
        let holder = Holder::start(unshare)?;
        let host = Host {
            pid: holder.child.id(),
            in_user_namespace: self.in_user_namespace,
            address: Ipv4Addr::new(NETWORK[0], NETWORK[1], switch.0, number),
        };
        self.holders.push(holder);
        let port = format!("host{number}");
        let pid = host.pid.to_string();
        let hub = self.hub();
        hub.ip(&["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &pid])?;
        hub.ip(&["link", "set", &port, "master", &bridge(switch.0), "up"])?;
        host.ip(&["address", "add", &format!("{}/16", host.address), "dev", "eth0"])?;
        host.ip(&["link", "set", "lo", "up"])?;
        host.ip(&["link", "set", "eth0", "up"])?;
        if let Some(rate) = rate {
            hub.limit(&port, rate)?;
            host.limit("eth0", rate)?;
        }
        Ok(host)
    }

    /// Joins two switches by a cable of this rate each way, or none.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn join(
        &mut self,
        one: Switch,
        other: Switch,
        rate: Option<&str>,
    ) -> anyhow::Result<Cable> {
        self.cables += 1;
        let ends = ["a", "b"].map(|end| format!("cable{}{end}", self.cables));
        let hub = self.hub();
        hub.ip(&["link", "add", &ends[0], "type", "veth", "peer", "name", &ends[1]])?;
        for (end, switch) in ends.iter().zip([one, other]) {
            hub.ip(&["link", "set", end, "master", &bridge(switch.0), "up"])?;
            if let Some(rate) = rate {
                hub.limit(end, rate)?;
            }
        }
        Ok(Cable { hub, ends })
    }

    /// Process ids of all holders.
    pub fn holders(&self) -> Vec<u32> {
        self.holders.iter().map(|holder| holder.child.id()).collect()
    }

    fn hub(&self) -> Host {
        Host {
            pid: self.holders[HUB].child.id(),
            in_user_namespace: self.in_user_namespace,
            address: Ipv4Addr::UNSPECIFIED,
        }
    }
}

fn bridge(switch: u8) -> String {
    format!("switch{switch}")
}

impl Host {
    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The same command, to be run in this place. Its process id is the program's own.
    pub fn enter(&self, command: Command) -> Command {
        let mut entering = Command::new("nsenter");
        entering.args(["--target", &self.pid.to_string(), "--net"]);
        if self.in_user_namespace {
            entering.args(["--user", "--preserve-credentials"]);
        }
        entering.arg("--").arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => entering.env(name, value),
                None => entering.env_remove(name),
            };
        }
        entering
    }

    /// Runs `bayan` here on a data directory to its end, at most `limit` long.
    ///
    /// # Errors
    /// If it cannot be started, or does not end.
    pub fn bayan(&self, dir: &Path, args: &[&str], limit: Duration) -> anyhow::Result<Finished> {
        let mut command = program::bayan(dir);
        command.args(args);
        Program::spawn(self.enter(command))?.finish(limit)
    }

    fn ip(&self, args: &[&str]) -> anyhow::Result<String> {
        self.tool("ip", args)
    }

    fn limit(&self, device: &str, rate: &str) -> anyhow::Result<()> {
        let (burst, queue) = (BURST.to_string(), QUEUE.to_string());
        let rate = ["rate", rate, "burst", &burst, "limit", &queue];
        let add = [&["qdisc", "add", "dev", device, "root", "tbf"], &rate[..]].concat();
        self.tool("tc", &add).map(drop)
    }

    fn tool(&self, tool: &str, args: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(tool);
        command.args(args);
        let done = self.enter(command).stdin(Stdio::null()).output()?;
        ensure!(
            done.status.success(),
            "{tool} {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&done.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }
}

impl Cable {
    /// What the kernel counted so far.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub fn traffic(&self) -> anyhow::Result<Traffic> {
        let [there, back] = [self.sent(&self.ends[0])?, self.sent(&self.ends[1])?];
        Ok(Traffic { there: there.0, back: back.0, dropped: there.1 + back.1 })
    }

    /// Bytes that left at an end, and packets that its queue dropped.
    fn sent(&self, end: &str) -> anyhow::Result<(u64, u64)> {
        let told = self.hub.ip(&["-s", "-j", "link", "show", "dev", end])?;
        let bytes = serde_json::from_str::<Value>(&told)?[0]["stats64"]["tx"]["bytes"].as_u64();
        let told = self.hub.tool("tc", &["-s", "-j", "qdisc", "show", "dev", end])?;
        let drops = serde_json::from_str::<Value>(&told)?[0]["drops"].as_u64().unwrap_or(0);
        Ok((bytes.with_context(|| format!("no counters of {end} in {told}"))?, drops))
    }
}

impl Traffic {
    /// What was added since.
    pub fn since(self, before: Self) -> Self {
        Self {
            there: self.there - before.there,
            back: self.back - before.back,
            dropped: self.dropped - before.dropped,
        }
    }
}

impl Holder {
    /// Starts it by a command that makes the namespace and runs what follows in it.
    fn start(mut command: Command) -> anyhow::Result<Self> {
        // Without IPv6 the kernel itself says nothing on these networks but ARP.
        let script = "echo 1 2>/dev/null >/proc/sys/net/ipv6/conf/all/disable_ipv6; \
                      echo 1 2>/dev/null >/proc/sys/net/ipv6/conf/default/disable_ipv6; \
                      echo ready; exec cat";
        command.args(["sh", "-c", script]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("`unshare` is missing; it is in util-linux")?;
        let stdin = child.stdin.take();
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let holder = Self { child, stdin };
        if line.trim() != "ready" {
            let mut said = String::new();
            let mut holder = holder;
            holder.stdin = None;
            if let Some(mut stderr) = holder.child.stderr.take() {
                std::io::Read::read_to_string(&mut stderr, &mut said)?;
            }
            bail!("{command:?}: {}", said.trim());
        }
        Ok(holder)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
