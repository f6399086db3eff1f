//! A heat map painted over the image that it explains, as a PNG file for a person.
//!
//! The picture stands at the top left at its own size; below it a margin says what is seen: the
//! model, the class, a colour bar, the bundle's notice. Colours are plasma's (perceptually uniform,
//! neither black nor white at an end, so that they are no grey of the image), the more opaque the
//! more relevant, so that an irrelevant part is the image itself.
//! This file must never paint heat where the map is zero.

use std::convert::Infallible;

use embedded_graphics::Pixel;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point, Size};
use embedded_graphics::mono_font::iso_8859_1::{FONT_6X10, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::{Rgb888, RgbColor as _};
use embedded_graphics::text::{Baseline, Text};

use super::geometry::Geometry;
use super::heatmap::Heatmap;
use super::png::encode_png;
use super::raster::{Raster, Samples};
use super::{DecodeError, Format};

/// How opaque the most relevant part is.
const MOST_OPAQUE: f32 = 0.65;
/// Below this many pixels across the small font is used.
const LARGE_FONT_FROM: u32 = 480;
/// A picture narrower than this gets a margin of this width, so that a line holds some words.
const LEAST_WIDTH: u32 = 240;
/// Room around the text.
const PADDING: u32 = 6;
/// White and black of the margin.
const INK: Rgb888 = Rgb888::new(235, 235, 235);
const PAPER: [u8; 3] = [16, 16, 16];

/// What the margin says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caption {
    /// The model and its version, as in `pneumonia/3`.
    pub model: String,
    /// The class that is explained.
    pub class: String,
    /// The bundle's notice; empty for none.
    pub notice: String,
}

/// Paints `heatmap` over `backdrop`: the image as it is shown, 8-bit grey or RGB, whole and at any
/// size, of which `geometry` says what the network saw.
///
/// # Errors
/// [`DecodeError::Unsupported`] for a backdrop of other samples.
pub fn overlay(
    backdrop: &Raster,
    geometry: &Geometry,
    heatmap: &Heatmap,
    caption: &Caption,
) -> Result<Vec<u8>, DecodeError> {
    let unsupported =
        || DecodeError::unsupported(Format::Png, "a backdrop other than 8-bit grey or RGB");
    let Samples::U8(samples) = backdrop.samples() else { return Err(unsupported()) };
    let channels = backdrop.channels();
    if !matches!(channels, 1 | 3) {
        return Err(unsupported());
    }
    let (width, height) = backdrop.size();
    let font = if width < LARGE_FONT_FROM { &FONT_6X10 } else { &FONT_10X20 };
    let full_width = width.max(LEAST_WIDTH);
    let lines = lines(caption, heatmap.is_zero(), full_width, font);
    let line = font.character_size.height + 2;
    let rows = u32::try_from(lines.len()).unwrap_or(0) + 1;
    let full_height = height + 2 * PADDING + rows * line;
    let mut canvas = Canvas::new(full_width, full_height);
    let map = heatmap.over_input(geometry, (width, height));
    let colors: Vec<[f32; 3]> = (0..=255).map(|level| color(level as f32 / 255.0)).collect();
    for (y, (row, heat)) in samples
        .chunks_exact(width as usize * channels)
        .zip(map.chunks_exact(width as usize))
        .enumerate()
    {
        let start = y * full_width as usize * 3;
        let painted = &mut canvas.pixels[start..start + width as usize * 3];
        let pixels = row.chunks_exact(channels).zip(heat).zip(painted.chunks_exact_mut(3));
        for ((pixel, heat), painted) in pixels {
            let opacity = MOST_OPAQUE * heat;
            let color = colors[((heat * 255.0) as usize).min(255)];
            for (channel, painted) in painted.iter_mut().enumerate() {
                let below = f32::from(pixel[channel % channels]);
                *painted = (below + (color[channel] - below) * opacity).round() as u8;
            }
        }
    }
    let mut top = height + PADDING;
    for text in &lines {
        canvas.text(text, (PADDING, top), font);
        top += line;
    }
    canvas.bar(top, line, font);
    let raster = Raster::from_u8((full_width, full_height), 3, canvas.pixels)
        .map_err(DecodeError::raster(Format::Png))?;
    encode_png(&raster)
}

/// Plasma at 0 to 1, in levels.
fn color(share: f32) -> [f32; 3] {
    let color = colorous::PLASMA.eval_continuous(f64::from(share));
    [f32::from(color.r), f32::from(color.g), f32::from(color.b)]
}

/// The margin's text in lines that fit.
fn lines(caption: &Caption, is_zero: bool, width: u32, font: &MonoFont<'_>) -> Vec<String> {
    let Caption { model, class, notice } = caption;
    let what = match is_zero {
        false => format!("Grad-CAM++ for {class}, relative to its own peak"),
        true => format!("the map for {class} is zero: no part of the image speaks for it"),
    };
    let columns = (width.saturating_sub(2 * PADDING) / font.character_size.width).max(8) as usize;
    [model, &what, notice]
        .into_iter()
        .filter(|text| !text.is_empty())
        .flat_map(|text| wrapped(text, columns))
        .collect()
}

/// Words in lines of at most `columns` characters; a longer word is cut.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let word: String = word.chars().take(columns).map(latin).collect();
        let line = lines.last_mut().filter(|line| {
            line.is_empty() || line.chars().count() + 1 + word.chars().count() <= columns
        });
        match line {
            Some(line) if line.is_empty() => *line = word,
            Some(line) => {
                line.push(' ');
                line.push_str(&word);
            }
            None => lines.push(word),
        }
    }
    lines
}

/// The font has Latin-1 only.
fn latin(c: char) -> char {
    match c {
        '–' | '—' | '‑' => '-',
        '‘' | '’' => '\'',
        '“' | '”' => '"',
        c if u32::from(c) < 256 => c,
        _ => '?',
    }
}

struct Canvas {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

impl Canvas {
    fn new(width: u32, height: u32) -> Self {
        let pixels = PAPER.repeat(width as usize * height as usize);
        Self { width, height, pixels }
    }

    fn set(&mut self, x: u32, y: u32, color: [u8; 3]) {
        if x < self.width && y < self.height {
            let at = (y as usize * self.width as usize + x as usize) * 3;
            self.pixels[at..at + 3].copy_from_slice(&color);
        }
    }

    fn text(&mut self, text: &str, (x, y): (u32, u32), font: &MonoFont<'_>) -> u32 {
        let at = Point::new(x as i32, y as i32);
        let style = MonoTextStyle::new(font, INK);
        match Text::with_baseline(text, at, style, Baseline::Top).draw_to(self) {
            Ok(end) => end.x.max(0) as u32,
            Err(never) => match never {},
        }
    }

    /// "low", the colours, "high".
    fn bar(&mut self, top: u32, line: u32, font: &MonoFont<'_>) {
        let from = self.text("low", (PADDING, top), font) + PADDING;
        let word = font.character_size.width * 4;
        let to = self.width.saturating_sub(2 * PADDING + word).min(from + 256);
        for x in from..to {
            let share = (x - from) as f32 / (to - from) as f32;
            let color = color(share).map(|level| level as u8);
            (top + 1..top + line - 2).for_each(|y| self.set(x, y, color));
        }
        self.text("high", (to + PADDING, top), font);
    }
}

/// Draws and says where the text ends.
trait DrawTo {
    fn draw_to(&self, canvas: &mut Canvas) -> Result<Point, Infallible>;
}

impl DrawTo for Text<'_, MonoTextStyle<'_, Rgb888>> {
    fn draw_to(&self, canvas: &mut Canvas) -> Result<Point, Infallible> {
        embedded_graphics::Drawable::draw(self, canvas)
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(self.width, self.height)
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I>(&mut self, pixels: I) -> Result<(), Infallible>
    where
        I: IntoIterator<Item = Pixel<Rgb888>>,
    {
        for Pixel(Point { x, y }, color) in pixels {
            if let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) {
                self.set(x, y, [color.r(), color.g(), color.b()]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::{DecodeLimits, DecodeOptions, decode};

    fn caption() -> Caption {
        Caption {
            model: "spots/1".to_owned(),
            class: "SPOTTED".to_owned(),
            notice: "Not for primary diagnosis – physician must verify".to_owned(),
        }
    }

    fn painted(size: (u32, u32), heatmap: &Heatmap) -> Raster {
        let level = vec![100; (size.0 * size.1) as usize];
        let backdrop = Raster::from_u8(size, 1, level).unwrap();
        let file = overlay(&backdrop, &Geometry::new(size, 1.0), heatmap, &caption()).unwrap();
        decode(&file, &DecodeLimits::default(), &DecodeOptions::default()).unwrap().raster
    }

    fn pixel(raster: &Raster, x: u32, y: u32) -> [u8; 3] {
        let Samples::U8(samples) = raster.samples() else { panic!("8 bits") };
        let at = ((y * raster.width() + x) * 3) as usize;
        samples[at..at + 3].try_into().unwrap()
    }

    #[test]
    fn heat_is_painted_where_it_is_and_nowhere_else() {
        let map = Heatmap::new(2, 1, &[0.0, 1.0]).unwrap();
        let picture = painted((600, 400), &map);
        assert_eq!(pixel(&picture, 10, 200), [100; 3]);
        let [r, _, b] = pixel(&picture, 590, 200);
        assert!(r > 180 && b < 80, "yellow over grey: {:?}", pixel(&picture, 590, 200));
        assert!(picture.height() > 400 && picture.width() == 600);
        let zero = painted((600, 400), &Heatmap::new(1, 1, &[0.0]).unwrap());
        for (x, y) in [(0, 0), (300, 200), (599, 399)] {
            assert_eq!(pixel(&zero, x, y), [100; 3]);
        }
    }

    #[test]
    fn a_tiny_picture_keeps_its_size_and_has_a_margin_that_can_be_read() {
        let picture = painted((28, 28), &Heatmap::new(1, 1, &[1.0]).unwrap());
        assert_eq!(picture.width(), LEAST_WIDTH);
        assert_ne!(pixel(&picture, 27, 27), PAPER);
        assert_eq!(pixel(&picture, 28, 27), PAPER);
        let wide = wrapped("Not for primary diagnosis – physician must verify", 20);
        assert!(wide.iter().all(|line| line.chars().count() <= 20) && wide.len() == 4, "{wide:?}");
        assert_eq!(wrapped("ä – 肺", 20), ["ä - ?"]);
    }
}
