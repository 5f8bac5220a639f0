//! Benchmarks. They print what they measured in one run and judge nothing by the clock that a test
//! would have to pass; whatever fails or cannot be measured ends them with an error instead of a
//! figure.
//!
//! | program | what it prints |
//! |---|---|
//! | `kernels` | compiled guest code beside the same C compiled for this machine |
//! | `instances` | what one small task costs, through an engine process and through its parts |
//!
//! Alternatives take turns, so that what else the machine does falls on all of them alike, and are
//! compared turn by turn. The development profile is the right one: Cranelift compiles guests alike
//! in every profile, and C compilers do the rest.
//!
//! | module | subject |
//! |---|---|
//! | [`compilers`] | which C compilers there are, for this machine and for WebAssembly |
//! | [`kernel`] | the list of kernels and what is expected of each |
//! | [`variant`] | one way to run a kernel |
//! | [`instances`] | ways to run a small task |
//! | [`processor`] | processor time of threads and processes |
//! | [`turns`] | turns, medians, ratios |

pub mod compilers;
pub mod instances;
pub mod kernel;
pub mod processor;
pub mod turns;
pub mod variant;

/// What wasmtime says, as everything else says it.
fn said(error: wasmtime::Error) -> anyhow::Error {
    anyhow::anyhow!("{error:#}")
}
