//! How engine processes are started.

use std::{
    ffi::OsString,
    io,
    os::{fd::OwnedFd, unix::net::UnixStream, unix::process::CommandExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use crate::{child::Mode, walls::Bounds};

/// The hidden argument that makes this program an engine process.
pub const ARGUMENT: &str = "engine-process";

/// The program that engine processes are started from. It must call
/// [`child_main`](crate::child_main) before anything else.
#[derive(Debug, Clone)]
pub struct Launcher {
    program: PathBuf,
    args: Vec<OsString>,
}

impl Launcher {
    /// The program that is running, even if its file has been replaced meanwhile.
    pub fn this_program() -> Self {
        #[cfg(target_os = "linux")]
        let program = PathBuf::from("/proc/self/exe");
        #[cfg(not(target_os = "linux"))]
        let program = std::env::current_exe().unwrap_or_default();
        Self::at(program, [ARGUMENT.into()])
    }

    /// Another program, with arguments that go before those of this crate.
    pub fn at(program: impl Into<PathBuf>, args: impl IntoIterator<Item = OsString>) -> Self {
        Self { program: program.into(), args: args.into_iter().collect() }
    }

    /// Starts a process; the other end of its socket is returned beside it.
    pub(crate) fn start(&self, mode: Mode, bounds: &Bounds) -> io::Result<(Child, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        let child = Command::new(&self.program)
            .arg0("bayan-engine")
            .args(&self.args)
            .arg(mode.name())
            .arg(bounds.data.to_string())
            .arg(bounds.cpu_seconds.to_string())
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok((child, ours))
    }
}
