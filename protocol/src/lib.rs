//! Every decision a bayan peer takes, as sans-IO machines.
//!
//! A machine is told the time and what happened, and says what to remember and what to do:
//! `step(now, input) -> Batch { records, effects }`. It reads no clock, draws its randomness from a
//! seed ([`entropy`]), and does no I/O, so the same code runs in a node, in a simulation and in a
//! browser. Whoever runs it stores the records before carrying out the effects.
//!
//! From the inside out:
//!
//! | module | subject |
//! |---|---|
//! | [`id`], [`time`], [`entropy`], [`limits`] | names, time, randomness and bounds as plain values |
//! | [`cbor`], [`crypto`], [`merkle`] | the one encoding, signatures per domain, trees over batches |
//! | [`task`], [`job`], [`result`], [`wire`], [`record`] | what peers say to each other and what they remember |
//! | [`evidence`] | a wrong result, proven to people who were not there |
//! | [`offer`] | whose work is taken |
//! | [`pool`] | which task goes to whom next |
//! | [`standing`] | what is known of each worker |
//! | [`plan`] | what a way of verifying will cost and promise |
//! | [`verify`] | when a result stands |
//! | [`path`] | the way a lease came, signed hop by hop |
//! | [`overlay`] | which adverts are believed |
//! | [`fetch`] | which part of a blob is asked of whom, and which is given first |
//! | [`evict`] | which blobs give way when the disk is full |
//! | [`link`] | which links are slow, and what is left out on them |
//! | [`worker`] | what is computed for others, and how results are delivered |
//! | [`hops`] | how well other peers pass on what they are given to |
//! | [`relay`] | work taken in bulk and handed on to the peers below |
//! | [`delegate`] | a job that another peer carries on while its submitter is away, on both sides |
//! | [`source`] | one job of one's own: pool and verifier composed |
//! | [`peer`] | the whole peer, the one doorway in front of all of them |
//!
//! The rules that the code implements are in `specs/`, cited as "spec WORK-3".
#![no_std]

extern crate alloc;

pub mod batch;
pub mod cbor;
pub mod crypto;
pub mod delegate;
pub mod entropy;
pub mod evict;
pub mod evidence;
pub mod fetch;
pub mod hops;
pub mod id;
pub mod job;
pub mod limits;
pub mod link;
pub mod merkle;
pub mod offer;
pub mod overlay;
pub mod path;
pub mod peer;
pub mod plan;
pub mod pool;
pub mod record;
pub mod relay;
pub mod result;
pub mod source;
pub mod standing;
pub mod task;
pub mod time;
pub mod verify;
pub mod wire;
pub mod worker;
