//! `hilum prepare`: a folder of images to what training reads.
//!
//! Parses the flags, finds the recipe and the key, draws the progress and prints the report.
//! This file must never print a file name of the source.

use std::io::{IsTerminal as _, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::flags::{ConfigFlags, print_json};
use super::{Output, exit, failed};
use crate::bundle::IntendedUse;
use crate::config::{Config, Overrides};
use crate::imaging::dicom::View;
use crate::imaging::recipe::Recipe;
use crate::imaging::{Expectation, PseudonymKey};
use crate::predict::segment;
use crate::prepare::layout::Layout;
use crate::prepare::{PrepareOptions, PrepareReport, check_folders, prepare};

const EXAMPLES: &str = r#"Examples:
  hilum prepare chest_xray/train prepared --recipe steps.toml --patient '(person\d+|IM-\d+)'
  hilum prepare nih prepared --layout nih --recipe steps.toml --view PA,AP --balance 3000
  hilum prepare archive prepared --recipe steps.toml --max-size 1024 --view PA,AP

A file of steps:
  [[step]]
  op = "decode"
  color = "gray"
  [[step]]
  op = "resize"
  width = 224
  height = 224
  filter = "bilinear_antialias"
  [[step]]
  op = "quantise8"

Writes DST/images/*.png, DST/manifest.jsonl, DST/folds.json and DST/report.json. Names, identifiers
and private data of the source are nowhere in them: patients and studies are keyed hashes. Keep the
key to go on later, and keep it away from the prepared images. Run again to go on after an
interruption.

Exit codes: 0 done, 1 failed, 2 usage, 3 some files could not be decoded (see the report)."#;

/// Prepare a folder of PNG, JPEG and DICOM images for training.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Prepare {
    /// The folder that is read
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// The folder that is written
    #[arg(value_name = "DST")]
    destination: PathBuf,
    /// A bundle.toml with [[preprocess.step]], or a file with [[step]]
    #[arg(long, value_name = "FILE")]
    recipe: PathBuf,
    /// How SRC is laid out
    #[arg(long, value_enum, default_value = "folders")]
    layout: LayoutFlag,
    /// Where the patient stands in a file's name: the first group, or the whole match
    #[arg(long, value_name = "REGEX")]
    patient: Option<regex::Regex>,
    /// Longer side of the images in pixels; decodes and shows only, the rest of the recipe is left
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    max_size: Option<u32>,
    /// Views to keep, one image of each study; the first is preferred
    #[arg(long, value_name = "VIEWS", value_delimiter = ',', value_parser = parse_view)]
    view: Vec<View>,
    /// Images a class in each training fold
    #[arg(long, value_name = "N")]
    balance: Option<NonZeroUsize>,
    /// How many folds, patient-wise and stratified
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = parse_folds)]
    folds: usize,
    /// The classes: the folders that count as one, or where a list says 0 and 1 the negative and the
    /// positive
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "NORMAL,PNEUMONIA")]
    classes: Vec<String>,
    /// The key of the pseudonyms, made if it is absent [default: DST.key, beside DST]
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// For the limits of an image file [limits.image], and the bundle that a recipe crops by
    #[command(flatten)]
    config: ConfigFlags,
    /// Threads [default: the CPU quota]
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,
    /// How to print the report
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

/// A layout as the command line names it.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LayoutFlag {
    /// One folder a class
    Folders,
    /// NIH ChestX-ray14
    Nih,
    /// RSNA pneumonia challenge
    Rsna,
    /// CheXpert
    Chexpert,
}

fn parse_view(text: &str) -> Result<View, String> {
    match View::of(text) {
        View::Other => Err("a view is PA, AP or LATERAL".to_owned()),
        view => Ok(view),
    }
}

fn parse_folds(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| (2..=20).contains(n)).ok_or("folds are 2 to 20".to_owned())
}

impl Prepare {
    /// Prepares and prints the report.
    pub fn run(mut self) -> ExitCode {
        let output = self.output;
        let config = match std::mem::take(&mut self.config).load(Overrides::default()) {
            Ok(config) => config,
            Err(code) => return code,
        };
        let options = match self.options(config) {
            Ok(options) => options,
            Err(problem) => return failed(exit::USAGE, &problem),
        };
        let bar = bar();
        let result = prepare(&options, &|progress| {
            bar.set_length(progress.total as u64);
            bar.set_position(progress.done as u64);
            plain_line(progress.done, progress.total);
        });
        bar.finish_and_clear();
        let report = match result {
            Ok(report) => report,
            Err(error) => {
                let code = if error.is_usage() { exit::USAGE } else { exit::FAILED };
                return failed(code, &error);
            }
        };
        match output {
            Output::Text => print(&report),
            Output::Json => {
                if let Err(code) = print_json(&report) {
                    return code;
                }
            }
        }
        ExitCode::from(if report.failed.is_empty() { exit::DONE } else { exit::CHECK })
    }

    fn options(self, config: Config) -> Result<PrepareOptions, String> {
        let key_file = self.key_file.clone().unwrap_or_else(|| {
            let mut name = self.destination.clone().into_os_string();
            name.push(".key");
            PathBuf::from(name)
        });
        let quota = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let (recipe, expects) = read_recipe(&self.recipe)?;
        // A run that is refused leaves no key behind.
        check_folders(&self.source, &self.destination).map_err(|error| error.to_string())?;
        let limits = config.limits.image.clone();
        // An archive is not cropped.
        let segment = match self.max_size {
            None => segment(config, &recipe).map_err(|error| error.to_string())?,
            Some(_) => None,
        };
        Ok(PrepareOptions {
            recipe,
            key: read_key(&key_file)?,
            source: self.source,
            destination: self.destination,
            layout: match self.layout {
                LayoutFlag::Folders => Layout::Folders,
                LayoutFlag::Nih => Layout::Nih,
                LayoutFlag::Rsna => Layout::Rsna,
                LayoutFlag::Chexpert => Layout::Chexpert,
            },
            classes: self.classes,
            patient: self.patient,
            max_side: self.max_size,
            views: self.view,
            balance: self.balance,
            folds: self.folds,
            limits,
            expects,
            workers: self.workers.unwrap_or(quota),
            segment,
        })
    }
}

/// The recipe of a bundle's manifest or of a file of steps; what the bundle's model is meant for.
fn read_recipe(path: &Path) -> Result<(Recipe, Expectation), String> {
    let wrong = |problem: String| format!("--recipe {}: {problem}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let mut table: toml::Table = toml::from_str(&text).map_err(|e| wrong(e.to_string()))?;
    let intended = table.remove("intended_use");
    let intended = intended.map(toml::Value::try_into::<IntendedUse>).transpose();
    let intended = intended.map_err(|error| wrong(format!("intended_use: {error}")))?;
    let steps = match table.remove("preprocess") {
        Some(steps) => steps,
        None if table.contains_key("step") => toml::Value::Table(table),
        None => return Err(wrong("it has neither [[preprocess.step]] nor [[step]]".to_owned())),
    };
    let recipe: Recipe = steps.try_into().map_err(|error| wrong(error.to_string()))?;
    recipe.check().map_err(|error| wrong(error.to_string()))?;
    Ok((recipe, intended.map(|intended| intended.expectation()).unwrap_or_default()))
}

/// The key in `path`; a new random one, readable by its owner alone, if there is no such file.
fn read_key(path: &Path) -> Result<PseudonymKey, String> {
    let wrong = |problem: String| format!("--key-file {}: {problem}", path.display());
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut secret = [0; 32];
            getrandom::fill(&mut secret).map_err(|error| wrong(error.to_string()))?;
            let text = hex::encode(secret);
            write_secret(path, &text).map_err(|error| wrong(error.to_string()))?;
            text
        }
        Err(error) => return Err(wrong(error.to_string())),
    };
    let secret = hex::decode(text.trim()).map_err(|_| wrong("hexadecimal is expected".into()))?;
    PseudonymKey::new(&secret).map_err(|error| wrong(error.to_string()))
}

fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = "{bar:40} {pos}/{len} images, {per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}

/// Where no terminal draws a bar, a line at every tenth.
fn plain_line(done: usize, total: usize) {
    let tenth = (total / 10).max(1);
    if !std::io::stderr().is_terminal() && (done.is_multiple_of(tenth) || done == total) {
        eprintln!("{done} of {total} images");
    }
}

fn print(report: &PrepareReport) {
    println!("{} images of {} patients", report.prepared, report.patients);
    for (label, count) in &report.labels {
        println!("  {label}: {count}");
    }
    if report.resumed > 0 {
        println!("{} of them from an earlier run", report.resumed);
    }
    if report.removed > 0 {
        println!("removed, of an earlier run and no longer in the manifest: {}", report.removed);
    }
    for (reason, count) in &report.left_out {
        println!("left out, {reason}: {count}");
    }
    for (code, count) in &report.warnings {
        println!("warning {code}: {count}");
    }
    if !report.review.is_empty() {
        println!("look for burned-in text: {} images (report.json)", report.review.len());
    }
    for (source, why) in &report.failed {
        println!("failed, SHA-256 {source}: {why}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("k");
        let key = read_key(&path).unwrap();
        assert_eq!(read_key(&path).unwrap().text("a", b"b"), key.text("a", b"b"));
        std::fs::write(&path, "00").unwrap();
        assert!(read_key(&path).unwrap_err().contains("32 random bytes"));
    }

    #[test]
    fn a_recipe_is_read_from_a_bundle_or_from_steps() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.toml");
        let step = |table: &str| format!("[[{table}]]\nop = \"decode\"\ncolor = \"gray\"\n");
        for table in ["step", "preprocess.step"] {
            std::fs::write(&path, step(table)).unwrap();
            assert_eq!(read_recipe(&path).unwrap().0.steps.len(), 1);
        }
        // The steps that the help text shows are a recipe with something to write.
        let lines = EXAMPLES.lines().filter_map(|line| line.strip_prefix("  "));
        let steps: Vec<&str> = lines.filter(|line| !line.starts_with("hilum ")).collect();
        std::fs::write(&path, steps.join("\n")).unwrap();
        assert_eq!(read_recipe(&path).unwrap().0.steps.len(), 3);
        std::fs::write(&path, "x = 1").unwrap();
        assert!(read_recipe(&path).unwrap_err().contains("neither"));
    }
}
