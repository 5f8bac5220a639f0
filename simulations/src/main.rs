//! The program `bayan-sim`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    bayan_simulations::cli::main()
}
