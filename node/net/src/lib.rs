//! The network side of a peer: libp2p behind a small adapter.
//!
//! What a user sees is [`start`], a [`Handle`] to act with and a channel of [`Event`]s to follow:
//! connected peers with one ordered stream of work frames each, blob streams, and gossiped adverts.
//! Peers find each other from a single bootstrap address. No type of libp2p leaves this crate, and
//! nothing here knows what the frames mean.
//!
//! From the outside in:
//! - [`Config`], [`Event`] and [`Handle`] are the interface; `start` checks the settings and listens;
//! - `driver` is the one task that polls libp2p and carries out commands;
//! - `link`, `frame` and `outbox` are the work streams, each a task of its own;
//! - `book` and `walks` decide whom to dial and when to look for more peers, without any I/O;
//! - `meter` counts what goes over connections, `driver/rates` acts on what follows from it;
//! - `address` says which addresses may be used at all, `transport` enforces it on every dial;
//! - `behaviour` holds libp2p's settings, `substream` our own protocols' place in it.

mod address;
mod behaviour;
mod book;
mod budget;
mod config;
mod driver;
mod event;
mod frame;
mod gate;
mod handle;
mod link;
mod meter;
mod names;
mod outbox;
mod start;
mod stream;
mod substream;
mod transport;
mod walks;

pub use config::{Config, StartError};
pub use event::{DownReason, Event, PeerInfo, Traffic, TransportKind};
pub use handle::{CommandError, Handle, MAX_ADVERT, OpenError, SendError};
pub use start::start;
pub use stream::ByteStream;
