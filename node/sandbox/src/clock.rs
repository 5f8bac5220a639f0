//! Wall time and cancellation: the two ways an attempt ends that say nothing about the guest.
//!
//! Compiled code compares a counter with a deadline at every loop and call. A thread advances the
//! counter while attempts run, and each attempt then looks at its own deadline and [`Cancel`].

use std::{
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How often running attempts look at the time.
const TICK: Duration = Duration::from_millis(10);

/// A switch that ends an attempt from another thread. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A switch that is off.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the attempt soon; cannot be undone.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether [`Self::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Advances an engine's epoch while someone is running; sleeps otherwise.
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    running: usize,
    closed: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticker {
    pub(crate) fn start(engine: wasmtime::Engine) -> io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let ticking = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("bayan-clock".to_owned())
            .spawn(move || tick(&ticking, &engine))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Keeps the clock going until the guard is dropped.
    pub(crate) fn running(&self) -> Running<'_> {
        self.shared.state().running += 1;
        self.shared.changed.notify_all();
        Running(&self.shared)
    }
}

fn tick(shared: &Shared, engine: &wasmtime::Engine) {
    let mut state = shared.state();
    while !state.closed {
        if state.running == 0 {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        } else {
            state =
                shared.changed.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner).0;
            engine.increment_epoch();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panicked clock has been reported by the panic itself.
            let _ = thread.join();
        }
    }
}

/// One running attempt.
pub(crate) struct Running<'a>(&'a Shared);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.state().running -= 1;
    }
}
