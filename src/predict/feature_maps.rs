//! What the first convolutions of a network look for and find in an image, as one picture.
//!
//! An image goes through the bundle's recipe and the model, whose values in between are asked for as
//! outputs; filters and maps are drawn beside each other. This file must never change the bundle.

use std::path::PathBuf;

use serde::Serialize;

use crate::bundle::{Bundle, GraphError, Node, OnnxGraph, with_outputs};
use crate::config::Config;
use crate::domain::{DataType, Tensor};
use crate::engine::library::{self, LibraryError};
use crate::engine::{EngineError, OnnxModel, OnnxOptions, OutputSet, run_tensors};
use crate::imaging::preprocess::{PreprocessError, RunOptions, run};
use crate::imaging::{DecodeError, DecodeOptions, Raster, RasterError, decode, resize};

/// Filters and maps that are drawn of a layer.
const SHOWN: usize = 64;
/// Tiles side by side.
const ACROSS: usize = 16;
/// Pixels of a tile's side.
const TILE: usize = 64;
/// Pixels between tiles.
const GAP: usize = 2;
/// Between filters and maps, and between layers.
const BETWEEN: [u8; 3] = [96, 96, 160];

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum FeatureMapError {
    /// The library is missing.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// The model cannot be read.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The model cannot be run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The image is no image.
    #[error("{}: {error}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// The image cannot be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The recipe cannot be run on it.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// The bundle says not how an image becomes its input.
    #[error("the bundle has no recipe ([[preprocess.step]]), so that it takes no image")]
    NoRecipe,
    /// There is nothing to show.
    #[error("the model has no convolution over an image")]
    NoConvolution,
    /// The picture cannot be drawn.
    #[error(transparent)]
    Raster(#[from] RasterError),
}

/// The picture, RGB, and what stands in it from top to bottom.
#[derive(Debug, Clone, PartialEq)]
pub struct Sheet {
    /// The picture.
    pub raster: Raster,
    /// Its parts.
    pub parts: Vec<SheetPart>,
}

/// A layer in the picture: its filters, then its maps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SheetPart {
    /// The layer's name.
    pub layer: String,
    /// The filters' shape: filters, channels of each, height, width.
    pub filters: Vec<i64>,
    /// Rows of tiles that show filters; one with more than three channels is shown as their mean.
    pub filter_rows: usize,
    /// The maps' shape: maps, height, width.
    pub maps: Vec<usize>,
    /// Rows of tiles that show maps.
    pub map_rows: usize,
}

/// Draws the first `layers` convolutions of `bundle` for the image in `path`.
///
/// # Errors
/// [`FeatureMapError`], which names the file or the part of the bundle at fault.
pub fn feature_maps(
    config: &Config,
    bundle: &Bundle,
    path: &PathBuf,
    layers: usize,
) -> Result<Sheet, FeatureMapError> {
    let graph = OnnxGraph::read(bytes::Bytes::from_owner(std::sync::Arc::clone(&bundle.model)))?;
    let watched = watched(&graph, layers);
    if watched.is_empty() {
        return Err(FeatureMapError::NoConvolution);
    }
    let input = input(config, bundle, path)?;
    let names: Vec<&str> = watched.iter().map(|watched| watched.value.as_str()).collect();
    let declared = |name: &&&str| graph.outputs.iter().any(|output| output.name == **name);
    let more: Vec<&str> = names.iter().filter(|name| !declared(name)).copied().collect();
    let runtime = library::load(config.engine.onnxruntime.as_deref())?;
    let options = OnnxOptions { providers: Vec::new(), intra_threads: 1, deterministic: false };
    let model = with_outputs(&bundle.model, &more);
    let mut engine = OnnxModel::new(runtime, model.into(), options).load()?;
    let place = |name: &str| engine.signature().outputs.iter().position(|spec| spec.name == name);
    let places: Vec<usize> = names.iter().filter_map(|name| place(name)).collect();
    let set = places.iter().fold(OutputSet::default(), |set, &at| set.with(at));
    let order: Vec<usize> = set.indices().collect();
    let outputs = run_tensors(&mut *engine, &[input], set)?;
    let mut painter = Painter::default();
    for (watched, at) in watched.iter().zip(&places) {
        let found = order.iter().position(|place| place == at).and_then(|at| outputs.get(at));
        let found = found.ok_or(FeatureMapError::NoConvolution)?;
        painter.layer(&graph, watched, found)?;
    }
    painter.finish()
}

/// A convolution whose maps are drawn.
struct Watched<'a> {
    layer: String,
    weight: &'a str,
    /// The value after the activation, if one follows.
    value: String,
}

/// The first convolutions over an image.
fn watched(graph: &OnnxGraph, layers: usize) -> Vec<Watched<'_>> {
    let convolutions = graph.nodes.iter().filter_map(|node| {
        let weight = node.input(1).filter(|_| node.op == "Conv")?;
        let plane = graph.weight(weight).is_some_and(|weight| weight.shape.len() == 4);
        let value = activated(graph, node).to_owned();
        plane.then(|| Watched { layer: node.name.clone(), weight, value })
    });
    convolutions.take(layers).collect()
}

/// What becomes of a convolution's output before another layer takes it.
fn activated<'a>(graph: &'a OnnxGraph, node: &'a Node) -> &'a str {
    let mut value = node.output();
    loop {
        let mut users =
            graph.nodes.iter().filter(|user| user.inputs.iter().any(|input| input == value));
        let (Some(user), None) = (users.next(), users.next()) else { return value };
        let constant = user.inputs.iter().any(|input| graph.weight(input).is_some());
        match user.op.as_str() {
            "BatchNormalization" => value = user.output(),
            "Add" if constant => value = user.output(),
            "Relu" | "Clip" | "LeakyRelu" | "PRelu" | "Elu" | "Selu" | "HardSwish" | "Tanh"
            | "Sigmoid" | "Gelu" => return user.output(),
            _ => return value,
        }
    }
}

/// The image as the model's one input.
fn input(config: &Config, bundle: &Bundle, path: &PathBuf) -> Result<Tensor, FeatureMapError> {
    let manifest = bundle.manifest.as_ref();
    let recipe = manifest.and_then(|manifest| manifest.preprocess.as_ref());
    let (Some(manifest), Some(recipe)) = (manifest, recipe) else {
        return Err(FeatureMapError::NoRecipe);
    };
    let io = |error| FeatureMapError::Io { path: path.clone(), error };
    let limits = &config.limits.image;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(io)?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, limits.max_bytes + 1), &mut bytes)
        .map_err(io)?;
    let decoded = decode(&bytes, limits, &DecodeOptions::default())
        .map_err(|error| FeatureMapError::Image { path: path.clone(), error })?;
    let options = RunOptions { layout: manifest.model.layout, ..RunOptions::default() };
    let row = run(recipe, &decoded, &options)?;
    let shape = [&[1], row.shape.as_slice()].concat();
    let data: Vec<u8> = row.tensor.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor::new(DataType::Fp32, shape, data.into())
        .map_err(|error| EngineError::Run(error.to_string()).into())
}

/// Tiles, placed row by row.
#[derive(Default)]
struct Painter {
    /// RGB rows of the whole width.
    rows: Vec<u8>,
    parts: Vec<SheetPart>,
}

const WIDTH: usize = ACROSS * (TILE + GAP) + GAP;

impl Painter {
    fn layer(
        &mut self,
        graph: &OnnxGraph,
        watched: &Watched<'_>,
        maps: &Tensor,
    ) -> Result<(), FeatureMapError> {
        let weight = graph.weight(watched.weight);
        let filters = weight.map(|weight| weight.shape.clone()).unwrap_or_default();
        let values = weight.and_then(crate::bundle::Weight::floats).unwrap_or_default();
        let tiles = filter_tiles(&filters, &values)?;
        let filter_rows = self.tiles(&tiles);
        let (shape, tiles) = map_tiles(maps)?;
        let map_rows = self.tiles(&tiles);
        self.rows.extend(BETWEEN.repeat(WIDTH * GAP));
        let layer = watched.layer.clone();
        self.parts.push(SheetPart { layer, filters, filter_rows, maps: shape, map_rows });
        Ok(())
    }

    /// Places tiles of RGB samples and says how many rows of tiles they took.
    fn tiles(&mut self, tiles: &[Vec<u8>]) -> usize {
        let rows = tiles.chunks(ACROSS);
        let count = rows.len();
        for row in rows {
            let gap = [0_u8; 3 * GAP];
            for y in 0..TILE {
                let before = self.rows.len();
                for tile in row {
                    self.rows.extend(gap);
                    self.rows.extend(&tile[y * TILE * 3..(y + 1) * TILE * 3]);
                }
                self.rows.resize(before + WIDTH * 3, 0);
            }
            self.rows.extend([0_u8; 3].repeat(WIDTH * GAP));
        }
        count
    }

    fn finish(self) -> Result<Sheet, FeatureMapError> {
        let height = self.rows.len() / (WIDTH * 3);
        let raster = Raster::from_u8((WIDTH as u32, height as u32), 3, self.rows)?;
        Ok(Sheet { raster, parts: self.parts })
    }
}

/// Each filter as a tile: 0 is grey, the layer's largest magnitude black or white.
fn filter_tiles(shape: &[i64], values: &[f32]) -> Result<Vec<Vec<u8>>, RasterError> {
    let dims: Vec<usize> = shape.iter().map(|&dim| usize::try_from(dim).unwrap_or(0)).collect();
    let [count, channels, height, width] = dims[..] else { return Ok(Vec::new()) };
    let plane = height * width;
    if plane == 0 || channels == 0 || values.len() != count * channels * plane {
        return Ok(Vec::new());
    }
    let colored = channels == 3;
    let shown = |filter: &[f32], at: usize, color: usize| match colored {
        true => filter[color * plane + at],
        false => (0..channels).map(|c| filter[c * plane + at]).sum::<f32>() / channels as f32,
    };
    let filters: Vec<Vec<f32>> = values
        .chunks_exact(channels * plane)
        .take(SHOWN)
        .map(|filter| (0..plane * 3).map(|i| shown(filter, i / 3, i % 3)).collect())
        .collect();
    let largest = filters.iter().flatten().fold(f32::MIN_POSITIVE, |most, v| most.max(v.abs()));
    let level = |value: &f32| (127.5 + 127.5 * value / largest) as u8;
    let tile = |filter: &Vec<f32>| tile((width, height), filter.iter().map(level).collect());
    filters.iter().map(tile).collect()
}

/// Each map as a tile, stretched from its least to its largest value.
fn map_tiles(maps: &Tensor) -> Result<(Vec<usize>, Vec<Vec<u8>>), FeatureMapError> {
    let [1, count, height, width] = maps.shape[..] else {
        return Err(FeatureMapError::NoConvolution);
    };
    if maps.datatype != DataType::Fp32 || height * width == 0 {
        return Err(FeatureMapError::NoConvolution);
    }
    let values: Vec<f32> = maps.data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let planes = values.chunks_exact(height * width).take(SHOWN);
    let tiles = planes.map(|plane| {
        let finite = || plane.iter().copied().filter(|value| value.is_finite());
        let (low, high) = (finite().fold(f32::MAX, f32::min), finite().fold(f32::MIN, f32::max));
        let span = (high - low).max(f32::MIN_POSITIVE);
        let level = |value: &f32| (255.0 * (value - low) / span) as u8;
        tile((width, height), plane.iter().flat_map(|value| [level(value); 3]).collect())
    });
    Ok((vec![count, height, width], tiles.collect::<Result<_, _>>()?))
}

/// An RGB picture at a tile's size: a larger one filtered, a smaller one in blocks of its pixels.
fn tile((width, height): (usize, usize), rgb: Vec<u8>) -> Result<Vec<u8>, RasterError> {
    if width.max(height) > TILE {
        let raster = Raster::from_u8((width as u32, height as u32), 3, rgb)?;
        let fitted = resize(&raster, (TILE as u32, TILE as u32))?;
        return Ok(match fitted.into_samples() {
            crate::imaging::Samples::U8(samples) => samples,
            _ => Vec::new(),
        });
    }
    let at = |i: usize| {
        let (x, y) = (i % TILE * width / TILE, i / TILE * height / TILE);
        let pixel = (y * width + x) * 3;
        [rgb[pixel], rgb[pixel + 1], rgb[pixel + 2]]
    };
    Ok((0..TILE * TILE).flat_map(at).collect())
}
