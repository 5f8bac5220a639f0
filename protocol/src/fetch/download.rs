//! One blob on its way here: what is missing, who has it, and what is asked of whom next.

use alloc::{collections::BTreeMap, vec::Vec};
use core::{ops::Range, time::Duration};

use super::{
    Ask,
    pieces::{self, Pieces},
    provider::{Has, Provider},
};
use crate::{
    entropy::Entropy,
    id::PeerId,
    limits::{MAX_RANGE, PIECE, SWARM},
    time::Timestamp,
};

/// Providers known of one blob.
pub(super) const MAX_PROVIDERS: usize = 24;
/// Requests under way for one blob.
pub(super) const MAX_REQUESTS: usize = 8;
/// Pieces asked of two providers at once, at the end.
const MAX_DOUBLED: usize = 2;
/// A request that has brought nothing for this long is doubled if somebody else is idle,
const LATE: Duration = Duration::from_secs(2);
/// and its provider is left alone after this long.
const SILENCE: Duration = Duration::from_secs(15);
/// Bytes a second below which a provider, or a whole fetch, is too slow to wait for.
const SLOWEST: u64 = 1 << 10;
/// The same for a whole fetch while others wait for its place: nobody keeps the places to himself by
/// giving drop by drop.
const SLOWEST_OF_MANY: u64 = 32 << 10;
/// The time over which a fetch's speed is looked at.
const MEASURED: Duration = Duration::from_secs(60);
/// How often somebody is asked who else has the blob, at first and later on.
const ASK_AROUND: (Duration, Duration) = (Duration::from_millis(400), Duration::from_secs(10));
/// An origin that is so many times faster than everybody else together is used like the others.
const MUCH_FASTER: u64 = 8;

/// A request under way.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) peer: PeerId,
    /// The pieces, empty while the server has not chosen or if it is about something else.
    pub(super) run: Range<usize>,
    /// The bytes asked for.
    pub(super) range: Range<u64>,
    pub(super) since: Timestamp,
    pub(super) heard: Timestamp,
    /// Whether it has brought anything new.
    pub(super) moved: bool,
    /// Pieces that the server may choose from.
    pub(super) wants: Option<Pieces>,
}

#[derive(Debug)]
pub(super) struct Download {
    pub(super) len: u64,
    /// First byte missing of each piece that is not whole.
    missing: BTreeMap<usize, u64>,
    pub(super) providers: BTreeMap<PeerId, Provider>,
    pub(super) asked: BTreeMap<u64, Asked>,
    /// Whether the blob may be asked for at others than its origins.
    pub(super) shared: bool,
    /// Whether it can take ranges in, and whether all is in and only has to be put in place.
    pub(super) ready: bool,
    pub(super) finishing: bool,
    /// When something new came last.
    pub(super) moved: Timestamp,
    pub(super) searched: Option<Timestamp>,
    /// When its speed was looked at last, and what was missing then.
    measured: (Timestamp, u64),
    asked_around: Timestamp,
    around: Duration,
}

impl Download {
    pub(super) fn new(now: Timestamp, len: u64) -> Self {
        Self {
            len,
            missing: BTreeMap::new(),
            providers: BTreeMap::new(),
            asked: BTreeMap::new(),
            shared: false,
            ready: false,
            finishing: false,
            moved: now,
            searched: None,
            measured: (now, len),
            asked_around: Timestamp(0),
            around: ASK_AROUND.0,
        }
    }

    /// Takes in what is missing, byte ranges in order.
    pub(super) fn begin(&mut self, now: Timestamp, gaps: &[Range<u64>], shared: bool) {
        (self.ready, self.shared, self.moved) = (true, shared, now);
        self.measured = (now, self.len);
        for gap in gaps {
            let first = usize::try_from(gap.start / PIECE).unwrap_or(usize::MAX);
            let end = usize::try_from(gap.end.div_ceil(PIECE)).unwrap_or(0).max(first + 1);
            for piece in first..end.min(pieces::count(self.len)) {
                let start = pieces::bytes(&(piece..piece + 1), self.len).start;
                self.missing.entry(piece).or_insert(start.max(gap.start));
            }
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.ready && self.missing.is_empty()
    }

    pub(super) fn is_swarm(&self) -> bool {
        self.shared && self.len >= SWARM
    }

    /// Whether there is room for a provider, or it is known.
    pub(super) fn meet(&mut self, peer: PeerId, origin: bool) -> bool {
        if let Some(known) = self.providers.get_mut(&peer) {
            known.origin |= origin;
            return false;
        }
        if self.providers.len() >= MAX_PROVIDERS && !origin {
            return false;
        }
        self.providers.insert(peer, Provider::new(origin));
        true
    }

    /// Notes what has come of a request, up to byte `upto`. Tells whether it was news.
    pub(super) fn advance(&mut self, now: Timestamp, request: u64, upto: u64) -> bool {
        let Some(asked) = self.asked.get_mut(&request) else { return false };
        asked.heard = now;
        let (upto, run, start) = (upto.min(asked.range.end), asked.run.clone(), asked.range.start);
        let mut news = false;
        for piece in run {
            let bytes = pieces::bytes(&(piece..piece + 1), self.len);
            let Some(next) = self.missing.get_mut(&piece) else { continue };
            if start > *next || upto < bytes.end.min(*next + 1) {
                continue;
            }
            news = true;
            if upto >= bytes.end {
                self.missing.remove(&piece);
            } else {
                *next = upto;
            }
        }
        if news {
            self.moved = now;
            if let Some(asked) = self.asked.get_mut(&request) {
                asked.moved = true;
            }
        }
        news
    }

    /// Requests whose pieces have all come by another way.
    pub(super) fn useless(&self) -> Vec<u64> {
        let useless = |asked: &Asked| {
            !asked.run.is_empty()
                && !asked.run.clone().any(|piece| self.missing.contains_key(&piece))
        };
        self.asked.iter().filter(|(_, one)| useless(one)).map(|(request, _)| *request).collect()
    }

    /// Requests that bring nothing, or next to nothing.
    pub(super) fn silent(&self, now: Timestamp) -> Vec<u64> {
        let silent = |asked: &Asked| {
            let bytes = asked.range.end.saturating_sub(asked.range.start);
            let allowed = SILENCE + Duration::from_millis(bytes.saturating_mul(1000) / SLOWEST);
            now.since(asked.heard) >= SILENCE || now.since(asked.since) >= allowed
        };
        self.asked.iter().filter(|(_, one)| silent(one)).map(|(request, _)| *request).collect()
    }

    /// What is asked of an idle provider now; `gives` if a part of another blob is asked of it.
    pub(super) fn next(
        &mut self,
        now: Timestamp,
        peer: &PeerId,
        gives: bool,
        entropy: &mut Entropy,
    ) -> Option<Ask> {
        let provider = self.providers.get(peer)?;
        if gives && !provider.origin {
            return None;
        }
        if provider.is_unknown() || provider.is_stale(now) {
            return self.poll(now, peer);
        }
        if self.is_swarm() && now.since(self.asked_around) >= self.around && self.may_tell(peer) {
            self.asked_around = now;
            self.around = (self.around * 2).min(ASK_AROUND.1);
            return Some(Ask::Who);
        }
        let wanted = if provider.origin && self.is_swarm() {
            self.of_origin(now, peer, entropy)
        } else {
            self.of_fellow(peer, entropy)
        };
        wanted.or_else(|| self.doubled(now, peer)).or_else(|| self.poll(now, peer))
    }

    fn poll(&mut self, now: Timestamp, peer: &PeerId) -> Option<Ask> {
        let provider = self.providers.get_mut(peer).filter(|one| one.may_poll(now))?;
        provider.asked_what_it_has(now);
        Some(Ask::Have)
    }

    /// Whether this provider is asked who else there is: an origin, or anybody where there is none.
    fn may_tell(&self, peer: &PeerId) -> bool {
        let is_origin = self.providers.get(peer).is_some_and(|one| one.origin);
        is_origin || !self.providers.values().any(|one| one.origin)
    }

    /// How many requests ask for the piece.
    fn askers(&self, piece: usize) -> usize {
        self.asked.values().filter(|one| one.run.contains(&piece)).count()
    }

    /// Others than origins that have the piece and may be asked.
    fn fellows(&self, piece: usize) -> usize {
        self.providers.values().filter(|one| !one.origin && one.has(piece)).count()
    }

    fn is_whole_gap(&self, piece: usize) -> bool {
        let start = pieces::bytes(&(piece..piece + 1), self.len).start;
        self.missing.get(&piece) == Some(&start)
    }

    /// An origin serves many: it is left the choice, and asked for what nobody else has. Pieces of
    /// which a part is here already are asked for by name.
    fn of_origin(&self, now: Timestamp, peer: &PeerId, entropy: &mut Entropy) -> Option<Ask> {
        let provider = self.providers.get(peer)?;
        let alone = self.is_much_faster(provider) || now.since(self.moved) >= LATE;
        let open = |piece: &usize| {
            self.askers(*piece) == 0 && provider.has(*piece) && (alone || self.fellows(*piece) == 0)
        };
        let mut wants = Pieces::none(self.len);
        let mut begun = Vec::new();
        for piece in self.missing.keys().copied().filter(open) {
            if self.is_whole_gap(piece) { wants.insert(piece) } else { begun.push(piece) }
        }
        if !begun.is_empty() {
            let piece = begun[draw(entropy, begun.len())];
            return Some(self.range(piece..piece + 1, MAX_RANGE));
        }
        let most = provider.step(self.longest());
        (!wants.is_empty()).then_some(Ask::Any { wants, most })
    }

    fn is_much_faster(&self, origin: &Provider) -> bool {
        let fellows = self.providers.values().filter(|one| !one.origin && one.rate > 0);
        let together = fellows.map(|one| one.rate).fold(0, u64::saturating_add);
        together > 0 && origin.rate / MUCH_FASTER > together
    }

    /// The pieces that the fewest others have come first: so what is rare spreads.
    fn of_fellow(&self, peer: &PeerId, entropy: &mut Entropy) -> Option<Ask> {
        let provider = self.providers.get(peer)?;
        let open = |piece: usize| {
            self.missing.contains_key(&piece) && provider.has(piece) && self.askers(piece) == 0
        };
        let mut rarest = usize::MAX;
        let mut choice = Vec::new();
        for piece in self.missing.keys().copied().filter(|piece| open(*piece)) {
            let others = if self.is_swarm() { self.fellows(piece) } else { 0 };
            if others < rarest {
                rarest = others;
                choice.clear();
            }
            if others == rarest {
                choice.push(piece);
            }
        }
        let first = *match (choice.is_empty(), self.is_swarm()) {
            (true, _) => None,
            (false, true) => choice.get(draw(entropy, choice.len())),
            (false, false) => choice.first(),
        }?;
        let step = provider.step(self.longest());
        let most = usize::try_from(step / PIECE).unwrap_or(1).max(1);
        let after =
            (first + 1..first + most).take_while(|piece| open(*piece) && self.is_whole_gap(*piece));
        let end = first + 1 + after.count();
        Some(self.range(first..end, step))
    }

    /// At the end, what one provider is late with is asked of another as well.
    fn doubled(&self, now: Timestamp, peer: &PeerId) -> Option<Ask> {
        let provider = self.providers.get(peer)?;
        let doubled = self.missing.keys().filter(|piece| self.askers(**piece) > 1).count();
        if doubled >= MAX_DOUBLED {
            return None;
        }
        let late = |one: &&Asked| one.peer != *peer && now.since(one.heard) >= LATE;
        let open = |piece: &usize| {
            self.missing.contains_key(piece) && provider.has(*piece) && self.askers(*piece) == 1
        };
        let mut pieces = self.asked.values().filter(late).flat_map(|one| one.run.clone());
        let piece = pieces.find(open)?;
        Some(self.range(piece..piece + 1, provider.step(PIECE)))
    }

    /// What is missing of a run of pieces, cut to `most` bytes.
    fn range(&self, run: Range<usize>, most: u64) -> Ask {
        let bytes = pieces::bytes(&run, self.len);
        let start = self.missing.get(&run.start).copied().unwrap_or(bytes.start);
        Ask::Range { range: start..bytes.end.min(start.saturating_add(most)), run }
    }

    /// Bytes of one range of this blob: a fraction of it, so that many providers have a part.
    fn longest(&self) -> u64 {
        if self.is_swarm() { self.len / 128 } else { MAX_RANGE }
    }

    /// Whether it came on too slowly in the last minute; `crowded` if others wait for its place.
    pub(super) fn is_too_slow(&mut self, now: Timestamp, crowded: bool) -> bool {
        let (since, before) = self.measured;
        if now.since(since) < MEASURED {
            return false;
        }
        let missing = self.missing.iter().map(|(piece, next)| {
            pieces::bytes(&(*piece..*piece + 1), self.len).end.saturating_sub(*next)
        });
        let missing = missing.sum();
        self.measured = (now, missing);
        let slowest = if crowded { SLOWEST_OF_MANY } else { SLOWEST };
        before.saturating_sub(missing) < slowest.saturating_mul(MEASURED.as_secs())
    }

    /// Whether nobody is there who could be asked.
    pub(super) fn is_deserted(&self) -> bool {
        self.providers.values().all(Provider::is_failing)
    }

    /// A provider could not be reached, or fell silent. Tells whether that ends its part in the blob;
    /// an origin of a blob that others may have as well is tried again as long as the fetch goes on.
    pub(super) fn lost(&mut self, now: Timestamp, peer: &PeerId, moved: bool) -> bool {
        let swarm = self.is_swarm();
        let Some(provider) = self.providers.get_mut(peer) else { return false };
        if moved {
            provider.is_alive();
        }
        provider.failed(now) && !(provider.origin && swarm)
    }

    /// A provider says that it has nothing of the blob. Tells whether that ends its part in it.
    pub(super) fn refused(&mut self, now: Timestamp, peer: &PeerId) -> bool {
        let swarm = self.is_swarm();
        let Some(provider) = self.providers.get_mut(peer) else { return false };
        // It may be about to get it: a relay, or a fellow that has only begun.
        provider.has = Has::Unknown;
        provider.asked_what_it_has(now);
        provider.failed(now) || !swarm
    }
}

/// A number below `bound`.
fn draw(entropy: &mut Entropy, bound: usize) -> usize {
    let bytes = entropy.draw();
    let number = u64::from_le_bytes([
        bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7],
    ]);
    usize::try_from(number % (bound.max(1) as u64)).unwrap_or(0)
}
