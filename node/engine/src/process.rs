//! One engine process as its parent sees it.

use std::{
    fs::File,
    io,
    os::unix::{fs::FileExt, net::UnixStream, process::ExitStatusExt},
    process::{Child, ExitStatus},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    child::Mode,
    launcher::Launcher,
    socket::{Outbound, Received, Receiver},
    walls::Bounds,
    wire::{Nonsense, Reply},
};

/// A running process. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(crate) socket: UnixStream,
    pub(crate) outbound: Outbound,
    receiver: Receiver,
    /// Where the system says how much memory it uses.
    usage: Option<File>,
    pub(crate) begun: Instant,
    ended: Option<ExitStatus>,
}

/// Why nothing more comes from a process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    #[error("the engine process closed its socket")]
    Closed,
    #[error("the engine process sent {0}")]
    Nonsense(#[from] Nonsense),
    #[error("cannot talk to the engine process: {0}")]
    Socket(#[from] io::Error),
    #[error("the engine process does not start: {0}")]
    Failed(String),
    #[error("the engine process says nothing")]
    Silent,
}

impl Process {
    pub(crate) fn start(launcher: &Launcher, mode: Mode, bounds: &Bounds) -> io::Result<Self> {
        let begun = Instant::now();
        let (child, socket) = launcher.start(mode, bounds)?;
        // Opened now, because it may no longer be reachable once the process hides itself.
        let usage = File::open(format!("/proc/{}/statm", child.id())).ok();
        let mut process = Self {
            child,
            socket,
            outbound: Outbound::default(),
            receiver: Receiver::new(),
            usage,
            begun,
            ended: None,
        };
        if let Err(error) = process.socket.set_nonblocking(true) {
            process.end();
            return Err(error);
        }
        Ok(process)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends what waits, as far as the socket takes it.
    pub(crate) fn send(&mut self) -> Result<(), Lost> {
        match self.outbound.send(&self.socket) {
            // What it said before it closed is still to be read.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => Ok(other?),
        }
    }

    /// Takes in what is there.
    pub(crate) fn receive(&mut self) -> Result<Received, Lost> {
        Ok(self.receiver.receive_bytes(&self.socket)?)
    }

    /// The next reply that has been taken in whole.
    pub(crate) fn next(&mut self, limit: usize) -> Result<Option<Reply>, Lost> {
        Ok(self.receiver.inbound.next(limit)?)
    }

    /// Sends what waits and waits for the next reply, until `deadline`.
    pub(crate) fn ask(&mut self, limit: usize, deadline: Instant) -> Result<Reply, Lost> {
        loop {
            self.send()?;
            if let Some(reply) = self.next(limit)? {
                return Ok(reply);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Lost::Silent);
            }
            let mut wanted = PollFlags::IN;
            wanted.set(PollFlags::OUT, !self.outbound.is_empty());
            wait(&mut [PollFd::new(&self.socket, wanted)], Some(left))?;
            if self.receive()? == Received::End {
                return self.next(limit)?.ok_or(Lost::Closed);
            }
        }
    }

    /// Bytes of its memory that are in use. None where the system does not say.
    pub(crate) fn resident(&self) -> Option<u64> {
        let mut text = [0; 128];
        let len = self.usage.as_ref()?.read_at(&mut text, 0).ok()?;
        let pages = std::str::from_utf8(&text[..len]).ok()?.split(' ').nth(1)?;
        Some(pages.parse::<u64>().ok()? * rustix::param::page_size() as u64)
    }

    /// Kills it, waits for its end and says how it ended: by what had happened before, if anything.
    pub(crate) fn end(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            // Fails only when it has ended already.
            let _ = self.child.kill();
            self.ended = self.child.wait().ok();
        }
        self.ended
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Waits until one of `descriptors` is ready or `timeout` is over.
pub(crate) fn wait(descriptors: &mut [PollFd<'_>], timeout: Option<Duration>) -> io::Result<()> {
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    match poll(descriptors, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// How a process ended, in words for a log.
pub(crate) fn describe(status: Option<ExitStatus>) -> String {
    match status.map(|status| (status.signal(), status.code())) {
        Some((Some(signal), _)) => format!("the engine process was ended by signal {signal}"),
        Some((None, Some(code))) => format!("the engine process ended with code {code}"),
        _ => "the engine process is gone".into(),
    }
}
