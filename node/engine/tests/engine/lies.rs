//! Engine processes that have been taken over and say what they like.

use bayan_protocol::task::Status;

use crate::common::{Reports, double, job, module};

/// What becomes of two attempts when the process tells this lie.
fn told(lie: &str) -> [(Status, Vec<u8>, String); 2] {
    let reports = Reports::default();
    let engines = reports.engines(double(1, &["lie", lie]));
    let module = module(&engines);
    engines.submit(job(1, &module, &["echo"], b"one")).unwrap();
    engines.submit(job(2, &module, &["echo"], b"two")).unwrap();
    let all = reports.wait(2);
    drop(engines);
    assert!(reports.wait(2).values().all(|outcomes| outcomes.len() == 1));
    [1, 2].map(|attempt| {
        let outcome = all[&attempt][0].clone();
        (outcome.status, outcome.output, String::from_utf8(outcome.log).unwrap())
    })
}

#[test]
fn nonsense_costs_its_attempt_and_is_not_believed() {
    for (lie, words) in [
        ("order", "not its turn"),
        ("fuel", "more fuel"),
        ("output", "more output"),
        ("log", "more log"),
        ("trapped-output", "did not exit"),
        ("out-of-fuel", "fuel left"),
        ("fuel-of-nothing", "without a result"),
        ("skip", "nothing asked for"),
        ("ready", "nothing asked for"),
        ("length", "frame of 4294967295 bytes"),
        ("bytes", "not of the protocol"),
        ("flood", "frame of 2678038431 bytes"),
    ] {
        for (status, output, log) in told(lie) {
            assert_eq!((status, output), (Status::HostFault, Vec::new()), "{lie}: {log}");
            assert!(log.contains(words), "{lie}: {log}");
        }
    }
}

#[test]
fn a_process_that_stops_talking_costs_its_attempt() {
    for lie in ["cut", "end"] {
        for (status, output, log) in told(lie) {
            assert_eq!((status, output), (Status::HostFault, Vec::new()), "{lie}: {log}");
            assert!(log.contains("ended"), "{lie}: {log}");
        }
    }
}

#[test]
fn an_outcome_too_many_is_not_taken_for_the_next_attempts() {
    for (status, output, log) in told("past") {
        match status {
            Status::Exited(0) => assert_eq!(output, b"ok"),
            Status::HostFault => assert!(log.contains("not its turn"), "{log}"),
            other => panic!("{other:?}"),
        }
    }
}
