//! Labels by several readers: `reads.csv` beside the images (image, reader, label).
//!
//! A label is 0, 1 or uncertain. An image is kept if at least two readers read it and all of them
//! say the same 0 or 1. An image is named by its path within the source or by the end of it, as far as
//! that names one image alone. This file must never settle a disagreement, nor guess which image is meant.

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
    let mut leave_out = |reason: &str| *left_out.entry(reason.to_owned()).or_insert(0) += 1;
    let reads = read(options, &items, &mut leave_out)?;
    let mut kept = Vec::new();
    for (mut item, reads) in items.into_iter().zip(reads) {
        if reads.ambiguous {
            leave_out("reads.csv names it by a name that several images have");
            continue;
        }
        match reads.consensus() {
            Some(positive) => {
                item.label = options.classes[usize::from(positive)].clone();
                kept.push(item);
            }
            None => leave_out("no two readers agree"),
        }
    }
    Ok(kept)
}

/// All reads of one image.
#[derive(Default)]
struct Reads {
    readers: BTreeSet<String>,
    labels: BTreeSet<Option<bool>>,
    ambiguous: bool,
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

/// The reads of each item.
fn read(
    options: &PrepareOptions,
    items: &[Item],
    leave_out: &mut impl FnMut(&str),
) -> Result<Vec<Reads>, PrepareError> {
    let named = Names::of(options, items);
    let mut reads: Vec<Reads> = items.iter().map(|_| Reads::default()).collect();
    for row in rows(&options.source, LIST, &["image", "reader", "label"])? {
        let label = match row.get("label") {
            "0" => Some(false),
            "1" => Some(true),
            "uncertain" => None,
            _ => return Err(row.wrong("label is 0, 1 or uncertain")),
        };
        // A person's mark in capitals is the same person's.
        let reader = row.get("reader").to_lowercase();
        if reader.is_empty() {
            return Err(row.wrong("reader is empty; say who read the image"));
        }
        let found = named.find(row.get("image"));
        if found.is_empty() {
            leave_out("a read of an image that is not there");
        }
        for &at in found {
            let image = &mut reads[at];
            image.ambiguous |= found.len() > 1;
            image.readers.insert(reader.clone());
            image.labels.insert(label);
        }
    }
    Ok(reads)
}

/// Items by their path within the source and by each end of it.
struct Names(HashMap<String, Vec<usize>>);

impl Names {
    fn of(options: &PrepareOptions, items: &[Item]) -> Self {
        let mut names: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, item) in items.iter().enumerate() {
            let path = item.path.strip_prefix(&options.source).unwrap_or(&item.path);
            let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
            for from in 0..parts.len() {
                names.entry(parts[from..].join("/")).or_default().push(at);
            }
        }
        Self(names)
    }

    /// The items that a name may mean. Folders in front that the source does not have are a reader's
    /// own.
    fn find(&self, name: &str) -> &[usize] {
        let name = name.replace('\\', "/");
        let parts: Vec<&str> = name.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        let ends = (0..parts.len()).map(|from| parts[from..].join("/"));
        ends.filter_map(|end| self.0.get(&end)).next().map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consensus(reads: &[(&str, Option<bool>)]) -> Option<bool> {
        Reads {
            readers: reads.iter().map(|(reader, _)| (*reader).to_owned()).collect(),
            labels: reads.iter().map(|(_, label)| *label).collect(),
            ambiguous: false,
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
