//! Real peers on loopback, each at an address of its own, talking through real sockets.

mod common;
mod discovery;
mod frames;
mod hostile;
mod lifecycle;
mod providers;
mod settings;
mod side_channels;
