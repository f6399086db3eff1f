//! A network as a graph of nodes and constants, in the words of ONNX.
//!
//! `onnx_graph` reads it out of a file; `layers` computes with it.
//! This file must never know how a file is encoded, and never run a node.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use crate::domain::DataType;

/// A graph that cannot be read or makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// The bytes are no ONNX model.
    #[error("it is no ONNX model: {0}")]
    NotOnnx(String),
    /// There is no graph in it.
    #[error("the ONNX model holds no graph")]
    NoGraph,
    /// A node cannot be what it says.
    #[error("node '{node}' ({op}): {problem}")]
    Node {
        /// The node's name.
        node: String,
        /// Its operator.
        op: String,
        /// What is wrong.
        problem: String,
    },
}

/// An ONNX graph.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OnnxGraph {
    /// The nodes; each stands behind those whose values it takes.
    pub nodes: Vec<Node>,
    /// Constants by name, those of `Constant` nodes among them.
    pub weights: HashMap<String, Weight>,
    /// What is fed in, without the constants.
    pub inputs: Vec<Value>,
    /// What comes out.
    pub outputs: Vec<Value>,
    /// Shapes that the file itself notes for values in between.
    pub noted: HashMap<String, Vec<Option<i64>>>,
    /// The version of the standard operators.
    pub opset: Option<i64>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Node {
    /// Its name; its first output's where it has none.
    pub name: String,
    /// The operator, such as `Conv`.
    pub op: String,
    /// The values that it takes; an empty name stands for one that is left out.
    pub inputs: Vec<String>,
    /// The values that it makes.
    pub outputs: Vec<String>,
    /// Its attributes by name.
    pub attributes: HashMap<String, Attribute>,
}

/// The value of an attribute, as far as it is of use here.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Attribute {
    /// A number.
    pub int: Option<i64>,
    /// A text's bytes.
    pub text: Option<Bytes>,
    /// A list of numbers.
    pub ints: Vec<i64>,
    /// A tensor.
    pub tensor: Option<Weight>,
}

/// A constant.
#[derive(Debug, Clone, PartialEq)]
pub struct Weight {
    /// Its dimensions.
    pub shape: Vec<i64>,
    /// Its element type; `None` where it is one that tensors do not have here.
    pub datatype: Option<DataType>,
    /// Its elements, little-endian.
    pub data: Bytes,
}

/// An input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Its name.
    pub name: String,
    /// Its dimensions; `None` where the file leaves one open.
    pub shape: Vec<Option<i64>>,
}

impl Node {
    /// An attribute that is a number.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.attributes.get(name).and_then(|attribute| attribute.int)
    }

    /// An attribute that is a list of numbers.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attributes.get(name).map(|attribute| attribute.ints.as_slice())
    }

    /// An attribute that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        let bytes = self.attributes.get(name)?.text.as_ref()?;
        str::from_utf8(bytes).ok()
    }

    /// The name of input `at`, unless it is left out.
    pub fn input(&self, at: usize) -> Option<&str> {
        self.inputs.get(at).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// The name of its first output.
    pub fn output(&self) -> &str {
        self.outputs.first().map_or("", String::as_str)
    }

    pub(super) fn error(&self, problem: impl Into<String>) -> GraphError {
        GraphError::Node { node: self.name.clone(), op: self.op.clone(), problem: problem.into() }
    }
}

impl Weight {
    /// Elements in all; 0 where the dimensions make no sense.
    pub fn elements(&self) -> u64 {
        let mut dims = self.shape.iter().map(|dim| u64::try_from(*dim).ok());
        dims.try_fold(1_u64, |all, dim| all.checked_mul(dim?)).unwrap_or(0)
    }

    /// Its elements, if they are integers of 64 or 32 bits.
    pub fn integers(&self) -> Option<Vec<i64>> {
        match self.datatype? {
            DataType::Int64 => {
                Some(self.data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect())
            }
            DataType::Int32 => Some(
                self.data.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b).into()).collect(),
            ),
            _ => None,
        }
    }

    /// Its elements, if they are floating-point numbers of 16, 32 or 64 bits.
    pub fn floats(&self) -> Option<Vec<f32>> {
        match self.datatype? {
            DataType::Fp16 => {
                let halves = self.data.as_chunks().0.iter();
                Some(halves.map(|b| half::f16::from_le_bytes(*b).to_f32()).collect())
            }
            DataType::Fp32 => {
                Some(self.data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
            }
            DataType::Fp64 => Some(
                self.data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
            ),
            _ => None,
        }
    }
}

impl OnnxGraph {
    /// The weight behind a value: itself, or one that is stored in another number format and cast.
    #[must_use]
    pub fn weight(&self, value: &str) -> Option<&Weight> {
        self.weights.get(value).or_else(|| {
            let cast = |node: &&Node| node.op == "Cast" && node.output() == value;
            self.weights.get(self.nodes.iter().find(cast)?.input(0)?)
        })
    }

    /// The format demands that a value is made before it is used (its IR specification, "Graphs").
    ///
    /// # Errors
    /// The first node that needs a value from behind it, or from nowhere.
    pub(super) fn check_order(&self) -> Result<(), GraphError> {
        let mut known: HashSet<&str> =
            self.inputs.iter().map(|input| input.name.as_str()).collect();
        known.extend(self.weights.keys().map(String::as_str));
        for node in &self.nodes {
            let mut needed = node.inputs.iter().filter(|name| !name.is_empty());
            if let Some(missing) = needed.find(|name| !known.contains(name.as_str())) {
                return Err(node.error(format!("no node before it makes its input '{missing}'")));
            }
            known.extend(node.outputs.iter().map(String::as_str));
        }
        Ok(())
    }
}
