//! `BYTES` tensors: each element is its length in four bytes, little-endian, then its bytes.
//!
//! The form is the Open Inference Protocol's for raw contents; elements are borrowed from it.
//! This file must never trust a length: an element that reaches beyond its tensor is an error.

use bytes::{BufMut as _, Bytes, BytesMut};

/// Bytes of an element's length.
const PREFIX: usize = size_of::<u32>();

/// Elements that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StringsError {
    /// The bytes end inside a length.
    #[error("element {index} has no room for its four bytes of length")]
    NoLength {
        /// Which element.
        index: usize,
    },
    /// The bytes end inside an element.
    #[error("element {index} says {length} bytes, {left} are left")]
    Truncated {
        /// Which element.
        index: usize,
        /// What its length says.
        length: usize,
        /// Bytes that are there.
        left: usize,
    },
    /// More or fewer elements than the shape has.
    #[error("the shape has {expected} elements, {found} came")]
    Count {
        /// Elements of the shape.
        expected: usize,
        /// Elements that came.
        found: usize,
    },
    /// An element whose length does not fit into four bytes.
    #[error("an element of {0} bytes is too long")]
    TooLong(usize),
}

/// The elements in order; ends after the first error.
#[derive(Debug, Clone)]
pub struct Strings<'a> {
    rest: &'a [u8],
    index: usize,
}

impl<'a> Strings<'a> {
    /// The elements of `data`.
    pub fn new(data: &'a [u8]) -> Self {
        Self { rest: data, index: 0 }
    }

    fn element(&mut self) -> Result<&'a [u8], StringsError> {
        let index = self.index;
        let (length, after) =
            self.rest.split_first_chunk::<PREFIX>().ok_or(StringsError::NoLength { index })?;
        let length = u32::from_le_bytes(*length) as usize;
        let (element, rest) = after.split_at_checked(length).ok_or(StringsError::Truncated {
            index,
            length,
            left: after.len(),
        })?;
        (self.rest, self.index) = (rest, index + 1);
        Ok(element)
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = Result<&'a [u8], StringsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let element = self.element();
        if element.is_err() {
            self.rest = &[];
        }
        Some(element)
    }
}

/// Whether `data` is exactly `elements` elements.
///
/// # Errors
/// Which element is wrong, or how many came.
pub fn check_strings(data: &[u8], elements: usize) -> Result<(), StringsError> {
    let mut found = 0_usize;
    for element in Strings::new(data) {
        element?;
        found += 1;
    }
    match found == elements {
        true => Ok(()),
        false => Err(StringsError::Count { expected: elements, found }),
    }
}

/// Bytes that the first `elements` elements take; what is beyond a broken one counts whole.
pub fn strings_length(data: &[u8], elements: usize) -> usize {
    let mut strings = Strings::new(data);
    strings.by_ref().take(elements).for_each(drop);
    data.len() - strings.rest.len()
}

/// Elements in the protocol's form.
///
/// # Errors
/// [`StringsError::TooLong`].
pub fn pack_strings<E: AsRef<[u8]>>(elements: &[E]) -> Result<Bytes, StringsError> {
    let size = elements.iter().map(|element| element.as_ref().len() + PREFIX).sum();
    let mut packed = BytesMut::with_capacity(size);
    for element in elements {
        let element = element.as_ref();
        let length =
            u32::try_from(element.len()).map_err(|_| StringsError::TooLong(element.len()))?;
        packed.put_u32_le(length);
        packed.put_slice(element);
    }
    Ok(packed.freeze())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_packed_is_read_and_every_cut_is_noticed(
            elements in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..6),
            cut in any::<prop::sample::Index>(),
            take in 0_usize..7,
        ) {
            let packed = pack_strings(&elements).unwrap();
            let read: Result<Vec<_>, _> = Strings::new(&packed).collect();
            prop_assert_eq!(read.unwrap(), elements.iter().map(Vec::as_slice).collect::<Vec<_>>());
            prop_assert_eq!(check_strings(&packed, elements.len()), Ok(()));
            prop_assert!(check_strings(&packed, elements.len() + 1).is_err());
            let first = &elements[..take.min(elements.len())];
            let length: usize = first.iter().map(|element| element.len() + 4).sum();
            prop_assert_eq!(strings_length(&packed, take), length);
            if !packed.is_empty() {
                let at = cut.index(packed.len());
                prop_assert!(check_strings(&packed[..at], elements.len()).is_err());
            }
        }
    }

    #[test]
    fn a_length_beyond_the_tensor_is_refused() {
        let error = check_strings(&[255, 255, 255, 255, 1], 1).unwrap_err().to_string();
        assert_eq!(error, "element 0 says 4294967295 bytes, 1 are left");
        let error = check_strings(&[0, 0, 0, 0, 9, 9], 2).unwrap_err().to_string();
        assert_eq!(error, "element 1 has no room for its four bytes of length");
    }
}
