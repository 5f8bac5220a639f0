//! `bayan peers`, `pause`, `resume`, `stop`: the running peer and its neighbourhood.

use std::{
    collections::HashMap,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use bayan_protocol::{
    delegate::KeptView,
    id::PeerId,
    link::{Profile, Rate},
    peer::PeerView,
};
use bayan_store::Directory;
use clap::Args;
use serde_json::json;

use super::{Context, exit::Code, jobs, session, text, tree};
use crate::api::types::{Connection, Line, PeerInfo};

/// Time for a peer that was told to stop to give its directory back.
const STOPPED: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(50);

/// Show this peer and who is connected to it
#[derive(Debug, Args)]
pub(super) struct PeersArgs {
    /// Draw the tree that this job runs on: who hands its tasks to whom, how fast, and with what losses
    #[arg(long, value_name = "JOB")]
    tree: Option<String>,
}

/// Runs `bayan peers`.
pub(super) fn list(context: &Context, args: &PeersArgs) -> anyhow::Result<Code> {
    let client = session::running(&context.data_dir)?.client;
    let info = client.peer()?;
    if let Some(job) = &args.tree {
        let view = jobs::resolve(&client, job)?;
        if context.json {
            text::json(&json!({ "job": view.job, "tree": view.tree, "workers": view.workers }))?;
        } else {
            text::put(tree::draw(info.view.peer, &view).as_bytes())?;
        }
        return Ok(Code::Done);
    }
    if context.json {
        text::json(&info)?;
    } else {
        text::put(describe(&info).as_bytes())?;
    }
    Ok(Code::Done)
}

/// Runs `bayan pause`.
pub(super) fn pause(context: &Context) -> anyhow::Result<Code> {
    session::running(&context.data_dir)?.client.pause()?;
    done(context, "paused", "paused: this machine computes nothing until `bayan resume`")
}

/// Runs `bayan resume`.
pub(super) fn resume(context: &Context) -> anyhow::Result<Code> {
    session::running(&context.data_dir)?.client.resume()?;
    done(context, "resumed", "computing again")
}

/// Runs `bayan stop`.
pub(super) fn stop(context: &Context) -> anyhow::Result<Code> {
    let attached = session::running(&context.data_dir)?;
    attached.client.stop()?;
    wait_for_end(&context.data_dir, attached.pid)?;
    done(
        context,
        "stopped",
        &format!("stopped process {}; jobs under way go on at the next start", attached.pid),
    )
}

fn wait_for_end(data_dir: &Path, pid: u32) -> anyhow::Result<()> {
    let started = Instant::now();
    while Directory::peek_holder(data_dir).is_some_and(|holder| holder.pid == Some(pid)) {
        if started.elapsed() > STOPPED {
            anyhow::bail!(
                "process {pid} was told to stop and has not; end it with: kill -9 {pid} (nothing is lost)"
            );
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

fn done(context: &Context, event: &str, words: &str) -> anyhow::Result<Code> {
    if context.json {
        text::json(&json!({ "event": event }))?
    } else {
        text::line(words)?
    }
    Ok(Code::Done)
}

fn line(line: &Line) -> String {
    let quiet = "little is said besides work, and no peers are looked for";
    match (line.profile, line.setting.as_str()) {
        (Profile::Full, "auto") => "not known to be slow".to_owned(),
        (Profile::Slow, "auto") => format!("found to be slow: {quiet}"),
        (Profile::Full, rate) => format!("{rate}, as told"),
        (Profile::Slow, rate) => format!("{rate}, as told: {quiet}"),
    }
}

fn describe(info: &PeerInfo) -> String {
    let view = &info.view;
    let mut lines = vec![
        format!("this peer  {} ({}, process {})", view.peer, info.agent, info.pid),
        format!(
            "slots      {} of {} free{}, {} queued, {} done since the start",
            view.free,
            view.slots,
            if view.paused { " (paused)" } else { "" },
            view.queued,
            view.executed,
        ),
        format!(
            "blobs      {}; {} given, {} got since the start",
            text::bytes(info.blob_bytes),
            text::bytes(info.blobs.sent),
            text::bytes(info.blobs.received),
        ),
    ];
    lines.push(format!("line       {}", line(&info.line)));
    lines.extend(info.listening.iter().map(|address| format!("listening  {address}")));
    lines.extend(view.kept.iter().map(kept));
    let connections: HashMap<_, &Connection> =
        info.connections.iter().map(|connection| (connection.peer, connection)).collect();
    if view.neighbours.is_empty() {
        lines.push("no other peer is connected; --bootstrap ADDRESS connects to one".to_owned());
        return lines.join("\n") + "\n";
    }
    let heading =
        ["peer", "program", "slots", "round trip", "rate", "link", "by", "address", "note"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(view.neighbours.iter().map(|neighbour| {
        let connection = connections.get(&neighbour.peer);
        let rtt = connection.and_then(|connection| connection.rtt_micros);
        let rate = connection.and_then(|connection| connection.bytes_per_second);
        let note = match &neighbour.refused {
            Some(why) => format!("does not work for this peer: {}", text::printable(why, 80)),
            None if !neighbour.foreign_profiles.is_empty() => {
                let profiles = neighbour.foreign_profiles.join(", ");
                format!(
                    "has another engine ({}), so it gets no work",
                    text::printable(&profiles, 60)
                )
            }
            None => passes(view, neighbour.peer),
        };
        vec![
            neighbour.peer.short(),
            text::printable(neighbour.agent.as_deref().unwrap_or_default(), 24),
            neighbour.slots.to_string(),
            rtt.map_or_else(String::new, |micros| format!("{:.1} ms", micros as f64 / 1000.0)),
            rate.map_or_else(String::new, |rate| Rate(rate).to_string()),
            connection.map_or_else(String::new, |connection| match connection.profile {
                Profile::Full => "full".to_owned(),
                Profile::Slow => "slow".to_owned(),
            }),
            connection.map_or_else(String::new, |connection| connection.transport.clone()),
            connection.map_or_else(String::new, |connection| connection.address.clone()),
            note,
        ]
    }));
    format!("{}\n\n{}", lines.join("\n"), text::table(&rows))
}

/// A job that is kept for another peer.
fn kept(one: &KeptView) -> String {
    let name = one.name.as_deref().map_or_else(String::new, |name| text::printable(name, 40));
    let standing = match (one.whole, one.away, one.carried.is_empty()) {
        (false, ..) => "on its way here".to_owned(),
        (true, None, _) => "its submitter is here".to_owned(),
        (true, Some(since), true) => format!("its submitter left {}", text::ago(since)),
        (true, Some(since), false) => {
            format!("its submitter left {}, and it is carried on", text::ago(since))
        }
    };
    format!(
        "keeps      job {} {name} for {}: {} of {} settled there, {} to be told; {standing}",
        one.job.short(),
        one.submitter.short(),
        one.settled,
        text::count(one.tasks, "task", "tasks"),
        one.done,
    )
}

/// What is known of how a peer passes on what it is given to, if something had to be brought round it.
fn passes(view: &PeerView, peer: PeerId) -> String {
    let known = view.hops.iter().find(|hop| hop.peer == peer && hop.dropped > 0);
    known.map_or_else(String::new, |hop| {
        format!("{} results brought round it, {} through it", hop.dropped, hop.delivered)
    })
}
