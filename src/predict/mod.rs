//! Predictions without a server: the room behind `hilum predict`.
//!
//! Files become tensors, the model is loaded as a server would load it, goldens included, and
//! answers through the same pipeline; what comes out is a table or JSON.
//! This room must never write a record: nothing is served.

mod feature_maps;
mod image_table;
mod images;
mod segment;
mod table;

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::app::{AppError, Core};
use crate::batcher::Priority;
use crate::catalog::{CatalogError, ControlError, LoadedVersion, ModelControl};
use crate::config::Config;
use crate::domain::{DataType, Digest, ModelName, ModelVersion, Tensor, VersionSelector};
use crate::npy::{self, NpyError};
use crate::pipeline::{Caller, NamedTensor, Pipeline, PredictError, PredictRequest, Segmentation};
use crate::telemetry::{Edge, TraceContext};

pub use feature_maps::{FeatureMapError, Sheet, SheetPart, feature_maps};
pub use images::{
    ImageAnswer, ImageAnswers, ImageOutcome, ImageQuestion, ImageScore, answer_images,
};
pub use segment::segment;

/// Rows of one request: a file of any length is answered in parts.
const ROWS_AT_ONCE: usize = 256;

/// What to predict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The model.
    pub model: ModelName,
    /// Which version of it.
    pub version: VersionSelector,
    /// Each is a request of its own: `.npy` files by input name; an empty name means the model's
    /// only input.
    pub requests: Vec<Vec<(String, PathBuf)>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QuestionError {
    /// The service cannot be built.
    #[error(transparent)]
    App(#[from] AppError),
    /// The model is not there.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The model is refused.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A file is no tensor.
    #[error(transparent)]
    File(#[from] NpyError),
    /// The files do not say which input they are for.
    #[error("{}: the model takes the inputs {inputs}; name each file: --input NAME=FILE.npy", file.display())]
    Unnamed {
        /// The file.
        file: PathBuf,
        /// The inputs' names.
        inputs: String,
    },
    /// No image can be answered.
    #[error(transparent)]
    Images(PredictError),
    /// A folder of images cannot be read.
    #[error("{}: {error}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// An overlay cannot be written.
    #[error("{}: {error}", path.display())]
    Overlay {
        /// The file or its folder.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// The model does not take them.
    #[error("{files}: {error}")]
    Predict {
        /// The files of the request.
        files: String,
        /// What came and what was expected.
        error: PredictError,
    },
}

/// All answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answers {
    /// The model.
    pub model: ModelName,
    /// The version that answered.
    pub version: ModelVersion,
    /// Its bundle's digest.
    pub bundle_sha256: Digest,
    /// The names of the classes, if the model has them.
    pub labels: Vec<String>,
    /// One for each request, in order.
    pub predictions: Vec<Answer>,
}

/// The answer to one request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// The files that it was asked with.
    pub files: Vec<PathBuf>,
    /// The outputs, as the Open Inference Protocol's JSON form has them.
    pub outputs: Vec<Output>,
}

/// An output.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Output {
    /// Its name.
    pub name: String,
    /// Its data type.
    pub datatype: DataType,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its elements in row-major order; a number that is not finite is null.
    pub data: Vec<Value>,
}

/// Answers `question` with the models that `config` names. Blocks while the model loads and until
/// its engines are gone again.
///
/// # Errors
/// [`QuestionError`], which names the file, the model or the input at fault.
pub fn answer(config: Config, question: &Question) -> Result<Answers, QuestionError> {
    let byte_limit = config.limits.queue_bytes.get();
    let Loaded { pipeline, version } = load(config, &question.model, question.version)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(AppError::Runtime)?;
    let mut predictions = Vec::with_capacity(question.requests.len());
    for files in &question.requests {
        let inputs = inputs(&version, files, byte_limit)?;
        let outputs = runtime.block_on(in_parts(&pipeline, question, &version, inputs));
        let outputs =
            outputs.map_err(|error| QuestionError::Predict { files: listed(files), error })?;
        let files = files.iter().map(|(_, path)| path.clone()).collect();
        predictions.push(Answer { files, outputs: outputs.iter().map(Output::of).collect() });
    }
    let answers = Answers {
        model: version.name.clone(),
        version: version.version,
        bundle_sha256: version.digest,
        labels: version.manifest.as_ref().map(|m| m.labels.clone()).unwrap_or_default(),
        predictions,
    };
    pipeline.catalog().stop();
    Ok(answers)
}

/// A pipeline with one model, and the bundle that its recipe crops by.
struct Loaded {
    pipeline: Pipeline,
    version: Arc<LoadedVersion>,
}

/// Loads the model that is asked for and what its recipe needs, and nothing else.
fn load(
    mut config: Config,
    model: &ModelName,
    version: VersionSelector,
) -> Result<Loaded, QuestionError> {
    config.models.control = ModelControl::Explicit;
    config.models.load = Vec::new();
    let pipeline = Core::build(&config)?.pipeline;
    let catalog = pipeline.catalog();
    catalog.start(|| {})?;
    let loaded = catalog.load_model(model);
    let version = match (loaded, catalog.resolve(model, version)) {
        (_, Ok(resolved)) => resolved.version,
        // The reason why it was refused is worth more than that it was.
        (Err(error), Err(CatalogError::Refused { .. } | CatalogError::UnknownModel { .. })) => {
            return Err(error.into());
        }
        (_, Err(error)) => return Err(error.into()),
    };
    let recipe = version.manifest.as_ref().and_then(|manifest| manifest.preprocess.as_ref());
    let bundle = recipe.and_then(Segmentation::named_by);
    if let Some(name) = bundle.and_then(|bundle| bundle.split('/').next()?.parse().ok()) {
        catalog.load_model(&name)?;
    }
    Ok(Loaded { pipeline, version })
}

fn listed(files: &[(String, PathBuf)]) -> String {
    let files: Vec<String> = files.iter().map(|(_, path)| path.display().to_string()).collect();
    files.join(", ")
}

/// Reads the files of one request.
fn inputs(
    version: &LoadedVersion,
    files: &[(String, PathBuf)],
    byte_limit: usize,
) -> Result<Vec<NamedTensor>, QuestionError> {
    files
        .iter()
        .map(|(name, path)| {
            let name = match (name.as_str(), version.inputs.as_slice()) {
                ("", [only]) => only.name.clone(),
                ("", several) => {
                    let names: Vec<&str> = several.iter().map(|spec| spec.name.as_str()).collect();
                    let (file, inputs) = (path.clone(), names.join(", "));
                    return Err(QuestionError::Unnamed { file, inputs });
                }
                (name, _) => name.to_owned(),
            };
            Ok(NamedTensor { name, tensor: npy::read(path, byte_limit)? })
        })
        .collect()
}

/// Predicts a few hundred rows at a time and puts the answers one below the other.
async fn in_parts(
    pipeline: &Pipeline,
    question: &Question,
    version: &LoadedVersion,
    inputs: Vec<NamedTensor>,
) -> Result<Vec<NamedTensor>, PredictError> {
    let rows = inputs.first().map_or(1, |input| input.tensor.rows());
    let alike = inputs
        .iter()
        .all(|input| input.tensor.rows() == rows && input.tensor.datatype != DataType::Bytes);
    let step = match version.max_batch > 0 && alike {
        true => ROWS_AT_ONCE,
        false => rows.max(1),
    };
    let mut whole: Vec<NamedTensor> = Vec::new();
    let mut from = 0;
    loop {
        let to = rows.min(from + step);
        let part = inputs.iter().map(|NamedTensor { name, tensor }| NamedTensor {
            name: name.clone(),
            tensor: tensor.slice_rows(from, to),
        });
        let request = PredictRequest {
            model: question.model.clone(),
            version: question.version,
            inputs: part.collect(),
            outputs: Vec::new(),
            deadline: None,
            timeout: None,
            priority: Priority::default(),
            // Nobody reads the metrics of this process.
            edge: Edge::Grpc,
            trace: TraceContext::default(),
            caller: Caller::default(),
        };
        let outputs = pipeline.predict(request).await?.outputs;
        if whole.is_empty() {
            whole = outputs;
        } else {
            whole
                .iter_mut()
                .zip(outputs)
                .for_each(|(all, more)| append(&mut all.tensor, &more.tensor));
        }
        from = to;
        if from >= rows {
            return Ok(whole);
        }
    }
}

fn append(all: &mut Tensor, more: &Tensor) {
    let mut data = Vec::with_capacity(all.data.len() + more.data.len());
    data.extend_from_slice(&all.data);
    data.extend_from_slice(&more.data);
    all.data = data.into();
    if let Some(rows) = all.shape.first_mut() {
        *rows += more.rows();
    }
}

impl Output {
    fn of(output: &NamedTensor) -> Self {
        let NamedTensor { name, tensor } = output;
        let Tensor { datatype, shape, data } = tensor;
        Self {
            name: name.clone(),
            datatype: *datatype,
            shape: shape.clone(),
            data: elements(*datatype, data),
        }
    }
}

/// The elements as JSON values; a number that is not finite is null.
pub fn elements(datatype: DataType, data: &[u8]) -> Vec<Value> {
    fn each<const N: usize>(data: &[u8], value: impl Fn([u8; N]) -> Value) -> Vec<Value> {
        let (whole, _) = data.as_chunks::<N>();
        whole.iter().map(|bytes| value(*bytes)).collect()
    }
    match datatype {
        DataType::Bool => each(data, |[byte]| Value::from(byte != 0)),
        DataType::Uint8 => each(data, |b| u8::from_le_bytes(b).into()),
        DataType::Uint16 => each(data, |b| u16::from_le_bytes(b).into()),
        DataType::Uint32 => each(data, |b| u32::from_le_bytes(b).into()),
        DataType::Uint64 => each(data, |b| u64::from_le_bytes(b).into()),
        DataType::Int8 => each(data, |b| i8::from_le_bytes(b).into()),
        DataType::Int16 => each(data, |b| i16::from_le_bytes(b).into()),
        DataType::Int32 => each(data, |b| i32::from_le_bytes(b).into()),
        DataType::Int64 => each(data, |b| i64::from_le_bytes(b).into()),
        DataType::Fp16 => each(data, |b| half::f16::from_le_bytes(b).to_f64().into()),
        DataType::Bf16 => each(data, |b| half::bf16::from_le_bytes(b).to_f64().into()),
        DataType::Fp32 => each(data, |b| f32::from_le_bytes(b).into()),
        DataType::Fp64 => each(data, |b| f64::from_le_bytes(b).into()),
        DataType::Bytes => {
            let (mut rest, mut texts) = (data, Vec::new());
            while let Some((length, after)) = rest.split_first_chunk::<4>() {
                let length = (u32::from_le_bytes(*length) as usize).min(after.len());
                let (text, after) = after.split_at(length);
                texts.push(String::from_utf8_lossy(text).into());
                rest = after;
            }
            texts
        }
    }
}
