//! The program `bayan-cast`: hosts peers that cheat, each with an identity and an address of its own.
//!
//! Says what happens as lines of JSON on standard output, and ends on a signal with a summary of what
//! each member has claimed. For loopback only.

use std::{
    io::Write as _,
    net::{IpAddr, Ipv4Addr},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context as _, ensure};
use bayan_cast::{
    Role,
    actor::{self, Settings},
    stage::Stage,
    truth::Engine,
};
use bayan_store::{Directory, Options, Sync};
use clap::Parser;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// Where the first member listens, if others are behind it.
const PORT: u16 = 4100;
/// Bytes of modules, inputs and outputs on disk.
const DISK: u64 = 4 << 30;

/// Peers that cheat, for the tests of the network's defence
#[derive(Debug, Parser)]
#[command(name = "bayan-cast")]
struct Cli {
    /// A peer to join; may be given several times
    #[arg(long, value_name = "MULTIADDR", required = true)]
    bootstrap: Vec<String>,
    /// Addresses of the members in order; further ones get the next /24 each
    #[arg(long, value_name = "127.X.Y.1", required = true)]
    listen: Vec<Ipv4Addr>,
    /// What members are up to; may be given several times
    #[arg(long, value_name = "ROLE", required = true)]
    role: Vec<Role>,
    /// Members of each role
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    members: u32,
    /// So many members after the first know that one alone: they are behind it
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    behind: u32,
    /// Decides about identities and chances
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    seed: u64,
    /// Tasks that each member takes at once
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    slots: u32,
    /// Tasks that the whole process computes at once; each is computed once for all members
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    engines: usize,
    /// Take as long for what another member has computed already as it took
    #[arg(long)]
    paced: bool,
}

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == bayan_engine::ARGUMENT) {
        bayan_engine::child_main();
    }
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("BAYAN_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    log.with_writer(std::io::stderr).init();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bayan-cast: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let members = members(&cli)?;
    let dir = tempfile::tempdir().context("cannot make a directory for blobs")?;
    let options = Options { sync: Sync::Interval, blob_quota: DISK, ..Options::default() };
    let directory = Directory::open(dir.path(), options)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(host(members, cli.engines, &directory));
    // Blob streams may still be served; nobody waits for them.
    runtime.shutdown_background();
    ended
}

fn members(cli: &Cli) -> anyhow::Result<Vec<Settings>> {
    let roles = cli.role.iter().flat_map(|role| std::iter::repeat_n(role, cli.members as usize));
    let mut addresses = cli.listen.iter().copied();
    let (mut members, mut last) = (Vec::new(), Ipv4Addr::UNSPECIFIED);
    for (number, role) in (0..).zip(roles) {
        last = addresses.next().unwrap_or(Ipv4Addr::from(u32::from(last).wrapping_add(256)));
        ensure!(last.is_loopback(), "{last} is no loopback address: the cast is for tests alone");
        let first: Option<&Settings> = members.first().filter(|_| number <= cli.behind);
        let above = first.map(|first| actor::multiaddr(first.listen, first.port));
        members.push(Settings {
            number,
            role: role.clone(),
            seed: cli.seed,
            slots: cli.slots,
            paced: cli.paced,
            listen: IpAddr::V4(last),
            port: if cli.behind > 0 && number == 0 { PORT } else { 0 },
            only_bootstrap: above.is_some(),
            bootstrap: above.map_or_else(|| cli.bootstrap.clone(), |above| vec![above]),
        });
    }
    Ok(members)
}

async fn host(members: Vec<Settings>, engines: usize, directory: &Directory) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let engine = Engine::start(engines, directory.blobs()).context("cannot start the engine")?;
    let voice = |line: serde_json::Value| {
        // Whoever listened may be gone; the members go on until they are told to end.
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    };
    let stage = Arc::new(Stage::new(Arc::new(engine), directory.blobs(), voice));
    let (stop, mut playing) = (CancellationToken::new(), JoinSet::new());
    for settings in members {
        playing.spawn(actor::play(Arc::clone(&stage), settings, stop.clone()));
    }
    let mut failed = None;
    loop {
        tokio::select! {
            _ = terminate.recv() => stop.cancel(),
            _ = interrupt.recv() => stop.cancel(),
            ended = playing.join_next() => match ended {
                None => break,
                Some(ended) => {
                    if let Err(error) = ended.map_err(anyhow::Error::from).flatten() {
                        failed = failed.or(Some(error));
                        stop.cancel();
                    }
                }
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> anyhow::Result<Vec<Settings>> {
        let all = ["bayan-cast", "--bootstrap", "/ip4/127.0.0.1/tcp/1"].iter().chain(args);
        members(&Cli::try_parse_from(all)?)
    }

    #[test]
    fn every_member_has_a_prefix_of_its_own() -> anyhow::Result<()> {
        let args = ["--listen", "127.9.254.1", "--role", "always", "--role", "ring:a"];
        let members = parsed(&[&args[..], &["--members", "2"]].concat())?;
        let short: Vec<_> = members.iter().map(|one| (one.role.to_string(), one.listen)).collect();
        let at = |ip: [u8; 4]| IpAddr::from(ip);
        assert_eq!(
            short,
            [
                ("always".to_owned(), at([127, 9, 254, 1])),
                ("always".to_owned(), at([127, 9, 255, 1])),
                ("ring:a".to_owned(), at([127, 10, 0, 1])),
                ("ring:a".to_owned(), at([127, 10, 1, 1])),
            ]
        );
        assert!(members.iter().map(|one| one.number).eq(0..4));
        Ok(())
    }

    #[test]
    fn members_stay_on_loopback_and_roles_are_known() {
        assert!(parsed(&["--listen", "10.0.0.1", "--role", "always"]).is_err());
        assert!(parsed(&["--listen", "127.255.255.1", "--role", "a", "--members", "2"]).is_err());
        let beyond = ["--listen", "127.255.255.1", "--role", "always", "--members", "2"];
        assert!(parsed(&beyond).is_err());
    }
}
