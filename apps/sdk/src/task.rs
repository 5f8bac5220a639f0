//! One task: where its input comes from, where its output goes, how its end becomes an exit code.

use std::{
    env,
    io::{self, BufWriter, Read, Write},
    process::ExitCode,
    str::FromStr,
};

use crate::{Args, Failure, args::short_name};

/// One task as its app sees it. Output is written through [`Write`].
pub struct Task<'io> {
    /// The job's arguments.
    pub args: Args,
    input: &'io mut dyn Read,
    output: &'io mut dyn Write,
}

impl Task<'_> {
    /// The input, to be read piece by piece.
    pub fn input(&mut self) -> &mut dyn Read {
        &mut *self.input
    }

    /// All of the input.
    ///
    /// # Errors
    /// Reading broke.
    pub fn bytes(&mut self) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        self.input.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// All of the input as text, without the newline that ends it.
    ///
    /// # Errors
    /// Reading broke, or the input is not UTF-8.
    pub fn text(&mut self) -> Result<String, Failure> {
        let mut text = String::from_utf8(self.bytes()?)
            .map_err(|error| Failure::usage(format!("the input is not UTF-8: {error}")))?;
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Ok(text)
    }

    /// The input as one integer, as the tasks of a range have it.
    ///
    /// # Errors
    /// Reading broke, or the input is anything else than an integer that a `T` can hold.
    pub fn integer<T: FromStr>(&mut self) -> Result<T, Failure> {
        /// More characters than any integer has; keeps a stray file out of the message.
        const SHOWN: usize = 40;
        let text = self.text()?;
        text.trim().parse().map_err(|_| {
            let shown: String = text.chars().take(SHOWN).collect();
            Failure::usage(format!(
                "the input must be one integer of type {}, found {shown:?}",
                short_name::<T>()
            ))
        })
    }
}

impl Write for Task<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Runs `app` on this process's arguments, input and output; what `main` returns.
///
/// A failure is one line on standard error and its exit code.
pub fn run(app: impl FnOnce(&mut Task<'_>) -> Result<(), Failure>) -> ExitCode {
    let mut output = BufWriter::new(io::stdout().lock());
    let ended = Args::parse(env::args_os().skip(1)).and_then(|args| {
        app(&mut Task { args, input: &mut io::stdin().lock(), output: &mut output })?;
        Ok(output.flush()?)
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nothing is left to be done if even this cannot be written.
            let _ = writeln!(io::stderr(), "error: {failure}");
            ExitCode::from(failure.code())
        }
    }
}

/// Runs `app` on the given arguments and input and returns its output: for an app's own tests.
///
/// # Errors
/// What the app failed with.
pub fn call(
    app: impl FnOnce(&mut Task<'_>) -> Result<(), Failure>,
    args: &[&str],
    mut input: &[u8],
) -> Result<Vec<u8>, Failure> {
    let mut output = Vec::new();
    app(&mut Task { args: Args::parse(args)?, input: &mut input, output: &mut output })?;
    Ok(output)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{Task, call};
    use crate::Failure;

    fn double(task: &mut Task<'_>) -> Result<(), Failure> {
        task.args.finish()?;
        let number: i64 = task.integer()?;
        writeln!(task, "{}", 2 * number)?;
        Ok(())
    }

    #[test]
    fn an_integer_may_have_a_newline_and_a_sign() {
        assert_eq!(call(double, &[], b"21\n").unwrap(), b"42\n");
        assert_eq!(call(double, &[], b"-3").unwrap(), b"-6\n");
    }

    #[test]
    fn anything_else_than_an_integer_is_refused_with_code_2() {
        for input in ["", "\n", "x\n", "1 2\n", "1\n2\n", "9223372036854775808\n"] {
            let failure = call(double, &[], input.as_bytes()).unwrap_err();
            assert_eq!(failure.code(), 2, "{input:?}");
            assert!(failure.message().contains("one integer of type i64"), "{failure}");
        }
        let long = call(double, &[], &[b'7'; 5000]).unwrap_err();
        assert!(long.message().len() < 120, "{long}");
    }

    #[test]
    fn text_loses_one_line_ending_only() {
        let echo = |task: &mut Task<'_>| {
            let text = task.text()?;
            Ok(task.write_all(text.as_bytes())?)
        };
        assert_eq!(call(echo, &[], b" a\nb\n\n").unwrap(), b" a\nb\n");
        assert_eq!(call(echo, &[], b"a\r\n").unwrap(), b"a");
        assert_eq!(call(echo, &[], &[0xff]).unwrap_err().code(), 2);
    }
}
