//! Runs bundles on wasmtime.

use bayan_packing::names;
use wasmtime::{Engine, Instance, Linker, Memory, Module, Store, Trap, Val};

use crate::bundle::{self, Bundle};
use crate::trace::{End, Step, Trace, state};

/// One engine of wasmtime, ready to run bundles.
#[derive(Debug)]
pub struct Native {
    engine: Engine,
    support: Module,
    /// Fuel of the engine's own, for modules that bring none.
    fuel: Option<u64>,
}

impl Native {
    /// Runs packed modules.
    pub fn packed(engine: Engine) -> Native {
        Native::new(engine, None)
    }

    /// Runs unpacked modules, bounded by the engine.
    pub fn bounded(engine: Engine, fuel: u64) -> Native {
        Native::new(engine, Some(fuel))
    }

    fn new(engine: Engine, fuel: Option<u64>) -> Native {
        let support =
            Module::from_binary(&engine, &bundle::support()).expect("the support module is valid");
        Native { engine, support, fuel }
    }

    /// Compiles a bundle.
    pub fn compile(&self, bundle: &Bundle) -> Result<Compiled, String> {
        let guest = Module::from_binary(&self.engine, &bundle.guest)
            .map_err(|e| format!("guest: {e:#}"))?;
        let driver = Module::from_binary(&self.engine, &bundle.driver)
            .map_err(|e| format!("driver: {e:#}"))?;
        Ok(Compiled { guest, driver })
    }

    /// Runs a bundle: an error if it cannot be compiled or linked.
    pub fn run(&self, bundle: &Bundle) -> Result<Trace, String> {
        self.run_compiled(&self.compile(bundle)?, bundle)
    }

    /// Runs a bundle that was compiled before, perhaps with its calls in another order.
    pub fn run_compiled(&self, compiled: &Compiled, bundle: &Bundle) -> Result<Trace, String> {
        let Compiled { guest, driver } = compiled;
        let mut store = Store::new(&self.engine, ());
        if let Some(fuel) = self.fuel {
            store.set_fuel(fuel).map_err(|e| e.to_string())?;
        }
        let mut linker = Linker::new(&self.engine);
        let support = match bundle.support {
            true => {
                let support = linker
                    .instantiate(&mut store, &self.support)
                    .map_err(|e| format!("support: {e:#}"))?;
                linker.instance(&mut store, bundle::SUPPORT, support).map_err(|e| e.to_string())?;
                Some(support)
            }
            false => None,
        };
        let pre = linker.instantiate_pre(guest).map_err(|e| format!("link: {e:#}"))?;
        let guest = match pre.instantiate(&mut store) {
            Ok(guest) => guest,
            Err(e) => {
                // There is no instance to look at: an end of the module's own looks like any other.
                let step = Step {
                    end: end(&e)?,
                    results: Vec::new(),
                    fuel: None,
                    burned: None,
                    state: String::new(),
                };
                return Ok(Trace(vec![step]));
            }
        };
        linker.instance(&mut store, bundle::GUEST, guest).map_err(|e| e.to_string())?;
        let driver =
            linker.instantiate(&mut store, driver).map_err(|e| format!("driver: {e:#}"))?;
        let mut run = Run { store, guest, driver, support, allowance: self.fuel, left: None };
        let mut steps = vec![run.step(End::Returned, Vec::new(), None)?];
        for call in &bundle.calls {
            let step = run.call(&format!("call{call}"))?;
            let ended = step.end.bounded();
            steps.push(step);
            if ended {
                break;
            }
        }
        Ok(Trace(steps))
    }
}

/// The modules of a bundle, compiled.
#[derive(Debug)]
pub struct Compiled {
    guest: Module,
    driver: Module,
}

struct Run {
    store: Store<()>,
    guest: Instance,
    driver: Instance,
    support: Option<Instance>,
    /// Fuel of the engine's own for each call.
    allowance: Option<u64>,
    /// Fuel of the module's own after the last step, if it is known to the last unit.
    left: Option<i64>,
}

impl Run {
    fn call(&mut self, name: &str) -> Result<Step, String> {
        if let Some(allowance) = self.allowance {
            self.store.set_fuel(allowance).map_err(|e| e.to_string())?;
        }
        let called = self.words(name);
        let burned = match self.allowance {
            Some(allowance) => Some(allowance - self.store.get_fuel().map_err(|e| e.to_string())?),
            None => None,
        };
        match called {
            Ok(words) => self.step(End::Returned, words, burned),
            Err(e) => {
                let mut end = end(&e)?;
                if end == End::Unreachable {
                    end = self.own_end();
                }
                self.step(end, Vec::new(), None)
            }
        }
    }

    /// Whether an `unreachable` is one that packing put there.
    fn own_end(&mut self) -> End {
        if self.fuel().is_some_and(|fuel| fuel <= 0) {
            return End::Fuel;
        }
        match self.global(names::STOP).map(|stop| stop.unwrap_i32()) {
            Some(1) => End::Stack,
            None | Some(0) => End::Unreachable,
            _ => End::Other,
        }
    }

    fn step(&mut self, end: End, results: Vec<u64>, burned: Option<u64>) -> Result<Step, String> {
        let fuel = self.fuel_left(end);
        let burned = burned.or_else(|| {
            Some((self.left? - fuel?).cast_unsigned()).filter(|_| end == End::Returned)
        });
        self.left = fuel.filter(|_| end == End::Returned);
        // Looking burns fuel of the engine's too.
        if let Some(allowance) = self.allowance {
            self.store.set_fuel(allowance).map_err(|e| e.to_string())?;
        }
        let mut words = self.words(bundle::LOOK).map_err(|e| format!("look: {e:#}"))?;
        let mut memories: Vec<Memory> =
            self.driver.get_memory(&mut self.store, bundle::MEMORY).into_iter().collect();
        if let Some(support) = self.support {
            memories.extend(support.get_memory(&mut self.store, bundle::MEMORY));
            let calls = support
                .get_global(&mut self.store, "calls")
                .expect("the support module counts calls");
            words.push(calls.get(&mut self.store).unwrap_i64().cast_unsigned());
        }
        let memories: Vec<&[u8]> = memories.iter().map(|memory| memory.data(&self.store)).collect();
        Ok(Step { end, results, fuel, burned, state: state(&memories, &words) })
    }

    fn words(&mut self, name: &str) -> wasmtime::Result<Vec<u64>> {
        let func =
            self.driver.get_func(&mut self.store, name).expect("the driver has this function");
        let mut results = vec![Val::I64(0); func.ty(&self.store).results().len()];
        func.call(&mut self.store, &[], &mut results)?;
        Ok(results.iter().map(|val| val.unwrap_i64().cast_unsigned()).collect())
    }

    fn fuel(&mut self) -> Option<i64> {
        self.global(names::FUEL)?.i64()
    }

    /// Fuel left to the last unit: what functions hand each other is part of it, but after a trap.
    fn fuel_left(&mut self, end: End) -> Option<i64> {
        let slice = self.global(names::SLICE).filter(|_| end == End::Returned);
        Some(self.fuel()? + slice.and_then(|slice| slice.i64()).unwrap_or(0))
    }

    fn global(&mut self, name: &str) -> Option<Val> {
        let global = self.guest.get_global(&mut self.store, name)?;
        Some(global.get(&mut self.store))
    }
}

fn end(error: &wasmtime::Error) -> Result<End, String> {
    let trap = error.downcast_ref::<Trap>().ok_or_else(|| format!("{error:#}"))?;
    Ok(match trap {
        Trap::UnreachableCodeReached => End::Unreachable,
        Trap::MemoryOutOfBounds => End::Memory,
        Trap::TableOutOfBounds => End::Table,
        Trap::IndirectCallToNull | Trap::BadSignature => End::Indirect,
        Trap::IntegerDivisionByZero => End::Division,
        Trap::IntegerOverflow | Trap::BadConversionToInteger => End::Range,
        Trap::OutOfFuel => End::Fuel,
        Trap::StackOverflow => End::NativeStack,
        _ => End::Other,
    })
}
