//! Elements of VR UN whose content is a sequence that a gateway did not know.
//!
//! PS3.5 6.2.2: a UN of undefined length holds a sequence in Implicit VR Little Endian, whatever
//! the transfer syntax around it. DICOM-rs reads such content in the syntax around it. Here the
//! undefined length is replaced by the length that the content has, in place, so that no offset
//! changes; sequences that the dictionary knows are then read from their bytes.
//! This file must never trust a length: content that is no implicit sequence stays as it is.

use std::borrow::Cow;

use dicom_core::dictionary::{DataDictionary, VirtualVr};
use dicom_core::header::{DataElement, Header as _};
use dicom_core::value::{DataSetSequence, Value};
use dicom_core::{Length, Tag, VR};
use dicom_dictionary_std::StandardDataDictionary;
use dicom_object::mem::InMemDicomObject;

use super::file::{MAX_DEPTH, MAX_ELEMENTS, walk};
use super::syntax::Syntax;

const UNDEFINED: u32 = u32::MAX;
const ITEM: Tag = Tag(0xfffe, 0xe000);
const SEQUENCE_END: Tag = Tag(0xfffe, 0xe0dd);

/// The data set with a defined length in each UN element that had an undefined one.
///
/// Copies the data set only if there is such an element.
pub(super) fn with_defined_lengths(mut dataset: Cow<'_, [u8]>, syntax: Syntax) -> Cow<'_, [u8]> {
    if syntax.implicit {
        return dataset;
    }
    for (at, length) in undefined_un(&dataset, syntax.big_endian) {
        let length = if syntax.big_endian { length.to_be_bytes() } else { length.to_le_bytes() };
        if let Some(field) = dataset.to_mut().get_mut(at..at + 4) {
            field.copy_from_slice(&length);
        }
    }
    dataset
}

/// Where the undefined lengths of UN elements lie, and how long their content is.
///
/// Goes from header to header without a stack: sequences and items are entered by going on behind
/// their headers. Ends without a finding where the bytes stop to make sense, which the reader
/// proper then says.
fn undefined_un(dataset: &[u8], big_endian: bool) -> Vec<(usize, u32)> {
    let mut found = Vec::new();
    let mut at = 0_usize;
    let mut elements = 0_usize;
    while let Some(tag) = tag_at(dataset, at, big_endian) {
        elements += 1;
        if elements > MAX_ELEMENTS {
            break;
        }
        if tag.group() == 0xfffe {
            at += 8;
            continue;
        }
        let Some(vr) = dataset.get(at + 4..at + 6) else { break };
        let (length, value) = if SHORT.iter().any(|short| short.as_slice() == vr) {
            let Some(field) = dataset.get(at + 6..at + 8).and_then(|f| f.as_array()) else { break };
            let length = if big_endian { u16::from_be_bytes } else { u16::from_le_bytes }(*field);
            (u32::from(length), at + 8)
        } else {
            let Some(length) = u32_at(dataset, at + 8, big_endian) else { break };
            (length, at + 12)
        };
        let end = match (vr, length) {
            (b"UN", UNDEFINED) => {
                let Some(end) = implicit_end(dataset, value, &mut elements) else { break };
                let Ok(content) = u32::try_from(end - value) else { break };
                found.push((at + 8, content));
                Some(end)
            }
            // A sequence of any length is entered; of fragments each is an item to pass over.
            (b"SQ", _) => Some(value),
            (b"OB" | b"OW", UNDEFINED) => fragments_end(dataset, value, big_endian, &mut elements),
            (_, UNDEFINED) => Some(value),
            (_, length) => value.checked_add(length as usize),
        };
        match end {
            Some(end) if end <= dataset.len() => at = end,
            _ => break,
        }
    }
    found
}

/// VRs whose length is 16 bits wide (PS3.5 7.1.2).
const SHORT: [&[u8; 2]; 21] = [
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN",
    b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US",
];

/// Behind the delimiter of a sequence in Implicit VR Little Endian that begins at `at`.
fn implicit_end(dataset: &[u8], mut at: usize, elements: &mut usize) -> Option<usize> {
    let mut open = 1_usize;
    // An empty sequence is its delimiter alone; everything else begins with an item.
    matches!(tag_at(dataset, at, false)?, ITEM | SEQUENCE_END).then_some(())?;
    loop {
        *elements += 1;
        let (tag, length) = (tag_at(dataset, at, false)?, u32_at(dataset, at + 4, false)?);
        at += 8;
        if tag == SEQUENCE_END {
            open -= 1;
            if open == 0 {
                return (at <= dataset.len()).then_some(at);
            }
        } else if length == UNDEFINED {
            open += usize::from(tag != ITEM);
        } else if tag.group() != 0xfffe || tag == ITEM {
            at = at.checked_add(length as usize)?;
        }
        if open > MAX_DEPTH || *elements > MAX_ELEMENTS {
            return None;
        }
    }
}

/// Behind the delimiter of encapsulated pixel data whose items begin at `at`.
fn fragments_end(
    dataset: &[u8],
    mut at: usize,
    big_endian: bool,
    elements: &mut usize,
) -> Option<usize> {
    loop {
        *elements += 1;
        let tag = tag_at(dataset, at, big_endian)?;
        let length = u32_at(dataset, at + 4, big_endian)?;
        at += 8;
        match tag {
            SEQUENCE_END => return Some(at),
            ITEM if *elements <= MAX_ELEMENTS => at = at.checked_add(length as usize)?,
            _ => return None,
        }
    }
}

fn tag_at(dataset: &[u8], at: usize, big_endian: bool) -> Option<Tag> {
    let [a, b, c, d] = *dataset.get(at..at.checked_add(4)?)?.as_array()?;
    let word = if big_endian { u16::from_be_bytes } else { u16::from_le_bytes };
    Some(Tag(word([a, b]), word([c, d])))
}

fn u32_at(dataset: &[u8], at: usize, big_endian: bool) -> Option<u32> {
    let field = *dataset.get(at..at.checked_add(4)?)?.as_array()?;
    Some(if big_endian { u32::from_be_bytes(field) } else { u32::from_le_bytes(field) })
}

/// Reads the sequences among the UN elements of a data set that PS3.6 knows.
///
/// What is no sequence after all, or has too many elements, stays a UN of unknown content.
pub(super) fn read_known_sequences(object: &mut InMemDicomObject) {
    let mut elements = 0;
    let unknown: Vec<Tag> =
        object.iter().filter(|element| element.vr() == VR::UN).map(|e| e.tag()).collect();
    for tag in unknown {
        let entry = StandardDataDictionary.by_tag(tag);
        if entry.is_none_or(|entry| entry.vr != VirtualVr::Exact(VR::SQ)) {
            continue;
        }
        let Some(bytes) = object.get(tag).and_then(|element| element.to_bytes().ok()) else {
            continue;
        };
        let header = [tag.group().to_le_bytes(), tag.element().to_le_bytes(), [0xff; 2], [0xff; 2]];
        let mut content = header.concat();
        content.extend_from_slice(&bytes);
        // A UN of defined length has no delimiter; one too many ends nothing.
        if !bytes.ends_with(&DELIMITER) {
            content.extend_from_slice(&DELIMITER);
        }
        let Ok(walked) = walk(&content, Syntax::IMPLICIT) else { continue };
        elements += walked.elements;
        if elements > MAX_ELEMENTS {
            return;
        }
        let Ok(mut read) = Syntax::IMPLICIT.read(&content) else { continue };
        if let Some(element) = read.take(tag)
            && let Value::Sequence(sequence) = element.into_value()
        {
            let sequence = DataSetSequence::new(sequence.into_items(), Length::UNDEFINED);
            object.put(DataElement::new(tag, VR::SQ, sequence));
        }
    }
}

const DELIMITER: [u8; 8] = [0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0];
