//! An ONNX file to a graph, without a runtime.
//!
//! The messages below are the part of the format's `onnx.proto` that a layer table needs, by its
//! field numbers; weights stay slices of the file. This file is the only one of this room that knows
//! the encoding. It must never allocate by a number that a file claims.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;

use super::graph::{Attribute, GraphError, Node, OnnxGraph, Value, Weight};
use crate::domain::DataType;

impl OnnxGraph {
    /// Reads a model file.
    ///
    /// # Errors
    /// [`GraphError`] if the bytes are no ONNX model, or its nodes stand in no order.
    pub fn read(model: Bytes) -> Result<Self, GraphError> {
        let model =
            ModelProto::decode(model).map_err(|error| GraphError::NotOnnx(error.to_string()))?;
        let standard = model.opset_import.iter().find(|set| set.domain().is_empty());
        let opset = standard.map(OperatorSetIdProto::version);
        let graph = model.graph.ok_or(GraphError::NoGraph)?;
        let mut weights: HashMap<String, Weight> = graph
            .initializer
            .into_iter()
            .map(|tensor| (tensor.name().to_owned(), weight(tensor)))
            .collect();
        let mut nodes = Vec::with_capacity(graph.node.len());
        for node in graph.node.into_iter().map(node) {
            match (node.op.as_str(), constant(&node)) {
                ("Constant", Some(constant)) => {
                    weights.insert(node.output().to_owned(), constant);
                }
                _ => nodes.push(node),
            }
        }
        let fed = graph.input.into_iter().map(value);
        let inputs = fed.filter(|value| !weights.contains_key(&value.name)).collect();
        let noted = graph.value_info.into_iter().map(value);
        let graph = Self {
            nodes,
            inputs,
            outputs: graph.output.into_iter().map(value).collect(),
            noted: noted.map(|value| (value.name, value.shape)).collect(),
            weights,
            opset,
        };
        graph.check_order()?;
        Ok(graph)
    }
}

/// The bytes of a model that has these values among its outputs too. Parts of one message that
/// stand behind each other are one message to every reader of the format, so that nothing of the
/// file is lost, whatever this build knows of it.
pub fn with_outputs(model: &[u8], values: &[&str]) -> Vec<u8> {
    let output = values
        .iter()
        .map(|name| ValueInfoProto { name: Some((*name).to_owned()), ..ValueInfoProto::default() });
    let graph = GraphProto { output: output.collect(), ..GraphProto::default() };
    let more = ModelProto { graph: Some(graph), ..ModelProto::default() };
    [model, &more.encode_to_vec()].concat()
}

fn node(node: NodeProto) -> Node {
    let first = node.output.first().cloned().unwrap_or_default();
    let attributes = node.attribute.into_iter().map(|attribute| {
        let AttributeProto { name, i, s, t, ints } = attribute;
        (name.unwrap_or_default(), Attribute { int: i, text: s, ints, tensor: t.map(weight) })
    });
    Node {
        name: node.name.filter(|name| !name.is_empty()).unwrap_or(first),
        op: node.op_type.unwrap_or_default(),
        inputs: node.input,
        outputs: node.output,
        attributes: attributes.collect(),
    }
}

/// What a `Constant` node holds, as far as it is a tensor or whole numbers.
fn constant(node: &Node) -> Option<Weight> {
    let whole = |shape: Vec<i64>, values: &[i64]| Weight {
        shape,
        datatype: Some(DataType::Int64),
        data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    };
    if let Some(tensor) = node.attributes.get("value").and_then(|value| value.tensor.clone()) {
        return Some(tensor);
    }
    match node.int("value_int") {
        Some(value) => Some(whole(Vec::new(), &[value])),
        None => node.ints("value_ints").map(|values| whole(vec![values.len() as i64], values)),
    }
}

/// A tensor whose elements stand as they are in memory, whichever of the format's fields has them.
fn weight(tensor: TensorProto) -> Weight {
    let typed = || -> Bytes {
        if !tensor.float_data.is_empty() {
            tensor.float_data.iter().flat_map(|value| value.to_le_bytes()).collect()
        } else if !tensor.int64_data.is_empty() {
            tensor.int64_data.iter().flat_map(|value| value.to_le_bytes()).collect()
        } else if tensor.data_type() == FLOAT16 {
            // Sixteen bits in each (`TensorProto.int32_data`).
            tensor.int32_data.iter().flat_map(|value| (*value as u16).to_le_bytes()).collect()
        } else {
            tensor.int32_data.iter().flat_map(|value| value.to_le_bytes()).collect()
        }
    };
    let data = tensor.raw_data.clone().unwrap_or_else(typed);
    Weight { datatype: datatype(tensor.data_type()), shape: tensor.dims, data }
}

fn value(value: ValueInfoProto) -> Value {
    let shape = value.r#type.and_then(|kind| kind.tensor_type).and_then(|tensor| tensor.shape);
    let dims = shape.map(|shape| shape.dim).unwrap_or_default().into_iter();
    let shape = dims.map(|dim| dim.dim_value.filter(|&dim| dim >= 0)).collect();
    Value { name: value.name.unwrap_or_default(), shape }
}

const FLOAT16: i32 = 10;

/// `TensorProto.DataType`.
fn datatype(number: i32) -> Option<DataType> {
    Some(match number {
        1 => DataType::Fp32,
        2 => DataType::Uint8,
        3 => DataType::Int8,
        4 => DataType::Uint16,
        5 => DataType::Int16,
        6 => DataType::Int32,
        7 => DataType::Int64,
        8 => DataType::Bytes,
        9 => DataType::Bool,
        FLOAT16 => DataType::Fp16,
        11 => DataType::Fp64,
        12 => DataType::Uint32,
        13 => DataType::Uint64,
        16 => DataType::Bf16,
        _ => return None,
    })
}

#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(message, optional, tag = "7")]
    graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSetIdProto>,
}

#[derive(Clone, PartialEq, Message)]
struct OperatorSetIdProto {
    #[prost(string, optional, tag = "1")]
    domain: Option<String>,
    #[prost(int64, optional, tag = "2")]
    version: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    node: Vec<NodeProto>,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "13")]
    value_info: Vec<ValueInfoProto>,
}

#[derive(Clone, PartialEq, Message)]
struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, optional, tag = "3")]
    name: Option<String>,
    #[prost(string, optional, tag = "4")]
    op_type: Option<String>,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<AttributeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct AttributeProto {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(int64, optional, tag = "3")]
    i: Option<i64>,
    #[prost(bytes = "bytes", optional, tag = "4")]
    s: Option<Bytes>,
    #[prost(message, optional, tag = "5")]
    t: Option<TensorProto>,
    #[prost(int64, repeated, packed = "false", tag = "8")]
    ints: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(int64, repeated, packed = "false", tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, optional, tag = "2")]
    data_type: Option<i32>,
    #[prost(float, repeated, tag = "4")]
    float_data: Vec<f32>,
    #[prost(int32, repeated, tag = "5")]
    int32_data: Vec<i32>,
    #[prost(int64, repeated, tag = "7")]
    int64_data: Vec<i64>,
    #[prost(string, optional, tag = "8")]
    name: Option<String>,
    #[prost(bytes = "bytes", optional, tag = "9")]
    raw_data: Option<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfoProto {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(message, optional, tag = "2")]
    r#type: Option<TypeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TypeProto {
    #[prost(message, optional, tag = "1")]
    tensor_type: Option<TensorTypeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorTypeProto {
    #[prost(message, optional, tag = "2")]
    shape: Option<TensorShapeProto>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorShapeProto {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<DimensionProto>,
}

#[derive(Clone, PartialEq, Message)]
struct DimensionProto {
    #[prost(int64, optional, tag = "1")]
    dim_value: Option<i64>,
}
