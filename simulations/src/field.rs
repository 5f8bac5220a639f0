//! The `verify` machine among workers of many kinds.
//!
//! Results come one at a time, and no result takes longer than another: what is measured is what is
//! believed and how many executions that costs, not when. Tasks are handed out as the `pool` machine
//! does: what is wanted of certain workers goes before what is wanted of anyone, and a check comes back
//! a while after it was asked for, with results of everybody in between.

mod conduct;

use std::collections::VecDeque;

use bayan_protocol::{
    id::{Hash, PeerId, TaskId},
    offer::Prefix,
    pool::{TaskIndex, Want},
    standing::Standings,
    time::Timestamp,
    verify::{About, Config, Effect, Policy, State, Tally, Verifier, Vote},
};
pub use conduct::{Conduct, Lie, truth};
use fastrand::Rng;

/// The submitter's own slots.
const ME: PeerId = PeerId([0; 32]);
/// Between two results.
const STEP: u64 = 1000;
/// Long enough for everyone's patience to run out.
const SILENCE: u64 = 31_000_000;

/// Somebody who computes.
#[derive(Debug, Clone, Copy)]
pub struct Hand {
    /// What it claims.
    pub conduct: Conduct,
    /// The network that it connects from.
    pub network: u32,
    /// Checks passed before the job.
    pub k: u32,
    /// Whether it comes back under a new name as soon as it is caught or has no more of the job.
    pub returns: bool,
}

impl Hand {
    /// A stranger in a network of its own, by its place among all.
    pub fn stranger(conduct: Conduct, network: u32) -> Self {
        Self { conduct, network, k: 0, returns: false }
    }
}

/// A job and those who compute it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The rule in force.
    pub policy: Policy,
    /// Tasks of the job.
    pub tasks: u32,
    /// The submitter's own slots; 0 if it has none.
    pub own: u32,
    /// Everyone else.
    pub hands: Vec<Hand>,
}

/// What came of a job.
#[derive(Debug, Clone, Default)]
pub struct Outcomes {
    /// Tasks with a final outcome.
    pub finals: u64,
    /// Of these, wrong ones.
    pub wrong: u64,
    /// Tasks of which a wrong outcome was believed unchecked or better at some time.
    pub wrong_once: u64,
    /// Executions of all.
    pub executions: u64,
    /// Executions by the submitter's own slots.
    pub own: u64,
    /// Time that it took, in task durations, with everyone present at work and equally fast; the own
    /// slots work beside.
    pub time: f64,
    /// Wrong final results for each identity, by the first that agreed with them; later identities of
    /// those who came back follow.
    pub wrong_of: Vec<f64>,
    /// Identities proven wrong at least once, cheats and honest ones.
    pub caught: (u64, u64),
    /// Identities banned at the end, cheats and honest ones.
    pub banned: (u64, u64),
    /// Whether the app was taken to differ by machine.
    pub quarantined: bool,
    /// Names that were used in all.
    pub identities: u64,
    /// As the verifier counted.
    pub tally: Tally,
}

struct Member {
    hand: Hand,
    here: bool,
    returned: u64,
    caught: bool,
}

/// A job under way.
pub struct Field {
    plan: Plan,
    verifier: Verifier,
    standings: Standings,
    rng: Rng,
    now: Timestamp,
    step: u64,
    members: Vec<Member>,
    /// Who may be handed something, in the order of their turns.
    present: Vec<usize>,
    turn: usize,
    wants: Vec<Option<Want>>,
    /// Tasks wanted of anyone.
    fresh: VecDeque<TaskIndex>,
    /// Tasks wanted of certain workers, from a step on.
    named: VecDeque<(u64, TaskIndex)>,
    wrong_once: Vec<bool>,
    /// Tasks about which somebody of a ring has lied already.
    lied: Vec<bool>,
    outcomes: Outcomes,
}

fn peer(number: usize) -> PeerId {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&(number as u32 + 1).to_be_bytes());
    PeerId(bytes)
}

fn number(peer: &PeerId) -> Option<usize> {
    let place = u32::from_be_bytes([peer.0[0], peer.0[1], peer.0[2], peer.0[3]]);
    place.checked_sub(1).map(|place| place as usize)
}

fn task_id(task: TaskIndex) -> TaskId {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&task.to_be_bytes());
    TaskId(bytes)
}

/// Runs one job among strangers.
pub fn run(plan: Plan, seed: u64) -> Outcomes {
    Field::new(plan, Standings::default(), Timestamp(1_000_000_000), seed).run().0
}

impl Field {
    /// A job about to begin, with an observer that knows what `standings` say.
    pub fn new(plan: Plan, standings: Standings, now: Timestamp, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let secret = std::array::from_fn(|_| rng.u8(..));
        let config = Config {
            policy: plan.policy,
            tasks: plan.tasks,
            provisional: false,
            quarantined: None,
        };
        let mut fresh: Vec<TaskIndex> = (0..plan.tasks).collect();
        rng.shuffle(&mut fresh);
        let quorum = plan.policy.quorum();
        let mut field = Self {
            verifier: Verifier::new(config, ME, secret),
            standings,
            rng,
            now,
            step: 0,
            members: Vec::new(),
            present: Vec::new(),
            turn: usize::MAX,
            wants: (0..plan.tasks).map(|task| Some(Want::anyone(task, quorum))).collect(),
            fresh: fresh.into(),
            named: VecDeque::new(),
            wrong_once: vec![false; plan.tasks as usize],
            lied: vec![false; plan.tasks as usize],
            outcomes: Outcomes::default(),
            plan,
        };
        if field.plan.own > 0 {
            let about = About {
                prefix: Prefix::default(),
                slots: field.plan.own,
                own: true,
                reserved: true,
            };
            field.verifier.join(now, ME, about, &mut field.standings);
        }
        for hand in field.plan.hands.clone() {
            field.enter(hand);
        }
        field.settle();
        field
    }

    fn enter(&mut self, hand: Hand) {
        let place = self.members.len();
        let id = peer(place);
        if hand.k > 0 && self.standings.get(&id).is_none() {
            self.introduce(id, hand.k);
        }
        let [_, a, b, c] = hand.network.to_be_bytes();
        let prefix = Prefix::of([a, b, c, 1].into());
        let about = About { prefix, slots: 2, own: false, reserved: false };
        self.members.push(Member { hand, here: true, returned: 0, caught: false });
        self.present.push(place);
        self.verifier.join(self.now, id, about, &mut self.standings);
    }

    /// A worker with this many passed checks: the first ones as they come, for what else they change.
    fn introduce(&mut self, id: PeerId, k: u32) {
        for _ in 0..k.min(100) {
            self.standings.passed(self.now, id, None);
        }
        if let Some(mut known) = self.standings.get(&id).cloned() {
            (known.k, known.passed) = (k, k.into());
            self.standings.restore(id, known);
        }
    }

    /// Runs the job to its end; what came of it, and what the observer then knows.
    pub fn run(mut self) -> (Outcomes, Standings, Timestamp) {
        let most = 400 * u64::from(self.plan.tasks) + 100_000;
        while !self.verifier.is_over() && self.step < most {
            if !self.advance() {
                self.now = Timestamp(self.now.0 + SILENCE);
                self.verifier.tick(self.now, &mut self.standings);
                self.settle();
                self.verifier.advance(self.now, &mut self.standings);
                self.settle();
                self.step += 1;
            }
        }
        self.conclude();
        (self.outcomes, self.standings, self.now)
    }

    /// One worker computes one task; false if nobody can compute anything that is wanted.
    fn advance(&mut self) -> bool {
        self.step += 1;
        self.now = Timestamp(self.now.0 + STEP);
        let due = self.named.front().is_some_and(|(due, _)| *due <= self.step);
        if due && self.serve_named() {
            return true;
        }
        self.serve_fresh() || self.serve_named()
    }

    /// The first task that is wanted by name and that somebody of those named can take.
    fn serve_named(&mut self) -> bool {
        for _ in 0..self.named.len() {
            let Some((_, task)) = self.named.pop_front() else { break };
            let Some(want) = self.wants[task as usize].clone() else { continue };
            let Some(among) = &want.among else { continue };
            match self.pick(among, task) {
                Some(taker) => {
                    if want.need > 1 {
                        self.named.push_front((self.step, task));
                    }
                    self.compute(taker, task);
                    return true;
                }
                None => self.named.push_back((self.step + 1, task)),
            }
        }
        false
    }

    /// Somebody of `among` who is there and has no vote on the task.
    fn pick(&mut self, among: &[PeerId], task: TaskIndex) -> Option<PeerId> {
        if among.is_empty() {
            return None;
        }
        for _ in 0..8 {
            let one = among[self.rng.usize(..among.len())];
            if self.can(&one, task) {
                return Some(one);
            }
        }
        let from = self.rng.usize(..among.len());
        let all = among[from..].iter().chain(&among[..from]);
        all.copied().find(|one| self.can(one, task))
    }

    fn can(&self, one: &PeerId, task: TaskIndex) -> bool {
        let here = number(one).is_none_or(|place| self.members[place].here);
        here && self.verifier.vote_of(task, one).is_none()
    }

    /// The next worker in turn takes the first task that it has no vote on.
    fn serve_fresh(&mut self) -> bool {
        for _ in 0..self.fresh.len() {
            let Some(task) = self.fresh.pop_front() else { break };
            let Some(want) = &self.wants[task as usize] else { continue };
            if want.among.is_some() {
                continue;
            }
            let need = want.need;
            for _ in 0..self.present.len() {
                if self.turn >= self.present.len() {
                    self.turn = 0;
                    self.rng.shuffle(&mut self.present);
                }
                let id = peer(self.present[self.turn]);
                self.turn += 1;
                if self.can(&id, task) {
                    if need > 1 {
                        self.fresh.push_front(task);
                    }
                    self.compute(id, task);
                    return true;
                }
            }
            self.fresh.push_back(task);
            return false;
        }
        false
    }

    fn compute(&mut self, id: PeerId, task: TaskIndex) {
        let outcome = match number(&id) {
            None => {
                self.outcomes.own += 1;
                truth(task)
            }
            Some(place) => {
                let member = &mut self.members[place];
                member.returned += 1;
                let (returned, draw) = (member.returned, self.rng.f64());
                self.outcomes.time += 1.0 / self.present.len().max(1) as f64;
                let lied = &mut self.lied[task as usize];
                let claim = member.hand.conduct.claim(place, task, returned, (draw, *lied));
                *lied |= claim != truth(task) && matches!(member.hand.conduct, Conduct::Ring(_));
                claim
            }
        };
        self.outcomes.executions += 1;
        let want = &mut self.wants[task as usize];
        if let Some(want) = want {
            want.need = want.need.saturating_sub(1);
        }
        let root = Hash(std::array::from_fn(|_| self.rng.u8(..)));
        let vote = Vote { worker: id, via: Vec::new(), outcome, root, id: task_id(task) };
        let _ = self.verifier.vote(self.now, task, vote, &mut self.standings);
        self.settle();
        self.verifier.advance(self.now, &mut self.standings);
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            let effects = self.verifier.take_effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                self.carry_out(effect);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Want(want) => self.want(want),
            Effect::Changed(task) => self.watch(task),
            Effect::Caught { worker, .. } => {
                let Some(place) = number(&worker) else { return };
                self.members[place].caught = true;
                self.replace(place);
            }
            Effect::Exclude(worker) => {
                let Some(place) = number(&worker) else { return };
                self.members[place].here = false;
                self.present.retain(|one| *one != place);
                self.replace(place);
            }
            Effect::Quarantined(_) => self.outcomes.quarantined = true,
            Effect::Settled(_) => {}
        }
    }

    fn want(&mut self, want: Want) {
        let task = want.task;
        if want.need == 0 {
            self.wants[task as usize] = None;
            return;
        }
        if want.among.is_some() {
            // As long as everybody takes to return about one more result.
            let lag = self.present.len().max(1) as u64;
            self.named.push_back((self.step + self.rng.u64(..2 * lag), task));
        } else if self.wants[task as usize].as_ref().is_none_or(|one| one.need == 0) {
            self.fresh.push_back(task);
        }
        self.wants[task as usize] = Some(want);
    }

    fn watch(&mut self, task: TaskIndex) {
        let state = self.verifier.state(task);
        if matches!(state, State::Provisional | State::Confirmed | State::Final) {
            let wrong =
                self.verifier.acceptance(task).is_some_and(|one| one.outcome != truth(task));
            self.wrong_once[task as usize] |= wrong;
        }
    }

    /// Somebody who was found out leaves and comes back as a stranger, if that is its way.
    fn replace(&mut self, place: usize) {
        let hand = self.members[place].hand;
        if !hand.returns {
            return;
        }
        self.members[place].hand.returns = false;
        self.members[place].here = false;
        self.present.retain(|one| *one != place);
        self.verifier.leave(self.now, &peer(place), &mut self.standings);
        self.enter(Hand { k: 0, ..hand });
    }

    fn conclude(&mut self) {
        let mut wrong_of = vec![0.0; self.members.len()];
        for task in 0..self.plan.tasks {
            let Some(accepted) = self.verifier.acceptance(task) else { continue };
            self.outcomes.finals += 1;
            if accepted.outcome == truth(task) {
                continue;
            }
            self.outcomes.wrong += 1;
            if let Some(first) = accepted.agreed.first().and_then(number) {
                wrong_of[first] += 1.0;
            }
        }
        self.outcomes.wrong_of = wrong_of;
        self.outcomes.wrong_once = self.wrong_once.iter().filter(|one| **one).count() as u64;
        for (place, member) in self.members.iter().enumerate() {
            let cheats = member.hand.conduct.cheats();
            let add = |pair: &mut (u64, u64), is: bool| {
                if cheats { pair.0 += u64::from(is) } else { pair.1 += u64::from(is) }
            };
            add(&mut self.outcomes.caught, member.caught);
            add(&mut self.outcomes.banned, self.standings.is_banned(self.now, &peer(place)));
        }
        self.outcomes.identities = self.members.len() as u64;
        self.outcomes.tally = self.verifier.tally().clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hands(honest: u32, liars: u32, lie: Lie) -> Vec<Hand> {
        let honest = (0..honest).map(|at| Hand::stranger(Conduct::Honest, at));
        let liars = (0..liars).map(|at| Hand::stranger(Conduct::Alone(lie), 1000 + at));
        honest.chain(liars).collect()
    }

    #[test]
    fn honest_workers_give_the_truth_at_the_policys_price() {
        let plan =
            |policy: Policy| Plan { policy, tasks: 500, own: 2, hands: hands(10, 0, Lie::NEVER) };
        let voted = run(plan(Policy::Vote(3)), 1);
        assert_eq!((voted.finals, voted.wrong, voted.executions), (500, 0, 1500));
        let spot = run(plan(Policy::Spot { checked: 100_000 }), 1);
        assert_eq!((spot.wrong, spot.caught), (0, (0, 0)));
        assert!((520..590).contains(&spot.executions), "{}", spot.executions);
        let adaptive = run(plan(Policy::default()), 1);
        assert_eq!((adaptive.wrong, adaptive.banned), (0, (0, 0)));
    }

    #[test]
    fn liars_are_caught_and_the_same_seed_tells_the_same() {
        let lie = Lie { share: 0.5, after: 0 };
        let plan = Plan { policy: Policy::default(), tasks: 600, own: 2, hands: hands(8, 3, lie) };
        let one = run(plan.clone(), 7);
        assert_eq!((one.wrong, one.caught), (0, (3, 0)));
        let two = run(plan, 7);
        assert_eq!((one.executions, one.wrong_of), (two.executions, two.wrong_of));
    }

    #[test]
    fn who_comes_back_is_a_stranger_each_time() {
        let lie = Lie { share: 0.3, after: 0 };
        let mut all = hands(8, 1, lie);
        all[8].returns = true;
        let plan = Plan { policy: Policy::default(), tasks: 600, own: 2, hands: all };
        let found = run(plan, 3);
        assert!(found.identities > 12, "{}", found.identities);
        assert_eq!(found.banned.1, 0);
    }
}
