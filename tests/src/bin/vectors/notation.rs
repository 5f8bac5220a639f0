//! CBOR as JSON, read without the code under test: what a vector's bytes say, for people and for
//! comparing. Byte strings become `h'…'`, as in CBOR's diagnostic notation.

use serde_json::{Map, Value, json};

/// The one value that `bytes` are; definite lengths only, no tags, no floats.
pub(crate) fn json(bytes: &[u8]) -> Result<Value, &'static str> {
    let mut rest = bytes;
    let value = item(&mut rest, 0)?;
    if rest.is_empty() { Ok(value) } else { Err("trailing bytes") }
}

fn item(rest: &mut &[u8], depth: usize) -> Result<Value, &'static str> {
    if depth > 32 {
        return Err("too deep");
    }
    let (major, argument) = head(rest)?;
    match major {
        0 => Ok(json!(argument)),
        2 => Ok(json!(format!("h'{}'", hex::encode(take(rest, argument)?)))),
        3 => Ok(json!(std::str::from_utf8(take(rest, argument)?).map_err(|_| "not UTF-8")?)),
        4 => (0..argument)
            .map(|_| item(rest, depth + 1))
            .collect::<Result<Vec<_>, _>>()
            .map(Value::Array),
        5 => {
            let mut map = Map::new();
            for _ in 0..argument {
                let Value::String(key) = item(rest, depth + 1)? else {
                    return Err("a key that is no text");
                };
                if map.insert(key, item(rest, depth + 1)?).is_some() {
                    return Err("a key twice");
                }
            }
            Ok(Value::Object(map))
        }
        7 if argument == 22 => Ok(Value::Null),
        _ => Err("a kind of value that is not used"),
    }
}

fn head(rest: &mut &[u8]) -> Result<(u8, u64), &'static str> {
    let first = take(rest, 1)?[0];
    let argument = match first & 0x1f {
        small @ 0..=23 => u64::from(small),
        size @ 24..=27 => {
            take(rest, 1 << (size - 24))?.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        }
        _ => return Err("an indefinite length"),
    };
    Ok((first >> 5, argument))
}

fn take<'a>(rest: &mut &'a [u8], count: u64) -> Result<&'a [u8], &'static str> {
    let count = usize::try_from(count).map_err(|_| "too long")?;
    let (taken, left) = rest.split_at_checked(count).ok_or("cut short")?;
    *rest = left;
    Ok(taken)
}
