//! The layer table of a network: output shape, parameters, multiply-accumulates, receptive field.
//!
//! Shapes are inferred for one row and for two, so that what grows with the rows is told apart from
//! what does not; the rest is arithmetic on shapes. This room must never run the network.

mod dimensions;
mod reach;
mod shapes;
mod table;
mod windows;

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::graph::{GraphError, Node, OnnxGraph};
use dimensions::elements;
pub use reach::ReceptiveField;
use shapes::Shapes;

/// A network's layers and what they sum up to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerTable {
    /// The version of ONNX's standard operators.
    pub opset: Option<i64>,
    /// What is fed in.
    pub inputs: Vec<NamedShape>,
    /// What comes out.
    pub outputs: Vec<NamedShape>,
    /// The layers in the order of the file, without those that only shape constants.
    pub layers: Vec<Layer>,
    /// Sums over the layers that the scores need: what the framework's own summary counts.
    pub totals: Totals,
    /// Sums over the other layers (heat map, embedding, distance), weights that they share with the
    /// scores not counted again.
    pub beside: Totals,
}

/// A value's name and shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamedShape {
    /// Its name.
    pub name: String,
    /// Its dimensions; −1 is the number of rows, −2 twice as many. `None` if nothing tells it.
    pub shape: Option<Vec<i64>>,
}

/// A layer: one node of the graph.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Layer {
    /// The node's name.
    pub name: String,
    /// Its operator, such as `Conv`.
    pub op: String,
    /// The window of a convolution or pooling.
    pub kernel: Option<Vec<i64>>,
    /// The shape of its first output, as in [`NamedShape`].
    pub output: Option<Vec<i64>>,
    /// Weights and biases; those that an earlier layer has too are counted there.
    pub parameters: u64,
    /// Running means and variances of a batch normalisation.
    pub statistics: u64,
    /// Multiply-accumulates for one row; additions of a bias and elementwise operators count none.
    pub macs: u64,
    /// What one element of the output sees of the input.
    pub receptive_field: ReceptiveField,
    /// Whether the scores need this layer.
    pub for_scores: bool,
}

/// Sums over layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Totals {
    /// Weights and biases: what PyTorch counts, and Keras as trainable.
    pub parameters: u64,
    /// Running means and variances: with `parameters` Keras' total.
    pub statistics: u64,
    /// Multiply-accumulates for one row.
    pub macs: u64,
}

impl LayerTable {
    /// The table of `graph`. `scores` names the outputs that count as the network itself; all of
    /// them if there is none.
    ///
    /// # Errors
    /// [`GraphError`] if a node contradicts the shape of what it takes.
    pub fn of(graph: &OnnxGraph, scores: &[&str]) -> Result<Self, GraphError> {
        let one = Shapes::infer(graph, 1)?;
        let two = Shapes::infer(graph, 2)?;
        let shape = |name: &str| grown(one.get(name)?, two.get(name)?);
        let named = |name: &String| NamedShape { name: name.clone(), shape: shape(name) };
        let anatomy = Anatomy::of(graph, scores);
        let fields = reach::fields(graph, &one);
        let mut seen = HashSet::new();
        let mut layers: Vec<Layer> = Vec::new();
        let mut places: Vec<(usize, &Node)> = Vec::new();
        for node in &graph.nodes {
            // What works on constants or on shapes is no layer.
            if !anatomy.live.contains(node.output()) || one.numbers(node.output()).is_some() {
                continue;
            }
            places.push((layers.len(), node));
            layers.push(Layer {
                name: node.name.clone(),
                op: node.op.clone(),
                kernel: kernel(graph, node),
                output: shape(node.output()),
                parameters: 0,
                statistics: 0,
                macs: macs(node, &one),
                receptive_field: fields.get(node.output()).copied().unwrap_or_default(),
                for_scores: anatomy.needed.contains(node.output()),
            });
        }
        // What the scores need owns a weight that others use too.
        places.sort_by_key(|(at, _)| !layers[*at].for_scores);
        for (at, node) in places {
            let (parameters, statistics) = anatomy.weights(node);
            layers[at].parameters = anatomy.count(&parameters, &mut seen);
            layers[at].statistics = anatomy.count(&statistics, &mut seen);
        }
        let sum = |scores: bool| {
            let chosen = layers.iter().filter(|layer| layer.for_scores == scores);
            chosen.fold(Totals::default(), |all, layer| Totals {
                parameters: all.parameters.saturating_add(layer.parameters),
                statistics: all.statistics.saturating_add(layer.statistics),
                macs: all.macs.saturating_add(layer.macs),
            })
        };
        Ok(Self {
            opset: graph.opset,
            inputs: graph.inputs.iter().map(|input| named(&input.name)).collect(),
            outputs: graph.outputs.iter().map(|output| named(&output.name)).collect(),
            totals: sum(true),
            beside: sum(false),
            layers,
        })
    }
}

/// A shape in which −k stands for k times the number of rows.
fn grown(one: &[i64], two: &[i64]) -> Option<Vec<i64>> {
    (one.len() == two.len()).then(|| {
        one.iter().zip(two).map(|(&one, &two)| if one == two { one } else { -one }).collect()
    })
}

/// The window of a node that has one.
fn kernel(graph: &OnnxGraph, node: &Node) -> Option<Vec<i64>> {
    match node.op.as_str() {
        "Conv" | "ConvTranspose" => {
            let weight = graph.weight(node.input(1)?).and_then(|weight| weight.shape.get(2..));
            weight.or_else(|| node.ints("kernel_shape")).map(<[i64]>::to_vec)
        }
        "MaxPool" | "AveragePool" | "LpPool" => node.ints("kernel_shape").map(<[i64]>::to_vec),
        _ => None,
    }
}

/// Multiply-accumulates of a node for one row.
fn macs(node: &Node, shapes: &Shapes<'_>) -> u64 {
    let shape = |at: usize| node.input(at).and_then(|name| shapes.get(name));
    let each = |places: Option<i64>, work: Option<i64>| {
        let all = places?.checked_mul(work?)?;
        u64::try_from(all).ok()
    };
    let output = || shapes.get(node.output()).map(elements);
    let counted = match node.op.as_str() {
        // Kernel × input channels of the group for each element that comes out.
        "Conv" => each(output(), shape(1).and_then(|weight| weight.get(1..)).map(elements)),
        // Kernel × output channels of the group for each element that goes in.
        "ConvTranspose" => {
            each(shape(0).map(elements), shape(1).and_then(|weight| weight.get(1..)).map(elements))
        }
        "Gemm" => {
            let turned = node.int("transA") == Some(1);
            each(output(), shape(0).and_then(|a| a.get(usize::from(!turned))).copied())
        }
        "MatMul" => each(output(), shape(0).and_then(|a| a.last()).copied()),
        _ => Some(0),
    };
    counted.unwrap_or(0)
}

/// Which values depend on the input, which ones the scores need, and where constants come from.
struct Anatomy<'a> {
    graph: &'a OnnxGraph,
    makers: HashMap<&'a str, &'a Node>,
    live: HashSet<&'a str>,
    needed: HashSet<&'a str>,
}

impl<'a> Anatomy<'a> {
    fn of(graph: &'a OnnxGraph, scores: &[&str]) -> Self {
        let mut makers = HashMap::new();
        let mut live: HashSet<&str> =
            graph.inputs.iter().map(|input| input.name.as_str()).collect();
        for node in &graph.nodes {
            makers.extend(node.outputs.iter().map(|output| (output.as_str(), node)));
            if node.inputs.iter().any(|input| live.contains(input.as_str())) {
                live.extend(node.outputs.iter().map(String::as_str));
            }
        }
        let counts = |name: &str| scores.is_empty() || scores.contains(&name);
        let mut needed: HashSet<&str> = HashSet::new();
        let mut open: Vec<&str> = graph
            .outputs
            .iter()
            .map(|output| output.name.as_str())
            .filter(|name| counts(name))
            .collect();
        while let Some(value) = open.pop() {
            if needed.insert(value)
                && let Some(node) = makers.get(value)
            {
                needed
                    .extend(node.outputs.iter().map(String::as_str).filter(|name| *name != value));
                open.extend(node.inputs.iter().map(String::as_str));
            }
        }
        Self { graph, makers, live, needed }
    }

    /// The weight that a constant value is made of.
    fn origin(&self, value: &'a str) -> Option<&'a str> {
        let mut value = value;
        // Constants are turned, cast and reshaped; nothing in a graph does so for ever.
        for _ in 0..self.graph.nodes.len() + 1 {
            if self.graph.weights.contains_key(value) {
                return Some(value);
            }
            let node = self.makers.get(value).filter(|_| !self.live.contains(value))?;
            value = node.input(0)?;
        }
        None
    }

    /// The weights of a node: those that are learnt, and running statistics.
    fn weights(&self, node: &'a Node) -> (Vec<&'a str>, Vec<&'a str>) {
        let at = |places: &[usize]| -> Vec<&'a str> {
            let inputs = places.iter().filter_map(|&place| node.input(place));
            inputs.filter_map(|input| self.origin(input)).collect()
        };
        let learnt = match node.op.as_str() {
            "Conv"
            | "ConvTranspose"
            | "LayerNormalization"
            | "InstanceNormalization"
            | "GroupNormalization" => at(&[1, 2]),
            "Gemm" => at(&[0, 1, 2]),
            "MatMul" => at(&[0, 1]),
            "PRelu" => at(&[1]),
            "BatchNormalization" => return (at(&[1, 2]), at(&[3, 4])),
            "Add" if self.adds_a_bias(node) => at(&[0, 1]),
            _ => Vec::new(),
        };
        (learnt, Vec::new())
    }

    /// Whether an addition is the bias that its product or convolution does not have.
    fn adds_a_bias(&self, node: &'a Node) -> bool {
        // A number without a dimension is an offset of the recipe; the bias of one unit has one.
        let vector = |name: &'a String| {
            let weight = self.origin(name).and_then(|origin| self.graph.weights.get(origin));
            weight.is_some_and(|weight| !weight.shape.is_empty())
        };
        if !node.inputs.iter().any(vector) {
            return false;
        }
        let made_by = |name: &String| self.makers.get(name.as_str()).copied();
        let products = node.inputs.iter().filter(|name| self.live.contains(name.as_str()));
        products.filter_map(made_by).any(|maker| match maker.op.as_str() {
            "Conv" | "ConvTranspose" | "Gemm" => maker.input(2).is_none(),
            "MatMul" => maker.inputs.iter().any(|input| self.origin(input).is_some()),
            _ => false,
        })
    }

    /// Elements of weights that were not counted before.
    fn count(&self, names: &[&'a str], seen: &mut HashSet<&'a str>) -> u64 {
        let new = names.iter().filter(|name| seen.insert(name));
        let weights = new.filter_map(|name| self.graph.weights.get(*name));
        weights.map(super::graph::Weight::elements).sum()
    }
}
