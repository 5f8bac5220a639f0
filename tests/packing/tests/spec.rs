//! The official test suite: packed modules do what unpacked ones do.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bayan_packing_tests::engines::THREAD_STACK;
use bayan_packing_tests::spec::{Engines, Tally, compare, files, table};

/// Directives with the same outcome on both sides when this was written, less a few.
const FLOOR: usize = 52_000;

#[test]
fn the_suite_runs_alike() {
    let files: Vec<_> = files()
        .into_iter()
        .filter(|file| {
            std::env::var("BAYAN_SPEC_FILE").map_or(true, |only| file.name.contains(&only))
        })
        .collect();
    let engines = Engines::default();
    let next = AtomicUsize::new(0);
    let tallies: Mutex<Vec<Tally>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            std::thread::Builder::new()
                .stack_size(THREAD_STACK)
                .spawn_scoped(scope, || {
                    while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let tally = compare(file, &engines);
                        tallies.lock().expect("no thread panicked").push(tally);
                    }
                })
                .expect("threads can be started");
        }
    });
    let mut tallies = tallies.into_inner().expect("no thread panicked");
    tallies.sort_by(|a, b| a.name.cmp(&b.name));
    println!("{}", table(&tallies));
    let differences: Vec<&String> = tallies.iter().flat_map(|tally| &tally.differences).collect();
    let shown: Vec<&str> = differences.iter().take(100).map(|d| d.as_str()).collect();
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), shown.join("\n"));
    // The suite says that these are valid, so it is for a named reason that guests are not given them.
    for tally in &tallies {
        let nameless = tally.refused.keys().find(|why| why.starts_with("invalid"));
        assert!(nameless.is_none(), "{}: {nameless:?}", tally.name);
    }
    let same: usize = tallies.iter().map(|tally| tally.same).sum();
    assert!(
        same >= FLOOR || std::env::var_os("BAYAN_SPEC_FILE").is_some(),
        "only {same} directives were compared"
    );
}
