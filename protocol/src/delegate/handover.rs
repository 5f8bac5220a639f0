//! The submitter's side, of one job: whether its delegate keeps it, what it was told, and for how long
//! to wait for what it has to tell.
//!
//! What is settled and what its words are worth is for the job's own machine to say; this knows when
//! to speak.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    id::PeerId,
    limits::HANDBACK,
    time::Timestamp,
    wire::{Entrusted, Reason},
};

/// What need not be computed is told this often, or when so many changes wait.
const TELL: Duration = Duration::from_secs(1);
/// See [`TELL`].
const TELL_MANY: u64 = 64;
/// A delegate that is not connected is looked for this often.
const SEEK: Duration = Duration::from_secs(60);

/// What a delegate said about a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Nothing yet.
    #[default]
    Asked,
    /// It has all that it takes to carry the job on.
    Accepted,
    /// It does not keep the job.
    Refused(Reason),
}

/// A job's delegate as people and programs see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegateView {
    /// Who.
    pub peer: PeerId,
    /// Whether it is connected now.
    pub connected: bool,
    /// Whether it keeps the job.
    pub accepted: bool,
    /// Why it does not, in words.
    pub refused: Option<alloc::string::String>,
    /// Results that stand on its word.
    pub results: u64,
    /// Results for which it vouched differently from what was final here, which stands.
    pub differs: u64,
    /// Whether nothing is leased until it has said what became final while this peer was away.
    pub awaited: bool,
}

/// One job's delegate.
#[derive(Debug)]
pub struct Handover {
    delegate: PeerId,
    here: bool,
    answer: Answer,
    /// Whether it has said on this stream up to where it was told.
    in_touch: bool,
    /// Places before this one have been told, or had nothing to tell.
    told: u64,
    /// The place of the next change when all before it had been told.
    counted: u64,
    /// What was sent and not yet said to be known.
    telling: Option<u64>,
    spoke: Timestamp,
    /// Until when nothing is leased.
    awaited: Option<Timestamp>,
    /// What it still has to tell, as it says itself.
    left: Option<u64>,
    sought: Option<Timestamp>,
    differs: u64,
}

impl Handover {
    /// Of a job newly submitted.
    pub fn new(delegate: PeerId) -> Self {
        Self {
            delegate,
            here: false,
            answer: Answer::Asked,
            in_touch: false,
            told: 0,
            counted: 0,
            telling: None,
            spoke: Timestamp(0),
            awaited: None,
            left: None,
            sought: None,
            differs: 0,
        }
    }

    /// Takes back what was stored. A delegate that had accepted may have carried the job on meanwhile.
    pub fn restore(&mut self, now: Timestamp, answer: Answer, differs: u64) {
        (self.answer, self.differs) = (answer, differs);
        self.awaited = (answer == Answer::Accepted).then(|| now + HANDBACK);
    }

    /// Who.
    pub fn delegate(&self) -> PeerId {
        self.delegate
    }

    /// What it said.
    pub fn answer(&self) -> Answer {
        self.answer
    }

    /// Results for which it vouched differently from what was final here.
    pub fn differs(&self) -> u64 {
        self.differs
    }

    /// Counts one more such result.
    pub fn count_difference(&mut self) {
        self.differs = self.differs.saturating_add(1);
    }

    /// Whether it is connected.
    pub fn is_here(&self) -> bool {
        self.here
    }

    /// It is connected now, or no longer.
    pub fn set_here(&mut self, here: bool) {
        self.here = here;
        (self.in_touch, self.telling, self.left) = (false, None, None);
    }

    /// Takes its answer; whether that is another than before. `next` is the place of the next change.
    pub fn answered(&mut self, said: &Entrusted, next: u64) -> bool {
        let answer = said.reason.map_or(Answer::Accepted, Answer::Refused);
        if answer == Answer::Accepted {
            if !self.in_touch {
                // Who knows of more than there is has it from a store that was lost here.
                self.told = if said.upto <= next { said.upto } else { 0 };
                self.counted = 0;
                self.in_touch = true;
            }
            self.telling = self.telling.filter(|upto| *upto != said.upto);
            self.left = Some(said.left);
        } else {
            self.awaited = None;
        }
        let changed = answer != self.answer;
        self.answer = answer;
        changed
    }

    /// Results came that it vouches for, and `left` are still to come; `news` if any of them was not known.
    pub fn vouched(&mut self, now: Timestamp, left: u64, news: bool) {
        self.left = Some(left);
        if self.awaited.is_some() && news {
            self.awaited = Some(now + HANDBACK);
        }
    }

    /// Whether nothing is to be leased because of what it may have to tell.
    pub fn is_awaited(&self) -> bool {
        self.awaited.is_some()
    }

    /// Whether the wait is over now, which it says once. `fetching`: some of what it told is on its way.
    pub fn stops_waiting(&mut self, now: Timestamp, fetching: bool) -> bool {
        let told = self.left == Some(0) && !fetching;
        let over = self.awaited.is_some_and(|until| told || now >= until);
        if over {
            self.awaited = None;
        }
        over
    }

    /// From which place on there may be something to tell now; `next` is the place of the next change.
    pub fn tells_from(&self, now: Timestamp, next: u64) -> Option<u64> {
        let ready = self.here && self.in_touch && self.telling.is_none();
        let fresh = next.saturating_sub(self.counted);
        let due = fresh >= TELL_MANY || now >= self.spoke + TELL;
        (ready && fresh > 0 && due).then_some(self.told)
    }

    /// What there was to tell of places before `upto` is told; `all` is the place of the next change if
    /// that is everything; `said` if there was anything to say.
    pub fn tells(&mut self, now: Timestamp, upto: u64, all: Option<u64>, said: bool) {
        self.told = upto;
        self.counted = all.unwrap_or(self.counted);
        if said {
            (self.telling, self.spoke) = (Some(upto), now);
        }
    }

    /// All that there was to tell of places before this one has been told.
    pub fn told(&self) -> u64 {
        self.told
    }

    /// Whether it is to be looked for now.
    pub fn seeks(&mut self, now: Timestamp) -> bool {
        let due = !self.here && self.sought.is_none_or(|sought| now >= sought + SEEK);
        if due {
            self.sought = Some(now);
        }
        due
    }

    /// When it next wants to be looked at; `next` is the place of the next change.
    pub fn next_wake(&self, next: u64) -> Option<(Timestamp, &'static str)> {
        let awaited = self.awaited.map(|until| (until, "the delegate's word"));
        let ready = self.here && self.in_touch && self.telling.is_none();
        let telling = (ready && next > self.counted)
            .then(|| (self.spoke + TELL, "what the delegate is told"));
        let seek = self.sought.filter(|_| !self.here);
        let seek = seek.map(|sought| (sought + SEEK, "looking for the delegate"));
        awaited.into_iter().chain(telling).chain(seek).min()
    }

    /// For people; `results` stand on its word.
    pub fn view(&self, results: u64) -> DelegateView {
        let refused = match self.answer {
            Answer::Refused(reason) => Some(alloc::format!("{reason}")),
            Answer::Asked | Answer::Accepted => None,
        };
        DelegateView {
            peer: self.delegate,
            connected: self.here,
            accepted: self.answer == Answer::Accepted,
            refused,
            results,
            differs: self.differs,
            awaited: self.awaited.is_some(),
        }
    }
}
