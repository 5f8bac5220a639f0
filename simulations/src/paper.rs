//! Published tables and figures, computed again.

use crate::{report::Answer, study::Study};

/// A paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {}

impl Name {
    /// Every one.
    pub const ALL: [Self; 0] = [];

    /// As on the command line.
    pub fn word(self) -> &'static str {
        match self {}
    }

    /// Runs it.
    pub fn run(self, _: &Study) -> Answer {
        match self {}
    }
}
