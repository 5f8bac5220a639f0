//! One module on all engines, and what came of many.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use bayan_packing::{
    Packed, Refusal, pack_library, pack_library_as_guest, pack_library_without_copies,
};

use super::watchdog::Watchdog;
use super::{Case, Chance};
use crate::bundle::Bundle;
use crate::engines;
use crate::fuel;
use crate::native::Native;
use crate::trace::{End, Trace};
use crate::v8::V8;

/// Fuel of a packed module. Programs end early or never.
const FUEL: i64 = 100_000;
/// Fuel of an unpacked module, in the engine's own measure: about as far.
const REFERENCE_FUEL: u64 = 100_000;
/// Enough for a packed module to get as far as any unpacked one that ends. Asking once for as much
/// memory as a number can say already costs 2^40.
const PLENTY: i64 = 1 << 60;

/// A disagreement.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The seed of the module, or of the arguments it was called with.
    pub seed: u64,
    /// The module, not packed.
    pub wasm: Vec<u8>,
    /// What disagrees.
    pub what: String,
}

/// What came of many modules.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Modules tried.
    pub modules: usize,
    /// Modules with at least one step compared between unpacked and packed.
    pub compared: usize,
    /// Steps compared between unpacked and packed.
    pub steps: usize,
    /// Steps compared among the engines that ran the packed module.
    pub engine_steps: usize,
    /// Calls whose fuel was compared to the unit.
    pub fuel_steps: usize,
    /// Fuel that compared calls burned.
    pub fuel: u64,
    /// How the compared steps ended.
    pub ends: BTreeMap<End, usize>,
    /// Modules with loops that were copied, run with and without the copies.
    pub copied: usize,
    /// Modules with NaNs made canonical late, run with and without that.
    pub late: usize,
    /// Steps compared of these.
    pub late_steps: usize,
    /// Modules that ran out of fuel in either form.
    pub out_of_fuel: usize,
    /// Modules that met a stack bound in either form.
    pub out_of_stack: usize,
    /// Modules refused, by the refusal.
    pub refused: BTreeMap<String, usize>,
    /// Every disagreement.
    pub findings: Vec<Finding>,
}

impl Tally {
    /// Adds what another thread counted.
    pub fn add(&mut self, other: Tally) {
        self.modules += other.modules;
        self.compared += other.compared;
        self.steps += other.steps;
        self.engine_steps += other.engine_steps;
        self.fuel_steps += other.fuel_steps;
        self.fuel += other.fuel;
        for (end, count) in other.ends {
            *self.ends.entry(end).or_default() += count;
        }
        self.copied += other.copied;
        self.late += other.late;
        self.late_steps += other.late_steps;
        self.out_of_fuel += other.out_of_fuel;
        self.out_of_stack += other.out_of_stack;
        for (why, count) in other.refused {
            *self.refused.entry(why).or_default() += count;
        }
        self.findings.extend(other.findings);
    }

    /// Whether enough was really compared to say anything: half of all modules, two steps each.
    pub fn enough(&self) -> bool {
        2 * self.compared >= self.modules && self.steps >= self.modules && self.modules > 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} modules, {} compared unpacked with packed in {} steps, {} steps compared among engines",
            self.modules, self.compared, self.steps, self.engine_steps
        )?;
        writeln!(
            f,
            "fuel compared to the unit in {} calls; calls burned {} in all",
            self.fuel_steps, self.fuel
        )?;
        write!(f, "steps ended:")?;
        for (end, count) in &self.ends {
            write!(f, " {end} {count}")?;
        }
        writeln!(
            f,
            "\nmodules out of fuel {}, out of stack {}, with loops that were copied {}, with NaNs made canonical late {} ({} steps)",
            self.out_of_fuel, self.out_of_stack, self.copied, self.late, self.late_steps
        )?;
        for (why, count) in &self.refused {
            writeln!(f, "refused {count}: {why}")?;
        }
        write!(f, "disagreements {}", self.findings.len())
    }
}

/// Runs modules on all engines and compares.
#[derive(Debug)]
pub struct Fuzzer {
    reference: Native,
    cranelift: Native,
    pulley: Native,
    v8: V8,
    flags: Vec<String>,
    pack: Pack,
    watchdog: Watchdog,
}

/// Packs a library, with the fuel that it starts with.
pub type Pack = fn(&[u8], i64) -> Result<Packed, Refusal>;

impl Fuzzer {
    /// Starts the engines. `flags` are for V8.
    pub fn start(flags: &[&str]) -> Result<Fuzzer, String> {
        Fuzzer::judging(pack_library, flags)
    }

    /// Starts the engines, to try another way of packing.
    pub fn judging(pack: Pack, flags: &[&str]) -> Result<Fuzzer, String> {
        Ok(Fuzzer {
            reference: Native::bounded(engines::bounded_reference(), REFERENCE_FUEL),
            cranelift: Native::packed(engines::cranelift()),
            pulley: Native::packed(engines::pulley()),
            v8: V8::start(flags)?,
            flags: flags.iter().map(ToString::to_string).collect(),
            pack,
            watchdog: Watchdog::start(std::env::temp_dir()),
        })
    }

    /// Where to write modules that do not end.
    pub fn writing_to(mut self, out: &Path) -> Fuzzer {
        self.watchdog = Watchdog::start(out.to_owned());
        self
    }

    /// Tries the module of a seed.
    pub fn seed(&mut self, seed: u64, tally: &mut Tally) {
        let case = Case::new(seed);
        self.module(&case.wasm, seed, tally);
    }

    /// Tries a module. The seed chooses what it is called with.
    pub fn module(&mut self, wasm: &[u8], seed: u64, tally: &mut Tally) {
        tally.modules += 1;
        self.watchdog.begins(seed, wasm);
        let checked = self.check(wasm, seed, tally);
        self.watchdog.ends();
        if let Err(what) = checked {
            tally.findings.push(Finding { seed, wasm: wasm.to_vec(), what });
            // A process that failed once may go on failing.
            if let Ok(v8) = V8::start(&self.flags.iter().map(String::as_str).collect::<Vec<_>>()) {
                self.v8 = v8;
            }
        }
    }

    fn check(&mut self, wasm: &[u8], seed: u64, tally: &mut Tally) -> Result<(), String> {
        let Some(packed) = apply(self.pack, wasm, FUEL, tally)? else { return Ok(()) };
        let mut bundle = Bundle::new(wasm, seed)?;
        let unpacked = self.reference(&mut bundle).map_err(|e| format!("unpacked: {e}"))?;
        let bundle = bundle.with_guest(packed);
        let native = self.cranelift.run(&bundle).map_err(|e| format!("packed, Cranelift: {e}"))?;
        let pulley = self.pulley.run(&bundle).map_err(|e| format!("packed, Pulley: {e}"))?;
        let v8 = self.v8.run(&bundle).map_err(|e| format!("packed, V8: {e}"))?;
        if native != pulley {
            return Err(format!(
                "Cranelift and Pulley disagree\n  Cranelift {native}\n  Pulley    {pulley}"
            ));
        }
        if native.to_string() != v8 {
            return Err(format!(
                "Cranelift and V8 disagree\n  Cranelift {native}\n  V8        {v8}"
            ));
        }
        if let Some(step) =
            native.0.iter().find(|step| matches!(step.end, End::NativeStack | End::Other))
        {
            return Err(format!("a packed module ended with {}: {native}", step.end));
        }
        tally.engine_steps += native.0.len();
        self.without_copies(wasm, seed, &bundle, &native, tally)?;
        self.as_guest(wasm, &bundle, &native.to_string(), tally)?;
        self.compare(wasm, &bundle, &unpacked, native, tally)
    }

    /// Copies of loops may not be seen, not even in what fuel is left at a trap or where it runs out.
    fn without_copies(
        &self,
        wasm: &[u8],
        seed: u64,
        bundle: &Bundle,
        copied: &Trace,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let run = |pack: Pack, fuel| -> Result<Trace, String> {
            let packed = pack(wasm, fuel).map_err(|e| format!("refused at last: {e}"))?;
            self.cranelift.run(&bundle.with_guest(packed.wasm))
        };
        let plain = pack_library_without_copies(wasm, FUEL).map_err(|e| e.to_string())?.wasm;
        if (self.pack)(wasm, FUEL).is_ok_and(|packed| packed.wasm == plain) {
            return Ok(());
        }
        tally.copied += 1;
        let differ = |fuel, copied: &Trace, plain: &Trace| {
            Err(format!("copies are seen with {fuel} fuel\n  copied {copied}\n  plain  {plain}"))
        };
        let plain = run(pack_library_without_copies, FUEL)?;
        if &plain != copied {
            return differ(FUEL, copied, &plain);
        }
        let few = Chance::new(seed).below(60_000) as i64;
        let (copied, plain) = (run(self.pack, few)?, run(pack_library_without_copies, few)?);
        if plain != copied {
            return differ(few, &copied, &plain);
        }
        Ok(())
    }

    /// Guests may make NaNs canonical late; until something traps, that may not be seen.
    fn as_guest(
        &mut self,
        wasm: &[u8],
        bundle: &Bundle,
        library: &str,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let packed = |pack: Pack| pack(wasm, FUEL).map_err(|e| format!("refused at last: {e}"));
        let guest = packed(pack_library_as_guest)?.wasm;
        if guest == packed(pack_library)?.wasm {
            return Ok(());
        }
        engines::validate(&guest).map_err(|e| format!("the packed guest is invalid: {e}"))?;
        tally.late += 1;
        let bundle = bundle.with_guest(guest);
        for (who, trace) in [
            ("Cranelift", self.cranelift.run(&bundle)?.to_string()),
            ("Pulley", self.pulley.run(&bundle)?.to_string()),
            ("V8", self.v8.run(&bundle)?),
        ] {
            for (a, b) in library.split("; ").zip(trace.split("; ")) {
                let returned = a.starts_with("returned");
                let part = |step| match (returned, step) {
                    (true, step) => step,
                    (false, step) => str::split(step, " state ").next().unwrap_or_default(),
                };
                if part(a) != part(b) {
                    return Err(format!(
                        "a guest is seen to be one on {who}\n  guest   {trace}\n  library {library}"
                    ));
                }
                tally.late_steps += 1;
                if !returned {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Runs the unpacked module. Calls that do not end in time are put last, so that they do not hide
    /// the others.
    fn reference(&self, bundle: &mut Bundle) -> Result<Trace, String> {
        let compiled = self.reference.compile(bundle)?;
        let mut trace = self.reference.run_compiled(&compiled, bundle)?;
        for _ in 1..bundle.calls.len() {
            let calls = trace.0.len() - 1;
            let unbounded =
                trace.0.last().is_some_and(|step| matches!(step.end, End::Fuel | End::NativeStack));
            if !unbounded || calls == 0 || calls == bundle.calls.len() {
                break;
            }
            bundle.postpone(calls - 1);
            trace = self.reference.run_compiled(&compiled, bundle)?;
        }
        Ok(trace)
    }

    /// Unpacked with packed, up to where a bound ended either.
    fn compare(
        &mut self,
        wasm: &[u8],
        bundle: &Bundle,
        unpacked: &Trace,
        mut packed: Trace,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let starts = [&unpacked.0[0], &packed.0[0]];
        if starts[0].end != starts[1].end && starts[1].end == End::Unreachable {
            // The start function ended itself, and no instance is left that could say why: was it fuel?
            let Some(generous) = apply(self.pack, wasm, PLENTY, &mut Tally::default())? else {
                return Err("refused with more fuel".into());
            };
            if !matches!(starts[0].end, End::Fuel | End::NativeStack) {
                // The start alone: calls may be endless, and this fuel is as good as none.
                let mut start = bundle.with_guest(generous);
                start.calls.clear();
                packed = self.cranelift.run(&start)?;
            }
        }
        let (overheads, by_size) = (fuel::overheads(&bundle.driver), fuel::charges_by_size(wasm));
        let mut compared: usize = 0;
        for (a, b) in unpacked.0.iter().zip(&packed.0) {
            if a.end == End::Fuel || b.end == End::Fuel {
                tally.out_of_fuel += 1;
                break;
            }
            if a.end == End::NativeStack || b.end == End::Stack {
                tally.out_of_stack += 1;
                break;
            }
            if (a.end, &a.results, &a.state) != (b.end, &b.results, &b.state) {
                return Err(format!(
                    "unpacked and packed disagree\n  unpacked {unpacked}\n  packed   {packed}"
                ));
            }
            if let Some(call) = compared.checked_sub(1).filter(|_| !bundle.support)
                && let (Some(a), Some(b)) = (a.burned, b.burned)
            {
                let due = a - overheads[bundle.calls[call] as usize];
                if due > b || due < b && !by_size {
                    return Err(format!(
                        "call {call} burned {b} instead of {due}\n  packed {packed}"
                    ));
                }
                tally.fuel_steps += usize::from(!by_size);
                tally.fuel += due;
            }
            compared += 1;
            *tally.ends.entry(a.end).or_default() += 1;
        }
        tally.steps += compared;
        tally.compared += usize::from(compared > 0);
        Ok(())
    }
}

/// Packs, and checks what packing owes its caller whatever the module: no panic, the same bytes each
/// time, and a valid module.
fn apply(pack: Pack, wasm: &[u8], fuel: i64, tally: &mut Tally) -> Result<Option<Vec<u8>>, String> {
    let once = || {
        catch_unwind(AssertUnwindSafe(|| pack(wasm, fuel)))
            .map_err(|_| "packing panicked".to_owned())
    };
    match once()? {
        Ok(packed) => {
            if once()?.is_ok_and(|again| again.wasm != packed.wasm) {
                return Err("packing gives other bytes each time".into());
            }
            engines::validate(&packed.wasm)
                .map_err(|e| format!("the packed module is invalid: {e}"))?;
            Ok(Some(packed.wasm))
        }
        Err(refusal) => {
            *tally.refused.entry(refusal.to_string()).or_default() += 1;
            Ok(None)
        }
    }
}
