//! The program under test as a process: started, followed line by line, and always ended.

use std::{
    io::{BufRead as _, BufReader, Read, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

/// Between two looks at a condition that nothing announces.
const LOOK: Duration = Duration::from_millis(20);

/// For a program that has no arguments: it says what it does if it is asked, and refuses all others. True if
/// that is all it was asked for.
pub fn is_only_asked(about: &str) -> anyhow::Result<bool> {
    match std::env::args().nth(1).as_deref() {
        None => Ok(false),
        Some("-h" | "--help") => {
            println!("{about} It has no arguments.");
            Ok(true)
        }
        Some(other) => bail!("`{other}` is no argument of this program: it has none (try --help)"),
    }
}

/// The program under test, built beside the tests.
pub fn executable() -> PathBuf {
    built("bayan")
}

/// A program of this workspace, built beside the tests.
pub fn built(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a running test has a path");
    let built = own.ancestors().map(|dir| dir.join(name)).find(|path| path.is_file());
    built.unwrap_or_else(|| panic!("the program `{name}` is not built; run the tests with ./test"))
}

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate is in a workspace")
        .to_path_buf()
}

/// A command of the program on a data directory. Nothing of the user's own settings reaches it.
pub fn bayan(dir: &Path) -> Command {
    let mut command = Command::new(executable());
    command.arg("--data-dir").arg(dir);
    for name in ["BAYAN_DATA_DIR", "BAYAN_APPS", "BAYAN_LOG", "RUST_LOG", "NO_COLOR"] {
        command.env_remove(name);
    }
    command
}

/// Starts the program on a data directory.
pub fn start(dir: &Path, args: &[&str]) -> anyhow::Result<Program> {
    let mut command = bayan(dir);
    command.args(args);
    Program::spawn(command)
}

/// Runs the program on a data directory to its end, at most `limit` long.
pub fn run(dir: &Path, args: &[&str], limit: Duration) -> anyhow::Result<Finished> {
    start(dir, args)?.finish(limit)
}

/// Looks at something until it is there, at most `limit` long.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "waited {limit:?} in vain for {what}");
        thread::sleep(LOOK);
    }
}

/// A running process whose outputs are followed. Dropping it kills it.
pub struct Program {
    child: Child,
    words: String,
    lines: mpsc::Receiver<String>,
    heard: Vec<String>,
    stderr: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

/// A process that has ended.
#[derive(Debug)]
pub struct Finished {
    /// The command line, for messages.
    pub words: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output. Bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Program {
    /// Starts a command with an empty standard input.
    pub fn spawn(command: Command) -> anyhow::Result<Self> {
        Self::spawn_with(command, b"")
    }

    /// Starts a command with this standard input.
    pub fn spawn_with(mut command: Command, input: &[u8]) -> anyhow::Result<Self> {
        let words = format!("{command:?}");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
        let mut child = command.spawn().with_context(|| format!("cannot start {words}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            let input = input.to_vec();
            // A program that reads no input closes the pipe early.
            thread::spawn(move || drop(stdin.write_all(&input)));
        }
        let stdout = child.stdout.take().context("stdout is piped")?;
        let mut errors = child.stderr.take().context("stderr is piped")?;
        let (tell, lines) = mpsc::channel();
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&stderr);
        let readers = vec![
            thread::spawn(move || {
                let mut stdout = BufReader::new(stdout);
                let mut line = Vec::new();
                while stdout.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                    let _ = tell.send(String::from_utf8_lossy(&line).into_owned());
                    line.clear();
                }
            }),
            thread::spawn(move || {
                let mut buffer = [0; 8192];
                while let Ok(count @ 1..) = errors.read(&mut buffer) {
                    log.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .extend_from_slice(&buffer[..count]);
                }
            }),
        ];
        Ok(Self { child, words, lines, heard: Vec::new(), stderr, readers })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn status(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().unwrap_or_else(PoisonError::into_inner))
            .into_owned()
    }

    /// What was taken of its standard output so far.
    pub fn heard(&self) -> String {
        self.heard.concat()
    }

    /// Follows the lines of JSON on its standard output until `wanted` finds something.
    pub fn wait_for<T>(
        &mut self,
        limit: Duration,
        mut wanted: impl FnMut(&Value) -> Option<T>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let value = serde_json::from_str::<Value>(&line).unwrap_or(Value::Null);
                    self.heard.push(line);
                    if let Some(found) = wanted(&value) {
                        return Ok(found);
                    }
                }
                Err(error) => bail!(
                    "{}: {error} before what was waited for came; it said\n{}\n{}",
                    self.words,
                    self.heard(),
                    self.stderr()
                ),
            }
        }
    }

    /// Waits until it has written `words` to standard error.
    pub fn complains(&mut self, words: &str, limit: Duration) -> anyhow::Result<()> {
        until(&format!("{} to say `{words}`", self.words), limit, || {
            let said = self.stderr();
            if said.contains(words) {
                return Ok(Some(()));
            }
            ensure!(self.child.try_wait()?.is_none(), "{} ended; it said\n{said}", self.words);
            Ok(None)
        })
    }

    /// Sends it a signal.
    pub fn signal(&self, number: libc::c_int) -> anyhow::Result<()> {
        signal(self.pid(), number)
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end; a process that does not come to it is killed, and that is an error.
    pub fn wait(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                self.kill();
                let heard: Vec<String> = self.lines.try_iter().collect();
                bail!(
                    "{} did not end within {limit:?}; it said\n{}{}\n{}",
                    self.words,
                    self.heard(),
                    heard.concat(),
                    self.stderr()
                );
            }
            // Portable waiting for a child with a limit is polling.
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for its end and collects what it said.
    pub fn finish(mut self, limit: Duration) -> anyhow::Result<Finished> {
        let status = self.wait(limit)?;
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        self.heard.extend(self.lines.try_iter());
        Ok(Finished {
            words: self.words.clone(),
            status,
            stdout: self.heard(),
            stderr: self.stderr(),
        })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Finished {
    /// Checks the exit code.
    pub fn code(self, expected: i32) -> anyhow::Result<Self> {
        ensure!(
            self.status.code() == Some(expected),
            "{} ended with {}, not with exit code {expected}; it said\n{}\n{}",
            self.words,
            self.status,
            self.stdout,
            self.stderr
        );
        Ok(self)
    }

    /// Checks that standard error has all of these words in it.
    pub fn says(self, words: &[&str]) -> anyhow::Result<Self> {
        for word in words {
            ensure!(
                self.stderr.contains(word),
                "{} does not say `{word}` on standard error but\n{}",
                self.words,
                self.stderr
            );
        }
        Ok(self)
    }

    /// Standard output, each line of which must be JSON.
    pub fn json(&self) -> anyhow::Result<Vec<Value>> {
        let parse = |line: &str| {
            serde_json::from_str(line).with_context(|| format!("{}: not JSON: {line}", self.words))
        };
        self.stdout.lines().map(parse).collect()
    }
}

/// Sends a signal to a process that this test started.
#[expect(unsafe_code, reason = "there is no safe way to send a signal in std")]
pub fn signal(pid: u32, signal: libc::c_int) -> anyhow::Result<()> {
    let pid = libc::pid_t::try_from(pid)?;
    // SAFETY: kill takes two integers and touches no memory of this process.
    let sent = unsafe { libc::kill(pid, signal) };
    ensure!(sent == 0, "cannot signal process {pid}: {}", std::io::Error::last_os_error());
    Ok(())
}

/// Whether a process with this id exists and has not merely been left unreaped.
pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    let state = stat
        .ok()
        .and_then(|stat| stat.rsplit_once(')').map(|(_, rest)| rest.trim_start().starts_with('Z')));
    state == Some(false)
}
