//! Steps that change samples and not geometry: percentile clip, quantisation, scale, normalise.
//!
//! Arithmetic and rounding are NumPy's (`percentile` linear, `rint` to even), so that a notebook
//! gives the same numbers. This file must never change how many samples there are.

use std::borrow::Cow;

use super::image_statistics::histogram_percentile;
use super::raster::{Raster, Samples};

/// Samples rounded to 0..=255 over the raster's nominal range; ties go to even.
pub(super) fn to_u8(raster: &Raster) -> Vec<u8> {
    let (low, high) = raster.range();
    match raster.samples() {
        Samples::U8(v) if (low, high) == (0.0, 255.0) => v.clone(),
        Samples::U16(v) => {
            let levels: Vec<u8> = (0..=u16::MAX).map(|s| level(f32::from(s), low, high)).collect();
            v.iter().map(|&s| levels[usize::from(s)]).collect()
        }
        Samples::U8(v) => v.iter().map(|&s| level(f32::from(s), low, high)).collect(),
        Samples::F32(v) => v.iter().map(|&s| level(s, low, high)).collect(),
    }
}

fn level(sample: f32, low: f32, high: f32) -> u8 {
    if high == low {
        return 0;
    }
    let share = (f64::from(sample) - f64::from(low)) / (f64::from(high) - f64::from(low));
    // NaN becomes 0 by the cast; no decoder makes one.
    (share * 255.0).round_ties_even().clamp(0.0, 255.0) as u8
}

/// The raster as 8 bits; one that is 8-bit already is given back as it is.
pub(super) fn quantise8(raster: Cow<'_, Raster>) -> Cow<'_, Raster> {
    if matches!(raster.samples(), Samples::U8(_)) && raster.range() == (0.0, 255.0) {
        return raster;
    }
    let samples = Samples::U8(to_u8(&raster));
    Cow::Owned(raster.with_samples(raster.channels(), samples, (0.0, 255.0)))
}

/// Two percentiles (0 to 100) of the samples, those of `excluded` pixels left out.
/// `None` if nothing is left.
pub(super) fn percentiles(
    raster: &Raster,
    excluded: Option<&[bool]>,
    low: f64,
    high: f64,
) -> Option<(f64, f64)> {
    let channels = raster.channels();
    let kept = |i: usize| excluded.is_none_or(|excluded| !excluded[i / channels]);
    let counted = |levels: &mut dyn Iterator<Item = usize>, size: usize| {
        let mut histogram = vec![0_u64; size];
        levels.for_each(|level| histogram[level] += 1);
        let n = histogram.iter().sum::<u64>();
        (n > 0).then(|| {
            (histogram_percentile(&histogram, n, low), histogram_percentile(&histogram, n, high))
        })
    };
    let kept_of = |(i, level): (usize, usize)| kept(i).then_some(level);
    match raster.samples() {
        Samples::U8(v) => {
            counted(&mut v.iter().map(|&s| usize::from(s)).enumerate().filter_map(kept_of), 1 << 8)
        }
        Samples::U16(v) => {
            counted(&mut v.iter().map(|&s| usize::from(s)).enumerate().filter_map(kept_of), 1 << 16)
        }
        Samples::F32(v) => {
            let samples = v.iter().enumerate();
            let mut samples: Vec<f32> =
                samples.filter(|(i, _)| kept(*i)).map(|(_, &s)| s).collect();
            (!samples.is_empty())
                .then(|| (selected(&mut samples, low), selected(&mut samples, high)))
        }
    }
}

/// A percentile by selection, without sorting all samples.
fn selected(samples: &mut [f32], percent: f64) -> f64 {
    let place = percent / 100.0 * (samples.len() - 1) as f64;
    let (below, part) = (place.floor() as usize, place.fract());
    let (_, low, above) = samples.select_nth_unstable_by(below, f32::total_cmp);
    let low = f64::from(*low);
    let next = above.iter().copied().min_by(f32::total_cmp).map_or(low, f64::from);
    low + (next - low) * part
}

/// Clips to two percentiles and stretches them to the nominal range. An image between whose
/// percentiles nothing lies becomes black.
pub(super) fn clip_percentile(raster: &Raster, low: f32, high: f32) -> Raster {
    let (black, white) = raster.range();
    let span = f64::from(white) - f64::from(black);
    let bounds = percentiles(raster, None, low.into(), high.into());
    let stretch = |sample: f32| match bounds {
        Some((p, q)) if q > p => {
            let share = (f64::from(sample).clamp(p, q) - p) / (q - p);
            (f64::from(black) + share * span) as f32
        }
        _ => black,
    };
    let samples = match raster.samples() {
        Samples::U8(v) => {
            let table: Vec<f32> = (0..=u8::MAX).map(|s| stretch(s.into())).collect();
            v.iter().map(|&s| table[usize::from(s)]).collect()
        }
        Samples::U16(v) => v.iter().map(|&s| stretch(s.into())).collect(),
        Samples::F32(v) => v.iter().map(|&s| stretch(s)).collect(),
    };
    raster.with_samples(raster.channels(), Samples::F32(samples), raster.range())
}

/// Multiplies every sample and the nominal range. The product is taken in f64 and rounded once.
pub(super) fn scale(raster: &Raster, factor: f64) -> Raster {
    let scaled = |sample: f32| (f64::from(sample) * factor) as f32;
    let range = (scaled(raster.range().0), scaled(raster.range().1));
    let samples = match raster.samples() {
        Samples::U8(v) => {
            let table: Vec<f32> = (0..=u8::MAX).map(|s| scaled(s.into())).collect();
            v.iter().map(|&s| table[usize::from(s)]).collect()
        }
        Samples::U16(v) => v.iter().map(|&s| scaled(s.into())).collect(),
        Samples::F32(v) => v.iter().map(|&s| scaled(s)).collect(),
    };
    raster.with_samples(raster.channels(), Samples::F32(samples), range)
}

/// (sample − mean) / std, each one value or one a channel, in f32 as NumPy has it.
pub(super) fn normalise(raster: &Raster, mean: &[f32], std: &[f32]) -> Raster {
    let channels = raster.channels();
    let pick = |values: &[f32], c: usize| values[if values.len() == 1 { 0 } else { c }];
    let by_channel: Vec<(f32, f32)> =
        (0..channels).map(|c| (pick(mean, c), pick(std, c))).collect();
    let mut samples = raster.to_f32();
    for pixel in samples.chunks_exact_mut(channels) {
        for (sample, (mean, std)) in pixel.iter_mut().zip(&by_channel) {
            *sample = (*sample - mean) / std;
        }
    }
    let (mean, std) = by_channel[0];
    let (low, high) = raster.range();
    raster.with_samples(channels, Samples::F32(samples), ((low - mean) / std, (high - mean) / std))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn gray(samples: Samples, white: f32) -> Raster {
        Raster::new((samples.len() as u32, 1), 1, samples, (0.0, white)).unwrap()
    }

    #[test]
    fn quantises_over_the_nominal_range_with_ties_to_even() {
        let wide = gray(Samples::U16(vec![0, 65_535, 257, 128, 129]), 65_535.0);
        assert_eq!(to_u8(&wide), [0, 255, 1, 0, 1]);
        let float = gray(Samples::F32(vec![0.5, 1.5, 2.5, -3.0, 400.0]), 255.0);
        assert_eq!(to_u8(&float), [0, 2, 2, 0, 255]);
    }

    #[test]
    fn percentiles_are_numpys() {
        // np.percentile([1, 2, 3, 4, 100], [1, 99]) = [1.04, 96.16].
        let samples = [4.0, 1.0, 100.0, 3.0, 2.0];
        for raster in [
            gray(Samples::F32(samples.to_vec()), 255.0),
            gray(Samples::U8(samples.iter().map(|&s| s as u8).collect()), 255.0),
        ] {
            let (low, high) = percentiles(&raster, None, 1.0, 99.0).unwrap();
            assert!((low - 1.04).abs() < 1e-12 && (high - 96.16).abs() < 1e-12, "{low} {high}");
            let without = [false, false, true, false, false];
            assert_eq!(percentiles(&raster, Some(&without), 0.0, 100.0), Some((1.0, 4.0)));
        }
    }

    proptest! {
        #[test]
        fn a_clip_fills_the_range_and_keeps_the_order(v in prop::collection::vec(any::<u8>(), 2..200)) {
            prop_assume!(v.iter().min() != v.iter().max());
            let clipped = clip_percentile(&gray(Samples::U8(v.clone()), 255.0), 0.0, 100.0);
            let Samples::F32(out) = clipped.samples() else { panic!("not f32") };
            let (low, high) = out.iter().fold((f32::MAX, f32::MIN), |(l, h), &s| (l.min(s), h.max(s)));
            prop_assert_eq!((low, high), (0.0, 255.0));
            for i in 1..v.len() {
                prop_assert_eq!(v[i - 1] <= v[i], out[i - 1] <= out[i]);
            }
        }
    }
}
