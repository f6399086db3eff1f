//! `hilum bundle`: what a model version is made of.
//!
//! Reads a folder, prints its layer table or its digest. This file must never change a bundle.

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::flags::{print_json, print_text};
use super::{Output, exit, failed};
use crate::bundle::{Bundle, LayerTable, OnnxGraph, OutputRole};
use crate::config::{self, Config, Overrides};
use crate::domain::{Digest, ModelName, ModelVersion};
use crate::imaging::encode_png;
use crate::predict::{SheetPart, feature_maps};

const EXAMPLES: &str = "Examples:
  hilum bundle describe models/mnist/2
  hilum bundle describe models/mnist/2 --output json
  hilum bundle describe models/pneumonia/2 --feature-maps chest.png --to maps.png --layers 2
  hilum bundle check models/mnist/2
  hilum bundle digest models/mnist/2

Exit codes: 0 done, 1 failed, 2 usage, 3 the bundle is not what it should be.";

/// Look at a model version's folder.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct BundleCommand {
    #[command(subcommand)]
    command: Look,
}

#[derive(Debug, clap::Subcommand)]
enum Look {
    Describe(Describe),
    Check(Folder),
    Digest(Folder),
}

/// Print the layer table: output shape, parameters, multiply-accumulates, receptive field
#[derive(Debug, clap::Args)]
struct Describe {
    #[command(flatten)]
    folder: Folder,
    /// Also draw filters and feature maps of the first convolutions for this image
    #[arg(long, value_name = "IMAGE", requires = "to")]
    feature_maps: Option<PathBuf>,
    /// The PNG file that is drawn
    #[arg(long, value_name = "FILE.png", requires = "feature_maps")]
    to: Option<PathBuf>,
    /// How many convolutions are drawn
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16))]
    layers: u8,
    /// Configuration file (TOML), for the limits of an image file [limits.image]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// ONNX Runtime's shared library, for feature maps [engine.onnxruntime]
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
}

/// Check or digest of a folder
#[derive(Debug, clap::Args)]
struct Folder {
    /// The folder of a version, <name>/<version>
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// How to print
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

/// What `describe` prints as JSON.
#[derive(Serialize)]
struct Description<'a> {
    name: &'a ModelName,
    version: ModelVersion,
    bundle_sha256: Digest,
    #[serde(flatten)]
    table: &'a LayerTable,
    feature_maps: Option<Vec<SheetPart>>,
}

/// What `check` and `digest` print as JSON.
#[derive(Serialize)]
struct Identity<'a> {
    name: &'a ModelName,
    version: ModelVersion,
    bundle_sha256: Digest,
}

impl BundleCommand {
    /// Does what was asked for.
    pub fn run(self) -> ExitCode {
        match self.command {
            Look::Describe(describe) => describe.run(),
            Look::Check(folder) => folder.check(),
            Look::Digest(folder) => folder.digest(),
        }
    }
}

impl Folder {
    fn open(&self) -> Result<Bundle, ExitCode> {
        Bundle::open_at(&self.folder).map_err(|error| failed(exit::CHECK, &error))
    }

    fn digest(&self) -> ExitCode {
        self.open().map_or_else(|code| code, |bundle| self.identity(&bundle, ""))
    }

    fn check(&self) -> ExitCode {
        let bundle = match self.open() {
            Ok(bundle) => bundle,
            Err(code) => return code,
        };
        match table(&bundle) {
            Ok(table) if table.layers.is_empty() => {
                failed(exit::CHECK, &"the model has no layer that depends on its input")
            }
            Ok(_) => {
                let said = "its files are intact; `hilum doctor` answers its goldens";
                self.identity(&bundle, said)
            }
            Err(problem) => failed(exit::CHECK, &problem),
        }
    }

    fn identity(&self, bundle: &Bundle, said: &str) -> ExitCode {
        let Bundle { name, version, digest, .. } = bundle;
        let printed = match self.output {
            Output::Text if said.is_empty() => print_text(&digest.to_string()),
            Output::Text => print_text(&format!("{name}/{version}: {said} ({digest})")),
            Output::Json => {
                print_json(&Identity { name, version: *version, bundle_sha256: *digest })
            }
        };
        printed.map_or_else(|code| code, |()| ExitCode::from(exit::DONE))
    }
}

impl Describe {
    fn run(self) -> ExitCode {
        let bundle = match self.folder.open() {
            Ok(bundle) => bundle,
            Err(code) => return code,
        };
        let table = match table(&bundle) {
            Ok(table) => table,
            Err(problem) => return failed(exit::CHECK, &problem),
        };
        let drawn = match self.draw(&bundle) {
            Ok(drawn) => drawn,
            Err(problem) => return failed(exit::FAILED, &problem),
        };
        let Bundle { name, version, digest, .. } = &bundle;
        let printed = match self.folder.output {
            Output::Text => {
                let mut text = format!("{name}/{version} ({digest})\n\n{}", table.text());
                for part in drawn.iter().flatten() {
                    text += &format!("\n{}", described(part));
                }
                print_text(&text)
            }
            Output::Json => {
                let description = Description {
                    name,
                    version: *version,
                    bundle_sha256: *digest,
                    table: &table,
                    feature_maps: drawn,
                };
                print_json(&description)
            }
        };
        printed.map_or_else(|code| code, |()| ExitCode::from(exit::DONE))
    }

    /// Draws the sheet, if one was asked for.
    fn draw(&self, bundle: &Bundle) -> Result<Option<Vec<SheetPart>>, String> {
        let (Some(image), Some(to)) = (&self.feature_maps, &self.to) else { return Ok(None) };
        let overrides = Overrides { onnxruntime: self.onnxruntime.clone(), ..Overrides::default() };
        let config: Config =
            config::load(self.config.as_deref(), &overrides).map_err(|error| error.to_string())?;
        let sheet = feature_maps(&config, bundle, image, self.layers.into())
            .map_err(|error| error.to_string())?;
        let png = encode_png(&sheet.raster).map_err(|error| error.to_string())?;
        std::fs::write(to, png).map_err(|error| format!("{}: {error}", to.display()))?;
        Ok(Some(sheet.parts))
    }
}

/// The layer table, the outputs that the manifest calls scores, logits or masks counting as the
/// network itself.
fn table(bundle: &Bundle) -> Result<LayerTable, String> {
    let model = bytes::Bytes::from_owner(std::sync::Arc::clone(&bundle.model));
    let graph = OnnxGraph::read(model).map_err(|error| error.to_string())?;
    let outputs = bundle.manifest.iter().flat_map(|manifest| &manifest.model.outputs);
    let network = [OutputRole::Scores, OutputRole::Logits, OutputRole::Mask];
    let scores: Vec<&str> = outputs
        .filter(|output| network.contains(&output.role))
        .map(|output| output.name.as_str())
        .collect();
    LayerTable::of(&graph, &scores).map_err(|error| error.to_string())
}

fn described(part: &SheetPart) -> String {
    let SheetPart { layer, filters, filter_rows, maps, map_rows } = part;
    let by = |dims: Vec<String>| dims.join(" × ");
    let filters = by(filters.iter().map(ToString::to_string).collect());
    let maps = by(maps.iter().map(ToString::to_string).collect());
    format!(
        "drawn: {layer}: filters {filters} in {filter_rows} rows, maps {maps} in {map_rows} rows"
    )
}
