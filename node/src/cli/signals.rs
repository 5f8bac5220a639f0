//! Ctrl-C and the polite request to end, as something to wait for.

use std::{process, thread};

use anyhow::Context as _;

use super::exit::Code;

/// Both signals. Lives inside a tokio runtime.
#[derive(Debug)]
struct Signals {
    #[cfg(unix)]
    interrupt: Option<tokio::signal::unix::Signal>,
    #[cfg(unix)]
    terminate: Option<tokio::signal::unix::Signal>,
}

impl Signals {
    /// Takes the signals over: from here on they no longer end the process by themselves.
    #[cfg(unix)]
    fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let take = |kind| {
            signal(kind)
                .inspect_err(|error| tracing::warn!(%error, "cannot watch for a signal"))
                .ok()
        };
        Self { interrupt: take(SignalKind::interrupt()), terminate: take(SignalKind::terminate()) }
    }

    /// Takes Ctrl-C over: from here on it no longer ends the process by itself.
    #[cfg(not(unix))]
    fn new() -> Self {
        Self {}
    }

    /// Waits for the next of them.
    #[cfg(unix)]
    async fn next(&mut self) {
        async fn one(signal: &mut Option<tokio::signal::unix::Signal>) {
            let received = match signal {
                Some(signal) => signal.recv().await,
                None => None,
            };
            if received.is_none() {
                std::future::pending().await
            }
        }
        tokio::select! {
            () = one(&mut self.interrupt) => {}
            () = one(&mut self.terminate) => {}
        }
    }

    /// Waits for the next Ctrl-C.
    #[cfg(not(unix))]
    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}

/// Calls `first` on the first signal, from a thread of its own; the second ends the process.
pub(crate) fn on_interrupt(first: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context("cannot watch for Ctrl-C")?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals::new()
    };
    let watch = move || {
        runtime.block_on(async move {
            signals.next().await;
            first();
            signals.next().await;
            process::exit(Code::Interrupted.into());
        });
    };
    thread::Builder::new()
        .name("bayan-signals".to_owned())
        .spawn(watch)
        .context("cannot watch for Ctrl-C")?;
    Ok(())
}
