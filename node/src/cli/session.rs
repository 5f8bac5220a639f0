//! The peer a command works with: the one that holds the data directory, or one of its own.
//!
//! A command never needs a daemon. If nobody holds the directory it starts a peer inside itself, and
//! if the holder goes away in the middle it takes over: jobs are in the directory, not in a process.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use bayan_protocol::offer::Accept;
use bayan_store::{Directory, OpenError};

use crate::{client::Client, config::Config, node::Node};

/// A holder that does not answer for this long, or a directory that stays locked, is an error.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time that a supervisor may take to start a peer again.
const RESTART: Duration = Duration::from_secs(5);
/// Between two looks at the directory.
const LOOK: Duration = Duration::from_millis(50);
const TOKEN_FILE: &str = "api_token";
const FORMAT_FILE: &str = "format";

/// Who else holds a directory, and a client of it.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) client: Client,
    pub(super) pid: u32,
    /// Whether it outlives the run it was started for.
    pub(super) daemon: bool,
}

/// Finds the peer that holds `data_dir`. None if nobody does.
pub(super) fn attach(data_dir: &Path) -> anyhow::Result<Option<Attached>> {
    let started = Instant::now();
    loop {
        let Some(holder) = Directory::peek_holder(data_dir) else { return Ok(None) };
        // Without an address it is only starting, or ending.
        if let Some(api) = holder.api.as_deref().and_then(|api| api.parse::<SocketAddr>().ok()) {
            let client = Client::new(api, &token(data_dir)?);
            match client.peer() {
                Ok(info) => {
                    return Ok(Some(Attached { client, pid: info.pid, daemon: info.daemon }));
                }
                Err(error) if error.is_gone() => {
                    tracing::debug!(%error, "the holder does not answer yet")
                }
                Err(error) => return Err(error).context("cannot use the peer that is running"),
            }
        }
        if started.elapsed() > PATIENCE {
            let pid = holder.pid.map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
            bail!(
                "process {pid} holds {} but does not answer; end it (kill {pid}) or choose another directory",
                data_dir.display()
            );
        }
        thread::sleep(LOOK);
    }
}

/// A client of the peer that holds `data_dir`, or an error that says how to start one.
pub(super) fn running(data_dir: &Path) -> anyhow::Result<Attached> {
    attach(data_dir)?.with_context(|| {
        format!("no peer is running on {}: start one with `bayan node`", data_dir.display())
    })
}

fn token(data_dir: &Path) -> anyhow::Result<String> {
    let path = data_dir.join(TOKEN_FILE);
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.trim_end().to_owned())
}

/// A peer to work with.
pub(super) struct Session {
    data_dir: PathBuf,
    config: Config,
    client: Client,
    with: With,
    /// Whether a peer in this process would be there to look only, and not to work.
    looks: bool,
}

enum With {
    /// A peer inside this process.
    Own(Box<Node>),
    /// Another process.
    Other { pid: u32, daemon: bool },
    /// None at the moment.
    Nobody,
}

impl Session {
    /// Attaches to the holder of `data_dir`, or starts a peer with `config` inside this process.
    pub(super) fn open(data_dir: &Path, config: Config) -> anyhow::Result<Self> {
        let (client, with) = take(data_dir, &config)?;
        Ok(Self { data_dir: data_dir.to_path_buf(), config, client, with, looks: false })
    }

    /// As [`Self::open`], but a peer inside this process computes nothing and meets nobody: to look
    /// at what a directory holds. Refuses to make a new directory.
    pub(super) fn look(data_dir: &Path) -> anyhow::Result<Self> {
        if !data_dir.join(FORMAT_FILE).exists() {
            bail!(
                "no peer is running on {} and none ever has: start one with `bayan node`, or a job with `bayan run`",
                data_dir.display()
            );
        }
        Self::look_or_make(data_dir)
    }

    /// As [`Self::look`], but makes a new directory if there is none: for settings that come before the
    /// first job.
    pub(super) fn look_or_make(data_dir: &Path) -> anyhow::Result<Self> {
        let config = Config {
            listen: vec!["/ip4/127.0.0.1/tcp/0".to_owned()],
            mdns: false,
            quic: false,
            accept: Accept::Own,
            slots: Some(0),
            ..Config::default()
        };
        Ok(Self { looks: true, ..Self::open(data_dir, config)? })
    }

    /// The client of the peer.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Whether the peer is in this process.
    pub(super) fn is_own(&self) -> bool {
        matches!(self.with, With::Own(_))
    }

    /// The process of the peer, if it is another one, and whether it is a daemon.
    pub(super) fn other(&self) -> Option<(u32, bool)> {
        match self.with {
            With::Other { pid, daemon } => Some((pid, daemon)),
            With::Own(_) | With::Nobody => None,
        }
    }

    /// After the peer went away: finds the next holder, or takes over unless it is only to look.
    ///
    /// # Errors
    /// Why the peer in this process could not go on, if it was that.
    pub(super) fn recover(&mut self) -> anyhow::Result<()> {
        if self.client.peer().is_ok() {
            return Ok(());
        }
        if let With::Own(node) = std::mem::replace(&mut self.with, With::Nobody) {
            node.stop()?;
            bail!("the peer of this run was stopped; its jobs are kept");
        }
        (self.client, self.with) =
            if self.looks { next(&self.data_dir)? } else { take(&self.data_dir, &self.config)? };
        Ok(())
    }

    /// Stops the peer, if it is in this process.
    pub(super) fn close(self) -> anyhow::Result<()> {
        match self.with {
            With::Own(node) => node.stop(),
            With::Other { .. } | With::Nobody => Ok(()),
        }
    }
}

fn take(data_dir: &Path, config: &Config) -> anyhow::Result<(Client, With)> {
    let started = Instant::now();
    loop {
        if let Some(Attached { client, pid, daemon }) = attach(data_dir)? {
            return Ok((client, With::Other { pid, daemon }));
        }
        match Node::start(data_dir, config.clone(), false) {
            Ok(node) => {
                let client = Client::new(node.api(), node.token());
                return Ok((client, With::Own(Box::new(node))));
            }
            // Somebody else was faster: attach to that one.
            Err(error) if is_held(&error) && started.elapsed() < PATIENCE => thread::sleep(LOOK),
            Err(error) => return Err(error),
        }
    }
}

/// The next holder, which may be the same one started again.
fn next(data_dir: &Path) -> anyhow::Result<(Client, With)> {
    let started = Instant::now();
    loop {
        if let Some(Attached { client, pid, daemon }) = attach(data_dir)? {
            return Ok((client, With::Other { pid, daemon }));
        }
        if started.elapsed() > RESTART {
            bail!(
                "the peer on {} went away and is not back; start it again with `bayan node`",
                data_dir.display()
            );
        }
        thread::sleep(LOOK);
    }
}

/// Whether an error says that another process holds the directory.
pub(super) fn is_held(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<OpenError>(), Some(OpenError::Held { .. }))
}
