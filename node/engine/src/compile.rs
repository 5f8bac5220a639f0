//! Makes modules ready: packed here, compiled in a contained process of their own, kept on disk.

use std::{
    collections::HashMap,
    fmt::Display,
    io,
    os::unix::process::ExitStatusExt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bayan_protocol::id::Hash;
use rustix::process::Signal;

use crate::{
    cache::Cache,
    child::Mode,
    engines::Options,
    launcher::Launcher,
    module::{LoadError, Module},
    process::{Lost, Process, describe},
    sealed,
    walls::Bounds,
    wire::{self, Nonsense, Reply, Request, SMALL_REPLY},
};

/// Bytes of a compiled module.
const MAX_ARTEFACT: usize = 1 << 30;
/// Characters of what the compiler says that are passed on.
const MAX_WORDS: usize = 400;
/// How much longer than its processor time a compilation may take.
const PATIENCE: u32 = 5;
/// Compilations at once: each may take much memory.
const AT_ONCE: usize = 2;
/// Modules remembered; beyond it those that nobody uses are forgotten.
const REMEMBERED: usize = 64;

pub(crate) struct Compiler {
    launcher: Launcher,
    cache: Option<Cache>,
    time: Duration,
    memory: u64,
    /// By the digest of the given bytes. Who makes one ready holds its lock.
    known: Mutex<HashMap<Hash, Arc<Mutex<Option<Module>>>>>,
    turns: Mutex<usize>,
    turn: Condvar,
}

impl Compiler {
    pub(crate) fn new(options: &Options) -> io::Result<Self> {
        let cache = options.cache_dir.clone().map(|directory| {
            Cache::open(directory.clone(), &bayan_sandbox::fingerprint()).map_err(|error| {
                let words = format!("cannot keep compiled modules in {}", directory.display());
                io::Error::new(error.kind(), format!("{words}: {error}"))
            })
        });
        Ok(Self {
            launcher: options.launcher.clone(),
            cache: cache.transpose()?,
            time: options.compile_time,
            memory: options.compile_memory,
            known: Mutex::default(),
            turns: Mutex::new(AT_ONCE),
            turn: Condvar::new(),
        })
    }

    /// See [`crate::Engines::prepare`].
    pub(crate) fn prepare(&self, wasm: &[u8]) -> Result<Module, LoadError> {
        let hash = Hash::of(wasm);
        let place = self.place(hash);
        let mut module = lock(&place);
        if let Some(module) = &*module {
            return Ok(module.clone());
        }
        let packed = bayan_packing::pack(wasm)?;
        let packed_hash = Hash::of(&packed.wasm);
        let artefact = self.artefact(&packed_hash, &packed.wasm)?;
        let ready = Module::new(hash, packed_hash, packed.report, &artefact).map_err(system)?;
        *module = Some(ready.clone());
        Ok(ready)
    }

    fn place(&self, hash: Hash) -> Arc<Mutex<Option<Module>>> {
        let mut known = lock(&self.known);
        if known.len() >= REMEMBERED && !known.contains_key(&hash) {
            known.retain(|_, place| {
                // Being made ready, or in use by somebody else.
                let Ok(module) = place.try_lock() else { return true };
                module.as_ref().is_some_and(Module::is_shared)
            });
        }
        Arc::clone(known.entry(hash).or_default())
    }

    fn artefact(&self, hash: &Hash, packed: &[u8]) -> Result<Vec<u8>, LoadError> {
        if let Some(artefact) = self.cache.as_ref().and_then(|cache| cache.get(hash)) {
            return Ok(artefact);
        }
        let turn = self.take_turn();
        let begun = Instant::now();
        let artefact = self.compile(packed)?;
        drop(turn);
        tracing::debug!(%hash, bytes = artefact.len(), took = ?begun.elapsed(), "module compiled");
        if let Some(cache) = &self.cache
            && let Err(error) = cache.put(hash, &artefact)
        {
            tracing::warn!(%error, "cannot keep a compiled module");
        }
        Ok(artefact)
    }

    fn take_turn(&self) -> Turn<'_> {
        let mut turns = lock(&self.turns);
        while *turns == 0 {
            turns = self.turn.wait(turns).unwrap_or_else(PoisonError::into_inner);
        }
        *turns -= 1;
        Turn(self)
    }

    fn compile(&self, packed: &[u8]) -> Result<Vec<u8>, LoadError> {
        let seconds = self.time.as_secs().max(1);
        let bounds = Bounds { data: self.memory, cpu_seconds: seconds };
        let started = Process::start(&self.launcher, Mode::Compile, &bounds);
        let words = |error| LoadError::System(format!("cannot start an engine process: {error}"));
        let mut process = started.map_err(words)?;
        let deadline = process.begun + Duration::from_secs(seconds) * PATIENCE;
        let lost = match self.converse(&mut process, packed, deadline) {
            Ok(artefact) => return Ok(artefact),
            Err(Trouble::Said(words)) => return Err(LoadError::Compile(legible(&words))),
            Err(Trouble::System(error)) => return Err(system(error)),
            Err(Trouble::Lost(lost)) => lost,
        };
        let status = process.end();
        let signal = status.and_then(|status| status.signal());
        let ended_by = |known: Signal| signal == Some(known.as_raw());
        Err(match lost {
            Lost::Silent => LoadError::CompileTime(seconds * u64::from(PATIENCE)),
            Lost::Closed if ended_by(Signal::XCPU) => LoadError::CompileTime(seconds),
            // What Rust does when there is no memory; panics are caught.
            Lost::Closed if ended_by(Signal::ABORT) => LoadError::CompileMemory(self.memory >> 20),
            Lost::Closed => LoadError::Compile(describe(status)),
            lost => LoadError::Compile(lost.to_string()),
        })
    }

    fn converse(
        &self,
        process: &mut Process,
        packed: &[u8],
        deadline: Instant,
    ) -> Result<Vec<u8>, Trouble> {
        let unexpected = Trouble::Lost(Lost::Nonsense(Nonsense::Unexpected("an unasked reply")));
        match process.ask(SMALL_REPLY, deadline)? {
            Reply::Ready(_) => {}
            Reply::Failed(words) => return Err(Trouble::Said(words)),
            _ => return Err(unexpected),
        }
        let request = Request::Compile { len: packed.len() as u64 };
        let mut bytes = Vec::new();
        wire::write(&request, &mut bytes).map_err(io::Error::other)?;
        process.outbound.push(bytes, sealed::seal("bayan-packed", packed)?);
        match process.ask(MAX_ARTEFACT, deadline)? {
            Reply::Artefact(bytes) => Ok(bytes.into_vec()),
            Reply::Failed(words) => Err(Trouble::Said(words)),
            _ => Err(unexpected),
        }
    }
}

/// The right to compile, until dropped.
struct Turn<'a>(&'a Compiler);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *lock(&self.0.turns) += 1;
        self.0.turn.notify_one();
    }
}

enum Trouble {
    Lost(Lost),
    Said(String),
    System(io::Error),
}

impl From<Lost> for Trouble {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

fn system(error: impl Display) -> LoadError {
    LoadError::System(error.to_string())
}

/// Words of a process that may have been taken over, fit for a terminal.
fn legible(words: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    words.chars().map(printable).take(MAX_WORDS).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
