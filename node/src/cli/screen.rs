//! What a user sees of a job under way: a bar on a terminal, a line now and then elsewhere, events
//! with `--json`. All but the events is on standard error, so that outputs may be on standard output.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use bayan_protocol::{source::JobView, verify::State};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::text;

/// Between two lines where there is no terminal.
const LINE: Duration = Duration::from_secs(5);
/// Between two events of progress.
const EVENT: Duration = Duration::from_millis(500);
const STYLE: &str = "{bar:30} {pos}/{len} {wide_msg}";

/// The screen.
pub(super) struct Screen {
    mode: Mode,
    begun: Instant,
    /// Tasks that had a result when this process came to it.
    before: Option<u64>,
    shown: Option<Instant>,
}

enum Mode {
    Bar(ProgressBar),
    Lines,
    Json,
    Quiet,
}

impl Screen {
    /// As fits the options and where standard error goes.
    pub(super) fn new(json: bool, quiet: bool) -> Self {
        let mode = if json {
            Mode::Json
        } else if quiet {
            Mode::Quiet
        } else if io::stderr().is_terminal() {
            let bar = ProgressBar::no_length();
            bar.set_style(
                ProgressStyle::with_template(STYLE)
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            Mode::Bar(bar)
        } else {
            Mode::Lines
        };
        Self { mode, begun: Instant::now(), before: None, shown: None }
    }

    /// Shows where the job stands.
    pub(super) fn progress(&mut self, view: &JobView) -> anyhow::Result<()> {
        let accepted = accepted(view);
        let before = *self.before.get_or_insert(accepted);
        let over = view.ended.is_some();
        let due = |pace: Duration| over || self.shown.is_none_or(|shown| shown.elapsed() >= pace);
        match &self.mode {
            Mode::Bar(bar) => {
                bar.set_length(view.tasks);
                bar.set_position(accepted);
                bar.set_message(self.words(view, before));
            }
            Mode::Lines if due(LINE) => {
                self.shown = Some(Instant::now());
                note(&format!("{}/{} tasks, {}", accepted, view.tasks, self.words(view, before)));
            }
            Mode::Json if due(EVENT) => {
                self.shown = Some(Instant::now());
                text::json(&json!({ "event": "progress", "job": view }))?;
            }
            Mode::Lines | Mode::Json | Mode::Quiet => {}
        }
        Ok(())
    }

    /// Tells people something that is not progress.
    pub(super) fn say(&self, words: &str) {
        match &self.mode {
            Mode::Bar(bar) => bar.suspend(|| note(words)),
            Mode::Lines => note(words),
            Mode::Json | Mode::Quiet => {}
        }
    }

    /// Tells people what they must know, however little they want to hear.
    pub(super) fn warn(&self, words: &str) {
        if let Mode::Bar(bar) = &self.mode { bar.suspend(|| note(words)) } else { note(words) }
    }

    /// Tells programs, with `--json`; people are told by other words.
    pub(super) fn event(&self, event: &Value) -> anyhow::Result<()> {
        if let Mode::Json = self.mode { text::json(event) } else { Ok(()) }
    }

    /// Whether anybody is told more than what they must know.
    pub(super) fn speaks(&self) -> bool {
        !matches!(self.mode, Mode::Quiet)
    }

    /// Whether programs are told.
    pub(super) fn is_json(&self) -> bool {
        matches!(self.mode, Mode::Json)
    }

    /// Takes the bar away.
    pub(super) fn close(&self) {
        if let Mode::Bar(bar) = &self.mode {
            bar.finish_and_clear();
        }
    }

    fn words(&self, view: &JobView, before: u64) -> String {
        let seconds = self.begun.elapsed().as_secs_f64().max(0.001);
        let rate = accepted(view).saturating_sub(before) as f64 / seconds;
        let computing = view.workers.iter().filter(|worker| worker.held > 0).count() as u64;
        let mut words =
            format!("{rate:.1}/s, {} computing", text::count(computing, "peer", "peers"));
        let (settled, checked) = (settled(view), checked(view));
        if settled != accepted(view) || checked > 0 {
            words.push_str(&format!(", {settled} final, {checked} being checked"));
        }
        if view.failed > 0 {
            words.push_str(&format!(", {} failed", view.failed));
        }
        if let Some(waiting) = &view.waiting {
            words.push_str(&format!("; {waiting}"));
        }
        words
    }
}

fn count(view: &JobView, states: &[State]) -> u64 {
    states.iter().filter_map(|state| view.states.get(state)).sum()
}

/// Tasks with a result that can be shown, or given up.
pub(super) fn accepted(view: &JobView) -> u64 {
    count(
        view,
        &[State::Checking, State::Provisional, State::Confirmed, State::Final, State::GivenUp],
    )
}

/// Tasks that stand for good or were given up.
pub(super) fn settled(view: &JobView) -> u64 {
    count(view, &[State::Final, State::GivenUp])
}

/// Tasks that are being computed once more.
fn checked(view: &JobView) -> u64 {
    count(view, &[State::Checking, State::Disputed])
}

/// A line on standard error; that nobody reads it is no reason to end.
fn note(words: &str) {
    let _ = writeln!(io::stderr(), "{words}");
}
