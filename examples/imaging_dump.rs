//! Writes what the imaging room makes of files, for comparison with Pillow, NumPy and pydicom.
//!
//! `imaging_dump OUT RECIPE FILE…` writes for the n-th file `OUT/<n>.json` (error or description)
//! and, as little-endian f32, `<n>.decoded` (after decoding; for DICOM after the Modality LUT),
//! `<n>.shown` (after window and inversion) and `<n>.tensor` (after the recipe). It must never be
//! shipped: `tests/imaging/*.py` run it.

use std::error::Error;
use std::path::Path;

use hilum::imaging::recipe::Recipe;
use hilum::imaging::{DecodeLimits, DecodeOptions, Decoded, Raster, decode, preprocess};
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(out), Some(recipe)) = (arguments.next(), arguments.next()) else {
        return Err("usage: imaging_dump OUT RECIPE FILE…".into());
    };
    let recipe: Recipe = toml::from_str(&std::fs::read_to_string(recipe)?)?;
    recipe.check()?;
    for (n, path) in arguments.enumerate() {
        let bytes = std::fs::read(&path)?;
        let decoded = decode(&bytes, &DecodeLimits::default(), &DecodeOptions::default());
        let description = match decoded {
            Ok(decoded) => dump(Path::new(&out), n, &recipe, &decoded)?,
            Err(error) => json!({ "error": error.to_string() }),
        };
        std::fs::write(Path::new(&out).join(format!("{n}.json")), description.to_string())?;
    }
    Ok(())
}

fn dump(
    out: &Path,
    n: usize,
    recipe: &Recipe,
    decoded: &Decoded,
) -> Result<serde_json::Value, Box<dyn Error>> {
    let save = |kind: &str, samples: &[f32]| {
        std::fs::write(out.join(format!("{n}.{kind}")), bytemuck::cast_slice(samples))
    };
    save("decoded", &decoded.raster.to_f32())?;
    let shown = preprocess::show(recipe, decoded);
    save("shown", &shown.raster.to_f32())?;
    let row = preprocess::run(recipe, decoded, &preprocess::RunOptions::default())?;
    save("tensor", &row.tensor)?;
    let about = |raster: &Raster| json!({ "shape": [raster.height(), raster.width(), raster.channels()], "range": raster.range() });
    Ok(json!({
        "format": decoded.format,
        "bits": decoded.bits,
        "pixel_aspect": decoded.pixel_aspect,
        "decoded": about(&decoded.raster),
        "shown": about(&shown.raster),
        "tensor": { "shape": row.shape },
        "statistics": row.statistics,
        "geometry": row.geometry,
        "warnings": row.warnings,
    }))
}
