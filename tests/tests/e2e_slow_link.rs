//! A job whose submitter sits behind a modem line comes to its end in every arrangement, over it or
//! beside it, and what it says on the line is bounded.

use anyhow::ensure;
use bayan_tests::slow_link::{Arrangement, Job, Load, Outcome};

/// Small, so that the test is quick; the program `bench-slow-link` measures a larger one.
const LOAD: Load = Load { tasks: 24, workers: 2, steps: 300_000_000 };

fn ends_well(arrangement: Arrangement) -> anyhow::Result<Outcome> {
    let outcome = Job::new(LOAD)?.run(arrangement)?;
    println!("{}\n{outcome}", Outcome::head());
    Ok(outcome)
}

#[test]
fn workers_are_reached_over_the_line() -> anyhow::Result<()> {
    let outcome = ends_well(Arrangement::Direct)?;
    ensure!(outcome.wall > outcome.link_bound.mul_f64(0.5), "the line was not slow");
    Ok(())
}

#[test]
fn workers_are_reached_through_a_server_beside_them() -> anyhow::Result<()> {
    ends_well(Arrangement::Relayed).map(drop)
}

#[test]
fn workers_are_beside_the_submitter() -> anyhow::Result<()> {
    ends_well(Arrangement::Near).map(drop)
}
