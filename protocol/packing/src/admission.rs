//! What a guest may import and must export (spec PACK-10 to PACK-14).

use alloc::borrow::ToOwned;

use bayan_wasi::{Import, MODULE, ValueType};
use wasmparser::{FuncType, ValType};

use crate::refusal::Refusal;

/// Checks one imported function.
pub(crate) fn import(module: &str, name: &str, signature: &FuncType) -> Result<(), Refusal> {
    match problem(module, name, signature) {
        None => Ok(()),
        Some(reason) => Err(refused(module, name, reason)),
    }
}

/// Refuses an import that is no function.
pub(crate) fn refused(module: &str, name: &str, reason: &'static str) -> Refusal {
    Refusal::Import { module: module.to_owned(), name: name.to_owned(), reason }
}

fn problem(module: &str, name: &str, signature: &FuncType) -> Option<&'static str> {
    match module {
        MODULE => {}
        "wasi_unstable" => {
            return Some(
                "WASI preview 0 is not supported, preview 1 is: build with a newer toolchain",
            );
        }
        _ => return Some("guests are given only WASI preview 1 (wasi_snapshot_preview1)"),
    }
    if name.starts_with("sock_") {
        return Some("sockets are not available to guests");
    }
    let Some(import) = Import::from_name(name) else {
        return Some("not a function of WASI preview 1");
    };
    (!has_signature(import, signature)).then_some("its signature is not that of WASI preview 1")
}

fn has_signature(import: Import, signature: &FuncType) -> bool {
    let params = import.params().iter().map(|param| match param {
        ValueType::I32 => ValType::I32,
        ValueType::I64 => ValType::I64,
    });
    let results: &[ValType] = if import.returns_errno() { &[ValType::I32] } else { &[] };
    signature.params().iter().copied().eq(params) && signature.results() == results
}
