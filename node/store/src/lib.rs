//! What a peer keeps on disk: one directory, held by one process at a time.
//!
//! ```text
//! identity           Ed25519 secret seed, 0600                   secrets
//! api_token          what local clients show, 0600               secrets
//! format             version of this layout                      directory
//! lock, holder       who has the directory open                  lock
//! journal/           changes not yet in the database             records::journal
//! records.redb       every live record                           records::database
//! records.inventory  what that should hold, and copies of some   records::inventory
//! blobs/             content by BLAKE3, with outboards           blobs
//! ```
//!
//! [`Directory::open`] is the door. [`Records`] keeps what the protocol's machines must find again
//! after a restart; [`Blobs`] keeps content, and is where bytes of other peers are verified group by
//! group before they count. Everything blocks: callers bring their own threads. Nothing here decides
//! what to keep or to evict.

mod blobs;
mod directory;
mod disk;
mod lock;
mod records;
mod secrets;
mod unsynced;

pub use blobs::{BlobError, Blobs, DecodeError, GROUP, MAX_BLOB, Receiving, Usage, encoded_len};
pub use directory::{Directory, FORMAT, OpenError, Options, Sync};
pub use lock::Holder;
pub use records::{
    Change, Damage, MAX_BATCH, MAX_KEY, ReadError, Record, Records, RecordsIter, Recovery, Salvage,
    WriteError,
};
