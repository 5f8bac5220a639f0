//! The sequential test as an exact Markov chain: its states are the values that the statistic can
//! take, its steps the rule itself. So the chances of a ban are computed, not sampled.

use alloc::{collections::BTreeMap, vec, vec::Vec};

use super::{CONVICTION, weigh};

/// Where each state leads by a pass and by a failure. State 0 is the ban, state 1 a newcomer.
struct Chain(Vec<[usize; 2]>);

const BANNED: usize = 0;
const NEWCOMER: usize = 1;

impl Chain {
    /// The states within `depth` failures of one another without a return to the least value; deeper
    /// ones are merged into the ban, so the chances of a ban are bounded from above.
    fn new(depth: u32) -> Self {
        let mut index = BTreeMap::from([(0, NEWCOMER)]);
        let mut values = vec![(0, 1), (0, 1)];
        let mut to = vec![[BANNED; 2]];
        while let Some((llr, failures)) = values.get(to.len()).copied() {
            let fallen = weigh(llr, true);
            let risen = weigh(llr, false);
            let least = weigh(fallen, true) == fallen;
            to.push([(fallen, if least { 0 } else { failures }), (risen, failures + 1)].map(
                |(llr, failures)| {
                    if llr >= CONVICTION || failures > depth {
                        return BANNED;
                    }
                    *index.entry(llr).or_insert_with(|| {
                        values.push((llr, failures));
                        values.len() - 1
                    })
                },
            ));
        }
        Self(to)
    }

    /// The chance of a ban within the first n checks of a host that errs in `errors` of its results,
    /// for n = 0, 1, 2, …
    fn bans(&self, errors: f64) -> impl Iterator<Item = f64> + '_ {
        let mut now = vec![0.0; self.0.len()];
        now[NEWCOMER] = 1.0;
        core::iter::successors(Some((now, 0.0)), move |(now, banned)| {
            let mut next = vec![0.0; now.len()];
            for (mass, [pass, fail]) in now.iter().zip(&self.0) {
                next[*pass] += mass * (1.0 - errors);
                next[*fail] += mass * errors;
            }
            let banned = banned + core::mem::take(&mut next[BANNED]);
            Some((next, banned))
        })
        .map(|(_, banned)| banned)
    }

    /// Checks until the ban, on average.
    fn checks(&self, errors: f64) -> f64 {
        self.bans(errors).map(|banned| 1.0 - banned).take_while(|still| *still > 1e-12).sum()
    }
}

fn assert_near(found: f64, expected: f64) {
    assert!((found / expected - 1.0).abs() < 1e-6, "{found:e}, not {expected:e}");
}

#[test]
fn a_flaky_host_is_rarely_banned_and_a_good_one_never() {
    let chain = Chain::new(20);
    // One error in 500 results; false bans are to stay below 1e-4 in 10^5 checks.
    let flaky = chain.bans(0.002).nth(100_000).unwrap();
    assert_near(flaky, 3.789_194e-5);
    // One in 10,000.
    let good = chain.bans(0.0001).nth(10_000).unwrap();
    assert_near(good, 7.173_231e-14);
}

#[test]
fn a_host_that_errs_often_is_banned_soon() {
    let chain = Chain::new(60);
    assert_near(chain.checks(1.0), 4.0);
    assert_near(chain.checks(0.5), 9.875);
    assert_near(chain.checks(0.1), 53.890_155);
    assert_near(chain.checks(0.05), 140.445_803);
}
