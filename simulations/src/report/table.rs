//! The numbers as comma-separated values, and back.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, bail};

use super::{Answer, Better, Rule};
use crate::statistics::Estimate;

const HEAD: &str = "measure,found,low,high,unit,better,beside,compared,verdict";

/// Six digits say more than any of these numbers is sure of, and keep tables small.
pub(super) fn number(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { format!("{value:.6e}") }
}

pub(super) fn write(answer: &Answer) -> String {
    let mut text = format!("{HEAD}\n");
    for one in answer.measures() {
        let compared = match one.rule {
            Rule::Shown => String::new(),
            Rule::Anchor => "anchor".to_owned(),
            Rule::Within(part) => format!("within {part}"),
            Rule::Range(to) => format!("range to {to}"),
            Rule::Target => "target".to_owned(),
            Rule::AtLeast => "at least".to_owned(),
        };
        let fields = [
            one.key.replace([',', '\n'], ";"),
            number(one.found.value),
            number(one.found.low),
            number(one.found.high),
            one.unit.to_owned(),
            one.better.word().to_owned(),
            one.beside.map(number).unwrap_or_default(),
            compared,
            one.verdict().word().to_owned(),
        ];
        text.push_str(&fields.join(","));
        text.push('\n');
    }
    text
}

/// A line of a table that was read back.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// With its interval.
    pub found: Estimate,
    /// What is better.
    pub better: Better,
}

/// Reads a table back, by measure.
pub fn read(path: &Path) -> Result<BTreeMap<String, Row>> {
    let shown = path.display().to_string();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    parse_all(&text, &shown)
}

pub(super) fn parse_all(text: &str, name: &str) -> Result<BTreeMap<String, Row>> {
    let mut lines = text.lines();
    if lines.next() != Some(HEAD) {
        bail!("{name}: line 1 is not the head of a table of bayan-sim");
    }
    let mut rows = BTreeMap::new();
    for (at, line) in (2..).zip(lines) {
        let row = parse(line).with_context(|| format!("{name}, line {at}"))?;
        rows.insert(row.0, row.1);
    }
    Ok(rows)
}

fn parse(line: &str) -> Result<(String, Row)> {
    let fields: Vec<&str> = line.split(',').collect();
    let [key, value, low, high, _, better, ..] = fields.as_slice() else {
        bail!("fewer fields than a measure has")
    };
    let number = |text: &str| text.parse::<f64>().with_context(|| format!("'{text}' is no number"));
    let better = match *better {
        "less" => Better::Less,
        "more" => Better::More,
        "same" => Better::Same,
        other => bail!("'{other}' is neither less, more nor same"),
    };
    let found = Estimate { value: number(value)?, low: number(low)?, high: number(high)? };
    Ok(((*key).to_owned(), Row { found, better }))
}
