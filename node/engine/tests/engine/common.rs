//! Engines for tests, and what becomes of attempts.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use bayan_engine::{Engines, Job, Launcher, Module, Options, Outcome, Task};
use bayan_protocol::{id::TaskId, task::Limits};

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Options that start the test double, told `args`.
pub(crate) fn double(slots: usize, args: &[&str]) -> Options {
    let launcher = Launcher::at(
        env!("CARGO_BIN_EXE_bayan-engine-double"),
        args.iter().map(|argument| argument.into()),
    );
    Options { launcher, ..Options::new(slots) }
}

/// Every outcome that was reported, by attempt.
#[derive(Clone, Default)]
pub(crate) struct Reports(Arc<(Mutex<Outcomes>, Condvar)>);

type Outcomes = BTreeMap<u64, Vec<Outcome>>;

impl Reports {
    /// Engines that report here.
    pub(crate) fn engines(&self, options: Options) -> Engines {
        let reports = self.clone();
        Engines::start(options, move |attempt, outcome| {
            let (all, changed) = &*reports.0;
            all.lock().unwrap().entry(attempt).or_default().push(outcome);
            changed.notify_all();
        })
        .unwrap()
    }

    /// Waits until `count` attempts have been reported.
    pub(crate) fn wait(&self, count: usize) -> Outcomes {
        let (all, changed) = &*self.0;
        let (all, late) = changed
            .wait_timeout_while(all.lock().unwrap(), PATIENCE, |all| all.len() < count)
            .unwrap();
        assert!(!late.timed_out(), "{} of {count} attempts were reported", all.len());
        all.clone()
    }

    /// Attempts reported so far.
    pub(crate) fn count(&self) -> usize {
        self.0.0.lock().unwrap().len()
    }

    /// Waits for an attempt.
    pub(crate) fn of(&self, attempt: u64) -> Outcome {
        let (all, changed) = &*self.0;
        let (all, late) = changed
            .wait_timeout_while(all.lock().unwrap(), PATIENCE, |all| !all.contains_key(&attempt))
            .unwrap();
        assert!(!late.timed_out(), "attempt {attempt} was not reported");
        assert_eq!(all[&attempt].len(), 1);
        all[&attempt][0].clone()
    }
}

/// A command that does nothing; `seed` makes it another module.
pub(crate) fn wasm(seed: u32) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(module (memory (export "memory") 1)
            (data (i32.const 0) "{seed:08x}")
            (func (export "_start")))"#
    ))
    .unwrap()
}

pub(crate) fn module(engines: &Engines) -> Module {
    engines.prepare(&wasm(0)).unwrap()
}

pub(crate) fn task(args: &[&str], stdin: &[u8]) -> Task {
    Task {
        id: TaskId([7; 32]),
        args: args.iter().map(|argument| (*argument).to_owned()).collect(),
        env: Vec::new(),
        stdin: Arc::from(stdin),
        data: Vec::new(),
        limits: Limits { output: 64 << 10, ..Limits::default() },
    }
}

pub(crate) fn job(attempt: u64, module: &Module, args: &[&str], stdin: &[u8]) -> Job {
    Job { attempt, module: module.clone(), task: task(args, stdin) }
}

/// Waits until `holds`, looking again and again: for what nobody tells.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::yield_now();
    }
}

/// What the system says of a process in one line of its status.
pub(crate) fn status(path: &str, line: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{path}/status")).unwrap();
    let value = text.lines().find_map(|found| found.strip_prefix(line)).unwrap();
    value.trim_start_matches(':').trim().parse().unwrap()
}

/// Whether there is a process of this number, also a dead one that nobody has asked after.
pub(crate) fn exists(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}
