//! What ARCHITECTURE.md says: floors, gates, rooms that come later, tests that hold an invariant.
//!
//! Tables are found by their headings. This file must never hold a room's or a crate's name of its
//! own.

use std::collections::{BTreeMap, BTreeSet};

/// The rules that the page states.
#[derive(Debug)]
pub struct Page {
    /// Room to floor. `main.rs` is a room of one file.
    pub floors: BTreeMap<String, u32>,
    /// Each gate: patterns of crate names (`*` at the end stands for any rest) and the only places.
    pub gates: Vec<Gate>,
    /// The tests that are said to hold an invariant; the function's name is the last part.
    pub tests: Vec<String>,
}

/// A crate that may be named in some places only.
#[derive(Debug)]
pub struct Gate {
    /// Crate names as in code, with `_`.
    pub crates: Vec<String>,
    /// Rooms, folders or files below `src/`.
    pub places: Vec<String>,
}

impl Page {
    /// Reads the page.
    ///
    /// # Errors
    /// A text that names the row at fault.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut floors = BTreeMap::new();
        for row in table(text, "## Floors")? {
            let floor = row[0].parse().map_err(|_| format!("floor {:?} is no number", row[0]))?;
            for room in quoted(&row[1]) {
                if floors.insert(room.clone(), floor).is_some() {
                    return Err(format!("room {room} is in the table twice"));
                }
            }
        }
        let planned: BTreeSet<String> = text
            .split("\n\n")
            .filter(|paragraph| paragraph.trim_start().starts_with("Planned rooms:"))
            .flat_map(quoted)
            .collect();
        if let Some(room) = planned.iter().find(|room| floors.contains_key(*room)) {
            return Err(format!("room {room} is in the table and among the planned rooms"));
        }
        let mut gates = Vec::new();
        for row in table(text, "## Third-party gates")? {
            let gate = Gate { crates: quoted(&row[0]), places: quoted(&row[1]) };
            for place in &gate.places {
                let room = place.split('/').next().unwrap_or_default();
                if !floors.contains_key(room) && !planned.contains(room) {
                    return Err(format!("gate {:?}: {place} is in no room", gate.crates));
                }
            }
            gates.push(gate);
        }
        let held = table(text, "### Held by")?;
        let tests = held.iter().filter_map(|row| row.last()).flat_map(quoted).collect();
        Ok(Self { floors, gates, tests })
    }
}

impl Gate {
    /// Whether this gate watches that crate.
    pub fn watches(&self, name: &str) -> bool {
        self.crates.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        })
    }

    /// Whether `file`, a path below `src/`, lies in one of the gate's places.
    pub fn admits(&self, file: &str) -> bool {
        self.places.iter().any(|place| {
            file.strip_prefix(place.as_str())
                .is_some_and(|rest| rest.is_empty() || rest == ".rs" || rest.starts_with('/'))
        })
    }
}

/// The rows of the first table below `heading`, without its head.
fn table(text: &str, heading: &str) -> Result<Vec<Vec<String>>, String> {
    let below = text
        .lines()
        .skip_while(|line| line.trim_end() != heading)
        .skip(1)
        .take_while(|line| !line.starts_with("## "))
        .skip_while(|line| !line.starts_with('|'));
    let rows: Vec<Vec<String>> = below
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect();
    match rows.iter().find(|row| row.len() < 2) {
        Some(row) => Err(format!("a row below {heading:?} has too few cells: {row:?}")),
        None if rows.is_empty() => Err(format!("ARCHITECTURE.md has no table below {heading:?}")),
        None => Ok(rows),
    }
}

/// The names in backticks.
fn quoted(text: impl AsRef<str>) -> Vec<String> {
    text.as_ref().split('`').skip(1).step_by(2).map(str::to_owned).collect()
}
