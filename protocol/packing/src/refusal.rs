//! Why a module is refused.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;

use wasmparser::BinaryReaderError;

use crate::limits::{MAX_FUNCTION, MAX_LOCALS, MAX_MODULE, MAX_TABLE_ELEMENTS, MAX_TABLES};

/// Why a module is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// More than [`MAX_MODULE`] bytes.
    #[error("the module has {0} bytes; at most {MAX_MODULE} are allowed")]
    TooLarge(usize),
    /// The bytes do not start as WebAssembly does.
    #[error("not a WebAssembly module")]
    NotWasm,
    /// A component, not a core module.
    #[error("a WebAssembly component: build a core module instead (target wasm32-wasip1)")]
    Component,
    /// Malformed or not valid.
    #[error("invalid module: {0}")]
    Invalid(String),
    /// Valid, but it uses something that guests are not given.
    #[error("uses {0}: build without it")]
    Proposal(&'static str),
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
    /// It exports a name that packing uses.
    #[error("exports {0:?}, a name that is taken")]
    Export(String),
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
    TooManyTables(u32),
    /// A table that starts with more than [`MAX_TABLE_ELEMENTS`].
    #[error("has a table of {0} elements; at most {MAX_TABLE_ELEMENTS} are allowed")]
    TableTooLarge(u64),
    /// An active segment that does not lie inside what it initialises.
    #[error(
        "{kind} segment {index} does not fit where it is to go, so the module could never start"
    )]
    Segment {
        /// "data" or "element".
        kind: &'static str,
        /// Its place among those of its kind.
        index: u32,
    },
    /// A function with more than [`MAX_LOCALS`] parameters and locals.
    #[error("function {0} has more than {MAX_LOCALS} locals")]
    Locals(u32),
    /// A function that would have more than [`MAX_FUNCTION`] bytes when packed.
    #[error("function {0} is too large to be packed: more than {MAX_FUNCTION} bytes")]
    Function(u32),
    /// Several things at once.
    #[error("{}", Sentence(.0))]
    Several(Vec<Refusal>),
}

impl Refusal {
    /// What is wrong, one by one.
    pub fn problems(&self) -> &[Self] {
        match self {
            Self::Several(problems) => problems,
            one => core::slice::from_ref(one),
        }
    }
}

/// Several problems in a row.
struct Sentence<'a>(&'a [Refusal]);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, problem) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str("; it ")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl From<BinaryReaderError> for Refusal {
    fn from(error: BinaryReaderError) -> Self {
        Self::Invalid(error.to_string())
    }
}
