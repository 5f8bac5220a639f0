//! A job's arguments as `--name value` pairs.

use std::{any::type_name, ffi::OsString, str::FromStr};

use crate::Failure;

/// A job's arguments: pairs of `--name value`, or `--name=value`.
///
/// Each is taken once, by name; [`Args::finish`] then refuses what nobody took, so that a misspelt
/// name is an error and not a silent default.
///
/// ```
/// let mut args = bayan_guest::Args::parse(["--width", "640"])?;
/// assert_eq!(args.take_or("width", 800)?, 640);
/// assert_eq!(args.take_or("height", 600)?, 600);
/// args.finish()?;
/// # Ok::<(), bayan_guest::Failure>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Args {
    /// In the order given; names are distinct.
    pairs: Vec<(String, String)>,
}

impl Args {
    /// Reads the pairs in `args`, which start after the program's own name.
    ///
    /// # Errors
    /// A word where a `--name` belongs, a name without a value or given twice, bytes that are not
    /// UTF-8.
    pub fn parse<I>(args: I) -> Result<Self, Failure>
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        let mut words = args.into_iter().map(|word| {
            word.into()
                .into_string()
                .map_err(|word| Failure::usage(format!("argument {} is not UTF-8", word.display())))
        });
        let mut parsed = Self::default();
        while let Some(word) = words.next().transpose()? {
            let Some(name) = word.strip_prefix("--").filter(|name| !name.is_empty()) else {
                return Err(Failure::usage(format!("expected --NAME VALUE, found {word:?}")));
            };
            let (name, value) = match name.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None => match words.next().transpose()? {
                    Some(value) => (name, value),
                    None => return Err(Failure::usage(format!("--{name} has no value"))),
                },
            };
            if parsed.pairs.iter().any(|(known, _)| known == name) {
                return Err(Failure::usage(format!("--{name} is given twice")));
            }
            parsed.pairs.push((name.to_owned(), value));
        }
        Ok(parsed)
    }

    /// Takes `--name`, if it was given.
    ///
    /// # Errors
    /// The value does not parse as a `T`.
    pub fn take<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, Failure> {
        let Some(at) = self.pairs.iter().position(|(known, _)| known == name) else {
            return Ok(None);
        };
        let (_, value) = self.pairs.remove(at);
        value.parse().map(Some).map_err(|_| {
            Failure::usage(format!("--{name} {value}: not a value of type {}", short_name::<T>()))
        })
    }

    /// Takes `--name`, or `default` if it was not given.
    ///
    /// # Errors
    /// As [`Args::take`].
    pub fn take_or<T: FromStr>(&mut self, name: &str, default: T) -> Result<T, Failure> {
        Ok(self.take(name)?.unwrap_or(default))
    }

    /// Takes `--name`, which must have been given.
    ///
    /// # Errors
    /// It was not, or as [`Args::take`].
    pub fn require<T: FromStr>(&mut self, name: &str) -> Result<T, Failure> {
        self.take(name)?.ok_or_else(|| Failure::usage(format!("--{name} is missing")))
    }

    /// Ends the reading of arguments: what is left is unknown to this app.
    ///
    /// # Errors
    /// Something is left.
    pub fn finish(&self) -> Result<(), Failure> {
        match self.pairs.first() {
            None => Ok(()),
            Some((name, _)) => Err(Failure::usage(format!("unknown argument --{name}"))),
        }
    }
}

/// The last part of a type's path: what a user can make sense of.
pub(crate) fn short_name<T>() -> &'static str {
    let name = type_name::<T>();
    name.rsplit("::").next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::Args;

    fn refusal(args: &[&str]) -> String {
        Args::parse(args).unwrap_err().to_string()
    }

    #[test]
    fn takes_both_spellings_and_negative_numbers() {
        let mut args = Args::parse(["--x", "-0.5", "--name=a=b", "--empty="]).unwrap();
        assert_eq!(args.require::<f64>("x").unwrap(), -0.5);
        assert_eq!(args.require::<String>("name").unwrap(), "a=b");
        assert_eq!(args.require::<String>("empty").unwrap(), "");
        args.finish().unwrap();
    }

    #[test]
    fn refuses_what_is_not_a_pair() {
        assert_eq!(refusal(&["width"]), "expected --NAME VALUE, found \"width\"");
        assert_eq!(refusal(&["--"]), "expected --NAME VALUE, found \"--\"");
        assert_eq!(refusal(&["--width"]), "--width has no value");
        assert_eq!(refusal(&["--a", "1", "--a=2"]), "--a is given twice");
    }

    #[test]
    fn refuses_the_wrong_type_the_missing_and_the_unknown() {
        let mut args = Args::parse(["--depth", "70000", "--widht", "3"]).unwrap();
        assert_eq!(
            args.take::<u16>("depth").unwrap_err().to_string(),
            "--depth 70000: not a value of type u16"
        );
        assert_eq!(args.require::<u32>("width").unwrap_err().to_string(), "--width is missing");
        let left = args.finish().unwrap_err();
        assert_eq!((left.code(), left.message()), (2, "unknown argument --widht"));
    }

    #[cfg(unix)]
    #[test]
    fn refuses_bytes_that_are_not_utf8() {
        use std::{ffi::OsString, os::unix::ffi::OsStringExt};
        let refused = Args::parse([OsString::from_vec(vec![b'-', b'-', 0xff])]).unwrap_err();
        assert_eq!(refused.code(), 2);
    }
}
