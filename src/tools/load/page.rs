//! The report as one HTML page: the table and two plots, with nothing to fetch from anywhere.

use std::error::Error;
use std::fmt::Write as _;

use plotters::chart::{ChartBuilder, SeriesLabelPosition};
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea as _};
use plotters::element::PathElement;
use plotters::prelude::SVGBackend;
use plotters::series::LineSeries;
use plotters::style::{BLACK, Color as _, RGBColor, WHITE};

use super::outcome::{Outcome, Quantiles, Second, float};

/// One line of a plot.
struct Line {
    name: &'static str,
    color: RGBColor,
    points: Vec<(f64, f64)>,
}

/// What the axes say.
struct Axes {
    x: &'static str,
    y: &'static str,
    x_label: fn(&f64) -> String,
}

impl Outcome {
    /// The report as one HTML page.
    ///
    /// # Errors
    ///
    /// When a plot cannot be drawn.
    pub fn page(&self) -> Result<String, Box<dyn Error>> {
        let latency = plot(&Axes { x: "percentile", y: "ms", x_label: |nines| percentile(*nines) }, &self.latencies())?;
        let rates = plot(&Axes { x: "second", y: "requests", x_label: f64::to_string }, &self.rates())?;
        let mut page = String::from(HEAD);
        let title = escaped(&self.plan().target.authority);
        write!(page, "<h1>portcullis load: {title}</h1>\n<pre>{}</pre>\n", escaped(&self.to_string()))?;
        write!(page, "<h2>Latency by percentile</h2>\n{latency}\n<h2>Requests by second</h2>\n{rates}\n")?;
        write!(page, "<h2>JSON</h2>\n<pre>{}</pre>\n</html>\n", escaped(&format!("{:#}", self.json())))?;
        Ok(page)
    }

    fn latencies(&self) -> Vec<Line> {
        let lines = [
            ("latency", &self.latency, BLUE),
            ("request", &self.service, ORANGE),
            ("full handshake", &self.full_handshake, GREEN),
            ("resumed handshake", &self.resumed_handshake, RED),
        ];
        let some = lines.into_iter().filter(|(_, quantiles, _)| quantiles.count() > 0);
        some.map(|(name, quantiles, color)| Line { name, color, points: curve(quantiles) }).collect()
    }

    fn rates(&self) -> Vec<Line> {
        let points = |count: fn(&Second) -> u64| {
            let seconds = self.seconds.iter().zip(0_u64..);
            seconds.map(|(second, at)| (float(at), float(count(second)))).collect()
        };
        vec![
            Line { name: "done", color: BLUE, points: points(|second| second.done) },
            Line { name: "failed", color: RED, points: points(|second| second.failed) },
        ]
    }
}

/// Time by percentile, on an axis of nines: 1 is 90 %, 2 is 99 %. The tail is what people ask for.
fn curve(quantiles: &Quantiles) -> Vec<(f64, f64)> {
    // Beyond one in all of them there is nothing.
    let nines = float(quantiles.count()).log10().max(1.0);
    let shares = (0..=STEPS).map(|step| nines * f64::from(step) / f64::from(STEPS));
    shares.map(|nines| (nines, quantiles.at(share(nines)).as_secs_f64() * 1e3)).collect()
}

fn share(nines: f64) -> f64 {
    1.0 - 10_f64.powf(-nines)
}

fn percentile(nines: f64) -> String {
    let digits = if nines < 2.0 { 0 } else { 3 };
    let text = format!("{:.digits$}", share(nines) * 100.0);
    if digits == 0 { text } else { text.trim_end_matches('0').trim_end_matches('.').to_owned() }
}

fn plot(axes: &Axes, lines: &[Line]) -> Result<String, Box<dyn Error>> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    draw(&area, axes, lines)?;
    area.present()?;
    drop(area);
    Ok(svg)
}

fn draw(area: &DrawingArea<SVGBackend<'_>, Shift>, axes: &Axes, lines: &[Line]) -> Result<(), Box<dyn Error>> {
    let points = || lines.iter().flat_map(|line| &line.points);
    // At least one of each unit, so that a single point has room.
    let right = points().map(|(x, _)| *x).fold(1.0, f64::max);
    let top = points().map(|(_, y)| *y).fold(0.001, f64::max) * 1.05;
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(72)
        .build_cartesian_2d(0.0..right, 0.0..top)?;
    let mut mesh = chart.configure_mesh();
    mesh.x_desc(axes.x).y_desc(axes.y).x_label_formatter(&axes.x_label).draw()?;
    for Line { name, color, points } in lines {
        let style = color.stroke_width(2);
        let series = LineSeries::new(points.iter().copied(), style);
        chart.draw_series(series)?.label(*name).legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    }
    let mut labels = chart.configure_series_labels();
    labels.position(SeriesLabelPosition::UpperLeft).background_style(WHITE).border_style(BLACK).draw()?;
    Ok(())
}

/// Text inside an element (HTML, 13.1.2).
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const HEAD: &str = "\
<!DOCTYPE html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<title>portcullis load</title>
<style>body { font-family: sans-serif; max-width: 960px; margin: 2em auto; } pre { overflow-x: auto; } svg { max-width: 100%; height: auto; }</style>
";

/// Pixels.
const SIZE: (u32, u32) = (920, 420);
/// Points of a curve: one for every four pixels.
const STEPS: u16 = 230;
/// Colours that are told apart with every kind of sight (Okabe and Ito).
const BLUE: RGBColor = RGBColor(0, 114, 178);
const ORANGE: RGBColor = RGBColor(230, 159, 0);
const GREEN: RGBColor = RGBColor(0, 158, 115);
const RED: RGBColor = RGBColor(213, 94, 0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_of_nines_has_percentiles() {
        for (nines, text) in [(0.0, "0"), (1.0, "90"), (2.0, "99"), (3.0, "99.9"), (5.0, "99.999")] {
            assert_eq!(percentile(nines), text);
        }
    }

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escaped("a<b>&c"), "a&lt;b&gt;&amp;c");
    }

    #[test]
    fn a_plot_has_its_lines_and_their_names() {
        let line = Line { name: "latency", color: BLUE, points: vec![(0.0, 1.0), (2.0, 3.0)] };
        let svg = plot(&Axes { x: "percentile", y: "ms", x_label: f64::to_string }, &[line]).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains("polyline") && svg.contains("latency"), "{svg}");
        assert!(plot(&Axes { x: "", y: "", x_label: f64::to_string }, &[]).unwrap().contains("<svg"));
    }
}
