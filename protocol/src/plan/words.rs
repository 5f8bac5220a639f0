//! A plan in words, for the command line.

use alloc::{borrow::ToOwned, format, string::String, vec::Vec};

use super::Plan;
use crate::verify::Policy;

/// Shares of replicas below this are not worth a word.
const NOTABLE: f64 = 0.005;

impl Plan {
    /// What it will cost, what it promises, and what that rests on: a line each, the first ones first.
    pub fn words(&self) -> Vec<String> {
        let mut lines = Vec::from([self.cost(), self.promise()]);
        lines.extend(self.replicas());
        lines
    }

    fn cost(&self) -> String {
        let about = times(self.executions);
        let part = match self.policy {
            Policy::None => "nothing replicated".to_owned(),
            Policy::Spot { .. } => format!("{} of work is checks", percent(self.replicated)),
            Policy::Credibility { .. } => "replicated until credible".to_owned(),
            _ if self.replicated > 0.995 => "all replicated".to_owned(),
            _ => format!("{} replicated", percent(self.replicated)),
        };
        let cost = format!("{part}, about {about}");
        let attacked = times(self.executions_attacked);
        if attacked == about {
            return cost;
        }
        format!("{cost}; up to {attacked} if {} of workers cheat", percent(self.assumed.faulty))
    }

    fn promise(&self) -> String {
        let share = match self.bound {
            Ok(share) => share,
            Err(why) => return format!("no bound on wrong results: {why}"),
        };
        if share <= 0.0 {
            return "no wrong results while those who are trusted are right".to_owned();
        }
        let faulty = percent(self.assumed.faulty);
        let assumed = match self.policy {
            Policy::Vote(_) => format!("if {faulty} of workers are faulty, all acting together"),
            Policy::Adaptive(_) => format!(
                "if {faulty} of workers are faulty, {} of these acting together, whatever they do \
                 except to come back under other names",
                percent(self.assumed.colluding)
            ),
            _ => format!("if {faulty} of workers are faulty, each on its own"),
        };
        format!("at most {} final results wrong on average, {assumed}", one_in(share))
    }

    fn replicas(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let rungs = &self.rungs;
        let who = [
            (rungs.established, "by established workers in other networks"),
            (rungs.own, "in own slots"),
            (rungs.elsewhere, "by strangers in other networks"),
            (rungs.anyone, "by strangers in the same network"),
        ];
        let who: Vec<String> = who
            .iter()
            .filter(|(part, _)| *part > NOTABLE)
            .map(|(part, who)| format!("{} {who}", percent(*part)))
            .collect();
        if !who.is_empty() {
            lines.push(format!("replicas: {}", who.join(", ")));
        }
        if rungs.elsewhere > NOTABLE {
            lines.push(
                "strangers who check each other stop faults and lone cheats, not one person with \
                 machines in several networks"
                    .to_owned(),
            );
        }
        if rungs.anyone > NOTABLE {
            lines.push(
                "strangers in one network who check each other stop faults and lone cheats, not one \
                 person under several names"
                    .to_owned(),
            );
        }
        if matches!(self.policy, Policy::Vote(_)) {
            lines.push("votes count names: one person under several has several".to_owned());
        }
        lines
    }
}

/// "2x", "1.7x", "1.03x".
fn times(executions: f64) -> String {
    let digits = if executions < 1.095 { 2 } else { 1 };
    let text = format!("{executions:.digits$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}x")
}

/// "7%", "0.3%".
fn percent(share: f64) -> String {
    let share = share * 100.0;
    if share > 0.0 && share < 1.0 { format!("{share:.1}%") } else { format!("{share:.0}%") }
}

/// "1 in 5,200": two digits, rounded towards the larger share.
fn one_in(share: f64) -> String {
    let mut unit = 1;
    let mut count = (1.0 / share.max(1e-15)) as u64;
    while count >= 100 {
        count /= 10;
        unit *= 10;
    }
    let digits = format!("{}", count.max(1) * unit);
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("1 in {grouped}")
}
