//! Times file → tensor in this process, one thread, for comparison with Pillow and NumPy.
//!
//! `imaging_time RECIPE ROUNDS FILE…` prints one JSON object: milliseconds an image, the best of the
//! rounds, for decoding, showing with statistics, and the whole, by the clock and in CPU time. `tests/imaging/time_pillow.py` runs
//! it; it must never be shipped.

use std::error::Error;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use hilum::imaging::preprocess::{RunOptions, run, show};
use hilum::imaging::recipe::Recipe;
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
    let options = DecodeOptions::default();
    let limits = DecodeLimits::default();
    let mut best = [Span::LONGEST; 3];
    for _ in 0..rounds {
        let mut spent = [Span::default(); 3];
        for file in &files {
            let start = Span::now();
            let decoded = decode(file, &limits, &options)?;
            spent[0].add_since(start);
            let middle = Span::now();
            std::hint::black_box(show(&recipe, &decoded));
            spent[1].add_since(middle);
            let last = Span::now();
            std::hint::black_box(run(&recipe, &decoded, &RunOptions::default())?);
            spent[2].add_since(last);
        }
        for (best, spent) in best.iter_mut().zip(spent) {
            best.wall = best.wall.min(spent.wall / files.len() as u32);
            best.cpu = best.cpu.min(spent.cpu / files.len() as u32);
        }
    }
    let json = |pick: fn(&Span) -> Duration| {
        let [decode, show, rest] = best.each_ref().map(|span| pick(span).as_secs_f64() * 1e3);
        json!({ "decode": decode, "show_and_statistics": show, "whole": decode + rest })
    };
    println!("{}", json!({ "wall": json(|span| span.wall), "cpu": json(|span| span.cpu) }));
    Ok(())
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A time on the clock and the CPU time of this thread, which a busy machine hardly moves.
#[derive(Clone, Copy, Default)]
struct Span {
    wall: Duration,
    cpu: Duration,
}

impl Span {
    const LONGEST: Self = Self { wall: Duration::MAX, cpu: Duration::MAX };

    fn now() -> Self {
        // Its first number is this thread's time on a CPU in nanoseconds (Linux).
        let status = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let cpu = status.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or_default();
        Self { wall: START.elapsed(), cpu: Duration::from_nanos(cpu) }
    }

    fn add_since(&mut self, start: Self) {
        let now = Self::now();
        self.wall += now.wall - start.wall;
        self.cpu += now.cpu - start.cpu;
    }
}
