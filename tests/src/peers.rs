//! Real peers as processes: started on loopback addresses of their own, with directories of their
//! own, bounded in time, ended by process id.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

/// A peer that is not ready within this time never will be.
const READY: Duration = Duration::from_secs(30);
/// How long a process may take to end after it was told to.
const ENDS: Duration = Duration::from_secs(20);

static NEXT: AtomicU32 = AtomicU32::new(1);

/// The program under test, built beside the tests.
pub fn bayan() -> PathBuf {
    sibling("bayan")
}

fn sibling(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a running test has a path");
    let built = own.ancestors().find(|dir| dir.join(name).is_file()).map(|dir| dir.join(name));
    built.unwrap_or_else(|| panic!("the program `{name}` is not built; run the tests with ./test"))
}

/// A committed guest module.
pub fn module(name: &str) -> PathBuf {
    root().join("apps/modules").join(format!("{name}.wasm"))
}

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate is in a workspace").to_path_buf()
}

/// A loopback address that no other peer of this test has; test processes differ by their ids.
pub fn address() -> String {
    let (process, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    format!("127.{}.{}.1", 16 + process % 200, next % 256)
}

/// A started `bayan node`.
pub struct Node {
    child: Child,
    /// Its peer id, hexadecimal.
    pub peer: String,
    /// Its first address, as others dial it.
    pub dial: String,
    /// Its data directory.
    pub dir: PathBuf,
    ip: String,
    args: Vec<String>,
}

impl Node {
    /// Starts a peer on `dir`, listening on an address of its own, with further arguments.
    pub fn start(dir: &Path, args: &[&str]) -> anyhow::Result<Self> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        Self::start_at(dir, &address(), args)
    }

    fn start_at(dir: &Path, ip: &str, args: Vec<String>) -> anyhow::Result<Self> {
        fs::create_dir_all(dir)?;
        let log = fs::OpenOptions::new().create(true).append(true).open(dir.with_extension("log"))?;
        let mut child = Command::new(bayan())
            .args(["--data-dir".as_ref(), dir.as_os_str(), "node".as_ref()])
            .args(["--json", "--no-mdns", "--listen", &format!("/ip4/{ip}/tcp/0")])
            .args(&args)
            .env("RUST_LOG", std::env::var("RUST_LOG").unwrap_or_else(|_| "info".to_owned()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("cannot start bayan")?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = tell.send(line);
            }
        });
        let deadline = Instant::now() + READY;
        let ready = loop {
            match told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => match serde_json::from_str::<Value>(&line) {
                    Ok(value) if value["event"] == "ready" => break value,
                    _ => {}
                },
                Err(_) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    let log = fs::read_to_string(dir.with_extension("log")).unwrap_or_default();
                    bail!("the peer on {} did not get ready:\n{log}", dir.display());
                }
            }
        };
        Ok(Self {
            child,
            peer: ready["peer"].as_str().context("a peer id")?.to_owned(),
            dial: ready["listening"][0].as_str().context("an address")?.to_owned(),
            dir: dir.to_path_buf(),
            ip: ip.to_owned(),
            args,
        })
    }

    /// Starts it again on its directory, after it has ended.
    pub fn restart(mut self) -> anyhow::Result<Self> {
        self.end()?;
        let (dir, ip, args) = (self.dir.clone(), self.ip.clone(), self.args.clone());
        drop(self);
        Self::start_at(&dir, &ip, args)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, as a service manager does, and waits until it has.
    pub fn end(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(Some(status));
        }
        signal(self.pid(), libc::SIGTERM)?;
        let status = wait(&mut self.child, ENDS)?;
        ensure!(status.success(), "the peer ended with {status}");
        Ok(Some(status))
    }

    /// What it wrote to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.with_extension("log")).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("--- log of {}\n{}", self.dir.display(), self.log());
        }
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

/// Waits for a process to end, and ends it if it does not.
pub fn wait(child: &mut Child, limit: Duration) -> anyhow::Result<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            bail!("process {} did not end within {limit:?}", child.id());
        }
        // Portable waiting for a child with a limit is polling.
        thread::sleep(Duration::from_millis(10));
    }
}

/// Starts `bayan` on a data directory, outputs piped.
pub fn spawn(dir: &Path, args: &[&str]) -> anyhow::Result<Child> {
    Command::new(bayan())
        .args(["--data-dir".as_ref(), dir.as_os_str()])
        .args(args)
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start bayan")
}

/// Runs `bayan` on a data directory to its end, at most `limit` long.
pub fn run(dir: &Path, args: &[&str], limit: Duration) -> anyhow::Result<Output> {
    finish(spawn(dir, args)?, limit)
}

/// Collects a started program's output and waits for its end, at most `limit` long.
pub fn finish(mut child: Child, limit: Duration) -> anyhow::Result<Output> {
    fn reader(mut from: impl std::io::Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = from.read_to_end(&mut bytes);
            bytes
        })
    }
    let stdout = reader(child.stdout.take().context("stdout is piped")?);
    let stderr = reader(child.stderr.take().context("stderr is piped")?);
    let status = wait(&mut child, limit);
    let (stdout, stderr) = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
    let status = status.with_context(|| {
        format!("stdout:\n{}\nstderr:\n{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
    })?;
    Ok(Output { status, stdout, stderr })
}

/// Whether a process with this id exists.
pub fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}
