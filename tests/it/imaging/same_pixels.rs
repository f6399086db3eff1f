//! Training and serving see the same pixels: what `prepare` writes is what serving quantises.

use hilum::imaging::preprocess::{RunOptions, run};
use hilum::imaging::recipe::{Recipe, Step};
use hilum::imaging::{DecodeLimits, DecodeOptions, Decoded, Raster, Samples, decode, encode_png};
use proptest::prelude::*;

use super::dicom_file::{EXPLICIT, element, file, gray8, text};

const RECIPE: &str = r#"
    step = [
        { op = "decode", color = "gray" },
        { op = "voi" },
        { op = "crop", region = { kind = "center_square" } },
        { op = "resize", width = 9, height = 7, filter = "bilinear_antialias" },
        { op = "clip_percentile", low = 2, high = 98 },
        { op = "quantise8" },
        { op = "scale", factor = 0.00392156862745098 },
        { op = "replicate", channels = 3 },
        { op = "normalise", mean = [0.4, 0.5, 0.6], std = [0.2, 0.3, 0.4] },
    ]"#;

fn decoded(bytes: &[u8]) -> Decoded {
    decode(bytes, &DecodeLimits::default(), &DecodeOptions::default()).unwrap()
}

/// The steps that training does on a prepared image: all after `quantise8`.
fn after_quantise(recipe: &Recipe) -> Recipe {
    let at = recipe.steps.iter().position(|step| matches!(step, Step::Quantise8 {})).unwrap();
    let steps = recipe.steps[..1].iter().chain(&recipe.steps[at + 1..]).cloned().collect();
    Recipe { steps }
}

proptest! {
    #[test]
    fn a_prepared_image_gives_the_tensor_that_serving_gives(
        rows in 1u16..40, columns in 1u16..40, seed in any::<u32>(), as_dicom in any::<bool>(),
        wide in any::<bool>(),
    ) {
        let mut state = seed | 1;
        let samples: Vec<u16> = (0..usize::from(rows) * usize::from(columns))
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 16) as u16
            })
            .collect();
        let size = (u32::from(columns), u32::from(rows));
        let source = if as_dicom {
            let mut elements = gray8(rows, columns);
            elements.push(text(0x28, 0x1050, "DS", "100"));
            elements.push(text(0x28, 0x1051, "DS", "120"));
            let pixels: Vec<u8> = samples.iter().map(|&s| s as u8).collect();
            elements.push(element(0x7fe0, 0x10, "OB", &pixels));
            decoded(&file(EXPLICIT, &elements))
        } else if wide {
            let picture = image::ImageBuffer::<image::Luma<u16>, _>::from_raw(size.0, size.1, samples);
            let mut bytes = std::io::Cursor::new(Vec::new());
            picture.unwrap().write_to(&mut bytes, image::ImageFormat::Png).unwrap();
            decoded(&bytes.into_inner())
        } else {
            let gray = samples.iter().map(|&s| s as u8).collect();
            decoded(&encode_png(&Raster::from_u8(size, 1, gray).unwrap()).unwrap())
        };
        let recipe: Recipe = toml::from_str(RECIPE).unwrap();
        recipe.check().unwrap();
        let options = RunOptions { keep_quantised: true, ..RunOptions::default() };
        let served = run(&recipe, &source, &options).unwrap();
        let prepared = served.quantised.unwrap();
        prop_assert!(matches!(prepared.samples(), Samples::U8(_)));
        let read = decoded(&encode_png(&prepared).unwrap());
        let trained = run(&after_quantise(&recipe), &read, &RunOptions::default()).unwrap();
        prop_assert_eq!(trained.tensor, served.tensor);
        prop_assert_eq!(trained.shape, [3, 7, 9]);
    }
}
