//! Trial division of one number, packet by packet.
//!
//! Every divisor `d` of `N` up to its square root belongs to a pair `d * c = N`, so it is enough to
//! try the integers up to `floor(sqrt(N))`. They are cut into packets of a given size: packet `i`
//! holds the candidates from `i * size` to `(i + 1) * size - 1`, without 0 and 1, and the last one
//! ends at the root. An odd number has no even divisor, so its even candidates are passed over;
//! they still count towards a packet's size.
//!
//! Task `i` writes one line `DIVISOR COFACTOR KIND` for each divisor in packet `i`, smallest first,
//! where kind is `prime` or `composite` and speaks of the divisor. The distinct prime factors of
//! `N` are the prime divisors over all packets and, once `N` has been divided by those as often as
//! they go, whatever is left above 1.
//!
//! The classic run is `N = 1234567890123456789`, whose root is 1111111106: 112 packets of 10^7.

mod trial;

use std::io::Write;

use bayan_guest::{Failure, Task};

pub use trial::{Divisor, Search};

/// One task of the app: reads a packet's index, writes the divisors found in it.
///
/// # Errors
/// Arguments that make no search, an index outside it, broken input or output.
pub fn task(task: &mut Task<'_>) -> Result<(), Failure> {
    let search = Search::from_args(&mut task.args)?;
    let index = task.integer()?;
    let lines = search.packet(index)?;
    Ok(task.write_all(lines.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use bayan_guest::call;

    use super::task;

    #[test]
    fn a_task_writes_its_divisors() {
        let args = ["--number", "84", "--packet", "5"];
        assert_eq!(call(task, &args, b"0\n").unwrap(), b"2 42 prime\n3 28 prime\n4 21 composite\n");
        assert_eq!(call(task, &args, b"1\n").unwrap(), b"6 14 composite\n7 12 prime\n");
    }

    #[test]
    fn bad_arguments_and_indices_end_with_code_2() {
        for (args, input) in [
            (&["--number", "84", "--packet", "5"][..], "2\n"),
            (&["--number", "84", "--packet", "5"][..], "\n"),
            (&["--number", "84", "--packet", "0"][..], "0\n"),
            (&["--number", "1"][..], "0\n"),
            (&["--number", "18446744073709551616"][..], "0\n"),
            (&["--packet", "5"][..], "0\n"),
            (&["--number", "84", "--base", "10"][..], "0\n"),
        ] {
            assert_eq!(
                call(task, args, input.as_bytes()).unwrap_err().code(),
                2,
                "{args:?} {input}"
            );
        }
    }
}
