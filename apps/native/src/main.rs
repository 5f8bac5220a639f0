//! Runs a job's tasks one after another, through the same kernels as the guests but without
//! WebAssembly, and writes their outputs one after another: what a job's results must equal.

use std::{
    env,
    ffi::OsString,
    io::{self, BufWriter, Write},
    ops::Range,
    process::ExitCode,
    str::FromStr,
};

use bayan_guest::{Args, Failure};
use factor::Search;
use mandelbrot::Picture;

const USAGE: &str = "\
Usage: bayan-native mandelbrot|factor [--range A..B] [the app's own arguments]

Runs the tasks A to B-1 of a job (all of them if no range is given) one after
another and writes their outputs, joined, to standard output.";

fn main() -> ExitCode {
    match run(env::args_os().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

/// Runs what the command line asks for.
fn run(mut words: impl Iterator<Item = OsString>) -> Result<(), Failure> {
    let app = words.next().unwrap_or_default();
    if app == "--help" || app == "-h" {
        println!("{USAGE}");
        return Ok(());
    }
    let mut args = Args::parse(words)?;
    let Span(span) = args.take_or("range", Span(None))?;
    let mut output = BufWriter::new(io::stdout().lock());
    match app.to_str().unwrap_or_default() {
        "mandelbrot" => {
            let picture = Picture::from_args(&mut args)?;
            for index in span.unwrap_or(0..picture.blocks()) {
                output.write_all(&picture.block(index)?)?;
            }
        }
        "factor" => {
            let search = Search::from_args(&mut args)?;
            for index in span.unwrap_or(0..search.packets()) {
                output.write_all(search.packet(index)?.as_bytes())?;
            }
        }
        _ => return Err(Failure::usage(USAGE)),
    }
    Ok(output.flush()?)
}

/// The tasks to run, `A..B` without `B`; all of them if none are named.
#[derive(Debug, PartialEq, Eq)]
struct Span(Option<Range<u64>>);

impl FromStr for Span {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (start, end) = text.split_once("..").ok_or(())?;
        let range = start.parse().map_err(|_| ())?..end.parse().map_err(|_| ())?;
        if range.start <= range.end { Ok(Self(Some(range))) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::Span;

    #[test]
    fn a_range_is_two_numbers_in_order() {
        assert_eq!("3..7".parse(), Ok(Span(Some(3..7))));
        assert_eq!("3..3".parse(), Ok(Span(Some(3..3))));
        for bad in ["", "3", "..", "3..", "..7", "7..3", "3..=7", "a..b", "-1..2"] {
            assert_eq!(bad.parse::<Span>(), Err(()), "{bad}");
        }
    }
}
