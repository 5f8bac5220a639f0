//! Whether the networks and the proxy that other tests rely on do what they promise.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, TcpListener, TcpStream},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use bayan_tests::{
    chance::Chance,
    namespaces::{BURST, Host, Network},
    peers,
    program::{Program, is_alive, until},
    proxy::{Fault, Proxy, Weather},
};

/// Nothing here takes longer.
const LIMIT: Duration = Duration::from_secs(60);
/// Bytes a second of the slow cable.
const SLOW: f64 = 28_800.0 / 8.0;
/// Sent over it: four seconds' worth and a little.
const BYTES: usize = 16_000;

/// Python's sockets are enough for a receiver that says how many bytes came, and a sender.
fn script(host: &Host, text: &str) -> anyhow::Result<Program> {
    let mut command = Command::new("python3");
    command.args(["-u", "-c", text]);
    Program::spawn(host.enter(command))
}

/// Sends bytes from one host to another and measures how long they take.
fn transfer(from: &Host, to: &Host) -> anyhow::Result<Duration> {
    let address = to.address();
    let mut receiver = script(
        to,
        &format!(
            "import socket, time, json
listener = socket.create_server(('{address}', 4600))
print(json.dumps('ready'))
taken, _ = listener.accept()
begun = time.monotonic()
count = 0
while count < {BYTES}:
    count += len(taken.recv(65536))
print(json.dumps(time.monotonic() - begun))"
        ),
    )?;
    receiver.wait_for(LIMIT, |line| line.as_str().map(drop))?;
    let sender = script(
        from,
        &format!(
            "import socket
stream = socket.create_connection(('{address}', 4600))
stream.sendall(bytes({BYTES}))
stream.shutdown(socket.SHUT_WR)
stream.recv(1)"
        ),
    )?;
    let seconds = receiver.wait_for(LIMIT, serde_json::Value::as_f64)?;
    drop(sender);
    Ok(Duration::from_secs_f64(seconds))
}

fn a_rate_holds(mut network: Network) -> anyhow::Result<()> {
    let (near, far) = (network.switch()?, network.switch()?);
    let cable = network.join(near, far, Some("28.8kbit"))?;
    let one = network.host(near, None)?;
    let neighbour = network.host(near, None)?;
    let other = network.host(far, None)?;
    let modem = network.host(far, Some("28.8kbit"))?;

    let quick = transfer(&one, &neighbour)?;
    ensure!(quick < Duration::from_secs(1), "a cable without a rate took {quick:?}");
    let before = cable.traffic()?;
    let slow = transfer(&one, &other)?;
    let traffic = cable.traffic()?.since(before);
    let rate = traffic.there.saturating_sub(u64::from(BURST)) as f64 / slow.as_secs_f64();
    println!("{BYTES} bytes, on the cable {traffic:?}, took {slow:?}: {rate:.0} bytes a second");
    ensure!(traffic.there >= BYTES as u64, "the kernel counted too little: {traffic:?}");
    ensure!((0.95 * SLOW..1.1 * SLOW).contains(&rate), "{rate:.0} bytes a second");
    let own = transfer(&other, &modem)?;
    ensure!(own > Duration::from_secs_f64(0.8 * BYTES as f64 / SLOW), "a modem took only {own:?}");

    let holders = network.holders();
    ensure!(holders.iter().all(|pid| is_alive(*pid)));
    drop(network);
    ensure!(holders.iter().all(|pid| !is_alive(*pid)), "a holder outlived its network");
    Ok(())
}

#[test]
fn a_rate_holds_on_a_network_made_by_whoever_runs_the_tests() -> anyhow::Result<()> {
    a_rate_holds(Network::new()?)
}

#[test]
fn a_rate_holds_on_a_network_made_without_rights() -> anyhow::Result<()> {
    a_rate_holds(Network::as_user()?)
}

#[test]
fn a_network_is_gone_after_a_panic() -> anyhow::Result<()> {
    let mut network = Network::new()?;
    let switch = network.switch()?;
    let host = network.host(switch, None)?;
    let mut holders = network.holders();
    let sleeper = script(&host, "import time; time.sleep(1000)")?;
    holders.push(sleeper.pid());
    let panicked = thread::spawn(move || {
        let _kept = (network, sleeper);
        std::panic::resume_unwind(Box::new("on purpose"));
    })
    .join();
    ensure!(panicked.is_err());
    ensure!(holders.iter().all(|pid| !is_alive(*pid)), "something outlived the panic");
    Ok(())
}

/// A server on loopback that sends back what it gets, and a proxy in front of it.
fn echo(weather: Weather) -> anyhow::Result<Proxy> {
    let address: Ipv4Addr = peers::address().parse()?;
    let listener = TcpListener::bind((address, 0))?;
    let target = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut reader = stream.try_clone().expect("a socket");
                let mut writer = stream;
                drop(std::io::copy(&mut reader, &mut writer));
            });
        }
    });
    Proxy::start(IpAddr::V4(address), target, weather)
}

/// Sends `count` bytes there and back; how many came, and in what time.
fn round(proxy: &Proxy, count: usize) -> anyhow::Result<(usize, Duration)> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(proxy.address())?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut writer = stream.try_clone()?;
    let writing = thread::spawn(move || drop(writer.write_all(&vec![7; count])));
    let (mut came, mut buffer) = (0, [0; 4096]);
    while came < count {
        match stream.read(&mut buffer) {
            Ok(more @ 1..) => came += more,
            _ => break,
        }
    }
    writing.join().ok().context("the writer")?;
    Ok((came, begun.elapsed()))
}

#[test]
fn the_proxy_delays_stalls_and_cuts() -> anyhow::Result<()> {
    let delay = Duration::from_millis(150);
    let proxy = echo(Weather { delay, moments: Vec::new() })?;
    let (came, took) = round(&proxy, 20_000)?;
    ensure!(came == 20_000 && took >= 2 * delay && took < 10 * delay, "{came} bytes in {took:?}");

    let stall = Duration::from_millis(600);
    let proxy = echo(Weather { delay, moments: vec![(8000, Fault::Stall(stall))] })?;
    let (came, took) = round(&proxy, 20_000)?;
    ensure!(came == 20_000 && took >= stall, "{came} bytes in {took:?}");

    let proxy = echo(Weather { delay, moments: vec![(10_000, Fault::Cut)] })?;
    let (came, _) = round(&proxy, 20_000)?;
    ensure!(came < 20_000 && proxy.cuts() == 1, "{came} bytes came over a connection that was cut");
    let (came, _) = round(&proxy, 20_000)?;
    ensure!(came == 20_000, "the next connection is whole");
    Ok(())
}

#[test]
fn the_proxys_weather_follows_from_a_seed() -> anyhow::Result<()> {
    let mut chance = Chance::new();
    let weather = Weather::of(&mut chance, Duration::ZERO, 20, 100_000, Duration::from_millis(30));
    let cuts = weather.moments.iter().filter(|(_, fault)| *fault == Fault::Cut).count() as u64;
    let proxy = echo(weather)?;
    until("every fault to happen", LIMIT, || {
        round(&proxy, 20_000)?;
        Ok((proxy.passed() > 200_000 && proxy.cuts() == cuts).then_some(()))
    })
}
