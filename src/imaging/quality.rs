//! What a quality gate may look at: the statistics of an image as it is shown, its size, its colour.
//!
//! A gate names a value and bounds it; a value outside becomes a warning that says what is wrong in
//! words. Rotation, another body part or another sort of picture show in none of these numbers:
//! they are left to a model's own out-of-distribution score.
//! This file must never decide what a bound is: the bundle says so.

use super::raster::{Raster, Samples};
use super::{ImageStatistics, WarningCode};

/// The names that a gate may use, as [`ImageQuality::value`] knows them.
pub const QUALITY_STATISTICS: [&str; 11] = [
    "mean",
    "std",
    "p1",
    "p99",
    "entropy",
    "sharpness",
    "aspect",
    "bits",
    "width",
    "height",
    "color",
];

/// What is known of an image that was decoded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ImageQuality {
    /// Its statistics, as it is shown.
    pub statistics: ImageStatistics,
    /// (width, height) in pixels, upright.
    pub size: (u32, u32),
    /// How coloured it is: the mean over the pixels of the largest channel less the smallest, in
    /// grey levels, 0 to 255; 0 for a grey image. `None` where it was not measured.
    pub color: Option<f64>,
}

impl ImageQuality {
    /// The value of a name in [`QUALITY_STATISTICS`]; `None` for another name and where it was not
    /// measured.
    pub fn value(&self, name: &str) -> Option<f64> {
        let ImageStatistics { mean, std, p1, p99, entropy, sharpness, aspect, bits } =
            self.statistics;
        Some(match name {
            "mean" => mean,
            "std" => std,
            "p1" => p1,
            "p99" => p99,
            "entropy" => entropy,
            "sharpness" => sharpness,
            "aspect" => aspect,
            "bits" => f64::from(bits),
            "width" => f64::from(self.size.0),
            "height" => f64::from(self.size.1),
            "color" => return self.color,
            _ => return None,
        })
    }
}

/// What it means that the value of `name` lies below (`low`) or above its bounds.
pub fn quality_warning(name: &str, low: bool) -> (WarningCode, &'static str) {
    match (name, low) {
        ("mean" | "p99", true) => (WarningCode::TooDark, "the image is too dark"),
        ("mean" | "p1", false) => (WarningCode::TooBright, "the image is too bright"),
        ("std" | "entropy", true) => {
            (WarningCode::TooFlat, "the image is too flat: it shows next to no contrast")
        }
        ("sharpness", true) => (WarningCode::Blurred, "the image is blurred"),
        ("width" | "height", true) => (WarningCode::TooSmall, "the image has too few pixels"),
        ("aspect", _) => (
            WarningCode::CutOff,
            "the image's sides are out of proportion: it is cut off or stretched",
        ),
        ("color", false) => (WarningCode::Colored, "the image is in colour"),
        _ => (WarningCode::QualityOutOfRange, "the image is unlike those that the model knows"),
    }
}

/// How coloured a raster is, as [`ImageQuality::color`] says it.
pub(super) fn color(raster: &Raster) -> f64 {
    fn mean<T: Copy>(samples: &[T], spread: impl Fn(&[T]) -> f64) -> f64 {
        let pixels = samples.chunks_exact(3);
        let count = pixels.len().max(1) as f64;
        pixels.map(spread).sum::<f64>() / count
    }
    if raster.channels() != 3 {
        return 0.0;
    }
    let (black, white) = raster.range();
    let level = 255.0 / f64::from(white - black).abs().max(f64::MIN_POSITIVE);
    match raster.samples() {
        Samples::U8(v) => {
            let sum: u64 = v.chunks_exact(3).map(|p| u64::from(spread(p))).sum();
            sum as f64 / (v.len() / 3).max(1) as f64
        }
        Samples::U16(v) => level * mean(v, |p| f64::from(spread(p))),
        Samples::F32(v) => {
            let width = |p: &[f32]| {
                let high = p.iter().copied().fold(f32::MIN, f32::max);
                f64::from(high - p.iter().copied().fold(f32::MAX, f32::min))
            };
            level * mean(v, width)
        }
    }
}

fn spread<T: Copy + Ord + std::ops::Sub<Output = T> + Default>(pixel: &[T]) -> T {
    match (pixel.iter().max(), pixel.iter().min()) {
        (Some(high), Some(low)) => *high - *low,
        _ => T::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_value_and_no_other_has() {
        let raster = Raster::from_u8((2, 2), 3, vec![10; 12]).unwrap();
        let statistics = ImageStatistics::of(&raster, None, 1.0, 8);
        let quality = ImageQuality { statistics, size: (2, 2), color: Some(color(&raster)) };
        for name in QUALITY_STATISTICS {
            assert!(quality.value(name).is_some(), "{name}");
        }
        assert_eq!(quality.value("rotation"), None);
        assert_eq!(quality.value("color"), Some(0.0));
    }

    #[test]
    fn colour_is_the_same_at_every_depth() {
        let pixels = vec![255, 0, 0, 10, 20, 30, 7, 7, 7, 0, 255, 255];
        let expected = (255.0 + 20.0 + 0.0 + 255.0) / 4.0;
        let bytes = Raster::from_u8((4, 1), 3, pixels.clone()).unwrap();
        assert!((color(&bytes) - expected).abs() < 1e-9);
        let wide = pixels.iter().map(|&v| u16::from(v) * 257).collect();
        let wide = Raster::new((4, 1), 3, Samples::U16(wide), (0.0, 65_535.0)).unwrap();
        assert!((color(&wide) - expected).abs() < 1e-6);
        let float = pixels.iter().map(|&v| f32::from(v) / 255.0).collect();
        let float = Raster::new((4, 1), 3, Samples::F32(float), (0.0, 1.0)).unwrap();
        assert!((color(&float) - expected).abs() < 1e-4);
        assert_eq!(color(&Raster::from_u8((2, 1), 1, vec![0, 9]).unwrap()), 0.0);
    }
}
