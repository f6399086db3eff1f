//! `<name>.image`: files in, answers out, by the protocol's own messages.
//!
//! A message whose only input is `image`, BYTES [n, 1], becomes a request for n images; the answers
//! become tensors of n rows. A rejected row has NaN for scores and map. Maps and overlays are made
//! only if they are named.
//! This file must never decide anything about an answer.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use super::infer::{InferDefaults, named_inputs, priority, timeout};
use super::{OipError, shown};
use crate::catalog::{IMAGE_SUFFIX, LoadedVersion};
use crate::domain::{
    DataType, ModelName, Strings, Tensor, TensorSpec, display_shape, pack_strings,
};
use crate::pipeline::{
    Classification, Classifications, ClassifyOptions, ClassifyRequest, NamedTensor, Prediction,
};
use crate::proto::inference::ModelInferRequest;

/// The only input.
const IMAGE: &str = "image";
const PROBABILITIES: &str = "probabilities";
const CALIBRATED: &str = "calibrated";
const LABEL: &str = "label";
const DECISION: &str = "decision";
const WARNINGS: &str = "warnings";
const HEATMAP: &str = "heatmap";
const OVERLAY: &str = "overlay_png";
/// What is answered where no output is named.
const ALWAYS: [&str; 5] = [PROBABILITIES, CALIBRATED, LABEL, DECISION, WARNINGS];
/// What is answered only by name.
const BY_NAME: [&str; 2] = [HEATMAP, OVERLAY];

/// The request that a message asks for, and the outputs that it wants.
///
/// # Errors
/// [`OipError`]: what came and what was expected.
pub fn image_request(
    message: ModelInferRequest,
    model: ModelName,
    defaults: InferDefaults,
) -> Result<(ClassifyRequest, Vec<String>), OipError> {
    let version = message.model_version.parse()?;
    let timeout = timeout(&message.parameters)?;
    let priority = priority(&message.parameters)?;
    let mut outputs: Vec<String> =
        message.outputs.iter().map(|output| output.name.clone()).collect();
    if outputs.is_empty() {
        outputs = ALWAYS.map(str::to_owned).to_vec();
    }
    let known = |name: &String| ALWAYS.iter().chain(&BY_NAME).any(|known| known == name);
    if let Some(unknown) = outputs.iter().find(|name| !known(name)) {
        let problem = format!(
            "unknown output '{}'; {model}{IMAGE_SUFFIX} gives {} and, by name only, {}",
            shown(unknown),
            ALWAYS.join(", "),
            BY_NAME.join(", ")
        );
        return Err(OipError::Outputs { problem });
    }
    let images = images(named_inputs(message)?)?;
    let wants = |name: &str| outputs.iter().any(|output| output == name);
    let options = ClassifyOptions {
        explain: wants(HEATMAP),
        overlay: wants(OVERLAY),
        ..ClassifyOptions::default()
    };
    let caller = defaults.caller();
    let InferDefaults { edge, deadline, trace, .. } = defaults;
    let request = ClassifyRequest {
        model,
        version,
        images,
        batch: true,
        options,
        deadline,
        timeout,
        priority,
        edge,
        trace,
        caller,
    };
    Ok((request, outputs))
}

/// The elements of the only input.
fn images(inputs: Vec<NamedTensor>) -> Result<Vec<Bytes>, OipError> {
    let tensor = match <[NamedTensor; 1]>::try_from(inputs) {
        Ok([NamedTensor { name, tensor }]) if name == IMAGE => tensor,
        Ok([other]) => {
            let name = shown(&other.name);
            let problem = format!("unknown input '{name}'; one input '{IMAGE}' is expected");
            return Err(OipError::Inputs { problem });
        }
        Err(inputs) => {
            let problem = format!("{} inputs came; one input '{IMAGE}' is expected", inputs.len());
            return Err(OipError::Inputs { problem });
        }
    };
    let rows = match (tensor.datatype, tensor.shape.as_slice()) {
        (DataType::Bytes, [rows, 1]) if *rows > 0 => *rows,
        (datatype, shape) => {
            let problem = format!(
                "BYTES [n, 1] is expected, one element for each file; {datatype} {} came",
                display_shape(shape)
            );
            return Err(OipError::Contents { name: IMAGE.to_owned(), problem });
        }
    };
    let mut images = Vec::with_capacity(rows);
    // The tensor was checked; an element is a slice of the message.
    for element in Strings::new(&tensor.data).map_while(Result::ok) {
        images.push(tensor.data.slice_ref(element));
    }
    Ok(images)
}

/// The answers as the outputs that are wanted.
pub fn image_prediction(
    model: ModelName,
    answers: Classifications,
    wanted: &[String],
) -> Result<Prediction, OipError> {
    let timing = answers.timing();
    let outputs = wanted
        .iter()
        .map(|name| {
            let tensor = output(&answers, name)?;
            Ok(NamedTensor { name: name.clone(), tensor })
        })
        .collect::<Result<Vec<_>, String>>()
        .map_err(|problem| OipError::Outputs { problem })?;
    Ok(Prediction {
        model,
        version: answers.version,
        digest: answers.digest,
        route: answers.route,
        outputs,
        labels: Arc::clone(&answers.labels),
        has_rows: true,
        timing,
        audit_id: answers.audit_id.parse().ok(),
    })
}

fn output(answers: &Classifications, name: &str) -> Result<Tensor, String> {
    let rows = &answers.rows;
    match name {
        PROBABILITIES => scores(answers, |score| score.raw),
        CALIBRATED => scores(answers, |score| score.calibrated),
        LABEL => texts(rows, |row| row.label.clone().unwrap_or_default()),
        DECISION => texts(rows, |row| row.decision.name().to_owned()),
        WARNINGS => texts(rows, warnings),
        HEATMAP => heatmaps(rows),
        _ => texts(rows, |row| {
            let overlay = row.explanation.as_ref().and_then(|why| why.overlay_png.clone());
            overlay.unwrap_or_default()
        }),
    }
}

fn scores(
    answers: &Classifications,
    of: impl Fn(&crate::pipeline::ClassScore) -> f64,
) -> Result<Tensor, String> {
    let (rows, classes) = (answers.rows.len(), answers.labels.len());
    let mut values = Vec::with_capacity(rows * classes);
    for row in &answers.rows {
        let scores = (0..classes).map(|class| row.scores.get(class).map_or(f64::NAN, &of) as f32);
        values.extend(scores);
    }
    floats(vec![rows, classes], &values)
}

fn texts<T: AsRef<[u8]>>(
    rows: &[Classification],
    of: impl Fn(&Classification) -> T,
) -> Result<Tensor, String> {
    let elements: Vec<T> = rows.iter().map(of).collect();
    let data = pack_strings(&elements).map_err(|error| error.to_string())?;
    Tensor::new(DataType::Bytes, vec![rows.len(), 1], data).map_err(|error| error.to_string())
}

fn warnings(row: &Classification) -> String {
    let list: Vec<_> = row
        .warnings
        .iter()
        .map(|warning| json!({ "code": warning.code.name(), "text": warning.text }))
        .collect();
    serde_json::Value::from(list).to_string()
}

fn heatmaps(rows: &[Classification]) -> Result<Tensor, String> {
    let (width, height) = rows.first().map_or((0, 0), |row| row.network);
    let size = width as usize * height as usize;
    let mut values = Vec::with_capacity(rows.len() * size);
    for row in rows {
        match &row.explanation {
            Some(why) => values.extend(why.heatmap.over_network((width, height))),
            None => values.resize(values.len() + size, f32::NAN),
        }
    }
    floats(vec![rows.len(), height as usize, width as usize], &values)
}

fn floats(shape: Vec<usize>, values: &[f32]) -> Result<Tensor, String> {
    let data: Bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor::new(DataType::Fp32, shape, data).map_err(|error| error.to_string())
}

/// What the image form of a version takes and gives, the outputs that are given by name only last.
pub fn image_specs(version: &LoadedVersion) -> (Vec<TensorSpec>, Vec<TensorSpec>) {
    let spec = |name: &str, datatype, shape: &[i64]| TensorSpec {
        name: name.to_owned(),
        datatype,
        shape: shape.to_vec(),
    };
    let classes = i64::try_from(version.labels.len()).unwrap_or(-1);
    let mut outputs = vec![
        spec(PROBABILITIES, DataType::Fp32, &[-1, classes]),
        spec(CALIBRATED, DataType::Fp32, &[-1, classes]),
    ];
    outputs.extend([LABEL, DECISION, WARNINGS].map(|name| spec(name, DataType::Bytes, &[-1, 1])));
    let manifest = version.manifest.as_ref();
    let maps = |m: &crate::bundle::Manifest| {
        m.model.outputs.iter().any(|output| output.role == crate::bundle::OutputRole::Cam)
    };
    if manifest.is_some_and(maps) {
        let input = version.inputs.first().map_or(&[][..], |input| input.shape.as_slice());
        let layout = manifest.map(|manifest| manifest.model.layout).unwrap_or_default();
        let (height, width) = match (layout, input) {
            (crate::imaging::preprocess::Layout::Nchw, [_, _, height, width])
            | (crate::imaging::preprocess::Layout::Nhwc, [_, height, width, _]) => {
                (*height, *width)
            }
            _ => (-1, -1),
        };
        outputs.push(spec(HEATMAP, DataType::Fp32, &[-1, height, width]));
        outputs.push(spec(OVERLAY, DataType::Bytes, &[-1, 1]));
    }
    (vec![spec(IMAGE, DataType::Bytes, &[-1, 1])], outputs)
}
