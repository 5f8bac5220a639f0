//! The program `bayan`; see [`bayan::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    bayan::cli::main()
}
