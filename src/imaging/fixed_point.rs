//! The 8-bit resize of Pillow, level for level.
//!
//! Pillow (`Resample.c`) has weights of 22 bits behind the point and rounds after the pass across and
//! again after the pass down. Where weights are simple fractions, as from 224 to 160 pixels, one sum in
//! twenty ends at exactly half a level, and only the same arithmetic rounds it the same way.
//! This file must never be used for samples wider than 8 bits: the sums would overflow.

/// Bits of a weight behind the point: 32 without those of a sample and two for sign and overshoot.
const PRECISION: u32 = 32 - 8 - 2;

/// What an output sample is made of along one axis.
#[derive(Debug)]
struct Window {
    /// The first input sample.
    start: usize,
    /// One for each input sample from there.
    weights: Vec<i32>,
}

/// `samples` of `C` channels at (width, height) `to`; `None` where they do not fill an image of (width,
/// height) `from`, or a side is 0.
pub(super) fn resize_u8<const C: usize>(
    samples: &[u8],
    from: (u32, u32),
    to: (u32, u32),
) -> Option<Vec<u8>> {
    let [width, height, to_width, to_height] =
        [from.0, from.1, to.0, to.1].map(|side| side as usize);
    if samples.is_empty() || to_width * to_height == 0 || samples.len() != width * height * C {
        return None;
    }
    let narrow = if width == to_width {
        None
    } else {
        Some(across::<C>(samples, width, &windows(width, to_width)))
    };
    let narrow = narrow.as_deref().unwrap_or(samples);
    if height == to_height {
        return Some(narrow.to_vec());
    }
    Some(down(narrow, to_width * C, &windows(height, to_height)))
}

/// The triangle's weights for each of `to` samples out of `from`.
fn windows(from: usize, to: usize) -> Vec<Window> {
    let scale = from as f64 / to as f64;
    // The triangle's half-width: of one sample where the image grows.
    let support = scale.max(1.0);
    (0..to)
        .map(|at| {
            let centre = (at as f64 + 0.5) * scale;
            let start = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(from);
            let exact: Vec<f64> = (start..end)
                .map(|i| {
                    let away = ((i as f64 - centre + 0.5) / support).abs();
                    (1.0 - away).max(0.0)
                })
                .collect();
            let total: f64 = exact.iter().sum();
            let one = f64::from(1 << PRECISION);
            let weights = exact.iter().map(|w| (0.5 + w / total * one) as i32).collect();
            Window { start, weights }
        })
        .collect()
}

/// A sum as a level.
fn level(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (PRECISION - 1);

fn across<const C: usize>(samples: &[u8], width: usize, windows: &[Window]) -> Vec<u8> {
    let rows = samples.len() / (width * C);
    let mut out = Vec::with_capacity(rows * windows.len() * C);
    for row in samples.chunks_exact(width * C) {
        let pixels = row.as_chunks::<C>().0;
        for window in windows {
            let mut sums = [HALF; C];
            for (pixel, weight) in pixels[window.start..].iter().zip(&window.weights) {
                for (sum, sample) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(*sample) * weight;
                }
            }
            out.extend(sums.map(level));
        }
    }
    out
}

fn down(samples: &[u8], row: usize, windows: &[Window]) -> Vec<u8> {
    let mut out = Vec::with_capacity(row * windows.len());
    let mut sums = vec![0; row];
    for window in windows {
        sums.fill(HALF);
        let rows = samples.chunks_exact(row).skip(window.start);
        for (samples, weight) in rows.zip(&window.weights) {
            for (sum, sample) in sums.iter_mut().zip(samples) {
                *sum += i32::from(*sample) * weight;
            }
        }
        out.extend(sums.iter().map(|sum| level(*sum)));
    }
    out
}
