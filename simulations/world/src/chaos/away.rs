//! Delegates, in a part of the seeds: who carries on whose jobs, and how submitters are away. All of it is
//! drawn aside, so that what a seed without delegates does is what it did before there were any.

use core::time::Duration;

use bayan_cast::{Role, Word};
use bayan_protocol::entropy::Entropy;

use super::{Job, Play};
use crate::{
    MS, SECOND,
    network::below,
    world::{Number, World},
};

/// One in so many seeds has delegates.
const ONE_IN: u64 = 3;

/// What is drawn aside.
pub(super) struct Away {
    random: Entropy,
    /// Whether there are delegates.
    is_on: bool,
    /// Each host's delegate, of those that submit.
    delegates: Vec<Option<Number>>,
}

impl Away {
    pub(super) fn new(seed: u64) -> Self {
        let key = blake3::derive_key("bayan world away v1", &seed.to_le_bytes());
        let mut random = Entropy::new(&key);
        let is_on = below(&mut random, ONE_IN) == 0;
        Self { random, is_on, delegates: Vec::new() }
    }

    /// Whether there are delegates.
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// How many times as long tasks take here: somebody has to have the time to be away.
    pub(super) fn slowness(&mut self) -> u64 {
        if self.is_on && self.draw(3) > 0 { 6 } else { 1 }
    }

    fn draw(&mut self, bound: u64) -> u64 {
        below(&mut self.random, bound)
    }

    /// In words: whose delegate is who, and what its word is worth.
    pub(super) fn cast(&self, world: &World) -> String {
        let named = |(at, delegate): (Number, &Option<Number>)| {
            let delegate = (*delegate)?;
            let word = match world.host(delegate).plan().word {
                Word::Honest => String::new(),
                word => format!(" {word}"),
            };
            Some(format!("h{at}>h{delegate}{word}"))
        };
        let named: Vec<String> = self.delegates.iter().enumerate().filter_map(named).collect();
        if named.is_empty() { String::new() } else { format!("; delegates: {}", named.join(" ")) }
    }
}

impl Play {
    /// Says who is whose delegate, if anybody is.
    pub(super) fn name_delegates(&mut self) {
        if !self.away.is_on {
            return;
        }
        let hosts = self.world.len();
        self.away.delegates = vec![None; hosts];
        for at in self.submitters.clone() {
            let next_to_it: Vec<Number> = match &self.parents {
                // Behind relays it is found as anybody is who is looked for.
                Some(parents) if self.away.draw(2) == 0 => {
                    (1..hosts).filter(|number| parents[*number] == at).collect()
                }
                _ => (0..hosts).filter(|number| *number != at).collect(),
            };
            let delegate = next_to_it[self.away.draw(next_to_it.len() as u64) as usize];
            self.away.delegates[at] = Some(delegate);
        }
        let patience = match self.away.draw(2) {
            0 => Duration::from_secs(60),
            _ => Duration::from_secs(5 + self.away.draw(40)),
        };
        // Where there is one submitter, its delegate is up to something in a third of these worlds.
        let bad = self.submitters.len() == 1 && self.away.draw(3) == 0;
        let word = if bad { Word::BAD[self.away.draw(8) as usize] } else { Word::Honest };
        for at in self.submitters.clone() {
            let Some(delegate) = self.away.delegates[at] else { continue };
            let willing = self.away.draw(10) > 0;
            let submitter = self.world.id(at);
            let plan = &mut self.world.hosts[delegate].plan;
            (plan.carries_after, plan.word) = (patience, word);
            if willing {
                plan.delegate_for.peers.push(submitter);
            }
        }
        for number in 0..hosts {
            if self.away.delegates.contains(&Some(number)) {
                // It has read its settings when it started.
                self.world.crash(number);
                self.world.start(number);
            }
        }
    }

    /// The delegate of a job that is submitted now, and how many tasks it has more than others: it has to
    /// take a while. Some have none.
    pub(super) fn entrusts(&mut self, at: Number) -> (Option<Number>, u64) {
        let Some(delegate) = self.away.delegates.get(at).copied().flatten() else {
            return (None, 0);
        };
        match self.away.draw(5) {
            0 => (None, 0),
            _ => (Some(delegate), self.away.draw(200)),
        }
    }

    /// Whether such a job is over as soon as every task has an outcome. Where somebody lies that promises
    /// nothing.
    pub(super) fn is_provisional(&mut self) -> bool {
        let honest = (0..self.world.len()).all(|at| *self.world.host(at).role() == Role::Honest);
        honest && self.away.draw(5) == 0
    }

    /// Now and then a submitter is away in the middle of its job; `fresh` if one was just submitted.
    pub(super) fn perhaps_away(&mut self, fresh: bool) {
        if self.away.delegates.is_empty() {
            return;
        }
        if self.away.draw(8) > 0 && !(fresh && self.away.draw(4) > 0) {
            return;
        }
        let pause = self.away.draw(2 * SECOND * self.slowness.min(4));
        self.world.pass(pause);
        let world = &self.world;
        let runs = |job: &&Job| world.job(job.at, &job.id).is_none_or(|one| one.is_running());
        let ends = |job: &Job| Some((job.at, job.delegate?));
        let jobs: Vec<(Number, Number)> = self.jobs.iter().filter(runs).filter_map(ends).collect();
        if jobs.is_empty() {
            return;
        }
        let (me, delegate) = match self.away.draw(3) {
            0 => jobs[self.away.draw(jobs.len() as u64) as usize],
            _ => jobs[jobs.len() - 1],
        };
        self.leave(me, delegate);
        self.meanwhile(delegate);
        // Who does not come back now does when everything is mended.
        if self.away.draw(4) > 0 {
            self.world.heal();
            self.world.start(me);
            if self.away.draw(3) > 0 {
                self.world.start(delegate);
            }
            self.connect();
            self.interrupt(me, delegate);
        }
    }

    /// Often something happens while the two tell each other what was done.
    fn interrupt(&mut self, me: Number, delegate: Number) {
        let pause = self.away.draw(SECOND);
        match self.away.draw(3) {
            0 => self.world.pass(pause),
            1 => self.world.pass(20 * pause),
            _ => return,
        }
        let one = if self.away.draw(2) == 0 { me } else { delegate };
        match self.away.draw(5) {
            0 => self.world.crash(one),
            1 => self.world.cut_power(one),
            2 => self.world.disconnect(me, delegate),
            3 => self.world.sleep(one, 20 * pause),
            _ => return,
        }
        if self.away.draw(2) == 0 {
            self.world.pass(pause);
            self.world.start(one);
            self.connect();
        }
    }

    /// The submitter goes, in one of many ways.
    fn leave(&mut self, me: Number, delegate: Number) {
        let sides = |how: &mut dyn FnMut(Number) -> bool, hosts| -> Vec<u8> {
            (0..hosts).map(|number| u8::from(how(number))).collect()
        };
        let hosts = self.world.len();
        match self.away.draw(8) {
            0 | 1 => self.world.crash(me),
            2 => self.world.cut_power(me),
            3 => {
                let micros = 60 * SECOND + self.away.draw(200 * SECOND);
                self.world.sleep(me, micros);
            }
            4 => {
                let alone = sides(&mut |number| number == me, hosts);
                self.world.part(alone);
            }
            5 => {
                // Both go on, with some of the workers each.
                let away = &mut self.away;
                let split = sides(
                    &mut |number| {
                        number == me || (number != delegate && below(&mut away.random, 2) == 0)
                    },
                    hosts,
                );
                self.world.part(split);
            }
            6 => {
                let micros = SECOND + self.away.draw(40 * SECOND);
                self.world.stall(me, delegate, micros);
            }
            _ => {
                // Nobody hears the last of it.
                for other in (0..hosts).filter(|other| *other != me) {
                    self.world.stall(me, other, 20 * SECOND);
                }
                self.world.pass(100 * MS);
                self.world.crash(me);
            }
        }
    }

    /// The delegate has the time to take over, or has not, or something happens to it as well.
    fn meanwhile(&mut self, delegate: Number) {
        let after = self.world.host(delegate).plan().carries_after.as_micros() as u64;
        let long = match self.away.draw(4) {
            0 => self.away.draw(after),
            _ => after + self.away.draw(60 * SECOND),
        };
        let until = self.world.after(long);
        while self.world.now() < until {
            let pause = self.away.draw(20 * SECOND) + SECOND;
            self.world.pass(pause);
            if self.away.draw(3) == 0 {
                self.break_one();
            }
            match self.away.draw(12) {
                0 => self.world.crash(delegate),
                1 => self.world.cut_power(delegate),
                2 => {
                    let micros = SECOND + self.away.draw(100 * SECOND);
                    self.world.sleep(delegate, micros);
                }
                3..=6 => {
                    self.world.start(delegate);
                    self.connect();
                }
                _ => {}
            }
        }
    }
}
