//! Antialiased bilinear resize, as Pillow's `Image.resize(…, BILINEAR)` does it.
//!
//! Convolution with a triangle as wide as the scale: 8-bit samples in Pillow's own fixed point, so that both
//! give the same levels, wider ones by `fast_image_resize`.
//! This file must never keep the aspect ratio by itself: it gives the size that was asked for.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{F32, F32x2, F32x3, F32x4, InnerPixel, U16, U16x2, U16x3, U16x4};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};

use super::fixed_point::resize_u8;
use super::raster::{Raster, RasterError, Samples};

/// `raster` at (width, height) pixels. 8-bit and 16-bit samples stay what they are.
///
/// # Errors
/// [`RasterError`] if a side is 0, or for a channel count that no decoder makes (above 4).
pub fn resize(raster: &Raster, size: (u32, u32)) -> Result<Raster, RasterError> {
    if size == raster.size() {
        return Ok(raster.clone());
    }
    let (from, to) = (raster.size(), size);
    let samples = match (raster.samples(), raster.channels()) {
        (Samples::U8(v), 1) => resize_u8::<1>(v, from, to).map(Samples::U8),
        (Samples::U8(v), 2) => resize_u8::<2>(v, from, to).map(Samples::U8),
        (Samples::U8(v), 3) => resize_u8::<3>(v, from, to).map(Samples::U8),
        (Samples::U8(v), 4) => resize_u8::<4>(v, from, to).map(Samples::U8),
        (Samples::U16(v), 1) => convolve::<U16>(v, from, to).map(Samples::U16),
        (Samples::U16(v), 2) => convolve::<U16x2>(v, from, to).map(Samples::U16),
        (Samples::U16(v), 3) => convolve::<U16x3>(v, from, to).map(Samples::U16),
        (Samples::U16(v), 4) => convolve::<U16x4>(v, from, to).map(Samples::U16),
        (Samples::F32(v), 1) => convolve::<F32>(v, from, to).map(Samples::F32),
        (Samples::F32(v), 2) => convolve::<F32x2>(v, from, to).map(Samples::F32),
        (Samples::F32(v), 3) => convolve::<F32x3>(v, from, to).map(Samples::F32),
        (Samples::F32(v), 4) => convolve::<F32x4>(v, from, to).map(Samples::F32),
        _ => None,
    };
    let samples = samples.unwrap_or(Samples::U8(Vec::new()));
    Raster::new(to, raster.channels(), samples, raster.range())
}

/// Resizes samples that `P` groups to pixels; `None` where they do not fill the image.
fn convolve<P>(
    samples: &[P::Component],
    from: (u32, u32),
    to: (u32, u32),
) -> Option<Vec<P::Component>>
where
    P: PixelTrait + InnerPixel,
    P::Component: bytemuck::Pod,
{
    let input =
        TypedImageRef::<P>::from_buffer(from.0, from.1, bytemuck::cast_slice(samples)).ok()?;
    let channels = P::count_of_components();
    let mut buffer = vec![
        <P::Component as bytemuck::Zeroable>::zeroed();
        to.0 as usize * to.1 as usize * channels
    ];
    let mut output =
        TypedImage::<P>::from_buffer(to.0, to.1, bytemuck::cast_slice_mut(&mut buffer)).ok()?;
    // The fourth channel of a replicated grey image is no transparency.
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
        .use_alpha(false);
    Resizer::new().resize_typed(&input, &mut output, &options).ok()?;
    drop(output);
    Some(buffer)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition: each output sample is the mean of the input under a triangle of half-width
    /// max(scale, 1) around its centre, across and then down, in f64.
    fn by_definition(v: &[f64], (w, h): (usize, usize), (ow, oh): (usize, usize)) -> Vec<f64> {
        fn line(v: &[f64], out: usize) -> Vec<f64> {
            let scale = v.len() as f64 / out as f64;
            let support = scale.max(1.0);
            (0..out)
                .map(|i| {
                    let centre = (i as f64 + 0.5) * scale;
                    let weight =
                        |j: usize| (1.0 - ((j as f64 + 0.5 - centre) / support).abs()).max(0.0);
                    let total: f64 = (0..v.len()).map(weight).sum();
                    v.iter().enumerate().map(|(j, s)| s * weight(j)).sum::<f64>() / total
                })
                .collect()
        }
        let rows: Vec<Vec<f64>> = v.chunks(w).map(|row| line(row, ow)).collect();
        let columns: Vec<Vec<f64>> =
            (0..ow).map(|x| line(&rows.iter().map(|r| r[x]).collect::<Vec<_>>(), oh)).collect();
        debug_assert_eq!(rows.len(), h);
        (0..oh).flat_map(|y| columns.iter().map(move |c| c[y]).collect::<Vec<_>>()).collect()
    }

    proptest! {
        #[test]
        fn is_the_triangle_filter_within_a_grey_level(
            w in 1u32..40, h in 1u32..40, ow in 1u32..20, oh in 1u32..20, seed in any::<u64>(),
        ) {
            let mut state = seed | 1;
            let v: Vec<u8> = (0..w * h).map(|_| {
                state ^= state << 13; state ^= state >> 7; state ^= state << 17;
                state as u8
            }).collect();
            let exact = by_definition(
                &v.iter().map(|&s| f64::from(s)).collect::<Vec<_>>(),
                (w as usize, h as usize), (ow as usize, oh as usize),
            );
            let raster = Raster::from_u8((w, h), 1, v).unwrap();
            let Samples::U8(out) = resize(&raster, (ow, oh)).unwrap().into_samples() else {
                panic!("8 bits went in");
            };
            for (a, b) in out.iter().zip(&exact) {
                // Half a level for each of the two passes, and the fixed point.
                prop_assert!((f64::from(*a) - b).abs() <= 1.01, "{a} {b}");
            }
        }
    }

    #[test]
    fn refuses_a_size_without_pixels() {
        let raster = Raster::from_u8((2, 2), 1, vec![0; 4]).unwrap();
        assert!(resize(&raster, (0, 2)).is_err());
    }
}
