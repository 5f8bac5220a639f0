//! Two local networks joined by a modem line: what peers say to each other over it while there is no
//! work, as the kernel counts it.

use std::{path::Path, thread, time::Duration};

use anyhow::ensure;
use bayan::api::types::Connection;
use bayan_protocol::link::Profile;
use bayan_tests::{
    namespaces::{Cable, Network, Switch},
    peers::Node,
    program::until,
};

/// The line between the networks, and what it carries, bytes a second.
const LINE: &str = "28.8kbit";
const CARRIES: f64 = 3600.0;
/// What of it may go to the background.
const SHARE: f64 = 0.1;
/// Time that is measured.
const MEASURED: Duration = Duration::from_secs(60);
/// Time for the figures to come to rest.
const SETTLES: Duration = Duration::from_secs(180);
/// Peers on each side.
const PEERS: usize = 3;

/// Peers on one network; the first joins `beyond`, the others the first.
fn side(
    network: &mut Network,
    dir: &Path,
    switch: Switch,
    count: usize,
    beyond: Option<&str>,
    link: &str,
) -> anyhow::Result<Vec<Node>> {
    let mut nodes: Vec<Node> = Vec::new();
    for number in 0..count {
        let host = network.host(switch, None)?;
        let joins = nodes.first().map(|first| first.dial.as_str()).or(beyond);
        let mut all = vec!["--slots", "1", "--link", link];
        all.extend(joins.iter().flat_map(|dial| ["--bootstrap", dial]));
        nodes.push(Node::start_in(&dir.join(number.to_string()), &host, &all)?);
    }
    Ok(nodes)
}

/// The connection of one peer to another.
fn link(from: &Node, to: &Node) -> anyhow::Result<Option<Connection>> {
    let connections = from.info()?.connections;
    Ok(connections.into_iter().find(|one| one.peer.to_string() == to.peer))
}

/// Whether a peer holds its link to another for slow.
fn is_slow(from: &Node, to: &Node) -> anyhow::Result<bool> {
    Ok(link(from, to)?.is_some_and(|one| one.profile == Profile::Slow))
}

/// TCP connections of a near peer that end on the other side of the line.
fn across(near: &Node) -> anyhow::Result<usize> {
    let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", near.pid()))?;
    // Addresses are hexadecimal, the last byte first; 01 is an established connection.
    let across = |line: &&str| {
        let mut fields = line.split_whitespace().skip(2);
        let (remote, state) = (fields.next().unwrap_or(""), fields.next().unwrap_or(""));
        remote.get(2..8) == Some("024D0A") && state == "01"
    };
    Ok(table.lines().filter(across).count())
}

/// Peers on both sides of the line.
struct World {
    near: Vec<Node>,
    far: Vec<Node>,
    cable: Cable,
    _network: Network,
    _dir: tempfile::TempDir,
}

impl World {
    /// `near` peers that are told `told` of their line, and others that are told nothing if that is
    /// about a slow one.
    fn new(near: usize, told: &str, others: &str) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut network = Network::new()?;
        let switches = (network.switch()?, network.switch()?);
        let cable = network.join(switches.0, switches.1, Some(LINE))?;
        let far = side(&mut network, &dir.path().join("far"), switches.1, PEERS, None, others)?;
        let beyond = Some(far[0].dial.as_str());
        let near = side(&mut network, &dir.path().join("near"), switches.0, near, beyond, told)?;
        for (node, count) in [(&near[0], near.len()), (&far[0], far.len())] {
            node.meets(count)?;
        }
        Ok(Self { near, far, cable, _network: network, _dir: dir })
    }

    /// Bytes a second each way once the start is over: what it carries in ten seconds is less than this
    /// part of what it could. The measurement is the waiting.
    fn background(&self, rests_at: f64, measured: Duration) -> anyhow::Result<[f64; 2]> {
        let over = |time: Duration| {
            let before = self.cable.traffic()?;
            thread::sleep(time);
            let passed = self.cable.traffic()?.since(before);
            anyhow::Ok([passed.there, passed.back].map(|bytes| bytes as f64 / time.as_secs_f64()))
        };
        until("the start to be over", SETTLES, || {
            let rates = over(Duration::from_secs(10))?;
            Ok(rates.iter().all(|rate| *rate < rests_at * CARRIES).then_some(()))
        })?;
        let rates = over(measured)?;
        println!("background over {measured:?}: {rates:.0?} bytes a second of {CARRIES}");
        for connection in self.near[0].info()?.connections {
            println!("{connection:?}");
        }
        Ok(rates)
    }
}

#[test]
fn a_measured_line_carries_little_background() -> anyhow::Result<()> {
    let world = World::new(PEERS, "auto", "auto")?;
    let (near, far) = (&world.near[0], &world.far[0]);
    until("both ends of every connection to find the line slow", SETTLES, || {
        thread::sleep(Duration::from_secs(1));
        for (here, there) in [(&world.near, &world.far), (&world.far, &world.near)] {
            for from in here {
                let beyond =
                    |one: &Connection| there.iter().any(|node| node.peer == one.peer.to_string());
                let connections = from.info()?.connections;
                if connections.iter().any(|one| beyond(one) && one.profile == Profile::Full) {
                    return Ok(None);
                }
            }
        }
        Ok((is_slow(near, far)? && is_slow(far, near)?).then_some(()))
    })?;
    let rates = world.background(0.3, MEASURED)?;
    ensure!(rates.iter().all(|rate| *rate <= SHARE * CARRIES), "too much background: {rates:.0?}");
    // Peers on both sides dialled each other at once, when they heard of each other.
    let sockets = world.near.iter().map(across).collect::<anyhow::Result<Vec<usize>>>()?;
    ensure!(sockets.iter().all(|count| *count <= PEERS), "spare connections: {sockets:?}");
    ensure!(near.info()?.line.profile == Profile::Full, "the own network is not slow");
    Ok(())
}

#[test]
fn a_line_that_was_told_of_carries_little_background() -> anyhow::Result<()> {
    let world = World::new(1, LINE, "auto")?;
    let (near, far) = (&world.near[0], &world.far[0]);
    ensure!(near.info()?.line.profile == Profile::Slow);
    let rates = world.background(0.3, MEASURED)?;
    ensure!(rates.iter().all(|rate| *rate <= SHARE * CARRIES), "too much background: {rates:.0?}");
    // Nobody told the other end. Only this connection crosses the line, so it measures all of it.
    let found = link(far, near)?.and_then(|one| one.bytes_per_second).unwrap_or(0) as f64;
    ensure!((0.5 * CARRIES..1.5 * CARRIES).contains(&found), "it was measured as {found}");
    let said = near.peers_in_words()?;
    ensure!(said.contains("28.8kbit, as told") && said.contains("slow"), "{said}");
    Ok(())
}

/// The figure that the others are compared with.
#[test]
fn without_the_profile_it_is_more() -> anyhow::Result<()> {
    let rates = World::new(PEERS, "100mbit", "100mbit")?.background(0.8, MEASURED / 3)?;
    ensure!(rates.iter().all(|rate| *rate > 2.0 * SHARE * CARRIES), "so little: {rates:.0?}");
    Ok(())
}
