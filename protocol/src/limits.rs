//! Every bound of the protocol in one place, with the relations between them checked at compile time.

use core::time::Duration;

/// Bytes of one work frame after its length prefix.
pub const MAX_FRAME: usize = 4 << 20;
/// Bytes of an input or output that travels inside a frame; longer ones travel by digest.
pub const MAX_INLINE: usize = 16 << 10;
/// Results that one commit may cover.
pub const MAX_BATCH: usize = 64;
/// A batch is closed this long after its first result at the latest.
pub const BATCH_CLOSE: Duration = Duration::from_millis(50);
/// Where acknowledgements take longer than [`SLOW_ACK`], results wait for the one of those before them, and
/// no longer than this: over a slow link they share a signature and a path (after Nagle, RFC 896).
pub const GATHER: Duration = Duration::from_secs(2);
/// See [`GATHER`].
pub const SLOW_ACK: Duration = Duration::from_millis(500);
/// Bytes of a guest's standard error that travel with a result.
pub const MAX_LOG: usize = 4 << 10;
/// Tasks of one lease.
pub const MAX_LEASE_TASKS: usize = 512;
/// Bytes of inline inputs in one lease; at least one task is leased whatever its size.
pub const MAX_LEASE_BYTES: usize = 1 << 20;
/// Tasks that one worker may hold of one source: the largest credit that is honoured.
pub const MAX_CREDIT: u32 = 1024;
/// The same for each task that is computed at once below a worker that hands work on, where that makes more:
/// what a slot computes, what waits for it there and at the relays in between, and what is on its way.
pub const CREDIT_A_SLOT: u32 = 8;
/// Tasks of one job.
pub const MAX_JOB_TASKS: u64 = 1_000_000;
/// Bytes of a guest module.
pub const MAX_MODULE: u64 = 64 << 20;
/// Bytes of one blob: an input, an output, a data file.
pub const MAX_BLOB: u64 = 4 << 30;
/// Bytes of a chunk group: what of a blob is verified as one.
pub const GROUP: u64 = 16 << 10;
/// Bytes of a piece: the unit in which peers say what they have of a blob.
pub const PIECE: u64 = 256 << 10;
/// Bytes of a blob that one request asks for.
pub const MAX_RANGE: u64 = 2 << 20;
/// Blobs of this length and more are fetched from several providers, piece by piece.
pub const SWARM: u64 = 1 << 20;
/// Bytes of a request for a blob, or of the head of its answer.
pub const MAX_BLOB_HEADER: usize = 16 << 10;
/// Providers that one answer tells of, addresses told of each, and bytes of an address.
pub const MAX_TOLD: usize = 16;
/// See [`MAX_TOLD`].
pub const MAX_TOLD_ADDRESSES: usize = 4;
/// See [`MAX_TOLD`].
pub const MAX_ADDRESS: usize = 128;
/// Milliseconds that an asker may be told to wait.
pub const MAX_WAIT_MS: u64 = 10_000;
/// Bytes of a text that says why a blob is refused.
pub const MAX_REFUSAL: usize = 256;
/// Providers remembered for having sent wrong bytes, and for how long.
pub const MAX_POISONERS: usize = 1024;
/// See [`MAX_POISONERS`].
pub const POISONED: Duration = Duration::from_secs(24 * 3600);
/// Arguments, environment variables or data files of a program, each.
pub const MAX_PROGRAM_ITEMS: usize = 256;
/// Bytes of all of a program's arguments, variables and names together.
pub const MAX_PROGRAM_BYTES: usize = 64 << 10;
/// Bytes of a text that a peer says of itself or gives as a reason.
pub const MAX_TEXT: usize = 256;
/// Engine profiles or versions that a hello may list.
pub const MAX_HELLO_ITEMS: usize = 16;
/// Bytes of a job's manifest that its delegate fetches.
pub const MAX_MANIFEST: u64 = 512 << 20;
/// Jobs that a peer keeps for one other as their delegate, and for all others together.
pub const MAX_ENTRUSTED: usize = 16;
/// See [`MAX_ENTRUSTED`].
pub const MAX_ENTRUSTED_ALL: usize = 256;
/// A delegate carries a job on when its submitter has been away for this long.
pub const DELEGATE_AFTER: Duration = Duration::from_secs(60);
/// A submitter that starts again waits this long for its delegate to say what became final meanwhile.
pub const HANDBACK: Duration = Duration::from_secs(15);
/// Results that a delegate has told and the submitter has not said to have.
pub const MAX_UNTOLD: usize = 4 * MAX_BATCH;
/// Hops of a lease's path.
pub const MAX_PATH: usize = 8;
/// Peers that a job may name as those who may compute it.
pub const MAX_NAMED: usize = 1024;
/// Votes that may be asked for.
pub const MAX_REDUNDANCY: u32 = 15;
/// Peers whose work streams are served at once.
pub const MAX_NEIGHBOURS: usize = 160;
/// Workers that one frame keeps from a job, and that a relay keeps from one.
pub const MAX_EXCLUDED_AT_ONCE: usize = 64;
/// See [`MAX_EXCLUDED_AT_ONCE`].
pub const MAX_EXCLUDED: usize = 1024;
/// Foreign jobs that a worker keeps records of at once.
pub const MAX_FOREIGN_JOBS: usize = 256;
/// Unacknowledged batches that a worker keeps for one job before it stops computing for it.
pub const MAX_UNACKED_BATCHES: usize = 256;
/// Results that a source has not acknowledged are kept for it this long after it was last there.
pub const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);
/// A lease that hears nothing of its worker for this long has lapsed.
pub const LEASE: Duration = Duration::from_secs(30);
/// A worker renews its leases this often.
pub const RENEW: Duration = Duration::from_secs(10);
/// Attempts of one task that may end inconclusively before the task is given up.
pub const MAX_INCONCLUSIVE: u32 = 5;
/// Bytes of a capacity advert.
pub const MAX_ADVERT: usize = 512;
/// Workers whose record an observer keeps.
pub const MAX_STANDINGS: usize = 1 << 16;
/// Partners whose agreement counts for one worker until they are caught.
pub const MAX_PARTNERS: usize = 1024;
/// Bytes of the blobs that one file of evidence carries; what is beyond is left out of it.
pub const MAX_EVIDENCE_BLOBS: usize = 8 << 20;
/// Bytes of a file of evidence.
pub const MAX_EVIDENCE: usize = MAX_EVIDENCE_BLOBS + (128 << 10);
/// Files of evidence that a peer keeps of results that it proved wrong itself.
pub const MAX_ARCHIVED: usize = 10_000;
/// Bytes of such files from which on new ones are kept without module, input and data.
pub const MAX_ARCHIVE: u64 = 1 << 30;
/// Units of fuel that a re-run of evidence may take if nobody says otherwise: the default limit of a
/// task, a minute or two of work.
pub const MAX_EVIDENCE_FUEL: u64 = 1_000_000_000_000;

/// Tasks that a worker with `below` slots, its own and those below it, may hold of one source; 0 for one
/// that hands nothing on.
pub const fn most_credit(below: u32) -> u32 {
    let most = below.saturating_mul(CREDIT_A_SLOT);
    if most < MAX_CREDIT {
        MAX_CREDIT
    } else if most as u64 > MAX_JOB_TASKS {
        MAX_JOB_TASKS as u32
    } else {
        most
    }
}

const _: () = assert!(MAX_JOB_TASKS <= u32::MAX as u64 && MAX_CREDIT as u64 <= MAX_JOB_TASKS);
const _: () = assert!(MAX_BATCH * (MAX_INLINE + MAX_LOG + 1024) < MAX_FRAME);
const _: () =
    assert!(MAX_LEASE_BYTES + MAX_INLINE + MAX_PROGRAM_BYTES + MAX_LEASE_TASKS * 64 < MAX_FRAME);
const _: () = assert!(MAX_LEASE_TASKS <= MAX_CREDIT as usize);
const _: () = assert!(PIECE.is_multiple_of(GROUP) && MAX_RANGE.is_multiple_of(PIECE));
// Bits of the longest blob's pieces, and a full list of providers, fit a head.
const _: () = assert!(MAX_BLOB.div_ceil(PIECE) / 8 + 1024 < MAX_BLOB_HEADER as u64);
const _: () =
    assert!(MAX_TOLD * (64 + MAX_TOLD_ADDRESSES * (MAX_ADDRESS + 4)) + 64 < MAX_BLOB_HEADER);
const _: () = assert!(MAX_MANIFEST <= MAX_BLOB && MAX_ENTRUSTED <= MAX_ENTRUSTED_ALL);
const _: () = assert!(RENEW.as_micros() * 2 < LEASE.as_micros());
// Whatever a task within its bounds may be, its evidence fits: each argument, variable, file and blob
// takes at most 96 bytes beyond what it says itself, and the proof and all else a few KiB.
const _: () = assert!(
    MAX_EVIDENCE_BLOBS + MAX_PROGRAM_BYTES + MAX_PROGRAM_ITEMS * 96 + (8 << 10) < MAX_EVIDENCE
);
