//! One folder a class: an image's label is the nearest folder above it that is named as one of the
//! classes asked for. Other names are not labels: in an archive they are patients.
//!
//! This file must never guess a patient: without `--patient` only a DICOM file's own Patient ID
//! counts, which is read later.

use std::path::Path;

use super::{Found, Item, images};
use crate::prepare::{PrepareError, PrepareOptions};

pub(super) fn find(options: &PrepareOptions) -> Result<Found, PrepareError> {
    let mut found = Found::default();
    for path in images(options, &mut found) {
        let below = path.strip_prefix(&options.source).unwrap_or(&path).parent();
        let mut folders = below.into_iter().flat_map(Path::iter).rev();
        let known = folders.find_map(|folder| {
            options.classes.iter().find(|class| folder.to_str() == Some(class.as_str()))
        });
        // Without a class the readers' list may still have a label for it.
        let label = known.cloned().unwrap_or_default();
        let patient = options.patient.as_ref().and_then(|pattern| {
            let name = path.file_name()?.to_string_lossy().into_owned();
            let captures = pattern.captures(&name)?;
            let found = captures.iter().skip(1).flatten().next().or_else(|| captures.get(0))?;
            Some(found.as_str().to_owned())
        });
        if options.patient.is_some() && patient.is_none() {
            found.leave_out("--patient does not match the file's name");
            continue;
        }
        found.items.push(Item { path, label, patient, view: None, study: None });
    }
    Ok(found)
}
