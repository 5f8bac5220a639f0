//! What the tests share: the program under test as processes, real peers, hostile ones, and what
//! results are compared with.

pub mod cast;
pub mod chance;
pub mod guests;
pub mod hostile;
pub mod native;
pub mod outputs;
pub mod peers;
pub mod poisoner;
pub mod program;
pub mod runs;
pub mod world;
