//! `bayan trust`: the peers that the operator vouches for, and what is known of others.

use bayan_protocol::{id::PeerId, standing::BanReason};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Context, exit::Code, session::Session, text};
use crate::{
    api::types::{BanView, StandingView},
    core::now,
};

/// Vouch for peers, or see what is known of them
///
/// A peer of the trust list starts with a record, may compute what is for trusted peers (bayan run
/// --only-trusted), counts as nobody else's alias, and has this peer carry its jobs on while it is away if they
/// name this peer (bayan run --delegate). The list is this peer's own; nobody else sees it.
#[derive(Debug, Subcommand)]
pub(super) enum TrustCommand {
    /// Vouch for peers
    Add(PeersArgs),
    /// Vouch for peers no longer; what they have earned themselves remains
    Remove(PeersArgs),
    List(ListArgs),
}

/// Peers.
#[derive(Debug, Args)]
pub(super) struct PeersArgs {
    /// The peers' ids, 64 hexadecimal digits each (see bayan peers --json)
    #[arg(required = true, value_name = "PEER")]
    peers: Vec<PeerId>,
}

/// List the peers that are vouched for
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Everyone of whom anything is known, with checks passed and failed, and bans
    #[arg(long)]
    all: bool,
}

/// Runs the command.
pub(super) fn run(context: &Context, command: &TrustCommand) -> anyhow::Result<Code> {
    let session = Session::look_or_make(&context.data_dir)?;
    let ended = carry_out(context, &session, command);
    session.close()?;
    ended
}

fn carry_out(context: &Context, session: &Session, command: &TrustCommand) -> anyhow::Result<Code> {
    let client = session.client();
    match command {
        TrustCommand::Add(PeersArgs { peers }) => {
            for peer in peers {
                client.trust(*peer)?;
            }
            done(context, "trusted", peers, "is on the trust list", "are on the trust list")?;
        }
        TrustCommand::Remove(PeersArgs { peers }) => {
            for peer in peers {
                client.distrust(*peer)?;
            }
            done(context, "distrusted", peers, "is on no list now", "are on no list now")?;
        }
        TrustCommand::List(ListArgs { all }) => {
            let mut standings = client.standings()?;
            standings.retain(|standing| *all || standing.trusted);
            if context.json {
                for standing in &standings {
                    text::json(standing)?;
                }
            } else {
                text::put(describe(&standings, *all).as_bytes())?;
            }
        }
    }
    Ok(Code::Done)
}

fn done(
    context: &Context,
    event: &str,
    peers: &[PeerId],
    one: &str,
    many: &str,
) -> anyhow::Result<()> {
    if context.json {
        return text::json(&json!({ "event": event, "peers": peers }));
    }
    match peers {
        [peer] => text::line(&format!("{} {one}", peer.short())),
        peers => text::line(&format!("{} peers {many}", peers.len())),
    }
}

fn describe(standings: &[StandingView], all: bool) -> String {
    if standings.is_empty() {
        return match all {
            true => "nothing is known of any other peer yet\n".to_owned(),
            false => "no peer is vouched for; `bayan trust add PEER` vouches for one\n".to_owned(),
        };
    }
    let heading = ["peer", "k", "passed", "failed", "note"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(standings.iter().map(|standing| {
        vec![
            standing.peer.to_string(),
            standing.k.to_string(),
            standing.passed.to_string(),
            standing.failed.to_string(),
            note(standing),
        ]
    }));
    text::table(&rows)
}

fn note(standing: &StandingView) -> String {
    let mut notes = Vec::new();
    if standing.trusted {
        notes.push("trusted".to_owned());
    } else if standing.established {
        notes.push("established".to_owned());
    }
    notes.extend(standing.ban.as_ref().map(ban));
    notes.join(", ")
}

/// A ban in words.
pub(super) fn ban(ban: &BanView) -> String {
    let why = match ban.reason {
        BanReason::Failures => "its results are wrong too often",
        BanReason::Equivocation => "it signed two outcomes for one task",
        BanReason::Collusion => "it signed a wrong result together with another",
        BanReason::Operator => "the operator said so",
    };
    format!("banned for {}: {why}", text::duration(ban.until.since(now())))
}

#[cfg(test)]
mod tests {
    use bayan_protocol::standing::BAN;

    use super::*;

    #[test]
    fn a_list_says_what_is_known_and_an_empty_one_what_to_do() {
        let standing = StandingView {
            peer: PeerId([1; 32]),
            trusted: true,
            k: 500,
            passed: 3,
            failed: 1,
            established: true,
            ban: Some(BanView { until: now() + BAN, reason: BanReason::Failures }),
        };
        let words = describe(&[standing], true);
        assert!(words.contains(&"01".repeat(32)), "{words}");
        assert!(words.contains("trusted, banned for 8"), "{words}");
        assert!(words.contains("wrong too often"), "{words}");
        assert!(describe(&[], false).contains("bayan trust add"));
        assert!(describe(&[], true).contains("nothing is known"));
    }
}
