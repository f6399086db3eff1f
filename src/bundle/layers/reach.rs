//! The receptive field of every value: how much of the image one element of it sees.
//!
//! By the recurrence in `windows`, the widest path where several meet. It is the field that the
//! windows span; it may be larger than the image. This file must never look at a weight.

use std::collections::HashMap;
use std::fmt;

use serde::{Serialize, Serializer};

use super::shapes::Shapes;
use super::windows::{Reach, Window};
use crate::bundle::graph::{Node, OnnxGraph};

/// What one element sees of the input, in pixels down and across.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum ReceptiveField {
    /// A window of the input.
    Window([f64; 2]),
    /// The whole input.
    #[default]
    Whole,
}

impl fmt::Display for ReceptiveField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.write_str("all"),
            Self::Window([down, across]) if down == across => write!(f, "{down}"),
            Self::Window([down, across]) => write!(f, "{down}×{across}"),
        }
    }
}

impl Serialize for ReceptiveField {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Whole => "all".serialize(serializer),
            Self::Window(sizes) => sizes.serialize(serializer),
        }
    }
}

/// The receptive field of every value that depends on an image.
pub(super) fn fields<'a>(
    graph: &'a OnnxGraph,
    shapes: &Shapes<'a>,
) -> HashMap<&'a str, ReceptiveField> {
    let mut reaches: HashMap<&str, [Reach; 2]> = HashMap::new();
    for input in &graph.inputs {
        let image = shapes.get(&input.name).is_some_and(|shape| shape.len() == 4);
        reaches.insert(&input.name, if image { [Reach::INPUT; 2] } else { [Reach::ALL; 2] });
    }
    for node in &graph.nodes {
        let inputs = node.inputs.iter().filter_map(|name| reaches.get(name.as_str()));
        let widest = inputs.copied().reduce(|a, b| [a[0].wider(b[0]), a[1].wider(b[1])]);
        if let Some(widest) = widest {
            let reach = [0, 1].map(|axis| after(node, shapes, axis, widest[axis]));
            reaches.extend(node.outputs.iter().map(|output| (output.as_str(), reach)));
        }
    }
    let fields = reaches.into_iter().map(|(name, [down, across])| {
        let whole = down.field.is_infinite() || across.field.is_infinite();
        let window = ReceptiveField::Window([down.field, across.field]);
        (name, if whole { ReceptiveField::Whole } else { window })
    });
    fields.collect()
}

/// What a node makes of the reach of its inputs along one axis.
fn after(node: &Node, shapes: &Shapes<'_>, axis: usize, reach: Reach) -> Reach {
    let shape = |at: usize| node.input(at).and_then(|name| shapes.get(name));
    let window = |kernel: Option<&[i64]>| {
        kernel.and_then(|kernel| Window::of(node, kernel)).filter(|window| window.kernel.len() == 2)
    };
    let of_weight = || window(shape(1).and_then(|weight| weight.get(2..)));
    match node.op.as_str() {
        "Conv" => of_weight().map_or(Reach::ALL, |w| reach.windowed(w.span(axis), w.strides[axis])),
        "ConvTranspose" => {
            of_weight().map_or(Reach::ALL, |w| reach.transposed(w.span(axis), w.strides[axis]))
        }
        "MaxPool" | "AveragePool" | "LpPool" => window(node.ints("kernel_shape"))
            .map_or(Reach::ALL, |w| reach.windowed(w.span(axis), w.strides[axis])),
        "Resize" | "Upsample" => {
            let size = |shape: Option<&[i64]>| shape.and_then(|s| s.get(2 + axis)).copied();
            let (Some(from), Some(to)) = (size(shape(0)), size(shapes.get(node.output()))) else {
                return Reach::ALL;
            };
            let taps = match node.text("mode").unwrap_or("nearest") {
                "nearest" => 1.0,
                "linear" => 2.0,
                _ => 4.0,
            };
            if from == to { reach } else { reach.resized(to as f64 / from as f64, taps) }
        }
        "Gemm"
        | "MatMul"
        | "InstanceNormalization"
        | "LayerNormalization"
        | "GroupNormalization"
        | "GlobalAveragePool"
        | "GlobalMaxPool"
        | "GlobalLpPool" => Reach::ALL,
        op if op.starts_with("Reduce") => {
            // Over channels alone every place still sees what it saw.
            let places =
                |shape: Option<&[i64]>| shape.filter(|s| s.len() == 4).map(|s| s[2..].to_vec());
            let same = places(shape(0))
                .is_some_and(|before| Some(before) == places(shapes.get(node.output())));
            if same { reach } else { Reach::ALL }
        }
        // Moving, cutting and joining elements and what works on each by itself mixes no places.
        _ => reach,
    }
}
