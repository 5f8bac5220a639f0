//! The pool: every attempt is reported once, whatever happens to it.

mod common;

use std::{collections::BTreeMap, sync::mpsc};

use bayan_protocol::task::{Limits, Status};
use bayan_sandbox::{Engine, Job, Module, Outcome, Slots, SubmitError};
use common::{ENDLESS, LIMITS, RECURSIVE, assemble, command, load, task};

struct Pool {
    slots: Slots,
    ended: mpsc::Receiver<(u64, Outcome)>,
    quick: Module,
    endless: Module,
    recursive: Module,
}

fn pool(count: usize) -> Pool {
    let engine = Engine::new(None).unwrap();
    let quick = load(&engine, &command("", ""));
    let endless = load(&engine, &command("", ENDLESS));
    let recursive = load(&engine, &assemble(RECURSIVE));
    let (done, ended) = mpsc::channel();
    let slots =
        Slots::start(engine, count, move |attempt, outcome| done.send((attempt, outcome)).unwrap())
            .unwrap();
    Pool { slots, ended, quick, endless, recursive }
}

fn job(attempt: u64, module: &Module) -> Job {
    Job { attempt, module: module.clone(), task: task(LIMITS) }
}

#[test]
fn every_attempt_is_reported_once() {
    let pool = pool(3);
    for attempt in 0..200 {
        let module = if attempt % 50 == 0 { &pool.recursive } else { &pool.quick };
        pool.slots.submit(job(attempt, module)).unwrap();
    }
    let reports = pool.ended.iter().take(200).map(|(attempt, outcome)| (attempt, outcome.status));
    let reports = reports.collect::<BTreeMap<_, _>>();
    assert_eq!(reports.len(), 200);
    for (attempt, status) in reports {
        assert_eq!(
            status,
            if attempt % 50 == 0 { Status::StackOverflow } else { Status::Exited(0) }
        );
    }
    assert!(!pool.slots.cancel(7), "it has ended");
    pool.slots.shutdown();
    assert!(pool.ended.recv().is_err(), "nothing is reported twice");
}

#[test]
fn waiting_and_running_attempts_can_be_cancelled() {
    let pool = pool(1);
    pool.slots.submit(job(1, &pool.endless)).unwrap();
    pool.slots.submit(job(2, &pool.endless)).unwrap();
    pool.slots.submit(job(3, &pool.quick)).unwrap();
    assert_eq!(pool.slots.submit(job(2, &pool.quick)), Err(SubmitError::Repeated(2)));
    assert!(pool.slots.cancel(2));
    assert!(pool.slots.cancel(1));
    assert!(!pool.slots.cancel(9));
    let reports = pool.ended.iter().take(3).map(|(attempt, outcome)| (attempt, outcome.status));
    assert_eq!(
        reports.collect::<Vec<_>>(),
        [(1, Status::WallTime), (2, Status::WallTime), (3, Status::Exited(0))]
    );
    pool.slots.submit(job(2, &pool.quick)).expect("a reported name is free again");
    assert_eq!(pool.ended.recv().unwrap().1.status, Status::Exited(0));
}

#[test]
fn the_queue_is_bounded() {
    let pool = pool(1);
    let refused =
        (0..).map(|attempt| pool.slots.submit(job(attempt, &pool.endless))).find(Result::is_err);
    assert_eq!(refused, Some(Err(SubmitError::Full)));
}

#[test]
fn closing_reports_everything() {
    let pool = pool(2);
    for attempt in 0..10 {
        pool.slots.submit(job(attempt, &pool.endless)).unwrap();
    }
    pool.slots.shutdown();
    let reports = pool.ended.iter().collect::<Vec<_>>();
    assert_eq!(reports.len(), 10);
    assert!(reports.iter().all(|(_, outcome)| outcome.status == Status::WallTime));
}

#[test]
fn fuel_limits_hold_in_the_pool() {
    let pool = pool(2);
    let limits = Limits { fuel: 5000, ..LIMITS };
    pool.slots
        .submit(Job { attempt: 1, module: pool.endless.clone(), task: task(limits) })
        .unwrap();
    assert_eq!(pool.ended.recv().unwrap().1.result(), (Status::OutOfFuel, &[][..], 5000));
}

#[cfg(target_os = "linux")]
#[test]
fn slots_have_the_lowest_priority_and_this_thread_keeps_its_own() {
    fn nice() -> String {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let after_name = stat.rsplit_once(')').unwrap().1;
        after_name.split_whitespace().nth(16).unwrap().to_owned()
    }
    let engine = Engine::new(None).unwrap();
    let module = load(&engine, &command("", ""));
    let (done, ended) = mpsc::channel();
    let before = nice();
    let slots = Slots::start(engine, 1, move |_, _| done.send(nice()).unwrap()).unwrap();
    slots.submit(job(1, &module)).unwrap();
    assert_eq!(ended.recv().unwrap(), "19");
    assert_eq!(nice(), before);
}

#[test]
fn a_panicking_report_does_not_cost_a_slot() {
    let engine = Engine::new(None).unwrap();
    let module = load(&engine, &command("", ""));
    let (done, ended) = mpsc::channel();
    let report = move |attempt, _| {
        assert_ne!(attempt, 1, "the report of the first attempt panics");
        done.send(attempt).unwrap();
    };
    let slots = Slots::start(engine, 1, report).unwrap();
    slots.submit(job(1, &module)).unwrap();
    slots.submit(job(2, &module)).unwrap();
    assert_eq!(ended.recv(), Ok(2));
}
