//! Generated modules: unpacked and packed ones do the same, on every engine.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bayan_packing::{Packed, Refusal, pack_library};
use bayan_packing_tests::engines::THREAD_STACK;
use bayan_packing_tests::fuzz::{Fuzzer, Tally};
use wasm_encoder::reencode::{self, Reencode};
use wasm_encoder::{Instruction, Module};
use wasmparser::{Operator, Parser};

/// Modules tried when nothing else is asked for.
const MODULES: u64 = 300;

#[test]
fn generated_modules_run_alike() {
    let number = |name: &str, default| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let first = number("BAYAN_FUZZ_SEED", 0);
    let modules = number("BAYAN_FUZZ_MODULES", MODULES);
    let next = AtomicU64::new(first);
    let all = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            std::thread::Builder::new()
                .stack_size(THREAD_STACK)
                .spawn_scoped(scope, || {
                    let mut fuzzer = Fuzzer::start(&[]).unwrap_or_else(|why| panic!("{why}"));
                    let mut tally = Tally::default();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= first + modules {
                            break;
                        }
                        fuzzer.seed(seed, &mut tally);
                    }
                    all.lock().expect("no thread panicked").add(tally);
                })
                .expect("threads can be started");
        }
    });
    let tally = all.into_inner().expect("no thread panicked");
    println!("{tally}");
    for finding in tally.findings.iter().take(5) {
        println!(
            "seed {}: {}\n  cargo run -p bayan-packing-tests --bin fuzz -- --seconds 1 --seed {0}",
            finding.seed, finding.what
        );
    }
    assert!(tally.findings.is_empty(), "{} modules disagree", tally.findings.len());
    assert!(tally.enough(), "too little was compared to say anything");
}

/// Packs a module in which one instruction became another.
fn tampered(wasm: &[u8], fuel: i64) -> Result<Packed, Refusal> {
    struct Tamper;
    impl Reencode for Tamper {
        type Error = std::convert::Infallible;
        fn instruction<'a>(
            &mut self,
            arg: Operator<'a>,
        ) -> Result<Instruction<'a>, reencode::Error> {
            match arg {
                Operator::F64Mul => Ok(Instruction::F64Add),
                Operator::I32Xor => Ok(Instruction::I32Or),
                arg => reencode::utils::instruction(self, arg),
            }
        }
    }
    let mut module = Module::new();
    Tamper
        .parse_core_module(&mut module, Parser::new(0), wasm)
        .expect("generated modules are valid");
    pack_library(&module.finish(), fuel)
}

#[test]
fn a_wrong_pass_would_be_found() {
    let judge = || {
        let mut fuzzer = Fuzzer::judging(tampered, &[]).unwrap_or_else(|why| panic!("{why}"));
        let mut tally = Tally::default();
        (0..40).for_each(|seed| fuzzer.seed(seed, &mut tally));
        assert!(
            tally.findings.len() >= 3,
            "only {} of 40 wrong modules were found",
            tally.findings.len()
        );
    };
    let thread = std::thread::Builder::new().stack_size(THREAD_STACK).spawn(judge);
    thread.expect("threads can be started").join().expect("the judge found what is wrong");
}
