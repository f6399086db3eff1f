//! RSNA pneumonia challenge 2018: `stage_2_train_labels.csv`, images named by patient.
//!
//! A patient has one image and as many rows as boxes; Target 1 is the positive class. With
//! `stage_2_detailed_class_info.csv` beside it, images that are neither opaque nor normal are left
//! out of the negative class: they are ill in another way. This file must never count a patient twice.

use std::collections::BTreeMap;

use super::{Found, Item, by_name, rows};
use crate::prepare::{PrepareError, PrepareOptions};

const LABELS: &str = "stage_2_train_labels.csv";
const CLASSES: &str = "stage_2_detailed_class_info.csv";

pub(super) fn find(options: &PrepareOptions) -> Result<Found, PrepareError> {
    if !options.source.join(LABELS).is_file() {
        return Err(PrepareError::ListMissing { layout: "rsna", list: LABELS });
    }
    let mut targets: BTreeMap<String, bool> = BTreeMap::new();
    for row in rows(&options.source, LABELS, &["patientId", "Target"])? {
        let positive = match row.get("Target") {
            "0" => false,
            "1" => true,
            _ => return Err(row.wrong("Target is 0 or 1")),
        };
        *targets.entry(row.get("patientId").to_owned()).or_default() |= positive;
    }
    let mut normal: BTreeMap<String, bool> = BTreeMap::new();
    if options.source.join(CLASSES).is_file() {
        for row in rows(&options.source, CLASSES, &["patientId", "class"])? {
            normal.insert(row.get("patientId").to_owned(), row.get("class") == "Normal");
        }
    }
    let mut found = Found::default();
    let images = by_name(options, &mut found);
    for (patient, positive) in targets {
        if !positive && normal.get(&patient) == Some(&false) {
            found.leave_out("no lung opacity and not normal");
            continue;
        }
        let names = ["dcm", "png", "jpg"].map(|extension| format!("{patient}.{extension}"));
        let Some(path) = names.iter().find_map(|name| images.get(name)) else {
            found.leave_out("listed and not there");
            continue;
        };
        found.items.push(Item {
            path: path.clone(),
            label: options.classes[usize::from(positive)].clone(),
            patient: Some(patient),
            view: None,
            study: None,
        });
    }
    Ok(found)
}
