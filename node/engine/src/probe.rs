//! How the walls stand, tried from inside.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    io,
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    child::Mode,
    launcher::Launcher,
    process::{Lost, Process, describe},
    walls::{Bounds, Walls},
    wire::{self, Reply, Request, SMALL_REPLY, Targets},
};

const PATIENCE: Duration = Duration::from_secs(30);
/// The last try: whoever succeeds at it answers no more.
const LAST: &str = "exec";

/// What an engine process could do from behind its walls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The walls as the process raised them.
    pub walls: Walls,
    /// Everything that was tried.
    pub tries: Vec<Try>,
}

impl Probe {
    /// Whether everything was refused.
    pub fn is_tight(&self) -> bool {
        self.tries.iter().all(|tried| tried.refused.is_some())
    }
}

/// One thing that an engine process has no business doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Try {
    /// What was tried.
    pub what: String,
    /// The system's error number; none if it was allowed.
    pub refused: Option<i32>,
}

impl fmt::Display for Try {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.refused {
            None => write!(f, "{}: allowed", self.what),
            Some(errno) => {
                let error = io::Error::from_raw_os_error(errno);
                write!(f, "{}: refused ({error})", self.what)
            }
        }
    }
}

/// The walls could not be tried.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No engine process.
    #[error("cannot start an engine process: {0}")]
    Start(String),
    /// It does not answer.
    #[error("cannot try the walls: {0}")]
    Lost(String),
}

pub(crate) fn probe(
    launcher: &Launcher,
    bounds: &Bounds,
    secret: Option<&Path>,
) -> Result<Probe, ProbeError> {
    let start = |error: io::Error| ProbeError::Start(error.to_string());
    let mut process = Process::start(launcher, Mode::Probe, bounds).map_err(start)?;
    let deadline = Instant::now() + PATIENCE;
    let walls = match process.ask(SMALL_REPLY, deadline) {
        Ok(Reply::Ready(walls)) => walls,
        Ok(Reply::Failed(words)) => return Err(ProbeError::Start(words)),
        Ok(_) => return Err(ProbeError::Start("it speaks another language".into())),
        Err(Lost::Closed) => return Err(ProbeError::Start(describe(process.end()))),
        Err(lost) => return Err(ProbeError::Start(lost.to_string())),
    };
    let byte = 0x55_u8;
    let secret = secret.map(|path| path.to_string_lossy().into_owned());
    let unique = RandomState::new().hash_one(process.id());
    let creatable = std::env::temp_dir().join(format!("bayan-probe-{unique:016x}"));
    let targets = Targets {
        readable: std::iter::once("/etc/passwd".to_owned()).chain(secret).collect(),
        creatable: creatable.to_string_lossy().into_owned(),
        parent: std::process::id(),
        address: std::ptr::from_ref(&byte).addr() as u64,
    };
    let lost = |error: io::Error| ProbeError::Lost(error.to_string());
    wire::write(&Request::Probe(targets), process.outbound.buffer())
        .map_err(io::Error::other)
        .map_err(lost)?;
    let mut tries: Vec<Try> = Vec::new();
    let ended = loop {
        match process.ask(SMALL_REPLY, deadline) {
            Ok(Reply::Tried { what, errno }) => tries.push(Try { what, refused: errno }),
            Ok(_) => break Err(ProbeError::Lost("it speaks another language".into())),
            Err(Lost::Closed) => break Ok(()),
            Err(lost) => break Err(ProbeError::Lost(lost.to_string())),
        }
    };
    // Nothing is left behind if it could be made.
    let _ = std::fs::remove_file(&creatable).or_else(|_| std::fs::remove_dir(&creatable));
    ended?;
    if cfg!(target_os = "linux") && tries.last().is_none_or(|last| last.what != LAST) {
        tries.push(Try { what: LAST.into(), refused: None });
    }
    Ok(Probe { walls, tries })
}
