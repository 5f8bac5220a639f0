//! What a way of verifying will cost and what it promises, before a job is submitted.
//!
//! Everything here is a judgement for people to decide by, so it is in floating point and nothing else
//! depends on it. [`classic`] has the policies of the literature, `price` what adaptive replication
//! lets through, `course` how much of a job it replicates, `words` how all of it is said, `rules` how it is asked for.

pub mod classic;
mod course;
mod price;
mod rules;
mod words;

#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use course::Course;
use price::Game;
pub use price::{per_identity, per_identity_undone};
pub use rules::{BadRules, Rules};

use crate::{
    offer::Prefix,
    standing::{ESTABLISHED, FORGIVEN, K, Share},
    verify::{Adaptive, CREDIBILITY_CHECKS, HORIZON, MILLION, Policy},
};

/// The part of a job's tasks that own slots may check, unless told otherwise.
pub const OWN: Share = Share::of(1, 4);

/// A bound is stated only if it is this many times below the part of workers that are faulty: else the
/// job is too small for checks to make a difference that could be relied on.
const WORTH: f64 = 10.0;

/// What is taken for granted about workers that nobody vouches for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Assumed {
    /// The part that is faulty.
    pub faulty: f64,
    /// The part of these that act together.
    pub colluding: f64,
}

impl Default for Assumed {
    /// One in five is faulty, half of these act together.
    fn default() -> Self {
        Self { faulty: 0.2, colluding: 0.5 }
    }
}

/// A connected worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Checks passed, see [`crate::standing::Standing::k`].
    pub k: u32,
    /// The network that its connection comes from.
    pub prefix: Prefix,
    /// Whether the operator vouches for it.
    pub trusted: bool,
}

impl Known {
    fn k(&self) -> u32 {
        if self.trusted { self.k.max(K) } else { self.k }
    }
}

/// A job and who is there to compute it.
#[derive(Clone, Debug, PartialEq)]
pub struct Situation {
    /// Tasks of the job.
    pub tasks: u64,
    /// The workers, without oneself.
    pub workers: Vec<Known>,
    /// The part of tasks that own slots may check; none where there are none.
    pub own: Option<Share>,
    /// What is taken for granted.
    pub assumed: Assumed,
}

/// One value for each kind of replica, the most convincing first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rungs<T> {
    /// (a) By an established worker in another network.
    pub established: T,
    /// (b) In own slots.
    pub own: T,
    /// (c) By another worker in another network.
    pub elsewhere: T,
    /// (d) By any other worker.
    pub anyone: T,
}

impl Rungs<f64> {
    fn sum(&self) -> f64 {
        self.established + self.own + self.elsewhere + self.anyone
    }

    fn map(self, with: impl Fn(f64) -> f64) -> Self {
        self.zip(self, |one, _| with(one))
    }

    fn zip(self, other: Self, with: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            established: with(self.established, other.established),
            own: with(self.own, other.own),
            elsewhere: with(self.elsewhere, other.elsewhere),
            anyone: with(self.anyone, other.anyone),
        }
    }
}

/// Why no bound on wrong results is stated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoBound {
    /// The policy checks nothing.
    #[error("nothing is checked")]
    Unchecked,
    /// Nobody else is connected, or there is a single worker and too few own slots to check it.
    #[error("there is nobody to check with")]
    Nobody,
    /// Most replicas are computed by workers as little known as those they check.
    #[error("workers without a record check each other, and one person can be any number of them")]
    Strangers,
    /// A worker returns so few results that being found out costs it nothing.
    #[error("each worker returns too few results for cheating not to pay")]
    FewResults,
    /// The policy lets workers earn trust and then spend it.
    #[error("a worker that behaves at first can cheat often before it is found out")]
    Sleepers,
    /// There are not as many workers as have to agree.
    #[error("fewer workers are connected than have to agree")]
    FewWorkers,
}

/// What a policy will cost and promise.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The policy.
    pub policy: Policy,
    /// What it was planned for.
    pub assumed: Assumed,
    /// Results of each worker.
    pub results: f64,
    /// Executions for each final result while nobody cheats.
    pub executions: f64,
    /// Executions for each final result if all faulty workers cheat, each where that costs most.
    pub executions_attacked: f64,
    /// The part of results that more than one worker computes.
    pub replicated: f64,
    /// The most wrong ones among final results, as a share, on average over what is drawn and however
    /// the faulty workers behave; or why no such share is stated.
    pub bound: Result<f64, NoBound>,
    /// Which rungs somebody stands on when the job begins.
    pub available: Rungs<bool>,
    /// Which part of the replicas is computed on each rung in the course of the job; nothing under
    /// policies without rungs.
    pub rungs: Rungs<f64>,
}

/// What `policy` will cost and promise in `situation`.
pub fn plan(policy: Policy, situation: &Situation) -> Plan {
    let assumed = situation.assumed.sound();
    let f = assumed.faulty;
    let mut plan = Plan {
        policy,
        assumed,
        results: (situation.tasks as f64 / situation.workers.len().max(1) as f64).max(1.0),
        executions: 1.0,
        executions_attacked: 1.0,
        replicated: 0.0,
        bound: Err(NoBound::Unchecked),
        available: available(situation),
        rungs: Rungs::default(),
    };
    match policy {
        Policy::None => {}
        Policy::Vote(m) => plan.vote(m, situation),
        Policy::Spot { checked } => {
            // All work being checks would be a division by zero, and no policy.
            let checked = share(checked).min(0.99);
            plan.executions = classic::spot_slowdown(checked);
            plan.executions_attacked = plan.executions / (1.0 - f);
            plan.replicated = checked;
            plan.bound = worth(classic::spot_worst(checked, plan.results, f), f);
        }
        Policy::Credibility { error, faulty } => {
            let (error, faulty, checked) =
                (share(error), share(faulty).min(0.95), share(CREDIBILITY_CHECKS));
            plan.executions = classic::credibility_executions(error, faulty, checked, plan.results);
            plan.executions_attacked = plan.executions / (1.0 - faulty);
            plan.replicated = (plan.executions - 1.0).clamp(0.0, 1.0);
            plan.assumed.faulty = faulty;
            plan.bound = Ok(error);
        }
        Policy::Boinc => {
            let course = course(situation, classic::boinc_rate);
            plan.replicate(&course);
            // Nothing is computed again, but a faulty worker is replicated to the end, and each of
            // its results is replaced.
            plan.executions_attacked = plan.executions + f * (1.0 - plan.replicated) + f;
            plan.bound = Err(NoBound::Sleepers);
        }
        Policy::Adaptive(adaptive) => plan.adapt(adaptive, situation),
    }
    if situation.workers.is_empty() {
        plan.bound = Err(NoBound::Nobody);
    }
    plan
}

/// The lowest share of checked results of workers without a record, in parts of a million and not
/// below the floor of `adaptive`, so that at most a share `error` of final results is wrong: for jobs
/// that can do with some wrong results, such as pictures. None if checking all does not suffice.
///
/// Unlike [`Plan::bound`], this is an answer for every job size, and as good as what is assumed of the
/// workers: a submitter who tolerates errors has said what may go wrong.
pub fn first_rate_for_tolerance(
    error: f64,
    adaptive: Adaptive,
    situation: &Situation,
) -> Option<u32> {
    /// Fine enough for a rate that rests on an assumption.
    const STEP: u32 = MILLION / 200;
    let suffices = |first: u32| {
        let game = game(Adaptive { first, ..adaptive });
        let course = course(situation, |k| game.rate(k));
        wrong(situation, &course, &game).is_some_and(|share| share <= error)
    };
    let floor = adaptive.floor.min(MILLION);
    if suffices(floor) {
        return Some(floor);
    }
    if !suffices(MILLION) {
        return None;
    }
    // The share of wrong results falls as the rate rises.
    let (mut low, mut high) = (floor, MILLION);
    while high - low > STEP {
        let middle = low.midpoint(high);
        if suffices(middle) { high = middle } else { low = middle }
    }
    Some(high)
}

impl Assumed {
    /// Within what formulas can bear: some worker is right.
    fn sound(self) -> Self {
        Self { faulty: self.faulty.clamp(0.0, 0.95), colluding: self.colluding.clamp(0.0, 1.0) }
    }
}

impl Plan {
    fn vote(&mut self, m: u32, situation: &Situation) {
        let f = self.assumed.faulty;
        self.executions = f64::from(m);
        self.executions_attacked = classic::vote_redundancy(m, f);
        self.replicated = if m > 1 { 1.0 } else { 0.0 };
        let voters = situation.workers.len() + usize::from(situation.own.is_some());
        self.bound = match voters < m as usize {
            true => Err(NoBound::FewWorkers),
            false => Ok(classic::vote_error(m, f)),
        };
    }

    fn adapt(&mut self, adaptive: Adaptive, situation: &Situation) {
        let f = self.assumed.faulty;
        let game = game(adaptive);
        let course = course(situation, |k| game.rate(k));
        self.replicate(&course);
        // At the end, one check for each worker that still has unchecked results.
        let open: f64 = course.after.iter().map(|k| 1.0 - game.rate(*k)).sum();
        self.executions += open / situation.tasks.max(1) as f64;
        // A faulty worker is replicated to the end; of what it returned, the last results that were
        // not replicated are computed again; and each time it is found out takes a referee, until it
        // is banned.
        let unchecked = 1.0 - self.replicated;
        let again = (game.undone / self.results).min(1.0) * unchecked;
        let paced = course.growth(|_| true) / f64::from(FORGIVEN);
        let referees = (price::FREE_FAILURES / self.results + paced).min(1.0);
        self.executions_attacked = self.executions + f * (unchecked + again + referees);
        self.bound = match wrong(situation, &course, &game) {
            None => Err(NoBound::Nobody),
            Some(share) if share > 0.0 && self.rungs.elsewhere + self.rungs.anyone > 0.5 => {
                Err(NoBound::Strangers)
            }
            Some(share) => worth(share, f),
        };
    }

    fn replicate(&mut self, course: &Course) {
        self.replicated = course.replicated;
        self.rungs = course.rungs;
        self.executions = 1.0 + course.replicated;
    }
}

/// Parts of a million as a share.
fn share(parts: u32) -> f64 {
    f64::from(parts) / f64::from(MILLION)
}

fn game(adaptive: Adaptive) -> Game {
    // A rate of nothing would promise nothing; one in a thousand is as good as that.
    let first = share(adaptive.first).clamp(0.001, 1.0);
    Game {
        full: f64::from(adaptive.k.max(1)),
        first,
        floor: share(adaptive.floor).clamp(0.001, first),
        growth: 1.0,
        fellows: 0.0,
        undone: HORIZON as f64,
    }
}

fn course(situation: &Situation, rate: impl Fn(f64) -> f64) -> Course {
    let own = situation.own.map_or(0.0, |share| share.as_f64()) * situation.tasks as f64;
    Course::run(situation.tasks as f64, &situation.workers, own, rate)
}

/// `share` if it is worth stating.
fn worth(share: f64, faulty: f64) -> Result<f64, NoBound> {
    if share * WORTH <= faulty { Ok(share) } else { Err(NoBound::FewResults) }
}

/// The most wrong results among final ones under adaptive replication, as a share; none where results
/// stay unchecked. Of each kind of worker that nobody vouches for, the assumed part is faulty and
/// plays alone or in one ring as well as it can.
fn wrong(situation: &Situation, course: &Course, game: &Game) -> Option<f64> {
    if course.missing > 0.0 {
        return None;
    }
    let Assumed { faulty, colluding } = situation.assumed.sound();
    // Own slots are in no ring; but a ring may wait until they have checked what they may.
    let ring = if course.rungs.own < 1.0 { faulty * colluding } else { 0.0 };
    let mut wrong = 0.0;
    // Established workers replicate for all others, so their records grow faster.
    for established in [false, true] {
        let of = |index: usize| {
            !situation.workers[index].trusted
                && (course.before[index] >= f64::from(ESTABLISHED)) == established
        };
        let ks: Vec<f64> = course
            .before
            .iter()
            .enumerate()
            .filter(|(index, _)| of(*index))
            .map(|(_, k)| *k)
            .collect();
        if ks.is_empty() {
            continue;
        }
        let alone = Game { growth: course.growth(of), ..*game };
        let together = Game { fellows: ring, ..alone };
        let sum = |game: Game| game.most(course.results, &ks).iter().sum::<f64>();
        wrong += faulty * (1.0 - colluding) * sum(alone) + faulty * colluding * sum(together);
    }
    let all = course.results * situation.workers.len() as f64;
    Some((wrong / all).min(faulty))
}

fn available(situation: &Situation) -> Rungs<bool> {
    let workers = &situation.workers;
    let apart = |one: &Known, other: &Known| one.prefix != other.prefix;
    let established = workers.iter().filter(|known| known.k() >= ESTABLISHED).any(|known| {
        let exempt = known.trusted && workers.len() > 1;
        exempt || workers.iter().any(|other| apart(known, other))
    });
    Rungs {
        established,
        own: situation.own.is_some_and(|share| share > Share::ZERO),
        elsewhere: workers.iter().any(|known| apart(known, &workers[0])),
        anyone: workers.len() > 1,
    }
}
