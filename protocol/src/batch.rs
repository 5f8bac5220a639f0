//! What every machine's step returns.

use alloc::vec::Vec;

use crate::record::Change;

/// What is to be remembered, and then what is to be done: records are stored before any effect is
/// carried out (store before you speak).
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch<E> {
    /// Changes of the store, in order.
    pub records: Vec<Change>,
    /// What to do afterwards, in order.
    pub effects: Vec<E>,
}

impl<E> Default for Batch<E> {
    fn default() -> Self {
        Self { records: Vec::new(), effects: Vec::new() }
    }
}
