//! A job over a modem line, in all arrangements: `cargo run --bin bench-slow-link`, as root or where
//! user namespaces are allowed. What is measured is said in `tests/src/slow_link.rs`.

use bayan_tests::slow_link::{Arrangement, INPUT, Job, Load, Outcome, anatomy, can_relay};

/// Two workers, for a machine of two cores; the CPU bound is about 1.3 times the link bound.
const LOAD: Load = Load { tasks: 100, workers: 2, steps: 4_000_000_000 };

fn main() -> anyhow::Result<()> {
    let job = Job::new(LOAD)?;
    println!("{LOAD:?}: link bound {:.1?}, CPU bound {:.1?}", job.link_bound(), job.cpu_bound());
    println!(
        "frames of a task of {INPUT} bytes in and out, bytes each and bytes for each task in it:"
    );
    for (kind, fixed, each) in anatomy(INPUT) {
        println!("  {kind:<7} {fixed:>4} + {each:>4}");
    }
    println!("{}", Outcome::head());
    for arrangement in [Arrangement::Direct, Arrangement::Relayed, Arrangement::Near] {
        if arrangement == Arrangement::Relayed && !can_relay()? {
            println!("(b) server  this build has no volunteer servers");
            continue;
        }
        println!("{}", job.run(arrangement)?);
    }
    Ok(())
}
