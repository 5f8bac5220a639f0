//! Compiling a packed module, and making compiled code ready to run.

use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bayan_packing::{limits::PAGE, names};
use wasmtime::{ExternType, InstancePre, ModuleExport, Mutability, ValType};

use crate::{
    attempt::State,
    settings::{self, Engine},
};

/// A packed module could not be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot compile the module here: {0}")]
pub struct CompileError(String);

/// Compiled code could not be made ready to run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// It was not compiled (only [`Engine::prepare`] gives this).
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The engine refuses it: other settings or another version compiled it, or it is damaged.
    #[error("cannot load the compiled module: {0}")]
    Engine(String),
    /// It lacks what packing adds, or a command's own exports.
    #[error("the module is not a packed command: it does not export {0} as it should")]
    NotPacked(&'static str),
}

/// Compiles a packed module. What comes back is for [`Engine::load`] under the same
/// [`fingerprint`](settings::fingerprint). Runs on this thread alone; time and memory are bounded
/// by nothing but the module's size, so whoever compiles foreign modules bounds the process.
pub fn compile(packed: &[u8]) -> Result<Vec<u8>, CompileError> {
    let compiled =
        catch_unwind(AssertUnwindSafe(|| settings::compiler()?.precompile_module(packed)));
    match compiled {
        Ok(Ok(artefact)) => Ok(artefact),
        Ok(Err(error)) => Err(CompileError(format!("{error:#}"))),
        Err(_) => Err(CompileError("the compiler panicked".to_owned())),
    }
}

/// A compiled guest, ready to run on the engine that loaded it. Cheap to clone.
#[derive(Clone)]
pub struct Module(Arc<Loaded>);

pub(crate) struct Loaded {
    pub(crate) instance: InstancePre<State>,
    pub(crate) exports: Exports,
    /// Bytes of memory that an instance starts with.
    pub(crate) memory_bytes: u64,
}

/// Where a packed command's exports are.
pub(crate) struct Exports {
    pub(crate) start: ModuleExport,
    pub(crate) memory: ModuleExport,
    pub(crate) fuel: ModuleExport,
    pub(crate) slice: ModuleExport,
    pub(crate) pages: ModuleExport,
    pub(crate) stop: ModuleExport,
}

impl Module {
    pub(crate) fn loaded(&self) -> &Loaded {
        &self.0
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Module").field("memory_bytes", &self.0.memory_bytes).finish_non_exhaustive()
    }
}

impl Engine {
    /// Maps what [`compile`] made. The file must hold nothing else and must not change while this
    /// module or a clone of it lives: it is executed.
    pub fn load(&self, artefact: File) -> Result<Module, LoadError> {
        #[expect(
            unsafe_code,
            reason = "compiled code cannot be checked, only trusted by where it comes from"
        )]
        // SAFETY: the bytes come only from `compile` under the same fingerprint, through the parent
        // process, which keeps them where nobody else writes; the engine checks version and
        // settings again.
        let module = unsafe { wasmtime::Module::deserialize_open_file(self.inner(), artefact) };
        Module::new(self, module)
    }

    /// Compiles and loads in this process, for tests and benchmarks.
    pub fn prepare(&self, packed: &[u8]) -> Result<Module, LoadError> {
        let artefact = compile(packed)?;
        #[expect(unsafe_code, reason = "as above")]
        // SAFETY: the bytes were made by `compile` in this process a moment ago.
        let module = unsafe { wasmtime::Module::deserialize(self.inner(), artefact) };
        Module::new(self, module)
    }
}

impl Module {
    fn new(engine: &Engine, module: wasmtime::Result<wasmtime::Module>) -> Result<Self, LoadError> {
        let failed = |error: wasmtime::Error| LoadError::Engine(format!("{error:#}"));
        let module = module.map_err(failed)?;
        let exports = Exports {
            start: export(&module, "_start", |ty| match ty {
                ExternType::Func(ty) => ty.params().len() == 0 && ty.results().len() == 0,
                _ => false,
            })?,
            memory: export(&module, "memory", |ty| ty.memory().is_some())?,
            fuel: export(&module, names::FUEL, |ty| is_variable(ty, &ValType::I64))?,
            slice: export(&module, names::SLICE, |ty| is_variable(ty, &ValType::I64))?,
            pages: export(&module, names::PAGES, |ty| is_variable(ty, &ValType::I32))?,
            stop: export(&module, names::STOP, |ty| is_variable(ty, &ValType::I32))?,
        };
        let memory = module.get_export("memory").and_then(|ty| ty.memory().cloned());
        let memory_bytes = memory.map_or(0, |memory| memory.minimum()).saturating_mul(PAGE);
        let instance = engine.linker().instantiate_pre(&module).map_err(failed)?;
        Ok(Self(Arc::new(Loaded { instance, exports, memory_bytes })))
    }
}

fn export(
    module: &wasmtime::Module,
    name: &'static str,
    fits: impl Fn(&ExternType) -> bool,
) -> Result<ModuleExport, LoadError> {
    let fits = module.get_export(name).is_some_and(|ty| fits(&ty));
    let index = fits.then(|| module.get_export_index(name)).flatten();
    index.ok_or(LoadError::NotPacked(name))
}

fn is_variable(ty: &ExternType, content: &ValType) -> bool {
    match ty {
        ExternType::Global(ty) => {
            ty.mutability() == Mutability::Var && ValType::eq(ty.content(), content)
        }
        _ => false,
    }
}
