//! Words, numbers and tables for people, and the one way to standard output.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use bayan_protocol::{source::JobView, task::Status, time::Timestamp};
use serde::Serialize;

use super::exit::OutputClosed;
use crate::core::now;

/// Writes bytes to standard output.
pub(super) fn put(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(closed)
}

/// Writes a line to standard output.
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    put(format!("{text}\n").as_bytes())
}

/// Writes a value as one line of JSON to standard output.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string(value)?)
}

/// The error of writing to standard output.
pub(super) fn closed(error: io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        OutputClosed.into()
    } else {
        anyhow::Error::from(error).context("cannot write to standard output")
    }
}

/// An error with its causes, each said once: some say their cause themselves.
pub(super) fn error(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |mut words, cause| {
        let cause = cause.to_string();
        if !words.contains(&cause) {
            words.push_str(if words.is_empty() { "" } else { ": " });
            words.push_str(&cause);
        }
        words
    })
}

/// Columns as wide as their widest cell; the first row is the heading. Cells of numbers stand right.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell =
        |row: &Vec<String>, column: usize| row.get(column).map_or(0, |text| text.chars().count());
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().map(|row| cell(row, column)).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, value) in row.iter().enumerate() {
            let pad = " ".repeat(widths[column] - value.chars().count());
            let number = value.starts_with(|first: char| first.is_ascii_digit()) && column > 0;
            let (before, after) = if number { (pad.as_str(), "") } else { ("", pad.as_str()) };
            line.push_str(&format!("{before}{value}{after}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A number of bytes.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 10.0 {
        format!("{value:.1} {}", UNITS[unit])
    } else {
        format!("{value:.0} {}", UNITS[unit])
    }
}

/// A duration.
pub(super) fn duration(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..10 => format!("{:.2} s", span.as_secs_f64()),
        10..60 => format!("{:.1} s", span.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// How long ago.
pub(super) fn ago(at: Timestamp) -> String {
    let seconds = now().since(at).as_secs();
    match seconds {
        0 => "just now".to_owned(),
        1..60 => format!("{seconds} s ago"),
        _ => format!("{} ago", duration(Duration::from_secs(seconds))),
    }
}

/// How long a job has taken, or did take.
pub(super) fn taken(view: &JobView) -> Duration {
    view.ended.unwrap_or_else(now).since(view.submitted)
}

/// One thing or several.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}

/// Text of others, fit for one line of a terminal.
pub(super) fn printable(text: &str, most: usize) -> String {
    let clean =
        text.chars().map(|one| if one.is_control() { char::REPLACEMENT_CHARACTER } else { one });
    if text.chars().count() > most {
        clean.take(most.saturating_sub(1)).chain(['…']).collect()
    } else {
        clean.collect()
    }
}

/// How a task ended.
pub(super) fn status(status: Option<Status>) -> String {
    match status {
        None => "given up".to_owned(),
        Some(Status::Exited(code)) => format!("exit code {code}"),
        Some(Status::Trapped) => "trapped".to_owned(),
        Some(Status::OutOfFuel) => "out of fuel (--fuel)".to_owned(),
        Some(Status::OutputLimit) => "over its output limit (--output-limit)".to_owned(),
        Some(Status::WallTime) => "out of time (--wall)".to_owned(),
        Some(Status::StackOverflow) => "stack overflow".to_owned(),
        Some(Status::MemoryRefused) => "out of memory".to_owned(),
        Some(Status::HostFault) => "failed by its host".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_read_well() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(256 << 20), "256 MiB");
        assert_eq!(bytes(u64::MAX), "16777216 TiB");
        assert_eq!(duration(Duration::from_millis(1500)), "1.50 s");
        assert_eq!(duration(Duration::from_secs(125)), "2 min 5 s");
        assert_eq!(duration(Duration::from_secs(90_000)), "1 d 1 h");
    }

    #[test]
    fn a_cause_is_said_once() {
        let plain = anyhow::anyhow!("no room").context("cannot write");
        assert_eq!(error(&plain), "cannot write: no room");
        let twice = anyhow::anyhow!("no room").context("cannot write: no room; free some");
        assert_eq!(error(&twice), "cannot write: no room; free some");
    }

    #[test]
    fn text_of_others_cannot_move_the_cursor() {
        assert_eq!(printable("a\x1b[2Jb\n", 40), "a\u{fffd}[2Jb\u{fffd}");
        assert_eq!(printable("abcdef", 4), "abc…");
    }

    #[test]
    fn numbers_stand_right_and_words_left() {
        let rows = [["peer", "done"], ["a", "5"], ["bcdef", "12345"]];
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect();
        assert_eq!(table(&rows), "peer   done\na          5\nbcdef  12345\n");
    }
}
