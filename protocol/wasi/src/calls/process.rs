//! Arguments, environment, clocks, randomness, polling, exit.

use alloc::vec::Vec;

use crate::{
    abi::Errno,
    descriptor::Descriptor,
    host::{Answer, Args, Host, MAX_VECTOR, Stop},
    memory::{Guest, GuestMemory},
};

/// What every clock shows, in nanoseconds: 2000-01-01 00:00:00 UTC. Not zero, which some programs
/// take for "unset".
pub(super) const CLOCK_TIME: u64 = 946_684_800_000_000_000;
/// The resolution every clock claims, in nanoseconds.
pub(super) const CLOCK_RESOLUTION: u64 = 1;
/// Realtime, monotonic, process and thread CPU time.
const CLOCKS: u32 = 4;

const SUBSCRIPTION_LEN: usize = 48;
const EVENT_LEN: usize = 32;
/// Room that standard output and error always claim.
const WRITABLE: u64 = 65_536;

/// A list of strings as C programs receive it: zero-terminated, one after another.
pub(crate) struct Strings {
    bytes: Vec<u8>,
    starts: Vec<u32>,
}

impl Strings {
    /// Joins each item's parts; what does not fit 32-bit sizes answers `Overflow` for good.
    pub(crate) fn new<'a>(strings: impl Iterator<Item = [&'a str; 3]>) -> Self {
        let mut list = Self { bytes: Vec::new(), starts: Vec::new() };
        for parts in strings {
            list.starts.push(list.bytes.len() as u32);
            parts.iter().for_each(|part| list.bytes.extend_from_slice(part.as_bytes()));
            list.bytes.push(0);
        }
        list
    }

    fn sizes(&self) -> Result<(u32, u32), Errno> {
        let count = u32::try_from(self.starts.len()).map_err(|_| Errno::Overflow)?;
        Ok((count, u32::try_from(self.bytes.len()).map_err(|_| Errno::Overflow)?))
    }

    /// `args_get` and `environ_get`: pointers to the strings, and the strings.
    pub(super) fn get<M: GuestMemory + ?Sized>(
        &self,
        args: Args<'_>,
        guest: &mut Guest<'_, M>,
    ) -> Answer {
        let (pointers_at, bytes_at) = (args.u32(0), args.u32(1));
        let (count, total) = self.sizes()?;
        let pointers_len = u64::from(count) * 4;
        guest.check(pointers_at, pointers_len)?;
        guest.check(bytes_at, u64::from(total))?;
        guest.charge(pointers_len + u64::from(total))?;
        let pointers =
            self.starts.iter().flat_map(|start| bytes_at.wrapping_add(*start).to_le_bytes());
        guest.write_charged(pointers_at, &pointers.collect::<Vec<_>>())?;
        guest.write_charged(bytes_at, &self.bytes)
    }

    /// `args_sizes_get` and `environ_sizes_get`: their number and their bytes.
    pub(super) fn sizes_get<M: GuestMemory + ?Sized>(
        &self,
        args: Args<'_>,
        guest: &mut Guest<'_, M>,
    ) -> Answer {
        let (count_at, total_at) = (args.u32(0), args.u32(1));
        guest.check(count_at, 4)?;
        guest.check(total_at, 4)?;
        let (count, total) = self.sizes()?;
        guest.store(count_at, &count.to_le_bytes())?;
        guest.store(total_at, &total.to_le_bytes())
    }
}

/// `clock_time_get` and `clock_res_get`: the same constant for every clock.
pub(super) fn clock_get<M: GuestMemory + ?Sized>(
    clock: u32,
    at: u32,
    value: u64,
    guest: &mut Guest<'_, M>,
) -> Answer {
    if clock >= CLOCKS {
        return Err(Errno::Inval.into());
    }
    guest.store(at, &value.to_le_bytes())
}

/// `proc_exit`.
pub(super) fn exit(args: Args<'_>) -> Answer {
    Err(Stop::Exit(args.u32(0)).into())
}

/// One entry of `poll_oneoff`, as far as it matters here.
enum Subscription {
    Clock { id: u32 },
    Read { fd: u32 },
    Write { fd: u32 },
}

impl Subscription {
    fn parse(bytes: &[u8]) -> Result<(u64, Self), Errno> {
        let u32_at =
            |at: usize| bytes[at..].first_chunk().map_or(0, |chunk| u32::from_le_bytes(*chunk));
        let userdata = bytes.first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk));
        let parsed = match bytes[8] {
            0 => Self::Clock { id: u32_at(16) },
            1 => Self::Read { fd: u32_at(16) },
            2 => Self::Write { fd: u32_at(16) },
            _ => return Err(Errno::Inval),
        };
        Ok((userdata, parsed))
    }
}

impl Host {
    /// `random_get`: the next bytes of the task's one stream (spec GUEST-22).
    pub(super) fn random_get<M: GuestMemory + ?Sized>(
        &mut self,
        args: Args<'_>,
        guest: &mut Guest<'_, M>,
    ) -> Answer {
        let (mut at, len) = (args.u32(0), args.u32(1));
        guest.check(at, u64::from(len))?;
        guest.charge(u64::from(len))?;
        let mut block = [0; 1024];
        let mut left = len;
        while left > 0 {
            let part = &mut block[..left.min(1024) as usize];
            self.random.fill(part);
            guest.write_charged(at, part)?;
            at = at.wrapping_add(part.len() as u32);
            left -= part.len() as u32;
        }
        Ok(())
    }

    /// `poll_oneoff`: nothing ever blocks. Descriptors are ready at once; time-outs have passed, but
    /// are reported only when no descriptor is asked about, because a ready descriptor comes first.
    pub(super) fn poll_oneoff<M: GuestMemory + ?Sized>(
        &mut self,
        args: Args<'_>,
        guest: &mut Guest<'_, M>,
    ) -> Answer {
        let (input_at, output_at, count, events_at) =
            (args.u32(0), args.u32(1), args.u32(2), args.u32(3));
        if count == 0 || count > MAX_VECTOR {
            return Err(Errno::Inval.into());
        }
        let input = guest.load(input_at, count * SUBSCRIPTION_LEN as u32)?;
        guest.check(output_at, u64::from(count) * EVENT_LEN as u64)?;
        guest.check(events_at, 4)?;
        let subscriptions = input
            .chunks_exact(SUBSCRIPTION_LEN)
            .map(Subscription::parse)
            .collect::<Result<Vec<_>, _>>()?;
        let only_clocks =
            subscriptions.iter().all(|(_, s)| matches!(s, Subscription::Clock { .. }));
        let mut events = Vec::with_capacity(subscriptions.len() * EVENT_LEN);
        for (userdata, subscription) in &subscriptions {
            if only_clocks || !matches!(subscription, Subscription::Clock { .. }) {
                events.extend_from_slice(&self.event(*userdata, subscription));
            }
        }
        guest.store(output_at, &events)?;
        guest.store(events_at, &((events.len() / EVENT_LEN) as u32).to_le_bytes())
    }

    fn event(&self, userdata: u64, subscription: &Subscription) -> [u8; EVENT_LEN] {
        let (kind, outcome) = match subscription {
            Subscription::Clock { id } => (0, if *id < CLOCKS { Ok(0) } else { Err(Errno::Inval) }),
            Subscription::Read { fd } => (1, self.readable(*fd)),
            Subscription::Write { fd } => (2, self.writable(*fd)),
        };
        let (errno, bytes) = match outcome {
            Ok(bytes) => (Errno::Success, bytes),
            Err(errno) => (errno, 0),
        };
        let mut event = [0; EVENT_LEN];
        event[..8].copy_from_slice(&userdata.to_le_bytes());
        event[8..10].copy_from_slice(&(errno as u16).to_le_bytes());
        event[10] = kind;
        event[16..24].copy_from_slice(&bytes.to_le_bytes());
        event
    }

    fn readable(&self, fd: u32) -> Result<u64, Errno> {
        let (source, position) = self.descriptors.source(fd)?;
        Ok((self.content(source).len() as u64).saturating_sub(position))
    }

    fn writable(&self, fd: u32) -> Result<u64, Errno> {
        match self.descriptors.get(fd)? {
            Descriptor::Stdout | Descriptor::Stderr => Ok(WRITABLE),
            _ => Err(Errno::Badf),
        }
    }
}
