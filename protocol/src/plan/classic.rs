//! The policies of the literature in closed form.
//!
//! Throughout, `faulty` is the part of workers that cheat and `n` the results that one observer has of
//! one worker. Sources: Sarmenta, "Sabotage-tolerance mechanisms for volunteer computing systems"
//! (2002) for voting, spot-checks and credibility; Anderson, "BOINC: a platform for volunteer
//! computing" (2020) for adaptive replication.

use core::f64::consts::E;

use crate::verify::BOINC_TRUSTED;

/// Wrong results among those accepted by the first `m` equal votes, where each vote is wrong with
/// chance `wrong` and all wrong votes agree: that of m or more wrong ones among 2m - 1.
///
/// `eps = sum over j = m..2m-1 of C(2m-1, j) wrong^j (1 - wrong)^(2m-1-j)`
pub fn vote_error(m: u32, wrong: f64) -> f64 {
    if wrong <= 0.0 || m == 0 {
        return 0.0;
    }
    if wrong >= 1.0 {
        return 1.0;
    }
    let all = f64::from(m) * 2.0 - 1.0;
    let (mut sum, mut log_choose) = (0.0, 0.0);
    for j in 0..2 * u64::from(m) {
        let right = all - j as f64;
        if j >= u64::from(m) {
            let log = log_choose + j as f64 * libm::log(wrong) + right * libm::log1p(-wrong);
            sum += libm::exp(log);
        }
        // C(all, j + 1) from C(all, j), as logarithms because m may be large.
        log_choose += libm::log(right.max(1.0)) - libm::log(j as f64 + 1.0);
    }
    sum.min(1.0)
}

/// Executions per result under the first `m` equal votes with `wrong` of the votes wrong:
/// `m / (1 - wrong)`.
pub fn vote_redundancy(m: u32, wrong: f64) -> f64 {
    f64::from(m) / (1.0 - wrong)
}

/// Wrong results among those accepted when a part `checked` of each worker's `n` results is compared
/// with the truth, everything of whoever was wrong once is dropped, and faulty workers are wrong in a
/// part `wrong` of theirs.
///
/// `eps = s f (1 - q s)^n / ((1 - f) + f (1 - q s)^n)` with q = `checked`, s = `wrong`, f = `faulty`
pub fn spot_error(checked: f64, n: f64, faulty: f64, wrong: f64) -> f64 {
    let unseen = libm::pow(1.0 - checked * wrong, n);
    wrong * faulty * unseen / ((1.0 - faulty) + faulty * unseen)
}

/// The worst [`spot_error`] over all ways to cheat, close to its maximum at
/// `s = min(1, 1 / (q (n + 1)))`; less than `f / (1 - f) / (q n e)`.
pub fn spot_worst(checked: f64, n: f64, faulty: f64) -> f64 {
    spot_error(checked, n, faulty, (1.0 / (checked * (n + 1.0))).min(1.0))
}

/// Executions per result when a part `checked` of all work is checks: `1 / (1 - q)`.
pub fn spot_slowdown(checked: f64) -> f64 {
    1.0 / (1.0 - checked)
}

/// The chance that a worker's next result is right after `k` checks passed, where whoever fails one is
/// dropped with all of its results (`blacklist`: `1 - f / ((1 - f) k e)`) or may come back under a new
/// name (`1 - f / k`); never below `1 - f`.
pub fn credibility(faulty: f64, k: f64, blacklist: bool) -> f64 {
    let doubt = if blacklist { faulty / ((1.0 - faulty) * k * E) } else { faulty / k };
    (1.0 - doubt).max(1.0 - faulty)
}

/// The chance that each group of equal results of one task is the right one, given the credibilities
/// of those in it: with odds `O_g = product of c / (1 - c)`, group a is right with `O_a / (1 + sum O)`.
pub fn group_credibility<'a>(
    groups: impl Iterator<Item = &'a [f64]> + Clone,
) -> impl Iterator<Item = f64> {
    // Logarithms of odds, relative to the largest, so that large groups stay finite.
    let log_odds =
        |group: &[f64]| group.iter().map(|c| libm::log(*c) - libm::log1p(-*c)).sum::<f64>();
    let most = groups.clone().map(log_odds).fold(0.0, f64::max);
    let all = libm::exp(-most)
        + groups.clone().map(|group| libm::exp(log_odds(group) - most)).sum::<f64>();
    groups.map(move |group| libm::exp(log_odds(group) - most) / all)
}

/// About the executions per result of credibility-based acceptance at `1 - error`, with a part
/// `checked` of work being spot-checks and `n` tasks per worker, while nobody is caught.
///
/// Not Sarmenta's: m equal results suffice once each worker's credibility has reached the odds
/// `((1 - error) / error)^(1/m)`, which takes a number of checks and therefore a number of results a
/// worker. All work is done `m` times, or until the checks are there, whichever is more; the cheapest
/// m counts. Simulations lie within a fifth of this, and up to `1 / (1 - f)` above when the faulty are
/// caught late.
pub fn credibility_executions(error: f64, faulty: f64, checked: f64, n: f64) -> f64 {
    (1..=64)
        .map(|m| {
            let odds = libm::pow((1.0 - error) / error, 1.0 / f64::from(m));
            let doubt = 1.0 / (1.0 + odds);
            let checks = if doubt >= faulty { 0.0 } else { faulty / ((1.0 - faulty) * E * doubt) };
            (f64::from(m) * spot_slowdown(checked)).max(checks / (checked * n))
        })
        .fold(f64::INFINITY, f64::min)
}

/// The part of a host's results that BOINC replicates after `valid` consecutive valid ones: all below
/// ten, then `1 / valid`.
pub fn boinc_rate(valid: f64) -> f64 {
    if valid < f64::from(BOINC_TRUSTED) { 1.0 } else { 1.0 / valid }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    /// The smallest m whose error is at most `error`.
    fn votes(wrong: f64, error: f64) -> u32 {
        (1..).find(|m| vote_error(*m, wrong) <= error).unwrap()
    }

    fn near(found: f64, expected: f64, tolerance: f64) {
        assert!((found / expected - 1.0).abs() <= tolerance, "{found:e}, not {expected:e}");
    }

    #[test]
    fn votes_for_an_error() {
        let table = [
            (0.05, [(2, 2.1), (4, 4.2), (5, 5.3)]),
            (0.1, [(3, 3.3), (5, 5.6), (7, 7.8)]),
            (0.2, [(7, 8.8), (11, 13.8), (16, 20.0)]),
            (0.3, [(16, 23.0), (28, 40.0), (40, 57.0)]),
            (0.35, [(29, 45.0), (51, 78.0), (74, 114.0)]),
        ];
        for (wrong, row) in table {
            for (error, (m, redundancy)) in [1e-2, 1e-3, 1e-4].into_iter().zip(row) {
                assert_eq!(votes(wrong, error), m, "{wrong} {error}");
                near(vote_redundancy(m, wrong), redundancy, 0.02);
            }
        }
        // The first two of the three that Watanabe and Fukushi print; the third is "over 50".
        assert_eq!((votes(0.35, 0.05), votes(0.35, 0.01)), (15, 29));
        assert!(votes(0.35, 0.001) > 50);
    }

    #[test]
    fn the_worst_that_spot_checks_let_through() {
        let table = [
            (0.1, [3.9e-3, 3.9e-4, 7.9e-5]),
            (0.2, [8.4e-3, 8.5e-4, 1.7e-4]),
            (0.3, [1.4e-2, 1.4e-3, 2.7e-4]),
        ];
        for (faulty, row) in table {
            for (n, expected) in [100.0, 1000.0, 5000.0].into_iter().zip(row) {
                let worst = spot_worst(0.1, n, faulty);
                near(worst, expected, 0.05);
                assert!(worst < faulty / (1.0 - faulty) / (0.1 * n * E));
                let found = (1..=1000).map(|s| spot_error(0.1, n, faulty, f64::from(s) / 1000.0));
                assert!(found.fold(0.0, f64::max) < worst * 1.06);
            }
        }
        near(spot_slowdown(0.1), 1.111, 1e-3);
    }

    #[test]
    fn credibility_grows_with_checks_and_groups() {
        assert_eq!(credibility(0.2, 0.0, true), 0.8);
        near(1.0 - credibility(0.2, 100.0, true), 0.25 / (100.0 * E), 1e-9);
        near(1.0 - credibility(0.2, 100.0, false), 0.002, 1e-9);
        let groups = [&[0.8, 0.8][..], &[0.8][..]];
        let right: Vec<f64> = group_credibility(groups.into_iter()).collect();
        near(right[0], 16.0 / 21.0, 1e-9);
        near(right[1], 4.0 / 21.0, 1e-9);
        let crowd = [0.999_999; 500];
        assert_eq!(group_credibility([&crowd[..]].into_iter()).next(), Some(1.0));
    }

    #[test]
    fn what_credibility_costs() {
        // 10,000 tasks, 200 workers, a tenth of work spot-checks, faulty workers blacklisted.
        let table = [
            (0.05, [(1.13, 1.15), (2.23, 2.26), (2.23, 2.26)]),
            (0.1, [(1.37, 1.41), (2.24, 2.30), (2.24, 2.30)]),
            (0.2, [(1.80, 1.97), (2.26, 2.39), (2.32, 2.50)]),
            (0.3, [(2.13, 2.40), (2.29, 2.52), (2.67, 3.22)]),
        ];
        for (faulty, row) in table {
            for (error, (low, high)) in [1e-2, 1e-3, 1e-4].into_iter().zip(row) {
                let about = credibility_executions(error, faulty, 0.1, 50.0);
                assert!(about > low * 0.8 && about < high * 1.01, "{faulty} {error}: {about}");
            }
        }
    }
}
