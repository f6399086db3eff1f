//! The shape of every value of a graph, for a given number of rows.
//!
//! Node by node, by the definitions of the ONNX operators; whole numbers that shapes are made of
//! are followed on the way. Where an operator is not known the shape that the file notes stands in.
//! This file must never multiply a weight with anything.

use std::collections::HashMap;

use super::dimensions::{ELEMENTWISE, SAME, axis, bound, broadcast, elements, picked, product};
use super::windows::Window;
use crate::bundle::graph::{GraphError, Node, OnnxGraph};

/// Elements of a value that still counts as a list of dimensions.
const LIST: usize = 64;

/// Shapes of values, and the whole numbers among them that are known.
pub(super) struct Shapes<'a> {
    graph: &'a OnnxGraph,
    rows: i64,
    shapes: HashMap<&'a str, Vec<i64>>,
    numbers: HashMap<&'a str, Vec<i64>>,
}

impl<'a> Shapes<'a> {
    /// All shapes where each open dimension of an input is `rows`.
    pub(super) fn infer(graph: &'a OnnxGraph, rows: i64) -> Result<Self, GraphError> {
        let mut shapes = Self { graph, rows, shapes: HashMap::new(), numbers: HashMap::new() };
        for (name, weight) in &graph.weights {
            shapes.shapes.insert(name, weight.shape.clone());
            if weight.elements() <= LIST as u64
                && let Some(numbers) = weight.integers()
            {
                shapes.numbers.insert(name, numbers);
            }
        }
        for input in &graph.inputs {
            shapes.shapes.insert(&input.name, shapes.filled(&input.shape));
        }
        for node in &graph.nodes {
            shapes.add(node)?;
        }
        Ok(shapes)
    }

    /// The shape of a value; `None` if nothing tells it.
    pub(super) fn get(&self, value: &str) -> Option<&[i64]> {
        self.shapes.get(value).map(Vec::as_slice)
    }

    /// Whole numbers that a value is known to hold.
    pub(super) fn numbers(&self, value: &str) -> Option<&[i64]> {
        self.numbers.get(value).map(Vec::as_slice)
    }

    fn filled(&self, shape: &[Option<i64>]) -> Vec<i64> {
        shape.iter().map(|dim| dim.unwrap_or(self.rows)).collect()
    }

    fn add(&mut self, node: &'a Node) -> Result<(), GraphError> {
        let outputs = self.outputs(node);
        for (at, name) in node.outputs.iter().enumerate() {
            let noted = || Some(self.filled(self.graph.noted.get(name)?));
            let shape = outputs.as_ref().and_then(|shapes| shapes.get(at).cloned()).or_else(noted);
            if let Some(shape) = shape {
                if shape.iter().any(|dim| *dim < 0) {
                    return Err(node.error(format!("its output would have the shape {shape:?}")));
                }
                self.shapes.insert(name, shape);
            }
        }
        if let Some(numbers) = self.followed(node).filter(|numbers| numbers.len() <= LIST) {
            self.numbers.insert(node.output(), numbers);
        }
        Ok(())
    }

    fn shape(&self, node: &Node, at: usize) -> Option<&[i64]> {
        self.get(node.input(at)?)
    }

    /// The numbers of input `at`, or of the attribute that older operators have in its place.
    fn list(&self, node: &'a Node, at: usize, attribute: &str) -> Option<Vec<i64>> {
        match node.input(at) {
            Some(name) => self.numbers(name).map(<[i64]>::to_vec),
            None => node.ints(attribute).map(<[i64]>::to_vec),
        }
    }

    /// The shapes of a node's outputs, if its operator is known and all that it needs is.
    fn outputs(&self, node: &'a Node) -> Option<Vec<Vec<i64>>> {
        let first = || self.shape(node, 0);
        let shape = match node.op.as_str() {
            "Conv" => self.convolution(node)?,
            "ConvTranspose" => self.transposed(node)?,
            "MaxPool" | "AveragePool" | "LpPool" => {
                let window = Window::of(node, node.ints("kernel_shape")?)?;
                spatial(first()?, first()?.get(1).copied()?, &window)?
            }
            "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => first()?
                .iter()
                .enumerate()
                .map(|(axis, &dim)| if axis < 2 { dim } else { 1 })
                .collect(),
            "Gemm" => {
                let (a, b) = (first()?, self.shape(node, 1)?);
                let pick = |shape: &[i64], turned: bool, at: usize| {
                    shape.get(usize::from(turned) ^ at).copied()
                };
                vec![
                    pick(a, node.int("transA") == Some(1), 0)?,
                    pick(b, node.int("transB") == Some(1), 1)?,
                ]
            }
            "MatMul" => product(first()?, self.shape(node, 1)?)?,
            "Flatten" => {
                let at = axis(node.int("axis").unwrap_or(1), first()?.len() + 1)?;
                vec![elements(&first()?[..at]), elements(&first()?[at..])]
            }
            "Reshape" => self.reshaped(node)?,
            "Transpose" => {
                let shape = first()?;
                let turned: Vec<i64> = (0..shape.len() as i64).rev().collect();
                let order = node.ints("perm").unwrap_or(&turned);
                order
                    .iter()
                    .map(|&at| shape.get(usize::try_from(at).ok()?).copied())
                    .collect::<Option<_>>()?
            }
            "Concat" => self.joined(node)?,
            "Split" => return self.split(node),
            "Slice" => self.sliced(node)?,
            "Pad" => {
                let (shape, pads) = (first()?, self.list(node, 1, "pads")?);
                let axes = shape.len();
                let all = pads.len() == 2 * axes && node.input(3).is_none();
                all.then(|| {
                    (0..axes)
                        .map(|at| {
                            shape[at].saturating_add(pads[at]).saturating_add(pads[at + axes])
                        })
                        .collect()
                })?
            }
            "Squeeze" | "Unsqueeze" => self.squeezed(node)?,
            "Resize" | "Upsample" => self.resized(node)?,
            "Expand" => broadcast(first()?, self.numbers(node.input(1)?)?)?,
            "Gather" => {
                let (data, indices) = (first()?, self.shape(node, 1)?);
                let at = axis(node.int("axis").unwrap_or(0), data.len())?;
                [&data[..at], indices, &data[at + 1..]].concat()
            }
            "Shape" => vec![first()?.len() as i64],
            "ConstantOfShape" => self.numbers(node.input(0)?)?.to_vec(),
            op if op.starts_with("Reduce") || matches!(op, "ArgMax" | "ArgMin") => {
                self.reduced(node)?
            }
            op if SAME.contains(&op) => first()?.to_vec(),
            op if ELEMENTWISE.contains(&op) => {
                let mut inputs = (0..node.inputs.len()).map(|at| self.shape(node, at));
                let one = inputs.next()??.to_vec();
                inputs.try_fold(one, |all, more| broadcast(&all, more?))?
            }
            _ => return None,
        };
        Some(vec![shape; node.outputs.len().clamp(1, 2)])
    }

    fn convolution(&self, node: &Node) -> Option<Vec<i64>> {
        let (input, weight) = (self.shape(node, 0)?, self.shape(node, 1)?);
        let window = Window::of(node, weight.get(2..)?)?;
        spatial(input, *weight.first()?, &window)
    }

    fn transposed(&self, node: &Node) -> Option<Vec<i64>> {
        let (input, weight) = (self.shape(node, 0)?, self.shape(node, 1)?);
        let window = Window::of(node, weight.get(2..)?)?;
        let channels = weight.get(1)?.checked_mul(node.int("group").unwrap_or(1))?;
        let more = |at: usize| node.ints("output_padding").and_then(|list| list.get(at)).copied();
        let sizes = input.get(2..)?.iter().enumerate();
        let sizes = sizes.map(|(at, &size)| window.transposed(at, size, more(at).unwrap_or(0)));
        let sizes: Vec<i64> = match node.ints("output_shape") {
            Some(given) if !given.is_empty() => given.to_vec(),
            _ => sizes.collect(),
        };
        Some([&[*input.first()?, channels], sizes.as_slice()].concat())
    }

    fn reshaped(&self, node: &Node) -> Option<Vec<i64>> {
        let (input, target) = (self.shape(node, 0)?, self.numbers(node.input(1)?)?);
        let keep = node.int("allowzero") != Some(1);
        let mut shape = Vec::with_capacity(target.len());
        for (at, &dim) in target.iter().enumerate() {
            shape.push(if dim == 0 && keep { *input.get(at)? } else { dim });
        }
        let known =
            shape.iter().filter(|dim| **dim != -1).fold(1_i64, |all, dim| all.saturating_mul(*dim));
        if let Some(open) = shape.iter_mut().find(|dim| **dim == -1) {
            *open = elements(input).checked_div(known)?;
        }
        Some(shape)
    }

    fn joined(&self, node: &Node) -> Option<Vec<i64>> {
        let mut shape = self.shape(node, 0)?.to_vec();
        let at = axis(node.int("axis")?, shape.len())?;
        for input in 1..node.inputs.len() {
            shape[at] = shape[at].checked_add(*self.shape(node, input)?.get(at)?)?;
        }
        Some(shape)
    }

    fn split(&self, node: &'a Node) -> Option<Vec<Vec<i64>>> {
        let shape = self.shape(node, 0)?;
        let at = axis(node.int("axis").unwrap_or(0), shape.len())?;
        let parts = node.outputs.len() as i64;
        let each = shape[at].checked_add(parts - 1)?.checked_div(parts)?;
        let even = (0..parts).map(|part| each.min(shape[at] - part * each)).collect();
        let sizes: Vec<i64> = self.list(node, 1, "split").unwrap_or(even);
        let with = |size: i64| [&shape[..at], &[size], &shape[at + 1..]].concat();
        Some(sizes.into_iter().map(with).collect())
    }

    fn sliced(&self, node: &'a Node) -> Option<Vec<i64>> {
        let mut shape = self.shape(node, 0)?.to_vec();
        let (starts, ends) = (self.list(node, 1, "starts")?, self.list(node, 2, "ends")?);
        let all: Vec<i64> = (0..starts.len() as i64).collect();
        let axes = self.list(node, 3, "axes").unwrap_or(all);
        let steps = self.list(node, 4, "steps").unwrap_or_else(|| vec![1; starts.len()]);
        for (((start, end), at), step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
            let at = axis(*at, shape.len())?;
            shape[at] = picked(shape[at], *start, *end, *step)?;
        }
        Some(shape)
    }

    fn squeezed(&self, node: &'a Node) -> Option<Vec<i64>> {
        let shape = self.shape(node, 0)?;
        let axes = self.list(node, 1, "axes");
        if node.op == "Squeeze" {
            let gone = match axes {
                Some(axes) => {
                    axes.iter().map(|&at| axis(at, shape.len())).collect::<Option<_>>()?
                }
                None => (0..shape.len()).filter(|&at| shape[at] == 1).collect::<Vec<_>>(),
            };
            return Some(
                (0..shape.len()).filter(|at| !gone.contains(at)).map(|at| shape[at]).collect(),
            );
        }
        let axes = axes?;
        let rank = shape.len() + axes.len();
        let new: Vec<usize> = axes.iter().map(|&at| axis(at, rank)).collect::<Option<_>>()?;
        let mut old = shape.iter();
        (0..rank).map(|at| if new.contains(&at) { Some(1) } else { old.next().copied() }).collect()
    }

    fn resized(&self, node: &Node) -> Option<Vec<i64>> {
        let shape = self.shape(node, 0)?;
        if let Some(sizes) = node.input(3).and_then(|name| self.numbers(name)) {
            return Some(sizes.to_vec());
        }
        let at = if node.op == "Upsample" { 1 } else { 2 };
        let scales = self.graph.weights.get(node.input(at)?)?.floats()?;
        let scaled = |(dim, scale): (&i64, f32)| (*dim as f32 * scale).floor() as i64;
        (scales.len() == shape.len()).then(|| shape.iter().zip(scales).map(scaled).collect())
    }

    fn reduced(&self, node: &'a Node) -> Option<Vec<i64>> {
        let shape = self.shape(node, 0)?;
        let arg = node.op.starts_with("Arg");
        let axes = match arg {
            true => Some(vec![node.int("axis").unwrap_or(0)]),
            false => self.list(node, 1, "axes").filter(|axes| !axes.is_empty()),
        };
        if axes.is_none() && node.int("noop_with_empty_axes") == Some(1) {
            return Some(shape.to_vec());
        }
        let gone: Vec<usize> = match axes {
            Some(axes) => axes.iter().map(|&at| axis(at, shape.len())).collect::<Option<_>>()?,
            None => (0..shape.len()).collect(),
        };
        let keep = node.int("keepdims").unwrap_or(1) == 1;
        let left = (0..shape.len()).filter(|at| keep || !gone.contains(at));
        Some(left.map(|at| if gone.contains(&at) { 1 } else { shape[at] }).collect())
    }

    /// The whole numbers that a node makes of whole numbers.
    fn followed(&self, node: &'a Node) -> Option<Vec<i64>> {
        let first = || node.input(0).and_then(|name| self.numbers(name));
        match node.op.as_str() {
            "Shape" => {
                let shape = self.shape(node, 0)?;
                let place = |at: i64| {
                    (if at < 0 { at + shape.len() as i64 } else { at }).clamp(0, shape.len() as i64)
                        as usize
                };
                let start = place(node.int("start").unwrap_or(0));
                let end = node.int("end").map_or(shape.len(), place);
                Some(shape.get(start..end)?.to_vec())
            }
            "Identity" | "Cast" | "Squeeze" | "Unsqueeze" | "Reshape" => Some(first()?.to_vec()),
            "Gather" => {
                let (data, indices) = (first()?, self.numbers(node.input(1)?)?);
                indices.iter().map(|&at| data.get(axis(at, data.len())?).copied()).collect()
            }
            "Concat" => {
                let lists = node.inputs.iter().map(|name| self.numbers(name));
                Some(lists.collect::<Option<Vec<_>>>()?.concat())
            }
            "Slice" => {
                let list = first()?;
                let (starts, ends) = (self.list(node, 1, "starts")?, self.list(node, 2, "ends")?);
                let forward = self.list(node, 4, "steps").is_none_or(|steps| steps == [1]);
                let ([start], [end], true) = (starts.as_slice(), ends.as_slice(), forward) else {
                    return None;
                };
                let start = bound(*start, list.len() as i64) as usize;
                Some(
                    list.get(start..(bound(*end, list.len() as i64) as usize).max(start))?.to_vec(),
                )
            }
            "Add" | "Sub" | "Mul" | "Div" => {
                let (a, b) = (first()?, self.numbers(node.input(1)?)?);
                let length = a.len().max(b.len());
                let pick = |list: &[i64], at: usize| {
                    list.get(if list.len() == 1 { 0 } else { at }).copied()
                };
                let value = |at| match (node.op.as_str(), pick(a, at)?, pick(b, at)?) {
                    ("Add", a, b) => a.checked_add(b),
                    ("Sub", a, b) => a.checked_sub(b),
                    ("Mul", a, b) => a.checked_mul(b),
                    (_, a, b) => a.checked_div(b),
                };
                (0..length).map(value).collect()
            }
            _ => None,
        }
    }
}

/// Batch, channels, and the places of a window.
fn spatial(input: &[i64], channels: i64, window: &Window) -> Option<Vec<i64>> {
    let sizes = input.get(2..)?;
    if sizes.len() != window.kernel.len() {
        return None;
    }
    let places = sizes.iter().enumerate().map(|(at, &size)| window.places(at, size));
    let places: Vec<i64> = places.collect::<Option<_>>()?;
    Some([&[*input.first()?, channels], places.as_slice()].concat())
}
