//! Holds the code to ARCHITECTURE.md: the floors, the third-party gates and the house rules.
//!
//! The floors and the gates are read from that page, so that page and test cannot disagree; the
//! sources are read as tokens, so that macro bodies count and strings and comments do not. Every
//! rule is seen to fail on a planted breach in `planted`. This test must never compile or run the
//! code that it reads.

mod page;
mod paths;
mod planted;
mod rules;

use rules::Allowances;
use std::path::Path;

/// Files of `src/` that may be longer than the limit, each with its reason. An entry that is not
/// needed any more is a breach.
const LONG_FILES: &[(&str, &str)] = &[];

#[test]
fn the_house_stands_as_its_page_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let breaches = rules::inspect(root, &Allowances { long_files: LONG_FILES }).unwrap();
    let list: Vec<String> = breaches.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{} breaches of ARCHITECTURE.md:\n{}", list.len(), list.join("\n"));
}
