//! Each step from a file to a tensor: `cargo bench --bench imaging`.
//!
//! Made of a seeded pattern the size of a radiograph, so that it runs without any data; the
//! comparison with Pillow on real files is `tests/imaging/time_pillow.py`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hilum::imaging::dicom::deidentify;
use hilum::imaging::preprocess::{RunOptions, run, run_step, show};
use hilum::imaging::recipe::{Recipe, Step};
use hilum::imaging::{
    DecodeLimits, DecodeOptions, ImageStatistics, PseudonymKey, Raster, decode, encode_png, probe,
    text_likeness,
};
use image::{ExtendedColorType, ImageEncoder};

const SIZE: (u32, u32) = (2000, 1500);

/// Smooth structures with a little noise, which compress as a radiograph does.
fn pattern() -> Vec<u8> {
    let (width, height) = (SIZE.0 as usize, SIZE.1 as usize);
    let mut state = 1_u32;
    (0..width * height)
        .map(|i| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (x, y) = ((i % width) as f32, (i / width) as f32);
            let wave = ((x / 90.0).sin() + (y / 130.0).cos()) * 55.0 + 120.0;
            (wave + (state >> 28) as f32) as u8
        })
        .collect()
}

fn jpeg(samples: &[u8], color: ExtendedColorType) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 90);
    encoder.write_image(samples, SIZE.0, SIZE.1, color).expect("the pattern fills the image");
    bytes
}

fn dicom(samples: &[u8]) -> Vec<u8> {
    let element = |group: u16, number: u16, vr: &str, value: &[u8]| {
        let mut bytes = [group.to_le_bytes(), number.to_le_bytes()].concat();
        bytes.extend(vr.as_bytes());
        if vr == "OB" {
            bytes.extend([0, 0]);
            bytes.extend((value.len() as u32).to_le_bytes());
        } else {
            bytes.extend((value.len() as u16).to_le_bytes());
        }
        bytes.extend(value);
        bytes
    };
    let us = |number: u16, value: u16| element(0x28, number, "US", &value.to_le_bytes());
    let mut bytes = vec![0; 128];
    bytes.extend(b"DICM");
    bytes.extend(element(2, 0x10, "UI", b"1.2.840.10008.1.2.1\0"));
    bytes.extend(us(2, 1));
    bytes.extend(element(0x28, 4, "CS", b"MONOCHROME1 "));
    bytes.extend([us(0x10, SIZE.1 as u16), us(0x11, SIZE.0 as u16)].concat());
    bytes.extend([us(0x100, 8), us(0x101, 8), us(0x102, 7), us(0x103, 0)].concat());
    bytes.extend(element(0x28, 0x1050, "DS", b"128 "));
    bytes.extend(element(0x28, 0x1051, "DS", b"200 "));
    bytes.extend(element(0x7fe0, 0x10, "OB", samples));
    bytes
}

fn recipe() -> Recipe {
    let steps = r#"
        step = [
            { op = "decode", color = "gray" },
            { op = "voi" },
            { op = "resize", width = 224, height = 224, filter = "bilinear_antialias" },
            { op = "quantise8" },
            { op = "scale", factor = 0.00392156862745098 },
            { op = "replicate", channels = 3 },
            { op = "normalise", mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225] },
        ]"#;
    toml::from_str(steps).expect("the recipe is a recipe")
}

fn steps(criterion: &mut Criterion) {
    let samples = pattern();
    let raster = Raster::from_u8(SIZE, 1, samples.clone()).expect("the pattern fills the image");
    let rgb: Vec<u8> = samples.iter().flat_map(|&s| [s; 3]).collect();
    let files = [
        ("jpeg_gray", jpeg(&samples, ExtendedColorType::L8)),
        ("jpeg_rgb", jpeg(&rgb, ExtendedColorType::Rgb8)),
        ("png", encode_png(&raster).expect("8-bit grey")),
        ("dicom", dicom(&samples)),
    ];
    let limits = DecodeLimits::default();
    let options = DecodeOptions::default();
    let recipe = recipe();
    let mut group = criterion.benchmark_group("imaging");
    group.sample_size(20).throughput(Throughput::Elements(u64::from(SIZE.0 * SIZE.1)));
    for (name, file) in &files {
        group.bench_function(format!("probe/{name}"), |b| b.iter(|| probe(file, &limits)));
        group.bench_function(format!("decode/{name}"), |b| {
            b.iter(|| decode(file, &limits, &options));
        });
        let decoded = decode(file, &limits, &options).expect("made above");
        group.bench_function(format!("show/{name}"), |b| b.iter(|| show(&recipe, &decoded)));
        group.bench_function(format!("whole/{name}"), |b| {
            b.iter(|| {
                let decoded = decode(file, &limits, &options).expect("made above");
                run(&recipe, &decoded, &RunOptions::default())
            });
        });
    }
    group.bench_function("statistics", |b| {
        b.iter(|| ImageStatistics::of(&raster, None, 1.0, 8));
    });
    group.bench_function("text_likeness", |b| b.iter(|| text_likeness(&raster)));
    let key = PseudonymKey::new(&[1; 32]).expect("32 bytes");
    group.bench_function("deidentify", |b| b.iter(|| deidentify(&files[3].1, &key, &limits)));
    group.finish();
}

/// Each step of a recipe by itself: what works on the file's pixels on those, the rest on the
/// network's input.
fn recipe_steps(criterion: &mut Criterion) {
    let whole = Raster::from_u8(SIZE, 1, pattern()).expect("the pattern fills the image");
    let step = |text: &str| -> Step {
        let recipe: Recipe = toml::from_str(&format!("step = [{{ {text} }}]")).expect("a step");
        recipe.steps[0].clone()
    };
    let after = |step: &Step, raster: &Raster| run_step(step, raster).expect("needs no lung mask");
    let square = step(r#"op = "crop", region = { kind = "center_square" }"#);
    let fit = step(r#"op = "resize", width = 224, height = 224, filter = "bilinear_antialias""#);
    let clip = step(r#"op = "clip_percentile", low = 1.0, high = 99.0"#);
    let quantise = step(r#"op = "quantise8""#);
    let scale = step(r#"op = "scale", factor = 0.00392156862745098"#);
    let replicate = step(r#"op = "replicate", channels = 3"#);
    let normalise =
        step(r#"op = "normalise", mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225]"#);
    let small = after(&fit, &whole);
    let clipped = after(&clip, &small);
    let scaled = after(&scale, &small);
    let colour = after(&replicate, &scaled);
    let mut group = criterion.benchmark_group("step");
    for (name, step, raster) in [
        ("crop", &square, &whole),
        ("resize", &fit, &whole),
        ("clip_percentile/whole", &clip, &whole),
        ("clip_percentile", &clip, &small),
        ("quantise8", &quantise, &clipped),
        ("scale", &scale, &small),
        ("replicate", &replicate, &scaled),
        ("normalise", &normalise, &colour),
    ] {
        group.bench_function(name, |b| b.iter(|| run_step(step, raster)));
    }
    group.finish();
}

criterion_group!(benches, steps, recipe_steps);
criterion_main!(benches);
