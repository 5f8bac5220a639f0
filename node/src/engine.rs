//! Carries out the machines' orders to execute: gathers what an attempt needs, hands it to the
//! engine processes, and turns what came of it into a message for the core.

use std::{
    collections::{HashMap, HashSet},
    io::ErrorKind,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bayan_engine::{Data, Job, LoadError, Module, Options, Outcome, Task};
use bayan_protocol::{
    id::{Hash, TaskId},
    limits::MAX_INLINE,
    result::{Ended, Output},
    task::{Input, Program, Status},
};
use bayan_store::Blobs;
use serde_bytes::ByteBuf;
use tokio::{runtime::Handle, sync::mpsc};

use crate::{blobs::room, core::Message};

/// Programs kept ready; beyond it all are dropped and made ready anew when used.
const MAX_READY: usize = 32;

/// A program made ready: module compiled, data files where engine processes can be handed them.
#[derive(Clone)]
struct Ready {
    module: Module,
    data: Arc<Vec<(String, Data)>>,
}

struct Shared {
    processes: bayan_engine::Engines,
    blobs: Blobs,
    outbox: mpsc::Sender<Message>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ready: HashMap<(Hash, Vec<Hash>), Ready>,
    /// Attempts being prepared.
    preparing: HashSet<u64>,
    /// Of these, those killed meanwhile.
    killed: HashSet<u64>,
}

/// The engines of this peer.
#[derive(Clone)]
pub struct Engines {
    shared: Arc<Shared>,
    runtime: Handle,
}

impl Engines {
    /// Starts the engines. With `sabotage`, successful outputs are falsified: for tests of the
    /// network's defence, on loopback only.
    pub fn start(
        options: Options,
        blobs: Blobs,
        outbox: mpsc::Sender<Message>,
        runtime: Handle,
        sabotage: bool,
    ) -> std::io::Result<Self> {
        let (done_blobs, done_outbox) = (blobs.clone(), outbox.clone());
        let processes = bayan_engine::Engines::start(options, move |attempt, mut outcome| {
            if sabotage {
                falsify(&mut outcome);
            }
            // Fails only when the core is gone, and with it the need for the result.
            let _ = done_outbox.blocking_send(message(attempt, outcome, &done_blobs, &done_outbox));
        })?;
        let state = Mutex::new(State::default());
        Ok(Self { shared: Arc::new(Shared { processes, blobs, outbox, state }), runtime })
    }

    /// Packs and compiles a module, and keeps what came of it for the attempts to come.
    pub fn prepare(&self, wasm: &[u8]) -> Result<(), LoadError> {
        self.shared.processes.prepare(wasm).map(drop)
    }

    /// Executes; the outcome reaches the core as a message.
    pub fn run(&self, attempt: u64, program: Arc<Program>, task: TaskId, input: Input) {
        let ready = self.shared.state().ready.get(&key(&program)).cloned();
        if let (Some(ready), Input::Inline(bytes)) = (&ready, &input) {
            return self.shared.submit(attempt, ready, &program, task, Arc::from(bytes.as_slice()));
        }
        self.shared.state().preparing.insert(attempt);
        let shared = Arc::clone(&self.shared);
        self.runtime.spawn_blocking(move || shared.prepare(attempt, &program, task, &input));
    }

    /// Ends an attempt; nothing of it reaches the core as a result that counts.
    pub fn kill(&self, attempt: u64) {
        if !self.shared.processes.cancel(attempt) {
            let mut state = self.shared.state();
            if state.preparing.contains(&attempt) {
                state.killed.insert(attempt);
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads and compiles what is not at hand, then submits.
    fn prepare(&self, attempt: u64, program: &Program, task: TaskId, input: &Input) {
        let stdin = match input {
            Input::Inline(bytes) => Ok(Arc::from(bytes.as_slice())),
            Input::Blob { hash, .. } => self.read(hash),
        };
        let prepared = stdin.and_then(|stdin| Ok((stdin, self.ready(program)?)));
        let killed = {
            let mut state = self.state();
            state.preparing.remove(&attempt);
            state.killed.remove(&attempt)
        };
        match prepared {
            Ok(_) if killed => {}
            Ok((stdin, ready)) => self.submit(attempt, &ready, program, task, stdin),
            Err(error) => self.fail(attempt, &error),
        }
    }

    fn ready(&self, program: &Program) -> Result<Ready, String> {
        let key = key(program);
        if let Some(ready) = self.state().ready.get(&key).cloned() {
            return Ok(ready);
        }
        let wasm = self.read(&program.module)?;
        let module = self.processes.prepare(&wasm).map_err(|error| error.to_string())?;
        let mut data = Vec::new();
        for file in &program.data {
            let content = Data::new(&self.read(&file.hash)?).map_err(|error| error.to_string())?;
            data.push((file.name.clone(), content));
        }
        let ready = Ready { module, data: Arc::new(data) };
        let mut state = self.state();
        if state.ready.len() >= MAX_READY {
            state.ready.clear();
        }
        state.ready.insert(key, ready.clone());
        Ok(ready)
    }

    fn read(&self, hash: &Hash) -> Result<Arc<[u8]>, String> {
        self.blobs.get(hash).map(Arc::from).map_err(|error| error.to_string())
    }

    fn submit(
        &self,
        attempt: u64,
        ready: &Ready,
        program: &Program,
        task: TaskId,
        stdin: Arc<[u8]>,
    ) {
        let task = Task {
            id: task,
            args: program.args.clone(),
            env: program.env.clone(),
            stdin,
            data: ready.data.as_ref().clone(),
            limits: program.limits,
        };
        let job = Job { attempt, module: ready.module.clone(), task };
        if let Err(error) = self.processes.submit(job) {
            self.fail(attempt, &error.to_string());
        }
    }

    fn fail(&self, attempt: u64, why: &str) {
        tracing::warn!(attempt, why, "an attempt could not be started");
        let message = Message::Executed(Ended::host_fault(attempt, why.as_bytes().to_vec()));
        // Called on the core's thread as well, which must not wait for itself.
        if let Err(mpsc::error::TrySendError::Full(message)) = self.outbox.try_send(message) {
            let outbox = self.outbox.clone();
            std::thread::spawn(move || {
                let _ = outbox.blocking_send(message);
            });
        }
    }
}

/// What makes a program ready: its module and data files, by digest.
fn key(program: &Program) -> (Hash, Vec<Hash>) {
    (program.module, program.data.iter().map(|file| file.hash).collect())
}

/// Stores an output that is too long to travel inline, and says what happened.
fn message(
    attempt: u64,
    outcome: Outcome,
    blobs: &Blobs,
    outbox: &mpsc::Sender<Message>,
) -> Message {
    let Outcome { mut status, output, mut fuel, mut log, micros } = outcome;
    let output = if output.len() <= MAX_INLINE {
        Output::Inline(ByteBuf::from(output))
    } else {
        match room::store(outbox, blobs, |blobs| blobs.put(&output)) {
            Ok(hash) => Output::Blob { hash, len: output.len() as u64 },
            Err(error) => {
                (status, fuel) = (Status::HostFault, 0);
                log = std::io::Error::new(ErrorKind::StorageFull, error).to_string().into_bytes();
                Output::Inline(ByteBuf::new())
            }
        }
    };
    Message::Executed(Ended { attempt, status, output, fuel, log, micros })
}

/// Makes a successful output wrong without changing its length where it has one.
fn falsify(outcome: &mut Outcome) {
    if outcome.status != Status::Exited(0) {
        return;
    }
    match outcome.output.first_mut() {
        Some(byte) => *byte ^= 0x55,
        None => outcome.output.push(0x55),
    }
}
