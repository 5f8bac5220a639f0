//! The guest's imports, each answered by `bayan-wasi` on the guest's memory and fuel.
//!
//! No answer is decided here.

use bayan_wasi::{
    Import, MODULE,
    ValueType::{I32, I64},
};
use wasmtime::{Caller, Engine, Linker, Result, bail};

use crate::attempt::State;

/// Defines `$import` with a host function of its own type, so that calls pass plain machine values.
macro_rules! define {
    ($linker:ident, $import:ident, $([$($param:ident: $type:ident),*],)*) => {
        match $import.params() {
            $([$($type),*] => {
                $linker.func_wrap(
                    MODULE,
                    $import.name(),
                    move |caller: Caller<'_, State>, $($param: native!($type)),*| -> Result<u32> {
                        serve($import, caller, &[$(u64::from($param)),*])
                    },
                )?;
            })*
            params => bail!("{} has parameters {params:?}, which the bridge lacks", $import.name()),
        }
    };
}

/// The native type of a parameter.
macro_rules! native {
    (I32) => {
        u32
    };
    (I64) => {
        u64
    };
}

/// A linker that knows every allowed import.
pub(crate) fn linker(engine: &Engine) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    for import in Import::ALL.iter().copied() {
        if import == Import::ProcExit {
            let exit = move |caller: Caller<'_, State>, code: u32| -> Result<()> {
                serve(import, caller, &[u64::from(code)]).map(drop)
            };
            linker.func_wrap(MODULE, import.name(), exit)?;
            continue;
        }
        define!(linker, import,
            [],
            [a: I32],
            [a: I32, b: I32],
            [a: I32, b: I64],
            [a: I32, b: I32, c: I32],
            [a: I32, b: I64, c: I32],
            [a: I32, b: I64, c: I64],
            [a: I32, b: I32, c: I32, d: I32],
            [a: I32, b: I64, c: I32, d: I32],
            [a: I32, b: I64, c: I64, d: I32],
            [a: I32, b: I32, c: I32, d: I32, e: I32],
            [a: I32, b: I32, c: I32, d: I64, e: I32],
            [a: I32, b: I32, c: I32, d: I32, e: I32, f: I32],
            [a: I32, b: I32, c: I32, d: I32, e: I32, f: I32, g: I32],
            [a: I32, b: I32, c: I32, d: I32, e: I64, f: I64, g: I32],
            [a: I32, b: I32, c: I32, d: I32, e: I32, f: I64, g: I64, h: I32, i: I32],
        );
    }
    Ok(linker)
}

fn serve(import: Import, mut caller: Caller<'_, State>, args: &[u64]) -> Result<u32> {
    let Some(guest) = caller.data().guest else {
        bail!("the guest calls its host before it is started")
    };
    let mut fuel = guest.fuel(&mut caller);
    let (bytes, state) = guest.memory.data_and_store_mut(&mut caller);
    let answer = state.host.call(import, args, bytes, &mut fuel);
    guest.set_fuel(&mut caller, fuel)?;
    answer.or_else(|stop| {
        caller.data_mut().end = Some(stop);
        bail!("the attempt ends in a host call")
    })
}
