//! Lays the inputs of a batch into tensors for one run, and gives each part its rows back.
//!
//! A part that runs alone is read where its message left it, if the bytes are aligned; everything
//! else is copied into a buffer that the worker keeps.
//! This file must never change the order of rows.

use crate::domain::Tensor;
use crate::engine::{AlignedBuffer, EngineError, OutputSet, TensorView, is_aligned};
use crate::telemetry::ModelMetrics;

use super::BatchShape;
use super::waiting::Part;

/// Inputs of one run: where each stands and how it is shaped.
#[derive(Debug, Default)]
pub struct Packer {
    buffers: Vec<AlignedBuffer>,
    shapes: Vec<Vec<usize>>,
}

impl Packer {
    /// Lays out `parts`, which stack with each other, and calls `run` with the views.
    pub fn with_views<T>(
        &mut self,
        parts: &[Part],
        shape: BatchShape,
        metrics: &ModelMetrics,
        run: impl FnOnce(&[TensorView<'_>]) -> T,
    ) -> T {
        let inputs = parts.first().map_or(&[][..], |part| part.inputs.as_slice());
        self.buffers.resize_with(inputs.len().max(self.buffers.len()), AlignedBuffer::default);
        self.shapes.resize(inputs.len(), Vec::new());
        let rows: usize = parts.iter().map(|part| part.rows).sum();
        let run_rows = shape.run_rows(rows);
        let alone = parts.len() == 1 && run_rows == rows;
        for (index, input) in inputs.iter().enumerate() {
            let (buffer, shape) = (&mut self.buffers[index], &mut self.shapes[index]);
            shape.clear();
            shape.extend_from_slice(&input.shape);
            buffer.clear();
            if alone && is_aligned(&input.data, input.datatype) {
                continue;
            }
            for tensor in parts.iter().filter_map(|part| part.inputs.get(index)) {
                buffer.extend(&tensor.data);
            }
            if let (false, Some(first)) = (alone, shape.first_mut()) {
                *first = run_rows;
                let row: usize = shape.iter().skip(1).product();
                // Four zero bytes are an empty element of BYTES.
                let element = input.datatype.size().unwrap_or(size_of::<u32>());
                buffer.extend_zeros((run_rows - rows) * row * element);
            }
            if alone { metrics.unaligned() } else { metrics.packed() }
        }
        let views: Vec<TensorView<'_>> = inputs
            .iter()
            .zip(self.buffers.iter().zip(&self.shapes))
            .map(|(input, (buffer, shape))| TensorView {
                datatype: input.datatype,
                shape,
                // An empty buffer means that nothing was copied, or that there is nothing to copy.
                data: if buffer.bytes().is_empty() { &input.data } else { buffer.bytes() },
            })
            .collect();
        run(&views)
    }
}

/// The outputs that any of the parts wants.
pub fn wanted(parts: &[Part]) -> OutputSet {
    parts.iter().fold(OutputSet::default(), |all, part| all.union(part.ticket.outputs))
}

/// The outputs of one part: its rows of those that it wants, in the same memory.
///
/// # Errors
/// [`EngineError::Run`] when an output does not have a row for each row of the run.
pub fn outputs_of(
    part: &Part,
    from: usize,
    run_rows: usize,
    run_outputs: OutputSet,
    outputs: &[Tensor],
    shape: BatchShape,
) -> Result<Vec<Tensor>, EngineError> {
    run_outputs
        .indices()
        .zip(outputs)
        .filter(|(index, _)| part.ticket.outputs.contains(*index))
        .map(|(index, output)| {
            if !shape.has_rows() || (output.rows() == run_rows && part.rows == run_rows) {
                return Ok(output.clone());
            }
            if output.rows() != run_rows {
                let found = output.rows();
                return Err(EngineError::Run(format!(
                    "output {index} has {found} rows for {run_rows} rows of input"
                )));
            }
            Ok(output.slice_rows(from, from + part.rows))
        })
        .collect()
}
