//! `hilum prepare` in careless hands: nothing is lost, and no name slips in by a folder.

use std::collections::BTreeSet;
use std::fs::File;

use hilum::domain::Digest;
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
fn folders_that_are_named_from_the_working_folder_lie_beside_each_other() {
    let place = filled();
    let folder = place.options.source.parent().unwrap();
    std::fs::write(
        folder.join("steps.toml"),
        "step = [{ op = \"decode\", color = \"gray\" }, { op = \"quantise8\" }]",
    )
    .unwrap();
    let run = |source: &str, destination: &str| {
        std::process::Command::new(env!("CARGO_BIN_EXE_hilum"))
            .current_dir(folder)
            .args(["prepare", source, destination, "--recipe", "steps.toml", "--patient", r"p\d+"])
            .output()
            .unwrap()
    };
    for (source, destination, code) in [
        ("source", "made", 0),
        ("./source", "./made-too", 0),
        ("source", "source/made", 2),
        (".", "new", 2),
    ] {
        let output = run(source, destination);
        assert_eq!(output.status.code(), Some(code), "{source} {destination}: {output:?}");
        let key = folder.join(format!("{destination}.key"));
        assert_eq!(key.exists(), code == 0, "a refused run leaves no key");
    }
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

#[test]
fn images_whose_source_is_gone_are_removed_and_nothing_else() {
    let place = filled();
    place.put("NORMAL/p20.png", &png(20));
    let images = place.options.destination.join("images");
    let names = || {
        let entries = std::fs::read_dir(&images).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect::<BTreeSet<_>>()
    };
    assert_eq!(place.run().removed, 0);
    let before = names();
    // One that somebody made, by a name like ours; one that somebody painted over.
    std::fs::write(images.join(format!("{}.png", "ab".repeat(32))), png(7)).unwrap();
    std::fs::write(images.join("mine.png"), png(8)).unwrap();
    for n in [0, 20] {
        std::fs::remove_file(place.options.source.join(format!("NORMAL/p{n}.png"))).unwrap();
    }
    let rows = place.rows();
    let source = Digest::of(&png(0));
    let gone = rows.iter().find(|row| row.source == source).unwrap();
    std::fs::write(place.options.destination.join(&gone.image), "painted").unwrap();

    let report = place.run();
    assert_eq!((report.prepared, report.removed), (9, 1));
    let after = names();
    assert_eq!(before.difference(&after).count(), 1);
    assert_eq!(after.difference(&before).count(), 2);
    let named: BTreeSet<String> =
        place.rows().iter().map(|row| row.image.replace("images/", "")).collect();
    assert!(named.is_subset(&after) && named.len() == 9);
    assert_eq!(place.run().removed, 0);
}

#[test]
fn an_image_that_a_crash_left_behind_is_known_to_the_next_run() {
    let place = filled();
    place.run();
    let manifest = std::fs::read_to_string(place.options.destination.join("manifest.jsonl"));
    std::fs::remove_file(place.options.source.join("NORMAL/p0.png")).unwrap();
    // As if the run after the removal had ended between the new manifest and its cleaning up.
    let orphan = place.rows().into_iter().find(|row| row.source == Digest::of(&png(0))).unwrap();
    let stale = std::fs::read(place.options.destination.join(&orphan.image)).unwrap();
    assert_eq!(place.run().removed, 1);
    std::fs::write(place.options.destination.join(&orphan.image), stale).unwrap();
    let manifest = manifest.unwrap();
    let line = manifest.lines().find(|line| line.contains(&orphan.image)).unwrap();
    let mut journal: serde_json::Value = serde_json::from_str(line).unwrap();
    journal["patient"] = serde_json::Value::Null;
    let progress = place.options.destination.join("progress.jsonl");
    std::fs::write(progress, format!("{journal}\n")).unwrap();
    assert_eq!(place.run().removed, 1);
    assert!(!place.options.destination.join(&orphan.image).exists());
}

#[cfg(unix)]
#[test]
fn what_is_passed_over_is_counted() {
    let place = filled();
    let source = &place.options.source;
    std::os::unix::fs::symlink(source.join("NORMAL/p0.png"), source.join("NORMAL/p30.png"))
        .unwrap();
    std::os::unix::fs::symlink(source.join("NORMAL"), source.join("MORE")).unwrap();
    let pipe = source.join("NORMAL/p31.png");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
    place.put("NORMAL/p32.tif", b"II*");
    place.put("NORMAL/IM0001", b"no extension");
    place.put("notes.csv", b"a,b");
    let report = place.run();
    assert_eq!(report.prepared, 10);
    for (reason, count) in [
        ("a symbolic link, not followed", 2),
        ("no regular file (a pipe, socket or device)", 1),
        ("another extension than png, jpg, jpeg, dcm, dicom", 2),
    ] {
        assert_eq!(report.left_out[reason], count, "{reason}");
    }
    assert_eq!(report.left_out.len(), 3);
}
