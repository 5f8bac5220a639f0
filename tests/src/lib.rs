//! What the tests share: real peers as processes.

pub mod peers;
