//! Runs bundles on V8: one process of Node.js serves them all.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::bundle::{self, Bundle};

const RUNNER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/v8/run.mjs");

/// A bundle is bounded by its fuel: longer than this, and something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process of Node.js that runs bundles.
#[derive(Debug)]
pub struct V8 {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    next: u32,
}

impl V8 {
    /// Starts Node.js, with `flags` for V8.
    pub fn start(flags: &[&str]) -> Result<V8, String> {
        let mut child = Command::new("node")
            .arg("--expose-gc")
            .args(flags)
            .arg(RUNNER)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| {
                format!("cannot start `node` ({e}): install Node.js 20 or later, e.g. with `sudo apt-get install nodejs`")
            })?;
        let mut stdin = child.stdin.take().expect("it is piped");
        let stdout = child.stdout.take().expect("it is piped");
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let support = bundle::support();
        let mut head = u32::try_from(support.len()).expect("a small module").to_le_bytes().to_vec();
        head.extend_from_slice(&support);
        stdin.write_all(&head).map_err(|e| format!("node ended: {e}"))?;
        Ok(V8 { child, stdin, lines, next: 0 })
    }

    /// Runs a bundle and returns its trace as text.
    pub fn run(&mut self, bundle: &Bundle) -> Result<String, String> {
        let id = self.next;
        self.next += 1;
        let mut request = Vec::new();
        let size = |bytes: &[u8]| u32::try_from(bytes.len()).map_err(|e| e.to_string());
        let calls = u32::try_from(bundle.calls.len()).map_err(|e| e.to_string())?;
        let head =
            [id, calls, u32::from(bundle.support), size(&bundle.guest)?, size(&bundle.driver)?];
        for word in head.iter().chain(&bundle.calls) {
            request.extend_from_slice(&word.to_le_bytes());
        }
        request.extend_from_slice(&bundle.guest);
        request.extend_from_slice(&bundle.driver);
        self.stdin.write_all(&request).map_err(|e| format!("node ended: {e}"))?;
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => match line.split_once(' ') {
                Some((answered, trace)) if answered == id.to_string() => Ok(trace.to_owned()),
                _ => Err(format!("node answered out of turn: {line}")),
            },
            Err(RecvTimeoutError::Timeout) => {
                Err(format!("node did not answer in {} s", PATIENCE.as_secs()))
            }
            Err(RecvTimeoutError::Disconnected) => Err("node ended".into()),
        }
    }
}

impl Drop for V8 {
    fn drop(&mut self) {
        // It may be in a guest that does not end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
