//! Two runs beside each other: what became worse or better by more than the noise.

use std::collections::BTreeMap;

use super::{Better, table::Row};

/// A relative change that is never noise is larger than this: what rounding in tables leaves.
const ROUNDING: f64 = 1e-5;

/// A measure that differs between two runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Which.
    pub key: String,
    /// In the first run; none if it is new.
    pub before: Option<Row>,
    /// In the second run; none if it is gone.
    pub after: Option<Row>,
    /// Whether the second is worse by more than both runs' noise, or is gone.
    pub worse: bool,
}

/// What differs between two runs by more than their noise.
pub fn compare(before: &BTreeMap<String, Row>, after: &BTreeMap<String, Row>) -> Vec<Change> {
    let mut changes = Vec::new();
    for (key, one) in before {
        let Some(other) = after.get(key) else {
            changes.push(Change {
                key: key.clone(),
                before: Some(one.clone()),
                after: None,
                worse: true,
            });
            continue;
        };
        let by = other.found.value - one.found.value;
        let noise = one.found.half_width().hypot(other.found.half_width())
            + ROUNDING * one.found.value.abs();
        if by.abs() <= noise {
            continue;
        }
        let worse = match one.better {
            Better::Less => by > 0.0,
            Better::More => by < 0.0,
            Better::Same => true,
        };
        changes.push(Change {
            key: key.clone(),
            before: Some(one.clone()),
            after: Some(other.clone()),
            worse,
        });
    }
    let new = after.iter().filter(|(key, _)| !before.contains_key(*key));
    changes.extend(new.map(|(key, one)| Change {
        key: key.clone(),
        before: None,
        after: Some(one.clone()),
        worse: false,
    }));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Estimate;

    fn rows(value: f64, noise: f64, better: Better) -> BTreeMap<String, Row> {
        let found = Estimate { value, low: value - noise, high: value + noise };
        BTreeMap::from([("x".to_owned(), Row { found, better })])
    }

    #[test]
    fn what_is_within_the_noise_is_no_change() {
        let before = rows(1.0, 0.1, Better::Less);
        assert_eq!(compare(&before, &rows(1.1, 0.1, Better::Less)), []);
        let changes = compare(&before, &rows(1.2, 0.1, Better::Less));
        assert!(changes.len() == 1 && changes[0].worse);
        let changes = compare(&before, &rows(0.8, 0.1, Better::Less));
        assert!(changes.len() == 1 && !changes[0].worse);
        let more = rows(1.0, 0.0, Better::More);
        assert!(compare(&more, &rows(0.9, 0.0, Better::More))[0].worse);
        assert!(compare(&more, &BTreeMap::new())[0].worse, "what is no longer measured is shown");
        assert!(!compare(&BTreeMap::new(), &more)[0].worse);
    }
}
