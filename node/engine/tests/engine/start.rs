//! Engine processes that do not start.

use std::time::{Duration, Instant};

use bayan_engine::{Launcher, Options};
use bayan_protocol::task::Status;

use crate::common::{Reports, double, job, module, until};

/// What an attempt is told when processes are started like this.
fn told(options: Options) -> String {
    let reports = Reports::default();
    let module = module(&reports.engines(double(1, &[])));
    let engines = reports.engines(options);
    engines.submit(job(1, &module, &["echo"], b"")).unwrap();
    engines.submit(job(2, &module, &["echo"], b"")).unwrap();
    let outcomes = reports.wait(2);
    assert!(outcomes.values().all(|all| all[0].status == Status::HostFault));
    let health = engines.health();
    assert!((3..=4).contains(&health.failed_starts), "{health:?}");
    let words = String::from_utf8(outcomes[&1][0].log.clone()).unwrap();
    assert!(words.contains(&health.trouble.unwrap()), "{words}");
    words
}

#[test]
fn the_reason_is_said() {
    let absent = Options { launcher: Launcher::at("/nonexistent/bayan", []), ..double(1, &[]) };
    assert!(told(absent).contains("No such file"));
    assert!(told(double(1, &["die"])).contains("ended with code 3"));
    assert!(told(double(2, &["broken"])).contains("this processor is not supported"));
}

#[test]
fn it_is_tried_less_and_less_often_until_it_works() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("engine");
    let reports = Reports::default();
    let launcher = Launcher::at(&program, []);
    let engines = reports.engines(Options { launcher, ..double(2, &[]) });
    let module = module(&reports.engines(double(1, &[])));
    let begun = Instant::now();
    for attempt in 0.. {
        engines.submit(job(attempt, &module, &["echo"], b"")).unwrap();
        assert_eq!(reports.of(attempt).status, Status::HostFault);
        if engines.health().failed_starts >= 4 {
            break;
        }
    }
    // 100, 200 and 400 ms lie between four of them.
    assert!(begun.elapsed() >= Duration::from_millis(700), "{:?}", begun.elapsed());
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_bayan-engine-double"), &program).unwrap();
    engines.submit(job(100, &module, &["echo"], b"works")).unwrap();
    assert_eq!(reports.of(100).output, b"works");
    until("recovery", || engines.health().failed_starts == 0);
    assert_eq!(engines.health().trouble, None);
}
