//! Measurements taken in turns, and what is told of them.

/// What one alternative took in each turn, in any unit.
#[derive(Debug, Clone, Default)]
pub struct Turns(pub Vec<f64>);

/// A quotient of two alternatives, taken turn by turn.
#[derive(Debug, Clone, Copy)]
pub struct Ratio {
    /// Half of the turns gave less.
    pub median: f64,
    /// The smallest of all turns.
    pub min: f64,
    /// The greatest of all turns.
    pub max: f64,
    /// Of the quickest turn of each side: what a quiet machine would show.
    pub best: f64,
}

impl Turns {
    /// Half of the turns took less. NaN if there was none.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => sorted[n / 2],
            n => sorted[n / 2 - 1].midpoint(sorted[n / 2]),
        }
    }

    /// The least that a turn took. NaN if there was none.
    pub fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::min)
    }

    /// The most that a turn took. NaN if there was none.
    pub fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NAN, f64::max)
    }

    /// What this took, measured by what `base` took in the same turns. None unless both were
    /// measured in all of them.
    pub fn over(&self, base: &Self) -> Option<Ratio> {
        let measured = |turns: &Self| !turns.0.is_empty() && turns.0.iter().all(|turn| *turn > 0.0);
        if self.0.len() != base.0.len() || !measured(self) || !measured(base) {
            return None;
        }
        let turns = Self(self.0.iter().zip(&base.0).map(|(a, b)| a / b).collect());
        Some(Ratio {
            median: turns.median(),
            min: turns.min(),
            max: turns.max(),
            best: self.min() / base.min(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Turns;

    #[test]
    fn ratios_are_taken_turn_by_turn() {
        let slow = Turns(vec![20.0, 4.0, 60.0]);
        let ratio = slow.over(&Turns(vec![10.0, 1.0, 30.0])).unwrap();
        assert_eq!((ratio.median, ratio.min, ratio.max, ratio.best), (2.0, 2.0, 4.0, 4.0));
    }

    #[test]
    fn nothing_is_told_of_what_was_not_measured() {
        let turns = Turns(vec![1.0, 2.0]);
        assert!(turns.over(&Turns(vec![1.0])).is_none());
        assert!(turns.over(&Turns(vec![1.0, 0.0])).is_none());
        assert!(Turns::default().over(&Turns::default()).is_none());
        assert!(Turns::default().median().is_nan());
    }
}
