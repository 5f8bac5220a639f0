//! Means, quantiles and bootstrap intervals.
//!
//! Results of one worker are not independent of one another, nor are workers of one world. So
//! intervals resample whole worlds (one a seed) and, where a number is one of each identity,
//! identities within them; never single results.

use fastrand::Rng;

/// Resamples behind an interval.
const RESAMPLES: usize = 2000;
/// Half of what is outside an interval.
const TAIL: f64 = 0.025;

/// A number with its 95% interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// What was found.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Estimate {
    /// A number that was computed, not sampled.
    pub fn exact(value: f64) -> Self {
        Self { value, low: value, high: value }
    }

    /// Half the interval's width.
    pub fn half_width(&self) -> f64 {
        (self.high - self.low) / 2.0
    }

    /// The same in another unit.
    pub fn scaled(&self, factor: f64) -> Self {
        Self { value: self.value * factor, low: self.low * factor, high: self.high * factor }
    }
}

/// Mean of some numbers; zero of none.
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// The value below which a part `share` of the numbers lies, interpolated; zero of none.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile_of_sorted(&sorted, share)
}

fn quantile_of_sorted(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = share.clamp(0.0, 1.0) * last as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

/// Sum of numerators over sum of denominators, with an interval over the pairs: one pair a world.
///
/// Where no numerator is above zero, resampling would say "never"; the upper end is then three over
/// the denominators' sum, the largest rate under which seeing none is not yet surprising.
pub fn ratio(worlds: &[(f64, f64)], seed: u64) -> Estimate {
    let of = |sums: (f64, f64)| if sums.1 > 0.0 { sums.0 / sums.1 } else { 0.0 };
    let add = |sums: (f64, f64), one: &(f64, f64)| (sums.0 + one.0, sums.1 + one.1);
    let all = worlds.iter().fold((0.0, 0.0), add);
    if all.0 == 0.0 {
        let high = if all.1 > 0.0 { 3.0 / all.1 } else { 0.0 };
        return Estimate { value: 0.0, low: 0.0, high };
    }
    let mut rng = Rng::with_seed(seed);
    let resampled = (0..RESAMPLES).map(|_| {
        let drawn = (0..worlds.len()).map(|_| worlds[rng.usize(..worlds.len())]);
        of(drawn.fold((0.0, 0.0), |sums, one| add(sums, &one)))
    });
    interval(of(all), resampled.collect())
}

/// A statistic of all identities, with an interval over worlds and identities within them. Where all
/// are zero the upper end is that of [`ratio`], with identities in place of results.
pub fn over_identities(
    worlds: &[Vec<f64>],
    seed: u64,
    statistic: impl Fn(&[f64]) -> f64,
) -> Estimate {
    let all: Vec<f64> = worlds.concat();
    if all.is_empty() {
        return Estimate::exact(0.0);
    }
    if all.iter().all(|one| *one == 0.0) {
        return Estimate { value: 0.0, low: 0.0, high: 3.0 / all.len() as f64 };
    }
    let mut rng = Rng::with_seed(seed);
    let resampled = (0..RESAMPLES / 4).map(|_| {
        let mut drawn = Vec::with_capacity(all.len());
        for _ in 0..worlds.len() {
            let world = &worlds[rng.usize(..worlds.len())];
            drawn.extend((0..world.len()).map(|_| world[rng.usize(..world.len())]));
        }
        statistic(&drawn)
    });
    interval(statistic(&all), resampled.collect())
}

fn interval(value: f64, mut resampled: Vec<f64>) -> Estimate {
    resampled.sort_by(f64::total_cmp);
    let low = quantile_of_sorted(&resampled, TAIL);
    let high = quantile_of_sorted(&resampled, 1.0 - TAIL);
    Estimate { value, low: low.min(value), high: high.max(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_interpolated() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(quantile(&values, 0.0), 1.0);
        assert_eq!(quantile(&values, 0.5), 2.5);
        assert_eq!(quantile(&values, 1.0), 4.0);
        assert_eq!((quantile(&[], 0.5), mean(&[]), mean(&values)), (0.0, 0.0, 2.5));
    }

    #[test]
    fn an_interval_holds_the_truth_about_as_often_as_it_says() {
        let mut rng = Rng::with_seed(3);
        let mut held = 0;
        for trial in 0..200 {
            // Worlds of 50 results each, wrong with chance 0.3.
            let world = |rng: &mut Rng| (0..50).filter(|_| rng.f64() < 0.3).count() as f64;
            let worlds: Vec<(f64, f64)> = (0..40).map(|_| (world(&mut rng), 50.0)).collect();
            let found = ratio(&worlds, trial);
            held += usize::from(found.low <= 0.3 && 0.3 <= found.high);
        }
        assert!((175..=199).contains(&held), "{held} of 200");
    }

    #[test]
    fn results_of_one_world_do_not_count_as_many() {
        // Ten worlds that are all wrong or all right: the interval is as wide as ten coin throws.
        let worlds: Vec<(f64, f64)> = (0..10).map(|at| (f64::from(at % 2) * 1e5, 1e5)).collect();
        let found = ratio(&worlds, 1);
        assert!(found.low < 0.3 && found.high > 0.7, "{found:?}");
        let identities: Vec<Vec<f64>> = (0..10).map(|at| vec![f64::from(at % 2); 1000]).collect();
        let found = over_identities(&identities, 1, mean);
        assert!(found.low < 0.3 && found.high > 0.7, "{found:?}");
    }

    #[test]
    fn where_nothing_was_seen_the_upper_end_is_not_zero() {
        assert_eq!(ratio(&[(0.0, 1500.0), (0.0, 1500.0)], 1).high, 1e-3);
    }

    #[test]
    fn the_same_seed_gives_the_same_interval() {
        let worlds: Vec<(f64, f64)> = (0..20).map(|at| (f64::from(at), 100.0)).collect();
        assert_eq!(ratio(&worlds, 9), ratio(&worlds, 9));
        assert_ne!(ratio(&worlds, 9), ratio(&worlds, 10));
    }
}
