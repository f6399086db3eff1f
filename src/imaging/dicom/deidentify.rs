//! De-identification by the Basic Application Level Confidentiality Profile (PS3.15 Annex E).
//!
//! Every data element at every depth goes through the table of the profile
//! (`confidentiality.csv`); private elements go; UIDs become keyed hashes, so that the images of a
//! study stay together; pixels are kept, and flagged where they seem to hold text.
//! This file must never keep an element of which it does not know that it may be kept.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use dicom_core::header::{DataElement, Header as _};
use dicom_core::value::{DataSetSequence, Value};
use dicom_core::{Length, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::mem::{InMemDicomObject, InMemElement};
use dicom_object::meta::FileMetaTableBuilder;

use super::super::pseudonym::PseudonymKey;
use super::super::text_likeness::{TEXT_LIKENESS_FLAG, text_likeness};
use super::super::{DecodeError, DecodeLimits, DecodeOptions};
use super::attributes::text;
use super::{damaged, file};

/// What is done with an attribute (PS3.15 Table E.1-1a), after the choice below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Remove,
    Empty,
    Dummy,
    Uid,
}

struct Rule {
    tag: u32,
    mask: u32,
    action: Action,
}

/// The profile's table. Where it leaves a choice by the attribute's type in an IOD, the choice is
/// the one that keeps every IOD valid: X/Z empties, X/D, Z/D and X/Z/D put a dummy.
static TABLE: LazyLock<(BTreeMap<u32, Action>, Vec<Rule>)> = LazyLock::new(|| {
    let mut exact = BTreeMap::new();
    let mut masked = Vec::new();
    let rows = include_str!("confidentiality.csv").lines();
    for row in rows.filter(|row| !row.starts_with('#') && !row.starts_with("tag")) {
        let mut fields = row.split(',');
        let mut hex = || u32::from_str_radix(fields.next()?, 16).ok();
        let (Some(tag), Some(mask)) = (hex(), hex()) else { continue };
        let action = match fields.next() {
            Some("X") => Action::Remove,
            Some("Z" | "X/Z") => Action::Empty,
            Some("U" | "X/Z/U*") => Action::Uid,
            // D, Z/D, X/D, X/Z/D.
            _ => Action::Dummy,
        };
        if mask == u32::MAX {
            exact.insert(tag, action);
        } else {
            masked.push(Rule { tag, mask, action });
        }
    }
    (exact, masked)
});

fn action_of(tag: Tag) -> Option<Action> {
    let number = u32::from(tag.group()) << 16 | u32::from(tag.element());
    let (exact, masked) = &*TABLE;
    exact.get(&number).copied().or_else(|| {
        masked.iter().find(|rule| number & rule.mask == rule.tag & rule.mask).map(|r| r.action)
    })
}

/// A de-identified file.
#[derive(Debug, Clone, PartialEq)]
pub struct Deidentified {
    /// A DICOM Part 10 file in the transfer syntax of the source (explicit little endian where
    /// that was deflated).
    pub bytes: Vec<u8>,
    /// What was done.
    pub report: DeidentificationReport,
}

/// What a de-identification did and what is left for a person to look at.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct DeidentificationReport {
    /// Elements that were taken out, private ones included.
    pub removed: u32,
    /// Elements that were emptied.
    pub emptied: u32,
    /// Elements that were given a dummy value.
    pub replaced: u32,
    /// UIDs that were mapped.
    pub uids: u32,
    /// Private elements among the removed.
    pub private: u32,
    /// Whether the file itself says that text is burned in.
    pub burned_in: bool,
    /// Share of the image that looks like text, 0 to 1; `None` if it could not be decoded.
    pub text_likeness: Option<f64>,
}

impl DeidentificationReport {
    /// Whether a person had better look at the pixels before they are passed on.
    pub fn needs_review(&self) -> bool {
        self.burned_in || self.text_likeness.is_none_or(|share| share >= TEXT_LIKENESS_FLAG)
    }
}

/// De-identifies a DICOM file by the basic profile.
///
/// # Errors
/// [`DecodeError`] if the file's data elements cannot be read or written again.
pub fn deidentify(
    bytes: &[u8],
    key: &PseudonymKey,
    limits: &DecodeLimits,
) -> Result<Deidentified, DecodeError> {
    limits.check_length(bytes)?;
    let source = file::whole_dataset(bytes, limits)?;
    let mut report = DeidentificationReport {
        burned_in: text(&source.object, tags::BURNED_IN_ANNOTATION).as_deref() == Some("YES"),
        text_likeness: super::super::decode(bytes, limits, &DecodeOptions::default()).ok().map(
            |decoded| match &decoded.presentation {
                Some(presentation) => text_likeness(&presentation.show_plainly(&decoded.raster)),
                None => text_likeness(&decoded.raster),
            },
        ),
        ..DeidentificationReport::default()
    };
    let mut object = cleaned(source.object, key, &mut report);
    declare(&mut object);
    let sop_class = text(&object, tags::SOP_CLASS_UID).unwrap_or_default();
    let sop_instance = text(&object, tags::SOP_INSTANCE_UID).unwrap_or_default();
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(source.syntax.written_uid(&source.uid))
        .media_storage_sop_class_uid(sop_class)
        .media_storage_sop_instance_uid(sop_instance);
    let unwritable = || damaged("its data elements cannot be written again");
    let file = object.with_meta(meta).map_err(|_| unwritable())?;
    let mut bytes = Vec::new();
    file.write_all(&mut bytes).map_err(|_| unwritable())?;
    Ok(Deidentified { bytes, report })
}

/// A data set without what the profile takes out, at every depth.
fn cleaned(
    object: InMemDicomObject,
    key: &PseudonymKey,
    report: &mut DeidentificationReport,
) -> InMemDicomObject {
    let kept = object.into_iter().filter_map(|element| clean(element, key, report));
    InMemDicomObject::from_element_iter(kept.collect::<Vec<_>>())
}

fn clean(
    element: InMemElement,
    key: &PseudonymKey,
    report: &mut DeidentificationReport,
) -> Option<InMemElement> {
    let (tag, vr) = (element.tag(), element.vr());
    // Odd groups are private; group lengths no longer hold; UN values are of unknown meaning.
    if tag.group() % 2 == 1 || tag.element() == 0 || (vr == VR::UN && action_of(tag).is_none()) {
        report.private += u32::from(tag.group() % 2 == 1);
        report.removed += 1;
        return None;
    }
    match action_of(tag) {
        Some(Action::Remove) => {
            report.removed += 1;
            None
        }
        Some(Action::Empty) => {
            report.emptied += 1;
            Some(empty(tag, vr))
        }
        Some(Action::Dummy) => {
            report.replaced += 1;
            Some(dummy(&element, key))
        }
        Some(Action::Uid) if vr == VR::UI => {
            report.uids += 1;
            Some(mapped_uids(&element, key))
        }
        // X/Z/U*: a sequence of references is kept, the UIDs in it are mapped. A value that is
        // neither is not what the table has in mind, and may hold the UID in another guise.
        Some(Action::Uid) if vr != VR::SQ => {
            report.removed += 1;
            None
        }
        Some(Action::Uid) | None => Some(descend(element, key, report)),
    }
}

/// The element itself, its items cleaned.
fn descend(
    element: InMemElement,
    key: &PseudonymKey,
    report: &mut DeidentificationReport,
) -> InMemElement {
    let (tag, vr) = (element.tag(), element.vr());
    match element.into_value() {
        Value::Sequence(sequence) => {
            let items: Vec<InMemDicomObject> =
                sequence.into_items().into_iter().map(|item| cleaned(item, key, report)).collect();
            DataElement::new(tag, vr, DataSetSequence::new(items, Length::UNDEFINED))
        }
        value => DataElement::new(tag, vr, value),
    }
}

fn empty(tag: Tag, vr: VR) -> InMemElement {
    if vr == VR::SQ {
        let none: Vec<InMemDicomObject> = Vec::new();
        return DataElement::new(tag, vr, DataSetSequence::new(none, Length(0)));
    }
    DataElement::new(tag, vr, PrimitiveValue::Empty)
}

/// A value of the right kind that says nothing. The patient's ID is a keyed hash, so that a
/// patient's images stay together.
fn dummy(element: &InMemElement, key: &PseudonymKey) -> InMemElement {
    let (tag, vr) = (element.tag(), element.vr());
    let value = match vr {
        VR::SQ | VR::OB | VR::OW | VR::OD | VR::OF | VR::OL | VR::OV | VR::UN => {
            return empty(tag, vr);
        }
        VR::UI => return mapped_uids(element, key),
        VR::DA => "19000101".to_owned(),
        VR::TM => "000000".to_owned(),
        VR::DT => "19000101000000".to_owned(),
        VR::AS => "000Y".to_owned(),
        VR::DS | VR::IS => "0".to_owned(),
        VR::US | VR::SS | VR::UL | VR::SL | VR::UV | VR::SV | VR::AT | VR::FL | VR::FD => {
            return empty(tag, vr);
        }
        VR::PN => "ANONYMOUS".to_owned(),
        _ if tag == tags::PATIENT_ID => {
            let id = element.to_str().unwrap_or_default();
            key.text("patient", id.trim_matches(['\0', ' ']).as_bytes())
        }
        _ => "REMOVED".to_owned(),
    };
    DataElement::new(tag, vr, PrimitiveValue::from(value))
}

/// Each UID's keyed hash; those that the standard itself assigns are no one's secret and stay.
fn mapped_uids(element: &InMemElement, key: &PseudonymKey) -> InMemElement {
    let uids = element.to_multi_str().unwrap_or_default();
    let mapped: Vec<String> = uids
        .iter()
        .map(|uid| uid.trim_matches(['\0', ' ']))
        .map(|uid| match uid {
            "" => String::new(),
            uid if uid.starts_with("1.2.840.10008.") => uid.to_owned(),
            uid => key.uid(uid),
        })
        .collect();
    let value = PrimitiveValue::Strs(mapped.into_iter().collect());
    DataElement::new(element.tag(), element.vr(), value)
}

/// Says in the object that and how it was de-identified (PS3.15 E.1.1 step 6, PS3.16 CID 7050).
fn declare(object: &mut InMemDicomObject) {
    let code = InMemDicomObject::from_element_iter([
        DataElement::new(tags::CODE_VALUE, VR::SH, PrimitiveValue::from("113100")),
        DataElement::new(tags::CODING_SCHEME_DESIGNATOR, VR::SH, PrimitiveValue::from("DCM")),
        DataElement::new(
            tags::CODE_MEANING,
            VR::LO,
            PrimitiveValue::from("Basic Application Confidentiality Profile"),
        ),
    ]);
    object.put(DataElement::new(
        tags::PATIENT_IDENTITY_REMOVED,
        VR::CS,
        PrimitiveValue::from("YES"),
    ));
    object.put(DataElement::new(
        tags::DEIDENTIFICATION_METHOD,
        VR::LO,
        PrimitiveValue::from("Hilum, PS3.15 basic profile"),
    ));
    object.put(DataElement::new(
        tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE,
        VR::SQ,
        DataSetSequence::new(vec![code], Length::UNDEFINED),
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole_and_says_what_the_standard_says() {
        let (exact, masked) = &*TABLE;
        assert_eq!((exact.len(), masked.len()), (652, 3));
        for (tag, action) in [
            (tags::PATIENT_NAME, Action::Empty),
            (tags::PATIENT_BIRTH_DATE, Action::Empty),
            (tags::INSTITUTION_NAME, Action::Dummy),
            (tags::PATIENT_ADDRESS, Action::Remove),
            (tags::STUDY_INSTANCE_UID, Action::Uid),
            (tags::REFERENCED_IMAGE_SEQUENCE, Action::Uid),
            (Tag(0x5012, 0x3000), Action::Remove),
            (Tag(0x6002, 0x3000), Action::Remove),
        ] {
            assert_eq!(action_of(tag), Some(action), "{tag}");
        }
        assert_eq!(action_of(tags::ROWS), None);
        assert_eq!(action_of(tags::PIXEL_DATA), None);
    }
}
