//! What tasks really come to. The engine of a process computes for all its members, each task once:
//! what a member claims is made of that afterwards.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bayan::{core::Message, engine::Engines};
use bayan_protocol::{
    id::{Hash, TaskId},
    result::{Ended, Outcome, Output},
    task::{DataFile, Input, Program, Status},
};
use bayan_store::{BlobError, Blobs};
use serde_bytes::ByteBuf;
use tokio::sync::mpsc;

use crate::behaviour::Lie;

/// Truths kept; the oldest are computed again when they are asked for.
const MAX_KNOWN: usize = 65_536;
/// Falsified data files kept by name.
const MAX_OTHERS: usize = 256;
/// Outcomes that may wait to be handed on.
const QUEUE: usize = 1024;

/// Whose attempt: a life of a member, and its own name for the attempt.
pub type Ticket = (u64, u64);

/// Something to compute.
#[derive(Debug, Clone)]
pub struct Order {
    /// Whose.
    pub ticket: Ticket,
    /// The program.
    pub program: Arc<Program>,
    /// The task.
    pub task: TaskId,
    /// Its input.
    pub input: Input,
    /// The way in which the data files are wrong, if they are to be.
    pub other: Option<Lie>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Truth {
    /// How it ended.
    pub status: Status,
    /// Its standard output; a blob is stored already.
    pub output: Output,
    /// Its work.
    pub fuel: u64,
    /// Its standard error.
    pub log: Vec<u8>,
    /// Its duration.
    pub micros: u64,
}

impl Truth {
    /// What honest peers vote for.
    pub fn outcome(&self) -> Outcome {
        Outcome { status: self.status, output: self.output.hash(), fuel: self.fuel }
    }
}

/// Takes a truth, on any thread; must not wait.
pub type Answer = Box<dyn FnOnce(Truth) + Send>;

/// Where truths come from. A closure is one that answers at once.
pub trait Executor: Send + Sync + 'static {
    /// Computes, and answers unless the order is cancelled.
    fn run(&self, order: Order, answer: Answer);

    /// An answer is no longer wanted.
    fn cancel(&self, _ticket: Ticket) {}

    /// What a task comes to, if that is known.
    fn known(&self, _task: &TaskId) -> Option<Outcome> {
        None
    }
}

impl<F: Fn(&Order) -> Truth + Send + Sync + 'static> Executor for F {
    fn run(&self, order: Order, answer: Answer) {
        answer(self(&order));
    }
}

/// A task, on its own data or on others.
type Key = (TaskId, Option<[u8; 32]>);

/// The real engine.
pub struct Engine {
    engines: Engines,
    blobs: Blobs,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    next: u64,
    working: BTreeMap<Key, Work>,
    keys: BTreeMap<u64, Key>,
    known: BTreeMap<Key, Truth>,
    order: VecDeque<Key>,
    others: BTreeMap<([u8; 32], Hash), DataFile>,
}

struct Work {
    attempt: u64,
    askers: Vec<(Ticket, Answer)>,
}

impl Engine {
    /// Starts engine processes for `slots` attempts at once. Called inside a runtime.
    ///
    /// # Errors
    /// What the system says if it gives no thread or memory.
    pub fn start(slots: usize, blobs: Blobs) -> io::Result<Self> {
        let (outbox, mut inbox) = mpsc::channel(QUEUE);
        let options = bayan_engine::Options::new(slots);
        let runtime = tokio::runtime::Handle::current();
        let engines = Engines::start(options, blobs.clone(), outbox, runtime, false)?;
        let state: Arc<Mutex<State>> = Arc::default();
        let answering = Arc::clone(&state);
        tokio::spawn(async move {
            while let Some(message) = inbox.recv().await {
                if let Message::Executed(Ended { attempt, status, output, fuel, log, micros }) =
                    message
                {
                    let truth = Truth { status, output, fuel, log, micros };
                    let askers = lock(&answering).finish(attempt, &truth);
                    askers.into_iter().for_each(|(_, answer)| answer(truth.clone()));
                }
            }
        });
        Ok(Self { engines, blobs, state })
    }

    /// The program with its first data file falsified; as it is without any.
    fn on_other_data(&self, program: &Program, lie: &Lie) -> Result<Program, BlobError> {
        let mut program = program.clone();
        let Some(file) = program.data.first_mut() else { return Ok(program) };
        let name = (lie.name(), file.hash);
        let kept = lock(&self.state).others.get(&name).cloned();
        *file = match kept {
            Some(kept) => kept,
            None => {
                let wrong = lie.bytes(&TaskId(file.hash.0), &self.blobs.get(&file.hash)?);
                let (hash, len) = (self.blobs.put(&wrong)?, wrong.len() as u64);
                let other = DataFile { name: file.name.clone(), hash, len };
                let mut state = lock(&self.state);
                if state.others.len() >= MAX_OTHERS {
                    state.others.clear();
                }
                state.others.insert(name, other.clone());
                other
            }
        };
        Ok(program)
    }
}

impl Executor for Engine {
    fn run(&self, order: Order, answer: Answer) {
        let key = (order.task, order.other.map(|lie| lie.name()));
        let attempt = {
            let mut state = lock(&self.state);
            if let Some(truth) = state.known.get(&key).cloned() {
                drop(state);
                return answer(truth);
            }
            if let Some(work) = state.working.get_mut(&key) {
                return work.askers.push((order.ticket, answer));
            }
            state.begin(key, (order.ticket, answer))
        };
        let program = match order.other.map(|lie| self.on_other_data(&order.program, &lie)) {
            None => order.program,
            Some(Ok(program)) => Arc::new(program),
            Some(Err(error)) => {
                let truth = fault(&error.to_string());
                let askers = lock(&self.state).finish(attempt, &truth);
                return askers.into_iter().for_each(|(_, answer)| answer(truth.clone()));
            }
        };
        self.engines.run(attempt, program, order.task, order.input);
    }

    fn cancel(&self, ticket: Ticket) {
        let unwanted = lock(&self.state).leave(ticket);
        if let Some(attempt) = unwanted {
            self.engines.kill(attempt);
        }
    }

    fn known(&self, task: &TaskId) -> Option<Outcome> {
        lock(&self.state).known.get(&(*task, None)).map(Truth::outcome)
    }
}

impl State {
    fn begin(&mut self, key: Key, asker: (Ticket, Answer)) -> u64 {
        self.next += 1;
        self.keys.insert(self.next, key);
        self.working.insert(key, Work { attempt: self.next, askers: vec![asker] });
        self.next
    }

    /// Keeps a truth; says who waits for it. An attempt that was given up is of no account.
    fn finish(&mut self, attempt: u64, truth: &Truth) -> Vec<(Ticket, Answer)> {
        let Some(key) = self.keys.remove(&attempt) else { return Vec::new() };
        let askers = self.working.remove(&key).map(|work| work.askers).unwrap_or_default();
        if truth.status.is_conclusive() {
            self.known.insert(key, truth.clone());
            self.order.push_back(key);
            if self.order.len() > MAX_KNOWN
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
        askers
    }

    /// Takes an asker out; says which attempt nobody waits for any more.
    fn leave(&mut self, ticket: Ticket) -> Option<u64> {
        let key = self.working.iter().find_map(|(key, work)| {
            work.askers.iter().any(|(asker, _)| *asker == ticket).then_some(*key)
        })?;
        let work = self.working.get_mut(&key)?;
        work.askers.retain(|(asker, _)| *asker != ticket);
        if !work.askers.is_empty() {
            return None;
        }
        let attempt = work.attempt;
        self.working.remove(&key);
        self.keys.remove(&attempt);
        Some(attempt)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn fault(words: &str) -> Truth {
    let output = Output::Inline(ByteBuf::new());
    let log = words.as_bytes().to_vec();
    Truth { status: Status::HostFault, output, fuel: 0, log, micros: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = (TaskId([1; 32]), None);

    fn truth() -> Truth {
        Truth { status: Status::Exited(0), fuel: 7, ..fault("") }
    }

    /// Notes who has been answered.
    fn asker(number: u64, answered: &Arc<Mutex<Vec<u64>>>) -> (Ticket, Answer) {
        let answered = Arc::clone(answered);
        let note = move |_: Truth| answered.lock().expect("no test panics with it").push(number);
        ((number, 1), Box::new(note))
    }

    #[test]
    fn all_who_ask_are_answered_and_the_truth_is_kept() {
        let (mut state, answered) = (State::default(), Arc::default());
        let attempt = state.begin(KEY, asker(1, &answered));
        let work = state.working.get_mut(&KEY).expect("it is under way");
        work.askers.push(asker(2, &answered));
        let askers = state.finish(attempt, &truth());
        askers.into_iter().for_each(|(_, answer)| answer(truth()));
        assert_eq!(*answered.lock().expect("as above"), [1, 2]);
        assert_eq!(state.known.get(&KEY).map(Truth::outcome), Some(truth().outcome()));
        assert!(state.finish(attempt, &truth()).is_empty(), "it is over");
    }

    #[test]
    fn an_attempt_ends_when_the_last_asker_leaves() {
        let (mut state, answered) = (State::default(), Arc::default());
        let attempt = state.begin(KEY, asker(1, &answered));
        let work = state.working.get_mut(&KEY).expect("it is under way");
        work.askers.push(asker(2, &answered));
        assert_eq!(state.leave((1, 1)), None);
        assert_eq!(state.leave((2, 1)), Some(attempt));
        assert_eq!(state.leave((2, 1)), None, "it has left");
        assert!(state.finish(attempt, &truth()).is_empty());
        assert!(state.known.is_empty(), "what was given up may be half done");
    }

    #[test]
    fn what_could_not_be_computed_is_tried_again() {
        let (mut state, answered) = (State::default(), Arc::default());
        let attempt = state.begin(KEY, asker(1, &answered));
        assert_eq!(state.finish(attempt, &fault("no disk")).len(), 1);
        assert!(state.known.is_empty());
    }

    #[test]
    fn a_closure_answers_at_once() {
        let answered = Arc::default();
        let executor = |_: &Order| truth();
        let program = Program {
            module: Hash([1; 32]),
            module_len: 1,
            args: Vec::new(),
            env: Vec::new(),
            data: Vec::new(),
            limits: bayan_protocol::task::Limits::default(),
            profile: String::new(),
            salt: Hash([0; 32]),
        };
        let input = Input::Inline(ByteBuf::new());
        let (ticket, answer) = asker(1, &answered);
        let (program, task) = (Arc::new(program), KEY.0);
        executor.run(Order { ticket, program, task, input, other: None }, answer);
        assert_eq!(*answered.lock().expect("as above"), [1]);
    }
}
