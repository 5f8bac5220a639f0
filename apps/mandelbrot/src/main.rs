//! The guest: standard input holds a block's index, standard output gets its counts.

use std::process::ExitCode;

fn main() -> ExitCode {
    bayan_guest::run(mandelbrot::task)
}
