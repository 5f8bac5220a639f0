//! A job over a modem line, in all arrangements: `cargo run --bin bench-slow-link`, as root or where
//! user namespaces are allowed. What is measured is said in `tests/src/slow_link.rs`.

use std::process::ExitCode;

use bayan_tests::{
    program::is_only_asked,
    slow_link::{Arrangement, INPUT, Job, Load, Outcome, anatomy},
};

/// Two workers, for a machine of two cores; the CPU bound was 1.4 times the link bound on a quiet one.
const LOAD: Load = Load { tasks: 100, workers: 2, steps: 5_000_000_000 };
/// The CPU bound is to be so much larger than the link bound: otherwise nothing could keep slots busy.
const HEAVIER: f64 = 1.2;
/// What a volunteer server beside the workers has to reach: the part of their time from the module's
/// arrival on that slots hold a task, and the whole over the larger bound.
const BUSY: f64 = 0.9;
const OVER: f64 = 1.3;
/// What a task may take longer there than beside the submitter: the server slows no worker.
const SLOWER: f64 = 1.1;

fn main() -> anyhow::Result<ExitCode> {
    if is_only_asked(
        "Runs one job over a modem line, directly, through a volunteer server and beside it.",
    )? {
        return Ok(ExitCode::SUCCESS);
    }
    let job = Job::new(LOAD)?;
    println!("{LOAD:?}: link bound {:.1?}", job.link_bound());
    println!(
        "frames of a task of {INPUT} bytes in and out, bytes each and bytes for each task in it:"
    );
    for (kind, fixed, each) in anatomy(INPUT) {
        println!("  {kind:<7} {fixed:>4} + {each:>4}");
    }
    println!("{}", Outcome::head());
    let run = |arrangement| {
        let outcome = job.run(arrangement)?;
        println!("{outcome}");
        anyhow::Ok(outcome)
    };
    run(Arrangement::Direct)?;
    let (served, near) = (run(Arrangement::Relayed)?, run(Arrangement::Near)?);
    let heavier = served.cpu_bound.as_secs_f64() / served.link_bound.as_secs_f64();
    let slower = served.cpu_bound.as_secs_f64() / near.cpu_bound.as_secs_f64();
    let targets = [
        ("CPU bound over link bound", heavier, heavier >= HEAVIER, format!("at least {HEAVIER}")),
        ("(b) slots hold a task", served.busy, served.busy >= BUSY, format!("at least {BUSY}")),
        (
            "(b) over the larger bound",
            served.over_bound(),
            served.over_bound() <= OVER,
            format!("at most {OVER}"),
        ),
        ("(b) a task's time over (c)'s", slower, slower <= SLOWER, format!("at most {SLOWER}")),
    ];
    let mut met = 0;
    for (what, figure, is_met, target) in &targets {
        println!("{what:<30} {figure:>6.3}  {target}: {}", if *is_met { "met" } else { "missed" });
        met += usize::from(*is_met);
    }
    println!("{met} of {} targets met", targets.len());
    Ok(if met == targets.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
