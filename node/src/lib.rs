//! A bayan peer: carries out what `bayan-protocol` decides.
//!
//! | module | subject |
//! |---|---|
//! | [`node`] | one running peer, started and stopped as a whole |
//! | [`core`] | the thread that owns the machines, stores their records and carries out their effects |
//! | [`engine`] | attempts: from an order to a message |
//! | [`blobs`] | the blob protocol, both sides |
//! | [`api`] | the local API: HTTP and server-sent events on loopback |
//! | [`client`] | the local API from outside, blocking |
//! | [`cli`] | the program `bayan` |
//! | [`demo`] | `bayan demo` |
//! | [`archive`] | the files of evidence that this peer keeps |
//! | [`evidence`] | accusations: made from what is stored, tried by running the task again |
//! | [`config`] | settings and their defaults |
//! | [`mending`] | what was damaged in the data directory, in words |
//!
//! The network is the crate `bayan-net`, the disk `bayan-store`, the wasm engine `bayan-sandbox`:
//! types of libp2p, redb and wasmtime stay inside them.

pub mod api;
pub mod archive;
pub mod blobs;
pub mod cli;
pub mod client;
pub mod config;
pub mod core;
pub mod demo;
pub mod engine;
pub mod evidence;
pub mod mending;
pub mod node;
