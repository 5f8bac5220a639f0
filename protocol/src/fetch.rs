//! Blobs on their way here: which part is asked of whom, from several providers at once.
//!
//! [`Fetches`] is told which blobs are wanted and what comes of each request, and says what to ask of
//! whom. It never sees a byte of content: whoever carries out its effects verifies every chunk group
//! before it counts, so it does not matter whom a range comes from. [`giving`] is the other side: what
//! is given first when many ask.

mod download;
pub mod giving;
pub mod message;
pub mod pieces;
mod provider;

#[cfg(test)]
mod tests;

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    string::String,
    vec::Vec,
};
use core::{ops::Range, time::Duration};

use download::{Asked, Download, MAX_REQUESTS};
use message::{Answer, Part, Told};
use pieces::Pieces;

use crate::{
    entropy::Entropy,
    id::{Hash, PeerId},
    limits::{MAX_POISONERS, POISONED},
    time::Timestamp,
};

/// Blobs fetched at once; others wait for their turn.
pub const MAX_DOWNLOADS: usize = 8;
/// Of these, blobs of one origin: a silent one holds up nobody else's.
const MAX_OF_ORIGIN: usize = 6;
/// A fetch of a blob that others may have, and that nobody known can be asked for, is given up after
/// this long,
const SWARM_PATIENCE: Duration = Duration::from_secs(15);
/// and any that gets nowhere, whoever is there, after this.
const STUCK: Duration = Duration::from_secs(60);
/// How often the network is searched for providers while a few more would help.
const SEARCH: Duration = Duration::from_secs(30);
/// Providers that are enough.
const ENOUGH: usize = 4;
/// How often a fetch under way is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A blob is needed; whoever named it is its origin.
    Want {
        /// Which.
        hash: Hash,
        /// Its length, as the origin says.
        len: u64,
        /// The origin.
        from: PeerId,
    },
    /// Answers [`Effect::Begin`].
    Begun {
        /// Which.
        hash: Hash,
        /// What was found.
        found: Found,
    },
    /// The head of an answer came.
    Answered {
        /// The request.
        request: u64,
        /// The head.
        answer: Answer,
    },
    /// Verified bytes came, all of the request's range up to `upto`.
    Progress {
        /// The request.
        request: u64,
        /// One past the last byte.
        upto: u64,
    },
    /// A request is over.
    Ended {
        /// The request.
        request: u64,
        /// How.
        end: End,
    },
    /// Others are said to have the blob, or ask for it themselves.
    Heard {
        /// Which.
        hash: Hash,
        /// Who.
        peers: Vec<PeerId>,
    },
    /// Answers [`Effect::Finish`].
    Finished {
        /// Which.
        hash: Hash,
        /// Whether it is here.
        here: bool,
    },
    /// Time passed.
    Tick,
}

/// What there is of a blob before it is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// All of it.
    Whole,
    /// These byte ranges are missing, in order.
    Missing {
        /// The ranges.
        gaps: Vec<Range<u64>>,
        /// Whether it may be asked for at others than its origin.
        shared: bool,
    },
    /// It cannot be taken in: no room, or a disk that fails.
    Unable,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Everything came and is right.
    Done,
    /// No connection, or it broke.
    Gone,
    /// Nothing came for too long.
    Silent,
    /// The provider says no.
    Refused,
    /// It breaks the protocol, or has a blob of another length.
    Protocol,
    /// A group was wrong.
    Poison,
    /// Nothing that the provider did: the disk failed here.
    Own,
}

/// What is asked of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// These bytes.
    Range {
        /// The bytes, from the beginning of a chunk group on.
        range: Range<u64>,
        /// The pieces they are of.
        run: Range<usize>,
    },
    /// Some of these pieces.
    Any {
        /// The pieces.
        wants: Pieces,
        /// Bytes at most.
        most: u64,
    },
    /// What it has.
    Have,
    /// Who else has it.
    Who,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Make ready to take this blob in; answered by [`Input::Begun`].
    Begin {
        /// Which.
        hash: Hash,
        /// Its length.
        len: u64,
    },
    /// Ask this; answered by [`Input::Answered`], [`Input::Progress`] and [`Input::Ended`].
    Ask {
        /// Names the request.
        request: u64,
        /// Whom.
        peer: PeerId,
        /// Which blob.
        hash: Hash,
        /// Its length.
        len: u64,
        /// What.
        ask: Ask,
    },
    /// Give a request up; nothing is expected of it any more.
    Stop {
        /// The request.
        request: u64,
    },
    /// Connect to this peer if it is not connected.
    Meet {
        /// Who.
        peer: PeerId,
        /// Where it is said to be.
        at: Vec<String>,
    },
    /// Search the network for providers; answered by [`Input::Heard`].
    Search {
        /// Of which blob.
        hash: Hash,
    },
    /// Put the blob in its place; answered by [`Input::Finished`].
    Finish {
        /// Which.
        hash: Hash,
    },
    /// A fetch is over.
    Done {
        /// Of which blob.
        hash: Hash,
        /// Whether it is here.
        here: bool,
    },
    /// This peer sent wrong bytes: it is not to be asked again until then.
    Poisoned {
        /// Who.
        peer: PeerId,
        /// Until when.
        until: Timestamp,
    },
    /// It may be asked again.
    Forgiven {
        /// Who.
        peer: PeerId,
    },
}

#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    hash: Hash,
    len: u64,
    from: PeerId,
}

/// The machine: every blob that is being fetched.
pub struct Fetches {
    me: PeerId,
    entropy: Entropy,
    downloads: BTreeMap<Hash, Download>,
    waiting: VecDeque<Wanted>,
    requests: BTreeMap<u64, Hash>,
    next: u64,
    poisoners: BTreeMap<PeerId, Timestamp>,
    looked: Timestamp,
    out: Vec<Effect>,
}

impl Fetches {
    /// Nothing is fetched yet.
    pub fn new(me: PeerId, seed: &[u8; 32]) -> Self {
        Self {
            me,
            entropy: Entropy::new(seed),
            downloads: BTreeMap::new(),
            waiting: VecDeque::new(),
            requests: BTreeMap::new(),
            next: 1,
            poisoners: BTreeMap::new(),
            looked: Timestamp(0),
            out: Vec::new(),
        }
    }

    /// Takes back whom an earlier run found to send wrong bytes.
    pub fn remember(&mut self, poisoners: impl IntoIterator<Item = (PeerId, Timestamp)>) {
        self.poisoners.extend(poisoners.into_iter().take(MAX_POISONERS));
    }

    /// Takes one input and says what is to be done.
    #[must_use]
    pub fn step(&mut self, now: Timestamp, input: Input) -> Vec<Effect> {
        match input {
            Input::Want { hash, len, from } => self.want(now, hash, len, from),
            Input::Begun { hash, found } => self.begun(now, hash, found),
            Input::Answered { request, answer } => self.answered(now, request, answer),
            Input::Progress { request, upto } => self.progress(now, request, upto),
            Input::Ended { request, end } => self.ended(now, request, end),
            Input::Heard { hash, peers } => self.heard(now, hash, peers),
            Input::Finished { hash, here } => self.done(hash, here),
            Input::Tick => {}
        }
        self.begin_more(now);
        if now.since(self.looked) >= LOOK {
            self.looked = now;
            self.look(now);
        }
        self.ask_more(now);
        core::mem::take(&mut self.out)
    }

    /// When the machine next wants a tick.
    pub fn next_wake(&self) -> Option<Timestamp> {
        (!self.downloads.is_empty()).then(|| self.looked + LOOK)
    }

    /// Whether this peer sent wrong bytes and is not asked for anything.
    pub fn is_poisoner(&self, now: Timestamp, peer: &PeerId) -> bool {
        self.poisoners.get(peer).is_some_and(|until| *until > now)
    }

    /// The blobs that are being fetched or wait for it.
    pub fn wanted(&self) -> impl Iterator<Item = Hash> + '_ {
        self.downloads.keys().copied().chain(self.waiting.iter().map(|one| one.hash))
    }

    fn want(&mut self, now: Timestamp, hash: Hash, len: u64, from: PeerId) {
        let poisoner = self.is_poisoner(now, &from);
        match self.downloads.get_mut(&hash) {
            Some(download) if download.len == len => {
                if !poisoner {
                    download.meet(from, true);
                }
            }
            // One of two origins lies about the length: each is tried by itself.
            _ => {
                let wanted = Wanted { hash, len, from };
                if !self.waiting.contains(&wanted) {
                    self.waiting.push_back(wanted);
                }
            }
        }
    }

    fn begin_more(&mut self, now: Timestamp) {
        while self.downloads.len() < MAX_DOWNLOADS {
            let of = |from: &PeerId| {
                let has = |one: &&Download| one.providers.get(from).is_some_and(|it| it.origin);
                self.downloads.values().filter(has).count()
            };
            let free = |one: &Wanted| {
                !self.downloads.contains_key(&one.hash) && of(&one.from) < MAX_OF_ORIGIN
            };
            let Some(wanted) =
                self.waiting.iter().position(free).and_then(|at| self.waiting.remove(at))
            else {
                return;
            };
            let Wanted { hash, len, from } = wanted;
            let mut download = Download::new(now, len);
            if from != self.me && !self.is_poisoner(now, &from) {
                download.meet(from, true);
            }
            self.downloads.insert(hash, download);
            self.out.push(Effect::Begin { hash, len });
        }
    }

    fn begun(&mut self, now: Timestamp, hash: Hash, found: Found) {
        let Some(download) = self.downloads.get_mut(&hash).filter(|one| !one.ready) else { return };
        match found {
            Found::Whole => self.done(hash, true),
            Found::Unable => self.done(hash, false),
            Found::Missing { gaps, shared } => {
                download.begin(now, &gaps, shared);
                self.complete(hash);
            }
        }
    }

    fn complete(&mut self, hash: Hash) {
        let Some(download) = self.downloads.get_mut(&hash) else { return };
        for request in download.useless() {
            self.drop_request(request);
            self.out.push(Effect::Stop { request });
        }
        let Some(download) = self.downloads.get_mut(&hash) else { return };
        if download.is_complete() && !download.finishing {
            download.finishing = true;
            self.out.push(Effect::Finish { hash });
        }
    }

    fn answered(&mut self, now: Timestamp, request: u64, answer: Answer) {
        let Some(hash) = self.requests.get(&request).copied() else { return };
        let Some(download) = self.downloads.get_mut(&hash) else { return };
        let len = download.len;
        let Some(asked) = download.asked.get_mut(&request) else { return };
        asked.heard = now;
        let peer = asked.peer;
        let breach = match answer {
            // The bytes follow; whoever carries this out has compared the length.
            Answer::Ok(_) => false,
            Answer::Part(part) => match choice(&part, len, asked.wants.as_ref()) {
                Some(run) => {
                    (asked.range, asked.run) = (part.from..part.to, run);
                    false
                }
                None => true,
            },
            Answer::Wait(ms) => {
                if let Some(provider) = download.providers.get_mut(&peer) {
                    provider.not_before = now + Duration::from_millis(ms.min(1000));
                }
                false
            }
            Answer::Have(stock) => match Pieces::from_bytes(len, &stock.pieces) {
                Some(pieces) if stock.len == len => {
                    if let Some(provider) = download.providers.get_mut(&peer) {
                        provider.said(pieces);
                    }
                    false
                }
                _ => true,
            },
            Answer::Who(told) => {
                self.told(now, hash, told);
                false
            }
            Answer::Refuse(_) => false,
        };
        if breach {
            self.out.push(Effect::Stop { request });
            self.ended(now, request, End::Protocol);
        }
    }

    fn told(&mut self, now: Timestamp, hash: Hash, told: Vec<Told>) {
        for Told { peer, at } in told {
            if self.adds(now, hash, peer) {
                self.out.push(Effect::Meet { peer, at });
            }
        }
    }

    fn heard(&mut self, now: Timestamp, hash: Hash, peers: Vec<PeerId>) {
        for peer in peers {
            self.adds(now, hash, peer);
        }
    }

    fn adds(&mut self, now: Timestamp, hash: Hash, peer: PeerId) -> bool {
        if peer == self.me || self.is_poisoner(now, &peer) {
            return false;
        }
        let Some(download) = self.downloads.get_mut(&hash) else { return false };
        download.is_swarm() && download.meet(peer, false)
    }

    fn progress(&mut self, now: Timestamp, request: u64, upto: u64) {
        let Some(hash) = self.requests.get(&request).copied() else { return };
        let Some(download) = self.downloads.get_mut(&hash) else { return };
        if download.advance(now, request, upto) {
            self.complete(hash);
        }
    }

    fn ended(&mut self, now: Timestamp, request: u64, end: End) {
        let Some(hash) = self.requests.get(&request).copied() else { return };
        let Some(download) = self.downloads.get_mut(&hash) else { return };
        if end == End::Done
            && let Some(asked) = download.asked.get(&request)
            && !asked.run.is_empty()
        {
            let (bytes, took) = (asked.range.end - asked.range.start, now.since(asked.since));
            let (peer, upto) = (asked.peer, asked.range.end);
            download.advance(now, request, upto);
            if let Some(provider) = download.providers.get_mut(&peer) {
                provider.delivered(bytes, took);
            }
        }
        let moved = download.asked.get(&request).is_some_and(|asked| asked.moved);
        let Some(peer) = self.drop_request(request) else { return };
        let Some(download) = self.downloads.get_mut(&hash) else { return };
        let over = match end {
            End::Done => false,
            End::Gone | End::Silent => download.lost(now, &peer, moved),
            End::Refused => download.refused(now, &peer),
            End::Protocol => true,
            End::Poison => return self.poisoned(now, peer),
            End::Own => return self.done(hash, false),
        };
        if over {
            download.providers.remove(&peer);
        }
        self.complete(hash);
    }

    /// A peer sent wrong bytes: whatever it was asked for, it is asked for nothing any more.
    fn poisoned(&mut self, now: Timestamp, peer: PeerId) {
        let until = now + POISONED;
        if self.poisoners.len() >= MAX_POISONERS && !self.poisoners.contains_key(&peer) {
            let soonest = self.poisoners.iter().min_by_key(|(_, until)| **until);
            if let Some(soonest) = soonest.map(|(peer, _)| *peer) {
                self.poisoners.remove(&soonest);
                self.out.push(Effect::Forgiven { peer: soonest });
            }
        }
        self.poisoners.insert(peer, until);
        self.out.push(Effect::Poisoned { peer, until });
        let mut stopped = Vec::new();
        for download in self.downloads.values_mut() {
            download.providers.remove(&peer);
            let of_it = download.asked.iter().filter(|(_, asked)| asked.peer == peer);
            stopped.extend(of_it.map(|(request, _)| *request));
        }
        for request in stopped {
            self.drop_request(request);
            self.out.push(Effect::Stop { request });
        }
    }

    /// Forgets a request; says whom it was asked of.
    fn drop_request(&mut self, request: u64) -> Option<PeerId> {
        let hash = self.requests.remove(&request)?;
        let download = self.downloads.get_mut(&hash)?;
        let peer = download.asked.remove(&request)?.peer;
        if let Some(provider) = download.providers.get_mut(&peer) {
            provider.busy = None;
        }
        Some(peer)
    }

    fn done(&mut self, hash: Hash, here: bool) {
        let Some(download) = self.downloads.remove(&hash) else { return };
        for request in download.asked.into_keys() {
            self.requests.remove(&request);
            self.out.push(Effect::Stop { request });
        }
        self.out.push(Effect::Done { hash, here });
    }

    /// Ends what is silent, gives up what gets nowhere, and looks for more providers.
    fn look(&mut self, now: Timestamp) {
        let out = &mut self.out;
        self.poisoners.retain(|peer, until| {
            if *until <= now {
                out.push(Effect::Forgiven { peer: *peer });
            }
            *until > now
        });
        let crowded = !self.waiting.is_empty();
        let hashes: Vec<Hash> = self.downloads.keys().copied().collect();
        for hash in hashes {
            let Some(download) = self.downloads.get(&hash) else { continue };
            if !download.ready || download.finishing {
                continue;
            }
            for request in download.silent(now) {
                self.out.push(Effect::Stop { request });
                self.ended(now, request, End::Silent);
            }
            let Some(download) = self.downloads.get_mut(&hash) else { continue };
            let swarm = download.is_swarm();
            let patience = match (download.is_deserted(), swarm) {
                (true, true) => SWARM_PATIENCE,
                (true, false) => Duration::ZERO,
                (false, _) => STUCK,
            };
            let idle = now.since(download.moved);
            let due = download.searched.is_none_or(|at| now.since(at) >= SEARCH);
            if swarm && due && download.providers.len() < ENOUGH && idle >= LOOK {
                download.searched = Some(now);
                self.out.push(Effect::Search { hash });
            }
            let slow = download.is_too_slow(now, crowded);
            if idle >= patience && download.asked.is_empty() || idle >= STUCK || slow {
                self.done(hash, false);
            }
        }
        self.begin_more(now);
    }

    fn ask_more(&mut self, now: Timestamp) {
        let mut giving = self.giving();
        let Self { downloads, requests, next, entropy, out, .. } = self;
        for (hash, download) in downloads.iter_mut().filter(|(_, one)| one.ready && !one.finishing)
        {
            let mut idle: Vec<PeerId> = download
                .providers
                .iter()
                .filter(|(_, one)| one.is_idle(now))
                .map(|(peer, _)| *peer)
                .collect();
            // Fellows before the origin: what they can give, it need not.
            idle.sort_by_key(|peer| download.providers.get(peer).is_some_and(|one| one.origin));
            for peer in idle {
                if download.asked.len() >= MAX_REQUESTS {
                    break;
                }
                let gives = giving.contains(&peer);
                let Some(ask) = download.next(now, &peer, gives, entropy) else { continue };
                if matches!(ask, Ask::Range { .. } | Ask::Any { .. }) {
                    giving.insert(peer);
                }
                let request = *next;
                *next += 1;
                let (run, range, wants) = match &ask {
                    Ask::Range { range, run } => (run.clone(), range.clone(), None),
                    Ask::Any { wants, .. } => (0..0, 0..0, Some(wants.clone())),
                    Ask::Have | Ask::Who => (0..0, 0..0, None),
                };
                let asked = Asked { peer, run, range, since: now, heard: now, moved: false, wants };
                download.asked.insert(request, asked);
                if let Some(provider) = download.providers.get_mut(&peer) {
                    provider.busy = Some(request);
                }
                requests.insert(request, *hash);
                out.push(Effect::Ask { request, peer, hash: *hash, len: download.len, ask });
            }
        }
    }
}

impl Fetches {
    /// Peers that a part of some blob is asked of. Of one that is no origin nothing more is asked
    /// meanwhile, of whatever blob: so a liar costs a single group, however much is fetched.
    fn giving(&self) -> BTreeSet<PeerId> {
        let asked = self.downloads.values().flat_map(|one| one.asked.values());
        asked.filter(|one| one.wants.is_some() || !one.run.is_empty()).map(|one| one.peer).collect()
    }
}

/// The pieces of a run that a server chose, if they are among those it may choose from.
fn choice(part: &Part, len: u64, wants: Option<&Pieces>) -> Option<Range<usize>> {
    let (run, wants) = (part.run(len)?, wants?);
    (!run.is_empty() && run.clone().all(|piece| wants.contains(piece))).then_some(run)
}
