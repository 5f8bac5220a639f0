//! What the tests share: the program under test as processes, real peers, hostile ones, small
//! networks to put them on, and what results are compared with.

pub mod cast;
pub mod chance;
pub mod guests;
pub mod hostile;
pub mod namespaces;
pub mod native;
pub mod outputs;
pub mod peers;
pub mod poisoner;
pub mod program;
pub mod proxy;
pub mod runs;
pub mod slow_link;
