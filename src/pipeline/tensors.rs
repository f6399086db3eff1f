//! Holds a request's tensors against what the model takes and gives.
//!
//! Named tensors in any order become tensors in the graph's order, checked by name, data type,
//! shape and rows.
//! This file must never change an element.

use super::{NamedTensor, PredictError};
use crate::catalog::LoadedVersion;
use crate::domain::{DataType, Strings, StringsError, Tensor, TensorSpec, display_shape};
use crate::engine::OutputSet;

/// The inputs in the graph's order.
///
/// # Errors
/// [`PredictError::Input`], which names the tensor, what came and what was expected.
pub fn inputs(
    version: &LoadedVersion,
    mut given: Vec<NamedTensor>,
) -> Result<Vec<Tensor>, PredictError> {
    let model = format!("model '{}' version {}", version.name, version.version);
    let expected = || names(version.inputs.iter());
    if let Some(index) = given
        .iter()
        .enumerate()
        .position(|(index, tensor)| given[..index].iter().any(|other| other.name == tensor.name))
    {
        let name = shown(&given[index].name);
        let problem = format!("input '{name}' came twice; {model} takes {}", expected());
        return Err(wrong("inputs", problem));
    }
    let known = |name: &str| version.inputs.iter().any(|spec| spec.name == name);
    if let Some(unknown) = given.iter().find(|tensor| !known(&tensor.name)) {
        let name = shown(&unknown.name);
        let problem = format!("unknown input '{name}'; {model} takes {}", expected());
        return Err(wrong("inputs", problem));
    }
    let mut ordered = Vec::with_capacity(version.inputs.len());
    for spec in &version.inputs {
        let Some(place) = given.iter().position(|tensor| tensor.name == spec.name) else {
            let problem = format!("input '{}' is missing; {model} takes {}", spec.name, expected());
            return Err(wrong("inputs", problem));
        };
        let tensor = given.swap_remove(place).tensor;
        check(spec, &tensor)?;
        ordered.push(tensor);
    }
    if version.max_batch > 0 {
        let rows = ordered.first().map_or(0, Tensor::rows);
        let other = version.inputs.iter().zip(&ordered).find(|(_, tensor)| tensor.rows() != rows);
        if let Some((spec, tensor)) = other {
            let problem = format!(
                "input '{}' has {} rows and '{}' has {rows}; all inputs have the same number",
                spec.name,
                tensor.rows(),
                version.inputs.first().map_or("", |spec| spec.name.as_str())
            );
            return Err(wrong("inputs", problem));
        }
    }
    Ok(ordered)
}

fn check(spec: &TensorSpec, tensor: &Tensor) -> Result<(), PredictError> {
    let TensorSpec { name, datatype, shape } = spec;
    let field = || format!("inputs.{name}");
    if tensor.datatype != *datatype {
        let found = tensor.datatype;
        return Err(wrong(field(), format!("input '{name}' is {datatype}, {found} came")));
    }
    let (expected, found) = (display_shape(shape), display_shape(&tensor.shape));
    if !spec.admits(&tensor.shape) {
        let problem =
            format!("input '{name}' has the shape {expected} (-1 = any size), {found} came");
        return Err(wrong(field(), problem));
    }
    if tensor.shape.contains(&0) {
        let problem = format!(
            "input '{name}' has the shape {found}, which holds nothing; at least one row of \
             {expected} is expected"
        );
        return Err(wrong(field(), problem));
    }
    if tensor.datatype == DataType::Bool
        && let Some(byte) = tensor.data.iter().find(|byte| **byte > 1)
    {
        let problem = format!("input '{name}': BOOL elements are 0 or 1, a byte is {byte}");
        return Err(wrong(field(), problem));
    }
    if tensor.datatype == DataType::Bytes
        && let Some(problem) = Strings::new(&tensor.data).enumerate().find_map(not_a_string)
    {
        return Err(wrong(field(), format!("input '{name}': {problem}")));
    }
    Ok(())
}

/// Why an element of `BYTES` is no ONNX string; `None` when it is one.
fn not_a_string((index, element): (usize, Result<&[u8], StringsError>)) -> Option<String> {
    let element = match element {
        Ok(element) => element,
        Err(error) => return Some(error.to_string()),
    };
    if std::str::from_utf8(element).is_err() {
        return Some(format!("element {index} is not UTF-8, which the strings of ONNX are"));
    }
    element
        .contains(&0)
        .then(|| format!("element {index} has a zero byte, which the strings of ONNX cannot hold"))
}

/// The outputs that a request wants.
#[derive(Debug)]
pub struct Wanted {
    /// The outputs to run for.
    pub set: OutputSet,
    order: Vec<(usize, String)>,
}

/// The outputs by name; none means all public ones. A hidden output may be named.
///
/// # Errors
/// [`PredictError::Output`].
pub fn outputs(version: &LoadedVersion, names_wanted: &[String]) -> Result<Wanted, PredictError> {
    let mut order = Vec::new();
    if names_wanted.is_empty() {
        order.extend(version.public_outputs().map(|(index, spec)| (index, spec.name.clone())));
    }
    for (at, name) in names_wanted.iter().enumerate() {
        if names_wanted[..at].contains(name) {
            let problem = format!("output '{}' was asked for twice", shown(name));
            return Err(PredictError::Output { problem });
        }
        let Some(index) = version.outputs.iter().position(|spec| spec.name == *name) else {
            let problem = format!(
                "unknown output '{}'; model '{}' version {} gives {}",
                shown(name),
                version.name,
                version.version,
                names(version.public_outputs().map(|(_, spec)| spec))
            );
            return Err(PredictError::Output { problem });
        };
        order.push((index, name.clone()));
    }
    let set = order.iter().fold(OutputSet::default(), |set, (index, _)| set.with(*index));
    Ok(Wanted { set, order })
}

impl Wanted {
    /// The run's outputs, which stand in the graph's order, in the order asked for.
    pub fn arrange(self, outputs: Vec<Tensor>) -> Vec<NamedTensor> {
        let indices: Vec<usize> = self.set.indices().collect();
        self.order
            .into_iter()
            .filter_map(|(index, name)| {
                let place = indices.iter().position(|have| *have == index)?;
                Some(NamedTensor { name, tensor: outputs.get(place)?.clone() })
            })
            .collect()
    }
}

fn names<'a>(specs: impl Iterator<Item = &'a TensorSpec>) -> String {
    let shown: Vec<String> = specs
        .map(|spec| format!("'{}' {} {}", spec.name, spec.datatype, display_shape(&spec.shape)))
        .collect();
    shown.join(", ")
}

/// A caller's name, kept small and printable.
fn shown(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_debug).collect()
}

fn wrong(field: impl Into<String>, problem: String) -> PredictError {
    PredictError::Input { field: field.into(), problem }
}
