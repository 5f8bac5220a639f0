//! Ends the program when a packed module does not end: nothing else could, for the engines that run
//! it are configured as nodes do, without any bound of their own.

use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Far more than any module takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Watches one thread that runs modules.
#[derive(Debug)]
pub(super) struct Watchdog {
    watched: Sender<Option<(u64, Vec<u8>)>>,
}

impl Watchdog {
    /// Modules that do not end are written to `out`.
    pub(super) fn start(out: PathBuf) -> Watchdog {
        let (watched, events) = channel::<Option<(u64, Vec<u8>)>>();
        std::thread::spawn(move || {
            let mut running = None;
            loop {
                let event = match &running {
                    None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
                    Some(_) => events.recv_timeout(PATIENCE),
                };
                match (event, running) {
                    (Ok(event), _) => running = event,
                    (Err(RecvTimeoutError::Timeout), Some((seed, wasm))) => {
                        give_up(seed, &wasm, &out)
                    }
                    (Err(_), _) => return,
                }
            }
        });
        Watchdog { watched }
    }

    pub(super) fn begins(&self, seed: u64, wasm: &[u8]) {
        let _ = self.watched.send(Some((seed, wasm.to_vec())));
    }

    pub(super) fn ends(&self) {
        let _ = self.watched.send(None);
    }
}

fn give_up(seed: u64, wasm: &[u8], out: &std::path::Path) -> ! {
    let path = out.join(format!("endless-{seed}.wasm"));
    let written = std::fs::write(&path, wasm);
    eprintln!("a packed module does not end, whatever its fuel: {} ({written:?})", path.display());
    eprintln!("{}", super::replay(&path, seed));
    std::process::exit(101)
}
