//! Arithmetic on dimensions, as NumPy and ONNX have it: axes, broadcasting, products, slices.
//!
//! This file must never know a graph.

/// Operators whose first output has the shape of their first input.
pub(super) const SAME: [&str; 41] = [
    "Abs",
    "BatchNormalization",
    "Cast",
    "Ceil",
    "Celu",
    "Clip",
    "CumSum",
    "DequantizeLinear",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "GroupNormalization",
    "HardSigmoid",
    "HardSwish",
    "Hardmax",
    "Identity",
    "InstanceNormalization",
    "LRN",
    "LayerNormalization",
    "LeakyRelu",
    "Log",
    "LogSoftmax",
    "MeanVarianceNormalization",
    "Mish",
    "Neg",
    "Not",
    "QuantizeLinear",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "Sigmoid",
    "Sign",
    "Softmax",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Tanh",
];

/// Operators whose inputs are broadcast to one shape.
pub(super) const ELEMENTWISE: [&str; 17] = [
    "Add",
    "And",
    "Div",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Max",
    "Mean",
    "Min",
    "Mul",
    "Or",
    "PRelu",
    "Pow",
    "Sub",
    "Where",
];

/// The place of an axis that may be counted from the end.
pub(super) fn axis(at: i64, rank: usize) -> Option<usize> {
    let at = if at < 0 { at.checked_add(rank as i64)? } else { at };
    usize::try_from(at).ok().filter(|&at| at < rank)
}

/// Elements of a tensor of this shape.
pub(super) fn elements(shape: &[i64]) -> i64 {
    shape.iter().fold(1, |all: i64, dim| all.saturating_mul(*dim))
}

/// The shape that both are stretched to.
pub(super) fn broadcast(a: &[i64], b: &[i64]) -> Option<Vec<i64>> {
    let rank = a.len().max(b.len());
    let dim = |shape: &[i64], at: usize| {
        let missing = rank - shape.len();
        if at < missing { 1 } else { shape[at - missing] }
    };
    let both = (0..rank).map(|at| match (dim(a, at), dim(b, at)) {
        (1, other) | (other, 1) => Some(other),
        (one, other) => (one == other).then_some(one),
    });
    both.collect()
}

/// The shape of a matrix product as NumPy's `matmul` has it.
pub(super) fn product(a: &[i64], b: &[i64]) -> Option<Vec<i64>> {
    match (a, b) {
        ([_], [_]) => Some(Vec::new()),
        ([_], [more @ .., _, columns]) => Some([more, &[*columns]].concat()),
        ([more @ .., _], [_]) => Some(more.to_vec()),
        ([a @ .., rows, _], [b @ .., _, columns]) => {
            Some([broadcast(a, b)?.as_slice(), &[*rows, *columns]].concat())
        }
        _ => None,
    }
}

/// A bound of a slice as a place between 0 and `size`.
pub(super) fn bound(at: i64, size: i64) -> i64 {
    (if at < 0 { at.saturating_add(size) } else { at }).clamp(0, size)
}

/// How many of `size` elements a slice picks.
pub(super) fn picked(size: i64, start: i64, end: i64, step: i64) -> Option<i64> {
    match step {
        0 => None,
        1.. => {
            let (start, end) = (bound(start, size), bound(end, size));
            Some(((end - start).max(0) + step - 1) / step)
        }
        _ => {
            // Backwards: the last element may be the first one, and the end lies before it.
            let place =
                |at: i64| (if at < 0 { at.saturating_add(size) } else { at }).clamp(-1, size - 1);
            let step = step.checked_neg()?;
            Some(((place(start) - place(end)).max(0) + step - 1) / step)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shapes_meet_as_in_numpy() {
        assert_eq!(broadcast(&[2, 1, 4], &[3, 1]), Some(vec![2, 3, 4]));
        assert_eq!(broadcast(&[2, 3], &[4]), None);
        assert_eq!(broadcast(&[], &[5]), Some(vec![5]));
        assert_eq!(product(&[7, 2, 3], &[3, 5]), Some(vec![7, 2, 5]));
        assert_eq!(product(&[3], &[3]), Some(vec![]));
        assert_eq!((axis(-1, 4), axis(4, 4), axis(-5, 4)), (Some(3), None, None));
        // len(range(10)[::-1]), [2:-1], [8:1:-3], and the bounds that exporters write.
        assert_eq!(picked(10, -1, i64::MIN, -1), Some(10));
        assert_eq!(picked(10, 2, -1, 1), Some(7));
        assert_eq!(picked(10, 8, 1, -3), Some(3));
        assert_eq!(picked(10, 0, i64::MAX, 1), Some(10));
        assert_eq!(picked(10, 0, 1, 0), None);
    }

    proptest! {
        #[test]
        fn a_slice_picks_what_stepping_does(size in 0i64..20, start in -25i64..25, end in -25i64..25, step in 1i64..6) {
            let (from, to) = (bound(start, size), bound(end, size));
            let stepped = (from..to).step_by(step as usize).count() as i64;
            prop_assert_eq!(picked(size, start, end, step), Some(stepped));
        }
    }
}
