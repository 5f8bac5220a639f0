//! The protocol's own machines in made-up worlds, and what came of it as numbers.
//!
//! Everything follows from one seed, so every number can be made again. What decides is the
//! protocol's own code wherever the question is about what it decides; only the world around it
//! (workers, links, queues, time) is made up here.
//!
//! | module | subject |
//! |---|---|
//! | [`cli`] | the program `bayan-sim`, a file for each command |
//! | [`scale`] | one job over a tree of many peers |
//! | [`scenario`] | scenario files: read, checked, swept, run |
//! | [`parallel`] | many independent runs on all cores |
//! | [`paper`] | published tables and figures, computed again |
//! | [`attack`] | what each kind of cheat comes to against the default policy |
//! | [`field`] | the `verify` machine among workers of many kinds |
//! | [`lines`] | the `pool` machine among workers behind network links |
//! | [`study`] | units of work over seeds: both cores, progress, resumption |
//! | [`statistics`] | means, quantiles, bootstrap intervals |
//! | [`report`] | measures, tables, plots, pages, and the comparison of two of them |

pub mod attack;
pub mod cli;
pub mod field;
pub mod lines;
pub mod paper;
pub mod parallel;
pub mod report;
pub mod scale;
pub mod scenario;
pub mod statistics;
pub mod study;
