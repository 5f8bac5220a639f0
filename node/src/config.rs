//! How a peer is set up: defaults, the configuration file, and what the command line adds.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context as _, bail};
use bayan_protocol::{delegate::Accept, id::PeerId, limits::DELEGATE_AFTER, link::Setting, offer};
use serde::Deserialize;

/// Whether a peer is a volunteer server: takes work in bulk and hands it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelayWork {
    /// To peers that ask this one for work, beside computing it.
    Auto,
    /// Not at all.
    Never,
    /// Alone: nothing is computed here for anybody.
    Only,
}

/// Whose delegate a peer is willing to be: `trusted`, `nobody`, or a peer's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum DelegateFor {
    /// That of every peer on the trust list.
    Trusted,
    /// Nobody's.
    Nobody,
    /// That of this peer.
    Peer(PeerId),
}

impl FromStr for DelegateFor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "trusted" => Ok(Self::Trusted),
            "nobody" => Ok(Self::Nobody),
            id => id.parse().map(Self::Peer).map_err(|error| {
                format!("'{id}' is neither 'trusted', nor 'nobody', nor a peer: {error}")
            }),
        }
    }
}

impl TryFrom<String> for DelegateFor {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A peer's settings. Every field has a default; `bayan.toml` in the data directory may set any of
/// them, and the command line has the last word.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// Addresses to listen on. Empty: all interfaces, ports chosen by the system.
    pub listen: Vec<String>,
    /// Peers to stay connected to.
    pub bootstrap: Vec<String>,
    /// Whether to look for peers on the local network.
    pub mdns: bool,
    /// Whether to connect to nobody but those in `bootstrap`; who connects to this peer is welcome.
    pub only_bootstrap: bool,
    /// Whether to use QUIC beside TCP.
    pub quic: bool,
    /// What the line carries: `auto`, or a rate such as `28.8kbit`.
    pub link: Setting,
    /// Whose work to compute.
    pub accept: offer::Accept,
    /// Whether to hand others' work on to further peers.
    pub relay_work: RelayWork,
    /// Tasks computed at once. None: as many as there are cores.
    pub slots: Option<u32>,
    /// MiB of memory lent to one task.
    pub memory: u64,
    /// MiB of disk for modules, inputs and outputs.
    pub disk: u64,
    /// KiB a second that are given to others of blobs. None: no limit.
    pub upload_limit: Option<u64>,
    /// Whose jobs to carry on while they are away, as the delegate that these name. Empty: those of peers on
    /// the trust list.
    pub delegate_for: Vec<DelegateFor>,
    /// Seconds that a submitter is away before its delegate carries its jobs on.
    pub delegate_after: u64,
    /// Whether every change is on disk before it is acknowledged.
    pub sync_always: bool,
    /// Port of the local API. 0: chosen by the system.
    pub api_port: u16,
    /// Seconds that a job waits for peers before this peer's own slots supply what is missing.
    pub patience: u64,
    /// For tests of the network's defence: return wrong results. Refused off loopback.
    #[serde(skip)]
    pub sabotage: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            bootstrap: Vec::new(),
            mdns: true,
            only_bootstrap: false,
            quic: true,
            link: Setting::Auto,
            accept: offer::Accept::Lan,
            relay_work: RelayWork::Auto,
            slots: None,
            memory: 1024,
            disk: 10 * 1024,
            upload_limit: None,
            delegate_for: Vec::new(),
            delegate_after: DELEGATE_AFTER.as_secs(),
            sync_always: false,
            api_port: 0,
            patience: 30,
            sabotage: false,
        }
    }
}

/// The configuration file's name in a data directory.
pub const FILE: &str = "bayan.toml";

impl Config {
    /// Reads `file`, or the data directory's own file if there is one, or takes the defaults.
    pub fn load(data_dir: &Path, file: Option<&Path>) -> anyhow::Result<Self> {
        let own = data_dir.join(FILE);
        let path = match file {
            Some(path) => path,
            None if own.exists() => &own,
            None => return Ok(Self::default()),
        };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text)
            .with_context(|| format!("{} is not a valid configuration", path.display()))
    }

    /// Tasks computed at once.
    pub fn slots(&self) -> u32 {
        self.slots.unwrap_or_else(|| {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            u32::try_from(cores).unwrap_or(1)
        })
    }

    /// Whose delegate the peer is willing to be.
    ///
    /// # Errors
    /// `nobody` beside somebody.
    pub fn delegate_accept(&self) -> anyhow::Result<Accept> {
        if self.delegate_for.is_empty() {
            return Ok(Accept::default());
        }
        let mut accept = Accept { trusted: false, peers: Vec::new() };
        for one in &self.delegate_for {
            match one {
                DelegateFor::Trusted => accept.trusted = true,
                DelegateFor::Peer(peer) => accept.peers.push(*peer),
                DelegateFor::Nobody if self.delegate_for.len() > 1 => {
                    bail!("delegate-for names both 'nobody' and somebody; leave one out")
                }
                DelegateFor::Nobody => {}
            }
        }
        Ok(accept)
    }

    /// Addresses to listen on, with the defaults filled in.
    pub fn listen_addresses(&self) -> Vec<String> {
        if !self.listen.is_empty() {
            return self.listen.clone();
        }
        let mut all = vec!["/ip4/0.0.0.0/tcp/0".to_owned()];
        if self.quic {
            all.push("/ip4/0.0.0.0/udp/0/quic-v1".to_owned());
        }
        all
    }

    /// Whether every listening address is a loopback address.
    pub fn is_loopback_only(&self) -> bool {
        let loopback =
            |address: &String| address.starts_with("/ip4/127.") || address.starts_with("/ip6/::1/");
        !self.listen.is_empty() && self.listen.iter().all(loopback)
    }
}

/// The data directory that is used when none is given.
pub fn default_data_dir() -> anyhow::Result<PathBuf> {
    directories::ProjectDirs::from("", "", "bayan")
        .map(|dirs| dirs.data_dir().to_path_buf())
        .context("this user has no home directory; give a data directory with --data-dir")
}
