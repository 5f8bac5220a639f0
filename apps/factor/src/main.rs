//! The guest: standard input holds a packet's index, standard output gets the divisors in it.

use std::process::ExitCode;

fn main() -> ExitCode {
    bayan_guest::run(factor::task)
}
