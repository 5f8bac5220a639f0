//! Attempts that an engine process has been given, and how many it is given at once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bayan_protocol::task::Status;

use crate::{
    process::Lost,
    queue::{Name, Order},
    socket::Outbound,
    task::{MAX_LOG, Outcome},
    wire::{self, MAX_INLINE_STDIN, REPLY_OVERHEAD, Request},
};

/// Work that is given ahead: enough to hide the way to the parent and back.
pub(crate) const PIPELINE: Duration = Duration::from_millis(5);
/// An attempt that runs for longer than this has those behind it run elsewhere.
pub(crate) const HAND_BACK: Duration = Duration::from_millis(10);
/// What a process may spend on an attempt that is no longer wanted from it.
pub(crate) const GHOST: Duration = Duration::from_millis(20);

/// Bytes of a request besides its texts and input, about.
const FRAME: usize = 256;
const MAX_COUNT: usize = 256;
const MAX_BYTES: usize = 1 << 20;
/// Descriptors on their way, well below what a process may have open.
const MAX_DESCRIPTORS: usize = 16;
/// Memory of an engine process besides what its attempt's limits account for.
const ALLOWANCE: u64 = 192 << 20;
/// The output is held by the guest's host, and as a reply, each while it grows.
const OUTPUT_COPIES: u64 = 4;

/// Why a process is ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Its first attempt was cancelled.
    Cancelled,
    /// Nothing that an attempt did.
    Interrupted,
    Idle,
    WallTime,
    Memory {
        used: u64,
        bound: u64,
    },
    /// By itself, or because it cannot be believed.
    Lost(Lost),
}

/// One attempt that a process has been given.
pub(crate) struct Flight {
    pub(crate) seq: u64,
    pub(crate) name: Name,
    pub(crate) order: Arc<Order>,
    pub(crate) weight: Weight,
    /// What comes of it is not wanted, if anything still does.
    pub(crate) withdrawn: bool,
    /// Since when it is the first, once it is.
    pub(crate) since: Instant,
}

impl Flight {
    pub(crate) fn new(seq: u64, name: Name, order: Arc<Order>, weight: Weight) -> Self {
        Self { seq, name, order, weight, withdrawn: false, since: Instant::now() }
    }

    /// Asks the process not to begin it.
    pub(crate) fn withdraw(&mut self, out: &mut Outbound) {
        self.withdrawn = true;
        wire::write(&Request::Skip { seq: self.seq }, out.buffer())
            .expect("a number fits into a frame");
    }

    pub(crate) fn may_skip(&self, seq: u64) -> bool {
        self.withdrawn && self.seq == seq
    }

    /// Bytes that a reply about it may have.
    pub(crate) fn reply_limit(&self) -> usize {
        let output = usize::try_from(self.order.task.limits.output).unwrap_or(usize::MAX);
        output.saturating_add(MAX_LOG + REPLY_OVERHEAD).min(u32::MAX as usize)
    }

    /// The outcome, if it can be one of this attempt.
    pub(crate) fn believe(&self, mut outcome: Outcome) -> Result<Outcome, &'static str> {
        let limits = &self.order.task.limits;
        let exited = matches!(outcome.status, Status::Exited(_));
        if outcome.output.len() as u64 > limits.output {
            return Err("more output than the limit");
        }
        if !exited && !outcome.output.is_empty() {
            return Err("output of an attempt that did not exit");
        }
        if outcome.log.len() > MAX_LOG {
            return Err("more log than the limit");
        }
        if outcome.fuel > limits.fuel {
            return Err("more fuel than the limit");
        }
        if outcome.status == Status::OutOfFuel && outcome.fuel != limits.fuel {
            return Err("an attempt out of fuel that has fuel left");
        }
        if !outcome.status.is_conclusive() && outcome.fuel != 0 {
            return Err("fuel of an attempt without a result");
        }
        let elapsed = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        outcome.micros = outcome.micros.min(elapsed.saturating_add(PIPELINE.as_micros() as u64));
        Ok(outcome)
    }

    /// When it has been the first for too long.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let wall = Duration::from_millis(self.order.task.limits.wall_ms);
        self.since.checked_add(if self.withdrawn { GHOST } else { wall })
    }

    /// Bytes that the process may use while it runs, besides what it keeps for many attempts.
    pub(crate) fn memory_bound(&self) -> u64 {
        let task = &self.order.task;
        let output = task.limits.output.saturating_mul(OUTPUT_COPIES);
        let stdin = 2 * task.stdin.len() as u64;
        task.limits.memory.saturating_add(output).saturating_add(stdin).saturating_add(ALLOWANCE)
    }
}

/// What an attempt counts for while a process has it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weight {
    alone: bool,
    bytes: usize,
    time: Duration,
    descriptors: usize,
}

impl Weight {
    /// Of an attempt for which `missing` things are to be handed over first.
    pub(crate) fn of(order: &Order, alone: bool, missing: usize) -> Self {
        let task = &order.task;
        let texts = task.args.iter().map(String::len).sum::<usize>()
            + task.env.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        let large = task.stdin.len() > MAX_INLINE_STDIN;
        Self {
            alone,
            bytes: FRAME + texts + if large { 0 } else { task.stdin.len() },
            time: order.module.typical(),
            descriptors: missing + usize::from(large),
        }
    }
}

/// What a process has been given, in sum.
#[derive(Debug, Default)]
pub(crate) struct Load {
    count: usize,
    sum: Weight,
}

impl Load {
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether a small attempt of a quick module would be taken.
    pub(crate) fn has_room(&self) -> bool {
        let sum = &self.sum;
        let room = !sum.alone && sum.bytes < MAX_BYTES && sum.time < PIPELINE;
        self.is_empty() || (room && self.count < MAX_COUNT)
    }

    /// Whether it may have one more.
    pub(crate) fn takes(&self, weight: &Weight) -> bool {
        let sum = &self.sum;
        self.is_empty()
            || (self.has_room()
                && !weight.alone
                && sum.bytes + weight.bytes <= MAX_BYTES
                && sum.time + weight.time <= PIPELINE
                && sum.descriptors + weight.descriptors <= MAX_DESCRIPTORS)
    }

    pub(crate) fn add(&mut self, weight: &Weight) {
        self.count += 1;
        self.sum.alone |= weight.alone;
        self.sum.bytes += weight.bytes;
        self.sum.time += weight.time;
        self.sum.descriptors += weight.descriptors;
    }

    pub(crate) fn remove(&mut self, weight: &Weight) {
        self.count = self.count.saturating_sub(1);
        if self.is_empty() {
            *self = Self::default();
            return;
        }
        self.sum.bytes = self.sum.bytes.saturating_sub(weight.bytes);
        self.sum.time = self.sum.time.saturating_sub(weight.time);
        self.sum.descriptors = self.sum.descriptors.saturating_sub(weight.descriptors);
    }
}
