//! Compiling, with the compiler of the test double.

use std::{
    fs,
    time::{Duration, Instant},
};

use bayan_engine::{LoadError, Options};

use crate::common::{Reports, double, task, wasm};

fn refused(options: Options) -> LoadError {
    Reports::default().engines(options).prepare(&wasm(0)).unwrap_err()
}

#[test]
fn time_is_bounded() {
    let begun = Instant::now();
    let error = refused(Options { compile_time: Duration::from_secs(1), ..double(1, &["spin"]) });
    assert!(begun.elapsed() < Duration::from_secs(20));
    // On a busy machine the clock may run out before the processor time does.
    assert!(matches!(error, LoadError::CompileTime(1 | 5)), "{error:?}");
    assert!(error.to_string().starts_with("compiling took more than"), "{error}");
}

#[test]
fn memory_is_bounded() {
    let error = refused(Options { compile_memory: 200 << 20, ..double(1, &["hog"]) });
    assert_eq!(error.to_string(), "compiling took more than 200 MiB of memory");
}

#[test]
fn the_compilers_words_are_passed_on_and_harmless() {
    let words = refused(double(1, &["refuse"])).to_string();
    assert_eq!(words, "cannot compile the module here: no such [31m instruction");
    assert!(refused(double(1, &["panic"])).to_string().contains("panicked"));
}

#[test]
fn a_module_that_no_guest_may_be_is_refused_without_a_process() {
    let error = refused_bytes(b"\0asm");
    assert!(matches!(error, LoadError::Refused(_)), "{error:?}");
}

fn refused_bytes(bytes: &[u8]) -> LoadError {
    Reports::default().engines(double(1, &["die"])).prepare(bytes).unwrap_err()
}

#[test]
fn one_module_is_compiled_once() {
    let engines = Reports::default().engines(double(1, &[]));
    let one = wasm(1);
    let prepare = || engines.prepare(&one).unwrap();
    let modules: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(prepare)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(modules.iter().all(|module| *module == modules[0]));
    assert_ne!(engines.prepare(&wasm(2)).unwrap(), modules[0]);
}

#[test]
fn compiled_code_is_kept_and_damage_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let cached =
        |args: &[&str]| Options { cache_dir: Some(directory.path().into()), ..double(1, args) };
    let ran = |args: &[&str]| {
        let engines = Reports::default().engines(cached(args));
        engines.prepare(&wasm(0)).map(|module| engines.run(&module, task(&["module"], b"")).output)
    };
    let compiled = ran(&[]).unwrap();
    let files: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().path()).collect();
    let [file] = files.as_slice() else { panic!("{files:?}") };
    assert_eq!(ran(&["refuse"]).unwrap(), compiled, "nothing had to be compiled");
    let good = fs::read(file).unwrap();
    let mut damaged = good.clone();
    *damaged.last_mut().unwrap() ^= 1;
    for damaged in [damaged, good[..good.len() - 1].to_vec(), Vec::new()] {
        fs::write(file, &damaged).unwrap();
        assert!(ran(&["refuse"]).is_err(), "it is compiled again");
        fs::write(file, &damaged).unwrap();
        assert_eq!(ran(&[]).unwrap(), compiled);
        assert!(fs::read(file).unwrap() == good, "and written again");
    }
}
