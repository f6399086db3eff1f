//! Folds that no patient straddles, with the classes as even as that allows.
//!
//! Greedy, as scikit-learn's `StratifiedGroupKFold`: the patients whose labels are the most uneven
//! are placed first, each where the classes' shares over the folds then differ least. Ties go by
//! the keyed hash, so that the same key gives the same folds.
//! This file must never look at anything but patients and labels.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::Row;

/// The images of one fold, as paths relative to the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fold {
    /// The fold, from 0.
    pub fold: usize,
    /// Images to train on; with a balance, some of them several times or not at all.
    pub training: Vec<String>,
    /// Images to validate on, never balanced.
    pub validation: Vec<String>,
}

/// The fold of each (patient, label), from 0 to `folds` − 1.
pub fn assign(pairs: &[(&str, &str)], folds: usize) -> Vec<usize> {
    let mut classes: Vec<&str> = pairs.iter().map(|(_, label)| *label).collect();
    classes.sort_unstable();
    classes.dedup();
    let class = |label: &str| classes.binary_search(&label).unwrap_or(0);
    let mut patients: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut totals = vec![0.0; classes.len()];
    for (patient, label) in pairs {
        patients.entry(patient).or_insert_with(|| vec![0.0; classes.len()])[class(label)] += 1.0;
        totals[class(label)] += 1.0;
    }
    let mut order: Vec<(&str, &Vec<f64>)> = patients.iter().map(|(p, c)| (*p, c)).collect();
    order.sort_by(|a, b| {
        deviation(b.1).total_cmp(&deviation(a.1)).then_with(|| {
            let size = |counts: &[f64]| counts.iter().sum::<f64>();
            size(b.1).total_cmp(&size(a.1)).then(a.0.cmp(b.0))
        })
    });
    let mut counts = vec![vec![0.0; classes.len()]; folds];
    let mut placed: BTreeMap<&str, usize> = BTreeMap::new();
    for (patient, labels) in order {
        let unevenness = |fold: usize| {
            let spread: f64 = (0..classes.len())
                .map(|class| {
                    let shares: Vec<f64> = (0..folds)
                        .map(|f| counts[f][class] + if f == fold { labels[class] } else { 0.0 })
                        .map(|count| count / totals[class])
                        .collect();
                    deviation(&shares)
                })
                .sum();
            let size: f64 = counts[fold].iter().sum();
            (spread, size)
        };
        let best = (0..folds)
            .min_by(|&a, &b| {
                let ((sa, na), (sb, nb)) = (unevenness(a), unevenness(b));
                // Rounding must not decide between folds that are equally good.
                let close = (sa - sb).abs() < 1e-12;
                if close { na.total_cmp(&nb) } else { sa.total_cmp(&sb) }
            })
            .unwrap_or(0);
        for (count, more) in counts[best].iter_mut().zip(labels) {
            *count += more;
        }
        placed.insert(patient, best);
    }
    pairs.iter().map(|(patient, _)| placed[patient]).collect()
}

fn deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

/// Exactly `wanted` images of each class: the first ones where there are more, all of them over
/// and over where there are fewer.
pub fn balanced(images: &[(&str, &str)], wanted: NonZeroUsize) -> Vec<String> {
    let mut classes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (image, label) in images {
        classes.entry(label).or_default().push(image);
    }
    classes
        .values()
        .flat_map(|images| images.iter().cycle().take(wanted.get()))
        .map(|&image| image.to_owned())
        .collect()
}

/// The lists of every fold.
pub(super) fn lists(rows: &[Row], folds: usize, balance: Option<NonZeroUsize>) -> Vec<Fold> {
    (0..folds)
        .map(|fold| {
            // Images are named by keyed hashes, so that their order is a fixed shuffle.
            let training: Vec<(&str, &str)> = rows
                .iter()
                .filter(|row| row.fold != fold)
                .map(|row| (row.image.as_str(), row.label.as_str()))
                .collect();
            let validation = rows.iter().filter(|row| row.fold == fold);
            Fold {
                fold,
                training: match balance {
                    Some(wanted) => balanced(&training, wanted),
                    None => training.iter().map(|(image, _)| (*image).to_owned()).collect(),
                },
                validation: validation.map(|row| row.image.clone()).collect(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_patient_straddles_and_the_same_images_give_the_same_folds(
            images in prop::collection::vec((0u16..60, 0u8..3), 1..300), folds in 2usize..6,
        ) {
            let texts: Vec<(String, String)> =
                images.iter().map(|(p, l)| (format!("p{p}"), format!("c{}", l % 2))).collect();
            let pairs: Vec<(&str, &str)> =
                texts.iter().map(|(p, l)| (p.as_str(), l.as_str())).collect();
            let assigned = assign(&pairs, folds);
            let mut seen = BTreeMap::new();
            for ((patient, _), fold) in pairs.iter().zip(&assigned) {
                prop_assert!(*fold < folds);
                prop_assert_eq!(*seen.entry(*patient).or_insert(*fold), *fold);
            }
            prop_assert_eq!(assign(&pairs, folds), assigned);
        }
    }

    #[test]
    fn equal_patients_give_equal_folds() {
        let texts: Vec<(String, &str)> = (0..100)
            .map(|i| (format!("p{i}"), if i % 4 == 0 { "NORMAL" } else { "PNEUMONIA" }))
            .collect();
        let pairs: Vec<(&str, &str)> = texts.iter().map(|(p, l)| (p.as_str(), *l)).collect();
        let assigned = assign(&pairs, 5);
        for fold in 0..5 {
            let count = |label: &str| {
                pairs.iter().zip(&assigned).filter(|((_, l), f)| *l == label && **f == fold).count()
            };
            assert_eq!((count("NORMAL"), count("PNEUMONIA")), (5, 15));
        }
    }

    #[test]
    fn a_balance_repeats_the_few_and_cuts_the_many() {
        let images = [("a", "x"), ("b", "x"), ("c", "x"), ("d", "y")];
        let wanted = NonZeroUsize::new(2).unwrap();
        assert_eq!(balanced(&images, wanted), ["a", "b", "d", "d"]);
    }
}
