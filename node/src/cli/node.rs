//! `bayan node`: one peer, until it is stopped.

use std::{
    io, thread,
    time::{Duration, Instant},
};

use bayan_protocol::offer::Accept;
use bayan_store::OpenError;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::{
    Context,
    exit::{Code, Misuse},
    peer_args::PeerArgs,
    signals, text,
};
use crate::{
    api::types::PeerInfo,
    client::Client,
    config::{Config, DelegateFor, RelayWork},
    node::Node,
};

/// Time for the listening addresses to be known.
const LISTENING: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(20);

/// Run a peer
///
/// It lends its slots to the jobs of others as --accept allows, runs the jobs submitted through it, and
/// keeps everything in its data directory: stopped or killed, it goes on where it was.
#[derive(Debug, Args)]
pub(super) struct NodeArgs {
    #[command(flatten)]
    peer: PeerArgs,
    /// Whose work to compute [default: lan]
    #[arg(long, value_enum)]
    accept: Option<AcceptArg>,
    /// Whether to hand others' work on to further peers [default: auto]
    #[arg(long, value_enum, value_name = "WHEN")]
    relay_work: Option<RelayArg>,
    /// MiB of memory lent to one task [default: 1024]
    #[arg(long, value_name = "MIB")]
    memory: Option<u64>,
    /// MiB of disk for modules, inputs and outputs [default: 10240]
    #[arg(long, value_name = "MIB")]
    disk: Option<u64>,
    /// KiB a second that others are given of modules, inputs and outputs [default: no limit]
    #[arg(long, value_name = "KIB", value_parser = clap::value_parser!(u64).range(1..))]
    upload_limit: Option<u64>,
    /// Whose jobs to carry on while their submitters are away, for those that name this peer with
    /// `bayan run --delegate`: `trusted`, `nobody`, or a peer's id; may be given several times
    /// [default: trusted, those on the trust list]
    #[arg(long, value_name = "PEER|trusted|nobody")]
    delegate_for: Vec<DelegateFor>,
    /// Seconds that such a submitter is away before its jobs are carried on [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    delegate_after: Option<u64>,
    /// Port of the local API [default: chosen by the system]
    #[arg(long, value_name = "PORT")]
    api_port: Option<u16>,
    /// When changes are forced to disk [default: interval]
    #[arg(long, value_enum)]
    sync: Option<SyncArg>,
    /// Return wrong results: for tests of the network's defence, on loopback only
    #[arg(long, hide = true)]
    sabotage: bool,
    /// End when standard input does: for a parent that must leave no peer behind
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum AcceptArg {
    /// Only jobs submitted through this peer
    Own,
    /// Those of peers on the same network as well
    Lan,
    /// Anybody's
    All,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RelayArg {
    /// To peers that are idle and ask for work, beside computing it
    Auto,
    /// Not at all
    Never,
    /// Hand it on and compute nothing here
    Only,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SyncArg {
    /// Before a change is acknowledged: a power cut loses nothing
    Always,
    /// At least every second: a power cut loses about the last second
    Interval,
}

impl NodeArgs {
    fn config(&self, context: &Context) -> anyhow::Result<Config> {
        let mut config = self.peer.config(context)?;
        config.accept = match self.accept {
            Some(AcceptArg::Own) => Accept::Own,
            Some(AcceptArg::Lan) => Accept::Lan,
            Some(AcceptArg::All) => Accept::All,
            None => config.accept,
        };
        config.relay_work = match self.relay_work {
            Some(RelayArg::Auto) => RelayWork::Auto,
            Some(RelayArg::Never) => RelayWork::Never,
            Some(RelayArg::Only) => RelayWork::Only,
            None => config.relay_work,
        };
        config.memory = self.memory.unwrap_or(config.memory);
        config.disk = self.disk.unwrap_or(config.disk);
        config.upload_limit = self.upload_limit.or(config.upload_limit);
        if !self.delegate_for.is_empty() {
            config.delegate_for.clone_from(&self.delegate_for);
        }
        if let Err(error) = config.delegate_accept() {
            return Err(Misuse(error.to_string()).into());
        }
        config.delegate_after = self.delegate_after.unwrap_or(config.delegate_after);
        config.api_port = self.api_port.unwrap_or(config.api_port);
        config.sync_always =
            self.sync.map_or(config.sync_always, |sync| matches!(sync, SyncArg::Always));
        config.sabotage = self.sabotage;
        Ok(config)
    }
}

/// Runs the command.
pub(super) fn run(context: &Context, args: &NodeArgs) -> anyhow::Result<Code> {
    let config = args.config(context)?;
    let node = Node::start(&context.data_dir, config.clone(), true).map_err(advise)?;
    let stopper = node.stopper();
    if args.until_stdin_closes {
        let stopper = stopper.clone();
        thread::spawn(move || {
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            stopper.stop();
        });
    }
    signals::on_interrupt(move || stopper.stop())?;
    let client = Client::new(node.api(), node.token());
    let info = match listening(&client, config.listen_addresses().len()) {
        Ok(info) => info,
        Err(error) => {
            // If the peer itself has failed, then that is the error.
            node.stop()?;
            return Err(error);
        }
    };
    for line in node.mended() {
        if context.json {
            text::json(&json!({ "event": "mended", "what": line }))?;
        } else {
            text::line(&format!("mended     {line}"))?;
        }
    }
    if context.json {
        text::json(&json!({
            "event": "ready",
            "peer": info.view.peer,
            "pid": info.pid,
            "api": node.api().to_string(),
            "listening": info.listening,
            "data_dir": context.data_dir,
        }))?;
    } else {
        text::line(&describe(context, &config, &node, &info))?;
    }
    let ended = node.wait();
    node.stop()?;
    ended?;
    if context.json {
        text::json(&json!({ "event": "stopped" }))?;
    } else {
        text::line("stopped; jobs under way go on at the next start")?;
    }
    Ok(Code::Done)
}

/// Says how to reach the peer that is running already.
fn advise(error: anyhow::Error) -> anyhow::Error {
    let advice = match error.downcast_ref::<OpenError>() {
        Some(OpenError::Held { path, holder }) => {
            let pid = holder.pid.map_or_else(String::new, |pid| format!(" as process {pid}"));
            format!(
                "a peer is running on {} already{pid}; stop it with `bayan stop`, or run this one elsewhere with --data-dir",
                path.display()
            )
        }
        _ => return error,
    };
    anyhow::anyhow!(advice)
}

/// The peer's standing, once it listens on as many addresses as it was told to.
fn listening(client: &Client, expected: usize) -> anyhow::Result<PeerInfo> {
    let started = Instant::now();
    loop {
        let info = client.peer()?;
        if info.listening.len() >= expected || started.elapsed() > LISTENING {
            return Ok(info);
        }
        thread::sleep(LOOK);
    }
}

fn describe(context: &Context, config: &Config, node: &Node, info: &PeerInfo) -> String {
    let accept = match config.accept {
        Accept::Own => "its own jobs only",
        Accept::Lan => "its own jobs and those of peers on the same network",
        Accept::All => "anybody's jobs",
    };
    let mut rows = vec![
        format!("peer       {}", info.view.peer),
        format!("computes   {accept}"),
        format!(
            "lends      {} at once, {} of memory for each, {} of disk",
            text::count(config.slots().into(), "task", "tasks"),
            text::bytes(config.memory.saturating_mul(1 << 20)),
            text::bytes(config.disk.saturating_mul(1 << 20)),
        ),
    ];
    if let Some(limit) = config.upload_limit {
        let limit = text::bytes(limit.saturating_mul(1 << 10));
        rows.push(format!("gives      at most {limit} a second of modules, inputs and outputs"));
    }
    rows.extend(info.listening.iter().map(|address| format!("listening  {address}")));
    if info.listening.is_empty() {
        rows.push("listening  nowhere".to_owned());
    }
    rows.extend(config.bootstrap.iter().map(|address| format!("joins      {address}")));
    if config.mdns {
        rows.push("finds      peers on the local network by itself".to_owned());
    }
    rows.push(format!("api        http://{}", node.api()));
    rows.push(format!("data       {}", context.data_dir.display()));
    if config.sabotage {
        rows.push("sabotage   returns WRONG results on purpose".to_owned());
    }
    rows.push("Ctrl-C or `bayan stop` ends it".to_owned());
    rows.join("\n")
}
