//! Bytes from strangers: packing never panics, never takes long, and gives valid modules or refuses.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use bayan_packing_tests::engines::{THREAD_STACK, validate};
use bayan_packing_tests::fuzz::{Case, Chance, mutate};

/// Far more than packing takes for any of these on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Packs in both ways. Returns whether it was accepted as a library.
fn survives(wasm: &[u8]) -> bool {
    let started = Instant::now();
    let packed = catch_unwind(AssertUnwindSafe(|| {
        (bayan_packing::pack_library(wasm, 1000), bayan_packing::pack(wasm))
    }));
    let hex = || wasm.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let (library, command) = packed.unwrap_or_else(|_| panic!("packing panicked at {}", hex()));
    assert!(started.elapsed() < PATIENCE, "packing took {:?} at {}", started.elapsed(), hex());
    for packed in [&library, &command].into_iter().flatten() {
        validate(&packed.wasm)
            .unwrap_or_else(|why| panic!("the packed module is invalid: {why} at {}", hex()));
    }
    library.is_ok()
}

fn with_stack(test: fn()) {
    let thread = std::thread::Builder::new()
        .stack_size(THREAD_STACK)
        .spawn(test)
        .expect("threads can be started");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn guests() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../apps/modules");
    let files = std::fs::read_dir(folder).expect("the guests are in the repository");
    let paths = files.map(|file| file.expect("a readable folder").path());
    let mut paths: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "wasm")).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a readable file")).collect()
}

#[test]
fn damaged_modules_are_refused_or_packed() {
    with_stack(|| {
        let mut accepted = 0;
        let mut tried = 0;
        for seed in 0..60 {
            let wasm = Case::new(seed).wasm;
            let mut chance = Chance::new(seed);
            assert!(survives(&wasm), "seed {seed} is refused unharmed");
            for _ in 0..100 {
                accepted += usize::from(survives(&mutate(&wasm, &mut chance)));
                tried += 1;
            }
        }
        println!("{accepted} of {tried} damaged modules were accepted");
        assert!(accepted * 100 >= tried, "only {accepted} of {tried} passed validation");
    });
}

#[test]
fn truncated_modules_are_refused() {
    with_stack(|| {
        for seed in 0..12 {
            let wasm = Case::new(seed).wasm;
            for end in 0..wasm.len() {
                survives(&wasm[..end]);
            }
        }
    });
}

#[test]
fn damaged_guests_are_refused_or_packed() {
    with_stack(|| {
        let mut chance = Chance::new(7);
        for wasm in guests() {
            for _ in 0..40 {
                survives(&mutate(&wasm, &mut chance));
            }
        }
    });
}
