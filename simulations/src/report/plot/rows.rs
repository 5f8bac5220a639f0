//! Points with their intervals, a row each, with what the row is to the left of it.

use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::{COLOURS, Plot, WIDTH};

/// Pixels of a row, and of everything above and below them.
const ROW: u32 = 22;
const FRAME: u32 = 100;
/// Pixels of a letter, and of the text to the left at most.
const LETTER: u32 = 7;
const LEFT: u32 = WIDTH / 2;

impl Plot {
    pub(super) fn height_of_rows(&self) -> u32 {
        FRAME + ROW * self.rows.len() as u32
    }

    fn shares_rows(&self) -> bool {
        let points = || self.series.iter().flat_map(|one| &one.points);
        (0..self.rows.len()).any(|row| points().filter(|one| one.0 == row as f64).count() > 1)
    }

    pub(super) fn draw_rows<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        let (_, (low, high)) = self.bounds();
        let letters = self.rows.iter().map(|row| row.chars().count()).max().unwrap_or(0) as u32;
        let left = (LETTER * letters + 14).min(LEFT);
        let below = -0.5..self.rows.len() as f64 - 0.5;
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 16))
            .margin(10)
            .margin_right(24)
            .x_label_area_size(38)
            .y_label_area_size(left)
            .build_cartesian_2d(low..high, below.end..below.start)?;
        let log = self.log.1;
        let label = move |value: &f64| {
            super::super::page::number(if log { 10_f64.powf(*value) } else { *value })
        };
        chart
            .configure_mesh()
            .disable_y_mesh()
            .y_labels(0)
            .x_desc(&self.y)
            .x_labels(7)
            .x_label_formatter(&label)
            .light_line_style(WHITE)
            .bold_line_style(BLACK.mix(0.12))
            .label_style(("sans-serif", 12))
            .draw()?;
        let text =
            ("sans-serif", 12).into_text_style(area).pos(Pos::new(HPos::Right, VPos::Center));
        for (at, row) in self.rows.iter().enumerate() {
            let (_, y) = chart.backend_coord(&(low, at as f64));
            let place = (10 + left as i32 - 8, y);
            area.draw(&Text::new(shortened(row, (left / LETTER) as usize), place, text.clone()))?;
        }
        // Several in a row stand one below the other.
        let (shared, count) = (self.shares_rows(), self.series.len() as f64);
        for (at, series) in self.series.iter().enumerate() {
            let colour = COLOURS[at % COLOURS.len()];
            let shift = if shared { (at as f64 + 0.5) / (2.0 * count) - 0.25 } else { 0.0 };
            let place = |row: f64, value: f64| {
                let (_, value) = self.place((row, value))?;
                Some((value, row + shift))
            };
            let bars = series.barred().filter_map(|((row, _), (low, high))| {
                Some(PathElement::new(
                    [place(row, low)?, place(row, high)?],
                    colour.stroke_width(2),
                ))
            });
            chart.draw_series(bars)?;
            let points = series.points.iter().filter_map(|(row, value)| place(*row, *value));
            let dots = chart.draw_series(points.map(|at| Circle::new(at, 4, colour.filled())))?;
            if self.series.len() > 1 {
                dots.label(&series.name)
                    .legend(move |(x, y)| Circle::new((x + 10, y), 4, colour.filled()));
            }
        }
        if self.series.len() > 1 {
            super::legend(&mut chart)?;
        }
        area.present()
    }
}

/// A text that fits, with its end cut off if it must be.
fn shortened(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    text.chars().take(letters.saturating_sub(1)).chain(['…']).collect()
}
