//! The real thing: guests in `bayan-sandbox`.

use std::fs::File;

use bayan_sandbox::{Engine, Module};

use super::{Runner, Work};
use crate::task::Outcome;

/// Runs guests.
pub struct Guests(Engine);

impl Runner for Guests {
    type Module = Module;

    fn new() -> Result<Self, String> {
        Engine::new().map(Self).map_err(|error| error.to_string())
    }

    fn load(&self, artefact: File) -> Result<Module, String> {
        self.0.load(artefact).map_err(|error| error.to_string())
    }

    fn run(&self, module: &Module, work: &Work) -> Outcome {
        self.0.run(module, work)
    }

    fn compile(packed: &[u8]) -> Result<Vec<u8>, String> {
        bayan_sandbox::compile(packed).map_err(|error| error.to_string())
    }
}
