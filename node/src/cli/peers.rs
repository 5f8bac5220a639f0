//! `bayan peers`, `pause`, `resume`, `stop`: the running peer and its neighbourhood.

use std::{
    collections::HashMap,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use bayan_protocol::link::{Profile, Rate};
use bayan_store::Directory;
use serde_json::json;

use super::{Context, exit::Code, session, text};
use crate::api::types::{Connection, Line, PeerInfo};

/// Time for a peer that was told to stop to give its directory back.
const STOPPED: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(50);

/// Runs `bayan peers`.
pub(super) fn list(context: &Context) -> anyhow::Result<Code> {
    let info = session::running(&context.data_dir)?.client.peer()?;
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
        format!("blobs      {}", text::bytes(info.blob_bytes)),
    ];
    lines.push(format!("line       {}", line(&info.line)));
    lines.extend(info.listening.iter().map(|address| format!("listening  {address}")));
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
            None => String::new(),
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
