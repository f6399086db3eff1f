//! Each rule seen to fail: small houses in temporary folders, each with one planted breach.
//!
//! A sound house passes first, so that a breach is the plant's alone. This file must never rely on
//! the real `src/`.

use crate::rules::{Allowances, Breach, FILE_LINES, MAIN_LINES, Rule, inspect};
use std::path::Path;

const PAGE: &str = "# A house

## Floors
| floor | room | what lives there |
|---|---|---|
| 1 | `ground` | words |
| 2 | `cellar`, `attic` | two neighbours |
| 3 | `tower` | the view |
| 4 | `main.rs` | the door |

Planned rooms: `garden`, later.

## Third-party gates
| crate | only in |
|---|---|
| `ort` | `cellar` |
| `tonic`, `tonic_*` | `tower`, `garden` |
| `prost` | `tower`, `attic/wire.rs` |
| `dicom*` | `attic/dicom` |
| `clap` | `main.rs` |

### Held by
| | what | test |
|---|---|---|
| 1 | doors open | `ground::opens` |
";

const DOC: &str = "//! What it is for.\n//! It must\n//! never sing.\n";

/// A sound house, with `extra` files added or put in place of its own.
fn house(page: &str, extra: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let sound = [
        ("lib.rs", "pub mod attic;\npub mod cellar;\npub mod ground;\npub mod tower;\n"),
        ("main.rs", "use hilum::tower::View;\nfn main() { clap::run(View) }\n"),
        ("ground.rs", "pub struct Word;\nfn opens() {}\n"),
        ("cellar/mod.rs", "mod wine;\nuse crate::ground::Word;\nuse ort::Session;\n"),
        ("cellar/wine.rs", "use super::super::ground;\nuse super::Rack;\n"),
        ("attic/mod.rs", "mod dicom;\nmod wire;\npub use dicom::Reader;\n"),
        ("attic/wire.rs", "use prost::Message;\n"),
        ("attic/dicom/mod.rs", "use dicom_object::open;\n"),
        ("tower.rs", "use crate::{attic::Reader, cellar::{self, wine}, ground::*};\n"),
    ];
    std::fs::write(folder.path().join("ARCHITECTURE.md"), page).unwrap();
    std::fs::write(folder.path().join("Cargo.toml"), "[dependencies]\nort = \"2\"\n").unwrap();
    for (name, body) in sound {
        write(folder.path(), name, &format!("{DOC}{body}"));
    }
    for (name, text) in extra {
        write(folder.path(), name, text);
    }
    folder
}

fn write(root: &Path, name: &str, text: &str) {
    let path = root.join("src").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn breaches(extra: &[(&str, &str)]) -> Vec<Breach> {
    inspect(house(PAGE, extra).path(), &Allowances::default()).unwrap()
}

/// Plants `body` below a sound doc comment and demands that `rule` alone fails, only on the line of
/// `body` given (from 1; 0 for the whole file).
fn caught(rule: Rule, file: &str, body: &str, line: usize) {
    let found = breaches(&[(file, &format!("{DOC}{body}\n"))]);
    let wanted = if line == 0 { 0 } else { line + DOC.lines().count() };
    let mut seen: Vec<_> = found.iter().map(|b| (b.rule, b.file.as_str(), b.line)).collect();
    seen.dedup();
    assert_eq!(seen, [(rule, file, wanted)], "{body}\n{found:?}");
}

fn passes(file: &str, body: &str) {
    let found = breaches(&[(file, &format!("{DOC}{body}\n"))]);
    assert!(found.is_empty(), "{body}\n{found:?}");
}

#[test]
fn a_sound_house_passes() {
    let found = breaches(&[]);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_room_uses_no_neighbour_and_no_later_floor() {
    for body in [
        "use crate::tower::View;",
        "use crate::attic;",
        "use crate::attic as roof;",
        "use crate::{ground::Word, attic::{wire::{self, X}}};",
        "use {crate::tower::View};",
        "use super::tower::View;",
        "use self::super::tower;",
        "pub use crate::r#tower;",
        "fn f() { use crate::tower::View; }",
        "fn f() -> crate::tower::View { todo!() }",
        "fn f() { let x = crate::tower::view(); }",
        "fn f() { g(|x| -> u8 { crate::tower::view(x) }) }",
        "fn f() { return crate::tower::view(); }",
        "impl crate::tower::View for X {}",
        "fn f() { let x = <X as crate::tower::View>::new(); }",
        "fn f() { println!(\"{}\", crate::tower::HEIGHT); }",
        "macro_rules! m { () => { $crate::tower::view() }; }",
        "macro_rules! m { ($x:ident) => { use $crate::{ground, tower::$x}; }; }",
        "macro_rules! m { ($x:ident) => { crate::$x::view() }; }",
        "macro_rules! m { ($ground:ident) => { crate::$ground::view() }; }",
        "m!(crate::{tower});",
        "#[derive(crate::tower::View)] struct S;",
        "#[serde(with = \"crate::tower::view\")] struct S;",
        "pub(in crate::tower) struct S;",
        "mod inner { use super::super::tower::View; }",
        "mod inner { mod deeper { use super::super::super::tower::View; } }",
        "#[cfg(test)] mod tests { use crate::tower::View; }",
        "#[cfg(test)] mod tests { fn f() { super::super::tower::view() } }",
        "use hilum::tower::View;",
        "use ::hilum::tower::View;",
        "use crate::library::Thing;",
        "crate::exported_macro!();",
        "use crate::*;",
        "use crate as house;",
        "use crate::{self as house};",
        "use super::*;",
        "mod inner { use super::super as house; }",
        "extern crate self as house;",
    ] {
        caught(Rule::Floors, "cellar/mod.rs", &format!("mod wine;\n{body}"), 2);
    }
    caught(Rule::Floors, "cellar/wine.rs", "\nuse super::super::tower::View;", 2);
    caught(Rule::Floors, "tower.rs", "use super::library;", 1);
    caught(Rule::Floors, "main.rs", "use hilum::library::Thing;\nfn main() {}", 1);
    caught(Rule::Floors, "main.rs", "use hilum as house;\nfn main() {}", 1);
}

#[test]
fn what_is_no_use_of_a_room_does_not_count() {
    for body in [
        "// use crate::tower::View;",
        "/* crate::tower::view() */",
        "/// As [`crate::tower::View`] does, over tonic::Status.\nstruct S;",
        "#[doc = \"crate::tower::View\"] struct S;",
        "const S: &str = \"use crate::tower::View;\";",
        "const S: &str = r#\"crate::tower\"#;",
        "const S: &[u8] = b\"crate::tower\"; const C: char = ':';",
        "pub(crate) struct S; pub(super) struct T; pub(in crate::cellar) struct U;",
        "pub(crate) mod racks { pub(in super::super) struct S; }",
        "use crate::cellar::wine;\nfn f() { self::wine::pour() }",
        "mod inner { use super::super::ground::Word; use super::*; }",
        "fn f<'a>(x: &'a str) -> impl Iterator<Item = u8> + use<'a> { g::<Vec<u8>>(x) }",
        "fn tower() { let tower = attic(); tower.attic::<u8>(); Tower::tower() }",
        "use crate::ground::tower; fn f() { tower::view() }",
        "use crate::ground::hilum; fn f() { hilum::v1::view() }",
        "#[error(\"{0}: use crate::tower\")] struct S;",
    ] {
        passes("cellar/mod.rs", body);
    }
    passes("lib.rs", "pub mod tower;\npub use tower::View;\npub use crate::ground::*;");
}

#[test]
fn a_crate_stays_behind_its_gate() {
    for body in [
        "use ort::Session;",
        "use ort;",
        "use ort as runtime;",
        "use ::ort::Session;",
        "use {std::fs, ort::{self, Session}};",
        "extern crate ort;",
        "extern crate ort as runtime;",
        "fn f() { ort::init() }",
        "fn f() -> ::ort::Result { g(|| return ::std::x()) }",
        "fn f() { let x: Box<dyn ::ort::Engine> = g(); }",
        "fn f() { vec![ort::init()] }",
        "macro_rules! m { () => { ort::init() }; }",
        "#[ort::main] fn f() {}",
        "#[derive(ort::Engine)] struct S;",
        "#[serde(with = \"ort::serde\")] struct S;",
        "#[cfg(test)] mod tests { use ort::Session; }",
        "use tonic::Status;",
        "use tonic_health::server;",
        "use prost::Message;",
        "use dicom::object;",
        "use dicom_pixeldata::decode;",
        "use clap::Parser;",
    ] {
        caught(Rule::Gates, "attic/mod.rs", &format!("\n{body}"), 2);
    }
    caught(Rule::Gates, "lib.rs", "pub mod tower;\npub use ort::Session;", 2);
    caught(Rule::Gates, "attic/wired.rs", "use prost::Message;", 1);
    caught(Rule::Gates, "attic/dicom_index.rs", "use dicom_object::open;", 1);
    for body in [
        "/// Speaks to ort::Session by tonic::Status.\nstruct S;",
        "// use ort::Session;",
        "const S: &str = \"ort::Session\";",
        "mod ort; pub use ort::Session;",
        "use self::wire::ort; fn f() { ort::run() }",
        "fn ort(ort: u8) { s.ort.tonic(ort) }",
        "use sort::ort;",
        "use prostate::Gland; use orthanc::Client;",
    ] {
        passes("attic/mod.rs", body);
    }
    passes("attic/dicom.rs", "use dicom_object::open;");
    passes("main.rs", "use clap::Parser;\nfn main() {}");
}

#[test]
fn a_crate_is_not_passed_on_past_its_gate() {
    for body in [
        "pub use ort;",
        "pub(crate) use ort::Session;",
        "pub use {std::fs, ort::*};",
        "pub extern crate ort;",
        "pub(in crate::cellar) use ort::Session as Run;",
    ] {
        caught(Rule::Gates, "cellar/wine.rs", body, 1);
    }
    passes("cellar/wine.rs", "pub struct S(ort::Session);\nuse ort::Session;\npub use std::fs;");

    for (dependency, count) in [
        ("[dependencies.runtime]\npackage = \"ort\"", 1),
        ("[target.'cfg(unix)'.dev-dependencies]\nhealth = { package = \"tonic-health\" }", 1),
        ("[dependencies]\nort = { version = \"2\", package = \"ort\" }", 0),
        ("[dependencies]\nfiles = { package = \"tempfile\" }\n[package]\nname = \"ort\"", 0),
    ] {
        let folder = house(PAGE, &[]);
        std::fs::write(folder.path().join("Cargo.toml"), dependency).unwrap();
        let found = inspect(folder.path(), &Allowances::default()).unwrap();
        assert_eq!(found.len(), count, "{dependency}\n{found:?}");
        assert!(found.iter().all(|breach| breach.rule == Rule::Gates));
    }
}

#[test]
fn the_table_and_the_rooms_are_the_same() {
    let found = breaches(&[("shed/mod.rs", DOC), ("garden.rs", DOC), ("bin/tool.rs", DOC)]);
    let seen: Vec<_> = found.iter().map(|b| (b.rule, b.file.as_str())).collect();
    assert_eq!(seen, [(Rule::Rooms, "bin"), (Rule::Rooms, "garden"), (Rule::Rooms, "shed")]);

    let page = PAGE.replace("| `tower` |", "| `tower`, `loft` |");
    let folder = house(&page, &[]);
    let found = inspect(folder.path(), &Allowances::default()).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].text.contains("room loft has no code"));
}

#[test]
fn a_test_that_the_page_names_exists() {
    let page = PAGE.replace("`ground::opens`", "`ground::opens`, `tests/view.py::test_view`");
    let folder = house(&page, &[]);
    let found = inspect(folder.path(), &Allowances::default()).unwrap();
    assert!(found.len() == 1 && found[0].rule == Rule::Tests, "{found:?}");
    std::fs::create_dir(folder.path().join("tests")).unwrap();
    std::fs::write(folder.path().join("tests/view.py"), "def test_view(): ...").unwrap();
    assert!(inspect(folder.path(), &Allowances::default()).unwrap().is_empty());
}

#[test]
fn a_page_that_contradicts_itself_is_refused() {
    for (page, word) in [
        (PAGE.replace("## Floors", "## Storeys"), "## Floors"),
        (PAGE.replace("## Third-party gates", "## Doors"), "## Third-party gates"),
        (PAGE.replace("### Held by", "### Kept by"), "### Held by"),
        (PAGE.replace("| `tower` |", "| `tower`, `ground` |"), "twice"),
        (PAGE.replace("| 3 |", "| three |"), "three"),
        (PAGE.replace("| `cellar` |", "| `dungeon` |"), "dungeon"),
        (PAGE.replace("rooms: `garden`", "rooms: `garden`, `tower`"), "planned"),
    ] {
        let error = inspect(house(&page, &[]).path(), &Allowances::default()).unwrap_err();
        assert!(error.contains(word), "{word}: {error}");
    }
}

#[test]
fn a_file_is_short_or_on_the_list_with_a_reason() {
    let lines = |count: usize| DOC.to_owned() + &"//\n".repeat(count - DOC.lines().count());
    let long = lines(FILE_LINES + 1);
    assert!(breaches(&[("tower.rs", &lines(FILE_LINES))]).is_empty());
    caught(Rule::Length, "tower.rs", long.trim_start_matches(DOC).trim_end(), 0);
    caught(Rule::Length, "main.rs", &"//\n".repeat(MAIN_LINES), 0);

    let with = |list: &[(&str, &str)], extra: &[(&str, &str)]| {
        let allowances = Allowances { long_files: list };
        inspect(house(PAGE, extra).path(), &allowances).unwrap().len()
    };
    assert_eq!(with(&[("tower.rs", "one table")], &[("tower.rs", &long)]), 0);
    assert_eq!(with(&[("tower.rs", " ")], &[("tower.rs", &long)]), 1);
    assert_eq!(with(&[("tower.rs", "one table")], &[]), 1);
    assert_eq!(with(&[("gone.rs", "one table")], &[]), 1);
}

#[test]
fn a_file_says_what_it_is_for_and_what_it_must_never_do() {
    for text in [
        "",
        "pub struct View;",
        "/// Outer. It must never sing.\npub struct View;",
        "// Plain. It must never sing.\n",
        "use std::fs;\n// A comment that says must never.\n",
        "//! What it is for.\n",
        "//! It must never sing.\n",
        "#![allow(dead_code)]\n",
    ] {
        let found = breaches(&[("tower.rs", text)]);
        assert!(found.len() == 1 && found[0].rule == Rule::Doc, "{text}\n{found:?}");
    }
}

#[test]
fn no_module_has_a_name_that_says_nothing() {
    for name in ["util", "utils", "helpers", "common", "misc", "manager"] {
        caught(Rule::Names, &format!("tower/{name}.rs"), "", 0);
        caught(Rule::Names, &format!("cellar/{name}/mod.rs"), "", 0);
        caught(Rule::Names, "tower.rs", &format!("\nfn f() {{ mod {name} {{}} }}"), 2);
    }
    passes("tower.rs", "mod utilisation { fn common() {} }");
}

#[test]
fn a_module_lies_where_its_name_says() {
    caught(Rule::Modules, "tower.rs", "#[path = \"elsewhere.rs\"]\nmod view;", 1);
    caught(Rule::Modules, "tower.rs", "#[cfg_attr(unix, path = \"unix.rs\")]\nmod view;", 1);
    caught(Rule::Modules, "tower.rs", "fn f() { include!(\"elsewhere.rs\") }", 1);
    caught(Rule::Modules, "lib.rs", "pub mod tower;\npub mod shed { pub struct Spade; }", 2);
    caught(Rule::Modules, "main.rs", "mod tower;\nfn main() {}", 1);
    caught(Rule::Rust, "tower.rs", "fn f( {", 0);
    passes("tower.rs", "#[get(path = \"/view\")]\nfn view() { include_str!(\"page.html\") }");
    passes("tower.rs", "include!(concat!(env!(\"OUT_DIR\"), \"/tables.rs\"));");
}
