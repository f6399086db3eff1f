//! Memory for inputs that cannot be borrowed from their message.
//!
//! A buffer is filled row by row, lent to a run and cleared; it keeps its memory for the next run.
//! This file must never hold memory that is not aligned to 8 bytes, the largest element.

use crate::domain::DataType;

/// Bytes that begin at an address divisible by 8.
#[derive(Debug, Default)]
pub struct AlignedBuffer {
    words: Vec<u64>,
    len: usize,
}

impl AlignedBuffer {
    /// Empties the buffer and keeps its memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Appends `bytes`.
    pub fn extend(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        let words = end.div_ceil(size_of::<u64>());
        if words > self.words.len() {
            self.words.resize(words, 0);
        }
        bytemuck::cast_slice_mut(&mut self.words)[self.len..end].copy_from_slice(bytes);
        self.len = end;
    }

    /// Appends `count` zero bytes.
    pub fn extend_zeros(&mut self, count: usize) {
        let end = self.len + count;
        let words = end.div_ceil(size_of::<u64>());
        if words > self.words.len() {
            self.words.resize(words, 0);
        }
        bytemuck::cast_slice_mut::<u64, u8>(&mut self.words)[self.len..end].fill(0);
        self.len = end;
    }

    /// What was appended.
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.len]
    }
}

/// Whether `bytes` can be read as elements of `datatype` where they stand.
pub fn is_aligned(bytes: &[u8], datatype: DataType) -> bool {
    datatype.size().is_none_or(|size| bytes.as_ptr().addr().is_multiple_of(size))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn holds_what_was_appended_and_stays_aligned(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
        ) {
            let mut buffer = AlignedBuffer::default();
            buffer.extend(b"left over");
            buffer.clear();
            for piece in &pieces {
                buffer.extend(piece);
            }
            prop_assert_eq!(buffer.bytes(), pieces.concat());
            prop_assert!(is_aligned(buffer.bytes(), DataType::Fp64));
        }
    }
}
