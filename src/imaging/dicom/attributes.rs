//! Single attributes of a data set as plain values.
//!
//! A value that is absent, empty or of the wrong kind is `None`: whether that matters is the
//! reader's finding. This file must never put a value into a message.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::mem::InMemDicomObject;

pub(super) fn integer(object: &InMemDicomObject, tag: Tag) -> Option<i64> {
    object.get(tag)?.to_int::<i64>().ok()
}

pub(super) fn text(object: &InMemDicomObject, tag: Tag) -> Option<String> {
    let value = object.get(tag)?.to_str().ok()?;
    let value = value.trim_matches(['\0', ' ', '\n', '\r', '\t']);
    (!value.is_empty()).then(|| value.to_owned())
}

pub(super) fn numbers(object: &InMemDicomObject, tag: Tag) -> Vec<f64> {
    object.get(tag).and_then(|element| element.to_multi_float64().ok()).unwrap_or_default()
}

pub(super) fn number(object: &InMemDicomObject, tag: Tag) -> Option<f64> {
    numbers(object, tag).first().copied().filter(|value| value.is_finite())
}

pub(super) fn words(object: &InMemDicomObject, tag: Tag) -> Option<Vec<u16>> {
    let element = object.get(tag)?;
    element.to_multi_int::<i64>().ok().map(|values| {
        // US or SS by the pixel representation: the bits are the same.
        values.into_iter().map(|value| value as u16).collect()
    })
}

pub(super) fn first_item(object: &InMemDicomObject, tag: Tag) -> Option<&InMemDicomObject> {
    object.get(tag)?.items()?.first()
}

/// Height of a pixel over its width (PS3.3 C.7.6.3.1.7 and 10.7.1.1); 1 if the file does not say.
pub(super) fn pixel_aspect(object: &InMemDicomObject) -> f64 {
    let spacings =
        [tags::PIXEL_SPACING, tags::IMAGER_PIXEL_SPACING, tags::NOMINAL_SCANNED_PIXEL_SPACING];
    let pair = spacings
        .iter()
        .chain([&tags::PIXEL_ASPECT_RATIO])
        .map(|&tag| numbers(object, tag))
        .find(|values| values.len() == 2 && values.iter().all(|v| v.is_finite() && *v > 0.0));
    // Both attributes name the vertical value first. Beyond 1 : 100 a file is wrong, not an image.
    pair.map(|pair| pair[0] / pair[1])
        .filter(|aspect| (0.01..=100.0).contains(aspect))
        .unwrap_or(1.0)
}
