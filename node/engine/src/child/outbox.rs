//! Outcomes on their way to the parent: gathered for a moment, so that tiny attempts share a
//! system call, but no longer than that, whatever the guest does meanwhile.

use std::{
    io::{self, Write},
    os::unix::net::UnixStream,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use crate::wire::{self, Reply};

/// How long an outcome may wait for others.
const LINGER: Duration = Duration::from_millis(1);
/// Bytes that do not wait.
const ENOUGH: usize = 64 << 10;
const STACK: usize = 64 << 10;

/// Replies not yet sent. Clones share them.
#[derive(Clone)]
pub(super) struct Outbox(Arc<Shared>);

struct Shared {
    socket: Arc<UnixStream>,
    waiting: Mutex<Waiting>,
    some: Condvar,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Whether the thread that sends after a moment knows that there is something.
    noticed: bool,
}

impl Outbox {
    /// Starts the thread that sends what has waited long enough.
    pub(super) fn start(socket: Arc<UnixStream>) -> io::Result<Self> {
        let shared = Shared { socket, waiting: Mutex::default(), some: Condvar::new() };
        let outbox = Self(Arc::new(shared));
        let linger = outbox.clone();
        let thread = thread::Builder::new().name("outbox".into()).stack_size(STACK);
        thread.spawn(move || linger.send_late())?;
        Ok(outbox)
    }

    /// Adds a reply.
    pub(super) fn push(&self, reply: &Reply) {
        let mut waiting = self.waiting();
        if wire::write(reply, &mut waiting.bytes).is_err() {
            let Reply::Done { seq, .. } = *reply else { return };
            let short =
                super::serve::done(seq, crate::task::fault("the output is too long to be sent"));
            // It has no output.
            let _ = wire::write(&short, &mut waiting.bytes);
        }
        if waiting.bytes.len() >= ENOUGH {
            self.send(&mut waiting);
        }
    }

    /// Has what waits sent in a moment: called before something that may take long.
    pub(super) fn linger(&self) {
        let mut waiting = self.waiting();
        if !waiting.bytes.is_empty() && !waiting.noticed {
            waiting.noticed = true;
            self.0.some.notify_one();
        }
    }

    /// Sends everything now.
    pub(super) fn flush(&self) {
        self.send(&mut self.waiting());
    }

    fn send(&self, waiting: &mut Waiting) {
        let mut socket = &*self.0.socket;
        if socket.write_all(&waiting.bytes).is_err() {
            std::process::exit(0);
        }
        waiting.bytes.clear();
        waiting.bytes.shrink_to(ENOUGH * 2);
    }

    fn send_late(&self) {
        let mut waiting = self.waiting();
        loop {
            while !waiting.noticed {
                waiting = self.0.some.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            drop(waiting);
            thread::sleep(LINGER);
            waiting = self.waiting();
            waiting.noticed = false;
            self.send(&mut waiting);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
