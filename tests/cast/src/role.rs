//! What a member of the cast is up to, as a short text: `always`, `rate:0.1`, `ring:NAME`.
//!
//! Names of roles and nothing else; what they do about a task is decided in `behaviour`.

use std::{fmt, str::FromStr};

use crate::passing::Passing;

/// A chance, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u32);

impl Rate {
    /// Always.
    pub const ONE: Self = Self(1_000_000);

    /// A chance in millionths; more than [`Rate::ONE`] is that.
    pub const fn millionths(millionths: u32) -> Self {
        Self(if millionths < Self::ONE.0 { millionths } else { Self::ONE.0 })
    }

    /// Whether a number drawn evenly among all of them hits.
    pub const fn hits(self, drawn: u64) -> bool {
        drawn % (Self::ONE.0 as u64) < self.0 as u64
    }
}

impl FromStr for Rate {
    type Err = ParseRoleError;
    fn from_str(text: &str) -> Result<Self, ParseRoleError> {
        let rate: f64 = text.parse().map_err(|_| ParseRoleError::Rate)?;
        if !(0.0..=1.0).contains(&rate) {
            return Err(ParseRoleError::Rate);
        }
        Ok(Self::millionths((rate * f64::from(Self::ONE.0)).round() as u32))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / f64::from(Self::ONE.0))
    }
}

/// What a member is up to. Poisoned tasks are no role: they are the business of guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// `honest`: follows every rule.
    Honest,
    /// `always`: every result is wrong, in a way of its own.
    Always,
    /// `rate:RATE`: wrong with this chance, drawn for each task.
    Rate(Rate),
    /// `after:COUNT[:RATE]`: a sleeper, right for its first results, wrong from then on.
    After {
        /// Results before it wakes up.
        count: u64,
        /// How often it is wrong afterwards.
        rate: Rate,
    },
    /// `ring:NAME[:RATE]`: wrong as all of the ring are, for the tasks that the ring has picked.
    Ring {
        /// The ring.
        name: String,
        /// Its share of the tasks.
        rate: Rate,
    },
    /// `burner:NAME[:RATE]`: signs wrong results for others of its ring to confirm.
    Burner {
        /// The ring.
        name: String,
        /// How often it is wrong.
        rate: Rate,
    },
    /// `confirmer:NAME`: repeats what a burner of its ring was given and got wrong; else right.
    Confirmer {
        /// The ring.
        name: String,
    },
    /// `breaker:NAME`: of a ring that backs each other's wrong hash up whenever it is looked at again.
    Breaker {
        /// The ring.
        name: String,
    },
    /// `lazy`: computes one task of a module and gives that answer to all others.
    Lazy,
    /// `lazy:NAME`: computes only what no mate has answered yet, and else repeats the mate's answer.
    Copycat {
        /// Those that tell each other.
        name: String,
    },
    /// `whitewash:COUNT[:RATE]`: comes back as somebody else after this many results, or when it is
    /// no longer given work.
    Whitewash {
        /// Results of one identity.
        count: u64,
        /// How often it is wrong.
        rate: Rate,
    },
    /// `vanish:COUNT[:RATE]`: leaves for good after this many results.
    Vanish {
        /// Results before it leaves.
        count: u64,
        /// How often it is wrong.
        rate: Rate,
    },
    /// `fuel:PERMILLE`: right outputs and this much more fuel than was used.
    Fuel {
        /// What is added, in thousandths; at least one unit.
        permille: u32,
    },
    /// `data[:NAME]`: computes on files that are not the job's, all of one name on the same ones.
    Data {
        /// Whose files; none for its own.
        name: Option<String>,
    },
    /// `engine:KIND[:HEX]`: honest, on an engine that gets the modules whose digest begins with HEX
    /// wrong in one way.
    Engine {
        /// The kind of engine.
        kind: String,
        /// Lower-case hexadecimal digits; without any, every module.
        module: String,
    },
    /// `commit-only`: commits to results and never reveals them.
    CommitOnly,
    /// `other-reveal`: reveals something else than it committed to.
    OtherReveal,
    /// `equivocate`: signs a right and a wrong result for the same task.
    Equivocate,
    /// `silent`: takes tasks and returns nothing.
    Silent,
    /// `relay:WAY`: computes nothing and hands work on; drops, delays (by `delays:MS`), reorders, forges or
    /// alters what it is to pass on, colludes with a ring of workers (`colludes:NAME`), leaks results to a ring
    /// (`leaks:NAME`), or is honest.
    Relay(Passing),
}

/// A text that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseRoleError {
    /// No role is called this, or not with so many parts.
    #[error(
        "`{0}` is none of honest, always, rate:RATE, after:COUNT[:RATE], ring:NAME[:RATE], \
         burner:NAME[:RATE], confirmer:NAME, breaker:NAME, lazy, lazy:NAME, \
         whitewash:COUNT[:RATE], vanish:COUNT[:RATE], fuel:PERMILLE, data[:NAME], \
         engine:KIND[:HEX], commit-only, other-reveal, equivocate, silent, relay:honest, relay:drops, \
         relay:delays:MS, relay:reorders, relay:forges, relay:alters, relay:colludes:NAME, \
         relay:leaks:NAME"
    )]
    Unknown(String),
    /// A rate is a number from 0 to 1.
    #[error("a rate is a number from 0 to 1")]
    Rate,
    /// A count is a whole number.
    #[error("a count is a whole number")]
    Count,
}

impl FromStr for Role {
    type Err = ParseRoleError;

    fn from_str(text: &str) -> Result<Self, ParseRoleError> {
        let parts: Vec<&str> = text.split(':').collect();
        let (words, unknown) = (&parts[..], || ParseRoleError::Unknown(text.to_owned()));
        if words.iter().any(|word| word.is_empty()) {
            return Err(unknown());
        }
        let rate = |at: usize| words.get(at).map_or(Ok(Rate::ONE), |word| word.parse::<Rate>());
        let count = |word: &str| word.parse::<u64>().map_err(|_| ParseRoleError::Count);
        Ok(match *words {
            ["honest"] => Self::Honest,
            ["always"] => Self::Always,
            ["rate", _] => Self::Rate(rate(1)?),
            ["after", n] | ["after", n, _] => Self::After { count: count(n)?, rate: rate(2)? },
            ["ring", name] | ["ring", name, _] => Self::Ring { name: name.into(), rate: rate(2)? },
            ["burner", name] | ["burner", name, _] => {
                Self::Burner { name: name.into(), rate: rate(2)? }
            }
            ["confirmer", name] => Self::Confirmer { name: name.into() },
            ["breaker", name] => Self::Breaker { name: name.into() },
            ["lazy"] => Self::Lazy,
            ["lazy", name] => Self::Copycat { name: name.into() },
            ["whitewash", n] | ["whitewash", n, _] => {
                Self::Whitewash { count: count(n)?, rate: rate(2)? }
            }
            ["vanish", n] | ["vanish", n, _] => Self::Vanish { count: count(n)?, rate: rate(2)? },
            ["fuel", permille] => {
                Self::Fuel { permille: permille.parse().map_err(|_| ParseRoleError::Count)? }
            }
            ["data"] => Self::Data { name: None },
            ["data", name] => Self::Data { name: Some(name.into()) },
            ["engine", kind] => Self::Engine { kind: kind.into(), module: String::new() },
            ["engine", kind, module] => Self::Engine { kind: kind.into(), module: module.into() },
            ["commit-only"] => Self::CommitOnly,
            ["other-reveal"] => Self::OtherReveal,
            ["equivocate"] => Self::Equivocate,
            ["silent"] => Self::Silent,
            ["relay", "honest"] => Self::Relay(Passing::Honest),
            ["relay", "drops"] => Self::Relay(Passing::Drops),
            ["relay", "delays", ms] => {
                Self::Relay(Passing::Delays(count(ms)?.saturating_mul(1000)))
            }
            ["relay", "reorders"] => Self::Relay(Passing::Reorders),
            ["relay", "forges"] => Self::Relay(Passing::Forges),
            ["relay", "alters"] => Self::Relay(Passing::Alters),
            ["relay", "colludes", name] => Self::Relay(Passing::Colludes(name.into())),
            ["relay", "leaks", name] => Self::Relay(Passing::Leaks(name.into())),
            _ => return Err(unknown()),
        })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let with = |f: &mut fmt::Formatter<'_>, head: fmt::Arguments<'_>, rate: &Rate| match *rate {
            Rate::ONE => f.write_fmt(head),
            rate => write!(f, "{head}:{rate}"),
        };
        match self {
            Self::Honest => f.write_str("honest"),
            Self::Always => f.write_str("always"),
            Self::Rate(rate) => write!(f, "rate:{rate}"),
            Self::After { count, rate } => with(f, format_args!("after:{count}"), rate),
            Self::Ring { name, rate } => with(f, format_args!("ring:{name}"), rate),
            Self::Burner { name, rate } => with(f, format_args!("burner:{name}"), rate),
            Self::Confirmer { name } => write!(f, "confirmer:{name}"),
            Self::Breaker { name } => write!(f, "breaker:{name}"),
            Self::Lazy => f.write_str("lazy"),
            Self::Copycat { name } => write!(f, "lazy:{name}"),
            Self::Whitewash { count, rate } => with(f, format_args!("whitewash:{count}"), rate),
            Self::Vanish { count, rate } => with(f, format_args!("vanish:{count}"), rate),
            Self::Fuel { permille } => write!(f, "fuel:{permille}"),
            Self::Data { name: None } => f.write_str("data"),
            Self::Data { name: Some(name) } => write!(f, "data:{name}"),
            Self::Engine { kind, module } if module.is_empty() => write!(f, "engine:{kind}"),
            Self::Engine { kind, module } => write!(f, "engine:{kind}:{module}"),
            Self::CommitOnly => f.write_str("commit-only"),
            Self::OtherReveal => f.write_str("other-reveal"),
            Self::Equivocate => f.write_str("equivocate"),
            Self::Silent => f.write_str("silent"),
            Self::Relay(Passing::Honest) => f.write_str("relay:honest"),
            Self::Relay(Passing::Drops) => f.write_str("relay:drops"),
            Self::Relay(Passing::Delays(by)) => write!(f, "relay:delays:{}", by / 1000),
            Self::Relay(Passing::Reorders) => f.write_str("relay:reorders"),
            Self::Relay(Passing::Forges) => f.write_str("relay:forges"),
            Self::Relay(Passing::Alters) => f.write_str("relay:alters"),
            Self::Relay(Passing::Colludes(name)) => write!(f, "relay:colludes:{name}"),
            Self::Relay(Passing::Leaks(name)) => write!(f, "relay:leaks:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_is_read_as_it_is_written() {
        for text in [
            "honest",
            "always",
            "rate:0.1",
            "rate:0",
            "after:200",
            "after:200:0.5",
            "ring:a",
            "ring:a:0.25",
            "burner:a",
            "confirmer:a",
            "breaker:a",
            "lazy",
            "lazy:a",
            "whitewash:20",
            "vanish:3:0.5",
            "fuel:100",
            "data",
            "data:old",
            "engine:arm",
            "engine:arm:0a1b",
            "commit-only",
            "other-reveal",
            "equivocate",
            "silent",
            "relay:honest",
            "relay:drops",
            "relay:delays:20000",
            "relay:reorders",
            "relay:forges",
            "relay:alters",
            "relay:colludes:a",
            "relay:leaks:a",
        ] {
            let role: Role = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(role.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_role_is_refused() {
        for text in ["", "poison", "rate", "rate:2", "rate:-1", "rate:nan", "after:x", "ring:"] {
            assert!(text.parse::<Role>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_rate_hits_as_often_as_it_says() {
        let rate: Rate = "0.25".parse().unwrap();
        assert_eq!((0..1_000_000).filter(|drawn| rate.hits(*drawn)).count(), 250_000);
        assert!(!Rate::millionths(0).hits(0));
        assert!(Rate::ONE.hits(u64::MAX));
    }
}
