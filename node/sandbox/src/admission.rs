//! Which modules may run at all (spec GUEST-2 to GUEST-5): decided from the bytes alone, alike on
//! every peer, before anything is compiled.

use std::fmt;

use bayan_wasi::{Import, MODULE, ValueType};
use wasmparser::{
    ExternalKind, FuncType, Parser, Payload, TypeRef, ValType, Validator, WasmFeatures,
};

/// Bytes of one module.
pub const MAX_MODULE: usize = 64 << 20;
/// Tables of one module.
pub const MAX_TABLES: usize = 16;
/// Elements of one table, declared or grown to.
pub const MAX_TABLE_ELEMENTS: u64 = 1 << 20;
/// Bytes of a page of linear memory.
pub const PAGE: u64 = 64 << 10;

/// Why a module is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// More than [`MAX_MODULE`] bytes.
    #[error("the module has {0} bytes; at most {MAX_MODULE} are allowed")]
    TooLarge(usize),
    /// The bytes do not start as WebAssembly does.
    #[error("not a WebAssembly module")]
    NotWasm,
    /// A component, not a core module.
    #[error("a WebAssembly component: build a core module instead (target wasm32-wasip1)")]
    Component,
    /// Malformed, or it uses a proposal outside the allowed set.
    #[error("invalid module: {0}")]
    Invalid(String),
    /// It imports something that guests are not given.
    #[error("imports {module}.{name}: {reason}")]
    Import {
        /// Module name of the import.
        module: String,
        /// Name of the import inside that module.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No entry point.
    #[error(
        "does not export a function _start without parameters and results: build a command, not a library"
    )]
    NoStart,
    /// No memory that the host could exchange bytes through.
    #[error("does not export its memory as \"memory\"")]
    NoMemory,
    /// More than [`MAX_TABLES`] tables.
    #[error("has {0} tables; at most {MAX_TABLES} are allowed")]
    TooManyTables(usize),
    /// A table that starts with more than [`MAX_TABLE_ELEMENTS`].
    #[error("has a table of {0} elements; at most {MAX_TABLE_ELEMENTS} are allowed")]
    TableTooLarge(u64),
    /// The module is in order, but this machine could not compile it.
    #[error("cannot compile the module here: {0}")]
    Engine(String),
}

/// One thing that a module imports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Module name.
    pub module: String,
    /// Name inside the module.
    pub name: String,
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.module, self.name)
    }
}

/// What a module is made of, and everything that keeps it from running.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Bytes of the module.
    pub size: usize,
    /// Its imports, in order.
    pub imports: Vec<Imported>,
    /// Names of its exports, in order.
    pub exports: Vec<String>,
    /// Pages its memory starts with.
    pub memory_min: u64,
    /// Pages its memory may grow to, if it says so.
    pub memory_max: Option<u64>,
    /// Why it is refused; empty if it may run.
    pub problems: Vec<LoadError>,
}

impl Report {
    /// Bytes its memory starts with.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_min.saturating_mul(PAGE)
    }
}

/// Describes a module. Fails only if there is no valid module to describe.
pub fn inspect(wasm: &[u8]) -> Result<Report, LoadError> {
    if wasm.len() > MAX_MODULE {
        return Err(LoadError::TooLarge(wasm.len()));
    }
    if Parser::is_component(wasm) {
        return Err(LoadError::Component);
    }
    if !Parser::is_core_wasm(wasm) {
        return Err(LoadError::NotWasm);
    }
    let invalid = |error: wasmparser::BinaryReaderError| LoadError::Invalid(error.to_string());
    let types = Validator::new_with_features(features()).validate_all(wasm).map_err(invalid)?;
    let types = types.as_ref();
    let function = |index| types[types.core_function_at(index)].unwrap_func();
    let imported = |index| types[types.core_type_at_in_module(index)].unwrap_func();
    let mut survey =
        Survey { report: Report { size: wasm.len(), ..Report::default() }, ..Survey::default() };
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(invalid)? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    survey.import(import.map_err(invalid)?, imported);
                }
            }
            Payload::TableSection(section) => {
                for table in section {
                    survey.table(table.map_err(invalid)?.ty.initial);
                }
            }
            Payload::MemorySection(section) => {
                for memory in section {
                    let memory = memory.map_err(invalid)?;
                    (survey.report.memory_min, survey.report.memory_max) =
                        (memory.initial, memory.maximum);
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    survey.export(export.map_err(invalid)?, function);
                }
            }
            _ => {}
        }
    }
    Ok(survey.finish())
}

/// The proposals guests may use: those that every engine of today runs, minus what is not
/// deterministic (threads, relaxed SIMD) and what no compiler emits for a command.
fn features() -> WasmFeatures {
    let allowed = WasmFeatures::WASM2
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::BULK_MEMORY_OPT
        | WasmFeatures::CALL_INDIRECT_OVERLONG;
    allowed.difference(WasmFeatures::GC_TYPES)
}

/// A report in the making.
#[derive(Default)]
struct Survey {
    report: Report,
    tables: usize,
    start: bool,
    memory: bool,
}

impl Survey {
    fn import<'t>(
        &mut self,
        import: wasmparser::Import<'_>,
        function: impl Fn(u32) -> &'t FuncType,
    ) {
        let verdict = match import.ty {
            TypeRef::Func(index) => import_problem(import.module, import.name, function(index)),
            _ => Some("guests may import functions only"),
        };
        let (module, name) = (import.module.to_owned(), import.name.to_owned());
        if let Some(reason) = verdict {
            self.report.problems.push(LoadError::Import {
                module: module.clone(),
                name: name.clone(),
                reason,
            });
        }
        self.report.imports.push(Imported { module, name });
    }

    fn table(&mut self, elements: u64) {
        self.tables += 1;
        if elements > MAX_TABLE_ELEMENTS {
            self.report.problems.push(LoadError::TableTooLarge(elements));
        }
    }

    fn export<'t>(
        &mut self,
        export: wasmparser::Export<'_>,
        function: impl Fn(u32) -> &'t FuncType,
    ) {
        match (export.name, export.kind) {
            ("_start", ExternalKind::Func) => {
                let signature = function(export.index);
                self.start = signature.params().is_empty() && signature.results().is_empty();
            }
            ("memory", ExternalKind::Memory) => self.memory = true,
            _ => {}
        }
        self.report.exports.push(export.name.to_owned());
    }

    fn finish(mut self) -> Report {
        let problems = &mut self.report.problems;
        if self.tables > MAX_TABLES {
            problems.push(LoadError::TooManyTables(self.tables));
        }
        if !self.start {
            problems.push(LoadError::NoStart);
        }
        if !self.memory {
            problems.push(LoadError::NoMemory);
        }
        self.report
    }
}

fn import_problem(module: &str, name: &str, signature: &FuncType) -> Option<&'static str> {
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
