//! Peers that cheat: malicious behaviour as part of the cast of the tests.
//!
//! A member is an honest peer in everything that its [`Role`] does not touch: it runs the protocol's
//! own machines, computes with the real engine, and lies about what came of it.
//!
//! | module | subject |
//! |---|---|
//! | [`role`] | what a member is up to, as a short text |
//! | [`behaviour`] | what it claims about a task; pure, for worlds in memory too |
//! | [`forge`] | what it does to its own frames; pure as well |
//! | [`passing`] | what a relay does with what it is to pass on; pure as well |
//! | [`word`] | what a delegate says in place of what it has; pure as well |
//! | `ledger` | what it has claimed, and how much of that was wrong |
//! | `truth` | what tasks really come to: the engine, once for all members of a process |
//! | `stage` | what the members of a process share |
//! | `actor` | one member on the real wire |
//!
//! The last four come with the feature `wire`. The program `bayan-cast` hosts any number of members.

#[cfg(feature = "wire")]
pub mod actor;
pub mod behaviour;
pub mod forge;
#[cfg(feature = "wire")]
pub mod ledger;
pub mod passing;
pub mod role;
#[cfg(feature = "wire")]
pub mod stage;
#[cfg(feature = "wire")]
pub mod truth;
pub mod word;

pub use behaviour::{Board, Claim, Conduct, Deed, Lie, Need, Scene, Turn, identity};
pub use forge::Forger;
pub use passing::Passing;
pub use role::{ParseRoleError, Rate, Role};
pub use word::Word;
