//! What a bundle did, step by step, in a form that does not depend on the engine.

use std::fmt;

use sha2::{Digest, Sha256};

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum End {
    /// It returned.
    Returned,
    /// `unreachable` was executed by the program itself.
    Unreachable,
    /// An access outside the memory or a data segment.
    Memory,
    /// An access outside a table or an element segment.
    Table,
    /// An indirect call of nothing or of another type.
    Indirect,
    /// Division by zero.
    Division,
    /// A number that the result's type cannot hold.
    Range,
    /// Fuel ran out.
    Fuel,
    /// The stack bound was met.
    Stack,
    /// The stack of the engine ran out, which the module's own bound is to prevent.
    NativeStack,
    /// Anything else.
    Other,
}

impl End {
    const NAMES: [(End, &'static str); 11] = [
        (End::Returned, "returned"),
        (End::Unreachable, "unreachable"),
        (End::Memory, "memory"),
        (End::Table, "table"),
        (End::Indirect, "indirect"),
        (End::Division, "division"),
        (End::Range, "range"),
        (End::Fuel, "fuel"),
        (End::Stack, "stack"),
        (End::NativeStack, "native-stack"),
        (End::Other, "other"),
    ];

    /// The end of a name, as runners in other languages write it.
    pub fn named(name: &str) -> Option<End> {
        End::NAMES.iter().find(|(_, n)| *n == name).map(|(end, _)| *end)
    }

    /// Whether a bound ended it: nothing after it is comparable.
    pub fn bounded(self) -> bool {
        matches!(self, End::Fuel | End::Stack | End::NativeStack)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, name) =
            End::NAMES.iter().find(|(end, _)| end == self).expect("every end has a name");
        f.write_str(name)
    }
}

/// One step: the instantiation, or one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// How it ended.
    pub end: End,
    /// What it returned, as words.
    pub results: Vec<u64>,
    /// Fuel left; unpacked modules have none.
    pub fuel: Option<i64>,
    /// Fuel burned by a call that returned: by the module, or by the engine where there is no other.
    pub burned: Option<u64>,
    /// A digest of memory and globals after the step; empty when there is no instance.
    pub state: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.end)?;
        for (i, word) in self.results.iter().enumerate() {
            write!(f, "{}{word:x}", if i == 0 { ":" } else { "," })?;
        }
        if let Some(fuel) = self.fuel {
            write!(f, " fuel {fuel}")?;
        }
        if !self.state.is_empty() {
            write!(f, " state {}", self.state)?;
        }
        Ok(())
    }
}

/// What a bundle did: its instantiation, then its calls until a bound ended it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace(pub Vec<Step>);

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            write!(f, "{}{step}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

/// The digest of what can be seen after a step.
pub fn state(memories: &[&[u8]], words: &[u64]) -> String {
    let mut sha = Sha256::new();
    for memory in memories {
        sha.update((memory.len() as u64).to_le_bytes());
        sha.update(memory);
    }
    for word in words {
        sha.update(word.to_le_bytes());
    }
    sha.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
