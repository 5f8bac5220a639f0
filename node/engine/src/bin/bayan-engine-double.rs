//! A test double of an engine process: real walls, real protocol, but instead of guests a few
//! behaviours that tests ask for by the task's first argument, and lies that they ask for by its
//! own.

use std::{
    fs::File,
    io::{Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    time::{Duration, Instant},
};

use bayan_engine::{
    Outcome, Walls,
    child::{self, Runner, Work},
};
use bayan_protocol::{cbor, task::Status};
use serde::Serialize;
use serde_bytes::ByteBuf;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("die") => std::process::exit(3),
        Some("lie") if arguments.iter().any(|argument| argument == "run") => lie(&arguments[2]),
        _ => child::main::<Double>(),
    }
}

struct Double;

impl Runner for Double {
    type Module = Vec<u8>;

    fn new() -> Result<Self, String> {
        match has("broken") {
            true => Err("this processor is not supported".into()),
            false => Ok(Self),
        }
    }

    fn load(&self, mut artefact: File) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        artefact.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    fn run(&self, module: &Vec<u8>, work: &Work) -> Outcome {
        let started = Instant::now();
        let mut outcome = behave(module, work);
        outcome.micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        outcome
    }

    fn compile(packed: &[u8]) -> Result<Vec<u8>, String> {
        if has("spin") {
            loop {
                std::hint::spin_loop();
            }
        }
        if has("hog") {
            hog(u64::MAX);
        }
        if has("refuse") {
            return Err("no such\u{1b}[31m instruction".into());
        }
        assert!(!has("panic"), "as asked for");
        Ok(packed.to_vec())
    }
}

fn has(behaviour: &str) -> bool {
    std::env::args().any(|argument| argument == behaviour)
}

fn behave(module: &[u8], work: &Work) -> Outcome {
    let argument = |index: usize| work.args.get(index).map(String::as_str).unwrap_or_default();
    let number = |index: usize| argument(index).parse::<u64>().unwrap_or_default();
    let exited = |output: Vec<u8>, fuel: usize| Outcome {
        status: Status::Exited(0),
        output,
        fuel: fuel as u64,
        log: Vec::new(),
        micros: 0,
    };
    match argument(0) {
        "sleep" => std::thread::sleep(Duration::from_millis(number(1))),
        "spin" => loop {
            std::hint::spin_loop();
        },
        "hog" => hog(number(1) << 20),
        "crash" => std::process::abort(),
        "leave" => std::process::exit(7),
        "panic" => panic!("as asked for"),
        "module" => return exited(module.to_vec(), module.len()),
        "data" => {
            let all = work.data.iter().flat_map(|(name, bytes)| [name.as_bytes(), bytes]);
            return exited(all.flatten().copied().collect(), 1);
        }
        "environment" => {
            let all = format!("{:?} {:?}", std::env::vars().count(), work.env);
            return exited(all.into_bytes(), 1);
        }
        "long" => return exited(vec![b'x'; number(1) as usize], 1),
        "fuel" => return exited(Vec::new(), number(1) as usize),
        _ => {}
    }
    exited(work.stdin.to_vec(), work.stdin.len())
}

/// Uses memory, then waits to be found out.
fn hog(bytes: u64) {
    const PIECE: usize = 16 << 20;
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    while (pieces.len() * PIECE) < usize::try_from(bytes).unwrap_or(usize::MAX) {
        pieces.push(vec![1; PIECE]);
    }
    std::thread::sleep(Duration::from_secs(60));
    assert!(!std::hint::black_box(pieces).is_empty());
}

/// The replies as this process is free to form them.
#[derive(Serialize)]
enum Reply {
    Ready(Walls),
    Done { seq: u64, status: Status, output: ByteBuf, fuel: u64, log: ByteBuf, micros: u64 },
    Skipped { seq: u64 },
}

/// Serves, and then says something that no honest process would.
fn lie(what: &str) {
    let socket = std::io::stdin().as_fd().try_clone_to_owned().expect("a socket at stdin");
    let mut socket = UnixStream::from(socket);
    let mut say = |bytes: &[u8]| {
        // The parent may have had enough.
        let _ = socket.write_all(bytes);
    };
    say(&frame(&Reply::Ready(Walls::default())));
    let mut some = [0; 65536];
    let mut asked = socket.try_clone().expect("another descriptor");
    // The first attempt is here once all of its frames are; sequence numbers start at 0.
    let mut seen = Vec::new();
    while !seen.windows(3).any(|piece| piece == b"Run") {
        match asked.read(&mut some) {
            Ok(read) if read > 0 => seen.extend_from_slice(&some[..read]),
            _ => return,
        }
    }
    let done = |seq, status, output: &[u8], fuel, log: usize| Reply::Done {
        seq,
        status,
        output: ByteBuf::from(output),
        fuel,
        log: ByteBuf::from(vec![b'l'; log]),
        micros: u64::MAX,
    };
    let mut say = |bytes: &[u8]| {
        let _ = socket.write_all(bytes);
    };
    match what {
        "order" => say(&frame(&done(1, Status::Exited(0), b"", 0, 0))),
        "past" => {
            say(&frame(&done(0, Status::Exited(0), b"ok", 0, 0)));
            say(&frame(&done(0, Status::Exited(0), b"twice", 0, 0)));
        }
        "fuel" => say(&frame(&done(0, Status::Exited(0), b"", u64::MAX, 0))),
        "output" => say(&frame(&done(0, Status::Exited(0), &[0; 65537], 0, 0))),
        "log" => say(&frame(&done(0, Status::Exited(0), b"", 0, 65537))),
        "trapped-output" => say(&frame(&done(0, Status::Trapped, b"x", 0, 0))),
        "out-of-fuel" => say(&frame(&done(0, Status::OutOfFuel, b"", 1, 0))),
        "fuel-of-nothing" => say(&frame(&done(0, Status::WallTime, b"", 1, 0))),
        "skip" => say(&frame(&Reply::Skipped { seq: 0 })),
        "ready" => say(&frame(&Reply::Ready(Walls::default()))),
        "length" => say(&u32::MAX.to_le_bytes()),
        "bytes" => say(&[4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
        "cut" => {
            let whole = frame(&done(0, Status::Exited(0), b"some output", 1, 0));
            say(&whole[..whole.len() / 2]);
            return;
        }
        "end" => return,
        "flood" => loop {
            if socket.write_all(&[0x9f; 65536]).is_err() {
                return;
            }
        },
        _ => {}
    }
    // Until the parent ends it.
    while asked.read(&mut some).is_ok_and(|read| read > 0) {}
}

fn frame(reply: &Reply) -> Vec<u8> {
    let body = cbor::encode(reply);
    let mut bytes = (body.len() as u32).to_le_bytes().to_vec();
    bytes.extend_from_slice(&body);
    bytes
}
