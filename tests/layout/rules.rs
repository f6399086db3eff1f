//! The rules of the house, each over a tree of sources.
//!
//! The root of a tree goes in, a list of breaches comes out. This file must never hold a room's
//! floor or a crate's gate: those stand in ARCHITECTURE.md.

use crate::page::Page;
use crate::paths::{Mention, Source};
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

/// Lines that a file may have.
pub const FILE_LINES: usize = 400;
/// Lines that `main.rs` may have.
pub const MAIN_LINES: usize = 60;
/// Names that say nothing.
const EMPTY_NAMES: &[&str] =
    &["util", "utils", "helper", "helpers", "common", "misc", "manager", "managers"];

/// What a rule lets pass.
#[derive(Clone, Copy, Default)]
pub struct Allowances<'a> {
    /// Files that may be longer than the limit, with the reason.
    pub long_files: &'a [(&'a str, &'a str)],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    Rooms,
    Floors,
    Gates,
    Length,
    Doc,
    Names,
    Modules,
    Rust,
    Tests,
}

#[derive(Debug)]
pub struct Breach {
    pub rule: Rule,
    /// A path below `src/`, or the page.
    pub file: String,
    /// From 1; 0 when it is about the whole file.
    pub line: usize,
    pub text: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {:?}: {}", self.file, self.line, self.rule, self.text)
    }
}

/// One file of `src/`.
struct File {
    /// Its path below `src/`, with `/`.
    name: String,
    text: String,
    source: Source,
}

/// Where a path leads.
enum Target {
    Room(String),
    Crate(String),
    /// The crate's root as a whole.
    Root,
    Elsewhere,
}

/// Checks `ARCHITECTURE.md` and `src/` below `root`.
///
/// # Errors
/// A file that cannot be read, or a page that cannot be understood.
pub fn inspect(root: &Path, allowances: &Allowances<'_>) -> Result<Vec<Breach>, String> {
    let page = read(&root.join("ARCHITECTURE.md"))?;
    let page = Page::read(&page)?;
    let mut names = Vec::new();
    list(&root.join("src"), "", &[".rs"], &mut names)?;
    let mut house = House { page: &page, allowances, breaches: Vec::new() };
    house.rooms(&names);
    house.manifest(root)?;
    house.tests(root, &names)?;
    let mut files = Vec::new();
    for name in names {
        let text = read(&root.join("src").join(&name))?;
        match Source::read(&text) {
            Ok(source) => files.push(File { name, text, source }),
            Err(error) => house.add(Rule::Rust, &name, 0, error),
        }
    }
    house.long_files(&files);
    for file in &files {
        house.paths(file);
        house.doc(file);
        house.names(file);
        house.modules(file);
    }
    Ok(house.breaches)
}

struct House<'a> {
    page: &'a Page,
    allowances: &'a Allowances<'a>,
    breaches: Vec<Breach>,
}

impl House<'_> {
    fn add(&mut self, rule: Rule, file: &str, line: usize, text: impl Into<String>) {
        self.breaches.push(Breach { rule, file: file.to_owned(), line, text: text.into() });
    }

    /// The table and the code have the same rooms.
    fn rooms(&mut self, files: &[String]) {
        let built: BTreeSet<&str> =
            files.iter().map(|file| room(file)).filter(|room| *room != "lib.rs").collect();
        let page = self.page;
        for room in built.iter().filter(|room| !page.floors.contains_key(**room)) {
            self.add(Rule::Rooms, room, 0, "this room is not in ARCHITECTURE.md's table of floors");
        }
        for room in page.floors.keys().filter(|room| !built.contains(room.as_str())) {
            self.add(Rule::Rooms, "ARCHITECTURE.md", 0, format!("room {room} has no code"));
        }
    }

    /// Floors and gates, over every path that the file names.
    fn paths(&mut self, file: &File) {
        for mention in &file.source.mentions {
            let path = mention.segments.join("::");
            match self.target(file, mention) {
                Target::Room(target) => self.floor(file, mention.line, &path, &target),
                Target::Crate(name) => self.gate(file, mention, &name),
                Target::Root if file.name != "lib.rs" => self.add(
                    Rule::Floors,
                    &file.name,
                    mention.line,
                    format!("`{path}` imports the crate's root: import from the room itself"),
                ),
                Target::Root | Target::Elsewhere => {}
            }
        }
    }

    fn floor(&mut self, file: &File, line: usize, path: &str, target: &str) {
        let own = room(&file.name);
        // The root declares every room and stands on no floor.
        if own == "lib.rs" || own == target {
            return;
        }
        let Some(floor) = self.page.floors.get(own) else { return };
        let text = match self.page.floors.get(target) {
            None => format!("`{path}`: {target} is no room of ARCHITECTURE.md's table"),
            Some(other) if other < floor => return,
            Some(other) => {
                format!("`{path}`: {own} stands on floor {floor} and may not use floor {other}")
            }
        };
        self.add(Rule::Floors, &file.name, line, text);
    }

    fn gate(&mut self, file: &File, mention: &Mention, name: &str) {
        let page = self.page;
        for gate in page.gates.iter().filter(|gate| gate.watches(name)) {
            if !gate.admits(&file.name) {
                let text = format!("{name} may be named only in {}", gate.places.join(", "));
                self.add(Rule::Gates, &file.name, mention.line, text);
            } else if mention.public {
                let text = format!("passes {name} on past its gate: wrap what others need of it");
                self.add(Rule::Gates, &file.name, mention.line, text);
            }
        }
    }

    /// A crate behind a gate keeps its name, else the gate would not know it.
    fn manifest(&mut self, root: &Path) -> Result<(), String> {
        let text = read(&root.join("Cargo.toml"))?;
        let manifest: toml::Table = text.parse().map_err(|error| format!("Cargo.toml: {error}"))?;
        let mut tables = vec![&manifest];
        while let Some(table) = tables.pop() {
            for (key, value) in table {
                let Some(inner) = value.as_table() else { continue };
                tables.push(inner);
                let package = inner.get("package").and_then(toml::Value::as_str);
                let Some(package) = package.filter(|package| *package != key) else { continue };
                let page = self.page;
                if page.gates.iter().any(|gate| gate.watches(&package.replace('-', "_"))) {
                    let text =
                        format!("{package} is renamed to {key}, which hides it from its gate");
                    self.add(Rule::Gates, "Cargo.toml", 0, text);
                }
            }
        }
        Ok(())
    }

    /// A test that the page names is there.
    fn tests(&mut self, root: &Path, sources: &[String]) -> Result<(), String> {
        let mut code = String::new();
        for name in sources {
            code.push_str(&read(&root.join("src").join(name))?);
        }
        let mut names = Vec::new();
        if root.join("tests").is_dir() {
            list(&root.join("tests"), "", &[".rs", ".py"], &mut names)?;
        }
        for name in &names {
            code.push_str(&read(&root.join("tests").join(name))?);
        }
        let page = self.page;
        for test in &page.tests {
            let name = test.rsplit("::").next().unwrap_or_default();
            if !["fn", "def"].iter().any(|word| code.contains(&format!("{word} {name}("))) {
                self.add(Rule::Tests, "ARCHITECTURE.md", 0, format!("there is no test {test}"));
            }
        }
        Ok(())
    }

    fn target(&self, file: &File, mention: &Mention) -> Target {
        let mut segments = mention.segments.iter().map(String::as_str).peekable();
        let first = segments.next().unwrap_or_default();
        let is_main = file.name == "main.rs";
        let mut base = match first {
            "crate" if !mention.global => Vec::new(),
            "self" | "super" if !mention.global => {
                let mut base = module_path(&file.name);
                base.extend(mention.scope.iter().map(String::as_str));
                if first == "super" {
                    base.pop();
                }
                while segments.next_if_eq(&"super").is_some() {
                    base.pop();
                }
                base
            }
            // The library's own name leads out of `main.rs`; elsewhere it may be any local name.
            "hilum" => match segments.peek() {
                Some(next) if is_main || self.page.floors.contains_key(*next) => Vec::new(),
                None if is_main => Vec::new(),
                _ => return Target::Elsewhere,
            },
            _ if !mention.global && file.source.locals.contains(first) => {
                return Target::Elsewhere;
            }
            _ => return Target::Crate(first.to_owned()),
        };
        if is_main && first != "hilum" {
            return Target::Elsewhere;
        }
        base.extend(segments.filter(|segment| *segment != "self"));
        match base.first() {
            None if !mention.import => Target::Elsewhere,
            None | Some(&"*") => Target::Root,
            Some(room) => Target::Room((*room).to_owned()),
        }
    }

    fn long_files(&mut self, files: &[File]) {
        for file in files {
            let lines = file.text.lines().count();
            let allowed = self.allowances.long_files.iter().any(|(name, _)| *name == file.name);
            if file.name == "main.rs" && lines > MAIN_LINES {
                let text = format!("{lines} lines, at most {MAIN_LINES}: move work into a room");
                self.add(Rule::Length, &file.name, 0, text);
            } else if lines > FILE_LINES && !allowed {
                let text =
                    format!("{lines} lines, at most {FILE_LINES}: split it by what it is for");
                self.add(Rule::Length, &file.name, 0, text);
            } else if lines <= FILE_LINES && allowed {
                self.add(Rule::Length, &file.name, 0, "is short enough: take it off LONG_FILES");
            }
        }
        for (name, reason) in self.allowances.long_files {
            if !files.iter().any(|file| file.name == *name) {
                self.add(Rule::Length, name, 0, "is on LONG_FILES but does not exist");
            }
            if reason.trim().is_empty() {
                self.add(Rule::Length, name, 0, "is on LONG_FILES without a reason");
            }
        }
    }

    /// A module says first what it is for, and what it must never do.
    fn doc(&mut self, file: &File) {
        let doc = file.source.doc.split_whitespace().collect::<Vec<_>>().join(" ");
        let forbids = |sentence: &&str| sentence.to_lowercase().contains("must never");
        let sentences: Vec<&str> =
            doc.split(['.', ':']).filter(|sentence| !sentence.trim().is_empty()).collect();
        let forbidding = sentences.iter().filter(|sentence| forbids(sentence)).count();
        if doc.is_empty() {
            self.add(Rule::Doc, &file.name, 1, "begins without a //! comment");
        } else if forbidding == 0 {
            self.add(Rule::Doc, &file.name, 1, "its //! comment has no sentence \"must never …\"");
        } else if forbidding == sentences.len() {
            self.add(Rule::Doc, &file.name, 1, "its //! comment does not say what it is for");
        }
    }

    fn names(&mut self, file: &File) {
        let inline = file.source.modules.iter().filter(|module| module.inline);
        let mut found: Vec<(String, usize)> =
            inline.map(|module| (module.name.clone(), module.line)).collect();
        // A folder is named once, by the file that opens it.
        found.extend(module_path(&file.name).last().map(|name| ((*name).to_owned(), 0)));
        for (name, line) in found {
            if EMPTY_NAMES.contains(&name.as_str()) {
                let text = format!("a module called {name} says nothing: name it by what it holds");
                self.add(Rule::Names, &file.name, line, text);
            }
        }
    }

    /// A module lies where its name says, and no room hides inside a root.
    fn modules(&mut self, file: &File) {
        for line in &file.source.elsewhere {
            let text = "hides where code lies: put the file where its module's name says";
            self.add(Rule::Modules, &file.name, *line, text);
        }
        for module in file.source.modules.iter().filter(|module| module.depth == 0) {
            let name = &module.name;
            if file.name == "main.rs" {
                let text = format!("mod {name}: rooms belong to the library");
                self.add(Rule::Modules, &file.name, module.line, text);
            } else if file.name == "lib.rs" && module.inline {
                let text = format!("mod {name} has its body here: a room is a file or a folder");
                self.add(Rule::Modules, &file.name, module.line, text);
            }
        }
    }
}

/// The room that a file below `src/` belongs to; the roots stand for themselves.
fn room(file: &str) -> &str {
    match file {
        "lib.rs" | "main.rs" => file,
        _ => file.split('/').next().map_or(file, |first| first.trim_end_matches(".rs")),
    }
}

/// The modules from the crate's root to a file.
fn module_path(file: &str) -> Vec<&str> {
    let mut path: Vec<&str> = file.trim_end_matches(".rs").split('/').collect();
    if matches!(path.as_slice(), [.., "mod"] | ["lib"] | ["main"]) {
        path.pop();
    }
    path
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Every file below `folder` whose name ends as one of `ends`, sorted.
fn list(folder: &Path, prefix: &str, ends: &[&str], found: &mut Vec<String>) -> Result<(), String> {
    let fail = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut entries =
        std::fs::read_dir(folder).map_err(fail)?.collect::<Result<Vec<_>, _>>().map_err(fail)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            list(&entry.path(), &format!("{name}/"), ends, found)?;
        } else if ends.iter().any(|end| name.ends_with(end)) {
            found.push(name);
        }
    }
    Ok(())
}
