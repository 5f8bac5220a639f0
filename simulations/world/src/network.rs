//! How long things are under way, and what becomes of them.
//!
//! A work stream is reliable and in order, as a node's is: a lost packet costs time, and what was under way
//! when a connection breaks is gone. What is not a stream (adverts by gossip) is lost, doubled and
//! reordered; and a batch of results may be sent twice.

use std::collections::{BTreeMap, BTreeSet};

use bayan_protocol::{entropy::Entropy, time::Timestamp};

use crate::{MS, world::Number};

/// Where a host is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Region {
    /// Europe.
    #[default]
    Europe,
    /// North America.
    NorthAmerica,
    /// South America.
    SouthAmerica,
    /// East Asia.
    Asia,
    /// Australia.
    Australia,
}

impl Region {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Europe, Self::NorthAmerica, Self::SouthAmerica, Self::Asia, Self::Australia];

    /// Milliseconds one way, in round numbers: half of what cloud providers publish as round trips
    /// between their regions.
    const fn milliseconds(self, other: Self) -> u64 {
        const TABLE: [[u64; 5]; 5] = [
            [10, 45, 100, 110, 140],
            [45, 20, 70, 75, 95],
            [100, 70, 15, 150, 155],
            [110, 75, 150, 25, 65],
            [140, 95, 155, 65, 10],
        ];
        TABLE[self as usize][other as usize]
    }
}

/// A host's way into the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// Where.
    pub region: Region,
    /// Bytes a second outwards; 0 is no bound.
    pub up: u64,
    /// Bytes a second inwards; 0 is no bound.
    pub down: u64,
    /// Whether others can connect to it. Of two that cannot be reached neither finds the other.
    pub reachable: bool,
}

impl Default for Line {
    fn default() -> Self {
        Self { region: Region::default(), up: 0, down: 0, reachable: true }
    }
}

/// What the network does to everyone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Whether delays go by region; if not, everything is 1 to 41 ms away.
    pub regions: bool,
    /// Frames in a million that are lost at first, and so come a retransmission later.
    pub loss: u64,
    /// Batches of results in 1000 that are sent again, and adverts that come twice.
    pub doubled: u64,
    /// Whether adverts are gossiped, to neighbours.
    pub gossip: bool,
    /// Adverts in 1000 that get lost.
    pub gossip_loss: u64,
}

/// Waits for an acknowledgement before something is sent again, at least.
const RETRANSMIT: u64 = 200 * MS;
/// Retransmissions of one frame at most.
const MAX_LOST: u64 = 6;

/// The network.
pub(crate) struct Network {
    pub(crate) conditions: Conditions,
    /// Drawn from for everything that conditions add, so that a plain world draws as it always did.
    weather: Entropy,
    /// Until when each host's line is taken, outwards and inwards.
    busy: BTreeMap<Number, (Timestamp, Timestamp)>,
    /// Sides that do not reach each other; all are on one side otherwise.
    sides: Option<Vec<u8>>,
}

impl Network {
    pub(crate) fn new(seed: &[u8; 32]) -> Self {
        Self {
            conditions: Conditions::default(),
            weather: Entropy::new(&blake3::derive_key("bayan world weather v1", seed)),
            busy: BTreeMap::new(),
            sides: None,
        }
    }

    /// A number below `bound`.
    pub(crate) fn draw(&mut self, bound: u64) -> u64 {
        below(&mut self.weather, bound)
    }

    /// Whether two hosts can connect.
    pub(crate) fn reaches(&self, one: (Number, Line), other: (Number, Line)) -> bool {
        let side = |number: Number| {
            self.sides.as_ref().and_then(|sides| sides.get(number).copied()).unwrap_or(0)
        };
        side(one.0) == side(other.0) && (one.1.reachable || other.1.reachable)
    }

    /// Tears the network apart, or heals it.
    pub(crate) fn part(&mut self, sides: Option<Vec<u8>>) {
        self.sides = sides;
    }

    /// How long a packet is under way; `plain` is drawn by the world where no regions are.
    pub(crate) fn delay(&mut self, plain: u64, from: Line, to: Line) -> u64 {
        if !self.conditions.regions {
            return plain;
        }
        let base = from.region.milliseconds(to.region) * MS;
        base + self.draw(base / 5 + 2 * MS)
    }

    /// When `bytes` that are sent now have arrived, given how long a packet is under way.
    pub(crate) fn arrival(
        &mut self,
        now: Timestamp,
        (from, from_line): (Number, Line),
        (to, to_line): (Number, Line),
        bytes: u64,
        delay: u64,
    ) -> Timestamp {
        let mut at = now;
        if from_line.up > 0 {
            let (out, _) = self.busy.entry(from).or_default();
            *out = Timestamp((*out).max(at).0 + taken(bytes, from_line.up));
            at = *out;
        }
        at = Timestamp(at.0 + delay + self.lost(delay));
        if to_line.down > 0 {
            let (_, into) = self.busy.entry(to).or_default();
            *into = Timestamp((*into).max(at).0 + taken(bytes, to_line.down));
            at = *into;
        }
        at
    }

    /// What losses of a frame cost it.
    fn lost(&mut self, delay: u64) -> u64 {
        if self.conditions.loss == 0 {
            return 0;
        }
        let mut cost = 0;
        for attempt in 0..MAX_LOST {
            if self.draw(1_000_000) >= self.conditions.loss {
                break;
            }
            cost += RETRANSMIT.max(2 * delay) << attempt;
        }
        cost
    }
}

/// Microseconds that bytes take at a rate.
fn taken(bytes: u64, rate: u64) -> u64 {
    u64::try_from(u128::from(bytes) * 1_000_000 / u128::from(rate.max(1))).unwrap_or(u64::MAX)
}

/// A number below `bound`, drawn evenly enough.
pub(crate) fn below(random: &mut Entropy, bound: u64) -> u64 {
    let bytes = random.draw();
    let (first, _) = bytes.split_first_chunk::<8>().expect("a draw has 32 bytes");
    u64::from_le_bytes(*first) % bound.max(1)
}

/// Who is connected with whom.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// Connected pairs, smaller number first, with the epoch of the connection.
    pairs: BTreeMap<(Number, Number), u64>,
    of: BTreeMap<Number, BTreeSet<Number>>,
    epochs: u64,
    /// Epochs of connections over which nothing comes any more.
    dark: BTreeSet<u64>,
    /// When the last frame of each direction arrives: frames of one stream stay in order.
    arrival: BTreeMap<(Number, Number), Timestamp>,
}

pub(crate) fn pair(one: Number, other: Number) -> (Number, Number) {
    (one.min(other), one.max(other))
}

impl Links {
    pub(crate) fn connect(&mut self, one: Number, other: Number) {
        self.epochs += 1;
        self.pairs.insert(pair(one, other), self.epochs);
        self.of.entry(one).or_default().insert(other);
        self.of.entry(other).or_default().insert(one);
    }

    /// Whether there was a connection.
    pub(crate) fn disconnect(&mut self, one: Number, other: Number) -> bool {
        let Some(epoch) = self.pairs.remove(&pair(one, other)) else { return false };
        self.dark.remove(&epoch);
        for (at, gone) in [(one, other), (other, one)] {
            if let Some(linked) = self.of.get_mut(&at) {
                linked.remove(&gone);
            }
        }
        true
    }

    pub(crate) fn epoch(&self, one: Number, other: Number) -> Option<u64> {
        self.pairs.get(&pair(one, other)).copied()
    }

    pub(crate) fn neighbours(&self, of: Number) -> Vec<Number> {
        self.of.get(&of).map(|linked| linked.iter().copied().collect()).unwrap_or_default()
    }

    pub(crate) fn pairs(&self) -> Vec<((Number, Number), u64)> {
        self.pairs.iter().map(|(pair, epoch)| (*pair, *epoch)).collect()
    }

    pub(crate) fn darken(&mut self, epoch: u64) {
        self.dark.insert(epoch);
    }

    pub(crate) fn is_dark(&self, epoch: u64) -> bool {
        self.dark.contains(&epoch)
    }

    /// When a frame that would arrive at `at` does, behind those before it.
    pub(crate) fn in_order(&mut self, from: Number, to: Number, at: Timestamp) -> Timestamp {
        let last = self.arrival.entry((from, to)).or_default();
        *last = (*last).max(at);
        *last
    }
}
