//! What one identity can get away with under adaptive replication: the most wrong final results of a
//! worker that plays against the rule as well as it can be played against.
//!
//! # The game
//! A worker returns n results. After k passed checks a result of its is checked with chance rate(k),
//! and k grows by `growth` for each check of its own: one as the first worker, the rest as a replica
//! of others. A wrong result that is checked is found out, unless the replica was in on it, which has
//! the chance `fellows`; so the *effective* rate is e = rate(k) (1 - fellows). Whoever is found out
//! starts again with k = 0, and all its wrong results among the last L are undone. Older ones stand,
//! and at the end of the job what is left stands too.
//!
//! # Without undoing
//! Each wrong result stands with chance 1 - e and ends the run with chance e, so a run yields
//! sum (1 - e)^j = (1 - e) / e wrong results however they are spread over time ([`per_identity`]).
//! Over the n results of a worker of which f are faulty that is a share f (1 - e) / (e n).
//!
//! # With undoing
//! Where n <= L nothing stands unless nothing was found out: w wrong results yield w (1 - e)^w, at
//! best about 1 / (e · 2.718), a third of the above. Where n > L the worker can wait L results after
//! each burst of w wrong ones until they stand, and after it was found out, earn its way back to a
//! low rate. With F(m, t) the most from m results to go, t results after the worker last started over,
//!
//! `F(m, t) = max(F(m-1, t+1), max over w: q (w + F(m-L, t+L)) + (1 - q) F(m-r, 0))`, q = (1 - e(t))^w
//!
//! where r results pass before it can afford to be found out again. A longer play than a burst is no
//! better: wrong results that wait for each other are all lost with the first that is found out.
//! Compared with the exact optimum over every play (all 2^L states of the last L results, L up to 12)
//! F is between 5% too low, where n <= L because k grows during the burst, and 12% too high;
//! [`MARGIN`] covers the former. That a ring loses more than the one who is found out, and that the job
//! ends with one more check of each worker, is left out; both only make cheating dearer.

#[cfg(test)]
mod tests;

use alloc::{vec, vec::Vec};

use crate::standing::FORGIVEN;

/// What [`Game::most`] is multiplied by, for the plays that are slightly better than bursts.
const MARGIN: f64 = 1.1;
/// Steps in which the results that can be undone are looked at.
const PARTS: usize = 16;
/// Jobs of more results a worker than this many times those that can be undone are extrapolated.
const LONG: f64 = 20.0;
/// States of a worker's record, at most; better records count as the best.
const MAX_STATES: usize = 2048;
/// Failures that the sequential test allows before any pass makes up for them.
pub(super) const FREE_FAILURES: f64 = 4.0;

/// Wrong results of one identity until it is found out, on average and whatever its strategy, if each
/// is found out with chance `rate` and none is undone: `(1 - rate) / rate`.
pub fn per_identity(rate: f64) -> f64 {
    (1.0 - rate) / rate
}

/// Wrong results of one identity if being found out once undoes all of them: the largest
/// `w (1 - rate)^w` for w up to `n`.
pub fn per_identity_undone(rate: f64, n: f64) -> f64 {
    let yields = |w: f64| w * libm::pow(1.0 - rate, w);
    // The largest over the reals is at -1 / ln(1 - rate); one of its neighbours is the largest here.
    let around = (-1.0 / libm::log1p(-rate)).min(n);
    yields(libm::floor(around).max(1.0))
        .max(yields(libm::ceil(around).min(libm::floor(n)).max(1.0)))
}

/// A rule of adaptive replication against one kind of worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Game {
    /// The rate is `full / k` between `first` and `floor`.
    pub(super) full: f64,
    /// The highest rate.
    pub(super) first: f64,
    /// The lowest rate.
    pub(super) floor: f64,
    /// Passes for each check.
    pub(super) growth: f64,
    /// The chance that a replica is in on it.
    pub(super) fellows: f64,
    /// The latest results of whoever is found out, of which the wrong ones are undone.
    pub(super) undone: f64,
}

impl Game {
    /// The rate after `k` passed checks.
    pub(super) fn rate(&self, k: f64) -> f64 {
        (self.full / k).min(self.first).max(self.floor)
    }

    /// The k at which the rate begins to fall, and the results it takes to get there from 0.
    fn knee(&self) -> (f64, f64) {
        let k = self.full / self.first;
        (k, k / (self.growth * self.first))
    }

    /// Passes after `t` results: dk/dt = growth · rate(k), so k is linear at first and then
    /// k² = k1² + 2 · growth · full · (t - t1). Beyond the floor only that it is beyond.
    fn passes(&self, t: f64) -> f64 {
        let (knee, at) = self.knee();
        if t <= at {
            return self.growth * self.first * t;
        }
        let square = knee * knee + 2.0 * self.growth * self.full * (t - at);
        libm::sqrt(square).min(self.full / self.floor)
    }

    /// Results after which a worker has passed `k` checks: the inverse of `passes`.
    fn results(&self, k: f64) -> f64 {
        let (knee, at) = self.knee();
        if k <= knee {
            return k / (self.growth * self.first);
        }
        let k = k.min(self.full / self.floor);
        at + (k * k - knee * knee) / (2.0 * self.growth * self.full)
    }

    /// The most wrong final results of a worker that starts at each of the given `ks`, in a job of `n`
    /// results a worker.
    pub(super) fn most(&self, n: f64, ks: &[f64]) -> Vec<f64> {
        // The sequential test lets a few failures pass at once. That is no worse than a job which is
        // longer by what it takes to make up for them.
        let longer = n + FREE_FAILURES * self.recovery();
        let longest = longer.min(LONG * self.undone);
        let best = ks.iter().copied().fold(0.0, f64::max);
        let table = Table::new(self, longest, best);
        ks.iter()
            .map(|k| {
                let state = libm::ceil(self.results(*k) / table.step) as usize;
                let most = table.at(table.steps(), state);
                // Long jobs go on as they went during the last `undone` results of the table.
                let slope = match longer > longest {
                    true => (most - table.at(table.steps() - table.block, state)) / self.undone,
                    false => 0.0,
                };
                (MARGIN * (most + slope * (longer - longest))).min(n)
            })
            .collect()
    }

    /// Results that pass before a failure is made up for in the sequential test, where nothing else
    /// keeps a worker that was found out from cheating again at once: at rate 1, each wrong result of
    /// one without fellows is found out.
    fn recovery(&self) -> f64 {
        if self.fellows == 0.0 && self.first == 1.0 {
            return 0.0;
        }
        f64::from(FORGIVEN) / (self.growth * self.first)
    }
}

/// F of the module's documentation, in steps of some results.
struct Table {
    /// Results a step.
    step: f64,
    /// Steps until a wrong result stands.
    block: usize,
    /// A row for each number of steps to go; in it a column for each number of steps since the worker
    /// started over, of which the last stands for all further ones.
    rows: Vec<Vec<f64>>,
}

impl Table {
    /// For `n` results of workers of which the best has passed `k` checks.
    fn new(game: &Game, n: f64, k: f64) -> Self {
        let waiting = game.undone.min(n).max(1.0);
        let block = PARTS.min(waiting as usize);
        let step = waiting / block as f64;
        let steps = (libm::ceil(n / step) as usize).max(1);
        let passing = Self::passing(game, step, steps, k);
        // At the least, the result that was found out is lost.
        let lost = (game.recovery().max(1.0) / step).min(1.0);
        let mut table = Self { step, block, rows: vec![vec![0.0; passing.len()]] };
        for left in 1..=steps {
            let block = block.min(left);
            let mut row: Vec<f64> = Vec::with_capacity(passing.len());
            let before = table.at(left - 1, 0);
            for (state, passing) in passing.iter().enumerate() {
                let then = table.at(left - block, state + block);
                let value = |w: f64, q: f64| {
                    let stands = q * (w + then);
                    match row.first() {
                        Some(now) => stands + (1.0 - q) * (lost * before + (1.0 - lost) * now),
                        // Who starts over arrives where it was: solved for the value itself.
                        None => {
                            (stands + (1.0 - q) * lost * before) / (1.0 - (1.0 - q) * (1.0 - lost))
                        }
                    }
                };
                let burst = best_burst(*passing, block as f64 * step, value);
                row.push(burst.max(table.at(left - 1, state + 1)));
            }
            table.rows.push(row);
        }
        table
    }

    /// The chance that a wrong result passes, for each state.
    fn passing(game: &Game, step: f64, steps: usize, k: f64) -> Vec<f64> {
        let ahead = step * steps as f64;
        let farthest = game.results(k) + ahead;
        let bottom = game.results(game.full / game.floor).min(farthest);
        let last = (libm::ceil(bottom / step) as usize + 1).min(MAX_STATES);
        let rate = |state: usize| match state < last {
            true => game.rate(game.passes(state as f64 * step)),
            false => game.rate(k + game.growth * ahead),
        };
        (0..=last).map(|state| 1.0 - rate(state) * (1.0 - game.fellows)).collect()
    }

    fn steps(&self) -> usize {
        self.rows.len() - 1
    }

    fn at(&self, left: usize, state: usize) -> f64 {
        let row = &self.rows[left];
        row[state.min(row.len() - 1)]
    }
}

/// The best value over bursts of 1 to `most` wrong results, each of which passes with chance `passing`.
fn best_burst(passing: f64, most: f64, value: impl Fn(f64, f64) -> f64) -> f64 {
    let (mut best, mut w, mut q) = (0.0, 0.0, 1.0);
    // The values rise to one maximum and fall from there.
    while w + 1.0 <= most {
        w += 1.0;
        q *= passing;
        let next = if q > 0.0 { value(w, q) } else { 0.0 };
        if next <= best {
            break;
        }
        best = next;
    }
    best
}
