//! What a link carries, and what may be spent on it besides work.
//!
//! Telling each other who is there costs a peer about as much on a modem line as on a fibre. This
//! machine is told what was measured on the links to the neighbours, or what the operator says of the
//! own line, and decides which *profile* is in force: towards each neighbour, and for the peer as a
//! whole. It estimates with integers and in a peer's own judgement alone: nothing of it is agreed on
//! between peers.

use alloc::{collections::BTreeMap, format, string::String, vec::Vec};
use core::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{id::PeerId, limits::MAX_NEIGHBOURS};

/// What discovery and adverts cost each way under the full profile, bytes a second: gossip among 300
/// peers with an advert of 250 bytes a minute each, as measured, whatever the size of the network.
const FULL_COST: u64 = 7_500;
/// The part of a link that may be spent on it: one in so many bytes.
const SHARE: u64 = 10;
/// A link below this rate is slow: the full profile would take more than its part of it.
const SLOW_BELOW: Rate = Rate(FULL_COST * SHARE);
/// A slow link is taken for a fast one from this rate on.
const FAST_FROM: Rate = Rate(2 * SLOW_BELOW.0);
/// Measurements in a row that have to say so.
const PROOFS: u32 = 3;
/// A measurement over fewer bytes says nothing.
const LEAST: u64 = 512;
/// Bytes of a probe. TCP sends as many at once on a new connection, so the time beyond a round trip is
/// what the link needs for them.
pub const PROBE: u64 = 4 << 10;
/// Probes in a row that have to find a link slow: the first ones compete with all that a new
/// connection says.
const DOUBTS: u32 = 2;
/// A link is probed again after so many round trips: ten minutes.
const PROBE_AGAIN: u32 = 40;
const PROBE_AGAIN_SLOW: u32 = 10;
/// Round trips differ by as much without meaning anything.
const NOISE: Duration = Duration::from_millis(10);
/// Answers may be this late without anything waiting in a queue.
const SLACK: Duration = Duration::from_millis(100);

const _: () = assert!(SLOW_BELOW.0 < FAST_FROM.0 && FULL_COST * SHARE <= SLOW_BELOW.0);

/// Bytes a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rate(pub u64);

/// A text that is no rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither `auto` nor a rate such as 28.8kbit, 512kbit, 16mbit or 1gbit")]
pub struct NotARate(pub String);

impl Rate {
    /// So many bytes in so much time; none for no time.
    pub fn of(bytes: u64, over: Duration) -> Option<Self> {
        let micros = over.as_micros();
        let rate = u128::from(bytes).checked_mul(1_000_000)?.checked_div(micros)?;
        Some(Self(u64::try_from(rate).unwrap_or(u64::MAX)))
    }

    /// The time that so many bytes take.
    fn time_of(self, bytes: u64) -> Duration {
        let micros = u128::from(bytes) * 1_000_000 / u128::from(self.0.max(1));
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

impl FromStr for Rate {
    type Err = NotARate;

    /// A decimal number of at most three places, then `bit`, `kbit`, `mbit` or `gbit`.
    fn from_str(text: &str) -> Result<Self, NotARate> {
        let not = || NotARate(text.chars().take(64).collect());
        let lower = text.trim().to_ascii_lowercase();
        let number = lower.strip_suffix("bit").ok_or_else(not)?;
        let units = [('k', 1_000), ('m', 1_000_000), ('g', 1_000_000_000)];
        let (number, unit) = units
            .iter()
            .find_map(|(letter, unit)| Some((number.strip_suffix(*letter)?, *unit)))
            .unwrap_or((number, 1));
        let (whole, part) = number.trim().split_once('.').unwrap_or((number.trim(), ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || part.len() > 3 || !digits(whole) || !digits(part) {
            return Err(not());
        }
        let thousandths: u64 = format!("{part:0<3}").parse().map_err(|_| not())?;
        let bits = whole
            .parse::<u64>()
            .ok()
            .and_then(|whole| whole.checked_mul(1000)?.checked_add(thousandths)?.checked_mul(unit));
        let bytes = bits.ok_or_else(not)? / 1000 / 8;
        if bytes == 0 { Err(not()) } else { Ok(Self(bytes)) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.0.saturating_mul(8);
        let (unit, name) = match bits {
            0..1_000_000 => (1_000, "kbit"),
            1_000_000..1_000_000_000 => (1_000_000, "mbit"),
            _ => (1_000_000_000, "gbit"),
        };
        let tenths = bits / (unit / 10);
        match tenths % 10 {
            0 => write!(f, "{}{name}", tenths / 10),
            tenth => write!(f, "{}.{tenth}{name}", tenths / 10),
        }
    }
}

/// What the operator says of the own line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Setting {
    /// Nothing: each link is what it measures.
    #[default]
    Auto,
    /// Every link is of this rate, whatever is measured.
    Fixed(Rate),
}

impl Setting {
    /// What a peer as a whole begins with.
    pub fn plan(self) -> Plan {
        Links::new(self).whole().plan()
    }
}

impl FromStr for Setting {
    type Err = NotARate;
    fn from_str(text: &str) -> Result<Self, NotARate> {
        if text == "auto" { Ok(Self::Auto) } else { text.parse().map(Self::Fixed) }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(rate) => rate.fmt(f),
        }
    }
}

impl TryFrom<String> for Setting {
    type Error = NotARate;
    fn try_from(text: String) -> Result<Self, NotARate> {
        text.parse()
    }
}

impl From<Setting> for String {
    fn from(setting: Setting) -> Self {
        format!("{setting}")
    }
}

/// How a peer behaves on a link, or as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// As everybody.
    #[default]
    Full,
    /// Nothing is said that is not asked for.
    Slow,
}

/// What a profile means for the peer as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Whether adverts of others are taken and passed on.
    pub passes_adverts_on: bool,
    /// Own adverts are this far apart at least. They are believed for three minutes (spec WIRE-43).
    pub advert_every: Duration,
    /// Whether others may ask it for peers and records.
    pub serves_discovery: bool,
    /// Whether it looks for further peers, and dials those that it hears of. Those that the operator
    /// names are dialled under every profile.
    pub looks_for_peers: bool,
    /// Whether it tells the network which blobs it has.
    pub announces_blobs: bool,
    /// Whether the transport that keeps every connection awake with datagrams is used.
    pub datagrams: bool,
    /// Between two looks whether a neighbour is still there.
    pub ping_every: Duration,
    /// The time that it has for an answer.
    pub answer_within: Duration,
    /// Between two tellings of what a peer is and speaks. In force from the next start on.
    pub identify_every: Duration,
}

impl Profile {
    /// What it means.
    pub const fn plan(self) -> Plan {
        match self {
            Self::Full => Plan {
                passes_adverts_on: true,
                advert_every: Duration::ZERO,
                serves_discovery: true,
                looks_for_peers: true,
                announces_blobs: true,
                datagrams: true,
                ping_every: Duration::from_secs(15),
                answer_within: Duration::from_secs(20),
                identify_every: Duration::from_secs(300),
            },
            Self::Slow => Plan {
                passes_adverts_on: false,
                advert_every: Duration::from_secs(150),
                serves_discovery: false,
                looks_for_peers: false,
                announces_blobs: false,
                datagrams: false,
                ping_every: Duration::from_secs(60),
                answer_within: Duration::from_secs(60),
                identify_every: Duration::from_secs(3600),
            },
        }
    }
}

/// What happens on the links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// This peer is connected now.
    Up(PeerId),
    /// It is no longer.
    Down(PeerId),
    /// The neighbour answered after this time.
    RoundTrip(PeerId, Duration),
    /// It answered a probe of [`PROBE`] bytes after this time, or had not yet answered it then.
    Probed(PeerId, Duration),
    /// What went to the neighbour in some time.
    Sent(PeerId, Sample),
}

/// What went to a neighbour in some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Bytes that it has acknowledged in that time.
    pub bytes: u64,
    /// The time.
    pub over: Duration,
    /// Bytes written and not yet acknowledged: the fewer of those at its beginning and at its end.
    pub waiting: u64,
}

/// What is to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Towards this neighbour, this profile is in force now.
    Towards(PeerId, Profile),
    /// For the peer as a whole, this one.
    Whole(Profile),
    /// Send a probe; answered by [`Input::Probed`].
    Probe(PeerId),
}

/// What is known of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    /// What it carries towards the neighbour, as far as that was seen.
    pub rate: Option<Rate>,
    /// The shortest round trip.
    pub round_trip: Option<Duration>,
    /// The profile in force.
    pub profile: Profile,
    /// Measurements in a row that found it fast while it counts as slow.
    proofs: u32,
    /// Probes in a row that found it slow.
    doubts: u32,
    /// Round trips since the last probe was sent; none if none was.
    trips: Option<u32>,
    /// Whether the last probe passed as fast as over a fast link.
    passed: bool,
}

impl Link {
    /// Whether it cannot be slow: something went over it faster than a slow link is.
    fn is_fast(&self) -> bool {
        self.profile == Profile::Full
            && (self.passed || self.rate.is_some_and(|known| known >= SLOW_BELOW))
    }

    /// A small packet came back. Tells whether to send a probe.
    fn came_back(&mut self, time: Duration, is_told: bool) -> bool {
        // A probe is judged by the shortest round trip. The first ones compete with all that a new
        // connection says; if a later one is much shorter, the judgement was too kind.
        let shorter = self.profile == Profile::Full
            && self.round_trip.is_some_and(|known| time.saturating_add(NOISE) < known);
        self.passed &= !shorter;
        self.round_trip = Some(self.round_trip.map_or(time, |known| known.min(time)));
        let trips = self.trips.map(|trips| trips.saturating_add(1));
        let undecided = match self.profile {
            Profile::Full => self.doubts > 0,
            Profile::Slow => self.proofs > 0,
        };
        let often = if self.profile == Profile::Full { PROBE_AGAIN } else { PROBE_AGAIN_SLOW };
        let again = |trips: u32| !is_told && (undecided || shorter || trips >= often);
        let due = trips.is_none_or(again);
        self.trips = if due { Some(0) } else { trips };
        due
    }

    fn probed(&mut self, time: Duration) {
        let beyond = time.saturating_sub(self.round_trip.unwrap_or_default());
        let rate = Rate::of(PROBE, beyond.max(Duration::from_millis(1))).unwrap_or(FAST_FROM);
        self.passed = rate >= SLOW_BELOW;
        if self.passed {
            self.doubts = 0;
            // How fast a fast link is, so few bytes do not tell.
            self.judge(rate);
            return;
        }
        self.doubts += 1;
        if self.doubts >= DOUBTS || self.profile == Profile::Slow {
            self.learn(rate);
            self.judge(rate);
        }
    }

    fn learn(&mut self, rate: Rate) {
        let known = self.rate.unwrap_or(rate).0;
        self.rate = Some(Rate(known.saturating_mul(3).saturating_add(rate.0) / 4));
    }

    fn sent(&mut self, sample: Sample) {
        let Some(rate) = Rate::of(sample.bytes, sample.over) else { return };
        if sample.bytes < LEAST {
            return;
        }
        // Little's law: what waits, over what passes, is how long a byte takes. If that is far more
        // than the shortest round trip, then bytes queue, and what passes is all that can.
        let longest = self.round_trip.map(|time| time.saturating_mul(2).saturating_add(SLACK));
        let fills = longest.is_some_and(|longest| rate.time_of(sample.waiting) >= longest);
        // A link carries at least what it has carried; a queue that empties at once may look so.
        let shows = match self.rate {
            None => rate >= SLOW_BELOW,
            Some(known) => rate > known,
        };
        if fills || shows {
            self.learn(rate);
        }
        if let Some(known) = self.rate {
            self.judge(known);
        }
    }

    /// The profile by what is known now.
    fn judge(&mut self, known: Rate) {
        match self.profile {
            Profile::Full if known < SLOW_BELOW => {
                (self.profile, self.proofs, self.passed) = (Profile::Slow, 0, false);
            }
            Profile::Slow if known >= FAST_FROM => {
                self.proofs += 1;
                if self.proofs >= PROOFS {
                    (self.profile, self.proofs, self.doubts) = (Profile::Full, 0, 0);
                }
            }
            _ => self.proofs = 0,
        }
    }
}

/// The machine.
#[derive(Debug, Default)]
pub struct Links {
    setting: Setting,
    whole: Profile,
    links: BTreeMap<PeerId, Link>,
}

impl Links {
    /// Before anything is connected.
    pub fn new(setting: Setting) -> Self {
        let whole = Self::by(setting).unwrap_or_default();
        Self { setting, whole, links: BTreeMap::new() }
    }

    /// What the operator said.
    pub fn setting(&self) -> Setting {
        self.setting
    }

    /// The profile in force for the peer as a whole.
    pub fn whole(&self) -> Profile {
        self.whole
    }

    /// What is known of the link to a neighbour.
    pub fn link(&self, peer: &PeerId) -> Link {
        self.links.get(peer).copied().unwrap_or_default()
    }

    /// Takes one input and says what is to be changed.
    pub fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        let peer = match input {
            Input::Down(peer) => {
                self.links.remove(&peer);
                self.settle(&mut effects);
                return effects;
            }
            Input::Up(peer)
            | Input::RoundTrip(peer, _)
            | Input::Probed(peer, _)
            | Input::Sent(peer, _) => peer,
        };
        if matches!(input, Input::Up(_)) && self.links.len() < MAX_NEIGHBOURS {
            self.links.entry(peer).or_default();
        }
        let Some(link) = self.links.get_mut(&peer) else { return effects };
        let before = link.profile;
        match input {
            Input::RoundTrip(_, time) => {
                if link.came_back(time, self.setting != Setting::Auto) {
                    effects.push(Effect::Probe(peer));
                }
            }
            Input::Probed(_, time) => link.probed(time),
            Input::Sent(_, sample) => link.sent(sample),
            Input::Up(_) | Input::Down(_) => {}
        }
        if let Some(profile) = Self::by(self.setting) {
            link.profile = profile;
        }
        if link.profile != before {
            effects.push(Effect::Towards(peer, link.profile));
        }
        self.settle(&mut effects);
        effects
    }

    /// The profile that the operator's word alone decides.
    fn by(setting: Setting) -> Option<Profile> {
        match setting {
            Setting::Auto => None,
            Setting::Fixed(rate) if rate < SLOW_BELOW => Some(Profile::Slow),
            Setting::Fixed(_) => Some(Profile::Full),
        }
    }

    /// The own line is slow if no link is known to be fast and some are known to be slow. With
    /// nobody connected nothing is known, and what was found last stays.
    fn settle(&mut self, effects: &mut Vec<Effect>) {
        let slow = self.links.values().any(|link| link.profile == Profile::Slow);
        let fast = self.links.values().any(Link::is_fast);
        let whole = match (Self::by(self.setting), slow, fast) {
            (Some(profile), ..) => profile,
            (None, true, false) => Profile::Slow,
            (None, _, true) => Profile::Full,
            (None, false, false) => self.whole,
        };
        if whole != self.whole {
            self.whole = whole;
            effects.push(Effect::Whole(whole));
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::{string::ToString as _, vec};

    use super::*;

    const NEAR: PeerId = PeerId([1; 32]);
    const FAR: PeerId = PeerId([2; 32]);
    const HALF: Duration = Duration::from_millis(500);
    const MODEM_TRIP: Duration = Duration::from_millis(75);

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    /// A link that carries `rate`, with plenty waiting.
    fn full_of(rate: Rate) -> Sample {
        Sample { bytes: rate.0 / 2, over: HALF, waiting: rate.0 }
    }

    fn connected(setting: Setting, trips: &[(PeerId, Duration)]) -> Links {
        let mut links = Links::new(setting);
        for (peer, trip) in trips {
            assert_eq!(links.step(Input::Up(*peer)), vec![]);
            assert_eq!(links.step(Input::RoundTrip(*peer, *trip)), [Effect::Probe(*peer)]);
        }
        links
    }

    #[test]
    fn rates_are_read_and_written() {
        for (text, bytes, back) in [
            ("28.8kbit", 3600, "28.8kbit"),
            ("9600bit", 1200, "9.6kbit"),
            ("512 kbit", 64_000, "512kbit"),
            ("1Mbit", 125_000, "1mbit"),
            ("2.5gbit", 312_500_000, "2.5gbit"),
        ] {
            assert_eq!(rate(text), Rate(bytes), "{text}");
            assert_eq!(rate(text).to_string(), back);
            assert_eq!(text.parse::<Setting>(), Ok(Setting::Fixed(Rate(bytes))));
        }
        for text in ["", "fast", "1", "kbit", "-1kbit", "1.2345kbit", "0bit", "1e3kbit", ".5kbit"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        assert!("99999999999999999999gbit".parse::<Rate>().is_err());
        assert!("18446744073709551615gbit".parse::<Rate>().is_err());
        assert_eq!("auto".parse::<Setting>(), Ok(Setting::Auto));
    }

    #[test]
    fn a_modem_line_is_found_slow_by_what_queues_on_it() {
        let mut links = connected(Setting::Auto, &[(FAR, MODEM_TRIP)]);
        let effects = links.step(Input::Sent(FAR, full_of(rate("28.8kbit"))));
        assert_eq!(
            effects,
            [Effect::Towards(FAR, Profile::Slow), Effect::Whole(Profile::Slow)],
            "the only line that there is"
        );
        assert_eq!(links.link(&FAR).rate, Some(rate("28.8kbit")));
        assert!(links.whole() == Profile::Slow && !Profile::Slow.plan().looks_for_peers);
        // Gone, and nobody else there: what was found stays.
        assert_eq!(links.step(Input::Down(FAR)), vec![]);
        assert_eq!(links.whole(), Profile::Slow);
    }

    #[test]
    fn one_far_neighbour_does_not_make_a_local_network_slow() {
        let near = Duration::from_micros(300);
        let mut links = connected(Setting::Auto, &[(NEAR, near), (FAR, MODEM_TRIP)]);
        assert_eq!(links.step(Input::Probed(NEAR, 2 * near)), vec![]);
        let effects = links.step(Input::Sent(FAR, full_of(rate("28.8kbit"))));
        assert_eq!(effects, [Effect::Towards(FAR, Profile::Slow)]);
        assert_eq!(links.step(Input::Down(NEAR)), [Effect::Whole(Profile::Slow)]);
        links.step(Input::Up(NEAR));
        assert_eq!(links.step(Input::RoundTrip(NEAR, near)), [Effect::Probe(NEAR)]);
        assert_eq!(links.step(Input::Probed(NEAR, 2 * near)), [Effect::Whole(Profile::Full)]);
    }

    #[test]
    fn little_to_say_is_not_a_slow_line() {
        let trip = Duration::from_millis(100);
        let mut links = connected(Setting::Auto, &[(FAR, trip)]);
        // A small frame every round trip over a fast line that is long.
        let chat = Sample { bytes: 1500, over: HALF, waiting: 300 };
        // A peer that has stopped, with much waiting for it.
        let stopped = Sample { bytes: 0, over: HALF, waiting: 1 << 20 };
        for _ in 0..100 {
            assert_eq!(links.step(Input::Sent(FAR, chat)), vec![]);
            assert_eq!(links.step(Input::Sent(FAR, stopped)), vec![]);
        }
        assert_eq!(links.link(&FAR).rate, None);
    }

    #[test]
    fn a_slow_line_becomes_fast_by_several_proofs_and_does_not_flutter() {
        let mut links = connected(Setting::Auto, &[(FAR, MODEM_TRIP)]);
        links.step(Input::Sent(FAR, full_of(Rate(SLOW_BELOW.0 - 1))));
        assert_eq!(links.link(&FAR).profile, Profile::Slow);
        for _ in 0..100 {
            let between = Rate(SLOW_BELOW.0 + SLOW_BELOW.0 / 2);
            assert_eq!(links.step(Input::Sent(FAR, full_of(between))), vec![]);
        }
        let mut taken = 0;
        while links.link(&FAR).profile == Profile::Slow {
            links.step(Input::Sent(FAR, full_of(rate("10mbit"))));
            taken += 1;
        }
        assert!((PROOFS..20).contains(&taken), "{taken}");
        assert_eq!(links.whole(), Profile::Full);
    }

    #[test]
    fn a_line_with_little_on_it_is_found_slow_by_two_probes() {
        let takes = rate("28.8kbit").time_of(PROBE) + MODEM_TRIP;
        let mut links = connected(Setting::Auto, &[(FAR, MODEM_TRIP)]);
        assert_eq!(links.step(Input::Probed(FAR, takes)), vec![]);
        assert_eq!(links.step(Input::RoundTrip(FAR, MODEM_TRIP)), [Effect::Probe(FAR)]);
        assert_eq!(
            links.step(Input::Probed(FAR, takes)),
            [Effect::Towards(FAR, Profile::Slow), Effect::Whole(Profile::Slow)]
        );
        let found = links.link(&FAR).rate.unwrap().0;
        assert!(found.abs_diff(3600) < 36, "{found}");
        // From now on rarely.
        let trips = (1..).find(|_| links.step(Input::RoundTrip(FAR, MODEM_TRIP)) != vec![]);
        assert_eq!(trips, Some(PROBE_AGAIN_SLOW));
    }

    #[test]
    fn a_round_trip_that_was_long_at_first_does_not_excuse_a_slow_probe() {
        let takes = rate("28.8kbit").time_of(PROBE) + MODEM_TRIP;
        let mut links = connected(Setting::Auto, &[(FAR, 2 * takes)]);
        assert_eq!(links.step(Input::Probed(FAR, takes)), vec![]);
        assert_eq!(links.step(Input::RoundTrip(FAR, MODEM_TRIP)), [Effect::Probe(FAR)]);
        assert_eq!(links.step(Input::Probed(FAR, takes)), vec![]);
        assert_eq!(links.step(Input::RoundTrip(FAR, MODEM_TRIP)), [Effect::Probe(FAR)]);
        links.step(Input::Probed(FAR, takes));
        assert_eq!(links.link(&FAR).profile, Profile::Slow);
    }

    #[test]
    fn a_long_line_is_not_taken_for_a_slow_one() {
        let trip = Duration::from_millis(300);
        let mut links = connected(Setting::Auto, &[(FAR, trip)]);
        // Busy with something else, once.
        assert_eq!(links.step(Input::Probed(FAR, trip * 4)), vec![]);
        assert_eq!(links.step(Input::RoundTrip(FAR, trip)), [Effect::Probe(FAR)]);
        assert_eq!(links.step(Input::Probed(FAR, trip + Duration::from_millis(2))), vec![]);
        let trips = (1..).find(|_| links.step(Input::RoundTrip(FAR, trip)) != vec![]);
        assert_eq!(trips, Some(PROBE_AGAIN));
        assert!(links.links[&FAR].is_fast() && links.link(&FAR).rate.is_none());
    }

    #[test]
    fn the_operators_word_counts() {
        let mut links = Links::new(Setting::Fixed(rate("28.8kbit")));
        assert_eq!(links.whole(), Profile::Slow);
        assert_eq!(links.step(Input::Up(FAR)), [Effect::Towards(FAR, Profile::Slow)]);
        for _ in 0..20 {
            assert_eq!(links.step(Input::Sent(FAR, full_of(rate("1gbit")))), vec![]);
        }
        assert!(links.link(&FAR).rate > Some(rate("100mbit")), "what is measured is shown");
        let mut links = connected(Setting::Fixed(rate("100mbit")), &[(FAR, MODEM_TRIP)]);
        assert_eq!(links.step(Input::Sent(FAR, full_of(rate("28.8kbit")))), vec![]);
        assert_eq!((links.whole(), links.link(&FAR).profile), (Profile::Full, Profile::Full));
    }

    #[test]
    fn links_are_bounded() {
        let mut links = Links::new(Setting::Auto);
        for number in 0..2 * MAX_NEIGHBOURS as u64 {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            links.step(Input::Up(PeerId(id)));
        }
        assert_eq!(links.links.len(), MAX_NEIGHBOURS);
    }
}
