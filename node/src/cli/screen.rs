//! What a user sees of a job under way: a bar on a terminal, a line now and then elsewhere, events
//! with `--json`. All but the events is on standard error, so that outputs may be on standard output.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use bayan_protocol::source::JobView;
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
    /// Tasks that were settled when this process came to it.
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
        let before = *self.before.get_or_insert(view.settled);
        let over = view.ended.is_some();
        let due = |pace: Duration| over || self.shown.is_none_or(|shown| shown.elapsed() >= pace);
        match &self.mode {
            Mode::Bar(bar) => {
                bar.set_length(view.tasks);
                bar.set_position(view.settled);
                bar.set_message(self.words(view, before));
            }
            Mode::Lines if due(LINE) => {
                self.shown = Some(Instant::now());
                note(&format!(
                    "{}/{} tasks, {}",
                    view.settled,
                    view.tasks,
                    self.words(view, before)
                ));
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

    /// Takes the bar away.
    pub(super) fn close(&self) {
        if let Mode::Bar(bar) = &self.mode {
            bar.finish_and_clear();
        }
    }

    fn words(&self, view: &JobView, before: u64) -> String {
        let seconds = self.begun.elapsed().as_secs_f64().max(0.001);
        let rate = view.settled.saturating_sub(before) as f64 / seconds;
        let computing = view.workers.iter().filter(|worker| worker.held > 0).count() as u64;
        let mut words =
            format!("{rate:.1}/s, {} computing", text::count(computing, "peer", "peers"));
        if view.failed > 0 {
            words.push_str(&format!(", {} failed", view.failed));
        }
        if let Some(waiting) = &view.waiting {
            words.push_str(&format!("; {waiting}"));
        }
        words
    }
}

/// A line on standard error; that nobody reads it is no reason to end.
fn note(words: &str) {
    let _ = writeln!(io::stderr(), "{words}");
}
