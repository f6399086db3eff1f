//! How much of an image looks like burned-in text.
//!
//! Annotations are strokes a few pixels wide, far brighter (or darker) than both sides, many in a
//! small tile and in most of its rows; anatomy has edges, not rows of strokes. The measure finds
//! candidates for a person to look at: it reads nothing and proves nothing.
//! This file must never be taken for a guarantee that an image holds no text.

use super::color::to_gray;
use super::intensity::to_u8;
use super::raster::Raster;

/// A tile is as high as a line of small text and as wide as two letters.
const TILE: (usize, usize) = (24, 16);
/// A stroke differs from both sides by at least this many of 255 grey levels.
const CONTRAST: i32 = 90;
/// A stroke is at most this many pixels wide.
const WIDTH: usize = 5;
/// Strokes that a tile's row needs, and rows that a tile needs.
const STROKES: usize = 2;
const ROWS: usize = 5;

/// An image whose share of text-like tiles is at or above this is flagged: any two such tiles side
/// by side, since a line of text is a small share of a large image.
pub const TEXT_LIKENESS_FLAG: f64 = f64::MIN_POSITIVE;

/// The share of tiles (24 × 16 pixels) that look like text and have a neighbour that does too,
/// 0 to 1.
pub fn text_likeness(raster: &Raster) -> f64 {
    let gray = if raster.channels() == 3 { to_u8(&to_gray(raster)) } else { to_u8(raster) };
    let (width, height) = (raster.width() as usize, raster.height() as usize);
    let (across, down) = (width / TILE.0, height / TILE.1);
    if across == 0 || down == 0 {
        return 0.0;
    }
    let mut tiles = vec![false; across * down];
    for (i, tile) in tiles.iter_mut().enumerate() {
        let (left, top) = (i % across * TILE.0, i / across * TILE.1);
        let rows = (top..top + TILE.1).filter(|y| {
            let line = &gray[y * width + left..y * width + left + TILE.0];
            strokes(line) >= STROKES
        });
        *tile = rows.count() >= ROWS;
    }
    // One tile alone is a screw or a wire; a line of text goes on.
    let beside = |i: usize| {
        let x = i % across;
        (x > 0 && tiles[i - 1]) || (x + 1 < across && tiles[i + 1])
    };
    let text = (0..tiles.len()).filter(|&i| tiles[i] && beside(i)).count();
    text as f64 / tiles.len() as f64
}

/// Thin runs in one row that stand out from both sides in the same direction.
fn strokes(line: &[u8]) -> usize {
    let mut found = 0;
    let mut entered: Option<(usize, i32)> = None;
    for (x, pair) in line.windows(2).enumerate() {
        let step = i32::from(pair[1]) - i32::from(pair[0]);
        if step.abs() < CONTRAST {
            continue;
        }
        match entered {
            Some((at, up)) if up.signum() == -step.signum() && x - at <= WIDTH => {
                found += 1;
                entered = None;
            }
            _ => entered = Some((x, step)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A smooth, slightly noisy picture, as anatomy is.
    fn smooth(width: usize, height: usize) -> Vec<u8> {
        (0..width * height)
            .map(|i| {
                let (x, y) = (i % width, i / width);
                let wave = ((x as f64 / 40.0).sin() + (y as f64 / 55.0).cos()) * 30.0 + 90.0;
                (wave + ((i * 2_654_435_761) % 7) as f64) as u8
            })
            .collect()
    }

    #[test]
    fn strokes_in_a_line_are_text_and_a_smooth_image_is_not() {
        let (width, height) = (1_920, 1_280);
        let mut image = smooth(width, height);
        let of = |image: &[u8]| {
            text_likeness(
                &Raster::from_u8((width as u32, height as u32), 1, image.to_vec()).unwrap(),
            )
        };
        assert_eq!(of(&image), 0.0);
        // Twelve letters like "H": two stems and a bar, 10 pixels apart, 12 high.
        for letter in 0..12 {
            let left = 24 + letter * 10;
            for y in 34..46 {
                for x in [left, left + 1, left + 5, left + 6] {
                    image[y * width + x] = 255;
                }
            }
            image[40 * width + left..40 * width + left + 7].fill(255);
        }
        assert!(of(&image) >= TEXT_LIKENESS_FLAG, "{}", of(&image));
    }
}
