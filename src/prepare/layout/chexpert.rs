//! CheXpert (Irvin et al. 2019): `train.csv` and `valid.csv` with a path, a view and findings.
//!
//! Pneumonia 1 is the positive class, No Finding 1 the negative one; −1 (uncertain) and blanks are
//! neither. The patient stands in the path. Lateral images keep their view and are left out by
//! `--view`. This file must never follow a path out of the source folder.

use super::{Found, Item, ListRow, rows};
use crate::imaging::dicom::View;
use crate::prepare::{PrepareError, PrepareOptions};

const LISTS: [&str; 2] = ["train.csv", "valid.csv"];

pub(super) fn find(options: &PrepareOptions) -> Result<Found, PrepareError> {
    let needed = ["Path", "Frontal/Lateral", "AP/PA", "No Finding", "Pneumonia"];
    let mut found = Found::default();
    let mut lists = 0;
    for list in LISTS {
        if !options.source.join(list).is_file() {
            continue;
        }
        lists += 1;
        for row in rows(&options.source, list, &needed)? {
            add(options, &row, &mut found)?;
        }
    }
    if lists == 0 {
        return Err(PrepareError::ListMissing { layout: "chexpert", list: LISTS[0] });
    }
    Ok(found)
}

fn add(options: &PrepareOptions, row: &ListRow, found: &mut Found) -> Result<(), PrepareError> {
    let says = |column: &str| row.get(column).parse::<f32>().ok();
    let class = match (says("Pneumonia"), says("No Finding")) {
        (Some(1.0), _) => 1,
        (_, Some(1.0)) => 0,
        (Some(-1.0), _) => {
            found.leave_out("uncertain");
            return Ok(());
        }
        _ => {
            found.leave_out("other findings");
            return Ok(());
        }
    };
    let path = row.get("Path");
    let patient = path.split('/').find(|part| part.starts_with("patient"));
    let patient = patient.ok_or_else(|| row.wrong("Path names no patient folder"))?;
    // The published path begins with the data set's own folder.
    let below = path.split_once('/').map_or(path, |(_, below)| below);
    let inside = |path: &str| !path.split('/').any(|part| part == "..") && !path.starts_with('/');
    let candidates = [path, below].into_iter().filter(|path| inside(path));
    let mut candidates = candidates.map(|path| (path, options.source.join(path)));
    let Some((named, path)) = candidates.find(|(_, path)| path.is_file()) else {
        found.leave_out("listed and not there");
        return Ok(());
    };
    let root = options.source.canonicalize().ok();
    if path.canonicalize().ok() != root.map(|root| root.join(named)) {
        found.leave_out("a symbolic link, not followed");
        return Ok(());
    }
    // Studies are numbered for each patient.
    let study = named.split('/').find(|part| part.starts_with("study"));
    let study = study.map(|study| format!("{patient}/{study}"));
    let view = match row.get("Frontal/Lateral") {
        "Lateral" => View::Lateral,
        _ => View::of(row.get("AP/PA")),
    };
    found.items.push(Item {
        path,
        label: options.classes[class].clone(),
        patient: Some(patient.to_owned()),
        view: Some(view),
        study,
    });
    Ok(())
}
