//! What came of a file, and the table of all of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Step;
use super::side::Outcome;

/// What came of one file.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Folder and name.
    pub name: String,
    /// Whether its modules are within the features that packing takes.
    pub taken: bool,
    /// Directives that have a binary form.
    pub directives: usize,
    /// Directives with the same outcome on both sides.
    pub same: usize,
    /// Of these, outcomes that the suite of an older or newer version does not have.
    pub unlike: usize,
    /// Bad modules that packing refused, as it must.
    pub rejected: usize,
    /// Directives not run because packing refuses the module, by the refusal.
    pub refused: BTreeMap<String, usize>,
    /// Directives that no binary module stands for.
    pub skipped: BTreeMap<&'static str, usize>,
    /// Every disagreement, with its line.
    pub differences: Vec<String>,
}

impl Tally {
    pub(super) fn new(name: &str, taken: bool) -> Tally {
        Tally {
            name: name.into(),
            taken,
            directives: 0,
            same: 0,
            unlike: 0,
            rejected: 0,
            refused: BTreeMap::new(),
            skipped: BTreeMap::new(),
            differences: Vec::new(),
        }
    }

    /// A file whose text is newer than the parser.
    pub(super) fn unreadable(mut self, why: &str) -> Tally {
        if self.taken {
            self.differences.push(format!("{}: {why}", self.name));
        } else {
            self.skipped.insert("newer text", 1);
        }
        self
    }

    pub(super) fn count(&mut self, line: usize, step: &Step) {
        let (unpacked, packed, bad, expected) = match step {
            Step::Skipped(why) => {
                *self.skipped.entry(why).or_default() += 1;
                return;
            }
            Step::Compared { unpacked, packed, expected } => (unpacked, packed, false, *expected),
            Step::Bad { unpacked, packed } => (unpacked, packed, true, true),
        };
        self.directives += 1;
        match packed {
            Outcome::Refused(_) if bad => self.rejected += 1,
            // Proposals were written before later ones made some of their bad modules good.
            Outcome::Done
                if bad && *unpacked == Outcome::Done && !self.name.starts_with("wasm-v2/") =>
            {
                self.same += 1;
                self.unlike += 1;
            }
            _ if bad => self.differ(line, unpacked, packed),
            Outcome::Refused(why) => *self.refused.entry(refusal(why)).or_default() += 1,
            Outcome::Broken(_) | Outcome::Invalid(_) => self.differ(line, unpacked, packed),
            _ if unpacked == packed => {
                self.same += 1;
                self.unlike += usize::from(!expected);
            }
            _ => self.differ(line, unpacked, packed),
        }
    }

    fn differ(&mut self, line: usize, unpacked: &Outcome, packed: &Outcome) {
        self.differences
            .push(format!("{}:{line}: unpacked {unpacked:x?}, packed {packed:x?}", self.name));
    }
}

/// A refusal without the particulars of one module.
fn refusal(text: &str) -> String {
    let text = text.split(" (at offset").next().unwrap_or(text);
    let mut name = String::new();
    for c in text.chars() {
        if c.is_ascii_digit() && name.ends_with('N') {
            continue;
        }
        name.push(if c.is_ascii_digit() { 'N' } else { c });
    }
    name
}

/// The table of files.
pub fn table(tallies: &[Tally]) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:52} {:>10} {:>8} {:>8} {:>8}",
        "file", "directives", "same", "rejected", "refused"
    );
    let mut all: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut directives, mut same, mut rejected) = (0, 0, 0);
    for tally in tallies {
        let refused: usize = tally.refused.values().sum();
        let _ = writeln!(
            text,
            "{:52} {:>10} {:>8} {:>8} {:>8}",
            tally.name, tally.directives, tally.same, tally.rejected, refused
        );
        for (why, count) in &tally.refused {
            let _ = writeln!(text, "    {count} refused: {why}");
            *all.entry(why).or_default() += count;
        }
        directives += tally.directives;
        same += tally.same;
        rejected += tally.rejected;
    }
    let refused: usize = all.values().sum();
    let _ = writeln!(text, "{:52} {directives:>10} {same:>8} {rejected:>8} {refused:>8}", "all");
    for (why, count) in all {
        let _ = writeln!(text, "    {count} refused: {why}");
    }
    text
}
