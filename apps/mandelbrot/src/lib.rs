//! Iteration counts of the Mandelbrot set, block by block.
//!
//! A [`Picture`] is cut into square blocks, numbered row by row from the top left; blocks at the
//! right and bottom edges are smaller where the sides do not divide. Task `i` computes block `i`:
//! a little-endian `u16` per pixel, row by row, the number of steps `z = z*z + c` from `z = 0`
//! before `|z| > 2`, and the depth itself where that never happened.
//!
//! The kernel uses IEEE addition, subtraction, multiplication and one division, each correctly
//! rounded on every target, and no library function: native code and WebAssembly agree to the bit.
//! Interior points are iterated to the full depth on purpose: this app is also a measure of work.

mod picture;

use std::io::Write;

use bayan_guest::{Failure, Task};

pub use picture::{Picture, Rectangle, Settings};

/// One task of the app: reads a block's index, writes its counts.
///
/// # Errors
/// Arguments that make no picture, an index outside it, broken input or output.
pub fn task(task: &mut Task<'_>) -> Result<(), Failure> {
    let picture = Picture::from_args(&mut task.args)?;
    let index = task.integer()?;
    let counts = picture.block(index)?;
    Ok(task.write_all(&counts)?)
}

#[cfg(test)]
mod tests {
    use bayan_guest::call;

    use super::task;

    const SMALL: [&str; 8] = ["--width", "7", "--height", "5", "--block", "4", "--depth", "50"];

    #[test]
    fn a_task_writes_its_block() {
        assert_eq!(call(task, &SMALL, b"0\n").unwrap().len(), 4 * 4 * 2);
        assert_eq!(call(task, &SMALL, b"3\n").unwrap().len(), 3 * 2);
    }

    #[test]
    fn bad_arguments_and_indices_end_with_code_2() {
        for (args, input) in [
            (&SMALL[..], "4\n"),
            (&SMALL[..], "-1\n"),
            (&SMALL[..], "corner\n"),
            (&["--width", "0"][..], "0\n"),
            (&["--depth", "65536"][..], "0\n"),
            (&["--scale", "nan"][..], "0\n"),
            (&["--colour", "red"][..], "0\n"),
        ] {
            assert_eq!(
                call(task, args, input.as_bytes()).unwrap_err().code(),
                2,
                "{args:?} {input}"
            );
        }
    }
}
