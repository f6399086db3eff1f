//! What an image is like, in eight numbers, for drift: baseline and service compute them here.
//!
//! They are taken from the image as it is shown (after Modality LUT, window and inversion), at
//! its own resolution, in grey (BT.601), rounded to 8 bits over its nominal range.
//! This file must never look at a resized image: size and sharpness are what drifts first.

use serde::{Deserialize, Serialize};

use super::color::to_gray;
use super::intensity::to_u8;
use super::raster::{Raster, Samples};

/// Statistics of one image. Grey levels run from 0 to 255 whatever the file's bit depth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ImageStatistics {
    /// Mean grey level.
    pub mean: f64,
    /// Population standard deviation of the grey levels.
    pub std: f64,
    /// First percentile, by linear interpolation as NumPy's `percentile` has it.
    pub p1: f64,
    /// Ninety-ninth percentile.
    pub p99: f64,
    /// Shannon entropy of the 256-bin histogram in bits, 0 to 8.
    pub entropy: f64,
    /// Population variance of the 4-neighbour Laplacian (0 1 0; 1 −4 1; 0 1 0) over the pixels
    /// that have all four neighbours; 0 where there is none (Pech-Pacheco et al. 2000).
    pub sharpness: f64,
    /// Width over height as the eye sees it, pixel aspect ratio included.
    pub aspect: f64,
    /// Bits stored a sample in the file.
    pub bits: u8,
}

impl ImageStatistics {
    /// Statistics of `raster`, shown with pixels of `pixel_aspect` (height over width).
    ///
    /// `excluded` marks pixels (pixel padding) that take no part; statistics of an image of
    /// nothing else are those of a black one.
    pub fn of(raster: &Raster, excluded: Option<&[bool]>, pixel_aspect: f64, bits: u8) -> Self {
        let gray;
        let gray: &[u8] = match (raster.channels(), raster.samples()) {
            (1, Samples::U8(samples)) => samples,
            (3, _) => {
                gray = to_u8(&to_gray(raster));
                &gray
            }
            _ => {
                gray = to_u8(raster);
                &gray
            }
        };
        let histogram = histogram(gray, excluded);
        let width = raster.width() as usize;
        let sharpness = match excluded {
            None => sharpness(gray, width),
            Some(excluded) => sharpness_without(gray, width, excluded),
        };
        let aspect = f64::from(raster.width()) / (f64::from(raster.height()) * pixel_aspect);
        Self { sharpness, aspect, bits, ..from_histogram(&histogram) }
    }
}

fn histogram(gray: &[u8], excluded: Option<&[bool]>) -> [u64; 256] {
    // Four tables, so that runs of one grey level do not wait for each other's increment.
    let mut tables = [[0_u32; 256]; 4];
    match excluded {
        None => {
            let (quads, rest) = gray.as_chunks::<4>();
            for quad in quads {
                for (table, &level) in tables.iter_mut().zip(quad) {
                    table[usize::from(level)] += 1;
                }
            }
            rest.iter().for_each(|&level| tables[0][usize::from(level)] += 1);
        }
        Some(excluded) => {
            let kept = gray.iter().zip(excluded).filter(|(_, out)| !**out);
            kept.for_each(|(&level, _)| tables[0][usize::from(level)] += 1);
        }
    }
    std::array::from_fn(|level| tables.iter().map(|table| u64::from(table[level])).sum())
}

fn from_histogram(histogram: &[u64; 256]) -> ImageStatistics {
    let n: u64 = histogram.iter().sum();
    let zero = ImageStatistics {
        mean: 0.0,
        std: 0.0,
        p1: 0.0,
        p99: 0.0,
        entropy: 0.0,
        sharpness: 0.0,
        aspect: 0.0,
        bits: 0,
    };
    if n == 0 {
        return zero;
    }
    let levels = || histogram.iter().enumerate().map(|(level, &count)| (level as u64, count));
    let sum: u64 = levels().map(|(level, count)| level * count).sum();
    let squares: u64 = levels().map(|(level, count)| level * level * count).sum();
    let mean = sum as f64 / n as f64;
    // Integers up to here, so that a constant image has a deviation of exactly 0.
    let spread = u128::from(n) * u128::from(squares) - u128::from(sum) * u128::from(sum);
    let entropy: f64 = levels()
        .filter(|(_, count)| *count > 0)
        .map(|(_, count)| count as f64 / n as f64)
        .map(|p| -p * p.log2())
        .sum();
    ImageStatistics {
        mean,
        std: (spread as f64).sqrt() / n as f64,
        p1: histogram_percentile(histogram, n, 1.0),
        p99: histogram_percentile(histogram, n, 99.0),
        entropy: entropy.max(0.0),
        ..zero
    }
}

/// The percentile of the levels that `histogram` counts, `n` in all, by linear interpolation.
pub(super) fn histogram_percentile(histogram: &[u64], n: u64, percent: f64) -> f64 {
    let place = percent / 100.0 * (n - 1) as f64;
    let (below, part) = (place.floor() as u64, place.fract());
    let level_at = |rank: u64| {
        let mut seen = 0;
        let level = histogram.iter().position(|count| {
            seen += count;
            seen > rank
        });
        level.unwrap_or(histogram.len() - 1) as f64
    };
    let low = level_at(below);
    if part == 0.0 { low } else { low + (level_at(below + 1) - low) * part }
}

/// Variance of the Laplacian by exact integer sums: it is 1,020 at most.
fn sharpness(gray: &[u8], width: usize) -> f64 {
    let rows: Vec<&[u8]> = gray.chunks_exact(width).collect();
    if width < 3 || rows.len() < 3 {
        return 0.0;
    }
    let (mut sum, mut squares) = (0_i64, 0_i64);
    for rows in rows.windows(3) {
        let [above, row, below] = [rows[0], rows[1], rows[2]];
        // Pieces short enough for 32-bit sums (1,020² × 1,024 < 2³¹) vectorise four times wider.
        let last = width - 1;
        let mut start = 1;
        while start < last {
            let end = (start + 1_024).min(last);
            let (mut piece_sum, mut piece_squares) = (0_i32, 0_i32);
            let centre = &row[start..end];
            let left = &row[start - 1..end - 1];
            let right = &row[start + 1..end + 1];
            let (up, down) = (&above[start..end], &below[start..end]);
            for i in 0..centre.len() {
                // Within 16 bits, so that one instruction squares and adds eight of them.
                let around = i16::from(left[i])
                    + i16::from(right[i])
                    + i16::from(up[i])
                    + i16::from(down[i]);
                let laplacian = i32::from(around - 4 * i16::from(centre[i]));
                piece_sum += laplacian;
                piece_squares += laplacian * laplacian;
            }
            sum += i64::from(piece_sum);
            squares += i64::from(piece_squares);
            start = end;
        }
    }
    variance(((width - 2) * (rows.len() - 2)) as i128, sum, squares)
}

/// The same over the pixels that are not excluded and have no excluded neighbour.
fn sharpness_without(gray: &[u8], width: usize, excluded: &[bool]) -> f64 {
    let height = gray.len() / width;
    let (mut n, mut sum, mut squares) = (0_i128, 0_i64, 0_i64);
    for y in 1..height.saturating_sub(1) {
        for x in 1..width.saturating_sub(1) {
            let at = y * width + x;
            let around = [at - 1, at + 1, at - width, at + width];
            if excluded[at] || around.iter().any(|&i| excluded[i]) {
                continue;
            }
            let laplacian =
                around.iter().map(|&i| i64::from(gray[i])).sum::<i64>() - 4 * i64::from(gray[at]);
            n += 1;
            sum += laplacian;
            squares += laplacian * laplacian;
        }
    }
    if n == 0 { 0.0 } else { variance(n, sum, squares) }
}

fn variance(n: i128, sum: i64, squares: i64) -> f64 {
    let spread = n * i128::from(squares) - i128::from(sum) * i128::from(sum);
    spread as f64 / (n * n) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(width: u32, gray: Vec<u8>) -> ImageStatistics {
        let height = gray.len() as u32 / width;
        let raster = Raster::from_u8((width, height), 1, gray).unwrap();
        ImageStatistics::of(&raster, None, 1.0, 8)
    }

    #[test]
    fn agrees_with_numpy_on_a_small_image() {
        // tests/imaging/reference.py: statistics((np.arange(20)**2 % 251).reshape(4, 5)).
        let s = of(5, (0..20_u32).map(|i| (i * i % 251) as u8).collect());
        for (ours, numpys) in [
            (s.mean, 73.3),
            (s.std, 66.989_626_062_547_91),
            (s.p1, 0.19),
            (s.p99, 219.49),
            (s.entropy, 4.321_928_094_887_363),
            (s.sharpness, 15_750.25),
        ] {
            assert!((ours - numpys).abs() < 1e-9, "{ours} {numpys}");
        }
        assert!((s.aspect - 1.25).abs() < 1e-12);
    }

    #[test]
    fn a_constant_image_is_flat_and_a_tiny_one_has_no_sharpness() {
        let s = of(4, vec![7; 16]);
        assert_eq!((s.mean, s.std, s.p1, s.p99), (7.0, 0.0, 7.0, 7.0));
        assert_eq!((s.entropy, s.sharpness), (0.0, 0.0));
        assert_eq!(of(1, vec![9; 10_000]).sharpness, 0.0);
    }

    proptest! {
        #[test]
        fn excluding_nothing_changes_nothing(width in 1u32..40, gray in prop::collection::vec(any::<u8>(), 1..1600)) {
            let height = gray.len() as u32 / width;
            prop_assume!(height > 0);
            let gray = gray[..(width * height) as usize].to_vec();
            let raster = Raster::from_u8((width, height), 1, gray.clone()).unwrap();
            let none = vec![false; gray.len()];
            let a = ImageStatistics::of(&raster, None, 1.0, 8);
            let b = ImageStatistics::of(&raster, Some(&none), 1.0, 8);
            prop_assert_eq!(a, b);
            prop_assert!(a.entropy <= 8.0 && a.p1 <= a.p99 && a.sharpness >= 0.0);
        }
    }
}
