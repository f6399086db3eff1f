//! Mutates a corpus of files and feeds it to the decoders and the recipe parser, on stable Rust.
//!
//! `cargo test --test fuzz` replays `fuzz/corpus` and mutates for a second a target: a regression
//! test. `make fuzz` goes on for as long as `FUZZ_SECONDS` says, a quarter for each target. A
//! finding is a panic (one that the decoder turned into an error too), an input that takes longer
//! than five seconds, or a raster beyond the limits; its input is kept in `fuzz/findings` and
//! belongs into the corpus once it is mended. It must never need a nightly compiler.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hilum::imaging::preprocess::{RunOptions, run};
use hilum::imaging::recipe::Recipe;
use hilum::imaging::{
    DecodeLimits, DecodeOptions, PseudonymKey, decode, dicom, probe, text_likeness,
};

/// Where panics were raised since the last input.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Longer than any image within these limits may take, unoptimised and on a busy machine.
const SLOW: Duration = Duration::from_secs(5);
/// Inputs stay small, so that there are many.
const LONGEST: usize = 64 << 10;

fn main() {
    let seconds: u64 = std::env::var("FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(4);
    let seed: u64 = std::env::var("FUZZ_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        // The registry's folder differs from machine to machine.
        let place = place.rsplit_once("/src/").map_or(place.clone(), |(before, after)| {
            format!("{}/src/{after}", before.rsplit('/').next().unwrap_or_default())
        });
        PANICS.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(place);
    }));
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut findings = BTreeMap::new();
    for target in ["png", "jpeg", "dicom", "recipe"] {
        let mut fuzzer = Fuzzer::new(&root, target, seed);
        fuzzer.replay();
        fuzzer.mutate(Duration::from_secs(seconds) / 4);
        println!("{target}: {} inputs, {} findings", fuzzer.inputs, fuzzer.findings.len());
        findings.extend(fuzzer.findings);
    }
    for (what, input) in &findings {
        println!("finding: {what}: {}", input.display());
    }
    std::process::exit(i32::from(!findings.is_empty()));
}

struct Fuzzer {
    target: &'static str,
    corpus: Vec<(PathBuf, Vec<u8>)>,
    findings_folder: PathBuf,
    random: Random,
    inputs: u64,
    findings: BTreeMap<String, PathBuf>,
}

impl Fuzzer {
    fn new(root: &Path, target: &'static str, seed: u64) -> Self {
        let folder = root.join("corpus").join(target);
        let mut corpus: Vec<(PathBuf, Vec<u8>)> = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .filter_map(|entry| Some(entry.ok()?.path()))
            .map(|path| (path.clone(), std::fs::read(path).unwrap_or_default()))
            .collect();
        corpus.sort();
        assert!(!corpus.is_empty(), "{} is empty", folder.display());
        Self {
            target,
            corpus,
            findings_folder: root.join("findings"),
            random: Random(seed ^ 0x9e37_79b9_7f4a_7c15),
            inputs: 0,
            findings: BTreeMap::new(),
        }
    }

    fn replay(&mut self) {
        for (_, input) in self.corpus.clone() {
            self.run(&input);
        }
    }

    fn mutate(&mut self, time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time {
            let mut input = self.pick();
            for _ in 0..1 + self.random.below(6) {
                self.damage(&mut input);
            }
            input.truncate(LONGEST);
            if self.target == "png" && self.random.below(4) > 0 {
                mend_checksums(&mut input);
            }
            self.run(&input);
        }
    }

    fn pick(&mut self) -> Vec<u8> {
        let at = self.random.below(self.corpus.len());
        self.corpus[at].1.clone()
    }

    /// One damage of those that files suffer and attackers make.
    fn damage(&mut self, input: &mut Vec<u8>) {
        if input.is_empty() {
            input.push(0);
        }
        let at = self.random.below(input.len());
        let span = 1 + self.random.below(32.min(input.len() - at));
        match self.random.below(9) {
            0 => input[at] ^= 1 << self.random.below(8),
            1 => input[at] = self.random.next() as u8,
            2 => input[at] = [0, 1, 0x7f, 0x80, 0xfe, 0xff][self.random.below(6)],
            3 => {
                let value: u32 = [0, 1, 0xffff, 0x7fff_ffff, 0x8000_0000, u32::MAX, 65_536]
                    [self.random.below(7)];
                let bytes = if self.random.below(2) == 0 {
                    value.to_le_bytes()
                } else {
                    value.to_be_bytes()
                };
                let width = 2 + 2 * self.random.below(2);
                for (to, from) in input[at..].iter_mut().zip(&bytes[4 - width..]) {
                    *to = *from;
                }
            }
            4 => drop(input.drain(at..at + span)),
            5 => {
                let copy = input[at..at + span].to_vec();
                let to = self.random.below(input.len());
                input.splice(to..to, copy);
            }
            6 => {
                let other = self.pick();
                let from = self.random.below(other.len().max(1)).min(other.len());
                let end = (from + 1 + self.random.below(256)).min(other.len());
                input.splice(at..at + span, other[from..end].iter().copied());
            }
            7 => input.truncate(at),
            _ => {
                for byte in &mut input[at..at + span] {
                    *byte = self.random.next() as u8;
                }
            }
        }
    }

    fn run(&mut self, input: &[u8]) {
        self.inputs += 1;
        let start = Instant::now();
        let target = self.target;
        let outcome = std::panic::catch_unwind(|| exercise(target, input));
        let mut raised =
            std::mem::take(&mut *PANICS.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
        if outcome.is_err() && raised.is_empty() {
            raised.push("a panic without a place".to_owned());
        }
        if start.elapsed() > SLOW && self.is_slow_again(input) {
            raised.push(format!("{target} took {SLOW:?}"));
        }
        for what in raised {
            self.keep(what, input);
        }
    }

    /// A busy machine may stop any input for seconds, but not the same one three times more.
    fn is_slow_again(&self, input: &[u8]) -> bool {
        (0..3).all(|_| {
            let start = Instant::now();
            let _ = std::panic::catch_unwind(|| exercise(self.target, input));
            start.elapsed() > SLOW
        })
    }

    fn keep(&mut self, what: String, input: &[u8]) {
        if self.findings.contains_key(&what) {
            return;
        }
        let digest = hilum::domain::Digest::of(input).to_string();
        let path = self.findings_folder.join(format!("{}-{}", self.target, &digest[..16]));
        let kept = std::fs::create_dir_all(&self.findings_folder)
            .and_then(|()| std::fs::write(&path, input));
        if let Err(error) = kept {
            println!("{}: {error}", path.display());
        }
        println!("finding: {what}");
        self.findings.insert(what, path);
    }
}

/// All that an input of this kind goes through in the service.
fn exercise(target: &str, input: &[u8]) {
    if target == "recipe" {
        let text = String::from_utf8_lossy(input);
        if let Ok(recipe) = toml::from_str::<Recipe>(&text) {
            let _ = recipe.check();
        }
        return;
    }
    // Small limits, so that an honest image of a damaged header is quick.
    let limits = DecodeLimits { max_pixels: 250_000, max_side: 4_096, ..DecodeLimits::default() };
    let _ = probe(input, &limits);
    if target == "dicom" {
        let _ = dicom::facts(input, &limits);
        if let Ok(key) = PseudonymKey::new(&[1; 32]) {
            let _ = dicom::deidentify(input, &key, &limits);
        }
    }
    let Ok(decoded) = decode(input, &limits, &DecodeOptions::default()) else { return };
    let pixels = u64::from(decoded.raster.width()) * u64::from(decoded.raster.height());
    assert!(pixels <= limits.max_pixels, "a raster beyond the limits");
    let _ = text_likeness(&decoded.raster);
    let steps = r#"
        step = [
            { op = "decode", color = "gray" },
            { op = "voi" },
            { op = "crop", region = { kind = "center_square" } },
            { op = "resize", width = 16, height = 16, filter = "bilinear_antialias" },
            { op = "clip_percentile", low = 1, high = 99 },
            { op = "quantise8" },
        ]"#;
    let recipe: Recipe = toml::from_str(steps).expect("the recipe is a recipe");
    let row = run(&recipe, &decoded, &RunOptions::default()).expect("it needs no mask");
    assert!(row.tensor.len() == 256 && row.tensor.iter().all(|v| (0.0..=255.0).contains(v)));
}

/// Writes the right checksum into every chunk that is still whole, so that damage gets past them.
fn mend_checksums(input: &mut [u8]) {
    let mut at = 8_usize;
    while let Some(length) = input.get(at..at + 4) {
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let Some(end) = at.checked_add(8).and_then(|start| start.checked_add(length)) else {
            return;
        };
        let Some(body) = input.get(at + 4..end) else { return };
        let mut checksum = flate2::Crc::new();
        checksum.update(body);
        let Some(place) = input.get_mut(end..end + 4) else { return };
        place.copy_from_slice(&checksum.sum().to_be_bytes());
        at = end + 4;
    }
}

/// Marsaglia's xorshift64: the same inputs for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}
