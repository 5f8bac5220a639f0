//! A value or a list of values, and all combinations of several of them.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, IntoDeserializer as _, SeqAccess, Visitor},
};

/// One value or several.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Swept<T>(Vec<T>);

impl<T> Swept<T> {
    pub(super) fn of(one: T) -> Self {
        Self(Vec::from([one]))
    }

    /// Whether all of them are so.
    pub(super) fn all(&self, is_so: impl Fn(&T) -> bool) -> bool {
        self.0.iter().all(is_so)
    }
}

impl<T: Default> Default for Swept<T> {
    fn default() -> Self {
        Self::of(T::default())
    }
}

struct Values<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Values<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or a list of values")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Vec<T>, E> {
        T::deserialize(value.into_deserializer()).map(|one| Vec::from([one]))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Vec<T>, E> {
        T::deserialize(value.into_deserializer()).map(|one| Vec::from([one]))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Vec<T>, E> {
        T::deserialize(value.into_deserializer()).map(|one| Vec::from([one]))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Vec<T>, E> {
        T::deserialize(value.into_deserializer()).map(|one| Vec::from([one]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        if values.is_empty() { Err(de::Error::custom("an empty list")) } else { Ok(values) }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Swept<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Values(PhantomData)).map(Self)
    }
}

/// Picks one combination: the values of each list in turn, the first list's fastest.
pub(super) struct Pick {
    left: usize,
    all: usize,
    labels: Vec<(&'static str, String)>,
}

impl Pick {
    pub(super) fn new(at: usize) -> Self {
        Self { left: at, all: 1, labels: Vec::new() }
    }

    /// This combination's value of one list.
    pub(super) fn one<T: Clone + fmt::Display>(&mut self, key: &'static str, of: &Swept<T>) -> T {
        let count = of.0.len();
        let value = of.0[self.left % count].clone();
        self.left /= count;
        self.all = self.all.saturating_mul(count);
        if count > 1 {
            self.labels.push((key, value.to_string()));
        }
        value
    }

    /// What differs between combinations, and how many there are.
    pub(super) fn done(self) -> (Vec<(&'static str, String)>, usize) {
        (self.labels, self.all)
    }
}
