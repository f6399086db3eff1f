//! Labels by several readers: `reads.csv` beside the images (image, reader, label).
//!
//! A label is 0, 1 or uncertain. An image is kept if at least two readers read it and all of them
//! say the same 0 or 1. This file must never settle a disagreement.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::layout::{Item, rows};
use super::{PrepareError, PrepareOptions};

const LIST: &str = "reads.csv";

/// The items with their labels by `reads.csv`; as they were if there is none.
pub(super) fn consolidated(
    options: &PrepareOptions,
    items: Vec<Item>,
    left_out: &mut BTreeMap<String, usize>,
) -> Result<Vec<Item>, PrepareError> {
    if !options.source.join(LIST).is_file() {
        let mut kept = Vec::new();
        for item in items {
            if item.label.is_empty() {
                *left_out
                    .entry("no label: in no folder that --classes names".to_owned())
                    .or_insert(0) += 1;
            } else {
                kept.push(item);
            }
        }
        return Ok(kept);
    }
    if options.classes.len() != 2 {
        return Err(PrepareError::Classes(options.classes.len()));
    }
    let reads = read(options)?;
    let mut kept = Vec::new();
    for mut item in items {
        let name = item.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match reads.get(&name).and_then(Reads::consensus) {
            Some(positive) => {
                item.label = options.classes[usize::from(positive)].clone();
                kept.push(item);
            }
            None => *left_out.entry("no two readers agree".to_owned()).or_insert(0) += 1,
        }
    }
    Ok(kept)
}

/// All reads of one image.
#[derive(Default)]
struct Reads {
    readers: BTreeSet<String>,
    labels: BTreeSet<Option<bool>>,
}

impl Reads {
    fn consensus(&self) -> Option<bool> {
        let labels: Vec<_> = self.labels.iter().copied().collect();
        match labels.as_slice() {
            [Some(label)] if self.readers.len() >= 2 => Some(*label),
            _ => None,
        }
    }
}

fn read(options: &PrepareOptions) -> Result<HashMap<String, Reads>, PrepareError> {
    let mut reads: HashMap<String, Reads> = HashMap::new();
    for row in rows(&options.source, LIST, &["image", "reader", "label"])? {
        let label = match row.get("label") {
            "0" => Some(false),
            "1" => Some(true),
            "uncertain" => None,
            _ => return Err(row.wrong("label is 0, 1 or uncertain")),
        };
        // A folder before the name is the reader's matter.
        let name = row.get("image").rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
        let image = reads.entry(name).or_default();
        image.readers.insert(row.get("reader").to_owned());
        image.labels.insert(label);
    }
    Ok(reads)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consensus(reads: &[(&str, Option<bool>)]) -> Option<bool> {
        Reads {
            readers: reads.iter().map(|(reader, _)| (*reader).to_owned()).collect(),
            labels: reads.iter().map(|(_, label)| *label).collect(),
        }
        .consensus()
    }

    #[test]
    fn two_readers_who_agree_are_needed() {
        assert_eq!(consensus(&[("a", Some(true)), ("b", Some(true))]), Some(true));
        assert_eq!(consensus(&[("a", Some(false)), ("b", Some(false))]), Some(false));
        assert_eq!(consensus(&[("a", Some(true)), ("a", Some(true))]), None);
        assert_eq!(consensus(&[("a", Some(true)), ("b", Some(false))]), None);
        assert_eq!(consensus(&[("a", Some(true)), ("b", Some(true)), ("c", None)]), None);
        assert_eq!(consensus(&[("a", None), ("b", None)]), None);
    }
}
