//! A change of the records, and the bytes of a batch of changes in the journal.

use super::WriteError;

/// Longest key, bytes.
pub const MAX_KEY: usize = 1024;

/// Longest encoded batch, bytes: every key and value, and a few bytes more each.
pub const MAX_BATCH: usize = 16 << 20;

const PUT: u8 = 1;
const DELETE: u8 = 2;

/// One change of the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Sets the value of a key, whether it had one or not.
    Put {
        /// What the value is found by.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// Forgets a key; that it is not there is fine.
    Delete {
        /// What was to be found by.
        key: Vec<u8>,
    },
}

/// A change as it stands in a decoded batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChangeRef<'a> {
    pub(crate) key: &'a [u8],
    /// `None` deletes.
    pub(crate) value: Option<&'a [u8]>,
}

/// Appends the bytes of `changes` to `out`.
pub(crate) fn encode(changes: &[Change], out: &mut Vec<u8>) -> Result<(), WriteError> {
    let start = out.len();
    for change in changes {
        let (tag, key, value) = match change {
            Change::Put { key, value } => (PUT, key, value.as_slice()),
            Change::Delete { key } => (DELETE, key, &[][..]),
        };
        if key.len() > MAX_KEY {
            return Err(WriteError::KeyTooLong { len: key.len() });
        }
        if out.len() - start + 9 + key.len() + value.len() > MAX_BATCH {
            return Err(WriteError::TooLarge);
        }
        out.push(tag);
        push_bytes(out, key);
        if tag == PUT {
            push_bytes(out, value);
        }
    }
    Ok(())
}

fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).expect("a batch is shorter than 4 GiB");
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Decodes all of a batch, or `None` if it is not one.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<Vec<ChangeRef<'_>>> {
    let mut changes = Vec::new();
    while let Some((&tag, rest)) = bytes.split_first() {
        bytes = rest;
        let key = take_bytes(&mut bytes)?;
        let value = match tag {
            PUT => Some(take_bytes(&mut bytes)?),
            DELETE => None,
            _ => return None,
        };
        changes.push(ChangeRef { key, value });
    }
    Some(changes)
}

fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let (taken, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change() -> impl Strategy<Value = Change> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..40);
        prop_oneof![
            (bytes(), bytes()).prop_map(|(key, value)| Change::Put { key, value }),
            bytes().prop_map(|key| Change::Delete { key }),
        ]
    }

    proptest! {
        #[test]
        fn a_batch_decodes_to_what_was_encoded(changes in prop::collection::vec(change(), 0..20)) {
            let mut bytes = Vec::new();
            encode(&changes, &mut bytes).unwrap();
            let decoded: Vec<Change> = decode(&bytes)
                .unwrap()
                .into_iter()
                .map(|change| match change.value {
                    Some(value) => Change::Put { key: change.key.to_vec(), value: value.to_vec() },
                    None => Change::Delete { key: change.key.to_vec() },
                })
                .collect();
            prop_assert_eq!(decoded, changes);
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn what_is_too_large_is_refused_before_anything_is_written() {
        let long_key = Change::Delete { key: vec![0; MAX_KEY + 1] };
        assert!(matches!(
            encode(&[long_key], &mut Vec::new()),
            Err(WriteError::KeyTooLong { len: 1025 })
        ));
        let half = Change::Put { key: vec![1], value: vec![0; MAX_BATCH / 2] };
        assert!(encode(std::slice::from_ref(&half), &mut Vec::new()).is_ok());
        assert!(matches!(
            encode(&[half.clone(), half], &mut Vec::new()),
            Err(WriteError::TooLarge)
        ));
    }
}
