//! `hilum prepare` in careless hands: nothing is lost, and no name slips in by a folder.

use std::fs::File;

use hilum::prepare::layout::Layout;
use hilum::prepare::{PrepareError, prepare};

use super::deidentify::holds;
use super::prepare::{Workplace, every_file, png};

fn filled() -> Workplace {
    let place = Workplace::new();
    for n in 0..10 {
        let class = if n % 2 == 0 { "NORMAL" } else { "PNEUMONIA" };
        place.put(&format!("{class}/p{n}.png"), &png(n));
    }
    place
}

fn error(place: &Workplace) -> PrepareError {
    prepare(&place.options, &|_| {}).unwrap_err()
}

#[test]
fn a_folder_that_is_no_class_is_no_label() {
    let place = filled();
    place.put("SECRETNAME^John/p70.png", &png(70));
    let report = place.run();
    assert_eq!(report.prepared, 10);
    assert_eq!(report.left_out["no label: in no folder that --classes names"], 1);
    let said = serde_json::to_vec(&report).unwrap();
    assert!(!holds(&said, "SECRETNAME"));
    for (name, bytes) in every_file(&place.options.destination) {
        assert!(!holds(&bytes, "SECRETNAME"), "{name}");
    }
}

#[test]
fn a_forgotten_option_leaves_what_is_there() {
    let mut place = filled();
    place.run();
    let before = every_file(&place.options.destination);
    place.options.patient = None;
    let text = error(&place).to_string();
    assert!(text.contains("no patient known: give --patient: 10"), "{text}");
    let mut after = every_file(&place.options.destination);
    after.retain(|name, _| before.contains_key(name));
    assert_eq!(before, after);
}

#[test]
fn source_and_destination_may_not_lie_in_each_other() {
    let mut place = filled();
    let source = place.options.source.clone();
    for destination in [source.clone(), source.join("out"), source.join("a/b"), source.join("..")] {
        place.options.destination = destination;
        assert!(matches!(error(&place), PrepareError::Nested));
    }
    place.options.destination = source.with_file_name("source-prepared");
    assert_eq!(place.run().prepared, 10);
}

#[test]
fn an_image_that_is_not_what_was_written_is_made_again() {
    let place = filled();
    place.run();
    let before = every_file(&place.options.destination);
    let image = place.options.destination.join(&place.rows()[3].image);
    std::fs::write(&image, "x").unwrap();
    let report = place.run();
    assert_eq!((report.prepared, report.resumed), (10, 9));
    let after = every_file(&place.options.destination);
    let key = image.display().to_string();
    assert_eq!(before[&key], after[&key]);
}

#[test]
fn one_run_at_a_time_works_in_a_destination() {
    let place = filled();
    place.run();
    let lock = File::open(place.options.destination.join(".lock")).unwrap();
    lock.lock().unwrap();
    assert!(matches!(error(&place), PrepareError::Busy));
    drop(lock);
    assert_eq!(place.run().resumed, 10);
}

#[test]
fn classes_are_two_or_more_and_exactly_two_for_lists() {
    let mut place = filled();
    for (classes, layout) in [
        (vec!["NORMAL"], Layout::Folders),
        (vec!["A", "A"], Layout::Folders),
        (vec!["A", "B", "C"], Layout::Nih),
    ] {
        place.options.classes = classes.into_iter().map(str::to_owned).collect();
        place.options.layout = layout;
        assert!(matches!(error(&place), PrepareError::Classes(_)));
    }
    place.options.layout = Layout::Folders;
    place.options.classes = ["NORMAL", "PNEUMONIA", "OTHER"].map(str::to_owned).to_vec();
    assert_eq!(place.run().labels.len(), 2);
}
