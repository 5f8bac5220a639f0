//! The paper's equation, and the queue's own theory.

/// Erlang's C: the chance that a job finds all `slots` taken under an offered load of `load` < slots.
pub(super) fn erlang_c(load: f64, slots: u32) -> f64 {
    // By the recursion of Erlang's B, which stays finite.
    let blocked = (1..=slots).fold(1.0, |b, slot| load * b / (f64::from(slot) + load * b));
    let m = f64::from(slots);
    m * blocked / (m - load * (1.0 - blocked))
}

/// The mean wait in M/M/m, as a multiple of the mean processing time.
pub(super) fn wait(load: f64, slots: u32) -> f64 {
    erlang_c(load, slots) / (f64::from(slots) - load)
}

/// Equation (5): alpha tp / (tp + Wq), with the wait of a single server of m times the rate.
pub(super) fn equation_five(lambda: f64, slots: u32, hours: f64, alpha: f64) -> f64 {
    let rate = f64::from(slots) / hours;
    let wait = lambda / rate / (rate - lambda);
    alpha * hours / (hours + wait)
}

/// M/M/m with the first part done for nothing and the queue as if nobody did so.
pub(super) fn feedback_free(lambda: f64, slots: u32, hours: f64, alpha: f64) -> f64 {
    alpha / (1.0 + wait(lambda * hours, slots))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erlang_c_of_small_systems() {
        // One slot: the chance to wait is the load.
        assert!((erlang_c(0.3, 1) - 0.3).abs() < 1e-12);
        // Two slots at load 1: 1/3.
        assert!((erlang_c(1.0, 2) - 1.0 / 3.0).abs() < 1e-12);
        assert!(erlang_c(9.5, 46) < 1e-10 && erlang_c(45.6, 46) > 0.9);
    }
}
