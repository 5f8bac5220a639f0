//! The engine, from packed bytes to an outcome.

mod contract;
mod engine;
mod guests;
mod shapes;
mod vectors;
