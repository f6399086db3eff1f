//! Line charts as SVG, drawn here: no script, no font and no colour from elsewhere.
//!
//! Series of points go in, one `<svg>` element comes out; colours are CSS variables of the page.
//! This file must never know what the numbers mean.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 260.0;
/// Room for the labels: left, right, top, bottom.
const MARGIN: (f64, f64, f64, f64) = (64.0, 16.0, 30.0, 44.0);
/// Room that a letter of a legend takes.
const LETTER: f64 = 6.6;

/// A line of a chart.
#[derive(Debug)]
pub struct Series<'a> {
    /// Its name in the legend.
    pub name: &'a str,
    /// The CSS class that gives it its colour.
    pub class: &'a str,
    /// Its points, in order.
    pub points: Vec<(f64, f64)>,
}

/// A chart without its lines.
#[derive(Debug)]
pub struct Chart<'a> {
    /// What it shows, for those who do not see it.
    pub title: &'a str,
    /// The horizontal axis.
    pub x_label: &'a str,
    /// The vertical axis; it begins at 0.
    pub y_label: &'a str,
    /// Marks of the horizontal axis; none means even ones.
    pub x_marks: Vec<(f64, String)>,
}

impl Chart<'_> {
    /// Draws the lines; a hint when there is nothing to draw.
    pub fn draw(&self, series: &[Series<'_>]) -> String {
        let points = || series.iter().flat_map(|line| &line.points);
        let drawable = |(x, y): &&(f64, f64)| x.is_finite() && y.is_finite();
        if points().filter(drawable).count() < 2 {
            return "<p class=\"hint\">Too few points for a chart.</p>".to_owned();
        }
        let (mut x_low, mut x_high, mut y_high) = (f64::INFINITY, f64::NEG_INFINITY, 0.0_f64);
        for (x, y) in points().filter(drawable) {
            (x_low, x_high, y_high) = (x_low.min(*x), x_high.max(*x), y_high.max(*y));
        }
        let y_step = nice_step(y_high, 5.0);
        let y_top = (y_high / y_step).ceil().max(1.0) * y_step;
        let frame = Frame { x_low, x_span: (x_high - x_low).max(f64::MIN_POSITIVE), y_top };
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escaped(self.title)
        );
        self.axes(&mut svg, &frame, y_step, x_high);
        for line in series {
            let points: Vec<String> = line
                .points
                .iter()
                .filter(drawable)
                .map(|point| {
                    let (x, y) = frame.place(*point);
                    format!("{x:.1},{y:.1}")
                })
                .collect();
            let class = line.class;
            let _ = write!(svg, "<polyline class=\"{class}\" points=\"{}\"/>", points.join(" "));
        }
        legend(&mut svg, series);
        svg.push_str("</svg>");
        svg
    }

    fn axes(&self, svg: &mut String, frame: &Frame, y_step: f64, x_high: f64) {
        let (left, right, _, bottom) = MARGIN;
        let mut y = 0.0;
        while y <= frame.y_top + y_step / 2.0 {
            let (_, at) = frame.place((frame.x_low, y));
            let (end, label_at, label) = (WIDTH - right, left - 8.0, number(y));
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{left}\" y1=\"{at:.1}\" x2=\"{end}\" y2=\"{at:.1}\"/>\
                 <text class=\"y\" x=\"{label_at}\" y=\"{:.1}\">{label}</text>",
                at + 4.0
            );
            y += y_step;
        }
        let base = HEIGHT - bottom;
        for (x, label) in self.marks(frame.x_low, x_high) {
            let (at, _) = frame.place((x, 0.0));
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{at:.1}\" y1=\"{base}\" x2=\"{at:.1}\" y2=\"{}\"/>\
                 <text class=\"x\" x=\"{at:.1}\" y=\"{}\">{}</text>",
                base + 4.0,
                base + 18.0,
                escaped(&label)
            );
        }
        let _ = write!(
            svg,
            "<text class=\"x\" x=\"{}\" y=\"{}\">{}</text>\
             <text class=\"label\" x=\"4\" y=\"16\">{}</text>",
            left + (WIDTH - left - right) / 2.0,
            HEIGHT - 8.0,
            escaped(self.x_label),
            escaped(self.y_label)
        );
    }

    fn marks(&self, low: f64, high: f64) -> Vec<(f64, String)> {
        if !self.x_marks.is_empty() {
            let inside = |(x, _): &&(f64, String)| *x >= low - 1e-9 && *x <= high + 1e-9;
            return self.x_marks.iter().filter(inside).cloned().collect();
        }
        let step = nice_step(high - low, 8.0);
        let first = (low / step).ceil() * step;
        (0..=16)
            .map(|n| first + step * f64::from(n))
            .take_while(|x| *x <= high + 1e-9)
            .map(|x| (x, number(x)))
            .collect()
    }
}

/// From the numbers to the picture.
struct Frame {
    x_low: f64,
    x_span: f64,
    y_top: f64,
}

impl Frame {
    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let (left, right, top, bottom) = MARGIN;
        let across = (x - self.x_low) / self.x_span;
        let up = y / self.y_top;
        (left + across * (WIDTH - left - right), HEIGHT - bottom - up * (HEIGHT - top - bottom))
    }
}

fn legend(svg: &mut String, series: &[Series<'_>]) {
    let mut x = WIDTH - MARGIN.1;
    for line in series.iter().rev() {
        let (name, class) = (escaped(line.name), line.class);
        let _ = write!(svg, "<text class=\"legend {class}\" x=\"{x:.1}\" y=\"16\">{name}</text>");
        x -= line.name.chars().count() as f64 * LETTER + 18.0;
    }
}

/// A step of 1, 2 or 5 times a power of ten, of which about `parts` fill `span`.
fn nice_step(span: f64, parts: f64) -> f64 {
    let raw = (span / parts).max(1e-9);
    let power = 10.0_f64.powf(raw.log10().floor());
    let factor = raw / power;
    power
        * if factor <= 1.0 {
            1.0
        } else if factor <= 2.0 {
            2.0
        } else if factor <= 5.0 {
            5.0
        } else {
            10.0
        }
}

/// A number without needless digits.
fn number(x: f64) -> String {
    if x.abs() >= 10_000.0 {
        return format!("{}k", number(x / 1000.0));
    }
    let text = format!("{x:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Text for HTML.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_lies_in_the_picture_and_text_is_escaped() {
        let chart = Chart { title: "a<b", x_label: "\"x\"", y_label: "y & z", x_marks: Vec::new() };
        let points = vec![(0.0, 0.0), (1.0, 12_345.6), (2.0, f64::NAN), (3.0, 7.0)];
        let svg = chart.draw(&[Series { name: "<one>", class: "a", points }]);
        assert!(svg.contains("a&lt;b") && svg.contains("y &amp; z") && svg.contains("&lt;one&gt;"));
        let line = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        let points: Vec<Vec<f64>> = line
            .split(' ')
            .map(|point| point.split(',').map(|n| n.parse().unwrap()).collect())
            .collect();
        assert_eq!(points.len(), 3);
        for point in points {
            assert!((MARGIN.0..=WIDTH - MARGIN.1).contains(&point[0]), "{point:?}");
            assert!((MARGIN.2..=HEIGHT - MARGIN.3).contains(&point[1]), "{point:?}");
        }
        assert!(chart.draw(&[]).contains("Too few"));
    }

    #[test]
    fn steps_are_round() {
        for (span, step) in [(10.0, 2.0), (0.9, 0.2), (24_000.0, 5000.0), (5.0, 1.0)] {
            assert!((nice_step(span, 5.0) - step).abs() < 1e-9, "{span}");
        }
        assert_eq!(
            (number(12_500.0), number(0.25), number(3.0)),
            ("12.5k".into(), "0.25".into(), "3".into())
        );
    }
}
