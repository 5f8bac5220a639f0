//! Attempts that end otherwise than by themselves.

use std::time::{Duration, Instant};

use bayan_engine::{Data, Job, Options};
use bayan_protocol::task::{Limits, Status};

use crate::common::{Reports, double, exists, job, module, status, task, until};

/// Waits until a process serves, and says which.
fn serving(engines: &bayan_engine::Engines, count: usize) -> Vec<u32> {
    until("start", || engines.health().processes.len() == count);
    engines.health().processes
}

#[test]
fn every_attempt_has_its_own_outcome() {
    let reports = Reports::default();
    let engines = reports.engines(double(2, &[]));
    let module = module(&engines);
    for attempt in 0..3000_u64 {
        let stdin = vec![attempt as u8; (attempt % 97) as usize];
        engines.submit(job(attempt, &module, &["echo"], &stdin)).unwrap();
    }
    for (attempt, outcomes) in reports.wait(3000) {
        assert_eq!(outcomes.len(), 1);
        assert_eq!(outcomes[0].status, Status::Exited(0));
        assert_eq!(outcomes[0].output, vec![attempt as u8; (attempt % 97) as usize]);
    }
    assert_eq!(engines.health().attempts, 0);
}

#[test]
fn large_inputs_outputs_and_data_go_through() {
    let engines = Reports::default().engines(double(1, &[]));
    let module = module(&engines);
    let stdin: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let limits = Limits { output: 4 << 20, ..Limits::default() };
    let run = |args: &[&str], stdin: &[u8], data| {
        engines.run(&module, bayan_engine::Task { limits, data, ..task(args, stdin) })
    };
    assert_eq!(run(&["echo"], &stdin, Vec::new()).output, stdin);
    assert_eq!(run(&["long", "4194304"], b"", Vec::new()).output.len(), 4 << 20);
    // More files than the process may have descriptors.
    let data: Vec<_> = (0..100_u8)
        .map(|i| (format!("{i:03}"), Data::new(&vec![i; 1000 * usize::from(i)]).unwrap()))
        .collect();
    let expected: Vec<u8> = (0..100_u8)
        .flat_map(|i| [format!("{i:03}").into_bytes(), vec![i; 1000 * usize::from(i)]].concat())
        .collect();
    let limits = Limits { output: 8 << 20, ..Limits::default() };
    let work = bayan_engine::Task { limits, data, ..task(&["data"], b"") };
    for _ in 0..2 {
        assert_eq!(engines.run(&module, work.clone()).output, expected);
    }
}

#[test]
fn the_environment_is_the_tasks_own() {
    let engines = Reports::default().engines(double(1, &[]));
    let module = module(&engines);
    let env = vec![("A".to_owned(), "b".to_owned())];
    let outcome = engines.run(&module, bayan_engine::Task { env, ..task(&["environment"], b"") });
    assert_eq!(outcome.output, b"0 [(\"A\", \"b\")]");
}

#[test]
fn a_cancelled_attempt_ends_at_once() {
    let reports = Reports::default();
    let engines = reports.engines(double(1, &[]));
    let module = module(&engines);
    engines.submit(job(1, &module, &["spin"], b"")).unwrap();
    engines.submit(job(2, &module, &["echo"], b"two")).unwrap();
    engines.submit(job(3, &module, &["echo"], b"three")).unwrap();
    let pid = serving(&engines, 1)[0];
    // It runs, as the processor time shows.
    until("work", || busy(pid));
    assert!(engines.cancel(2), "one that waits");
    assert_eq!(reports.of(2).status, Status::WallTime);
    let begun = Instant::now();
    assert!(engines.cancel(1), "one that runs");
    assert_eq!(reports.of(1).status, Status::WallTime);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(!exists(pid));
    assert_eq!(reports.of(3).output, b"three");
    assert!(!engines.cancel(1) && !engines.cancel(3) && !engines.cancel(4));
}

/// Whether a process has used a hundredth of a second.
fn busy(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
    fields.get(12).is_some_and(|ticks| *ticks != "0")
}

#[test]
fn what_waits_behind_a_long_attempt_is_run_elsewhere() {
    let reports = Reports::default();
    let engines = reports.engines(double(2, &[]));
    let module = module(&engines);
    for attempt in 0..500 {
        engines.submit(job(attempt, &module, &["echo"], b"quick")).unwrap();
    }
    reports.wait(500);
    // Known to be quick, so that they are given in numbers.
    engines.submit(job(1000, &module, &["spin"], b"")).unwrap();
    for attempt in 2000..2400 {
        engines.submit(job(attempt, &module, &["echo"], b"quick")).unwrap();
    }
    assert_eq!(reports.wait(900).len(), 900);
    assert!(engines.cancel(1000));
    assert_eq!(reports.of(1000).status, Status::WallTime);
    drop(engines);
    assert!(reports.wait(901).values().all(|outcomes| outcomes.len() == 1));
}

#[test]
fn cancelling_some_of_many_costs_no_other() {
    let reports = Reports::default();
    let engines = reports.engines(double(1, &[]));
    let module = module(&engines);
    for attempt in 0..2000 {
        engines.submit(job(attempt, &module, &["echo"], b"quick")).unwrap();
    }
    let cancelled: Vec<u64> = (0..2000).step_by(7).filter(|at| engines.cancel(*at)).collect();
    for (attempt, outcomes) in reports.wait(2000) {
        assert_eq!(outcomes.len(), 1);
        match outcomes[0].status {
            Status::Exited(0) => assert_eq!(outcomes[0].output, b"quick"),
            Status::WallTime => assert!(cancelled.contains(&attempt)),
            other => panic!("attempt {attempt}: {other:?}"),
        }
    }
}

#[test]
fn wall_time_ends_an_attempt() {
    let reports = Reports::default();
    let engines = reports.engines(double(1, &[]));
    let module = module(&engines);
    let limits = Limits { wall_ms: 150, ..Limits::default() };
    let spin = bayan_engine::Task { limits, ..task(&["spin"], b"") };
    engines.submit(Job { attempt: 1, module: module.clone(), task: spin }).unwrap();
    engines.submit(job(2, &module, &["echo"], b"after")).unwrap();
    let outcome = reports.of(1);
    assert_eq!(outcome.status, Status::WallTime);
    assert!((150_000..5_000_000).contains(&outcome.micros), "{} us", outcome.micros);
    assert_eq!(reports.of(2).output, b"after");
}

#[test]
fn pausing_ends_processes_and_keeps_attempts() {
    let reports = Reports::default();
    let engines = reports.engines(double(2, &[]));
    let module = module(&engines);
    engines.submit(job(1, &module, &["spin"], b"")).unwrap();
    engines.submit(job(2, &module, &["spin"], b"")).unwrap();
    let pids = serving(&engines, 2);
    engines.pause();
    until("pause", || engines.health().processes.is_empty());
    assert!(!pids.iter().any(|pid| exists(*pid)));
    engines.submit(job(3, &module, &["echo"], b"three")).unwrap();
    assert!(engines.cancel(1), "cancelling goes on");
    assert_eq!(reports.of(1).status, Status::WallTime);
    assert_eq!((engines.health().attempts, reports.count()), (2, 1));
    assert!(engines.health().processes.is_empty());
    engines.resume();
    assert_eq!(reports.of(3).output, b"three");
    assert!(engines.cancel(2));
    assert_eq!(reports.of(2).status, Status::WallTime);
}

#[test]
fn memory_in_use_is_watched() {
    let engines = Reports::default().engines(double(1, &[]));
    let module = module(&engines);
    let limits = Limits { memory: 16 << 20, output: 1 << 10, ..Limits::default() };
    let hog = bayan_engine::Task { limits, ..task(&["hog", "1024"], b"") };
    let outcome = engines.run(&module, hog);
    assert_eq!(outcome.status, Status::MemoryRefused);
    assert!(String::from_utf8_lossy(&outcome.log).contains("MiB"), "{outcome:?}");
    // The same is fine where the task may have it.
    let limits = Limits { memory: 4 << 30, wall_ms: 3000, ..limits };
    let hog = bayan_engine::Task { limits, ..task(&["hog", "512"], b"") };
    assert_eq!(engines.run(&module, hog).status, Status::WallTime);
}

#[test]
fn memory_has_a_bound_that_no_task_can_raise() {
    let options = Options { memory: 256 << 20, ..double(1, &[]) };
    let engines = Reports::default().engines(options);
    let module = module(&engines);
    let limits = Limits { memory: 4 << 30, ..Limits::default() };
    let hog = bayan_engine::Task { limits, ..task(&["hog", "512"], b"") };
    let outcome = engines.run(&module, hog);
    assert_eq!(outcome.status, Status::HostFault);
    assert!(String::from_utf8_lossy(&outcome.log).contains("signal 6"), "{outcome:?}");
}

#[test]
fn an_attempt_that_ends_its_process_costs_no_other() {
    let reports = Reports::default();
    let engines = reports.engines(double(1, &[]));
    let module = module(&engines);
    for attempt in 0..200 {
        engines.submit(job(attempt, &module, &["echo"], b"quick")).unwrap();
    }
    reports.wait(200);
    for attempt in 200..400 {
        let what = match attempt {
            250 => "crash",
            300 => "leave",
            350 => "panic",
            _ => "echo",
        };
        engines.submit(job(attempt, &module, &[what], b"quick")).unwrap();
    }
    let all = reports.wait(400);
    let words = |attempt| String::from_utf8_lossy(&all[&attempt][0].log).into_owned();
    for (attempt, outcomes) in &all {
        assert_eq!(outcomes.len(), 1);
        let expected = match attempt {
            250 | 300 | 350 => Status::HostFault,
            _ => Status::Exited(0),
        };
        assert_eq!(outcomes[0].status, expected, "attempt {attempt}: {}", words(*attempt));
    }
    assert!(words(250).contains("signal 6"), "{}", words(250));
    assert!(words(300).contains("code 7"), "{}", words(300));
    assert!(words(350).contains("panicked"), "{}", words(350));
}

#[test]
fn dropping_reports_everything_and_leaves_no_process() {
    let reports = Reports::default();
    let engines = reports.engines(double(2, &[]));
    let module = module(&engines);
    for attempt in 0..20 {
        engines.submit(job(attempt, &module, &["spin"], b"")).unwrap();
    }
    let pids = serving(&engines, 2);
    drop(engines);
    let all = reports.wait(20);
    assert!(all.values().all(|outcomes| outcomes.len() == 1));
    assert!(all.values().all(|outcomes| outcomes[0].status == Status::WallTime));
    assert!(!pids.iter().any(|pid| exists(*pid)));
}

#[test]
fn an_idle_process_sleeps_and_then_ends() {
    let reports = Reports::default();
    let options = Options { idle: Duration::from_millis(700), ..double(1, &[]) };
    let engines = reports.engines(options);
    assert!(engines.health().processes.is_empty(), "nothing is started without work");
    let module = module(&engines);
    engines.submit(job(1, &module, &["echo"], b"one")).unwrap();
    reports.of(1);
    let pid = serving(&engines, 1)[0];
    let woken = || -> u64 {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let threads = threads.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        threads.map(|tid| status(&format!("{pid}/task/{tid}"), "voluntary_ctxt_switches")).sum()
    };
    let before = woken();
    // The span that is looked at.
    std::thread::sleep(Duration::from_millis(300));
    assert!(woken() - before <= 3, "woken {} times", woken() - before);
    until("end", || engines.health().processes.is_empty());
    assert!(!exists(pid));
    engines.submit(job(2, &module, &["echo"], b"two")).unwrap();
    assert_eq!(reports.of(2).output, b"two");
}

#[test]
fn attempts_have_one_name_each_and_a_bounded_queue() {
    let reports = Reports::default();
    let engines = reports.engines(double(1, &[]));
    let module = module(&engines);
    engines.pause();
    for attempt in 0..bayan_engine::MAX_WAITING as u64 {
        engines.submit(job(attempt, &module, &["echo"], b"")).unwrap();
    }
    let full = engines.submit(job(1 << 40, &module, &["echo"], b""));
    assert_eq!(full, Err(bayan_engine::SubmitError::Full));
    assert!(engines.cancel(5));
    reports.of(5);
    let repeated = engines.submit(job(6, &module, &["echo"], b""));
    assert_eq!(repeated, Err(bayan_engine::SubmitError::Repeated(6)));
    engines.resume();
    reports.wait(bayan_engine::MAX_WAITING);
}
