//! The inside of an engine process.

mod guests;
mod outbox;
mod probe;
mod serve;

use std::{
    fs::File,
    io::{self, Write},
    os::{
        fd::{FromRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread,
};

/// One attempt as it reaches the engine.
pub use bayan_sandbox::Task as Work;
pub use guests::Guests;
use rustix::event::{PollFd, PollFlags, poll};
use serde_bytes::ByteBuf;

use crate::{
    socket::Receiver,
    task::{Outcome, read_shared},
    walls::{self, Bounds, Walls},
    wire::{self, Reply, Request},
};

/// What an engine process runs attempts with.
pub trait Runner: Send + Sized + 'static {
    /// A module made ready.
    type Module;

    /// Sets the engine up, before the walls stand.
    fn new() -> Result<Self, String>;

    /// Makes a module ready from its compiled form.
    fn load(&self, artefact: File) -> Result<Self::Module, String>;

    /// Runs one attempt.
    fn run(&self, module: &Self::Module, work: &Work) -> Outcome;

    /// Compiles a packed module.
    fn compile(packed: &[u8]) -> Result<Vec<u8>, String>;
}

/// What an engine process was started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Run,
    Compile,
    Probe,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Compile => "compile",
            Self::Probe => "probe",
        }
    }
}

/// The life of an engine process: raises the walls and serves the socket at standard input until
/// it closes. To be called before anything else when the program is started with the argument
/// [`crate::ARGUMENT`].
pub fn main<R: Runner>() -> ! {
    walls::close_all_but_stdin();
    // There is nowhere to write to; panics reach the parent as outcomes.
    std::panic::set_hook(Box::new(|_| {}));
    #[expect(unsafe_code, reason = "the parent's promise about standard input")]
    // SAFETY: first thing in the process, when no value owns a descriptor; this one is open
    // because the parent made it the socket.
    let socket = UnixStream::from(unsafe { OwnedFd::from_raw_fd(0) });
    let arguments: Vec<String> = std::env::args().collect();
    let Some((mode, bounds)) = parse(&arguments) else { std::process::exit(2) };
    let served = match mode {
        Mode::Run => run::<R>(&socket, &bounds),
        Mode::Compile => compile::<R>(&socket, &bounds),
        Mode::Probe => probe(&socket, &bounds),
    };
    if let Err(words) = served {
        let _ = send(&socket, &Reply::Failed(words));
    }
    std::process::exit(0)
}

/// The last three arguments: mode, bound on data, bound on processor time.
fn parse(arguments: &[String]) -> Option<(Mode, Bounds)> {
    let [.., mode, data, cpu_seconds] = arguments else { return None };
    let modes = [Mode::Run, Mode::Compile, Mode::Probe];
    let mode = modes.into_iter().find(|known| known.name() == mode)?;
    Some((mode, Bounds { data: data.parse().ok()?, cpu_seconds: cpu_seconds.parse().ok()? }))
}

fn send(mut socket: &UnixStream, reply: &Reply) -> io::Result<()> {
    let mut bytes = Vec::new();
    wire::write(reply, &mut bytes).map_err(io::Error::other)?;
    socket.write_all(&bytes)
}

/// Serves attempts.
fn run<R: Runner>(socket: &UnixStream, bounds: &Bounds) -> Result<(), String> {
    let runner = R::new()?;
    let mut walls = walls::raise(bounds);
    let words = |error: io::Error| error.to_string();
    let socket = Arc::new(socket.try_clone().map_err(words)?);
    let outbox = outbox::Outbox::start(Arc::clone(&socket)).map_err(words)?;
    let (go, may_go) = mpsc::channel::<Walls>();
    let serving = Arc::clone(&socket);
    let guests = move || {
        if let Ok(walls) = may_go.recv()
            && send(&serving, &Reply::Ready(walls)).is_ok()
        {
            serve::serve(&serving, &outbox, &runner);
        }
        std::process::exit(0);
    };
    let thread = thread::Builder::new().name("guest".into()).stack_size(bayan_sandbox::STACK);
    thread.spawn(guests).map_err(words)?;
    walls::seal(&mut walls)?;
    go.send(walls).map_err(|_| "the thread for guests is gone".to_owned())?;
    wait_for_end(&socket);
    std::process::exit(0)
}

/// Waits until the other end is closed, whatever the guest is doing.
fn wait_for_end(socket: &UnixStream) {
    loop {
        let mut descriptors = [PollFd::new(socket, PollFlags::empty())];
        let found = poll(&mut descriptors, None);
        if found.is_ok() && !descriptors[0].revents().is_empty() {
            return;
        }
    }
}

/// The first request and the descriptor that comes with it.
fn first(socket: &UnixStream) -> Result<(Request<'static>, Option<OwnedFd>), String> {
    let mut receiver = Receiver::new();
    loop {
        let received = receiver.receive(socket, true).map_err(|error| error.to_string())?;
        let next = receiver.inbound.next(usize::MAX).map_err(|error| error.to_string())?;
        if let Some(request) = next {
            return Ok((request, receiver.descriptors.pop_front()));
        }
        if received == crate::socket::Received::End {
            std::process::exit(0);
        }
    }
}

/// Compiles one module.
fn compile<R: Runner>(socket: &UnixStream, bounds: &Bounds) -> Result<(), String> {
    let mut walls = walls::raise(bounds);
    walls::seal(&mut walls)?;
    send(socket, &Reply::Ready(walls)).map_err(|error| error.to_string())?;
    let (Request::Compile { len }, Some(packed)) = first(socket)? else {
        return Err("not a request to compile".into());
    };
    let packed = read_shared(&File::from(packed), len).map_err(|error| error.to_string())?;
    let compiled = catch_unwind(AssertUnwindSafe(|| R::compile(&packed)))
        .unwrap_or_else(|_| Err("the compiler panicked".into()))?;
    send(socket, &Reply::Artefact(ByteBuf::from(compiled))).map_err(|error| error.to_string())
}

/// Tries the walls.
fn probe(socket: &UnixStream, bounds: &Bounds) -> Result<(), String> {
    let mut walls = walls::raise(bounds);
    walls::seal(&mut walls)?;
    send(socket, &Reply::Ready(walls)).map_err(|error| error.to_string())?;
    let (Request::Probe(targets), _) = first(socket)? else {
        return Err("not a request to probe".into());
    };
    probe::probe(&targets, |what, errno| {
        // Without the parent there is nobody to tell.
        let _ = send(socket, &Reply::Tried { what: what.into(), errno });
    });
    Ok(())
}
