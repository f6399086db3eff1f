//! How many places a sliding window has, and how much of the input a place sees.
//!
//! Output size O = ⌊(I + P_begin + P_end − D·(K − 1) − 1)/S⌋ + 1 (Dumoulin and Visin 2016; ONNX,
//! Conv); receptive field r ← r + (K_eff − 1)·j, jump j ← j·S (Araujo, Norris and Sim 2019).
//! This file must never know which operator asks.

use crate::bundle::graph::Node;

/// A window over the axes behind batch and channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    pub kernel: Vec<i64>,
    pub strides: Vec<i64>,
    pub dilations: Vec<i64>,
    /// Begin and end of each axis together.
    padding: Vec<i64>,
    /// The padding before the first element of each axis.
    before: Vec<i64>,
    same: bool,
    ceil: bool,
}

impl Window {
    /// The window of a convolution or pooling with this kernel; `None` where the node's lists do
    /// not fit its kernel.
    pub(super) fn of(node: &Node, kernel: &[i64]) -> Option<Self> {
        let axes = kernel.len();
        let list = |name: &str, each: i64| match node.ints(name) {
            Some(values) if values.len() == axes => Some(values.to_vec()),
            Some(values) if !values.is_empty() => None,
            _ => Some(vec![each; axes]),
        };
        let pads = match node.ints("pads") {
            Some(pads) if pads.len() == 2 * axes => pads.to_vec(),
            Some(pads) if !pads.is_empty() => return None,
            _ => vec![0; 2 * axes],
        };
        let auto = node.text("auto_pad").unwrap_or("NOTSET");
        let explicit = auto == "NOTSET" || auto.is_empty();
        let padding =
            |axis: usize| if explicit { pads[axis].saturating_add(pads[axis + axes]) } else { 0 };
        let window = Self {
            kernel: kernel.to_vec(),
            strides: list("strides", 1)?,
            dilations: list("dilations", 1)?,
            padding: (0..axes).map(padding).collect(),
            before: if explicit { pads[..axes].to_vec() } else { vec![0; axes] },
            same: auto.starts_with("SAME"),
            ceil: node.int("ceil_mode") == Some(1),
        };
        let positive = [&window.kernel, &window.strides, &window.dilations];
        positive.iter().all(|list| list.iter().all(|&v| v > 0)).then_some(window)
    }

    /// D·(K − 1) + 1: what a window spans.
    pub(super) fn span(&self, axis: usize) -> i64 {
        self.dilations[axis].saturating_mul(self.kernel[axis] - 1).saturating_add(1)
    }

    /// Places along `axis` of an input with `size` elements; `None` if the window does not fit.
    pub(super) fn places(&self, axis: usize, size: i64) -> Option<i64> {
        let stride = self.strides[axis];
        if self.same {
            return Some(ceil_div(size, stride));
        }
        let room = size.checked_add(self.padding[axis])?.checked_sub(self.span(axis))?;
        if room < 0 {
            return None;
        }
        let mut places = if self.ceil { ceil_div(room, stride) } else { room / stride } + 1;
        // A window that begins in the padding behind the input does not count.
        if self.ceil && (places - 1).checked_mul(stride)? >= size.checked_add(self.before[axis])? {
            places -= 1;
        }
        Some(places)
    }

    /// Elements along `axis` that a transposed convolution makes of `size`.
    pub(super) fn transposed(&self, axis: usize, size: i64, more: i64) -> i64 {
        let stride = self.strides[axis];
        if self.same {
            return size.saturating_mul(stride);
        }
        let spread = stride.saturating_mul(size - 1).saturating_add(more);
        spread.saturating_add(self.span(axis)).saturating_sub(self.padding[axis])
    }
}

fn ceil_div(a: i64, b: i64) -> i64 {
    a / b + i64::from(a % b > 0)
}

/// How much of the network's input one element of a value sees along one axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Reach {
    /// The receptive field; infinite where all of the input is seen.
    pub field: f64,
    /// The distance of two neighbours, in elements of the input.
    pub jump: f64,
}

impl Reach {
    /// An element of the input itself.
    pub(super) const INPUT: Self = Self { field: 1.0, jump: 1.0 };
    /// All of the input.
    pub(super) const ALL: Self = Self { field: f64::INFINITY, jump: 1.0 };

    /// After a window.
    pub(super) fn windowed(self, span: i64, stride: i64) -> Self {
        let field = self.field + (span - 1) as f64 * self.jump;
        Self { field, jump: self.jump * stride as f64 }
    }

    /// After a transposed convolution: an element is made of ⌈span/stride⌉ neighbours.
    pub(super) fn transposed(self, span: i64, stride: i64) -> Self {
        let field = self.field + (ceil_div(span, stride) - 1) as f64 * self.jump;
        Self { field, jump: self.jump / stride as f64 }
    }

    /// After a resize by `factor` that mixes `taps` neighbours.
    pub(super) fn resized(self, factor: f64, taps: f64) -> Self {
        Self { field: self.field + (taps - 1.0) * self.jump, jump: self.jump / factor }
    }

    /// Where two paths meet the wider one counts.
    pub(super) fn wider(self, other: Self) -> Self {
        if other.field > self.field { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::bundle::graph::Attribute;

    fn node(lists: &[(&str, &[i64])], auto: &str, ceil: bool) -> Node {
        let ints = |values: &[i64]| Attribute { ints: values.to_vec(), ..Attribute::default() };
        let mut attributes: HashMap<String, Attribute> =
            lists.iter().map(|(name, values)| ((*name).to_owned(), ints(values))).collect();
        let text = Some(auto.to_owned().into_bytes().into());
        attributes.insert("auto_pad".into(), Attribute { text, ..Attribute::default() });
        let int = Some(i64::from(ceil));
        attributes.insert("ceil_mode".into(), Attribute { int, ..Attribute::default() });
        Node { attributes, ..Node::default() }
    }

    #[test]
    fn places_are_those_of_the_formula() {
        // torch.nn.functional.conv2d and max_pool2d on zeros of these sizes.
        type Case<'a> = (&'a [(&'a str, &'a [i64])], &'a str, bool, i64, i64);
        let cases: [Case<'_>; 6] = [
            (&[("pads", &[3, 3, 3, 3]), ("strides", &[2, 2])], "", false, 224, 112),
            (&[("dilations", &[2, 2])], "NOTSET", false, 28, 16),
            (&[("pads", &[1, 0, 2, 0])], "NOTSET", false, 10, 7),
            (&[("strides", &[2, 2])], "SAME_UPPER", false, 15, 8),
            (&[("strides", &[2, 2])], "VALID", false, 15, 5),
            (&[("strides", &[3, 3]), ("pads", &[3, 3, 3, 3])], "", true, 4, 2),
        ];
        for (lists, auto, ceil, size, places) in cases {
            let window = Window::of(&node(lists, auto, ceil), &[7, 7]).unwrap();
            assert_eq!(window.places(0, size), Some(places), "{lists:?} {auto}");
        }
        let window = Window::of(&node(&[], "", false), &[7, 7]).unwrap();
        assert_eq!(window.places(0, 6), None);
        assert_eq!(Window::of(&node(&[("strides", &[2])], "", false), &[3, 3]), None);
        assert_eq!(Window::of(&node(&[("strides", &[0, 1])], "", false), &[3, 3]), None);
        let window = Window::of(&node(&[("strides", &[2, 2])], "", false), &[2, 2]).unwrap();
        assert_eq!(window.transposed(0, 16, 0), 32);
    }

    #[test]
    fn the_receptive_field_of_vgg16_is_212() {
        // Araujo, Norris and Sim (2019), table 1: VGG-16 up to its last pooling has 212 pixels.
        let mut reach = Reach::INPUT;
        for convolutions in [2, 2, 3, 3, 3] {
            for _ in 0..convolutions {
                reach = reach.windowed(3, 1);
            }
            reach = reach.windowed(2, 2);
        }
        assert_eq!(reach, Reach { field: 212.0, jump: 32.0 });
        assert_eq!(Reach::ALL.windowed(3, 1).field, f64::INFINITY);
    }
}
