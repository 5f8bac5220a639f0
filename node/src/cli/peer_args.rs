//! Options of a peer that `bayan node` and the peer inside a `bayan run` have in common.

use std::{ffi::OsString, path::PathBuf};

use bayan_protocol::link::Setting;
use clap::Args;

use super::Context;
use crate::config::Config;

/// How the peer meets others.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Peer")]
pub(super) struct PeerArgs {
    /// Listen on this address, such as /ip4/0.0.0.0/tcp/4600 or /ip4/0.0.0.0/udp/4600/quic-v1
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// Stay connected to the peer at this address, as that one prints it
    #[arg(long, value_name = "ADDRESS")]
    bootstrap: Vec<String>,
    /// Connect to nobody but the peers given with --bootstrap
    #[arg(long)]
    only_bootstrap: bool,
    /// Do not look for peers on the local network
    #[arg(long)]
    no_mdns: bool,
    /// TCP alone
    #[arg(long)]
    no_quic: bool,
    /// What the line carries, such as 28.8kbit or 100mbit; on a slow one little is said besides work, and other
    /// peers are not looked for. `auto` measures the link to each peer [default: auto]
    #[arg(long, value_name = "RATE")]
    link: Option<Setting>,
    /// Tasks computed at once [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=1024))]
    slots: Option<u32>,
    /// Seconds that a job with `--local reserve` waits for peers before the own slots step in
    #[arg(long, value_name = "SECONDS")]
    patience: Option<u64>,
    /// Configuration file [default: bayan.toml in the data directory, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl PeerArgs {
    /// The settings: defaults, then the file, then what was given.
    pub(super) fn config(&self, context: &Context) -> anyhow::Result<Config> {
        let mut config = Config::load(&context.data_dir, self.config.as_deref())?;
        if !self.listen.is_empty() {
            config.listen.clone_from(&self.listen);
        }
        if !self.bootstrap.is_empty() {
            config.bootstrap.clone_from(&self.bootstrap);
        }
        config.only_bootstrap |= self.only_bootstrap;
        config.mdns &= !self.no_mdns;
        config.quic &= !self.no_quic;
        config.link = self.link.unwrap_or(config.link);
        // A slow line is not kept awake by datagrams.
        config.quic &= config.link.plan().datagrams;
        config.slots = self.slots.or(config.slots);
        config.patience = self.patience.unwrap_or(config.patience);
        Ok(config)
    }

    /// Whether any was given.
    pub(super) fn is_given(&self) -> bool {
        !self.to_args().is_empty()
    }

    /// The same options for another process of this program.
    pub(super) fn to_args(&self) -> Vec<OsString> {
        let mut args = Vec::new();
        let mut add = |name: &str, value: OsString| args.extend([OsString::from(name), value]);
        for address in &self.listen {
            add("--listen", address.into());
        }
        for address in &self.bootstrap {
            add("--bootstrap", address.into());
        }
        if let Some(link) = self.link {
            add("--link", link.to_string().into());
        }
        if let Some(slots) = self.slots {
            add("--slots", slots.to_string().into());
        }
        if let Some(patience) = self.patience {
            add("--patience", patience.to_string().into());
        }
        if let Some(config) = &self.config {
            add("--config", config.into());
        }
        if self.only_bootstrap {
            args.push("--only-bootstrap".into());
        }
        if self.no_mdns {
            args.push("--no-mdns".into());
        }
        if self.no_quic {
            args.push("--no-quic".into());
        }
        args
    }
}
