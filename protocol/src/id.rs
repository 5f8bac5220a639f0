//! Names of things: 32-byte newtypes that never mix, and the digest they are made of.
//!
//! Nothing here decides anything; see `task` for how a task id is derived and `crypto` for keys.

use alloc::string::String;
use core::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The text given for an id is not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is 64 hexadecimal digits")]
pub struct ParseIdError;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first eight hexadecimal digits, for people to read; never for comparing.
            pub fn short(&self) -> String {
                hex::encode(&self.0[..4])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let mut bytes = [0; 32];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseIdError)?;
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                if to.is_human_readable() {
                    to.serialize_str(&hex::encode(self.0))
                } else {
                    to.serialize_bytes(&self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                if from.is_human_readable() {
                    let text = String::deserialize(from)?;
                    text.parse().map_err(de::Error::custom)
                } else {
                    serde_bytes::ByteArray::<32>::deserialize(from).map(|b| Self(b.into_array()))
                }
            }
        }
    };
}

id!(
    /// A peer: its raw Ed25519 public key. libp2p's own id is derived from it, never the reverse.
    PeerId
);
id!(
    /// A BLAKE3 digest of content: a module, an input, an output, a data file.
    Hash
);
id!(
    /// One unit of work and everything its guest can observe (spec WORK-3).
    TaskId
);
id!(
    /// One submission of an app with its tasks.
    JobId
);
id!(
    /// One batch of tasks held by one worker until a deadline.
    LeaseId
);

impl Hash {
    /// The digest of `content`.
    pub fn of(content: &[u8]) -> Self {
        Self(*blake3::hash(content).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn text_form_round_trips_and_rejects_other_lengths() {
        let id = Hash::of(b"bayan");
        assert_eq!(id.to_string().parse::<Hash>(), Ok(id));
        assert_eq!("abcd".parse::<Hash>(), Err(ParseIdError));
        assert_eq!("zz".repeat(32).parse::<Hash>(), Err(ParseIdError));
    }
}
