//! Plots as SVG and PNG, alike on every machine: the font is compiled in, none is looked for. Lines and
//! points over numbers; or, where there are rows, points with their intervals, one line of text each.

mod rows;

use std::sync::Once;

use anyhow::{Result, anyhow};
use plotters::{
    coord::{Shift, types::RangedCoordf64},
    prelude::*,
    style::{FontStyle, register_font},
};

use crate::statistics::Estimate;

const WIDTH: u32 = 680;
const HEIGHT: u32 = 420;
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 90, 181),
    RGBColor(220, 50, 32),
    RGBColor(0, 128, 80),
    RGBColor(150, 80, 170),
    RGBColor(200, 130, 0),
    RGBColor(60, 60, 60),
    RGBColor(0, 160, 190),
    RGBColor(190, 60, 120),
];

/// A line or a set of points.
#[derive(Debug, Clone)]
pub struct Series {
    /// In the legend.
    pub name: String,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
    /// Published or expected numbers are points, what was found is a line.
    pub marks: bool,
    /// The interval of each point, if they have any.
    pub intervals: Vec<(f64, f64)>,
}

impl Series {
    /// What was found.
    pub fn line(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, marks: false, intervals: Vec::new() }
    }

    /// What was published or expected.
    pub fn marks(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, marks: true, intervals: Vec::new() }
    }

    /// What was found at these places, with its intervals.
    pub fn found(name: impl Into<String>, at: impl Iterator<Item = (f64, Estimate)>) -> Self {
        let (points, intervals) = at.map(|(x, one)| ((x, one.value), (one.low, one.high))).unzip();
        Self { name: name.into(), points, marks: false, intervals }
    }

    /// Each point with its interval, where it has one.
    fn barred(&self) -> impl Iterator<Item = ((f64, f64), (f64, f64))> {
        self.points.iter().copied().zip(self.intervals.iter().copied())
    }
}

/// A picture of some numbers.
#[derive(Debug, Clone, Default)]
pub struct Plot {
    /// The file's name without its end.
    pub name: String,
    /// Above it.
    pub title: String,
    /// Below the axis.
    pub x: String,
    /// Beside the axis.
    pub y: String,
    /// Whether the axes are logarithmic.
    pub log: (bool, bool),
    /// The lines.
    pub series: Vec<Series>,
    /// What each row is, from above, if this is a plot of rows: a point's x is then its row, its y what lies
    /// to the right.
    pub rows: Vec<String>,
}

impl Plot {
    /// As text that scales.
    pub fn svg(&self) -> Result<String> {
        let mut text = String::new();
        self.draw(SVGBackend::with_string(&mut text, self.size()).into_drawing_area())?;
        Ok(text)
    }

    /// As an image.
    pub fn png(&self) -> Result<Vec<u8>> {
        let size = self.size();
        let mut pixels = vec![0; (size.0 * size.1 * 3) as usize];
        self.draw(BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area())?;
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, size.0, size.1);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_compression(png::Compression::High);
        encoder.write_header()?.write_image_data(&pixels)?;
        Ok(bytes)
    }

    fn size(&self) -> (u32, u32) {
        (WIDTH, if self.rows.is_empty() { HEIGHT } else { self.height_of_rows() })
    }

    /// A point as it stands on the axes; none where a logarithm has none.
    fn place(&self, (x, y): (f64, f64)) -> Option<(f64, f64)> {
        let on = |value: f64, log: bool| if log { value.log10() } else { value };
        let placed = (on(x, self.log.0), on(y, self.log.1));
        (placed.0.is_finite() && placed.1.is_finite()).then_some(placed)
    }

    fn bounds(&self) -> ((f64, f64), (f64, f64)) {
        let ends = |one: &Series| -> Vec<(f64, f64)> {
            let ends = one.barred().flat_map(|((x, _), (low, high))| [(x, low), (x, high)]);
            ends.chain(one.points.iter().copied()).collect()
        };
        let all = || self.series.iter().flat_map(ends).filter_map(|point| self.place(point));
        let span = |values: &mut dyn Iterator<Item = f64>, log: bool| {
            let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
            for value in values {
                (low, high) = (low.min(value), high.max(value));
            }
            if !log && low > 0.0 && low < high / 2.0 {
                low = 0.0;
            }
            if low > high {
                return (0.0, 1.0);
            }
            if low == high {
                return (low - 0.5, high + 0.5);
            }
            (low, high + (high - low) * 0.05)
        };
        let x = span(&mut all().map(|point| point.0), self.log.0);
        (x, span(&mut all().map(|point| point.1), self.log.1))
    }

    fn draw<B: DrawingBackend>(&self, area: DrawingArea<B, Shift>) -> Result<()> {
        fonts();
        self.try_draw(&area).map_err(|error| anyhow!("plot {}: {error}", self.name))
    }

    fn try_draw<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        area.fill(&WHITE)?;
        if !self.rows.is_empty() {
            return self.draw_rows(area);
        }
        let ((left, right), (bottom, top)) = self.bounds();
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 16))
            .margin(10)
            .x_label_area_size(38)
            .y_label_area_size(58)
            .build_cartesian_2d(left..right, bottom..top)?;
        let label = |log: bool| {
            move |value: &f64| super::page::number(if log { 10_f64.powf(*value) } else { *value })
        };
        chart
            .configure_mesh()
            .x_desc(&self.x)
            .y_desc(&self.y)
            .x_labels(9)
            .y_labels(8)
            .x_label_formatter(&label(self.log.0))
            .y_label_formatter(&label(self.log.1))
            .light_line_style(WHITE)
            .bold_line_style(BLACK.mix(0.12))
            .label_style(("sans-serif", 12))
            .draw()?;
        for (at, series) in self.series.iter().enumerate() {
            self.draw_series(&mut chart, series, COLOURS[at % COLOURS.len()])?;
        }
        legend(&mut chart)?;
        area.present()
    }

    fn draw_series<'a, B: DrawingBackend + 'a>(
        &self,
        chart: &mut ChartContext<'a, B, Cartesian2d<RangedCoordf64, RangedCoordf64>>,
        series: &Series,
        colour: RGBColor,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        let bars = series.barred().filter_map(|((x, _), (low, high))| {
            Some(PathElement::new([self.place((x, low))?, self.place((x, high))?], colour))
        });
        chart.draw_series(bars)?;
        let points: Vec<(f64, f64)> =
            series.points.iter().filter_map(|point| self.place(*point)).collect();
        if series.marks {
            let crosses =
                points.into_iter().map(|point| Cross::new(point, 4, colour.stroke_width(2)));
            chart
                .draw_series(crosses)?
                .label(&series.name)
                .legend(move |(x, y)| Cross::new((x + 10, y), 4, colour.stroke_width(2)));
        } else {
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
                .label(&series.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour));
        }
        Ok(())
    }
}

fn fonts() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // It fails only for bytes that are no font.
        let _ = register_font("sans-serif", FontStyle::Normal, dejavu::sans::regular());
    });
}

/// What the series are called, in a corner of the chart.
fn legend<'a, B: DrawingBackend + 'a>(
    chart: &mut ChartContext<'a, B, Cartesian2d<RangedCoordf64, RangedCoordf64>>,
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 12))
        .draw()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_is_drawn_and_drawn_alike() {
        let plot = Plot {
            name: "x".to_owned(),
            title: "A title".to_owned(),
            log: (false, true),
            series: vec![
                Series::line("found", vec![(1.0, 1e-3), (2.0, 1e-2)]),
                Series::marks("published", vec![(1.0, 2e-3), (2.0, 0.0)]),
            ],
            ..Plot::default()
        };
        let text = plot.svg().expect("drawn");
        assert!(text.contains("A title") && text.contains("published"));
        assert_eq!(text, plot.svg().expect("drawn"));
        let image = plot.png().expect("drawn");
        assert!(image.starts_with(b"\x89PNG") && image.len() > 2000, "{}", image.len());
        assert_eq!(image, plot.png().expect("drawn"));
        Plot::default().svg().expect("an empty plot is one too");
    }

    #[test]
    fn intervals_are_drawn_as_well() {
        let one = |value: f64| Estimate { value, low: value - 0.2, high: value + 0.2 };
        let plot = Plot {
            series: vec![Series::found("found", [(1.0, one(1.0)), (2.0, one(3.0))].into_iter())],
            ..Plot::default()
        };
        let mut bare = plot.clone();
        bare.series[0].intervals.clear();
        assert_ne!(plot.svg().expect("drawn"), bare.svg().expect("drawn"));
        let rows = Plot { rows: vec!["the first".to_owned(), "the other".to_owned()], ..plot };
        let text = rows.svg().expect("drawn");
        assert!(text.contains("the first") && text.contains("the other"));
        let mut bare = rows.clone();
        bare.series[0].intervals.clear();
        assert_ne!(text, bare.svg().expect("drawn"));
        assert_eq!(rows.png().expect("drawn"), rows.png().expect("drawn"));
    }
}
