//! The protocol's own machines in made-up worlds, and what came of it as numbers.
//!
//! | module | subject |
//! |---|---|
//! | [`cli`] | the program `bayan-sim`, a file for each command |
//! | [`parallel`] | many independent runs on all cores |
//! | [`scenario`] | scenario files: read, checked, swept, run |

pub mod cli;
pub mod parallel;
pub mod scenario;
