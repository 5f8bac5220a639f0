//! NaNs that loops store: the same bits on every engine and in every form of packing.

use bayan_packing::{pack_library, pack_library_as_guest, pack_library_without_copies};
use bayan_packing_tests::bundle::Bundle;
use bayan_packing_tests::engines::{self, THREAD_STACK};
use bayan_packing_tests::late::{CASES, Case};
use bayan_packing_tests::native::Native;
use bayan_packing_tests::trace::Trace;
use bayan_packing_tests::v8::V8;

/// More than a module burns.
const FUEL: i64 = 1 << 40;

struct Sides {
    reference: Native,
    cranelift: Native,
    pulley: Native,
    v8: Vec<V8>,
}

impl Sides {
    fn start() -> Sides {
        let v8 = |flags| V8::start(flags).unwrap_or_else(|why| panic!("{why}"));
        Sides {
            reference: Native::bounded(engines::bounded_reference(), 1 << 40),
            cranelift: Native::packed(engines::cranelift()),
            pulley: Native::packed(engines::pulley()),
            v8: vec![v8(&["--liftoff-only"]), v8(&["--no-liftoff"])],
        }
    }

    /// Everything that is wrong with a case.
    fn judge(&mut self, case: &Case, wide: bool) -> Vec<String> {
        let module = case.module(wide);
        let plain = pack_library_without_copies(&module, FUEL).expect("packing takes it").wasm;
        let copied = pack_library(&module, FUEL).expect("packing takes it").wasm;
        let guest = pack_library_as_guest(&module, FUEL).expect("packing takes it").wasm;
        engines::validate(&guest).expect("packed modules are valid");
        let mut wrong = Vec::new();
        if (guest != copied) != case.late {
            wrong.push(format!("canonical late: {}", guest != copied));
        }
        let bundle = Bundle::each(&module).expect("the module is valid");
        let expected = self.cranelift.run(&bundle.with_guest(plain)).expect("Cranelift runs it");
        let unpacked = self.reference.run(&bundle).expect("the reference runs it");
        wrong.extend(differing("unpacked", &without_fuel(&expected), &without_fuel(&unpacked)));
        let expected = expected.to_string();
        let guest = bundle.with_guest(guest);
        let copied = bundle.with_guest(copied);
        let mut compare = |who: &str, trace: String| {
            wrong.extend(differing(who, &expected, &trace));
        };
        let run = |native: &Native, bundle| native.run(bundle).expect("it runs").to_string();
        compare("Cranelift, library", run(&self.cranelift, &copied));
        compare("Cranelift", run(&self.cranelift, &guest));
        compare("Pulley", run(&self.pulley, &guest));
        for (place, v8) in self.v8.iter_mut().enumerate() {
            compare(&format!("V8 {place}"), v8.run(&guest).expect("V8 runs it"));
        }
        wrong
    }
}

/// Steps without what only packed modules have.
fn without_fuel(trace: &Trace) -> String {
    let mut trace = trace.clone();
    trace.0.iter_mut().for_each(|step| step.fuel = None);
    trace.to_string()
}

fn differing(who: &str, expected: &str, got: &str) -> Option<String> {
    let steps = expected.split("; ").zip(got.split("; "));
    let differ = steps.enumerate().find(|(_, (a, b))| a != b);
    let (step, (a, b)) = differ?;
    Some(format!("{who}: step {step} is {b} instead of {a}"))
}

#[test]
fn loops_store_the_nans_of_the_rule() {
    let run = || {
        let mut sides = Sides::start();
        let mut wrong = Vec::new();
        for case in CASES {
            for wide in [true, false] {
                let name = format!("{} ({})", case.name, if wide { "f64" } else { "f32" });
                wrong.extend(sides.judge(case, wide).iter().map(|what| format!("{name}: {what}")));
            }
        }
        assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    };
    let thread = std::thread::Builder::new().stack_size(THREAD_STACK).spawn(run);
    thread.expect("threads can be started").join().unwrap();
}

/// A loop that makes NaNs until it leaves the memory.
const TRAPPING: &str = r#"(module (memory (export "memory") 1 1)
    (func (export "run") (local $i i32) (local $n i32)
      (local.set $i (i32.const 65512))
      (local.set $n (i32.const 20))
      (loop $turn
        (f64.store offset=8 (local.get $i) (f64.div (f64.load (local.get $i)) (f64.load (local.get $i))))
        (local.set $i (i32.add (local.get $i) (i32.const 8)))
        (br_if $turn (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))))"#;

#[test]
fn memory_of_libraries_is_right_after_a_trap() {
    let module = wat::parse_str(TRAPPING).expect("the text is valid");
    let bundle = Bundle::each(&module).expect("the module is valid");
    let cranelift = Native::packed(engines::cranelift());
    let run = |pack: fn(&[u8], i64) -> Result<bayan_packing::Packed, bayan_packing::Refusal>| {
        let packed = pack(&module, FUEL).expect("packing takes it").wasm;
        cranelift.run(&bundle.with_guest(packed)).expect("Cranelift runs it")
    };
    let (plain, library, guest) =
        (run(pack_library_without_copies), run(pack_library), run(pack_library_as_guest));
    assert_eq!(plain, library);
    let ends = |trace: &Trace| trace.0.iter().map(|step| (step.end, step.fuel)).collect::<Vec<_>>();
    assert_eq!(ends(&plain), ends(&guest));
    // Otherwise this could not fail.
    assert_ne!(plain, guest, "nothing was left for later when the guest trapped");
}
