//! Which parts of WebAssembly guests may use, and the names of those they may not.

use wasmparser::{Validator, WasmFeatures};

use crate::refusal::Refusal;

/// What guests may use: what every engine of today runs and is deterministic, or made so.
pub(crate) const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::BULK_MEMORY_OPT)
    .union(WasmFeatures::CALL_INDIRECT_OVERLONG)
    .union(WasmFeatures::TAIL_CALL)
    .difference(WasmFeatures::GC_TYPES);

/// What they may not, with what each needs besides.
const REFUSED: &[(WasmFeatures, &str)] = &[
    (WasmFeatures::GC_TYPES, "externref"),
    (WasmFeatures::EXTENDED_CONST, "extended constant expressions"),
    (WasmFeatures::RELAXED_SIMD, "relaxed SIMD, whose results differ between machines"),
    (WasmFeatures::THREADS, "threads or shared memory, whose order of events differs between runs"),
    (WasmFeatures::EXCEPTIONS.union(WasmFeatures::GC_TYPES), "exceptions (exnref)"),
    (WasmFeatures::LEGACY_EXCEPTIONS, "exceptions (the legacy form)"),
    (WasmFeatures::FUNCTION_REFERENCES.union(WasmFeatures::GC_TYPES), "typed function references"),
    (
        WasmFeatures::GC.union(WasmFeatures::FUNCTION_REFERENCES).union(WasmFeatures::GC_TYPES),
        "garbage-collected types",
    ),
    (WasmFeatures::MEMORY64, "64-bit memories or tables"),
    (WasmFeatures::MULTI_MEMORY, "several memories"),
    (WasmFeatures::CUSTOM_PAGE_SIZES, "custom page sizes"),
    (WasmFeatures::WIDE_ARITHMETIC, "wide arithmetic"),
    (WasmFeatures::STACK_SWITCHING, "stack switching"),
    (WasmFeatures::MEMORY_CONTROL, "memory control"),
    (WasmFeatures::SHARED_EVERYTHING_THREADS, "shared-everything threads"),
    (WasmFeatures::CUSTOM_DESCRIPTORS, "custom descriptors"),
    (WasmFeatures::COMPACT_IMPORTS, "compact imports"),
];

/// Names the proposal that keeps a module from being valid, if it is one.
pub(crate) fn named(wasm: &[u8], refusal: Refusal) -> Refusal {
    if !matches!(refusal, Refusal::Invalid(_)) {
        return refusal;
    }
    let valid = |features| Validator::new_with_features(features).validate_all(wasm).is_ok();
    if let Some((_, name)) = REFUSED.iter().find(|(feature, _)| valid(FEATURES.union(*feature))) {
        return Refusal::Proposal(name);
    }
    let all = REFUSED.iter().fold(FEATURES, |all, (feature, _)| all.union(*feature));
    if valid(all) {
        return Refusal::Proposal(
            "several proposals of WebAssembly that are not among those allowed",
        );
    }
    refusal
}
