//! NIH ChestX-ray14 (Wang et al. 2017): `Data_Entry_2017.csv`, images by name in any folder.
//!
//! The positive class has the finding Pneumonia; the negative one has No Finding; images with
//! other findings only are neither and are left out. This file must never read a finding out of an
//! image's name.

use super::{Found, Item, by_name, rows};
use crate::imaging::dicom::View;
use crate::prepare::{PrepareError, PrepareOptions};

const LISTS: [&str; 2] = ["Data_Entry_2017.csv", "Data_Entry_2017_v2020.csv"];

pub(super) fn find(options: &PrepareOptions) -> Result<Found, PrepareError> {
    let list = LISTS.into_iter().find(|list| options.source.join(list).is_file());
    let list = list.ok_or(PrepareError::ListMissing { layout: "nih", list: LISTS[0] })?;
    let needed = ["Image Index", "Finding Labels", "Patient ID", "View Position"];
    let mut found = Found::default();
    let images = by_name(options, &mut found);
    for row in rows(&options.source, list, &needed)? {
        let findings: Vec<&str> = row.get("Finding Labels").split('|').map(str::trim).collect();
        let class = if findings.contains(&"Pneumonia") {
            1
        } else if findings == ["No Finding"] {
            0
        } else {
            found.leave_out("other findings");
            continue;
        };
        if row.get("Patient ID").is_empty() {
            return Err(row.wrong("Patient ID is empty"));
        }
        let Some(path) = images.get(row.get("Image Index")) else {
            found.leave_out("listed and not there");
            continue;
        };
        found.items.push(Item {
            path: path.clone(),
            label: options.classes[class].clone(),
            patient: Some(row.get("Patient ID").to_owned()),
            view: Some(View::of(row.get("View Position"))),
            study: None,
        });
    }
    Ok(found)
}
