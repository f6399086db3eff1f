//! How a source folder names images, labels and patients: class folders and the published lists.
//!
//! Each layout gives the same items. This folder must never open an image.

mod chexpert;
mod folders;
mod nih;
mod rsna;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{PrepareError, PrepareOptions};
use crate::imaging::dicom::View;

/// A layout of a source folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// One folder a class: `<class>/<image>`, at any depth.
    #[default]
    Folders,
    /// NIH ChestX-ray14: `Data_Entry_2017.csv`.
    Nih,
    /// RSNA pneumonia challenge 2018: `stage_2_train_labels.csv`.
    Rsna,
    /// CheXpert: `train.csv`, `valid.csv`.
    Chexpert,
}

/// An image that a layout names.
#[derive(Clone, PartialEq, Eq)]
pub struct Item {
    /// Where it lies.
    pub path: PathBuf,
    /// Its class; empty if only `reads.csv` can tell.
    pub label: String,
    /// The patient as the list or the file's name has it: hashed before it is written anywhere.
    pub patient: Option<String>,
    /// The view, where the list has one.
    pub view: Option<View>,
    /// The study, where the list has one: hashed before it is written anywhere.
    pub study: Option<String>,
}

/// What a layout found.
#[derive(Default)]
pub struct Found {
    /// The images.
    pub items: Vec<Item>,
    /// What was left out, by reason.
    pub left_out: BTreeMap<String, usize>,
}

impl Found {
    fn leave_out(&mut self, reason: &str) {
        *self.left_out.entry(reason.to_owned()).or_insert(0) += 1;
    }
}

/// The images of the source.
pub(super) fn find(options: &PrepareOptions) -> Result<Found, PrepareError> {
    let mut found = match options.layout {
        Layout::Folders => folders::find(options),
        Layout::Nih => nih::find(options),
        Layout::Rsna => rsna::find(options),
        Layout::Chexpert => chexpert::find(options),
    }?;
    if found.items.is_empty() {
        return Err(PrepareError::Nothing("is the layout the right one?"));
    }
    // The order of a directory is nobody's promise.
    found.items.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Every file of the source with one of the extensions that images have. What is passed over is
/// counted: links, since they may lead out of the source, pipes, since reading one may never end,
/// and what has another extension. The content decides later what a file is.
fn images(options: &PrepareOptions, found: &mut Found) -> Vec<PathBuf> {
    let mut images = Vec::new();
    for entry in walkdir::WalkDir::new(&options.source) {
        let Ok(entry) = entry else {
            found.leave_out("a folder that cannot be read");
            continue;
        };
        let kind = entry.file_type();
        let extension = entry.path().extension().unwrap_or_default().to_ascii_lowercase();
        if kind.is_dir() {
            continue;
        } else if kind.is_symlink() {
            found.leave_out("a symbolic link, not followed");
        } else if !kind.is_file() {
            found.leave_out("no regular file (a pipe, socket or device)");
        } else if EXTENSIONS.iter().any(|known| extension == *known) {
            images.push(entry.into_path());
        } else if extension != "csv" {
            found.leave_out("another extension than png, jpg, jpeg, dcm, dicom");
        }
    }
    images
}

const EXTENSIONS: [&str; 5] = ["png", "jpg", "jpeg", "dcm", "dicom"];

/// Every image of the source by its file name; of two with one name nobody knows which is meant.
fn by_name(options: &PrepareOptions, found: &mut Found) -> HashMap<String, PathBuf> {
    let mut named: HashMap<String, Option<PathBuf>> = HashMap::new();
    for path in images(options, found) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        named.entry(name).and_modify(|entry| *entry = None).or_insert(Some(path));
    }
    let mut unique = HashMap::new();
    for (name, path) in named {
        match path {
            Some(path) => drop(unique.insert(name, path)),
            None => found.leave_out("several files of one name, in different folders"),
        }
    }
    unique
}

/// A row of a list, its columns by name.
pub(super) struct ListRow {
    list: &'static str,
    line: u64,
    columns: Arc<HashMap<String, usize>>,
    record: csv::StringRecord,
}

impl ListRow {
    /// The trimmed value of a column; empty if the row or the list lacks it.
    pub(super) fn get(&self, column: &str) -> &str {
        let value = self.columns.get(column).and_then(|&at| self.record.get(at));
        value.unwrap_or_default().trim()
    }

    /// An error at this row.
    pub(super) fn wrong(&self, problem: &str) -> PrepareError {
        PrepareError::List { list: self.list, line: self.line, problem: problem.to_owned() }
    }
}

/// All rows of a list, which must have these columns.
pub(super) fn rows(
    folder: &Path,
    list: &'static str,
    needed: &[&str],
) -> Result<Vec<ListRow>, PrepareError> {
    let wrong = |line, problem: String| PrepareError::List { list, line, problem };
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .from_path(folder.join(list))
        .map_err(|error| wrong(0, kind(&error)))?;
    let headers = reader.headers().map_err(|error| wrong(1, kind(&error)))?.clone();
    let columns: HashMap<String, usize> = headers
        .iter()
        .enumerate()
        .map(|(at, name)| (name.trim_start_matches('\u{feff}').trim().to_owned(), at))
        .collect();
    if let Some(missing) = needed.iter().find(|name| !columns.contains_key(**name)) {
        return Err(wrong(1, format!("the column '{missing}' is missing")));
    }
    let columns = Arc::new(columns);
    reader
        .records()
        .map(|record| {
            let record = record.map_err(|error| {
                let line = error.position().map_or(0, csv::Position::line);
                wrong(line, kind(&error))
            })?;
            let line = record.position().map_or(0, csv::Position::line);
            Ok(ListRow { list, line, columns: Arc::clone(&columns), record })
        })
        .collect()
}

/// What is wrong with a list, without a byte of it.
fn kind(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Io(error) => format!("it cannot be read ({})", error.kind()),
        csv::ErrorKind::Utf8 { .. } => "it is not UTF-8".to_owned(),
        _ => "it is no CSV".to_owned(),
    }
}
