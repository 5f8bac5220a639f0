//! Curves over the number of peers: played where that can be done, reduced beyond, and what they are.

use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use super::{Curves, Question, Rates, TOLERANCE, differences, play, predict, reduced::Difference};
use crate::{
    report::{Answer, Better, Measure, Plot, Rule, Section, Series},
    statistics::{self, Estimate},
    study::Study,
};

/// Peers beyond which a tree is not played but reduced.
pub const MOST_PLAYED: u64 = 100_000;
/// Peers beyond which a tree is played once, whatever number of seeds is asked for.
const OFTEN: u64 = 10_000;
/// Peers of the trees that a reduced model is made from and must agree with: two worlds.
const COMPARED: u64 = 10_000;
/// A curve is flat if its largest value is not larger than its smallest by more than this part.
const FLAT: f64 = 0.15;
/// And logarithmic if no value is further than this part from a line over the logarithm of the peers.
const STRAIGHT: f64 = 0.2;

/// A line of a curve, and which number it is of.
type Line = (&'static str, fn(&Curves) -> f64);

/// One curve.
struct Curve {
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    /// What is to be known of it.
    text: &'static str,
    lines: &'static [Line],
}

const CURVES: [Curve; 5] = [
    Curve {
        name: "begun",
        title: "Until peers have begun",
        unit: "s",
        text: "A peer that computes offers a job below two seconds after it was offered it itself.",
        lines: &[
            ("half of the peers", |of| of.begun.half),
            ("99 in 100", |of| of.begun.most),
            ("all", |of| of.all_begun),
        ],
    },
    Curve {
        name: "ended",
        title: "Until the job has ended",
        unit: "s",
        text: "The floor is what the same peers need who take the same tasks from one list at no cost, \
               all from the first moment on, and copy what is under way once none is left.",
        lines: &[("the tree", |of| of.seconds), ("floor", |of| of.floor.0)],
    },
    Curve {
        name: "idle",
        title: "Slots' time until then that went into no result",
        unit: "",
        text: "A job of few tasks a peer cannot end for all at once, so there is a floor here too. What \
               was computed in vain, because a copy was faster, is a part of the first line.",
        lines: &[
            ("the tree", |of| of.idle),
            ("of it computed in vain", |of| of.vain),
            ("floor", |of| of.floor.1),
        ],
    },
    Curve {
        name: "frames",
        title: "Frames a peer",
        unit: "frames",
        text: "The mean has the submitter's frames in it. What is acknowledged goes down every level.",
        lines: &[
            ("mean", |of| of.frames.mean),
            ("half of the peers", |of| of.frames.half),
            ("99 in 100", |of| of.frames.most),
        ],
    },
    Curve {
        name: "bytes",
        title: "Bytes a peer",
        unit: "B",
        text: "With 80 bytes around each frame. Leases and results say the way that they came.",
        lines: &[
            ("mean", |of| of.bytes.mean),
            ("half of the peers", |of| of.bytes.half),
            ("99 in 100", |of| of.bytes.most),
        ],
    },
];

/// What trees of one size came to, one for each seed.
struct Size(Vec<Curves>);

impl Size {
    fn peers(&self) -> f64 {
        self.0.first().map_or(0.0, |one| one.peers)
    }

    fn is_reduced(&self) -> bool {
        self.peers() > MOST_PLAYED as f64
    }

    /// The mean over the seeds.
    fn mean(&self, of: fn(&Curves) -> f64) -> f64 {
        statistics::mean(&self.0.iter().map(of).collect::<Vec<f64>>())
    }

    /// The same with its interval, where there are seeds to draw from.
    fn estimate(&self, of: fn(&Curves) -> f64, seed: u64) -> Estimate {
        if self.0.len() == 1 {
            return Estimate::exact(self.mean(of));
        }
        let each: Vec<(f64, f64)> = self.0.iter().map(|one| (of(one), 1.0)).collect();
        statistics::ratio(&each, seed)
    }

    /// One tree with the means of all in it.
    fn middle(&self) -> Option<Curves> {
        let each: Vec<[f64; Curves::LEN]> = self.0.iter().map(Curves::values).collect();
        let mean = |at: usize| each.iter().map(|one| one[at]).sum::<f64>() / each.len() as f64;
        Curves::from_values(&std::array::from_fn::<f64, { Curves::LEN }, _>(mean))
    }
}

/// Plays and reduces trees of these sizes, small ones with so many seeds. Says why, if a size can be
/// neither.
pub fn run(study: &Study, sizes: &[u64], seeds: usize, question: &Question) -> Result<Answer> {
    let mut sizes = sizes.to_vec();
    sizes.sort_unstable();
    sizes.dedup();
    let (small, large): (Vec<u64>, Vec<u64>) =
        sizes.into_iter().partition(|peers| *peers <= MOST_PLAYED);
    let mut rows = Vec::new();
    for peers in small {
        let seeds = if peers <= OFTEN { seeds } else { 1 };
        let played = row(study, "", seeds, &Question { peers, ..*question })?;
        rows.extend(
            (!played.is_empty()).then(|| Size(played.into_iter().map(|one| one.0).collect())),
        );
    }
    let mut sections = Vec::new();
    if !large.is_empty() && !study.is_cut_short() {
        let (rates, compared) = model(study, question, &rows)?;
        sections.extend(compared);
        for peers in large {
            rows.push(Size(vec![predict(&Question { peers, ..*question }, &rates)]));
        }
    }
    let mut all = rows.iter().flat_map(|row| &row.0);
    if let Some(open) = all.find(|one| one.done < 1.0 || one.never > 0.0) {
        bail!("{} of {} peers never began, or the job did not end", open.never, open.peers);
    }
    let curves = CURVES.iter().map(|curve| section(study, curve, &rows));
    sections.splice(0..0, curves.collect::<Vec<Section>>());
    Ok(Answer {
        name: "scale".to_owned(),
        question: format!(
            "What does one job of {} tasks a peer, {:.0} s each on the median peer, take over trees \
             of {} peers below each one, the more peers there are? Speeds are log-normal (0.5); \
             everyone but the submitter computes, and whoever has peers below hands work on. Trees of \
             up to {MOST_PLAYED} peers are played by the protocol's own machines; of up to {OFTEN} \
             with {seeds} seeds each, of which the means are shown, beyond with one.",
            question.tasks,
            question.task_ms as f64 / 1e3,
            question.fan
        ),
        sources: format!(
            "Nothing is published to compare with. A curve is called *flat* if its largest value is \
             within {:.0} % of its smallest, *logarithmic* if all values are within {:.0} % of a line \
             over the logarithm of the number of peers, and *neither* otherwise.",
            FLAT * 100.0,
            STRAIGHT * 100.0
        ),
        sections,
    })
}

/// Plays trees of one size, or takes what was kept of them; fewer or none if time is over.
fn row(
    study: &Study,
    what: &str,
    seeds: usize,
    question: &Question,
) -> Result<Vec<(Curves, Rates)>> {
    let Question { peers, fan, tasks, task_ms, .. } = *question;
    let label = format!("{what}{peers} peers fan {fan} tasks {tasks} of {task_ms} ms");
    let begun = Instant::now();
    let found = study.worlds(&label, seeds, |seed| {
        let mut said = Instant::now();
        let watch = |at: f64, ended: u64| {
            if said.elapsed().as_secs() >= 30 {
                said = Instant::now();
                let part = ended as f64 / (peers * tasks) as f64;
                study.say(&format!("{label}: {:.0} % computed at {at:.0} s", part * 100.0));
            }
        };
        match play(&Question { seed, ..*question }, watch) {
            Some((curves, rates)) => [&curves.values()[..], &rates.values()].concat(),
            None => Vec::new(),
        }
    });
    if !found.is_empty() {
        study.say(&format!("{label}: {:.0} s", begun.elapsed().as_secs_f64()));
    }
    let whole = |values: Vec<f64>| {
        let curves = Curves::from_values(&values).context("a tree could not be played")?;
        let rates = values.get(Curves::LEN..).and_then(Rates::from_values);
        let rates = rates.context("what was kept of a tree is not whole")?;
        Ok((curves, rates.late(curves.late)))
    };
    found.into_iter().map(whole).collect()
}

/// The model, once it has been shown to agree, and what it differs by.
fn model(study: &Study, question: &Question, played: &[Size]) -> Result<(Rates, Vec<Section>)> {
    let at = |peers: u64| Question { peers, ..*question };
    let late = "there was no time to play what the reduced model is compared with";
    let (_, rates) = row(study, "rates of ", 1, &at(COMPARED))?.pop().context(late)?;
    let known = played.iter().filter_map(Size::middle);
    let mut compared: Vec<Curves> = known.filter(|one| one.peers >= COMPARED as f64).collect();
    if compared.first().is_none_or(|one| one.peers > COMPARED as f64) {
        compared.insert(0, row(study, "", 1, &at(COMPARED))?.pop().context(late)?.0);
    }
    let mut sections = Vec::new();
    for played in compared {
        let all = differences(&played, &predict(&at(played.peers as u64), &rates));
        if played.peers <= COMPARED as f64 {
            agree(&all)?;
        }
        sections.push(comparison(played.peers, &all));
    }
    Ok((rates, sections))
}

/// Refuses a model that differs by too much.
fn agree(all: &[Difference]) -> Result<()> {
    let wrong = all.iter().filter(|one| !one.is_near());
    let wrong: Vec<String> = wrong
        .map(|one| {
            format!("{}: {:.4} by the model, {:.4} played", one.what, one.predicted, one.played)
        })
        .collect();
    if !wrong.is_empty() {
        bail!(
            "the reduced model does not agree with the machines at {COMPARED} peers, so it says \
             nothing of more than {MOST_PLAYED}: {}",
            wrong.join("; ")
        );
    }
    Ok(())
}

fn comparison(peers: f64, all: &[Difference]) -> Section {
    let measure = |one: &Difference| {
        let key = format!("{peers} peers: {}", one.what);
        Measure::new(key, Estimate::exact(one.predicted), Better::Same)
            .beside(one.played, Rule::Within(TOLERANCE))
    };
    Section {
        title: format!("The reduced model at {peers} peers"),
        text: format!(
            "Trees of more than {MOST_PLAYED} peers are not played: what peers compute comes from one \
             list, what they say from rates counted in a world of {COMPARED} peers of its own. Found is \
             the model's number, beside it that of the machines; if one differed by more than {:.0} % \
             at {COMPARED} peers, no larger tree would be shown.",
            TOLERANCE * 100.0
        ),
        measures: all.iter().map(measure).collect(),
        plot: None,
    }
}

fn section(study: &Study, curve: &Curve, rows: &[Size]) -> Section {
    let mut measures = Vec::new();
    let mut said = Vec::new();
    for (line, of) in curve.lines {
        for row in rows.iter().filter(|row| row.mean(*of).is_finite()) {
            let how = if row.is_reduced() { ", reduced" } else { "" };
            let key = format!("{} peers{how}: {}, {line}", row.peers(), curve.name);
            let found = row.estimate(*of, study.seed_of(&key, 0));
            measures.push(Measure::new(key, found, Better::Less).unit(curve.unit));
        }
        let points: Vec<(f64, f64)> = rows
            .iter()
            .map(|row| (row.peers(), row.mean(*of)))
            .filter(|point| point.1.is_finite())
            .collect();
        said.push(format!("{line}: {}", shape(&points)));
    }
    let points = |of: fn(&Curves) -> f64, reduced: bool| {
        let hit = |row: &&Size| row.is_reduced() == reduced;
        rows.iter().filter(hit).map(|row| (row.peers(), row.mean(of))).collect::<Vec<_>>()
    };
    let mut series: Vec<Series> =
        curve.lines.iter().map(|(name, of)| Series::line(*name, points(*of, false))).collect();
    if rows.iter().any(Size::is_reduced) {
        let reduced =
            |(name, of): &Line| Series::marks(format!("{name}, reduced"), points(*of, true));
        series.extend(curve.lines.iter().take(3).map(reduced));
    }
    Section {
        title: curve.title.to_owned(),
        text: format!("{} Over the number of peers: {}.", curve.text, said.join("; ")),
        measures,
        plot: Some(Plot {
            name: curve.name.to_owned(),
            title: curve.title.to_owned(),
            x: "peers".to_owned(),
            y: curve.unit.to_owned(),
            log: (true, false),
            series,
            ..Plot::default()
        }),
    }
}

/// What a curve is over the number of peers.
fn shape(points: &[(f64, f64)]) -> &'static str {
    if points.len() < 3 {
        return "too few sizes to say";
    }
    let values = || points.iter().map(|point| point.1);
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    if high <= low * (1.0 + FLAT) {
        return "flat";
    }
    let count = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |sum, (x, y)| (sum.0 + x.log10(), sum.1 + y));
    let (x, y) = (x / count, y / count);
    let (over, under) = points.iter().fold((0.0, 0.0), |sum, point| {
        let from = point.0.log10() - x;
        (sum.0 + from * (point.1 - y), sum.1 + from * from)
    });
    let slope = if under > 0.0 { over / under } else { 0.0 };
    let near = |(at, value): &(f64, f64)| {
        let line = y + slope * (at.log10() - x);
        (value - line).abs() <= STRAIGHT * value.abs()
    };
    if slope < 0.0 {
        "falling"
    } else if points.iter().all(near) {
        "logarithmic"
    } else {
        "neither"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study;

    fn points(of: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        [1e3, 3e3, 1e4, 1e5, 1e6].map(|at| (at, of(at))).to_vec()
    }

    #[test]
    fn shapes_are_told_apart() {
        assert_eq!(shape(&points(|_| 7.0)), "flat");
        assert_eq!(shape(&points(|at| 2.0 * at.log10())), "logarithmic");
        assert_eq!(shape(&points(|at| (at.log10() * 1.3).floor())), "logarithmic", "by levels");
        assert_eq!(shape(&points(f64::sqrt)), "neither");
        assert_eq!(shape(&points(|at| 1.0 / at)), "falling");
        assert_eq!(shape(&points(|_| 7.0)[..2]), "too few sizes to say");
    }

    #[test]
    fn a_model_that_differs_is_refused() {
        let played = Curves { seconds: 100.0, ..Curves::default() };
        let off = |part: f64| Curves { seconds: 100.0 * (1.0 + part), ..played };
        assert!(agree(&differences(&played, &off(0.09))).is_ok());
        let error = agree(&differences(&played, &off(-0.11))).expect_err("it differs").to_string();
        assert!(error.contains("the job has ended: 89.0000 by the model"), "{error}");
        assert!(agree(&differences(&played, &off(f64::NAN))).is_err());
    }

    #[test]
    fn a_small_run_says_what_its_curves_are() {
        let study = Study::new(1, study::Size::Small);
        let question = Question { peers: 0, fan: 4, tasks: 4, task_ms: 5000, seed: 0 };
        let answer = run(&study, &[40, 20, 80], 3, &question).expect("an answer");
        assert_eq!(answer.sections.len(), CURVES.len());
        let first = answer.measures().next().expect("a measure");
        assert!(first.key.starts_with("20 peers: begun"), "{}", first.key);
        let rows = answer.rows().expect("rows");
        let ended = rows["80 peers: ended; the tree"].found;
        assert!(ended.value > 10.0);
        assert!(ended.low < ended.value && ended.value < ended.high, "{ended:?}");
    }
}
