//! A run as an answer: a section for each thing that was measured, with every combination in it.

use super::{Point, Scenario, Table};
use crate::{
    report::{Answer, Better, Measure, Plot, Section, Series},
    statistics::{Estimate, ratio},
};

/// Curves, and rows, that a picture can hold.
const CURVES: usize = 8;
const ROWS: usize = 60;
/// Numbers that lie further apart than this are shown on a logarithmic axis.
const WIDE: f64 = 30.0;

/// Something that was measured.
struct Subject {
    title: &'static str,
    /// In the names of its numbers, and of its picture if it has one.
    word: &'static str,
    is_drawn: bool,
    unit: &'static str,
    better: Better,
    /// Of a row of this combination: a number, and what it is a part of.
    of: fn(&[f64], &Point) -> (f64, f64),
}

const SUBJECTS: [Subject; 7] = [
    Subject {
        title: "Share of tasks that end with a wrong result, or with none",
        word: "wrong",
        is_drawn: true,
        unit: "",
        better: Better::Less,
        of: |row, point| (row[3], point.tasks as f64),
    },
    Subject {
        title: "Attempts a task",
        word: "attempts",
        is_drawn: true,
        unit: "",
        better: Better::Less,
        of: |row, _| (row[2], 1.0),
    },
    Subject {
        title: "Seconds until the job has ended",
        word: "seconds",
        is_drawn: true,
        unit: "s",
        better: Better::Less,
        of: |row, _| (row[1], 1.0),
    },
    Subject {
        title: "Share of the slots' time that is used",
        word: "used",
        is_drawn: true,
        unit: "",
        better: Better::More,
        of: |row, _| (row[6], 1.0),
    },
    Subject {
        title: "Share of jobs that do not end within the limit",
        word: "endless",
        is_drawn: false,
        unit: "",
        better: Better::Less,
        of: |row, _| (1.0 - row[0], 1.0),
    },
    Subject {
        title: "Frames a task",
        word: "frames",
        is_drawn: false,
        unit: "",
        better: Better::Less,
        of: |row, _| (row[4], 1.0),
    },
    Subject {
        title: "Bytes of frames and blobs a task",
        word: "bytes",
        is_drawn: false,
        unit: "B",
        better: Better::Less,
        of: |row, _| (row[5], 1.0),
    },
];

/// What a run found.
pub fn answer(scenario: &Scenario, table: &Table) -> Answer {
    let (first, last) = (scenario.seeds.start, scenario.seeds.end - 1);
    let mut sections: Vec<Section> =
        SUBJECTS.iter().map(|subject| section(scenario, table, subject)).collect();
    sections.push(Section {
        title: "The scenario".to_owned(),
        text: format!("```toml\n{}\n```", scenario.text.trim()),
        ..Section::default()
    });
    Answer {
        name: format!("run {}", scenario.name),
        question: scenario.question.clone(),
        sources: format!(
            "Each of the {} combinations was run with the seeds {first} to {last}; intervals resample \
             these. Every run is in [runs.csv](runs.csv); the scenario's file is at the end of this page.",
            scenario.points.len()
        ),
        sections,
    }
}

fn section(scenario: &Scenario, table: &Table, subject: &Subject) -> Section {
    let all: Vec<(&Point, Estimate)> = scenario
        .points
        .iter()
        .map(|point| {
            let rows = table.rows(scenario, point);
            let worlds: Vec<(f64, f64)> = rows.map(|row| (subject.of)(row, point)).collect();
            (point, ratio(&worlds, 0))
        })
        .collect();
    let measure = |(point, found): &(&Point, Estimate)| {
        let words = point.words();
        let key = if words.is_empty() {
            subject.word.to_owned()
        } else {
            format!("{words}: {}", subject.word)
        };
        Measure::new(key, *found, subject.better).unit(subject.unit).sampled()
    };
    Section {
        title: subject.title.to_owned(),
        text: told(&all),
        measures: all.iter().map(measure).collect(),
        plot: if subject.is_drawn { plot(subject, &all) } else { None },
    }
}

/// The two ends of what was found.
fn told(all: &[(&Point, Estimate)]) -> String {
    let by = |one: &&(&Point, Estimate), other: &&(&Point, Estimate)| {
        one.1.value.total_cmp(&other.1.value)
    };
    let (Some(least), Some(most)) = (all.iter().min_by(by), all.iter().max_by(by)) else {
        return String::new();
    };
    if all.len() == 1 {
        return String::new();
    }
    if least.1.value == most.1.value {
        return "The same in all combinations.".to_owned();
    }
    let one = |(point, found): &(&Point, Estimate)| {
        format!("{} ({})", crate::report::number(found.value), point.words())
    };
    format!("From {} to {}.", one(least), one(most))
}

fn plot(subject: &Subject, all: &[(&Point, Estimate)]) -> Option<Plot> {
    let values = || all.iter().map(|one| one.1.value);
    let (least, most) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    if all.len() < 2 || least == most {
        return None;
    }
    let log = least > 0.0 && most / least >= WIDE;
    let plot = Plot {
        name: subject.word.to_owned(),
        title: subject.title.to_owned(),
        y: if subject.unit.is_empty() { subject.title } else { subject.unit }.to_owned(),
        log: (false, log),
        ..Plot::default()
    };
    if let Some((x, series)) = curves(all) {
        return Some(Plot { x: x.to_owned(), series, ..plot });
    }
    let places = all.iter().enumerate().map(|(row, one)| (row as f64, one.1));
    (all.len() <= ROWS).then(|| Plot {
        rows: all.iter().map(|one| one.0.words()).collect(),
        series: vec![Series::found("found", places)],
        ..plot
    })
}

/// Where exactly one thing that differs is a number: its key, and a curve over it for each combination of
/// the others.
fn curves(all: &[(&Point, Estimate)]) -> Option<(&'static str, Vec<Series>)> {
    let number = |point: &Point, key: &str| -> Option<f64> {
        point.labels.iter().find(|label| label.0 == key)?.1.parse().ok()
    };
    let keys = all.first()?.0.labels.iter().map(|label| label.0);
    let mut numeric = keys.filter(|key| all.iter().all(|one| number(one.0, key).is_some()));
    let (key, None) = (numeric.next()?, numeric.next()) else { return None };
    let mut curves: Vec<(String, Vec<(f64, Estimate)>)> = Vec::new();
    for (point, found) in all {
        let others = point.labels.iter().filter(|label| label.0 != key);
        let name: Vec<&str> = others.map(|label| label.1.as_str()).collect();
        let (name, place) = (name.join(", "), (number(point, key)?, *found));
        match curves.iter_mut().find(|curve| curve.0 == name) {
            Some(curve) => curve.1.push(place),
            None => curves.push((name, vec![place])),
        }
    }
    if curves.len() > CURVES {
        return None;
    }
    let series = curves.into_iter().map(|(name, mut places)| {
        places.sort_by(|one, other| one.0.total_cmp(&other.0));
        Series::found(if name.is_empty() { "found".to_owned() } else { name }, places.into_iter())
    });
    Some((key, series.collect()))
}
