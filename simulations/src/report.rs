//! What a run found: measures with intervals beside published numbers, as table, plots and page.

mod baseline;
mod beside;
mod index;
mod page;
mod plot;
mod table;

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, ensure};

pub use baseline::{Change, compare};
pub use beside::{Comparison, Run};
pub use index::write as write_index;
pub use page::{made_by, number};
pub use plot::{Plot, Series};
pub use table::{Row, read};

use crate::statistics::Estimate;

/// The widest interval, as a part of the published number on either side, that says anything.
const WIDEST: f64 = 0.2;

/// What is better of a number, for comparing two runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Errors, costs, times.
    Less,
    /// Efficiencies, cheats caught.
    More,
    /// Neither: any change is one to look at.
    Same,
}

impl Better {
    /// The word for it in tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Less => "less",
            Self::More => "more",
            Self::Same => "same",
        }
    }
}

/// How a number relates to the one beside it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// There is none, or it is only shown.
    Shown,
    /// Sampled: reproduced if the published number lies inside the interval and the interval is
    /// narrow enough to say so.
    Anchor,
    /// Computed: reproduced if it is as near as this part of the published number.
    Within(f64),
    /// Sampled, and published as a range from the number beside it to this one: reproduced if the
    /// interval meets the range and is narrow enough.
    Range(f64),
    /// Met if the upper end is below the number beside it.
    Target,
    /// Met if the lower end is above the number beside it.
    AtLeast,
}

/// A number that was found.
#[derive(Debug, Clone)]
pub struct Measure {
    /// What it is; unique in its answer.
    pub key: String,
    /// With its interval.
    pub found: Estimate,
    /// In what.
    pub unit: &'static str,
    /// See [`Better`].
    pub better: Better,
    /// The published number, or the target.
    pub beside: Option<f64>,
    /// See [`Rule`].
    pub rule: Rule,
    /// Whether it was drawn from seeds, even if all of them gave the same.
    pub sampled: bool,
}

/// What comes of comparing a number with the one beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is compared.
    None,
    /// As published.
    Reproduced,
    /// Not as published.
    Differs,
    /// The interval is too wide to say.
    TooFew,
    /// The target is met.
    Met,
    /// The target is missed.
    Missed,
}

impl Verdict {
    /// The word for it in tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Reproduced => "reproduced",
            Self::Differs => "differs",
            Self::TooFew => "too few",
            Self::Met => "met",
            Self::Missed => "missed",
        }
    }
}

impl Measure {
    /// Something found, with nothing beside it.
    pub fn new(key: impl Into<String>, found: Estimate, better: Better) -> Self {
        let key = key.into();
        Self { key, found, unit: "", better, beside: None, rule: Rule::Shown, sampled: false }
    }

    /// Seeds that all gave the same are no computation.
    #[must_use]
    pub fn sampled(mut self) -> Self {
        self.sampled = true;
        self
    }

    /// In what.
    #[must_use]
    pub fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    /// The published number and how it is compared.
    #[must_use]
    pub fn beside(mut self, published: f64, rule: Rule) -> Self {
        (self.beside, self.rule) = (Some(published), rule);
        self
    }

    /// What comes of the comparison.
    pub fn verdict(&self) -> Verdict {
        let Some(beside) = self.beside else { return Verdict::None };
        let found = self.found;
        let narrow = |of: f64| found.half_width() <= WIDEST * of.abs();
        let judge = |inside: bool, of: f64| match (inside, narrow(of)) {
            (true, true) => Verdict::Reproduced,
            (true, false) => Verdict::TooFew,
            (false, _) => Verdict::Differs,
        };
        match self.rule {
            Rule::Shown => Verdict::None,
            Rule::Anchor => judge(found.low <= beside && beside <= found.high, beside),
            Rule::Range(to) => judge(found.low <= to && beside <= found.high, to),
            Rule::Within(part) if (found.value - beside).abs() <= part * beside.abs() => {
                Verdict::Reproduced
            }
            Rule::Within(_) => Verdict::Differs,
            Rule::Target if found.high < beside => Verdict::Met,
            Rule::AtLeast if found.low > beside => Verdict::Met,
            Rule::Target | Rule::AtLeast => Verdict::Missed,
        }
    }
}

/// A part of an answer.
#[derive(Debug, Default)]
pub struct Section {
    /// Its heading.
    pub title: String,
    /// What to know before reading the numbers, and what to make of them; Markdown.
    pub text: String,
    /// The numbers.
    pub measures: Vec<Measure>,
    /// A picture of them.
    pub plot: Option<Plot>,
}

/// What a run found.
#[derive(Debug)]
pub struct Answer {
    /// The run's name, as on the command line.
    pub name: String,
    /// What was asked; Markdown.
    pub question: String,
    /// Where the published numbers are from; Markdown.
    pub sources: String,
    /// What came out.
    pub sections: Vec<Section>,
}

impl Answer {
    /// All numbers.
    pub fn measures(&self) -> impl Iterator<Item = &Measure> {
        self.sections.iter().flat_map(|section| &section.measures)
    }

    /// How many numbers have this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.measures().filter(|one| one.verdict() == verdict).count()
    }

    /// One line about all comparisons.
    pub fn summary(&self) -> String {
        let all =
            [Verdict::Reproduced, Verdict::Differs, Verdict::TooFew, Verdict::Met, Verdict::Missed];
        let parts: Vec<String> = all
            .into_iter()
            .filter(|verdict| self.count(*verdict) > 0)
            .map(|verdict| format!("{} {}", self.count(verdict), verdict.word()))
            .collect();
        if parts.is_empty() {
            return format!("{} numbers, nothing published beside them", self.measures().count());
        }
        parts.join(", ")
    }

    /// Its table as rows, as a file of it would be read back.
    pub fn rows(&self) -> Result<BTreeMap<String, Row>> {
        table::parse_all(&table::write(self), "this run")
    }

    /// Its table as text.
    pub fn table(&self) -> String {
        table::write(self)
    }

    /// Writes the numbers into `folder`.
    pub fn write_table(&self, folder: &Path) -> Result<()> {
        save(folder, "table.csv", table::write(self).as_bytes())
    }

    /// Writes table, plots and page into `folder`; `command` is what made them.
    pub fn write(&self, folder: &Path, command: &str) -> Result<()> {
        self.write_table(folder)?;
        for plot in self.sections.iter().filter_map(|section| section.plot.as_ref()) {
            draw(folder, plot)?;
        }
        save(folder, "README.md", page::write(self, command).as_bytes())
    }
}

/// Makes a folder for results, or says why there can be none.
pub fn make(folder: &Path) -> Result<()> {
    ensure!(!folder.is_file(), "{} is a file; a folder is wanted", folder.display());
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

fn draw(folder: &Path, plot: &Plot) -> Result<()> {
    save(folder, &format!("{}.svg", plot.name), plot.svg()?.as_bytes())?;
    save(folder, &format!("{}.png", plot.name), &plot.png()?)
}

fn save(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    make(folder)?;
    let path = folder.join(name);
    fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(low: f64, high: f64, beside: f64, rule: Rule) -> Verdict {
        let found = Estimate { value: (low + high) / 2.0, low, high };
        Measure::new("x", found, Better::Less).beside(beside, rule).verdict()
    }

    #[test]
    fn an_anchor_must_lie_inside_a_narrow_interval() {
        assert_eq!(measure(0.9, 1.1, 1.0, Rule::Anchor), Verdict::Reproduced);
        assert_eq!(measure(0.7, 1.3, 1.0, Rule::Anchor), Verdict::TooFew);
        assert_eq!(measure(1.1, 1.2, 1.0, Rule::Anchor), Verdict::Differs);
        assert_eq!(measure(1.1, 1.2, 0.8, Rule::Range(1.15)), Verdict::Reproduced);
        assert_eq!(measure(1.1, 1.2, 0.8, Rule::Range(1.0)), Verdict::Differs);
    }

    #[test]
    fn a_target_is_met_by_the_far_end() {
        assert_eq!(measure(0.0, 0.9, 1.0, Rule::Target), Verdict::Met);
        assert_eq!(measure(0.0, 1.0, 1.0, Rule::Target), Verdict::Missed);
        assert_eq!(measure(1.1, 2.0, 1.0, Rule::AtLeast), Verdict::Met);
        assert_eq!(measure(0.99, 0.99, 1.0, Rule::Within(0.02)), Verdict::Reproduced);
    }
}
