//! The guest's imports, each answered by `bayan-wasi` on the guest's memory and fuel.
//!
//! No answer is decided here.

use bayan_wasi::{Import, MODULE, ValueType};
use wasmtime::{Caller, Engine, Extern, FuncType, Linker, Result, Val, ValType, bail, format_err};

use crate::attempt::{End, State};

/// The most parameters an import has (`path_open`).
const MAX_PARAMS: usize = 9;

/// A linker that knows every allowed import.
pub(crate) fn linker(engine: &Engine) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    for import in Import::ALL.iter().copied() {
        let params = import.params().iter().map(|param| match param {
            ValueType::I32 => ValType::I32,
            ValueType::I64 => ValType::I64,
        });
        let results = import.returns_errno().then_some(ValType::I32);
        let signature = FuncType::new(engine, params, results);
        linker.func_new(MODULE, import.name(), signature, move |caller, params, results| {
            let errno = serve(import, caller, params)?;
            if let Some(result) = results.first_mut() {
                *result = Val::I32(errno.cast_signed());
            }
            Ok(())
        })?;
    }
    Ok(linker)
}

fn serve(import: Import, mut caller: Caller<'_, State>, params: &[Val]) -> Result<u32> {
    let mut args = [0; MAX_PARAMS];
    for (arg, value) in args.iter_mut().zip(params) {
        *arg = match value {
            Val::I32(value) => u64::from(value.cast_unsigned()),
            Val::I64(value) => value.cast_unsigned(),
            _ => bail!("an import was called with a value of another type"),
        };
    }
    let mut fuel = caller.get_fuel()?;
    let export = caller.data().memory;
    let memory = caller.get_module_export(&export).and_then(Extern::into_memory);
    let memory = memory.ok_or_else(|| format_err!("the guest's memory is gone"))?;
    let (bytes, state) = memory.data_and_store_mut(&mut caller);
    let answer = state.host.call(import, &args[..params.len()], bytes, &mut fuel);
    caller.set_fuel(fuel)?;
    answer.or_else(|stop| {
        caller.data_mut().end = Some(End::Host(stop));
        bail!("the attempt ends in a host call")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_import_fits_the_argument_array() {
        assert_eq!(Import::ALL.iter().map(|import| import.params().len()).max(), Some(MAX_PARAMS));
    }
}
