//! Between colour and grey.
//!
//! Luma is ITU-R BT.601's, in the fixed point that Pillow's `convert("L")` has, so that both give
//! the same grey. This file must never change the nominal range of a raster.

use std::borrow::Cow;

use super::raster::{Raster, Samples};
use super::recipe::Color;

/// 0.299 R + 0.587 G + 0.114 B in 16-bit fixed point, rounded to nearest.
fn luma(r: u32, g: u32, b: u32) -> u32 {
    (r * 19_595 + g * 38_470 + b * 7_471 + 0x8000) >> 16
}

/// The raster in `color`; one that has it already is given back as it is.
pub(crate) fn to_color(raster: Cow<'_, Raster>, color: Color) -> Cow<'_, Raster> {
    match (color, raster.channels()) {
        (Color::Gray, 3) => Cow::Owned(to_gray(&raster)),
        (Color::Rgb, 1) => Cow::Owned(replicate(&raster, 3)),
        _ => raster,
    }
}

pub(super) fn to_gray(raster: &Raster) -> Raster {
    let samples = match raster.samples() {
        Samples::U8(v) => Samples::U8(
            v.chunks_exact(3).map(|p| luma(p[0].into(), p[1].into(), p[2].into()) as u8).collect(),
        ),
        Samples::U16(v) => Samples::U16(
            v.chunks_exact(3).map(|p| luma16(p[0].into(), p[1].into(), p[2].into())).collect(),
        ),
        Samples::F32(v) => Samples::F32(
            v.chunks_exact(3).map(|p| 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2]).collect(),
        ),
    };
    raster.with_samples(1, samples, raster.range())
}

/// The same weights where 32 bits would overflow.
fn luma16(r: u64, g: u64, b: u64) -> u16 {
    ((r * 19_595 + g * 38_470 + b * 7_471 + 0x8000) >> 16) as u16
}

/// A grey raster repeated over `channels` equal channels.
pub(crate) fn replicate(raster: &Raster, channels: usize) -> Raster {
    fn repeat<T: Copy>(v: &[T], n: usize) -> Vec<T> {
        v.iter().flat_map(|&s| std::iter::repeat_n(s, n)).collect()
    }
    let samples = match raster.samples() {
        Samples::U8(v) => Samples::U8(repeat(v, channels)),
        Samples::U16(v) => Samples::U16(repeat(v, channels)),
        Samples::F32(v) => Samples::F32(repeat(v, channels)),
    };
    raster.with_samples(channels, samples, raster.range())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grey_of_grey_is_grey_and_primaries_weigh_as_in_pillow() {
        // Image.new("RGB", …).convert("L"): red 76, green 150, blue 29, white 255.
        let pixels = vec![255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255, 7, 7, 7];
        let gray = to_gray(&Raster::from_u8((5, 1), 3, pixels).unwrap());
        assert_eq!(gray.samples(), &Samples::U8(vec![76, 150, 29, 255, 7]));
        assert!(matches!(to_color(Cow::Borrowed(&gray), Color::Gray), Cow::Borrowed(_)));
        let wide = Samples::U16(vec![65_535; 3]);
        let wide = Raster::new((1, 1), 3, wide, (0.0, 65_535.0)).unwrap();
        assert_eq!(to_gray(&wide).samples(), &Samples::U16(vec![65_535]));
    }
}
