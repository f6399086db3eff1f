//! Coded views and body regions: SNOMED CT and the SNOMED-RT style codes that came before it.
//!
//! Codes are those of PS3.16, CID 4010 (DX View) and CID 4009 and 4031 (regions), and their parts.
//! This file must never put a code or its meaning into a message.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_object::mem::InMemDicomObject;

use super::attributes::{first_item, text};
use super::facts::View;

/// Coding scheme designators of SNOMED (PS3.16 table 8-1), the two retired ones too.
const SNOMED: [&str; 4] = ["SCT", "SRT", "SNM3", "99SDM"];

// A concept a line, its codes side by side.
#[rustfmt::skip]
const LATERAL: [&str; 12] = [
    "399067008", "R-102CD", // lateral
    "399198007", "R-10232", // right lateral
    "399173006", "R-10236", // left lateral
    "399352003", "R-10228", // lateral-medial
    "399260004", "R-10224", // medial-lateral
    "30730003", "G-A145", // sagittal
];
const AP: [&str; 2] = ["399348003", "R-10206"];
const PA: [&str; 3] = ["272479007", "R-10214", "R-40888"];

/// Regions that are the chest, lie within it around the lungs, or hold it.
#[rustfmt::skip]
const CHEST: &[&str] = &[
    "51185008", "T-D3000", "816094009", "302551006", // thorax
    "43799004", "T-D3200", // cavity of the chest
    "78904004", "T-D3050", // wall of the chest
    "39607008", "T-28000", "3341006", "44029006", "74101002", // lungs
    "86598002", "T-280A0", // apex of the lung
    "3120008", "T-29000", // pleura
    "113197003", "T-11300", "272710004", "T-D0170", // ribs, bones of the thorax
    "417437006", "R-FAB52", // with neck
    "416152001", "R-FAB53", // with neck and abdomen
    "416319003", "R-FAB54", // with neck, abdomen and pelvis
    "416550000", "R-FAB55", // with abdomen
    "416775004", "R-FAB56", // with abdomen and pelvis
];

/// The view of View Code Sequence (0054,0220), if there is one.
pub(super) fn view(object: &InMemDicomObject) -> Option<View> {
    let item = first_item(object, tags::VIEW_CODE_SEQUENCE)?;
    match snomed(item).as_deref() {
        Some(code) if LATERAL.contains(&code) => return Some(View::Lateral),
        Some(code) if AP.contains(&code) => return Some(View::Ap),
        Some(code) if PA.contains(&code) => return Some(View::Pa),
        _ => {}
    }
    // The code's meaning, such as "postero-anterior".
    Some(View::of(&text(item, tags::CODE_MEANING)?))
}

/// Whether Anatomic Region Sequence (0008,2218) names the chest. A code of another scheme whose
/// meaning does not name it says nothing: it may be in any language.
pub(super) fn is_chest(object: &InMemDicomObject, names_it: fn(&str) -> bool) -> Option<bool> {
    let item = first_item(object, tags::ANATOMIC_REGION_SEQUENCE)?;
    let code = snomed(item);
    let by_code = code.as_deref().map(|code| CHEST.contains(&code));
    if by_code == Some(true) || text(item, tags::CODE_MEANING).is_some_and(|m| names_it(&m)) {
        return Some(true);
    }
    by_code
}

/// The item's code, if it is SNOMED's.
fn snomed(item: &InMemDicomObject) -> Option<String> {
    let of = |tag: Tag| text(item, tag);
    let scheme = of(tags::CODING_SCHEME_DESIGNATOR)?;
    SNOMED.contains(&scheme.as_str()).then(|| of(tags::CODE_VALUE)).flatten()
}
