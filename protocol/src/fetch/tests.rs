//! The machine in a made-up network: providers of every kind, and a judge that watches each request.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec,
    vec::Vec,
};

use proptest::prelude::*;
use serde_bytes::ByteBuf;

use super::{
    message::{Part, Stock},
    *,
};
use crate::limits::{GROUP, MAX_RANGE, PIECE};

/// How a provider behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// Gives what it has, so many bytes a millisecond.
    Good(u64),
    /// Says nothing.
    Silent,
    /// Says no.
    Refuses,
    /// Cannot be reached.
    Gone,
    /// Gives so many right groups and then a wrong one.
    Poisons(u64),
    /// Has a blob of another length, it says.
    OtherLength,
    /// Breaks off in the middle of every range.
    BreaksOff,
    /// Says that it has everything and refuses every range.
    Boasts,
    /// Chooses parts that nobody asked for.
    Imposes,
}

#[derive(Debug)]
struct Provider {
    kind: Kind,
    has: Pieces,
}

struct Pending {
    peer: PeerId,
    hash: Hash,
    ask: Ask,
    range: Range<u64>,
    next: u64,
    answered: bool,
}

struct World {
    machine: Fetches,
    now: Timestamp,
    len: u64,
    shared: bool,
    providers: BTreeMap<PeerId, Provider>,
    /// Groups that are here, by blob.
    here: BTreeMap<Hash, BTreeSet<u64>>,
    pending: BTreeMap<u64, Pending>,
    done: BTreeMap<Hash, bool>,
    poisoned: BTreeSet<PeerId>,
    /// Wrong groups that each provider sent.
    wrong: BTreeMap<PeerId, u64>,
    /// Bytes that each provider gave.
    given: BTreeMap<PeerId, u64>,
    told: Vec<PeerId>,
    random: Entropy,
}

fn peer(name: u8) -> PeerId {
    PeerId([name; 32])
}

/// Worlds tried by the property.
const CASES: u32 = 96;

const BLOB: Hash = Hash([9; 32]);

impl World {
    fn new(len: u64, shared: bool, seed: u8, providers: Vec<(u8, Kind, Pieces)>) -> Self {
        let providers = providers
            .into_iter()
            .map(|(name, kind, has)| (peer(name), Provider { kind, has }))
            .collect::<BTreeMap<_, _>>();
        Self {
            machine: Fetches::new(peer(0), &[seed; 32]),
            now: Timestamp(1_000_000_000),
            len,
            shared,
            told: providers.keys().copied().collect(),
            providers,
            here: BTreeMap::new(),
            pending: BTreeMap::new(),
            done: BTreeMap::new(),
            poisoned: BTreeSet::new(),
            wrong: BTreeMap::new(),
            given: BTreeMap::new(),
            random: Entropy::new(&[seed; 32]),
        }
    }

    fn groups(&self) -> u64 {
        self.len.div_ceil(GROUP).max(1)
    }

    fn step(&mut self, input: Input) {
        let mut inputs = vec![input];
        while !inputs.is_empty() {
            let effects = self.machine.step(self.now, inputs.remove(0));
            for effect in effects {
                inputs.extend(self.act(effect));
            }
        }
    }

    fn act(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Begin { hash, len } => {
                assert_eq!(len, self.len);
                let here = self.here.entry(hash).or_default();
                let mut gaps: Vec<Range<u64>> = Vec::new();
                for group in (0..len.div_ceil(GROUP).max(1)).filter(|group| !here.contains(group)) {
                    let bytes = group * GROUP..len.min((group + 1) * GROUP);
                    match gaps.last_mut().filter(|last| last.end == bytes.start && group > 0) {
                        Some(last) => last.end = bytes.end,
                        None => gaps.push(bytes),
                    }
                }
                let found = Found::Missing { gaps, shared: self.shared };
                Some(Input::Begun { hash, found })
            }
            Effect::Ask { request, peer, hash, ask, .. } => {
                self.watch(peer, hash, &ask);
                let range = match &ask {
                    Ask::Range { range, .. } => range.clone(),
                    _ => 0..0,
                };
                let next = range.start;
                let pending = Pending { peer, hash, ask, range, next, answered: false };
                self.pending.insert(request, pending);
                None
            }
            Effect::Stop { request } => {
                self.pending.remove(&request);
                None
            }
            Effect::Finish { hash } => {
                assert_eq!(self.here[&hash].len() as u64, self.groups(), "nothing is missing");
                Some(Input::Finished { hash, here: true })
            }
            Effect::Done { hash, here } => {
                assert!(self.done.insert(hash, here).is_none(), "it ends once");
                assert!(!self.pending.values().any(|one| one.hash == hash), "nothing goes on");
                None
            }
            Effect::Poisoned { peer, .. } => {
                assert!(self.poisoned.insert(peer));
                None
            }
            Effect::Meet { .. } | Effect::Search { .. } | Effect::Forgiven { .. } => None,
        }
    }

    /// The judge: what may never be asked.
    fn watch(&self, peer: PeerId, hash: Hash, ask: &Ask) {
        assert!(!self.poisoned.contains(&peer), "who poisoned is not asked again");
        let of_blob = self.pending.values().filter(|one| one.hash == hash);
        assert!(of_blob.clone().count() < MAX_REQUESTS, "bounded requests");
        assert!(of_blob.clone().all(|one| one.peer != peer), "one at a time of one provider");
        let here = &self.here[&hash];
        match ask {
            Ask::Range { range, .. } => {
                assert!(range.end <= self.len && range.end - range.start <= MAX_RANGE);
                assert!(range.start.is_multiple_of(GROUP));
                assert!(!here.contains(&(range.start / GROUP)), "what is here is not asked for");
                let overlaps = of_blob
                    .filter(|one| one.range.start < range.end && range.start < one.range.end);
                assert!(overlaps.count() <= 1, "nothing is asked of three at once");
            }
            Ask::Any { wants, .. } => {
                for piece in wants.iter() {
                    let groups = pieces::bytes(&(piece..piece + 1), self.len);
                    let first = groups.start / GROUP;
                    assert!(!here.contains(&first), "what is here is not asked for");
                }
            }
            Ask::Have | Ask::Who => assert!(self.shared || matches!(ask, Ask::Have)),
        }
    }

    /// One millisecond of everybody's work.
    fn turn(&mut self) {
        self.now = self.now + Duration::from_millis(1);
        if self.machine.next_wake().is_some_and(|at| at <= self.now) {
            self.step(Input::Tick);
        }
        let requests: Vec<u64> = self.pending.keys().copied().collect();
        for request in requests {
            if let Some(mut pending) = self.pending.remove(&request) {
                match self.serve(request, &mut pending) {
                    Some(end) => {
                        let upto = pending.next;
                        if end != End::Done && upto > pending.range.start {
                            self.step(Input::Progress { request, upto });
                        }
                        self.step(Input::Ended { request, end });
                    }
                    None => {
                        if !self.is_stopped(request) {
                            self.pending.insert(request, pending);
                        }
                    }
                }
            }
        }
    }

    /// Whether the machine gave the request up while it was being served.
    fn is_stopped(&self, request: u64) -> bool {
        !self.machine.requests.contains_key(&request)
    }

    fn serve(&mut self, request: u64, pending: &mut Pending) -> Option<End> {
        let provider = &self.providers[&pending.peer];
        let (kind, has) = (provider.kind.clone(), provider.has.clone());
        match kind {
            Kind::Silent => return None,
            Kind::Refuses => return Some(End::Refused),
            Kind::Gone => return Some(End::Gone),
            _ => {}
        }
        if !pending.answered {
            pending.answered = true;
            match &pending.ask {
                Ask::Have => {
                    let len = if kind == Kind::OtherLength { self.len + 1 } else { self.len };
                    let pieces = if kind == Kind::OtherLength { Pieces::all(len) } else { has };
                    let pieces = ByteBuf::from(pieces.to_bytes());
                    let answer = Answer::Have(Stock { len, pieces });
                    self.step(Input::Answered { request, answer });
                    return (!self.is_stopped(request)).then_some(End::Done);
                }
                Ask::Who => {
                    let told = self.told.iter().map(|peer| Told { peer: *peer, at: Vec::new() });
                    let answer = Answer::Who(told.collect());
                    self.step(Input::Answered { request, answer });
                    return Some(End::Done);
                }
                Ask::Any { .. } if kind == Kind::OtherLength => return Some(End::Protocol),
                Ask::Any { .. } if kind == Kind::Boasts => return Some(End::Refused),
                Ask::Any { wants, most } => {
                    let piece = wants.iter().find(|piece| has.contains(*piece));
                    let piece = match (&kind, piece) {
                        (Kind::Imposes, _) => (0..wants.of()).find(|piece| !wants.contains(*piece)),
                        (_, piece) => piece,
                    };
                    let Some(piece) = piece else {
                        self.step(Input::Answered { request, answer: Answer::Wait(300) });
                        return Some(End::Done);
                    };
                    assert!(*most >= PIECE);
                    let bytes = pieces::bytes(&(piece..piece + 1), self.len);
                    let part = Part { len: self.len, from: bytes.start, to: bytes.end };
                    (pending.range, pending.next) = (bytes.clone(), bytes.start);
                    self.step(Input::Answered { request, answer: Answer::Part(part) });
                    return None;
                }
                Ask::Range { .. } if kind == Kind::OtherLength => return Some(End::Protocol),
                Ask::Range { .. } if kind == Kind::Boasts => return Some(End::Refused),
                Ask::Range { .. } => {}
            }
        }
        self.deliver(request, pending, &kind)
    }

    fn deliver(&mut self, request: u64, pending: &mut Pending, kind: &Kind) -> Option<End> {
        let mut allowance = if let Kind::Good(rate) = kind { *rate } else { 64 << 10 };
        loop {
            let group = pending.next / GROUP;
            let end = self.len.min((group + 1) * GROUP);
            let given = self.given.entry(pending.peer).or_default();
            if let Kind::Poisons(after) = kind
                && *given >= after * GROUP
            {
                *self.wrong.entry(pending.peer).or_default() += 1;
                return Some(End::Poison);
            }
            if *kind == Kind::BreaksOff && pending.next > pending.range.start {
                return Some(End::Gone);
            }
            *given += GROUP;
            self.here.get_mut(&pending.hash).expect("begun").insert(group);
            pending.next = end;
            if end >= pending.range.end {
                return Some(End::Done);
            }
            allowance = allowance.saturating_sub(GROUP);
            if allowance == 0 {
                self.step(Input::Progress { request, upto: end });
                return None;
            }
        }
    }

    /// Runs until everything has ended; the virtual seconds that took.
    fn run(&mut self, from: u8) -> u64 {
        let start = self.now;
        self.step(Input::Want { hash: BLOB, len: self.len, from: peer(from) });
        self.ends(start)
    }

    fn ends(&mut self, start: Timestamp) -> u64 {
        for _ in 0..400_000 {
            if self.machine.wanted().next().is_none() {
                return self.now.since(start).as_secs();
            }
            self.turn();
        }
        panic!("a fetch never ends: {:?}", self.machine.downloads);
    }
}

fn good(len: u64) -> (Kind, Pieces) {
    (Kind::Good(256 << 10), Pieces::all(len))
}

fn with(name: u8, (kind, has): (Kind, Pieces)) -> (u8, Kind, Pieces) {
    (name, kind, has)
}

#[test]
fn a_short_blob_comes_from_its_origin_and_so_does_an_empty_one() {
    for len in [0, 1, GROUP, PIECE + 1] {
        let mut world = World::new(len, true, 1, vec![with(1, good(len))]);
        assert_eq!(world.run(1), 0);
        assert!(world.done[&BLOB]);
    }
}

#[test]
fn several_providers_share_the_work_and_the_origin_is_spared() {
    let len = 64 * PIECE;
    let all = (1..=4).map(|name| with(name, good(len))).collect();
    let mut world = World::new(len, true, 2, all);
    world.run(1);
    assert!(world.done[&BLOB]);
    let of = |name| world.given.get(&peer(name)).copied().unwrap_or(0);
    assert!(of(1) < len / 4, "the origin gave {}", of(1));
    assert!((2..=4).all(|name| of(name) > len / 8), "{:?}", world.given);
    assert_eq!(world.given.values().sum::<u64>(), len, "nothing comes twice");
}

#[test]
fn a_secret_is_asked_of_its_origin_alone() {
    let len = 16 * PIECE;
    let mut world = World::new(len, false, 3, vec![with(1, good(len)), with(2, good(len))]);
    world.step(Input::Want { hash: BLOB, len, from: peer(1) });
    world.step(Input::Heard { hash: BLOB, peers: vec![peer(2)] });
    world.ends(world.now);
    assert!(world.done[&BLOB]);
    assert_eq!(world.given.len(), 1);
}

#[test]
fn a_poisoner_costs_one_group_and_is_asked_for_nothing_any_more() {
    let len = 64 * PIECE;
    for after in [0, 1, 40] {
        let all = vec![with(1, good(len)), (2, Kind::Poisons(after), Pieces::all(len))];
        let mut world = World::new(len, true, 4, all);
        world.run(1);
        assert!(world.done[&BLOB]);
        assert_eq!(world.wrong[&peer(2)], 1);
        let (later, until) = (world.now + POISONED, world.now);
        assert!(world.machine.is_poisoner(until, &peer(2)));
        assert!(!world.machine.is_poisoner(later, &peer(2)));
    }
}

#[test]
fn a_poisoner_costs_one_group_however_many_blobs_are_fetched() {
    let len = 8 * PIECE;
    let all = vec![with(1, good(len)), (2, Kind::Poisons(5), Pieces::all(len))];
    let mut world = World::new(len, true, 5, all);
    for name in 20..28 {
        world.step(Input::Want { hash: Hash([name; 32]), len, from: peer(1) });
    }
    world.ends(world.now);
    assert!(world.done.values().all(|here| *here) && world.done.len() == 8);
    assert!(world.wrong[&peer(2)] <= 1, "{:?}", world.wrong);
}

#[test]
fn a_remembered_poisoner_is_no_provider() {
    let len = 8 * PIECE;
    let mut world = World::new(len, true, 6, vec![with(1, good(len)), with(2, good(len))]);
    world.machine.remember([(peer(1), world.now + POISONED)]);
    world.run(1);
    assert!(!world.done[&BLOB], "its origin is one, and nobody else is known");
    world.done.clear();
    world.step(Input::Want { hash: BLOB, len, from: peer(1) });
    world.step(Input::Heard { hash: BLOB, peers: vec![peer(2)] });
    world.ends(world.now);
    assert!(world.done[&BLOB]);
    assert!(!world.given.contains_key(&peer(1)));
}

#[test]
fn the_silent_and_the_slow_hold_nobody_up() {
    let len = 32 * PIECE;
    let all = vec![
        with(1, good(len)),
        (2, Kind::Silent, Pieces::all(len)),
        (3, Kind::Good(GROUP / 16), Pieces::all(len)),
    ];
    let mut world = World::new(len, true, 7, all);
    let took = world.run(1);
    assert!(world.done[&BLOB]);
    assert!(took < 30, "{took} s");
}

#[test]
fn what_others_have_is_got_from_them_when_the_origin_is_gone() {
    let len = 32 * PIECE;
    let (mut even, mut odd) = (Pieces::none(len), Pieces::none(len));
    (0..32).for_each(|piece| if piece % 2 == 0 { even.insert(piece) } else { odd.insert(piece) });
    let all = vec![
        (1, Kind::Gone, Pieces::all(len)),
        (2, Kind::Good(64 << 10), even),
        (3, Kind::Good(64 << 10), odd),
    ];
    let mut world = World::new(len, true, 8, all);
    world.step(Input::Want { hash: BLOB, len, from: peer(1) });
    world.step(Input::Heard { hash: BLOB, peers: vec![peer(2), peer(3)] });
    world.ends(world.now);
    assert!(world.done[&BLOB]);
}

#[test]
fn a_fetch_that_nobody_can_help_ends() {
    for (kind, limit) in [
        (Kind::Gone, 20),
        (Kind::Refuses, 20),
        (Kind::Silent, 120),
        (Kind::OtherLength, 20),
        (Kind::Boasts, 60),
        (Kind::Imposes, 120),
    ] {
        for len in [GROUP, 8 * PIECE] {
            let mut world = World::new(len, true, 9, vec![(1, kind.clone(), Pieces::all(len))]);
            let took = world.run(1);
            if kind != Kind::Imposes {
                assert!(!world.done[&BLOB], "{kind:?}");
            }
            assert!(took <= limit, "{kind:?} {len}: {took} s");
        }
    }
}

#[test]
fn only_what_is_missing_is_fetched_after_a_restart() {
    let len = 16 * PIECE;
    let mut world = World::new(len, true, 10, vec![with(1, good(len)), with(2, good(len))]);
    let had: BTreeSet<u64> =
        (0..len / GROUP).filter(|group| group % 7 < 5 && *group < 200).collect();
    let missing = len / GROUP - had.len() as u64;
    world.here.insert(BLOB, had);
    world.run(1);
    assert!(world.done[&BLOB]);
    let got: u64 = world.given.values().sum();
    // A gap inside a piece is fetched with what is around it.
    assert!(got >= missing * GROUP && got <= len, "{got}");
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => (1_u64..512).prop_map(|kib| Kind::Good(kib << 10)),
        1 => Just(Kind::Silent),
        1 => Just(Kind::Refuses),
        1 => Just(Kind::Gone),
        2 => (0_u64..64).prop_map(Kind::Poisons),
        1 => Just(Kind::OtherLength),
        1 => Just(Kind::BreaksOff),
        1 => Just(Kind::Boasts),
        1 => Just(Kind::Imposes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]

    /// Whatever providers do, every fetch ends, nothing is asked for that is here (the judge in
    /// `watch`), and no poisoner costs more than one group. With an origin that is good, all succeed.
    #[test]
    fn every_fetch_ends_whatever_providers_do(
        origin in kind(),
        others in proptest::collection::vec((kind(), any::<u64>()), 0..7),
        len in prop_oneof![0_u64..2 * PIECE, 4 * PIECE..24 * PIECE],
        shared in any::<bool>(),
        blobs in 1_u8..4,
        seed in any::<u8>(),
    ) {
        let mut all = vec![(1, origin.clone(), Pieces::all(len))];
        for (at, (kind, bits)) in others.into_iter().enumerate() {
            let mut has = Pieces::none(len);
            (0..has.of()).filter(|piece| bits >> (piece % 64) & 1 == 1).for_each(|piece| has.insert(piece));
            all.push((2 + at as u8, kind, has));
        }
        let mut world = World::new(len, shared, seed, all);
        for name in 0..blobs {
            world.step(Input::Want { hash: Hash([100 + name; 32]), len, from: peer(1) });
        }
        world.ends(world.now);
        prop_assert_eq!(world.done.len(), usize::from(blobs));
        for (who, wrong) in &world.wrong {
            prop_assert!(*wrong <= 1 || *who == peer(1), "{} wrong groups", wrong);
        }
        if matches!(origin, Kind::Good(rate) if rate >= 64 << 10) {
            prop_assert!(world.done.values().all(|here| *here));
        }
        let _ = world.random.draw();
    }
}
