//! Times file → tensor in this process, one thread, for comparison with Pillow and NumPy.
//!
//! `imaging_time RECIPE ROUNDS FILE…` prints one JSON object: milliseconds an image, the best of the
//! rounds, for decoding, showing with statistics, and the whole. `tests/imaging/time_pillow.py` runs
//! it; it must never be shipped.

use std::error::Error;
use std::time::Instant;

use hilum::imaging::preprocess::{RunOptions, run, show};
use hilum::imaging::recipe::{Recipe, Step};
use hilum::imaging::{DecodeLimits, DecodeOptions, decode};
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(recipe), Some(rounds)) = (arguments.next(), arguments.next()) else {
        return Err("usage: imaging_time RECIPE ROUNDS FILE…".into());
    };
    let recipe: Recipe = toml::from_str(&std::fs::read_to_string(recipe)?)?;
    recipe.check()?;
    let rounds: u32 = rounds.parse()?;
    let files = arguments.map(std::fs::read).collect::<Result<Vec<_>, _>>()?;
    let color = recipe.steps.iter().find_map(|step| match step {
        Step::Decode { color } => Some(*color),
        _ => None,
    });
    let options = DecodeOptions { color, ..DecodeOptions::default() };
    let limits = DecodeLimits::default();
    let mut best = [f64::MAX; 3];
    for _ in 0..rounds {
        let mut spent = [0.0; 3];
        for file in &files {
            let start = Instant::now();
            let decoded = decode(file, &limits, &options)?;
            spent[0] += start.elapsed().as_secs_f64();
            let middle = Instant::now();
            std::hint::black_box(show(&recipe, &decoded));
            spent[1] += middle.elapsed().as_secs_f64();
            let last = Instant::now();
            std::hint::black_box(run(&recipe, &decoded, &RunOptions::default())?);
            spent[2] += last.elapsed().as_secs_f64();
        }
        for (best, spent) in best.iter_mut().zip(spent) {
            *best = best.min(spent * 1e3 / files.len() as f64);
        }
    }
    println!(
        "{}",
        json!({ "decode": best[0], "show_and_statistics": best[1], "whole": best[0] + best[2] })
    );
    Ok(())
}
