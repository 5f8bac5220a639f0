//! Serves attempts in the order they come.

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    os::{fd::OwnedFd, unix::net::UnixStream},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bayan_protocol::id::TaskId;
use serde_bytes::ByteBuf;

use super::{Runner, Work, outbox::Outbox};
use crate::{
    socket::{Received, Receiver},
    task::{MAX_LOG, Outcome, fault, read_shared},
    wire::{Reply, Request, Run, Stdin},
};

/// What is to be done, in this order. Descriptors are paired with their requests on arrival.
enum Step {
    Load(u64, Option<OwnedFd>),
    Data(u64, u64, Option<OwnedFd>),
    Forget(u64),
    Run(Box<Run<'static>>, Option<OwnedFd>),
    /// An attempt that was withdrawn: answered in its turn.
    Skipped(u64),
}

/// What has been handed over once for many attempts. What failed to load fails its attempts.
struct Kept<M> {
    modules: HashMap<u64, Result<M, String>>,
    data: HashMap<u64, Result<Arc<[u8]>, String>>,
}

/// Runs attempts until the other end closes.
pub(super) fn serve<R: Runner>(socket: &UnixStream, outbox: &Outbox, runner: &R) {
    let mut kept = Kept { modules: HashMap::new(), data: HashMap::new() };
    let mut receiver = Receiver::new();
    let mut steps = VecDeque::new();
    loop {
        if steps.is_empty() {
            outbox.flush();
        }
        let Ok(received) = receiver.receive(socket, steps.is_empty()) else { return };
        if received == Received::End || !take_in(&mut receiver, &mut steps) {
            return;
        }
        match steps.pop_front() {
            None => {}
            Some(Step::Load(id, artefact)) => {
                let artefact = artefact.ok_or_else(|| "no artefact came".to_owned());
                let loaded = artefact.and_then(|artefact| runner.load(artefact.into()));
                kept.modules.insert(id, loaded);
            }
            Some(Step::Data(id, len, file)) => {
                kept.data.insert(id, read(file, len));
            }
            Some(Step::Forget(id)) => {
                kept.modules.remove(&id);
                kept.data.remove(&id);
            }
            Some(Step::Skipped(seq)) => outbox.push(&Reply::Skipped { seq }),
            Some(Step::Run(run, stdin)) => {
                let seq = run.seq;
                outbox.linger();
                outbox.push(&done(seq, attempt(runner, &kept, *run, stdin)));
            }
        }
    }
}

/// Queues the requests that are here. False if they cannot be understood.
fn take_in(receiver: &mut Receiver, steps: &mut VecDeque<Step>) -> bool {
    loop {
        let request = match receiver.inbound.next::<Request<'static>>(usize::MAX) {
            Ok(Some(request)) => request,
            Ok(None) => return true,
            Err(_) => return false,
        };
        let mut descriptor = || receiver.descriptors.pop_front();
        match request {
            Request::Load { id } => steps.push_back(Step::Load(id, descriptor())),
            Request::Data { id, len } => steps.push_back(Step::Data(id, len, descriptor())),
            Request::Forget { id } => steps.push_back(Step::Forget(id)),
            Request::Run(run) => {
                let stdin = matches!(run.stdin, Stdin::Descriptor { .. }).then(descriptor);
                steps.push_back(Step::Run(Box::new(run), stdin.flatten()));
            }
            Request::Skip { seq } => {
                let waits = |step: &&mut Step| matches!(step, Step::Run(run, _) if run.seq == seq);
                if let Some(step) = steps.iter_mut().find(waits) {
                    *step = Step::Skipped(seq);
                }
            }
            Request::Compile { .. } | Request::Probe(_) => return false,
        }
    }
}

fn attempt<R: Runner>(
    runner: &R,
    kept: &Kept<R::Module>,
    run: Run<'static>,
    stdin: Option<OwnedFd>,
) -> Outcome {
    let module = match kept.modules.get(&run.module) {
        Some(Ok(module)) => module,
        Some(Err(words)) => return fault(words),
        None => return fault("the module was not handed over"),
    };
    let stdin = match run.stdin {
        Stdin::Inline(bytes) => Arc::from(bytes.as_ref()),
        Stdin::Descriptor { len } => match read(stdin, len) {
            Ok(bytes) => bytes,
            Err(words) => return fault(&words),
        },
    };
    let mut data = Vec::with_capacity(run.data.len());
    for (name, id) in run.data {
        match kept.data.get(&id) {
            Some(Ok(bytes)) => data.push((name.into_owned(), Arc::clone(bytes))),
            Some(Err(words)) => return fault(words),
            None => return fault("a data file was not handed over"),
        }
    }
    let work = Work {
        id: TaskId(run.task),
        args: run.args.into_owned(),
        env: run.env.into_owned(),
        stdin,
        data,
        limits: run.limits,
    };
    catch_unwind(AssertUnwindSafe(|| runner.run(module, &work)))
        .unwrap_or_else(|_| fault("the engine panicked"))
}

fn read(file: Option<OwnedFd>, len: u64) -> Result<Arc<[u8]>, String> {
    let file = file.ok_or_else(|| "no descriptor came".to_owned())?;
    let bytes = read_shared(&File::from(file), len);
    bytes.map_err(|error| format!("cannot read what was handed over: {error}"))
}

pub(super) fn done(seq: u64, outcome: Outcome) -> Reply {
    let Outcome { status, output, fuel, mut log, micros } = outcome;
    log.truncate(MAX_LOG);
    let (output, log) = (ByteBuf::from(output), ByteBuf::from(log));
    Reply::Done { seq, status, output, fuel, log, micros }
}
